//! `filter-ctl flows summary`: sums over the flow records.

use std::net::IpAddr;

use filter_common::{Direction, service::ICMP, service::ICMPV6};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{beside, drain, filters::Filters, kept, lock, tell_gaps, tell_unlogged};
use crate::{
    cli::{Output, OutputArguments, output},
    datapath::{self, Host, Places},
    explain::protocol_name,
    flowlog::{
        Collector, Error, Folder, HostSource, Result, Source,
        spool::{Dropped, Reader},
        summary::{Attempt, Count, Summary, Talk},
    },
    naming::{AclRuleName, Decision, GroupRuleName},
};

/// Sum flow records up: who talks most, what is rejected most, which rules decide.
///
/// Of the records that `flows` would print with the same filters.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Which records.
    #[command(flatten)]
    filters: Filters,

    /// How many lines each table has at most
    #[arg(long, value_name = "LINES", default_value_t = 10)]
    top: usize,

    /// Printing.
    #[command(flatten)]
    pub(super) output: OutputArguments,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl flows summary
  filter-ctl flows summary --since 1h --direction ingress --top 20
  filter-ctl flows summary --action reject --output json | jq '.rejected[0]'";

/// Runs the command.
///
/// # Errors
///
/// If the records cannot be read.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let places = Places::from_environment();
    let folder = Folder::of(&places);
    let (mut reader, dropped) = match beside::collected(&places, &folder)? {
        Some(collected) => collected,
        None => alone(arguments, &folder)?,
    };
    let mut summary = Summary::default();
    for record in reader.by_ref() {
        let record = record?;
        if arguments.filters.want(&record) {
            summary.add(&record);
        }
    }
    match arguments.output.output {
        Output::Table => output::print(&describe(&summary, arguments.top)),
        Output::Json => output::print_json(&to_json(&summary, arguments.top)),
    }
    tell_gaps(&reader, dropped);
    Ok(())
}

/// Drains by ourselves.
fn alone(arguments: &Arguments, folder: &Folder) -> Result<(Reader, Dropped)> {
    let read = match Host::open() {
        Ok(host) => read(arguments, folder, &mut HostSource::new(&host)),
        Err(error) => Err(error.into()),
    };
    match read {
        Err(Error::Host(datapath::Error::NothingAttached)) => kept(folder),
        read => read,
    }
}

fn read(arguments: &Arguments, folder: &Folder, source: &mut dyn Source) -> Result<(Reader, Dropped)> {
    let lock = lock(folder)?;
    tell_unlogged(&arguments.filters.interface_id, &source.attachments()?);
    drain(Collector::open(folder, lock, source)?)
}

/// The parts of a summary, each with its most important groups.
struct Tops<'s> {
    talkers: Vec<(&'s Talk, &'s Count)>,
    rejected: Vec<(&'s Attempt, &'s Count)>,
    groups: Vec<(&'s Decision<GroupRuleName>, &'s Count)>,
    acl: Vec<(&'s Decision<AclRuleName>, &'s Count)>,
}

impl<'s> Tops<'s> {
    fn of(summary: &'s Summary, count: usize) -> Self {
        Self {
            talkers: summary.talkers.top(count, Count::all_bytes, Clone::clone),
            rejected: summary.rejected.top(count, Count::all_packets, |attempt| {
                (attempt.talk.clone(), attempt.protocol, attempt.port, attempt.reason as u8)
            }),
            groups: summary.groups.top(count, Count::all_packets, Clone::clone),
            acl: summary.acl.top(count, Count::all_packets, Clone::clone),
        }
    }
}

