//! Files in Apache Parquet, with the columns of AWS's: names with `_` for `-`, types `INT_32`,
//! `INT_64` and `STRING`, pages compressed by gzip. Where a record has no value, a column has null.
//!
//! Records are gathered by column until they make a row group; so a file takes the memory of one
//! row group, however large it becomes.
//!
//! Sources: VPC guide, `flow-log-records` (types) and `flow-logs-s3-path` (compression).

use std::{mem, sync::Arc};

use bytes::Bytes;
use parquet::{
    basic::{Compression, GzipLevel, LogicalType, Repetition, Type as Physical},
    data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type},
    errors::Result,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::Type,
};

use super::batch::BatchRow;
use crate::flowlog::{
    fields::{Field, Kind, Value},
    logformat::LogFormat,
};

/// Bytes of records, before they are encoded, that make a row group.
const ROW_GROUP_BYTES: usize = 8 << 20;

/// Encodes a file into memory, from where it is taken piece by piece.
pub(super) struct ParquetEncoder {
    writer: SerializedFileWriter<Vec<u8>>,
    columns: Vec<Column>,
    bytes: usize,
    limit: usize,
}

/// The values of a field in the records of a row group.
struct Column {
    values: Values,
    /// Of each record: 1 if it has a value, else 0.
    present: Vec<i16>,
}

enum Values {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    /// All texts, and where each ends.
    Text(Vec<u8>, Vec<usize>),
}

impl ParquetEncoder {
    /// Begins a file.
    pub(super) fn new(format: &LogFormat) -> Result<Self> {
        let columns = format.fields().iter().map(|&field| Ok(Arc::new(column_type(field)?)));
        let schema =
            Type::group_type_builder("flow_log").with_fields(columns.collect::<Result<_>>()?).build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::GZIP(GzipLevel::try_new(1)?))
            .set_created_by(concat!("filter ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        Ok(Self {
            writer: SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?,
            columns: format.fields().iter().map(|field| Column::new(field.kind())).collect(),
            bytes: 0,
            limit: ROW_GROUP_BYTES,
        })
    }

    /// Appends a record.
    pub(super) fn push(&mut self, row: &BatchRow<'_>) -> Result<()> {
        for (column, value) in self.columns.iter_mut().zip(row.values()) {
            self.bytes += column.push(value);
        }
        if self.bytes >= self.limit { self.end_row_group() } else { Ok(()) }
    }

    /// Moves what is encoded so far to the end of `into`.
    pub(super) fn take(&mut self, into: &mut Vec<u8>) -> Result<()> {
        self.writer.flush()?;
        into.append(self.writer.inner_mut());
        Ok(())
    }

    /// Ends the file; moves the rest of it likewise.
    pub(super) fn finish(mut self, into: &mut Vec<u8>) -> Result<()> {
        self.end_row_group()?;
        into.append(&mut self.writer.into_inner()?);
        Ok(())
    }

    fn end_row_group(&mut self) -> Result<()> {
        if mem::take(&mut self.bytes) == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            let present = mem::take(&mut column.present);
            let Some(mut writer) = group.next_column()? else { break };
            match &mut column.values {
                Values::Int32(values) => {
                    writer.typed::<Int32Type>().write_batch(&mem::take(values), Some(&present), None)?;
                }
                Values::Int64(values) => {
                    writer.typed::<Int64Type>().write_batch(&mem::take(values), Some(&present), None)?;
                }
                Values::Text(text, ends) => {
                    let texts = cut(mem::take(text), &mem::take(ends));
                    writer.typed::<ByteArrayType>().write_batch(&texts, Some(&present), None)?;
                }
            }
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }
}

impl Column {
    fn new(kind: Kind) -> Self {
        let values = match kind {
            Kind::Int32 => Values::Int32(Vec::new()),
            Kind::Int64 => Values::Int64(Vec::new()),
            Kind::Text => Values::Text(Vec::new(), Vec::new()),
        };
        Self { values, present: Vec::new() }
    }

    /// Appends a value and tells the bytes that it takes. One that is not of the column's type
    /// counts as none.
    fn push(&mut self, value: Value<'_>) -> usize {
        let bytes = match (&mut self.values, value) {
            (Values::Int32(values), Value::Int(number)) => i32::try_from(number).ok().map(|number| {
                values.push(number);
                size_of::<i32>()
            }),
            (Values::Int64(values), Value::Int(number)) => {
                values.push(number);
                Some(size_of::<i64>())
            }
            (Values::Text(text, ends), value @ (Value::Text(_) | Value::Address(_))) => {
                let before = text.len();
                append(&value, text);
                ends.push(text.len());
                Some(text.len() - before + size_of::<usize>())
            }
            _ => None,
        };
        self.present.push(bytes.is_some().into());
        bytes.unwrap_or_default() + size_of::<i16>()
    }
}

