//! The last records of an interface that is being detached.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    thread,
    time::Duration,
};

use filter_common::abi::sweep_flags;

use super::{
    Collector, Error, Folder, Result, Source,
    collect::{CHUNK, STALLS},
    follow::poll,
    lock::Lock,
    source::{SLOTS, SweepRequest},
};

/// How long a detach waits for a reader that does not follow the log.
const DETACH_PATIENCE: Duration = Duration::from_secs(5);

/// Moves everything that the kernel still counts for an interface to the spool and frees its slots
/// of the tables: the last step before it is detached, when its programs no longer run and its
/// policy, by which the tables are swept, still stands.
///
/// Where a reader follows the log, the counts are handed to the ring and that reader keeps them;
/// it remembers the interface for as long as it runs.
pub fn hand_over(source: &mut dyn Source, folder: &Folder, slot: u32) -> Result<()> {
    // First all counts, then all slots: with a slot its counts go to the losses if the ring is full.
    let (counts, slots) = (sweep_flags::OPEN_INTERVAL, sweep_flags::OPEN_INTERVAL | sweep_flags::FORGET);
    match Lock::acquire(&folder.lock(), DETACH_PATIENCE, |holder| !holder.follows) {
        Ok(lock) => {
            let mut collector = Collector::open(folder, lock, source)?;
            collector.sweep(Some(slot), counts, &mut |_| {})?;
            collector.sweep(Some(slot), slots, &mut |_| {})?;
            collector.forget(slot)
        }
        // It gets the last records.
        Err(Error::Busy(_)) => {
            let counted = sweep_for_another(source, slot, counts);
            let freed = sweep_for_another(source, slot, slots);
            source.begin()?;
            counted.and(freed).and(wait_for_another(source.readable()?))
        }
        Err(error) => Err(error),
    }
}

/// Sweeps into a ring that another process drains.
fn sweep_for_another(source: &mut dyn Source, slot: u32, flags: u32) -> Result<()> {
    let mut stalls = 0;
    let mut first = 0;
    while first < SLOTS {
        let count = CHUNK.min(SLOTS - first);
        let swept = source.sweep(SweepRequest { first, count, slot: Some(slot), flags })?;
        stalls = if swept.deferred > 0 && swept.records == 0 { stalls + 1 } else { 0 };
        if stalls > STALLS {
            return Err(not_taken());
        }
        if swept.deferred == 0 {
            first += count;
        } else {
            thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Waits until another process has taken all from the ring: with the last interface the maps go,
/// and that process could not read the clock any more.
fn wait_for_another(ring: Option<OwnedFd>) -> Result<()> {
    let Some(ring) = ring else { return Ok(()) };
    for _ in 0..STALLS * 2 {
        if poll(ring.as_raw_fd(), libc::POLLIN) & libc::POLLIN == 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(not_taken())
}

fn not_taken() -> Error {
    let source = "the process that reads the flow log takes none".into();
    Error::Kernel { action: "hand over the last flow records", source }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read, Write},
        time::Instant,
    };

    use super::*;
    use crate::flowlog::{
        fake::{Fake, Place, TestResult, numbered, packets, record},
        source::Lost,
    };

    #[test]
    fn a_detach_hands_over_the_interfaces_counts_and_no_other_ones() -> TestResult {
        let place = Place::new()?;
        let table = vec![(5, numbered(0, 1)), (6, numbered(1, 2)), (SLOTS - 1, numbered(0, 3))];
        let mut fake = Fake { table, ..Fake::default() };
        hand_over(&mut fake, &place.folder, 0)?;
        assert_eq!(packets(&place.kept()?), [1, 3]);
        assert_eq!(fake.table.len(), 1);
        let forgetting = |sweep: &SweepRequest| sweep.flags & sweep_flags::FORGET != 0;
        let slots =
            fake.sweeps.iter().filter(|sweep| forgetting(sweep)).map(|sweep| sweep.count).sum::<u32>();
        assert_eq!(slots, SLOTS, "every slot is asked to forget the interface");
        Ok(())
    }

    #[test]
    fn a_detach_hands_over_more_than_the_ring_holds_before_any_slot_is_freed() -> TestResult {
        let place = Place::new()?;
        let mut fake = Fake { table: (0..40).map(|n| (n, record(0))).collect(), ..Fake::default() };
        hand_over(&mut fake, &place.folder, 0)?;
        assert_eq!(place.kept()?.len(), 40);
        assert_eq!(fake.lost, Lost::default());
        Ok(())
    }

    #[test]
    fn a_detach_waits_until_the_follower_has_taken_all() -> TestResult {
        let (mut reader, mut writer) = io::pipe()?;
        let waiting = OwnedFd::from(reader.try_clone()?);
        writer.write_all(b"r")?;
        let follower = thread::spawn(move || {
            thread::sleep(Duration::from_millis(100));
            reader.read_exact(&mut [0])
        });
        let start = Instant::now();
        wait_for_another(Some(waiting))?;
        assert!(start.elapsed() >= Duration::from_millis(90));
        assert!(follower.join().is_ok());
        Ok(())
    }
}
