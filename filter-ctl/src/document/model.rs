//! A document's objects, each with its place, as far as they matter for a policy.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use filter_common::{Direction, track::IdleTimeouts};
use ipnet::IpNet;

use super::{
    diagnostic::{At, Sources},
    limits::LimitNumbers,
};
use crate::policy::{Exemptions, FlowLog, NetworkAclRule, RuleService};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) at: At,
}

/// Where an object stands, and its field path (`SecurityGroups[0]`).
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) at: At,
    pub(super) path: String,
}

impl Place {
    /// The path of one of the object's fields.
    pub(super) fn field(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// `Vpcs`
#[derive(Clone, Debug)]
pub(super) struct Vpc {
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) owner: Option<String>,
    /// `CidrBlock`, `CidrBlockAssociationSet`, `Ipv6CidrBlockAssociationSet`.
    pub(super) blocks: Vec<IpNet>,
}

/// `Subnets`
#[derive(Clone, Debug)]
pub(super) struct Subnet {
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) vpc_id: Option<Spanned<String>>,
    pub(super) owner: Option<String>,
    pub(super) blocks: Vec<Spanned<IpNet>>,
    pub(super) zone: Zone,
}

/// Where an object stands in AWS.
#[derive(Clone, Debug, Default)]
pub(super) struct Zone {
    /// `AvailabilityZone`
    pub(super) name: Option<String>,
    /// `AvailabilityZoneId`
    pub(super) id: Option<String>,
}

/// `NetworkInterfaces`
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) subnet_id: Option<Spanned<String>>,
    pub(super) vpc_id: Option<Spanned<String>>,
    pub(super) owner: Option<String>,
    pub(super) groups: Vec<Spanned<GroupName>>,
    /// It does not say which groups it is in, and AWS did not make it for a service (a NAT gateway,
    /// say): it is in its VPC's default one.
    pub(super) default_group: bool,
    pub(super) primary_v4: Option<Ipv4Addr>,
    pub(super) primary_v6: Option<Ipv6Addr>,
    pub(super) own: Vec<Spanned<IpNet>>,
    pub(super) source_dest_check: bool,
    /// Ours, not AWS's.
    pub(super) strict_tcp: bool,
    pub(super) timeouts: IdleTimeouts,
    pub(super) tags: Vec<(String, String)>,
    pub(super) zone: Zone,
    /// `Attachment.InstanceId`
    pub(super) instance_id: Option<String>,
    /// `InterfaceType`
    pub(super) kind: Option<String>,
}

/// How a group is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum GroupName {
    /// `GroupId`
    Id(String),
    /// `GroupName` alone: a group of the same VPC.
    Name(String),
}

impl GroupName {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Id(text) | Self::Name(text) => text,
        }
    }
}

/// `SecurityGroups`
#[derive(Clone, Debug)]
pub(super) struct SecurityGroup {
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) name: Spanned<String>,
    pub(super) vpc_id: Option<Spanned<String>>,
    /// Only `SecurityGroupRules` tell of it.
    pub(super) from_rules: bool,
    pub(super) ingress: Vec<Permission>,
    /// `None`: the field is absent, and AWS's default holds.
    pub(super) egress: Option<Vec<Permission>>,
}

/// An element of `IpPermissions` or `IpPermissionsEgress`.
#[derive(Clone, Debug)]
pub(super) struct Permission {
    pub(super) index: u32,
    pub(super) service: RuleService,
    pub(super) peers: Vec<Peer>,
}

/// What a permission is for.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) at: At,
    pub(super) index: u32,
    pub(super) kind: PeerKind,
    pub(super) description: Option<Arc<str>>,
    /// `SecurityGroupRuleId`, if `SecurityGroupRules` tell it.
    pub(super) rule_id: Option<Arc<str>>,
    /// `PeeringStatus` of a group that is reached over a VPC peering which is not active (any more).
    pub(super) lost_peering: Option<Arc<str>>,
}

impl Peer {
    pub(super) fn new(at: At, index: usize, kind: PeerKind, description: Option<Arc<str>>) -> Self {
        Self { at, index: index as u32, kind, description, rule_id: None, lost_peering: None }
    }
}

/// An element of `SecurityGroupRules`.
#[derive(Clone, Debug)]
pub(super) struct FlatRule {
    pub(super) place: Place,
    pub(super) id: Option<String>,
    pub(super) group_id: String,
    pub(super) egress: bool,
    /// With one peer.
    pub(super) permission: Permission,
}

