//! IPv4 (RFC 791) and IPv6 (RFC 8200) with its extension headers.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{Fragment, MAX_EXTENSION_HEADERS, Packet};
use crate::{address::Address, bytes::Bytes, verdict::Reason};

/// IPv4 flags and offset: more fragments follow.
const MORE_FRAGMENTS_V4: u16 = 0x2000;
const OFFSET_MASK_V4: u16 = 0x1fff;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

const FRAGMENT_LENGTH: usize = 8;

/// Length of the IP packet at `offset`: what its header says, or, for a packet that the kernel
/// has merged beyond 64 KiB and that says 0 (BIG TCP), all that is there.
#[inline(always)]
fn length<B: Bytes>(bytes: &B, offset: usize, said: usize, headers: usize) -> Result<usize, Reason> {
    let merged = said <= headers && bytes.segmentation().is_some();
    let length = if merged { bytes.length().saturating_sub(offset) } else { said };
    if length < headers {
        return Err(Reason::BadIpHeader);
    }
    if !bytes.holds(offset + length) {
        return Err(Reason::Truncated);
    }
    Ok(length)
}

#[inline(always)]
pub(super) fn read_v4<B: Bytes>(packet: &mut Packet, bytes: &B, offset: usize) -> Result<(), Reason> {
    let header = bytes.read::<Ipv4Hdr>(offset).ok_or(Reason::Truncated)?;
    let words = (header.vihl & 0x0f) as usize;
    if header.vihl >> 4 != 4 || words < 5 {
        return Err(Reason::BadIpHeader);
    }
    let header_length = words * 4;
    let length = length(bytes, offset, u16::from_be_bytes(header.tot_len) as usize, header_length)?;

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
    packet.fragment = if fragment & OFFSET_MASK_V4 != 0 {
        Fragment::Later
    } else if fragment & MORE_FRAGMENTS_V4 != 0 {
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
    let said = Ipv6Hdr::LEN + u16::from_be_bytes(header.payload_len) as usize;
    let length = length(bytes, offset, said, Ipv6Hdr::LEN)?;

    packet.source = v6(header.src_addr);
    packet.destination = v6(header.dst_addr);
    packet.hop_limit = header.hop_limit;
    packet.length = length as u32;

    let end = offset + length;
    let mut next = header.next_hdr;
    let mut at = offset + Ipv6Hdr::LEN;
    for walked in 0..=MAX_EXTENSION_HEADERS {
        if !matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS | AUTHENTICATION) {
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
                packet.fragmented_from = (at + FRAGMENT_LENGTH) as u32;
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
