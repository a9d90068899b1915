//! Hit counters: which rules decided about how much, since an interface was attached.
//!
//! A counter is a sum over records that were kept, so the law of conservation holds for counters,
//! too: per layer and direction, the packets of all rules, of no rule, of what a layer was not
//! asked about and of what nobody can name any more are the packets of all records.
//!
//! # As exact as the spool, whoever is killed when
//!
//! Every line of the spool is counted once. That is every packet once but for one case: of a process
//! that is killed after it has written records and before it has released them from the ring (or has
//! said that losses are told), the next one writes the same again ([`super::collect`]). Those are in
//! the spool twice, so they are counted twice, and sums over the spool and counters agree still. To
//! leave a record out that is equal to the last one would lose packets: short flows of one tuple
//! within a second have equal records.
//!
//! Records and counters cannot be written at once. So the spool is what counts, and the file of
//! counters says up to where in the spool it counts: whoever opens it reads what comes after that
//! place and counts it, too. The file has to be written only before the spool drops a segment that
//! it has not counted; it is written once per sweep and with every new segment, and a spool has
//! sixteen of them.
//!
//! ```text
//! segment 7          segment 8                    hits.json: counted up to (8, 1200)
//! ─────────────────┬───────────────┬─────────
//!  counted         │ counted       │ not yet:    the next one who opens it counts these
//! ─────────────────┴──────────── 1200 ───────
//! ```
//!
//! Counters go by a rule's stable id, so they are kept over updates; a rule that an update removes
//! keeps its counter. They begin anew when the interface is attached anew.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::PathBuf,
};

use filter_common::Direction;
use serde::{Deserialize, Serialize};

use super::{
    Error, Record, Result,
    record::{Content, Flow, Loss},
    replace,
    spool::{Position, Spool},
};
use crate::{
    naming::{AclRuleName, Decision, GroupRuleName},
    state::Attachment,
};

/// Rules of an interface's layer that have counters of their own. Those of further ones, which only
/// very many updates can bring, are counted together as unknown.
const RULES: usize = 1 << 18;

/// What a rule decided about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Packets on the wire.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that count them.
    pub records: u64,
    /// When the last of them was seen, in Unix seconds; 0: never.
    pub last: u64,
}

impl Count {
    fn add(&mut self, flow: &Flow, end: u64) {
        self.packets += flow.packets;
        self.bytes += flow.bytes;
        self.records += 1;
        self.last = self.last.max(end);
    }
}

/// Counts of packets by their direction: ingress, egress.
pub type ByDirection = [Count; 2];

/// The counters of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceHits {
    /// When it was attached, in Unix seconds.
    pub attached_at: u64,
    /// By the rule of the security groups, or why there is none.
    #[serde(with = "rows")]
    pub groups: HashMap<Decision<GroupRuleName>, ByDirection>,
    /// By the rule of the network ACL, or why there is none.
    #[serde(with = "rows")]
    pub acl: HashMap<Decision<AclRuleName>, ByDirection>,
    /// Packets that no record counts, by direction.
    pub lost: [Loss; 2],
}

impl InterfaceHits {
    fn count(&mut self, record: &Record) {
        let Some(direction) = record.direction.map(Direction::index) else { return };
        match &record.content {
            Content::Flow(flow) => {
                counter(&mut self.groups, &flow.rules.groups)[direction].add(flow, record.end);
                counter(&mut self.acl, &flow.rules.acl)[direction].add(flow, record.end);
            }
            Content::Lost(loss) => {
                let lost = &mut self.lost[direction];
                lost.packets += loss.packets;
                lost.bytes += loss.bytes;
                lost.records += loss.records;
            }
            Content::Idle => {}
        }
    }
}

fn counter<'a, T: Clone + Eq + std::hash::Hash>(
    rows: &'a mut HashMap<Decision<T>, ByDirection>,
    decision: &Decision<T>,
) -> &'a mut ByDirection {
    let known = rows.contains_key(decision) || rows.len() < RULES;
    rows.entry(if known { decision.clone() } else { Decision::Unknown }).or_default()
}

/// The counters of all interfaces.
#[derive(Debug)]
pub struct Hits {
    path: PathBuf,
    file: File,
    /// Whether there is something that the file does not say.
    changed: bool,
    /// Whether the spool may hold records that were not counted: then the file must stay as it is.
    behind: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    /// Up to where in the spool is counted.
    counted: Position,
    interfaces: BTreeMap<String, InterfaceHits>,
}

impl Hits {
    /// Reads the counters and counts what was kept since they were written. Where there are none,
    /// they begin here. The caller holds the ring's lock.
    ///
    /// # Errors
    ///
    /// If the counters or the spool cannot be read.
    pub fn open(path: PathBuf, spool: &Spool) -> Result<Self> {
        let Some(file) = read(&path)? else {
            let file = File { counted: spool.position(), ..File::default() };
            let mut hits = Self { path, file, changed: true, behind: false };
            hits.save(spool)?;
            return Ok(hits);
        };
        let mut hits = Self { path, file, changed: false, behind: false };
        for record in spool.reader_from(hits.file.counted)? {
            hits.count(&record?);
        }
        Ok(hits)
    }

