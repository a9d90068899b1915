//! Random packets near the edges of what a document says, and about one another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::Direction;
use ipnet::IpNet;
use tests::model::{Content, Packet, Part};

use crate::{
    chance::{Chance, PORTS},
    facts::{ENI, Fact, Peer, Service},
};

const REMOTES: [&str; 26] = [
    "10.0.0.2",
    "10.0.1.0",
    "10.0.1.1",
    "10.0.1.3",
    "10.0.1.4",
    "10.0.1.30",
    "10.0.1.255",
    "10.0.2.1",
    "169.253.255.255",
    "169.254.169.254",
    "169.254.169.252",
    "169.254.170.2",
    "198.51.100.7",
    "198.51.100.8",
    "203.0.113.9",
    "224.0.0.1",
    "224.0.1.0",
    "255.255.255.255",
    "0.0.0.0",
    "2001:db8:100::7",
    "2001:db8:0:1::30",
    "fd00:ec2::123",
    "fd00:ec2::255",
    "fe80::1",
    "fec0::1",
    "ff02::16",
];

const LOCALS: [&str; 9] = [
    "10.0.1.20",
    "10.0.1.20",
    "10.0.1.20",
    "10.0.1.21",
    "10.0.1.63",
    "2001:db8:0:1::20",
    "2001:db8:0:1::20",
    "fe80::20",
    "2001:db8:0:1:8000::1",
];

/// Segments of every kind, the usual ones more often.
const FLAGS: [u8; 14] = [2, 2, 2, 18, 18, 16, 16, 16, 17, 4, 20, 0, 3, 0xff];

/// The values at which the meaning of some fact changes, and those beside them.
pub(crate) struct Edges {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    messages: Vec<(u8, u8)>,
    protocols: Vec<u8>,
    /// What rules and entries are about, to be aimed at.
    targets: Vec<(Direction, Service, IpNet)>,
}

impl Edges {
    pub(crate) fn of(facts: &[Fact]) -> Self {
        let mut edges = Self {
            addresses: REMOTES.iter().map(|remote| address(remote)).collect(),
            ports: PORTS.to_vec(),
            messages: vec![(8, 0), (0, 0), (128, 0), (129, 0), (3, 4), (13, 0), (14, 0)],
            protocols: vec![47, 50, 254],
            targets: Vec::new(),
        };
        for fact in facts {
            match fact {
                Fact::Rule { group, direction, service, peer } => {
                    edges.add_service(service);
                    if let Peer::Cidr(block) = peer {
                        edges.add_block(*block);
                        // What may allow it is aimed at more often than what allows nothing or denies.
                        let own = facts.contains(&Fact::Member { interface: ENI, group: *group });
                        let times = if own { 6 } else { 1 };
                        edges.targets.extend(std::iter::repeat_n((*direction, *service, *block), times));
                    }
                }
                Fact::Entry { direction, service, block, .. } => {
                    edges.add_service(service);
                    edges.add_block(*block);
                    edges.targets.push((*direction, *service, *block));
                }
                Fact::Address { block, .. } | Fact::ListEntry { block, .. } => edges.add_block(*block),
                _ => {}
            }
        }
        edges
    }

    /// Both ends of a block, and what lies just outside.
    fn add_block(&mut self, block: IpNet) {
        let (first, last) = (block.network(), block.broadcast());
        self.addresses.extend([first, last, beside(first, false), beside(last, true)]);
    }

