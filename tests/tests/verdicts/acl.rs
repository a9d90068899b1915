//! Network ACLs: numbered, stateless, asked about every packet that crosses the subnet's edge.
//!
//! VPC guide: `nacl-rules`, `default-network-acl`, `vpc-network-acls`.

use filter_common::{
    Direction::{Egress, Ingress},
    verdict::{
        Category::{Accepted, Rejected},
        Reason::{Connection, NetworkAcl, NewConnection, SecurityGroup, Untracked},
    },
};
use tests::{
    frame::{ack, echo, echo_reply, syn, syn_ack, udp},
    policy::{ANY4, ANY6, Policy},
};

use crate::case::{
    ENI, HOST, HOST_RULE, HOST_V6, NEIGHBOUR, STRANGER, apply, case, egress, ingress, recorded, tracked,
};

/// A service of the interface.
pub(crate) const SSH: &str = "10.0.1.20:22";
/// The same over IPv6.
pub(crate) const SSH_V6: &str = "[2001:db8:0:1::20]:22";
/// Another one.
pub(crate) const TLS: &str = "10.0.1.20:443";

/// Groups that allow everything, and track it.
pub(crate) fn groups_allow() -> Policy {
    Policy::new()
        .allow_in("-1", "0.0.0.0/1")
        .allow_in("-1", "128.0.0.0/1")
        .allow_in("-1", "::/1")
        .allow_in("-1", "8000::/1")
        .allow_out("-1", "0.0.0.0/1")
        .allow_out("-1", "128.0.0.0/1")
        .allow_out("-1", "::/1")
        .allow_out("-1", "8000::/1")
}

/// Conformance 25: The lowest number that matches decides: 100 deny tcp/22 from H before 110 allow all drops
/// H's SYN, REJECT on E.
/// Source: VPC guide `nacl-rules`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`network_acl`, `and`).
#[test]
fn row_25_the_lowest_number_wins() {
    case(
        groups_allow().acl_in(110, "allow", "-1", ANY4).acl_in(100, "deny", "tcp 22", HOST_RULE).log("ALL"),
        &[
            ingress(syn(HOST, SSH), NetworkAcl),
            recorded(&[(Ingress, Rejected, 1)]),
            ingress(syn(STRANGER, SSH), NewConnection),
            ingress(syn(HOST, TLS), NewConnection),
            recorded(&[(Ingress, Accepted, 2)]),
        ],
    );
    case(
        groups_allow().acl_in(110, "deny", "-1", ANY4).acl_in(100, "allow", "tcp 22", HOST_RULE),
        &[ingress(syn(HOST, SSH), NewConnection), ingress(syn(HOST, TLS), NetworkAcl)],
    );
}

/// Conformance 26: What no numbered rule matches is denied by `*`, REJECT on E.
/// Source: VPC guide `default-network-acl`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`NOTHING`, `decide`).
#[test]
fn row_26_what_no_number_matches_is_denied() {
    let policy = groups_allow().acl_of_nothing().acl_in(100, "allow", "tcp 22", HOST_RULE);
    case(
        policy.acl_out(100, "allow", "tcp 40000", HOST_RULE).log("ALL"),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            egress(syn_ack(SSH, HOST), Connection),
            recorded(&[(Ingress, Accepted, 1), (Egress, Accepted, 1)]),
            ingress(syn(HOST, TLS), NetworkAcl),
            ingress(syn(STRANGER, SSH), NetworkAcl),
            ingress(udp(HOST, SSH), NetworkAcl),
            ingress(echo(HOST, ENI, 1), NetworkAcl),
            ingress(syn(HOST_V6, SSH_V6), NetworkAcl),
            egress(syn("10.0.1.20:50000", "198.51.100.7:22"), NetworkAcl),
            recorded(&[(Ingress, Rejected, 5), (Egress, Rejected, 1)]),
        ],
    );
}

