//! Reading a packet: link layer, IP, transport.
//!
//! One layer a file: `link`, `ip`, `transport`; [`quote`] reads what an ICMP error quotes, [`query`] which
//! ICMP messages ask and answer.
//! Each checks its bounds, says what comes next, and refuses what contradicts itself. Nothing is
//! passed because it could not be read: the caller drops what is refused here, but for ARP.
//!
//! The written rules, for docs and tests alike:
//!
//! - at most two VLAN tags (802.1Q or 802.1ad), counting one that the hook holds as metadata;
//! - Ethernet II only: a length instead of an EtherType (802.3) is not IP;
//! - an IP length beyond the packet's end, or short of its own headers, is refused; bytes after
//!   the IP length are padding and never looked at;
//! - IPv4 options and up to eight IPv6 extension headers are walked over;
//! - a first fragment must hold its whole transport header; an IPv6 atomic fragment (RFC 6946) is
//!   no fragment; of a later fragment nothing is read but where it belongs.

mod ip;
mod link;
pub mod query;
pub mod quote;
mod transport;

pub use ip::is_extension_header;

use crate::{
    abi::Link,
    address::{Address, Family},
    bytes::Bytes,
    service::Service,
    verdict::Reason,
};

/// IPv6 extension headers that are walked over.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// TCP flags as they stand in the header's byte 13.
pub mod tcp_flags {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset.
    pub const RST: u8 = 4;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 16;
}

/// Which part of a datagram a packet is.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole = 0,
    /// Its first part, with the transport header.
    First = 1,
    /// A later part, without one.
    Later = 2,
}

/// What was read of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// IP version.
    pub family: Family,
    /// Which part of a datagram it is.
    pub fragment: Fragment,
    /// IANA number of the transport protocol (of the fragment header's next header in a later fragment).
    pub protocol: u8,
    /// TCP flags, 0 for other protocols.
    pub tcp_flags: u8,
    /// Whether the datagram goes on behind this fragment.
    pub more_fragments: bool,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Source port; 0 where the protocol has none.
    pub source_port: u16,
    /// Destination port; likewise. ICMP: `type << 8 | code`.
    pub destination_port: u16,
    /// Identifier of an ICMP query.
    pub icmp_identifier: u16,
    /// Offset of a later fragment's data in its datagram, in bytes.
    pub fragment_offset: u16,
    /// The datagram's identification, of a fragment.
    pub fragment_id: u32,
    /// The IP length: header and payload.
    pub length: u32,
    /// Where the transport header begins, from the start of the packet.
    pub transport_offset: u32,
    /// Length of the IP and transport headers, repeated in every segment of a GSO packet.
    pub header_length: u32,
    /// Where a fragment's data begin; of a first one, there the offsets of later ones count from.
    pub fragmented_from: u32,
    /// Length of the transport header; 0 of a protocol without ports.
    pub transport_length: u16,
}

impl Packet {
    /// A packet of which nothing has been read.
    pub const EMPTY: Self = Self {
        source: Address([0; 4]),
        destination: Address([0; 4]),
        family: Family::V4,
        fragment: Fragment::Whole,
        protocol: 0,
        tcp_flags: 0,
        more_fragments: false,
        hop_limit: 0,
        source_port: 0,
        destination_port: 0,
        icmp_identifier: 0,
        fragment_offset: 0,
        fragment_id: 0,
        length: 0,
        transport_offset: 0,
        header_length: 0,
        fragmented_from: 0,
        transport_length: 0,
    };

    /// Reads a packet from its first byte on.
    ///
    /// # Errors
    ///
    /// The reason to drop it unread, or [`Reason::Arp`].
    #[inline(always)]
    pub fn read<B: Bytes>(&mut self, bytes: &B, link: Link) -> Result<(), Reason> {
        let (family, offset) = link::read(bytes, link)?;
        self.family = family;
        match family {
            Family::V4 => ip::read_v4(self, bytes, offset)?,
            Family::V6 => ip::read_v6(self, bytes, offset)?,
        }
        if !matches!(self.fragment, Fragment::Later) {
            transport::read(self, bytes)?;
        }
        if matches!(self.fragment, Fragment::Whole) { Ok(()) } else { ip::check_fragment(self, offset) }
    }

    /// ICMP type, of an ICMP or ICMPv6 message.
    #[inline(always)]
    #[must_use]
    pub const fn icmp_type(&self) -> u8 {
        (self.destination_port >> 8) as u8
    }

    /// ICMP code, of an ICMP or ICMPv6 message.
    #[inline(always)]
    #[must_use]
    pub const fn icmp_code(&self) -> u8 {
        self.destination_port as u8
    }

    /// Whether it is an ICMP message over IPv4 or an ICMPv6 message over IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        match self.family {
            Family::V4 => self.protocol == crate::service::ICMP,
            Family::V6 => self.protocol == crate::service::ICMPV6,
        }
    }

    /// The service that it asks for.
    #[inline(always)]
    #[must_use]
    pub const fn service(&self) -> Service {
        Service::new(self.protocol, self.destination_port)
    }

    /// The service that its mirror image asks for: the source port instead of the destination port.
    #[inline(always)]
    #[must_use]
    pub const fn mirror_service(&self) -> Service {
        Service::new(self.protocol, self.source_port)
    }

    /// Length of what a later fragment must not overwrite, of a first one: the transport header and the
    /// extension headers between it and the fragment header.
    #[inline(always)]
    #[must_use]
    pub const fn protected_length(&self) -> u32 {
        self.transport_offset.wrapping_sub(self.fragmented_from).wrapping_add(self.transport_length as u32)
    }

    /// Packets and bytes on the wire that it stands for.
    #[inline(always)]
    #[must_use]
    pub fn on_the_wire<B: Bytes>(&self, bytes: &B) -> (u64, u64) {
        let Some(segmentation) = bytes.segmentation() else {
            return (1, u64::from(self.length));
        };
        let payload = self.length.saturating_sub(self.header_length);
        let mut count = segmentation.count;
        if count == 0 {
            count = payload.div_ceil(segmentation.size.max(1));
        }
        let count = u64::from(count.max(1));
        (count, u64::from(self.length) + (count - 1) * u64::from(self.header_length))
    }
}

#[cfg(test)]
mod tests;
