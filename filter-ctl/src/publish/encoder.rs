//! A file's contents, in either format, made in memory and taken piece by piece.
//!
//! Encoders never touch the disk: what they made is written by whoever owns them, who can try that
//! again when the disk is full.

use std::io;

use super::{batch::BatchRow, parquet::ParquetEncoder, text::TextEncoder};
use crate::{flowlog::logformat::LogFormat, policy::FileFormat};

/// Encodes one file.
pub(super) enum Encoder {
    Text(Box<TextEncoder>),
    Parquet(Box<ParquetEncoder>),
}

impl Encoder {
    /// Begins a file.
    pub(super) fn new(file: FileFormat, format: &LogFormat) -> io::Result<Self> {
        Ok(match file {
            FileFormat::PlainText => Self::Text(Box::new(TextEncoder::new(format)?)),
            FileFormat::Parquet => Self::Parquet(Box::new(ParquetEncoder::new(format)?)),
        })
    }

    /// Appends a record.
    pub(super) fn push(&mut self, row: &BatchRow<'_>) -> io::Result<()> {
        match self {
            Self::Text(text) => text.push(row),
            Self::Parquet(parquet) => Ok(parquet.push(row)?),
        }
    }

    /// Moves what is encoded so far to the end of `into`.
    pub(super) fn take(&mut self, into: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Text(text) => {
                text.take(into);
                Ok(())
            }
            Self::Parquet(parquet) => Ok(parquet.take(into)?),
        }
    }

    /// Ends the file; moves the rest of it likewise.
    pub(super) fn finish(self, into: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Text(text) => text.finish(into),
            Self::Parquet(parquet) => Ok(parquet.finish(into)?),
        }
    }
}
