//! Security groups that nobody uses, and rules for groups that nobody is in.

use std::collections::HashSet;

use filter_common::Direction;

use super::{About, Finding, Subject};
use crate::{document::Severity, policy::Peer};

pub(super) fn lint(subject: &Subject) -> Vec<Finding> {
    if subject.interfaces.is_empty() {
        return Vec::new();
    }
    let members: HashSet<usize> =
        subject.interfaces.iter().flat_map(|interface| interface.groups.iter().copied()).collect();
    let mut referenced = HashSet::new();
    for group in &subject.groups {
        let rules = Direction::BOTH.into_iter().flat_map(|direction| group.rules(direction));
        for rule in rules {
            if let Peer::Group { id, .. } = &rule.peer
                && **id != *group.id
            {
                referenced.insert(&**id);
            }
        }
    }
    let mut found = Vec::new();
    for (position, group) in subject.groups.iter().enumerate() {
        // A VPC's default group cannot be deleted (VPC guide, `default-security-group`).
        let unused = !members.contains(&position) && group.name != "default";
        if unused && !referenced.contains(group.id.as_str()) {
            found.push(Finding {
                id: "unused-group",
                severity: Severity::Note,
                about: About::Group(position),
                message: format!(
                    "no network interface is in {}, and no other group's rule names it",
                    group.id
                ),
                help: "delete it, unless something outside of this document uses it",
            });
        }
    }
    found.extend(empty_references(subject, &members));
    found
}

/// Rules of groups in use that name a group without members. (Stale ones are told of elsewhere.)
fn empty_references(subject: &Subject, members: &HashSet<usize>) -> Vec<Finding> {
    let known: HashSet<&str> = subject.groups.iter().map(|group| group.id.as_str()).collect();
    let mut found = Vec::new();
    for &position in members {
        let group = &subject.groups[position];
        for direction in Direction::BOTH {
            for (number, rule) in group.rules(direction).iter().enumerate() {
                let Peer::Group { id, members } = &rule.peer else { continue };
                if members.is_empty() && known.contains(&**id) {
                    found.push(Finding {
                        id: "empty-reference",
                        severity: Severity::Note,
                        about: About::GroupRule(position, direction, number),
                        message: format!(
                            "{} rule {} {id} of {} matches nothing now: no address of an interface is in {id}",
                            direction.name(),
                            rule.service,
                            group.id
                        ),
                        help: "put an interface into that group, or remove the rule",
                    });
                }
            }
        }
    }
    found
}