    fn add_service(&mut self, service: &Service) {
        let (Some(protocol), bounds) = (service.protocol, service.bounds.unwrap_or((-1, -1))) else { return };
        match protocol {
            6 | 17 => self.ports.extend(
                [bounds.0, bounds.1, bounds.0 - 1, bounds.1 + 1]
                    .iter()
                    .filter_map(|port| u16::try_from(*port).ok()),
            ),
            1 | 58 => {
                let (kind, code) = (bounds.0.max(0) as u8, bounds.1.max(0) as u8);
                let (above, below) = (kind.wrapping_add(1), kind.wrapping_sub(1));
                let others = [(above, code), (below, code), (kind, code.wrapping_add(1))];
                self.messages.extend(others.into_iter().chain([(kind, code), (kind, code.wrapping_sub(1))]));
            }
            // Those with ports or extension headers of their own are written as such.
            other => self.protocols.extend(
                [other, other.wrapping_add(1)]
                    .iter()
                    .filter(|number| !matches!(number, 0 | 1 | 43 | 44 | 51 | 60)),
            ),
        }
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The next address, or the one before.
fn beside(address: IpAddr, up: bool) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let bits = address.to_bits();
            Ipv4Addr::from_bits(if up { bits.wrapping_add(1) } else { bits.wrapping_sub(1) }).into()
        }
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            Ipv6Addr::from_bits(if up { bits.wrapping_add(1) } else { bits.wrapping_sub(1) }).into()
        }
    }
}

fn packet(source: IpAddr, destination: IpAddr, content: Content) -> Packet {
    Packet { source, destination, content, part: Part::Whole, hop_limit: 64, tags: 0 }
}

impl Chance {
    /// A packet of its own.
    pub(crate) fn packet(&mut self, edges: &Edges) -> (Direction, Packet) {
        match self.below(40) {
            0 => return self.dhcp(),
            1 => return self.discovery(),
            2..26 if !edges.targets.is_empty() => return self.aimed(edges),
            _ => {}
        }
        let local = address(self.of(&LOCALS));
        let remote = self.like(local, edges);
        let direction = self.direction();
        let content = match self.below(10) {
            0..5 => Content::Tcp(self.of(&edges.ports), self.of(&edges.ports), self.of(&FLAGS)),
            5..7 => Content::Udp(self.of(&edges.ports), self.of(&edges.ports)),
            7 => self.message(edges),
            8 => Content::Other(self.of(&edges.protocols)),
            // The other family's ICMP is a protocol like any other.
            _ => Content::Other(if local.is_ipv4() { 58 } else { 1 }),
        };
        let mut packet = between(direction, local, remote, content);
        packet.hop_limit = self.of(&[64, 255, 255, 1, 254, 2]);
        packet.tags = if self.one_in(8) { self.of(&[1, 2, 3]) } else { 0 };
        (direction, packet)
    }

    /// What a rule or an entry is about, or nearly so.
    fn aimed(&mut self, edges: &Edges) -> (Direction, Packet) {
        let (direction, service, block) = self.of(&edges.targets);
        let local = loop {
            let local = address(self.of(&LOCALS));
            if local.is_ipv4() == block.addr().is_ipv4() {
                break local;
            }
        };
        let (first, last) = (block.network(), block.broadcast());
        let remote = match self.below(8) {
            0 => beside(first, false),
            1 => beside(last, true),
            2 => last,
            3 => first,
            // What others of the same family name, too, where that is within.
            _ => (0..4).map(|_| self.like(local, edges)).find(|other| block.contains(other)).unwrap_or(first),
        };
        let bounds = service.bounds.unwrap_or((0, 0));
        let port = match self.below(6) {
            0 => bounds.0 - 1,
            1 => bounds.1 + 1,
            2 => bounds.1,
            _ => bounds.0,
        } as u16;
        let own = self.of(&edges.ports);
        let content = match service.protocol {
            None if self.one_in(2) => Content::Tcp(own, self.of(&edges.ports), self.of(&FLAGS)),
            None => Content::Udp(own, self.of(&edges.ports)),
            Some(6) => Content::Tcp(own, port, if self.one_in(3) { self.of(&FLAGS) } else { 2 }),
            Some(17) => Content::Udp(own, port),
            Some(1 | 58) if !self.one_in(4) => {
                Content::Icmp(bounds.0.max(0) as u8, bounds.1.max(0) as u8, self.of(&[7, 8]))
            }
            Some(1 | 58) => self.message(edges),
            Some(_) => Content::Other(self.of(&edges.protocols)),
        };
        (direction, between(direction, local, remote, content))
    }