/// Appends a value as text.
fn append(value: &Value<'_>, text: &mut Vec<u8>) {
    use std::io::Write;
    // A vector takes everything.
    let _ = write!(text, "{value}");
}

/// Cuts text that lies end to end, without copying it.
fn cut(text: Vec<u8>, ends: &[usize]) -> Vec<ByteArray> {
    let text = Bytes::from(text);
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(ends).map(|(start, &end)| text.slice(start..end).into()).collect()
}

fn column_type(field: Field) -> Result<Type> {
    let integer = |bit_width| Some(LogicalType::integer(bit_width, true));
    let (physical, logical) = match field.kind() {
        Kind::Int32 => (Int32Type::get_physical_type(), integer(32)),
        Kind::Int64 => (Int64Type::get_physical_type(), integer(64)),
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    Type::primitive_type_builder(field.column(), physical)
        .with_logical_type(logical)
        .with_repetition(Repetition::OPTIONAL)
        .build()
}

#[cfg(test)]
mod tests {
    use parquet::{
        basic::ConvertedType,
        file::reader::{FileReader, SerializedFileReader},
        record::RowAccessor,
    };

    use super::*;
    use crate::{
        flowlog::fake::{TestResult, lost_record, resolved},
        publish::Batch,
    };

    fn encoded(format: &LogFormat, batch: &Batch, limit: usize) -> TestResult<SerializedFileReader<Bytes>> {
        let mut file = Vec::new();
        let mut encoder = ParquetEncoder { limit, ..ParquetEncoder::new(format)? };
        for row in batch.rows() {
            encoder.push(&row)?;
            encoder.take(&mut file)?;
        }
        encoder.finish(&mut file)?;
        Ok(SerializedFileReader::new(Bytes::from(file))?)
    }

    #[test]
    fn columns_have_awss_names_types_and_compression() -> TestResult {
        let format = LogFormat::new(Field::ALL.to_vec())?;
        let mut batch = Batch::new(Arc::new(format.clone()), 0);
        assert!(batch.push(&resolved(), 1));
        let file = encoded(&format, &batch, ROW_GROUP_BYTES)?;
        let group = file.metadata().row_group(0);
        assert_eq!(group.num_columns(), Field::ALL.len());
        for (column, field) in group.columns().iter().zip(Field::ALL) {
            let expected = match field.kind() {
                Kind::Int32 => (Physical::INT32, ConvertedType::INT_32),
                Kind::Int64 => (Physical::INT64, ConvertedType::INT_64),
                Kind::Text => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
            };
            let description = column.column_descr();
            assert_eq!((description.physical_type(), description.converted_type()), expected, "{field:?}");
            assert_eq!(description.name(), field.name().replace('-', "_"));
            assert!(matches!(column.compression(), Compression::GZIP(_)));
        }
        Ok(())
    }

    #[test]
    fn values_come_back_and_what_has_none_is_null() -> TestResult {
        let format: LogFormat = "${srcaddr} ${dstport} ${bytes} ${log-status}".parse()?;
        let mut batch = Batch::new(Arc::new(format.clone()), 0);
        assert!(batch.push(&resolved(), 1) && batch.push(&lost_record(), 2));
        let file = encoded(&format, &batch, ROW_GROUP_BYTES)?;
        let rows = file.get_row_iter(None)?.collect::<Result<Vec<_>>>()?;
        assert_eq!((rows[0].get_string(0)?.as_str(), rows[0].get_int(1)?), ("198.51.100.7", 22));
        assert_eq!((rows[0].get_long(2)?, rows[0].get_string(3)?.as_str()), (2410, "OK"));
        assert_eq!(
            rows[1].to_string(),
            r#"{srcaddr: null, dstport: null, bytes: null, log_status: "SKIPDATA"}"#
        );
        Ok(())
    }

    #[test]
    fn row_groups_are_bounded() -> TestResult {
        let format: LogFormat = "${bytes}".parse()?;
        let mut batch = Batch::new(Arc::new(format.clone()), 0);
        assert!((0..25).all(|place| batch.push(&resolved(), place)));
        // Ten bytes a record: the number, and whether it is there.
        let file = encoded(&format, &batch, 100)?;
        let rows: Vec<_> = file.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
        assert_eq!(rows, [10, 10, 5]);
        Ok(())
    }

    #[test]
    fn a_number_too_large_for_its_column_is_null() {
        let mut column = Column::new(Kind::Int32);
        column.push(Value::Int(i64::from(i32::MAX)));
        column.push(Value::Int(i64::from(i32::MAX) + 1));
        assert_eq!(column.present, [1, 0]);
    }
}
