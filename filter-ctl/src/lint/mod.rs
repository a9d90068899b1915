//! Lints: what is right in a document and yet probably not what was meant.
//!
//! Each file holds one lint: a pure function from a [`Subject`] (what the document comes to, each
//! group and network ACL once) to [`Finding`]s. None asks the kernel, and none changes what is
//! enforced. `docs/lints.md` tells users what each finding means.
//!
//! All of them reason about sets: a rule is a set of (address, service) pairs, and `cover::Cover`
//! answers whether other rules have all of them.

mod classes;
mod cover;
mod ephemeral;
mod exposed;
mod own_subnet;
mod path_mtu;
mod redundant;
mod services;
mod shadowed;
#[cfg(test)]
mod tests;
mod unused;

use filter_common::Direction;
use ipnet::IpNet;

use crate::{
    document::Severity,
    policy::{Group, NetworkAcl, NetworkAclRule},
};

/// What lints look at.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// All security groups.
    pub groups: Vec<Group>,
    /// All network ACLs.
    pub acls: Vec<NetworkAcl>,
    /// Subnets, those without interfaces too.
    pub subnets: Vec<Subnet>,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
}

/// A subnet.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// `subnet-…`
    pub id: String,
    /// Its blocks.
    pub blocks: Vec<IpNet>,
    /// The position of its network ACL.
    pub acl: usize,
}

/// A network interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// `eni-…`
    pub id: String,
    /// The position of its subnet.
    pub subnet: usize,
    /// The positions of its groups.
    pub groups: Vec<usize>,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A security group, by its position.
    Group(usize),
    /// A rule of one, by its position in its direction.
    GroupRule(usize, Direction, usize),
    /// A direction of a network ACL, in which a rule is missing.
    Acl(usize, Direction),
    /// A rule of one.
    AclRule(usize, Direction, usize),
}

/// Something that a lint has found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// A stable name of the kind of finding.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where.
    pub about: About,
    /// Why, in one sentence.
    pub message: String,
    /// What can be done.
    pub help: &'static str,
}

/// Everything that the lints find.
#[must_use]
pub fn lint(subject: &Subject) -> Vec<Finding> {
    let lints: [fn(&Subject) -> Vec<Finding>; 7] = [
        shadowed::lint,
        redundant::lint,
        exposed::lint,
        unused::lint,
        own_subnet::lint,
        ephemeral::lint,
        path_mtu::lint,
    ];
    lints.iter().flat_map(|lint| lint(subject)).collect()
}

/// A network ACL's rule in words.
fn acl_rule_in_words(rule: &NetworkAclRule) -> String {
    let action = if rule.allow { "allow" } else { "deny" };
    format!("{} ({action} {} {})", rule.number, rule.service, rule.prefix)
}
