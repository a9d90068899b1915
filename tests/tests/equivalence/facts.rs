//! What a random document says, as a set of single facts, and what the facts mean.
//!
//! A document is rendered from whatever facts hold (`document.rs`), a live update makes some begin
//! or cease to hold, and a failure is shrunk by leaving facts out: so each one stands for itself,
//! and every set of them is a valid document. A group, interface or list is described as soon as
//! a fact is about it; until then whoever refers to it is stale.
//!
//! [`World::cell`] says what the facts mean, by walking them as AWS's text reads. It shares no
//! line with the decoder, the resolver or the reference evaluator, which are under test here.

use std::net::IpAddr;

use filter_common::{
    Direction,
    cell::Cell,
    service::{self, ServiceKind},
    track::IdleTimeouts,
};
use ipnet::IpNet;

/// The VPC's group `default`; AWS's contents hold while no fact is about it.
pub(crate) const DEFAULT_GROUP: usize = 4;
/// The protected interface.
pub(crate) const ENI: usize = 0;
/// Its addresses that every document has.
pub(crate) const OWN: [&str; 2] = ["10.0.1.20/32", "2001:db8:0:1::20/128"];
/// Its subnet.
pub(crate) const SUBNET: [&str; 2] = ["10.0.1.0/24", "2001:db8:0:1::/64"];
/// The subnet of the last interface.
pub(crate) const OTHER_SUBNET: [&str; 2] = ["10.0.2.0/24", "2001:db8:0:2::/64"];

/// The platform's services: metadata, DNS, time, ECS, Windows activation.
const SERVICES: [&str; 9] = [
    "169.254.169.254/32",
    "169.254.169.253/32",
    "169.254.169.123/32",
    "169.254.170.2/32",
    "169.254.169.250/32",
    "169.254.169.251/32",
    "fd00:ec2::254/128",
    "fd00:ec2::253/128",
    "fd00:ec2::123/128",
];

/// One thing that a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// A security group's rule, with one of its peers: those with one service share a permission.
    Rule { group: usize, direction: Direction, service: Service, peer: Peer },
    /// The group says nothing about egress: AWS's default holds, and no egress rule of it.
    DefaultEgress(usize),
    /// An interface is in a group.
    Member { interface: usize, group: usize },
    /// An interface that names no group is in none.
    RequesterManaged(usize),
    /// An address or a delegated prefix of an interface.
    Address { interface: usize, block: IpNet },
    /// An entry of a prefix list.
    ListEntry { list: usize, block: IpNet },
    /// The subnet has a described network ACL, by association or as the VPC's default one.
    Acl { by_default: bool },
    /// An entry of it; numbers are unique for each direction.
    Entry { number: u16, direction: Direction, allow: bool, service: Service, block: IpNet },
    /// Another subnet has a network ACL that denies everything.
    OtherAcl,
    /// `ConnectionTrackingSpecification`; the last one holds.
    Timeouts { tcp_established: u32, udp_stream: u32, udp: u32 },
    /// `SourceDestCheck`.
    SourceDestCheck,
    /// `StrictTcp`.
    StrictTcp,
    /// `Exemptions: services`.
    ExemptServices,
    /// A flow log of everything.
    FlowLog,
}

/// A rule's protocol and ports as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// `None` is `-1`.
    pub(crate) protocol: Option<u8>,
    /// Whether the protocol is written as a word where it has one.
    pub(crate) in_words: bool,
    /// Ports, or type and code.
    pub(crate) bounds: Option<(i32, i32)>,
}

/// Whom a group's rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// With or without host bits.
    Cidr(IpNet),
    List(usize),
    Group {
        group: usize,
        by_name: bool,
    },
}

/// The facts that hold.
#[derive(Clone, Debug)]
pub(crate) struct World<'a>(pub(crate) Vec<&'a Fact>);

pub(crate) fn block(text: &str) -> IpNet {
    text.parse().expect("a block")
}

