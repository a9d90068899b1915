//! Quotas: AWS's, own ones, or none.
//!
//! VPC guide, `amazon-vpc-limits`. A rule that refers to a group or prefix list counts in each
//! address family; a prefix list counts as its `MaxEntries`, or the weight that AWS publishes.

use std::path::Path;

use super::{
    decode,
    diagnostic::{Diagnostic, Diagnostics, Severity},
    model::{Acl, Interface, Model, PeerKind, Permission, PrefixList},
    read,
};
use crate::policy::NetworkAclRule;

/// Which quotas a document must keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limits {
    /// None: what exceeds AWS's is a warning. (A document's own `Limits` still hold.)
    #[default]
    None,
    /// AWS's, as errors.
    Aws,
    /// Own numbers, as errors.
    Own(LimitNumbers),
}

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitNumbers {
    /// Rules of a security group in one direction and address family.
    pub rules_per_group: u32,
    /// Security groups of an interface.
    pub groups_per_interface: u32,
    /// The product of the two, for an interface: its groups times the rules of the largest.
    pub rules_times_groups: u32,
    /// Rules of a network ACL in one direction and address family.
    pub rules_per_acl: u32,
}

/// The fields of `Limits`.
pub(super) const FIELDS: [&str; 4] =
    ["RulesPerSecurityGroup", "SecurityGroupsPerInterface", "RulesTimesSecurityGroups", "RulesPerNetworkAcl"];

impl LimitNumbers {
    /// AWS's default quotas.
    pub const AWS: Self =
        Self { rules_per_group: 60, groups_per_interface: 5, rules_times_groups: 1000, rules_per_acl: 20 };

    /// The numbers beside their fields' names.
    pub(super) fn fields(&mut self) -> [(&'static str, &mut u32); 4] {
        [
            (FIELDS[0], &mut self.rules_per_group),
            (FIELDS[1], &mut self.groups_per_interface),
            (FIELDS[2], &mut self.rules_times_groups),
            (FIELDS[3], &mut self.rules_per_acl),
        ]
    }
}

impl Limits {
    /// What `--limits` says: `none`, `aws`, or a file with own numbers.
    ///
    /// # Errors
    ///
    /// What is wrong with the file.
    pub fn from_argument(argument: &str) -> Result<Self, Diagnostics> {
        match argument {
            "none" => return Ok(Self::None),
            "aws" => return Ok(Self::Aws),
            _ => {}
        }
        let path = Path::new(argument);
        let source = read::source(path).map_err(|error| error.help("--limits takes none, aws, or a file"))?;
        let mut found = Vec::new();
        let parsed = read::parse(path, &source, &mut found);
        let numbers = decode::decode_limits(&source, &parsed, &mut found);
        Diagnostics::split(found)?;
        Ok(Self::Own(numbers))
    }
}

/// The numbers that hold, and what exceeding them is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quotas {
    pub(super) numbers: LimitNumbers,
    severity: Severity,
    whose: &'static str,
}

impl Quotas {
    pub(super) fn new(limits: &Limits, own: Option<LimitNumbers>) -> Self {
        let (numbers, severity, whose) = match (limits, own) {
            (Limits::Own(numbers), _) => (*numbers, Severity::Error, "the limits allow"),
            (Limits::Aws, _) => (LimitNumbers::AWS, Severity::Error, "AWS allows"),
            (Limits::None, Some(numbers)) => (numbers, Severity::Error, "the document's Limits allow"),
            (Limits::None, None) => (LimitNumbers::AWS, Severity::Warning, "AWS allows"),
        };
        Self { numbers, severity, whose }
    }

    /// The finding for `count` of something where `limit` is allowed.
    fn exceeded(
        &self,
        model: &Model,
        at: super::diagnostic::At,
        field: String,
        what: &str,
        count: u64,
        limit: u32,
    ) -> Option<Diagnostic> {
        (count > u64::from(limit)).then(|| {
            let message = format!("{count} {what}; {} {limit}", self.whose);
            let diagnostic = model.sources.diagnostic(self.severity, "quota", at, field, message);
            if self.severity == Severity::Warning {
                diagnostic.help("this is enforced nevertheless; --limits aws makes it an error")
            } else {
                diagnostic
            }
        })
    }

