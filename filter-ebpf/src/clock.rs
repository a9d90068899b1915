//! The programs' clock.

use aya_ebpf::helpers::bpf_jiffies64;
use filter_common::abi::{STAMP_SHIFT, Stamp};

use crate::maps::CONFIG;

/// Ticks: jiffies, moved by the offset that tests set. The JIT reads jiffies inline (0.25 ns; a
/// `bpf_ktime_get_ns` call costs 35). Kernel 5.6.
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    let offset = CONFIG.get(0).map_or(0, |config| config.clock_offset);
    // SAFETY: the helper has no conditions.
    unsafe { bpf_jiffies64() }.wrapping_add(offset)
}

/// The stamp of a tick.
#[inline(always)]
pub(crate) const fn stamp(ticks: u64) -> Stamp {
    (ticks >> STAMP_SHIFT) as Stamp
}
