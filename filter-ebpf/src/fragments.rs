//! Later fragments follow the first one.

use filter_common::{
    abi::{FragmentKey, FragmentVerdict, Stamp},
    packet::Packet,
};

use crate::{maps::FRAGMENTS, settings};

#[inline(always)]
fn key(packet: &Packet) -> FragmentKey {
    FragmentKey {
        source: packet.source,
        destination: packet.destination,
        id: packet.fragment_id,
        slot: settings::slot() as u16,
        protocol: packet.protocol,
        family: packet.family as u8,
    }
}

/// Remembers an accepted first fragment. If it can't, the later ones are dropped.
#[inline(never)]
pub(crate) fn remember(packet: &Packet, now: Stamp) -> u32 {
    let verdict = FragmentVerdict { seen: now, protected_length: packet.protected_length() };
    u32::from(FRAGMENTS.insert(key(packet), verdict, 0).is_ok())
}

/// Whether a later fragment's first one was accepted, and it does not overwrite its header.
#[inline(never)]
pub(crate) fn follows(packet: &Packet, now: Stamp) -> bool {
    let key = key(packet);
    // SAFETY: the value is copied at once; another CPU may at worst replace it by a newer one.
    let Some(verdict) = (unsafe { FRAGMENTS.get(&key) }) else { return false };
    let age = now.wrapping_sub(verdict.seen);
    let fresh = age <= settings::fragment_stamps() || age >= 1 << 31;
    fresh && u32::from(packet.fragment_offset) >= verdict.protected_length
}
