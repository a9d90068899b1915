//! Quotas: AWS's, own ones, or none.
//!
//! VPC guide, `amazon-vpc-limits`. A rule that refers to a group counts in each address family; a
//! prefix list counts in its own as its `MaxEntries`, or the weight that AWS publishes.

use std::{collections::HashSet, path::Path};

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
    /// Entries of a prefix list, and its `MaxEntries`.
    pub entries_per_list: u32,
}

/// The fields of `Limits`.
pub(super) const FIELDS: [&str; 5] = [
    "RulesPerSecurityGroup",
    "SecurityGroupsPerInterface",
    "RulesTimesSecurityGroups",
    "RulesPerNetworkAcl",
    "EntriesPerPrefixList",
];

impl LimitNumbers {
    /// AWS's default quotas.
    pub const AWS: Self = Self {
        rules_per_group: 60,
        groups_per_interface: 5,
        rules_times_groups: 1000,
        rules_per_acl: 20,
        entries_per_list: 1000,
    };

    /// The numbers beside their fields' names.
    pub(super) fn fields(&mut self) -> [(&'static str, &mut u32); 5] {
        [
            (FIELDS[0], &mut self.rules_per_group),
            (FIELDS[1], &mut self.groups_per_interface),
            (FIELDS[2], &mut self.rules_times_groups),
            (FIELDS[3], &mut self.rules_per_acl),
            (FIELDS[4], &mut self.entries_per_list),
        ]
    }
}

/// What AWS raises a quota to, when it is asked to.
const MOST_GROUPS: u32 = 16;
const MOST_ACL_RULES: u32 = 40;

/// What only AWS's API refuses: nothing that is enforced depends on it.
const REFUSED_BY_AWS: &[&str] = &[
    "bad-description",
    "bad-list-name",
    "bad-tag",
    "duplicate-entry",
    "duplicate-rule",
    "mixed-families",
    "reserved-list-name",
    "rule-without-peer",
    "too-many-entries",
];

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

    /// Makes errors of what AWS's API would refuse, if AWS's limits are asked for.
    pub(super) fn refuse(&self, found: &mut [Diagnostic]) {
        if *self == Self::Aws {
            for one in found.iter_mut().filter(|one| REFUSED_BY_AWS.contains(&one.id)) {
                one.severity = Severity::Error;
            }
        }
    }
}

