//! Emptying the ring into the spool, and sweeping the tables into the ring.

use std::os::fd::OwnedFd;

use filter_common::{abi::RING_BYTES, record::FlowRecord};

use super::{
    Error, Folder, Record, Result, Source,
    hits::Hits,
    idle::Idle,
    lock::Lock,
    losses::Losses,
    resolve::Resolver,
    source::{Interval, Ring, SLOTS, SweepRequest},
    spool::{Reader, Spool},
};
use crate::{naming::Namer, state::Attachment};

/// Slots that one run of the sweeping program goes through. A connection can have two records, of
/// 88 bytes in the ring each: a run fills a third of it at most and leaves room for the traffic.
pub(super) const CHUNK: u32 = 16 << 10;

/// Records that the ring can hold. A drain stops after as many: it has then taken all that was
/// there when it began, however fast new ones come.
const RING_RECORDS: usize = RING_BYTES as usize / (size_of::<FlowRecord>() + 8);

/// Runs over the same slots without any progress before a sweep gives up on them.
pub(super) const STALLS: u32 = 50;

/// The one that drains the ring: it holds the lock.
pub struct Collector<'a> {
    source: &'a mut dyn Source,
    spool: Spool,
    resolver: Resolver,
    namer: Namer,
    hits: Hits,
    idle: Idle,
    losses: Losses,
    notes: Vec<String>,
    /// Last, so that it is given back when all else is closed.
    lock: Lock,
}

/// Someone who wants to see records as they are kept.
pub type Observer<'a> = &'a mut dyn FnMut(&[Record]);

impl<'a> Collector<'a> {
    /// Begins to read under a lock.
    pub fn open(folder: &Folder, lock: Lock, source: &'a mut dyn Source) -> Result<Self> {
        source.begin()?;
        let spool = Spool::open(&folder.spool(), folder.limits)?;
        Ok(Self {
            source,
            hits: Hits::open(folder.hits(), &spool)?,
            idle: Idle::open(folder.idle(), &spool)?,
            spool,
            resolver: Resolver::default(),
            namer: Namer::new(folder.shelf()),
            losses: Losses::open(folder.losses())?,
            notes: Vec::new(),
            lock,
        })
    }

    /// The spool.
    #[must_use]
    pub const fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Which rules decided about how much.
    #[must_use]
    pub const fn hits(&self) -> &Hits {
        &self.hits
    }

    /// Says that this goes on until somebody stops it; returns what becomes readable when the ring
    /// does.
    pub(super) fn follow(&mut self) -> Result<Option<OwnedFd>> {
        self.lock.follow()?;
        self.source.readable()
    }

    /// Everything that is in the spool now. It can be read after the lock is given back.
    pub fn reader(&self) -> Result<Reader> {
        self.spool.reader()
    }

    /// Forgets a slot whose interface is being detached.
    pub(super) fn forget(&mut self, slot: u32) -> Result<()> {
        let attachments = self.source.attachments()?;
        let gone = attachments.iter().find(|known| known.slot == slot).map(|known| &known.interface.id);
        let stays =
            |id: &String| attachments.iter().any(|known| known.slot != slot && known.interface.id == *id);
        if let Some(id) = gone.filter(|id| !stays(id)) {
            self.hits.forget(id, &self.spool)?;
        }
        self.losses.forget(slot);
        self.losses.save()
    }

    /// What became of the ring since this began.
    pub(super) fn ring(&self) -> Ring {
        self.source.ring()
    }

    /// Begins anew, with the ring that is the host's now.
    pub(super) fn begin_anew(&mut self) -> Result<()> {
        self.source.begin()
    }

    /// What was remarkable since this was asked last, for people.
    pub fn notes(&mut self) -> Vec<String> {
        let mut notes = self.source.notes();
        notes.append(&mut self.notes);
        notes
    }

