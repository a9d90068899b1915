//! `status`: what is attached, and what it has done.

use filter_common::{
    Direction,
    abi::CONNECTIONS,
    verdict::{Category, Reason},
};
use serde_json::{Value, json};

use super::{Failure, Output, OutputArguments, output, rules};
use crate::{
    agent::{
        self,
        board::{LogReport, Report as Agent},
    },
    datapath::{
        Places, hooks,
        inspect::{Condition, Report, damaged, inspect, not_attached},
        journal::Entry,
        versions,
    },
    flowlog,
    policy::{Destination, DestinationType, Exemptions, TrafficType},
    state::{ActiveLog, Side},
    text,
};

/// Show what is attached and what it has done
///
/// Devices, hooks, rules, connections, and the packets accepted and rejected, by reason. Shows the
/// devices of every network namespace.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Only this device
    pub device: Option<String>,

    /// Show each rule instead: how many packets it decided about, and when the last one came. Counted
    /// is what flow records say, so only where a flow log covers the interface or `--log` was given
    #[arg(long)]
    pub rules: bool,

    /// Printing.
    #[command(flatten)]
    pub output: OutputArguments,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl status
  filter-ctl status eth0
  filter-ctl status --rules eth0
  filter-ctl status --output json | jq '.interfaces[].packets.rejected'";

/// Runs the command.
///
/// # Errors
///
/// If maps or state cannot be read, or the device is not attached.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let places = Places::from_environment();
    let (mut reports, orphans) = inspect(&places)?;
    let damaged = damaged(&places)?;
    damaged.iter().for_each(|what| output::note(what));
    let mut foreign = versions::foreign(&places)?;
    let spool = flowlog::statistics(&flowlog::Folder::of(&places))?;
    let agent = agent::client::status(&places).unwrap_or_else(|error| {
        output::note(&format!("the agent cannot be asked: {error}"));
        None
    });
    if let Some(device) = &arguments.device {
        reports.retain(|report| report.entry.attachment.device == *device);
        foreign.retain(|foreign| foreign.device.as_ref() == Some(device));
        if reports.is_empty() && foreign.is_empty() {
            return Err(not_attached(&places, device).into());
        }
    }
    for foreign in &foreign {
        output::note(&format!(
            "another version of filter enforces on {} ({}): what it does is not known here. `detach` takes it off",
            text::shown(&foreign.name()),
            foreign.pins.display()
        ));
    }
    if arguments.output.output == Output::Table {
        for orphan in &orphans {
            output::note(&format!(
                "programs whose state is lost enforce on a device (network namespace-index {orphan}); `detach` takes them off"
            ));
        }
    }
    if arguments.rules {
        return rules::show(&places, &reports, &foreign, arguments.output.output);
    }
    match arguments.output.output {
        Output::Json => output::print_json(&json!({
            "interfaces": reports.iter().map(to_json).collect::<Vec<_>>(),
            "without_state": orphans,
            "other_versions": foreign,
            "damaged_state": damaged,
            "flow_log_spool": spool,
            "agent": agent,
        })),
        Output::Table => {
            if reports.is_empty() && foreign.is_empty() {
                output::print("no device is attached\n");
            }
            if spool.dropped_records != 0 {
                output::note(&format!(
                    "the flow log's spool was full: it dropped its oldest {} records ({} packets)",
                    spool.dropped_records, spool.dropped_packets
                ));
            }
            for (number, report) in reports.iter().enumerate() {
                output::print(&format!("{}{}", if number == 0 { "" } else { "\n" }, describe(report)));
            }
            if let Some(agent) = &agent {
                output::print(&format!("\n{}", describe_agent(agent)));
            }
        }
    }
    Ok(())
}

/// An agent, a line for each of its flow logs.
fn describe_agent(agent: &Agent) -> String {
    let seconds = agent::board::now().saturating_sub(agent.since);
    let mut lines = format!("agent  process {}, since {seconds} s\n", agent.pid);
    if let Some(policy) = &agent.policy {
        let state = if policy.error.is_some() { "NOT APPLIED: see /health" } else { "applied" };
        lines += &format!("  document     {}: {state}\n", text::shown(&policy.path));
    }
    for log in &agent.flow_logs {
        let LogReport { id, records, published, lost, refused, waiting_bytes, error, .. } = log;
        let lost = lost + refused;
        let error = error.as_ref().map(|error| format!("; {}", text::message(error))).unwrap_or_default();
        lines += &format!(
            "  {id}: {records} records, {published} published, {waiting_bytes} bytes wait, {lost} lost{error}\n"
        );
    }
    lines
}

