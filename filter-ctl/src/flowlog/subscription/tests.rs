use filter_common::{Direction, record::FlowRecord, verdict::Reason};
use proptest::prelude::*;

use super::*;
use crate::{
    flowlog::fake::{attachment, lost_record, record, resolve},
    policy::{Destination, FlowLog},
};

/// An interval of 600 s begins with it.
const BEGIN: u64 = 1_700_000_400;

fn log(id: &str, traffic: TrafficType, interval: u32, format: &str) -> FlowLog {
    FlowLog {
        id: id.to_owned(),
        resource_id: "vpc-0b2".to_owned(),
        traffic,
        interval,
        format: format.parse().expect("a format"),
        destination: Destination::default(),
        tag_keys: vec![(Field::InterfaceTag, "team".to_owned())],
    }
}

fn all(interval: u32) -> FlowLog {
    log("fl-1", TrafficType::All, interval, "${srcaddr} ${action}")
}

fn interface() -> Interface {
    Interface { tags: vec![("team".to_owned(), "core net".to_owned())], ..attachment(0, "eni-0a1").interface }
}

fn subscription(log: FlowLog) -> Subscription {
    let mut subscription = Subscription::new(log);
    subscription.cover(&interface(), BEGIN - 60);
    subscription
}

/// The first flow, or another one, in the kernel's interval of a minute so many after [`BEGIN`].
fn in_minute(minute: u64, kernel: &FlowRecord) -> Record {
    let mut record = resolve(kernel);
    (record.start, record.end) = (BEGIN + minute * 60 + 5, BEGIN + minute * 60 + 40);
    let Content::Flow(flow) = &mut record.content else { panic!("a flow") };
    flow.interval = (BEGIN / 60 + minute) as u32;
    flow.interval_seconds = Some(60);
    record
}

fn idle(minutes: std::ops::Range<u64>) -> Record {
    let (start, end) = (BEGIN + minutes.start * 60, BEGIN + minutes.end * 60 - 1);
    Record { start, end, direction: None, content: Content::Idle, ..resolve(&record(0)) }
}

fn rejected() -> FlowRecord {
    FlowRecord { reason: Reason::SecurityGroup as u8, packets: 3, bytes: 180, ..record(0) }
}

/// Each record: status or action, packets, flags, first and last second after [`BEGIN`].
fn briefs(records: &[LogRecord]) -> Vec<String> {
    let brief = |LogRecord { record, .. }: &LogRecord| {
        let (start, end) = (record.start as i64 - BEGIN as i64, record.end as i64 - BEGIN as i64);
        match &record.content {
            Content::Flow(flow) => {
                let direction = record.direction.map_or("-", Direction::name);
                format!(
                    "{} {direction} {} {} {start}-{end}",
                    flow.action().name(),
                    flow.packets,
                    flow.tcp_flags
                )
            }
            other => format!("{} {} {start}-{end}", other.status(), other.packets()),
        }
    };
    records.iter().map(brief).collect()
}

fn run(mut subscription: Subscription, records: &[Record]) -> Vec<String> {
    let mut given = Vec::new();
    records.iter().for_each(|record| subscription.accept(record, &mut |one| given.push(one)));
    subscription.finish(&mut |one| given.push(one));
    assert_eq!(subscription.open, 0);
    briefs(&given)
}

#[test]
fn a_longer_interval_adds_up_shorter_ones_of_a_flow_by_direction_and_action() {
    let syn = FlowRecord { tcp_flags: 2, packets: 3, ..record(0) };
    let fin = FlowRecord { tcp_flags: 1, packets: 2, ..record(0) };
    let answer = FlowRecord { tcp_flags: 18, direction: Direction::Egress as u8, packets: 1, ..record(0) };
    // A record can come late, by a sweep.
    let records = [
        in_minute(4, &fin),
        in_minute(1, &syn),
        in_minute(1, &answer),
        in_minute(4, &rejected()),
        in_minute(9, &fin),
        in_minute(10, &fin),
    ];
    let expected = [
        "ACCEPT ingress 7 3 65-580",
        "ACCEPT egress 1 18 65-100",
        "REJECT ingress 3 3 245-280",
        "ACCEPT ingress 2 1 605-640",
    ];
    assert_eq!(run(subscription(all(600)), &records), expected);
    assert_eq!(run(subscription(all(60)), &records).len(), 6, "the kernel's own interval");
}