fn describe(summary: &Summary, top: usize) -> String {
    let Some((start, end)) = summary.span else {
        return match summary.lost.packets {
            0 => "no flow records match\n".to_owned(),
            lost => format!("no flow records match; no record counts {lost} packets\n"),
        };
    };
    let tops = Tops::of(summary, top);
    let [accepted, rejected] = summary.totals;
    let mut text = format!("from {} to {}\n", moment(start), moment(end));
    for (word, total) in [("accepted", accepted), ("rejected", rejected)] {
        text += &format!("{word}  {} packets, {} bytes\n", total.all_packets(), total.all_bytes());
    }
    if summary.lost.packets > 0 {
        text += &format!(
            "lost      {} packets, {} bytes, which no record counts\n",
            summary.lost.packets, summary.lost.bytes
        );
    }
    let rows: Vec<_> = tops
        .talkers
        .iter()
        .map(|(Talk { interface_id, local, remote }, count)| {
            let [inward, outward] = count.packets;
            let id = interface_id.as_deref().unwrap_or("-");
            let bytes = count.bytes.map(|bytes| bytes.to_string());
            let [bytes_in, bytes_out] = bytes;
            [
                id.into(),
                local.to_string(),
                remote.to_string(),
                inward.to_string(),
                bytes_in,
                outward.to_string(),
                bytes_out,
            ]
        })
        .collect();
    let header = ["INTERFACE", "LOCAL", "REMOTE", "IN PACKETS", "IN BYTES", "OUT PACKETS", "OUT BYTES"];
    text += &section(
        "top talkers",
        &output::table(header, &[3, 4, 5, 6], &rows),
        summary.talkers.len(),
        rows.len(),
    );
    text += &rest(&summary.talkers.rest);
    let rows: Vec<_> = tops.rejected.iter().map(|(attempt, count)| attempt_row(attempt, count)).collect();
    let header = ["INTERFACE", "DIRECTION", "FROM", "TO", "SERVICE", "PACKETS", "BYTES", "REASON", "RULE"];
    text +=
        &section("top rejected", &output::table(header, &[5, 6], &rows), summary.rejected.len(), rows.len());
    text += &rest(&summary.rejected.rest);
    let groups = tops.groups.iter().map(|(decision, count)| {
        let name = match decision {
            Decision::Rule(rule) => format!("{} {}", rule.group, rule.id),
            other => undecided(other).to_owned(),
        };
        rule_row("security groups", name, count)
    });
    let acl = tops.acl.iter().map(|(decision, count)| {
        let name = match decision {
            Decision::Rule(rule) => acl_name(rule),
            other => undecided(other).to_owned(),
        };
        rule_row("network ACL", name, count)
    });
    let rows: Vec<_> = groups.chain(acl).collect();
    let header = ["LAYER", "RULE", "PACKETS", "BYTES", "RECORDS"];
    let known = summary.groups.len() + summary.acl.len();
    text + &section("by rule", &output::table(header, &[2, 3, 4], &rows), known, rows.len())
}

/// A table with its title, or nothing if it has no rows.
fn section(title: &str, table: &str, known: usize, shown: usize) -> String {
    match (shown, known - shown) {
        (0, _) => String::new(),
        (_, 0) => format!("\n{title}\n{table}"),
        (_, more) => format!("\n{title}\n{table}   and {more} more: --top shows them\n"),
    }
}

fn rest(rest: &Count) -> String {
    match rest.records {
        0 => String::new(),
        records => format!(
            "   {} packets in {records} records are of groups that found no room: filters make fewer\n",
            rest.all_packets()
        ),
    }
}

fn attempt_row(attempt: &Attempt, count: &Count) -> [String; 9] {
    let Attempt { talk, direction, protocol, port, reason, rules } = attempt;
    let (from, to) = ends(talk, *direction);
    let service = match *protocol {
        ICMP | ICMPV6 => protocol_name(*protocol),
        protocol if *port > 0 => format!("{} {port}", protocol_name(protocol)),
        protocol => protocol_name(protocol),
    };
    [
        talk.interface_id.as_deref().unwrap_or("-").to_owned(),
        direction.map_or("-", Direction::name).to_owned(),
        from.to_string(),
        to.to_string(),
        service,
        count.all_packets().to_string(),
        count.all_bytes().to_string(),
        reason.name().to_owned(),
        // No rule of the groups ever rejects.
        rules.acl.rule().filter(|_| rules.groups == Decision::NotAsked).map_or_else(String::new, acl_name),
    ]
}

/// Source and destination.
fn ends(talk: &Talk, direction: Option<Direction>) -> (IpAddr, IpAddr) {
    match direction {
        Some(Direction::Egress) => (talk.local, talk.remote),
        _ => (talk.remote, talk.local),
    }
}

fn rule_row(layer: &str, name: String, count: &Count) -> [String; 5] {
    let numbers = [count.all_packets(), count.all_bytes(), count.records].map(|number| number.to_string());
    let [packets, bytes, records] = numbers;
    [layer.to_owned(), name, packets, bytes, records]
}

fn acl_name(rule: &AclRuleName) -> String {
    format!("{} {}", rule.acl, rule.number)
}

/// What a layer said without a rule, in the words of `status --rules`.
fn undecided<T>(decision: &Decision<T>) -> &'static str {
    match decision {
        Decision::Rule(_) => "a rule",
        Decision::NoRule => "no rule matched: rejected",
        Decision::NotAsked => "not asked",
        Decision::Unknown => "rules not known any more",
    }
}

fn moment(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| seconds.to_string(), |time| time.to_string())
}

