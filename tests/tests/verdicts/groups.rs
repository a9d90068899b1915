//! Security groups: allow-only rules, united, by protocol, destination port and remote.
//!
//! VPC guide: `security-group-rules`, `default-security-group`, `managed-prefix-lists`.

use filter_common::{
    Direction::{Egress, Ingress},
    verdict::{
        Category::{Accepted, Rejected},
        Reason::{Connection, NewConnection, SecurityGroup, Stray},
    },
};
use filter_ctl::policy::EffectivePolicy;
use tests::{
    frame::{ack, icmp, protocol, syn, syn_ack, udp},
    policy::{ANY4, ANY6, GROUP, NEIGHBOUR_ENI, OTHER_GROUP, PREFIX_LIST, Policy},
    program::{effective, effective_of, programs},
};

use crate::case::{
    ENI, EVERYWHERE, HOST, HOST_RULE, HOST_V6, NEIGHBOUR, STRANGER, apply, case, egress, ingress, recorded,
    records, tracked,
};

const SSH: &str = "10.0.1.20:22";
const WEB: &str = "10.0.1.20:80";
const TLS: &str = "10.0.1.20:443";
/// Where the interface asks from, and whom.
const OWN: &str = "10.0.1.20:50000";
const TLS_OF_HOST: &str = "198.51.100.7:443";
const GRE: u8 = 47;

/// One interface in the groups of several documents.
fn in_groups(policies: &[Policy]) -> EffectivePolicy {
    let mut policies = policies.iter().map(effective);
    let mut united = policies.next().expect("a policy");
    united.groups.extend(policies.flat_map(|policy| policy.groups));
    united
}

/// Conformance 1: A group without an ingress rule lets nothing new in: H's SYN is dropped, REJECT on E.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`open`, `denied`).
#[test]
fn row_1_a_group_without_ingress_rules_lets_nothing_in() {
    case(
        Policy::new().default_egress().log("ALL"),
        &[ingress(syn(HOST, SSH), SecurityGroup), tracked(0), recorded(&[(Ingress, Rejected, 1)])],
    );
}

/// Conformance 2: A new group lets everything out and the answers in: E opens TCP to H, ACCEPT both ways.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/document/resolve.rs` (`default_egress`); `filter-ebpf/src/pipeline.rs`
/// (`recall`).
#[test]
fn row_2_a_new_group_lets_everything_out_and_the_answers_in() {
    case(
        Policy::new().default_egress().log("ALL"),
        &[
            egress(syn(OWN, TLS_OF_HOST), NewConnection),
            ingress(syn_ack(TLS_OF_HOST, OWN), Connection),
            egress(ack(OWN, TLS_OF_HOST), Connection),
            recorded(&[(Ingress, Accepted, 1), (Egress, Accepted, 2)]),
            egress(udp(OWN, HOST), NewConnection),
            egress(protocol(ENI, HOST, GRE, &[0; 8]), NewConnection),
            egress(syn("[2001:db8:0:1::20]:50000", HOST_V6), NewConnection),
        ],
    );
}

/// Conformance 3: Stateful: with ingress tcp/80 from H and no egress rule, H's SYN and E's SYN-ACK pass.
/// Source: EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`recall`, `go_on`); `filter-ebpf/src/connections.rs` (`open`).
#[test]
fn row_3_answers_leave_without_an_egress_rule() {
    case(
        Policy::new().allow_in("tcp 80", HOST_RULE),
        &[
            ingress(syn(HOST, WEB), NewConnection),
            egress(syn_ack(WEB, HOST), Connection),
            ingress(ack(HOST, WEB), Connection),
            // Of this connection, and of no other.
            egress(syn(OWN, HOST), SecurityGroup),
        ],
    );
}

/// Conformance 4: A group without an egress rule lets nothing new out: E's SYN is dropped, REJECT on E,
/// and H sees nothing.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`open`, `denied`).
#[test]
fn row_4_a_group_without_egress_rules_lets_nothing_out() {
    case(
        Policy::new().log("ALL"),
        &[
            egress(syn(OWN, TLS_OF_HOST), SecurityGroup),
            tracked(0),
            recorded(&[(Egress, Rejected, 1)]),
            ingress(syn_ack(TLS_OF_HOST, OWN), SecurityGroup),
        ],
    );
}

/// Conformance 5: The rules of all groups of an interface are one set: A allows 22, B allows 80, so both
/// pass and 443 does not.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`gather`, `and`).
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

/// Conformance 6: Both ends of a port range belong to it: of 7000 to 8000, 7000 and 8000 pass, 6999 and
/// 8001 do not.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`spans`).
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

