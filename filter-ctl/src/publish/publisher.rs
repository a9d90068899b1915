//! The records' side of the queue: it takes records and never waits.

use std::{io, sync::Arc, thread};

use tokio::{
    runtime,
    sync::{oneshot, watch},
    time::{Duration, Instant},
};

use super::{
    Batch, Destination, Losses, Progress,
    backoff::Backoff,
    queue::{self, Sender},
    worker::{Shared, Worker},
};
use crate::flowlog::{fields::Row, logformat::LogFormat};

/// What a publisher may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all records that wait or are being delivered.
    pub queue_bytes: usize,
    /// Bytes of one batch.
    pub batch_bytes: usize,
    /// The longest wait between two tries.
    pub longest_wait: Duration,
    /// How often the destination looks whether something is due.
    pub tick: Duration,
}

impl Default for Limits {
    /// 32 MiB, of which a batch takes 256 KiB; half a minute; a second.
    fn default() -> Self {
        Self {
            queue_bytes: 32 << 20,
            batch_bytes: 256 << 10,
            longest_wait: Duration::from_secs(30),
            tick: Duration::from_secs(1),
        }
    }
}

/// Publishes the records of one flow log.
#[derive(Debug)]
pub struct Publisher {
    format: Arc<LogFormat>,
    limits: Limits,
    batch: Batch,
    position: u64,
    lost: u64,
    queue: Sender,
    shared: Arc<Shared>,
    deadline: watch::Sender<Option<Instant>>,
    ended: oneshot::Receiver<u64>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How far it came.
    pub progress: Progress,
    /// Records that were taken and not delivered: those after [`Progress::durable`] are to be
    /// published again.
    pub left: u64,
    /// Whether losses remain that no record tells.
    pub untold: bool,
}

