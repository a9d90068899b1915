//! Network ACLs that let a connection begin and its answers not pass.
//!
//! A network ACL keeps no state: what a security group's rule admits in one direction needs a rule
//! of the ACL in the other one, for the port that the client chose (VPC guide, `custom-network-acl`,
//! "Ephemeral ports"). Which ports those are depends on the client: [`RANGES`].
//!
//! For every rule of every group of an interface, every class of addresses of its subnet's ACL
//! ([`super::classes`]) is asked: does the ACL let some request of the rule pass? Then each client's
//! range must pass the other way, but for what a rule denies on purpose: single ports (as AWS
//! advises), or certain addresses. Addresses of the own subnet and link-local ones do not meet the
//! ACL. A rule of the ACL for ephemeral ports is there for answers: it does not count as admitting
//! requests, unless the group's rule is for a port of its own.
//!
//! One finding for each ACL, direction, protocol and family, with the first example.
//!
//! # Worked example
//!
//! A group admits tcp/443 from 0.0.0.0/0. The ACL has ingress 100 allow tcp/443 and egress 100 allow
//! tcp/32768-61000, both for 0.0.0.0/0: one class. It lets requests in. Answers to Linux's ports pass;
//! those to Windows' (61001 to 65535 are refused) and to NAT gateways' (1024 to 32767, too) do not, and
//! no rule denies them on purpose: a note, as Linux's are not among them. Were the egress rule for
//! tcp/1024-65535, there would be nothing to tell.
//!
//! # Cost
//!
//! Classes are made once for each ACL and family, and only if answers fail in one of them are rules
//! looked at: each rule of the groups once for each subnet, and for each of its blocks the classes
//! that hold addresses of it.

use std::collections::{BTreeMap, HashMap, HashSet};

use filter_common::{
    Direction,
    service::{TCP, UDP},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    About, Finding, Subject,
    classes::{Allowed, Classes, is_for_answers, ports},
    services::Services,
};
use crate::{document::Severity, policy::RuleService};

/// Clients' ports (VPC guide, `custom-network-acl`).
const RANGES: [(u16, u16, &str); 3] = [
    (32_768, 61_000, "Linux"),
    (49_152, 65_535, "Windows"),
    (1024, 65_535, "NAT gateways, load balancers and Lambda"),
];

pub(super) fn lint(subject: &Subject) -> Vec<Finding> {
    let mut looked = HashSet::new();
    let mut classes: HashMap<(usize, bool), Option<Classes>> = HashMap::new();
    let mut found: BTreeMap<(usize, usize, u8, bool), Forgotten> = BTreeMap::new();
    for interface in &subject.interfaces {
        let subnet = &subject.subnets[interface.subnet];
        for &group in &interface.groups {
            if !looked.insert((interface.subnet, group)) {
                continue;
            }
            for direction in Direction::BOTH {
                for (number, rule) in subject.groups[group].rules(direction).iter().enumerate() {
                    for &block in rule.peer.prefixes() {
                        let v6 = block.addr().is_ipv6();
                        let classes = classes.entry((subnet.acl, v6)).or_insert_with(|| {
                            Some(Classes::new(&subject.acls[subnet.acl], everywhere(v6)))
                                .filter(fail_somewhere)
                        });
                        let Some(classes) = classes else { continue };
                        for protocol in [TCP, UDP] {
                            let Some(forgotten) =
                                forgotten(rule.service, block, &subnet.blocks, classes, direction, protocol)
                            else {
                                continue;
                            };
                            let key = (subnet.acl, direction.index(), protocol, v6);
                            let known = found.entry(key).or_insert_with(|| Forgotten {
                                group,
                                rule: number,
                                ..forgotten.clone()
                            });
                            for (range, whole) in forgotten.ranges {
                                known.add(range, whole);
                            }
                        }
                    }
                }
            }
        }
    }
    found
        .into_iter()
        .map(|((acl, direction, protocol, _), forgotten)| {
            finding(subject, acl, Direction::BOTH[direction], protocol, &forgotten)
        })
        .collect()
}

/// Requests whose answers do not pass.
#[derive(Clone, Default)]
struct Forgotten {
    group: usize,
    rule: usize,
    /// Their addresses.
    addresses: Option<IpNet>,
    /// Which of [`RANGES`], and whether the whole range is refused.
    ranges: BTreeMap<usize, bool>,
}

impl Forgotten {
    fn add(&mut self, range: usize, whole: bool) {
        *self.ranges.entry(range).or_default() |= whole;
    }
}

