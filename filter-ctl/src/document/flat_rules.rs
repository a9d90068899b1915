//! `SecurityGroupRules` beside `SecurityGroups`: what the flat form adds.
//!
//! Where `SecurityGroups` describes a group, it alone says what is enforced; the flat rules give its
//! rules their ids. (`describe-security-group-rules` takes filters, so it need not tell all.) A group
//! that only flat rules tell of is made of them: as groups only allow, a rule that is not told
//! opens nothing.

use std::collections::{HashMap, hash_map::Entry};

use super::{
    diagnostic::{Diagnostic, Severity},
    model::{FlatRule, GroupName, Model, Peer, PeerKind, SecurityGroup, Spanned},
};
use crate::policy::RuleService;

/// What makes two rules of a group the same (API reference, `AuthorizeSecurityGroupIngress`).
type Identity = (bool, RuleService, PeerKind);

/// Gives ids to the rules of described groups, and makes the groups that are not described.
pub(super) fn join(model: &mut Model, found: &mut Vec<Diagnostic>) {
    let rules = std::mem::take(&mut model.flat_rules);
    let described: HashMap<String, usize> =
        model.groups.iter().enumerate().map(|(position, group)| (group.id.clone(), position)).collect();
    let mut made: HashMap<&str, usize> = HashMap::new();
    let mut identified: HashMap<usize, HashMap<Identity, &FlatRule>> = HashMap::new();
    for rule in &rules {
        if let Some(position) = described.get(&rule.group_id) {
            let identity = (rule.egress, rule.permission.service, rule.permission.peers[0].kind.clone());
            match identified.entry(*position).or_default().entry(identity) {
                Entry::Vacant(free) => {
                    free.insert(rule);
                }
                Entry::Occupied(_) => found.push(same_rule(model, rule)),
            }
        } else {
            let groups = &mut model.groups;
            let position = *made.entry(&rule.group_id).or_insert_with(|| {
                groups.push(made_of(rule));
                groups.len() - 1
            });
            add(&mut model.groups[position], rule);
        }
    }
    for (position, mut rules) in identified {
        let group = &mut model.groups[position];
        give_ids(group, &mut rules);
        let default_egress = group.egress.is_none();
        let group_id = group.id.clone();
        for ((egress, service, kind), rule) in rules {
            let everywhere = matches!(kind, PeerKind::Cidr(block) if block.prefix_len() == 0);
            if egress && default_egress && service == RuleService::All && everywhere {
                continue;
            }
            let message = format!("SecurityGroups has no such rule in {group_id}: this one is not enforced");
            found.push(
                model
                    .sources
                    .diagnostic(Severity::Warning, "unmatched-rule", rule.place.at, &rule.place.path, message)
                    .help("save the output of describe-security-groups again, or write the rule there"),
            );
        }
    }
    model.flat_rules = rules;
}

/// Moves the ids from `rules` to the group's rules that they are of.
fn give_ids(group: &mut SecurityGroup, rules: &mut HashMap<Identity, &FlatRule>) {
    let ingress = group.ingress.iter_mut().map(|permission| (false, permission));
    let egress = group.egress.iter_mut().flatten().map(|permission| (true, permission));
    for (egress, permission) in ingress.chain(egress) {
        for peer in &mut permission.peers {
            let Some(rule) = rules.remove(&(egress, permission.service, peer.kind.clone())) else { continue };
            let flat = &rule.permission.peers[0];
            peer.rule_id = rule.id.as_deref().map(Into::into);
            peer.description = peer.description.take().or_else(|| flat.description.clone());
            peer.lost_peering = peer.lost_peering.take().or_else(|| flat.lost_peering.clone());
        }
    }
}

/// A group of which only flat rules tell; this is the first of them.
fn made_of(rule: &FlatRule) -> SecurityGroup {
    SecurityGroup {
        place: rule.place.clone(),
        id: rule.group_id.clone(),
        name: Spanned { value: rule.group_id.clone(), at: rule.place.at },
        vpc_id: None,
        from_rules: true,
        ingress: Vec::new(),
        egress: Some(Vec::new()),
    }
}

fn add(group: &mut SecurityGroup, rule: &FlatRule) {
    let mut permission = rule.permission.clone();
    for peer in &mut permission.peers {
        *peer = Peer { rule_id: rule.id.as_deref().map(Into::into), ..peer.clone() };
    }
    if rule.egress {
        group.egress.get_or_insert_default().push(permission);
    } else {
        group.ingress.push(permission);
    }
}

fn same_rule(model: &Model, rule: &FlatRule) -> Diagnostic {
    let message = "the same rule stands above, with another id";
    let path = rule.place.path.as_str();
    model.sources.diagnostic(Severity::Warning, "duplicate-rule", rule.place.at, path, message)
}

/// The VPC of each group that is made of flat rules, which do not tell it: that of an interface in
/// it, else the only one. Where neither is known, none.
pub(super) fn place_groups(model: &mut Model, only: Option<&String>) {
    let mut places: HashMap<&str, &Spanned<String>> = HashMap::new();
    for interface in &model.interfaces {
        let Some(vpc_id) = &interface.vpc_id else { continue };
        for name in &interface.groups {
            if let GroupName::Id(id) = &name.value {
                places.entry(id).or_insert(vpc_id);
            }
        }
    }
    for group in model.groups.iter_mut().filter(|group| group.from_rules) {
        let only = || only.map(|id| Spanned { value: id.clone(), at: group.place.at });
        group.vpc_id = places.get(group.id.as_str()).map(|id| (*id).clone()).or_else(only);
    }
}
