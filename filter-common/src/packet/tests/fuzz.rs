//! Whatever bytes come: nothing beyond the packet is read, and what cannot be read is refused.
//!
//! Fuzz targets that run as ordinary tests, with random inputs for a second each
//! (`BOLERO_RANDOM_TEST_TIME_MS`; `cargo xtask fuzz` gives them minutes); bolero shrinks what fails.

use bolero::{TypeGenerator, check as target, generator::produce};

use super::*;
use crate::{
    address::Family,
    packet::{Fragment, MAX_EXTENSION_HEADERS, quote},
    service::ICMPV6,
    verdict::Category,
};

/// Where the IP packet ends, if it was read.
pub(super) fn end(packet: &Packet, bytes: &[u8], link: Link) -> usize {
    let is_tag = |at: usize| matches!(bytes[at..at + 2], [0x81, 0] | [0x88, 0xa8]);
    let begin = match link {
        Link::Ip => 0,
        Link::Ethernet => (12..).step_by(4).find(|at| !is_tag(*at)).expect("it ends") + 2,
    };
    begin + packet.length as usize
}

/// What holds of whatever could be read, in a frame or behind no link layer.
pub(super) fn check(bytes: &[u8], link: Link) {
    let read = |bytes: &[u8]| {
        let mut packet = Packet::EMPTY;
        packet.read(&bytes, link).map(|()| packet)
    };
    let packet = match read(bytes) {
        Ok(packet) => packet,
        Err(reason) => {
            // What cannot be read is dropped, but for ARP.
            assert!(reason.category() == Category::Unparsable || reason == Reason::Arp, "{reason:?}");
            return;
        }
    };
    assert!(packet.transport_offset + u32::from(packet.transport_length) <= bytes.len() as u32);
    assert!(packet.length as usize <= bytes.len());
    assert!(packet.header_length <= packet.length);
    let shortest = if packet.family == Family::V4 { 20 } else { 40 };
    assert!(packet.header_length >= shortest);
    assert!(u32::from(packet.transport_length) <= packet.header_length);
    assert_eq!(packet.fragment == Fragment::Later, packet.fragment_offset != 0);
    if packet.fragment == Fragment::Later {
        let transport =
            (packet.source_port, packet.destination_port, packet.transport_length, packet.tcp_flags);
        assert_eq!(transport, (0, 0, 0, 0));
    }
    if packet.protocol != TCP {
        assert_eq!(packet.tcp_flags, 0);
    }
    let wire = packet.on_the_wire(&bytes);
    assert_eq!(wire, (1, u64::from(packet.length)));

    // Whatever lies beyond the IP packet makes no difference.
    let end = end(&packet, bytes, link);
    assert!(end <= bytes.len());
    let is_error = packet.fragment != Fragment::Later && packet.is_icmp() && quote::is_error(&packet);
    let quoted = if is_error { quote::read(&packet, &bytes) } else { None };
    for padding in [&[][..], &[0; 64], &[0xff; 64]] {
        let padded = [&bytes[..end], padding].concat();
        assert_eq!(read(&padded), Ok(packet));
        if is_error {
            assert_eq!(quote::read(&packet, &padded.as_slice()), quoted);
        }
    }
    // A byte less than the IP packet, and it is refused.
    assert_eq!(read(&bytes[..end - 1]), Err(Reason::Truncated));
}

/// A packet of any kind, and damage to it.
#[derive(Clone, Debug, TypeGenerator)]
struct Damaged {
    is_v6: bool,
    #[generator(0..8u8)]
    kind: u8,
    number: u8,
    /// IPv4: flags and offset; IPv6: those of fragment headers.
    fragment: Option<u16>,
    /// Words of IPv4 options.
    #[generator(0..=10usize)]
    options: usize,
    /// IPv6 extension headers: which, and how much longer than the shortest.
    #[generator(produce::<Vec<(u8, u8)>>().with().len(0..MAX_EXTENSION_HEADERS + 2))]
    extensions: Vec<(u8, u8)>,
    #[generator(produce::<Vec<u8>>().with().len(0..64usize))]
    payload: Vec<u8>,
    /// Where which byte stands instead.
    #[generator(produce::<Vec<(u16, u8)>>().with().len(0..6usize))]
    bytes: Vec<(u16, u8)>,
    cut: Option<u16>,
}

impl Damaged {
    fn whole(&self) -> Vec<u8> {
        let payload = self.payload.as_slice();
        let (protocol, payload) = match self.kind {
            0 => (TCP, tcp(self.number, payload)),
            1 => (UDP, udp(payload)),
            2 => (ICMP, icmp(self.number, 0, payload)),
            3 => (ICMPV6, icmp(self.number, 0, payload)),
            4 => (ICMP, icmp(3, 4, &v4(UDP, &udp(payload)))),
            5 => (ICMPV6, icmp(1, 0, &v6(TCP, &tcp(16, payload)))),
            6 => (ICMP, icmp(11, 0, &v4(ICMP, &icmp(8, 0, payload)))),
            _ => (self.number, payload.to_vec()),
        };
        let field = self.fragment.unwrap_or(0);
        if !self.is_v6 {
            let mut bytes = v4_with_options(protocol, &vec![1; self.options * 4], &payload);
            bytes[6..8].copy_from_slice(&field.to_be_bytes());
            return bytes;
        }
        let headers = self
            .extensions
            .iter()
            .rev()
            .map(|(kind, units)| ([0, 43, 44, 51, 60][usize::from(kind % 5)], units % 3));
        let (next, payload) = headers.fold((protocol, payload), |(next, behind), (kind, units)| {
            let header = match kind {
                44 => fragment_header(next, field & 0xfff8, field & 1 != 0, 7).to_vec(),
                51 => [&[next, 1 + units], &vec![0; usize::from(units * 4) + 10][..]].concat(),
                _ => [&[next, units], &vec![0; usize::from(units * 8) + 6][..]].concat(),
            };
            (kind, [header, behind].concat())
        });
        v6(next, &payload)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.whole();
        for (at, byte) in &self.bytes {
            let at = usize::from(*at) % bytes.len();
            bytes[at] = *byte;
        }
        if let Some(cut) = self.cut {
            bytes.truncate(usize::from(cut) % (bytes.len() + 1));
        }
        bytes
    }
}

#[test]
fn arbitrary_bytes_are_read_within_bounds() {
    target!().for_each(|bytes| {
        check(bytes, Link::Ethernet);
        check(bytes, Link::Ip);
        check(&ethernet(IPV4, bytes), Link::Ethernet);
        check(&ethernet(IPV6, bytes), Link::Ethernet);
    });
}

#[test]
fn damaged_packets_are_read_within_bounds() {
    target!().with_type::<Damaged>().for_each(|packet| {
        let bytes = packet.bytes();
        check(&bytes, Link::Ip);
        let ether_type = if packet.is_v6 { IPV6 } else { IPV4 };
        check(&tagged(&[0x88a8, 0x8100], ether_type, &bytes), Link::Ethernet);
    });
}
