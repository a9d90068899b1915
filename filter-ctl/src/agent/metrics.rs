//! What Prometheus scrapes, in OpenMetrics' text.
//!
//! Everything is read when it is asked for: the kernel's counters and the board.

use std::fmt;

use filter_common::{Direction, abi::CONNECTIONS, verdict::Reason};
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};

use super::board::Report;
use crate::datapath::inspect::{self, Condition};

/// `Content-Type` of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Gauges = Family<Labels, Gauge>;

/// The text.
pub(super) fn text(report: &Report, interfaces: &[inspect::Report]) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("filter");
    let build = Info::new(vec![("version", report.version.clone())]);
    registry.register("build", "The agent's version", build);
    of_agent(&mut registry, report);
    of_interfaces(&mut registry, interfaces);
    of_flow_logs(&mut registry, report);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

fn of_agent(registry: &mut Registry, report: &Report) {
    let started: Gauge = Gauge::default();
    started.set(signed(report.since));
    registry.register("agent_start_time_seconds", "When the agent began, in Unix time", started);
    let collected: Counter = Counter::default();
    collected.inc_by(report.collected_records);
    registry.register("records_collected", "Flow records that the agent has kept in the spool", collected);
    let Some(policy) = &report.policy else { return };
    let reloads = Counters::default();
    reloads.get_or_create(&vec![("result", "success".into())]).inc_by(policy.successes);
    reloads.get_or_create(&vec![("result", "error".into())]).inc_by(policy.failures);
    registry.register("policy_applies", "Times that the watched document was applied", reloads);
    let good: Gauge = Gauge::default();
    good.set(i64::from(policy.error.is_none()));
    registry.register("policy_good", "1 where the watched document is in force as it is", good);
}

fn of_interfaces(registry: &mut Registry, interfaces: &[inspect::Report]) {
    let (packets, bytes) = (Counters::default(), Counters::default());
    let (lost, lost_records) = (Counters::default(), Counters::default());
    let (used, allowed, enforcing) = (Gauges::default(), Gauges::default(), Gauges::default());
    for interface in interfaces {
        let attachment = &interface.entry.attachment;
        let labels: Labels =
            vec![("interface_id", attachment.interface.id.clone()), ("device", attachment.device.clone())];
        let with = |more: Labels| [labels.clone(), more].concat();
        let counters = &interface.counters;
        for direction in [Direction::Ingress, Direction::Egress] {
            let (index, name) = (direction.index(), direction.name().to_owned());
            for reason in Reason::ALL {
                let at = *reason as usize;
                if counters.packets[index][at] > 0 {
                    let labels =
                        with(vec![("direction", name.clone()), ("reason", reason.name().to_owned())]);
                    packets.get_or_create(&labels).inc_by(counters.packets[index][at]);
                    bytes.get_or_create(&labels).inc_by(counters.bytes[index][at]);
                }
            }
            let labels = with(vec![("direction", name)]);
            lost.get_or_create(&labels).inc_by(counters.lost_packets[index]);
            lost_records.get_or_create(&labels).inc_by(counters.lost_records[index]);
        }
        used.get_or_create(&labels).set(signed(interface.usage.connections));
        let table = CONNECTIONS as u64;
        let allowance = interface.entry.allowance.map_or(table, |allowance| u64::from(allowance).min(table));
        allowed.get_or_create(&labels).set(signed(allowance));
        if interface.condition != Condition::NotChecked {
            let is_enforced = interface.condition == Condition::Enforcing;
            enforcing.get_or_create(&labels).set(i64::from(is_enforced));
        }
    }
    registry.register("packets", "Packets by what became of them", packets);
    registry.register("bytes", "Bytes of those packets", bytes);
    registry.register("lost_packets", "Judged packets that no flow record counts", lost);
    registry.register("lost_records", "Flow records that found no room in the kernel", lost_records);
    registry.register("connections", "Tracked connections", used);
    registry.register("connections_allowed", "Connections that the interface may have", allowed);
    registry.register("enforcing", "1 where the programs of both directions run", enforcing);
}

fn of_flow_logs(registry: &mut Registry, report: &Report) {
    let [handed, published, packets, lost, refused, failures] = std::array::from_fn(|_| Counters::default());
    let (waiting, failing) = (Gauges::default(), Gauges::default());
    for log in &report.flow_logs {
        let labels = vec![("flow_log", log.id.clone()), ("destination", log.destination.clone())];
        handed.get_or_create(&labels).inc_by(log.records);
        published.get_or_create(&labels).inc_by(log.published);
        packets.get_or_create(&labels).inc_by(log.packets);
        lost.get_or_create(&labels).inc_by(log.lost);
        refused.get_or_create(&labels).inc_by(log.refused);
        failures.get_or_create(&labels).inc_by(log.failures);
        waiting.get_or_create(&labels).set(signed(log.waiting_bytes));
        failing.get_or_create(&labels).set(i64::from(log.error.is_some()));
    }
    registry.register("flow_log_records", "Records of a flow log", handed);
    registry.register("flow_log_published", "Records that its destination has taken", published);
    registry.register("flow_log_published_packets", "Packets that those count", packets);
    registry.register("flow_log_lost", "Records that found no room and became SKIPDATA", lost);
    registry.register("flow_log_refused", "Records that the destination refuses", refused);
    registry.register("flow_log_failures", "Tries to deliver that failed", failures);
    registry.register("flow_log_waiting_bytes", "Bytes that wait for the destination", waiting);
    registry.register("flow_log_failing", "1 where the destination takes nothing just now", failing);
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::board::{LogReport, PolicyReport};

    #[test]
    fn it_is_openmetrics_with_the_numbers_of_the_board() -> Result<(), fmt::Error> {
        let log = LogReport {
            id: "fl-1".into(),
            destination: "file".into(),
            records: 9,
            published: 7,
            packets: 70,
            lost: 3,
            refused: 4,
            failures: 5,
            waiting_bytes: 600,
            error: Some("disk full".into()),
            ..LogReport::default()
        };
        let policy = PolicyReport { failures: 2, error: Some("line 3".into()), ..PolicyReport::default() };
        let report =
            Report { version: "1.2".into(), flow_logs: vec![log], policy: Some(policy), ..Report::default() };
        let text = text(&report, &[])?;
        for line in [
            "filter_build_info{version=\"1.2\"} 1",
            "filter_flow_log_records_total{flow_log=\"fl-1\",destination=\"file\"} 9",
            "filter_flow_log_published_total{flow_log=\"fl-1\",destination=\"file\"} 7",
            "filter_flow_log_published_packets_total{flow_log=\"fl-1\",destination=\"file\"} 70",
            "filter_flow_log_lost_total{flow_log=\"fl-1\",destination=\"file\"} 3",
            "filter_flow_log_refused_total{flow_log=\"fl-1\",destination=\"file\"} 4",
            "filter_flow_log_failures_total{flow_log=\"fl-1\",destination=\"file\"} 5",
            "filter_flow_log_waiting_bytes{flow_log=\"fl-1\",destination=\"file\"} 600",
            "filter_flow_log_failing{flow_log=\"fl-1\",destination=\"file\"} 1",
            "filter_policy_applies_total{result=\"error\"} 2",
            "filter_policy_good 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        Ok(())
    }
}
