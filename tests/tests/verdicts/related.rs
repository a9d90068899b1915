//! ICMP errors about tracked connections.
//!
//! EC2 guide, `network_mtu`: the answers of path MTU discovery come in for a tracked connection.
//! An error must quote a live connection's packet, reversed, and come to the quoted sender.

use filter_common::verdict::Reason::{NetworkAcl, NewConnection, Related, SecurityGroup, Stray, Untracked};
use tests::{
    frame::{Frame, echo, error, icmp, protocol, syn, udp},
    policy::{ANY4, ANY6, Policy},
};

use crate::case::{
    ENI, ENI_V6, HOST, HOST_RULE, HOST_RULE_V6, HOST_V6, STRANGER, apply, case, egress, ingress, tracked,
    wait,
};

const OWN: &str = "10.0.1.20:50000";
const OWN_V6: &str = "[2001:db8:0:1::20]:50000";
const ROUTER: &str = "192.0.2.1";
const ROUTER_V6: &str = "2001:db8:9::1";
/// Destination unreachable, fragmentation needed.
const TOO_BIG: (u8, u8) = (3, 4);
const TIME_EXCEEDED: (u8, u8) = (11, 0);
const REDIRECT: (u8, u8) = (5, 1);

fn client() -> Policy {
    Policy::new()
        .allow_out("tcp 443", HOST_RULE)
        .allow_out("udp 53", HOST_RULE)
        .allow_out("icmp 8", HOST_RULE)
}

fn asked() -> Frame {
    syn(OWN, "198.51.100.7:443")
}

/// Conformance 2.4-a: Path MTU discovery: an ICMP error about a tracked connection comes in without a rule for ICMP.
/// Source: EC2 guide `network_mtu`.
/// Enforced: `filter-ebpf/src/seen.rs` (`quoted_key`); `filter-ebpf/src/pipeline.rs` (`go_on`).
#[test]
fn an_error_about_a_tracked_connection_comes_in_from_any_router() {
    case(
        client(),
        &[
            egress(asked(), NewConnection),
            ingress(error(ROUTER, ENI, TOO_BIG, &asked()), Related),
            ingress(error(HOST, ENI, TOO_BIG, &asked()), Related),
            ingress(error(ROUTER, ENI, TIME_EXCEEDED, &asked()), Related),
            ingress(error(ROUTER, ENI, (12, 0), &asked()), Related),
            tracked(1),
        ],
    );
}

#[test]
fn an_error_about_nothing_is_judged_by_rules() {
    let other = syn("10.0.1.20:50001", "198.51.100.7:443");
    case(client(), &[ingress(error(ROUTER, ENI, TOO_BIG, &other), SecurityGroup), tracked(0)]);
    case(client().allow_in("icmp", ANY4), &[ingress(error(ROUTER, ENI, TOO_BIG, &other), Stray), tracked(0)]);
}

