//! Security group rules that change nothing, because others allow all that they allow.
//!
//! # The question
//!
//! Groups only allow, and the rules of all groups of an interface are one set (VPC guide,
//! `security-group-rules`). So a rule is redundant in its own group if other rules of the group have
//! all of it; and as part of other groups if on *every* interface of its group the interface's other
//! groups have.
//!
//! # The order
//!
//! Of two rules that cover each other one must be kept. So the rules of a set are put in an order, and
//! each is asked about those before it only: by the number of their addresses, then of their services,
//! both falling, then as in the document. Whatever covers a rule by itself comes before it in
//! this order.
//!
//! # What counts as covered
//!
//! A reference to a group stands for whoever is in the group tomorrow: it covers only rules that
//! name the same group. It is covered where blocks have all of today's members. A rule for any address
//! (`0.0.0.0/0`, `::/0`) is covered only by another such rule, as only such rules leave flows
//! untracked (EC2 guide, `security-group-connection-tracking`). A rule without addresses is told of
//! elsewhere.
//!
//! # Cost
//!
//! Each set of groups that some interface is in is looked at once: a sort of its rules, and a question
//! to [`Cover`] for each of their prefixes.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, HashSet},
};

use filter_common::Direction;
use ipnet::IpNet;

use super::{About, Finding, Subject, cover::Cover, services::Services};
use crate::{
    document::Severity,
    policy::{Group, GroupRule, Peer, RuleService},
};

/// A rule by its group and its position there.
type Key = (usize, usize);

/// What makes two rules the same.
type Identity<'s> = (RuleService, PeerName<'s>);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum PeerName<'s> {
    Block(IpNet),
    Of(&'s str),
}

/// A rule, made ready.
struct Ready<'s> {
    rule: &'s GroupRule,
    prefixes: Vec<IpNet>,
    services: Services,
    /// IPv6 and IPv4 addresses.
    size: (u128, u128),
}

/// The rule that has all of another one; `None`: several only together do.
type By = Option<Key>;

pub(super) fn lint(subject: &Subject) -> Vec<Finding> {
    Direction::BOTH.into_iter().flat_map(|direction| lint_direction(subject, direction)).collect()
}

fn lint_direction(subject: &Subject, direction: Direction) -> Vec<Finding> {
    let ready: Vec<Vec<Ready<'_>>> =
        subject.groups.iter().map(|group| group.rules(direction).iter().map(Ready::new).collect()).collect();
    let mut found = Vec::new();
    let mut told: HashSet<Key> = HashSet::new();

    // Within a group.
    for position in 0..subject.groups.len() {
        // The same rule twice is a warning of its own: duplicate-rule.
        let mut once = HashSet::new();
        let twice = ready[position].iter().enumerate().filter(|(_, one)| !once.insert(one.identity()));
        told.extend(twice.map(|(number, _)| (position, number)));
        for (key, by) in covered(&ready, &[position]) {
            if told.insert(key) {
                found.push(covered_rule(subject, direction, key, by, "of the same group"));
            }
        }
    }

    // Within the groups of each interface.
    let sets: HashMap<BTreeSet<usize>, &str> = subject
        .interfaces
        .iter()
        .rev()
        .map(|interface| (interface.groups.iter().copied().collect(), interface.id.as_str()))
        .collect();
    let mut sets: Vec<(Vec<usize>, &str)> =
        sets.into_iter().map(|(set, id)| (set.into_iter().collect(), id)).collect();
    sets.sort_unstable();
    found.extend(duplicates(subject, direction, &ready, &sets, &mut told));

    let mut sets_of: HashMap<usize, usize> = HashMap::new();
    let mut covered_in: HashMap<Key, (usize, By)> = HashMap::new();
    for (set, _) in &sets {
        for group in set {
            *sets_of.entry(*group).or_default() += 1;
        }
        if set.len() > 1 {
            for (key, by) in covered(&ready, set) {
                covered_in.entry(key).or_insert((0, by)).0 += 1;
            }
        }
    }
    let mut everywhere: Vec<(Key, By)> = covered_in
        .into_iter()
        .filter(|(key, (times, _))| sets_of.get(&key.0) == Some(times) && !told.contains(key))
        .map(|(key, (_, by))| (key, by))
        .collect();
    everywhere.sort_unstable();
    found.extend(
        everywhere
            .into_iter()
            .map(|(key, by)| covered_rule(subject, direction, key, by, "on every interface of the group")),
    );
    found
}

