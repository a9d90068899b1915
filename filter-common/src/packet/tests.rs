//! Packets made byte by byte, so that each can lie as a test wants, and read.

mod fuzz;
mod ip;
mod link;
mod property;
mod quote;
mod transport;

use super::{Packet, quote::Quote};
use crate::{
    abi::Link,
    bytes::{Bytes, Segmentation},
    service::{ICMP, TCP, UDP},
    verdict::Reason,
};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

const SOURCE: [u8; 4] = [198, 51, 100, 7];
const DESTINATION: [u8; 4] = [10, 0, 1, 20];

/// `2001:db8::7` and `2001:db8:1::20`.
const SOURCE_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const DESTINATION_V6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20];

/// A packet with what a TC hook knows beside its bytes.
struct Frame<'a> {
    bytes: &'a [u8],
    tags: usize,
    segmentation: Option<Segmentation>,
}

impl<'a> Frame<'a> {
    fn tagged(bytes: &'a [u8], tags: usize) -> Self {
        Self { bytes, tags, segmentation: None }
    }

    fn large(bytes: &'a [u8], size: u32, count: u32) -> Self {
        Self { bytes, tags: 0, segmentation: Some(Segmentation { size, count }) }
    }
}

impl Bytes for Frame<'_> {
    fn read<T: Copy>(&self, offset: usize) -> Option<T> {
        self.bytes.read(offset)
    }

    fn length(&self) -> usize {
        self.bytes.len()
    }

    fn tags_in_metadata(&self) -> usize {
        self.tags
    }

    fn segmentation(&self) -> Option<Segmentation> {
        self.segmentation
    }
}

fn read_frame<B: Bytes>(frame: &B) -> Result<Packet, Reason> {
    let mut packet = Packet::EMPTY;
    packet.read(frame, Link::Ethernet)?;
    Ok(packet)
}

fn read_ip<B: Bytes>(bytes: &B) -> Result<Packet, Reason> {
    let mut packet = Packet::EMPTY;
    packet.read(bytes, Link::Ip)?;
    Ok(packet)
}

/// The packet of an IP header and what follows, on a link without link-layer headers.
fn ip(bytes: &[u8]) -> Result<Packet, Reason> {
    read_ip(&bytes)
}

fn quote_in(bytes: &[u8]) -> Option<Quote> {
    let packet = ip(bytes).expect("the error itself can be read");
    super::quote::read(&packet, &bytes)
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn ethernet(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    tagged(&[], ether_type, payload)
}

/// An Ethernet frame with tags of these EtherTypes.
fn tagged(tags: &[u16], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0x20, 100]);
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet whose header tells the truth.
fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4_fragment(protocol, 0, 0, payload)
}

/// Likewise, with an identification and the field of flags and offset.
fn v4_fragment(protocol: u8, id: u16, field: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0];
    bytes.extend((20 + payload.len() as u16).to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(field.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(SOURCE);
    bytes.extend(DESTINATION);
    bytes.extend(payload);
    bytes
}

/// An IPv4 packet with options of a multiple of four bytes.
fn v4_with_options(protocol: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = v4(protocol, &concat(&[options, payload]));
    bytes[0] = 0x45 + (options.len() / 4) as u8;
    bytes
}

/// An IPv6 packet whose header tells the truth.
fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next_header, 255]);
    bytes.extend(SOURCE_V6);
    bytes.extend(DESTINATION_V6);
    bytes.extend(payload);
    bytes
}

/// An IPv6 fragment header; `offset` in bytes.
fn fragment_header(next_header: u8, offset: u16, more: bool, id: u32) -> [u8; 8] {
    let [a, b] = (offset | u16::from(more)).to_be_bytes();
    let [c, d, e, f] = id.to_be_bytes();
    [next_header, 0, a, b, c, d, e, f]
}

/// A TCP segment from port 40000 to 443, with a header of 20 bytes.
fn tcp(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x9c, 0x40, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    bytes.extend(payload);
    bytes
}

/// A UDP datagram from port 40000 to 53, with a true length.
fn udp(payload: &[u8]) -> Vec<u8> {
    let [high, low] = (8 + payload.len() as u16).to_be_bytes();
    let mut bytes = vec![0x9c, 0x40, 0, 53, high, low, 0, 0];
    bytes.extend(payload);
    bytes
}

