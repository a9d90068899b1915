//! Each bound of what is never filtered, with a packet just outside of it.

use Direction::{Egress, Ingress};

use super::*;
use crate::{
    address::Address,
    service::{ICMP, TCP},
};

const LINK_LOCAL: Address = Address([0xfe80_0000, 0, 0, 1]);
const GLOBAL: Address = Address([0x2001_0db8, 0, 0, 1]);

fn message(icmp_type: u8, code: u8, hop_limit: u8, source: Address) -> Packet {
    Packet {
        family: Family::V6,
        protocol: ICMPV6,
        destination_port: u16::from(icmp_type) << 8 | u16::from(code),
        hop_limit,
        source,
        ..Packet::EMPTY
    }
}

fn datagram(family: Family, source_port: u16, destination_port: u16) -> Packet {
    Packet { family, protocol: UDP, source_port, destination_port, ..Packet::EMPTY }
}

/// What a packet is in both directions, where that makes no difference.
fn either_way(packet: &Packet) -> Candidate {
    assert_eq!(candidate(packet, Ingress), candidate(packet, Egress));
    candidate(packet, Ingress)
}

#[test]
fn neighbor_discovery_is_five_types_of_code_0_that_no_router_has_forwarded() {
    for icmp_type in 0..=255 {
        let expected = match icmp_type {
            133..=137 => Candidate::Yes(Reason::NeighborDiscovery),
            _ => Candidate::No,
        };
        assert_eq!(either_way(&message(icmp_type, 0, 255, GLOBAL)), expected, "type {icmp_type}");
        assert_eq!(either_way(&message(icmp_type, 1, 255, GLOBAL)), Candidate::No, "type {icmp_type} code 1");
        assert_eq!(
            either_way(&message(icmp_type, 0, 254, GLOBAL)),
            Candidate::No,
            "type {icmp_type} forwarded"
        );
        assert_eq!(either_way(&message(icmp_type, 0, 0, GLOBAL)), Candidate::No, "type {icmp_type} at 0");
    }
}

#[test]
fn multicast_listener_discovery_is_four_types_from_the_link() {
    for icmp_type in 0..=255 {
        let expected = match icmp_type {
            130..=132 | 143 => Candidate::Yes(Reason::MulticastListener),
            _ => Candidate::No,
        };
        assert_eq!(either_way(&message(icmp_type, 0, 1, LINK_LOCAL)), expected, "type {icmp_type}");
        for (hop_limit, source) in [(0, LINK_LOCAL), (2, LINK_LOCAL), (1, GLOBAL), (1, Address([0; 4]))] {
            assert_eq!(either_way(&message(icmp_type, 0, hop_limit, source)), Candidate::No);
        }
    }
}

#[test]
fn link_local_is_a_prefix_of_ten_bits() {
    for (word, is) in [(0xfe80_0000, true), (0xfebf_ffff, true), (0xfe7f_ffff, false), (0xfec0_0000, false)] {
        assert_eq!(Address([word, 0, 0, 1]).is_v6_link_local(), is);
        let expected = if is { Candidate::Yes(Reason::MulticastListener) } else { Candidate::No };
        assert_eq!(either_way(&message(143, 0, 1, Address([word, 0, 0, 1]))), expected, "{word:x}");
    }
    for (number, is) in [
        (0xa9fe_0000, true),
        (0xa9fe_ffff, true),
        (0xa9fd_ffff, false),
        (0xa9ff_0000, false),
        (0xfe80_0000, false),
    ] {
        assert_eq!(Address::v4(number).is_v4_link_local(), is, "{number:x}");
    }
}

#[test]
fn icmp_of_ipv4_is_always_filtered() {
    for icmp_type in [130, 133, 135, 136, 143] {
        for protocol in [ICMP, ICMPV6] {
            for hop_limit in [1, 255] {
                let packet = message(icmp_type, 0, hop_limit, LINK_LOCAL);
                assert_eq!(either_way(&Packet { family: Family::V4, protocol, ..packet }), Candidate::No);
            }
        }
        assert_eq!(
            either_way(&Packet { protocol: ICMP, ..message(icmp_type, 0, 255, LINK_LOCAL) }),
            Candidate::No
        );
    }
}

