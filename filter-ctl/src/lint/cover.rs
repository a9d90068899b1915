//! Whether rules together have every (address, service) pair of another one.
//!
//! # The problem
//!
//! A rule is a rectangle: the addresses of a prefix times a set of services. It can be covered by one
//! larger rectangle, or by several that only together do: `10.0.0.0/25` and `10.0.0.128/25` cover
//! `10.0.0.0/24`; tcp 0-1023 and tcp 1024-65535 cover tcp. With ten thousand rules, comparing each
//! with all others is out of the question.
//!
//! # The structure
//!
//! Two prefixes are nested or apart, never askew. So the rules are kept by prefix, sorted, each
//! prefix with the union of its rules' services. The question "is (P, S) covered?" goes down a tree
//! that exists only in thought:
//!
//! 1. Take from S what P itself and the prefixes around P have. If nothing is left: covered.
//! 2. Else what is left must be covered in each half of P. A half that holds no prefix at all, though
//!    something is left: not covered. Otherwise the same question about the half.
//!
//! # Worked example
//!
//! `10.0.0.0/25` all, `10.0.0.128/25` tcp; is (`10.0.0.0/24`, udp) covered? No prefix is around it, so
//! udp is left. The left half has all of it; the right one has tcp only and no prefix within it. No.
//!
//! # Cost
//!
//! For each question as many lookups as there are different lengths of prefixes, then one step for
//! each half that is looked at: that ends at the first half without a prefix, so it is short unless the
//! answer is near to yes. [`STEPS`] bounds it; a question that is not answered by then counts as "not
//! covered": a finding may be missing, but none is wrong. It bounds the search for names, too: of
//! thousands of rules a finding may say "together" where one would do. Rejected: binary decision diagrams, as
//! nested prefixes make the plain recursion exact.

use std::{collections::BTreeMap, ops::Bound};

use ipnet::IpNet;

use super::services::Services;

/// Halves that are looked at for one question.
const STEPS: usize = 1_000;

/// Rules by their prefix.
#[derive(Debug)]
pub(super) struct Cover {
    prefixes: BTreeMap<IpNet, Node>,
    /// Which lengths of prefixes there are, IPv4 and IPv6.
    lengths: [[bool; 129]; 2],
}

#[derive(Debug, Default)]
struct Node {
    services: Services,
    /// Rules with their services.
    rules: Vec<(usize, Services)>,
}

impl Cover {
    pub(super) fn new() -> Self {
        Self { prefixes: BTreeMap::new(), lengths: [[false; 129]; 2] }
    }

    /// Adds a rule, or a part of one.
    pub(super) fn add(&mut self, prefix: IpNet, services: &Services, rule: usize) {
        self.lengths[usize::from(prefix.addr().is_ipv6())][usize::from(prefix.prefix_len())] = true;
        let node = self.prefixes.entry(prefix).or_default();
        node.services.add(services);
        node.rules.push((rule, services.clone()));
    }

    /// What is there for the prefix itself and for those around it, the widest first.
    fn around(&self, prefix: IpNet) -> impl Iterator<Item = &Node> {
        let lengths = &self.lengths[usize::from(prefix.addr().is_ipv6())];
        (0..=prefix.prefix_len()).filter(|length| lengths[usize::from(*length)]).filter_map(move |length| {
            let around = IpNet::new(prefix.addr(), length).ok()?.trunc();
            self.prefixes.get(&around)
        })
    }

    /// Whether the rules have every pair of this prefix and these services.
    pub(super) fn covers(&self, prefix: IpNet, services: &Services) -> bool {
        let mut left = services.clone();
        for node in self.around(prefix) {
            left = left.without(&node.services);
            if left.is_empty() {
                return true;
            }
        }
        let mut steps = STEPS;
        self.halves_cover(prefix, &left, &mut steps)
    }

    /// Whether what lies within the prefix, but is not itself, has every pair.
    pub(super) fn covers_in_parts(&self, prefix: IpNet, services: &Services) -> bool {
        self.has_within(prefix) && self.halves_cover(prefix, services, &mut { STEPS })
    }

    fn halves_cover(&self, prefix: IpNet, left: &Services, steps: &mut usize) -> bool {
        let Ok(halves) = prefix.subnets(prefix.prefix_len() + 1) else { return false };
        halves.into_iter().all(|half| {
            let Some(rest) = steps.checked_sub(1) else { return false };
            *steps = rest;
            let left = match self.prefixes.get(&half) {
                Some(node) => left.without(&node.services),
                None => left.clone(),
            };
            left.is_empty() || (self.has_within(half) && self.halves_cover(half, &left, steps))
        })
    }

