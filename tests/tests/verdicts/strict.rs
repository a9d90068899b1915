//! `StrictTcp`: no connection is picked up in mid-stream.
//!
//! Ours, not AWS's: its pages do not say what a segment in the middle of an unknown connection is.

use filter_common::verdict::Reason::{
    Connection, NetworkAcl, NewConnection, OrphanFragment, SecurityGroup, Stray, StrictTcp, Untracked,
};
use serde_json::json;
use tests::{
    frame::{ack, echo_reply, fin, flags, rst, syn, syn_ack, tcp, udp},
    policy::{ANY4, Policy},
    program::{Receive, Setting},
};

use crate::case::{
    ENI, HOST, HOST_RULE, HOST_RULE_V6, HOST_V6, Rules, apply, case, case_once, each, egress, ingress,
    tracked, wait, walk,
};

const SSH: &str = "10.0.1.20:22";
const SSH_V6: &str = "[2001:db8:0:1::20]:22";

fn strict(policy: Policy) -> Policy {
    policy.interface_field("StrictTcp", json!(true))
}

fn server() -> Policy {
    strict(Policy::new().allow_in("tcp 22", HOST_RULE).allow_in("tcp 22", HOST_RULE_V6))
}

#[test]
fn a_segment_of_no_connection_is_refused_and_a_syn_is_not() {
    for (host, own) in [(HOST, SSH), (HOST_V6, SSH_V6)] {
        case(
            server(),
            &[
                ingress(ack(host, own), StrictTcp),
                tracked(0),
                ingress(syn(host, own), NewConnection),
                egress(syn_ack(own, host), Connection),
                ingress(ack(host, own), Connection),
                ingress(fin(host, own), Connection),
                tracked(1),
            ],
        );
    }
}

#[test]
fn whatever_flags_are_not_a_syns_begin_nothing() {
    for (flags, reason) in [
        (flags::SYN, NewConnection),
        (flags::SYN | flags::ECE | flags::CWR, NewConnection),
        (flags::SYN | flags::PSH | flags::URG, NewConnection),
        (0, StrictTcp),
        (flags::PSH | flags::URG, StrictTcp),
        (flags::ACK, StrictTcp),
        (flags::SYN | flags::ACK, StrictTcp),
        (flags::SYN | flags::FIN, StrictTcp),
        (flags::SYN | flags::RST, StrictTcp),
        (flags::FIN, StrictTcp),
        (flags::FIN | flags::PSH | flags::URG, StrictTcp),
        (flags::RST, StrictTcp),
        (0xff, StrictTcp),
    ] {
        case_once(server(), &[ingress(tcp(HOST, SSH, flags), reason)]);
        // Likewise where a rule for everything alone would let it pass, unremembered.
        case_once(strict(Policy::new().allow_in("-1", ANY4)), &[ingress(tcp(HOST, SSH, flags), reason)]);
    }
}

#[test]
fn a_syn_in_disguise_replaces_no_handshake() {
    case(
        server(),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            ingress(tcp(HOST, SSH, flags::SYN | flags::FIN), StrictTcp),
            egress(syn_ack(SSH, HOST), Connection),
        ],
    );
}

#[test]
fn what_the_rules_deny_is_denied_by_them() {
    case(
        server().acl_in(100, "deny", "tcp 22", "198.51.100.7/32"),
        &[
            ingress(ack(HOST, SSH), NetworkAcl),
            ingress(ack(HOST, "10.0.1.20:23"), SecurityGroup),
            egress(ack(SSH, HOST), SecurityGroup),
        ],
    );
}

#[test]
fn untracked_flows_and_other_protocols_are_none_of_its_business() {
    case(
        strict(Policy::new().allow_in("tcp 22", ANY4).allow_in("udp", ANY4).allow_out("-1", ANY4)),
        &[
            ingress(ack(HOST, SSH), Untracked),
            egress(rst(SSH, HOST), Untracked),
            ingress(udp(HOST, "10.0.1.20:53"), Untracked),
            egress(echo_reply(ENI, "198.51.100.7", 7), Stray),
            tracked(0),
        ],
    );
}

#[test]
fn there_is_no_grace() {
    let grace = Setting { grace: true, ..Setting::WORKLOAD };
    each(&[(grace, Receive::Xdp), (grace, Receive::Tc)], &server().rules(), |eni, place| {
        walk(eni, place, &[ingress(ack(HOST, SSH), StrictTcp), tracked(0)]);
    });
}

#[test]
fn a_connection_that_was_forgotten_is_not_picked_up_again() {
    case(
        server(),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            egress(syn_ack(SSH, HOST), Connection),
            ingress(ack(HOST, SSH), Connection),
            wait(432_001),
            ingress(ack(HOST, SSH), StrictTcp),
            egress(ack(SSH, HOST), SecurityGroup),
        ],
    );
}

#[test]
fn switched_on_it_leaves_what_is_tracked_and_cuts_what_a_change_would_have_picked_up() {
    let untracked = Policy::new().allow_in("tcp 22", ANY4).allow_out("-1", ANY4);
    let narrower = Policy::new().allow_in("tcp 22", HOST_RULE).allow_out("-1", ANY4);
    case(
        untracked.clone(),
        &[
            ingress(ack(HOST, SSH), Untracked),
            apply(narrower.clone()),
            ingress(ack(HOST, SSH), NewConnection),
            apply(strict(narrower.clone())),
            ingress(ack(HOST, SSH), Connection),
            egress(ack(SSH, HOST), Connection),
        ],
    );
    case(
        untracked,
        &[ingress(ack(HOST, SSH), Untracked), apply(strict(narrower)), ingress(ack(HOST, SSH), StrictTcp)],
    );
}

#[test]
fn fragments_of_a_refused_segment_follow_nothing() {
    let (first, later) = ack(HOST, SSH).data(44).fragments(7, 32);
    case(server(), &[ingress(first, StrictTcp), ingress(later, OrphanFragment)]);
}
