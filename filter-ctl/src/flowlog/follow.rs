//! Records as they come: what `flows --follow` runs.

use std::{
    io,
    os::fd::{OwnedFd, RawFd},
    task::Poll,
    time::Duration,
};

use filter_common::abi::sweep_flags;
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep},
};

use super::{Collector, Error, Record, Result, source::Ring, spool::Position};
use crate::{datapath, state::Attachment};

/// How often ended intervals are swept up.
const SWEEP: Duration = Duration::from_secs(1);

/// How long records gather before they are drained: the kernel wakes us for the first one, and a
/// drain has its price besides the records (which interfaces are there, what time is it).
const GATHER: Duration = Duration::from_millis(50);

/// How many sweeps an attach under way is given to make the new ring ready.
const PATIENCE: u32 = 10;

/// Takes records, until it wants no more.
pub trait Sink {
    /// Takes a batch. An error of kind [`io::ErrorKind::BrokenPipe`] says that nobody listens any
    /// more; any other one ends the following with that error.
    fn accept(&mut self, records: &[Record]) -> io::Result<()>;

    /// Hears that all records of an interface are given that end before a time, in Unix seconds by
    /// the kernel's count of intervals.
    fn complete(&mut self, _interface_id: &str, _until: u64) -> io::Result<()> {
        Ok(())
    }

    /// Hears which interfaces are attached by now, and which flow logs cover them.
    fn learn(&mut self, _attachments: &[Attachment]) -> io::Result<()> {
        Ok(())
    }

    /// Hears up to where in the spool everything was given, after each drain.
    fn kept(&mut self, _position: Position) {}

    /// Takes a remark for people: something was remarkable, and the following goes on.
    fn note(&mut self, _note: &str) {}

    /// What the records go to, if it can be closed at the other end.
    fn output(&self) -> Option<RawFd> {
        None
    }
}

/// Why the following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By a signal, or because nobody listens any more.
    Stopped,
    /// The last interface was detached: there is nothing more to come.
    Detached,
}

