//! The network that contenders are measured in, and how a flood is measured.
//!
//! The small network of the lab, in which the workload's device is polled by a kernel thread of
//! its own (threaded NAPI), on the second processor; the sender has the first. All that a packet
//! costs the receiving side, from the device's ring to the drop, is that thread's run time, and
//! the scheduler counts it to the nanosecond.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::super::{count, cpu};
use super::sender::{Limits, Sender, Traffic};
use crate::lab::{DEVICE, Family, Host, Lab, Namespace};
use crate::shell;

/// The workload's address. Outside of 10.0.0.0/8, so that no random source is exempt as one of
/// the first four of its subnet.
pub(super) const WORKLOAD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 20);

/// The remote end's address beside it.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// How long it rains before it is measured.
const WARM_UP: Duration = Duration::from_millis(200);

/// The network, the sender, and the two limits.
pub(super) struct Stage {
    pub(super) lab: Lab,
    pub(super) sender: Sender,
    pub(super) limits: Limits,
    /// The polling thread's folder in /proc.
    thread: PathBuf,
}

/// What a flood cost, and how fast it went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flood {
    /// Nanoseconds of the receiving processor for each packet.
    pub(super) nanoseconds: f64,
    /// Packets that were received, in millions a second.
    pub(super) received: f64,
    /// Packets that were handed over, of which a full ring loses some, in millions a second.
    pub(super) sent: f64,
}

/// Counters at one moment.
struct Reading {
    at: Instant,
    /// The polling thread's run time in nanoseconds.
    busy: u64,
    received: u64,
    sent: u64,
}

impl Stage {
    pub(super) fn build(purpose: &str, binary: &Path, object: &[u8]) -> Result<Self> {
        let lab = Lab::build(purpose, binary)?;
        lab.workload.address(WORKLOAD.into(), 24, DEVICE)?;
        // A filter that drops everything else would drop the question for an address, too.
        lab.remote.address(ROUTER.into(), 24, DEVICE)?;
        introduce(&lab.workload, Host::Router.address(Family::V4), &lab.remote)?;
        introduce(&lab.remote, WORKLOAD.into(), &lab.workload)?;
        // A veth device takes frames only where its other end polls, as it does for GRO.
        shell::read(lab.workload.command("ethtool").args(["-K", DEVICE, "gro", "on"]))?;
        let thread = threaded(&lab)?;
        let sender = Sender::load(object, &lab, WORKLOAD)?;
        Ok(Self { lab, sender, limits: Limits::load(object)?, thread })
    }

    /// Lets it rain, and measures for so long.
    pub(super) fn flood(&mut self, traffic: Traffic, window: Duration) -> Result<Flood> {
        self.sender.prepare(traffic)?;
        let stop = AtomicBool::new(false);
        let readings = thread::scope(|scope| {
            let sending = scope.spawn(|| self.sender.flood(&stop));
            let measure = || {
                thread::sleep(WARM_UP);
                let before = self.read()?;
                thread::sleep(window);
                Ok::<_, anyhow::Error>((before, self.read()?))
            };
            let readings = measure();
            stop.store(true, Ordering::Relaxed);
            sending.join().map_err(|_| anyhow!("the sender panicked"))??;
            readings
        });
        let (before, after) = readings?;
        let packets = (after.received - before.received) as f64;
        if packets == 0.0 {
            bail!("the device received nothing");
        }
        let micros = after.at.duration_since(before.at).as_secs_f64() * 1e6;
        Ok(Flood {
            nanoseconds: (after.busy - before.busy) as f64 / packets,
            received: packets / micros,
            sent: (after.sent - before.sent) as f64 / micros,
        })
    }

    fn read(&self) -> Result<Reading> {
        let statistics = self.thread.join("schedstat");
        let text = fs::read_to_string(&statistics)
            .with_context(|| format!("the polling thread is gone: no {}", statistics.display()))?;
        let busy = text.split(' ').next().unwrap_or_default().parse()?;
        let (received, sent) = (self.received()?, self.sender.sent()?);
        Ok(Reading { at: Instant::now(), busy, received, sent })
    }

    /// Packets that the workload's device has received.
    fn received(&self) -> Result<u64> {
        let text = self.lab.workload.proc_net("dev")?;
        let line = text.lines().find_map(|line| line.trim_start().strip_prefix("eth0:"));
        let packets = line.and_then(|line| line.split_whitespace().nth(1));
        packets
            .context("/proc/net/dev does not tell eth0's packets")?
            .parse()
            .context("a strange /proc/net/dev")
    }

    /// Datagrams that have come through to the workload's UDP, whether or not anybody listens.
    pub(super) fn come_through(&self) -> Result<u64> {
        let text = self.lab.workload.proc_net("snmp")?;
        Ok(count::counter(&text, "Udp:", "InDatagrams")? + count::counter(&text, "Udp:", "NoPorts")?)
    }

    /// A file with that content for a contender's own tool.
    pub(super) fn file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.lab.filter.scratch().join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Runs a contender's tool in the workload's namespace; the answer is what it printed.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        shell::read(self.lab.workload.command(program).args(arguments))
    }
}

/// Tells one end for good which Ethernet address an address of the other has.
fn introduce(end: &Namespace, address: IpAddr, other: &Namespace) -> Result<()> {
    let hardware = other.hardware_address(DEVICE)?.map(|byte| format!("{byte:02x}")).join(":");
    let mut command = end.command("ip");
    command.args(["neighbour", "replace", &address.to_string(), "lladdr", &hardware, "dev", DEVICE]);
    shell::read(command.args(["nud", "permanent"])).map(drop)
}

/// Gives the workload's device a polling thread, and that a processor of its own.
fn threaded(lab: &Lab) -> Result<PathBuf> {
    let before = polling_threads()?;
    // `ip netns exec` shows the namespace's own /sys.
    let write = format!("echo 1 > /sys/class/net/{DEVICE}/threaded");
    let mut command = Command::new("ip");
    shell::read(command.args(["netns", "exec", lab.workload.name(), "sh", "-c", &write]))
        .context("no threaded NAPI (kernel 5.12 or later)")?;
    let made: Vec<PathBuf> = polling_threads()?.difference(&before).cloned().collect();
    let [thread] = made.as_slice() else {
        bail!("{} polling threads were started for one device with one queue", made.len());
    };
    let id =
        thread.file_name().and_then(|name| name.to_str()?.parse().ok()).context("a strange process id")?;
    cpu::assign(id, cpu::RECEIVER)?;
    Ok(thread.clone())
}

/// The folders in /proc of all threads that poll a device of the lab's name.
fn polling_threads() -> Result<BTreeSet<PathBuf>> {
    let prefix = format!("napi/{DEVICE}-");
    let mut threads = BTreeSet::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let path = entry?.path();
        // Processes come and go; what is gone is none of ours.
        if fs::read_to_string(path.join("comm")).is_ok_and(|name| name.starts_with(&prefix)) {
            threads.insert(path);
        }
    }
    Ok(threads)
}
