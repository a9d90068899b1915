//! Reading the spool as a stream.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take},
    path::{Path, PathBuf},
};

use super::{HEADER, Position, Segment};
use crate::flowlog::{Error, Record, Result};

/// Every record that was in the spool when the reader was made, oldest first.
///
/// It holds one line in memory at a time.
#[derive(Debug)]
pub struct Reader {
    waiting: VecDeque<Open>,
    current: Option<Open>,
    line: Vec<u8>,
    unreadable: u64,
    /// Segments in a format of another version.
    skipped: u64,
    position: Position,
    notes: Vec<String>,
}

/// A segment's file, to be read up to where it ended when it was opened.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    lines: BufReader<Take<File>>,
    /// Whether it is read from behind its header on.
    begun: bool,
    /// Where the next line begins.
    place: Position,
}

impl Reader {
    /// Opens every segment from a place on now, so that none can vanish before it is read.
    pub(super) fn open(segments: &[Segment], from: Position) -> Result<Self> {
        let mut waiting = VecDeque::new();
        for Segment { number, path, bytes } in segments.iter().filter(|one| one.number >= from.segment) {
            match File::open(path) {
                Ok(mut file) => {
                    let begun = *number == from.segment && from.bytes >= HEADER.len() as u64;
                    let skipped = if begun { from.bytes } else { 0 };
                    file.seek(SeekFrom::Start(skipped)).map_err(Error::file("read", path))?;
                    let lines = BufReader::with_capacity(64 << 10, file.take(bytes.saturating_sub(skipped)));
                    let place = Position { segment: *number, bytes: skipped };
                    waiting.push_back(Open { path: path.clone(), lines, begun, place });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::file("open", path)(source)),
            }
        }
        Ok(Self {
            waiting,
            current: None,
            line: Vec::new(),
            unreadable: 0,
            skipped: 0,
            position: from,
            notes: Vec::new(),
        })
    }

    /// Lines that were no records of ours.
    #[must_use]
    pub const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// What was remarkable in what was read so far, for people.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The place behind what was read last.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// Reads the next line into `self.line`; `None` at the end of the spool.
    fn next_line(&mut self) -> Result<Option<()>> {
        loop {
            let Some(segment) = &mut self.current else {
                match self.waiting.pop_front() {
                    Some(next) => self.begin(next)?,
                    None => return Ok(None),
                }
                continue;
            };
            if read_line(segment, &mut self.line)? {
                self.position = segment.place;
                return Ok(Some(()));
            }
            self.current = None;
        }
    }

    /// Begins a segment, if its header says that we can read it.
    fn begin(&mut self, mut segment: Open) -> Result<()> {
        if segment.begun {
            self.current = Some(segment);
            return Ok(());
        }
        if !read_line(&mut segment, &mut self.line)? {
            return Ok(());
        }
        if self.line == HEADER.as_bytes() {
            self.current = Some(segment);
        } else {
            let path = segment.path.display();
            self.notes.push(format!("{path} is in a format of another version: skipped"));
            self.skipped += 1;
        }
        Ok(())
    }
}

impl Iterator for Reader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_line() {
                Ok(Some(())) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
            match serde_json::from_slice(&self.line) {
                Ok(record) => return Some(Ok(record)),
                Err(_) => self.unreadable += 1,
            }
        }
    }
}

/// Reads one line, with its end; false at the end of the file.
fn read_line(segment: &mut Open, line: &mut Vec<u8>) -> Result<bool> {
    line.clear();
    let read = segment.lines.read_until(b'\n', line).map_err(Error::file("read", &segment.path))?;
    segment.place.bytes += read as u64;
    // The rest of the line is being written just now.
    Ok(line.ends_with(b"\n"))
}

/// Records and packets in one segment.
pub(super) fn count(segment: &Segment) -> Result<(u64, u64)> {
    let mut reader = Reader::open(std::slice::from_ref(segment), Position::default())?;
    let (mut records, mut packets) = (0, 0);
    for record in reader.by_ref() {
        packets += record?.content.packets();
        records += 1;
    }
    Ok((records + reader.unreadable() + reader.skipped, packets))
}

/// How many bytes of a segment are whole lines; `None` if its first line is not our header.
pub(super) fn whole_lines(path: &Path) -> Result<Option<u64>> {
    let contents = std::fs::read(path).map_err(Error::file("read", path))?;
    let end = contents.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    let ours = end == 0 || contents.starts_with(HEADER.as_bytes());
    Ok(ours.then_some(end as u64))
}