    /// Learns what is attached now, before its records are kept: an interface that was detached or
    /// attached anew meanwhile begins at zero. The file says so at once, or a record of the new
    /// attachment would be counted with those of the old one.
    ///
    /// # Errors
    ///
    /// If the counters cannot be written.
    pub fn learn(&mut self, attachments: &[Attachment], spool: &Spool) -> Result<()> {
        // An interface can stand on two devices; as long as one of them stays, so do its counters.
        let mut times: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for known in attachments {
            let (oldest, latest) = times.entry(&known.interface.id).or_insert((u64::MAX, 0));
            *oldest = (*oldest).min(known.attached_at);
            *latest = (*latest).max(known.attached_at);
        }
        let interfaces = &mut self.file.interfaces;
        let before = interfaces.len();
        // Zero: only counted so far, of what was kept when the file was written last.
        let stays = |hits: &InterfaceHits, oldest| oldest <= hits.attached_at || hits.attached_at == 0;
        interfaces.retain(|id, hits| times.get(&**id).is_some_and(|(oldest, _)| stays(hits, *oldest)));
        let mut news = interfaces.len() != before;
        for (id, (_, latest)) in times {
            let hits = interfaces.entry(id.to_owned()).or_default();
            news |= hits.attached_at != latest;
            hits.attached_at = latest;
        }
        self.changed |= news;
        if news { self.save(spool) } else { Ok(()) }
    }

    /// Forgets an interface that is being detached.
    ///
    /// # Errors
    ///
    /// If the counters cannot be written.
    pub fn forget(&mut self, interface_id: &str, spool: &Spool) -> Result<()> {
        self.changed |= self.file.interfaces.remove(interface_id).is_some();
        self.save(spool)
    }

    /// Says that the spool may hold records that are not counted: the next one who opens the
    /// counters counts them.
    pub const fn fall_behind(&mut self) {
        self.behind = true;
    }

    /// Counts records that were just kept.
    pub fn add(&mut self, records: &[Record]) {
        records.iter().for_each(|record| self.count(record));
    }

    fn count(&mut self, record: &Record) {
        self.changed = true;
        let Some(id) = &record.interface_id else { return };
        if !self.file.interfaces.contains_key(id) {
            self.file.interfaces.insert(id.clone(), InterfaceHits::default());
        }
        if let Some(hits) = self.file.interfaces.get_mut(id) {
            hits.count(record);
        }
    }

    /// Writes the counters if a new segment of the spool was begun since.
    ///
    /// # Errors
    ///
    /// If the counters cannot be written.
    pub fn save_with_segment(&mut self, spool: &Spool) -> Result<()> {
        if spool.position().segment == self.file.counted.segment { Ok(()) } else { self.save(spool) }
    }

    /// Writes the counters, which count all that is in the spool.
    ///
    /// # Errors
    ///
    /// If the counters cannot be written.
    pub fn save(&mut self, spool: &Spool) -> Result<()> {
        if !self.changed || self.behind {
            return Ok(());
        }
        self.file.counted = spool.position();
        let contents = serde_json::to_vec(&self.file).map_err(io::Error::from);
        replace(&self.path, &contents.map_err(Error::file("encode", &self.path))?)?;
        self.changed = false;
        Ok(())
    }

    /// The counters by interface.
    #[must_use]
    pub const fn interfaces(&self) -> &BTreeMap<String, InterfaceHits> {
        &self.file.interfaces
    }
}

/// The counters as they were last written; needs no lock.
///
/// # Errors
///
/// If they cannot be read.
pub fn last_written(path: PathBuf) -> Result<BTreeMap<String, InterfaceHits>> {
    Ok(read(&path)?.unwrap_or_default().interfaces)
}

/// A file that says nothing sensible counts as none: counters must not keep records from being read.
fn read(path: &PathBuf) -> Result<Option<File>> {
    match fs::read(path) {
        Ok(contents) => Ok(serde_json::from_slice(&contents).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::file("read", path)(source)),
    }
}

/// A map with keys that are no strings, as a list in a stable order.
mod rows {
    use std::{collections::HashMap, hash::Hash};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{ByDirection, Decision};

    pub(super) fn serialize<T: Serialize + Ord, S: Serializer>(
        rows: &HashMap<Decision<T>, ByDirection>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let mut rows: Vec<_> = rows.iter().collect();
        rows.sort_by_key(|row| row.0);
        rows.serialize(to)
    }

    pub(super) fn deserialize<'de, T: Deserialize<'de> + Eq + Hash, D: Deserializer<'de>>(
        from: D,
    ) -> Result<HashMap<Decision<T>, ByDirection>, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
