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

/// Remembers an accepted first fragment. If it can't, the later ones are dropped. Of several first
/// ones the longest headers are protected: a shorter one must not open another's to be overwritten.
#[inline(never)]
pub(crate) fn remember(packet: &Packet, direction: Direction, now: Stamp) -> u32 {
    let key = key(packet, direction);
    let (own, known) = (packet.protected_length(), known(&key, now, 0));
    let protected_length = if known > own { known } else { own };
    u32::from(FRAGMENTS.insert(key, FragmentVerdict { seen: now, protected_length }, 0).is_ok())
}

/// The protected length of a datagram whose first fragment was accepted not too long ago, or else
/// `unknown`. (No `Option`: LLVM would compare the undefined number of a `None`, which the verifier refuses.)
#[inline(always)]
fn known(key: &FragmentKey, now: Stamp, unknown: u32) -> u32 {
    // SAFETY: the value is copied at once; another CPU may at worst replace it by a newer one.
    let Some(verdict) = (unsafe { FRAGMENTS.get(key) }) else { return unknown };
    let age = now.wrapping_sub(verdict.seen);
    let fresh = age <= settings::fragment_stamps() || age >= 1 << 31;
    if fresh { verdict.protected_length } else { unknown }
}

/// Whether a later fragment's first one was accepted, and it does not overwrite its header.
#[inline(never)]
pub(crate) fn follows(packet: &Packet, direction: Direction, now: Stamp) -> bool {
    // No offset is as large as that of what is unknown.
    u32::from(packet.fragment_offset) >= known(&key(packet, direction), now, u32::MAX)
}