/// The four kinds of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum PeerKind {
    /// `IpRanges`, `Ipv6Ranges`
    Cidr(IpNet),
    /// `PrefixListIds`
    PrefixList(String),
    /// `UserIdGroupPairs`
    Group(GroupName),
}

impl Peer {
    /// Its field path.
    pub(super) fn path(&self, group: &SecurityGroup, direction: Direction, permission: u32) -> String {
        if group.from_rules {
            return format!("SecurityGroupRules[{}]", self.index);
        }
        let list = match direction {
            Direction::Ingress => "IpPermissions",
            Direction::Egress => "IpPermissionsEgress",
        };
        let kind = match &self.kind {
            PeerKind::Cidr(IpNet::V4(_)) => "IpRanges",
            PeerKind::Cidr(IpNet::V6(_)) => "Ipv6Ranges",
            PeerKind::PrefixList(_) => "PrefixListIds",
            PeerKind::Group(_) => "UserIdGroupPairs",
        };
        format!("{}.{list}[{permission}].{kind}[{}]", group.place.path, self.index)
    }
}

/// `NetworkAcls`
#[derive(Clone, Debug)]
pub(super) struct Acl {
    pub(super) place: Place,
    pub(super) id: String,
    pub(super) vpc_id: Option<Spanned<String>>,
    pub(super) default: bool,
    /// Subnets.
    pub(super) associations: Vec<Spanned<String>>,
    pub(super) ingress: Vec<NetworkAclRule>,
    pub(super) egress: Vec<NetworkAclRule>,
    /// Places of the rules, by direction and number.
    pub(super) places: HashMap<(bool, u16), Place>,
}

/// `ManagedPrefixLists`, `PrefixLists`, and files `pl-….json`, merged.
#[derive(Clone, Debug)]
pub(super) struct PrefixList {
    pub(super) place: Place,
    pub(super) kind: ListKind,
    pub(super) id: String,
    pub(super) name: Option<Spanned<String>>,
    /// `OwnerId`: an account, or `AWS`.
    pub(super) owner: Option<String>,
    pub(super) max_entries: Option<Spanned<u32>>,
    /// `IPv4` or `IPv6`, as [`IpNet`]'s variants.
    pub(super) v6: Option<bool>,
    /// `None`: the document tells no entries.
    pub(super) entries: Option<Vec<Spanned<IpNet>>>,
}

/// Where a description of a prefix list comes from. One list may have one of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ListKind {
    /// `describe-managed-prefix-lists`, or written by hand.
    Managed,
    /// `describe-prefix-lists`: with `Cidrs`.
    Cidrs,
    /// `get-managed-prefix-list-entries`: a file `pl-….json`.
    File,
}

/// A flow log and its place.
#[derive(Clone, Debug)]
pub(super) struct PlacedFlowLog {
    pub(super) place: Place,
    pub(super) log: FlowLog,
    pub(super) resource: Option<Spanned<String>>,
    pub(super) active: bool,
}

/// Everything that the files of a document describe.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) sources: Sources,
    pub(super) vpcs: Vec<Vpc>,
    pub(super) subnets: Vec<Subnet>,
    pub(super) interfaces: Vec<Interface>,
    pub(super) groups: Vec<SecurityGroup>,
    pub(super) flat_rules: Vec<FlatRule>,
    pub(super) acls: Vec<Acl>,
    pub(super) prefix_lists: Vec<PrefixList>,
    pub(super) flow_logs: Vec<PlacedFlowLog>,
    pub(super) limits: Option<Spanned<LimitNumbers>>,
    pub(super) exemptions: Option<Spanned<Exemptions>>,
    /// Objects of each kind that named no id so far: the next derived id.
    pub(super) unnamed: HashMap<&'static str, u32>,
    /// What has been told so far, by the top-level key and the id: a hash of what it says, and
    /// its place.
    pub(super) told: HashMap<(&'static str, String), (u64, At)>,
}

impl Model {
    /// What is exempt.
    pub(super) fn exemptions(&self) -> Exemptions {
        self.exemptions.as_ref().map(|given| given.value).unwrap_or_default()
    }

    /// The id of an object that names none: its kind, and a number in AWS's 17 digits.
    pub(super) fn derived_id(&mut self, kind: &'static str) -> String {
        let number = self.unnamed.entry(kind).or_default();
        *number += 1;
        format!("{kind}-{number:017x}")
    }
}
