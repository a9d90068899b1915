//! The link layer: Ethernet II and VLAN tags.

use network_types::eth::EthHdr;

use crate::{abi::Link, address::Family, bytes::Bytes, verdict::Reason};

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// IEEE 802.1Q.
const CUSTOMER_TAG: u16 = 0x8100;
/// IEEE 802.1ad.
const SERVICE_TAG: u16 = 0x88a8;

const MAX_TAGS: usize = 2;
const TAG_LENGTH: usize = 4;

/// The IP version and where the IP header begins.
#[inline(always)]
pub(super) fn read<B: Bytes>(bytes: &B, link: Link) -> Result<(Family, usize), Reason> {
    if matches!(link, Link::Ip) {
        // Four bytes, of which the first is wanted: of one alone LLVM makes a bounds check that the
        // verifier does not know.
        return match bytes.read::<[u8; 4]>(0).ok_or(Reason::Truncated)?[0] >> 4 {
            4 => Ok((Family::V4, 0)),
            6 => Ok((Family::V6, 0)),
            _ => Err(Reason::NotIp),
        };
    }
    let header = bytes.read::<EthHdr>(0).ok_or(Reason::Truncated)?;
    let mut ether_type = u16::from_be(header.ether_type);
    let mut offset = EthHdr::LEN;
    let mut tags = bytes.tags_in_metadata();
    for _ in 0..=MAX_TAGS {
        if ether_type != CUSTOMER_TAG && ether_type != SERVICE_TAG {
            break;
        }
        tags += 1;
        // A tag is the two bytes of its control information and the next EtherType.
        let next = bytes.read::<[u8; 2]>(offset + 2).ok_or(Reason::Truncated)?;
        ether_type = u16::from_be_bytes(next);
        offset += TAG_LENGTH;
    }
    if tags > MAX_TAGS {
        return Err(Reason::VlanDepth);
    }
    match ether_type {
        IPV4 => Ok((Family::V4, offset)),
        IPV6 => Ok((Family::V6, offset)),
        ARP => Err(Reason::Arp),
        _ => Err(Reason::NotIp),
    }
}
