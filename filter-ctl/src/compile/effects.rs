//! What a prefix contributes to the decisions about the addresses below it.
//!
//! # The problem
//!
//! A decision about an address depends on every rule whose prefix covers it. Were classes formed
//! from the rules' identities, 100,000 hosts with a rule each for port 443 would be 100,000
//! classes, though all are treated alike.
//!
//! # The structure
//!
//! A rule's contribution is an [`Atom`]: its direction, services and what it sets, without its
//! name. Atoms that are equal are one. An atom is a function from services to an [`Effect`], and
//! effects *add up*, in any order, to the effect of all covering rules together:
//!
//! - The groups are a union of rules: their bits are or-ed.
//! - The network ACL's first match decides, so a rule's effect is its *rank*, and the least one
//!   wins. Neighbouring rules with the same action may share a rank, as their order cannot
//!   matter; so ranks alternate, odd ones deny, even ones allow, and no match at all ([`Effect::NOTHING`],
//!   the greatest rank, odd) denies. A blocklist of 30,000 numbered entries before an "allow
//!   all" comes to two ranks. The ENI's own subnet, where the ACL is not asked, is rank 0.
//! - Exempt addresses are bits.
//!
//! # Worked example
//!
//! ACL: 100 deny tcp/22 from 192.0.2.0/24, 110 deny udp from 198.51.100.0/24, 120 allow all from
//! 0.0.0.0/0. Ranks: 1, 1, 2. For 192.0.2.7 and tcp/22 the least rank is min(1, 2) = 1: denied;
//! for tcp/23 it is 2: allowed.
//!
//! # Cost
//!
//! Linear in the number of (rule, remote) pairs, one hash each, and a sort of them. Rejected:
//! ordered lists of rules per address, which need a merge per address and tell apart what is
//! decided alike.

use std::{collections::HashMap, hash::Hash};

use filter_common::{
    Direction,
    cell::{Cell, CellPair},
    service::ServiceKind,
};
use ipnet::IpNet;

use super::{
    addresses::Prefix,
    runs::{Interned, Run, SERVICES, overlay, push},
};
use crate::policy::{EffectivePolicy, GroupRule, NetworkAclRule, RuleService};

/// Addresses that are on the subnet's own link whatever its blocks: IPv6 link-local (RFC 4291,
/// 2.5.6).
const SAME_LINK: &str = "fe80::/10";

/// Groups of the link, which packets are sent to but never come from: link-scope multicast of IPv6
/// (RFC 4291, 2.7) and of IPv4 (RFC 5771, 4).
const LINK_GROUPS: [&str; 2] = ["ff02::/16", "224.0.0.0/24"];

/// What rules say about one service and one address; see this file's essay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Effect {
    /// Bits of a [`CellPair`], except for the network ACL's. `EXEMPT` means *reserved*,
    /// and `LINK_LOCAL` *the platform's*, each without the other, until [`Effect::decide`].
    bits: u16,
    /// The least rank of a matching network ACL rule, by direction.
    ranks: [u32; 2],
}

impl Effect {
    /// No rule matches.
    pub(super) const NOTHING: Self = Self { bits: 0, ranks: [u32::MAX; 2] };

    fn of_bits(ingress: u8, egress: u8) -> Self {
        Self { bits: CellPair::new(Cell(ingress), Cell(egress)).0, ..Self::NOTHING }
    }

    /// The effect of both.
    pub(super) fn and(self, other: Self) -> Self {
        let [ingress, egress] = self.ranks;
        let [other_ingress, other_egress] = other.ranks;
        Self { bits: self.bits | other.bits, ranks: [ingress.min(other_ingress), egress.min(other_egress)] }
    }

    /// The decision that it amounts to.
    pub(super) fn decide(self) -> u16 {
        let cell = |direction: Direction| {
            let Cell(mut bits) = CellPair(self.bits).of(direction);
            if bits & Cell::EXEMPT != 0 {
                // Reserved: exempt in its own right, not "only as link-local".
                bits &= !Cell::LINK_LOCAL;
            } else if bits & Cell::LINK_LOCAL != 0 {
                bits |= Cell::EXEMPT;
            }
            if self.ranks[direction.index()].is_multiple_of(2) {
                bits |= Cell::NACL_ALLOW;
            }
            Cell(bits)
        };
        CellPair::new(cell(Direction::Ingress), cell(Direction::Egress)).0
    }

    /// A number for it, for hashes.
    pub(super) fn number(self) -> u128 {
        u128::from(self.bits) | u128::from(self.ranks[0]) << 16 | u128::from(self.ranks[1]) << 48
    }
}

/// A rule without its name and its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Atom {
    /// A security group's rule; `any`: it is for any address.
    Group { direction: Direction, service: RuleService, any: bool },
    /// A network ACL's rule.
    NetworkAcl { direction: Direction, service: RuleService, rank: u32 },
    /// The network ACL is not asked.
    SameSubnet,
    /// It is not asked on the way out.
    LinkGroup,
    /// Exempt as one of the subnet's first addresses.
    Reserved,
    /// Exempt as the platform's.
    Platform,
}

