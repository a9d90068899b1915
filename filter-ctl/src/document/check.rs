//! The whole document, as `filter-ctl check` sees it.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    Document,
    diagnostic::{Diagnostic, Severity, sorted},
    model::Interface,
};

/// What is wrong with a document.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    /// What would keep some interface from being used.
    pub errors: Vec<Diagnostic>,
    /// The rest.
    pub warnings: Vec<Diagnostic>,
}

/// Counts of a document's objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Files.
    pub files: usize,
    /// `Vpcs`
    pub vpcs: usize,
    /// `Subnets`
    pub subnets: usize,
    /// `NetworkInterfaces`
    pub interfaces: usize,
    /// `SecurityGroups`
    pub security_groups: usize,
    /// Rules of all groups: one for each protocol, ports and peer.
    pub security_group_rules: usize,
    /// `NetworkAcls`
    pub network_acls: usize,
    /// Numbered rules of all network ACLs.
    pub network_acl_rules: usize,
    /// Prefix lists of both kinds.
    pub prefix_lists: usize,
    /// `FlowLogs`
    pub flow_logs: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.files, "file"),
            (self.vpcs, "VPC"),
            (self.subnets, "subnet"),
            (self.interfaces, "network interface"),
            (self.security_groups, "security group"),
            (self.security_group_rules, "security group rule"),
            (self.network_acls, "network ACL"),
            (self.network_acl_rules, "network ACL rule"),
            (self.prefix_lists, "prefix list"),
            (self.flow_logs, "flow log"),
        ];
        for (position, (count, what)) in counts.into_iter().enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            let plural = if count == 1 { "" } else { "s" };
            write!(f, "{comma}{count} {what}{plural}")?;
        }
        Ok(())
    }
}

impl Document {
    /// What is wrong across objects, with every interface taken as used. The warnings of
    /// [`super::load`] are not repeated.
    #[must_use]
    pub fn check(&self) -> Checked {
        let found = self.across_objects(&[]);
        let (errors, warnings) = found.into_iter().partition(|one| one.severity == Severity::Error);
        Checked { errors, warnings }
    }

    /// Trouble in what none of the `used` interfaces reaches, as warnings.
    #[must_use]
    pub fn trouble_elsewhere(&self, used: &[&str]) -> Vec<Diagnostic> {
        let own: Vec<Diagnostic> = used
            .iter()
            .filter_map(|id| self.index.interface(&self.model, id))
            .flat_map(|interface| self.of_interface(interface))
            .collect();
        let told: HashSet<_> = own.iter().map(Diagnostic::identity).collect();
        let mut found = self.across_objects(used);
        found.retain(|one| !told.contains(&one.identity()));
        for one in &mut found {
            one.severity = one.severity.max(Severity::Warning);
        }
        found
    }