#[test]
fn records_of_one_interval_are_one_unless_the_format_tells_them_apart() {
    let other = |reason: Reason, generation| FlowRecord { reason: reason as u8, generation, ..rejected() };
    let records = [
        in_minute(0, &other(Reason::SecurityGroup, 12)),
        in_minute(0, &other(Reason::NetworkAcl, 12)),
        in_minute(0, &other(Reason::NetworkAcl, 13)),
    ];
    let count = |format| run(subscription(log("fl-1", TrafficType::All, 60, format)), &records).len();
    assert_eq!(count("${srcaddr} ${dstaddr} ${action} ${packets}"), 1);
    assert_eq!(count("${srcaddr} ${filter-reason}"), 2);
    assert_eq!(count("${filter-reason} ${filter-generation}"), 3);
}

#[test]
fn a_traffic_type_selects_and_losses_are_told_whatever_it_is() {
    let lost = Record { start: BEGIN + 10, end: BEGIN + 20, ..lost_record() };
    let again = Record { start: BEGIN + 21, end: BEGIN + 30, ..lost_record() };
    let records = [in_minute(0, &record(0)), in_minute(0, &rejected()), lost, again];
    let of = |traffic| run(subscription(FlowLog { traffic, ..all(600) }), &records);
    let skipped = "SKIPDATA 80 10-30";
    assert_eq!(of(TrafficType::Accept), ["ACCEPT ingress 12 3 5-40", skipped]);
    assert_eq!(of(TrafficType::Reject), ["REJECT ingress 3 3 5-40", skipped]);
    assert_eq!(of(TrafficType::All).len(), 3);
}

/// Conformance 5.4-a: NODATA is for an interval in which the interface saw nothing at all, also in a log of one action only.
/// Source: VPC guide `flow-log-records`.
/// Enforced: `filter-ctl/src/flowlog/subscription.rs` (`end`); `filter-ctl/src/flowlog/idle.rs` (`tell_one`).
#[test]
fn nodata_is_for_intervals_in_which_the_interface_saw_nothing_at_all() {
    // The first two ten minutes: nothing. The third: traffic of the other type in one minute.
    let records = [idle(0..25), in_minute(25, &record(0)), idle(26..30)];
    let reject = FlowLog { traffic: TrafficType::Reject, ..all(600) };
    let nothing = ["NODATA 0 0-599", "NODATA 0 600-1199"];
    assert_eq!(run(subscription(reject), &records), nothing);
    let mut minutes = run(subscription(FlowLog { traffic: TrafficType::Reject, ..all(60) }), &records);
    assert_eq!(minutes.len(), 29);
    assert_eq!(minutes.pop().as_deref(), Some("NODATA 0 1740-1799"));
    // Half of it is not known yet.
    assert_eq!(run(subscription(all(600)), &[idle(0..5)]), [""; 0]);
    // The log began in the middle of it.
    let mut late = Subscription::new(all(600));
    late.cover(&interface(), BEGIN + 240);
    assert_eq!(run(late, &[idle(4..10)]), ["NODATA 0 240-599"]);
}

#[test]
fn nothing_from_before_the_log_is_told() {
    let mut late = Subscription::new(all(600));
    late.cover(&interface(), BEGIN + 120);
    let records = [in_minute(1, &record(0)), in_minute(2, &rejected())];
    assert_eq!(run(late, &records), ["REJECT ingress 3 3 125-160"]);
}

#[test]
fn intervals_are_given_out_when_they_are_complete() {
    let mut subscription = subscription(all(600));
    let mut given = Vec::new();
    for minute in [0, 9, 10] {
        subscription.accept(&in_minute(minute, &record(0)), &mut |_| panic!("not yet"));
    }
    subscription.complete("eni-0a1", BEGIN + 599, &mut |_| panic!("not yet"));
    subscription.complete("eni-0a9", BEGIN + 6000, &mut |_| panic!("another interface"));
    subscription.complete("eni-0a1", BEGIN + 600, &mut |one| given.push(one));
    assert_eq!(briefs(&given), ["ACCEPT ingress 24 3 5-580"]);
    assert_eq!(given[0].value(Field::InterfaceTag).to_string(), "core%20net");
    assert_eq!(given[0].value(Field::InterfaceId).to_string(), "eni-0a1");
    // A row of records: an interval later.
    subscription.stream(&in_minute(20, &record(0)), &mut |_| panic!("not yet"));
    subscription.stream(&in_minute(30, &record(0)), &mut |one| given.push(one));
    assert_eq!(briefs(&given[1..]), ["ACCEPT ingress 12 3 605-640"]);
}