    /// Moves what is in the ring to the spool, and tells what was lost. Returns the number of
    /// records.
    ///
    /// A record leaves the ring only after it is written to the spool. If this process is killed
    /// in between, the next one finds it in the ring again: then it is in the spool twice, at
    /// worst, but never lost.
    pub fn drain(&mut self, observer: Observer<'_>) -> Result<usize> {
        let taken = self.take(observer)?;
        self.tell_losses(observer)?;
        Ok(taken)
    }

    /// Hands over counts and drains them, until every slot of the tables was asked.
    ///
    /// `slot` names the interface, or all of them; `flags` are those of
    /// [`filter_common::abi::sweep_flags`].
    pub fn sweep(&mut self, slot: Option<u32>, flags: u32, observer: Observer<'_>) -> Result<usize> {
        // Their books are needed, and those of all generations to come.
        let in_force = self.source.attachments()?;
        // Before the sweep: what it brings is all of the intervals that have ended by now.
        let open = if slot.is_none() { self.open_intervals(&in_force)? } else { Vec::new() };
        let mut oldest = u32::MAX;
        // First what waits: it is older, and the sweep needs the room.
        let mut taken = self.take(observer)?;
        let mut complete = slot.is_none();
        let mut stalls = 0;
        let mut first = 0;
        while first < SLOTS {
            let count = CHUNK.min(SLOTS - first);
            let swept = self.source.sweep(SweepRequest { first, count, slot, flags })?;
            oldest = oldest.min(swept.oldest);
            let drained = self.take(observer)?;
            taken += drained;
            complete &= drained < RING_RECORDS;
            let stalled = swept.deferred > 0 && swept.records == 0 && drained == 0;
            stalls = if stalled { stalls + 1 } else { 0 };
            if stalls > STALLS {
                complete = false;
                self.notes.push(format!(
                    "the ring takes no records: the counts of {} flows stay in their table",
                    swept.deferred
                ));
            }
            if swept.deferred == 0 || stalls > STALLS {
                first += count;
            }
        }
        self.tell_losses(observer)?;
        if complete {
            self.tell_idle(&in_force, open, observer)?;
        }
        if slot.is_none() {
            self.drop_books(&in_force, oldest)?;
        }
        Ok(taken)
    }

    /// Drops the books that no record to come can need, after a sweep of all slots that began with
    /// these attachments and left records that need no generation below `oldest`.
    fn drop_books(&self, in_force: &[Attachment], oldest: u32) -> Result<()> {
        let needed = |slot, generation| {
            let attached = in_force.iter().find(|known| known.slot == slot);
            attached.is_none_or(|known| generation >= oldest.min(known.generation))
        };
        let shelf = self.namer.shelf();
        shelf.keep(needed).map_err(Error::file("tidy up", shelf.folder()))
    }

    /// [`Collector::drain`] without the losses.
    pub(super) fn take(&mut self, observer: Observer<'_>) -> Result<usize> {
        let Self { source, spool, resolver, namer, hits, idle, .. } = self;
        let attachments = source.attachments()?;
        hits.learn(&attachments, spool)?;
        resolver.learn(attachments);
        let clock = source.clock()?;
        let mut records = Vec::new();
        source.take(RING_RECORDS, &mut |batch| {
            records.clear();
            for record in batch {
                let rules = namer.name(record).map_err(Error::file("read", namer.shelf().folder()))?;
                records.push(resolver.resolve(record, rules, &clock));
            }
            keep(spool, hits, idle, &records)?;
            observer(&records);
            Ok(())
        })
    }

    fn tell_losses(&mut self, observer: Observer<'_>) -> Result<()> {
        let now = self.source.clock()?.unix_nanos / 1_000_000_000;
        let mut records = Vec::new();
        // Also those that were detached since: what they lost last is told here, too.
        for attachment in self.resolver.latest() {
            records.extend(self.losses.tell(attachment, self.source.lost(attachment.slot)?, now));
        }
        if !records.is_empty() {
            keep(&mut self.spool, &mut self.hits, &mut self.idle, &records)?;
            observer(&records);
        }
        self.losses.save()?;
        self.hits.save(&self.spool)
    }

