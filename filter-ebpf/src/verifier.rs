//! What keeps the verifier's work small.
//!
//! It follows every path with all that it knows of every number, and merges two paths only where
//! it knows the same. A slot found in lane 3 and one found in lane 2, a header after one extension
//! and after eight: to us the same, to it two programs to check to their ends. So what is known of
//! a number is forgotten where it has no more use, by a way through a map's memory.

/// A number, as if it were just read from a map: the verifier knows nothing of it.
///
/// # Safety
///
/// The place is in a map value of this CPU's own.
#[inline(always)]
pub(crate) unsafe fn forget(place: *mut u32, number: u32) -> u32 {
    // SAFETY: by the caller; volatile, or LLVM would not bother.
    unsafe {
        place.write_volatile(number);
        place.read_volatile()
    }
}

/// Makes LLVM read again what it has written to maps, so that the verifier forgets what it knows of it.
#[inline(always)]
pub(crate) fn forget_memory() {
    // SAFETY: no instruction; the compiler must assume that it changed all memory.
    unsafe { core::arch::asm!("", options(nostack, preserves_flags)) };
}

/// A number of which LLVM knows nothing, so that a check of it stays one, and is of the very
/// register that is used afterwards.
///
/// What LLVM knows, it does not check again, and what it checks need not be what it uses: of
/// `x + 8 > LIMIT` it makes `x > LIMIT - 8`. What an old verifier learns of the number that was
/// compared it does not carry over to the sum (before Linux 6.11), nor to a 32-bit copy (6.5).
#[inline(always)]
pub(crate) fn opaque(mut number: usize) -> usize {
    // SAFETY: changes nothing. (It has to be an instruction: a place in the source that has none
    // would share its address with the next one, and the kernel refuses such line information.)
    unsafe {
        core::arch::asm!("{0} |= 0", inout(reg) number, options(pure, nomem, nostack, preserves_flags))
    };
    number
}
