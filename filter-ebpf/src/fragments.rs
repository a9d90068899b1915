//! Later fragments follow the first one.

use filter_common::{
    Direction,
    abi::{FragmentKey, FragmentVerdict, Stamp},
    address::Family,
    packet::Packet,
};

use crate::{maps::FRAGMENTS, settings};

/// IPv4 tells datagrams apart by the protocol, too (RFC 791); IPv6 does not (RFC 8200, 4.5), and a
/// later fragment does not know it where extension headers stand behind the fragment header.
#[inline(always)]
fn key(packet: &Packet, direction: Direction) -> FragmentKey {
    FragmentKey {
        source: packet.source,
        destination: packet.destination,
        id: packet.fragment_id,
        slot: settings::slot() as u16,
        protocol: if matches!(packet.family, Family::V4) { packet.protocol } else { 0 },
        family_and_direction: packet.family as u8 | (direction as u8) << 4,
    }
}

/// Remembers an accepted first fragment. If it can't, the later ones are dropped.
#[inline(never)]
pub(crate) fn remember(packet: &Packet, direction: Direction, now: Stamp) -> u32 {
    let verdict = FragmentVerdict { seen: now, protected_length: packet.protected_length() };
    u32::from(FRAGMENTS.insert(key(packet, direction), verdict, 0).is_ok())
}

/// Whether a later fragment's first one was accepted, and it does not overwrite its header.
#[inline(never)]
pub(crate) fn follows(packet: &Packet, direction: Direction, now: Stamp) -> bool {
    let key = key(packet, direction);
    // SAFETY: the value is copied at once; another CPU may at worst replace it by a newer one.
    let Some(verdict) = (unsafe { FRAGMENTS.get(key) }) else { return false };
    let age = now.wrapping_sub(verdict.seen);
    let fresh = age <= settings::fragment_stamps() || age >= 1 << 31;
    fresh && u32::from(packet.fragment_offset) >= verdict.protected_length
}