pub(super) fn everywhere(v6: bool) -> IpNet {
    if v6 { Ipv6Net::default().into() } else { Ipv4Net::default().into() }
}

/// Whether addresses do not meet the network ACL.
pub(super) fn is_not_asked(block: IpNet, subnet: &[IpNet]) -> bool {
    let link_local: [IpNet; 2] = [
        Ipv4Net::new_assert([169, 254, 0, 0].into(), 16).into(),
        Ipv6Net::new_assert([0xfe80, 0, 0, 0, 0, 0, 0, 0].into(), 10).into(),
    ];
    subnet.iter().chain(&link_local).any(|own| own.contains(&block))
}

/// Whether answers fail anywhere: mostly not, and then nothing need be looked at.
fn fail_somewhere(classes: &Classes) -> bool {
    classes.all().flatten().any(|allowed| {
        [TCP, UDP]
            .iter()
            .any(|protocol| (0..RANGES.len()).any(|range| fails(allowed, *protocol, range).is_some()))
    })
}

/// Whether answers to all of a range of clients' ports do not pass, or to some; `None`: they pass.
fn fails(allowed: &Allowed, protocol: u8, range: usize) -> Option<bool> {
    let (first, last, _) = RANGES[range];
    let range = ports(protocol, first, last);
    let refused = range.without(&allowed.all);
    (!refused.is_empty() && !allowed.denied.contains(&refused)).then(|| refused == range)
}

fn forgotten(
    service: RuleService,
    block: IpNet,
    subnet: &[IpNet],
    classes: &Classes,
    direction: Direction,
    protocol: u8,
) -> Option<Forgotten> {
    if is_not_asked(block, subnet) {
        return None;
    }
    let services = Services::of(service).and(&ports(protocol, 0, u16::MAX));
    if services.is_empty() {
        return None;
    }
    let any_port = matches!(service, RuleService::All)
        || is_for_answers(service)
        || {
            matches!(service, RuleService::Tcp(first, last) | RuleService::Udp(first, last) if first <= 1024 && last >= 61_000)
        };
    let mut forgotten = Forgotten::default();
    for (addresses, class) in classes.of(block) {
        if is_not_asked(addresses, subnet) {
            continue;
        }
        let requests = &class[direction.index()];
        let admitted = if any_port { &requests.meant } else { &requests.all };
        if services.and(admitted).is_empty() {
            continue;
        }
        let answers = &class[direction.reverse().index()];
        let before = forgotten.ranges.len();
        for range in 0..RANGES.len() {
            if let Some(whole) = fails(answers, protocol, range) {
                forgotten.add(range, whole);
            }
        }
        if before == 0 && !forgotten.ranges.is_empty() {
            forgotten.addresses = Some(addresses);
        }
    }
    forgotten.addresses.is_some().then_some(forgotten)
}

fn finding(
    subject: &Subject,
    position: usize,
    direction: Direction,
    protocol: u8,
    forgotten: &Forgotten,
) -> Finding {
    let acl = &subject.acls[position];
    let group = &subject.groups[forgotten.group];
    let rule = &group.rules(direction)[forgotten.rule];
    // A group that is open for all protocols need not mean UDP.
    let meant = protocol == TCP || rule.service != RuleService::All;
    let protocol = if protocol == TCP { "tcp" } else { "udp" };
    let (way, back) = match direction {
        Direction::Ingress => ("in", "egress"),
        Direction::Egress => ("out", "ingress"),
    };
    let ranges: Vec<String> = forgotten
        .ranges
        .iter()
        .map(|(range, whole)| {
            let (first, last, whose) = RANGES[*range];
            let some = if *whole { "" } else { "some of " };
            format!("{some}{protocol} {first}-{last} ({whose})")
        })
        .collect();
    let addresses = forgotten.addresses.map_or(String::new(), |addresses| {
        let towards = if direction == Direction::Ingress { "to" } else { "from" };
        format!(" {towards} {addresses}")
    });
    let message = format!(
        "{} lets {protocol} connections {way} that {} admits ({} {}), but its {back} rules refuse answers{addresses} at {}",
        acl.id,
        group.id,
        rule.service,
        rule.peer,
        ranges.join(", ")
    );
    Finding {
        id: "forgotten-ephemeral-ports",
        severity: if forgotten.ranges.contains_key(&0) && meant { Severity::Warning } else { Severity::Note },
        about: About::Acl(position, direction.reverse()),
        message,
        help: "network ACLs keep no state: allow the clients' ephemeral ports the other way; 1024-65535 fits all clients",
    }
}
