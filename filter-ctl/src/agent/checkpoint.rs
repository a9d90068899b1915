//! What of the spool a flow log's destination has, so that the next agent goes on there.
//!
//! Records come from the spool in any order of their intervals, and an interval is given out when it is
//! complete. So a place in the spool does not say what was given out; a place and a time for each
//! interface do:
//!
//! ```text
//! spool  ──────┬───────────────────────────┬─────────────▶
//!            from                         at
//! before: all given out │ between: those of intervals that   │ behind: none
//!                       │ ended until `until` were given out │
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::flowlog::{Record, record::Content, spool::Position};

/// What was given out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Where to read the spool from.
    pub from: Position,
    /// Up to where `until` holds.
    pub at: Position,
    /// By interface: up to when its intervals were given out, in Unix seconds.
    pub until: BTreeMap<String, u64>,
}

impl Checkpoint {
    /// Everything before a place.
    #[must_use]
    pub const fn all(at: Position) -> Self {
        Self { from: at, at, until: BTreeMap::new() }
    }

    /// What of a record, which ends at a place in the spool, is still to be given out by a flow log of an
    /// interval.
    #[must_use]
    pub fn rest(&self, mut record: Record, end: Position, interval: u32) -> Option<Record> {
        let until = record.interface_id.as_ref().and_then(|id| self.until.get(id));
        let (Some(until), true) = (until, end <= self.at) else { return Some(record) };
        if window_end(&record, interval) <= *until {
            return None;
        }
        if matches!(record.content, Content::Idle) {
            // Of a long silence, the intervals that are not told yet.
            record.start = record.start.max(until - until % u64::from(interval));
        }
        Some(record)
    }
}

/// When the interval of a flow log ends that a record belongs to: of a silence, the last one.
#[must_use]
pub fn window_end(record: &Record, interval: u32) -> u64 {
    let length = u64::from(interval.max(1));
    let within = match &record.content {
        Content::Flow(flow) => flow.interval_start().unwrap_or(record.end),
        Content::Lost(_) | Content::Idle => record.end,
    };
    (within / length + 1) * length
}

/// Follows what one flow log gives out.
#[derive(Debug)]
pub struct Progress {
    interval: u32,
    /// The end of the latest interval that a record belonged to.
    latest: u64,
    /// Places in the spool, each with the end of the latest interval of what is before it.
    marks: VecDeque<(Position, u64)>,
    from: Position,
    until: BTreeMap<String, u64>,
    /// What was given out with the records up to a number.
    given: VecDeque<(u64, Checkpoint)>,
    durable: Checkpoint,
    /// The record up to which the destination has everything.
    delivered: u64,
}

impl Progress {
    /// Goes on from a checkpoint.
    #[must_use]
    pub fn new(interval: u32, durable: Checkpoint) -> Self {
        Self {
            interval,
            latest: 0,
            marks: VecDeque::new(),
            from: durable.from,
            until: durable.until.clone(),
            given: VecDeque::new(),
            durable,
            delivered: 0,
        }
    }

    /// A record was taken.
    pub fn take(&mut self, record: &Record) {
        self.latest = self.latest.max(window_end(record, self.interval));
    }

    /// All of an interface's intervals were given out that ended until a time.
    pub fn complete(&mut self, interface_id: &str, until: u64) {
        match self.until.get_mut(interface_id) {
            Some(known) => *known = until,
            None => drop(self.until.insert(interface_id.to_owned(), until)),
        }
    }

    /// The flow log covers these interfaces only.
    pub fn keep(&mut self, covers: impl Fn(&str) -> bool) {
        self.until.retain(|id, _| covers(id));
    }

    /// A round is over: everything before a place in the spool was taken, and what was complete of
    /// it was given out; the last record that was has this number. `covered` is how many
    /// interfaces the flow log covers.
    pub fn round(&mut self, at: Position, covered: usize, number: u64) {
        if self.marks.back().is_none_or(|(place, _)| *place < at) {
            self.marks.push_back((at, self.latest));
        }
        let until = if self.until.len() < covered { None } else { self.until.values().min() };
        while let Some((place, _)) =
            self.marks.pop_front_if(|(_, end)| until.is_some_and(|until| *end <= *until))
        {
            self.from = place;
        }
        let checkpoint = Checkpoint { from: self.from, at, until: self.until.clone() };
        match self.given.back_mut() {
            // Nothing more was given out: whoever has that record has all.
            Some((last, known)) if *last == number => *known = checkpoint,
            None if number <= self.delivered => self.durable = checkpoint,
            _ => self.given.push_back((number, checkpoint)),
        }
    }