    fn open_intervals(&mut self, attachments: &[Attachment]) -> Result<Vec<Option<Interval>>> {
        attachments.iter().map(|known| self.source.open_interval(known.slot)).collect()
    }

    /// After a sweep that has brought everything of the intervals before those that were open.
    fn tell_idle(
        &mut self,
        attachments: &[Attachment],
        open: Vec<Option<Interval>>,
        observer: Observer<'_>,
    ) -> Result<()> {
        let logged: Vec<_> =
            attachments.iter().zip(open).filter_map(|(known, open)| Some((known, open?))).collect();
        let records = self.idle.tell(&logged);
        if !records.is_empty() {
            keep(&mut self.spool, &mut self.hits, &mut self.idle, &records)?;
            observer(&records);
        }
        self.idle.save(&self.spool)?;
        self.hits.save(&self.spool)
    }

    /// Up to when everything of each interface is in the spool, in Unix seconds by the kernel's
    /// count of intervals: known after a sweep of everything.
    pub fn complete(&self) -> impl Iterator<Item = (&str, u64)> {
        self.idle.complete()
    }

    /// The interfaces that are attached now.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn attachments(&mut self) -> Result<Vec<Attachment>> {
        self.source.attachments()
    }
}

/// Appends records to the spool and counts them.
fn keep(spool: &mut Spool, hits: &mut Hits, idle: &mut Idle, records: &[Record]) -> Result<()> {
    if let Err(error) = spool.append(records) {
        hits.fall_behind();
        idle.fall_behind();
        return Err(error);
    }
    hits.add(records);
    idle.add(records);
    hits.save_with_segment(spool)?;
    idle.save_with_segment(spool)
}

#[cfg(test)]
mod tests {
    use filter_common::abi::sweep_flags;

    use super::*;
    use crate::flowlog::{
        detach::hand_over,
        fake::{Fake, Place, TestResult, attachment, numbered, packets, record},
        source::Lost,
    };

    #[test]
    fn a_drain_keeps_all_in_order() -> TestResult {
        let place = Place::new()?;
        let mut fake = Fake { ring: (1..=8).map(|n| numbered(n as u16 % 2, n)).collect(), ..Fake::default() };
        let mut seen = Vec::new();
        let taken = place.collector(&mut fake)?.drain(&mut |batch| seen.extend_from_slice(batch))?;
        assert_eq!(taken, 8);
        assert!(fake.ring.is_empty());
        assert_eq!(packets(&seen), (1..=8).collect::<Vec<_>>());
        assert_eq!(place.kept()?, seen);
        assert_eq!(seen[0].interface_id.as_deref(), Some("eni-0a2"));
        Ok(())
    }

    #[test]
    fn a_record_that_cannot_be_kept_stays_in_the_ring() -> TestResult {
        let place = Place::new()?;
        let mut fake = Fake { ring: (1..=8).map(|n| numbered(0, n)).collect(), ..Fake::default() };
        let full = |_: &[FlowRecord]| Err(Error::Output(std::io::ErrorKind::StorageFull.into()));
        assert!(fake.take(8, &mut { full }).is_err());
        assert_eq!(fake.ring.len(), 8);
        place.collector(&mut fake)?.drain(&mut |_| {})?;
        assert_eq!(place.kept()?.len(), 8);
        Ok(())
    }

    #[test]
    fn a_sweep_hands_over_more_than_the_ring_holds() -> TestResult {
        let place = Place::new()?;
        // 40 flows in one chunk, 10 in the last one; the ring holds 8.
        let places = (0..40).chain(SLOTS - 10..SLOTS);
        let table = places.zip(1..).map(|(place, n)| (place, numbered(0, n))).collect();
        let mut fake = Fake { table, ..Fake::default() };
        let taken = place.collector(&mut fake)?.sweep(None, sweep_flags::OPEN_INTERVAL, &mut |_| {})?;
        assert_eq!(taken, 50);
        assert_eq!(packets(&place.kept()?), (1..=50).collect::<Vec<_>>());
        assert!(fake.sweeps.iter().all(|sweep| sweep.count <= 65_536));
        let covered: u32 = fake.sweeps.chunk_by(|a, b| a.first == b.first).map(|same| same[0].count).sum();
        assert_eq!(covered, SLOTS, "every slot of both tables is asked");
        Ok(())
    }

