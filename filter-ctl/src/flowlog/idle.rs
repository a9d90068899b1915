//! Intervals without traffic become `NODATA` records.
//!
//! An interval of an interface is idle if it has ended, everything that was counted in it is in the
//! spool, and nothing of that is the interface's: no flow, whatever its action, and no loss. Only a
//! complete sweep can tell: counts may wait in the tables and in the ring.
//!
//! ```text
//! interval    40      41      42      43      44 (open)
//! packets                     •               •
//! told                ─────▶ NODATA: 41   NODATA: 43
//!                     └ through, before   └ through, after the sweep: 44
//! ```
//!
//! Idle intervals in a row are one record, so an hour of silence that nobody watched is one line. A
//! loss does not say which interval it hurt: nothing that is not told yet counts as idle then.
//!
//! The file says, as that of the hit counters does ([`super::hits`]), up to where in the spool it
//! knows what was busy: what a killed process had kept but not noted, the next one reads there.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs, io,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{
    Error, Record, Result,
    record::Content,
    replace,
    resolve::blank,
    source::Interval,
    spool::{Position, Spool},
};
use crate::state::Attachment;

/// What is known about idle intervals.
#[derive(Debug)]
pub struct Idle {
    path: PathBuf,
    file: File,
    changed: bool,
    /// Whether the spool may hold records that were not noted: then the file must stay as it is.
    behind: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    /// Up to where in the spool it is known what was busy.
    counted: Position,
    interfaces: BTreeMap<String, Known>,
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// Since when it is logged in this interval, in Unix seconds; 0: not known yet.
    since: u64,
    /// The interval's length.
    seconds: u32,
    /// The first interval that is not told.
    through: u32,
    /// From there on, those with packets.
    busy: BTreeSet<u32>,
    /// Whether something came of which the interval is not known.
    hurt: bool,
}

impl Idle {
    /// Reads what is known. Where there is nothing yet, it begins with the spool's end. The caller
    /// holds the ring's lock.
    ///
    /// # Errors
    ///
    /// If the file or the spool cannot be read.
    pub fn open(path: PathBuf, spool: &Spool) -> Result<Self> {
        let file: Option<File> = match fs::read(&path) {
            // A file that says nothing sensible counts as none.
            Ok(contents) => serde_json::from_slice(&contents).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(Error::file("read", &path)(source)),
        };
        let file = file.unwrap_or_else(|| File { counted: spool.position(), ..File::default() });
        let mut idle = Self { path, file, changed: false, behind: false };
        for record in spool.reader_from(idle.file.counted)? {
            idle.note(&record?);
        }
        Ok(idle)
    }

    /// Notes records that were just kept.
    pub fn add(&mut self, records: &[Record]) {
        records.iter().for_each(|record| self.note(record));
    }

    /// Says that the spool may hold records that are not noted: the next one who opens this does it.
    pub const fn fall_behind(&mut self) {
        self.behind = true;
    }

    fn note(&mut self, record: &Record) {
        let Some(id) = &record.interface_id else { return };
        if !self.file.interfaces.contains_key(id) {
            self.file.interfaces.insert(id.clone(), Known::default());
        }
        let Some(known) = self.file.interfaces.get_mut(id) else { return };
        match &record.content {
            Content::Flow(flow) => {
                if known.seconds == 0 {
                    known.seconds = flow.interval_seconds.unwrap_or(0);
                }
                // Counted before the length was changed.
                known.hurt |= flow.interval_seconds != Some(known.seconds);
                if flow.interval >= known.through {
                    self.changed |= known.busy.insert(flow.interval);
                }
            }
            Content::Lost(_) => known.hurt = true,
            Content::Idle => {}
        }
    }

    /// Tells the idle intervals of the attached interfaces, after a sweep that has brought all
    /// records of ended ones. Each interface comes with its interval that was open when the sweep
    /// began. The records count as told after [`Idle::save`].
    pub fn tell(&mut self, attached: &[(&Attachment, Interval)]) -> Vec<Record> {
        let mut seen = HashSet::new();
        let mut records = Vec::new();
        for (attachment, open) in attached {
            // An interface can stand on two devices.
            if seen.insert(&attachment.interface.id) {
                records.extend(self.tell_one(attachment, *open));
            }
        }
        self.file.interfaces.retain(|id, _| seen.contains(id));
        records
    }