/// An ICMP or ICMPv6 message of identifier 0x1234.
fn icmp(icmp_type: u8, code: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![icmp_type, code, 0, 0, 0x12, 0x34, 0, 1];
    bytes.extend(payload);
    bytes
}

#[test]
fn a_packet_is_read_whole() {
    let packet = ip(&v4(TCP, &tcp(0x12, b"hello"))).expect("it is valid");
    assert_eq!(packet.source, std::net::Ipv4Addr::from(SOURCE).into());
    assert_eq!(packet.destination, std::net::Ipv4Addr::from(DESTINATION).into());
    assert_eq!((packet.protocol, packet.tcp_flags, packet.hop_limit), (TCP, 0x12, 64));
    assert_eq!((packet.source_port, packet.destination_port), (40000, 443));
    assert_eq!((packet.length, packet.transport_offset, packet.header_length), (45, 20, 40));
    assert_eq!(packet.transport_length, 20);
    assert_eq!(packet.service(), crate::service::Service::new(TCP, 443));
    assert_eq!(packet.mirror_service(), crate::service::Service::new(TCP, 40000));
}

#[test]
fn icmp_type_and_code_stand_in_the_destination_port() {
    let packet = ip(&v4(ICMP, &icmp(8, 3, b"ping"))).expect("it is valid");
    assert_eq!((packet.icmp_type(), packet.icmp_code(), packet.icmp_identifier), (8, 3, 0x1234));
    assert_eq!((packet.source_port, packet.header_length), (0, 28));
    assert!(packet.is_icmp());
    assert_eq!(packet.service(), crate::service::Service::icmp(ICMP, 8, 3));
}

#[test]
fn an_icmp_number_of_the_other_family_is_just_a_protocol() {
    for bytes in [v4(crate::service::ICMPV6, &icmp(135, 0, &[])), v6(ICMP, &icmp(8, 0, &[]))] {
        let packet = ip(&bytes).expect("it is valid");
        assert!(!packet.is_icmp());
        assert_eq!((packet.destination_port, packet.icmp_identifier, packet.transport_length), (0, 0, 0));
    }
}

#[test]
fn a_packet_on_the_wire_is_itself() {
    let bytes = v4(UDP, &udp(&[0; 100]));
    let packet = ip(&bytes).expect("it is valid");
    assert_eq!(packet.on_the_wire(&bytes.as_slice()), (1, 128));
}

#[test]
fn a_large_packet_counts_as_its_segments_with_all_their_headers() {
    let bytes = v4(TCP, &tcp(0x10, &[0; 4001]));
    let packet = ip(&bytes).expect("it is valid");
    for (count, what) in [(5, "the kernel's count"), (0, "a count of our own")] {
        let wire = packet.on_the_wire(&Frame::large(&bytes, 1000, count));
        assert_eq!(wire, (5, 4001 + 5 * 40), "{what}");
    }
    // A last segment that is full, none, and a size that no kernel says.
    let even = v4(TCP, &tcp(0x10, &[0; 4000]));
    let packet = ip(&even).expect("it is valid");
    assert_eq!(packet.on_the_wire(&Frame::large(&even, 1000, 0)), (4, 4000 + 4 * 40));
    assert_eq!(packet.on_the_wire(&Frame::large(&even, 0, 0)), (4000, 4000 * 41));
    let empty = v4(TCP, &tcp(0x10, &[]));
    let packet = ip(&empty).expect("it is valid");
    assert_eq!(packet.on_the_wire(&Frame::large(&empty, 1000, 0)), (1, 40));
}

#[test]
fn a_large_udp_packet_repeats_its_eight_bytes() {
    let mut bytes = v6(UDP, &udp(&[0; 3000]));
    // Its UDP length may be any: each segment gets its own.
    bytes[44..46].fill(0);
    let frame = Frame::large(&bytes, 1200, 0);
    let packet = read_ip(&frame).expect("it is valid");
    assert_eq!(packet.on_the_wire(&frame), (3, 3000 + 3 * 48));
}