/// Conformance 27: A new custom ACL drops all traffic, in and out.
/// Source: EC2 API `CreateNetworkAcl`; VPC guide `custom-network-acl`.
/// Enforced: `filter-ctl/src/document/decode/acl.rs` (`network_acl`); `filter-ctl/src/compile/effects.rs`
/// (`NOTHING`).
#[test]
fn row_27_a_new_custom_acl_denies_everything() {
    case(
        groups_allow().acl_of_nothing(),
        &[
            ingress(syn(HOST, SSH), NetworkAcl),
            ingress(udp(HOST, SSH), NetworkAcl),
            ingress(echo(HOST, ENI, 1), NetworkAcl),
            ingress(syn(HOST_V6, SSH_V6), NetworkAcl),
            egress(syn(SSH, HOST), NetworkAcl),
            egress(udp(SSH, HOST), NetworkAcl),
            egress(echo(ENI, HOST, 1), NetworkAcl),
            egress(syn(SSH_V6, HOST_V6), NetworkAcl),
            tracked(0),
        ],
    );
}

/// Conformance 28: Traffic between E and N in one subnet is not asked about: it passes below an ACL that
/// denies everything.
/// Source: VPC guide `vpc-network-acls`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`SameSubnet`, `SAME_LINK`).
#[test]
fn row_28_within_the_subnet_it_is_not_asked() {
    let neighbour_v6 = "[2001:db8:0:1::30]:40000";
    case(
        groups_allow()
            .acl_of_nothing()
            .acl_in(1, "deny", "-1", ANY4)
            .acl_in(2, "deny", "-1", ANY6)
            .acl_out(1, "deny", "-1", ANY4)
            .acl_out(2, "deny", "-1", ANY6),
        &[
            ingress(syn(NEIGHBOUR, SSH), NewConnection),
            egress(syn_ack(SSH, NEIGHBOUR), Connection),
            egress(syn("10.0.1.20:50000", "10.0.1.30:80"), NewConnection),
            egress(syn("10.0.1.20:50000", "10.0.1.255:80"), NewConnection),
            ingress(syn("10.0.2.30:40000", SSH), NetworkAcl),
            ingress(syn("10.0.0.255:40000", SSH), NetworkAcl),
            ingress(syn(neighbour_v6, SSH_V6), NewConnection),
            egress(syn_ack(SSH_V6, neighbour_v6), Connection),
            ingress(syn("[2001:db8:0:2::30]:40000", SSH_V6), NetworkAcl),
            ingress(syn("[fe80::1]:40000", "[fe80::20]:22"), NewConnection),
            ingress(syn("[fec0::1]:40000", "[fe80::20]:22"), NetworkAcl),
        ],
    );
}

/// Conformance 29: An ACL that allows 443 in and forgets 1024 to 65535 out lets H's SYN in, ACCEPT, and stops
/// E's SYN-ACK, REJECT.
/// Source: VPC guide `custom-network-acl`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`cached`, `go_on`).
#[test]
fn row_29_an_acl_that_forgets_ephemeral_ports_lets_the_syn_in_and_stops_the_answer() {
    let policy = Policy::new().allow_in("tcp 443", HOST_RULE).acl_of_nothing();
    case(
        policy.acl_in(100, "allow", "tcp 443", ANY4).acl_out(100, "allow", "tcp 443", ANY4).log("ALL"),
        &[
            ingress(syn(HOST, TLS), NewConnection),
            egress(syn_ack(TLS, HOST), NetworkAcl),
            recorded(&[(Ingress, Accepted, 1), (Egress, Rejected, 1)]),
        ],
    );
}

/// Conformance 30: The groups let a ping in and the ACL denies its answer out: ACCEPT, then REJECT.
/// Source: VPC guide `flow-logs-records-examples`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`recall_acl`, `go_on`).
#[test]
fn row_30_an_answer_that_the_groups_know_is_still_the_acls_to_stop() {
    case(
        Policy::new().allow_in("icmp", HOST_RULE).acl_out(100, "deny", "icmp", ANY4).log("ALL"),
        &[
            ingress(echo(HOST, ENI, 1), NewConnection),
            egress(echo_reply(ENI, HOST, 1), NetworkAcl),
            recorded(&[(Ingress, Accepted, 1), (Egress, Rejected, 1)]),
        ],
    );
}

