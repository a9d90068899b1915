//! Network ACLs: what an entry matches, in which order, and what stands in a list by default.
//!
//! VPC guide: `nacl-rules`, `default-network-acl`, `custom-network-acl`; API, `CreateNetworkAclEntry`.

use filter_common::verdict::Reason::{Connection, NetworkAcl, NewConnection, SecurityGroup};
use tests::{
    frame::{echo, icmp, protocol, syn, syn_ack, udp},
    policy::{ANY4, ANY6, Policy},
};

use crate::{
    acl::{SSH, SSH_V6, TLS, groups_allow},
    case::{ENI, ENI_V6, HOST, HOST_RULE, HOST_V6, STRANGER, Step, case, egress, ingress, tracked},
};

/// Conformance 3.1-a: IPv4 and IPv6 are judged apart: a rule of one family never matches the other.
/// Source: VPC guide `nacl-rules`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`add_number`).
#[test]
fn families_have_rules_of_their_own() {
    case(
        groups_allow().acl_in(100, "deny", "-1", ANY4),
        &[ingress(syn(HOST, SSH), NetworkAcl), ingress(syn(HOST_V6, SSH_V6), NewConnection)],
    );
    case(
        groups_allow().acl_in(100, "deny", "-1", ANY6),
        &[ingress(syn(HOST, SSH), NewConnection), ingress(syn(HOST_V6, SSH_V6), NetworkAcl)],
    );
}

/// Conformance 3.1-b: The ports of a rule are destination ports, both ends included.
/// Source: VPC guide `nacl-rules`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`spans`).
/// Conformance 3.3-a: A type and a code of ICMP: that message alone; -1 is every one of them.
/// Source: EC2 API `CreateNetworkAclEntry`.
/// Enforced: `filter-ctl/src/document/decode/service.rs` (`icmp`); `filter-ctl/src/compile/effects.rs`
/// (`spans`).
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
    // The same port as a source.
    case(
        groups_allow().acl_in(100, "deny", "tcp 40000", ANY4),
        &[ingress(syn(HOST, SSH), NewConnection), ingress(syn(HOST, "10.0.1.20:40000"), NetworkAcl)],
    );
    case(
        groups_allow().acl_in(100, "deny", "icmp 8/0", HOST_RULE),
        &[
            ingress(icmp(HOST, ENI, (8, 0), 1), NetworkAcl),
            ingress(icmp(HOST, ENI, (8, 1), 1), NewConnection),
            ingress(icmp(HOST, ENI, (13, 0), 1), NewConnection),
        ],
    );
    case(
        groups_allow().acl_in(100, "deny", "icmp 8", HOST_RULE).acl_in(110, "deny", "icmpv6", ANY6),
        &[
            ingress(icmp(HOST, ENI, (8, 7), 1), NetworkAcl),
            ingress(icmp(HOST, ENI, (13, 0), 1), NewConnection),
            ingress(echo("2001:db8:100::7", ENI_V6, 1), NetworkAcl),
            ingress(icmp("2001:db8:100::7", ENI_V6, (1, 0), 1), NetworkAcl),
            ingress(syn(HOST_V6, SSH_V6), NewConnection),
        ],
    );
}

/// Conformance 3.1-c: Inbound and outbound rules are lists of their own, and each has its own numbers.
/// Source: VPC guide `nacl-rules`.
/// Enforced: `filter-ctl/src/document/decode/acl.rs` (`network_acl`).
#[test]
fn each_direction_has_a_list_of_its_own() {
    case(
        groups_allow().acl_in(100, "deny", "tcp 22", ANY4).acl_out(100, "deny", "tcp 25", ANY4),
        &[
            ingress(syn(HOST, SSH), NetworkAcl),
            ingress(syn(HOST, "10.0.1.20:25"), NewConnection),
            egress(syn("10.0.1.20:50000", "198.51.100.7:25"), NetworkAcl),
            egress(syn("10.0.1.20:50000", "198.51.100.7:22"), NewConnection),
        ],
    );
}

/// Conformance 3.1-d: After the first match no later rule is looked at: an allow is not undone by a later deny,
/// nor a deny by a later allow, however specific.
/// Source: VPC guide `nacl-rules`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`network_acl`, `and`).
#[test]
fn the_first_match_decides_however_specific_the_others_are() {
    case(
        groups_allow()
            .acl_in(32_766, "allow", "-1", ANY4)
            .acl_in(300, "deny", "tcp 22", HOST_RULE)
            .acl_in(200, "allow", "tcp 0-1023", "198.51.100.0/24")
            .acl_in(100, "deny", "-1", "198.51.100.128/25")
            .acl_in(1, "allow", "tcp 80", "198.51.100.200/32"),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            ingress(syn("198.51.100.200:1", SSH), NetworkAcl),
            ingress(syn("198.51.100.200:1", "10.0.1.20:80"), NewConnection),
            ingress(syn("198.51.100.201:1", "10.0.1.20:80"), NetworkAcl),
            ingress(syn("198.51.100.127:1", "10.0.1.20:1023"), NewConnection),
            ingress(udp("198.51.100.127:1", "10.0.1.20:1023"), NewConnection),
        ],
    );
}

