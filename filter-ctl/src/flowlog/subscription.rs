//! A flow log's own records: what it asks for, of what the kernel has counted.
//!
//! The kernel counts once for an interface, in the shortest interval that any of its flow logs asks
//! for. Each flow log gets the records of its traffic type, added up over its own interval:
//!
//! ```text
//! kernel, 10 s   │ 3 SYN │  5    │       │  2 FIN │   packets of one flow
//! fl-…, 60 s     │ 10, flags 3, first to last packet …
//! ```
//!
//! Sums are exact. Records are one where a reader of the log's format could not tell them apart but
//! for their counts and times; so a log in AWS's fields has one record for each flow, direction and
//! action, and one that shows `filter-sg-rule` has one for each rule.
//!
//! An interval is given out when it is known to be complete ([`Subscription::complete`]), or when
//! nothing more will come ([`Subscription::finish`]). Memory is bounded: where very many flows come
//! in one interval, those so far are given out early, and a flow can have two records in it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    Record,
    fields::{Field, Row, Value},
    record::{Action, Content, Flow},
    resolve::blank,
    tags,
    window::{Shown, Window},
};
use crate::{
    policy::{FlowLog, Interface, TrafficType},
    state::ActiveLog,
};

/// Records of open intervals that a flow log keeps at most: some 50 MB.
const OPEN: usize = 1 << 17;

/// One record of a flow log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// What it says.
    pub record: Record,
    /// The values of the tag fields.
    pub tags: Arc<[(Field, String)]>,
}

impl Row for LogRecord {
    fn value(&self, field: Field) -> Value<'_> {
        match self.tags.iter().find(|(tag, _)| *tag == field) {
            Some((_, value)) => value.as_str().into(),
            None => self.record.value(field),
        }
    }
}

/// Someone who takes a flow log's records.
pub type Emit<'a> = &'a mut dyn FnMut(LogRecord);

/// A flow log and its open intervals.
#[derive(Debug)]
pub struct Subscription {
    log: Arc<FlowLog>,
    shown: Shown,
    covered: HashMap<String, Covered>,
    /// Records in all open intervals.
    open: usize,
    /// Their bound.
    most: usize,
}

/// An interface that a flow log covers.
#[derive(Debug)]
struct Covered {
    since: u64,
    blank: Record,
    tags: Arc<[(Field, String)]>,
    /// By number, counted from the epoch.
    windows: BTreeMap<u64, Window>,
}

impl Subscription {
    /// A flow log that covers nothing yet.
    #[must_use]
    pub fn new(log: FlowLog) -> Self {
        let shown = Shown::of(&log.format);
        Self { log: Arc::new(log), shown, covered: HashMap::new(), open: 0, most: OPEN }
    }

    /// The flow log.
    #[must_use]
    pub const fn log(&self) -> &Arc<FlowLog> {
        &self.log
    }

    /// Covers an interface since a time, or learns its names anew.
    pub fn cover(&mut self, interface: &Interface, since: u64) {
        let (blank, tags) = (blank(Some(interface)), tags::values(&self.log.tag_keys, interface));
        let windows = self.covered.remove(&interface.id).map(|known| known.windows).unwrap_or_default();
        let covered = Covered { since, blank, tags: tags.into(), windows };
        self.covered.insert(interface.id.clone(), covered);
    }

    /// The interfaces that it covers.
    pub fn covered(&self) -> impl Iterator<Item = &str> {
        self.covered.keys().map(String::as_str)
    }

    /// Takes a record of the kernel's interval; those of other interfaces and from before it
    /// covered the interface are passed over.
    pub fn accept(&mut self, record: &Record, emit: Emit<'_>) {
        let length = u64::from(self.log.interval);
        let Some(covered) = record.interface_id.as_ref().and_then(|id| self.covered.get_mut(id)) else {
            return;
        };
        let number = match &record.content {
            Content::Flow(flow) if covered.began_before(record, flow) => {
                flow.interval_start().unwrap_or(record.end) / length
            }
            Content::Lost(_) if record.end >= covered.since => record.end / length,
            Content::Idle => return covered.stay_idle(record, length),
            Content::Flow(_) | Content::Lost(_) => return,
        };
        let window = covered.windows.entry(number).or_default();
        window.busy = true;
        if wants(self.log.traffic, &record.content) && window.add(record, self.shown) {
            self.open += 1;
        }
        if self.open >= self.most {
            self.give_out(emit);
        }
    }

    /// Gives out all intervals of an interface that ended until a time, in Unix seconds by the
    /// kernel's count of intervals: nothing more will come of them.
    pub fn complete(&mut self, interface_id: &str, until: u64, emit: Emit<'_>) {
        let length = u64::from(self.log.interval);
        let Some(covered) = self.covered.get_mut(interface_id) else { return };
        while let Some(entry) = covered.windows.first_entry() {
            if (entry.key() + 1) * length > until {
                break;
            }
            let (number, mut window) = entry.remove_entry();
            self.open -= covered.end(number, &mut window, length, emit);
        }
    }

    /// Takes a record of a long row of them, and gives out what is likely to be complete: intervals
    /// that ended at least one more interval ago. What comes late is a record of its own.
    pub fn stream(&mut self, record: &Record, emit: Emit<'_>) {
        let begun = match &record.content {
            Content::Flow(flow) => flow.interval_start(),
            Content::Lost(_) => None,
            Content::Idle => Some(record.start),
        };
        if let (Some(id), Some(begun)) = (&record.interface_id, begun) {
            self.complete(id, begun.saturating_sub(self.log.interval.into()), emit);
        }
        self.accept(record, emit);
    }

