//! Flows that need no tracking, and segments that come in the middle of a connection.
//!
//! EC2 guide, `security-group-connection-tracking`, "Untracked connections".

use filter_common::{
    track::Phase,
    verdict::Reason::{Connection, NewConnection, SecurityGroup, Stray, Untracked},
};
use tests::{
    frame::{ack, fin, flags, rst, syn, syn_ack, tcp, udp},
    policy::{ANY4, ANY6, PREFIX_LIST, Policy},
    program::{Receive, Setting},
};

use crate::case::{
    HOST, HOST_RULE, HOST_V6, Rules, apply, case, case_once, each, egress, ingress, tracked, wait, walk,
};

const SSH: &str = "10.0.1.20:22";
const WEB: &str = "10.0.1.20:80";
const WEB_V6: &str = "[2001:db8:0:1::20]:80";
const OWN: &str = "10.0.1.20:50000";

fn open_server() -> Policy {
    Policy::new()
        .allow_in("tcp 80", ANY4)
        .allow_in("tcp 80", ANY6)
        .allow_out("-1", ANY4)
        .allow_out("-1", ANY6)
}

#[test]
fn row_16_an_untracked_flow_ends_with_its_rule() {
    let policy = Policy::new().allow_in("tcp 22", ANY4).allow_out("-1", ANY4);
    case(
        policy,
        &[
            ingress(syn(HOST, SSH), Untracked),
            egress(syn_ack(SSH, HOST), Untracked),
            ingress(ack(HOST, SSH), Untracked),
            apply(Policy::new().allow_out("-1", ANY4)),
            ingress(ack(HOST, SSH), SecurityGroup),
        ],
    );
}

#[test]
fn row_17_no_entry_is_made_in_either_direction() {
    case(
        open_server(),
        &[
            ingress(syn(HOST, WEB), Untracked),
            egress(syn_ack(WEB, HOST), Untracked),
            ingress(ack(HOST, WEB), Untracked),
            egress(fin(WEB, HOST), Untracked),
            ingress(syn(HOST_V6, WEB_V6), Untracked),
            egress(syn_ack(WEB_V6, HOST_V6), Untracked),
            tracked(0),
        ],
    );
}

#[test]
fn row_18_without_the_all_ports_rule_an_entry_is_made() {
    case(
        Policy::new().allow_in("tcp 80", ANY4).allow_out("tcp 443", ANY4),
        &[ingress(syn(HOST, WEB), NewConnection), egress(syn_ack(WEB, HOST), Connection), tracked(1)],
    );
}

#[test]
fn a_connection_that_the_interface_begins_is_tracked_where_its_answers_have_no_rule() {
    case(
        open_server(),
        &[
            egress(syn(OWN, "198.51.100.7:443"), NewConnection),
            ingress(syn_ack("198.51.100.7:443", OWN), Connection),
            tracked(1),
        ],
    );
}

#[test]
fn all_ports_of_the_one_protocol_are_all_ports() {
    case(
        Policy::new().allow_in("tcp 80", ANY4).allow_out("tcp", ANY4),
        &[ingress(syn(HOST, WEB), Untracked), egress(syn_ack(WEB, HOST), Untracked), tracked(0)],
    );
    case(
        Policy::new().allow_in("tcp 80", ANY4).allow_out("tcp 1-65535", ANY4),
        &[ingress(syn(HOST, WEB), NewConnection), tracked(1)],
    );
}

#[test]
fn udp_is_untracked_by_the_same_rules() {
    let dns = "10.0.1.20:53";
    case(
        Policy::new().allow_in("udp 53", ANY4).allow_out("-1", ANY4),
        &[ingress(udp(HOST, dns), Untracked), egress(udp(dns, HOST), Untracked), tracked(0)],
    );
}

