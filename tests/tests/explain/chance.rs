//! Random policies and first packets from small pools, so that rules match and edges are met.

use std::net::IpAddr;

use filter_common::Direction;
use filter_ctl::{
    explain::{Message, Question},
    policy::{EffectivePolicy, Group, GroupRule, NetworkAclRule, Peer, RuleService},
};
use tests::random::Random;

const PREFIXES: [&str; 10] = [
    "0.0.0.0/0",
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.1.16/28",
    "198.51.100.0/24",
    "169.254.0.0/16",
    "::/0",
    "::/0",
    "2001:db8::/32",
    "fe80::/10",
];

/// The interface's end and the other one.
const ENDS: [(&str, &str); 12] = [
    ("10.0.1.20", "198.51.100.7"),
    ("10.0.1.20", "198.51.100.8"),
    ("10.0.1.20", "203.0.113.9"),
    ("10.0.1.20", "10.0.1.30"),
    ("10.0.1.20", "10.0.1.2"),
    ("10.0.1.20", "169.254.169.254"),
    ("10.0.1.21", "169.254.169.254"),
    ("10.0.1.21", "198.51.100.7"),
    ("2001:db8:0:1::20", "2001:db8:100::7"),
    ("2001:db8:0:1::21", "2001:db8:0:1::30"),
    ("fe80::20", "fe80::1"),
    ("255.255.255.255", "10.0.1.30"),
];

const PORTS: [u16; 9] = [0, 22, 53, 67, 68, 80, 546, 547, 65_535];

pub(crate) struct Chance(Random);

impl Chance {
    /// From a seed that is printed; `FILTER_SEED` repeats it.
    pub(crate) fn new() -> Self {
        let given = std::env::var("FILTER_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.expect("a time after 1970").as_nanos() as u64
        });
        println!("FILTER_SEED={seed}");
        Self(Random::new(seed))
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.0.below(times) == 0
    }

    fn of<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.0.below(pool.len() as u64) as usize]
    }

    fn service(&mut self) -> RuleService {
        let (a, b) = (self.of(&PORTS), self.of(&PORTS));
        match self.0.below(9) {
            0 => RuleService::All,
            1 => RuleService::Tcp(0, u16::MAX),
            2 => RuleService::Udp(0, u16::MAX),
            3 | 4 => RuleService::Tcp(a.min(b), a.max(b)),
            5 => RuleService::Udp(a.min(b), a.max(b)),
            6 => RuleService::Icmp(self.of(&[None, Some(8), Some(3)]), None),
            7 => RuleService::Icmpv6(self.of(&[None, Some(128)]), None),
            _ => RuleService::Protocol(self.of(&[47, 50])),
        }
    }

    fn rules(&mut self) -> Vec<GroupRule> {
        let rule = |chance: &mut Self| {
            let prefix = chance.of(&PREFIXES).parse().expect("a prefix");
            let list = || Peer::PrefixList { id: "pl-1".into(), entries: [prefix].into() };
            let peer = if chance.one_in(5) { list() } else { Peer::Cidr(prefix) };
            GroupRule::new(chance.service(), peer)
        };
        (0..1 + self.0.below(8)).map(|_| rule(self)).collect()
    }

    fn acl(&mut self) -> Vec<NetworkAclRule> {
        let rule = |number, allow, service, prefix: &str| {
            let prefix = prefix.parse().expect("a prefix");
            NetworkAclRule { number, allow, service, prefix }
        };
        let mut rules: Vec<_> = (1..1 + self.0.below(4) as u16)
            .map(|number| {
                let (allow, service) = (self.one_in(2), self.service());
                rule(number, allow, service, self.of(&PREFIXES))
            })
            .collect();
        if !self.one_in(4) {
            rules.push(rule(100, true, RuleService::All, "0.0.0.0/0"));
            rules.push(rule(101, true, RuleService::All, "::/0"));
        }
        rules
    }

    /// Other rules for the same interface.
    pub(crate) fn policy(&mut self, base: &EffectivePolicy) -> EffectivePolicy {
        let mut policy = base.clone();
        let group = |chance: &mut Self| Group {
            id: "sg-1".into(),
            name: "one".into(),
            ingress: chance.rules(),
            egress: chance.rules(),
        };
        policy.groups = (0..1 + self.0.below(2)).map(|_| group(self)).collect();
        (policy.nacl.ingress, policy.nacl.egress) = (self.acl(), self.acl());
        policy.source_dest_check = self.one_in(5);
        policy
    }

    /// A packet that begins a conversation.
    pub(crate) fn question(&mut self) -> Question {
        let (local, remote) = self.of(&ENDS);
        let (local, remote): (IpAddr, IpAddr) =
            (local.parse().expect("an address"), remote.parse().expect("an address"));
        let direction = self.of(&Direction::BOTH);
        let ports = |chance: &mut Self| match chance.0.below(12) {
            0 => Message::Ports(67, 68),
            1 => Message::Ports(68, 67),
            2 => Message::Ports(546, 547),
            3 => Message::Ports(547, 546),
            4 => Message::Ports(chance.of(&PORTS), chance.of(&PORTS)),
            _ => Message::Ports(1024 + chance.0.below(60_000) as u16, chance.of(&PORTS)),
        };
        let (protocol, message) = match self.0.below(8) {
            0..3 => (6, ports(self)),
            3..6 => (17, ports(self)),
            6 if local.is_ipv4() => (1, Message::Icmp(self.of(&[8, 0, 3, 13, 30]), self.of(&[0, 0, 4]))),
            6 => (58, Message::Icmp(self.of(&[128, 129, 2, 130, 133, 135, 143]), self.of(&[0, 0, 1]))),
            // ICMP over the other family is a protocol like any other.
            _ if local.is_ipv4() => (self.of(&[47, 50, 58]), Message::Nothing),
            _ => (self.of(&[47, 50, 1]), Message::Nothing),
        };
        let (source, destination) = match direction {
            Direction::Ingress => (remote, local),
            Direction::Egress => (local, remote),
        };
        let (established, assumed_port) = (false, false);
        Question { direction, source, destination, protocol, message, established, assumed_port }
    }
}
