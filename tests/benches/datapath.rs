//! What a packet costs the programs, in nanoseconds over an empty program.
//!
//! Each row alternates runs of the filter and of the base, in one process on one CPU; what is
//! printed is the median of the differences, their spread, and the first run, with cold caches. After each
//! run the interface's counters must have counted exactly what was sent, with the expected reason.

use std::{collections::HashMap, net::IpAddr};

use filter_common::{Direction, bench::prefix, verdict::Reason};
use filter_ctl::policy::{EffectivePolicy, GroupRule, Peer, RuleService};
use ipnet::IpNet;
use tests::{
    frame::{self, Frame, flags},
    policy::Policy,
    program::{Eni, Receive, Setting, effective, programs},
    wrapper::{Remotes, Wrapper},
};

const RUNS: usize = 9;
const PACKETS: u32 = 1_000_000;

struct Row {
    name: String,
    limit: u64,
    differences: Vec<i64>,
    cold: i64,
}

fn main() {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let mut rows = Vec::new();
    let mut programs = programs();
    let mut policy = effective(&Policy::new());
    let mut run = |name: &str,
                   row: &mut dyn FnMut(&mut Eni<'_>, &mut Wrapper, &str) -> Row,
                   policy: &EffectivePolicy| {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            return;
        }
        let mut eni = programs.eni(Setting::WORKLOAD, Receive::Xdp, policy);
        let mut wrapper = Wrapper::new();
        let (_, send) = eni.hooks();
        wrapper.call_tc(send);
        let row = row(&mut eni, &mut wrapper, name);
        println!("{}", row.describe());
        eni.clear();
        rows.push(row);
    };
    for wide in [false, true] {
        let family = if wide { "IPv6" } else { "IPv4" };
        for (rules, limit) in
            [(10, 0), (1_000, if wide { 55 } else { 35 }), (100_000, if wide { 110 } else { 50 })]
        {
            policy.groups[0].ingress = own_prefixes(rules, wide);
            policy.groups[0].ingress.push(GroupRule::new(RuleService::Tcp(22, 22), everywhere(wide)));
            run(
                &format!("reject {family} {rules} rules"),
                &mut |eni, wrapper, name| {
                    open(eni, wrapper, 1 << 19, wide);
                    let (from, to) = ends(wide, 9);
                    measure(
                        eni,
                        wrapper,
                        name,
                        limit,
                        &frame::udp_with(&from, &to, 18),
                        Remotes::Within(rules),
                        Reason::SecurityGroup,
                    )
                },
                &policy,
            );
        }
        for (count, limit) in [
            (1_000, if wide { 35 } else { 25 }),
            (100_000, if wide { 80 } else { 60 }),
            (1_000_000, if wide { 180 } else { 140 }),
        ] {
            policy.groups[0].ingress = vec![GroupRule::new(RuleService::Tcp(22, 22), everywhere(wide))];
            policy.flow_log_interval = Some(60);
            run(
                &format!("established {family} {count} connections"),
                &mut |eni, wrapper, name| {
                    open(eni, wrapper, count, wide);
                    let (from, to) = ends(wide, 22);
                    measure(
                        eni,
                        wrapper,
                        name,
                        limit,
                        &frame::tcp(&from, &to, flags::ACK),
                        Remotes::Random(count),
                        Reason::Connection,
                    )
                },
                &policy,
            );
            policy.flow_log_interval = None;
        }
    }
}

fn ends(wide: bool, port: u16) -> (String, String) {
    if wide {
        ("[2001:db8:b::1]:40000".into(), format!("[2001:db8:0:1::20]:{port}"))
    } else {
        ("11.0.0.1:40000".into(), format!("10.0.1.20:{port}"))
    }
}

fn everywhere(wide: bool) -> Peer {
    let prefix = if wide { "::/0" } else { "0.0.0.0/0" };
    Peer::Cidr(prefix.parse().expect("a prefix"))
}

/// Rules that each name a prefix of their own, and one of 50 ports.
fn own_prefixes(count: u32, wide: bool) -> Vec<GroupRule> {
    (0..count)
        .map(|number| {
            let (address, length) = prefix(number, wide);
            let address: IpAddr = if wide {
                let bits = address.iter().fold(0, |bits, word| bits << 32 | u128::from(*word));
                std::net::Ipv6Addr::from_bits(bits).into()
            } else {
                std::net::Ipv4Addr::from_bits(address[0]).into()
            };
            let port = 1000 + (number % 50) as u16;
            let prefix = IpNet::new(address, length as u8).expect("a prefix").trunc();
            GroupRule::new(RuleService::Udp(port, port), Peer::Cidr(prefix))
        })
        .collect()
}

/// Opens connections: SYN, SYN-ACK, ACK of each.
fn open(eni: &mut Eni<'_>, wrapper: &mut Wrapper, count: u32, wide: bool) {
    let (from, to) = ends(wide, 22);
    let before = eni.counters();
    let (xdp, _) = eni.hooks();
    wrapper.call_xdp(Some(xdp));
    wrapper.receive(&frame::tcp(&from, &to, flags::SYN), Remotes::Each(count), 1, count);
    wrapper.send(&frame::tcp(&to, &from, flags::SYN | flags::ACK), Remotes::Each(count), 1, count);
    wrapper.receive(&frame::tcp(&from, &to, flags::ACK), Remotes::Each(count), 1, count);
    let after = eni.counters();
    let found = |direction: Direction, reason: Reason| {
        after.packets[direction.index()][reason as usize] - before.packets[direction.index()][reason as usize]
    };
    let all = u64::from(count);
    let opened = found(Direction::Ingress, Reason::NewConnection);
    if opened != all {
        println!("  only {opened} of {all} connections found room");
    }
    assert_eq!(found(Direction::Egress, Reason::Connection), opened, "answers");
}

fn measure(
    eni: &mut Eni<'_>,
    wrapper: &mut Wrapper,
    name: &str,
    limit: u64,
    frame: &Frame,
    remotes: Remotes,
    expected: Reason,
) -> Row {
    let mut differences = Vec::new();
    let mut cold = 0;
    for run in 0..=RUNS {
        let seed = 0x1234_5678 + run as u64;
        wrapper.call_xdp(None);
        let base = wrapper.receive(frame, remotes, seed, PACKETS);
        let (xdp, _) = eni.hooks();
        wrapper.call_xdp(Some(xdp));
        let before = eni.counters();
        let whole = wrapper.receive(frame, remotes, seed, PACKETS);
        let after = eni.counters();
        let mut counted = HashMap::new();
        for reason in Reason::ALL {
            let count = after.packets[0][*reason as usize] - before.packets[0][*reason as usize];
            if count != 0 {
                counted.insert(*reason, count);
            }
        }
        if counted != HashMap::from([(expected, u64::from(PACKETS))]) {
            println!("  {name}: counted {counted:?}");
        }
        let difference = whole as i64 - base as i64;
        if run == 0 { cold = difference } else { differences.push(difference) }
    }
    differences.sort_unstable();
    Row { name: name.to_owned(), limit, differences, cold }
}

impl Row {
    fn describe(&self) -> String {
        let median = self.differences[self.differences.len() / 2];
        let last = self.differences.len() - 1;
        format!(
            "{:<40} {median:>5} ns [{}..{}] cold {} limit {}",
            self.name, self.differences[0], self.differences[last], self.cold, self.limit
        )
    }
}