/// Conformance 7: `icmp` with type 8 and code -1 lets echo requests of any code in, and no timestamp
/// request (13).
/// Source: EC2 API `IpPermission`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`spans`); `filter-ctl/src/document/decode/service.rs`
/// (`icmp`).
#[test]
fn row_7_an_icmp_rule_without_a_code_is_for_all_codes_of_its_type() {
    case(
        Policy::new().allow_in("icmp 8", HOST_RULE),
        &[
            ingress(icmp(HOST, ENI, (8, 0), 1), NewConnection),
            ingress(icmp(HOST, ENI, (8, 9), 2), NewConnection),
            ingress(icmp(HOST, ENI, (8, 255), 4), NewConnection),
            ingress(icmp(HOST, ENI, (13, 0), 3), SecurityGroup),
            ingress(icmp(HOST, ENI, (7, 255), 3), SecurityGroup),
            ingress(icmp(HOST, ENI, (9, 0), 3), SecurityGroup),
        ],
    );
}

/// Conformance 8: `icmp` with type 3 and code 4 lets that code in, and not 3/1.
/// Source: EC2 API `IpPermission`; CLI `authorize-security-group-ingress`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`spans`); `filter-ctl/src/document/decode/service.rs`
/// (`icmp`).
#[test]
fn row_8_an_icmp_rule_with_a_code_is_for_that_code() {
    case(
        Policy::new().allow_in("icmp 3/4", HOST_RULE),
        &[ingress(icmp(HOST, ENI, (3, 4), 0), Stray), ingress(icmp(HOST, ENI, (3, 1), 0), SecurityGroup)],
    );
}

/// Conformance 9: The ports of a rule for protocol 47 are ignored: GRE passes as a whole.
/// Source: EC2 API `IpPermission`.
/// Enforced: `filter-ctl/src/document/decode/service.rs` (`group_service`, `without_ports`).
#[test]
fn row_9_a_protocol_without_ports_is_allowed_as_a_whole() {
    case(
        Policy::new().allow_in("47 1000-2000", HOST_RULE),
        &[
            ingress(protocol(HOST, ENI, GRE, &[0; 8]), NewConnection),
            // Where TCP has its destination port: no such thing here.
            ingress(protocol("198.51.100.7", "10.0.1.21", GRE, &[0, 1, 0, 22, 0, 0, 0, 0]), NewConnection),
            ingress(protocol(STRANGER, ENI, GRE, &[0; 8]), SecurityGroup),
            ingress(protocol(HOST, ENI, 50, &[0; 8]), SecurityGroup),
        ],
    );
}

/// Conformance 10: `-1` from `0.0.0.0/0` says nothing of IPv6, nor `-1` from `::/0` of IPv4.
/// Source: VPC guide `default-security-group`, `custom-network-acl`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`add_number`).
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

/// Conformance 11: A group as source is its members: N, which is in it, passes; H, which is not, does not.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/document/resolve.rs` (`peer`).
#[test]
fn row_11_a_group_as_source_is_its_members() {
    let (own, neighbour) = ("[2001:db8:0:1::20]:22", "[2001:db8:0:1::30]:40000");
    case(
        Policy::new().allow_in("tcp 22", OTHER_GROUP),
        &[
            ingress(syn(NEIGHBOUR, SSH), NewConnection),
            ingress(syn(neighbour, own), NewConnection),
            ingress(syn(HOST, SSH), SecurityGroup),
            ingress(syn(HOST_V6, own), SecurityGroup),
            // A neighbour, and no member.
            ingress(syn("10.0.1.31:40000", SSH), SecurityGroup),
        ],
    );
}

/// Conformance 12: A member that leaves the group opens no new connection; one that joins it does.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/document/index.rs` (`join`, `members`).
#[test]
fn row_12_who_leaves_the_group_is_no_longer_let_in() {
    let policy = Policy::new().allow_in("tcp 22", OTHER_GROUP);
    let without = policy.clone().neighbour_in(&[GROUP]);
    case(
        policy.clone(),
        &[
            ingress(syn(NEIGHBOUR, SSH), NewConnection),
            apply(without),
            ingress(syn("10.0.1.30:40001", SSH), SecurityGroup),
            apply(policy),
            ingress(syn("10.0.1.30:40001", SSH), NewConnection),
        ],
    );
}

/// Conformance 13: Two interfaces in the default group reach each other on any port, and both log ACCEPT.
/// Source: VPC guide `default-security-group`.
/// Enforced: `filter-ctl/src/document/index.rs` (`groups_of`); `filter-ctl/src/document/resolve.rs`
/// (`group`).
#[test]
fn row_13_members_of_the_default_group_reach_each_other() {
    let policy = Policy::new().in_default_group().log_subnet("ALL");
    let (own, other) = (effective(&policy), effective_of(&policy, NEIGHBOUR_ENI));
    let questions =
        [syn(OWN, "10.0.1.30:22"), udp(OWN, "10.0.1.30:9"), protocol(ENI, "10.0.1.30", GRE, &[0; 8])];
    let mut programs = programs();
    for (setting, receive) in EVERYWHERE {
        let place = format!("{setting:?}, {receive:?}");
        for (policy, direction) in [(&own, Egress), (&other, Ingress)] {
            let mut eni = programs.eni(setting, receive, policy);
            for question in &questions {
                assert_eq!(eni.judge(direction, question).reason, NewConnection, "{place}: {question:?}");
            }
            assert_eq!(records(&mut eni), [(direction, Accepted, 3)], "{place}");
        }
        // Nobody else gets in.
        let mut eni = programs.eni(setting, receive, &other);
        assert_eq!(eni.judge(Ingress, &syn(HOST, "10.0.1.30:22")).reason, SecurityGroup, "{place}");
    }
}

