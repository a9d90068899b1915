//! Batches that wait for a destination, bounded by the memory that they take.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::batch::Batch;

/// The end where batches come in; it never waits.
#[derive(Debug)]
pub struct Sender {
    room: Arc<Semaphore>,
    limit: usize,
    waiting: mpsc::UnboundedSender<Taken>,
}

/// The end where they go out.
#[derive(Debug)]
pub struct Receiver(mpsc::UnboundedReceiver<Taken>);

/// A batch that was taken out. Its memory counts until this is dropped.
#[derive(Debug)]
pub struct Taken {
    /// The batch.
    pub batch: Batch,
    _room: OwnedSemaphorePermit,
}

/// A queue for batches of so many bytes together.
#[must_use]
pub fn bounded(bytes: usize) -> (Sender, Receiver) {
    let limit = bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let (waiting, out) = mpsc::unbounded_channel();
    (Sender { room: Arc::new(Semaphore::new(limit)), limit, waiting }, Receiver(out))
}

impl Sender {
    /// Puts a batch in. A batch that is larger than the whole queue waits until that is empty.
    ///
    /// # Errors
    ///
    /// Gives the batch back if there is no room for it, or nobody takes batches any more.
    pub fn offer(&self, batch: Batch) -> Result<(), Batch> {
        let bytes = batch.bytes().clamp(1, self.limit);
        match Arc::clone(&self.room).try_acquire_many_owned(bytes as u32) {
            Ok(room) => self.waiting.send(Taken { batch, _room: room }).map_err(|unsent| unsent.0.batch),
            Err(_) => Err(batch),
        }
    }

    /// Puts a batch in though there may be no room: the last ones. Where nobody takes batches any
    /// more, it is dropped.
    pub fn force(&self, batch: Batch) {
        let nothing = Arc::clone(&self.room).try_acquire_many_owned(0);
        if let Ok(room) = nothing {
            let _ = self.waiting.send(Taken { batch, _room: room });
        }
    }

    /// Bytes of the batches that wait or are being delivered.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.limit - self.room.available_permits()
    }
}

impl Receiver {
    /// Waits for the next batch; `None` when all are out and no more can come.
    pub async fn next(&mut self) -> Option<Taken> {
        self.0.recv().await
    }

    /// The next batch, if one is there.
    pub fn next_now(&mut self) -> Option<Taken> {
        self.0.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowlog::{fake::resolved, logformat::LogFormat};

    fn batch(rows: u64) -> Batch {
        let mut batch = Batch::new(Arc::new(LogFormat::default()), 0);
        assert!((0..rows).all(|row| batch.push(&resolved(), row + 1)));
        batch
    }

    #[tokio::test]
    async fn it_takes_no_more_bytes_than_it_may() {
        let bytes = batch(10).bytes();
        let (sender, mut receiver) = bounded(2 * bytes);
        assert!(sender.offer(batch(10)).is_ok());
        assert!(sender.offer(batch(10)).is_ok());
        assert_eq!(sender.offer(batch(1)).unwrap_err().len(), 1, "the batch comes back");
        assert_eq!(sender.bytes(), 2 * bytes);

        let taken = receiver.next().await.unwrap();
        assert!(sender.offer(batch(1)).is_err(), "what is being delivered takes room");
        drop(taken);
        assert!(sender.offer(batch(1)).is_ok());
    }

    #[tokio::test]
    async fn a_batch_larger_than_the_queue_goes_through_alone() {
        let (sender, mut receiver) = bounded(100);
        assert!(sender.offer(batch(10)).is_ok());
        assert!(sender.offer(batch(1)).is_err());
        assert_eq!(receiver.next().await.map(|taken| taken.batch.len()), Some(10));
        assert!(sender.offer(batch(1)).is_ok());
    }

    #[tokio::test]
    async fn it_ends_when_either_side_is_gone() {
        let (sender, mut receiver) = bounded(1 << 20);
        assert!(sender.offer(batch(1)).is_ok());
        drop(sender);
        assert!(receiver.next().await.is_some());
        assert!(receiver.next().await.is_none());

        let (sender, receiver) = bounded(1 << 20);
        drop(receiver);
        assert!(sender.offer(batch(1)).is_err());
    }
}
