//! For how long a connection is remembered once it is idle.
//!
//! EC2 guide, `security-group-connection-tracking`, "Idle connection tracking timeout"; the timeouts
//! that AWS does not publish are Linux's.

use std::time::Instant;

use filter_common::{
    Direction::{self, Egress, Ingress},
    track::Phase,
    verdict::{
        Category::{Accepted, Rejected},
        Reason::{Connection, NewConnection, SecurityGroup},
    },
};
use serde_json::json;
use tests::{
    frame::{Frame, ack, echo, echo_reply, fin, rst, syn, syn_ack, udp},
    policy::Policy,
    program::{Receive, Setting, programs},
};

use crate::{
    case::{ENI, EVERYWHERE, HOST, Rules, Step, case, each, egress, ingress, recorded, wait, walk},
    tracking::{OWN, SSH, SSH_OF_HOST, client, gre, handshake, server},
};

/// Whom the interface asks over UDP.
const DNS: &str = "198.51.100.7:53";

/// A connection that came about by `steps` and then idles: the packet that no rule admits still
/// passes a second before the timeout and does not a second after it.
#[track_caller]
fn forgotten_after(
    policy: &Policy,
    seconds: u32,
    phase: Phase,
    steps: fn() -> Vec<Step>,
    probe: fn() -> Frame,
    way: Direction,
) {
    let rules = policy.clone().rules();
    each(&EVERYWHERE, &rules, |eni, place| {
        for (idle, reason) in [(seconds - 1, Connection), (seconds + 1, SecurityGroup)] {
            eni.clear();
            let begin = Instant::now();
            walk(eni, place, &steps());
            let phases: Vec<_> = eni.connections().iter().map(|one| one.phase).collect();
            assert_eq!(phases, [phase], "{place}");
            // The seconds that a busy machine took until here count: they must not be too many.
            let taken = if reason == Connection { begin.elapsed().as_secs() as u32 } else { 0 };
            walk(eni, place, &[wait(idle - taken), Step::Frame(way, probe(), reason)]);
        }
    });
}

#[test]
fn tcp_syn_sent_is_forgotten_after_120_seconds() {
    let steps = || vec![ingress(syn(HOST, SSH), NewConnection)];
    forgotten_after(&server(), 120, Phase::TcpSynSent, steps, || syn_ack(SSH, HOST), Egress);
}

#[test]
fn tcp_syn_received_is_forgotten_after_60_seconds() {
    let steps = || handshake().into_iter().take(2).collect();
    forgotten_after(&server(), 60, Phase::TcpSynReceived, steps, || syn_ack(SSH, HOST), Egress);
}

/// Conformance 22: With `TcpEstablishedTimeout` 60, egress all and no ingress rule, data of H after 61 idle seconds
/// is dropped, REJECT; after 59 it passes. Without it, the time is 432,000 s.
/// Source: EC2 API `ConnectionTrackingSpecificationRequest`.
/// Enforced: `filter-common/src/track.rs` (`by_phase`); `filter-ebpf/src/connections.rs` (`is_live`, `timeout`).
#[test]
fn row_22_tcp_established_is_forgotten_after_what_the_interface_says() {
    let policy =
        client().interface_field("ConnectionTrackingSpecification", json!({ "TcpEstablishedTimeout": 60 }));
    let steps = || {
        vec![
            egress(syn(OWN, HOST), NewConnection),
            ingress(syn_ack(HOST, OWN), Connection),
            egress(ack(OWN, HOST), Connection),
        ]
    };
    forgotten_after(&policy, 60, Phase::TcpEstablished, steps, || ack(HOST, OWN), Ingress);
    let mut late = steps();
    late.extend([
        recorded(&[(Ingress, Accepted, 1), (Egress, Accepted, 2)]),
        wait(61),
        ingress(ack(HOST, OWN), SecurityGroup),
        recorded(&[(Ingress, Rejected, 1)]),
    ]);
    case(policy.log("ALL"), &late);
    forgotten_after(&client(), 432_000, Phase::TcpEstablished, steps, || ack(HOST, OWN), Ingress);
}