    /// The rules of every group and network ACL.
    pub(super) fn check_rules(&self, model: &Model, counts: &RuleCounts, found: &mut Vec<Diagnostic>) {
        for (group, counts) in model.groups.iter().zip(&counts.0) {
            for (list, [v4, v6]) in ["IpPermissions", "IpPermissionsEgress"].into_iter().zip(*counts) {
                for (family, count) in [("IPv4", v4), ("IPv6", v6)] {
                    let what = format!("{family} rules in one direction of {}", group.id);
                    let limit = self.numbers.rules_per_group;
                    let field = group.place.field(list);
                    found.extend(self.exceeded(model, group.place.at, field, &what, count, limit));
                }
            }
        }
        for acl in &model.acls {
            self.check_acl(model, acl, found);
        }
    }

    fn check_acl(&self, model: &Model, acl: &Acl, found: &mut Vec<Diagnostic>) {
        for (direction, rules) in [("ingress", &acl.ingress), ("egress", &acl.egress)] {
            let is_v6 = |rule: &&NetworkAclRule| rule.prefix.addr().is_ipv6();
            let v6 = rules.iter().filter(is_v6).count();
            for (family, count) in [("IPv4", rules.len() - v6), ("IPv6", v6)] {
                let what = format!("{family} {direction} rules of {}", acl.id);
                let field = acl.place.field("Entries");
                let limit = self.numbers.rules_per_acl;
                found.extend(self.exceeded(model, acl.place.at, field, &what, count as u64, limit));
            }
        }
    }

    /// The groups of an interface (by their positions), and their rules.
    pub(super) fn check_interface(
        &self,
        model: &Model,
        interface: &Interface,
        groups: &[usize],
        counts: &RuleCounts,
        found: &mut Vec<Diagnostic>,
    ) {
        let count = groups.len() as u64;
        let field = || interface.place.field("Groups");
        let at = interface.place.at;
        let what = format!("security groups on {}", interface.id);
        found.extend(self.exceeded(model, at, field(), &what, count, self.numbers.groups_per_interface));
        let largest = groups.iter().flat_map(|group| counts.0[*group]).flatten().max();
        let product = largest.unwrap_or(0) * count;
        let what = format!("rules (those of its largest group times its groups) on {}", interface.id);
        found.extend(self.exceeded(model, at, field(), &what, product, self.numbers.rules_times_groups));
    }
}

/// Rules of each group as quotas count them: inbound and outbound, IPv4 and IPv6.
#[derive(Clone, Debug)]
pub(super) struct RuleCounts(Vec<[[u64; 2]; 2]>);

impl RuleCounts {
    pub(super) fn new<'m>(model: &Model, list: impl Fn(&str) -> Option<&'m PrefixList>) -> Self {
        let count = |permissions: &[Permission]| {
            let mut counts = [0, 0];
            for peer in permissions.iter().flat_map(|permission| &permission.peers) {
                match &peer.kind {
                    PeerKind::Cidr(block) => counts[usize::from(block.addr().is_ipv6())] += 1,
                    PeerKind::Group(_) => counts = counts.map(|count| count + 1),
                    PeerKind::PrefixList(id) => {
                        let weight = list(id).map_or(1, weight);
                        counts = counts.map(|count| count + weight);
                    }
                }
            }
            counts
        };
        let groups = model.groups.iter();
        Self(
            groups
                .map(|group| [count(&group.ingress), count(group.egress.as_deref().unwrap_or_default())])
                .collect(),
        )
    }
}

/// The weight of a prefix list (VPC guide, `working-with-aws-managed-prefix-lists`).
fn weight(list: &PrefixList) -> u64 {
    if let Some(max) = list.max_entries {
        return u64::from(max);
    }
    let name = list.name.as_deref().filter(|name| name.starts_with("com.amazonaws")).unwrap_or_default();
    let published = [
        (".s3", 1),
        (".dynamodb", 1),
        (".cloudfront.origin-facing", 55),
        (".groundstation", 5),
        (".vpc-lattice", 10),
    ];
    match published.iter().find(|(service, _)| name.ends_with(service)) {
        Some((_, weight)) => *weight,
        None => list.entries.as_ref().map_or(1, |entries| entries.len().max(1) as u64),
    }
}