impl Publisher {
    /// Starts publishing in a thread of its own, with records that come after the place `position`
    /// of their source. `interval` is the flow log's aggregation interval in seconds.
    ///
    /// # Errors
    ///
    /// If the thread cannot be made.
    pub fn start<D: Destination>(
        name: &str,
        format: LogFormat,
        interval: u32,
        position: u64,
        limits: Limits,
        destination: D,
    ) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (publisher, worker, end) = Self::new(format, interval, position, limits, destination);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let left = runtime.block_on(worker.run());
            // Nobody may be waiting for it.
            let _ = end.send(left);
        })?;
        Ok(publisher)
    }

    /// Both sides, to be run by the caller.
    pub(super) fn new<D>(
        format: LogFormat,
        interval: u32,
        position: u64,
        limits: Limits,
        destination: D,
    ) -> (Self, Worker<D>, oneshot::Sender<u64>) {
        let (queue, receiver) = queue::bounded(limits.queue_bytes);
        let (deadline, until) = watch::channel(None);
        let (end, ended) = oneshot::channel();
        let shared = Arc::new(Shared::new(Losses::new(interval), position));
        let worker = Worker {
            destination,
            queue: receiver,
            shared: Arc::clone(&shared),
            refused: Losses::new(interval),
            backoff: Backoff::new(Duration::from_millis(500).min(limits.longest_wait), limits.longest_wait),
            tick: limits.tick,
            deadline: until,
        };
        let format = Arc::new(format);
        let batch = Batch::new(Arc::clone(&format), position);
        (Self { format, limits, batch, position, lost: 0, queue, shared, deadline, ended }, worker, end)
    }

    /// Takes a record, after which the source of records stands at `position`: any number that
    /// grows. Where there is no room, the record is counted as lost.
    pub fn publish(&mut self, row: &dyn Row, position: u64) {
        let taken = self.has_room() && self.batch.push(row, position);
        if !taken {
            self.lost += 1;
            self.shared.losses(|losses| losses.count(row));
        }
        self.position = position;
    }

    /// Passes on what was taken, as far as there is room. To be called when no more records come
    /// for a while.
    pub fn flush(&mut self) {
        if self.pass_on() {
            self.tell_losses();
            self.pass_on();
        }
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.progress(|progress| progress.clone())
    }

    /// Records that were counted as lost for want of room.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Bytes of the records that wait or are being delivered.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.queue.bytes() + self.batch.bytes()
    }

    /// Delivers what was taken and ends, or gives up after some time.
    pub async fn finish(mut self, patience: Duration) -> Summary {
        // The receiver is gone only if the thread has ended already.
        let _ = self.deadline.send(Some(Instant::now() + patience));
        // The queue has no room for this, perhaps, but it is bounded by itself: the last batch, and
        // as many records of losses as there can be counts.
        loop {
            self.tell_losses();
            if self.batch.is_empty() {
                break;
            }
            let next = Batch::new(Arc::clone(&self.format), self.position);
            self.queue.force(std::mem::replace(&mut self.batch, next));
        }
        let Self { queue, shared, ended, .. } = self;
        drop(queue);
        let left = ended.await.unwrap_or_default();
        let untold = !shared.losses(|losses| losses.is_empty());
        Summary { progress: shared.progress(|progress| progress.clone()), left, untold }
    }

    /// Whether the batch takes another record, if need be a new batch.
    fn has_room(&mut self) -> bool {
        if self.batch.bytes() < self.limits.batch_bytes {
            return true;
        }
        if !self.pass_on() {
            return false;
        }
        self.tell_losses();
        true
    }

    /// Puts the batch into the queue. False if there is no room.
    fn pass_on(&mut self) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        let next = Batch::new(Arc::clone(&self.format), self.position);
        match self.queue.offer(std::mem::replace(&mut self.batch, next)) {
            Ok(()) => true,
            Err(batch) => {
                self.batch = batch;
                false
            }
        }
    }

    /// Makes records of losses, as far as the batch takes them.
    fn tell_losses(&mut self) {
        while self.batch.bytes() < self.limits.batch_bytes {
            let Some(skipped) = self.shared.losses(Losses::pop) else { return };
            if !self.batch.push(&skipped, self.position) {
                return self.shared.losses(|losses| losses.count(&skipped));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flowlog::{
            Record,
            fake::{TestResult, resolved},
        },
        publish::fake::{Fake, Kept},
    };

    /// A queue for three batches of ten records.
    fn limits() -> Limits {
        let mut batch = Batch::new(Arc::new(LogFormat::default()), 0);
        assert!((0..10).all(|place| batch.push(&of_minute(place), place)));
        let bytes = batch.bytes();
        Limits { queue_bytes: 3 * bytes, batch_bytes: bytes, ..Limits::default() }
    }

    fn of_minute(minute: u64) -> Record {
        Record { start: 60 * minute, end: 60 * minute + 9, ..resolved() }
    }

    /// Starts with a destination that is down, as long as it is told to be.
    fn start(kept: &Kept) -> Publisher {
        let fake = Fake::new(kept);
        let (publisher, worker, end) = Publisher::new(LogFormat::default(), 60, 0, limits(), fake);
        tokio::spawn(async move { end.send(worker.run().await) });
        publisher
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_published_arrives_in_order_and_once() -> TestResult {
        let kept = Kept::default();
        let mut publisher = start(&kept);
        for position in 1..=25 {
            publisher.publish(&of_minute(position), position);
        }
        let summary = publisher.finish(Duration::from_secs(60)).await;
        assert_eq!(kept.starts(), (1..=25).map(|minute| 60 * minute).collect::<Vec<_>>());
        assert_eq!(
            summary.progress,
            Progress { records: 25, packets: 300, durable: 25, ..Progress::default() }
        );
        assert_eq!((summary.left, summary.untold), (0, false));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_fails_for_a_while_gets_everything() -> TestResult {
        let kept = Kept::default();
        kept.fail(3);
        let mut publisher = start(&kept);
        publisher.publish(&of_minute(1), 1);
        publisher.flush();
        // Half a second, one, two: what the waits come to at most.
        tokio::time::sleep(Duration::from_millis(3600)).await;
        let progress = publisher.progress();
        assert_eq!((progress.records, progress.failures, progress.error), (1, 3, None));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_while_it_lasts() -> TestResult {
        let kept = Kept::default();
        kept.fail(u32::MAX);
        let mut publisher = start(&kept);
        publisher.publish(&of_minute(1), 1);
        publisher.flush();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let progress = publisher.progress();
        assert_eq!(progress.error.as_deref(), Some("cannot write to the fake: it is down"));
        assert_eq!((progress.trouble, progress.durable, progress.records), (Some("Unknown error"), 0, 0));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn in_an_outage_memory_is_bounded_and_what_is_dropped_becomes_skipdata() -> TestResult {
        let kept = Kept::default();
        kept.fail(u32::MAX);
        let mut publisher = start(&kept);
        for position in 1..=10_000 {
            publisher.publish(&of_minute(position % 4), position);
            if position % 10 == 0 {
                publisher.flush();
                tokio::task::yield_now().await;
            }
        }
        assert!(
            publisher.bytes() <= limits().queue_bytes + limits().batch_bytes + 500,
            "{}",
            publisher.bytes()
        );

        kept.fail(0);
        let summary = publisher.finish(Duration::from_secs(60)).await;
        let (lost, told) = (kept.lost(), kept.records());
        assert!(lost.records > 9_900 && lost.packets == lost.records * 12, "{lost:?}");
        assert_eq!(kept.packets() + lost.packets, 10_000 * 12, "the law of conservation");
        assert!(told < 60, "one SKIPDATA record for each interval, not for each record: {told}");
        assert_eq!((summary.left, summary.untold, summary.progress.durable), (0, false, 10_000));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_destination_refuses_becomes_skipdata_too() -> TestResult {
        let kept = Kept::default();
        kept.refuse(120);
        let mut publisher = start(&kept);
        for minute in 1..=3 {
            publisher.publish(&of_minute(minute), minute);
        }
        publisher.flush();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((kept.packets(), kept.lost().records, publisher.progress().refused), (24, 0, 1));
        kept.refuse(0);
        publisher.finish(Duration::from_secs(60)).await;
        let lost = kept.lost();
        assert_eq!((lost.start, lost.end, lost.records, lost.packets), (120, 129, 1, 12));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_no_longer_than_it_may() -> TestResult {
        for stall in [false, true] {
            let kept = Kept::default();
            if stall {
                kept.stall()
            } else {
                kept.fail(u32::MAX)
            }
            let mut publisher = start(&kept);
            for position in 1..=25 {
                publisher.publish(&of_minute(position), position);
            }
            let before = Instant::now();
            let summary = publisher.finish(Duration::from_secs(5)).await;
            assert_eq!(before.elapsed().as_secs(), 5);
            assert_eq!((summary.left, summary.progress.durable), (25, 0), "to be published again");
        }
        Ok(())
    }

    #[tokio::test]
    async fn it_runs_in_a_thread_of_its_own() -> TestResult {
        let kept = Kept::default();
        let fake = Fake::new(&kept);
        let mut publisher = Publisher::start("fl-1", LogFormat::default(), 60, 7, Limits::default(), fake)?;
        assert_eq!(publisher.progress().durable, 7);
        publisher.publish(&of_minute(1), 8);
        let summary = publisher.finish(Duration::from_secs(60)).await;
        assert_eq!((kept.starts(), summary.progress.durable), (vec![60], 8));
        Ok(())
    }
}
