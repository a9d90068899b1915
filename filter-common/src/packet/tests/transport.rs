//! TCP, UDP and ICMP headers, true and lying.

use super::*;
use crate::service::ICMPV6;

#[test]
fn a_tcp_header_shorter_than_itself_is_refused() {
    for words in 0..5 {
        let mut segment = tcp(2, &[0; 40]);
        segment[12] = words << 4;
        assert_eq!(ip(&v4(TCP, &segment)), Err(Reason::BadTransportHeader), "{words} words");
        assert_eq!(ip(&v4_fragment(TCP, 1, 0x2000, &segment)), Err(Reason::BadTransportHeader));
    }
}

#[test]
fn a_tcp_header_may_end_with_the_packet_and_no_later() {
    for words in 5..=15u8 {
        let mut segment = tcp(2, &vec![1; usize::from(words) * 4 - 20]);
        segment[12] = words << 4;
        for bytes in [v4(TCP, &segment), v6(TCP, &segment)] {
            let packet = ip(&bytes).expect("it is valid");
            assert_eq!(packet.transport_length, u16::from(words) * 4);
            assert_eq!(packet.header_length, packet.length);
        }
        segment.pop();
        let expected = if words == 5 { Reason::Truncated } else { Reason::BadTransportHeader };
        let bytes = concat(&[&v4(TCP, &segment), &[1]]);
        assert_eq!(ip(&bytes), Err(expected), "{words} words, the last byte in the padding");
    }
}

#[test]
fn tcp_flags_are_the_headers_byte() {
    for flags in 0..=255 {
        assert_eq!(ip(&v6(TCP, &tcp(flags, &[]))).map(|packet| packet.tcp_flags), Ok(flags));
    }
}

#[test]
fn a_udp_length_must_lie_within_the_packet() {
    for (said, read) in [
        (0u16, Err(Reason::BadTransportHeader)),
        (7, Err(Reason::BadTransportHeader)),
        (8, Ok(53)),
        (11, Ok(53)),
        (12, Ok(53)),
        (13, Err(Reason::BadTransportHeader)),
        (65535, Err(Reason::BadTransportHeader)),
    ] {
        let mut datagram = udp(&[0; 4]);
        datagram[4..6].copy_from_slice(&said.to_be_bytes());
        for bytes in [v4(UDP, &datagram), v6(UDP, &datagram)] {
            assert_eq!(ip(&bytes).map(|packet| packet.destination_port), read, "length {said}");
            let padded = concat(&[&bytes, &[0; 100]]);
            assert_eq!(
                ip(&padded).map(|packet| packet.destination_port),
                read,
                "padding is not the datagram's"
            );
        }
    }
}

#[test]
fn a_first_fragments_udp_length_is_the_whole_datagrams() {
    let mut datagram = udp(&[0; 8]);
    datagram[4..6].copy_from_slice(&4000u16.to_be_bytes());
    let packet = ip(&v4_fragment(UDP, 1, 0x2000, &datagram)).expect("it goes on in later fragments");
    assert_eq!((packet.destination_port, packet.header_length), (53, 28));
    let fragment = concat(&[&fragment_header(UDP, 0, true, 1), &datagram]);
    assert!(ip(&v6(44, &fragment)).is_ok());
    let atomic = concat(&[&fragment_header(UDP, 0, false, 1), &datagram]);
    assert_eq!(ip(&v6(44, &atomic)), Err(Reason::BadTransportHeader), "nothing follows an atomic one");
}

#[test]
fn a_large_packets_udp_length_is_not_asked() {
    let mut bytes = v4(UDP, &udp(&[0; 4000]));
    bytes[24..26].copy_from_slice(&1208u16.to_be_bytes());
    assert!(read_ip(&Frame::large(&bytes, 1200, 4)).is_ok());
    bytes[24..26].copy_from_slice(&5000u16.to_be_bytes());
    assert!(read_ip(&Frame::large(&bytes, 1200, 4)).is_ok());
    assert_eq!(ip(&bytes), Err(Reason::BadTransportHeader));
}

#[test]
fn short_headers_are_truncated() {
    for (protocol, header) in [(TCP, tcp(2, &[])), (UDP, udp(&[])), (ICMP, icmp(3, 4, &[]))] {
        for length in 0..header.len() {
            let bytes = v4(protocol, &header[..length]);
            assert_eq!(ip(&bytes), Err(Reason::Truncated), "{length} bytes of {protocol}");
            assert_eq!(
                ip(&concat(&[&bytes, &header[length..]])),
                Err(Reason::Truncated),
                "the rest in padding"
            );
        }
    }
    for length in 0..8 {
        assert_eq!(ip(&v6(ICMPV6, &icmp(135, 0, &[])[..length])), Err(Reason::Truncated));
    }
}

#[test]
fn icmpv6_is_read_behind_extension_headers() {
    let packet =
        ip(&v6(0, &concat(&[&[ICMPV6, 0, 5, 2, 0, 0, 1, 0], &icmp(143, 0, &[])]))).expect("it is valid");
    assert_eq!((packet.icmp_type(), packet.hop_limit), (143, 255));
    assert!(packet.is_icmp());
}

#[test]
fn a_protocol_without_ports_needs_no_header() {
    for protocol in [2, 47, 50, 89, 132, 136] {
        for bytes in [v4(protocol, &[]), v6(protocol, &[])] {
            let packet = ip(&bytes).expect("it is valid");
            assert_eq!((packet.source_port, packet.destination_port), (0, 0));
            assert_eq!(packet.service(), crate::service::Service::new(protocol, 0));
        }
        assert!(ip(&v4_fragment(protocol, 1, 0x2000, &[0; 8])).is_ok());
    }
}
