//! What an interface needs from the rest of the document, and whether it is there and fits.

use filter_common::Direction;
use ipnet::IpNet;

use super::{
    Document,
    diagnostic::{At, Diagnostic, Severity},
    exempt::{first_four, resolver},
    index::GroupOf,
    model::{Acl, Interface, PeerKind, Permission, SecurityGroup, Subnet},
};
use crate::policy::Exemptions;

/// VPC peering guide, `vpc-peering-security-groups`; VPC guide, `security-group-rules`.
const STALE: &str = "stale-reference";
const STALE_HELP: &str = "the rule is stale: it matches nothing";

/// The objects that decide about an interface.
pub(super) struct Reached<'d> {
    pub(super) interface: &'d Interface,
    pub(super) vpc_id: &'d str,
    pub(super) subnet: &'d Subnet,
    pub(super) groups: Vec<GroupOf<'d>>,
    /// `None`: the default contents.
    pub(super) acl: Option<&'d Acl>,
}

impl Document {
    fn diagnostic(
        &self,
        severity: Severity,
        id: &'static str,
        at: At,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Diagnostic {
        self.model.sources.diagnostic(severity, id, at, field, message)
    }

    /// Finds what an interface needs. `None`: something is missing, and an error says what.
    pub(super) fn reach<'d>(
        &'d self,
        interface: &'d Interface,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Reached<'d>> {
        let groups = self.reach_groups(interface, found);
        let vpc_id = interface.vpc_id.as_ref()?.value.as_str();
        let subnet = self.reach_subnet(interface, found)?;
        self.check_subnet(subnet, found);
        self.check_addresses(interface, subnet, found);
        self.check_resolver(vpc_id, found);
        let acl = self.index.acl(&self.model, subnet);
        if let Some((acl, acl_vpc)) = acl.and_then(|acl| Some((acl, acl.vpc_id.as_ref()?)))
            && acl_vpc.value != vpc_id
        {
            let message = format!("{} is of {}, but {} is in {vpc_id}", acl.id, acl_vpc.value, subnet.id);
            let field = acl.place.field("VpcId");
            found.push(self.diagnostic(Severity::Error, "foreign-acl", acl_vpc.at, field, message));
        }
        Some(Reached { interface, vpc_id, subnet, groups: groups?, acl })
    }

    fn reach_groups<'d>(
        &'d self,
        interface: &'d Interface,
        found: &mut Vec<Diagnostic>,
    ) -> Option<Vec<GroupOf<'d>>> {
        let vpc_id = interface.vpc_id.as_ref()?.value.as_str();
        for (position, name) in interface.groups.iter().enumerate() {
            if self.index.group(&self.model, &name.value, vpc_id).is_none() {
                let message = format!("the document has no security group {}", name.value.text());
                let field = format!("{}[{position}]", interface.place.field("Groups"));
                found.push(
                    self.diagnostic(Severity::Error, "unknown-group", name.at, field, message)
                        .expected("a group of SecurityGroups")
                        .help(format!("without it, what {} lets through is not known", interface.id)),
                );
            }
        }
        let groups = self.index.groups_of(&self.model, interface);
        let mut positions = Vec::new();
        for group in groups.iter().flatten() {
            let GroupOf::Written(position, group) = group else { continue };
            positions.push(*position);
            if group.from_rules {
                continue;
            }
            let of = group.vpc_id.as_ref().map(|id| id.value.as_str());
            if of != Some(vpc_id) {
                let of = of.unwrap_or("no VPC");
                let message = format!("{} is of {of}, but {} is in {vpc_id}", group.id, interface.id);
                let field = interface.place.field("Groups");
                let at = interface.groups.first().map_or(interface.place.at, |name| name.at);
                found.push(
                    self.diagnostic(Severity::Warning, "foreign-group", at, field, message)
                        .help("AWS allows that only for groups that are associated with the other VPC"),
                );
            }
        }
        self.quotas.check_interface(&self.model, interface, &positions, &self.rule_counts, found);
        groups.into_iter().collect()
    }

    fn reach_subnet<'d>(&'d self, interface: &Interface, found: &mut Vec<Diagnostic>) -> Option<&'d Subnet> {
        let field = interface.place.field("SubnetId");
        let Some(id) = &interface.subnet_id else {
            let message = format!("{} names no subnet, and its address does not tell", interface.id);
            found.push(
                self.diagnostic(Severity::Error, "unknown-subnet", interface.place.at, field, message)
                    .expected("subnet-…"),
            );
            return None;
        };
        let Some(subnet) = self.index.subnet(&self.model, &id.value) else {
            let message = format!("the document has no subnet {}", id.value);
            found.push(
                self.diagnostic(Severity::Error, "unknown-subnet", id.at, field, message)
                    .expected("a subnet of Subnets"),
            );
            return None;
        };
        let (vpc, of) = (interface.vpc_id.as_ref()?, subnet.vpc_id.as_ref()?);
        if vpc.value != of.value {
            let message = format!("{} is in {}, but its subnet in {}", interface.id, vpc.value, of.value);
            let field = interface.place.field("VpcId");
            found.push(self.diagnostic(Severity::Error, "foreign-subnet", vpc.at, field, message));
        }
        Some(subnet)
    }

    /// Checks that a subnet lies in its VPC.
    pub(super) fn check_subnet(&self, subnet: &Subnet, found: &mut Vec<Diagnostic>) {
        let Some(vpc_id) = &subnet.vpc_id else { return };
        let Some(vpc) = self.index.vpc(&self.model, &vpc_id.value) else {
            if !self.model.vpcs.is_empty() {
                let message = format!("the document has no VPC {}", vpc_id.value);
                let field = subnet.place.field("VpcId");
                found.push(
                    self.diagnostic(Severity::Warning, "unknown-vpc", vpc_id.at, field, message)
                        .help("whether the subnet lies in it is not checked"),
                );
            }
            return;
        };
        for block in &subnet.blocks {
            let is_v6 = block.value.addr().is_ipv6();
            let mut family = vpc.blocks.iter().filter(|of| of.addr().is_ipv6() == is_v6).peekable();
            if family.peek().is_some() && !family.any(|of| of.contains(&block.value)) {
                let message = format!("{} lies outside of {}", block.value, vpc.id);
                let field = subnet.place.field(if is_v6 { "Ipv6CidrBlock" } else { "CidrBlock" });
                let blocks: Vec<String> = vpc.blocks.iter().map(IpNet::to_string).collect();
                found.push(
                    self.diagnostic(Severity::Error, "subnet-outside-vpc", block.at, field, message)
                        .expected(format!("a part of {}", blocks.join(", "))),
                );
            }
        }
    }

    fn check_addresses(&self, interface: &Interface, subnet: &Subnet, found: &mut Vec<Diagnostic>) {
        if interface.own.is_empty() {
            let message = format!("{} has no address", interface.id);
            let field = interface.place.field("PrivateIpAddress");
            found.push(self.diagnostic(Severity::Warning, "no-address", interface.place.at, field, message));
        }
        let reserved = first_four(subnet);
        let help = match self.model.exemptions() {
            Exemptions::Ranges => {
                "the first four addresses of a subnet are AWS's own; traffic with them is not filtered"
            }
            Exemptions::Services => "the first four addresses of a subnet are AWS's own",
        };
        for own in &interface.own {
            let field = || {
                let host = own.value.prefix_len() == own.value.max_prefix_len();
                interface.place.field(match (own.value, host) {
                    (IpNet::V4(_), true) => "PrivateIpAddress",
                    (IpNet::V4(_), false) => "Ipv4Prefixes",
                    (IpNet::V6(_), true) => "Ipv6Addresses",
                    (IpNet::V6(_), false) => "Ipv6Prefixes",
                })
            };
            if !subnet.blocks.iter().any(|block| block.value.contains(&own.value)) {
                let blocks: Vec<String> = subnet.blocks.iter().map(|block| block.value.to_string()).collect();
                let message = format!("{} lies outside of {}", own.value.addr(), subnet.id);
                found.push(
                    self.diagnostic(Severity::Error, "address-outside-subnet", own.at, field(), message)
                        .expected(format!("an address of {}", blocks.join(", "))),
                );
            } else if reserved.iter().any(|block| block.contains(&own.value)) {
                let message = format!("{} is reserved in {}", own.value.addr(), subnet.id);
                found.push(
                    self.diagnostic(Severity::Warning, "reserved-address", own.at, field(), message)
                        .help(help),
                );
            }
        }
    }

    /// Where services are exempt, the VPC's own DNS server must be known.
    fn check_resolver(&self, vpc_id: &str, found: &mut Vec<Diagnostic>) {
        let Some(exemptions) = &self.model.exemptions else { return };
        let known = || self.index.vpc(&self.model, vpc_id).and_then(resolver).is_some();
        if exemptions.value == Exemptions::Services && !known() {
            let message = format!("the DNS server of {vpc_id} is not exempt: its address is not known");
            let help = format!(
                "tell the VPC's CidrBlock, as in Vpcs: [{{ VpcId: {vpc_id}, CidrBlock: 10.0.0.0/16 }}]"
            );
            found.push(
                self.diagnostic(Severity::Warning, "unknown-resolver", exemptions.at, "Exemptions", message)
                    .help(help),
            );
        }
    }

    /// Reports the references of a group's rules to groups and lists that the document lacks.
    pub(super) fn check_references(&self, group: &SecurityGroup, found: &mut Vec<Diagnostic>) {
        let egress = group.egress.as_deref().unwrap_or_default();
        self.check_permissions(group, Direction::Ingress, &group.ingress, found);
        self.check_permissions(group, Direction::Egress, egress, found);
    }

    fn check_permissions(
        &self,
        group: &SecurityGroup,
        direction: Direction,
        permissions: &[Permission],
        found: &mut Vec<Diagnostic>,
    ) {
        let vpc_id = group.vpc_id.as_ref().map_or("", |id| id.value.as_str());
        for permission in permissions {
            for peer in &permission.peers {
                let (id, message, help) = match &peer.kind {
                    PeerKind::Cidr(_) => continue,
                    PeerKind::Group(name) => {
                        if let Some(status) = &peer.lost_peering {
                            let group = name.text();
                            let message =
                                format!("the VPC peering over which {group} was reached is {status}");
                            (STALE, message, STALE_HELP)
                        } else if self.index.group(&self.model, name, vpc_id).is_some() {
                            continue;
                        } else {
                            let message = format!("the document has no security group {}", name.text());
                            (STALE, message, STALE_HELP)
                        }
                    }
                    PeerKind::PrefixList(id) => match self.index.prefix_list(&self.model, id) {
                        None => {
                            let message = format!("the document has no prefix list {id}");
                            (STALE, message, STALE_HELP)
                        }
                        Some(known) if known.entries.is_none() => {
                            let message = format!("the document does not tell the entries of {id}");
                            let help = "the rule matches nothing; save the output of `aws ec2 \
                                        get-managed-prefix-list-entries` as a file named after the list, pl-….json";
                            ("list-without-entries", message, help)
                        }
                        Some(_) => continue,
                    },
                };
                let field = peer.path(group, direction, permission.index);
                let name = self.rule_name(group, direction, permission, peer);
                found.push(
                    self.diagnostic(Severity::Warning, id, peer.at, field, message).help(help).rule(name),
                );
            }
        }
    }
}
