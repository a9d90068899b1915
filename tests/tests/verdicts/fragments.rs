//! Fragments: the first one decides, the later ones follow it.

use filter_common::verdict::Reason::{
    BadIpHeader, BadTransportHeader, Connection, Fragment, NetworkAcl, NewConnection, OrphanFragment,
    SecurityGroup, TinyFragment, Truncated, Untracked,
};
use tests::{
    frame::{Frame, echo, flags, protocol, syn, tcp, udp_with},
    policy::{ANY4, Policy},
};

use crate::case::{
    ENI, HOST, HOST_RULE, HOST_RULE_V6, HOST_V6, STRANGER, apply, case, egress, ingress, tracked, wait,
};

const PORT: &str = "10.0.1.20:5000";
const PORT_V6: &str = "[2001:db8:0:1::20]:5000";

fn server() -> Policy {
    Policy::new()
        .allow_in("udp 5000", HOST_RULE)
        .allow_in("tcp 5000", HOST_RULE)
        .allow_in("udp 5000", HOST_RULE_V6)
        .allow_in("tcp 5000", HOST_RULE_V6)
}

fn datagram() -> Frame {
    udp_with(HOST, PORT, 64)
}

#[test]
fn later_fragments_follow_an_accepted_first_one() {
    let (first, later) = datagram().fragments(77, 32);
    case(
        server(),
        &[
            ingress(first, NewConnection),
            ingress(later.clone(), Fragment),
            ingress(later.clone(), Fragment),
            ingress(datagram().later(78, 32), OrphanFragment),
            ingress(udp_with(STRANGER, PORT, 64).later(77, 32), OrphanFragment),
            ingress(udp_with(HOST, "10.0.1.21:1", 64).later(77, 32), OrphanFragment),
            ingress(syn(HOST, PORT).later(77, 32), OrphanFragment),
            tracked(1),
        ],
    );
}

/// Of several first fragments of one datagram (IPv6 tells them apart by identification alone) the longest
/// header is protected: receivers differ in which of them they take.
#[test]
fn a_second_first_fragment_does_not_open_the_first_ones_header_to_be_overwritten() {
    let (long, short) = (tcp(HOST_V6, PORT_V6, flags::SYN).data(64), udp_with(HOST_V6, PORT_V6, 64));
    case(
        server(),
        &[
            ingress(long.fragments(77, 32).0, NewConnection),
            ingress(long.later(77, 16), OrphanFragment),
            ingress(short.fragments(77, 32).0, NewConnection),
            ingress(short.later(77, 8), OrphanFragment),
            ingress(short.later(77, 16), OrphanFragment),
            ingress(short.later(77, 24), Fragment),
            wait(31),
            ingress(short.fragments(77, 32).0, NewConnection),
            ingress(short.later(77, 8), Fragment),
        ],
    );
}

#[test]
fn later_fragments_follow_an_accepted_first_one_over_ipv6() {
    let datagram = udp_with(HOST_V6, PORT_V6, 64);
    let (first, later) = datagram.fragments(0x1_0000 + 77, 32);
    case(
        server(),
        &[
            ingress(later.clone(), OrphanFragment),
            ingress(first, NewConnection),
            ingress(later, Fragment),
            // The whole identification counts, not its lower half.
            ingress(datagram.later(77, 32), OrphanFragment),
            ingress(datagram.extensions(2).later(0x1_0000 + 77, 64), Fragment),
        ],
    );
}

#[test]
fn later_fragments_without_a_first_one_or_before_it_are_dropped() {
    let (first, later) = datagram().fragments(77, 32);
    case(
        server(),
        &[ingress(later.clone(), OrphanFragment), ingress(first, NewConnection), ingress(later, Fragment)],
    );
}

#[test]
fn later_fragments_of_a_refused_first_one_are_dropped() {
    let (by_group, later_a) = udp_with(HOST, "10.0.1.20:5001", 64).fragments(1, 32);
    let (by_acl, later_b) = datagram().fragments(2, 32);
    case(server(), &[ingress(by_group, SecurityGroup), ingress(later_a, OrphanFragment)]);
    case(
        server().acl_in(100, "deny", "udp 5000", ANY4),
        &[ingress(by_acl, NetworkAcl), ingress(later_b, OrphanFragment)],
    );
}

