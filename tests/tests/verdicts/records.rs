//! Flow records: what is counted, when it leaves, and that nothing is lost unseen.
//!
//! VPC guide: `flow-log-records`, `flow-logs-records-examples`. The law of conservation: packets
//! in records and packets in counted losses are, together, the packets that were judged.

use filter_common::{
    Direction::{self, Egress, Ingress},
    abi::sweep_flags::{OPEN_INTERVAL, RECLAIM},
    record::FlowRecord,
    verdict::{Category, Reason},
};
use filter_ctl::policy::EffectivePolicy;
use tests::{
    frame::{ack, arp, echo, echo_reply, fin, flags, rst, syn, syn_ack, tcp, udp},
    policy::{ANY4, Policy},
    program::{Eni, Metadata, Receive, Setting, effective, ring_capacity},
    random::Random,
};

use crate::case::{ENI, EVERYWHERE, HOST, HOST_RULE, STRANGER, each};

/// The service of the tests' policy.
pub(crate) const SSH: &str = "10.0.1.20:22";

/// The interval of the tests' flow logs.
pub(crate) const SECONDS: u32 = 60;

fn logged(policy: Policy) -> EffectivePolicy {
    effective(&policy.log("ALL"))
}

/// SSH and pings from one host, logged.
pub(crate) fn server() -> EffectivePolicy {
    logged(Policy::new().allow_in("tcp 22", HOST_RULE).allow_in("icmp 8", HOST_RULE))
}

/// Everything that is counted, records of the open interval included.
pub(crate) fn all(eni: &mut Eni<'_>) -> Vec<FlowRecord> {
    eni.sweep(OPEN_INTERVAL);
    eni.records()
}

fn of(records: &[FlowRecord], direction: Direction) -> Vec<(u64, u64, u8)> {
    let mut records: Vec<_> = records.iter().filter(|one| one.direction == direction as u8).collect();
    records.sort_by_key(|one| one.interval);
    records.iter().map(|one| (one.packets, one.bytes, one.tcp_flags)).collect()
}

fn category(record: &FlowRecord) -> Category {
    Reason::from_number(record.reason).expect("a reason").category()
}

/// Packets and bytes that were judged, by direction.
fn judged(eni: &Eni<'_>) -> [(u64, u64); 2] {
    let counters = eni.counters();
    [Ingress, Egress].map(|direction| {
        let judged = || Reason::ALL.iter().filter(|reason| reason.judged()).map(|reason| *reason as usize);
        (
            judged().map(|reason| counters.packets[direction.index()][reason]).sum(),
            judged().map(|reason| counters.bytes[direction.index()][reason]).sum(),
        )
    })
}

/// The law of conservation, over all that `records` holds; where nothing was lost, for each reason,
/// too. (A connection's records count its packets together.)
#[track_caller]
pub(crate) fn assert_conserved(eni: &Eni<'_>, records: &[FlowRecord]) {
    let counters = eni.counters();
    if counters.lost_packets == [0, 0] {
        let tracked = |reason| if reason == Reason::NewConnection { Reason::Connection } else { reason };
        for (direction, reason) in
            [Ingress, Egress].into_iter().flat_map(|way| Reason::ALL.iter().map(move |reason| (way, *reason)))
        {
            let is_meant = |one: &&FlowRecord| {
                one.direction == direction as u8
                    && Reason::from_number(one.reason).map(tracked) == Some(tracked(reason))
            };
            let recorded: u64 = records.iter().filter(is_meant).map(|one| one.packets).sum();
            let alike =
                Reason::ALL.iter().filter(|other| other.judged() && tracked(**other) == tracked(reason));
            let counted: u64 = alike.map(|other| counters.packets[direction.index()][*other as usize]).sum();
            assert_eq!(recorded, counted, "{} {}", direction.name(), reason.name());
        }
    }
    for (direction, judged) in [Ingress, Egress].into_iter().zip(judged(eni)) {
        let mut sum = (counters.lost_packets[direction.index()], counters.lost_bytes[direction.index()]);
        for (packets, bytes, _) in of(records, direction) {
            sum = (sum.0 + packets, sum.1 + bytes);
        }
        assert_eq!(sum, judged, "{}", direction.name());
    }
}

/// Moves on to just after the beginning of the next interval.
pub(crate) fn next_interval(eni: &mut Eni<'_>) {
    eni.wait_for_interval(SECONDS);
}

