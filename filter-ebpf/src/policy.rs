//! An interface's policy block.

use filter_common::policy::{Block, PolicyHeader, TIERS};

use crate::maps;

/// The block that enforces now. What a packet reads, it reads through one of these.
#[derive(Clone, Copy)]
pub(crate) struct Policy {
    base: *const u8,
    /// Size of the block less 4: masks a byte offset to a word in the block.
    mask: u32,
}

/// An interface's policy; `None`: it has none, and its packets are dropped.
///
/// The smallest tier comes first: a policy that changes its tier is in both for a moment, and the
/// one update that adds it to the smaller, or removes it from there, is the commit.
#[inline(always)]
pub(crate) fn of(slot: u32) -> Option<Policy> {
    if let Some(block) = maps::POLICY_SMALL.get_value(slot, &0) {
        return Some(Policy { base: block.as_ptr().cast(), mask: TIERS[0] as u32 - 4 });
    }
    if let Some(block) = maps::POLICY_MEDIUM.get_value(slot, &0) {
        return Some(Policy { base: block.as_ptr().cast(), mask: TIERS[1] as u32 - 4 });
    }
    let block = maps::POLICY_LARGE.get_value(slot, &0)?;
    Some(Policy { base: block.as_ptr().cast(), mask: TIERS[2] as u32 - 4 })
}

impl Block for Policy {
    #[inline(always)]
    fn header(&self) -> &PolicyHeader {
        // SAFETY: every block is larger than a header and aligned to eight bytes.
        unsafe { &*self.base.cast() }
    }

    #[inline(always)]
    fn word(&self, place: u32) -> u32 {
        let offset = place << 2 & self.mask;
        // SAFETY: the mask keeps the offset within the block and aligned.
        unsafe { *self.base.add(offset as usize).cast() }
    }

    #[inline(always)]
    fn at_most(&self, a: u32, b: u32) -> u32 {
        let mut difference = u64::from(b);
        // SAFETY: arithmetic on registers only. In assembly, or LLVM makes a branch of it again.
        unsafe {
            core::arch::asm!(
                "{difference} -= {a}",
                "{difference} s>>= 63",
                difference = inout(reg) difference,
                a = in(reg) u64::from(a),
                options(pure, nomem, nostack),
            );
        }
        !(difference as u32)
    }

    #[inline(always)]
    fn half(&self, place: u32) -> u16 {
        let offset = place << 1 & (self.mask | 2);
        // SAFETY: the mask keeps the offset within the block and aligned.
        unsafe { *self.base.add(offset as usize).cast() }
    }
}
