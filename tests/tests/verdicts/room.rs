//! Room for connections: what happens when it is used up.
//!
//! EC2 guide, `security-group-connection-tracking` (exhaustion): packets that would need an entry
//! are dropped, never let through; half-open entries make room before anything else does.

use filter_common::{
    Direction::{Egress, Ingress},
    abi::sweep_flags,
    verdict::{
        Category::{Accepted, Rejected},
        Reason::{AllowanceExceeded, Connection, NewConnection, SecurityGroup, Stray, Untracked},
    },
};
use filter_ctl::policy::EffectivePolicy;
use tests::{
    frame::{ack, echo, echo_reply, protocol, rst, syn, syn_ack, udp},
    policy::{ANY4, Policy},
    program::{Eni, Metadata, Receive, Setting, effective, programs},
};

use crate::case::{EVERYWHERE, HOST_RULE, Step, case, each, egress, ingress, recorded, tracked, walk};

const SSH: &str = "10.0.1.20:22";

fn host(port: u16) -> String {
    format!("198.51.100.7:{port}")
}

fn with_room_for(policy: &Policy, connections: u32) -> EffectivePolicy {
    let mut policy = effective(policy);
    policy.allowance = Some(connections);
    policy
}

fn establish(port: u16) -> [Step; 3] {
    let host = host(port);
    [
        ingress(syn(&host, SSH), NewConnection),
        egress(syn_ack(SSH, &host), Connection),
        ingress(ack(&host, SSH), Connection),
    ]
}

fn three_established() -> Vec<Step> {
    (1..=3).flat_map(establish).collect()
}

/// Conformance 24: With the table full, what would begin a tracked connection is dropped, in and out, REJECT; old
/// connections and untracked flows go on.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/connections.rs` (`reserve`, `evict`); `filter-ebpf/src/pipeline.rs` (`open`).
#[test]
fn row_24_with_the_allowance_used_up_new_connections_are_refused_and_old_ones_go_on() {
    let policy =
        Policy::new().allow_in("tcp 22", HOST_RULE).allow_in("tcp 80", ANY4).allow_out("tcp 0-65535", ANY4);
    let mut steps = three_established();
    let web = "10.0.1.20:80";
    steps.extend([
        ingress(syn(&host(4), SSH), AllowanceExceeded),
        egress(udp("10.0.1.20:50000", &host(53)), SecurityGroup),
        egress(syn("10.0.1.20:50000", &host(443)), AllowanceExceeded),
        ingress(ack(&host(1), SSH), Connection),
        egress(ack(SSH, &host(3)), Connection),
        ingress(syn(&host(4), web), Untracked),
        egress(syn_ack(web, &host(4)), Untracked),
        tracked(3),
        // Three handshakes, four packets of old and untracked flows, two refusals by the room and one by
        // the rules.
        recorded(&[
            (Ingress, Accepted, 8),
            (Ingress, Rejected, 1),
            (Egress, Accepted, 5),
            (Egress, Rejected, 2),
        ]),
    ]);
    case(with_room_for(&policy.log("ALL"), 3), &steps);
}

#[test]
fn without_an_allowance_nothing_is_tracked() {
    let policy = with_room_for(&Policy::new().allow_in("tcp 22", HOST_RULE), 0);
    case(policy, &[ingress(syn(&host(1), SSH), AllowanceExceeded), tracked(0)]);
}

/// Asks for a connection once a second until there is room; the seconds that it took.
fn seconds_to_room(eni: &mut Eni<'_>, port: u16) -> u32 {
    (0..200)
        .find(|_| {
            eni.wait(1);
            match eni.judge(Ingress, &syn(&host(port), SSH)).reason {
                NewConnection => true,
                AllowanceExceeded => false,
                other => panic!("{other:?}"),
            }
        })
        .expect("room within 200 seconds")
}

#[test]
fn expiry_gives_room_back_without_anybody_sweeping() {
    let policy = with_room_for(&Policy::new().allow_in("tcp 22", HOST_RULE), 3);
    each(&EVERYWHERE[..2], &policy, |eni, place| {
        let half_open: Vec<_> = (1..=3).map(|port| ingress(syn(&host(port), SSH), NewConnection)).collect();
        walk(eni, place, &half_open);
        eni.wait(121);
        // One part of the table is looked through at a time: all of it takes 64 times.
        assert!(seconds_to_room(eni, 4) <= 65, "{place}");
        assert!(eni.usage() <= 3, "{place}: {}", eni.usage());
    });
}

#[test]
fn established_connections_are_never_sacrificed() {
    let policy = with_room_for(&Policy::new().allow_in("tcp 22", HOST_RULE), 3);
    each(&EVERYWHERE[..1], &policy, |eni, place| {
        walk(eni, place, &three_established());
        for port in 100..300 {
            eni.wait(1);
            assert_eq!(eni.judge(Ingress, &syn(&host(port), SSH)).reason, AllowanceExceeded);
        }
        walk(eni, place, &[egress(ack(SSH, &host(1)), Connection), tracked(3)]);
    });
}

