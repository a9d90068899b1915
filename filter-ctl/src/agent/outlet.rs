//! One flow log on its way to its destination.

use std::{sync::Arc, time::Duration};

use super::{
    board::LogReport,
    checkpoint::{Checkpoint, Progress},
    destination::{self, Options},
};
use crate::{
    flowlog::{
        Record, Result,
        spool::Reader,
        subscription::{LogRecord, Subscriptions},
    },
    policy::{FlowLog, Interface},
    publish::{Publisher, Summary},
    state::{ActiveLog, Attachment},
};

/// A flow log, its open intervals, and who publishes it.
///
/// Records are numbered as they are handed over. All of a round have the number of the round before
/// but for the last one: who has a number has all that came with it.
pub(super) struct Outlet {
    log: Arc<FlowLog>,
    records: Subscriptions,
    covered: usize,
    publisher: Publisher,
    progress: Progress,
    number: u64,
    handed: u64,
    /// The round's last record so far.
    held: Option<LogRecord>,
}

impl Outlet {
    /// Opens the destination of a flow log that covers an interface.
    pub(super) fn open(
        log: &FlowLog,
        interface: &Interface,
        checkpoint: Checkpoint,
        options: &Options,
    ) -> Result<Self, String> {
        Ok(Self {
            publisher: destination::publisher(log, interface, options)?,
            log: Arc::new(log.clone()),
            records: Subscriptions::default(),
            covered: 0,
            progress: Progress::new(log.interval, checkpoint),
            number: 0,
            handed: 0,
            held: None,
        })
    }

    /// The flow log.
    pub(super) const fn log(&self) -> &Arc<FlowLog> {
        &self.log
    }

    /// Takes what the spool has and the destination has not.
    pub(super) fn catch_up(&mut self, mut reader: Reader, checkpoint: &Checkpoint) -> Result<()> {
        while let Some(record) = reader.next() {
            if let Some(record) = checkpoint.rest(record?, reader.position(), self.log.interval) {
                self.accept(&record);
            }
        }
        Ok(())
    }

    /// Learns which interfaces it covers.
    pub(super) fn learn(&mut self, attachments: &[Attachment]) {
        let logs: Vec<Vec<ActiveLog>> = attachments
            .iter()
            .map(|known| known.flow_logs.iter().filter(|one| one.log == *self.log).cloned().collect())
            .collect();
        let covers = |id: &str| {
            attachments.iter().zip(&logs).any(|(known, logs)| known.interface.id == id && !logs.is_empty())
        };
        self.progress.keep(covers);
        let interfaces = attachments.iter().map(|known| &known.interface);
        let mut ids: Vec<_> = interfaces.clone().map(|known| &known.id).filter(|id| covers(id)).collect();
        ids.sort_unstable();
        ids.dedup();
        self.covered = ids.len();
        let covered = interfaces.zip(logs.iter().map(Vec::as_slice));
        self.with(|records, emit| records.learn(covered, emit));
    }

    /// Takes a record of the spool.
    pub(super) fn accept(&mut self, record: &Record) {
        self.progress.take(record);
        self.with(|records, emit| records.accept(record, emit));
    }

    /// Gives out what is complete.
    pub(super) fn complete(&mut self, interface_id: &str, until: u64) {
        self.with(|records, emit| records.complete(interface_id, until, emit));
        self.progress.complete(interface_id, until);
    }

    /// Ends a round, with everything before a place in the spool taken; returns where the next agent would begin.
    pub(super) fn round(&mut self, at: crate::flowlog::spool::Position) -> &Checkpoint {
        self.end_round();
        self.publisher.flush();
        self.progress.round(at, self.covered, self.number);
        self.progress.durable(self.publisher.progress().durable)
    }

    /// How it goes.
    pub(super) fn report(&self) -> LogReport {
        let progress = self.publisher.progress();
        LogReport {
            id: self.log.id.clone(),
            destination: self.log.destination.kind.name().to_owned(),
            target: self.log.destination.target.clone(),
            records: self.handed,
            published: progress.records,
            packets: progress.packets,
            lost: self.publisher.lost(),
            refused: progress.refused,
            failures: progress.failures,
            waiting_bytes: self.publisher.bytes() as u64,
            error: progress.error,
        }
    }

    /// Gives everything out, open intervals, too, and waits until the destination has it, or no longer.
    /// Returns where the next agent begins and what became of the records.
    pub(super) async fn finish(
        mut self,
        at: crate::flowlog::spool::Position,
        patience: Duration,
    ) -> (Arc<FlowLog>, Checkpoint, Summary) {
        self.with(|records, emit| records.finish(emit));
        self.end_round();
        let Self { publisher, mut progress, log, .. } = self;
        let summary = publisher.finish(patience).await;
        let checkpoint = match summary.left {
            0 => Checkpoint::all(at),
            _ => progress.durable(summary.progress.durable).clone(),
        };
        (log, checkpoint, summary)
    }

    fn end_round(&mut self) {
        if let Some(last) = self.held.take() {
            self.number += 1;
            self.publisher.publish(&last, self.number);
        }
    }

    /// Does something with the records, and hands over what that gives out.
    fn with(&mut self, work: impl FnOnce(&mut Subscriptions, Emit<'_>)) {
        let Self { records, publisher, number, handed, held, .. } = self;
        work(records, &mut |_, record| {
            *handed += 1;
            if let Some(before) = held.replace(record) {
                publisher.publish(&before, *number);
            }
        });
    }
}

type Emit<'e> = &'e mut dyn FnMut(&Arc<FlowLog>, LogRecord);
