//! `iperf`: throughput between two namespaces, with and without the filter.
//!
//! The variants take turns, so that a machine that slows down does so for all of them. Each run
//! with the filter is compared with the run without it that came just before; the median of
//! these shares is what counts. One side of the veth pair is pinned to one processor, the other
//! to the other. What a veth pair in one machine shows is the relative cost of the filter beside
//! the kernel's own work, not the speed of a network card.

use std::fmt::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::numbers::Sample;
use super::{Bench, Report, count};
use crate::lab::{self, Family, Hook, Host, Lab};
use crate::shell::progress;

/// The share of the unfiltered throughput that the filter must leave with the hooks that
/// `attach` chooses.
const GOAL: f64 = 0.90;

/// What is sent, and how iperf3 is told.
const TRAFFIC: [(&str, &[&str]); 3] = [
    ("TCP to the workload", &[]),
    ("TCP from the workload", &["--reverse"]),
    ("UDP to the workload, 1200 bytes", &["--udp", "--bitrate", "0", "--length", "1200"]),
];

/// With what filter; the first is what the others are compared with.
const VARIANTS: [(&str, Option<Hook>); 3] =
    [("none", None), ("auto", Some(Hook::Auto)), ("xdp", Some(Hook::Xdp))];

pub(super) fn measure(bench: &Bench) -> Result<Report> {
    let lab = Lab::build("bench", &bench.binary)?;
    let policy = lab::examples().join("web.yaml");
    serve(&lab)?;
    let mut samples: Vec<Vec<Sample>> = Vec::new();
    samples.resize_with(TRAFFIC.len(), || VARIANTS.map(|_| Sample::default()).into());
    let mut hooks = [const { String::new() }; VARIANTS.len()];
    for run in 0..bench.runs {
        progress(&format!("run {} of {}", run + 1, bench.runs));
        for (variant, (_, hook)) in VARIANTS.iter().enumerate() {
            if let Some(hook) = hook {
                hooks[variant] = lab.filter.attach(&policy, *hook)?;
            }
            for (traffic, (_, options)) in TRAFFIC.iter().enumerate() {
                let answer = client(&lab, Host::Trusted.address(Family::V4), bench.seconds, options)?;
                samples[traffic][variant].add(received(&answer)?);
            }
            if hook.is_some() {
                lab.filter.detach()?;
            }
        }
    }
    let mut report = table(&samples, &hooks)?;
    progress("comparing what the records count with what the far end counts");
    for (variant, hook) in VARIANTS {
        if let Some(hook) = hook {
            count::compare(&lab, &policy, hook, variant, &mut report)?;
        }
    }
    Ok(report)
}

fn table(samples: &[Vec<Sample>], hooks: &[String]) -> Result<Report> {
    let mut table = String::new();
    let mut numbers = Vec::new();
    writeln!(
        table,
        "Gbit/s that arrive: median (least .. most), and the median share of what the run before without the filter had\n"
    )?;
    for ((traffic, _), variants) in TRAFFIC.iter().zip(samples) {
        writeln!(table, "{traffic}")?;
        for ((name, _), sample) in VARIANTS.iter().zip(variants) {
            let share = sample.share_of(&variants[0]);
            writeln!(
                table,
                "  {name:<6} {:>7.2}  ({:.2} .. {:.2})  {:>6.1} %",
                sample.median(),
                sample.least(),
                sample.most(),
                share * 100.0
            )?;
            numbers.push(
                json!({ "traffic": traffic, "filter": name, "gigabits": sample.json(), "share": share }),
            );
        }
        if traffic.starts_with("TCP") {
            let share = variants[1].share_of(&variants[0]);
            let verdict = if share >= GOAL { "reached" } else { "MISSED" };
            writeln!(table, "  goal: {:.0} % with the hooks that attach chooses: {verdict}", GOAL * 100.0)?;
        }
    }
    let chosen: Vec<Value> = VARIANTS
        .iter()
        .zip(hooks)
        .map(|((name, _), said)| json!({ "filter": name, "attach": said }))
        .collect();
    let numbers = json!({ "goal": GOAL, "throughput": numbers, "hooks": chosen });
    Ok(Report { table, numbers, wrong: Vec::new() })
}

/// Starts the server at the workload; it ends with the lab.
fn serve(lab: &Lab) -> Result<()> {
    let mut server = lab.workload.command("iperf3");
    server.arg("--server").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(lab.workload.start(&mut server)?);
    for _ in 0..100 {
        if lab.workload.proc_net("tcp6")?.contains(":1451 ")
            || lab.workload.proc_net("tcp")?.contains(":1451 ")
        {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("iperf3 does not listen on port 5201")
}

/// One measurement from the remote end; the answer is iperf3's own JSON.
pub(super) fn client(lab: &Lab, source: IpAddr, seconds: u32, options: &[&str]) -> Result<Value> {
    let mut client: Command = lab.remote.command("iperf3");
    client.args(["--client", &Host::Workload.address(Family::V4).to_string(), "--bind", &source.to_string()]);
    client.args(["--time", &seconds.to_string(), "--affinity", "0,1", "--json"]).args(options);
    for _ in 0..50 {
        let output = client.output().context("cannot start iperf3")?;
        let answer: Value =
            serde_json::from_slice(&output.stdout).context("iperf3 wrote what is not JSON")?;
        match answer["error"].as_str() {
            None => return Ok(answer),
            // The server is a moment behind with the end of the last measurement.
            Some(error) if error.contains("busy") => thread::sleep(Duration::from_millis(100)),
            Some(error) => bail!("iperf3: {error}"),
        }
    }
    bail!("iperf3's server stays busy")
}

/// What arrived, in Gbit/s.
fn received(answer: &Value) -> Result<f64> {
    let end = &answer["end"];
    let rate = match end["sum_received"]["bits_per_second"].as_f64() {
        Some(rate) => rate,
        // UDP by an older iperf3: what was sent, less the share that was lost.
        None => {
            let sent = end["sum"]["bits_per_second"].as_f64().context("iperf3 names no rate")?;
            sent * (1.0 - end["sum"]["lost_percent"].as_f64().unwrap_or(0.0) / 100.0)
        }
    };
    Ok(rate / 1e9)
}