impl Atom {
    /// What it contributes, service by service.
    fn runs(self) -> Vec<Run<Effect>> {
        let (spans, effect) = match self {
            Self::Group { direction, service, any } => {
                let bits = group_bits(service, any);
                let effect = match direction {
                    Direction::Ingress => Effect::of_bits(bits, 0),
                    Direction::Egress => Effect::of_bits(0, bits),
                };
                (spans(service), effect)
            }
            Self::NetworkAcl { direction, service, rank } => {
                let mut effect = Effect::NOTHING;
                effect.ranks[direction.index()] = rank;
                (spans(service), effect)
            }
            Self::SameSubnet => {
                let effect = Effect::of_bits(Cell::SAME_SUBNET, Cell::SAME_SUBNET);
                (spans(RuleService::All), Effect { ranks: [0; 2], ..effect })
            }
            Self::LinkGroup => {
                let effect = Effect::of_bits(0, Cell::SAME_SUBNET);
                (spans(RuleService::All), Effect { ranks: [u32::MAX, 0], ..effect })
            }
            Self::Reserved => (spans(RuleService::All), Effect::of_bits(Cell::EXEMPT, Cell::EXEMPT)),
            Self::Platform => (spans(RuleService::All), Effect::of_bits(Cell::LINK_LOCAL, Cell::LINK_LOCAL)),
        };
        let mut runs = vec![(0, Effect::NOTHING)];
        for (first, last) in spans {
            push(&mut runs, first, effect);
            if last + 1 < SERVICES {
                push(&mut runs, last + 1, Effect::NOTHING);
            }
        }
        runs
    }
}

/// The bits that a security group's rule sets where it matches.
///
/// "All ports" is every protocol or the whole range of the rule's own one; a protocol without
/// ports always has its whole range. (Only TCP's and UDP's matter: the rest is always tracked.)
fn group_bits(service: RuleService, any: bool) -> u8 {
    let whole = match service {
        RuleService::All | RuleService::Protocol(_) => true,
        RuleService::Tcp(first, last) | RuleService::Udp(first, last) => first == 0 && last == u16::MAX,
        RuleService::Icmp(kind, code) | RuleService::Icmpv6(kind, code) => kind.is_none() && code.is_none(),
    };
    match (any, whole) {
        (true, true) => Cell::GROUP_ALLOW | Cell::ANY_ADDRESS | Cell::ANY_ADDRESS_ALL_PORTS,
        (true, false) => Cell::GROUP_ALLOW | Cell::ANY_ADDRESS | Cell::NARROW,
        (false, _) => Cell::GROUP_ALLOW | Cell::NARROW,
    }
}

/// Where on the line of services a rule's are: first and last place of each stretch, ascending.
pub(crate) fn spans(service: RuleService) -> Vec<(u32, u32)> {
    let span = |kind: ServiceKind, first: u16, last: u16| {
        let base = (kind as u32) << 16;
        (base | u32::from(first), base | u32::from(last))
    };
    let icmp = |kind: ServiceKind, icmp_type: Option<u8>, code: Option<u8>| match (icmp_type, code) {
        (None, None) => vec![span(kind, 0, u16::MAX)],
        (Some(icmp_type), None) => {
            let first = u16::from(icmp_type) << 8;
            vec![span(kind, first, first | 0xff)]
        }
        (icmp_type, Some(code)) => {
            let types = icmp_type.map_or(0..=u8::MAX, |one| one..=one);
            types.map(|t| u16::from_be_bytes([t, code])).map(|value| span(kind, value, value)).collect()
        }
    };
    match service {
        RuleService::All => vec![(0, SERVICES - 1)],
        RuleService::Tcp(first, last) | RuleService::Udp(first, last) if first > last => Vec::new(),
        RuleService::Tcp(first, last) => vec![span(ServiceKind::Tcp, first, last)],
        RuleService::Udp(first, last) => vec![span(ServiceKind::Udp, first, last)],
        RuleService::Icmp(icmp_type, code) => icmp(ServiceKind::Icmp, icmp_type, code),
        RuleService::Icmpv6(icmp_type, code) => icmp(ServiceKind::Icmpv6, icmp_type, code),
        RuleService::Protocol(number) => vec![span(ServiceKind::Other, number.into(), number.into())],
    }
}

/// Which families' prefixes are asked for.
fn is_v4(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V4(_))
}

/// Whether a security group's rule has any meaning for a remote: ICMP belongs to IPv4 and ICMPv6
/// to IPv6, and the mismatch matches nothing. A network ACL names protocols by number, whatever
/// the family (VPC guide, `nacl-rules`; API, `CreateNetworkAclEntry`), so that a deny is never void.
fn has_meaning(service: RuleService, remote: &IpNet) -> bool {
    match service {
        RuleService::Icmp(..) => is_v4(remote),
        RuleService::Icmpv6(..) => !is_v4(remote),
        _ => true,
    }
}

