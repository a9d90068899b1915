//! Connection tracking: what belongs to a connection, and what ends it.
//!
//! EC2 guide, `security-group-connection-tracking`. For how long an idle one is remembered:
//! `timeouts.rs`.

use filter_common::{
    Direction::{Egress, Ingress},
    verdict::Reason::{Connection, NetworkAcl, NewConnection, SecurityGroup, Stray},
};
use serde_json::json;
use tests::{
    frame::{Frame, ack, echo, echo_reply, fin, flags, protocol, rst, syn, syn_ack, tcp, udp},
    policy::{ANY4, Policy},
    program::{Receive, Setting, programs},
};

use crate::case::{
    ENI, ENI_V6, EVERYWHERE, HOST, HOST_RULE, HOST_RULE_V6, HOST_V6, Rules, STRANGER, Step, apply, case,
    each, egress, ingress, tracked, wait, walk,
};

pub(crate) const SSH: &str = "10.0.1.20:22";
const SSH_V6: &str = "[2001:db8:0:1::20]:22";
/// Where the interface asks from, and whom.
pub(crate) const OWN: &str = "10.0.1.20:50000";
pub(crate) const SSH_OF_HOST: &str = "198.51.100.7:22";
const GRE: u8 = 47;

pub(crate) fn server() -> Policy {
    Policy::new().allow_in("tcp 22", HOST_RULE).allow_in("tcp 22", HOST_RULE_V6)
}

pub(crate) fn client() -> Policy {
    Policy::new().allow_out("-1", ANY4)
}

pub(crate) fn handshake() -> Vec<Step> {
    vec![
        ingress(syn(HOST, SSH), NewConnection),
        egress(syn_ack(SSH, HOST), Connection),
        ingress(ack(HOST, SSH), Connection),
    ]
}

pub(crate) fn gre(from: &str, to: &str) -> Frame {
    protocol(from, to, GRE, &[0; 8])
}

/// Conformance 2.1-a: A tracked connection is one entry for both its directions.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/seen.rs` (`lookup`, `parts`); `filter-ebpf/src/connections.rs` (`fill`).
#[test]
fn a_handshake_is_tracked_in_one_entry() {
    let mut steps = handshake();
    steps.extend([ingress(ack(HOST, SSH), Connection), egress(ack(SSH, HOST), Connection), tracked(1)]);
    case(server(), &steps);
}

#[test]
fn a_handshake_over_ipv6_is_tracked_in_one_entry() {
    case(
        server(),
        &[
            ingress(syn(HOST_V6, SSH_V6), NewConnection),
            egress(syn_ack(SSH_V6, HOST_V6), Connection),
            ingress(ack(HOST_V6, SSH_V6), Connection),
            egress(ack(SSH_V6, HOST_V6), Connection),
            tracked(1),
            egress(ack(SSH_V6, "[2001:db8:100::8]:40000"), SecurityGroup),
        ],
    );
}

/// Conformance 2.2-a: TCP and UDP are tracked by protocol, both addresses and both ports: a packet that
/// differs in any of them is no answer.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/seen.rs` (`parts`).
#[test]
fn every_part_of_the_tuple_counts() {
    case(
        server(),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            egress(syn_ack(SSH, "198.51.100.7:40001"), SecurityGroup),
            egress(syn_ack("10.0.1.20:23", HOST), SecurityGroup),
            egress(syn_ack("10.0.1.21:22", HOST), SecurityGroup),
            egress(syn_ack(SSH, STRANGER), SecurityGroup),
            egress(udp(SSH, HOST), SecurityGroup),
            egress(syn_ack(SSH, HOST), Connection),
        ],
    );
}

/// Conformance 2.2-b: A connection is its interface's: an answer that another interface sends is judged by that
/// one's rules.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/seen.rs` (`parts`).
#[test]
fn a_connection_is_its_interfaces_alone() {
    let rules = server().rules();
    let mut programs = programs();
    programs.eni(Setting::WORKLOAD, Receive::Xdp, &rules).judge(Ingress, &syn(HOST, SSH));
    let outcome = programs.eni(Setting::HOST, Receive::Xdp, &rules).judge(Egress, &syn_ack(SSH, HOST));
    assert_eq!(outcome.reason, SecurityGroup);
}

