//! Real traffic from a chosen host, and whether it got an answer.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::Result;

use super::flows::Expected;
use super::story::Story;
use crate::lab::{self, Family, Host, Lab};
use crate::shell;

/// How long an answer may take. Refused packets are dropped, not answered.
const PATIENCE: Duration = Duration::from_millis(800);

#[derive(Clone, Copy)]
enum Kind {
    Ping,
    Http,
    Tcp(u16),
    Udp(u16),
}

/// One attempt: from whom, to whom, what, and what the example policy says of it.
struct Probe {
    kind: Kind,
    from: Host,
    to: Host,
    passes: bool,
    why: &'static str,
}

const fn to_workload(kind: Kind, from: Host, passes: bool, why: &'static str) -> Probe {
    Probe { kind, from, to: Host::Workload, passes, why }
}

/// What is tried, over IPv4 and IPv6 alike.
const PROBES: [Probe; 10] = [
    to_workload(Kind::Ping, Host::Trusted, true, "the group lets it be pinged from there"),
    to_workload(Kind::Ping, Host::World, false, "but not by the world"),
    to_workload(Kind::Http, Host::World, true, "port 80 is open to the world"),
    to_workload(Kind::Tcp(22), Host::Trusted, true, "the group allows it from there"),
    to_workload(Kind::Tcp(22), Host::World, false, "but not from the world"),
    to_workload(Kind::Tcp(23), Host::Trusted, false, "telnet is never let in"),
    to_workload(Kind::Tcp(8080), Host::World, false, "no rule allows it, though a server listens"),
    to_workload(Kind::Udp(5201), Host::Trusted, true, "the group allows it from there"),
    to_workload(Kind::Udp(5201), Host::World, false, "but not from the world"),
    Probe {
        kind: Kind::Http,
        from: Host::Workload,
        to: Host::World,
        passes: true,
        why: "egress is open, and the answer belongs to the connection",
    },
];

/// Tries everything where nothing filters.
pub(super) fn all_pass(story: &mut Story, lab: &Lab) -> Result<()> {
    let mut answered = 0;
    let mut silent = Vec::new();
    for family in [Family::V4, Family::V6] {
        for probe in &PROBES {
            if probe.send(lab, family)? {
                answered += 1;
            } else {
                silent.push(probe.name(family));
            }
        }
    }
    let all = 2 * PROBES.len();
    story.expect(answered == all, &format!("{answered} of {all} attempts were answered"));
    silent.iter().for_each(|name| story.note(&format!("no answer: {name}")));
    Ok(())
}

/// Tries everything where the example policy filters; the answer is what the flow log must say.
pub(super) fn as_the_policy_says(story: &mut Story, lab: &Lab) -> Result<Vec<Expected>> {
    let mut expected = Vec::new();
    for family in [Family::V4, Family::V6] {
        for probe in &PROBES {
            probe.check(story, lab, family)?;
            expected.push(probe.record(family));
        }
    }
    Ok(expected)
}

/// Whether a new TCP connection to the workload comes about.
pub(super) fn connects(lab: &Lab, from: Host, family: Family, port: u16) -> Result<bool> {
    Probe { kind: Kind::Tcp(port), from, to: Host::Workload, passes: true, why: "" }.send(lab, family)
}

impl Probe {
    fn check(&self, story: &mut Story, lab: &Lab, family: Family) -> Result<()> {
        let answered = self.send(lab, family)?;
        let seen = if answered { "answered" } else { "no answer" };
        story
            .expect(answered == self.passes, &format!("{:<52} {seen:<10} ({})", self.name(family), self.why));
        Ok(())
    }

    fn name(&self, family: Family) -> String {
        let (from, to) = (self.from.address(family), self.to.address(family));
        let what = match self.kind {
            Kind::Ping => "ping".to_owned(),
            Kind::Http => "http".to_owned(),
            Kind::Tcp(port) => format!("tcp {port}"),
            Kind::Udp(port) => format!("udp {port}"),
        };
        format!("{what:<8} {from} -> {to}")
    }

    /// Sends it; the answer is whether something came back.
    fn send(&self, lab: &Lab, family: Family) -> Result<bool> {
        let namespace = if self.from == Host::Workload { &lab.workload } else { &lab.remote };
        let (source, target) = (self.from.address(family), self.to.address(family));
        Ok(match self.kind {
            Kind::Ping => {
                let mut ping = namespace.command("ping");
                ping.args(["-n", "-c", "2", "-i", "0.2", "-W", "1", "-I"]);
                shell::succeeds(ping.args([source.to_string(), target.to_string()]))
            }
            Kind::Http => {
                let mut curl = namespace.command("curl");
                curl.args(["--silent", "--fail", "--noproxy", "*", "--globoff", "--max-time", "2"]);
                curl.args(["--interface", &format!("host!{source}")]);
                shell::succeeds(curl.arg(format!("http://{}/", SocketAddr::new(target, 80))))
            }
            Kind::Tcp(port) => {
                let target = SocketAddr::new(target, port);
                namespace.enter(|| lab::connect(source, target, PATIENCE).is_ok())?
            }
            Kind::Udp(port) => {
                let target = SocketAddr::new(target, port);
                namespace.enter(|| echoed(source, target).unwrap_or(false))?
            }
        })
    }

    /// What the flow log must have of it at the workload.
    fn record(&self, family: Family) -> Expected {
        let (protocol, port) = match (self.kind, family) {
            (Kind::Ping, Family::V4) => (1, 0),
            (Kind::Ping, Family::V6) => (58, 0),
            (Kind::Http, _) => (6, 80),
            (Kind::Tcp(port), _) => (6, port),
            (Kind::Udp(port), _) => (17, port),
        };
        Expected {
            source: self.from.address(family),
            destination: self.to.address(family),
            port,
            protocol,
            accepted: self.passes,
        }
    }
}

/// Sends a datagram and waits for its echo.
fn echoed(source: IpAddr, target: SocketAddr) -> std::io::Result<bool> {
    let socket = UdpSocket::bind(SocketAddr::new(source, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"hello", target)?;
    let mut answer = [0_u8; 16];
    let (length, from) = socket.recv_from(&mut answer)?;
    Ok(from == target && &answer[..length] == b"hello")
}
