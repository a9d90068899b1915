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
            let coverers = earlier.coverers(rule.prefix, &services);
            let opposite = match coverers.first() {
                Some(first) => rules[*first].allow != rule.allow,
                // By several together: it is harmless only if none of them decides otherwise.
                None => rules[..number].iter().any(|earlier| {
                    let nested =
                        earlier.prefix.contains(&rule.prefix) || rule.prefix.contains(&earlier.prefix);
                    let both = Services::of(earlier.service).and(&services);
                    earlier.allow != rule.allow && nested && !both.is_empty()
                }),
            };
            let by = match coverers.first() {
                Some(first) => format!("rule {} decides", acl_rule_in_words(&rules[*first])),
                None => "rules with lower numbers together decide".to_owned(),
            };
            let message = format!(
                "{} rule {} of {} can never match: {by} about all of it first",
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
        }
    }
}