    fn tell_one(&mut self, attachment: &Attachment, open: Interval) -> Vec<Record> {
        let known = self.file.interfaces.entry(attachment.interface.id.clone()).or_default();
        let Interval { number, seconds } = open;
        let since = attachment.interval_since;
        if known.since != since {
            let first = u32::try_from(since / u64::from(seconds.max(1))).unwrap_or(u32::MAX);
            let same = known.seconds == 0 || known.seconds == seconds;
            known.through = if same { first.min(number) } else { number };
            (known.since, known.seconds) = (since, seconds);
        } else if known.seconds != seconds || number < known.through {
            // The wall's clock was set back.
            (known.seconds, known.through) = (seconds, number);
        }
        if known.hurt {
            known.through = number;
            known.busy.insert(number);
            known.hurt = false;
            self.changed = true;
        }
        self.changed |= known.through != number;
        let mut records: Vec<Record> = Vec::new();
        let mut last = None;
        for idle in (known.through..number).filter(|interval| !known.busy.contains(interval)) {
            let start = u64::from(idle) * u64::from(seconds);
            let end = start + u64::from(seconds) - 1;
            match records.last_mut().filter(|_| last.is_some_and(|last| last + 1 == idle)) {
                Some(record) => record.end = end,
                None => records.push(Record {
                    // Of the first one, only the part in which it was logged.
                    start: start.max(since.min(end)),
                    end,
                    content: Content::Idle,
                    ..blank(Some(&attachment.interface))
                }),
            }
            last = Some(idle);
        }
        known.through = number;
        known.busy.retain(|interval| (number..=number.saturating_add(1)).contains(interval));
        records
    }

    /// Up to when everything of each interface is known, in Unix seconds by the kernel's count of
    /// intervals.
    pub fn complete(&self) -> impl Iterator<Item = (&str, u64)> {
        let until = |known: &Known| u64::from(known.through) * u64::from(known.seconds);
        self.file.interfaces.iter().map(move |(id, known)| (id.as_str(), until(known)))
    }

