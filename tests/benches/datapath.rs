//! What a packet costs the programs, in nanoseconds over an empty program.
//!
//! Each row alternates runs of the filter and of the base, in one process on one CPU: both through
//! the wrapper that gives every packet another remote end. A row is the median of the differences,
//! with their spread, and the first one, when the caches were cold. After each run the interface's
//! counters must have counted exactly what was sent, with the expected reason. Rows are told on
//! standard error as they come, and as JSON on standard output.

use std::{
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use filter_common::{
    Direction::{Egress, Ingress},
    bench::prefix,
    counters::Counters,
    verdict::Reason,
};
use filter_ctl::policy::{EffectivePolicy, GroupRule, Peer, RuleService};
use ipnet::IpNet;
use serde_json::{Value, json};
use tests::{
    frame::{self, flags},
    policy::Policy,
    program::{Eni, Receive, Setting, effective, programs},
    wrapper::{Remotes, Wrapper},
};

/// Runs of each row, unless `FILTER_BENCH_RUNS` says how many.
const RUNS: u64 = 9;
/// Packets of a run.
const PACKETS: u32 = 1_000_000;
/// Connections in the table while packets are rejected: half of its slots.
const BYSTANDERS: u32 = 1 << 19;

/// What is measured, with what it aims at (`docs/benchmarks`), in nanoseconds.
#[derive(Clone, Copy)]
enum Work {
    /// New packets that no rule admits, from random addresses within the prefixes of so many rules, to a
    /// port that has had no connection.
    Reject { rules: u32 },
    /// The same, to a port that has had one: each packet's connection must be looked up.
    RejectAtService { rules: u32 },
    /// As [`Work::Reject`], where each rule has ports of its own, too: no two are alike in anything.
    RejectOwnPorts { rules: u32 },
    /// Packets of so many established connections in random order, logged.
    Established { connections: u32 },
}

const ROWS: [(Work, [Option<i64>; 2]); 8] = [
    (Work::Reject { rules: 10 }, [None, None]),
    (Work::Reject { rules: 1_000 }, [Some(35), Some(55)]),
    (Work::Reject { rules: 100_000 }, [Some(50), Some(110)]),
    (Work::RejectAtService { rules: 1_000 }, [None, None]),
    (Work::RejectOwnPorts { rules: 10_000 }, [Some(150), None]),
    (Work::Established { connections: 1_000 }, [Some(25), Some(35)]),
    (Work::Established { connections: 100_000 }, [Some(60), Some(80)]),
    // More do not all fit in without evicting some, see ADR 0014.
    (Work::Established { connections: 600_000 }, [None, None]),
];

fn main() {
    let mut wrapper = Wrapper::new();
    let mut programs = programs();
    let mut rows = Vec::new();
    for wide in [false, true] {
        for (work, aims) in ROWS {
            if !wanted(work, wide) {
                continue;
            }
            let policy = policy(work, wide);
            let mut eni = programs.eni(Setting::WORKLOAD, Receive::Xdp, &policy);
            let row = measure(&mut eni, &mut wrapper, work, wide, aims[usize::from(wide)]);
            eprintln!("{row}");
            rows.push(row);
            eni.clear();
        }
    }
    println!("{}", Value::from(rows));
}

/// Whether a row is asked for: all are, unless arguments name some by parts of their names.
fn wanted(work: Work, wide: bool) -> bool {
    let name = work.name(wide);
    let mut parts = env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    parts.peek().is_none() || parts.any(|part| name.contains(&part))
}

impl Work {
    fn name(self, wide: bool) -> String {
        let family = if wide { "IPv6" } else { "IPv4" };
        match self {
            Self::Reject { rules } => format!("rejected, {family}, {rules} rules"),
            Self::RejectOwnPorts { rules } => format!("rejected, {family}, {rules} rules with own ports"),
            Self::RejectAtService { rules } => format!("rejected at a service, {family}, {rules} rules"),
            Self::Established { connections } => format!("established, {family}, {connections} connections"),
        }
    }
}

/// SSH is open to all and tracked, nothing is exempt; beside it what the work needs.
fn policy(work: Work, wide: bool) -> EffectivePolicy {
    let mut policy = effective(&Policy::new());
    policy.platform.clear();
    policy.reserved.clear();
    let everywhere = if wide { "::/0" } else { "0.0.0.0/0" };
    let everywhere = Peer::Cidr(everywhere.parse().expect("a prefix"));
    let mut ingress = vec![GroupRule::new(RuleService::Tcp(22, 22), everywhere)];
    match work {
        Work::Reject { rules } => ingress.extend((0..rules).map(|number| rule(number, wide))),
        Work::RejectOwnPorts { rules } => ingress.extend((0..rules).map(|number| {
            let ports = (1000 + 5 * number as u16, 1004 + 5 * number as u16);
            GroupRule { service: RuleService::Udp(ports.0, ports.1), ..rule(number, wide) }
        })),
        Work::RejectAtService { rules } => {
            ingress.extend((0..rules).map(|number| rule(number, wide)));
            let [client, _] = client(wide);
            ingress.push(GroupRule::new(RuleService::Udp(9, 9), Peer::Cidr(client.parse().expect("a host"))));
        }
        Work::Established { .. } => policy.flow_log_interval = Some(60),
    }
    policy.groups[0].ingress = ingress;
    policy
}

/// A rule with a prefix of its own, for one of fifty ports.
fn rule(number: u32, wide: bool) -> GroupRule {
    let (words, length) = prefix(number, wide);
    let address: IpAddr = if wide {
        Ipv6Addr::from_bits(words.iter().fold(0, |bits, word| bits << 32 | u128::from(*word))).into()
    } else {
        Ipv4Addr::from_bits(words[0]).into()
    };
    let port = 1000 + (number % 50) as u16;
    let prefix = IpNet::new(address, length as u8).expect("a length that fits").trunc();
    GroupRule::new(RuleService::Udp(port, port), Peer::Cidr(prefix))
}

fn measure(eni: &mut Eni<'_>, wrapper: &mut Wrapper, work: Work, wide: bool, aim: Option<i64>) -> Value {
    let name = work.name(wide);
    let (frame, remotes, expected) = match work {
        Work::Reject { rules } | Work::RejectOwnPorts { rules } | Work::RejectAtService { rules } => {
            open(eni, wrapper, BYSTANDERS, wide);
            if matches!(work, Work::RejectAtService { .. }) {
                let ([_, from], [_, to]) = (client(wide), ends(wide, 9));
                let outcome = eni.judge(Ingress, &frame::udp(&from, &to));
                assert_eq!(outcome.reason, Reason::NewConnection, "the service has a client");
            }
            let [from, to] = ends(wide, 9);
            (frame::udp_with(&from, &to, 18), Remotes::Within(rules), Reason::SecurityGroup)
        }
        Work::Established { connections } => {
            open(eni, wrapper, connections, wide);
            let [from, to] = ends(wide, 22);
            (frame::tcp(&from, &to, flags::ACK), Remotes::Random(connections), Reason::Connection)
        }
    };
    let mut wrong = String::new();
    let mut differences = Vec::new();
    let runs = env::var("FILTER_BENCH_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS);
    for seed in 0..=runs {
        wrapper.call_xdp(None);
        let base = wrapper.receive(&frame, remotes, seed, PACKETS);
        wrapper.call_xdp(Some(eni.program_fds().0));
        let before = eni.counters();
        let whole = wrapper.receive(&frame, remotes, seed, PACKETS);
        let counted = moved(&before, &eni.counters(), Ingress.index(), expected);
        if counted != u64::from(PACKETS) {
            wrong = format!("{name}: {counted} of {PACKETS} packets were counted as {}", expected.name());
        }
        differences.push(whole.cast_signed() - base.cast_signed());
    }
    let cold = differences.remove(0);
    differences.sort_unstable();
    let (least, most) = (differences[0], differences[differences.len() - 1]);
    let median = differences[differences.len() / 2];
    json!({ "name": name, "median": median, "least": least, "most": most, "cold": cold, "aim": aim, "wrong": wrong })
}

/// Opens connections: SYN, SYN-ACK and ACK of each.
fn open(eni: &mut Eni<'_>, wrapper: &mut Wrapper, count: u32, wide: bool) {
    let [from, to] = ends(wide, 22);
    let (receive, send) = eni.program_fds();
    wrapper.call_xdp(Some(receive));
    wrapper.call_tc(send);
    let before = eni.counters();
    wrapper.receive(&frame::tcp(&from, &to, flags::SYN), Remotes::Each(count), 0, count);
    wrapper.send(&frame::tcp(&to, &from, flags::SYN | flags::ACK), Remotes::Each(count), 0, count);
    wrapper.receive(&frame::tcp(&from, &to, flags::ACK), Remotes::Each(count), 0, count);
    let after = eni.counters();
    let opened = moved(&before, &after, Ingress.index(), Reason::NewConnection);
    let answered = moved(&before, &after, Egress.index(), Reason::Connection);
    assert_eq!((opened, answered), (count.into(), count.into()), "each connection has an entry");
}

/// The remote and the interface, each with its port.
fn ends(wide: bool, port: u16) -> [String; 2] {
    if wide {
        ["[2001:db8:b::1]:40000".to_owned(), format!("[2001:db8:0:1::20]:{port}")]
    } else {
        ["11.0.0.1:40000".to_owned(), format!("10.0.1.20:{port}")]
    }
}

/// A service's one client: its prefix, its address and port.
fn client(wide: bool) -> [String; 2] {
    if wide {
        ["2001:db8:c::1/128".to_owned(), "[2001:db8:c::1]:40000".to_owned()]
    } else {
        ["192.0.2.1/32".to_owned(), "192.0.2.1:40000".to_owned()]
    }
}

/// Packets that were counted with a reason.
fn moved(before: &Counters, after: &Counters, direction: usize, reason: Reason) -> u64 {
    after.packets[direction][reason as usize] - before.packets[direction][reason as usize]
}
