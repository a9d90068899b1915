//! `status --rules`: which rules decided about how much.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use filter_common::{Direction, abi::sweep_flags};
use serde_json::{Value, json};

use super::{Failure, Output, output};
use crate::{
    datapath::{Host, Places, inspect::Report, versions::Foreign},
    flowlog::{
        self, Collector, Folder, HostSource,
        hits::{ByDirection, Count, InterfaceHits, last_written},
        lock::Lock,
    },
    naming::{AclRuleName, Book, Decision, GroupRuleName},
    policy::{Group, NetworkAcl, NetworkAclRule},
    text,
};

/// How long it waits for another reader of the flow log.
const PATIENCE: Duration = Duration::from_secs(5);

/// Shows the counters of the rules of some attached interfaces.
pub(super) fn show(
    places: &Places,
    reports: &[Report],
    foreign: &[Foreign],
    to: Output,
) -> Result<(), Failure> {
    let (hits, mut notes) = if reports.is_empty() { Default::default() } else { counters(places)? };
    let mut shown = Vec::new();
    for report in reports {
        let attachment = &report.entry.attachment;
        let generation = report.generation.unwrap_or(attachment.generation);
        let book = places.shelf().open(attachment.slot, generation).map_err(|error| {
            Failure::new(super::Exit::System, format!("read {}: {error}", places.shelf().folder().display()))
        })?;
        if book.is_none() {
            let device = text::shown(&attachment.device);
            notes.push(format!("the rules in force on {device} are not known: apply the document again"));
        }
        let hits = hits.get(&attachment.interface.id).cloned().unwrap_or_default();
        shown.push((report, Rows::of(book.as_ref(), &hits), hits));
    }
    match to {
        Output::Json => output::print_json(&json!({
            "interfaces": shown.iter().map(|(report, rows, hits)| to_json(report, rows, hits)).collect::<Vec<_>>(),
            "other_versions": foreign,
            "notes": notes,
        })),
        Output::Table => {
            if shown.is_empty() && foreign.is_empty() {
                output::print("no device is attached\n");
            }
            for (number, (report, rows, hits)) in shown.iter().enumerate() {
                output::print(&format!(
                    "{}{}",
                    if number == 0 { "" } else { "\n" },
                    describe(report, rows, hits)
                ));
            }
            notes.iter().for_each(|note| output::note(note));
        }
    }
    Ok(())
}

/// All counters, after what the kernel has counted until now was taken; remarks.
fn counters(places: &Places) -> Result<(BTreeMap<String, InterfaceHits>, Vec<String>), Failure> {
    let folder = Folder::of(places);
    let host = Host::open_in(places)?;
    let mut source = HostSource::new(&host);
    match Lock::acquire(&folder.lock(), PATIENCE, |holder| !holder.follows) {
        Ok(lock) => {
            let mut collector = Collector::open(&folder, lock, &mut source)?;
            collector.sweep(None, sweep_flags::OPEN_INTERVAL, &mut |_| {})?;
            Ok((collector.hits().interfaces().clone(), collector.notes()))
        }
        Err(flowlog::Error::Busy(holder)) => {
            let note = format!("{holder} reads the flow log: these are the intervals that have ended for it");
            Ok((last_written(folder.hits())?, vec![note]))
        }
        Err(error) => Err(error.into()),
    }
}

/// The rules of an interface with their counts.
struct Rows {
    groups: Vec<GroupRow>,
    acl: Vec<AclRow>,
}

/// A rule of the groups, or why there was none.
struct GroupRow {
    decision: Decision<GroupRuleName>,
    /// What it says; `None`: the policy has no such rule any more.
    rule: Option<(Direction, String, String, Option<String>)>,
    counts: ByDirection,
}

/// A rule of the network ACL, or why there was none, in one direction.
struct AclRow {
    decision: Decision<AclRuleName>,
    direction: Direction,
    /// What it says; as above.
    rule: Option<(bool, String, String)>,
    count: Count,
}

impl Rows {
    /// First the rules in force, in the order in which they are asked, then whatever else has counts.
    fn of(book: Option<&Book>, hits: &InterfaceHits) -> Self {
        let (mut groups, mut acl) = (Vec::new(), Vec::new());
        let (mut group_counts, mut acl_counts) = (hits.groups.clone(), hits.acl.clone());
        if let Some(book) = book {
            for direction in Direction::BOTH {
                for group in book.groups() {
                    add_group(group, direction, &mut group_counts, &mut groups);
                }
                add_acl(book, direction, &mut acl_counts, &mut acl);
            }
        }
        group_counts.entry(Decision::NoRule).or_default();
        let mut rest: Vec<_> = group_counts.into_iter().collect();
        rest.sort_by(|one, other| one.0.cmp(&other.0));
        groups.extend(rest.into_iter().map(|(decision, counts)| GroupRow { decision, rule: None, counts }));
        let mut rest: Vec<_> = acl_counts.into_iter().collect();
        rest.sort_by(|one, other| one.0.cmp(&other.0));
        for direction in Direction::BOTH {
            for (decision, counts) in &rest {
                let count = counts[direction.index()];
                if count != Count::default() {
                    acl.push(AclRow { decision: decision.clone(), direction, rule: None, count });
                }
            }
        }
        Self { groups, acl }
    }
}