impl Service {
    /// Whether it is for a packet's protocol, and its destination port or type and code.
    fn covers(&self, asked: service::Service) -> bool {
        let protocol = match asked.kind {
            ServiceKind::Tcp => 6,
            ServiceKind::Udp => 17,
            ServiceKind::Icmp => 1,
            ServiceKind::Icmpv6 => 58,
            ServiceKind::Other => asked.value as u8,
        };
        let (value, [kind, code]) = (i32::from(asked.value), asked.value.to_be_bytes());
        let is = |wanted: i32, found: u8| wanted == -1 || wanted == i32::from(found);
        match (self.protocol, self.bounds) {
            (None, _) => true,
            (Some(own), _) if own != protocol => false,
            (_, None | Some((-1, -1))) => true,
            (Some(6 | 17), Some((from, to))) => (from..=to).contains(&value),
            (Some(1 | 58), Some((wanted_kind, wanted_code))) => {
                is(wanted_kind, kind) && is(wanted_code, code)
            }
            _ => true,
        }
    }

    fn is_for_all_ports(&self) -> bool {
        match self.protocol {
            Some(6 | 17) => matches!(self.bounds, Some((-1, -1) | (0, 65_535))),
            Some(1 | 58) => matches!(self.bounds, None | Some((-1, -1))),
            _ => true,
        }
    }
}