#[test]
fn tcp_half_closed_is_forgotten_after_120_then_60_seconds() {
    let fin_wait = || {
        let mut steps = handshake();
        steps.push(ingress(fin(HOST, SSH), Connection));
        steps
    };
    forgotten_after(&server(), 120, Phase::TcpFinWait, fin_wait, || ack(SSH, HOST), Egress);
    let close_wait = || {
        let mut steps = handshake();
        steps.extend([ingress(fin(HOST, SSH), Connection), egress(ack(SSH, HOST), Connection)]);
        steps
    };
    forgotten_after(&server(), 60, Phase::TcpCloseWait, close_wait, || ack(SSH, HOST), Egress);
}

#[test]
fn tcp_time_wait_is_forgotten_after_120_seconds() {
    let steps = || {
        let mut steps = handshake();
        steps.extend([ingress(fin(HOST, SSH), Connection), egress(fin(SSH, HOST), Connection)]);
        steps
    };
    forgotten_after(&server(), 120, Phase::TcpTimeWait, steps, || ack(SSH, HOST), Egress);
}

#[test]
fn tcp_reset_is_forgotten_after_10_seconds() {
    let steps = || {
        let mut steps = handshake();
        steps.push(ingress(rst(HOST, SSH), Connection));
        steps
    };
    forgotten_after(&server(), 10, Phase::TcpClosed, steps, || ack(SSH, HOST), Egress);
}

#[test]
fn a_late_fin_does_not_keep_a_reset_connection() {
    let steps = || {
        let mut steps = handshake();
        steps.extend([ingress(rst(HOST, SSH), Connection), egress(fin(SSH, HOST), Connection)]);
        steps
    };
    forgotten_after(&server(), 10, Phase::TcpClosed, steps, || ack(SSH, HOST), Egress);
}

#[test]
fn tcp_picked_up_is_forgotten_after_120_seconds() {
    let steps = || vec![ingress(ack(HOST, SSH), NewConnection)];
    forgotten_after(&server(), 120, Phase::TcpPickedUp, steps, || ack(SSH, HOST), Egress);
}

/// Conformance 20: One-way UDP, `UdpTimeout` 30: an answer after 29 s passes; after 31 s it is dropped.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-common/src/track.rs` (`by_phase`); `filter-ebpf/src/connections.rs` (`is_live`).
#[test]
fn row_20_one_way_udp_is_forgotten_after_30_seconds() {
    let steps = || vec![egress(udp(OWN, DNS), NewConnection)];
    forgotten_after(&client(), 30, Phase::UdpOneWay, steps, || udp(DNS, OWN), Ingress);
}

/// Conformance 2.3-a: One UDP question and its answer are no stream: they are forgotten after `UdpTimeout`.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-common/src/track.rs` (`advance`).
#[test]
fn a_single_exchange_of_udp_is_forgotten_after_30_seconds() {
    let once = || vec![egress(udp(OWN, DNS), NewConnection), ingress(udp(DNS, OWN), Connection)];
    forgotten_after(&client(), 30, Phase::UdpAnswered, once, || udp(DNS, OWN), Ingress);
}

/// Conformance 21: UDP with more than one exchange, `UdpStreamTimeout` 180: an answer after 179 idle seconds
/// passes; after 181 s it is dropped.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-common/src/track.rs` (`advance`, `by_phase`).
#[test]
fn row_21_a_udp_stream_is_forgotten_after_180_seconds() {
    let steps = || {
        vec![
            egress(udp(OWN, DNS), NewConnection),
            ingress(udp(DNS, OWN), Connection),
            egress(udp(OWN, DNS), Connection),
            ingress(udp(DNS, OWN), Connection),
        ]
    };
    forgotten_after(&client(), 180, Phase::UdpStream, steps, || udp(DNS, OWN), Ingress);
}