/// Conformance 35: A short TCP session within one interval is two records: flags 3 from the client, 19 from the
/// server.
/// Source: VPC guide `flow-logs-records-examples`.
/// Enforced: `filter-ebpf/src/account.rs` (`count_flow`); `filter-common/src/track.rs` (`logged_flags`).
#[test]
fn row_35_a_short_session_is_two_records_with_flags_3_and_19() {
    each(&EVERYWHERE, &server(), |eni, place| {
        next_interval(eni);
        eni.judge(Ingress, &syn(HOST, SSH));
        eni.judge(Egress, &syn_ack(SSH, HOST));
        eni.judge(Ingress, &ack(HOST, SSH));
        eni.judge(Ingress, &tcp(HOST, SSH, flags::ACK | flags::PSH).data(100));
        eni.judge(Ingress, &fin(HOST, SSH));
        eni.judge(Egress, &fin(SSH, HOST));
        eni.judge(Ingress, &ack(HOST, SSH));
        assert!(eni.records().is_empty(), "{place}: nothing leaves because a connection ends");
        let records = all(eni);
        assert_eq!(of(&records, Ingress), [(5, 300, 3)], "{place}");
        assert_eq!(of(&records, Egress), [(2, 80, 19)], "{place}");
        for record in &records {
            assert_eq!((record.local_port, record.remote_port, record.protocol), (22, 40_000, 6), "{place}");
            assert_eq!((record.local.0[0], record.remote.0[0]), (0x0a00_0114, 0xc633_6407), "{place}");
            assert_eq!(category(record), Category::Accepted, "{place}");
        }
        assert_conserved(eni, &records);
    });
}

/// Conformance 36: A session over three intervals has flags 2 and 18, then 0, then 1.
/// Source: VPC guide `flow-log-records`.
/// Enforced: `filter-ebpf/src/account.rs` (`end_interval`, `count_flow`); `filter-common/src/track.rs`
/// (`logged_flags`).
#[test]
fn row_36_a_session_over_three_windows_has_flags_2_0_1_and_18_0_1() {
    each(&EVERYWHERE, &server(), |eni, place| {
        next_interval(eni);
        eni.judge(Ingress, &syn(HOST, SSH));
        eni.judge(Egress, &syn_ack(SSH, HOST));
        eni.judge(Ingress, &ack(HOST, SSH));
        next_interval(eni);
        eni.judge(Ingress, &ack(HOST, SSH));
        eni.judge(Egress, &ack(SSH, HOST));
        next_interval(eni);
        eni.judge(Ingress, &fin(HOST, SSH));
        eni.judge(Egress, &fin(SSH, HOST));
        let records = all(eni);
        assert_eq!(of(&records, Ingress), [(2, 80, 2), (1, 40, 0), (1, 40, 1)], "{place}");
        assert_eq!(of(&records, Egress), [(1, 40, 18), (1, 40, 0), (1, 40, 1)], "{place}");
        let mut intervals: Vec<_> = records.iter().map(|one| one.interval).collect();
        intervals.dedup();
        intervals.sort_unstable();
        intervals.dedup();
        assert_eq!(intervals.len(), 3, "{place}: {intervals:?}");
        assert_conserved(eni, &records);
    });
}

#[test]
fn a_record_leaves_once_with_the_first_packet_of_a_later_interval() {
    each(&EVERYWHERE, &server(), |eni, place| {
        next_interval(eni);
        for _ in 0..7 {
            eni.judge(Ingress, &syn(HOST, SSH));
        }
        eni.judge(Ingress, &rst(HOST, SSH));
        eni.judge(Ingress, &syn(STRANGER, SSH));
        assert_eq!(eni.sweep(0), (0, 0), "{place}: the interval is open");
        assert!(eni.records().is_empty(), "{place}");
        next_interval(eni);
        assert!(eni.records().is_empty(), "{place}");
        eni.judge(Ingress, &syn(HOST, SSH));
        eni.judge(Ingress, &syn(STRANGER, SSH));
        let mut first = eni.records();
        first.sort_by_key(|one| one.packets);
        assert_eq!(of(&first, Ingress), [(1, 40, 2), (8, 320, 6)], "{place}");
        // They tell of their own last packets, not of those that made them leave.
        for record in &first {
            assert!(record.last.wrapping_sub(record.first) < 60, "{place}: {record:?}");
        }
        next_interval(eni);
        assert_eq!(eni.sweep(0), (2, 0), "{place}: ended ones are swept");
        assert_eq!(eni.records().len(), 2, "{place}");
        assert_eq!(eni.sweep(OPEN_INTERVAL), (0, 0), "{place}: and only once");
    });
}

#[test]
fn accepted_and_rejected_packets_of_one_tuple_have_records_of_their_own() {
    let open = Policy::new().allow_in("tcp 22", HOST_RULE);
    each(&EVERYWHERE, &logged(open.clone()), |eni, place| {
        next_interval(eni);
        eni.judge(Ingress, &syn(HOST, SSH));
        eni.judge(Ingress, &ack(HOST, SSH));
        eni.apply(&logged(open.clone().acl_in(1, "deny", "-1", ANY4)));
        eni.judge(Ingress, &ack(HOST, SSH));
        let mut records = all(eni);
        records.sort_by_key(|one| one.packets);
        let actions: Vec<_> = records.iter().map(|one| (category(one), one.packets)).collect();
        assert_eq!(actions, [(Category::Rejected, 1), (Category::Accepted, 2)], "{place}");
        assert_eq!(records[0].reason, Reason::NetworkAcl as u8, "{place}");
        assert!(records[0].generation > records[1].generation, "{place}");
        assert_conserved(eni, &records);
    });
}

