//! IPv4 (RFC 791) and IPv6 (RFC 8200) with its extension headers.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{Fragment, MAX_EXTENSION_HEADERS, Packet};
use crate::{
    address::{Address, Family},
    bytes::Bytes,
    verdict::Reason,
};

/// IPv4 flags and offset: more fragments follow.
const MORE_FRAGMENTS_V4: u16 = 0x2000;
const OFFSET_MASK_V4: u16 = 0x1fff;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

const FRAGMENT_LENGTH: usize = 8;

/// Whether the number of a protocol is that of an IPv6 header that is walked over.
#[inline(always)]
#[must_use]
pub const fn is_extension_header(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS | AUTHENTICATION)
}

/// Longest IPv4 packet, and longest payload of an IPv6 packet.
const MAX_DATAGRAM: u32 = 65_535;

/// Length of the IP packet at `offset`: what its header says (`field` bytes behind `uncounted`
/// ones), or, for a packet that the kernel has merged beyond 64 KiB and that says 0 (BIG TCP), all
/// that is there.
#[inline(always)]
fn length<B: Bytes>(
    bytes: &B,
    offset: usize,
    field: u16,
    uncounted: usize,
    headers: usize,
) -> Result<usize, Reason> {
    let says_nothing = field == 0 && bytes.segmentation().is_some();
    let length =
        if says_nothing { bytes.length().saturating_sub(offset) } else { uncounted + field as usize };
    if length < headers {
        return Err(Reason::BadIpHeader);
    }
    if !bytes.holds(offset + length) {
        return Err(Reason::Truncated);
    }
    Ok(length)
}

/// Refuses a fragment that can be no part of a datagram: all parts but the last are multiples of
/// eight bytes long, and what is put together is no longer than a length field can say (RFC 791;
/// RFC 8200, 4.5: IPv6's counts neither the IP header nor, then, the fragment header).
#[inline(always)]
pub(super) fn check_fragment(packet: &Packet, offset: usize) -> Result<(), Reason> {
    let uncounted = match packet.family {
        Family::V4 => 0,
        Family::V6 => (Ipv6Hdr::LEN + FRAGMENT_LENGTH) as u32,
    };
    let too_long = u32::from(packet.fragment_offset) + packet.length > MAX_DATAGRAM + uncounted;
    let data = (offset as u32).wrapping_add(packet.length).wrapping_sub(packet.fragmented_from);
    let uneven = packet.more_fragments && data & 7 != 0;
    if too_long || uneven { Err(Reason::BadIpHeader) } else { Ok(()) }
}

#[inline(always)]
pub(super) fn read_v4<B: Bytes>(packet: &mut Packet, bytes: &B, offset: usize) -> Result<(), Reason> {
    let header = bytes.read::<Ipv4Hdr>(offset).ok_or(Reason::Truncated)?;
    let words = (header.vihl & 0x0f) as usize;
    if header.vihl >> 4 != 4 || words < 5 {
        return Err(Reason::BadIpHeader);
    }
    let header_length = words * 4;
    let length = length(bytes, offset, u16::from_be_bytes(header.tot_len), 0, header_length)?;

    packet.source = Address::v4(u32::from_be_bytes(header.src_addr));
    packet.destination = Address::v4(u32::from_be_bytes(header.dst_addr));
    packet.protocol = header.proto;
    packet.hop_limit = header.ttl;
    packet.length = length as u32;
    packet.header_length = header_length as u32;
    packet.transport_offset = (offset + header_length) as u32;
    packet.fragmented_from = packet.transport_offset;

    let fragment = u16::from_be_bytes(header.frags);
    packet.fragment_id = u32::from(u16::from_be_bytes(header.id));
    packet.fragment_offset = (fragment & OFFSET_MASK_V4) << 3;
    packet.more_fragments = fragment & MORE_FRAGMENTS_V4 != 0;
    packet.fragment = if fragment & OFFSET_MASK_V4 != 0 {
        Fragment::Later
    } else if packet.more_fragments {
        Fragment::First
    } else {
        Fragment::Whole
    };
    Ok(())
}

#[inline(always)]
pub(super) fn read_v6<B: Bytes>(packet: &mut Packet, bytes: &B, offset: usize) -> Result<(), Reason> {
    let header = bytes.read::<Ipv6Hdr>(offset).ok_or(Reason::Truncated)?;
    if header.vcf[0] >> 4 != 6 {
        return Err(Reason::BadIpHeader);
    }
    let payload = u16::from_be_bytes(header.payload_len);
    let length = length(bytes, offset, payload, Ipv6Hdr::LEN, Ipv6Hdr::LEN)?;

    packet.source = v6(header.src_addr);
    packet.destination = v6(header.dst_addr);
    packet.hop_limit = header.hop_limit;
    packet.length = length as u32;

    let end = offset + length;
    let mut next = header.next_hdr;
    let mut at = offset + Ipv6Hdr::LEN;
    for walked in 0..=MAX_EXTENSION_HEADERS {
        if !is_extension_header(next) {
            packet.protocol = next;
            packet.transport_offset = at as u32;
            packet.header_length = (at - offset) as u32;
            return Ok(());
        }
        if walked == MAX_EXTENSION_HEADERS {
            break;
        }
        let step = if next == FRAGMENT {
            let fragment = bytes.read::<[u8; FRAGMENT_LENGTH]>(at).ok_or(Reason::Truncated)?;
            let field = u16::from_be_bytes([fragment[2], fragment[3]]);
            packet.fragment_offset = field & 0xfff8;
            packet.fragment_id = u32::from_be_bytes([fragment[4], fragment[5], fragment[6], fragment[7]]);
            packet.more_fragments = field & 1 != 0;
            packet.fragmented_from = (at + FRAGMENT_LENGTH) as u32;
            if packet.fragment_offset != 0 {
                packet.fragment = Fragment::Later;
                packet.protocol = fragment[0];
                packet.transport_offset = (at + FRAGMENT_LENGTH) as u32;
                packet.header_length = (at + FRAGMENT_LENGTH - offset) as u32;
                return if at + FRAGMENT_LENGTH > end { Err(Reason::Truncated) } else { Ok(()) };
            }
            // Offset 0 and nothing to follow: an atomic fragment, RFC 6946.
            if field & 1 != 0 {
                packet.fragment = Fragment::First;
            }
            next = fragment[0];
            FRAGMENT_LENGTH
        } else {
            let option = bytes.read::<[u8; 2]>(at).ok_or(Reason::Truncated)?;
            let units = option[1] as usize;
            let step = if next == AUTHENTICATION { (units + 2) << 2 } else { (units + 1) << 3 };
            next = option[0];
            step
        };
        at += step;
        if at > end {
            return Err(Reason::Truncated);
        }
    }
    Err(Reason::ExtensionHeaders)
}

#[inline(always)]
pub(super) fn v6(bytes: [u8; 16]) -> Address {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
    Address([
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
        u32::from_be_bytes([i, j, k, l]),
        u32::from_be_bytes([m, n, o, p]),
    ])
}
