//! A connection: its key, its entry in the table, its state word.

use core::mem::offset_of;

use crate::{
    Direction,
    abi::Stamp,
    address::{Address, Family},
    track::Phase,
    verdict::Reason,
};

/// What tells conversations apart: the interface, both ends, the protocol. Local and remote are
/// the ENI's view, so packets of both directions have the same key.
///
/// TCP and UDP: the 5-tuple. ICMP queries: the identifier as local port, the request's type and who
/// asks as remote port. Other protocols: both ports 0. In the table of rejected and untracked flows
/// an ICMP message has no identifier, and its type and code as remote port.
///
/// The first word says all but the addresses; both IPv4 addresses fit into the second, and the others
/// are 0 then: see [`Key::is_short`].
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(pub [u64; 5]);

/// Words of a [`Key`] that an IPv4 key is told apart by, which an entry begins with; the others stand
/// in its second cache line.
pub const SHORT_KEY: usize = 2;

/// Where those are in an entry of either table, counted in words.
pub const REST_OF_KEY: usize = 8;

/// The parts of a [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyParts {
    /// Slot of the interface.
    pub slot: u16,
    /// Address family.
    pub family: Family,
    /// IANA protocol number.
    pub protocol: u8,
    /// The ENI's address.
    pub local: Address,
    /// The other end's address.
    pub remote: Address,
    /// The ENI's port.
    pub local_port: u16,
    /// The other end's port.
    pub remote_port: u16,
    /// Direction and reason in the table of rejected and untracked flows (see [`flow_kind`]), below
    /// 64; 0 in the connection table.
    pub kind: u8,
}

/// [`KeyParts::kind`] of a flow: its direction and the reason for its packets' verdict, so that a
/// record counts packets of one reason.
#[inline(always)]
#[must_use]
pub const fn flow_kind(direction: Direction, reason: Reason) -> u8 {
    const { assert!(Reason::COUNT <= 32, "a key has five bits for it") };
    direction as u8 | (reason as u8) << 1
}

impl Key {
    /// Packs the parts.
    #[inline(always)]
    #[must_use]
    pub const fn new(parts: &KeyParts) -> Self {
        const fn pair(high: u32, low: u32) -> u64 {
            (high as u64) << 32 | low as u64
        }
        let ports = (parts.local_port as u32) << 16 | parts.remote_port as u32;
        // Half the family is 2 or 3, the kind below 64: a byte holds both. The slot has the upper half.
        let rest = (parts.slot as u32) << 16
            | (parts.protocol as u32) << 8
            | (parts.kind as u32) << 2
            | parts.family as u32 >> 1;
        let first = pair(ports, rest);
        let ([a, b, c, d], [e, f, g, h]) = (parts.local.0, parts.remote.0);
        match parts.family {
            Family::V4 => Self([first, pair(a, e), 0, 0, 0]),
            Family::V6 => Self([first, pair(a, b), pair(c, d), pair(e, f), pair(g, h)]),
        }
    }

    /// Whether the key is an IPv4 one, by its first word: the rest of it is 0.
    #[inline(always)]
    #[must_use]
    pub const fn is_short(first: u64) -> bool {
        first & 3 == Family::V4 as u64 >> 1
    }

    /// The slot of the interface, by a key's first word.
    #[inline(always)]
    #[must_use]
    pub const fn slot_of(first: u64) -> u16 {
        (first >> 16) as u16
    }

    /// Both addresses, the ENI's first.
    #[inline(always)]
    #[must_use]
    pub const fn addresses(&self) -> (Address, Address) {
        const fn address(high: u64, low: u64) -> Address {
            Address([(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32])
        }
        let [first, a, b, c, d] = self.0;
        if Self::is_short(first) {
            (address(a & !0xffff_ffff, 0), address(a << 32, 0))
        } else {
            (address(a, b), address(c, d))
        }
    }

    /// Unpacks the parts; `None` if this was never a key.
    #[must_use]
    pub const fn parts(&self) -> Option<KeyParts> {
        let first = self.0[0];
        let family = match first & 3 {
            2 => Family::V4,
            3 => Family::V6,
            _ => return None,
        };
        let (local, remote) = self.addresses();
        Some(KeyParts {
            slot: Self::slot_of(first),
            family,
            protocol: (first >> 8) as u8,
            kind: (first >> 2) as u8 & 0x3f,
            local,
            remote,
            local_port: (first >> 48) as u16,
            remote_port: (first >> 32) as u16,
        })
    }
}

/// Packets and bytes in one word, so that one atomic operation counts both: packets in the upper 24
/// bits, bytes in the lower 40.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub u64);

impl Counts {
    const BYTES: u32 = 40;
    /// The top bit of either half. Who adds to counts that have one must hand them over: what other
    /// CPUs add until then does not carry into the other half, or out of the word.
    const HALF_FULL: u64 = 1 << 63 | 1 << (Self::BYTES - 1);