#[test]
fn forged_quotes_do_not_pass() {
    let udp_twin = udp(OWN, "198.51.100.7:443");
    case(
        client(),
        &[
            egress(asked(), NewConnection),
            // Ports, addresses, protocol, direction.
            ingress(error(ROUTER, ENI, TOO_BIG, &syn("10.0.1.20:50001", "198.51.100.7:443")), SecurityGroup),
            ingress(error(ROUTER, ENI, TOO_BIG, &syn(OWN, "198.51.100.7:444")), SecurityGroup),
            ingress(error(ROUTER, ENI, TOO_BIG, &syn(OWN, "198.51.100.8:443")), SecurityGroup),
            ingress(error(ROUTER, ENI, TOO_BIG, &udp_twin), SecurityGroup),
            ingress(error(ROUTER, ENI, TOO_BIG, &syn("198.51.100.7:443", OWN)), SecurityGroup),
            // To somebody else than who sent the quoted packet.
            ingress(error(ROUTER, "10.0.1.21", TOO_BIG, &asked()), SecurityGroup),
            // Out again, instead of in.
            egress(error(ENI, ROUTER, TOO_BIG, &asked()), SecurityGroup),
            // Too short to name the ports.
            ingress(
                error(ROUTER, ENI, TOO_BIG, &asked()).patch(3, 20 + 8 + 22).cut(20 + 8 + 22),
                SecurityGroup,
            ),
            // No error, though it quotes.
            ingress(error(ROUTER, ENI, REDIRECT, &asked()), SecurityGroup),
            ingress(error(ROUTER, ENI, (4, 0), &asked()), SecurityGroup),
            ingress(error(ROUTER, ENI, (13, 0), &asked()), SecurityGroup),
            // A later fragment's quote has no ports.
            ingress(error(ROUTER, ENI, TOO_BIG, &asked().patch(7, 1)).patch(20 + 8 + 7, 1), SecurityGroup),
            // An error about an error.
            ingress(error(ROUTER, ENI, TOO_BIG, &error(ENI, ROUTER, TOO_BIG, &asked())), SecurityGroup),
        ],
    );
}

#[test]
fn eight_bytes_of_the_quoted_transport_header_are_enough() {
    let short = error(ROUTER, ENI, TOO_BIG, &asked()).patch(3, 20 + 8 + 28).cut(20 + 8 + 28);
    case(client(), &[egress(asked(), NewConnection), ingress(short, Related)]);
}

#[test]
fn a_quote_with_ip_options_is_read_past_them() {
    let quoted = asked().options(2);
    case(client(), &[egress(asked(), NewConnection), ingress(error(ROUTER, ENI, TOO_BIG, &quoted), Related)]);
}

#[test]
fn errors_about_udp_pings_and_other_protocols_are_related_too() {
    let (question, ping) = (udp(OWN, "198.51.100.7:53"), echo(ENI, HOST, 7));
    let gre = protocol(ENI, HOST, 47, &[0; 8]);
    case(
        client().allow_out("47", HOST_RULE),
        &[
            egress(question.clone(), NewConnection),
            egress(ping.clone(), NewConnection),
            egress(gre.clone(), NewConnection),
            ingress(error(HOST, ENI, (3, 3), &question), Related),
            ingress(error(ROUTER, ENI, TIME_EXCEEDED, &ping), Related),
            ingress(error(ROUTER, ENI, TOO_BIG, &gre), Related),
            ingress(error(ROUTER, ENI, TIME_EXCEEDED, &echo(ENI, HOST, 8)), SecurityGroup),
        ],
    );
}

#[test]
fn the_interfaces_own_errors_leave() {
    let question = udp(HOST, "10.0.1.20:53");
    case(
        Policy::new().allow_in("udp 53", HOST_RULE),
        &[
            ingress(question.clone(), NewConnection),
            egress(error(ENI, HOST, (3, 3), &question), Related),
            egress(error(ENI, STRANGER, (3, 3), &question), SecurityGroup),
            egress(error("10.0.1.21", HOST, (3, 3), &question), Related),
        ],
    );
}

/// Conformance 2.4-a.
#[test]
fn packet_too_big_comes_in_over_ipv6() {
    let asked = syn(OWN_V6, HOST_V6);
    case(
        Policy::new().allow_out("tcp", HOST_RULE_V6),
        &[
            egress(asked.clone(), NewConnection),
            ingress(error(ROUTER_V6, ENI_V6, (2, 0), &asked), Related),
            ingress(error(ROUTER_V6, ENI_V6, (1, 4), &asked), Related),
            ingress(error(ROUTER_V6, "2001:db8:0:1::21", (2, 0), &asked), SecurityGroup),
            ingress(error(ROUTER_V6, ENI_V6, (137, 0), &asked), SecurityGroup),
            ingress(error(ROUTER_V6, ENI_V6, (5, 0), &asked), SecurityGroup),
        ],
    );
}

