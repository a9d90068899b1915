//! Writing the spool.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::{
    Dropped, HEADER, Limits, Position, Reader, Segment, dropped_path,
    read::{count, whole_lines},
    read_dropped, segment_path, segments,
};
use crate::flowlog::{Error, Record, Result, replace};

/// The spool, open for appending.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    limits: Limits,
    /// Full segments, oldest first.
    closed: VecDeque<Segment>,
    last: Segment,
    file: File,
    dropped: Dropped,
    /// Lines on their way to the last segment; empty between calls.
    lines: Vec<u8>,
}

impl Spool {
    /// Opens the spool in a folder, and makes it if there is none. The caller holds the ring's lock.
    pub fn open(folder: &Path, limits: Limits) -> Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(Error::file("create", folder))?;
        let dropped = read_dropped(folder)?;
        let mut closed = VecDeque::from(segments(folder)?);
        // Counted, but a crash came before the removal.
        while let Some(segment) = closed.pop_front_if(|segment| segment.number <= dropped.through) {
            remove(&segment.path)?;
        }
        let newest = closed.pop_back();
        let next = newest.as_ref().map_or(dropped.through, |newest| newest.number) + 1;
        let (last, file) = match newest {
            Some(newest) if whole_lines(&newest.path)?.is_some() => append_to(newest)?,
            // None, or one in a format of another version: that is left as it is.
            other => {
                closed.extend(other);
                append_to(Segment { number: next, path: segment_path(folder, next), bytes: 0 })?
            }
        };
        let mut spool =
            Self { folder: folder.to_owned(), limits, closed, last, file, dropped, lines: Vec::new() };
        spool.drop_oldest()?;
        Ok(spool)
    }

    /// Appends records. When it returns `Ok`, they survive the end of this process, not a crash of
    /// the machine: the folder is in memory anyway. After an error, some of them may be kept and
    /// come again.
    pub fn append(&mut self, records: &[Record]) -> Result<()> {
        for record in records {
            let before = self.lines.len();
            // A vector takes every write, and a record has no map with keys other than strings.
            serde_json::to_writer(&mut self.lines, record)
                .map_err(io::Error::from)
                .map_err(Error::file("encode a record for", &self.last.path))?;
            self.lines.push(b'\n');
            if self.last.bytes + self.lines.len() as u64 > self.limits.segment
                && self.last.bytes + before as u64 > HEADER.len() as u64
            {
                let next = self.lines.split_off(before);
                self.flush()?;
                self.roll()?;
                self.lines = next;
            }
        }
        self.flush()
    }

    /// Everything that is in the spool now.
    pub fn reader(&self) -> Result<Reader> {
        self.reader_from(Position::default())
    }

    /// What is in the spool after a place.
    pub fn reader_from(&self, place: Position) -> Result<Reader> {
        let mut all: Vec<_> = self.closed.iter().cloned().collect();
        all.push(self.last.clone());
        Reader::open(&all, place)
    }

    /// The end of the spool.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position { segment: self.last.number, bytes: self.last.bytes }
    }

    /// What was dropped so far.
    #[must_use]
    pub const fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Writes the waiting lines in one call. If they do not fit on the disk, what was written of
    /// them is taken back.
    fn flush(&mut self) -> Result<()> {
        let written = self.file.write_all(&self.lines);
        if written.is_ok() {
            self.last.bytes += self.lines.len() as u64;
        } else {
            // If this fails too, the next one who opens the spool cuts the torn line off.
            let _ = self.file.set_len(self.last.bytes);
        }
        self.lines.clear();
        written.map_err(Error::file("write", &self.last.path))
    }

    /// Begins a new segment.
    fn roll(&mut self) -> Result<()> {
        let number = self.last.number + 1;
        let next = Segment { number, path: segment_path(&self.folder, number), bytes: 0 };
        let (next, file) = append_to(next)?;
        self.file = file;
        self.closed.push_back(std::mem::replace(&mut self.last, next));
        self.drop_oldest()
    }

    /// Drops old segments until the last one can grow to its full size within the bound.
    fn drop_oldest(&mut self) -> Result<()> {
        let room = self.limits.bytes - self.limits.segment;
        while self.closed.iter().map(|segment| segment.bytes).sum::<u64>() > room {
            let Some(oldest) = self.closed.pop_front() else { break };
            let (records, packets) = count(&oldest)?;
            self.dropped = Dropped {
                through: oldest.number,
                records: self.dropped.records + records,
                packets: self.dropped.packets + packets,
            };
            // First count, then remove: after a crash in between, the segment is known as counted.
            let contents = serde_json::to_vec(&self.dropped)
                .map_err(io::Error::from)
                .map_err(Error::file("encode", &dropped_path(&self.folder)))?;
            replace(&dropped_path(&self.folder), &contents)?;
            remove(&oldest.path)?;
        }
        Ok(())
    }
}

/// Opens a segment of ours for appending, cuts off a torn last line and sees to its header.
fn append_to(mut segment: Segment) -> Result<(Segment, File)> {
    let path = &segment.path;
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    let mut file = options.open(path).map_err(Error::file("open", path))?;
    let whole = whole_lines(path)?.unwrap_or(0);
    if whole != file.metadata().map_err(Error::file("inspect", path))?.len() {
        file.set_len(whole).map_err(Error::file("repair", path))?;
    }
    segment.bytes = whole;
    if whole == 0 {
        file.write_all(HEADER.as_bytes()).map_err(Error::file("write", path))?;
        segment.bytes = HEADER.len() as u64;
    }
    Ok((segment, file))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path)(error)),
        _ => Ok(()),
    }
}
