//! IPv4 and IPv6: lengths, options, extension headers, fragments.

use super::*;
use crate::packet::{Fragment, MAX_EXTENSION_HEADERS};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

#[test]
fn options_of_every_length_are_walked_over() {
    for words in 0..=10 {
        let bytes = v4_with_options(TCP, &vec![1; words * 4], &tcp(2, b"data"));
        let packet = ip(&bytes).expect("it is valid");
        assert_eq!((packet.source_port, packet.destination_port), (40000, 443), "{words} words");
        assert_eq!(packet.transport_offset as usize, 20 + words * 4);
        assert_eq!(packet.header_length as usize, 40 + words * 4);
    }
}

#[test]
fn a_header_length_below_five_words_is_refused() {
    for words in 0..5 {
        let mut bytes = v4(TCP, &tcp(2, &[]));
        bytes[0] = 0x40 | words;
        assert_eq!(ip(&bytes), Err(Reason::BadIpHeader), "{words} words");
    }
}

#[test]
fn a_header_longer_than_the_packet_is_refused() {
    let mut bytes = v4(TCP, &tcp(2, &[]));
    bytes[0] = 0x4f;
    assert_eq!(ip(&bytes), Err(Reason::BadIpHeader), "60 bytes of header in 40 of packet");
}

#[test]
fn a_total_length_short_of_the_header_is_refused() {
    for said in [0u16, 1, 19, 23] {
        let mut bytes = v4_with_options(TCP, &[1; 4], &tcp(2, &[]));
        bytes[2..4].copy_from_slice(&said.to_be_bytes());
        assert_eq!(ip(&bytes), Err(Reason::BadIpHeader), "{said}");
    }
}

#[test]
fn a_length_beyond_the_end_is_refused() {
    let mut bytes = v4(TCP, &tcp(2, &[]));
    bytes[3] += 1;
    assert_eq!(ip(&bytes), Err(Reason::Truncated));
    let mut bytes = v6(TCP, &tcp(2, &[]));
    bytes[5] += 1;
    assert_eq!(ip(&bytes), Err(Reason::Truncated));
    bytes[4..6].fill(0xff);
    assert_eq!(ip(&bytes), Err(Reason::Truncated));
}

#[test]
fn a_length_that_cuts_the_transport_header_off_is_refused() {
    // The bytes are there, but behind the end of the IP packet.
    let mut bytes = v4(TCP, &tcp(2, &[]));
    bytes[3] = 39;
    assert_eq!(ip(&bytes), Err(Reason::Truncated));
    let mut bytes = v6(UDP, &udp(&[]));
    bytes[5] = 7;
    assert_eq!(ip(&bytes), Err(Reason::Truncated));
}

#[test]
fn padding_is_never_looked_at() {
    for payload in [v4(TCP, &tcp(2, b"x")), v6(TCP, &tcp(2, b"x")), v4(UDP, &udp(b"x")), v6(UDP, &udp(b"x"))]
    {
        let bare = ip(&payload).expect("it is valid");
        for padding in [1, 5, 1000] {
            assert_eq!(ip(&concat(&[&payload, &vec![0xff; padding]])), Ok(bare));
        }
    }
}

#[test]
fn a_large_packet_that_says_no_length_is_as_long_as_it_is() {
    let mut bytes = v4(TCP, &tcp(0x10, &[]));
    bytes.extend(vec![0; 70_000]);
    bytes[2..4].fill(0);
    let packet = read_ip(&Frame::large(&bytes, 1448, 0)).expect("BIG TCP");
    assert_eq!(packet.length, 70_040);
    let mut bytes = v6(TCP, &tcp(0x10, &[]));
    bytes.extend(vec![0; 70_000]);
    bytes[4..6].fill(0);
    let packet = read_ip(&Frame::large(&bytes, 1428, 0)).expect("BIG TCP");
    assert_eq!(packet.length, 70_060);
    assert_eq!(ip(&bytes), Err(Reason::Truncated), "an ordinary packet has only its header then");
    // A length is a length, of a large packet too: what the receiver cuts off is never read.
    for (said, reason) in [(19, Reason::BadIpHeader), (20, Reason::Truncated)] {
        let mut bytes = v4(TCP, &tcp(0x10, &[0; 3000]));
        bytes[2..4].copy_from_slice(&u16::to_be_bytes(said));
        assert_eq!(read_ip(&Frame::large(&bytes, 1448, 0)), Err(reason), "{said}");
    }
}