    /// What is there for the prefixes that lie within this one.
    fn within(&self, prefix: IpNet) -> impl Iterator<Item = &Node> {
        let last = IpNet::new(prefix.broadcast(), prefix.max_prefix_len()).unwrap_or(prefix);
        let after = (Bound::Excluded(prefix), Bound::Included(last));
        // A range from a host's prefix to itself would be none.
        let range = (prefix < last).then(|| self.prefixes.range(after));
        range.into_iter().flatten().map(|(_, node)| node)
    }

    fn has_within(&self, prefix: IpNet) -> bool {
        self.within(prefix).next().is_some()
    }

    /// Whether any rule before number `end` has some pair of this prefix and these services; the rules
    /// were added by number. Of very many only the first are looked at.
    pub(super) fn meets(&self, prefix: IpNet, services: &Services, end: usize) -> bool {
        let nodes = self.around(prefix).chain(self.within(prefix)).take(STEPS);
        let meeting = nodes.filter(|node| !node.services.and(services).is_empty());
        let before = meeting.flat_map(|node| node.rules.iter().take_while(|(rule, _)| *rule < end));
        before.take(STEPS).any(|(_, of)| !of.and(services).is_empty())
    }

    /// The rules that by themselves have all of it, in the order in which they were added. Of very many
    /// only the first of the widest prefixes are looked at.
    pub(super) fn coverers(&self, prefix: IpNet, services: &Services) -> Vec<usize> {
        let rules = self.around(prefix).flat_map(|node| &node.rules).take(STEPS);
        let mut covering: Vec<usize> =
            rules.filter(|(_, of)| of.contains(services)).map(|(rule, _)| *rule).collect();
        covering.sort_unstable();
        covering.dedup();
        covering
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::RuleService;

    fn prefix(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn cover(rules: &[(&str, RuleService)]) -> Cover {
        let mut cover = Cover::new();
        for (number, (text, service)) in rules.iter().enumerate() {
            cover.add(prefix(text), &Services::of(*service), number);
        }
        cover
    }

    #[test]
    fn halves_cover_together_and_only_with_the_same_services() {
        let all = RuleService::All;
        let tcp = RuleService::Tcp(0, u16::MAX);
        let udp = Services::of(RuleService::Udp(53, 53));
        let halves = cover(&[("10.0.0.0/25", all), ("10.0.0.128/25", tcp)]);
        assert!(halves.covers(prefix("10.0.0.0/24"), &Services::of(tcp)));
        assert!(!halves.covers(prefix("10.0.0.0/24"), &udp));
        assert!(halves.covers(prefix("10.0.0.64/26"), &udp));
        assert!(!halves.covers(prefix("10.0.0.0/23"), &Services::of(tcp)));
        let v6 = cover(&[("::/1", all), ("8000::/1", all)]);
        assert!(v6.covers(prefix("::/0"), &udp));
        assert!(!v6.covers(prefix("0.0.0.0/0"), &udp), "families are apart");
        let ports = cover(&[
            ("0.0.0.0/0", RuleService::Tcp(0, 1023)),
            ("10.0.0.0/8", RuleService::Tcp(1024, u16::MAX)),
        ]);
        assert!(ports.covers(prefix("10.1.0.0/16"), &Services::of(tcp)));
        assert!(!ports.covers(prefix("11.1.0.0/16"), &Services::of(tcp)));
        assert_eq!(ports.coverers(prefix("10.1.0.0/16"), &Services::of(RuleService::Tcp(22, 22))), [0]);
    }

    /// A prefix of 10.0.0.0/24's last octet, and ports 0 to 7.
    fn small() -> impl Strategy<Value = (IpNet, RuleService)> {
        (0u8..=255, 24u8..=32, 0u16..8, 0u16..4).prop_map(|(octet, length, first, more)| {
            let net = ipnet::Ipv4Net::new([10, 0, 0, octet].into(), length).expect("a length").trunc();
            (net.into(), RuleService::Tcp(first, (first + more).min(7)))
        })
    }

    proptest! {
        #[test]
        fn the_answer_is_that_of_counting_pairs(rules in prop::collection::vec(small(), 0..12), (asked, service) in small()) {
            let mut cover = Cover::new();
            for (number, (prefix, service)) in rules.iter().enumerate() {
                cover.add(*prefix, &Services::of(*service), number);
            }
            let RuleService::Tcp(first, last) = service else { unreachable!() };
            let pairs = (0u8..=255).map(|octet| IpNet::from(std::net::IpAddr::from([10, 0, 0, octet])));
            let all = pairs.filter(|host| asked.contains(host)).all(|host| {
                (first..=last).all(|port| rules.iter().any(|(prefix, service)| {
                    let RuleService::Tcp(first, last) = *service else { unreachable!() };
                    prefix.contains(&host) && (first..=last).contains(&port)
                }))
            });
            prop_assert_eq!(cover.covers(asked, &Services::of(service)), all);
        }
    }
}
