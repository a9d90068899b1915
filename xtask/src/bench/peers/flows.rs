//! Established flows: what it costs to know a packet's flow again.
//!
//! Every flow is opened by a datagram that the workload answers. Then packets of random flows
//! rain, and behind the contender a *sink* (nftables in prerouting, after connection tracking)
//! drops what it lets through, the same for all: what the network stack and a socket would do
//! with them is none of the contender's doing. The contender's own cost is what is left after
//! taking off the cost without filter.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::contender::{Contender, Kind};
use super::retry;
use super::rules::{FLOWS, Rules, TABLE};
use super::sender::Traffic;
use super::stage::{Flood, Stage, WORKLOAD};

/// How many flows there are: one per address of the mask.
pub(super) const COUNT: u32 = FLOWS.mask + 1;

/// Opened at once: as many as a device's ring (256) and a socket's buffer (208 KiB) hold for sure.
const AT_ONCE: u32 = 64;

/// How long an opening packet may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How ours may count a datagram that belongs to no connection.
const UNKNOWN: [&str; 4] = ["new-connection", "untracked", "security-group", "conntrack-allowance-exceeded"];

const SINK: &str = "table ip sink {\nchain end { type filter hook prerouting priority 100;\n";

/// Whether the contender has a part in this comparison.
pub(super) fn takes_part(contender: &Contender) -> bool {
    matches!(contender.kind, Kind::None | Kind::Pass | Kind::Conntrack | Kind::Ours(_))
}

/// Loads the contender, opens the flows and measures packets of them.
pub(super) fn measure(
    stage: &mut Stage,
    contender: &Contender,
    rules: Rules,
    window: Duration,
) -> Result<Flood> {
    contender.load(stage, rules)?;
    open(stage).with_context(|| format!("{} flows through {}", COUNT, contender.name))?;
    let sink = format!("{SINK}ip daddr {} udp dport {} drop\n}}\n}}\n", WORKLOAD, FLOWS.port);
    let sink = stage.file("sink.nft", &sink)?;
    stage.run("nft", &["-f", &sink.to_string_lossy()])?;
    let (unknown, through) = (not_established(stage, contender)?, stage.come_through()?);
    let flood = stage.flood(FLOWS, window)?;
    let unknown = not_established(stage, contender)? - unknown;
    ensure!(unknown == 0, "{}: {unknown} packets were of no established flow", contender.name);
    let through = stage.come_through()? - through;
    ensure!(through == 0, "{}: {through} packets came past the sink", contender.name);
    stage.run("nft", &["delete", "table", "ip", "sink"])?;
    contender.unload(stage)?;
    Ok(flood)
}

/// Sends a datagram of each flow, and an answer to each. By sockets: the sender, which cannot wait,
/// would fill the ring and the socket.
fn open(stage: &Stage) -> Result<()> {
    let workload = stage.lab.workload.enter(|| UdpSocket::bind((WORKLOAD, FLOWS.port)))??;
    workload.set_read_timeout(Some(PATIENCE))?;
    let remote = stage.lab.remote.enter(raw)??;
    let mut packets = stage.sender.packets(Traffic { in_order: true, ..FLOWS });
    let mut datagram = [0; 64];
    for _ in 0..COUNT / AT_ONCE {
        for packet in packets.by_ref().take(AT_ONCE as usize) {
            remote.send_to(&packet, (WORKLOAD, 0))?;
        }
        for _ in 0..AT_ONCE {
            let (length, from) =
                retry(|| workload.recv_from(&mut datagram)).context("a datagram did not arrive")?;
            workload.send_to(&datagram[..length], from)?;
        }
    }
    Ok(())
}

/// A raw socket, which sends whole IP packets; what else a `UdpSocket` can do is the same.
fn raw() -> io::Result<UdpSocket> {
    // SAFETY: no memory is involved.
    let descriptor =
        unsafe { libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(UdpSocket::from(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

/// Packets so far that the contender did not find an established flow for.
fn not_established(stage: &Stage, contender: &Contender) -> Result<u64> {
    match contender.kind {
        Kind::Conntrack => {
            let text = stage.run("nft", &["list", "chain", "ip", TABLE, "receive"])?;
            let counter = text.lines().find_map(|line| line.trim().strip_prefix("counter packets "));
            let packets = counter.and_then(|counter| counter.split(' ').next());
            packets.context("nft lists no counter")?.parse().context("a strange counter")
        }
        Kind::Ours(_) => {
            let reasons = stage.lab.filter.reasons()?;
            Ok(UNKNOWN.iter().filter_map(|reason| reasons.get(*reason)).sum())
        }
        _ => Ok(0),
    }
}