#[test]
fn a_first_fragment_is_followed_for_30_seconds() {
    let (first, later) = datagram().fragments(77, 32);
    case(
        server(),
        &[
            ingress(first, NewConnection),
            wait(29),
            ingress(later.clone(), Fragment),
            wait(2),
            ingress(later, OrphanFragment),
        ],
    );
}

#[test]
fn fragments_of_connections_and_untracked_flows_follow_too() {
    let (question, rest_of_it) = datagram().fragments(1, 32);
    let (answer, rest) = udp_with(PORT, HOST, 64).fragments(2, 32);
    case(
        server(),
        &[
            ingress(question.clone(), NewConnection),
            ingress(rest_of_it.clone(), Fragment),
            egress(answer, Connection),
            egress(rest, Fragment),
        ],
    );
    case(Policy::open(), &[ingress(question, Untracked), ingress(rest_of_it, Fragment), tracked(0)]);
}

#[test]
fn fragments_of_pings_and_other_protocols_follow_too() {
    let policy = Policy::new().allow_in("icmp 8", HOST_RULE).allow_in("47", HOST_RULE);
    let (ping, rest) = echo(HOST, ENI, 7).data(64).fragments(1, 32);
    let (gre, rest_of_gre) = protocol(HOST, ENI, 47, &[0; 64]).fragments(1, 8);
    case(
        policy,
        &[
            ingress(ping, NewConnection),
            ingress(rest, Fragment),
            ingress(rest_of_gre.clone(), OrphanFragment),
            ingress(gre, NewConnection),
            ingress(rest_of_gre, Fragment),
        ],
    );
}

#[test]
fn a_first_fragment_must_hold_its_whole_transport_header() {
    let segment = tcp(HOST, PORT, flags::SYN).data(44);
    let options = |words: u8| segment.clone().patch(20 + 12, words << 4).fragments(3, 32).0;
    let v6 = tcp(HOST_V6, PORT_V6, flags::SYN).data(44);
    case(
        server(),
        &[
            ingress(segment.fragments(1, 8).0, TinyFragment),
            ingress(segment.fragments(2, 16).0, TinyFragment),
            ingress(segment.fragments(1, 16).1, OrphanFragment),
            // Options beyond its end: nine words where eight are.
            ingress(options(9), TinyFragment),
            ingress(options(8), NewConnection),
            ingress(udp_with(HOST, PORT, 64).fragments(4, 0).0, TinyFragment),
            ingress(v6.fragments(1, 16).0, TinyFragment),
            ingress(v6.fragments(2, 24).0, NewConnection),
        ],
    );
}

#[test]
fn a_later_fragment_must_not_overwrite_the_header() {
    let segment = tcp(HOST, PORT, flags::SYN).data(44);
    case(
        server(),
        &[
            ingress(segment.fragments(1, 24).0, NewConnection),
            ingress(segment.later(1, 8), OrphanFragment),
            ingress(segment.later(1, 16), OrphanFragment),
            ingress(segment.later(1, 24), Fragment),
        ],
    );
    // Options belong to the header.
    let with_options = segment.clone().patch(20 + 12, 7 << 4).fragments(2, 32).0;
    case(
        server(),
        &[
            ingress(with_options, NewConnection),
            ingress(segment.later(2, 24), OrphanFragment),
            ingress(segment.later(2, 32), Fragment),
        ],
    );
    case(
        server(),
        &[ingress(datagram().fragments(3, 8).0, NewConnection), ingress(datagram().later(3, 8), Fragment)],
    );
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let (first, _) = udp_with(HOST_V6, PORT_V6, 64).fragments(9, 72);
    // Offset 0, and no more to come.
    let atomic = first.patch(40 + 3, 0);
    case(
        server(),
        &[
            ingress(atomic.clone(), NewConnection),
            ingress(udp_with(HOST_V6, PORT_V6, 64).later(9, 32), OrphanFragment),
            ingress(atomic.patch(40 + 8 + 4, 0xff), BadTransportHeader),
        ],
    );
}

#[test]
fn a_fragment_header_cut_off_is_no_header() {
    let (first, later) = udp_with(HOST_V6, PORT_V6, 64).fragments(9, 32);
    case(server(), &[ingress(first.patch(5, 4), Truncated), ingress(later.patch(5, 4), Truncated)]);
}