/// Drains the ring and sweeps ended intervals, and gives what comes to `sink`, until a signal
/// (interrupt, terminate, hang-up), until nobody listens or nothing is attached any more. Every
/// record is kept in the spool, whether the sink takes it or not.
///
/// With the last detach the ring goes, and the next attach makes another one. If both happened
/// between two looks, this goes on with the new ring.
pub fn follow(collector: &mut Collector<'_>, sink: &mut dyn Sink) -> Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(kernel("start the event loop"))?;
    runtime.block_on(async {
        let stop = Stop::on(&[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
            .map_err(kernel("listen for signals"))?;
        run(collector, sink, &mut Control { stop, flushes: false, requests: None }).await
    })
}

/// A wish for the counts of open intervals, too; answered when they are in the spool, with its end.
pub type Request = oneshot::Sender<Position>;

/// What steers the following from outside.
pub struct Control {
    /// What ends it.
    pub stop: Stop,
    /// Whether the counts of open intervals are wanted when it is stopped.
    pub flushes: bool,
    /// Wishes of others.
    pub requests: Option<mpsc::Receiver<Request>>,
}

/// Waits for a wish, forever where nobody has any.
async fn asked(requests: &mut Option<mpsc::Receiver<Request>>) -> Request {
    if let Some(requests) = requests
        && let Some(request) = requests.recv().await
    {
        return request;
    }
    std::future::pending().await
}

/// [`follow`] in an event loop of the caller.
///
/// # Errors
///
/// If the kernel's side or the spool fails, or the sink takes no more.
pub async fn run(collector: &mut Collector<'_>, sink: &mut dyn Sink, control: &mut Control) -> Result<End> {
    let mut ring = watch(collector.follow()?)?;
    let mut patience = PATIENCE;
    let mut told = Vec::new();
    let mut tick = interval(SWEEP);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut request = None;
        let event = tokio::select! {
            biased;
            () = control.stop.received() => Event::Stop,
            _ = tick.tick() => Event::Tick,
            asked = asked(&mut control.requests) => {
                request = Some(asked);
                Event::Asked
            }
            () = readable(ring.as_ref()) => Event::Records,
        };
        let mut refused = None;
        let mut observe = |records: &[Record]| {
            // What the sink does not take is kept all the same: the ring is drained to its end.
            if refused.is_none() {
                refused = sink.accept(records).err();
            }
        };
        let drained = match event {
            Event::Stop if !control.flushes => collector.drain(&mut observe),
            Event::Stop | Event::Asked => collector.sweep(None, sweep_flags::OPEN_INTERVAL, &mut observe),
            // No flags: the counts of ended intervals only.
            Event::Tick => collector.sweep(None, 0, &mut observe),
            // Losses are told with the next tick.
            Event::Records => collector.take(&mut observe),
        };
        sink.kept(collector.spool().position());
        if let Some(request) = request.filter(|_| drained.is_ok()) {
            // Who asked may have gone.
            let _ = request.send(collector.spool().position());
        }
        if event == Event::Tick && drained.is_ok() && refused.is_none() {
            refused = tell(collector, sink).err();
        }
        let notes = collector.notes();
        // What lasts is not told with every sweep.
        notes.iter().filter(|note| !told.contains(*note)).for_each(|note| sink.note(note));
        if event != Event::Records || !notes.is_empty() {
            told = notes;
        }
        match refused {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(End::Stopped),
            Some(error) => return Err(Error::Output(error)),
            None => {}
        }
        // Asked of every tick and of every error: with the ring, other maps went, too.
        let state = if event == Event::Records && drained.is_ok() { Ring::Current } else { collector.ring() };
        match (state, drained) {
            // The last detach waited until we had all, and took the maps away from under us.
            (Ring::Gone, _) => return Ok(End::Detached),
            (Ring::Current, Err(error)) => return Err(error),
            (Ring::Current | Ring::Replaced, _)
                if event == Event::Stop || sink.output().is_some_and(closed) =>
            {
                return Ok(End::Stopped);
            }
            (Ring::Current, Ok(_)) => {}
            (Ring::Replaced, _) => match collector.begin_anew() {
                Ok(()) => {
                    ring = watch(collector.follow()?)?;
                    patience = PATIENCE;
                }
                Err(_) if collector.ring() == Ring::Gone => return Ok(End::Detached),
                // Its maps are there, its programs are not yet: an attach is under way, or was killed.
                Err(Error::Host(datapath::Error::NothingAttached)) if patience > 0 => {
                    // The old one has no more to say.
                    ring = None;
                    patience -= 1;
                }
                Err(Error::Host(datapath::Error::NothingAttached)) => return Ok(End::Detached),
                Err(error) => return Err(error),
            },
        }
    }
}

/// Tells what a complete sweep has brought to an end, and what is attached now.
fn tell(collector: &mut Collector<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    collector.complete().try_for_each(|(id, until)| sink.complete(id, until))?;
    match collector.attachments() {
        Ok(attachments) => sink.learn(&attachments),
        // The next drain fails, too, and says why.
        Err(_) => Ok(()),
    }
}

/// Has the event loop watch a ring.
fn watch(ring: Option<OwnedFd>) -> Result<Option<AsyncFd<OwnedFd>>> {
    let Some(ring) = ring else { return Ok(None) };
    // SAFETY: an `OwnedFd` names one descriptor, always the same one, and nothing closes it before
    // the `AsyncFd` that owns it is dropped.
    let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    ring.map(Some).map_err(|error| kernel("wait for the ring")(error.into()))
}

/// What the following waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Event {
    Stop,
    Tick,
    Asked,
    Records,
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
    poll(output, 0) & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0
}

/// What a file descriptor is ready for just now, of `events` and of the troubles that are always told.
pub(super) fn poll(file: RawFd, events: i16) -> i16 {
    let mut poll = libc::pollfd { fd: file, events, revents: 0 };
    // SAFETY: one valid `pollfd`; with a timeout of zero the call does not block.
    let polled = unsafe { libc::poll(&raw mut poll, 1, 0) };
    if polled == 1 { poll.revents } else { 0 }
}