#[test]
fn a_syn_sent_again_is_the_connections_own() {
    case(
        server(),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            ingress(syn(HOST, SSH), Connection),
            egress(syn_ack(SSH, HOST), Connection),
            ingress(syn(HOST, SSH), Connection),
            egress(syn_ack(SSH, HOST), Connection),
            tracked(1),
        ],
    );
}

#[test]
fn a_forged_syn_leaves_an_established_connection_as_it_is() {
    let mut steps = handshake();
    steps.extend([ingress(syn(HOST, SSH), Connection), wait(400_000), egress(ack(SSH, HOST), Connection)]);
    case(server(), &steps);
}

#[test]
fn a_syn_on_an_established_connection_meets_the_rules_of_now() {
    let mut steps = handshake();
    steps.extend([
        apply(Policy::new()),
        ingress(syn(HOST, SSH), SecurityGroup),
        ingress(ack(HOST, SSH), Connection),
        egress(syn(SSH, HOST), SecurityGroup),
    ]);
    case(server(), &steps);
}

#[test]
fn a_closed_connection_is_replaced_by_a_new_one() {
    let mut steps = handshake();
    steps.extend([
        ingress(rst(HOST, SSH), Connection),
        ingress(syn(HOST, SSH), NewConnection),
        egress(syn_ack(SSH, HOST), Connection),
        tracked(1),
    ]);
    case(server(), &steps);
}

#[test]
fn a_connection_in_time_wait_is_replaced_only_by_who_may_open_it() {
    let mut steps = handshake();
    steps.extend([
        ingress(fin(HOST, SSH), Connection),
        egress(fin(SSH, HOST), Connection),
        ingress(ack(HOST, SSH), Connection),
        egress(syn(SSH, HOST), SecurityGroup),
        ingress(syn(HOST, SSH), NewConnection),
        tracked(1),
    ]);
    case(server(), &steps);
}

/// Conformance 2.6-a: After a connection's end its late packets meet the rules again.
/// Source: VPC guide `flow-log-records`.
/// Enforced: `filter-common/src/track.rs` (`lingers`); `filter-ebpf/src/pipeline.rs` (`go_on`).
#[test]
fn what_comes_after_the_end_does_not_keep_a_connection() {
    let opened =
        [egress(syn(OWN, SSH_OF_HOST), NewConnection), ingress(syn_ack(SSH_OF_HOST, OWN), Connection)];
    let late = || ingress(ack(SSH_OF_HOST, OWN), Connection);
    let over = || ingress(ack(SSH_OF_HOST, OWN), SecurityGroup);
    let reset = [ingress(rst(SSH_OF_HOST, OWN), Connection), wait(9), late(), wait(2), over()];
    let ended = [
        egress(ack(OWN, SSH_OF_HOST), Connection),
        egress(fin(OWN, SSH_OF_HOST), Connection),
        ingress(fin(SSH_OF_HOST, OWN), Connection),
        wait(60),
        late(),
        wait(58),
        late(),
        wait(4),
        over(),
    ];
    for ending in [&reset[..], &ended[..]] {
        each(&EVERYWHERE, &client().rules(), |eni, place| {
            walk(eni, place, &opened);
            walk(eni, place, ending);
        });
    }
}

#[test]
fn a_refused_connection_can_be_tried_again() {
    case(
        server(),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            egress(tcp(SSH, HOST, flags::RST | flags::ACK), Connection),
            ingress(syn(HOST, SSH), NewConnection),
            egress(syn_ack(SSH, HOST), Connection),
        ],
    );
}

/// Conformance 2.2-c: Other protocols are tracked by protocol and addresses alone.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/seen.rs` (`parts`); `filter-common/src/packet/transport.rs` (`read`).
#[test]
fn other_protocols_are_tracked_by_addresses_and_number() {
    // Always: also where everything is allowed both ways.
    case(
        Policy::open(),
        &[ingress(gre(HOST, ENI), NewConnection), egress(gre(ENI, HOST), Connection), tracked(1)],
    );
    case(
        client(),
        &[
            egress(gre(ENI, HOST), NewConnection),
            // Other bytes where TCP has its ports.
            ingress(protocol(HOST, ENI, GRE, &[0, 22, 0, 80, 0, 0, 0, 0]), Connection),
            ingress(protocol(HOST, ENI, 50, &[0; 8]), SecurityGroup),
            ingress(gre(STRANGER, ENI), SecurityGroup),
            ingress(gre(HOST, "10.0.1.21"), SecurityGroup),
            tracked(1),
        ],
    );
}