    /// Of so many packets and bytes.
    #[inline(always)]
    #[must_use]
    pub const fn new(packets: u64, bytes: u64) -> Self {
        Self(packets << Self::BYTES | bytes)
    }

    /// Packets on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn packets(self) -> u64 {
        self.0 >> Self::BYTES
    }

    /// Bytes, as in a record.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0 & ((1 << Self::BYTES) - 1)
    }

    /// Whether either is beyond half of what it can hold: 8,388,608 packets, 512 GiB.
    #[inline(always)]
    #[must_use]
    pub const fn is_half_full(self) -> bool {
        self.0 & Self::HALF_FULL != 0
    }
}

/// Packets of one direction in the interval that is open.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// [`Counts`].
    pub counts: u64,
    /// When the first of them was seen.
    pub first: Stamp,
    /// When the last packet was seen, counted or not: what idle timeouts are measured from.
    pub last: Stamp,
    /// Number of the interval that they belong to.
    pub interval: u32,
    /// TCP flags as AWS counts them in the low byte, the reason of the first packet in the next,
    /// and above them the lower half of the generation that judged all of them. They are valid with
    /// [`Tally::NAMED`].
    pub flags_and_reason: u32,
}

impl Tally {
    /// The bit of [`Tally::flags_and_reason`] that its first packet sets; no TCP flag that is logged.
    /// Who takes a word that has it, and nobody else, takes the counts.
    pub const NAMED: u32 = 1 << 7;
}

const _: () = assert!(size_of::<Tally>() == 24);

/// An entry of the connection table: two cache lines. An incoming IPv4 packet needs but the first
/// one, an outgoing one both.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Who talks to whom: the first words of the [`Key`]. Read it only while the slot's tag says that
    /// it is filled.
    pub key: [u64; SHORT_KEY],
    /// [`State`], changed by compare-and-swap only.
    pub state: u64,
    /// [`Cached`] verdict of the network ACL, with its generation.
    pub cached: u64,
    /// When the connection was opened.
    pub opened: Stamp,
    /// Generation of the policy whose security groups admitted it.
    pub generation: u32,
    /// Counts of incoming packets.
    pub ingress: Tally,
    /// The other words of the key.
    pub rest_of_key: [u64; 5 - SHORT_KEY],
    /// Counts of outgoing packets.
    pub egress: Tally,
    /// Nothing yet.
    pub reserved: [u64; 2],
}

/// An entry of the table of rejected and untracked flows: one direction, one action. Of an IPv4 one, the
/// first cache line says all.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Who talks to whom, with [`KeyParts::kind`]: the first words of the [`Key`].
    pub key: [u64; SHORT_KEY],
    /// Generation of the policy that judged its first packet.
    pub generation: u32,
    /// Pads to where a connection has its counts.
    pub reserved: [u32; 5],
    /// Its counts.
    pub tally: Tally,
    /// The other words of the key.
    pub rest_of_key: [u64; 5 - SHORT_KEY],
}

// Both tables read keys in the same places.
const _: () = {
    assert!(size_of::<Connection>() == 128 && size_of::<Flow>() == 128);
    assert!(offset_of!(Connection, key) == 0 && offset_of!(Flow, key) == 0);
    assert!(offset_of!(Connection, rest_of_key) == 8 * REST_OF_KEY);
    assert!(offset_of!(Flow, rest_of_key) == 8 * REST_OF_KEY);
};