/// The signals that end the following.
pub struct Stop(Vec<Signal>);

impl Stop {
    /// Listens for some signals from now on; to be called in an event loop.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn on(kinds: &[SignalKind]) -> io::Result<Self> {
        kinds.iter().map(|&kind| signal(kind)).collect::<io::Result<_>>().map(Self)
    }

    /// Waits for one of them.
    pub async fn received(&mut self) {
        std::future::poll_fn(|context| {
            let came = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if came { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

fn kernel(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Kernel { action, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::fd::AsRawFd};

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

    /// A signal is the whole process's: only one test at a time may send or not expect one.
    static SIGNALS: std::sync::Mutex<()> = std::sync::Mutex::new(());

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
        let _alone = SIGNALS.lock();
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
    fn following_ends_when_nothing_is_attached_any_more_and_the_ring_is_drained() -> TestResult {
        let place = tempfile::tempdir()?;
        let folder = Folder::new(place.path());
        let lock = Lock::acquire(&folder.lock(), Duration::ZERO, |_| false)?;
        let ring = (0..8).map(|_| record(0)).collect();
        let mut fake = Fake { ring, attachments: Vec::new(), ..Fake::default() };
        let mut collector = Collector::open(&folder, lock, &mut fake)?;
        assert_eq!(follow(&mut collector, &mut Patient(9, Vec::new()))?, End::Detached);
        assert_eq!(collector.reader()?.count(), 8);
        Ok(())
    }

    #[test]
    fn following_goes_on_with_the_ring_of_a_later_attach() -> TestResult {
        let _alone = SIGNALS.lock();
        let place = tempfile::tempdir()?;
        let folder = Folder::new(place.path());
        let lock = Lock::acquire(&folder.lock(), Duration::ZERO, |_| false)?;
        let ring = |slot, records| (0..records).map(|_| record(slot)).collect();
        let mut fake = Fake { ring: ring(0, 3), later: vec![ring(1, 6)], ..Fake::default() };
        let mut collector = Collector::open(&folder, lock, &mut fake)?;
        let mut sink = Patient(2, Vec::new());
        assert_eq!(follow(&mut collector, &mut sink)?, End::Stopped);
        let seen: Vec<_> = sink.1.iter().filter_map(|record| record.interface_id.as_deref()).collect();
        assert_eq!(seen, ["eni-0a1", "eni-0a1", "eni-0a1", "eni-0a2", "eni-0a2", "eni-0a2"]);
        assert_eq!(collector.reader()?.count(), 9);
        assert_eq!(fake.begun, 2);
        Ok(())
    }

    #[test]
    fn what_is_remarkable_is_told() -> TestResult {
        struct Noting(Vec<String>);
        impl Sink for Noting {
            fn accept(&mut self, _: &[Record]) -> io::Result<()> {
                Ok(())
            }
            fn note(&mut self, note: &str) {
                self.0.push(note.to_owned());
            }
        }
        let place = tempfile::tempdir()?;
        let folder = Folder::new(place.path());
        let lock = Lock::acquire(&folder.lock(), Duration::ZERO, |_| false)?;
        let notes = vec!["the ring held 3 bytes that are no flow record".to_owned()];
        let mut fake = Fake { notes: notes.clone(), attachments: Vec::new(), ..Fake::default() };
        let mut collector = Collector::open(&folder, lock, &mut fake)?;
        let mut sink = Noting(Vec::new());
        assert_eq!(follow(&mut collector, &mut sink)?, End::Detached);
        assert_eq!(sink.0, notes);
        Ok(())
    }

    #[test]
    fn a_pipe_without_a_reader_is_closed() -> TestResult {
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(b"x")?;
        assert!(!closed(writer.as_raw_fd()));
        drop(reader);
        assert!(closed(writer.as_raw_fd()));
        Ok(())
    }
}
