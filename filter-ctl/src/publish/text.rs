//! Files of lines, compressed by gzip: a header with the fields' names, then a record a line.

use std::io::{self, Write};

use flate2::{Compression, write::GzEncoder};

use super::batch::BatchRow;
use crate::flowlog::{fields::Value, logformat::LogFormat};

/// On flow records, level 1 makes files a third larger and is no faster; level 6 makes them a tenth smaller,
/// for a fifth fewer records a second.
const LEVEL: u32 = 2;

/// Encodes a file into memory, from where it is taken piece by piece.
#[derive(Debug)]
pub(super) struct TextEncoder {
    gzip: GzEncoder<Vec<u8>>,
    line: Vec<u8>,
}

impl TextEncoder {
    /// Begins a file.
    pub(super) fn new(format: &LogFormat) -> io::Result<Self> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::new(LEVEL));
        format.write_header(&mut gzip)?;
        Ok(Self { gzip, line: Vec::new() })
    }

    /// Appends a record.
    pub(super) fn push(&mut self, row: &BatchRow<'_>) -> io::Result<()> {
        self.line.clear();
        write_line(row, &mut self.line)?;
        self.gzip.write_all(&self.line)
    }

    /// Moves what is encoded so far to the end of `into`.
    pub(super) fn take(&mut self, into: &mut Vec<u8>) {
        into.append(self.gzip.get_mut());
    }

    /// Ends the file; moves the rest of it likewise.
    pub(super) fn finish(self, into: &mut Vec<u8>) -> io::Result<()> {
        into.append(&mut self.gzip.finish()?);
        Ok(())
    }
}

/// Writes a record as words, `-` where there is no value, and the end of the line.
pub(super) fn write_line(row: &BatchRow<'_>, to: &mut Vec<u8>) -> io::Result<()> {
    for (position, value) in row.values().enumerate() {
        if position > 0 {
            to.push(b' ');
        }
        match value {
            // The usual ones, without the machinery of formats.
            Value::Text(text) => to.extend_from_slice(text.as_bytes()),
            Value::None => to.push(b'-'),
            other => write!(to, "{other}")?,
        }
    }
    to.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{io::Read, sync::Arc};

    use flate2::read::GzDecoder;

    use super::*;
    use crate::{
        flowlog::fake::{TestResult, lost_record, resolved},
        publish::Batch,
    };

    #[test]
    fn a_file_has_a_header_and_a_line_for_each_record() -> TestResult {
        let format: Arc<LogFormat> = Arc::new("${action} ${srcaddr} ${packets} ${log-status}".parse()?);
        let mut batch = Batch::new(Arc::clone(&format), 0);
        assert!(batch.push(&resolved(), 1) && batch.push(&lost_record(), 2));

        let (mut encoder, mut file) = (TextEncoder::new(&format)?, Vec::new());
        for row in batch.rows() {
            encoder.push(&row)?;
            encoder.take(&mut file);
        }
        encoder.finish(&mut file)?;

        let mut text = String::new();
        GzDecoder::new(&*file).read_to_string(&mut text)?;
        let expected = "action srcaddr packets log-status\nACCEPT 198.51.100.7 12 OK\n- - - SKIPDATA\n";
        assert_eq!(text, expected);
        Ok(())
    }

    #[test]
    fn a_line_is_the_formats() -> TestResult {
        let format = Arc::new(LogFormat::default());
        for record in [resolved(), lost_record()] {
            let mut batch = Batch::new(Arc::clone(&format), 0);
            assert!(batch.push(&record, 1));
            let [mut ours, mut formats] = [Vec::new(), Vec::new()];
            write_line(&batch.row(0), &mut ours)?;
            format.write(&record, &mut formats)?;
            assert_eq!(ours, formats);
        }
        Ok(())
    }
}
