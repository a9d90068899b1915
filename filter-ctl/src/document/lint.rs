//! A document as lints look at it, and their findings in its files.

use std::collections::HashMap;

use filter_common::Direction;

use super::{
    Document,
    diagnostic::{Diagnostic, RuleName, sorted},
    index::GroupOf,
    model::{Peer, Permission, SecurityGroup},
    resolve::default_acl,
};
use crate::{
    lint::{About, Finding, Interface, Subject, Subnet, lint},
    policy::NetworkAcl,
};

impl Document {
    /// What is right and yet probably not what was meant ([`crate::lint`]). Nothing of it is among
    /// the warnings of [`super::load`] and [`Document::check`].
    #[must_use]
    pub fn lint(&self) -> Vec<Diagnostic> {
        let subject = self.subject();
        let findings = lint(&subject);
        sorted(findings.into_iter().filter_map(|finding| self.found(&subject, finding)).collect())
    }

    /// The document's groups and network ACLs in its own order, then those that AWS makes.
    fn subject(&self) -> Subject {
        let mut subject = Subject::default();
        let written = self.model.groups.iter().enumerate();
        subject.groups =
            written.map(|(position, group)| self.group(GroupOf::Written(position, group))).collect();
        let acls = self.model.acls.iter();
        subject.acls = acls
            .map(|acl| NetworkAcl {
                id: acl.id.clone(),
                ingress: acl.ingress.clone(),
                egress: acl.egress.clone(),
            })
            .collect();
        let acl_of: HashMap<&str, usize> =
            self.model.acls.iter().enumerate().map(|(position, acl)| (acl.id.as_str(), position)).collect();
        let mut subnets = HashMap::new();
        for subnet in &self.model.subnets {
            let acl =
                self.index.acl(&self.model, subnet).and_then(|acl| acl_of.get(acl.id.as_str()).copied());
            subnets.insert(subnet.id.as_str(), subject.subnets.len());
            subject.subnets.push(Subnet {
                id: subnet.id.clone(),
                blocks: subnet.blocks.iter().map(|block| block.value).collect(),
                acl: acl.unwrap_or(self.model.acls.len()),
            });
        }
        subject.acls.push(default_acl());
        let mut defaults: HashMap<&str, usize> = HashMap::new();
        for interface in &self.model.interfaces {
            let subnet = interface.subnet_id.as_ref().and_then(|id| subnets.get(id.value.as_str()));
            let Some(&subnet) = subnet else { continue };
            let mut groups = Vec::new();
            for group in self.index.groups_of(&self.model, interface).into_iter().flatten() {
                groups.push(match group {
                    GroupOf::Written(position, _) => position,
                    GroupOf::Default(vpc_id) => *defaults.entry(vpc_id).or_insert_with(|| {
                        subject.groups.push(self.group(group));
                        subject.groups.len() - 1
                    }),
                });
            }
            subject.interfaces.push(Interface { id: interface.id.clone(), subnet, groups });
        }
        subject
    }

    /// A finding in the document's files; `None`: it is about something that no file describes, or
    /// that is told of already.
    fn found(&self, subject: &Subject, finding: Finding) -> Option<Diagnostic> {
        let (at, field, rule) = match finding.about {
            About::Group(position) => {
                let group = self.model.groups.get(position)?;
                let name = RuleName::Group { group_id: group.id.clone(), direction: None, rule_id: None };
                (group.place.at, group.place.path.clone(), name)
            }
            About::Acl(position, direction) => {
                let acl = self.model.acls.get(position)?;
                let name = acl_rule(&acl.id, direction, None);
                (acl.place.at, acl.place.path.clone(), name)
            }
            About::GroupRule(position, direction, number) => {
                let group = self.model.groups.get(position)?;
                let (permission, peer) = rule(group, direction, number)?;
                if finding.id == "empty-reference" && peer.lost_peering.is_some() {
                    return None;
                }
                let name = self.rule_name(group, direction, permission, peer);
                (peer.at, peer.path(group, direction, permission.index), name)
            }
            About::AclRule(position, direction, number) => {
                let acl = self.model.acls.get(position)?;
                let rule_number = subject.acls[position].rules(direction).get(number)?.number;
                let place = acl.places.get(&(direction == Direction::Egress, rule_number))?;
                let name = acl_rule(&acl.id, direction, Some(rule_number));
                (place.at, place.path.clone(), name)
            }
        };
        let diagnostic =
            self.model.sources.diagnostic(finding.severity, finding.id, at, field, finding.message);
        Some(diagnostic.help(finding.help).rule(rule))
    }
}

fn acl_rule(id: &str, direction: Direction, rule_number: Option<u16>) -> RuleName {
    RuleName::NetworkAcl { network_acl_id: id.to_owned(), direction: direction.name(), rule_number }
}

/// A rule of a group as it is written, by its position in [`crate::policy::Group`].
fn rule(group: &SecurityGroup, direction: Direction, number: usize) -> Option<(&Permission, &Peer)> {
    let permissions = match direction {
        Direction::Ingress => &group.ingress,
        Direction::Egress => group.egress.as_ref()?,
    };
    permissions
        .iter()
        .flat_map(|permission| permission.peers.iter().map(move |peer| (permission, peer)))
        .nth(number)
}