/// Conformance 3.1-e: Stateless: no answer is implied, also of what the interface begins.
/// Source: VPC guide `vpc-network-acls`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`cached`, `go_on`).
/// Conformance 3.6-a: A rule for the ephemeral ports of the interface lets the answers in.
/// Source: VPC guide `custom-network-acl`.
/// Enforced: `filter-ctl/src/compile/effects.rs` (`spans`).
#[test]
fn answers_need_rules_of_their_own() {
    let out = Policy::new().allow_out("-1", ANY4).acl_of_nothing().acl_out(100, "allow", "-1", ANY4);
    let (own, web) = ("10.0.1.20:50000", "198.51.100.7:443");
    case(
        out.clone(),
        &[egress(syn(own, web), NewConnection), ingress(syn_ack(web, own), NetworkAcl), tracked(1)],
    );
    case(
        out.acl_in(100, "allow", "tcp 1024-65535", ANY4),
        &[
            egress(syn(own, web), NewConnection),
            ingress(syn_ack(web, own), Connection),
            // And what the ACL lets in is still the groups' to refuse.
            ingress(syn(HOST, own), SecurityGroup),
        ],
    );
}

/// Conformance 3.3-b: For protocols other than TCP, UDP and ICMP, ports are ignored: the rule is for all of the
/// protocol, and `-1` for all of everything.
/// Source: EC2 API `CreateNetworkAclEntry`.
/// Enforced: `filter-ctl/src/document/decode/service.rs` (`acl_service`, `without_ports`).
#[test]
fn the_ports_of_other_protocols_are_ignored() {
    let from = |number| protocol(HOST, ENI, number, &[0, 1, 0, 22, 0, 0, 0, 0]);
    case(
        groups_allow().acl_in(100, "deny", "47 1000-2000", HOST_RULE),
        &[
            ingress(from(47), NetworkAcl),
            ingress(from(50), NewConnection),
            ingress(syn(HOST, "10.0.1.20:1500"), NewConnection),
            ingress(protocol(STRANGER, ENI, 47, &[0; 8]), NewConnection),
        ],
    );
    case(
        groups_allow().acl_in(100, "deny", "-1 1000-2000", HOST_RULE),
        &[
            ingress(from(47), NetworkAcl),
            ingress(syn(HOST, SSH), NetworkAcl),
            ingress(udp(HOST, SSH), NetworkAcl),
            ingress(echo(HOST, ENI, 1), NetworkAcl),
        ],
    );
}

/// Conformance 3.3-c: Protocol 58 with an IPv4 block is for all types and codes, whatever the entry says of them.
/// Source: EC2 API `CreateNetworkAclEntry`.
/// Enforced: `filter-ctl/src/document/decode/service.rs` (`acl_service`).
#[test]
fn protocol_58_with_an_ipv4_block_is_for_all_types() {
    let message = |from, kind| protocol(from, ENI, 58, &[kind, 0, 0, 0, 0, 1, 0, 1]);
    case(
        groups_allow().acl_in(100, "deny", "icmpv6 128/0", HOST_RULE),
        &[
            ingress(message(HOST, 128), NetworkAcl),
            ingress(message(HOST, 1), NetworkAcl),
            ingress(message(STRANGER, 128), NewConnection),
            // Neither ICMP over IPv4 nor ICMPv6 over IPv6.
            ingress(echo(HOST, ENI, 1), NewConnection),
            ingress(echo("2001:db8:100::7", ENI_V6, 1), NewConnection),
        ],
    );
}

/// Conformance 3.3-d: Host bits of an entry's block are cleared.
/// Source: EC2 API `CreateNetworkAclEntry`.
/// Enforced: `filter-ctl/src/document/decode/cidr.rs` (`parse`).
#[test]
fn an_entrys_block_is_meant_without_its_host_bits() {
    case(
        groups_allow().acl_in(100, "deny", "-1", "198.51.100.7/25"),
        &[
            ingress(syn("198.51.100.0:1", SSH), NetworkAcl),
            ingress(syn("198.51.100.127:1", SSH), NetworkAcl),
            ingress(syn("198.51.100.128:1", SSH), NewConnection),
        ],
    );
}

/// Conformance 3.4-a: The default ACL allows everything, in and out, over both families.
/// Source: VPC guide `default-network-acl`.
/// Enforced: `filter-ctl/src/document/resolve.rs` (`default_acl`).
/// Conformance 3.1-f: A subnet that no ACL names has its VPC's default one.
/// Source: VPC guide `vpc-network-acls`.
/// Enforced: `filter-ctl/src/document/index.rs` (`acl`).
#[test]
fn the_default_acl_allows_everything() {
    case(
        groups_allow().default_acl(),
        &[
            ingress(syn(HOST, SSH), NewConnection),
            ingress(syn(HOST_V6, SSH_V6), NewConnection),
            ingress(protocol(HOST, ENI, 47, &[0; 8]), NewConnection),
            egress(udp(SSH, HOST), NewConnection),
            egress(echo(ENI_V6, "2001:db8:100::7", 1), NewConnection),
        ],
    );
}

/// Conformance 3.1-g: From one subnet to another the outbound list of the first and the inbound list of the second
/// are asked, and for the answer the other way round.
/// Source: VPC guide `vpc-network-acls`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`denied`).
#[test]
fn between_two_subnets_both_lists_are_asked() {
    // Another subnet of the same VPC is as far away as the world is.
    let other = "10.0.2.30:40000";
    let policy = groups_allow().acl_of_nothing();
    case(
        policy.acl_in(100, "allow", "tcp 22", "10.0.2.0/24").acl_out(
            100,
            "allow",
            "tcp 40000",
            "10.0.2.0/24",
        ),
        &[
            ingress(syn(other, SSH), NewConnection),
            egress(syn_ack(SSH, other), Connection),
            ingress(syn(other, TLS), NetworkAcl),
            egress(syn("10.0.1.20:50000", "10.0.2.30:22"), NetworkAcl),
            ingress(syn("10.0.3.30:40000", SSH), NetworkAcl),
        ],
    );
}