#[test]
fn a_record_is_of_the_one_generation_that_judged_its_packets() {
    each(&EVERYWHERE, &server(), |eni, place| {
        next_interval(eni);
        // No SYN for the connection: after a change of the rules it would begin another one.
        let frames = [(Ingress, ack(HOST, SSH)), (Ingress, syn(STRANGER, SSH)), (Egress, ack(SSH, STRANGER))];
        let mut expected = Vec::new();
        for interval in 0..3 {
            for round in 0..2 {
                expected.push((interval, eni.generation(), round + 1));
                for (direction, frame) in &frames {
                    for _ in 0..=round {
                        eni.judge(*direction, frame);
                    }
                }
                if round == 0 {
                    eni.apply(&server());
                }
            }
            next_interval(eni);
        }
        let records = all(eni);
        assert_eq!(records.len(), 18, "{place}");
        let first = records.iter().map(|one| one.interval).min().expect("a record");
        for record in &records {
            let counted = (record.interval - first, record.generation, record.packets);
            assert!(expected.contains(&counted), "{place}: {record:?}");
            let opened =
                if record.local_port == 22 && record.remote.0[0] == 0xc633_6407 { expected[0].1 } else { 0 };
            assert_eq!(record.opened, opened, "{place}: {record:?}");
        }
        assert_conserved(eni, &records);
    });
}

#[test]
fn the_first_packet_after_a_change_of_rules_and_interval_is_of_the_new_interval() {
    each(&EVERYWHERE, &server(), |eni, place| {
        next_interval(eni);
        let frames = [(Ingress, ack(HOST, SSH)), (Ingress, syn(STRANGER, SSH))];
        let send = |eni: &mut Eni<'_>, times: u64| {
            for (direction, frame) in &frames {
                for _ in 0..times {
                    eni.judge(*direction, frame);
                }
            }
        };
        send(eni, 2);
        eni.apply(&server());
        next_interval(eni);
        send(eni, 3);
        let records = all(eni);
        let first = records.iter().map(|one| one.interval).min().expect("a record");
        let mut found: Vec<_> = records.iter().map(|one| (one.interval - first, one.packets)).collect();
        found.sort_unstable();
        assert_eq!(found, [(0, 2), (0, 2), (1, 3), (1, 3)], "{place}");
        assert_conserved(eni, &records);
    });
}

#[test]
fn pings_have_their_query_in_the_place_of_ports_and_a_record_each_way() {
    each(&EVERYWHERE, &server(), |eni, place| {
        next_interval(eni);
        for id in 0..3 {
            eni.judge(Ingress, &echo(HOST, ENI, id));
            eni.judge(Egress, &echo_reply(ENI, HOST, id));
        }
        let records = all(eni);
        assert_eq!(records.len(), 6, "{place}");
        for record in &records {
            assert_eq!((record.remote_port, record.protocol, record.initiator), (8 << 8, 1, 0), "{place}");
        }
        assert_conserved(eni, &records);
    });
}

/// Conformance 33, 4.3-a.
#[test]
fn row_33_what_is_not_judged_has_no_record() {
    each(&EVERYWHERE, &server(), |eni, place| {
        next_interval(eni);
        eni.judge(Ingress, &arp());
        for exempt in ["10.0.1.2:53", "10.0.0.2:53", "169.254.169.254:80"] {
            eni.judge(Egress, &udp("10.0.1.20:50000", exempt));
            // On side `host` it must be this host's.
            eni.judge_as(Ingress, &udp(exempt, "10.0.1.20:50000"), Metadata::default());
        }
        eni.judge(Egress, &udp("10.0.1.20:68", "255.255.255.255:67"));
        eni.judge(Ingress, &udp("10.0.1.1:67", "10.0.1.20:68"));
        eni.judge(Ingress, &syn(HOST, SSH).patch(0, 0x40));
        eni.judge(Ingress, &udp(HOST, SSH).later(1, 8));
        assert!(all(eni).is_empty(), "{place}");
    });
}

#[test]
fn where_nothing_is_logged_there_are_counts_and_no_records() {
    let policy = effective(&Policy::new().allow_in("tcp 22", HOST_RULE));
    each(&EVERYWHERE, &policy, |eni, place| {
        eni.judge(Ingress, &syn(HOST, SSH));
        eni.judge(Ingress, &syn(STRANGER, SSH));
        assert!(all(eni).is_empty(), "{place}");
        assert_eq!(judged(eni)[0].0, 2, "{place}");
        assert_eq!(eni.counters().lost_packets, [0, 0], "{place}");
    });
}