/// Conformance 31: The groups refuse a ping: one REJECT, and none for an answer.
/// Source: VPC guide `flow-logs-records-examples`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`judge_read`, `denied`).
#[test]
fn row_31_where_the_groups_refuse_there_is_one_refusal() {
    case(
        Policy::new().log("ALL"),
        &[ingress(echo(HOST, ENI, 1), SecurityGroup), tracked(0), recorded(&[(Ingress, Rejected, 1)])],
    );
}

/// Conformance 32: A denial that is added to the ACL, in either direction, cuts a tracked live connection at
/// once.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`recall`, `recall_acl`).
#[test]
fn row_32_a_new_denial_cuts_a_live_connection_in_its_direction_at_once() {
    let open = groups_allow();
    case(
        open.clone(),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            egress(syn_ack(SSH, HOST), Connection),
            ingress(ack(HOST, SSH), Connection),
            apply(open.clone().acl_in(100, "deny", "tcp 22", HOST_RULE)),
            ingress(ack(HOST, SSH), NetworkAcl),
            egress(ack(SSH, HOST), Connection),
            ingress(ack(HOST, SSH), NetworkAcl),
            apply(open.clone().acl_out(100, "deny", "tcp 40000", ANY4)),
            egress(ack(SSH, HOST), NetworkAcl),
            ingress(ack(HOST, SSH), Connection),
            egress(ack(SSH, HOST), NetworkAcl),
            apply(open),
            ingress(ack(HOST, SSH), Connection),
            egress(ack(SSH, HOST), Connection),
            tracked(1),
        ],
    );
}

/// Conformance 1.10-a: A denial that is added to the ACL cuts untracked traffic at once, too, in either
/// direction.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`open`, `denied`).
#[test]
fn a_new_denial_cuts_an_untracked_flow_at_once() {
    let open = Policy::open();
    case(
        open.clone(),
        &[
            ingress(syn(HOST, SSH), Untracked),
            egress(syn_ack(SSH, HOST), Untracked),
            apply(open.clone().acl_in(100, "deny", "-1", HOST_RULE)),
            ingress(ack(HOST, SSH), NetworkAcl),
            egress(ack(SSH, HOST), Untracked),
            apply(open.acl_out(100, "deny", "-1", HOST_RULE)),
            ingress(ack(HOST, SSH), Untracked),
            egress(ack(SSH, HOST), NetworkAcl),
        ],
    );
}

/// Conformance 3.7-a: A denial of the ACL holds for an answer that the groups know, also after the groups have
/// changed.
/// Source: VPC guide `infrastructure-security`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`recall_acl`, `go_on`).
#[test]
fn a_change_of_the_groups_leaves_the_acls_say_as_it_was() {
    let denied = groups_allow().acl_out(100, "deny", "tcp 40000", ANY4);
    let revoked = Policy::new().acl_out(100, "deny", "tcp 40000", ANY4);
    case(
        denied,
        &[
            ingress(syn(HOST, SSH), NewConnection),
            egress(syn_ack(SSH, HOST), NetworkAcl),
            apply(revoked),
            ingress(ack(HOST, SSH), Connection),
            egress(syn_ack(SSH, HOST), NetworkAcl),
        ],
    );
}

#[test]
fn each_icmp_message_of_an_exchange_is_asked_about_by_its_own_type() {
    case(
        groups_allow().acl_out(100, "deny", "icmp 0", ANY4),
        &[
            ingress(echo(HOST, ENI, 7), NewConnection),
            egress(echo_reply(ENI, HOST, 7), NetworkAcl),
            ingress(echo(HOST, ENI, 7), Connection),
            egress(echo(ENI, HOST, 7), NewConnection),
            ingress(echo_reply(HOST, ENI, 7), Connection),
        ],
    );
}

/// Conformance 3.7-b: On the way in the ACL comes before the groups, on the way out after them; both must accept.
/// Source: VPC guide `infrastructure-security`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`denied`).
#[test]
fn of_two_layers_that_deny_the_outer_one_is_named_on_the_way_in_and_the_inner_one_on_the_way_out() {
    case(
        Policy::new().acl_of_nothing(),
        &[ingress(syn(HOST, SSH), NetworkAcl), egress(syn(SSH, HOST), SecurityGroup)],
    );
}
