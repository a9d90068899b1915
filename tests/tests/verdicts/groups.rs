//! Security groups: allow-only rules, united, by protocol, destination port and remote.
//!
//! VPC guide: `security-group-rules`, `default-security-group`, `managed-prefix-lists`.

use filter_common::verdict::Reason::{Connection, NewConnection, SecurityGroup, Stray};
use filter_ctl::policy::EffectivePolicy;
use tests::{
    frame::{ack, icmp, protocol, syn, syn_ack, udp},
    policy::{ANY4, ANY6, GROUP, OTHER_GROUP, PREFIX_LIST, Policy},
    program::effective,
};

use crate::case::{ENI, HOST, HOST_RULE, HOST_V6, NEIGHBOUR, STRANGER, apply, case, egress, ingress};

const SSH: &str = "10.0.1.20:22";
const WEB: &str = "10.0.1.20:80";
const TLS: &str = "10.0.1.20:443";
const GRE: u8 = 47;

/// One interface in the groups of several documents.
fn in_groups(policies: &[Policy]) -> EffectivePolicy {
    let mut policies = policies.iter().map(effective);
    let mut united = policies.next().expect("a policy");
    united.groups.extend(policies.flat_map(|policy| policy.groups));
    united
}

#[test]
fn row_1_a_group_without_ingress_rules_lets_nothing_in() {
    case(Policy::new(), &[ingress(syn(HOST, SSH), SecurityGroup)]);
}

#[test]
fn row_2_a_new_group_lets_everything_out_and_the_answers_in() {
    let (own, web) = ("10.0.1.20:50000", "198.51.100.7:443");
    case(
        Policy::new().allow_out("-1", ANY4),
        &[
            egress(syn(own, web), NewConnection),
            ingress(syn_ack(web, own), Connection),
            egress(ack(own, web), Connection),
        ],
    );
}

#[test]
fn row_3_answers_leave_without_an_egress_rule() {
    case(
        Policy::new().allow_in("tcp 80", HOST_RULE),
        &[ingress(syn(HOST, WEB), NewConnection), egress(syn_ack(WEB, HOST), Connection)],
    );
}

#[test]
fn row_4_a_group_without_egress_rules_lets_nothing_out() {
    case(Policy::new(), &[egress(syn("10.0.1.20:50000", "198.51.100.7:443"), SecurityGroup)]);
}

#[test]
fn row_5_the_rules_of_all_groups_are_one_set() {
    let groups = in_groups(&[
        Policy::new().allow_in("tcp 22", HOST_RULE),
        Policy::new().allow_in("tcp 80", HOST_RULE),
    ]);
    case(
        groups,
        &[
            ingress(syn(HOST, SSH), NewConnection),
            ingress(syn(HOST, WEB), NewConnection),
            ingress(syn(HOST, TLS), SecurityGroup),
        ],
    );
}

#[test]
fn row_6_both_ends_of_a_port_range_belong_to_it() {
    case(
        Policy::new().allow_in("tcp 7000-8000", HOST_RULE),
        &[
            ingress(syn(HOST, "10.0.1.20:6999"), SecurityGroup),
            ingress(syn(HOST, "10.0.1.20:7000"), NewConnection),
            ingress(syn(HOST, "10.0.1.20:8000"), NewConnection),
            ingress(syn(HOST, "10.0.1.20:8001"), SecurityGroup),
        ],
    );
}

#[test]
fn row_7_an_icmp_rule_without_a_code_is_for_all_codes_of_its_type() {
    case(
        Policy::new().allow_in("icmp 8", HOST_RULE),
        &[
            ingress(icmp(HOST, ENI, (8, 0), 1), NewConnection),
            ingress(icmp(HOST, ENI, (8, 9), 2), NewConnection),
            ingress(icmp(HOST, ENI, (13, 0), 3), SecurityGroup),
        ],
    );
}

#[test]
fn row_8_an_icmp_rule_with_a_code_is_for_that_code() {
    case(
        Policy::new().allow_in("icmp 3/4", HOST_RULE),
        &[ingress(icmp(HOST, ENI, (3, 4), 0), Stray), ingress(icmp(HOST, ENI, (3, 1), 0), SecurityGroup)],
    );
}

#[test]
fn row_9_a_protocol_without_ports_is_allowed_as_a_whole() {
    case(
        Policy::new().allow_in("47", HOST_RULE),
        &[
            ingress(protocol(HOST, ENI, GRE, &[0; 8]), NewConnection),
            ingress(protocol(STRANGER, ENI, GRE, &[0; 8]), SecurityGroup),
            ingress(protocol(HOST, ENI, 50, &[0; 8]), SecurityGroup),
        ],
    );
}