/// All that prefixes contribute, as functions over the line of services.
pub(super) struct Effects {
    /// Each prefix once, sorted (a prefix before those within it), with its number in `functions`.
    pub(super) v4: Vec<(Prefix, u32)>,
    /// Likewise.
    pub(super) v6: Vec<(Prefix, u32)>,
    /// The functions.
    pub(super) functions: Interned<Effect>,
    /// Rules, each remote of a group's rule counted, as AWS does.
    pub(super) rules: usize,
}

/// Gathers what every prefix of a policy contributes.
pub(super) fn gather(policy: &EffectivePolicy) -> Effects {
    let mut gathering = Gathering::default();
    for group in &policy.groups {
        gathering.group(Direction::Ingress, &group.ingress);
        gathering.group(Direction::Egress, &group.egress);
    }
    gathering.network_acl(Direction::Ingress, &policy.nacl.ingress);
    gathering.network_acl(Direction::Egress, &policy.nacl.egress);
    let rules = gathering.v4.len() + gathering.v6.len() + gathering.void;

    for prefix in &policy.subnet {
        gathering.add(prefix, Atom::SameSubnet);
    }
    gathering.add(&SAME_LINK.parse().expect("a constant prefix"), Atom::SameSubnet);
    for prefix in LINK_GROUPS {
        gathering.add(&prefix.parse().expect("a constant prefix"), Atom::LinkGroup);
    }
    for prefix in &policy.reserved {
        gathering.add(prefix, Atom::Reserved);
    }
    for prefix in &policy.platform {
        gathering.add(prefix, Atom::Platform);
    }
    gathering.finish(rules)
}

#[derive(Default)]
struct Gathering {
    numbers: HashMap<Atom, u32>,
    atoms: Vec<Atom>,
    v4: Vec<(Prefix, u32)>,
    v6: Vec<(Prefix, u32)>,
    void: usize,
}

impl Gathering {
    fn number(&mut self, atom: Atom) -> u32 {
        *self.numbers.entry(atom).or_insert_with(|| {
            self.atoms.push(atom);
            self.atoms.len() as u32 - 1
        })
    }

    fn add_number(&mut self, prefix: &IpNet, number: u32) {
        let list = if is_v4(prefix) { &mut self.v4 } else { &mut self.v6 };
        list.push((Prefix::from(prefix), number));
    }

    fn add(&mut self, prefix: &IpNet, atom: Atom) {
        let number = self.number(atom);
        self.add_number(prefix, number);
    }

    fn group(&mut self, direction: Direction, rules: &[GroupRule]) {
        // By far most rules have the atom of the one before: it is looked up once.
        for alike in rules.chunk_by(|left, right| left.service == right.service) {
            let service = alike[0].service;
            let narrow = self.number(Atom::Group { direction, service, any: false });
            for rule in alike {
                for prefix in rule.peer.prefixes() {
                    if !has_meaning(service, prefix) {
                        self.void += 1;
                    } else if rule.peer.is_any_address() {
                        self.add(prefix, Atom::Group { direction, service, any: true });
                    } else {
                        self.add_number(prefix, narrow);
                    }
                }
            }
        }
    }

    fn network_acl(&mut self, direction: Direction, rules: &[NetworkAclRule]) {
        let mut by_number: Vec<_> = rules.iter().collect();
        by_number.sort_by_key(|rule| rule.number);
        let mut rank = 1u32;
        for rule in by_number {
            rank += u32::from(rank.is_multiple_of(2) != rule.allow);
            self.add(&rule.prefix, Atom::NetworkAcl { direction, service: rule.service, rank });
        }
    }

    fn finish(self, rules: usize) -> Effects {
        let Self { atoms, v4, v6, .. } = self;
        let mut sums = Sums { atoms, numbers: HashMap::new(), functions: Interned::new() };
        let v4 = sums.by_prefix(v4);
        let v6 = sums.by_prefix(v6);
        Effects { v4, v6, functions: sums.functions, rules }
    }
}

/// Sums of atoms, each computed once.
struct Sums {
    atoms: Vec<Atom>,
    numbers: HashMap<Box<[u32]>, u32>,
    functions: Interned<Effect>,
}

impl Sums {
    fn by_prefix(&mut self, mut list: Vec<(Prefix, u32)>) -> Vec<(Prefix, u32)> {
        list.sort_unstable();
        list.dedup();
        let mut atoms = Vec::new();
        list.chunk_by(|left, right| left.0 == right.0)
            .map(|same| {
                atoms.clear();
                atoms.extend(same.iter().map(|&(_, atom)| atom));
                (same[0].0, self.sum(&atoms))
            })
            .collect()
    }

    fn sum(&mut self, atoms: &[u32]) -> u32 {
        if let Some(&number) = self.numbers.get(atoms) {
            return number;
        }
        // Halves first, so that a prefix with many rules costs n log n and not n².
        let mut parts: Vec<_> = atoms.iter().map(|&atom| self.atoms[atom as usize].runs()).collect();
        while parts.len() > 1 {
            parts = parts
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => overlay(left, right, Effect::and),
                    rest => rest[0].clone(),
                })
                .collect();
        }
        let number = self.functions.number(parts.pop().expect("a listed prefix has an atom"));
        self.numbers.insert(atoms.into(), number);
        number
    }
}
