//! Load-time constants; the verifier knows their values and removes what they rule out.
//!
//! Their initial values occur nowhere else: LLVM merges equal constants, and with a zero the loader
//! would overwrite the `&0` keys of the maps.

use aya_ebpf::Global;
use filter_common::{
    Direction,
    abi::{Link, Side},
};

#[unsafe(no_mangle)]
static SLOT: Global<u32> = Global::new(0xfeed_0001);
#[unsafe(no_mangle)]
static SIDE: Global<u8> = Global::new(0xa5);
#[unsafe(no_mangle)]
static LINK: Global<u8> = Global::new(0x5a);
#[unsafe(no_mangle)]
static GRACE_UNTIL: Global<u64> = Global::new(0xfeed_0002_feed_0002);
#[unsafe(no_mangle)]
static FRAGMENT_STAMPS: Global<u32> = Global::new(0xfeed_0003);

/// Slot of the interface in every per-interface map.
#[inline(always)]
pub(crate) fn slot() -> u32 {
    SLOT.load()
}

/// The interface's direction of what the device receives.
#[inline(always)]
pub(crate) fn receive_direction() -> Direction {
    if SIDE.load() == Side::Workload as u8 { Direction::Ingress } else { Direction::Egress }
}

/// Which end of the link the device is.
#[inline(always)]
pub(crate) fn is_host_side() -> bool {
    SIDE.load() == Side::Host as u8
}

/// What a frame begins with.
#[inline(always)]
pub(crate) fn link() -> Link {
    if LINK.load() == Link::Ethernet as u8 { Link::Ethernet } else { Link::Ip }
}

/// The tick until which connections older than the filter are picked up.
#[inline(always)]
pub(crate) fn grace_until() -> u64 {
    GRACE_UNTIL.load()
}

/// Stamps for which later fragments may follow a first one.
#[inline(always)]
pub(crate) fn fragment_stamps() -> u32 {
    FRAGMENT_STAMPS.load()
}