    /// Findings about an interface and what it reaches.
    fn of_interface(&self, interface: &Interface) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        self.reach(interface, &mut found);
        self.check_intervals(interface, &mut found);
        found
    }

    fn across_objects(&self, except: &[&str]) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for interface in &self.model.interfaces {
            if !except.contains(&interface.id.as_str()) {
                found.extend(self.of_interface(interface));
            }
        }
        for group in &self.model.groups {
            self.check_references(group, &mut found);
        }
        let mut subnets = Vec::new();
        for subnet in &self.model.subnets {
            self.check_subnet(subnet, &mut subnets);
        }
        // An interface that stands in such a subnet has made it an error already.
        let told: HashSet<_> = found.iter().map(Diagnostic::identity).collect();
        subnets.retain(|one| !told.contains(&one.identity()));
        for one in &mut subnets {
            one.severity = one.severity.max(Severity::Warning);
        }
        found.extend(subnets);
        self.check_acls(&mut found);
        self.check_flow_logs(&mut found);
        self.check_shared_addresses(&mut found);
        sorted(found)
    }

    fn warning(
        &self,
        id: &'static str,
        at: super::diagnostic::At,
        field: String,
        message: String,
    ) -> Diagnostic {
        self.model.sources.diagnostic(Severity::Warning, id, at, field, message)
    }

    fn check_acls(&self, found: &mut Vec<Diagnostic>) {
        for acl in &self.model.acls {
            let field = acl.place.field("Associations");
            if acl.associations.is_empty() && !acl.default {
                let message = format!("{} is of no subnet: it decides nothing", acl.id);
                let help = "name its subnets, as in Associations: [{ SubnetId: subnet-… }], or write IsDefault: true";
                found.push(self.warning("unused-acl", acl.place.at, field.clone(), message).help(help));
            }
            for subnet in &acl.associations {
                if self.index.subnet(&self.model, &subnet.value).is_none() {
                    let message = format!("the document has no subnet {}", subnet.value);
                    found.push(self.warning("unknown-subnet", subnet.at, field.clone(), message));
                }
            }
        }
    }

    fn check_flow_logs(&self, found: &mut Vec<Diagnostic>) {
        let vpcs = self.model.interfaces.iter().filter_map(|interface| interface.vpc_id.as_ref());
        let vpcs: HashSet<&str> = vpcs.map(|id| id.value.as_str()).collect();
        for placed in &self.model.flow_logs {
            let Some(resource) = &placed.resource else { continue };
            let known = match resource.value.split('-').next() {
                Some("vpc") => {
                    vpcs.contains(resource.value.as_str())
                        || self.index.vpc(&self.model, &resource.value).is_some()
                }
                Some("subnet") => self.index.subnet(&self.model, &resource.value).is_some(),
                Some("eni") => self.index.interface(&self.model, &resource.value).is_some(),
                // Transit gateways and what else AWS has flow logs for.
                _ => true,
            };
            if !known {
                let message = format!("the document has no {}", resource.value);
                let field = placed.place.field("ResourceId");
                found.push(self.warning("unknown-resource", resource.at, field, message));
            }
        }
    }

    /// Longer intervals are put together from the shortest one.
    pub(super) fn check_intervals(&self, interface: &Interface, found: &mut Vec<Diagnostic>) {
        let Some(shortest) = self.covering(interface).map(|placed| placed.log.interval).min() else { return };
        for placed in self.covering(interface) {
            if !placed.log.interval.is_multiple_of(shortest) {
                let message = format!(
                    "{} is also covered by a flow log of {shortest} s; {} s is no multiple of it",
                    interface.id, placed.log.interval
                );
                let field = placed.place.field("MaxAggregationInterval");
                found.push(self.model.sources.diagnostic(
                    Severity::Error,
                    "interval-mismatch",
                    placed.place.at,
                    field,
                    message,
                ));
            }
        }
    }

    fn check_shared_addresses(&self, found: &mut Vec<Diagnostic>) {
        let mut holders: HashMap<(&str, IpNet), &str> = HashMap::new();
        for interface in &self.model.interfaces {
            let Some(vpc_id) = &interface.vpc_id else { continue };
            for own in &interface.own {
                let key = (vpc_id.value.as_str(), own.value);
                if let Some(holder) = holders.insert(key, &interface.id)
                    && holder != interface.id
                {
                    let message = format!("{} is an address of {holder} too", own.value.addr());
                    let field = interface.place.field("PrivateIpAddress");
                    found.push(self.warning("shared-address", own.at, field, message));
                }
            }
        }
    }

    /// Counts of the objects.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let model = &self.model;
        let peers = |group: &super::model::SecurityGroup| {
            let egress = group.egress.as_deref().unwrap_or_default();
            group.ingress.iter().chain(egress).map(|permission| permission.peers.len()).sum::<usize>()
        };
        Summary {
            files: model.sources.0.len(),
            vpcs: model.vpcs.len(),
            subnets: model.subnets.len(),
            interfaces: model.interfaces.len(),
            security_groups: model.groups.len(),
            security_group_rules: model.groups.iter().map(peers).sum(),
            network_acls: model.acls.len(),
            network_acl_rules: model.acls.iter().map(|acl| acl.ingress.len() + acl.egress.len()).sum(),
            prefix_lists: model.prefix_lists.len(),
            flow_logs: model.flow_logs.len(),
        }
    }
}
