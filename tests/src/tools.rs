//! The programs that people use: ping, curl, dig with dnsmasq, iperf3.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    lab::Lab,
    netns::Namespace,
    process::{Background, finish},
    traffic::PATIENCE,
};

/// Longest that any of the programs may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Sends echo requests, 20 ms apart; returns how many were answered.
///
/// # Panics
///
/// When `ping` cannot be run.
#[must_use]
pub fn ping(from: &Namespace, source: IpAddr, to: IpAddr, count: u32) -> u32 {
    let mut command = from.command("ping");
    command.args(["-n", "-i", "0.02", "-W", "0.4", "-c", &count.to_string(), "-I", &source.to_string()]);
    let output = finish(command.arg(to.to_string()), LIMIT);
    let summary = output.stdout.lines().find_map(|line| line.split_once(" received"));
    let Some((before, _)) = summary else { panic!("ping {to}: {}{}", output.stdout, output.stderr) };
    let count = before.rsplit([' ', ',']).next().unwrap_or_default();
    count.parse().unwrap_or_else(|_| panic!("ping {to}: {before:?}"))
}

/// Gets a URL; the body's length, or `curl`'s exit code (28: timed out, 7: refused).
///
/// # Errors
///
/// The exit code.
///
/// # Panics
///
/// When `curl` cannot be run.
pub fn curl(from: &Namespace, url: &str, patience: Duration) -> Result<usize, i32> {
    let mut command = from.command("curl");
    command.args([
        "--silent",
        "--globoff",
        "--noproxy",
        "*",
        "--max-time",
        &patience.as_secs_f32().to_string(),
    ]);
    let output = finish(command.arg(url), LIMIT);
    if output.code == 0 { Ok(output.stdout.len()) } else { Err(output.code) }
}

/// The URL of a path on a server.
#[must_use]
pub fn url(server: SocketAddr, path: &str) -> String {
    format!("http://{server}{path}")
}

/// Starts a DNS server that knows `www.example.test` as 192.0.2.80.
///
/// # Panics
///
/// When it does not start.
pub fn dns_server(lab: &mut Lab, address: IpAddr) {
    let mut command = lab.remote.command("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-poll"]);
    command.args(["--pid-file=", "--user=root", "--log-facility=-", "--bind-interfaces"]);
    command.args(["--except-interface=lo", "--address=/www.example.test/192.0.2.80"]);
    command.arg(format!("--listen-address={address}"));
    let server = Background::start(&mut command);
    let _ = server.line("started", PATIENCE);
    lab.keep(server);
}

/// Asks a DNS server for `www.example.test`, over UDP or TCP.
///
/// # Panics
///
/// When `dig` cannot be run.
#[must_use]
pub fn dig(from: &Namespace, server: IpAddr, tcp: bool, patience: Duration) -> Option<String> {
    let mut command = from.command("dig");
    command.arg(format!("@{server}")).args(["www.example.test", "+short", "+tries=1"]);
    command.arg(format!("+timeout={}", patience.as_secs().max(1)));
    command.arg(if tcp { "+tcp" } else { "+notcp" });
    let output = finish(&mut command, LIMIT);
    let answer = output.stdout.trim();
    (output.code == 0 && !answer.is_empty() && !answer.starts_with(';')).then(|| answer.to_owned())
}

/// What `iperf3` measured.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// Payload bytes that the receiver got.
    pub bytes: u64,
    /// UDP: datagrams sent.
    pub datagrams: u64,
    /// UDP: datagrams that the receiver missed.
    pub lost: u64,
}

/// Runs `iperf3` between a client in the namespace and a server at `to` in the other.
///
/// # Errors
///
/// The client's message.
///
/// # Panics
///
/// When the server does not start.
pub fn iperf3(
    client: (&Namespace, IpAddr),
    server: (&Namespace, SocketAddr),
    options: &[&str],
) -> Result<Throughput, String> {
    let (address, port) = (server.1.ip().to_string(), server.1.port().to_string());
    let mut command = server.0.command("iperf3");
    command.args(["--server", "--one-off", "--forceflush", "--bind", &address, "--port", &port]);
    let listening = Background::start(&mut command);
    let _ = listening.line("Server listening", PATIENCE);

    let mut command = client.0.command("iperf3");
    command.args(["--client", &address, "--port", &port, "--bind", &client.1.to_string(), "--json"]);
    command.args(["--connect-timeout", "700"]);
    let output = finish(command.args(options), LIMIT);
    let report: serde_json::Value =
        serde_json::from_str(&output.stdout).map_err(|error| format!("{error}: {output:?}"))?;
    if let Some(error) = report["error"].as_str() {
        return Err(error.to_owned());
    }
    let end = &report["end"];
    Ok(Throughput {
        bytes: end["sum_received"]["bytes"].as_u64().or_else(|| end["sum"]["bytes"].as_u64()).unwrap_or(0),
        datagrams: end["sum"]["packets"].as_u64().unwrap_or(0),
        lost: end["sum"]["lost_packets"].as_u64().unwrap_or(0),
    })
}