#[test]
fn a_sweep_gives_the_room_of_expired_connections_back_at_once() {
    let policy = with_room_for(&Policy::new().allow_in("tcp 22", HOST_RULE), 3);
    each(&EVERYWHERE[..1], &policy, |eni, place| {
        let half_open: Vec<_> = (1..=3).map(|port| ingress(syn(&host(port), SSH), NewConnection)).collect();
        walk(eni, place, &half_open);
        eni.sweep(sweep_flags::RECLAIM);
        assert_eq!(eni.usage(), 3, "{place}: live ones stay");
        eni.wait(121);
        eni.sweep(sweep_flags::RECLAIM);
        assert_eq!(eni.usage(), 0, "{place}");
        walk(eni, place, &[ingress(syn(&host(4), SSH), NewConnection)]);
    });
}

/// More half-open connections than the table has slots. All of them get in, each at the cost of
/// an older half-open one, and none at the cost of an established one.
#[test]
fn in_a_full_table_half_open_connections_make_room_for_each_other() {
    const ESTABLISHED: u16 = 500;
    const FLOOD: u32 = 1_400_000;
    let policy =
        effective(&Policy::new().allow_in("tcp 22", "198.51.0.0/16").allow_in("tcp 22", "172.16.0.0/12"));
    each(&[(Setting::WORKLOAD, Receive::Xdp)], &policy, |eni, place| {
        for port in 1..=ESTABLISHED {
            walk(eni, place, &establish(port));
        }
        let mut frame = syn("172.16.0.0:1", SSH).bytes();
        let before = eni.counters();
        let mut refused = 0;
        for number in 0..FLOOD {
            // The source's lower half, and half of the port.
            frame[14 + 13..14 + 16].copy_from_slice(&number.to_be_bytes()[1..]);
            frame[14 + 13] |= 0x10;
            refused += u32::from(!eni.run(Ingress, &frame, Metadata::default()));
        }
        let after = eni.counters();
        let judged: u64 =
            (0..after.packets[0].len()).map(|at| after.packets[0][at] - before.packets[0][at]).sum();
        assert_eq!(judged, u64::from(FLOOD));
        assert_eq!(refused, 0, "{place}");
        assert!(eni.usage() <= 1 << 20, "{place}: {}", eni.usage());
        for port in 1..=ESTABLISHED {
            walk(eni, place, &[egress(ack(SSH, &host(port)), Connection)]);
        }
    });
}

/// EC2 guide, `security-group-connection-tracking`: whatever would need an entry is dropped; what
/// needs none goes on.
#[test]
fn without_room_every_protocol_is_refused_and_what_needs_no_entry_passes() {
    let policy = Policy::new().allow_in("-1", HOST_RULE).allow_in("tcp 80", ANY4).allow_out("tcp", ANY4);
    let own = "10.0.1.20";
    case(
        with_room_for(&policy, 0),
        &[
            ingress(syn(&host(1), SSH), AllowanceExceeded),
            ingress(ack(&host(1), SSH), AllowanceExceeded),
            ingress(udp(&host(1), "10.0.1.20:53"), AllowanceExceeded),
            ingress(echo("198.51.100.7", own, 1), AllowanceExceeded),
            ingress(protocol("198.51.100.7", own, 47, &[0; 8]), AllowanceExceeded),
            ingress(syn("203.0.113.9:1", "10.0.1.20:80"), Untracked),
            ingress(rst(&host(1), SSH), Stray),
            ingress(echo_reply("198.51.100.7", own, 1), Stray),
            ingress(syn("203.0.113.9:1", SSH), SecurityGroup),
            tracked(0),
        ],
    );
}

#[test]
fn an_interface_without_room_takes_none_of_another() {
    let policy = Policy::new().allow_in("tcp 22", HOST_RULE);
    let mut programs = programs();
    let one = [ingress(syn(&host(1), SSH), NewConnection), ingress(syn(&host(2), SSH), NewConnection)];
    walk(&mut programs.eni(Setting::WORKLOAD, Receive::Tc, &effective(&policy)), "one", &one);
    // Those two are not counted against the other's room for one.
    let other = &mut programs.eni(Setting::HOST, Receive::Tc, &with_room_for(&policy, 1));
    walk(other, "another", &establish(1));
    walk(other, "another", &[ingress(syn(&host(2), SSH), AllowanceExceeded), tracked(1)]);
    let more = [ingress(syn(&host(3), SSH), NewConnection), tracked(3)];
    walk(&mut programs.again(Setting::WORKLOAD, Receive::Tc), "one", &more);
}
