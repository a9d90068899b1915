//! Random policies and packets from small pools, so that rules match and edges are met.

use std::net::IpAddr;

use filter_common::Direction;
use filter_ctl::policy::{EffectivePolicy, Group, GroupRule, NetworkAclRule, Peer, RuleService};
use tests::{
    model::{Content, Packet, Part},
    random::Random,
};

const PREFIXES: [&str; 18] = [
    "0.0.0.0/0",
    "0.0.0.0/0",
    "0.0.0.0/1",
    "10.0.0.0/8",
    "10.0.1.0/24",
    "10.0.1.16/28",
    "198.51.100.0/24",
    "198.51.100.7/32",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/0",
    "::/0",
    "2001:db8::/32",
    "2001:db8:100::7/128",
    "2001:db8:0:1::/64",
    "fe80::/10",
    "ff02::/16",
];

const REMOTES: [&str; 25] = [
    "10.0.1.0",
    "10.0.1.1",
    "10.0.1.3",
    "10.0.1.4",
    "10.0.1.30",
    "10.0.1.255",
    "10.0.2.1",
    "9.255.255.255",
    "169.253.255.255",
    "169.254.169.254",
    "198.51.100.7",
    "198.51.100.7",
    "198.51.100.8",
    "203.0.113.9",
    "224.0.0.1",
    "255.255.255.255",
    "0.0.0.0",
    "2001:db8:100::7",
    "2001:db8:100::7",
    "2001:db8:100::8",
    "2001:db8:0:1::30",
    "2001:db7::1",
    "fe80::1",
    "fec0::1",
    "ff02::16",
];

const LOCALS: [&str; 8] = [
    "10.0.1.20",
    "10.0.1.20",
    "10.0.1.20",
    "10.0.1.21",
    "2001:db8:0:1::20",
    "2001:db8:0:1::20",
    "fe80::20",
    "2001:db8:0:1::21",
];

const PORTS: [u16; 14] = [0, 22, 22, 53, 67, 68, 80, 443, 546, 547, 1023, 1024, 40_000, 65_535];

/// Segments of every kind, the usual ones more often.
const FLAGS: [u8; 14] = [2, 2, 2, 18, 18, 16, 16, 16, 17, 4, 20, 0, 3, 0xff];

/// What comes next.
pub(crate) struct Chance(pub(crate) Random);

