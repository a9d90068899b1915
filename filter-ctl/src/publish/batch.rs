//! Records on their way to a destination, packed so that their memory is known to the byte.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::{AddAssign, Range},
    sync::Arc,
};

use crate::flowlog::{
    fields::{Field, Row, Value},
    logformat::LogFormat,
};

/// Records of one flow log, in the fields of its format.
///
/// A record takes 16 bytes for each field, 56 for its [`Measure`], and its text.
#[derive(Clone, Debug)]
pub struct Batch {
    format: Arc<LogFormat>,
    cells: Vec<Cell>,
    heads: Vec<Head>,
    text: String,
    long: Vec<Ipv6Addr>,
    /// Where the source of records stood before the first record.
    after: u64,
    /// Where it stood after the last one.
    position: u64,
}

/// The value of a field.
#[derive(Clone, Copy, Debug)]
enum Cell {
    None,
    Int(i64),
    V4(Ipv4Addr),
    /// An index of [`Batch::long`].
    V6(u32),
    Text(Span),
}

/// What is known of every record, whatever the format.
#[derive(Clone, Copy, Debug)]
struct Head {
    interface: Span,
    measure: Measure,
    skipped: bool,
}

/// A range of [`Batch::text`].
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

/// How much a record, or what was lost of several, stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// The first packet's time, in Unix seconds.
    pub start: u64,
    /// The last packet's time, likewise.
    pub end: u64,
    /// Records; of a `SKIPDATA` record, those that it stands for.
    pub records: u64,
    /// Packets; of a `SKIPDATA` record, those that are lost.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Measure {
    /// The measure of a record.
    #[must_use]
    pub fn of(row: &dyn Row) -> Self {
        let number = |field| match row.value(field) {
            Value::Int(number) => u64::try_from(number).ok(),
            _ => None,
        };
        let either = |field, lost| number(field).or_else(|| number(lost)).unwrap_or_default();
        Self {
            start: number(Field::Start).unwrap_or_default(),
            end: number(Field::End).unwrap_or_default(),
            records: number(Field::FilterLostRecords).unwrap_or(1),
            packets: either(Field::Packets, Field::FilterLostPackets),
            bytes: either(Field::Bytes, Field::FilterLostBytes),
        }
    }
}

impl AddAssign for Measure {
    fn add_assign(&mut self, other: Self) {
        self.start = self.start.min(other.start);
        self.end = self.end.max(other.end);
        self.records = self.records.saturating_add(other.records);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl Batch {
    /// Bytes of text of one batch: an index of more does not fit. A caller ends a batch long before.
    const MAX_TEXT: usize = u32::MAX as usize;

    /// An empty batch of records that come after a place of their source.
    #[must_use]
    pub const fn new(format: Arc<LogFormat>, after: u64) -> Self {
        Self {
            format,
            cells: Vec::new(),
            heads: Vec::new(),
            text: String::new(),
            long: Vec::new(),
            after,
            position: after,
        }
    }

    /// Appends a record; the source stands at `position` after it. Returns false, and takes
    /// nothing, if the batch has no room for its text.
    pub fn push(&mut self, row: &dyn Row, position: u64) -> bool {
        let marks = (self.cells.len(), self.text.len(), self.long.len());
        let Some(interface) = self.push_cells(row) else {
            self.cells.truncate(marks.0);
            self.text.truncate(marks.1);
            self.long.truncate(marks.2);
            return false;
        };
        let skipped = row.value(Field::LogStatus) == Value::Text("SKIPDATA".into());
        self.heads.push(Head { interface, measure: Measure::of(row), skipped });
        self.position = position;
        true
    }

    fn push_cells(&mut self, row: &dyn Row) -> Option<Span> {
        let format = Arc::clone(&self.format);
        for value in format.values(row) {
            let cell = match value {
                Value::None => Cell::None,
                Value::Int(number) => Cell::Int(number),
                Value::Address(IpAddr::V4(address)) => Cell::V4(address),
                Value::Address(IpAddr::V6(address)) => {
                    self.long.push(address);
                    Cell::V6(u32::try_from(self.long.len() - 1).ok()?)
                }
                Value::Text(text) => Cell::Text(self.push_text(&text)?),
            };
            self.cells.push(cell);
        }
        match row.value(Field::InterfaceId) {
            Value::Text(id) => self.push_text(&id),
            _ => self.push_text(""),
        }
    }

    fn push_text(&mut self, text: &str) -> Option<Span> {
        let start = self.text.len();
        if Self::MAX_TEXT - start < text.len() {
            return None;
        }
        self.text.push_str(text);
        Some(Span { start: start as u32, end: self.text.len() as u32 })
    }

    /// A batch with a copy of one record, for what must be known of its interface later.
    #[must_use]
    pub fn sample(&self, row: &BatchRow<'_>) -> Self {
        let mut sample = Self::new(Arc::clone(&self.format), self.after);
        // There is room: the record is in a batch already.
        let _ = sample.push(row, self.position);
        sample
    }

    /// The fields of the records.
    #[must_use]
    pub fn format(&self) -> &LogFormat {
        &self.format
    }

    /// How many records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The memory that the records take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.cells) + size_of_val(&*self.heads) + self.text.len() + size_of_val(&*self.long)
    }

    /// Where the source of records stood before the first record.
    #[must_use]
    pub const fn after(&self) -> u64 {
        self.after
    }

    /// Where it stood after the last one.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// One of the records.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    #[must_use]
    pub fn row(&self, index: usize) -> BatchRow<'_> {
        let Head { interface, measure, skipped } = self.heads[index];
        let width = self.format.fields().len();
        BatchRow {
            batch: self,
            cells: &self.cells[index * width..(index + 1) * width],
            interface: self.text_at(interface),
            measure,
            skipped,
        }
    }

