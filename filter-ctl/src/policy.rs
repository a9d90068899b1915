//! The effective policy of one network interface: what a document comes to for it, resolved.
//!
//! The narrow type between the documents (which produce it, [`crate::document`]) and the compiler
//! and the reference evaluator (which read it, [`crate::compile`], [`crate::reference`]): group
//! references and prefix lists are addresses here, defaults are filled in, nothing is stale.

use std::net::{Ipv4Addr, Ipv6Addr};

use filter_common::track::IdleTimeouts;
use ipnet::IpNet;

/// Everything that decides about the packets of one network interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EffectivePolicy {
    /// The interface and where it stands.
    pub interface: Interface,
    /// CIDR blocks of its subnet: traffic with them does not meet the network ACL.
    pub subnet: Vec<IpNet>,
    /// Exempt remotes: `169.254.0.0/16` is always exempt and not listed; these are the first
    /// four addresses of each IPv4 block of the subnet.
    pub reserved: Vec<IpNet>,
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
}

/// Names and addresses of the interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
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

/// One element of `IpPermissions`: it allows its services to and from all of its remotes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupRule {
    /// What it allows.
    pub service: RuleService,
    /// The remote addresses, with where each came from.
    pub remotes: Vec<Remote>,
}

/// One remote of a group's rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Remote {
    /// The addresses.
    pub prefix: IpNet,
    /// Whether the rule itself says this CIDR block (only such a rule for `0.0.0.0/0` or `::/0` is
    /// an any-address rule), or a group's member or prefix list's entry stands behind it.
    pub origin: Origin,
}

/// Where a remote comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// `CidrIp`, `CidrIpv6`.
    Cidr,
    /// A member of this security group.
    Group(String),
    /// An entry of this prefix list.
    PrefixList(String),
}

/// A network ACL, each direction sorted by rule number. What no rule matches is denied (`*`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetworkAcl {
    /// `acl-…`
    pub id: String,
    /// Entries with `Egress: false`.
    pub ingress: Vec<NetworkAclRule>,
    /// Entries with `Egress: true`.
    pub egress: Vec<NetworkAclRule>,
}

/// One numbered entry of a network ACL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetworkAclRule {
    /// 1 to 32,766.
    pub number: u16,
    /// `RuleAction`: allow or deny.
    pub allow: bool,
    /// What it is about.
    pub service: RuleService,
    /// `CidrBlock` or `Ipv6CidrBlock`.
    pub prefix: IpNet,
}

/// The protocol and ports of a rule. Families never mix: which one a rule is about, its remotes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