#[test]
fn fragments_of_ipv4_are_told_apart() {
    let whole = ip(&v4_fragment(UDP, 7, 0x4000, &udp(b"x"))).expect("do not fragment");
    assert_eq!(whole.fragment, Fragment::Whole);
    let first = ip(&v4_fragment(UDP, 7, 0x2000, &udp(&[0; 16]))).expect("it is valid");
    assert_eq!((first.fragment, first.fragment_id, first.fragment_offset), (Fragment::First, 7, 0));
    assert_eq!((first.source_port, first.destination_port, first.protected_length()), (40000, 53, 8));
    for field in [0x2003, 0x0003] {
        // Its data look like a UDP header, and are none.
        let later = ip(&v4_fragment(UDP, 7, field, &udp(&[0; 16]))).expect("it is valid");
        assert_eq!((later.fragment, later.fragment_id, later.fragment_offset), (Fragment::Later, 7, 24));
        assert_eq!((later.protocol, later.source_port, later.destination_port), (UDP, 0, 0));
        assert_eq!((later.header_length, later.transport_length, later.tcp_flags), (20, 0, 0));
    }
    let last = ip(&v4_fragment(TCP, 7, 0x1ffd, &[0; 3])).expect("65,535 bytes are the most");
    assert_eq!(last.fragment_offset, 65512);
}

#[test]
fn a_fragment_that_can_be_no_part_of_a_datagram_is_refused() {
    // Beyond 65,535 bytes: of IPv4 the header counts, of IPv6 what stands before each fragment does.
    for (field, length) in [(0x1ffd, 4), (0x1ffe, 1), (0x1fff, 0)] {
        assert_eq!(ip(&v4_fragment(UDP, 7, field, &vec![0; length])), Err(Reason::BadIpHeader), "{field:x}");
    }
    let v6_part = |offset, more, length: usize| {
        let part = concat(&[&fragment_header(UDP, offset, more, 7), &vec![0; length]]);
        (ip(&v6(FRAGMENT, &part)), ip(&v6(60, &concat(&[&[FRAGMENT, 0, 1, 4, 0, 0, 0, 0], &part]))))
    };
    let (alone, behind_options) = v6_part(65_528, false, 7);
    assert!(alone.is_ok(), "65,535 bytes of payload");
    assert_eq!(behind_options, Err(Reason::BadIpHeader));
    assert_eq!(v6_part(65_528, false, 8).0, Err(Reason::BadIpHeader));
    // Only the last one may end off a multiple of eight.
    for length in [15, 17, 23] {
        for field in [0x2000, 0x2003] {
            assert_eq!(ip(&v4_fragment(UDP, 7, field, &vec![0; length])), Err(Reason::BadIpHeader));
        }
        assert!(ip(&v4_fragment(UDP, 7, 3, &vec![0; length])).is_ok());
        for offset in [0, 24] {
            assert_eq!(v6_part(offset, true, length).0, Err(Reason::BadIpHeader), "{offset} {length}");
        }
        assert!(v6_part(24, false, length).0.is_ok());
    }
}

#[test]
fn a_first_fragment_must_hold_its_transport_header() {
    for (protocol, header) in [(TCP, tcp(2, &[])), (UDP, udp(&[])), (ICMP, icmp(8, 0, &[]))] {
        for length in 0..header.len() {
            let tiny = v4_fragment(protocol, 1, 0x2000, &header[..length]);
            assert_eq!(ip(&tiny), Err(Reason::TinyFragment), "{length} bytes of {protocol}");
            // Padding does not help.
            assert_eq!(ip(&concat(&[&tiny, &header[length..]])), Err(Reason::TinyFragment));
        }
        let whole = concat(&[&header, &[0; 4]]);
        assert!(ip(&v4_fragment(protocol, 1, 0x2000, &whole[..header.len().next_multiple_of(8)])).is_ok());
    }
    let mut options = tcp(2, &[1; 4]);
    options[12] = 0x80;
    assert_eq!(
        ip(&v4_fragment(TCP, 1, 0x2000, &options)),
        Err(Reason::TinyFragment),
        "options are header, too"
    );
}

#[test]
fn an_atomic_fragment_is_no_fragment() {
    let atomic = concat(&[&fragment_header(TCP, 0, false, 9), &tcp(2, &[])]);
    let packet = ip(&v6(FRAGMENT, &atomic)).expect("RFC 6946");
    assert_eq!(packet.fragment, Fragment::Whole);
    assert_eq!((packet.protocol, packet.destination_port, packet.header_length), (TCP, 443, 68));
    let short = concat(&[&fragment_header(TCP, 0, false, 9), &tcp(2, &[])[..19]]);
    assert_eq!(ip(&v6(FRAGMENT, &short)), Err(Reason::Truncated));
}

