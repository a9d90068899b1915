//! Network ACL rules about the subnet's own addresses: the ACL is never asked about them.
//!
//! VPC guide, `vpc-network-acls`: network ACLs are evaluated when traffic enters or leaves the subnet,
//! not as it is routed within it.

use filter_common::Direction;

use super::{About, Finding, Subject, acl_rule_in_words};
use crate::document::Severity;

pub(super) fn lint(subject: &Subject) -> Vec<Finding> {
    let mut found = Vec::new();
    for (position, acl) in subject.acls.iter().enumerate() {
        let mut subnets = subject.subnets.iter().filter(|subnet| subnet.acl == position);
        // Of two subnets, each sees the other's addresses.
        let (Some(subnet), None) = (subnets.next(), subnets.next()) else { continue };
        for direction in Direction::BOTH {
            for (number, rule) in acl.rules(direction).iter().enumerate() {
                if !subnet.blocks.iter().any(|block| block.contains(&rule.prefix)) {
                    continue;
                }
                let message = format!(
                    "{} rule {} of {} can never match: traffic within {} does not meet its network ACL",
                    direction.name(),
                    acl_rule_in_words(rule),
                    acl.id,
                    subnet.id
                );
                found.push(Finding {
                    id: "rule-for-own-subnet",
                    severity: Severity::Warning,
                    about: About::AclRule(position, direction, number),
                    message,
                    help: "between interfaces of one subnet only security groups decide",
                });
            }
        }
    }
    found
}
