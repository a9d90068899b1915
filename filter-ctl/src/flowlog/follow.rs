//! Records as they come: what `flows --follow` runs.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd, RawFd},
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{Collector, Error, Record, Result};

/// How often ended intervals are swept up.
const SWEEP: Duration = Duration::from_secs(1);

/// How long records gather before they are drained: the kernel wakes us for the first one, and a
/// drain has its price besides the records (which interfaces are there, what time is it).
const GATHER: Duration = Duration::from_millis(50);

/// Takes records, until it wants no more.
pub trait Sink {
    /// Takes a batch. An error of kind [`io::ErrorKind::BrokenPipe`] says that nobody listens any
    /// more; any other one ends the following with that error.
    fn accept(&mut self, records: &[Record]) -> io::Result<()>;

    /// What the records go to, if it can be closed at the other end.
    fn output(&self) -> Option<RawFd> {
        None
    }
}

/// Drains the ring and sweeps ended intervals, and gives what comes to `sink`, until a signal
/// (interrupt, terminate, hang-up) or until nobody listens. Every record is kept in the spool,
/// whether the sink takes it or not.
pub fn follow(collector: &mut Collector<'_>, sink: &mut dyn Sink) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(kernel("start the event loop"))?;
    runtime.block_on(run(collector, sink))
}

async fn run(collector: &mut Collector<'_>, sink: &mut dyn Sink) -> Result<()> {
    let ring = match collector.follow()? {
        Some(ring) => {
            // SAFETY: an `OwnedFd` names one descriptor, always the same one, and nothing closes it
            // before the `AsyncFd` that owns it is dropped.
            let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
            Some(ring.map_err(|error| kernel("wait for the ring")(error.into()))?)
        }
        None => None,
    };
    let mut stop = Stop::new().map_err(kernel("listen for signals"))?;
    let mut tick = interval(SWEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut refused = None;
        let mut observe = |records: &[Record]| {
            // What the sink does not take is kept all the same: the ring is drained to its end.
            if refused.is_none() {
                refused = sink.accept(records).err();
            }
        };
        let stopped = tokio::select! {
            biased;
            () = stop.received() => {
                collector.drain(&mut observe)?;
                true
            }
            _ = tick.tick() => {
                // No flags: the counts of ended intervals only.
                collector.sweep(None, 0, &mut observe)?;
                false
            }
            () = readable(ring.as_ref()) => {
                // Losses are told with the next tick.
                collector.take(&mut observe)?;
                false
            }
        };
        match refused {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Some(error) => return Err(Error::Output(error)),
            None if stopped || sink.output().is_some_and(closed) => return Ok(()),
            None => {}
        }
    }
}

/// Waits until the ring has records, and a moment longer for those that come with them.
async fn readable(ring: Option<&AsyncFd<OwnedFd>>) {
    let Some(ring) = ring else { return std::future::pending().await };
    match ring.readable().await {
        Ok(mut ready) => {
            // Cleared before the drain: what comes meanwhile wakes us again.
            ready.clear_ready();
            sleep(GATHER).await;
        }
        // The event loop is going away. The tick drains, too.
        Err(_) => std::future::pending().await,
    }
}

/// Whether nobody reads the other end of a pipe, a socket or a terminal any more.
fn closed(output: RawFd) -> bool {
    let mut poll = libc::pollfd { fd: output.as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one valid `pollfd`; with a timeout of zero the call does not block.
    let polled = unsafe { libc::poll(&raw mut poll, 1, 0) };
    polled == 1 && poll.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0
}

/// The signals that end the following.
struct Stop([Signal; 3]);

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn kernel(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Kernel { action, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::AsFd};

    use super::*;
    use crate::flowlog::{
        Folder,
        fake::{Fake, record},
        lock::Lock,
    };

    type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

    /// Takes so many batches.
    struct Patient(usize, Vec<Record>);

    impl Sink for Patient {
        fn accept(&mut self, records: &[Record]) -> io::Result<()> {
            if self.0 == 0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0 -= 1;
            self.1.extend_from_slice(records);
            Ok(())
        }
    }

    #[test]
    fn following_ends_well_when_nobody_listens_and_keeps_what_was_not_taken() -> TestResult {
        let place = tempfile::tempdir()?;
        let folder = Folder::new(place.path());
        let lock = Lock::acquire(&folder.lock(), Duration::ZERO, |_| false)?;
        let mut fake = Fake { ring: (0..8).map(|_| record(0)).collect(), ..Fake::default() };
        let mut collector = Collector::open(&folder, lock, &mut fake)?;
        let mut sink = Patient(2, Vec::new());
        follow(&mut collector, &mut sink)?;
        assert_eq!(collector.reader()?.count(), 8);
        assert_eq!(sink.1.len(), 2 * fake.batch);
        assert!(fake.sweeps.iter().all(|sweep| sweep.flags == 0), "open intervals stay open");
        Ok(())
    }

    #[test]
    fn another_error_of_the_output_is_told() -> TestResult {
        struct Full;
        impl Sink for Full {
            fn accept(&mut self, _: &[Record]) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        let place = tempfile::tempdir()?;
        let folder = Folder::new(place.path());
        let lock = Lock::acquire(&folder.lock(), Duration::ZERO, |_| false)?;
        let mut fake = Fake { ring: [record(0)].into(), ..Fake::default() };
        let mut collector = Collector::open(&folder, lock, &mut fake)?;
        assert!(matches!(follow(&mut collector, &mut Full), Err(Error::Output(_))));
        Ok(())
    }

    #[test]
    fn a_signal_ends_the_following_when_the_ring_is_empty() -> TestResult {
        /// Asks the process to terminate, with the first batch: the signals are caught by then.
        struct Terminating(usize);
        impl Sink for Terminating {
            fn accept(&mut self, records: &[Record]) -> io::Result<()> {
                if self.0 == 0 {
                    // SAFETY: sends a signal, which is caught, and touches no memory.
                    unsafe { libc::raise(libc::SIGTERM) };
                }
                self.0 += records.len();
                Ok(())
            }
        }
        let place = tempfile::tempdir()?;
        let folder = Folder::new(place.path());
        let lock = Lock::acquire(&folder.lock(), Duration::ZERO, |_| false)?;
        let mut fake = Fake { ring: (0..8).map(|_| record(0)).collect(), ..Fake::default() };
        let mut collector = Collector::open(&folder, lock, &mut fake)?;
        let mut sink = Terminating(0);
        follow(&mut collector, &mut sink)?;
        assert_eq!(sink.0, 8);
        Ok(())
    }

    #[test]
    fn a_pipe_without_a_reader_is_closed() -> TestResult {
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(b"x")?;
        assert!(!closed(writer.as_fd().as_raw_fd()));
        drop(reader);
        assert!(closed(writer.as_fd().as_raw_fd()));
        Ok(())
    }
}