/// Conformance 14: A prefix list as source is its entries of now: an entry that is taken out lets H open no
/// new connection.
/// Source: VPC guide `managed-prefix-lists`.
/// Enforced: `filter-ctl/src/document/resolve.rs` (`peer`).
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
            ingress(syn("192.0.2.1:40001", SSH), NewConnection),
        ],
    );
}

/// Conformance 1.1-a: Members of a group may not talk to each other by their membership: it takes a rule
/// that names the group.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/document/resolve.rs` (`rules`).
#[test]
fn members_of_a_group_talk_by_a_rule_that_names_it_only() {
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

/// Conformance 1.1-b: Groups judge all traffic of the interface, that within the subnet too.
/// Source: VPC guide `vpc-security-groups`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`denied`).
#[test]
fn the_groups_are_asked_within_the_subnet_too() {
    case(
        Policy::new().allow_in("tcp 22", "10.0.1.30/32").allow_out("tcp 22", "10.0.1.30/32"),
        &[
            ingress(syn(NEIGHBOUR, SSH), NewConnection),
            ingress(syn(NEIGHBOUR, WEB), SecurityGroup),
            ingress(syn("10.0.1.31:40000", SSH), SecurityGroup),
            egress(syn(OWN, "10.0.1.30:22"), NewConnection),
            egress(syn(OWN, "10.0.1.30:80"), SecurityGroup),
        ],
    );
}

/// Conformance 1.4-a: A group as destination of an egress rule is its members, as it is as a source.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/document/resolve.rs` (`peer`).
/// Conformance 1.5-a: A prefix list as destination of an egress rule is its entries.
/// Source: VPC guide `managed-prefix-lists`.
/// Enforced: `filter-ctl/src/document/resolve.rs` (`peer`).
#[test]
fn groups_and_prefix_lists_are_destinations_too() {
    case(
        Policy::new()
            .allow_out("tcp 443", OTHER_GROUP)
            .allow_out("udp 53", PREFIX_LIST)
            .prefix_list_entry(HOST_RULE),
        &[
            egress(syn(OWN, "10.0.1.30:443"), NewConnection),
            egress(syn(OWN, "10.0.1.31:443"), SecurityGroup),
            egress(syn(OWN, TLS_OF_HOST), SecurityGroup),
            egress(udp(OWN, "198.51.100.7:53"), NewConnection),
            egress(udp(OWN, "203.0.113.9:53"), SecurityGroup),
            ingress(syn(NEIGHBOUR, TLS), SecurityGroup),
        ],
    );
}

/// Conformance 1.8-a: Of rules that overlap, the wider one wins, whatever their order.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`and`).
#[test]
fn of_overlapping_rules_the_wider_one_wins() {
    let rules = [("tcp 22", "198.51.100.0/24"), ("tcp 20-30", HOST_RULE), ("tcp 25", "198.51.0.0/16")];
    for order in [[0, 1, 2], [2, 1, 0]] {
        let policy =
            order.iter().fold(Policy::new(), |policy, at| policy.allow_in(rules[*at].0, rules[*at].1));
        case(
            policy,
            &[
                ingress(syn(HOST, SSH), NewConnection),
                ingress(syn(HOST, "10.0.1.20:30"), NewConnection),
                ingress(syn("198.51.100.8:1", SSH), NewConnection),
                ingress(syn("198.51.100.8:1", "10.0.1.20:30"), SecurityGroup),
                ingress(syn("198.51.99.8:1", "10.0.1.20:25"), NewConnection),
                ingress(syn("198.51.99.8:1", SSH), SecurityGroup),
            ],
        );
    }
}

/// Conformance 1.1-c: The source port is never asked for.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-common/src/packet/mod.rs` (`service`).
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

/// Conformance 1.3-a: A rule is for its protocol only: a port of TCP is none of UDP or SCTP.
/// Source: EC2 API `IpPermission`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`spans`); `filter-common/src/service.rs` (`new`).
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

/// Conformance 1.3-b: A CIDR block holds its first and its last address and nothing beside them.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/compile/addresses.rs`; `filter-common/src/policy.rs` (`address_class`).
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