/// The state word: phase, who began, who has sent FIN, and the slot's incarnation, so that a
/// compare-and-swap fails when the slot was given to another connection meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State(pub u64);

impl State {
    /// The state of a new entry.
    #[inline(always)]
    #[must_use]
    pub const fn new(phase: Phase, initiator: Direction, incarnation: u32) -> Self {
        Self(phase as u64 | (initiator as u64) << 8 | (incarnation as u64) << 32)
    }

    /// The phase's number. It is read from shared memory, so nothing promises that it is one.
    #[inline(always)]
    #[must_use]
    pub const fn phase_number(self) -> u8 {
        self.0 as u8
    }

    /// The direction of the packet that began the connection.
    #[inline(always)]
    #[must_use]
    pub const fn initiator(self) -> Direction {
        if self.0 >> 8 & 1 == 0 { Direction::Ingress } else { Direction::Egress }
    }

    /// Whether a FIN was seen in a direction.
    #[inline(always)]
    #[must_use]
    pub const fn fin_seen(self, direction: Direction) -> bool {
        self.0 >> (9 + direction as u64) & 1 != 0
    }

    /// How often the slot has been filled, modulo 2^32.
    #[inline(always)]
    #[must_use]
    pub const fn incarnation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The same connection in another phase.
    #[inline(always)]
    #[must_use]
    pub const fn with_phase(self, phase_number: u8) -> Self {
        Self(self.0 & !0xff | phase_number as u64)
    }

    /// The same connection after a FIN in a direction.
    #[inline(always)]
    #[must_use]
    pub const fn with_fin(self, direction: Direction) -> Self {
        Self(self.0 | 1 << (9 + direction as u64))
    }
}

impl Connection {
    /// Its key.
    #[must_use]
    pub const fn key(&self) -> Key {
        let ([a, b], [c, d, e]) = (self.key, self.rest_of_key);
        Key([a, b, c, d, e])
    }

    /// Stamps since the last packet of either direction.
    #[inline(always)]
    #[must_use]
    pub const fn idle(&self, now: Stamp) -> u32 {
        idle(self.ingress.last, self.egress.last, now)
    }
}

/// Stamps since the later of two; none if one of them, taken on another CPU, lies ahead of `now`.
#[inline(always)]
#[must_use]
pub const fn idle(a: Stamp, b: Stamp, now: Stamp) -> u32 {
    let (a, b) = (age(a, now), age(b, now));
    if a < b { a } else { b }
}

/// Stamps since one; none if it lies ahead of `now`.
#[inline(always)]
#[must_use]
pub const fn age(then: Stamp, now: Stamp) -> u32 {
    let age = now.wrapping_sub(then);
    if age >= 1 << 31 { 0 } else { age }
}

/// The network ACL's verdicts on a connection's packets, the generation that gave them, and the
/// slot's incarnation: a verdict that was written when the slot had just gone to another
/// connection must not be that one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cached(pub u64);

impl Cached {
    /// Verdicts of a generation.
    #[inline(always)]
    #[must_use]
    pub const fn new(generation: u32, ingress_allowed: bool, egress_allowed: bool) -> Self {
        Self((generation as u64) << 32 | ingress_allowed as u64 | (egress_allowed as u64) << 1)
    }

    /// The same verdicts, for the connection of a state.
    #[inline(always)]
    #[must_use]
    pub const fn of(self, state: State) -> Self {
        Self(self.0 & !(0x3fff_ffff << 2) | Self::mark(state))
    }

    /// Whether the verdicts are on the connection of a state.
    #[inline(always)]
    #[must_use]
    pub const fn is_of(self, state: State) -> bool {
        self.0 & 0x3fff_ffff << 2 == Self::mark(state)
    }

    #[inline(always)]
    const fn mark(state: State) -> u64 {
        (state.incarnation() as u64 & 0x3fff_ffff) << 2
    }

    /// The generation.
    #[inline(always)]
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether the network ACL lets packets of a direction pass.
    #[inline(always)]
    #[must_use]
    pub const fn allows(self, direction: Direction) -> bool {
        self.0 >> (direction as u64) & 1 != 0
    }
}

#[cfg(test)]
mod tests;
