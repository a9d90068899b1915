//! What a destination could not be given, counted so that it becomes `SKIPDATA` records.
//!
//! Records that find no room are counted by interface and interval. As soon as there is room again,
//! each such count becomes one `SKIPDATA` record, which goes the way of all records; if that one
//! finds no room either, what it stands for is counted again. So packets in records and packets in
//! losses always add up.

use std::collections::BTreeMap;

use super::batch::Measure;
use crate::flowlog::fields::{Field, Row, Value};

/// Counts that are kept at most: beyond them, the counts of one interface, then those of all, are
/// put together. They take some hundred bytes each.
const LIMIT: usize = 4096;

/// The fields that are the same in all records of an interface.
const OF_INTERFACE: &[Field] = &[
    Field::AccountId,
    Field::InterfaceId,
    Field::VpcId,
    Field::SubnetId,
    Field::InstanceId,
    Field::Region,
    Field::AzId,
    Field::SublocationType,
    Field::SublocationId,
    Field::InstanceTag,
    Field::InstanceTag2,
    Field::InterfaceTag,
    Field::InterfaceTag2,
    Field::AsgTag,
    Field::AsgTag2,
    Field::InterfaceType,
];

/// Losses of one flow log that no record tells yet.
#[derive(Debug)]
pub struct Losses {
    interval: u32,
    limit: usize,
    counts: BTreeMap<(Box<str>, u64), Skipped>,
}

/// A `SKIPDATA` record: what was lost of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    interface: Vec<(Field, Box<str>)>,
    /// What it stands for.
    pub measure: Measure,
}

impl Losses {
    /// Nothing lost yet, of a flow log with this aggregation interval in seconds.
    #[must_use]
    pub const fn new(interval: u32) -> Self {
        Self { interval, limit: LIMIT, counts: BTreeMap::new() }
    }

    /// Counts a record as lost.
    pub fn count(&mut self, row: &dyn Row) {
        self.count_as(row, Measure::of(row));
    }

    /// Counts a loss of an interface, as any of its records tells it.
    pub fn count_as(&mut self, row: &dyn Row, measure: Measure) {
        let interval = measure.end - measure.end % u64::from(self.interval.max(1));
        let id = match row.value(Field::InterfaceId) {
            Value::Text(id) => id,
            _ => "".into(),
        };
        let key = (Box::from(&*id), interval);
        if let Some(skipped) = self.counts.get_mut(&key) {
            skipped.measure += measure;
            return;
        }
        if self.counts.len() < self.limit {
            self.counts.insert(key, Skipped { interface: of_interface(row), measure });
            return;
        }
        // No more counts: the interface's newest one, else one that names no interface.
        let newest = self.counts.range_mut((key.0.clone(), 0)..=(key.0, u64::MAX)).next_back();
        match newest {
            Some((_, skipped)) => skipped.measure += measure,
            None => {
                let nobody = Skipped { interface: Vec::new(), measure };
                let all = self.counts.entry(("".into(), 0));
                all.and_modify(|skipped| skipped.measure += measure).or_insert(nobody);
            }
        }
    }

    /// Whether nothing is to be told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Takes the next record out, by interface and time.
    pub fn pop(&mut self) -> Option<Skipped> {
        self.counts.pop_first().map(|(_, skipped)| skipped)
    }
}

fn of_interface(row: &dyn Row) -> Vec<(Field, Box<str>)> {
    let text = |field: Field| match row.value(field) {
        Value::Text(text) => Some((field, text.into())),
        _ => None,
    };
    OF_INTERFACE.iter().copied().filter_map(text).collect()
}

impl Row for Skipped {
    fn value(&self, field: Field) -> Value<'_> {
        match field {
            Field::Start => self.measure.start.into(),
            Field::End => self.measure.end.into(),
            Field::LogStatus => "SKIPDATA".into(),
            Field::FilterLostPackets => self.measure.packets.into(),
            Field::FilterLostBytes => self.measure.bytes.into(),
            Field::FilterLostRecords => self.measure.records.into(),
            _ => self.interface.iter().find(|(own, _)| *own == field).map(|(_, text)| &**text).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowlog::{
        Record,
        fake::{TestResult, lost_record, resolved},
        logformat::LogFormat,
        record::Content,
    };

    fn of(interface: &str, start: u64, end: u64) -> Record {
        Record { interface_id: Some(interface.to_owned()), start, end, ..resolved() }
    }

    fn line(row: &dyn Row, format: &LogFormat) -> TestResult<String> {
        let mut line = Vec::new();
        format.write(row, &mut line)?;
        Ok(String::from_utf8(line)?)
    }

    #[test]
    fn what_is_lost_becomes_one_skipdata_record_for_each_interface_and_interval() -> TestResult {
        let mut losses = Losses::new(60);
        for (interface, end) in [("eni-b", 59), ("eni-a", 130), ("eni-a", 60), ("eni-a", 119)] {
            losses.count(&of(interface, end - 50, end));
        }
        let told: Vec<_> = std::iter::from_fn(|| losses.pop()).collect();
        let lines =
            told.iter().map(|told| line(told, &LogFormat::default())).collect::<Result<Vec<_>, _>>()?;
        let expected = [
            "2 111122223333 eni-a - - - - - - - 10 119 - SKIPDATA\n",
            "2 111122223333 eni-a - - - - - - - 80 130 - SKIPDATA\n",
            "2 111122223333 eni-b - - - - - - - 9 59 - SKIPDATA\n",
        ];
        assert_eq!(lines, expected);
        assert_eq!(told[0].measure, Measure { start: 10, end: 119, records: 2, packets: 24, bytes: 4820 });
        assert!(losses.is_empty());
        Ok(())
    }

    #[test]
    fn a_record_of_losses_that_is_lost_is_counted_again() -> TestResult {
        let mut losses = Losses::new(60);
        losses.count(&lost_record());
        let once = losses.pop().ok_or("none")?;
        losses.count(&once);
        losses.count(&Record { content: Content::Idle, ..resolved() });
        let twice = losses.pop().ok_or("none")?;
        assert_eq!(once.measure.packets, 40);
        assert_eq!((twice.measure.packets, twice.measure.bytes, twice.measure.records), (40, 4000, 4));
        let format = "${vpc-id} ${log-status} ${filter-lost-packets} ${filter-lost-records}".parse()?;
        assert_eq!(line(&twice, &format)?, "vpc-0b2 SKIPDATA 40 4\n");
        Ok(())
    }

    #[test]
    fn counts_are_bounded_and_add_up_all_the_same() -> TestResult {
        let mut losses = Losses { limit: 3, ..Losses::new(60) };
        for minute in 0..5 {
            losses.count(&of("eni-a", 60 * minute, 60 * minute + 1));
        }
        losses.count(&of("eni-b", 7, 8));
        losses.count(&of("eni-c", 9, 10));
        let told: Vec<_> = std::iter::from_fn(|| losses.pop()).collect();
        let measures: Vec<_> = told.iter().map(|told| told.measure).collect();
        assert_eq!(measures.len(), 4);
        assert_eq!(measures.iter().map(|measure| measure.packets).sum::<u64>(), 7 * 12);
        assert_eq!((measures[0].start, measures[0].end, measures[0].records), (7, 10, 2), "of any interface");
        assert_eq!((measures[3].start, measures[3].end, measures[3].records), (120, 241, 3));
        assert_eq!(line(&told[0], &LogFormat::default())?, "2 - - - - - - - - - 7 10 - SKIPDATA\n");
        Ok(())
    }
}