    /// Writes down what is known if a new segment of the spool was begun since.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn save_with_segment(&mut self, spool: &Spool) -> Result<()> {
        if spool.position().segment == self.file.counted.segment { Ok(()) } else { self.write(spool) }
    }

    /// Writes down what is known, after it is in the spool: if the process ends in between, an idle
    /// interval is told twice.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn save(&mut self, spool: &Spool) -> Result<()> {
        if self.changed { self.write(spool) } else { Ok(()) }
    }

    fn write(&mut self, spool: &Spool) -> Result<()> {
        if self.behind {
            return Ok(());
        }
        self.file.counted = spool.position();
        let contents = serde_json::to_vec(&self.file).map_err(io::Error::from);
        replace(&self.path, &contents.map_err(Error::file("encode", &self.path))?)?;
        self.changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowlog::fake::{TestResult, attachment, lost_record, resolved};

    const OPEN: Interval = Interval { number: 1000, seconds: 60 };

    struct Place {
        folder: tempfile::TempDir,
        spool: Spool,
    }

    impl Place {
        fn new() -> TestResult<Self> {
            let folder = tempfile::tempdir()?;
            let spool = Spool::open(&folder.path().join("spool"), Default::default())?;
            Ok(Self { folder, spool })
        }

        fn idle(&self) -> Result<Idle> {
            Idle::open(self.folder.path().join("idle.json"), &self.spool)
        }

        /// Keeps a record without noting it.
        fn keep(&mut self, record: Record) -> Result<Record> {
            self.spool.append(std::slice::from_ref(&record))?;
            Ok(record)
        }
    }

    fn eni(since_interval: u64) -> Attachment {
        Attachment { interval_since: since_interval * 60 + 7, ..attachment(0, "eni-0a1") }
    }

    fn at(number: u32) -> Record {
        let mut record = resolved();
        if let Content::Flow(flow) = &mut record.content {
            flow.interval = number;
            flow.interval_seconds = Some(60);
        }
        record
    }

    fn spans(records: &[Record]) -> Vec<(u64, u64)> {
        assert!(records.iter().all(|record| record.content.status() == "NODATA"));
        records.iter().map(|record| (record.start, record.end)).collect()
    }

    #[test]
    fn intervals_without_records_are_told_once_and_those_in_a_row_together() -> TestResult {
        let mut place = Place::new()?;
        let eni = eni(995);
        let mut idle = place.idle()?;
        for number in [997, 1000] {
            idle.add(&[place.keep(at(number))?]);
        }
        let told = idle.tell(&[(&eni, OPEN)]);
        assert_eq!(spans(&told), [(995 * 60 + 7, 996 * 60 + 59), (998 * 60, 999 * 60 + 59)]);
        assert_eq!(told[0].interface_id.as_deref(), Some("eni-0a1"));
        assert_eq!(idle.tell(&[(&eni, OPEN)]), []);
        // Busy by what was kept before it ended.
        let next = Interval { number: 1002, ..OPEN };
        assert_eq!(spans(&idle.tell(&[(&eni, next)])), [(1001 * 60, 1001 * 60 + 59)]);
        assert_eq!(idle.complete().collect::<Vec<_>>(), [("eni-0a1", 1002 * 60)]);
        Ok(())
    }

    #[test]
    fn a_restart_remembers_and_reads_what_a_killed_process_had_kept() -> TestResult {
        let mut place = Place::new()?;
        let eni = eni(999);
        let mut idle = place.idle()?;
        idle.tell(&[(&eni, OPEN)]);
        idle.save(&place.spool)?;
        place.keep(at(1000))?;
        drop(idle);

        let mut idle = place.idle()?;
        let next = Interval { number: 1002, ..OPEN };
        assert_eq!(spans(&idle.tell(&[(&eni, next)])), [(1001 * 60, 1001 * 60 + 59)]);
        idle.save(&place.spool)?;
        assert_eq!(place.idle()?.tell(&[(&eni, next)]), []);
        Ok(())
    }

    #[test]
    fn a_loss_leaves_nothing_that_is_surely_idle() -> TestResult {
        let place = Place::new()?;
        let eni = eni(990);
        let mut idle = place.idle()?;
        idle.add(&[lost_record()]);
        assert_eq!(idle.tell(&[(&eni, OPEN)]), []);
        let next = Interval { number: 1002, ..OPEN };
        assert_eq!(spans(&idle.tell(&[(&eni, next)])), [(1001 * 60, 1001 * 60 + 59)], "1000 was hurt, too");
        Ok(())
    }

    #[test]
    fn logging_begins_when_it_is_asked_for_and_another_length_begins_anew() -> TestResult {
        let place = Place::new()?;
        let mut idle = place.idle()?;
        idle.tell(&[(&eni(990), OPEN)]);
        // `apply` has changed it to ten seconds at 1001 * 60.
        let changed = Attachment { interval_since: 1001 * 60, ..eni(990) };
        let tens = |number| Interval { number, seconds: 10 };
        assert_eq!(idle.tell(&[(&changed, tens(6009))]), [], "the lengths do not fit together");
        assert_eq!(spans(&idle.tell(&[(&changed, tens(6010))])), [(60_090, 60_099)]);
        // What was counted in minutes comes late: of which intervals it is, nobody knows.
        idle.add(&[at(1000)]);
        assert_eq!(idle.tell(&[(&changed, tens(6012))]), []);
        // Off, and on again at 1010 * 60.
        let again = Attachment { interval_since: 1010 * 60, ..eni(990) };
        assert_eq!(spans(&idle.tell(&[(&again, tens(6061))])), [(60_600, 60_609)]);
        Ok(())
    }

    #[test]
    fn a_clock_that_is_set_back_tells_nothing_twice() -> TestResult {
        let place = Place::new()?;
        let mut idle = place.idle()?;
        idle.tell(&[(&eni(990), OPEN)]);
        assert_eq!(idle.tell(&[(&eni(990), Interval { number: 900, ..OPEN })]), []);
        let told = idle.tell(&[(&eni(990), Interval { number: 901, ..OPEN })]);
        assert_eq!(spans(&told), [(900 * 60 + 59, 900 * 60 + 59)], "within what was logged");
        Ok(())
    }
}