fn to_json(summary: &Summary, top: usize) -> Value {
    let tops = Tops::of(summary, top);
    let count = |count: &Count| {
        json!({
            "packets": { "ingress": count.packets[0], "egress": count.packets[1] },
            "bytes": { "ingress": count.bytes[0], "egress": count.bytes[1] },
            "records": count.records,
        })
    };
    let talkers = tops.talkers.iter().map(|(talk, sum)| {
        json!({ "interface_id": talk.interface_id, "local": talk.local, "remote": talk.remote, "count": count(sum) })
    });
    let rejected = tops.rejected.iter().map(|(attempt, sum)| {
        let (source, destination) = ends(&attempt.talk, attempt.direction);
        let (acl, group) = (attempt.rules.acl.rule(), attempt.rules.groups.rule());
        json!({
            "interface_id": attempt.talk.interface_id,
            "direction": attempt.direction.map(Direction::name),
            "source": source,
            "destination": destination,
            "protocol": attempt.protocol,
            "port": attempt.port,
            "reason": attempt.reason.name(),
            "network_acl_id": acl.map(|rule| &rule.acl),
            "rule_number": acl.map(|rule| rule.number),
            "rule_id": group.map(|rule| &rule.id),
            "count": count(sum),
        })
    });
    let groups = tops.groups.iter().map(|(decision, sum)| {
        let rule = decision.rule();
        json!({
            "decision": word(decision),
            "group_id": rule.map(|rule| &rule.group),
            "rule_id": rule.map(|rule| &rule.id),
            "count": count(sum),
        })
    });
    let acl = tops.acl.iter().map(|(decision, sum)| {
        let rule = decision.rule();
        json!({
            "decision": word(decision),
            "network_acl_id": rule.map(|rule| &rule.acl),
            "rule_number": rule.map(|rule| rule.number),
            "count": count(sum),
        })
    });
    json!({
        "start": summary.span.map(|span| span.0),
        "end": summary.span.map(|span| span.1),
        "accepted": count(&summary.totals[0]),
        "rejected_total": count(&summary.totals[1]),
        "lost": { "packets": summary.lost.packets, "bytes": summary.lost.bytes, "records": summary.lost.records },
        "talkers": talkers.collect::<Vec<_>>(),
        "rejected": rejected.collect::<Vec<_>>(),
        "security_groups": groups.collect::<Vec<_>>(),
        "network_acl": acl.collect::<Vec<_>>(),
        "without_room": {
            "talkers": count(&summary.talkers.rest),
            "rejected": count(&summary.rejected.rest),
        },
    })
}

const fn word<T>(decision: &Decision<T>) -> &'static str {
    match decision {
        Decision::Rule(_) => "rule",
        Decision::NoRule => "no-rule",
        Decision::NotAsked => "not-asked",
        Decision::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use filter_common::{record::FlowRecord, verdict::Reason};

    use super::*;
    use crate::flowlog::fake::{record, resolve, resolved};

    fn summary() -> Summary {
        let mut summary = Summary::default();
        let refused = FlowRecord {
            reason: Reason::SecurityGroup as u8,
            remote: IpAddr::from([203, 0, 113, 9]).into(),
            local_port: 3389,
            packets: 3,
            bytes: 180,
            ..record(0)
        };
        [resolved(), resolve(&refused)].iter().for_each(|one| summary.add(one));
        summary
    }

    #[test]
    fn a_summary_names_who_talks_and_who_is_refused() {
        let text = describe(&summary(), 10);
        insta::assert_snapshot!(text, @r"
from 2023-11-14T22:13:30Z to 2023-11-14T22:14:21Z
accepted  12 packets, 2410 bytes
rejected  3 packets, 180 bytes

top talkers
 INTERFACE  LOCAL      REMOTE        IN PACKETS  IN BYTES  OUT PACKETS  OUT BYTES
 eni-0a1    10.0.1.20  198.51.100.7          12      2410            0          0

top rejected
 INTERFACE  DIRECTION  FROM         TO         SERVICE   PACKETS  BYTES  REASON          RULE
 eni-0a1    ingress    203.0.113.9  10.0.1.20  tcp 3389        3    180  security-group

by rule
 LAYER            RULE                      PACKETS  BYTES  RECORDS
 security groups  rules not known any more       15   2590        2
 network ACL      rules not known any more       15   2590        2
");
        assert_eq!(describe(&Summary::default(), 10), "no flow records match\n");
    }

    #[test]
    fn tables_end_where_they_are_told_to() {
        let mut summary = summary();
        let other = FlowRecord { remote: IpAddr::from([198, 51, 100, 8]).into(), ..record(0) };
        summary.add(&resolve(&other));
        assert!(describe(&summary, 1).contains("and 1 more: --top shows them"));
    }

    #[test]
    fn json_has_numbers_and_names() {
        let json = to_json(&summary(), 10);
        assert_eq!(json["talkers"][0]["remote"], "198.51.100.7");
        assert_eq!(json["talkers"][0]["count"]["bytes"]["ingress"], 2410);
        let rejected = &json["rejected"][0];
        assert_eq!((&rejected["port"], &rejected["reason"]), (&3389.into(), &"security-group".into()));
        assert_eq!(rejected["count"]["packets"], json!({ "ingress": 3, "egress": 0 }));
        assert_eq!(json["start"], 1_700_000_010);
    }
}
