//! A reached interface into its effective policy: references become addresses, defaults contents.

use filter_common::Direction;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    Document,
    diagnostic::RuleName,
    exempt,
    index::{DEFAULT, GroupOf},
    model::{Peer, PeerKind, Permission, SecurityGroup},
    placement,
    reach::Reached,
};
use crate::policy::{
    self, EffectivePolicy, Group, GroupRule, Interface, NetworkAcl, NetworkAclRule, Position, RuleService,
};

/// The account of objects that name none.
const NO_ACCOUNT: &str = "000000000000";

/// Ids of objects that AWS makes with every VPC, where the document does not describe them.
const DEFAULT_GROUP_ID: &str = "sg-default";
const DEFAULT_ACL_ID: &str = "acl-default";

fn everywhere_v4() -> IpNet {
    Ipv4Net::default().into()
}

fn everywhere_v6() -> IpNet {
    Ipv6Net::default().into()
}

impl Document {
    pub(super) fn resolve(&self, reached: &Reached<'_>) -> EffectivePolicy {
        let Reached { interface, vpc_id, subnet, groups, acl } = reached;
        let vpc = self.index.vpc(&self.model, vpc_id);
        let vpc_owner = vpc.and_then(|vpc| vpc.owner.as_ref());
        let exemptions = self.model.exemptions();
        let owner = interface.owner.as_ref().or(subnet.owner.as_ref()).or(vpc_owner);
        EffectivePolicy {
            interface: Interface {
                id: interface.id.clone(),
                vpc_id: (*vpc_id).to_owned(),
                subnet_id: subnet.id.clone(),
                account_id: owner.map_or(NO_ACCOUNT, String::as_str).to_owned(),
                primary_v4: interface.primary_v4,
                primary_v6: interface.primary_v6,
                own: interface.own.iter().map(|own| own.value).collect(),
                vpc_blocks: match vpc {
                    Some(vpc) if !vpc.blocks.is_empty() => vpc.blocks.clone(),
                    _ => subnet.blocks.iter().map(|block| block.value).collect(),
                },
                placement: placement::of(interface, subnet).into(),
                tags: interface.tags.clone(),
            },
            subnet: subnet.blocks.iter().map(|block| block.value).collect(),
            exemptions,
            reserved: exempt::reserved(exemptions, subnet, vpc),
            platform: exempt::platform(exemptions),
            groups: groups.iter().map(|group| self.group(*group)).collect(),
            nacl: match acl {
                Some(acl) => NetworkAcl {
                    id: acl.id.clone(),
                    ingress: acl.ingress.clone(),
                    egress: acl.egress.clone(),
                },
                None => default_acl(),
            },
            timeouts: interface.timeouts,
            allowance: None,
            source_dest_check: interface.source_dest_check,
            strict_tcp: interface.strict_tcp,
            flow_log_interval: self.covering(interface).map(|log| log.log.interval).min(),
            flow_logs: self.covering(interface).map(|log| log.log.clone()).collect(),
        }
    }

    pub(super) fn group(&self, group: GroupOf<'_>) -> Group {
        match group {
            GroupOf::Written(_, group) => {
                let vpc_id = group.vpc_id.as_ref().map_or("", |id| id.value.as_str());
                let rules = |permissions: &[Permission]| {
                    permissions.iter().flat_map(|permission| self.rules(group, permission, vpc_id)).collect()
                };
                Group {
                    id: group.id.clone(),
                    name: group.name.value.clone(),
                    ingress: rules(&group.ingress),
                    egress: match &group.egress {
                        Some(permissions) => rules(permissions),
                        None => self.default_egress(vpc_id),
                    },
                }
            }
            // VPC guide, `default-security-group`: everything from its own members.
            GroupOf::Default(vpc_id) => {
                let peer =
                    policy::Peer::Group { id: DEFAULT_GROUP_ID.into(), members: self.index.members(group) };
                Group {
                    id: DEFAULT_GROUP_ID.to_owned(),
                    name: DEFAULT.to_owned(),
                    ingress: vec![GroupRule::new(RuleService::All, peer)],
                    egress: self.default_egress(vpc_id),
                }
            }
        }
    }

    /// What a new group allows outbound: everything, IPv6 only in a VPC that has it.
    fn default_egress(&self, vpc_id: &str) -> Vec<GroupRule> {
        let v6 = self.index.has_ipv6(vpc_id).then(everywhere_v6);
        let all = |prefix| GroupRule::new(RuleService::All, policy::Peer::Cidr(prefix));
        std::iter::once(everywhere_v4()).chain(v6).map(all).collect()
    }

    /// The rules of one element of `IpPermissions`: one for each peer.
    fn rules(
        &self,
        group: &SecurityGroup,
        permission: &Permission,
        vpc_id: &str,
    ) -> impl Iterator<Item = GroupRule> {
        permission.peers.iter().map(move |peer| GroupRule {
            given_id: peer.rule_id.clone(),
            description: peer.description.clone(),
            position: if group.from_rules {
                Position::Flat(peer.index)
            } else {
                Position::Nested(permission.index, peer.index)
            },
            ..GroupRule::new(permission.service, self.peer(peer, vpc_id))
        })
    }

    /// The name of a rule.
    pub(super) fn rule_name(
        &self,
        group: &SecurityGroup,
        direction: Direction,
        permission: &Permission,
        peer: &Peer,
    ) -> RuleName {
        let vpc_id = group.vpc_id.as_ref().map_or("", |id| id.value.as_str());
        let rule = GroupRule {
            given_id: peer.rule_id.clone(),
            ..GroupRule::new(permission.service, self.peer(peer, vpc_id))
        };
        RuleName::Group {
            group_id: group.id.clone(),
            direction: Some(direction.name()),
            rule_id: Some(policy::rule_id(&group.id, direction, &rule)),
        }
    }

    /// A rule's peer with its addresses; a stale one has none.
    fn peer(&self, peer: &Peer, vpc_id: &str) -> policy::Peer {
        match &peer.kind {
            PeerKind::Cidr(prefix) => policy::Peer::Cidr(*prefix),
            PeerKind::PrefixList(id) => {
                policy::Peer::PrefixList { id: id.as_str().into(), entries: self.index.entries(id) }
            }
            PeerKind::Group(name) => {
                let group = self.index.group(&self.model, name, vpc_id);
                let id = match group {
                    Some(GroupOf::Written(_, group)) => group.id.as_str(),
                    Some(GroupOf::Default(_)) => DEFAULT_GROUP_ID,
                    None => name.text(),
                };
                let live = group.filter(|_| peer.lost_peering.is_none());
                let members = live.map(|group| self.index.members(group)).unwrap_or_default();
                policy::Peer::Group { id: id.into(), members }
            }
        }
    }
}

/// What AWS puts into the default network ACL of a VPC (VPC guide, `default-network-acl`).
pub(super) fn default_acl() -> NetworkAcl {
    let allow = |number, prefix| NetworkAclRule { number, allow: true, service: RuleService::All, prefix };
    let rules = vec![allow(100, everywhere_v4()), allow(101, everywhere_v6())];
    NetworkAcl { id: DEFAULT_ACL_ID.to_owned(), ingress: rules.clone(), egress: rules }
}
