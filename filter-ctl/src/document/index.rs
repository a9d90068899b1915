//! Finding a document's objects: by id, by name, by membership. What two objects claim is an error.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    diagnostic::{At, Diagnostic, Severity, Sources},
    model::{Acl, GroupName, Interface, Model, Place, PrefixList, SecurityGroup, Subnet, Vpc},
};

/// The name of the group that an interface without groups is in.
pub(super) const DEFAULT: &str = "default";

/// Positions in the [`Model`]'s lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    vpcs: HashMap<String, usize>,
    subnets: HashMap<String, usize>,
    interfaces: HashMap<String, usize>,
    groups: HashMap<String, usize>,
    prefix_lists: HashMap<String, usize>,
    /// By VPC and lower-case name.
    group_names: HashMap<(String, String), usize>,
    acl_of_subnet: HashMap<String, usize>,
    /// By VPC.
    default_acl: HashMap<String, usize>,
    /// VPCs with IPv6.
    ipv6: HashSet<String>,
    /// Addresses of each group's members, by the group's position.
    members: HashMap<usize, Arc<[IpNet]>>,
    /// Addresses of the members of default groups that the document does not describe, by VPC.
    default_members: HashMap<String, Arc<[IpNet]>>,
    /// Entries of each prefix list, by its position.
    entries: Vec<Arc<[IpNet]>>,
}

