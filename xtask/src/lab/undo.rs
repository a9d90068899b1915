//! What was made is removed again: at the end, after an error, and when the program is told to
//! stop.
//!
//! Each thing is made under a lock together with the note of how to remove it. A signal's
//! clean-up takes the same lock, so that it neither misses a thing that is just being made nor
//! lets another be made after it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

type Undo = Box<dyn FnOnce() + Send>;

static MADE: Mutex<Vec<Undo>> = Mutex::new(Vec::new());
/// The end of the pipe that the signal handler writes to.
static ALARM: AtomicI32 = AtomicI32::new(-1);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes something that `undo` removes. `undo` must bear that the thing was never made.
pub(crate) fn make<T>(undo: impl FnOnce() + Send + 'static, create: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut made = lock();
    made.push(Box::new(undo));
    create()
}

/// Removes everything, the newest first, when it is dropped.
pub(crate) struct Guard(());

/// Starts to watch for the signals that end a program; from here on, what is made is removed.
pub(crate) fn guard() -> Result<Guard> {
    let mut ends = [-1; 2];
    // SAFETY: pipe2 writes two descriptors into the array of two that it is given.
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    if made != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot make a pipe");
    }
    ALARM.store(ends[1], Ordering::SeqCst);
    // SAFETY: the descriptor was just made and nobody else owns it.
    let alarm = File::from(unsafe { OwnedFd::from_raw_fd(ends[0]) });
    thread::spawn(move || watch(alarm));
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: `on_signal` does nothing but an atomic store and a write, both of which a
        // signal handler may do.
        unsafe { libc::signal(signal, on_signal as *const () as libc::sighandler_t) };
    }
    Ok(Guard(()))
}

impl Guard {
    /// Removes everything that has been made so far.
    pub(crate) fn remove_all(&self) {
        if INTERRUPTED.load(Ordering::SeqCst) {
            // The watching thread removes everything and ends the program.
            thread::sleep(Duration::from_secs(30));
        }
        remove_all(&mut lock());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.remove_all();
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::SeqCst);
    let byte = u8::try_from(signal).unwrap_or(0);
    // SAFETY: one byte is read from a live local; the pipe is never closed.
    unsafe { libc::write(ALARM.load(Ordering::SeqCst), (&raw const byte).cast(), 1) };
}

fn watch(mut alarm: File) {
    let mut signal = [0_u8];
    if alarm.read_exact(&mut signal).is_err() {
        return;
    }
    let mut made = lock();
    eprintln!("\ninterrupted: removing what was made");
    remove_all(&mut made);
    std::process::exit(128 + i32::from(signal[0]));
}

fn remove_all(made: &mut Vec<Undo>) {
    while let Some(undo) = made.pop() {
        undo();
    }
}

fn lock() -> MutexGuard<'static, Vec<Undo>> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}
