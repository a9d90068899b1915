//! A destination that does what a test tells it.

use std::{
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Batch, Destination, Error, Measure, Trouble, Turn};
use crate::flowlog::fields::{Field, Row};

/// What a [`Fake`] has, and what it is told to do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Of each record, its `log-status` and measure.
    records: Vec<(String, Measure)>,
    fail: u32,
    refuse: Option<u64>,
    stall: bool,
}

impl Kept {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next so many tries fail.
    pub(crate) fn fail(&self, times: u32) {
        self.state().fail = times;
    }

    /// Records that start then are refused for good.
    pub(crate) fn refuse(&self, start: u64) {
        self.state().refuse = Some(start);
    }

    /// From now on, no try ends.
    pub(crate) fn stall(&self) {
        self.state().stall = true;
    }

    /// When the records begin, in the order in which they came.
    pub(crate) fn starts(&self) -> Vec<u64> {
        self.state().records.iter().map(|(_, measure)| measure.start).collect()
    }

    pub(crate) fn records(&self) -> usize {
        self.state().records.len()
    }

    /// Packets in records.
    pub(crate) fn packets(&self) -> u64 {
        let state = self.state();
        state.records.iter().filter(|(status, _)| status == "OK").map(|(_, measure)| measure.packets).sum()
    }

    /// What `SKIPDATA` records stand for.
    pub(crate) fn lost(&self) -> Measure {
        let mut lost = Measure { start: u64::MAX, end: 0, records: 0, packets: 0, bytes: 0 };
        let state = self.state();
        state
            .records
            .iter()
            .filter(|(status, _)| status == "SKIPDATA")
            .for_each(|(_, measure)| lost += *measure);
        lost
    }
}

/// A destination in memory.
pub(crate) struct Fake {
    kept: Kept,
    taken: Option<Batch>,
    durable: u64,
}

impl Fake {
    pub(crate) fn new(kept: &Kept) -> Self {
        Self { kept: kept.clone(), taken: None, durable: 0 }
    }
}

impl Destination for Fake {
    fn take(&mut self, batch: &Batch, _: &mut Turn<'_>) {
        assert!(self.taken.is_none(), "it still has a batch");
        self.taken = Some(batch.clone());
    }

    async fn send(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        if self.kept.state().stall {
            return future::pending().await;
        }
        let Some(batch) = &self.taken else { return Ok(()) };
        let mut state = self.kept.state();
        if state.fail > 0 {
            state.fail -= 1;
            return Err(Error::new("write to the fake", Trouble::Unknown, "it is down"));
        }
        for row in batch.rows() {
            if state.refuse == Some(row.measure.start) {
                turn.refuse(&row, row.measure);
            } else {
                state.records.push((row.value(Field::LogStatus).to_string(), row.measure));
            }
        }
        self.durable = batch.position();
        self.taken = None;
        Ok(())
    }

    fn durable(&self) -> u64 {
        self.durable
    }
}