#[test]
fn a_prefix_list_or_two_halves_of_the_world_are_not_everywhere() {
    case(
        Policy::new().allow_in("tcp 80", PREFIX_LIST).prefix_list_entry(ANY4).allow_out("-1", ANY4),
        &[ingress(syn(HOST, WEB), NewConnection)],
    );
    case(
        Policy::new().allow_in("tcp 80", "0.0.0.0/1").allow_in("tcp 80", "128.0.0.0/1").allow_out("-1", ANY4),
        &[ingress(syn(HOST, WEB), NewConnection)],
    );
}

#[test]
fn where_a_narrow_and_an_any_address_rule_match_the_flow_is_untracked() {
    case(open_server().allow_in("tcp 80", HOST_RULE), &[ingress(syn(HOST, WEB), Untracked), tracked(0)]);
}

#[test]
fn without_the_ipv4_rule_for_everything_ipv4_is_tracked_from_then_on_and_ipv6_is_not() {
    let without = Policy::new().allow_in("tcp 80", ANY4).allow_in("tcp 80", ANY6).allow_out("-1", ANY6);
    case(
        open_server(),
        &[
            ingress(syn(HOST, WEB), Untracked),
            ingress(syn(HOST_V6, WEB_V6), Untracked),
            apply(without),
            ingress(ack(HOST, WEB), NewConnection),
            egress(ack(WEB, HOST), Connection),
            egress(ack(WEB_V6, HOST_V6), Untracked),
            tracked(1),
        ],
    );
}

#[test]
fn without_the_ipv6_rule_for_everything_ipv6_is_tracked_from_then_on_and_ipv4_is_not() {
    let without = Policy::new().allow_in("tcp 80", ANY4).allow_in("tcp 80", ANY6).allow_out("-1", ANY4);
    case(
        open_server(),
        &[
            ingress(syn(HOST, WEB), Untracked),
            ingress(syn(HOST_V6, WEB_V6), Untracked),
            apply(without),
            ingress(ack(HOST_V6, WEB_V6), NewConnection),
            egress(ack(WEB_V6, HOST_V6), Connection),
            egress(ack(WEB, HOST), Untracked),
            tracked(1),
        ],
    );
}

/// EC2 guide, `security-group-connection-tracking`: a rule that is narrowed is like one that is
/// removed. What it was for goes on if it is tracked, and is cut if it is not.
#[test]
fn a_narrowed_rule_cuts_untracked_flows_and_no_tracked_ones() {
    let other = "203.0.113.0/24";
    case(
        Policy::new().allow_in("tcp 22", ANY4).allow_out("-1", ANY4),
        &[
            ingress(ack(HOST, SSH), Untracked),
            apply(Policy::new().allow_in("tcp 22", other).allow_out("-1", ANY4)),
            ingress(ack(HOST, SSH), SecurityGroup),
        ],
    );
    case(
        Policy::new().allow_in("tcp 22", "198.51.0.0/16"),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            egress(syn_ack(SSH, HOST), Connection),
            ingress(ack(HOST, SSH), Connection),
            apply(Policy::new().allow_in("tcp 22", other)),
            ingress(ack(HOST, SSH), Connection),
            egress(ack(SSH, HOST), Connection),
            ingress(syn("198.51.100.7:40001", SSH), SecurityGroup),
        ],
    );
}

#[test]
fn a_narrow_rule_picks_a_connection_up_in_mid_stream() {
    case(
        Policy::new().allow_in("tcp 22", HOST_RULE),
        &[ingress(ack(HOST, SSH), NewConnection), egress(ack(SSH, HOST), Connection), tracked(1)],
    );
}

#[test]
fn a_rule_for_everything_lets_a_stray_segment_pass_and_makes_no_entry() {
    case(
        Policy::new().allow_in("-1", ANY4),
        &[
            ingress(ack(HOST, SSH), Stray),
            tracked(0),
            egress(ack(SSH, HOST), SecurityGroup),
            ingress(syn(HOST, SSH), NewConnection),
            tracked(1),
        ],
    );
}

