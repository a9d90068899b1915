//! Atomic operations on map values.
//!
//! `core::sync::atomic` does not reach the BPF instructions on this target, the intrinsics do:
//! `BPF_ATOMIC` with `BPF_FETCH`, which order fully (kernel 5.12, `Documentation/bpf/standardization`).

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd, atomic_xchg};

const ORDER: AtomicOrdering = AtomicOrdering::SeqCst;

/// Replaces `old` by `new`; whether it was `old`.
///
/// # Safety
///
/// The pointer is into a map value and aligned.
#[inline(always)]
pub(crate) unsafe fn replace(at: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: by the caller.
    unsafe { atomic_cxchg::<u64, ORDER, ORDER>(at, old, new).1 }
}

/// As [`replace`], for 32 bits.
///
/// # Safety
///
/// The pointer is into a map value and aligned.
#[inline(always)]
pub(crate) unsafe fn replace_u32(at: *mut u32, old: u32, new: u32) -> bool {
    // SAFETY: by the caller.
    unsafe { atomic_cxchg::<u32, ORDER, ORDER>(at, old, new).1 }
}

/// Adds; what was there before.
///
/// # Safety
///
/// The pointer is into a map value and aligned.
#[inline(always)]
pub(crate) unsafe fn fetch_add(at: *mut u64, delta: u64) -> u64 {
    // SAFETY: by the caller.
    unsafe { atomic_xadd::<u64, u64, ORDER>(at, delta) }
}

/// Takes what is there and leaves zero.
///
/// # Safety
///
/// The pointer is into a map value and aligned.
#[inline(always)]
pub(crate) unsafe fn take(at: *mut u64) -> u64 {
    // SAFETY: by the caller.
    unsafe { atomic_xchg::<u64, ORDER>(at, 0) }
}

/// As [`take`], for 32 bits.
///
/// # Safety
///
/// The pointer is into a map value and aligned.
#[inline(always)]
pub(crate) unsafe fn take_u32(at: *mut u32) -> u32 {
    // SAFETY: by the caller.
    unsafe { atomic_xchg::<u32, ORDER>(at, 0) }
}

/// Sets bits.
///
/// # Safety
///
/// The pointer is into a map value and aligned.
#[inline(always)]
pub(crate) unsafe fn set_bits(at: *mut u32, bits: u32) {
    // SAFETY: by the caller.
    unsafe { atomic_or::<u32, u32, ORDER>(at, bits) };
}

/// As [`set_bits`], for 64 bits.
///
/// # Safety
///
/// The pointer is into a map value and aligned.
#[inline(always)]
pub(crate) unsafe fn set_bits_u64(at: *mut u64, bits: u64) {
    // SAFETY: by the caller.
    unsafe { atomic_or::<u64, u64, ORDER>(at, bits) };
}
