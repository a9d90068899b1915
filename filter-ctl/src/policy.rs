//! The effective policy of one network interface: what a document comes to for it, resolved.
//!
//! The narrow type between the documents (which produce it, [`crate::document`]) and the compiler
//! and the reference evaluator (which read it, [`crate::compile`], [`crate::reference`]): group
//! references and prefix lists are addresses here, and defaults are filled in.

mod flow_log;
mod rule_id;
mod text;

pub use flow_log::{Destination, DestinationOptions, DestinationType, FileFormat, FlowLog, TrafficType};
pub use rule_id::rule_id;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use filter_common::{Direction, track::IdleTimeouts};
use ipnet::IpNet;

/// Everything that decides about the packets of one network interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EffectivePolicy {
    /// The interface and where it stands.
    pub interface: Interface,
    /// CIDR blocks of its subnet: traffic with them does not meet the network ACL.
    pub subnet: Vec<IpNet>,
    /// `Exemptions`: what the two lists of exempt remotes were made from.
    pub exemptions: Exemptions,
    /// Exempt remotes of the subnet and its VPC: the first four addresses of each IPv4 block of the
    /// subnet; or the router in each, and the VPC's DNS server.
    pub reserved: Vec<IpNet>,
    /// Exempt remotes of the platform: `169.254.0.0/16`, or the addresses of its services. As a
    /// source they are believed only in packets to the interface's own addresses.
    pub platform: Vec<IpNet>,
    /// Its security groups, in the document's order. Empty: everything is denied.
    pub groups: Vec<Group>,
    /// The subnet's network ACL.
    pub nacl: NetworkAcl,
    /// `ConnectionTrackingSpecification`.
    pub timeouts: IdleTimeouts,
    /// Connections that it may track; `None`: as many as the table has room for.
    pub allowance: Option<u32>,
    /// `SourceDestCheck`.
    pub source_dest_check: bool,
    /// `StrictTcp`: no TCP connection is picked up in mid-stream.
    pub strict_tcp: bool,
    /// The shortest interval, in seconds, that any flow log that covers it asks for; `None`: no
    /// flow log covers it.
    pub flow_log_interval: Option<u32>,
    /// The flow logs that cover it.
    pub flow_logs: Vec<FlowLog>,
}

/// Which remotes are exempt: neither filtered nor logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exemptions {
    /// Whole ranges (VPC guide, `VPC_Security`, 2018).
    #[default]
    Ranges,
    /// The services that today's pages name (VPC guide, `vpc-security-groups`).
    Services,
}

impl Exemptions {
    /// The word for it in documents and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ranges => "ranges",
            Self::Services => "services",
        }
    }
}

/// Names and addresses of the interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Interface {
    /// `eni-…`
    pub id: String,
    /// `vpc-…`
    pub vpc_id: String,
    /// `subnet-…`
    pub subnet_id: String,
    /// Twelve digits.
    pub account_id: String,
    /// The primary private IPv4 address: what flow logs show for the local side.
    pub primary_v4: Option<Ipv4Addr>,
    /// The first IPv6 address.
    pub primary_v6: Option<Ipv6Addr>,
    /// All of its addresses and delegated prefixes.
    pub own: Vec<IpNet>,
    /// The blocks of its VPC; those of its subnet, where the document does not describe the VPC.
    #[serde(default)]
    pub vpc_blocks: Vec<IpNet>,
    /// Where it stands in AWS, as far as the document tells.
    #[serde(default)]
    pub placement: Arc<Placement>,
    /// `TagSet`
    #[serde(default)]
    pub tags: Vec<(String, String)>,
}

/// Where a network interface stands in AWS, and what it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Placement {
    /// Its region, by the name of its availability zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The id of its availability zone; none in a local zone and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub az_id: Option<String>,
    /// The instance that it is attached to; none where AWS made the interface for a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// Its kind in flow logs, if AWS made it for a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_type: Option<String>,
}

/// A security group that the interface is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// `sg-…`
    pub id: String,
    /// `GroupName`
    pub name: String,
    /// `IpPermissions`
    pub ingress: Vec<GroupRule>,
    /// `IpPermissionsEgress`
    pub egress: Vec<GroupRule>,
}

impl Group {
    /// Its rules of one direction.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> &[GroupRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// A security group rule, which has one peer, as AWS counts them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupRule {
    /// What it allows.
    pub service: RuleService,
    /// To and from whom.
    pub peer: Peer,
    /// `SecurityGroupRuleId`, where the document tells it; else [`Group::rule_id`] derives one.
    pub given_id: Option<Arc<str>>,
    /// `Description`
    pub description: Option<Arc<str>>,
    /// Where the document has it.
    pub position: Position,
}