#[test]
fn fragments_of_ipv6_are_told_apart() {
    let first = concat(&[&fragment_header(UDP, 0, true, 0x0102_0304), &udp(&[0; 16])]);
    let first = ip(&v6(FRAGMENT, &first)).expect("it is valid");
    assert_eq!((first.fragment, first.fragment_id), (Fragment::First, 0x0102_0304));
    assert_eq!((first.destination_port, first.protected_length()), (53, 8));
    for more in [true, false] {
        let later = concat(&[&fragment_header(UDP, 1448, more, 5), &[0; 16]]);
        let later = ip(&v6(FRAGMENT, &later)).expect("it is valid");
        assert_eq!((later.fragment, later.fragment_id, later.fragment_offset), (Fragment::Later, 5, 1448));
        assert_eq!((later.protocol, later.destination_port, later.transport_offset), (UDP, 0, 48));
    }
    let tiny = concat(&[&fragment_header(TCP, 0, true, 5), &tcp(2, &[])[..16]]);
    assert_eq!(ip(&v6(FRAGMENT, &tiny)), Err(Reason::TinyFragment));
    let reserved_bits = concat(&[&[UDP, 0, 0, 6, 0, 0, 0, 5], &udp(&[])[..]]);
    let packet = ip(&v6(FRAGMENT, &reserved_bits)).expect("reserved bits mean nothing");
    assert_eq!(packet.fragment, Fragment::Whole);
}

#[test]
fn a_first_fragments_extension_headers_are_protected_like_its_transport_header() {
    let [fragment, options] = [fragment_header(DESTINATION_OPTIONS, 0, true, 5), [TCP, 0, 1, 4, 0, 0, 0, 0]];
    let behind = ip(&v6(FRAGMENT, &concat(&[&fragment, &options, &tcp(2, &[0; 4])]))).expect("it is valid");
    assert_eq!((behind.fragment, behind.destination_port), (Fragment::First, 443));
    assert_eq!(
        (behind.transport_length, behind.protected_length()),
        (20, 28),
        "fragment offsets count from the options on"
    );
    let [options, fragment] = [[FRAGMENT, 0, 1, 4, 0, 0, 0, 0], fragment_header(TCP, 0, true, 5)];
    let before =
        ip(&v6(DESTINATION_OPTIONS, &concat(&[&options, &fragment, &tcp(2, &[0; 4])]))).expect("it is valid");
    assert_eq!(before.protected_length(), 20, "these are in every fragment");
    assert_eq!((before.header_length, behind.header_length), (76, 76));
    let [fragment, options] = [fragment_header(DESTINATION_OPTIONS, 0, true, 5), [47, 0, 1, 4, 0, 0, 0, 0]];
    let portless = ip(&v6(FRAGMENT, &concat(&[&fragment, &options, &[0; 8]]))).expect("it is valid");
    assert_eq!((portless.protocol, portless.protected_length()), (47, 8), "they tell the protocol");
}

#[test]
fn a_later_fragments_protocol_is_the_fragment_headers() {
    // It may even be an extension header's number: the data behind are the middle of something.
    let later = concat(&[&fragment_header(DESTINATION_OPTIONS, 8, true, 5), &[0; 8]]);
    let packet = ip(&v6(FRAGMENT, &later)).expect("it is valid");
    assert_eq!((packet.protocol, packet.fragment), (DESTINATION_OPTIONS, Fragment::Later));
    let behind_options =
        concat(&[&[FRAGMENT, 0, 0, 0, 0, 0, 0, 0], &fragment_header(TCP, 8, true, 5), &[0; 8]]);
    let packet = ip(&v6(DESTINATION_OPTIONS, &behind_options)).expect("it is valid");
    assert_eq!((packet.protocol, packet.transport_offset), (TCP, 56));
}

#[test]
fn every_kind_of_extension_header_is_walked_over() {
    for kind in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS] {
        for units in 0..4usize {
            let mut header = vec![0; (units + 1) * 8];
            (header[0], header[1]) = (TCP, units as u8);
            let packet = ip(&v6(kind, &concat(&[&header, &tcp(2, b"x")]))).expect("it is valid");
            assert_eq!((packet.protocol, packet.destination_port), (TCP, 443), "{kind} of {units}");
            assert_eq!(packet.header_length as usize, 40 + header.len() + 20);
        }
    }
}

