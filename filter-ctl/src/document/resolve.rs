//! A reached interface into its effective policy: references become addresses, defaults contents.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    Document,
    index::{DEFAULT, GroupOf},
    model::{GroupName, Peer, PeerKind, Permission},
    reach::{Reached, reserved},
};
use crate::policy::{
    EffectivePolicy, Group, GroupRule, Interface, NetworkAcl, NetworkAclRule, Origin, Remote, RuleService,
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
        let vpc_owner = self.index.vpc(&self.model, vpc_id).and_then(|vpc| vpc.owner.as_ref());
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
            },
            subnet: subnet.blocks.iter().map(|block| block.value).collect(),
            reserved: reserved(subnet),
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
        }
    }

    fn group(&self, group: GroupOf<'_>) -> Group {
        match group {
            GroupOf::Written(_, group) => {
                let vpc_id = group.vpc_id.as_ref().map_or("", |id| id.value.as_str());
                let rules = |permissions: &[Permission]| {
                    permissions.iter().map(|permission| self.rule(permission, vpc_id)).collect()
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
                let origin = Origin::Group(DEFAULT_GROUP_ID.to_owned());
                let members = self.index.members(group).iter();
                let remotes =
                    members.map(|prefix| Remote { prefix: *prefix, origin: origin.clone() }).collect();
                Group {
                    id: DEFAULT_GROUP_ID.to_owned(),
                    name: DEFAULT.to_owned(),
                    ingress: vec![GroupRule { service: RuleService::All, remotes }],
                    egress: self.default_egress(vpc_id),
                }
            }
        }
    }

    /// What a new group allows outbound: everything, IPv6 only in a VPC that has it.
    fn default_egress(&self, vpc_id: &str) -> Vec<GroupRule> {
        let v6 = self.index.has_ipv6(vpc_id).then(everywhere_v6);
        let all = |prefix| GroupRule {
            service: RuleService::All,
            remotes: vec![Remote { prefix, origin: Origin::Cidr }],
        };
        std::iter::once(everywhere_v4()).chain(v6).map(all).collect()
    }

    fn rule(&self, permission: &Permission, vpc_id: &str) -> GroupRule {
        let mut remotes = Vec::with_capacity(permission.peers.len());
        for peer in &permission.peers {
            self.remotes(peer, vpc_id, &mut remotes);
        }
        // ICMP is IPv4's and ICMPv6 is IPv6's: at the other family such a rule matches nothing.
        match permission.service {
            RuleService::Icmp(..) => remotes.retain(|remote| remote.prefix.addr().is_ipv4()),
            RuleService::Icmpv6(..) => remotes.retain(|remote| remote.prefix.addr().is_ipv6()),
            _ => {}
        }
        GroupRule { service: permission.service, remotes }
    }

    /// Adds the addresses of a rule's peer; a stale one has none.
    fn remotes(&self, peer: &Peer, vpc_id: &str, remotes: &mut Vec<Remote>) {
        match &peer.kind {
            PeerKind::Cidr(prefix) => remotes.push(Remote { prefix: *prefix, origin: Origin::Cidr }),
            PeerKind::PrefixList(id) => {
                let list = self.index.prefix_list(&self.model, id);
                let entries = list.and_then(|list| list.entries.as_deref()).unwrap_or_default();
                remotes.extend(
                    entries
                        .iter()
                        .map(|entry| Remote { prefix: entry.value, origin: Origin::PrefixList(id.clone()) }),
                );
            }
            PeerKind::Group(name) => {
                let Some(group) = self.index.group(&self.model, name, vpc_id) else { return };
                let id = match (group, name) {
                    (GroupOf::Written(_, group), _) => group.id.as_str(),
                    (GroupOf::Default(_), GroupName::Id(_) | GroupName::Name(_)) => DEFAULT_GROUP_ID,
                };
                let members = self.index.members(group).iter();
                remotes.extend(
                    members.map(|prefix| Remote { prefix: *prefix, origin: Origin::Group(id.to_owned()) }),
                );
            }
        }
    }
}

/// What AWS puts into the default network ACL of a VPC (VPC guide, `default-network-acl`).
fn default_acl() -> NetworkAcl {
    let allow = |number, prefix| NetworkAclRule { number, allow: true, service: RuleService::All, prefix };
    let rules = vec![allow(100, everywhere_v4()), allow(101, everywhere_v6())];
    NetworkAcl { id: DEFAULT_ACL_ID.to_owned(), ingress: rules.clone(), egress: rules }
}