/// A policy in one line.
pub(super) fn policy_line(entry: &Entry) -> String {
    let rules = &entry.rules;
    let groups = if rules.groups.is_empty() { "no security group".into() } else { rules.groups.join(", ") };
    let peculiarities: String =
        peculiarities(rules.strict_tcp, rules.exemptions).into_iter().map(|one| format!("{one}; ")).collect();
    let line = format!(
        "generation {}; {groups} ({} ingress, {} egress rules); {} ({}, {}); {}from {}",
        entry.attachment.generation,
        rules.group_rules[0],
        rules.group_rules[1],
        rules.network_acl,
        rules.network_acl_rules[0],
        rules.network_acl_rules[1],
        peculiarities,
        entry.document.display()
    );
    text::shown(&line).into_owned()
}

/// What is other than usual, in a word or two each.
pub(super) fn peculiarities(strict_tcp: bool, exemptions: Exemptions) -> Vec<&'static str> {
    let exempt = (exemptions == Exemptions::Services).then_some("exempt services");
    strict_tcp.then_some("strict TCP").into_iter().chain(exempt).collect()
}

/// Its flow log in one line.
pub(super) fn log_line(entry: &Entry) -> String {
    match entry.attachment.interval {
        Some(seconds) => format!("flows every {seconds} s; `filter-ctl flows` prints them"),
        None => "none: no flow log covers it, and it was attached without --log".into(),
    }
}

/// Its flow logs, a line each.
pub(super) fn log_lines(logs: &[ActiveLog]) -> Vec<String> {
    let line = |ActiveLog { log, .. }: &ActiveLog| {
        let traffic = match log.traffic {
            TrafficType::All => "all traffic",
            TrafficType::Accept => "accepted traffic",
            TrafficType::Reject => "rejected traffic",
        };
        let Destination { kind, target, .. } = &log.destination;
        let to = match (kind, target) {
            (DestinationType::Spool, _) => "the spool".to_owned(),
            (kind, Some(target)) => format!("{} {target}", kind.name()),
            (kind, None) => kind.name().to_owned(),
        };
        let line = format!("{}: {traffic} of {} every {} s, to {to}", log.id, log.resource_id, log.interval);
        text::shown(&line).into_owned()
    };
    logs.iter().map(line).collect()
}

fn describe(report: &Report) -> String {
    let Report { entry, condition, usage, counters, .. } = report;
    let attachment = &entry.attachment;
    let side = match attachment.side {
        Side::Workload => "workload",
        Side::Host => "host",
    };
    let place = match (report.here, condition) {
        (true, _) => "",
        (false, Condition::NotChecked) => "in another network namespace, ",
        (false, _) => ", in another network namespace",
    };
    let state = match condition {
        Condition::NotChecked => format!("{place}{}", condition.name()),
        Condition::NotEnforcing => format!("{} ({}){place}", condition.name(), report.missing.join("; ")),
        _ => format!("{}{place}", condition.name()),
    };
    let mut text = format!(
        "{}  {}  side {side}  {state}\n",
        text::shown(&attachment.device),
        text::shown(&attachment.interface.id),
    );
    let mut line = |name: &str, value: &str| text += &format!("  {name:<12} {value}\n");
    line(
        "hooks",
        &format!(
            "receive {}, send {} ({})",
            hooks::name(attachment.receive),
            hooks::name(attachment.send),
            attachment.reason
        ),
    );
    if !report.foreign.is_empty() {
        line("others", &report.foreign.join(", "));
    }
    line("policy", &policy_line(entry));
    match report.generation {
        None => line("", "no policy is in force: everything is dropped; apply the document again"),
        Some(generation) if generation != attachment.generation => {
            line("", &format!("generation {generation} is in force: an apply was killed; apply again"));
        }
        Some(_) => {}
    }
    line("connections", &format!("{} of {} allowed", usage.connections, allowed(entry)));
    line("flow log", &log_line(entry));
    log_lines(&attachment.flow_logs).iter().for_each(|log| line("", log));
    let totals = [Category::Accepted, Category::Rejected].map(|category| sum(report, category));
    line("accepted", &format!("{} packets, {} bytes", totals[0].0, totals[0].1));
    line("rejected", &format!("{} packets, {} bytes", totals[1].0, totals[1].1));
    let lost: u64 = counters.lost_packets.iter().sum();
    if lost != 0 {
        let records: u64 = counters.lost_records.iter().sum();
        line("lost", &format!("{lost} packets and {records} records missing in the flow log"));
    }
    let rows = rows(report);
    if !rows.is_empty() {
        let header = ["  REASON", "VERDICT", "IN PACKETS", "IN BYTES", "OUT PACKETS", "OUT BYTES"];
        text += "\n";
        text += &output::table(header, &[2, 3, 4, 5], &rows);
    }
    text
}

