//! Flows that need no tracking, and segments that come in the middle of a connection.
//!
//! EC2 guide, `security-group-connection-tracking`, "Untracked connections".

use filter_common::{
    track::Phase,
    verdict::Reason::{Connection, NewConnection, SecurityGroup, Stray, Untracked},
};
use tests::{
    frame::{ack, echo, echo_reply, fin, flags, rst, syn, syn_ack, tcp, udp},
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

/// Conformance 16: An untracked connection (tcp/22 from 0.0.0.0/0, egress all) is cut at once when its rule is
/// revoked.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`open`); `filter-common/src/cell.rs` (`untracked`).
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
            tracked(0),
        ],
    );
}

/// Conformance 17: Ingress tcp/80 from everywhere and egress all to everywhere: no entry is made, in either
/// direction.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-common/src/cell.rs` (`untracked`); `filter-ebpf/src/pipeline.rs` (`open`).
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

/// Conformance 18: As 17, but egress only tcp/443: an entry is made, and the answer passes by it.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-common/src/cell.rs` (`untracked`); `filter-ctl/src/compile/effects.rs` (`group_bits`).
#[test]
fn row_18_without_the_all_ports_rule_an_entry_is_made() {
    case(
        Policy::new().allow_in("tcp 80", ANY4).allow_out("tcp 443", ANY4),
        &[ingress(syn(HOST, WEB), NewConnection), egress(syn_ack(WEB, HOST), Connection), tracked(1)],
    );
}

/// Conformance 2.1-b: A flow is judged with its mirror image: what E begins beside an open server is tracked,
/// because no rule for everywhere lets its answers in.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`classify`); `filter-common/src/cell.rs` (`untracked`).
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

/// Conformance 2.1-c: All ports are 0 to 65535 of the protocol; 1 to 65535 are not.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`group_bits`).
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

/// Conformance 2.1-d: UDP is untracked by the same rules as TCP.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`open`).
#[test]
fn udp_is_untracked_by_the_same_rules() {
    let dns = "10.0.1.20:53";
    case(
        Policy::new().allow_in("udp 53", ANY4).allow_out("-1", ANY4),
        &[ingress(udp(HOST, dns), Untracked), egress(udp(dns, HOST), Untracked), tracked(0)],
    );
}

/// Conformance 2.1-e: Everywhere is `0.0.0.0/0` or `::/0`, and nothing that comes to the same.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`group`); `filter-ctl/src/policy.rs`
/// (`is_any_address`).
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

/// Conformance 1.10-b: Once the egress rule for all of IPv4 is gone, IPv4 flows are tracked from then on; IPv6 is
/// untracked as before.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`open`); `filter-common/src/cell.rs` (`untracked`).
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

/// Conformance 2.1-f: AWS's own example: of tcp/22 from one address, tcp/80 and ICMP from everywhere with egress all,
/// port 22 and ICMP are tracked and port 80 is not.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-common/src/cell.rs` (`untracked`); `filter-ctl/src/compile/effects.rs` (`group_bits`).
#[test]
fn the_pages_example_is_tracked_as_the_page_says() {
    case(
        open_server().allow_in("tcp 22", HOST_RULE).allow_in("icmp", ANY4),
        &[
            ingress(syn(HOST, WEB), Untracked),
            ingress(syn(HOST_V6, WEB_V6), Untracked),
            tracked(0),
            ingress(syn(HOST, SSH), NewConnection),
            ingress(echo("198.51.100.7", "10.0.1.20", 7), NewConnection),
            tracked(2),
            egress(syn_ack(SSH, HOST), Connection),
            egress(echo_reply("10.0.1.20", "198.51.100.7", 7), Connection),
            egress(syn_ack(WEB, HOST), Untracked),
            tracked(2),
        ],
    );
}

/// Conformance 1.10-c: Narrowing a rule is to a connection what removing it is: a tracked one goes on, an untracked one
/// whose address is left out is cut.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`recall`, `open`).
#[test]
fn a_narrowed_rule_is_a_removed_one_to_whom_it_leaves_out() {
    let out = Policy::new().allow_out("-1", ANY4);
    case(
        out.clone().allow_in("tcp 22", "198.51.100.0/24").allow_in("tcp 80", ANY4),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            egress(syn_ack(SSH, HOST), Connection),
            ingress(ack(HOST, SSH), Connection),
            ingress(syn(HOST, WEB), Untracked),
            apply(out.allow_in("tcp 22", "198.51.100.0/30").allow_in("tcp 80", "203.0.113.0/24")),
            ingress(ack(HOST, SSH), Connection),
            egress(ack(SSH, HOST), Connection),
            ingress(syn("198.51.100.7:40001", SSH), SecurityGroup),
            ingress(ack(HOST, WEB), SecurityGroup),
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
