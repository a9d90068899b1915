//! Which processor a thread runs on.

use std::io;
use std::mem;

use anyhow::{Context, Result, bail};

/// Where senders and clients run, and the benchmark itself.
pub(super) const SENDER: usize = 0;
/// Where what is measured runs.
pub(super) const RECEIVER: usize = 1;

/// Keeps the calling thread, and all that it starts, on the sender's processor until it is dropped.
pub(super) struct Pinned(libc::cpu_set_t);

/// Fails where there is no second processor.
pub(super) fn pin() -> Result<Pinned> {
    // SAFETY: all zeroes is an empty set.
    let mut before: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set is live and of the size given; 0 is the calling thread.
    check(unsafe { libc::sched_getaffinity(0, mem::size_of_val(&before), &raw mut before) })?;
    // SAFETY: the set is live, and both numbers lie within it.
    let both = unsafe { libc::CPU_ISSET(SENDER, &before) && libc::CPU_ISSET(RECEIVER, &before) };
    if !both {
        bail!("sender and receiver need a processor each: {SENDER} and {RECEIVER}");
    }
    assign(0, SENDER)?;
    Ok(Pinned(before))
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: as above. It was the thread's set before, so that this cannot fail.
        unsafe { libc::sched_setaffinity(0, mem::size_of_val(&self.0), &raw const self.0) };
    }
}

/// Assigns a thread (0: the calling one) to a processor.
pub(super) fn assign(thread: i32, processor: usize) -> Result<()> {
    // SAFETY: all zeroes is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set is live, and the processor's number lies within it.
    unsafe { libc::CPU_SET(processor, &mut set) };
    // SAFETY: the set is live and of the size given.
    check(unsafe { libc::sched_setaffinity(thread, mem::size_of_val(&set), &raw const set) })
        .with_context(|| format!("cannot keep a thread on processor {processor}"))
}

fn check(result: libc::c_int) -> Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}
