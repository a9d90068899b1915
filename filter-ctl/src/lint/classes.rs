//! What a network ACL decides, address by address: the sets of services it allows.
//!
//! The ACL's prefixes are nested or apart, so each stands for the addresses in it that no narrower one
//! has: a *class*. Which rules are asked about a class, its prefix and those around it say; walking them
//! by number gives what is allowed.
//!
//! # Worked example
//!
//! 90 deny tcp/22 from 192.0.2.0/24, 100 allow tcp from 0.0.0.0/0. Two classes: 0.0.0.0/0, for which
//! rule 100 alone is walked (all of TCP), and 192.0.2.0/24, for which rules 90 and 100 are (all of TCP
//! but 22). The block 192.0.0.0/16 has addresses of both; 192.0.2.128/25 of the second only.
//!
//! # Cost
//!
//! For each class the rules whose prefixes are its own or around it: with P prefixes that nest D deep
//! and R rules for each, P × D × R steps, each with a set of services that seldom has more than a few
//! ranges. A network ACL for which that takes more than [`WORK`] steps (thousands of rules for all
//! addresses, and thousands for narrower ones) has no classes: a finding may be missing, but none is
//! wrong.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use filter_common::{
    Direction,
    service::{TCP, UDP},
};
use ipnet::IpNet;

use super::{cover::Cover, services::Services};
use crate::policy::{NetworkAcl, NetworkAclRule, RuleService};

/// Rules that are walked for one network ACL and direction.
const WORK: usize = 1_000_000;

/// What is allowed in one direction with the addresses of a class.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    /// All of it.
    pub(super) all: Services,
    /// Without what rules for ephemeral ports allow, which are meant for answers.
    pub(super) meant: Services,
    /// What a rule denies on purpose: single ports, or certain addresses. (A rule that denies
    /// everything else comes to no more than having no rule for it.)
    pub(super) denied: Services,
}

/// The classes of one family of a network ACL, by their prefixes.
pub(super) struct Classes {
    by_prefix: BTreeMap<IpNet, [Allowed; 2]>,
    prefixes: Cover,
}

/// The first port that is ephemeral for any client, and one that is for all of them.
const EPHEMERAL: (u16, u16) = (1024, 60_999);

/// So few ports are denied because of what they are.
const FEW: u16 = 1024;

/// Whether a rule's ports are such as clients choose, so that it is meant for answers.
pub(super) fn is_for_answers(service: RuleService) -> bool {
    matches!(service, RuleService::Tcp(first, last) | RuleService::Udp(first, last)
        if first >= EPHEMERAL.0 && (first..=last).contains(&EPHEMERAL.1) && first != last)
}

impl Classes {
    /// The classes of a network ACL of one family; `everywhere` is `0.0.0.0/0` or `::/0`.
    pub(super) fn new(acl: &NetworkAcl, everywhere: IpNet) -> Self {
        let v6 = everywhere.addr().is_ipv6();
        let mut prefixes: Vec<IpNet> = Direction::BOTH
            .into_iter()
            .flat_map(|direction| acl.rules(direction))
            .map(|rule| rule.prefix)
            .filter(|prefix| prefix.addr().is_ipv6() == v6)
            .chain([everywhere])
            .collect();
        prefixes.sort_unstable_by_key(|prefix| (prefix.prefix_len(), *prefix));
        prefixes.dedup();
        let mut classes: BTreeMap<IpNet, [Allowed; 2]> =
            prefixes.iter().map(|prefix| (*prefix, Default::default())).collect();
        for direction in Direction::BOTH {
            let mut by_prefix: HashMap<IpNet, Vec<&NetworkAclRule>> = HashMap::new();
            for rule in acl.rules(direction) {
                by_prefix.entry(rule.prefix).or_default().push(rule);
            }
            let mut work = WORK;
            for prefix in &prefixes {
                let mut rules: Vec<&NetworkAclRule> = (0..=prefix.prefix_len())
                    .filter_map(|length| by_prefix.get(&IpNet::new(prefix.addr(), length).ok()?.trunc()))
                    .flatten()
                    .copied()
                    .collect();
                let Some(rest) = work.checked_sub(rules.len()) else {
                    return Self { by_prefix: BTreeMap::new(), prefixes: Cover::new() };
                };
                work = rest;
                rules.sort_unstable_by_key(|rule| rule.number);
                if let Some(class) = classes.get_mut(prefix) {
                    class[direction.index()] = allowed(&rules);
                }
            }
        }
        let mut cover = Cover::new();
        for (number, prefix) in prefixes.iter().enumerate() {
            cover.add(*prefix, &anything(), number);
        }
        Self { by_prefix: classes, prefixes: cover }
    }

    /// All of them, in no order that matters.
    pub(super) fn all(&self) -> impl Iterator<Item = &[Allowed; 2]> {
        self.by_prefix.values()
    }

    /// The class that holds most of a block's addresses: those that no narrower prefix has. There
    /// may be none.
    pub(super) fn most_of(&self, block: IpNet) -> Option<&[Allowed; 2]> {
        if self.prefixes.covers_in_parts(block, &anything()) {
            return None;
        }
        let around =
            (0..=block.prefix_len()).rev().filter_map(|length| IpNet::new(block.addr(), length).ok());
        around.map(|around| around.trunc()).find_map(|around| self.by_prefix.get(&around))
    }

    /// The classes that hold addresses of a block, each with the addresses that both have.
    pub(super) fn of(&self, block: IpNet) -> impl Iterator<Item = (IpNet, &[Allowed; 2])> {
        let last = IpNet::new(block.broadcast(), block.max_prefix_len()).unwrap_or(block);
        let within = self.by_prefix.range((Bound::Excluded(block), Bound::Included(last)));
        let prefixes = std::iter::once(block).chain(within.map(|(prefix, _)| *prefix));
        prefixes.filter_map(|prefix| Some((prefix, self.most_of(prefix)?)))
    }
}

/// Some services, where only prefixes matter.
fn anything() -> Services {
    Services::of(RuleService::All)
}

/// What rules, sorted by number, allow.
fn allowed(rules: &[&NetworkAclRule]) -> Allowed {
    let mut allowed = Allowed::default();
    let mut decided = Services::default();
    for rule in rules {
        let new = Services::of(rule.service).without(&decided);
        if rule.allow {
            allowed.all.add(&new);
            if !is_for_answers(rule.service) {
                allowed.meant.add(&new);
            }
        } else {
            let few = matches!(rule.service,
                RuleService::Tcp(first, last) | RuleService::Udp(first, last) if last - first < FEW);
            if few || rule.prefix.prefix_len() > 0 {
                allowed.denied.add(&new);
            }
        }
        decided.add(&new);
    }
    allowed
}

/// A protocol's ports as services.
pub(super) fn ports(protocol: u8, first: u16, last: u16) -> Services {
    debug_assert!(protocol == TCP || protocol == UDP);
    Services::of(if protocol == TCP { RuleService::Tcp(first, last) } else { RuleService::Udp(first, last) })
}