#[test]
fn what_is_too_much_is_given_out_early_and_makes_no_silence() {
    let mut subscription = Subscription { most: 3, ..subscription(all(60)) };
    let flows = |port| FlowRecord { remote_port: port, ..record(0) };
    let mut given = Vec::new();
    for port in 1..=7 {
        subscription.accept(&in_minute(0, &flows(port)), &mut |one| given.push(one));
        assert!(subscription.open < 3);
    }
    assert_eq!(given.len(), 6);
    subscription.accept(&idle(0..1), &mut |_| panic!("no record"));
    subscription.finish(&mut |one| given.push(one));
    assert_eq!(given.len(), 7);
}

#[test]
fn logs_come_and_go_while_records_come() {
    let covering = |log: &FlowLog| ActiveLog { since: BEGIN - 60, log: log.clone() };
    let (minutes, rejects) = (all(60), log("fl-2", TrafficType::Reject, 600, "${packets}"));
    let interface = interface();
    let mut given: Vec<(String, LogRecord)> = Vec::new();
    let mut subscriptions = Subscriptions::default();
    macro_rules! emit {
        () => {
            &mut |log: &Arc<FlowLog>, record| given.push((log.id.clone(), record))
        };
    }
    let both = [covering(&minutes), covering(&rejects)];
    subscriptions.learn([(&interface, both.as_slice())].into_iter(), emit!());
    for record in [in_minute(0, &record(0)), in_minute(0, &rejected())] {
        subscriptions.accept(&record, emit!());
    }
    assert!(given.is_empty());
    // The second one is removed: it gives out what it has.
    subscriptions.learn([(&interface, &both[..1])].into_iter(), emit!());
    assert_eq!(given.len(), 1);
    assert_eq!((given[0].0.as_str(), given[0].1.record.content.packets()), ("fl-2", 3));
    assert_eq!(subscriptions.logs().count(), 1);
    subscriptions.accept(&in_minute(1, &rejected()), emit!());
    // The interface is detached.
    subscriptions.learn(std::iter::empty(), emit!());
    let packets: Vec<_> =
        given[1..].iter().map(|(id, one)| (id.as_str(), one.record.content.packets())).collect();
    assert_eq!(packets, [("fl-1", 12), ("fl-1", 3), ("fl-1", 3)]);
    assert_eq!(subscriptions.logs().count(), 0);
}

proptest! {
    /// Whatever comes in whatever order: what a log gives out adds up to what it was given, and an
    /// interval has one record for each flow and action.
    #[test]
    fn sums_are_exact(flows in prop::collection::vec((0_u64..40, 0_u16..4, any::<bool>(), 1_u64..9), 0..80)) {
        let mut subscription = subscription(all(600));
        let mut given = Vec::new();
        for (minute, port, accepted, packets) in &flows {
            let kernel = if *accepted { record(0) } else { rejected() };
            let kernel = FlowRecord { remote_port: *port, packets: *packets, ..kernel };
            subscription.accept(&in_minute(*minute, &kernel), &mut |one| given.push(one));
        }
        subscription.finish(&mut |one| given.push(one));
        let mut expected: BTreeMap<(u64, u16, bool), u64> = BTreeMap::new();
        for (minute, port, accepted, packets) in flows {
            *expected.entry((minute / 10, port, accepted)).or_default() += packets;
        }
        let mut found = BTreeMap::new();
        for LogRecord { record, .. } in given {
            let Content::Flow(flow) = &record.content else { panic!("a flow") };
            let key = ((record.start - BEGIN) / 600, flow.remote_port, flow.action() == Action::Accept);
            prop_assert_eq!(found.insert(key, flow.packets), None);
        }
        prop_assert_eq!(found, expected);
    }
}
