//! Network ACLs: numbered, stateless, asked about every packet that crosses the subnet's edge.
//!
//! VPC guide: `nacl-rules`, `default-network-acl`, `vpc-network-acls`.

use filter_common::verdict::Reason::{Connection, NetworkAcl, NewConnection, SecurityGroup, Untracked};
use filter_ctl::policy::EffectivePolicy;
use tests::{
    frame::{ack, echo, echo_reply, icmp, syn, syn_ack, udp},
    policy::{ANY4, ANY6, Policy},
    program::effective,
};

use crate::case::{
    ENI, HOST, HOST_RULE, HOST_V6, NEIGHBOUR, STRANGER, Step, apply, case, egress, ingress, tracked,
};

const SSH: &str = "10.0.1.20:22";
const TLS: &str = "10.0.1.20:443";

/// Groups that allow everything, and track it.
fn groups_allow() -> Policy {
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

/// The same policy below a network ACL that has no numbered rules.
fn below_nothing(policy: &Policy) -> EffectivePolicy {
    let mut policy = effective(policy);
    policy.nacl.ingress.clear();
    policy.nacl.egress.clear();
    policy
}

#[test]
fn row_25_the_lowest_number_wins() {
    case(
        groups_allow().acl_in(110, "allow", "-1", ANY4).acl_in(100, "deny", "tcp 22", HOST_RULE),
        &[
            ingress(syn(HOST, SSH), NetworkAcl),
            ingress(syn(STRANGER, SSH), NewConnection),
            ingress(syn(HOST, TLS), NewConnection),
        ],
    );
    case(
        groups_allow().acl_in(110, "deny", "-1", ANY4).acl_in(100, "allow", "tcp 22", HOST_RULE),
        &[ingress(syn(HOST, SSH), NewConnection), ingress(syn(HOST, TLS), NetworkAcl)],
    );
}

#[test]
fn row_26_and_27_what_no_number_matches_is_denied() {
    case(
        below_nothing(&groups_allow()),
        &[
            ingress(syn(HOST, SSH), NetworkAcl),
            ingress(udp(HOST, SSH), NetworkAcl),
            ingress(echo(HOST, ENI, 1), NetworkAcl),
            egress(syn(SSH, HOST), NetworkAcl),
            egress(echo(ENI, HOST, 1), NetworkAcl),
            tracked(0),
        ],
    );
}

#[test]
fn row_28_within_the_subnet_it_is_not_asked() {
    let (own_v6, neighbour_v6) = ("[2001:db8:0:1::20]:22", "[2001:db8:0:1::30]:40000");
    case(
        below_nothing(&groups_allow()),
        &[
            ingress(syn(NEIGHBOUR, SSH), NewConnection),
            egress(syn_ack(SSH, NEIGHBOUR), Connection),
            egress(syn("10.0.1.20:50000", "10.0.1.255:80"), NewConnection),
            ingress(syn("10.0.2.30:40000", SSH), NetworkAcl),
            ingress(syn(neighbour_v6, own_v6), NewConnection),
            egress(syn_ack(own_v6, neighbour_v6), Connection),
            ingress(syn("[2001:db8:0:2::30]:40000", own_v6), NetworkAcl),
            ingress(syn("[fe80::1]:40000", "[fe80::20]:22"), NewConnection),
            ingress(syn("[fec0::1]:40000", "[fe80::20]:22"), NetworkAcl),
        ],
    );
}

#[test]
fn row_29_an_acl_that_forgets_ephemeral_ports_lets_the_syn_in_and_stops_the_answer() {
    let policy = Policy::new().allow_in("tcp 443", HOST_RULE);
    let mut policy =
        effective(&policy.acl_in(100, "allow", "tcp 443", ANY4).acl_out(100, "allow", "tcp 443", ANY4));
    policy.nacl.ingress.truncate(1);
    policy.nacl.egress.truncate(1);
    case(policy, &[ingress(syn(HOST, TLS), NewConnection), egress(syn_ack(TLS, HOST), NetworkAcl)]);
}

#[test]
fn row_30_an_answer_that_the_groups_know_is_still_the_acls_to_stop() {
    case(
        Policy::new().allow_in("icmp", HOST_RULE).acl_out(100, "deny", "icmp", ANY4),
        &[ingress(echo(HOST, ENI, 1), NewConnection), egress(echo_reply(ENI, HOST, 1), NetworkAcl)],
    );
}

#[test]
fn row_31_where_the_groups_refuse_there_is_one_refusal() {
    case(Policy::new(), &[ingress(echo(HOST, ENI, 1), SecurityGroup), tracked(0)]);
}

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

#[test]
fn a_new_denial_cuts_an_untracked_flow_at_once() {
    let open = Policy::open();
    case(
        open.clone(),
        &[
            ingress(syn(HOST, SSH), Untracked),
            apply(open.acl_in(100, "deny", "-1", HOST_RULE)),
            ingress(ack(HOST, SSH), NetworkAcl),
        ],
    );
}

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

#[test]
fn of_two_layers_that_deny_the_outer_one_is_named_on_the_way_in_and_the_inner_one_on_the_way_out() {
    case(
        below_nothing(&Policy::new()),
        &[ingress(syn(HOST, SSH), NetworkAcl), egress(syn(SSH, HOST), SecurityGroup)],
    );
}

#[test]
fn families_have_rules_of_their_own() {
    let v6 = "[2001:db8:0:1::20]:22";
    case(
        groups_allow().acl_in(100, "deny", "-1", ANY4),
        &[ingress(syn(HOST, SSH), NetworkAcl), ingress(syn(HOST_V6, v6), NewConnection)],
    );
    case(
        groups_allow().acl_in(100, "deny", "-1", ANY6),
        &[ingress(syn(HOST, SSH), NewConnection), ingress(syn(HOST_V6, v6), NetworkAcl)],
    );
}

#[test]
fn a_rule_matches_destination_ports_and_types_as_the_groups_do() {
    let ports = |port: u16| format!("10.0.1.20:{port}");
    let steps = |reasons: [(u16, filter_common::verdict::Reason); 4]| -> Vec<Step> {
        reasons.into_iter().map(|(port, reason)| ingress(syn(HOST, &ports(port)), reason)).collect()
    };
    case(
        groups_allow().acl_in(100, "deny", "tcp 1024-2047", HOST_RULE),
        &steps([(1023, NewConnection), (1024, NetworkAcl), (2047, NetworkAcl), (2048, NewConnection)]),
    );
    case(
        groups_allow().acl_in(100, "deny", "icmp 8/0", HOST_RULE),
        &[
            ingress(icmp(HOST, ENI, (8, 0), 1), NetworkAcl),
            ingress(icmp(HOST, ENI, (8, 1), 1), NewConnection),
            ingress(icmp(HOST, ENI, (13, 0), 1), NewConnection),
        ],
    );
}
