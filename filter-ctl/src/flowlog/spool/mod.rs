//! Where drained records are kept: a bounded folder of segments.
//!
//! A segment is a file of JSON lines, `000000000001.jsonl` and on; its first line says which format
//! it is in. Records are only ever appended to the last segment. When the bound is reached, the
//! oldest segment is dropped whole, and what it held is counted in `dropped.json`.
//!
//! What a crash can leave behind, and what becomes of it:
//!
//! - *a torn last line*: cut off when the spool is opened next. Its record was not yet released
//!   from the ring (a record is released only when its line is written), so it comes again.
//! - *a segment that was counted as dropped but is still there*: `dropped.json` says up to which
//!   segment it counts, so the segment is removed and not counted twice.
//!
//! The writer holds the ring's [`super::lock::Lock`]. Readers get the segments' open files while
//! it is held and need no lock to read them: what was there stays readable, even if it is dropped
//! meanwhile.

mod read;
mod write;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use read::Reader;
pub use write::Spool;

use super::{Error, Result};

/// The first line of every segment.
const HEADER: &str = "{\"filter_spool\":1}\n";

/// How much the spool may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Bytes of one segment: what is dropped at a time.
    pub segment: u64,
}

impl Limits {
    /// A bound of so many bytes, in sixteen segments of at least a page.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        let segment = (bytes / 16).max(4096);
        Self { bytes: bytes.max(2 * segment), segment }
    }
}

impl Default for Limits {
    /// 64 MiB in segments of 4 MiB.
    fn default() -> Self {
        Self::of(64 << 20)
    }
}

/// What was dropped for want of room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// The last segment that these numbers count.
    pub through: u64,
    /// Records.
    pub records: u64,
    /// Packets that they counted.
    pub packets: u64,
}

/// A place in the spool: so many bytes into a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The segment's number.
    pub segment: u64,
    /// Bytes of it, at the end of a line.
    pub bytes: u64,
}

/// How full the spool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all segments.
    pub bytes: u64,
    /// What was dropped.
    pub dropped: Dropped,
}

/// How full the spool in a folder is; needs no lock.
pub fn usage(folder: &Path) -> Result<Usage> {
    let bytes = segments(folder)?.iter().map(|segment| segment.bytes).sum();
    Ok(Usage { bytes, dropped: read_dropped(folder)? })
}

/// What is in a folder's spool after a place, and what was dropped; for who has not the lock, while another
/// process writes.
///
/// # Errors
///
/// If the folder or its files cannot be read.
pub fn kept(folder: &Path, from: Position) -> Result<(Reader, Dropped)> {
    Ok((Reader::open(&segments(folder)?, from)?, read_dropped(folder)?))
}

/// One file of the spool.
#[derive(Clone, Debug)]
struct Segment {
    number: u64,
    path: PathBuf,
    bytes: u64,
}

/// Where segment `number` is.
fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.jsonl"))
}

/// The segments in a folder, oldest first; none if there is no such folder. Other files are left
/// alone.
fn segments(folder: &Path) -> Result<Vec<Segment>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::file("list", folder)(source)),
    };
    let mut segments = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::file("list", folder))?.path();
        let is_segment = path.extension().is_some_and(|extension| extension == "jsonl");
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (true, Some(number)) = (is_segment, number) {
            let bytes = match fs::metadata(&path) {
                Ok(metadata) => metadata.len(),
                // Dropped between the listing and now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::file("inspect", &path)(source)),
            };
            segments.push(Segment { number, path, bytes });
        }
    }
    segments.sort_by_key(|segment| segment.number);
    Ok(segments)
}

/// Where the dropped records are counted.
fn dropped_path(folder: &Path) -> PathBuf {
    folder.join("dropped.json")
}

/// What was dropped so far. A file that says nothing sensible counts as none: a lost statistic
/// must not keep records from being read.
fn read_dropped(folder: &Path) -> Result<Dropped> {
    let path = dropped_path(folder);
    match fs::read(&path) {
        Ok(contents) => Ok(serde_json::from_slice(&contents).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Dropped::default()),
        Err(source) => Err(Error::file("read", &path)(source)),
    }
}

#[cfg(test)]
mod tests;