const AWS_ALLOWS: &str = "AWS allows";

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
            (Limits::Aws, _) => (LimitNumbers::AWS, Severity::Error, AWS_ALLOWS),
            (Limits::None, Some(numbers)) => (numbers, Severity::Error, "the document's Limits allow"),
            (Limits::None, None) => (LimitNumbers::AWS, Severity::Warning, AWS_ALLOWS),
        };
        Self { numbers, severity, whose }
    }

    /// The finding for `count` of something where `limit` is allowed, and on request `most`.
    fn exceeded(
        &self,
        model: &Model,
        at: super::diagnostic::At,
        field: String,
        what: &str,
        count: u64,
        (limit, most): (u32, Option<u32>),
    ) -> Option<Diagnostic> {
        (count > u64::from(limit)).then(|| {
            let most = most.filter(|_| self.whose == AWS_ALLOWS);
            let most = most.map_or(String::new(), |most| format!(", on request up to {most}"));
            let message = format!("{count} {what}; {} {limit}{most}", self.whose);
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
                    found.extend(self.exceeded(model, group.place.at, field, &what, count, (limit, None)));
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
                let limit = (self.numbers.rules_per_acl, Some(MOST_ACL_RULES));
                found.extend(self.exceeded(model, acl.place.at, field, &what, count as u64, limit));
            }
        }
    }

    /// The sizes of prefix lists, and their names (API reference, `CreateManagedPrefixList`).
    pub(super) fn check_lists(&self, model: &Model, found: &mut Vec<Diagnostic>) {
        for list in &model.prefix_lists {
            let entries = list.entries.as_deref().unwrap_or_default();
            if let Some(max) = &list.max_entries {
                let what = format!("MaxEntries of {}", list.id);
                let (field, limit) = (list.place.field("MaxEntries"), self.numbers.entries_per_list);
                found.extend(self.exceeded(model, max.at, field, &what, u64::from(max.value), (limit, None)));
                if entries.len() > max.value as usize {
                    let message = format!("{} has {} entries, more than MaxEntries", list.id, entries.len());
                    let field = list.place.field("MaxEntries");
                    found.push(model.sources.diagnostic(
                        Severity::Warning,
                        "too-many-entries",
                        max.at,
                        field,
                        message,
                    ));
                }
            } else if !is_managed_by_aws(list) {
                let what = format!("entries of {}", list.id);
                let (field, limit) = (list.place.field("Entries"), self.numbers.entries_per_list);
                let count = entries.len() as u64;
                found.extend(self.exceeded(model, list.place.at, field, &what, count, (limit, None)));
            }
            check_entries(model, list, found);
            if let Some(name) = &list.name {
                let wrong = if name.value.chars().count() > 255 {
                    Some(("bad-list-name", "a prefix list's name has at most 255 characters"))
                } else if name.value.starts_with(AWS_LISTS) && !is_managed_by_aws(list) {
                    Some(("reserved-list-name", "names that begin with `com.amazonaws` are AWS's own lists'"))
                } else {
                    None
                };
                if let Some((id, message)) = wrong {
                    let field = list.place.field("PrefixListName");
                    found.push(model.sources.diagnostic(Severity::Warning, id, name.at, field, message));
                }
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
        let limit = (self.numbers.groups_per_interface, Some(MOST_GROUPS));
        found.extend(self.exceeded(model, at, field(), &what, count, limit));
        let largest = groups.iter().flat_map(|group| counts.0[*group]).flatten().max();
        let product = largest.unwrap_or(0) * count;
        let what = format!("rules (those of its largest group times its groups) on {}", interface.id);
        let limit = self.numbers.rules_times_groups;
        found.extend(self.exceeded(model, at, field(), &what, product, (limit, None)));
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
                        let list = list(id);
                        let weight = list.map_or(1, weight);
                        // A list is of one family; of one that does not tell which, both.
                        for (v6, count) in [false, true].into_iter().zip(&mut counts) {
                            let other = list.and_then(|list| list.v6).is_some_and(|family| family != v6);
                            *count += if other { 0 } else { weight };
                        }
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

/// What the names of AWS's own prefix lists begin with.
const AWS_LISTS: &str = "com.amazonaws";

/// Whether a list is AWS's: one that has an owner, or a size, is an account's (VPC guide,
/// `managed-prefix-lists`: "AWS-managed prefix lists" have no maximum and no versions).
fn is_managed_by_aws(list: &PrefixList) -> bool {
    match &list.owner {
        Some(owner) => owner == "AWS",
        None => {
            list.max_entries.is_none()
                && list.name.as_ref().is_some_and(|name| name.value.starts_with(AWS_LISTS))
        }
    }
}

/// Entries that are there twice, and families that do not mix.
fn check_entries(model: &Model, list: &PrefixList, found: &mut Vec<Diagnostic>) {
    let entries = list.entries.as_deref().unwrap_or_default();
    let mut seen = HashSet::new();
    let warning = |id, at, message: String| {
        model.sources.diagnostic(Severity::Warning, id, at, list.place.field("Entries"), message)
    };
    for entry in entries {
        if !seen.insert(entry.value) {
            let message = format!("{} is an entry of {} already", entry.value, list.id);
            found.push(warning("duplicate-entry", entry.at, message));
        }
    }
    if list.v6.is_some() {
        return;
    }
    if let Some(first) = entries.first()
        && let Some(other) =
            entries.iter().find(|entry| entry.value.addr().is_ipv6() != first.value.addr().is_ipv6())
    {
        let message = format!("{} has entries of both address families", list.id);
        found.push(warning("mixed-families", other.at, message).help("a list on AWS has one family"));
    }
}

/// The weight of a prefix list (VPC guide, `working-with-aws-managed-prefix-lists`).
fn weight(list: &PrefixList) -> u64 {
    if let Some(max) = &list.max_entries {
        return u64::from(max.value);
    }
    let name = list.name.as_ref().map_or("", |name| name.value.as_str());
    let name = if name.starts_with(AWS_LISTS) { name } else { "" };
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