fn allowed(entry: &Entry) -> u64 {
    let table = CONNECTIONS as u64;
    entry.allowance.map_or(table, |allowance| u64::from(allowance).min(table))
}

fn rows(report: &Report) -> Vec<[String; 6]> {
    let counters = &report.counters;
    let (inward, outward) = (Direction::Ingress.index(), Direction::Egress.index());
    Reason::ALL
        .iter()
        .map(|reason| (reason, *reason as usize))
        .filter(|(_, index)| counters.packets[inward][*index] + counters.packets[outward][*index] != 0)
        .map(|(reason, index)| {
            [
                format!("  {}", reason.name()),
                category_name(reason.category()).to_owned(),
                counters.packets[inward][index].to_string(),
                counters.bytes[inward][index].to_string(),
                counters.packets[outward][index].to_string(),
                counters.bytes[outward][index].to_string(),
            ]
        })
        .collect()
}

/// Packets and bytes of a category, both directions.
fn sum(report: &Report, category: Category) -> (u64, u64) {
    let counters = &report.counters;
    let of = |table: &[[u64; Reason::COUNT]; 2]| {
        let reasons = Reason::ALL.iter().filter(|reason| reason.category() == category);
        reasons.map(|reason| table[0][*reason as usize] + table[1][*reason as usize]).sum()
    };
    (of(&counters.packets), of(&counters.bytes))
}

const fn category_name(category: Category) -> &'static str {
    match category {
        Category::Accepted => "accepted",
        Category::Rejected => "rejected",
        Category::NeverFiltered => "never-filtered",
        Category::Exempt => "exempt",
        Category::Unparsable => "unparsable",
    }
}

fn to_json(report: &Report) -> Value {
    let Report { entry, condition, missing, generation, usage, counters, here, foreign } = report;
    let reasons: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| {
            let index = *reason as usize;
            let direction = |table: &[[u64; Reason::COUNT]; 2]| {
                json!({ "ingress": table[0][index], "egress": table[1][index] })
            };
            json!({
                "reason": reason.name(),
                "verdict": category_name(reason.category()),
                "packets": direction(&counters.packets),
                "bytes": direction(&counters.bytes),
            })
        })
        .collect();
    let packets = |category| sum(report, category).0;
    json!({
        "attachment": entry,
        "enforcing": match condition {
            Condition::NotChecked => None,
            condition => Some(*condition == Condition::Enforcing),
        },
        "condition": condition,
        "missing": missing,
        "generation_in_force": generation,
        "in_this_network_namespace": here,
        "foreign_programs": foreign,
        "connections": { "used": usage.connections, "allowed": allowed(entry) },
        "packets": {
            "accepted": packets(Category::Accepted),
            "rejected": packets(Category::Rejected),
            "never_filtered": packets(Category::NeverFiltered),
            "exempt": packets(Category::Exempt),
            "unparsable": packets(Category::Unparsable),
        },
        "reasons": reasons,
        "lost": {
            "packets": { "ingress": counters.lost_packets[0], "egress": counters.lost_packets[1] },
            "bytes": { "ingress": counters.lost_bytes[0], "egress": counters.lost_bytes[1] },
            "records": { "ingress": counters.lost_records[0], "egress": counters.lost_records[1] },
        },
    })
}