    /// The destination has everything up to a record's number; returns what the next agent needs to know.
    pub fn durable(&mut self, number: u64) -> &Checkpoint {
        self.delivered = self.delivered.max(number);
        while let Some((_, checkpoint)) = self.given.pop_front_if(|(given, _)| *given <= number) {
            self.durable = checkpoint;
        }
        &self.durable
    }
}

/// The checkpoints of all flow logs, in a file.
#[derive(Debug)]
pub struct Checkpoints {
    path: PathBuf,
    logs: BTreeMap<String, Checkpoint>,
    changed: bool,
}

impl Checkpoints {
    /// Reads them; none if there is no such file. One that says nothing sensible is an error: to begin
    /// anew would publish everything twice.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or understood.
    pub fn open(path: &Path) -> io::Result<Self> {
        let logs = match std::fs::read(path) {
            Ok(contents) => serde_json::from_slice(&contents)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), logs, changed: false })
    }

    /// Where a flow log stands.
    #[must_use]
    pub fn of(&self, log: &str) -> Checkpoint {
        self.logs.get(log).cloned().unwrap_or_default()
    }

    /// A flow log stands here now.
    pub fn set(&mut self, log: &str, checkpoint: &Checkpoint) {
        if self.logs.get(log) != Some(checkpoint) {
            self.logs.insert(log.to_owned(), checkpoint.clone());
            self.changed = true;
        }
    }

    /// Writes them down, if anything changed.
    ///
    /// # Errors
    ///
    /// If the file cannot be replaced.
    pub fn save(&mut self) -> io::Result<()> {
        if self.changed {
            let partial = self.path.with_extension("partial");
            std::fs::write(&partial, serde_json::to_vec(&self.logs)?)?;
            std::fs::rename(&partial, &self.path)?;
            self.changed = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowlog::fake::resolved;

    const fn at(bytes: u64) -> Position {
        Position { segment: 1, bytes }
    }

    fn ended(end: u64) -> Record {
        let mut record = Record { start: end, end, ..resolved() };
        if let Content::Flow(flow) = &mut record.content {
            flow.interval_seconds = None;
        }
        record
    }

    fn id() -> String {
        resolved().interface_id.unwrap_or_default()
    }

    #[test]
    fn what_was_given_out_is_not_given_again_and_all_else_is() {
        let given = Checkpoint { from: at(0), at: at(100), until: [(id(), 120)].into() };
        let rest = |end, place| given.rest(ended(end), place, 60).is_some();
        assert!(!rest(119, at(100)), "of an interval that was given out");
        assert!(rest(120, at(50)), "of an open one");
        assert!(rest(119, at(101)), "came later");
        let other = Record { interface_id: Some("eni-other".into()), ..ended(119) };
        assert!(given.rest(other, at(100), 60).is_some());
    }

    #[test]
    fn of_a_long_silence_the_rest_is_told() {
        let given = Checkpoint { from: at(0), at: at(100), until: [(id(), 130)].into() };
        let silence = Record { start: 0, end: 239, content: Content::Idle, ..resolved() };
        assert_eq!(given.rest(silence, at(10), 60).map(|rest| (rest.start, rest.end)), Some((120, 239)));
    }

    #[test]
    fn a_checkpoint_moves_when_the_destination_has_the_records() {
        let mut progress = Progress::new(60, Checkpoint::default());
        progress.take(&ended(70));
        progress.complete(&id(), 60);
        progress.round(at(10), 1, 0);
        assert_eq!(progress.durable(0).from, Position::default(), "the interval is open");

        progress.complete(&id(), 120);
        progress.round(at(20), 1, 1);
        let before = progress.durable(0).clone();
        assert_eq!((before.from, before.at), (Position::default(), at(10)), "the record is under way");
        let after = progress.durable(1);
        assert_eq!((after.from, after.at, after.until.get(&id())), (at(20), at(20), Some(&120)));
    }

    #[test]
    fn checkpoints_survive_in_their_file_and_nonsense_is_refused() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("agent.json");
        let mut checkpoints = Checkpoints::open(&path)?;
        checkpoints.set("fl-1", &Checkpoint::all(at(7)));
        checkpoints.save()?;
        assert_eq!(Checkpoints::open(&path)?.of("fl-1"), Checkpoint::all(at(7)));
        assert_eq!(Checkpoints::open(&path)?.of("fl-2"), Checkpoint::default());
        std::fs::write(&path, "{")?;
        assert!(Checkpoints::open(&path).is_err());
        Ok(())
    }
}
