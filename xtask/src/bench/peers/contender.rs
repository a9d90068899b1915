//! The contenders: how each is loaded and taken away, and what it must let through.

use std::fmt::Write;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use super::rules::{Hook, Rule, Rules, Style, TABLE};
use super::stage::Stage;
use crate::lab::{self, DEVICE};
use crate::shell;

/// Something that packets are sent through.
#[derive(Debug)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Most rules with which measuring it is bearable.
    pub(super) most: u32,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No filter at all.
    None,
    /// An XDP program that does nothing but drop.
    Drop,
    /// An XDP program that does nothing but pass.
    Pass,
    Nftables(Hook, Style),
    /// In prerouting, in a map, behind connection tracking.
    Conntrack,
    /// iptables-legacy, in the table `raw`, one rule after the other.
    Iptables,
    Ipset,
    /// It knows whole addresses only, with any port.
    XdpFilter,
    /// What `attach` is told.
    Ours(&'static [&'static str]),
}

/// Ours, as it is compared with the others.
pub(super) const NATIVE: &str = "filter, XDP native";
/// The limit of what drops.
pub(super) const DROP: &str = "empty XDP drop";
/// What no filter costs.
pub(super) const NONE: &str = "no filter";
/// Connection tracking's contender.
pub(super) const CONNTRACK: &str = "nftables prerouting, map, conntrack";

const fn nftables(name: &'static str, hook: Hook, style: Style, most: u32) -> Contender {
    Contender { name, kind: Kind::Nftables(hook, style), most }
}

