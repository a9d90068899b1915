//! What an ICMP error quotes: the head of the packet that it is about (RFC 792, RFC 4443, 2.4).

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::{Packet, ip};
use crate::{
    address::{Address, Family},
    bytes::Bytes,
    service::{ICMP, ICMPV6, TCP, UDP},
};

/// Length of an ICMP error's own header, before the quote.
const ICMP_ERROR_LENGTH: usize = 8;
/// Length of a TCP or UDP header's ports.
const PORTS_LENGTH: usize = 4;
/// Length of an ICMP query's header.
const QUERY_LENGTH: usize = 8;

/// The head of a quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Who had sent the packet.
    pub source: Address,
    /// To whom.
    pub destination: Address,
    /// Its protocol.
    pub protocol: u8,
    /// Its source port; for an ICMP query, its identifier.
    pub source_port: u16,
    /// Its destination port; for an ICMP query, its type.
    pub destination_port: u16,
}

/// Whether a message is an error about another packet: destination unreachable, time exceeded,
/// parameter problem; ICMPv6 also packet too big. (Redirects are not: a host must not be
/// rerouted on the word of whoever can quote it.)
#[inline(always)]
#[must_use]
pub const fn is_error(packet: &Packet) -> bool {
    is_error_type(packet.family, packet.icmp_type())
}

/// Whether messages of a type are such errors.
#[inline(always)]
#[must_use]
pub const fn is_error_type(family: Family, icmp_type: u8) -> bool {
    match family {
        Family::V4 => matches!(icmp_type, 3 | 11 | 12),
        Family::V6 => matches!(icmp_type, 1..=4),
    }
}

/// Reads the quote of an ICMP error; `None` if it is too short to name a connection, or about a
/// later fragment. Of an IPv6 packet with extension headers it tells the first of them as the
/// protocol, which no connection has.
#[inline(always)]
pub fn read<B: Bytes>(packet: &Packet, bytes: &B) -> Option<Quote> {
    let at = packet.transport_offset as usize + ICMP_ERROR_LENGTH;
    // What the error holds behind its own header; beyond is padding.
    let held = packet.length.saturating_sub(packet.header_length) as usize;
    let (mut quote, header_length) = match packet.family {
        Family::V4 => {
            let header = bytes.read::<Ipv4Hdr>(at)?;
            let words = (header.vihl & 0x0f) as usize;
            if header.vihl >> 4 != 4 || words < 5 || u16::from_be_bytes(header.frags) & 0x1fff != 0 {
                return None;
            }
            let quote = Quote {
                source: Address::v4(u32::from_be_bytes(header.src_addr)),
                destination: Address::v4(u32::from_be_bytes(header.dst_addr)),
                protocol: header.proto,
                source_port: 0,
                destination_port: 0,
            };
            (quote, words * 4)
        }
        Family::V6 => {
            let header = bytes.read::<Ipv6Hdr>(at)?;
            if header.vcf[0] >> 4 != 6 {
                return None;
            }
            let quote = Quote {
                source: ip::v6(header.src_addr),
                destination: ip::v6(header.dst_addr),
                protocol: header.next_hdr,
                source_port: 0,
                destination_port: 0,
            };
            (quote, Ipv6Hdr::LEN)
        }
    };
    let wanted = match quote.protocol {
        TCP | UDP => PORTS_LENGTH,
        _ if quote.is_icmp(packet.family) => QUERY_LENGTH,
        _ => 0,
    };
    if header_length + wanted > held {
        return None;
    }
    let at = at + header_length;
    if wanted == PORTS_LENGTH {
        let ports = bytes.read::<[u8; PORTS_LENGTH]>(at)?;
        quote.source_port = u16::from_be_bytes([ports[0], ports[1]]);
        quote.destination_port = u16::from_be_bytes([ports[2], ports[3]]);
    } else if wanted == QUERY_LENGTH {
        let query = bytes.read::<[u8; QUERY_LENGTH]>(at)?;
        quote.source_port = u16::from_be_bytes([query[4], query[5]]);
        quote.destination_port = u16::from(query[0]);
    }
    Some(quote)
}

impl Quote {
    /// Whether the quoted packet is an ICMP message of its family.
    #[inline(always)]
    #[must_use]
    pub const fn is_icmp(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.protocol == ICMP,
            Family::V6 => self.protocol == ICMPV6,
        }
    }
}