#[test]
fn row_10_a_rule_for_ipv4_says_nothing_of_ipv6() {
    case(
        Policy::new().allow_in("-1", ANY4),
        &[
            ingress(syn(HOST_V6, "[2001:db8:0:1::20]:22"), SecurityGroup),
            ingress(syn(HOST, SSH), NewConnection),
        ],
    );
    case(
        Policy::new().allow_in("-1", ANY6),
        &[
            ingress(syn(HOST_V6, "[2001:db8:0:1::20]:22"), NewConnection),
            ingress(syn(HOST, SSH), SecurityGroup),
        ],
    );
}

#[test]
fn row_11_and_12_a_group_as_source_is_its_members_of_now() {
    let policy = Policy::new().allow_in("tcp 22", OTHER_GROUP);
    let without = policy.clone().neighbour_in(&[GROUP]);
    case(
        policy,
        &[
            ingress(syn(NEIGHBOUR, SSH), NewConnection),
            ingress(syn(HOST, SSH), SecurityGroup),
            apply(without),
            ingress(syn("10.0.1.30:40001", SSH), SecurityGroup),
        ],
    );
}

#[test]
fn row_13_members_of_a_group_talk_by_a_rule_that_names_it_only() {
    let member = Policy::new().neighbour_in(&[GROUP]);
    case(member.clone(), &[ingress(syn(NEIGHBOUR, SSH), SecurityGroup)]);
    case(
        member.allow_in("-1", GROUP),
        &[
            ingress(syn(NEIGHBOUR, SSH), NewConnection),
            ingress(udp(NEIGHBOUR, "10.0.1.20:9"), NewConnection),
            ingress(syn(HOST, SSH), SecurityGroup),
        ],
    );
}

#[test]
fn row_14_a_prefix_list_is_its_entries_of_now() {
    let policy = Policy::new().allow_in("tcp 22", PREFIX_LIST);
    case(
        policy.clone().prefix_list_entry(HOST_RULE),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            ingress(syn(STRANGER, SSH), SecurityGroup),
            apply(policy.prefix_list_entry("192.0.2.0/24")),
            ingress(syn("198.51.100.7:40001", SSH), SecurityGroup),
        ],
    );
}

#[test]
fn a_source_port_is_never_asked_for() {
    case(
        Policy::new().allow_in("tcp 22", HOST_RULE),
        &[
            ingress(syn("198.51.100.7:22", "10.0.1.20:23"), SecurityGroup),
            ingress(syn("198.51.100.7:23", "10.0.1.20:22"), NewConnection),
        ],
    );
}

#[test]
fn protocols_are_told_apart() {
    case(
        Policy::new().allow_in("tcp 53", HOST_RULE),
        &[
            ingress(udp(HOST, "10.0.1.20:53"), SecurityGroup),
            ingress(protocol(HOST, ENI, 132, &[0, 0, 0, 53, 0, 0, 0, 0]), SecurityGroup),
            ingress(syn(HOST, "10.0.1.20:53"), NewConnection),
        ],
    );
}

#[test]
fn a_prefix_ends_where_it_says() {
    case(
        Policy::new().allow_in("tcp 22", "198.51.100.64/26").allow_in("tcp 22", "2001:db8:100::/47"),
        &[
            ingress(syn("198.51.100.63:1", SSH), SecurityGroup),
            ingress(syn("198.51.100.64:1", SSH), NewConnection),
            ingress(syn("198.51.100.127:1", SSH), NewConnection),
            ingress(syn("198.51.100.128:1", SSH), SecurityGroup),
            ingress(syn("[2001:db8:ff:ffff::1]:1", "[2001:db8:0:1::20]:22"), SecurityGroup),
            ingress(syn("[2001:db8:100::]:1", "[2001:db8:0:1::20]:22"), NewConnection),
            ingress(syn("[2001:db8:101:ffff::1]:1", "[2001:db8:0:1::20]:22"), NewConnection),
            ingress(syn("[2001:db8:102::]:1", "[2001:db8:0:1::20]:22"), SecurityGroup),
        ],
    );
}

#[test]
fn every_packet_of_the_device_is_the_interfaces_whatever_its_address() {
    case(
        Policy::new().allow_in("tcp 22", HOST_RULE),
        &[
            ingress(syn(HOST, "10.0.1.99:22"), NewConnection),
            ingress(syn(STRANGER, "10.0.1.99:22"), SecurityGroup),
        ],
    );
}