    fn message(&mut self, edges: &Edges) -> Content {
        let (kind, code) = match self.below(3) {
            0 => (self.of(&[8, 0, 13, 14, 3, 5, 11, 128, 129, 1, 2]), self.of(&[0, 0, 0, 1, 4])),
            1 => (self.of(&[130, 132, 133, 135, 137, 138, 143]), self.of(&[0, 0, 1])),
            _ => self.of(&edges.messages),
        };
        Content::Icmp(kind, code, self.of(&[7, 8]))
    }

    /// Neighbour or listener discovery, or nearly so.
    fn discovery(&mut self) -> (Direction, Packet) {
        let source = address(self.of(&["fe80::1", "fe80::20", "2001:db8:0:1::30", "::"]));
        let destination = address(self.of(&["ff02::16", "fe80::20"]));
        let (kind, hop_limit) = if self.one_in(2) {
            (self.of(&[129, 130, 131, 132, 142, 143, 144]), self.of(&[1, 1, 2, 255]))
        } else {
            (self.of(&[132, 133, 134, 135, 136, 137, 138]), self.of(&[255, 255, 254, 1]))
        };
        let mut packet = packet(source, destination, Content::Icmp(kind, self.of(&[0, 0, 1]), 0));
        packet.hop_limit = hop_limit;
        (self.direction(), packet)
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
        let mut packet = packet(address(source), address(destination), Content::Udp(from, to));
        packet.hop_limit = 1;
        (self.direction(), packet)
    }

    /// A packet that has to do with an earlier one.
    pub(crate) fn about(
        &mut self,
        (direction, earlier): &(Direction, Packet),
        edges: &Edges,
    ) -> (Direction, Packet) {
        let mut packet = earlier.clone();
        packet.part = Part::Whole;
        match self.below(7) {
            // The same again, perhaps with other flags.
            0 => {
                if let (Content::Tcp(_, _, flags), true) = (&mut packet.content, self.one_in(2)) {
                    *flags = self.of(&FLAGS);
                }
                (*direction, packet)
            }
            // A part of the datagram.
            1 => {
                let id = self.of(&[1, 1, 2]);
                packet.part = match self.below(2) {
                    0 => Part::First(id),
                    _ => Part::Later(id, self.of(&[8, 16, 24, 32, 1024])),
                };
                if matches!(packet.content, Content::Error(..)) {
                    packet.part = Part::Whole;
                }
                (*direction, packet)
            }
            // An error about it, most often right.
            2 => (direction.reverse(), self.error(earlier, edges)),
            // Another connection of the same hosts.
            3 => {
                match &mut packet.content {
                    Content::Tcp(from, to, _) | Content::Udp(from, to) => {
                        *(if self.one_in(2) { from } else { to }) = self.of(&edges.ports);
                    }
                    Content::Icmp(.., id) => *id ^= 15,
                    _ => {}
                }
                (*direction, packet)
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
                    Content::Icmp(kind @ (8 | 13 | 15 | 17 | 128), ..) => {
                        *kind = if *kind == 8 { 0 } else { *kind + 1 };
                    }
                    _ => {}
                }
                (direction.reverse(), packet)
            }
        }
    }

    fn error(&mut self, about: &Packet, edges: &Edges) -> Packet {
        let kinds: &[u8] = if about.source.is_ipv4() { &[3, 11, 12, 5, 4] } else { &[1, 2, 3, 4, 137, 5] };
        let mut quoted = about.clone();
        (quoted.tags, quoted.hop_limit) = (0, 64);
        let source = if self.one_in(3) { quoted.destination } else { self.like(quoted.source, edges) };
        let destination = if self.one_in(6) { self.like(quoted.source, edges) } else { quoted.source };
        packet(source, destination, Content::Error(self.of(kinds), self.of(&[0, 4]), Box::new(quoted)))
    }

    /// A remote address of the same family.
    fn like(&mut self, address: IpAddr, edges: &Edges) -> IpAddr {
        loop {
            let other = self.of(&edges.addresses);
            if other.is_ipv4() == address.is_ipv4() {
                return other;
            }
        }
    }
}

fn between(direction: Direction, local: IpAddr, remote: IpAddr, content: Content) -> Packet {
    match direction {
        Direction::Ingress => packet(remote, local, content),
        Direction::Egress => packet(local, remote, content),
    }
}