/// Where a document has a security group's rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// Nowhere: it is one of AWS's default rules.
    Default,
    /// In an element of `IpPermissions` or `IpPermissionsEgress`: the element's position, and the
    /// rule's own in the element's list of peers of its kind.
    Nested(u32, u32),
    /// In `SecurityGroupRules`.
    Flat(u32),
}

impl GroupRule {
    /// A rule that the document neither names nor describes.
    #[must_use]
    pub const fn new(service: RuleService, peer: Peer) -> Self {
        Self { service, peer, given_id: None, description: None, position: Position::Default }
    }
}

/// The other end that a security group rule is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// `CidrIp`, `CidrIpv6`. Only such a peer of `0.0.0.0/0` or `::/0` is any address (see
    /// [`filter_common::cell::untracked`]): not a list or a group that holds all of them.
    Cidr(IpNet),
    /// The members of a security group.
    Group {
        /// `sg-…`
        id: Arc<str>,
        /// Their private addresses; none if the reference is stale.
        members: Arc<[IpNet]>,
    },
    /// The entries of a prefix list.
    PrefixList {
        /// `pl-…`
        id: Arc<str>,
        /// None if the reference is stale.
        entries: Arc<[IpNet]>,
    },
}

impl Peer {
    /// The addresses that it stands for.
    #[must_use]
    pub fn prefixes(&self) -> &[IpNet] {
        match self {
            Self::Cidr(prefix) => std::slice::from_ref(prefix),
            Self::Group { members: prefixes, .. } | Self::PrefixList { entries: prefixes, .. } => prefixes,
        }
    }

    /// Whether the rule itself says "any address".
    #[must_use]
    pub fn is_any_address(&self) -> bool {
        matches!(self, Self::Cidr(prefix) if prefix.prefix_len() == 0)
    }
}

/// A network ACL, each direction sorted by rule number. What no rule matches is denied (`*`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct NetworkAcl {
    /// `acl-…`
    pub id: String,
    /// Entries with `Egress: false`.
    pub ingress: Vec<NetworkAclRule>,
    /// Entries with `Egress: true`.
    pub egress: Vec<NetworkAclRule>,
}

impl NetworkAcl {
    /// The last number that a rule may have (VPC guide, `nacl-rules`); beyond it are the `*`.
    pub const LAST_NUMBER: u16 = 32_766;

    /// The number of the `*` that denies what no numbered rule matches, of IPv4 or of IPv6 (API,
    /// `NetworkAclEntry`).
    #[must_use]
    pub const fn star(v4: bool) -> u16 {
        Self::LAST_NUMBER + if v4 { 1 } else { 2 }
    }

    /// Its rules of one direction.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> &[NetworkAclRule] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// One numbered entry of a network ACL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct NetworkAclRule {
    /// 1 to [`NetworkAcl::LAST_NUMBER`].
    pub number: u16,
    /// `RuleAction`: allow or deny.
    pub allow: bool,
    /// What it is about.
    pub service: RuleService,
    /// `CidrBlock` or `Ipv6CidrBlock`.
    pub prefix: IpNet,
}

/// The protocol and ports of a rule. Families never mix: which one a rule is about, its remotes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum RuleService {
    /// `-1`: every protocol.
    All,
    /// TCP destination ports, both ends included.
    Tcp(u16, u16),
    /// UDP destination ports, both ends included.
    Udp(u16, u16),
    /// ICMP; `None` = all types, or all codes of the type.
    Icmp(Option<u8>, Option<u8>),
    /// ICMPv6; likewise.
    Icmpv6(Option<u8>, Option<u8>),
    /// Any other protocol number (6, 17, 1 and 58 have variants of their own).
    Protocol(u8),
}

impl RuleService {
    /// Whether a security group's rule for it has any meaning for a remote: ICMP belongs to IPv4 and
    /// ICMPv6 to IPv6, and the mismatch matches nothing. A network ACL names protocols by number,
    /// whatever the family (VPC guide, `nacl-rules`; API, `CreateNetworkAclEntry`), so that a deny is
    /// never void.
    #[must_use]
    pub const fn fits(self, remote: &IpNet) -> bool {
        match self {
            Self::Icmp(..) => matches!(remote, IpNet::V4(_)),
            Self::Icmpv6(..) => matches!(remote, IpNet::V6(_)),
            _ => true,
        }
    }
}