fn add_group(
    group: &Group,
    direction: Direction,
    counts: &mut HashMap<Decision<GroupRuleName>, ByDirection>,
    rows: &mut Vec<GroupRow>,
) {
    let mut known = std::collections::HashSet::new();
    for rule in group.rules(direction) {
        let id = group.rule_id(direction, rule);
        // What is written twice is one rule.
        if !known.insert(id.clone()) {
            continue;
        }
        let name = GroupRuleName { group: group.id.as_str().into(), id: id.into() };
        let decision = Decision::Rule(name);
        let description = rule.description.as_ref().map(ToString::to_string);
        rows.push(GroupRow {
            rule: Some((direction, rule.service.to_string(), rule.peer.to_string(), description)),
            counts: counts.remove(&decision).unwrap_or_default(),
            decision,
        });
    }
}

fn add_acl(
    book: &Book,
    direction: Direction,
    counts: &mut HashMap<Decision<AclRuleName>, ByDirection>,
    rows: &mut Vec<AclRow>,
) {
    let acl = book.network_acl();
    let rules = if direction == Direction::Ingress { &acl.ingress } else { &acl.egress };
    let mut add = |number, rule, must: bool| {
        let decision = Decision::Rule(AclRuleName { acl: acl.id.as_str().into(), number });
        let count = counts.get_mut(&decision).map(|counts| std::mem::take(&mut counts[direction.index()]));
        let count = count.unwrap_or_default();
        if must || count != Count::default() {
            rows.push(AclRow { decision, direction, rule: Some(rule), count });
        }
    };
    for NetworkAclRule { number, allow, service, prefix } in rules {
        add(*number, (*allow, service.to_string(), prefix.to_string()), true);
    }
    let has_v6 = book.has_ipv6() || rules.iter().any(|rule| rule.prefix.addr().is_ipv6());
    add(NetworkAcl::star(true), (false, "all".into(), "0.0.0.0/0".into()), true);
    add(NetworkAcl::star(false), (false, "all".into(), "::/0".into()), has_v6);
}

/// Why there is no rule, in words.
fn word<T>(decision: &Decision<T>) -> &'static str {
    match decision {
        Decision::Rule(_) => "not in the policy any more",
        Decision::NoRule => "no rule matched: rejected",
        Decision::NotAsked => "not asked",
        Decision::Unknown => "rules not known any more",
    }
}

fn last_hit(last: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match last {
        0 => "never".to_owned(),
        last => format!("{} ago", output::span(Duration::from_secs(now.saturating_sub(last)))),
    }
}

fn describe(report: &Report, rows: &Rows, hits: &InterfaceHits) -> String {
    let attachment = &report.entry.attachment;
    let (device, id) = (text::shown(&attachment.device), text::shown(&attachment.interface.id));
    let mut shown = format!("{device}  {id}\n");
    if attachment.interval.is_none() {
        shown += "  nothing is counted by rule: no flow log covers it, and it was attached without --log.\n  \
                  Let a flow log of the policy cover it, or attach it with --log; counting begins then.\n";
        if hits.groups.is_empty() && hits.acl.is_empty() {
            return shown;
        }
    }
    let table: Vec<_> = rows
        .groups
        .iter()
        .map(|GroupRow { decision, rule, counts: [ingress, egress] }| {
            let name = decision.rule();
            let [direction, service, peer, description] = match rule {
                Some((direction, service, peer, description)) => [
                    direction.name().to_owned(),
                    service.clone(),
                    peer.clone(),
                    description.clone().unwrap_or_default(),
                ],
                None => [String::new(), String::new(), String::new(), word(decision).to_owned()],
            };
            [
                format!("  {}", name.map_or("-", |name| &*name.group)),
                name.map_or("-", |name| &*name.id).to_owned(),
                direction,
                service,
                peer,
                ingress.packets.to_string(),
                egress.packets.to_string(),
                (ingress.bytes + egress.bytes).to_string(),
                last_hit(ingress.last.max(egress.last)),
                description,
            ]
        })
        .collect();
    let header = [
        "  GROUP",
        "RULE",
        "DIRECTION",
        "SERVICE",
        "PEER",
        "IN PACKETS",
        "OUT PACKETS",
        "BYTES",
        "LAST HIT",
        "DESCRIPTION",
    ];
    shown += &output::table(header, &[5, 6, 7], &table);
    shown += "\n";
    let table: Vec<_> = rows
        .acl
        .iter()
        .map(|AclRow { decision, direction, rule, count }| {
            let name = decision.rule();
            let number = name.map_or("-".to_owned(), |name| match name.number {
                number if number > NetworkAcl::LAST_NUMBER => format!("{number} (*)"),
                number => number.to_string(),
            });
            let [action, service, peer] = match rule {
                Some((allow, service, prefix)) => {
                    [if *allow { "allow" } else { "deny" }.to_owned(), service.clone(), prefix.clone()]
                }
                None => [word(decision).to_owned(), String::new(), String::new()],
            };
            [
                format!("  {}", name.map_or("-", |name| &*name.acl)),
                number,
                direction.name().to_owned(),
                action,
                service,
                peer,
                count.packets.to_string(),
                count.bytes.to_string(),
                last_hit(count.last),
            ]
        })
        .collect();
    let header =
        ["  NETWORK ACL", "RULE", "DIRECTION", "ACTION", "SERVICE", "PEER", "PACKETS", "BYTES", "LAST HIT"];
    shown += &output::table(header, &[6, 7], &table);
    let lost: u64 = hits.lost.iter().map(|loss| loss.packets).sum();
    if lost != 0 {
        shown += &format!("\n  {lost} packets are in no record, so in no counter\n");
    }
    shown
}