    /// Gives out everything of an interface, and covers it no longer.
    pub fn leave(&mut self, interface_id: &str, emit: Emit<'_>) {
        self.complete(interface_id, u64::MAX, emit);
        self.covered.remove(interface_id);
    }

    /// Gives out everything: nothing more will come, or it is asked for now.
    pub fn finish(&mut self, emit: Emit<'_>) {
        let mut ids: Vec<_> = self.covered.keys().cloned().collect();
        ids.sort_unstable();
        ids.iter().for_each(|id| self.complete(id, u64::MAX, emit));
    }

    /// Gives out the records so far and keeps the intervals open.
    fn give_out(&mut self, emit: Emit<'_>) {
        for covered in self.covered.values_mut() {
            let Covered { windows, blank, tags, .. } = covered;
            for window in windows.values_mut() {
                let emit = |record| emit(LogRecord { record, tags: Arc::clone(tags) });
                self.open -= window.take(blank, emit);
            }
        }
    }
}

impl Covered {
    /// Whether the log covered the interface when a flow's packets came. In the interval in which it
    /// began, a flow may have begun before.
    fn began_before(&self, record: &Record, flow: &Flow) -> bool {
        let whole = flow.interval_start().is_some_and(|start| start >= self.since);
        whole || record.start >= self.since
    }

    fn stay_idle(&mut self, record: &Record, length: u64) {
        for number in record.start / length..=record.end / length {
            let (start, end) = (number * length, (number + 1) * length);
            self.windows.entry(number).or_default().idle += end.min(record.end + 1) - start.max(record.start);
        }
    }

    /// Gives out an interval; returns how many records it had.
    fn end(&self, number: u64, window: &mut Window, length: u64, emit: Emit<'_>) -> usize {
        let mut emit = |record| emit(LogRecord { record, tags: Arc::clone(&self.tags) });
        let (start, end) = (number * length, (number + 1) * length);
        // An interval that began before the log did is idle if the rest of it is.
        let start = start.max(self.since.min(end));
        if !window.busy && window.idle > 0 && window.idle >= end - start {
            emit(Record { start, end: end - 1, ..self.blank.clone() });
        }
        window.take(&self.blank, emit)
    }
}

/// Whether a log of a traffic type has a record of this. A loss may have been of any.
fn wants(traffic: TrafficType, content: &Content) -> bool {
    match (traffic, content) {
        (TrafficType::Accept, Content::Flow(flow)) => flow.action() == Action::Accept,
        (TrafficType::Reject, Content::Flow(flow)) => flow.action() == Action::Reject,
        _ => true,
    }
}

/// All flow logs of the attached interfaces.
#[derive(Debug, Default)]
pub struct Subscriptions {
    logs: Vec<Subscription>,
}

impl Subscriptions {
    /// Learns which flow logs cover which interfaces now. Those that cover an interface no longer
    /// give out what they have of it; those that are new begin.
    pub fn learn<'i>(
        &mut self,
        attached: impl Iterator<Item = (&'i Interface, &'i [ActiveLog])> + Clone,
        emit: &mut dyn FnMut(&Arc<FlowLog>, LogRecord),
    ) {
        for subscription in &mut self.logs {
            let log = Arc::clone(&subscription.log);
            let stays = |id: &str| {
                attached
                    .clone()
                    .any(|(interface, logs)| interface.id == id && logs.iter().any(|one| one.log == *log))
            };
            let gone: Vec<_> = subscription.covered().filter(|id| !stays(id)).map(str::to_owned).collect();
            gone.iter().for_each(|id| subscription.leave(id, &mut |record| emit(&log, record)));
        }
        self.logs.retain(|subscription| !subscription.covered.is_empty());
        for (interface, logs) in attached {
            for ActiveLog { since, log } in logs {
                let known = self.logs.iter().position(|subscription| *subscription.log == *log);
                let known = known.unwrap_or_else(|| {
                    self.logs.push(Subscription::new(log.clone()));
                    self.logs.len() - 1
                });
                self.logs[known].cover(interface, *since);
            }
        }
    }

    /// The flow logs.
    pub fn logs(&self) -> impl Iterator<Item = &Arc<FlowLog>> {
        self.logs.iter().map(Subscription::log)
    }

    /// [`Subscription::accept`] for all.
    pub fn accept(&mut self, record: &Record, emit: &mut dyn FnMut(&Arc<FlowLog>, LogRecord)) {
        self.each(emit, |subscription, emit| subscription.accept(record, emit));
    }

    /// [`Subscription::stream`] for all.
    pub fn stream(&mut self, record: &Record, emit: &mut dyn FnMut(&Arc<FlowLog>, LogRecord)) {
        self.each(emit, |subscription, emit| subscription.stream(record, emit));
    }

    /// [`Subscription::complete`] for all.
    pub fn complete(
        &mut self,
        interface_id: &str,
        until: u64,
        emit: &mut dyn FnMut(&Arc<FlowLog>, LogRecord),
    ) {
        self.each(emit, |subscription, emit| subscription.complete(interface_id, until, emit));
    }

    /// [`Subscription::finish`] for all.
    pub fn finish(&mut self, emit: &mut dyn FnMut(&Arc<FlowLog>, LogRecord)) {
        self.each(emit, |subscription, emit| subscription.finish(emit));
    }

    fn each(
        &mut self,
        emit: &mut dyn FnMut(&Arc<FlowLog>, LogRecord),
        mut call: impl FnMut(&mut Subscription, Emit<'_>),
    ) {
        for subscription in &mut self.logs {
            let log = Arc::clone(&subscription.log);
            call(subscription, &mut |record| emit(&log, record));
        }
    }
}

#[cfg(test)]
mod tests;
