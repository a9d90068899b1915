//! What the compiled tables must say, slowly and plainly.
//!
//! Walks the rules one after the other, as AWS's text reads; no classes, no tables, and not a line
//! shared with [`crate::compile`]. Tests ask both about the same packets, and `explain` asks this
//! one which rules decided.

use std::net::IpAddr;

use filter_common::{
    Direction,
    cell::Cell,
    service::{Service, ServiceKind},
};

use crate::policy::{EffectivePolicy, Group, GroupRule, NetworkAclRule, Peer, RuleService};

/// A policy, asked rule by rule.
#[derive(Clone, Copy, Debug)]
pub struct Reference<'a> {
    policy: &'a EffectivePolicy,
}

impl<'a> Reference<'a> {
    /// The evaluator of a policy.
    #[must_use]
    pub const fn new(policy: &'a EffectivePolicy) -> Self {
        Self { policy }
    }

    /// What both layers say about a packet: what the compiled tables must say, too.
    #[must_use]
    pub fn cell(&self, direction: Direction, remote: IpAddr, service: Service) -> Cell {
        let mut bits = 0;

        // VPC guide, `vpc-network-acls`: traffic within the subnet is not evaluated; `nacl-rules`: the lowest
        // number that matches decides; `default-network-acl`: what no numbered rule matches is denied (`*`).
        let asked = !self.is_same_subnet(direction, remote);
        if !asked || self.nacl_rule(direction, remote, service).is_some_and(|rule| rule.allow) {
            bits |= Cell::NACL_ALLOW;
        }
        if !asked {
            bits |= Cell::SAME_SUBNET;
        }

        // VPC guide, `security-group-rules`: rules only allow, and all groups' rules are one set.
        for (_, rule) in self.group_rules(direction, remote, service) {
            bits |= Cell::GROUP_ALLOW;
            // EC2 guide, `security-group-connection-tracking`, "Untracked connections".
            let everywhere = is_everywhere(&rule.peer);
            let all_ports = is_for_all_ports(rule.service);
            if everywhere {
                bits |= Cell::ANY_ADDRESS;
            }
            if everywhere && all_ports {
                bits |= Cell::ANY_ADDRESS_ALL_PORTS;
            } else {
                bits |= Cell::NARROW;
            }
        }

        // VPC guide, `VPC_Security` (2018), `vpc-security-groups`: the addresses reserved in the subnet and
        // those of the platform are neither filtered nor logged.
        if self.policy.reserved.iter().any(|block| block.contains(&remote)) {
            bits |= Cell::EXEMPT;
        } else if self.policy.platform.iter().any(|block| block.contains(&remote)) {
            bits |= Cell::EXEMPT | Cell::LINK_LOCAL;
        }
        Cell(bits)
    }

    /// Whether the network ACL is not asked about a remote address, as it is in the interface's own subnet.
    ///
    /// Link-local IPv6 addresses and link-scope multicast never leave a link, hence a subnet.
    #[must_use]
    pub fn is_same_subnet(&self, direction: Direction, remote: IpAddr) -> bool {
        // Nothing comes from a group.
        let outward = direction == Direction::Egress;
        let link = match remote {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                outward && (a, b, c) == (224, 0, 0)
            }
            IpAddr::V6(address) => {
                let first = address.segments()[0];
                (0xfe80..=0xfebf).contains(&first) || outward && first == 0xff02
            }
        };
        link || self.policy.subnet.iter().any(|block| block.contains(&remote))
    }

    /// The network ACL's rule that decides, were it asked; `None`: no numbered rule matches, which denies.
    #[must_use]
    pub fn nacl_rule(
        &self,
        direction: Direction,
        remote: IpAddr,
        service: Service,
    ) -> Option<&'a NetworkAclRule> {
        let rules = match direction {
            Direction::Ingress => &self.policy.nacl.ingress,
            Direction::Egress => &self.policy.nacl.egress,
        };
        rules
            .iter()
            .filter(|rule| rule.prefix.contains(&remote) && is_about(rule.service, service))
            .min_by_key(|rule| rule.number)
    }

    /// The groups' rules that match, in the document's order, each with its group.
    pub fn group_rules(
        &self,
        direction: Direction,
        remote: IpAddr,
        service: Service,
    ) -> impl Iterator<Item = (&'a Group, &'a GroupRule)> {
        let groups = self.policy.groups.iter();
        groups
            .flat_map(move |group| rules(group, direction).iter().map(move |rule| (group, rule)))
            .filter(move |(_, rule)| is_match(rule, remote, service))
    }
}

fn rules(group: &Group, direction: Direction) -> &[GroupRule] {
    match direction {
        Direction::Ingress => &group.ingress,
        Direction::Egress => &group.egress,
    }
}

/// Whether a security group's rule matches.
///
/// VPC guide, `security-group-rules`: protocol, destination port or ICMP type and code, and remote. An
/// IPv4 range never matches IPv6 and vice versa. The pages do not say what `icmp` with an IPv6 range is, nor
/// `icmpv6` with an IPv4 one; here it matches nothing.
fn is_match(rule: &GroupRule, remote: IpAddr, service: Service) -> bool {
    let mismatch = match rule.service {
        RuleService::Icmp(..) => remote.is_ipv6(),
        RuleService::Icmpv6(..) => remote.is_ipv4(),
        _ => false,
    };
    let named = rule.peer.prefixes().iter().any(|prefix| prefix.contains(&remote));
    !mismatch && named && is_about(rule.service, service)
}

/// Whether a rule's protocol and ports are the packet's.
///
/// API, `IpPermission` and `CreateNetworkAclEntry`: -1 is every protocol; ports are destination ports,
/// both ends included; a type or code of -1 is every one; for other protocols there is nothing but the
/// number.
fn is_about(rule: RuleService, service: Service) -> bool {
    let Service { kind, value } = service;
    let [icmp_type, code] = value.to_be_bytes();
    let icmp = |wanted_type: Option<u8>, wanted_code: Option<u8>| {
        wanted_type.is_none_or(|wanted| wanted == icmp_type)
            && wanted_code.is_none_or(|wanted| wanted == code)
    };
    match rule {
        RuleService::All => true,
        RuleService::Tcp(first, last) => kind == ServiceKind::Tcp && first <= value && value <= last,
        RuleService::Udp(first, last) => kind == ServiceKind::Udp && first <= value && value <= last,
        RuleService::Icmp(wanted_type, wanted_code) => {
            kind == ServiceKind::Icmp && icmp(wanted_type, wanted_code)
        }
        RuleService::Icmpv6(wanted_type, wanted_code) => {
            kind == ServiceKind::Icmpv6 && icmp(wanted_type, wanted_code)
        }
        RuleService::Protocol(number) => kind == ServiceKind::Other && value == u16::from(number),
    }
}

/// Whether a rule itself says `0.0.0.0/0` or `::/0`.
fn is_everywhere(peer: &Peer) -> bool {
    matches!(peer, Peer::Cidr(prefix) if prefix.prefix_len() == 0)
}

/// Whether a rule is for every port that its protocols have.
fn is_for_all_ports(rule: RuleService) -> bool {
    match rule {
        RuleService::All | RuleService::Protocol(_) => true,
        RuleService::Tcp(first, last) | RuleService::Udp(first, last) => (first, last) == (0, 65_535),
        RuleService::Icmp(icmp_type, code) | RuleService::Icmpv6(icmp_type, code) => {
            (icmp_type, code) == (None, None)
        }
    }
}