#[test]
fn dhcp_to_the_broadcast_address_is_the_clients_only() {
    let request = Packet { destination: Address::v4(u32::MAX), ..datagram(Family::V4, 68, 67) };
    assert_eq!(candidate(&request, Egress), Candidate::Yes(Reason::Dhcp));
    // The same packet coming in asks this host for an address: it is filtered.
    assert_eq!(candidate(&request, Ingress), Candidate::No);
    // A server's broadcast is DHCP only from a server that the policy knows.
    let answer = Packet { destination: Address::v4(u32::MAX), ..datagram(Family::V4, 67, 68) };
    assert_eq!(candidate(&answer, Ingress), Candidate::Dhcp);
    assert_eq!(candidate(&answer, Egress), Candidate::No);
}

#[test]
fn dhcp_to_one_server_is_for_the_policy_to_tell() {
    for destination in [0, 0x0a00_0101, u32::MAX - 1, 0xe000_0001] {
        let request = Packet { destination: Address::v4(destination), ..datagram(Family::V4, 68, 67) };
        assert_eq!(candidate(&request, Egress), Candidate::Dhcp);
        assert_eq!(candidate(&request, Ingress), Candidate::No);
    }
}

#[test]
fn dhcp_is_two_ports_of_udp() {
    for ports in [(67, 67), (68, 68), (66, 68), (67, 69), (68, 66), (69, 67), (546, 547), (0, 0)] {
        for direction in [Ingress, Egress] {
            let packet =
                Packet { destination: Address::v4(u32::MAX), ..datagram(Family::V4, ports.0, ports.1) };
            assert_eq!(candidate(&packet, direction), Candidate::No, "{ports:?}");
        }
    }
    for (source, destination) in [(67, 68), (68, 67)] {
        for direction in [Ingress, Egress] {
            let packet =
                Packet { destination: Address::v4(u32::MAX), ..datagram(Family::V4, source, destination) };
            assert_eq!(candidate(&Packet { protocol: TCP, ..packet }, direction), Candidate::No);
            assert_eq!(candidate(&Packet { family: Family::V6, ..packet }, direction), Candidate::No);
        }
    }
}

#[test]
fn dhcpv6_is_two_ports_from_a_link_local_source() {
    let answer = Packet { source: LINK_LOCAL, ..datagram(Family::V6, 547, 546) };
    let request = Packet { source: LINK_LOCAL, ..datagram(Family::V6, 546, 547) };
    assert_eq!(candidate(&answer, Ingress), Candidate::Yes(Reason::Dhcp));
    assert_eq!(candidate(&request, Egress), Candidate::Yes(Reason::Dhcp));
    // This host is nobody's DHCP server.
    assert_eq!(candidate(&answer, Egress), Candidate::No);
    assert_eq!(candidate(&request, Ingress), Candidate::No);
    for (packet, direction) in [(answer, Ingress), (request, Egress)] {
        assert_eq!(candidate(&Packet { source: GLOBAL, ..packet }, direction), Candidate::No);
        assert_eq!(candidate(&Packet { source: Address([0; 4]), ..packet }, direction), Candidate::No);
        assert_eq!(candidate(&Packet { protocol: TCP, ..packet }, direction), Candidate::No);
        assert_eq!(
            candidate(&Packet { source_port: packet.source_port + 2, ..packet }, direction),
            Candidate::No
        );
        let wrong = Packet { destination_port: packet.destination_port + 2, ..packet };
        assert_eq!(candidate(&wrong, direction), Candidate::No);
    }
}

#[test]
fn a_fragment_is_always_filtered() {
    let request = Packet { destination: Address::v4(u32::MAX), ..datagram(Family::V4, 68, 67) };
    let server = Packet { source: LINK_LOCAL, ..datagram(Family::V6, 547, 546) };
    for packet in [message(135, 0, 255, GLOBAL), message(143, 0, 1, LINK_LOCAL), request, server] {
        for fragment in [Fragment::First, Fragment::Later] {
            for direction in [Ingress, Egress] {
                assert_eq!(candidate(&Packet { fragment, ..packet }, direction), Candidate::No);
            }
        }
    }
}
