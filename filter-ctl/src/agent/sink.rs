//! Where the collector's records go: to every flow log that has a destination.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::join_all};
use tokio::task::JoinHandle;

use super::{
    board::{Board, LogReport},
    checkpoint::{Checkpoint, Checkpoints},
    destination::{Options, publishes},
    outlet::Outlet,
    say,
};
use crate::{
    flowlog::{
        Record,
        follow::Sink,
        spool::{self, Position},
    },
    policy::FlowLog,
    publish::Summary,
    state::Attachment,
};

/// How long a destination that could not be opened is left alone.
const AGAIN: Duration = Duration::from_secs(15);

/// A flow log that covers nothing any more, and its last records.
struct Ending {
    id: String,
    task: JoinHandle<(Arc<FlowLog>, Checkpoint, Summary)>,
}

/// How long the last records of a flow log that is no more may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// All flow logs on their way.
pub(super) struct Outlets {
    spool: PathBuf,
    options: Options,
    checkpoints: Checkpoints,
    outlets: Vec<Outlet>,
    /// Destinations that could not be opened: when, and why.
    closed: BTreeMap<String, (Instant, String)>,
    /// Those that are no more, until their last records are delivered.
    ending: Vec<Ending>,
    /// The spool's end.
    at: Position,
    board: Arc<Board>,
}

impl Outlets {
    /// None yet.
    pub(super) fn new(spool: PathBuf, options: Options, checkpoints: Checkpoints, board: Arc<Board>) -> Self {
        Self {
            spool,
            options,
            checkpoints,
            outlets: Vec::new(),
            closed: BTreeMap::new(),
            ending: Vec::new(),
            at: Position::default(),
            board,
        }
    }

    /// Opens what covers an attached interface now and is not open yet.
    fn open(&mut self, attachments: &[Attachment]) -> io::Result<()> {
        for known in attachments {
            for active in &known.flow_logs {
                let log = &active.log;
                let open = self.outlets.iter().any(|outlet| **outlet.log() == *log);
                let wait = self.closed.get(&log.id).is_some_and(|(since, _)| since.elapsed() < AGAIN);
                // One of that id whose last records are on their way may hold the place.
                let held = self.ending.iter().any(|ending| ending.id == log.id);
                if open || wait || held || !publishes(log.destination.kind) {
                    continue;
                }
                let checkpoint = self.checkpoints.of(&log.id);
                match Outlet::open(log, &known.interface, checkpoint.clone(), &self.options) {
                    Ok(mut outlet) => {
                        self.closed.remove(&log.id);
                        outlet.learn(attachments);
                        let read = spool::kept(&self.spool, checkpoint.from);
                        read.and_then(|(reader, _)| outlet.catch_up(reader, &checkpoint))
                            .map_err(io::Error::other)?;
                        self.outlets.push(outlet);
                    }
                    Err(error) => {
                        if self.closed.get(&log.id).is_none_or(|(_, known)| *known != error) {
                            say(&format!("{}: {error}; its records wait in the spool", log.id));
                        }
                        self.closed.insert(log.id.clone(), (Instant::now(), error));
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends a round: tells what is complete, notes what was delivered.
    fn round(&mut self) -> io::Result<()> {
        let mut reports = Vec::new();
        for outlet in &mut self.outlets {
            let id = outlet.log().id.clone();
            self.checkpoints.set(&id, outlet.round(self.at));
            reports.push(outlet.report());
        }
        reports.extend(self.closed.iter().map(|(id, (_, error))| LogReport {
            id: id.clone(),
            error: Some(error.clone()),
            ..Default::default()
        }));
        self.tell_errors(&reports);
        self.board.change(|report| report.flow_logs = reports);
        self.checkpoints.save()
    }

    /// Says what has begun to be wrong, and what is well again.
    fn tell_errors(&self, reports: &[LogReport]) {
        let before = self.board.report().flow_logs;
        for now in reports.iter().filter(|report| !self.closed.contains_key(&report.id)) {
            let known =
                before.iter().find(|before| before.id == now.id).and_then(|before| before.error.as_ref());
            match (&now.error, known) {
                (Some(error), None) => say(&format!("{}: {error}; it is tried again", now.id)),
                (None, Some(_)) => say(&format!("{}: its destination takes records again", now.id)),
                _ => {}
            }
        }
    }

    /// Gives everything out and waits until the destinations have it, or no longer.
    pub(super) async fn finish(&mut self, patience: Duration) -> io::Result<()> {
        let at = self.at;
        let outlets = self.outlets.drain(..).map(|outlet| outlet.finish(at, patience));
        let mut ended = join_all(outlets).await;
        for Ending { task, .. } in self.ending.drain(..) {
            ended.push(task.await.map_err(io::Error::other)?);
        }
        ended.into_iter().for_each(|ended| self.note_end(ended));
        self.checkpoints.save()
    }

    /// Notes which of those that cover nothing any more have delivered their last records.
    fn note_ended(&mut self) {
        for Ending { task, .. } in
            self.ending.extract_if(.., |ending| ending.task.is_finished()).collect::<Vec<_>>()
        {
            // It is finished; a thread that panicked has said so.
            if let Some(Ok(ended)) = task.now_or_never() {
                self.note_end(ended);
            }
        }
    }

    fn note_end(&mut self, (log, checkpoint, summary): (Arc<FlowLog>, Checkpoint, Summary)) {
        self.checkpoints.set(&log.id, &checkpoint);
        tell_rest(&log, summary.left, summary.progress.error.as_deref());
    }
}

fn tell_rest(log: &FlowLog, left: u64, error: Option<&str>) {
    if left > 0 {
        let error = error.unwrap_or("it took too long");
        say(&format!(
            "{}: {left} records could not be delivered in time ({error}); the next agent takes them from the spool",
            log.id
        ));
    }
}

impl Sink for Outlets {
    fn accept(&mut self, records: &[Record]) -> io::Result<()> {
        for record in records {
            self.outlets.iter_mut().for_each(|outlet| outlet.accept(record));
        }
        self.board.change(|report| report.collected_records += records.len() as u64);
        Ok(())
    }

    fn complete(&mut self, interface_id: &str, until: u64) -> io::Result<()> {
        self.outlets.iter_mut().for_each(|outlet| outlet.complete(interface_id, until));
        self.board.tell(|told| {
            told.complete.insert(interface_id.to_owned(), until);
        });
        Ok(())
    }

    fn learn(&mut self, attachments: &[Attachment]) -> io::Result<()> {
        self.outlets.iter_mut().for_each(|outlet| outlet.learn(attachments));
        let active = |log: &FlowLog| {
            attachments.iter().any(|known| known.flow_logs.iter().any(|active| active.log == *log))
        };
        for outlet in self.outlets.extract_if(.., |outlet| !active(outlet.log())) {
            let id = outlet.log().id.clone();
            self.ending.push(Ending { id, task: tokio::spawn(outlet.finish(self.at, PATIENCE)) });
        }
        self.note_ended();
        let known = |id: &str| {
            attachments.iter().any(|known| known.flow_logs.iter().any(|active| active.log.id == id))
        };
        self.closed.retain(|id, _| known(id));
        self.open(attachments)?;
        self.round()
    }

    fn kept(&mut self, position: Position) {
        self.at = position;
        self.board.tell(|told| told.end = position);
        self.board.alive();
    }

    fn note(&mut self, note: &str) {
        say(note);
    }
}