const fn ours(name: &'static str, options: &'static [&'static str]) -> Contender {
    Contender { name, kind: Kind::Ours(options), most: u32::MAX }
}

/// Everything that is measured, in the order of the tables.
pub(super) const CONTENDERS: [Contender; 17] = [
    Contender { name: NONE, kind: Kind::None, most: u32::MAX },
    Contender { name: DROP, kind: Kind::Drop, most: u32::MAX },
    Contender { name: "empty XDP pass", kind: Kind::Pass, most: u32::MAX },
    nftables("nftables netdev, linear", Hook::Netdev, Style::Linear, 10_000),
    nftables("nftables netdev, set", Hook::Netdev, Style::Set, u32::MAX),
    nftables("nftables netdev, map", Hook::Netdev, Style::Map, u32::MAX),
    nftables("nftables prerouting, linear", Hook::Prerouting, Style::Linear, 10_000),
    nftables("nftables prerouting, set", Hook::Prerouting, Style::Set, u32::MAX),
    nftables("nftables prerouting, map", Hook::Prerouting, Style::Map, u32::MAX),
    Contender { name: CONNTRACK, kind: Kind::Conntrack, most: u32::MAX },
    Contender { name: "iptables raw, linear", kind: Kind::Iptables, most: 10_000 },
    Contender { name: "iptables raw, ipset", kind: Kind::Ipset, most: u32::MAX },
    // Its tool takes one address at a time, each a process and a millisecond.
    Contender { name: "xdp-filter, addresses", kind: Kind::XdpFilter, most: 1_000 },
    ours(NATIVE, &["--hook", "xdp", "--xdp-mode", "native"]),
    ours("filter, XDP generic", &["--hook", "xdp", "--xdp-mode", "generic"]),
    ours("filter, TCX", &["--hook", "tcx"]),
    ours("filter, clsact", &["--hook", "clsact"]),
];

impl Contender {
    /// Whether it has rules; others are measured once.
    pub(super) fn has_rules(&self) -> bool {
        !matches!(self.kind, Kind::None | Kind::Drop | Kind::Pass)
    }

    pub(super) fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ours(_))
    }

    /// Whether all of the flood ends there, or nearly all.
    pub(super) fn drops(&self) -> bool {
        !matches!(self.kind, Kind::None | Kind::Pass)
    }

    /// At most how many of so many packets of the flood it may let through.
    pub(super) fn lets_through(&self, sent: u64, rules: Rules) -> u64 {
        match self.kind {
            Kind::None | Kind::Pass => sent,
            // From a random one of 2^24 addresses; three times what is expected, for chance.
            Kind::XdpFilter => 10 + 3 * ((sent * u64::from(rules.count)) >> 24),
            _ => 0,
        }
    }

    /// The programs that it needs and this machine lacks.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let needed: &[&str] = match self.kind {
            Kind::None | Kind::Drop | Kind::Pass | Kind::Ours(_) => &[],
            Kind::Nftables(..) | Kind::Conntrack => &["nft"],
            Kind::Iptables => &["iptables-legacy-restore"],
            Kind::Ipset => &["iptables-legacy-restore", "ipset"],
            Kind::XdpFilter => &["xdp-filter"],
        };
        needed.iter().copied().filter(|program| shell::find(program).is_none()).collect()
    }

    /// Whether it leaves something in its network namespace that slows the others: iptables' hooks
    /// stay for as long as the namespace.
    pub(super) fn stains(&self) -> bool {
        matches!(self.kind, Kind::Iptables | Kind::Ipset)
    }

    pub(super) fn load(&self, stage: &mut Stage, rules: Rules) -> Result<()> {
        match self.kind {
            Kind::None => Ok(()),
            Kind::Drop => stage.limits.attach(&stage.lab.workload, "bench_drop"),
            Kind::Pass => stage.limits.attach(&stage.lab.workload, "bench_pass"),
            Kind::Nftables(hook, style) => give(stage, "nft", &["-f"], &rules.nftables(hook, style, false)),
            Kind::Conntrack => {
                give(stage, "nft", &["-f"], &rules.nftables(Hook::Prerouting, Style::Map, true))
            }
            Kind::Iptables => give(stage, "iptables-legacy-restore", &[], &rules.iptables()),
            Kind::Ipset => {
                let [set, table] = rules.ipset();
                give(stage, "ipset", &["restore", "-file"], &set)?;
                give(stage, "iptables-legacy-restore", &[], &table)
            }
            Kind::XdpFilter => load_xdp_filter(stage, rules),
            Kind::Ours(options) => {
                let document = stage.file("policy.json", &rules.document().to_string())?;
                stage.lab.filter.attach_with(&document, options).map(drop)
            }
        }
        .with_context(|| format!("cannot load {}", self.name))
    }

    pub(super) fn unload(&self, stage: &mut Stage) -> Result<()> {
        match self.kind {
            Kind::None => Ok(()),
            Kind::Drop | Kind::Pass => stage.limits.detach(),
            Kind::Nftables(Hook::Netdev, _) => {
                stage.run("nft", &["delete", "table", "netdev", TABLE]).map(drop)
            }
            Kind::Nftables(Hook::Prerouting, _) | Kind::Conntrack => {
                stage.run("nft", &["delete", "table", "ip", TABLE]).map(drop)
            }
            Kind::Iptables => give(stage, "iptables-legacy-restore", &[], NOTHING),
            Kind::Ipset => {
                give(stage, "iptables-legacy-restore", &[], NOTHING)?;
                stage.run("ipset", &["destroy", TABLE]).map(drop)
            }
            Kind::XdpFilter => stage.run("xdp-filter", &["unload", DEVICE]).map(drop),
            Kind::Ours(_) => stage.lab.filter.detach(),
        }
        .with_context(|| format!("cannot take {} away", self.name))
    }

    /// Whether it lets a packet from that rule's first host to a port through.
    pub(super) fn passes(&self, rule: Rule, port: u16) -> bool {
        match self.kind {
            Kind::None | Kind::Pass => true,
            Kind::Drop => false,
            Kind::XdpFilter => true,
            _ => rule.port == port,
        }
    }
}

/// `iptables-restore` of a table without rules.
const NOTHING: &str = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n";

/// xdp-filter pins its maps in bpffs, outside of the network namespace.
fn load_xdp_filter(stage: &Stage, rules: Rules) -> Result<()> {
    let mut unload = stage.lab.workload.command("xdp-filter");
    unload.args(["unload", DEVICE]);
    let undo = move || {
        shell::succeeds(unload.process_group(0));
    };
    lab::make(undo, || {
        stage.run("xdp-filter", &["load", DEVICE, "-m", "native", "-p", "deny", "-f", "ipv4"])
    })?;
    // One shell for all of them, as starting nsenter would double the time.
    let mut script = "set -e\n".to_owned();
    for rule in rules.iter() {
        let _ = writeln!(script, "xdp-filter ip -m src {}", rule.host());
    }
    give(stage, "sh", &[], &script)
}

/// Runs a tool on a file with that content.
fn give(stage: &Stage, program: &str, arguments: &[&str], content: &str) -> Result<()> {
    let file = stage.file(&format!("{program}.input"), content)?;
    let name = file.to_string_lossy();
    stage.run(program, &[arguments, &[&*name]].concat()).map(drop)
}
