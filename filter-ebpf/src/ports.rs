//! Local ports that connections have had: where a packet's has had none, its connection need not be looked up.
//!
//! # The problem
//!
//! Most packets that are rejected are scans and floods for ports on which nobody listens. Looking each
//! of them up touches lines of the connection table's directory that are in no near cache, and costs
//! as much as all else.
//!
//! # The structure
//!
//! A bit for each local port of TCP and of UDP, per interface: 16 KiB, of which a server uses a few lines. It is
//! set before a connection's entry is published, so a packet that comes after the one which opened its
//! connection finds it set. It stays set until the interface is attached anew: a port that was once
//! used costs the search again, and no more.
//!
//! # Cost
//!
//! One load and a branch, and 4 MiB for the 256 interfaces that a host can have. Rejected: a filter over whole tuples (as large as the directory), counts
//! instead of bits (an atomic operation whenever a connection ends, and a wrong one would hide connections).

use filter_common::service::{TCP, UDP};

use crate::{atomic, maps::PORTS, seen::Seen, settings};

/// The word of a packet's local port and its bit in there; `None`: its protocol has no ports.
#[inline(always)]
fn place(seen: &Seen<'_>) -> Option<(*mut u64, u64)> {
    let protocol = seen.context.packet.protocol;
    if protocol != TCP && protocol != UDP {
        return None;
    }
    let (port, _) = seen.ports();
    let word = usize::from(protocol == UDP) << 10 | usize::from(port >> 6);
    let ports: *mut u64 = PORTS.get_ptr_mut(settings::slot())?.cast();
    // SAFETY: the index is below 2,048, the number of words.
    Some((unsafe { ports.add(word) }, 1 << (port & 63)))
}

/// Whether the packet may belong to a connection, as far as its local port tells.
#[inline(always)]
pub(crate) fn may_be_connected(seen: &Seen<'_>) -> bool {
    let Some((word, bit)) = place(seen) else { return true };
    // SAFETY: the pointer is into the map's value; other CPUs may change it, hence volatile.
    unsafe { word.read_volatile() & bit != 0 }
}

/// Remembers that a connection is about to have the packet's local port.
#[inline(always)]
pub(crate) fn remember(seen: &Seen<'_>) {
    let Some((word, bit)) = place(seen) else { return };
    // SAFETY: the pointer is into the map's value.
    unsafe {
        if word.read_volatile() & bit == 0 {
            atomic::set_bits_u64(word, bit);
        }
    }
}