/// Conformance 19: ICMP is always tracked, also where everything is allowed both ways: a ping makes an entry, by
/// its identifier.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`open`); `filter-common/src/packet/query.rs` (`ports`).
/// Conformance 2.4-c: The answer to a ping that was let through passes, also where its direction has no rule for ICMP.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`recall`).
#[test]
fn row_19_pings_are_always_tracked_by_their_identifier() {
    case(
        Policy::open(),
        &[
            ingress(echo(HOST, ENI, 7), NewConnection),
            egress(echo_reply(ENI, HOST, 7), Connection),
            tracked(1),
        ],
    );
    case(
        Policy::new().allow_in("icmp 8", HOST_RULE),
        &[
            ingress(echo(HOST, ENI, 7), NewConnection),
            egress(echo_reply(ENI, HOST, 8), SecurityGroup),
            egress(echo_reply(ENI, STRANGER, 7), SecurityGroup),
            egress(echo(ENI, HOST, 7), SecurityGroup),
            egress(echo_reply(ENI, HOST, 7), Connection),
            egress(echo_reply(ENI, HOST, 7), Connection),
        ],
    );
    let (own, host) = (ENI_V6, "2001:db8:100::7");
    case(
        Policy::new().allow_in("icmpv6 128", HOST_RULE_V6),
        &[
            ingress(echo(host, own, 7), NewConnection),
            egress(echo_reply(own, host, 7), Connection),
            egress(echo(own, host, 7), SecurityGroup),
        ],
    );
}

#[test]
fn an_answer_that_nobody_asked_for_opens_nothing() {
    case(
        Policy::open(),
        &[ingress(echo_reply(HOST, ENI, 7), Stray), egress(echo_reply(ENI, HOST, 7), Stray), tracked(0)],
    );
}

#[test]
fn two_ends_that_ping_each_other_with_one_identifier_have_two_connections() {
    case(
        Policy::open(),
        &[ingress(echo(HOST, ENI, 7), NewConnection), egress(echo(ENI, HOST, 7), NewConnection), tracked(2)],
    );
}

/// Conformance 15: A tracked connection (tcp/22 from H alone, egress all) goes on when its rule is revoked; a new
/// one is dropped.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`recall`).
#[test]
fn row_15_a_tracked_connection_outlives_its_rule() {
    let mut steps = handshake();
    steps.extend([
        apply(client()),
        ingress(ack(HOST, SSH), Connection),
        egress(ack(SSH, HOST), Connection),
        ingress(syn("198.51.100.7:40001", SSH), SecurityGroup),
        // Neither does it end when another group has taken the place of its own.
        apply(Policy::new()),
        ingress(ack(HOST, SSH), Connection),
        egress(ack(SSH, HOST), Connection),
        tracked(1),
    ]);
    case(server().allow_out("-1", ANY4), &steps);
}

/// What one layer refuses leaves nothing behind that would let the answer in.
#[test]
fn what_the_network_acl_stops_is_not_tracked() {
    case(
        client().acl_out(1, "deny", "tcp 22", ANY4),
        &[
            egress(syn(OWN, SSH_OF_HOST), NetworkAcl),
            ingress(syn_ack(SSH_OF_HOST, OWN), SecurityGroup),
            tracked(0),
        ],
    );
}

/// An expired connection has ended, and longer timeouts do not bring it back.
#[test]
fn what_has_expired_stays_so_when_timeouts_grow() {
    let short =
        server().interface_field("ConnectionTrackingSpecification", json!({ "TcpEstablishedTimeout": 60 }));
    case(
        short,
        &[
            ingress(syn(HOST, SSH), NewConnection),
            egress(syn_ack(SSH, HOST), Connection),
            ingress(ack(HOST, SSH), Connection),
            wait(61),
            apply(Policy::new()),
            ingress(ack(HOST, SSH), SecurityGroup),
            tracked(0),
        ],
    );
}