/// The rules of a set of groups that earlier ones in the order have all of.
fn covered(ready: &[Vec<Ready<'_>>], set: &[usize]) -> Vec<(Key, By)> {
    let mut keys: Vec<Key> = set
        .iter()
        .flat_map(|&group| (0..ready[group].len()).map(move |rule| (group, rule)))
        .filter(|key| !ready[key.0][key.1].prefixes.is_empty())
        .collect();
    keys.sort_by_cached_key(|&(group, rule)| {
        let ready = &ready[group][rule];
        let reference = matches!(ready.rule.peer, Peer::Group { .. });
        (reference, Reverse(ready.size), Reverse(ready.services.count()))
    });
    let mut blocks = Cover::new();
    let mut any_address = Cover::new();
    let mut by_reference: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut found = Vec::new();
    for (number, &key) in keys.iter().enumerate() {
        let Ready { rule, prefixes, services, .. } = &ready[key.0][key.1];
        if let Peer::Group { id, .. } = &rule.peer {
            let same = by_reference.entry(id).or_default();
            let of = |number: &usize| &ready[keys[*number].0][keys[*number].1].services;
            if let Some(wider) = same.iter().find(|number| of(number).contains(services)) {
                found.push((key, Some(keys[*wider])));
                continue;
            }
            same.push(number);
        }
        let cover = if rule.peer.is_any_address() { &any_address } else { &blocks };
        if prefixes.iter().all(|prefix| cover.covers(*prefix, services)) {
            let mut coverers = prefixes.iter().map(|prefix| cover.coverers(*prefix, services));
            let first = coverers.next().unwrap_or_default();
            let common = coverers.fold(first, |common, one| {
                common.into_iter().filter(|number| one.binary_search(number).is_ok()).collect()
            });
            found.push((key, common.first().map(|number| keys[*number])));
        } else if !matches!(rule.peer, Peer::Group { .. }) {
            for prefix in prefixes {
                blocks.add(*prefix, services, number);
                if rule.peer.is_any_address() {
                    any_address.add(*prefix, services, number);
                }
            }
        }
    }
    found
}

/// Rules that two groups of some interface both have; the later group's is told.
fn duplicates(
    subject: &Subject,
    direction: Direction,
    ready: &[Vec<Ready<'_>>],
    sets: &[(Vec<usize>, &str)],
    told: &mut HashSet<Key>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    for (set, interface) in sets.iter().filter(|(set, _)| set.len() > 1) {
        let mut first: HashMap<Identity<'_>, usize> = HashMap::new();
        for &group in set {
            for (number, one) in ready[group].iter().enumerate() {
                let earlier = *first.entry(one.identity()).or_insert(group);
                // AWS puts "everything outbound" into every new group.
                let default = direction == Direction::Egress
                    && one.rule.service == RuleService::All
                    && one.rule.peer.is_any_address();
                if earlier == group || one.prefixes.is_empty() || !told.insert((group, number)) || default {
                    continue;
                }
                let message = format!(
                    "{} rule {} {} of {} is also in {}, and {interface} is in both groups",
                    direction.name(),
                    one.rule.service,
                    one.rule.peer,
                    subject.groups[group].id,
                    subject.groups[earlier].id
                );
                found.push(Finding {
                    id: "duplicate-across-groups",
                    severity: Severity::Note,
                    about: About::GroupRule(group, direction, number),
                    message,
                    help: "whoever closes it must remember both; keep it in one of them",
                });
            }
        }
    }
    found
}

fn covered_rule(subject: &Subject, direction: Direction, key: Key, by: By, place: &str) -> Finding {
    let rule = |(group, rule): Key| -> (&Group, &GroupRule) {
        let group = &subject.groups[group];
        (group, &group.rules(direction)[rule])
    };
    let (group, covered) = rule(key);
    let by = match by {
        Some(by) => {
            let (of, by) = rule(by);
            let of = if of.id == group.id { String::new() } else { format!(" of {}", of.id) };
            format!("rule {} {}{of} allows all of it", by.service, by.peer)
        }
        None => "other rules together allow all of it".to_owned(),
    };
    let message = format!(
        "{} rule {} {} of {} changes nothing: {by} ({place})",
        direction.name(),
        covered.service,
        covered.peer,
        group.id
    );
    Finding {
        id: "covered-rule",
        severity: Severity::Note,
        about: About::GroupRule(key.0, direction, key.1),
        message,
        help: "remove it, or narrow the wider rule",
    }
}

impl<'s> Ready<'s> {
    fn new(rule: &'s GroupRule) -> Self {
        let prefixes: Vec<IpNet> =
            rule.peer.prefixes().iter().copied().filter(|prefix| rule.service.fits(prefix)).collect();
        // Without overlaps, so that whoever covers this is not counted as smaller.
        let prefixes = if prefixes.len() > 1 { IpNet::aggregate(&prefixes) } else { prefixes };
        let mut size = (0u128, 0u128);
        for prefix in &prefixes {
            let bits = u32::from(prefix.max_prefix_len() - prefix.prefix_len());
            let count = 1u128.checked_shl(bits).unwrap_or(u128::MAX);
            let family = if prefix.addr().is_ipv6() { &mut size.0 } else { &mut size.1 };
            *family = family.saturating_add(count);
        }
        Self { rule, prefixes, services: Services::of(rule.service), size }
    }

    fn identity(&self) -> Identity<'s> {
        let peer = match &self.rule.peer {
            Peer::Cidr(block) => PeerName::Block(*block),
            Peer::Group { id, .. } | Peer::PrefixList { id, .. } => PeerName::Of(id),
        };
        (self.rule.service, peer)
    }
}