/// Conformance 23: GRE that E sends to H, without an ingress rule: GRE of H passes within 600 s and not after.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-common/src/track.rs` (`opening`, `by_phase`); `filter-ebpf/src/seen.rs` (`parts`).
#[test]
fn row_23_other_protocols_are_forgotten_after_600_seconds() {
    let one_way = || vec![egress(gre(ENI, HOST), NewConnection)];
    forgotten_after(&client(), 600, Phase::OtherOneWay, one_way, || gre(HOST, ENI), Ingress);
    let both_ways = || vec![egress(gre(ENI, HOST), NewConnection), ingress(gre(HOST, ENI), Connection)];
    forgotten_after(&client(), 600, Phase::OtherBothWays, both_ways, || gre(HOST, ENI), Ingress);
}

/// Conformance 2.3-c: The interface's own `UdpTimeout` and `UdpStreamTimeout` count, one interface's for it alone.
/// Source: EC2 API `ConnectionTrackingSpecificationRequest`.
/// Enforced: `filter-ctl/src/document/decode/interface.rs` (`timeouts`); `filter-ebpf/src/connections.rs`
/// (`timeout`).
#[test]
fn udp_is_forgotten_after_what_the_interface_says() {
    let policy = client().interface_field(
        "ConnectionTrackingSpecification",
        json!({ "UdpTimeout": 45, "UdpStreamTimeout": 100 }),
    );
    let steps = || vec![egress(udp(OWN, DNS), NewConnection)];
    forgotten_after(&policy, 45, Phase::UdpOneWay, steps, || udp(DNS, OWN), Ingress);
    let stream = || {
        let question = |reason| egress(udp(OWN, DNS), reason);
        let answer = || ingress(udp(DNS, OWN), Connection);
        vec![question(NewConnection), answer(), question(Connection), answer()]
    };
    forgotten_after(&policy, 100, Phase::UdpStream, stream, || udp(DNS, OWN), Ingress);
}

/// Conformance 2.3-c.
#[test]
fn each_interface_has_timeouts_of_its_own() {
    let short =
        client().interface_field("ConnectionTrackingSpecification", json!({ "TcpEstablishedTimeout": 60 }));
    let opened = [
        egress(syn(OWN, SSH_OF_HOST), NewConnection),
        ingress(syn_ack(SSH_OF_HOST, OWN), Connection),
        egress(ack(OWN, SSH_OF_HOST), Connection),
    ];
    let mut programs = programs();
    walk(&mut programs.eni(Setting::WORKLOAD, Receive::Xdp, &short.rules()), "the short one", &opened);
    walk(&mut programs.eni(Setting::HOST, Receive::Xdp, &client().rules()), "the long one", &opened);
    let late = |reason| [ingress(ack(SSH_OF_HOST, OWN), reason)];
    programs.again(Setting::WORKLOAD, Receive::Xdp).wait(61);
    walk(&mut programs.again(Setting::WORKLOAD, Receive::Xdp), "the short one", &late(SecurityGroup));
    walk(&mut programs.again(Setting::HOST, Receive::Xdp), "the long one", &late(Connection));
}

#[test]
fn a_ping_is_forgotten_after_30_seconds_answered_or_not() {
    let asked = || vec![egress(echo(ENI, HOST, 7), NewConnection)];
    forgotten_after(&client(), 30, Phase::IcmpAsked, asked, || echo_reply(HOST, ENI, 7), Ingress);
    let answered =
        || vec![egress(echo(ENI, HOST, 7), NewConnection), ingress(echo_reply(HOST, ENI, 7), Connection)];
    forgotten_after(&client(), 30, Phase::IcmpAnswered, answered, || echo_reply(HOST, ENI, 7), Ingress);
}

/// Conformance 2.3-b: The timeouts are of idle time: each packet begins it anew.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/connections.rs` (`touch`, `is_live`).
#[test]
fn what_keeps_talking_is_not_forgotten() {
    let mut steps = vec![egress(udp(OWN, DNS), NewConnection)];
    for _ in 0..5 {
        steps.extend([wait(29), egress(udp(OWN, DNS), Connection)]);
    }
    steps.extend([wait(29), ingress(udp(DNS, OWN), Connection)]);
    case(client(), &steps);
}
