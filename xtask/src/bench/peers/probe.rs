//! Whether a contender decides as its rules say, found out with single packets.
//!
//! The packets come by the way of the flood, and sockets of the workload tell which have come
//! through. All but the last may be dropped; the last one must arrive, and as packets keep their
//! order, what has not arrived by then never will.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::contender::{Contender, Kind};
use super::retry;
use super::rules::Rules;
use super::sender::Traffic;
use super::stage::Stage;

/// How long the last packet may take, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(10);

/// One packet, and whether it must come through.
struct Probe {
    name: &'static str,
    source: Ipv4Addr,
    port: u16,
    passes: bool,
}

/// Fails if a loaded contender lets the wrong packets through.
pub(super) fn check(stage: &mut Stage, contender: &Contender, rules: Rules) -> Result<()> {
    if contender.kind == Kind::Drop {
        // Nothing can tell that nothing comes; the flood's own check does.
        return Ok(());
    }
    let probes = probes(contender, rules);
    let mut sockets = Vec::new();
    for Probe { port, .. } in &probes {
        let bound = stage.lab.workload.enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, *port)))?;
        match bound {
            Ok(socket) => sockets.push((*port, socket)),
            // Two packets may go to one port.
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(error).context("cannot listen for probe packets"),
        }
    }
    for Probe { source, port, .. } in &probes {
        stage.sender.prepare(Traffic { source: *source, mask: 0, in_order: false, port: *port })?;
        stage.sender.send(1)?;
    }
    let came = arrivals(&sockets, &probes).with_context(|| contender.name)?;
    for Probe { name, source, port, passes } in &probes {
        let through = came.contains(&(*source, *port));
        let word = |passes: bool| if passes { "passes" } else { "is dropped" };
        ensure!(
            through == *passes,
            "{} with {} rules: the packet {name} (from {source} to port {port}) {}, and ought to be one that {}",
            contender.name,
            rules.count,
            word(through),
            word(*passes)
        );
    }
    Ok(())
}

/// The last of them passes everywhere.
fn probes(contender: &Contender, rules: Rules) -> [Probe; 4] {
    let (first, last) = (Rules::rule(0), Rules::rule(rules.count - 1));
    let outside = Ipv4Addr::new(11, 0, 0, 1);
    let probe = |name, source, port, passes| Probe { name, source, port, passes };
    [
        probe("from outside", outside, first.port, !contender.has_rules()),
        probe("to the wrong port", first.host(), first.port + 1, contender.passes(first, first.port + 1)),
        probe("that the first rule allows", first.host(), first.port, true),
        probe("that the last rule allows", last.host(), last.port, true),
    ]
}

/// Waits for the last probe; the answer is which have arrived.
fn arrivals(sockets: &[(u16, UdpSocket)], probes: &[Probe; 4]) -> Result<Vec<(Ipv4Addr, u16)>> {
    let [.., last] = probes;
    let mut came = Vec::new();
    let awaited =
        sockets.iter().find(|(port, _)| *port == last.port).context("no socket for the last probe")?;
    while !came.contains(&(last.source, last.port)) {
        awaited.1.set_read_timeout(Some(PATIENCE))?;
        came.push((
            receive(&awaited.1)?.with_context(|| {
                format!("the packet {} (from {} to port {}) is dropped", last.name, last.source, last.port)
            })?,
            awaited.0,
        ));
    }
    for (port, socket) in sockets {
        socket.set_nonblocking(true)?;
        while let Some(source) = receive(socket)? {
            came.push((source, *port));
        }
    }
    Ok(came)
}

/// The next datagram's sender, if there is one in time.
fn receive(socket: &UdpSocket) -> Result<Option<Ipv4Addr>> {
    match retry(|| socket.recv_from(&mut [0; 64])) {
        Ok((_, from)) => match from.ip() {
            IpAddr::V4(source) => Ok(Some(source)),
            IpAddr::V6(source) => bail!("a datagram from {source}"),
        },
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
