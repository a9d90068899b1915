//! One aggregation interval of a flow log on one interface: records of the kernel's shorter
//! intervals, added up.

use std::{collections::HashMap, net::IpAddr};

use filter_common::{Direction, verdict::Reason};

use super::{
    fields::Field,
    logformat::LogFormat,
    record::{Action, Content, Flow, Loss, Record},
};
use crate::naming::Decisions;

/// Which of our own fields a format shows. AWS's record is one flow with one action; only a format
/// that shows why, or by which rule, has a record for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    reason: bool,
    generation: bool,
    acl: bool,
    groups: bool,
}

impl Shown {
    pub(super) fn of(format: &LogFormat) -> Self {
        let any = |fields: &[Field]| fields.iter().any(|field| format.fields().contains(field));
        Self {
            reason: any(&[Field::FilterReason]),
            generation: any(&[Field::FilterGeneration]),
            acl: any(&[Field::FilterNaclId, Field::FilterNaclRule]),
            groups: any(&[Field::FilterSgGroup, Field::FilterSgRule]),
        }
    }
}

/// What records have in common that become one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Flow {
        direction: Option<Direction>,
        action: Action,
        local: IpAddr,
        remote: IpAddr,
        ports: (u16, u16),
        protocol: u8,
        reason: Option<Reason>,
        generation: Option<u32>,
        rules: Decisions,
    },
    Lost(Option<Direction>),
}

impl Key {
    fn of(direction: Option<Direction>, content: &Content, shown: Shown) -> Option<Self> {
        match content {
            Content::Flow(flow) => {
                let mut rules = Decisions::default();
                if shown.acl {
                    rules.acl = flow.rules.acl.clone();
                }
                if shown.groups {
                    rules.groups = flow.rules.groups.clone();
                }
                Some(Self::Flow {
                    direction,
                    action: flow.action(),
                    local: flow.local,
                    remote: flow.remote,
                    ports: (flow.local_port, flow.remote_port),
                    protocol: flow.protocol,
                    reason: shown.reason.then_some(flow.reason),
                    generation: shown.generation.then_some(flow.generation),
                    rules,
                })
            }
            Content::Lost(_) => Some(Self::Lost(direction)),
            Content::Idle => None,
        }
    }
}

/// Records that have become one so far, without the interface's names.
#[derive(Clone, Debug)]
pub(super) struct Merged {
    direction: Option<Direction>,
    start: u64,
    end: u64,
    content: Content,
}

impl Merged {
    fn add(&mut self, record: &Record) {
        self.start = self.start.min(record.start);
        self.end = self.end.max(record.end);
        match (&mut self.content, &record.content) {
            (Content::Flow(sum), Content::Flow(flow)) => add_flow(sum, flow),
            (Content::Lost(sum), Content::Lost(loss)) => add_loss(sum, loss),
            // Keys of flows and of losses differ.
            _ => {}
        }
    }

    /// The record that it is, of the interface that `blank` names.
    fn into_record(self, blank: &Record) -> Record {
        let Self { direction, start, end, content } = self;
        Record { direction, start, end, content, ..blank.clone() }
    }
}

fn add_flow(sum: &mut Flow, flow: &Flow) {
    sum.packets += flow.packets;
    sum.bytes += flow.bytes;
    sum.tcp_flags |= flow.tcp_flags;
}

fn add_loss(sum: &mut Loss, loss: &Loss) {
    sum.packets += loss.packets;
    sum.bytes += loss.bytes;
    sum.records += loss.records;
}

/// An interval of a flow log that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Window {
    index: HashMap<Key, usize>,
    /// In the order in which they came.
    merged: Vec<Merged>,
    /// Whether anything came, of the log's traffic type or not.
    pub(super) busy: bool,
    /// For how many seconds it is known that nothing did.
    pub(super) idle: u64,
}

impl Window {
    /// Adds a flow or a loss; says whether it is a record of its own so far.
    pub(super) fn add(&mut self, record: &Record, shown: Shown) -> bool {
        let Some(key) = Key::of(record.direction, &record.content, shown) else { return false };
        if let Some(position) = self.index.get(&key) {
            self.merged[*position].add(record);
            return false;
        }
        self.index.insert(key, self.merged.len());
        let Record { direction, start, end, content, .. } = record.clone();
        self.merged.push(Merged { direction, start, end, content });
        true
    }

    /// Takes its records out, in the order in which they came.
    pub(super) fn take(&mut self, blank: &Record, mut each: impl FnMut(Record)) -> usize {
        self.index.clear();
        let merged = std::mem::take(&mut self.merged);
        let count = merged.len();
        merged.into_iter().for_each(|one| each(one.into_record(blank)));
        count
    }
}