/// A security group that an interface is in or a rule refers to.
#[derive(Clone, Copy, Debug)]
pub(super) enum GroupOf<'d> {
    /// One of the document's.
    Written(usize, &'d SecurityGroup),
    /// The default group of a VPC, which the document does not describe: AWS's default contents.
    Default(&'d str),
}

impl Index {
    pub(super) fn new(model: &Model, found: &mut Vec<Diagnostic>) -> Self {
        let mut index = Self {
            vpcs: by_id(model, model.vpcs.iter().map(|vpc| (&vpc.id, &vpc.place)), found),
            subnets: by_id(model, model.subnets.iter().map(|subnet| (&subnet.id, &subnet.place)), found),
            interfaces: by_id(model, model.interfaces.iter().map(|eni| (&eni.id, &eni.place)), found),
            groups: by_id(model, model.groups.iter().map(|group| (&group.id, &group.place)), found),
            // Merged already: no duplicates are left.
            prefix_lists: by_id(model, model.prefix_lists.iter().map(|list| (&list.id, &list.place)), found),
            ..Self::default()
        };
        by_id(model, model.acls.iter().map(|acl| (&acl.id, &acl.place)), found);
        let rules = model.flat_rules.iter().filter_map(|rule| Some((rule.id.as_ref()?, &rule.place)));
        by_id(model, rules, found);
        by_id(model, model.flow_logs.iter().map(|log| (&log.log.id, &log.place)), found);
        index.name_groups(model, found);
        index.associate(model, found);
        let with_v6 = |blocks: &[IpNet]| blocks.iter().any(|block| block.addr().is_ipv6());
        index.ipv6 = model.vpcs.iter().filter(|vpc| with_v6(&vpc.blocks)).map(|vpc| vpc.id.clone()).collect();
        for subnet in &model.subnets {
            if let Some(vpc_id) = &subnet.vpc_id
                && subnet.blocks.iter().any(|block| block.value.addr().is_ipv6())
            {
                index.ipv6.insert(vpc_id.value.clone());
            }
        }
        index.join(model);
        index
    }

    fn name_groups(&mut self, model: &Model, found: &mut Vec<Diagnostic>) {
        for (position, group) in model.groups.iter().enumerate() {
            let Some(vpc_id) = &group.vpc_id else { continue };
            let key = (vpc_id.value.clone(), group.name.value.to_lowercase());
            if let Some(earlier) = self.group_names.get(&key) {
                let earlier = &model.groups[*earlier];
                let message = format!("{} already has a group of this name, {}", vpc_id.value, earlier.id);
                let field = group.place.field("GroupName");
                found.push(
                    model
                        .sources
                        .diagnostic(Severity::Error, "duplicate-group-name", group.name.at, field, message)
                        .help("names are unique in a VPC; upper and lower case are the same"),
                );
                continue;
            }
            self.group_names.insert(key, position);
        }
    }

    fn associate(&mut self, model: &Model, found: &mut Vec<Diagnostic>) {
        for (position, acl) in model.acls.iter().enumerate() {
            for subnet in &acl.associations {
                if let Some(earlier) = self.acl_of_subnet.insert(subnet.value.clone(), position)
                    && earlier != position
                {
                    let message =
                        format!("{} is associated with {} already", subnet.value, model.acls[earlier].id);
                    let field = acl.place.field("Associations");
                    found.push(
                        model
                            .sources
                            .diagnostic(Severity::Error, "duplicate-association", subnet.at, field, message)
                            .help("a subnet has one network ACL"),
                    );
                }
            }
            let Some(vpc_id) = acl.vpc_id.as_ref().filter(|_| acl.default) else { continue };
            if let Some(earlier) = self.default_acl.insert(vpc_id.value.clone(), position) {
                let message =
                    format!("{} has a default network ACL already, {}", vpc_id.value, model.acls[earlier].id);
                let field = acl.place.field("IsDefault");
                found.push(model.sources.diagnostic(
                    Severity::Error,
                    "duplicate-default-acl",
                    acl.place.at,
                    field,
                    message,
                ));
            }
        }
    }

    /// Collects the members' addresses of every group.
    fn join(&mut self, model: &Model) {
        let mut members: HashMap<usize, Vec<IpNet>> = HashMap::new();
        let mut default_members: HashMap<String, Vec<IpNet>> = HashMap::new();
        for interface in &model.interfaces {
            let own = || interface.own.iter().map(|own| own.value);
            for group in self.groups_of(model, interface).into_iter().flatten() {
                match group {
                    GroupOf::Written(position, _) => members.entry(position).or_default().extend(own()),
                    GroupOf::Default(vpc_id) => {
                        default_members.entry(vpc_id.to_owned()).or_default().extend(own());
                    }
                }
            }
        }
        for addresses in members.values_mut().chain(default_members.values_mut()) {
            let mut seen = HashSet::with_capacity(addresses.len());
            addresses.retain(|address| seen.insert(*address));
        }
        self.members = members.into_iter().map(|(key, list)| (key, list.into())).collect();
        self.default_members = default_members.into_iter().map(|(key, list)| (key, list.into())).collect();
        let entries = model.prefix_lists.iter().map(|list| list.entries.as_deref().unwrap_or_default());
        self.entries = entries.map(|list| list.iter().map(|entry| entry.value).collect()).collect();
    }

    /// The groups of an interface in their order, each once; `None` stands for one that the
    /// document lacks. One that does not say is in its VPC's default group (VPC guide,
    /// `default-security-group`), unless AWS made it for a service.
    pub(super) fn groups_of<'d>(
        &self,
        model: &'d Model,
        interface: &'d Interface,
    ) -> Vec<Option<GroupOf<'d>>> {
        let Some(vpc_id) = &interface.vpc_id else { return Vec::new() };
        if interface.default_group {
            return vec![Some(self.default_group(model, &vpc_id.value))];
        }
        let mut seen = HashSet::new();
        let named = interface.groups.iter().map(|name| self.group(model, &name.value, &vpc_id.value));
        named
            .filter(|group| match group {
                Some(GroupOf::Written(position, _)) => seen.insert(Some(*position)),
                Some(GroupOf::Default(_)) => seen.insert(None),
                None => true,
            })
            .collect()
    }

    fn default_group<'d>(&self, model: &'d Model, vpc_id: &'d str) -> GroupOf<'d> {
        match self.group_names.get(&(vpc_id.to_owned(), DEFAULT.to_owned())) {
            Some(position) => GroupOf::Written(*position, &model.groups[*position]),
            None => GroupOf::Default(vpc_id),
        }
    }

    /// The group that a name stands for in a VPC. An id may be of another VPC's group.
    pub(super) fn group<'d>(
        &self,
        model: &'d Model,
        name: &GroupName,
        vpc_id: &'d str,
    ) -> Option<GroupOf<'d>> {
        let position = match name {
            GroupName::Id(id) => self.groups.get(id),
            GroupName::Name(name) if name.eq_ignore_ascii_case(DEFAULT) => {
                return Some(self.default_group(model, vpc_id));
            }
            GroupName::Name(name) => self.group_names.get(&(vpc_id.to_owned(), name.to_lowercase())),
        };
        position.map(|position| GroupOf::Written(*position, &model.groups[*position]))
    }

    /// The private addresses of a group's members.
    pub(super) fn members(&self, group: GroupOf<'_>) -> Arc<[IpNet]> {
        let members = match group {
            GroupOf::Written(position, _) => self.members.get(&position),
            GroupOf::Default(vpc_id) => self.default_members.get(vpc_id),
        };
        members.cloned().unwrap_or_default()
    }

    /// The entries of a prefix list; none if the document lacks it.
    pub(super) fn entries(&self, id: &str) -> Arc<[IpNet]> {
        self.prefix_lists.get(id).map(|position| Arc::clone(&self.entries[*position])).unwrap_or_default()
    }

    pub(super) fn vpc<'d>(&self, model: &'d Model, id: &str) -> Option<&'d Vpc> {
        self.vpcs.get(id).map(|position| &model.vpcs[*position])
    }

    pub(super) fn subnet<'d>(&self, model: &'d Model, id: &str) -> Option<&'d Subnet> {
        self.subnets.get(id).map(|position| &model.subnets[*position])
    }

    pub(super) fn interface<'d>(&self, model: &'d Model, id: &str) -> Option<&'d Interface> {
        self.interfaces.get(id).map(|position| &model.interfaces[*position])
    }

    pub(super) fn prefix_list<'d>(&self, model: &'d Model, id: &str) -> Option<&'d PrefixList> {
        self.prefix_lists.get(id).map(|position| &model.prefix_lists[*position])
    }

    /// The network ACL of a subnet: its own, or its VPC's default one; `None`: the document
    /// describes neither.
    pub(super) fn acl<'d>(&self, model: &'d Model, subnet: &Subnet) -> Option<&'d Acl> {
        let associated = self.acl_of_subnet.get(&subnet.id);
        let default = || subnet.vpc_id.as_ref().and_then(|id| self.default_acl.get(&id.value));
        associated.or_else(default).map(|position| &model.acls[*position])
    }

    /// Whether a VPC has an IPv6 block, or a subnet that has one.
    pub(super) fn has_ipv6(&self, vpc_id: &str) -> bool {
        self.ipv6.contains(vpc_id)
    }
}

/// Positions by id; an id that is taken already is an error.
fn by_id<'m>(
    model: &Model,
    objects: impl Iterator<Item = (&'m String, &'m Place)>,
    found: &mut Vec<Diagnostic>,
) -> HashMap<String, usize> {
    let mut positions = HashMap::new();
    let mut places: HashMap<&str, &Place> = HashMap::new();
    for (position, (id, place)) in objects.enumerate() {
        if positions.contains_key(id) {
            found.push(given_twice(&model.sources, id, place, places[id.as_str()].at));
            continue;
        }
        positions.insert(id.clone(), position);
        places.insert(id, place);
    }
    positions
}

/// Two objects claim the same id, and do not say the same.
pub(super) fn given_twice(sources: &Sources, id: &str, place: &Place, first: At) -> Diagnostic {
    let message = format!("{id} is given twice, with different contents");
    let help = format!("the other one stands in {}; an object stands in one file only", sources.place(first));
    sources.diagnostic(Severity::Error, "duplicate-id", place.at, &place.path, message).help(help)
}