    /// All of them, in the order in which they came.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = BatchRow<'_>> {
        (0..self.len()).map(|index| self.row(index))
    }

    fn text_at(&self, span: Span) -> &str {
        &self.text[Range { start: span.start as usize, end: span.end as usize }]
    }
}

/// One of a batch's records.
#[derive(Clone, Copy, Debug)]
pub struct BatchRow<'a> {
    batch: &'a Batch,
    cells: &'a [Cell],
    /// `eni-…`; empty if nobody knows the interface.
    pub interface: &'a str,
    /// What it stands for.
    pub measure: Measure,
    /// Whether it tells of losses (`SKIPDATA`).
    pub skipped: bool,
}

impl<'a> BatchRow<'a> {
    /// The values of the format's fields, in its order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = Value<'a>> + use<'a> {
        let batch = self.batch;
        self.cells.iter().map(move |&cell| value(batch, cell))
    }
}

fn value(batch: &Batch, cell: Cell) -> Value<'_> {
    match cell {
        Cell::None => Value::None,
        Cell::Int(number) => Value::Int(number),
        Cell::V4(address) => Value::Address(address.into()),
        Cell::V6(index) => Value::Address(batch.long[index as usize].into()),
        Cell::Text(span) => Value::Text(Cow::Borrowed(batch.text_at(span))),
    }
}

impl Row for BatchRow<'_> {
    fn value(&self, field: Field) -> Value<'_> {
        let place = self.batch.format.fields().iter().position(|&other| other == field);
        match place {
            Some(place) => value(self.batch, self.cells[place]),
            None if field == Field::InterfaceId && !self.interface.is_empty() => self.interface.into(),
            None => Value::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowlog::fake::{TestResult, lost_record, resolved};

    #[test]
    fn a_batch_gives_back_what_it_took() -> TestResult {
        let all = Arc::new(LogFormat::new(Field::ALL.to_vec())?);
        let long = {
            let mut record = resolved();
            if let crate::flowlog::record::Content::Flow(flow) = &mut record.content {
                flow.remote = "2001:db8::7".parse()?;
            }
            record
        };
        let records = [resolved(), lost_record(), long];
        let mut batch = Batch::new(Arc::clone(&all), 7);
        for (place, record) in records.iter().enumerate() {
            assert!(batch.push(record, 8 + place as u64));
        }
        assert_eq!((batch.len(), batch.after(), batch.position()), (3, 7, 10));
        for (row, record) in batch.rows().zip(&records) {
            assert!(row.values().eq(all.values(record)));
            assert_eq!(row.interface, "eni-0a1");
            assert_eq!(row.measure, Measure::of(record));
        }
        Ok(())
    }

    #[test]
    fn a_measure_is_there_whatever_the_format() -> TestResult {
        let mut batch = Batch::new(Arc::new("${action}".parse()?), 0);
        assert!(batch.push(&resolved(), 1) && batch.push(&lost_record(), 2));
        let [flow, lost] = [batch.row(0), batch.row(1)];
        let expected =
            Measure { start: 1_700_000_010, end: 1_700_000_061, records: 1, packets: 12, bytes: 2410 };
        assert_eq!(flow.measure, expected);
        assert_eq!(lost.measure, Measure { records: 3, packets: 40, bytes: 4000, ..expected });
        assert_eq!(flow.value(Field::InterfaceId), "eni-0a1".into());
        assert_eq!(flow.value(Field::VpcId), Value::None);
        assert!(lost.skipped && !flow.skipped);
        Ok(())
    }

    #[test]
    fn its_size_is_that_of_what_it_holds() -> TestResult {
        let mut batch = Batch::new(Arc::new("${action} ${packets}".parse()?), 0);
        assert_eq!(batch.bytes(), 0);
        assert!(batch.push(&resolved(), 1));
        // Two fields, the measure with the interface's place, and the text `ACCEPT` and `eni-0a1`.
        assert_eq!(batch.bytes(), 2 * 16 + 56 + 13);
        Ok(())
    }
}
