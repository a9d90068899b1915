//! What files leave out: derived owners and places, and lists that several files describe.
//!
//! The rules are written down for users in `docs/documents.md`.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;

use super::{
    diagnostic::{Diagnostic, Severity},
    flat_rules,
    index::given_twice,
    model::{Interface, ListKind, Model, Place, PrefixList, Spanned},
};

/// Completes a model whose files are all read.
pub(super) fn complete(model: &mut Model, found: &mut Vec<Diagnostic>) {
    merge_prefix_lists(model, found);
    let vpc = OnlyVpc::of(model);
    let sources = model.sources.clone();
    let mut infer = |place: &Place, vpc_id: &mut Option<Spanned<String>>| {
        if vpc_id.is_some() {
            return;
        }
        match &vpc {
            OnlyVpc::Is(id) => *vpc_id = Some(Spanned { value: id.clone(), at: place.at }),
            OnlyVpc::Many(count) => {
                let message = "this field is missing";
                found.push(
                    sources
                        .diagnostic(Severity::Error, "missing-field", place.at, place.field("VpcId"), message)
                        .expected(format!("one of the document's {count} VPCs")),
                );
            }
        }
    };
    for subnet in &mut model.subnets {
        infer(&subnet.place, &mut subnet.vpc_id);
    }
    for group in model.groups.iter_mut().filter(|group| !group.from_rules) {
        infer(&group.place, &mut group.vpc_id);
    }
    for acl in &mut model.acls {
        infer(&acl.place, &mut acl.vpc_id);
    }
    let subnets: HashMap<&str, &Option<Spanned<String>>> =
        model.subnets.iter().map(|subnet| (subnet.id.as_str(), &subnet.vpc_id)).collect();
    for interface in &mut model.interfaces {
        if interface.subnet_id.is_none() {
            let at = interface.place.at;
            let inferred = only_subnet(&model.subnets, interface);
            interface.subnet_id = inferred.map(|id| Spanned { value: id, at });
        }
        if interface.vpc_id.is_none()
            && let Some(subnet_id) = &interface.subnet_id
            && let Some(Some(vpc_id)) = subnets.get(subnet_id.value.as_str())
        {
            interface.vpc_id = Some(Spanned { value: vpc_id.value.clone(), at: interface.place.at });
        }
        infer(&interface.place, &mut interface.vpc_id);
    }
    flat_rules::place_groups(
        model,
        match &vpc {
            OnlyVpc::Is(id) => Some(id),
            OnlyVpc::Many(_) => None,
        },
    );
    for flow_log in &mut model.flow_logs {
        if flow_log.resource.is_none() {
            let place = &flow_log.place;
            match &vpc {
                OnlyVpc::Is(id) => {
                    flow_log.resource = Some(Spanned { value: id.clone(), at: place.at });
                }
                OnlyVpc::Many(_) => {
                    let message = "this field is missing";
                    let field = place.field("ResourceId");
                    found.push(
                        sources
                            .diagnostic(Severity::Error, "missing-field", place.at, field, message)
                            .expected("vpc-…, subnet-… or eni-…: what the flow log is for"),
                    );
                }
            }
        }
        if let Some(resource) = &flow_log.resource {
            flow_log.log.resource_id.clone_from(&resource.value);
        }
    }
}

/// The VPC of objects that name none.
enum OnlyVpc {
    Is(String),
    Many(usize),
}

impl OnlyVpc {
    /// The document's only VPC; if it has none, the only one that is named anywhere, or a derived one.
    fn of(model: &mut Model) -> Self {
        let mut ids: BTreeSet<&str> = model.vpcs.iter().map(|vpc| vpc.id.as_str()).collect();
        if ids.is_empty() {
            ids = named(model);
        }
        match ids.len() {
            0 => Self::Is(model.derived_id("vpc")),
            1 => Self::Is(ids.into_iter().collect()),
            count => Self::Many(count),
        }
    }
}

/// Every VPC that some object names.
fn named(model: &Model) -> BTreeSet<&str> {
    let subnets = model.subnets.iter().map(|subnet| &subnet.vpc_id);
    let interfaces = model.interfaces.iter().map(|interface| &interface.vpc_id);
    let groups = model.groups.iter().map(|group| &group.vpc_id);
    let acls = model.acls.iter().map(|acl| &acl.vpc_id);
    let all = subnets.chain(interfaces).chain(groups).chain(acls);
    all.flatten().map(|id| id.value.as_str()).collect()
}

/// The subnet of an interface that names none: the only one, or the only one that holds its address.
fn only_subnet(subnets: &[super::model::Subnet], interface: &Interface) -> Option<String> {
    if let [subnet] = subnets {
        return Some(subnet.id.clone());
    }
    let address = interface.own.first()?.value;
    let vpc_id = interface.vpc_id.as_ref().map(|id| id.value.as_str());
    let mut holding = subnets.iter().filter(|subnet| {
        let subnet_vpc = subnet.vpc_id.as_ref().map(|id| id.value.as_str());
        let same_vpc = vpc_id.is_none() || vpc_id == subnet_vpc;
        same_vpc && subnet.blocks.iter().any(|block| block.value.contains(&address))
    });
    let first = holding.next()?;
    holding.next().is_none().then(|| first.id.clone())
}

/// Makes one list of what the descriptions of different kinds say about it.
fn merge_prefix_lists(model: &mut Model, found: &mut Vec<Diagnostic>) {
    let mut merged: Vec<PrefixList> = Vec::new();
    let mut known: HashMap<String, (usize, Vec<ListKind>)> = HashMap::new();
    for list in std::mem::take(&mut model.prefix_lists) {
        let kind = list.kind;
        let Some((index, kinds)) = known.get_mut(&list.id) else {
            known.insert(list.id.clone(), (merged.len(), vec![kind]));
            merged.push(list);
            continue;
        };
        let first = &mut merged[*index];
        if kinds.contains(&kind) {
            found.push(given_twice(&model.sources, &list.id, &list.place, first.place.at));
            continue;
        }
        kinds.push(kind);
        first.name = first.name.take().or(list.name);
        first.owner = first.owner.take().or(list.owner);
        first.max_entries = first.max_entries.take().or(list.max_entries);
        first.v6 = first.v6.or(list.v6);
        first.entries = match (first.entries.take(), list.entries) {
            (Some(mut entries), Some(more)) => {
                let all: std::collections::HashSet<IpNet> = entries.iter().map(|entry| entry.value).collect();
                entries.extend(more.into_iter().filter(|entry| !all.contains(&entry.value)));
                Some(entries)
            }
            (one, other) => one.or(other),
        };
    }
    for list in &merged {
        let Some(v6) = list.v6 else { continue };
        let entries = list.entries.as_deref().unwrap_or_default();
        for entry in entries.iter().filter(|entry| entry.value.addr().is_ipv6() != v6) {
            let family = if v6 { "IPv6" } else { "IPv4" };
            let message = format!("{} does not belong into {}, an {family} list", entry.value, list.id);
            let field = list.place.field("Entries");
            found.push(model.sources.diagnostic(
                Severity::Error,
                "prefix-list-family",
                entry.at,
                field,
                message,
            ));
        }
    }
    model.prefix_lists = merged;
}
