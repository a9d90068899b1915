//! Packets that no record counts become `SKIPDATA` records.
//!
//! The kernel counts, per interface and direction, the packets whose record found no room. After
//! each drain these numbers are compared with the last ones seen, and what was added becomes a
//! record. The numbers seen are kept in the state folder, so that no loss is told twice.

use std::{collections::BTreeMap, fs, io, path::PathBuf};

use filter_common::Direction;
use serde::{Deserialize, Serialize};

use super::{
    Error, Record, Result,
    record::{Content, Loss},
    replace,
    resolve::blank,
    source::Lost,
};
use crate::state::Attachment;

/// The losses that are already told.
#[derive(Debug)]
pub struct Losses {
    path: PathBuf,
    told: BTreeMap<u32, Told>,
}

/// What was told about the interface in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// With the time, tells the slot's interface from the one that had it before.
    interface_id: String,
    attached_at: u64,
    /// When the numbers were read, in Unix seconds.
    until: u64,
    lost: Lost,
}

impl Losses {
    /// Reads what is already told. A file that says nothing sensible counts as none: a loss told
    /// twice is better than one never told.
    pub fn open(path: PathBuf) -> Result<Self> {
        let told = match fs::read(&path) {
            Ok(contents) => serde_json::from_slice(&contents).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(Error::file("read", &path)(source)),
        };
        Ok(Self { path, told })
    }

    /// Records about what an interface lost since it was last asked about: none or one for each
    /// direction. The losses count as told only after [`Losses::save`].
    pub fn tell(&mut self, attachment: &Attachment, lost: Lost, now: u64) -> Vec<Record> {
        let known = self.told.get(&attachment.slot).filter(|told| {
            told.interface_id == attachment.interface.id && told.attached_at == attachment.attached_at
        });
        let since = known.map_or(attachment.attached_at, |told| told.until);
        let before = known.map(|told| told.lost).unwrap_or_default();
        let mut records = Vec::new();
        for direction in Direction::BOTH {
            let added = added(&before, &lost, direction);
            if added != Loss::default() {
                records.push(Record {
                    direction: Some(direction),
                    start: since.min(now),
                    end: now,
                    content: Content::Lost(added),
                    ..blank(Some(&attachment.interface))
                });
            }
        }
        let told = Told {
            interface_id: attachment.interface.id.clone(),
            attached_at: attachment.attached_at,
            until: now,
            lost,
        };
        self.told.insert(attachment.slot, told);
        records
    }

    /// Forgets a slot: its interface is detached.
    pub fn forget(&mut self, slot: u32) {
        self.told.remove(&slot);
    }

    /// Writes down what is told. To be called after the records are in the spool: if the process
    /// ends in between, a loss is told twice, but never not at all.
    pub fn save(&self) -> Result<()> {
        let contents = serde_json::to_vec(&self.told)
            .map_err(io::Error::from)
            .map_err(Error::file("encode", &self.path))?;
        replace(&self.path, &contents)
    }
}

/// What was added in one direction. A number that went down was set to zero meanwhile.
fn added(before: &Lost, now: &Lost, direction: Direction) -> Loss {
    let index = direction.index();
    let difference = |before: u64, now: u64| now.checked_sub(before).unwrap_or(now);
    Loss {
        packets: difference(before.packets[index], now.packets[index]),
        bytes: difference(before.bytes[index], now.bytes[index]),
        records: difference(before.records[index], now.records[index]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowlog::fake::attachment;

    type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

    fn lost(ingress: u64, egress: u64) -> Lost {
        Lost { packets: [ingress, egress], bytes: [ingress * 100, egress * 100], records: [ingress, egress] }
    }

    #[test]
    fn only_what_was_added_is_told_and_a_restart_remembers() -> TestResult {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("losses.json");
        let interface = attachment(0, "eni-0a1");
        let mut losses = Losses::open(path.clone())?;
        assert_eq!(losses.tell(&interface, lost(0, 0), 1_700_000_050), []);
        let told = losses.tell(&interface, lost(5, 0), 1_700_000_060);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].content, Content::Lost(Loss { packets: 5, bytes: 500, records: 5 }));
        assert_eq!(told[0].direction, Some(Direction::Ingress));
        assert_eq!((told[0].start, told[0].end), (1_700_000_050, 1_700_000_060));
        losses.save()?;

        let mut losses = Losses::open(path)?;
        assert_eq!(losses.tell(&interface, lost(5, 0), 1_700_000_070), []);
        let told = losses.tell(&interface, lost(6, 2), 1_700_000_080);
        assert_eq!(told.iter().map(|record| record.content.packets()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(told[0].start, 1_700_000_070);
        Ok(())
    }

    #[test]
    fn a_new_interface_in_the_slot_begins_at_zero() -> TestResult {
        let folder = tempfile::tempdir()?;
        let mut losses = Losses::open(folder.path().join("losses.json"))?;
        losses.tell(&attachment(0, "eni-0a1"), lost(100, 0), 1_700_000_050);
        let told = losses.tell(&attachment(0, "eni-0a2"), lost(101, 0), 1_700_000_060);
        assert_eq!(told[0].content.packets(), 101);
        assert_eq!(told[0].start, attachment(0, "eni-0a2").attached_at);
        Ok(())
    }

    #[test]
    fn numbers_that_went_down_were_set_to_zero() -> TestResult {
        let folder = tempfile::tempdir()?;
        let mut losses = Losses::open(folder.path().join("losses.json"))?;
        losses.tell(&attachment(0, "eni-0a1"), lost(100, 0), 1_700_000_050);
        let told = losses.tell(&attachment(0, "eni-0a1"), lost(3, 0), 1_700_000_060);
        assert_eq!(told[0].content.packets(), 3);
        Ok(())
    }
}
