//! Network ACL rules that never decide, because rules with lower numbers decide before them.
//!
//! Exact: the union of all earlier rules of the direction is asked (VPC guide, `nacl-rules`: rules
//! are evaluated "starting with the lowest numbered rule", the first match decides).

use filter_common::Direction;
use ipnet::IpNet;

use super::{
    About, Finding, Subject, acl_rule_in_words, cover::Cover, own_subnet::own_blocks, services::Services,
};
use crate::{
    document::Severity,
    policy::{NetworkAcl, RuleService},
};

pub(super) fn lint(subject: &Subject) -> Vec<Finding> {
    let mut found = Vec::new();
    for (position, acl) in subject.acls.iter().enumerate() {
        for direction in Direction::BOTH {
            lint_direction(position, acl, direction, own_blocks(subject, position), &mut found);
        }
    }
    found
}

fn lint_direction(
    position: usize,
    acl: &NetworkAcl,
    direction: Direction,
    own: &[IpNet],
    found: &mut Vec<Finding>,
) {
    let rules = acl.rules(direction);
    let mut earlier = Cover::new();
    // Denying ones, allowing ones.
    let mut by_action = [Cover::new(), Cover::new()];
    for (number, rule) in rules.iter().enumerate() {
        // Such a rule matches nothing, and is told of as a family-mismatch.
        if matches!(rule.service, RuleService::Icmp(..)) && rule.prefix.addr().is_ipv6() {
            continue;
        }
        let services = Services::of(rule.service);
        if earlier.covers(rule.prefix, &services) {
            // It is told of as a rule-for-own-subnet.
            if own.iter().any(|block| block.contains(&rule.prefix)) {
                continue;
            }
            // Those that decide about it: up to the first one that by itself has all of it.
            let first = earlier.coverers(rule.prefix, &services).first().copied();
            let meets = |rules: &Cover, end| rules.meets(rule.prefix, &services, end);
            let opposite =
                meets(&by_action[usize::from(!rule.allow)], first.map_or(number, |first| first + 1));
            let by = match first {
                Some(first) if meets(&earlier, first) => {
                    let first = acl_rule_in_words(&rules[first]);
                    format!("rule {first} decides about what rules before that one leave of it")
                }
                Some(first) => {
                    format!("rule {} decides about all of it first", acl_rule_in_words(&rules[first]))
                }
                None => "rules with lower numbers together decide about all of it first".to_owned(),
            };
            let message = format!(
                "{} rule {} of {} can never match: {by}",
                direction.name(),
                acl_rule_in_words(rule),
                acl.id
            );
            found.push(Finding {
                id: "shadowed-rule",
                severity: if opposite { Severity::Warning } else { Severity::Note },
                about: About::AclRule(position, direction, number),
                message,
                help: if opposite {
                    "give it a lower number if it should decide, or remove it"
                } else {
                    "remove it: nothing changes"
                },
            });
        } else {
            earlier.add(rule.prefix, &services, number);
            by_action[usize::from(rule.allow)].add(rule.prefix, &services, number);
        }
    }
}