#[test]
fn a_gso_packet_is_recorded_as_its_segments() {
    each(&[(Setting::WORKLOAD, Receive::Tc)], &server(), |eni, _| {
        let metadata = Metadata { came_by: 1, segments: Some((1000, 3)) };
        eni.judge_as(Ingress, &syn(HOST, SSH).data(2500), metadata);
        eni.judge_as(Ingress, &syn(STRANGER, SSH).data(2500), metadata);
        let records = all(eni);
        assert_eq!(of(&records, Ingress), [(3, 2620, 2), (3, 2620, 2)]);
        assert_conserved(eni, &records);
    });
}

#[test]
fn random_traffic_over_many_intervals_is_conserved() {
    let mut random = Random::new(0x5eed_0001);
    each(&EVERYWHERE, &server(), |eni, place| {
        let mut records = Vec::new();
        for step in 0..3000 {
            let host = format!("198.51.100.7:{}", 1 + random.below(40));
            let stranger = format!("203.0.113.{}:7", random.below(40));
            let kind =
                [flags::SYN, flags::ACK, flags::FIN | flags::ACK, flags::RST][random.below(4) as usize];
            match random.below(8) {
                0..3 => eni.judge(Ingress, &tcp(&host, SSH, kind)),
                3..5 => eni.judge(Egress, &tcp(SSH, &host, kind)),
                5 => eni.judge(Ingress, &syn(&stranger, SSH).data(random.below(1000) as usize)),
                6 => eni.judge(Ingress, &echo(HOST, ENI, random.below(9) as u16)),
                _ => eni.judge(Egress, &udp("10.0.1.20:50000", &stranger)),
            };
            match random.below(200) {
                0 => eni.wait(1 + random.below(150) as u32),
                1 => drop(eni.sweep(RECLAIM)),
                2 => records.extend(eni.records()),
                _ => {}
            }
            if step % 1000 == 999 {
                eni.apply(&server());
            }
        }
        eni.sweep(RECLAIM | OPEN_INTERVAL);
        records.extend(eni.records());
        assert_eq!(eni.counters().lost_packets, [0, 0], "{place}");
        assert_conserved(eni, &records);
    });
}

/// A SYN from one of many hosts, which no rule admits.
fn scan(frame: &mut [u8], number: u32) {
    frame[14 + 12..14 + 16].copy_from_slice(&(0x2c00_0000 + number).to_be_bytes());
}

/// Runs a scan; all of it must be dropped.
pub(crate) fn flood(eni: &mut Eni<'_>, hosts: std::ops::Range<u32>) {
    let mut frame = syn("44.0.0.0:1", SSH).bytes();
    for number in hosts {
        scan(&mut frame, number);
        assert!(!eni.run(Ingress, &frame, Metadata::default()));
    }
}

#[test]
fn a_scan_beyond_the_flow_table_is_counted_as_lost_and_nothing_hides() {
    const HOSTS: u32 = 200_000;
    each(&EVERYWHERE[..1], &server(), |eni, _| {
        next_interval(eni);
        flood(eni, 0..HOSTS);
        // The ring does not hold all of the table at once.
        let mut records = all(eni);
        records.extend(all(eni));
        assert_eq!(judged(eni)[0].0, u64::from(HOSTS));
        assert!(eni.counters().lost_packets[0] > 0);
        assert_conserved(eni, &records);
    });
}

#[test]
fn with_nobody_reading_the_ring_the_counts_of_ended_intervals_are_lost_in_the_open() {
    const HOSTS: u32 = 105_000;
    assert!(HOSTS as usize > ring_capacity());
    each(&EVERYWHERE[..1], &server(), |eni, _| {
        next_interval(eni);
        flood(eni, 0..HOSTS);
        // What found no slot in the table.
        let before = eni.counters().lost_packets[0];
        let (handed, deferred) = eni.sweep(OPEN_INTERVAL);
        assert!(handed > 0 && deferred > 0, "{handed} and {deferred}");
        assert_eq!(eni.counters().lost_packets[0], before, "deferred counts stay where they are");
        next_interval(eni);
        flood(eni, 0..HOSTS);
        let lost = eni.counters().lost_packets[0] - before;
        assert!(lost >= deferred, "{lost} lost, {deferred} were deferred");
        let mut records = eni.records();
        let ended = records[0].interval;
        records.extend(all(eni));
        records.extend(all(eni));
        assert_conserved(eni, &records);
        // What was lost did not join the next interval.
        let later: u64 = records.iter().filter(|one| one.interval != ended).map(|one| one.packets).sum();
        assert!(later <= u64::from(HOSTS), "{later}");
    });
}