    #[test]
    fn a_ring_that_takes_nothing_ends_the_sweep() -> TestResult {
        let place = Place::new()?;
        let mut fake = Fake { table: vec![(5, record(0))], room: 0, ..Fake::default() };
        let mut collector = place.collector(&mut fake)?;
        let taken = collector.sweep(None, sweep_flags::OPEN_INTERVAL, &mut |_| {})?;
        assert_eq!(taken, 0);
        assert_eq!(
            collector.notes(),
            ["the ring takes no records: the counts of 1 flows stay in their table"]
        );
        assert!(collector.notes().is_empty(), "each is told once");
        drop(collector);
        assert_eq!(fake.table.len(), 1, "the counts stay where they are");
        Ok(())
    }

    #[test]
    fn an_interval_without_packets_becomes_a_nodata_record_after_it_ended() -> TestResult {
        let place = Place::new()?;
        // Logged since the interval before the first record's, which is of interval 28,333,334.
        let open = |number| Some(Interval { number, seconds: 60 });
        let mut fake = Fake { ring: [record(0)].into(), open: open(28_333_335), ..Fake::default() };
        place.collector(&mut fake)?.sweep(None, 0, &mut |_| {})?;
        fake.open = open(28_333_336);
        place.collector(&mut fake)?.sweep(None, 0, &mut |_| {})?;
        let kept = place.kept()?;
        let told: Vec<_> = kept
            .iter()
            .map(|record| (record.interface_id.as_deref(), record.content.status(), record.start))
            .collect();
        let (first, second) = (Some("eni-0a1"), Some("eni-0a2"));
        let expected = [
            (first, "OK", kept[0].start),
            (first, "NODATA", 1_700_000_000),
            (second, "NODATA", 1_700_000_000),
            (first, "NODATA", 28_333_335 * 60),
            (second, "NODATA", 28_333_335 * 60),
        ];
        assert_eq!(told, expected);
        Ok(())
    }

    #[test]
    fn losses_become_skipdata_records_once() -> TestResult {
        let place = Place::new()?;
        let lost = Lost { packets: [40, 0], bytes: [4000, 0], records: [3, 0] };
        let mut fake = Fake { lost, ..Fake::default() };
        place.collector(&mut fake)?.drain(&mut |_| {})?;
        place.collector(&mut fake)?.drain(&mut |_| {})?;
        let kept = place.kept()?;
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].content.status(), "SKIPDATA");
        assert_eq!(kept[0].interface_id.as_deref(), Some("eni-0a1"));
        Ok(())
    }

    #[test]
    fn a_follower_keeps_the_last_records_of_a_detached_interface() -> TestResult {
        let place = Place::new()?;
        let mut fake = Fake { table: vec![(5, numbered(0, 7))], ..Fake::default() };
        let mut follower = place.collector(&mut fake)?;
        follower.drain(&mut |_| {})?;
        follower.follow()?;

        // Another process's view of the same kernel.
        let mut detaching = Fake::default();
        hand_over(&mut detaching, &place.folder, 0)?;
        assert!(detaching.sweeps.iter().all(|sweep| sweep.slot == Some(0)));

        follower.source.sweep(SweepRequest {
            first: 0,
            count: SLOTS,
            slot: Some(0),
            flags: sweep_flags::OPEN_INTERVAL,
        })?;
        follower.resolver.learn(vec![attachment(1, "eni-0a2")]);
        follower.drain(&mut |_| {})?;
        drop(follower);

        let kept = place.kept()?;
        assert_eq!(packets(&kept), [7]);
        assert_eq!(kept[0].interface_id.as_deref(), Some("eni-0a1"));
        Ok(())
    }
}
