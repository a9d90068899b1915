//! What ICMP errors quote.

use super::*;
use crate::{address::Family, packet::quote, service::ICMPV6};

fn addresses() -> (crate::address::Address, crate::address::Address) {
    (std::net::Ipv4Addr::from(SOURCE).into(), std::net::Ipv4Addr::from(DESTINATION).into())
}

fn addresses_v6() -> (crate::address::Address, crate::address::Address) {
    (std::net::Ipv6Addr::from(SOURCE_V6).into(), std::net::Ipv6Addr::from(DESTINATION_V6).into())
}

fn error(quoted: &[u8]) -> Vec<u8> {
    v4(ICMP, &icmp(3, 4, quoted))
}

fn error_v6(quoted: &[u8]) -> Vec<u8> {
    v6(ICMPV6, &icmp(2, 0, quoted))
}

#[test]
fn errors_are_told_from_other_messages() {
    for icmp_type in 0..=255 {
        let packet = ip(&v4(ICMP, &icmp(icmp_type, 0, &[]))).expect("it is valid");
        assert_eq!(quote::is_error(&packet), matches!(icmp_type, 3 | 11 | 12), "ICMP {icmp_type}");
        let packet = ip(&v6(ICMPV6, &icmp(icmp_type, 0, &[]))).expect("it is valid");
        assert_eq!(quote::is_error(&packet), (1..=4).contains(&icmp_type), "ICMPv6 {icmp_type}");
    }
}

#[test]
fn the_quoted_ends_are_read() {
    for (protocol, head, port) in [(TCP, tcp(0x10, &[]), 443), (UDP, udp(&[]), 53)] {
        // RFC 792: eight bytes of the quoted datagram's data are enough.
        for kept in [8, head.len()] {
            let quote = quote_in(&error(&v4(protocol, &head[..kept]))).expect("it is whole");
            assert_eq!((quote.source, quote.destination), addresses());
            assert_eq!((quote.protocol, quote.source_port, quote.destination_port), (protocol, 40000, port));
            let quote = quote_in(&error_v6(&v6(protocol, &head[..kept]))).expect("it is whole");
            assert_eq!((quote.source, quote.destination), addresses_v6());
            assert_eq!((quote.protocol, quote.source_port, quote.destination_port), (protocol, 40000, port));
        }
    }
}

#[test]
fn the_quoted_length_is_the_original_packets() {
    // It says more than is quoted, as the quote is only the packet's head.
    let mut quoted = v4(TCP, &tcp(0x10, &[])[..8]);
    quoted[2..4].copy_from_slice(&1500u16.to_be_bytes());
    assert!(quote_in(&error(&quoted)).is_some());
}

#[test]
fn quoted_options_are_walked_over() {
    for words in 0..=10 {
        let quoted = v4_with_options(UDP, &vec![1; words * 4], &udp(&[]));
        let quote = quote_in(&error(&quoted)).expect("it is whole");
        assert_eq!((quote.source_port, quote.destination_port), (40000, 53), "{words} words");
    }
}

#[test]
fn an_error_behind_options_is_read() {
    let bytes = v4_with_options(ICMP, &[1; 8], &icmp(11, 0, &v4(UDP, &udp(&[]))));
    assert_eq!(quote_in(&bytes).map(|quote| quote.destination_port), Some(53));
}

#[test]
fn a_quoted_later_fragment_names_no_connection() {
    assert_eq!(quote_in(&error(&v4_fragment(UDP, 1, 0x2001, &udp(&[])))), None);
    assert_eq!(quote_in(&error(&v4_fragment(UDP, 1, 0x0001, &udp(&[])))), None);
    let first = quote_in(&error(&v4_fragment(UDP, 1, 0x2000, &udp(&[]))));
    assert_eq!(first.map(|quote| quote.destination_port), Some(53), "a first one does");
}

#[test]
fn a_truncated_quote_names_no_connection() {
    for quoted in [v4(TCP, &tcp(2, &[])[..4]), v4_with_options(UDP, &[1; 4], &udp(&[])[..4])] {
        assert!(quote_in(&error(&quoted)).is_some());
        for length in 0..quoted.len() {
            assert_eq!(quote_in(&error(&quoted[..length])), None, "{length} bytes");
        }
    }
    let quoted = v6(TCP, &tcp(2, &[])[..4]);
    assert!(quote_in(&error_v6(&quoted)).is_some());
    for length in 0..quoted.len() {
        assert_eq!(quote_in(&error_v6(&quoted[..length])), None, "{length} bytes");
    }
}

#[test]
fn a_quote_in_the_padding_is_none() {
    for (bytes, quoted) in [(error(&[]), v4(UDP, &udp(&[]))), (error_v6(&[]), v6(UDP, &udp(&[])))] {
        for within in [0, 8, quoted.len() - 5] {
            let mut bytes = concat(&[&bytes, &quoted]);
            let field = if bytes[0] == 0x45 { 2 } else { 4 };
            let said = u16::from_be_bytes([bytes[field], bytes[field + 1]]) + within as u16;
            bytes[field..field + 2].copy_from_slice(&said.to_be_bytes());
            assert_eq!(quote_in(&bytes), None, "{within} bytes of the quote are in the packet");
        }
    }
}

#[test]
fn a_malformed_quote_names_no_connection() {
    let mut wrong_version = v4(UDP, &udp(&[0; 40]));
    wrong_version[0] = 0x65;
    assert_eq!(quote_in(&error(&wrong_version)), None);
    let mut short_header = v4(UDP, &udp(&[]));
    short_header[0] = 0x44;
    assert_eq!(quote_in(&error(&short_header)), None);
    assert_eq!(quote_in(&error(&v6(UDP, &udp(&[])))), None, "an IPv6 packet in an ICMP error");
    assert_eq!(quote_in(&error_v6(&v4(UDP, &udp(&[0; 40])))), None, "an IPv4 packet in an ICMPv6 error");
}

#[test]
fn a_quoted_query_is_named_by_identifier_and_type() {
    let quote = quote_in(&error(&v4(ICMP, &icmp(8, 0, &[])))).expect("it is whole");
    assert_eq!((quote.source_port, quote.destination_port), (0x1234, 8));
    assert!(quote.is_icmp(Family::V4) && !quote.is_icmp(Family::V6));
    let quote = quote_in(&error_v6(&v6(ICMPV6, &icmp(128, 0, &[])))).expect("it is whole");
    assert_eq!((quote.source_port, quote.destination_port), (0x1234, 128));
    assert!(quote.is_icmp(Family::V6) && !quote.is_icmp(Family::V4));
    assert_eq!(quote_in(&error(&v4(ICMP, &icmp(8, 0, &[])[..7]))), None);
}

#[test]
fn a_quote_of_another_protocol_has_no_ports() {
    // Of the other family's ICMP neither: such a packet is of a protocol like any other.
    for protocol in [47, 50, ICMPV6] {
        let quote = quote_in(&error(&v4(protocol, &icmp(8, 0, &[])))).expect("its ends are there");
        assert_eq!((quote.protocol, quote.source_port, quote.destination_port), (protocol, 0, 0));
    }
    // An extension header stands for the protocol, and no connection has it.
    for next_header in [0, 43, 44, 51, 60, ICMP] {
        let quote = quote_in(&error_v6(&v6(next_header, &icmp(8, 0, &[])))).expect("its ends are there");
        assert_eq!((quote.protocol, quote.source_port, quote.destination_port), (next_header, 0, 0));
    }
}