impl Chance {
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.0.below(times) == 0
    }

    pub(crate) fn of<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.0.below(pool.len() as u64) as usize]
    }

    fn service(&mut self) -> RuleService {
        let octet = |chance: &mut Self| {
            [None, Some(8), Some(0), Some(3), Some(128), Some(4)][chance.0.below(6) as usize]
        };
        match self.0.below(12) {
            0..3 => RuleService::All,
            3 => RuleService::Tcp(0, u16::MAX),
            4 => RuleService::Udp(0, u16::MAX),
            5..7 => {
                let (a, b) = (self.of(&PORTS), self.of(&PORTS));
                RuleService::Tcp(a.min(b), a.max(b))
            }
            7 => RuleService::Tcp(22, 22),
            8 => {
                let (a, b) = (self.of(&PORTS), self.of(&PORTS));
                RuleService::Udp(a.min(b), a.max(b))
            }
            9 => RuleService::Icmp(octet(self), None),
            10 => RuleService::Icmpv6(octet(self), octet(self)),
            _ => RuleService::Protocol(self.of(&[0, 47, 50, 255])),
        }
    }

    fn rules(&mut self) -> Vec<GroupRule> {
        (0..1 + self.0.below(10))
            .map(|_| {
                let prefix = self.of(&PREFIXES).parse().expect("a prefix");
                let peer = if self.one_in(5) {
                    Peer::PrefixList { id: "pl-1".into(), entries: [prefix].into() }
                } else {
                    Peer::Cidr(prefix)
                };
                GroupRule::new(self.service(), peer)
            })
            .collect()
    }

    fn acl(&mut self) -> Vec<NetworkAclRule> {
        if self.one_in(2) {
            let everything = |number, prefix: &str| NetworkAclRule {
                number,
                allow: true,
                service: RuleService::All,
                prefix: prefix.parse().expect("a prefix"),
            };
            let mut rules = vec![everything(100, "0.0.0.0/0"), everything(101, "::/0")];
            if self.one_in(2) {
                let prefix = self.of(&PREFIXES).parse().expect("a prefix");
                rules.insert(0, NetworkAclRule { number: 1, allow: false, service: self.service(), prefix });
            }
            return rules;
        }
        (0..self.0.below(8) as u16)
            .map(|number| NetworkAclRule {
                number: number + 1,
                allow: !self.one_in(3),
                service: self.service(),
                prefix: self.of(&PREFIXES).parse().expect("a prefix"),
            })
            .collect()
    }

    /// Other rules for the same interface.
    pub(crate) fn policy(&mut self, base: &EffectivePolicy) -> EffectivePolicy {
        let mut policy = base.clone();
        policy.groups = (0..1 + self.0.below(2))
            .map(|_| Group {
                id: "sg-1".into(),
                name: "one".into(),
                ingress: self.rules(),
                egress: self.rules(),
            })
            .collect();
        policy.nacl.ingress = self.acl();
        policy.nacl.egress = self.acl();
        policy
    }

    pub(crate) fn packet(&mut self) -> (Direction, Packet) {
        let local: IpAddr = self.of(&LOCALS).parse().expect("an address");
        let remote = loop {
            let remote: IpAddr = self.of(&REMOTES).parse().expect("an address");
            if remote.is_ipv4() == local.is_ipv4() {
                break remote;
            }
        };
        let direction = self.of(&[Direction::Ingress, Direction::Egress]);
        let (source, destination) =
            if direction == Direction::Ingress { (remote, local) } else { (local, remote) };
        let content = match self.0.below(10) {
            0..5 => Content::Tcp(self.of(&PORTS), self.of(&PORTS), self.of(&FLAGS)),
            5..7 => Content::Udp(self.of(&PORTS), self.of(&PORTS)),
            7 => {
                let v4 = [8, 8, 0, 13, 14, 3, 5, 11, 12, 30];
                let v6 = [128, 128, 129, 1, 2, 130, 132, 133, 135, 137, 138, 143];
                let kind = if local.is_ipv4() { self.of(&v4) } else { self.of(&v6) };
                Content::Icmp(kind, self.of(&[0, 0, 0, 1, 4]), self.of(&[7, 8]))
            }
            8 => Content::Other(self.of(&[47, 50, 132, 254])),
            // The other family's ICMP is a protocol like any other.
            _ => Content::Other(if local.is_ipv4() { 58 } else { 1 }),
        };
        match self.0.below(40) {
            0 => return self.dhcp(),
            1 => return self.listener(),
            _ => {}
        }
        let packet = Packet {
            source,
            destination,
            content,
            part: Part::Whole,
            hop_limit: self.of(&[64, 255, 255, 1, 254, 2]),
            tags: if self.one_in(8) { self.of(&[1, 2, 3]) } else { 0 },
        };
        (direction, packet)
    }

    /// Listener discovery, or nearly so.
    fn listener(&mut self) -> (Direction, Packet) {
        let packet = Packet {
            source: self.of(&["fe80::1", "fe80::20", "2001:db8:0:1::30", "::"]).parse().expect("an address"),
            destination: self.of(&["ff02::16", "fe80::20"]).parse().expect("an address"),
            content: Content::Icmp(self.of(&[129, 130, 131, 132, 142, 143, 144]), self.of(&[0, 0, 1]), 0),
            part: Part::Whole,
            hop_limit: self.of(&[1, 1, 2, 255]),
            tags: 0,
        };
        (self.of(&[Direction::Ingress, Direction::Egress]), packet)
    }

    /// DHCP, or nearly so.
    fn dhcp(&mut self) -> (Direction, Packet) {
        let (source, destination, from, to) = self.of(&[
            ("0.0.0.0", "255.255.255.255", 68, 67),
            ("10.0.1.20", "10.0.1.30", 68, 67),
            ("10.0.1.30", "10.0.1.20", 67, 68),
            ("10.0.2.1", "10.0.1.20", 67, 68),
            ("169.254.169.254", "255.255.255.255", 67, 68),
            ("fe80::20", "ff02::1:2", 546, 547),
            ("2001:db8:0:1::20", "ff02::1:2", 546, 547),
            ("fe80::1", "fe80::20", 547, 546),
        ]);
        let packet = Packet {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            content: Content::Udp(from, to),
            part: Part::Whole,
            hop_limit: 1,
            tags: 0,
        };
        (self.of(&[Direction::Ingress, Direction::Egress]), packet)
    }

    /// A packet that has to do with an earlier one.
    pub(crate) fn about(&mut self, (direction, earlier): &(Direction, Packet)) -> (Direction, Packet) {
        let mut packet = earlier.clone();
        packet.part = Part::Whole;
        match self.0.below(6) {
            // The same again, perhaps with other flags.
            0 => {
                if let Content::Tcp(_, _, flags) = &mut packet.content {
                    *flags = self.of(&FLAGS);
                }
                (*direction, packet)
            }
            // A part of the datagram.
            1 => {
                let id = self.of(&[1, 1, 2]);
                packet.part = match self.0.below(2) {
                    0 => Part::First(id),
                    _ => Part::Later(id, self.of(&[8, 16, 24, 32, 1024])),
                };
                if matches!(packet.content, Content::Error(..)) {
                    packet.part = Part::Whole;
                }
                (*direction, packet)
            }
            // An error about it, most often right.
            2 => {
                let kinds: &[u8] =
                    if packet.source.is_ipv4() { &[3, 11, 12, 5, 4] } else { &[1, 2, 3, 4, 137, 5] };
                let mut quoted = earlier.clone();
                (quoted.tags, quoted.hop_limit) = (0, 64);
                let error = Packet {
                    source: if self.one_in(3) { quoted.destination } else { self.like(quoted.source) },
                    destination: if self.one_in(6) { self.like(quoted.source) } else { quoted.source },
                    content: Content::Error(self.of(kinds), self.of(&[0, 4]), Box::new(quoted)),
                    part: Part::Whole,
                    hop_limit: 64,
                    tags: 0,
                };
                (direction.reverse(), error)
            }
            // The answer.
            _ => {
                std::mem::swap(&mut packet.source, &mut packet.destination);
                match &mut packet.content {
                    Content::Tcp(from, to, flags) => {
                        std::mem::swap(from, to);
                        *flags = if *flags == 2 && !self.one_in(4) { 18 } else { self.of(&FLAGS) };
                    }
                    Content::Udp(from, to) => std::mem::swap(from, to),
                    Content::Icmp(kind, ..) => {
                        *kind = match *kind {
                            8 => 0,
                            13 => 14,
                            128 => 129,
                            other => other,
                        }
                    }
                    _ => {}
                }
                (direction.reverse(), packet)
            }
        }
    }

    fn like(&mut self, address: IpAddr) -> IpAddr {
        loop {
            let other: IpAddr = self.of(&REMOTES).parse().expect("an address");
            if other.is_ipv4() == address.is_ipv4() {
                return other;
            }
        }
    }
}
