//! Network ACL rules about the subnet's own addresses: the ACL is never asked about them.
//!
//! VPC guide, `vpc-network-acls`: network ACLs are evaluated when traffic enters or leaves the subnet,
//! not as it is routed within it.

use filter_common::Direction;
use ipnet::IpNet;

use super::{About, Finding, Subject, Subnet, acl_rule_in_words};
use crate::document::Severity;

/// The subnet of a network ACL that has only one: of two subnets, each sees the other's addresses.
fn only_subnet(subject: &Subject, acl: usize) -> Option<&Subnet> {
    let mut subnets = subject.subnets.iter().filter(|subnet| subnet.acl == acl);
    subnets.next().filter(|_| subnets.next().is_none())
}

/// The addresses that rules of a network ACL are never asked about.
pub(super) fn own_blocks(subject: &Subject, acl: usize) -> &[IpNet] {
    only_subnet(subject, acl).map_or(&[], |subnet| &subnet.blocks)
}

pub(super) fn lint(subject: &Subject) -> Vec<Finding> {
    let mut found = Vec::new();
    for (position, acl) in subject.acls.iter().enumerate() {
        let Some(subnet) = only_subnet(subject, position) else { continue };
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