impl World<'_> {
    /// What both layers say about a packet.
    pub(crate) fn cell(&self, direction: Direction, remote: IpAddr, asked: service::Service) -> Cell {
        let mut bits = 0;
        let same_subnet =
            is_on_the_link(direction, remote) || SUBNET.iter().any(|own| block(own).contains(&remote));
        if same_subnet {
            bits |= Cell::SAME_SUBNET;
        }
        if same_subnet || self.acl_allows(direction, remote, asked) {
            bits |= Cell::NACL_ALLOW;
        }
        for (service, everywhere) in self.matching_rules(direction, remote, asked) {
            bits |= Cell::GROUP_ALLOW;
            let all_ports = service.is_for_all_ports();
            bits |= if everywhere { Cell::ANY_ADDRESS } else { 0 };
            bits |= if everywhere && all_ports { Cell::ANY_ADDRESS_ALL_PORTS } else { Cell::NARROW };
        }
        let (reserved, platform): (&[&str], &[&str]) = if self.holds(&Fact::ExemptServices) {
            (&["10.0.1.1/32", "10.0.0.2/32"], &SERVICES)
        } else {
            (&["10.0.1.0/30", "10.0.0.2/32"], &["169.254.0.0/16"])
        };
        let is_in = |blocks: &[&str]| blocks.iter().any(|text| block(text).contains(&remote));
        if is_in(reserved) {
            bits |= Cell::EXEMPT;
        } else if is_in(platform) {
            bits |= Cell::EXEMPT | Cell::LINK_LOCAL;
        }
        Cell(bits)
    }

    fn acl_allows(&self, direction: Direction, remote: IpAddr, asked: service::Service) -> bool {
        if !self.0.iter().any(|fact| matches!(fact, Fact::Acl { .. })) {
            // AWS's default one.
            return true;
        }
        let entries = self.0.iter().filter_map(|fact| match **fact {
            Fact::Entry { number, direction: of, allow, mut service, block } => {
                // API, `CreateNetworkAclEntry`: 58 with an IPv4 block is for all types and codes.
                if service.protocol == Some(58) && remote.is_ipv4() {
                    service.bounds = None;
                }
                let matches = of == direction && block.contains(&remote) && service.covers(asked);
                matches.then_some((number, allow))
            }
            _ => None,
        });
        entries.min().is_some_and(|(_, allow)| allow)
    }

    /// The groups' rules that match, with whether each itself says every address.
    fn matching_rules(
        &self,
        direction: Direction,
        remote: IpAddr,
        asked: service::Service,
    ) -> Vec<(Service, bool)> {
        const ALL: Service = Service { protocol: None, in_words: false, bounds: None };
        let groups = self.groups_of(ENI);
        let mut matching = Vec::new();
        for fact in &self.0 {
            let Fact::Rule { group, direction: of, service, peer } = fact else { continue };
            let hidden = *of == Direction::Egress && self.has_default_egress(*group);
            // `icmp` is IPv4's, `icmpv6` IPv6's.
            let other_family = service.protocol == Some(if remote.is_ipv4() { 58 } else { 1 });
            if groups.contains(group) && *of == direction && !hidden && !other_family && service.covers(asked)
            {
                let everywhere = matches!(peer, Peer::Cidr(block) if block.prefix_len() == 0);
                matching.extend(self.is_peer(*peer, remote).then_some((*service, everywhere)));
            }
        }
        for group in groups {
            // VPC guide, `default-security-group`: everything from its members, everything outbound.
            let undescribed = !self.describes(group);
            if direction == Direction::Ingress && undescribed && self.is_member(group, remote) {
                matching.push((ALL, false));
            }
            if direction == Direction::Egress && (undescribed || self.has_default_egress(group)) {
                matching.push((ALL, true));
            }
        }
        matching
    }

    fn is_peer(&self, peer: Peer, remote: IpAddr) -> bool {
        match peer {
            Peer::Cidr(block) => block.contains(&remote),
            Peer::List(list) => self.0.iter().any(
                |fact| matches!(fact, Fact::ListEntry { list: of, block } if *of == list && block.contains(&remote)),
            ),
            // The undescribed default group has no id to be named by.
            Peer::Group { group, by_name } => {
                let known = self.describes(group) || by_name && group == DEFAULT_GROUP;
                known && self.is_member(group, remote)
            }
        }
    }

    /// Whether an address is one of a group's members'.
    fn is_member(&self, group: usize, remote: IpAddr) -> bool {
        let members =
            self.interfaces().into_iter().filter(|interface| self.groups_of(*interface).contains(&group));
        members.into_iter().any(|interface| self.addresses(interface).iter().any(|own| own.contains(&remote)))
    }

    /// Whether a group's default egress rules hold.
    pub(crate) fn has_default_egress(&self, group: usize) -> bool {
        self.0.iter().any(|fact| **fact == Fact::DefaultEgress(group))
    }

    /// Whether the document has the group.
    pub(crate) fn describes(&self, group: usize) -> bool {
        self.0.iter().any(|fact| {
            let of = match fact {
                Fact::Rule { group, .. } | Fact::Member { group, .. } | Fact::DefaultEgress(group) => *group,
                _ => return false,
            };
            of == group
        })
    }

    /// The groups that an interface names.
    pub(crate) fn named_groups(&self, interface: usize) -> Vec<usize> {
        let member = |fact: &&Fact| match **fact {
            Fact::Member { interface: of, group } if of == interface => Some(group),
            _ => None,
        };
        self.0.iter().filter_map(member).collect()
    }

    fn groups_of(&self, interface: usize) -> Vec<usize> {
        let named = self.named_groups(interface);
        let in_none = self.0.iter().any(|fact| **fact == Fact::RequesterManaged(interface));
        if named.is_empty() && !in_none { vec![DEFAULT_GROUP] } else { named }
    }

    /// The interfaces that the document has.
    pub(crate) fn interfaces(&self) -> Vec<usize> {
        let of = |fact: &&Fact| match **fact {
            Fact::Member { interface, .. } | Fact::Address { interface, .. } => Some(interface),
            _ => None,
        };
        let mut interfaces: Vec<usize> = self.0.iter().filter_map(of).chain([ENI]).collect();
        interfaces.sort_unstable();
        interfaces.dedup();
        interfaces
    }

    /// Addresses and delegated prefixes of an interface.
    pub(crate) fn addresses(&self, interface: usize) -> Vec<IpNet> {
        let always = OWN.iter().map(|own| block(own)).filter(|_| interface == ENI);
        let more = self.0.iter().filter_map(|fact| match fact {
            Fact::Address { interface: of, block } if *of == interface => Some(*block),
            _ => None,
        });
        always.chain(more).collect()
    }

    /// The idle timeouts.
    pub(crate) fn timeouts(&self) -> IdleTimeouts {
        let said = self.0.iter().rev().find_map(|fact| match **fact {
            Fact::Timeouts { tcp_established, udp_stream, udp } => {
                Some(IdleTimeouts { tcp_established, udp_stream, udp })
            }
            _ => None,
        });
        said.unwrap_or(IdleTimeouts { tcp_established: 432_000, udp_stream: 180, udp: 30 })
    }

    /// Whether the facts hold this one.
    pub(crate) fn holds(&self, fact: &Fact) -> bool {
        self.0.contains(&fact)
    }
}

/// Link-scope addresses, which never leave a subnet; nothing comes from a group.
fn is_on_the_link(direction: Direction, remote: IpAddr) -> bool {
    let group = ["224.0.0.0/24", "ff02::/16"].iter().any(|link| block(link).contains(&remote));
    block("fe80::/10").contains(&remote) || direction == Direction::Egress && group
}
