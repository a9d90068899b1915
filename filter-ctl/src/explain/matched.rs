//! The rules that match a packet, named, found by walking all of them.

use std::net::IpAddr;

use filter_common::Direction;
use ipnet::IpNet;
use serde::Serialize;

use super::{
    Question,
    miss::{self, Miss},
};
use crate::{
    policy::{EffectivePolicy, Group, GroupRule, NetworkAcl, NetworkAclRule, Peer, Position},
    reference::Reference,
};

/// A security group's rule with its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedRule {
    /// `sg-…`
    pub group_id: String,
    /// `sgr-…`, the document's or derived.
    pub rule_id: String,
    /// `GroupName`
    pub group_name: String,
    /// Where it stands: in the group (`IpPermissions[0].IpRanges[1]`) or in the document
    /// (`SecurityGroupRules[2]`); `None`: it is one of AWS's default rules.
    pub position: Option<String>,
    /// `Description`
    pub description: Option<String>,
    /// What it says: `tcp 443 from 0.0.0.0/0`.
    pub rule: String,
    /// Of a rule for a group or a prefix list: the member or entry that holds the address.
    pub through: Option<IpNet>,
}

impl NamedRule {
    pub(super) fn new(group: &Group, direction: Direction, rule: &GroupRule, question: &Question) -> Self {
        let list = match direction {
            Direction::Ingress => "IpPermissions",
            Direction::Egress => "IpPermissionsEgress",
        };
        let kind = match &rule.peer {
            Peer::Cidr(IpNet::V4(_)) => "IpRanges",
            Peer::Cidr(IpNet::V6(_)) => "Ipv6Ranges",
            Peer::PrefixList { .. } => "PrefixListIds",
            Peer::Group { .. } => "UserIdGroupPairs",
        };
        let position = match rule.position {
            Position::Default => None,
            Position::Nested(permission, peer) => Some(format!("{list}[{permission}].{kind}[{peer}]")),
            Position::Flat(rule) => Some(format!("SecurityGroupRules[{rule}]")),
        };
        let holds = |prefix: &&IpNet| prefix.contains(&question.remote());
        let through = match &rule.peer {
            Peer::Cidr(_) => None,
            peer => peer.prefixes().iter().find(holds).copied(),
        };
        Self {
            group_id: group.id.clone(),
            rule_id: group.rule_id(direction, rule),
            group_name: group.name.clone(),
            position,
            description: rule.description.as_deref().map(str::to_owned),
            rule: format!("{} {} {}", rule.service, toward(direction), rule.peer),
            through,
        }
    }
}

/// A network ACL's rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AclRule {
    /// 1 to [`NetworkAcl::LAST_NUMBER`], or [`NetworkAcl::star`].
    #[serde(rename = "rule_number")]
    pub number: u16,
    /// `allow` or `deny`.
    pub action: &'static str,
    /// What it says: `tcp 443 from 0.0.0.0/0`; of a `*`, that no rule matches.
    pub rule: String,
}

impl AclRule {
    pub(super) fn new(direction: Direction, rule: &NetworkAclRule) -> Self {
        Self {
            number: rule.number,
            action: if rule.allow { "allow" } else { "deny" },
            rule: format!("{} {} {}", rule.service, toward(direction), rule.prefix),
        }
    }

    fn star(v4: bool) -> Self {
        let rule = "*: no numbered rule matches".to_owned();
        Self { number: NetworkAcl::star(v4), action: "deny", rule }
    }

    /// Whether no numbered rule matches.
    pub(super) const fn is_star(&self) -> bool {
        self.number > NetworkAcl::LAST_NUMBER
    }
}

const fn toward(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    }
}

/// What the rules of both layers have to do with a packet, each layer asked for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// `acl-…`
    pub acl_id: String,
    /// The network ACL's first rule that matches, were it asked.
    pub acl: AclRule,
    /// Where that is a `*`: rules that would have allowed it but for one thing.
    pub acl_misses: Vec<Miss<AclRule>>,
    /// Every rule of the groups that matches, in the document's order.
    pub groups: Vec<NamedRule>,
    /// Where none does: rules that would have but for one thing.
    pub group_misses: Vec<Miss<NamedRule>>,
    /// The interface's groups.
    pub group_ids: Vec<String>,
    /// Rules of theirs in the packet's direction.
    pub group_rules: usize,
    /// What the other end is, if the subnet or its VPC reserves its address.
    pub reserved: Option<&'static str>,
}

/// What an address is to the subnet or its VPC, if they reserve it (VPC guide, `subnet-sizing`).
fn reserved(policy: &EffectivePolicy, remote: IpAddr) -> Option<&'static str> {
    let IpAddr::V4(address) = remote else { return None };
    let place = policy.subnet.iter().find_map(|block| match block {
        IpNet::V4(block) if block.contains(&address) => Some(address.to_bits() - block.network().to_bits()),
        _ => None,
    });
    let by_itself = policy.reserved.contains(&IpNet::from(remote));
    match (place, by_itself) {
        (Some(1), _) => Some("the subnet's router"),
        (_, true) => Some("the VPC's DNS server"),
        (Some(0..=3), false) => Some("reserved in the subnet"),
        _ => None,
    }
}

impl Matched {
    /// Asks the rules one by one.
    #[must_use]
    pub fn new(policy: &EffectivePolicy, question: &Question) -> Self {
        let reference = Reference::new(policy);
        let (direction, remote, service) = (question.direction, question.remote(), question.service());
        let acl = reference.nacl_rule(direction, remote, service);
        let groups: Vec<_> = reference
            .group_rules(direction, remote, service)
            .map(|(group, rule)| NamedRule::new(group, direction, rule, question))
            .collect();
        Self {
            acl_id: policy.nacl.id.clone(),
            acl_misses: if acl.is_none() { miss::of_acl(policy, question) } else { Vec::new() },
            acl: acl.map_or_else(|| AclRule::star(remote.is_ipv4()), |rule| AclRule::new(direction, rule)),
            group_misses: if groups.is_empty() { miss::of_groups(policy, question) } else { Vec::new() },
            groups,
            group_ids: policy.groups.iter().map(|group| group.id.clone()).collect(),
            group_rules: policy.groups.iter().map(|group| group.rules(direction).len()).sum(),
            reserved: reserved(policy, remote),
        }
    }
}
