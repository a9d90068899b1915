//! An interface's rules for people: in numbers, and, if they are not too many, in words.
//!
//! Kept with the attachment, so that `apply` can tell what changes: the document that was applied
//! before may be another one by now.

use std::collections::BTreeSet;

use filter_common::Direction;
use serde::{Deserialize, Serialize};

use crate::{
    compile::Compiled,
    policy::{EffectivePolicy, Exemptions, NetworkAclRule, Peer},
};

/// Rules that are kept in words.
const MOST: usize = 1000;

/// The rules of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// Ids of the security groups.
    pub groups: Vec<String>,
    /// Id of the network ACL.
    pub network_acl: String,
    /// Rules of the groups: ingress, egress.
    pub group_rules: [usize; 2],
    /// Rules of the network ACL: ingress, egress.
    pub network_acl_rules: [usize; 2],
    /// `StrictTcp`, of the document or by `--strict-tcp`.
    #[serde(default)]
    pub strict_tcp: bool,
    /// `Exemptions`
    #[serde(default)]
    pub exemptions: Exemptions,
    /// Bytes of the compiled policy's block.
    pub block_bytes: usize,
    /// Each rule in words, one remote each; `None`: there are too many.
    pub words: Option<BTreeSet<String>>,
}

impl Rules {
    /// A policy's rules.
    #[must_use]
    pub fn of(policy: &EffectivePolicy, compiled: &Compiled) -> Self {
        let of_groups = |direction| policy.groups.iter().map(|group| group.rules(direction).len()).sum();
        Self {
            groups: policy.groups.iter().map(|group| group.id.clone()).collect(),
            network_acl: policy.nacl.id.clone(),
            group_rules: Direction::BOTH.map(of_groups),
            network_acl_rules: Direction::BOTH.map(|direction| policy.nacl.rules(direction).len()),
            strict_tcp: policy.strict_tcp,
            exemptions: policy.exemptions,
            block_bytes: compiled.statistics.block_bytes,
            words: (compiled.statistics.rules <= MOST).then(|| words(policy)),
        }
    }

    /// Rules that only the later ones have, and that only the earlier ones have; `None` if one of
    /// the two is not known in words.
    #[must_use]
    pub fn changes<'a>(&'a self, later: &'a Self) -> Option<(Vec<&'a str>, Vec<&'a str>)> {
        fn only<'a>(of: &'a BTreeSet<String>, not: &'a BTreeSet<String>) -> Vec<&'a str> {
            of.difference(not).map(String::as_str).collect()
        }
        let (before, after) = (self.words.as_ref()?, later.words.as_ref()?);
        Some((only(after, before), only(before, after)))
    }
}

fn words(policy: &EffectivePolicy) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for group in &policy.groups {
        for (rules, direction, from) in [(&group.ingress, "ingress", "from"), (&group.egress, "egress", "to")]
        {
            for rule in rules {
                let origin = match &rule.peer {
                    Peer::Cidr(_) => String::new(),
                    Peer::Group { id, .. } | Peer::PrefixList { id, .. } => format!(" ({id})"),
                };
                let service = rule.service;
                for prefix in rule.peer.prefixes() {
                    words.insert(format!("{} {direction} allow {service} {from} {prefix}{origin}", group.id));
                }
            }
        }
    }
    for (rules, direction, from) in
        [(&policy.nacl.ingress, "ingress", "from"), (&policy.nacl.egress, "egress", "to")]
    {
        for NetworkAclRule { number, allow, service, prefix } in rules {
            let verdict = if *allow { "allow" } else { "deny" };
            let id = &policy.nacl.id;
            words.insert(format!("{id} {direction} {number:5} {verdict} {service} {from} {prefix}"));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(words: &[&str]) -> Rules {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Rules { words: Some(words), ..Rules::default() }
    }

    #[test]
    fn changes_are_what_only_one_side_has() {
        let (before, after) = (rules(&["a", "b"]), rules(&["b", "c"]));
        assert_eq!(before.changes(&after), Some((vec!["c"], vec!["a"])));
        assert_eq!(before.changes(&Rules::default()), None);
    }
}
