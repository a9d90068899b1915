//! The destination's side of the queue: take, send, try again.

use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::watch,
    time::{self, Duration, Instant, MissedTickBehavior},
};

use super::{
    Destination, Due, Losses, Turn,
    backoff::Backoff,
    queue::{Receiver, Taken},
};

/// How far publishing has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records that the destination has taken.
    pub records: u64,
    /// Packets that they count.
    pub packets: u64,
    /// Records that it will never take; they are counted as losses too.
    pub refused: u64,
    /// Tries that failed.
    pub failures: u64,
    /// What is wrong now; `None` while all is well.
    pub error: Option<String>,
    /// AWS's words for it.
    pub trouble: Option<&'static str>,
    /// The place of the source up to which everything is durable at the destination.
    pub durable: u64,
}

/// What the two ends of a publisher share.
#[derive(Debug)]
pub(super) struct Shared {
    progress: Mutex<Progress>,
    losses: Mutex<Losses>,
}

impl Shared {
    pub(super) fn new(losses: Losses, durable: u64) -> Self {
        Self { progress: Mutex::new(Progress { durable, ..Progress::default() }), losses: Mutex::new(losses) }
    }

    /// Reads or changes the progress. (A thread that panicked left whole numbers.)
    pub(super) fn progress<T>(&self, with: impl FnOnce(&mut Progress) -> T) -> T {
        with(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads or changes the losses.
    pub(super) fn losses<T>(&self, with: impl FnOnce(&mut Losses) -> T) -> T {
        with(&mut self.losses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The loop of a destination.
pub(super) struct Worker<D> {
    pub(super) destination: D,
    pub(super) queue: Receiver,
    pub(super) shared: Arc<Shared>,
    /// Losses that the destination tells; empty between its calls.
    pub(super) refused: Losses,
    pub(super) backoff: Backoff,
    /// How often the destination is asked whether something is due.
    pub(super) tick: Duration,
    /// When to give up; set when the log ends.
    pub(super) deadline: watch::Receiver<Option<Instant>>,
}

impl<D: Destination> Worker<D> {
    /// Runs until the queue's other end is gone and everything is sent, or the deadline has passed. Returns
    /// the records that were not delivered then.
    pub(super) async fn run(mut self) -> u64 {
        let mut ticks = time::interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next = tokio::select! {
                biased;
                next = self.queue.next() => next,
                _ = ticks.tick() => {
                    if self.send(Due::Elapsed).await.is_break() {
                        return self.left(None);
                    }
                    continue;
                }
            };
            let Some(taken) = next else { break };
            let now = now();
            self.turn(now, Due::Elapsed, |destination, turn| destination.take(&taken.batch, turn));
            if self.send(Due::Elapsed).await.is_break() {
                return self.left(Some(&taken));
            }
            self.delivered(&taken);
        }
        match self.send(Due::All).await {
            ControlFlow::Continue(()) => 0,
            ControlFlow::Break(()) => self.left(None),
        }
    }

    /// Sends what is due, again and again until it succeeds or the deadline has passed.
    async fn send(&mut self, due: Due) -> ControlFlow<()> {
        loop {
            let mut turn = Turn::new(now(), due, &mut self.refused);
            let sent = tokio::select! {
                biased;
                sent = self.destination.send(&mut turn) => sent,
                () = passed(&mut self.deadline) => return ControlFlow::Break(()),
            };
            let (refused, trouble) = (turn.refused, turn.trouble.take());
            self.tell(refused);
            let durable = self.destination.durable();
            self.shared.progress(|progress| {
                let error = sent.as_ref().err();
                progress.durable = durable;
                progress.failures += u64::from(error.is_some());
                let error = error.or(trouble.as_ref());
                progress.trouble = error.map(|error| error.trouble.name());
                progress.error = error.map(ToString::to_string);
            });
            let Err(error) = sent else {
                self.backoff.reset();
                return ControlFlow::Continue(());
            };
            let wait = self.backoff.wait().max(error.after.unwrap_or_default());
            tokio::select! {
                () = time::sleep(wait) => {}
                () = passed(&mut self.deadline) => return ControlFlow::Break(()),
            }
        }
    }

    fn turn(&mut self, now: u64, due: Due, with: impl FnOnce(&mut D, &mut Turn<'_>)) {
        let mut turn = Turn::new(now, due, &mut self.refused);
        with(&mut self.destination, &mut turn);
        let refused = turn.refused;
        self.tell(refused);
    }

    /// Hands losses over to the publisher, who makes records of them.
    fn tell(&mut self, refused: u64) {
        if refused == 0 {
            return;
        }
        self.shared.progress(|progress| progress.refused += refused);
        self.shared.losses(|losses| {
            while let Some(skipped) = self.refused.pop() {
                losses.count(&skipped);
            }
        });
    }

    fn delivered(&self, taken: &Taken) {
        let packets = taken.batch.rows().map(|row| row.measure.packets).sum::<u64>();
        self.shared.progress(|progress| {
            progress.records += taken.batch.len() as u64;
            progress.packets += packets;
        });
    }

    /// Counts what was not delivered, at the end.
    fn left(&mut self, taken: Option<&Taken>) -> u64 {
        let waiting =
            std::iter::from_fn(|| self.queue.next_now()).map(|taken| taken.batch.len()).sum::<usize>();
        (waiting + taken.map_or(0, |taken| taken.batch.len())) as u64
    }
}

/// Waits until the deadline has passed; forever while there is none.
async fn passed(deadline: &mut watch::Receiver<Option<Instant>>) {
    loop {
        let until = *deadline.borrow_and_update();
        match until {
            Some(until) => return time::sleep_until(until).await,
            // Nobody can set one any more: the publisher was dropped, which is a wish to end now.
            None if deadline.changed().await.is_err() => return,
            None => {}
        }
    }
}

/// Unix time in seconds.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