#[test]
fn a_datagram_that_has_begun_ends_whatever_becomes_of_the_rules() {
    let (first, later) = datagram().fragments(77, 32);
    case(server(), &[ingress(first, NewConnection), apply(Policy::new()), ingress(later, Fragment)]);
}

#[test]
fn a_later_fragment_must_not_overwrite_the_headers_over_ipv6() {
    let segment = tcp(HOST_V6, PORT_V6, flags::SYN).data(44);
    // Behind the fragment header: an extension header of eight bytes, then TCP.
    let (first, _) = segment.fragments(1, 32);
    let inner = [&[6, 0, 0, 0, 0, 0, 0, 0][..], &segment.packet()[40..][..24]].concat();
    let behind = protocol(HOST_V6, PORT_V6, 60, &inner).fragments(2, 32).0;
    case(
        server(),
        &[
            ingress(first, NewConnection),
            ingress(segment.later(1, 8), OrphanFragment),
            ingress(segment.later(1, 16), OrphanFragment),
            ingress(segment.later(1, 24), Fragment),
            ingress(behind, Connection),
            ingress(segment.later(2, 24), OrphanFragment),
            ingress(segment.later(2, 32), Fragment),
        ],
    );
}

#[test]
fn a_fragment_that_can_be_no_part_of_a_datagram_is_refused() {
    let v6 = udp_with(HOST_V6, PORT_V6, 64);
    let (first, _) = datagram().fragments(1, 32);
    let (first_v6, _) = v6.fragments(2, 32);
    case(
        server(),
        &[
            ingress(first.clone(), NewConnection),
            ingress(first_v6.clone(), NewConnection),
            // Beyond 65,535 bytes: eight bytes of data, of IPv4 with the header.
            ingress(datagram().later(1, 65_504), Fragment),
            ingress(datagram().later(1, 65_512), BadIpHeader),
            ingress(v6.later(2, 65_520), Fragment),
            ingress(v6.later(2, 65_528), BadIpHeader),
            // More to come, behind what is no multiple of eight bytes.
            ingress(first.patch(3, 20 + 31).cut(20 + 31), BadIpHeader),
            ingress(first_v6.patch(5, 8 + 31).cut(40 + 8 + 31), BadIpHeader),
        ],
    );
}

#[test]
fn each_first_fragment_is_judged_by_itself() {
    let other = udp_with(HOST, "10.0.1.20:22", 64);
    case(
        server(),
        &[
            ingress(datagram().fragments(77, 32).0, NewConnection),
            // The same datagram begins once more, with another port.
            ingress(other.fragments(77, 32).0, SecurityGroup),
            ingress(other, SecurityGroup),
            ingress(datagram().later(77, 32), Fragment),
        ],
    );
}

#[test]
fn later_fragments_follow_in_their_own_direction_only() {
    let (first, _) = datagram().fragments(77, 32);
    case(
        server(),
        &[
            ingress(first, NewConnection),
            egress(datagram().later(77, 32), OrphanFragment),
            egress(udp_with(PORT, HOST, 64).later(77, 32), OrphanFragment),
        ],
    );
}

/// A fragment within a fragment: whichever header the receiver obeys first, only what was judged passes.
#[test]
fn fragment_headers_in_a_row_let_nothing_past() {
    let part = |id: u8, next: u8, offset: u8, more: u8| [next, 0, 0, offset | more, 0, 0, 0, id];
    let head = &udp_with(HOST_V6, PORT_V6, 56).packet()[40..][..32].to_vec();
    let nested = |headers: &[[u8; 8]], data: &[u8]| {
        protocol(HOST_V6, PORT_V6, 44, &[&headers.concat()[..], data].concat())
    };
    case(
        server(),
        &[
            // The outer one is a first fragment, the inner one a later part of an unknown datagram.
            ingress(nested(&[part(1, 44, 0, 1), part(2, 17, 32, 0)], head), OrphanFragment),
            // Both are first ones: only the inner datagram's later parts follow.
            ingress(nested(&[part(3, 44, 0, 1), part(4, 17, 0, 1)], head), NewConnection),
            ingress(nested(&[part(3, 44, 32, 0)], head), OrphanFragment),
            ingress(nested(&[part(4, 17, 32, 0)], head), Fragment),
            // The outer one is a later part: nothing behind it is read.
            ingress(nested(&[part(5, 44, 32, 0), part(6, 17, 0, 0)], head), OrphanFragment),
        ],
    );
}