fn to_json(report: &Report, rows: &Rows, hits: &InterfaceHits) -> Value {
    let attachment = &report.entry.attachment;
    let last = |last: u64| if last == 0 { Value::Null } else { last.into() };
    let decided = |is_rule: bool, known: bool, word: &str| match (is_rule, known) {
        (true, true) => "rule".to_owned(),
        (true, false) => "removed-rule".to_owned(),
        (false, _) => word.to_owned(),
    };
    let why = |decision: Value| decision.as_str().unwrap_or_default().to_owned();
    let groups: Vec<_> = rows
        .groups
        .iter()
        .map(|GroupRow { decision, rule, counts: [ingress, egress] }| {
            let name = decision.rule();
            let said = rule.as_ref();
            json!({
                "decision": decided(name.is_some(), said.is_some(), &why(json!(decision))),
                "group_id": name.map(|name| &name.group),
                "rule_id": name.map(|name| &name.id),
                "direction": said.map(|said| said.0.name()),
                "service": said.map(|said| &said.1),
                "peer": said.map(|said| &said.2),
                "description": said.and_then(|said| said.3.as_ref()),
                "packets": { "ingress": ingress.packets, "egress": egress.packets },
                "bytes": { "ingress": ingress.bytes, "egress": egress.bytes },
                "records": { "ingress": ingress.records, "egress": egress.records },
                "last_hit": last(ingress.last.max(egress.last)),
            })
        })
        .collect();
    let acl: Vec<_> = rows
        .acl
        .iter()
        .map(|AclRow { decision, direction, rule, count }| {
            let name = decision.rule();
            let said = rule.as_ref();
            json!({
                "decision": decided(name.is_some(), said.is_some(), &why(json!(decision))),
                "network_acl_id": name.map(|name| &name.acl),
                "rule_number": name.map(|name| name.number),
                "direction": direction.name(),
                "action": said.map(|said| if said.0 { "allow" } else { "deny" }),
                "service": said.map(|said| &said.1),
                "peer": said.map(|said| &said.2),
                "packets": count.packets,
                "bytes": count.bytes,
                "records": count.records,
                "last_hit": last(count.last),
            })
        })
        .collect();
    json!({
        "device": attachment.device,
        "interface_id": attachment.interface.id,
        "generation": report.generation,
        "flow_log_interval": attachment.interval,
        "security_groups": groups,
        "network_acl": acl,
        "lost": {
            "packets": { "ingress": hits.lost[0].packets, "egress": hits.lost[1].packets },
            "bytes": { "ingress": hits.lost[0].bytes, "egress": hits.lost[1].bytes },
        },
    })
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;
    use crate::naming::book::tests::{book, policy};

    #[test]
    fn the_star_of_each_family_of_the_subnet_is_listed() {
        let stars = |blocks: &[&str]| {
            let mut policy = policy();
            policy.subnet = blocks.iter().map(|block| block.parse::<IpNet>().expect("a block")).collect();
            let rows = Rows::of(Some(&book(&policy)), &InterfaceHits::default()).acl;
            let numbers = rows.iter().filter_map(|row| row.decision.rule()).map(|name| name.number);
            numbers.filter(|number| *number > 32_766).collect::<Vec<_>>()
        };
        assert_eq!(stars(&["10.0.1.0/24"]), [32_767, 32_767]);
        assert_eq!(stars(&["10.0.1.0/24", "2001:db8::/64"]), [32_767, 32_768, 32_767, 32_768]);
    }
}
