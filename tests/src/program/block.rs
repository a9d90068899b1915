//! The policy of an interface, written over where it lies.

use std::os::fd::{AsFd, AsRawFd};

use filter_common::policy::TIERS;
use filter_ctl::{clock::Clock, compile::Compiled, datapath::policy::Prepared};

/// A policy that was put into force, and the map that it lies in.
pub(super) struct Block {
    tier: usize,
    policy: Prepared,
}

impl Block {
    pub(super) fn new(tier: usize, policy: Prepared) -> Self {
        Self { tier, policy }
    }

    /// Writes another policy over it; `false` if that one needs memory of another size.
    pub(super) fn rewrite(&self, compiled: &Compiled, clock: &Clock, generation: u32) -> bool {
        if compiled.tier != self.tier {
            return false;
        }
        let length = TIERS[self.tier];
        let (protection, map) = (libc::PROT_READ | libc::PROT_WRITE, self.policy.as_fd().as_raw_fd());
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, map, 0) };
        assert_ne!(start, libc::MAP_FAILED, "mmap of a policy: {}", std::io::Error::last_os_error());
        // SAFETY: mapped until below, and nobody else looks at it: no program of this interface runs.
        let block = unsafe { std::slice::from_raw_parts_mut(start.cast(), length) };
        compiled.write(&compiled.header(clock, generation), block);
        // SAFETY: exactly the region of above, which nothing refers to any more.
        unsafe { libc::munmap(start, length) };
        true
    }
}
