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
    let there = bytes.length().saturating_sub(offset);
    let length = if said <= headers && bytes.segmentation().is_some() { there } else { said };
    if length < headers {
        return Err(Reason::BadIpHeader);
    }
    if length > there {
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
    let mut walked = 0;
    // Where the part of the datagram begins that fragments cut, of a first one.
    let mut fragmentable = at;
    while walked <= MAX_EXTENSION_HEADERS {
        let step = match next {
            FRAGMENT => {
                let fragment = bytes.read::<[u8; FRAGMENT_LENGTH]>(at).ok_or(Reason::Truncated)?;
                let field = u16::from_be_bytes([fragment[2], fragment[3]]);
                packet.fragment_offset = field & 0xfff8;
                packet.fragment_id = u32::from_be_bytes([fragment[4], fragment[5], fragment[6], fragment[7]]);
                if packet.fragment_offset != 0 {
                    let data = at + FRAGMENT_LENGTH;
                    if data > end {
                        return Err(Reason::Truncated);
                    }
                    if walked == MAX_EXTENSION_HEADERS {
                        return Err(Reason::ExtensionHeaders);
                    }
                    packet.fragment = Fragment::Later;
                    packet.protocol = fragment[0];
                    packet.transport_offset = data as u32;
                    packet.header_length = (data - offset) as u32;
                    return Ok(());
                }
                // Offset 0 and nothing to follow: an atomic fragment, RFC 6946.
                if field & 1 != 0 {
                    packet.fragment = Fragment::First;
                    fragmentable = at + FRAGMENT_LENGTH;
                }
                next = fragment[0];
                FRAGMENT_LENGTH
            }
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION => {
                let option = bytes.read::<[u8; 2]>(at).ok_or(Reason::Truncated)?;
                let units = option[1] as usize;
                let step = if next == AUTHENTICATION { (units + 2) << 2 } else { (units + 1) << 3 };
                next = option[0];
                step
            }
            protocol => {
                packet.protocol = protocol;
                packet.transport_offset = at as u32;
                packet.header_length = (at - offset) as u32;
                if matches!(packet.fragment, Fragment::First) {
                    packet.transport_length = (at - fragmentable) as u16;
                }
                return Ok(());
            }
        };
        at += step;
        if at > end {
            return Err(Reason::Truncated);
        }
        walked += 1;
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