/// Conformance 3.6-b: Path MTU discovery needs the ACL to allow its ICMP message (3/4, and type 2 of ICMPv6), whatever
/// the groups say.
/// Source: VPC guide `path_mtu_discovery`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`recall_acl`, `go_on`).
#[test]
fn the_network_acl_is_asked_about_errors() {
    let denied = client().acl_in(100, "deny", "icmp 3/4", ANY4);
    case(
        denied,
        &[
            egress(asked(), NewConnection),
            ingress(error(ROUTER, ENI, TOO_BIG, &asked()), NetworkAcl),
            ingress(error(ROUTER, ENI, (3, 1), &asked()), Related),
        ],
    );
    let asked = syn(OWN_V6, HOST_V6);
    case(
        Policy::new().allow_out("tcp", HOST_RULE_V6).acl_in(100, "deny", "icmpv6 2/0", ANY6),
        &[
            egress(asked.clone(), NewConnection),
            ingress(error(ROUTER_V6, ENI_V6, (2, 0), &asked), NetworkAcl),
            ingress(error(ROUTER_V6, ENI_V6, (1, 4), &asked), Related),
        ],
    );
}

/// Conformance 2.4-b: An error about an untracked flow is judged by the rules for ICMP.
/// Source: EC2 guide `network_mtu`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`open`).
#[test]
fn an_error_about_an_untracked_flow_is_judged_by_rules() {
    let policy = Policy::new().allow_out("tcp", ANY4).allow_in("tcp", ANY4);
    case(
        policy.clone(),
        &[egress(asked(), Untracked), ingress(error(ROUTER, ENI, TOO_BIG, &asked()), SecurityGroup)],
    );
    case(
        policy.allow_in("icmp 3/4", ANY4),
        &[egress(asked(), Untracked), ingress(error(ROUTER, ENI, TOO_BIG, &asked()), Stray)],
    );
}

#[test]
fn errors_keep_no_connection_alive() {
    let question = udp(OWN, "198.51.100.7:53");
    case(
        client(),
        &[
            egress(question.clone(), NewConnection),
            wait(29),
            ingress(error(ROUTER, ENI, TOO_BIG, &question), Related),
            wait(3),
            ingress(error(ROUTER, ENI, TOO_BIG, &question), SecurityGroup),
            ingress(udp("198.51.100.7:53", OWN), SecurityGroup),
        ],
    );
}

#[test]
fn errors_stay_related_after_the_rules_change() {
    case(
        client(),
        &[
            egress(asked(), NewConnection),
            apply(Policy::new()),
            ingress(error(ROUTER, ENI, TOO_BIG, &asked()), Related),
            // A SYN that is sent again begins under the rules of now; the connection is still there.
            egress(asked(), SecurityGroup),
            ingress(error(ROUTER, ENI, TOO_BIG, &asked()), Related),
        ],
    );
}

/// Conformance 1.3-c: A group's rule for `icmp` is IPv4's and one for `icmpv6` is IPv6's: at the other family it matches
/// nothing.
/// Source: EC2 API `IpPermission`.
/// Enforced: `filter-ctl/src/policy.rs` (`fits`); `filter-ctl/src/compile/effects.rs` (`group`).
#[test]
fn an_icmpv6_rule_does_not_read_icmp_and_the_other_way_round() {
    case(
        Policy::new().allow_in("icmp", ANY4).allow_in("icmpv6", ANY6),
        &[
            // The other family's message, as a protocol number of this one's.
            ingress(protocol(HOST, ENI, 58, &[128, 0, 0, 0, 0, 0, 0, 0]), SecurityGroup),
            ingress(protocol(HOST_V6, ENI_V6, 1, &[8, 0, 0, 0, 0, 0, 0, 0]), SecurityGroup),
            ingress(icmp(HOST, ENI, (8, 0), 1), NewConnection),
            ingress(icmp(HOST_V6, ENI_V6, (128, 0), 1), NewConnection),
        ],
    );
}