#[test]
fn an_authentication_header_counts_in_words_less_two() {
    // RFC 4302, 2.2: with no check value at all 12 bytes, with 96 bits of it 24.
    for (said, length) in [(1u8, 12), (4, 24), (5, 28), (255, 1028)] {
        let mut header = vec![0; length];
        (header[0], header[1]) = (UDP, said);
        let packet = ip(&v6(AUTHENTICATION, &concat(&[&header, &udp(b"x")]))).expect("it is valid");
        assert_eq!((packet.destination_port, packet.transport_offset as usize), (53, 40 + length));
    }
}

#[test]
fn an_extension_header_beyond_the_end_is_refused() {
    for kind in [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS, AUTHENTICATION] {
        let mut payload = concat(&[&[TCP, 0, 0, 0, 0, 0, 0, 0], &tcp(2, &[])]);
        payload[1] = 4;
        assert_eq!(ip(&v6(kind, &payload)), Err(Reason::Truncated), "{kind} of 40 or 24 in 28 bytes");
        // In the packet, but not in the IP packet.
        let padded = concat(&[&v6(kind, &payload), &[0; 100]]);
        assert_eq!(ip(&padded), Err(Reason::Truncated), "{kind} in padding");
        assert_eq!(ip(&v6(kind, &[])), Err(Reason::Truncated));
        assert_eq!(ip(&v6(kind, &[TCP])), Err(Reason::Truncated));
    }
    for length in 0..8 {
        let header = fragment_header(TCP, 1448, true, 5);
        let bytes = concat(&[&v6(FRAGMENT, &header[..length]), &header[length..]]);
        assert_eq!(ip(&bytes), Err(Reason::Truncated), "{length} bytes of a fragment header");
    }
}

#[test]
fn headers_may_end_with_the_packet() {
    // No next header, and nothing behind it.
    let packet = ip(&chain(1, 59, &[])).expect("it is valid");
    assert_eq!((packet.protocol, packet.header_length), (59, 48));
    // The last fragment, of no data.
    let packet = ip(&v6(FRAGMENT, &fragment_header(TCP, 1448, false, 5))).expect("it is valid");
    assert_eq!((packet.fragment, packet.header_length), (Fragment::Later, 48));
}

fn chain(count: usize, last: u8, behind: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for n in 1..=count {
        payload.extend([if n == count { last } else { DESTINATION_OPTIONS }, 0, 0, 0, 0, 0, 0, 0]);
    }
    payload.extend(behind);
    v6(DESTINATION_OPTIONS, &payload)
}

#[test]
fn eight_extension_headers_are_walked_over_and_nine_refused() {
    for count in 1..=MAX_EXTENSION_HEADERS {
        let packet = ip(&chain(count, TCP, &tcp(2, &[]))).expect("it is valid");
        assert_eq!(packet.destination_port, 443, "{count} headers");
    }
    for count in [9, 10, 40] {
        assert_eq!(ip(&chain(count, TCP, &tcp(2, &[]))), Err(Reason::ExtensionHeaders), "{count} headers");
    }
}

#[test]
fn a_fragment_header_counts_as_an_extension_header() {
    for (offset, more) in [(0, false), (0, true), (1448, false), (1448, true)] {
        let behind = concat(&[&fragment_header(TCP, offset, more, 5), &tcp(2, &[0; 4])]);
        assert!(ip(&chain(7, FRAGMENT, &behind)).is_ok(), "offset {offset}");
        assert_eq!(ip(&chain(8, FRAGMENT, &behind)), Err(Reason::ExtensionHeaders), "offset {offset}");
    }
}

#[test]
fn what_no_one_walks_over_is_a_protocol() {
    // ESP, no next header, mobility, HIP, Shim6, 253.
    for protocol in [50, 59, 135, 139, 140, 253] {
        let packet = ip(&v6(protocol, &[0; 24])).expect("it is valid");
        assert_eq!((packet.protocol, packet.transport_offset, packet.header_length), (protocol, 40, 40));
        assert_eq!((packet.source_port, packet.destination_port, packet.transport_length), (0, 0, 0));
    }
    // IPv6's extension headers are none in IPv4.
    for protocol in [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS] {
        assert_eq!(ip(&v4(protocol, &[0; 24])).map(|packet| packet.protocol), Ok(protocol));
    }
}