#[test]
fn within_the_grace_a_rule_for_everything_picks_up_too() {
    let grace = Setting { grace: true, ..Setting::WORKLOAD };
    let rules = Policy::new().allow_in("-1", ANY4).rules();
    each(&[(grace, Receive::Xdp), (grace, Receive::Tc)], &rules, |eni, place| {
        walk(
            eni,
            place,
            &[
                ingress(ack(HOST, SSH), NewConnection),
                egress(ack(SSH, HOST), Connection),
                ingress(fin("198.51.100.7:40001", SSH), Stray),
                tracked(1),
            ],
        );
    });
}

#[test]
fn the_end_of_a_connection_begins_none() {
    case(
        Policy::new().allow_in("tcp 22", HOST_RULE),
        &[ingress(fin(HOST, SSH), Stray), ingress(rst(HOST, SSH), Stray), tracked(0)],
    );
}

#[test]
fn a_stray_segment_in_the_direction_of_answers_is_refused() {
    case(
        Policy::new().allow_in("tcp 22", HOST_RULE),
        &[egress(ack(SSH, HOST), SecurityGroup), egress(syn_ack(SSH, HOST), SecurityGroup), tracked(0)],
    );
}

#[test]
fn a_revoked_connection_that_is_forgotten_cannot_readmit_itself() {
    let policy = Policy::new().allow_out("-1", ANY4);
    case(
        policy.clone().allow_in("tcp 22", HOST_RULE),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            egress(syn_ack(SSH, HOST), Connection),
            ingress(ack(HOST, SSH), Connection),
            apply(policy),
            wait(432_001),
            egress(ack(SSH, HOST), Stray),
            ingress(ack(HOST, SSH), SecurityGroup),
        ],
    );
}

#[test]
fn odd_flags_begin_no_handshake() {
    let port = |number| format!("198.51.100.7:{number}");
    let policy = Policy::new().allow_in("tcp 22", HOST_RULE);
    for (flags, reason) in [
        (flags::SYN | flags::ECE | flags::CWR, NewConnection),
        (flags::SYN | flags::PSH | flags::URG, NewConnection),
        (0, Stray),
        (flags::SYN | flags::ACK, NewConnection),
        (flags::SYN | flags::FIN, Stray),
        (flags::SYN | flags::RST, Stray),
        (0xff, Stray),
        (flags::FIN, Stray),
    ] {
        case_once(policy.clone(), &[ingress(tcp(&port(1000), SSH, flags), reason)]);
        // Of a rule for everything, only a SYN gets more than passage.
        let begins = flags & (flags::SYN | flags::ACK | flags::FIN | flags::RST) == flags::SYN;
        let reason = if begins { NewConnection } else { Stray };
        let everything = Policy::new().allow_in("-1", ANY4);
        case_once(everything, &[ingress(tcp(&port(1001), SSH, flags), reason)]);
    }
}

#[test]
fn odd_flags_on_a_connection_pass_and_do_not_establish_it() {
    let rules = Policy::new().allow_in("tcp 22", HOST_RULE).rules();
    each(&crate::case::EVERYWHERE, &rules, |eni, place| {
        walk(
            eni,
            place,
            &[
                ingress(syn(HOST, SSH), NewConnection),
                ingress(ack(HOST, SSH), Connection),
                ingress(tcp(HOST, SSH, 0), Connection),
                ingress(tcp(HOST, SSH, flags::PSH | flags::URG), Connection),
            ],
        );
        assert_eq!(eni.connections()[0].phase, Phase::TcpSynSent, "{place}");
    });
}

#[test]
fn a_syn_disguised_by_fin_or_rst_asks_the_rules_of_now() {
    let policy = Policy::new().allow_in("tcp 22", HOST_RULE);
    let mut steps = vec![
        ingress(syn(HOST, SSH), NewConnection),
        egress(syn_ack(SSH, HOST), Connection),
        ingress(ack(HOST, SSH), Connection),
        apply(Policy::new()),
    ];
    for disguise in [flags::FIN, flags::RST, flags::FIN | flags::RST] {
        steps.push(ingress(tcp(HOST, SSH, flags::SYN | disguise), SecurityGroup));
    }
    steps.extend([ingress(ack(HOST, SSH), Connection), egress(ack(SSH, HOST), Connection)]);
    case(policy, &steps);
}
