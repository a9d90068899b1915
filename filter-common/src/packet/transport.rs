//! TCP (RFC 9293), UDP (RFC 768), ICMP (RFC 792) and ICMPv6 (RFC 4443).

use network_types::{tcp::TcpHdr, udp::UdpHdr};

use super::{Fragment, Packet};
use crate::{
    bytes::Bytes,
    service::{TCP, UDP},
    verdict::Reason,
};

/// Every ICMP and ICMPv6 message has at least eight bytes.
const ICMP_LENGTH: u32 = 8;
/// `TcpHdr`'s flags and data offset are read from its bytes: bit fields cost the verifier more.
const TCP_OFFSET_BYTE: usize = 12;

#[inline(always)]
pub(super) fn read<B: Bytes>(packet: &mut Packet, bytes: &B) -> Result<(), Reason> {
    // Bytes of the IP packet that are left for the transport layer.
    let left = packet.length.saturating_sub(packet.header_length);
    let short = match packet.fragment {
        Fragment::First => Reason::TinyFragment,
        Fragment::Whole | Fragment::Later => Reason::Truncated,
    };
    let at = packet.transport_offset as usize;
    let length = if packet.protocol == TCP {
        if left < TcpHdr::LEN as u32 {
            return Err(short);
        }
        let header = bytes.read::<[u8; TcpHdr::LEN]>(at).ok_or(short)?;
        packet.source_port = u16::from_be_bytes([header[0], header[1]]);
        packet.destination_port = u16::from_be_bytes([header[2], header[3]]);
        packet.tcp_flags = header[TCP_OFFSET_BYTE + 1];
        let length = u32::from(header[TCP_OFFSET_BYTE] >> 4) * 4;
        if length < TcpHdr::LEN as u32 {
            return Err(Reason::BadTransportHeader);
        }
        length
    } else if packet.protocol == UDP {
        if left < UdpHdr::LEN as u32 {
            return Err(short);
        }
        let header = bytes.read::<[u8; UdpHdr::LEN]>(at).ok_or(short)?;
        packet.source_port = u16::from_be_bytes([header[0], header[1]]);
        packet.destination_port = u16::from_be_bytes([header[2], header[3]]);
        let said = u32::from(u16::from_be_bytes([header[4], header[5]]));
        // A first fragment's datagram goes on in later ones, and a GSO packet's in its segments.
        let whole = matches!(packet.fragment, Fragment::Whole) && bytes.segmentation().is_none();
        if whole && (said < UdpHdr::LEN as u32 || said > left) {
            return Err(Reason::BadTransportHeader);
        }
        UdpHdr::LEN as u32
    } else if packet.is_icmp() {
        if left < ICMP_LENGTH {
            return Err(short);
        }
        let header = bytes.read::<[u8; ICMP_LENGTH as usize]>(at).ok_or(short)?;
        packet.destination_port = u16::from_be_bytes([header[0], header[1]]);
        packet.icmp_identifier = u16::from_be_bytes([header[4], header[5]]);
        ICMP_LENGTH
    } else {
        return Ok(());
    };
    if length > left {
        return Err(match packet.fragment {
            Fragment::First => Reason::TinyFragment,
            Fragment::Whole | Fragment::Later => Reason::BadTransportHeader,
        });
    }
    packet.header_length += length;
    packet.transport_length = length as u16;
    Ok(())
}
