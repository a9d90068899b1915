//! Random facts.
//!
//! Addresses, blocks and ports come from small pools, so that facts name each other and meet.

use filter_common::Direction;
use ipnet::IpNet;
use tests::random::Random;

use crate::facts::{DEFAULT_GROUP, ENI, Fact, Peer, Service, block};

const BLOCKS: [&str; 20] = [
    "0.0.0.0/0",
    "0.0.0.0/0",
    "0.0.0.0/1",
    "10.0.0.0/8",
    "10.0.1.0/24",
    "10.0.1.77/28",
    "198.51.100.0/24",
    "198.51.100.7/32",
    "198.51.100.7/31",
    "203.0.113.9/0",
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

/// Around which blocks of any length lie.
const BASES: [&str; 6] = [
    "10.0.1.20/32",
    "10.0.2.9/32",
    "198.51.100.7/32",
    "2001:db8:100::7/128",
    "2001:db8:0:2::9/128",
    "::/128",
];

/// Beside those that a document says.
pub(crate) const PORTS: [u16; 14] = [0, 22, 22, 53, 67, 68, 80, 443, 546, 547, 1023, 1024, 40_000, 65_535];

/// Addresses and delegated prefixes that an interface may have, in its subnet.
const ADDRESSES: [&[&str]; 4] = [
    &["10.0.1.21/32", "10.0.1.48/28", "2001:db8:0:1::21/128", "2001:db8:0:1:8000::/80"],
    &["10.0.1.30/32", "10.0.1.31/32", "2001:db8:0:1::30/128"],
    &["10.0.1.64/28", "10.0.1.3/32", "2001:db8:0:1:9000::/80"],
    &["10.0.2.9/32", "10.0.2.255/32", "2001:db8:0:2::9/128"],
];

/// What comes next.
pub(crate) struct Chance(pub(crate) Random);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u64) as usize
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.0.below(times) == 0
    }

    pub(crate) fn of<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.below(pool.len())]
    }

    pub(crate) fn direction(&mut self) -> Direction {
        self.of(&Direction::BOTH)
    }

    /// All that a document of one case may ever say.
    pub(crate) fn facts(&mut self) -> Vec<Fact> {
        let mut facts = Vec::new();
        self.interfaces(&mut facts);
        for group in 0..=DEFAULT_GROUP {
            if !self.one_in(3) {
                self.group(group, &mut facts);
            }
        }
        for list in 0..3 {
            let length = self.below(4);
            facts.extend((0..length).map(|_| self.list_entry(list)));
        }
        if !self.one_in(6) {
            self.acl(&mut facts);
        }
        for _ in 0..self.below(3) {
            facts.push(Fact::Timeouts {
                tcp_established: self.of(&[60, 61, 100, 350, 432_000]),
                udp_stream: self.of(&[60, 61, 120, 180]),
                udp: self.of(&[30, 31, 45, 60]),
            });
        }
        let rare = [
            (Fact::OtherAcl, 4),
            (Fact::SourceDestCheck, 8),
            (Fact::StrictTcp, 6),
            (Fact::ExemptServices, 4),
            (Fact::FlowLog, 4),
        ];
        facts.extend(rare.into_iter().filter(|(_, times)| self.one_in(*times)).map(|(fact, _)| fact));
        facts
    }

    fn interfaces(&mut self, facts: &mut Vec<Fact>) {
        for (interface, addresses) in ADDRESSES.iter().enumerate() {
            if interface != ENI && self.one_in(4) {
                continue;
            }
            for address in *addresses {
                if self.one_in(2) {
                    facts.push(Fact::Address { interface, block: block(address) });
                }
            }
            for group in 0..=DEFAULT_GROUP {
                if self.one_in(if interface == ENI { 2 } else { 3 }) {
                    facts.push(Fact::Member { interface, group });
                }
            }
            if self.one_in(20) {
                facts.push(Fact::RequesterManaged(interface));
            }
        }
    }

    fn group(&mut self, group: usize, facts: &mut Vec<Fact>) {
        if self.one_in(5) {
            facts.push(Fact::DefaultEgress(group));
        }
        for direction in Direction::BOTH {
            let mut service = self.service();
            for _ in 0..self.below(5) {
                // Several peers of one permission.
                if !self.one_in(3) {
                    service = self.service();
                }
                facts.push(Fact::Rule { group, direction, service, peer: self.peer() });
            }
        }
    }

    fn peer(&mut self) -> Peer {
        match self.below(10) {
            0..6 => Peer::Cidr(self.block()),
            // One more than there are: stale.
            6 => Peer::List(self.below(4)),
            7 => Peer::Group { group: self.below(DEFAULT_GROUP + 1), by_name: true },
            _ => Peer::Group { group: self.below(DEFAULT_GROUP + 1), by_name: false },
        }
    }

    fn block(&mut self) -> IpNet {
        if !self.one_in(4) {
            return block(self.of(&BLOCKS));
        }
        let base = block(self.of(&BASES));
        let length = self.below(usize::from(base.max_prefix_len()) + 1) as u8;
        IpNet::new(base.addr(), length).expect("within the family's length")
    }

    fn list_entry(&mut self, list: usize) -> Fact {
        loop {
            let block = self.block();
            if list == 2 || block.addr().is_ipv6() == (list == 1) {
                return Fact::ListEntry { list, block };
            }
        }
    }

    fn acl(&mut self, facts: &mut Vec<Fact>) {
        facts.push(Fact::Acl { by_default: self.one_in(2) });
        let open = self.one_in(2);
        for direction in Direction::BOTH {
            let mut number = 0;
            for _ in 0..self.below(if open { 3 } else { 8 }) {
                number += 1 + self.of(&[0, 0, 1, 9, 99, 4000]);
                let (allow, block) = (!open && !self.one_in(3), self.block());
                let service = self.acl_service(block.addr().is_ipv6());
                facts.push(Fact::Entry { number, direction, allow, service, block });
            }
            let all = Service { protocol: None, in_words: false, bounds: None };
            for (number, everywhere) in [(32_765, "0.0.0.0/0"), (32_766, "::/0")] {
                if open {
                    let block = block(everywhere);
                    facts.push(Fact::Entry { number, direction, allow: true, service: all, block });
                }
            }
        }
    }

    /// As a group's rule may say it.
    fn service(&mut self) -> Service {
        let in_words = !self.one_in(4);
        let (protocol, bounds) = match self.below(14) {
            0..3 => (None, None),
            // What has no ports may say some, and they are ignored.
            3 => (None, Some((22, 22))),
            4 => (Some(6), Some(self.of(&[(0, 65_535), (-1, -1)]))),
            5 => (Some(17), Some(self.of(&[(0, 65_535), (-1, -1)]))),
            6..9 => (Some(6), Some(self.ports())),
            9 => (Some(17), Some(self.ports())),
            10 => (Some(1), Some(self.icmp())),
            11 => (Some(58), Some(self.icmp()).filter(|_| !self.one_in(3))),
            12 => (Some(self.of(&[0, 47, 50, 255])), None),
            _ => (Some(self.of(&[47, 132])), Some((80, 80))),
        };
        Service { protocol, in_words, bounds }
    }

    /// As a network ACL's entry may say it.
    fn acl_service(&mut self, v6: bool) -> Service {
        loop {
            let service = self.service();
            let bounds_needed = v6 && service.protocol == Some(58);
            if service.bounds.is_some() || !bounds_needed {
                return service;
            }
        }
    }

    fn ports(&mut self) -> (i32, i32) {
        let (a, b) = (self.of(&PORTS), self.of(&PORTS));
        let b = if self.one_in(2) { a } else { b };
        (a.min(b).into(), a.max(b).into())
    }

    fn icmp(&mut self) -> (i32, i32) {
        let kind = self.of(&[-1, 8, 0, 3, 128, 1, 255]);
        (kind, if kind == -1 { -1 } else { self.of(&[-1, -1, 0, 4, 255]) })
    }
}
