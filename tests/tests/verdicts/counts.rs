//! Where counting takes a turn: more packets than one word holds, and intervals of another length.
//!
//! Packets and bytes share a word (`filter_common::connection::Counts`), and each CPU remembers the
//! interval of its last packet (`filter-ebpf/src/account.rs`).

use std::cell::Cell;

use filter_common::{
    Direction::Ingress,
    abi::sweep_flags::OPEN_INTERVAL,
    verdict::Reason::{Connection, SecurityGroup},
};
use tests::{
    frame::{Frame, ack, syn},
    program::{Eni, Metadata, Receive, Setting, ring_capacity},
};

use crate::{
    case::{EVERYWHERE, HOST, STRANGER, each},
    records::{SECONDS, SSH, all, assert_conserved, flood, next_interval, server},
};

/// Most segments that the kernel lets one socket buffer stand for (`GSO_MAX_SEGS`).
const SEGMENTS: u64 = 65_535;

/// Packets after which counts are handed over: half of what 24 bits hold.
const HALF: u64 = 1 << 23;

/// Socket buffers enough for twice that many packets, and some more: one word could not count them.
const BUFFERS: u64 = 2 * HALF / SEGMENTS + 20;

const AT_TC: [(Setting, Receive); 1] = [(Setting::WORKLOAD, Receive::Tc)];

/// Sends a flow of more packets than a word can count.
fn torrent(eni: &mut Eni<'_>, frame: &Frame) {
    let metadata = Metadata { came_by: 1, segments: Some((1000, SEGMENTS as u32)) };
    for _ in 0..BUFFERS {
        let outcome = eni.judge_as(Ingress, frame, metadata);
        assert_eq!(outcome.packets, SEGMENTS, "{:?}", outcome.reason);
    }
}

#[test]
fn a_flow_of_more_packets_than_a_word_counts_has_more_records_and_loses_none() {
    each(&AT_TC, &server(), |eni, _| {
        next_interval(eni);
        eni.judge(Ingress, &syn(HOST, SSH));
        torrent(eni, &ack(HOST, SSH));
        torrent(eni, &syn(STRANGER, SSH));
        let mut records = eni.records();
        assert_eq!(records.len(), 4, "each flow has filled half of its word twice: {records:?}");
        records.extend(all(eni));
        let first = records[0].interval;
        assert!(records.iter().all(|one| one.interval == first), "{records:?}");
        assert!(records.iter().all(|one| one.packets <= HALF + 2 * SEGMENTS), "{records:?}");
        assert_conserved(eni, &records);
    });
}

#[test]
fn counts_that_half_fill_a_word_are_lost_in_the_open_where_the_ring_is_full() {
    let hosts = ring_capacity() as u32 + 9_000;
    each(&AT_TC, &server(), |eni, _| {
        next_interval(eni);
        flood(eni, 0..hosts);
        let (_, deferred) = eni.sweep(OPEN_INTERVAL);
        assert!(deferred > 0, "the ring is full");
        let before = eni.counters().lost_packets[0];
        eni.judge(Ingress, &syn(HOST, SSH));
        torrent(eni, &ack(HOST, SSH));
        let lost = eni.counters().lost_packets[0] - before;
        assert!(lost >= 2 * HALF, "{lost}");
        let mut records = eni.records();
        records.extend(all(eni));
        records.extend(all(eni));
        assert_conserved(eni, &records);
    });
}

/// The number of the interval that a packet is counted in now.
fn interval_now(eni: &mut Eni<'_>) -> u32 {
    eni.judge(Ingress, &syn(STRANGER, SSH));
    match all(eni)[..] {
        [record] => record.interval,
        ref records => panic!("one packet is one record: {records:?}"),
    }
}

#[test]
fn a_packet_is_in_the_interval_of_the_policy_that_judges_it() {
    each(&EVERYWHERE, &server(), |eni, place| {
        next_interval(eni);
        let minute = interval_now(eni);
        let mut longer = server();
        longer.flow_log_interval = Some(10 * SECONDS);
        eni.apply(&longer);
        assert_eq!(interval_now(eni), minute / 10, "{place}: ten times as long");
        eni.apply(&server());
        assert_eq!(interval_now(eni), minute, "{place}: as before");
        eni.wait(3 * SECONDS);
        assert_eq!(interval_now(eni), minute + 3, "{place}: later");
    });
}

#[test]
fn intervals_follow_the_wall_clock_from_the_next_apply_on_and_ticks_that_go_back() {
    each(&EVERYWHERE, &server(), |eni, place| {
        next_interval(eni);
        eni.wait(30);
        let minute = interval_now(eni);
        // The wall's clock steps ahead: of the two that `wait` moves, the programs' goes back.
        let offset = eni.host().config().expect("read the configuration").clock_offset;
        eni.wait(40);
        eni.host().set_clock_offset(offset).expect("move the clock");
        assert_eq!(interval_now(eni), minute, "{place}: the policy knows nothing of it");
        eni.apply(&server());
        assert_eq!(interval_now(eni), minute + 1, "{place}: the next one does");
        let interval = u64::from(SECONDS * eni.host().hz());
        eni.host().set_clock_offset(offset - interval).expect("move the clock");
        assert_eq!(interval_now(eni), minute, "{place}: back");
        // Both clocks say the same again.
        eni.wait(0);
    });
}

#[test]
fn packets_of_two_cpus_are_conserved_while_intervals_end_and_counts_are_taken() {
    const TIMES: usize = 20_000;
    each(&AT_TC, &server(), |eni, _| {
        next_interval(eni);
        eni.judge(Ingress, &syn(HOST, SSH));
        let many = Metadata { came_by: 1, segments: Some((1000, SEGMENTS as u32)) };
        let frames = [ack(HOST, SSH), syn(STRANGER, SSH)].map(|frame| (frame.bytes(), many));
        let (offset, moves) =
            (eni.host().config().expect("read the configuration").clock_offset, Cell::new(0));
        let slot = eni.slot();
        eni.run_at_once(Ingress, &frames, TIMES, |host| {
            moves.set(moves.get() + 1);
            let ticks = moves.get() * u64::from(host.hz()) * 7;
            host.set_clock_offset(offset + ticks).expect("move the clock");
            host.sweep_all(slot, OPEN_INTERVAL).expect("sweep");
        });
        // Both clocks say the same again.
        eni.wait(0);
        let records = all(eni);
        let judged = eni.counters().packets[0];
        let sent = 2 * TIMES as u64 * SEGMENTS;
        assert_eq!((judged[Connection as usize], judged[SecurityGroup as usize]), (sent, sent));
        assert!(records.len() as u64 > sent / HALF, "{}", records.len());
        assert_conserved(eni, &records);
    });
}
