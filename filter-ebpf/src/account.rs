//! Counting: reasons per interface, packets per flow and interval, and handing records over.
//!
//! # One bank of counts per flow
//!
//! A flow's counts belong to the interval that its tally names. The first packet of a later
//! interval changes that name by compare-and-swap; the CPU that wins hands the old counts over and
//! takes them off by atomic exchange, the others just add. A packet that is counted between the
//! two goes into whichever record takes its count: into one of them, and only one, so the sum
//! over all records is the sum over all packets, and each packet is in its own interval but for
//! those within microseconds of its end. (Two banks, one per parity of the interval, would shift
//! such packets by two intervals instead.)
//!
//! A change of the rules ends a flow's counts, too: the packets of a record were all judged by one
//! generation, so that the rules that decided about them can be named. The first packet names the
//! counts by its reason and generation, and whoever takes that name off takes the counts.
//!
//! Packets and bytes are counted by one atomic operation, in one word. A flow that fills half of it in
//! one interval (8,388,608 packets, 512 GiB) hands its counts over with its next packet, and has more than
//! one record; to the losses, where the ring is full.
//!
//! A count is taken off only when the ring has room for its record. If it has none, the counts of
//! the ended interval move to the interface's losses: they never join the next interval.

use filter_common::{
    Direction,
    abi::Stamp,
    connection::{Connection, Counts, Flow, Key, REST_OF_KEY, State, Tally},
    policy::{Block, PolicyHeader},
    record::FlowRecord,
    track::logged_flags,
    verdict::Reason,
};

use crate::{
    atomic, clock,
    maps::{COUNTERS, RECORDS},
    policy::Policy,
    verifier,
};

/// When a packet is judged.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) ticks: u64,
    pub(crate) stamp: Stamp,
    /// The interval of the flow log, or [`NOT_LOGGED`]. (No `Option`: it lies in a map, and the
    /// verifier refuses to write the undefined half of a `None`.)
    interval: u32,
}

/// The interval where nothing is logged; as a number of intervals it is beyond the year 10,000.
const NOT_LOGGED: u32 = u32::MAX;

/// An interval, remembered by a CPU from one packet to the next: a division costs as much as
/// looking a connection up.
pub(crate) struct Interval {
    length: u64,
    phase: u64,
    begin: u64,
    number: u32,
}

impl Moment {
    /// Now, by a policy's intervals.
    #[inline(always)]
    pub(crate) fn now(policy: &Policy, last: &mut Interval) -> Self {
        let ticks = clock::ticks();
        Self { ticks, stamp: clock::stamp(ticks), interval: last.number_at(policy.header(), ticks) }
    }

    /// The interval of the flow log, `None` where nothing is logged.
    #[inline(always)]
    pub(crate) fn interval(&self) -> Option<u32> {
        if self.interval == NOT_LOGGED { None } else { Some(self.interval) }
    }
}

impl Interval {
    /// The number of the interval in which a tick lies; it is this one from then on.
    #[inline(always)]
    fn number_at(&mut self, header: &PolicyHeader, ticks: u64) -> u32 {
        let (length, phase) = (u64::from(header.interval_ticks), header.interval_phase);
        let same = self.length == length && self.phase == phase;
        if length != 0 && !(same && ticks.wrapping_sub(self.begin) < length) {
            let number = ticks.wrapping_add(phase) / length;
            *self =
                Self { length, phase, begin: (number * length).wrapping_sub(phase), number: number as u32 };
        }
        if length == 0 { NOT_LOGGED } else { self.number }
    }
}

#[inline(always)]
pub(crate) fn interval(header: &PolicyHeader, ticks: u64) -> Option<u32> {
    let length = u64::from(header.interval_ticks);
    Some(ticks.wrapping_add(header.interval_phase).checked_div(length)? as u32)
}

/// What a packet adds to its counts.
#[derive(Clone, Copy)]
pub(crate) struct Measure {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// TCP flags as in the header.
    pub(crate) flags: u8,
}

/// Counts a packet by its reason.
#[inline(always)]
pub(crate) fn count_reason(slot: u32, direction: Direction, reason: Reason, measure: &Measure) {
    let Some(counters) = COUNTERS.get_ptr_mut(slot) else { return };
    let reason = verifier::opaque(reason as usize);
    if reason >= Reason::COUNT {
        return;
    }
    // SAFETY: the counters are this CPU's own, and programs do not interrupt each other on one CPU.
    unsafe {
        (*counters).packets[direction.index()][reason] += measure.packets;
        (*counters).bytes[direction.index()][reason] += measure.bytes;
    }
}

/// Counts a judged packet that no record will count.
#[inline(always)]
pub(crate) fn count_lost(slot: u32, direction: Direction, packets: u64, bytes: u64) {
    let Some(counters) = COUNTERS.get_ptr_mut(slot) else { return };
    // SAFETY: as in `count_reason`.
    unsafe {
        (*counters).lost_packets[direction.index()] += packets;
        (*counters).lost_bytes[direction.index()] += bytes;
        (*counters).lost_records[direction.index()] += 1;
    }
}

/// An entry of a table, which has its key where [`REST_OF_KEY`] tells, and tallies.
pub(crate) trait Entry {
    /// Which generation's groups admitted a connection, and by a packet of which direction.
    ///
    /// # Safety
    ///
    /// The entry is in a map value.
    unsafe fn admission(entry: *const Self) -> (u32, u8);
}

impl Entry for Connection {
    #[inline(always)]
    unsafe fn admission(entry: *const Self) -> (u32, u8) {
        // SAFETY: by the caller; other CPUs may change the words, hence volatile.
        unsafe {
            let state = State((&raw const (*entry).state).read_volatile());
            ((&raw const (*entry).generation).read_volatile(), state.initiator() as u8)
        }
    }
}

impl Entry for Flow {
    #[inline(always)]
    unsafe fn admission(_: *const Self) -> (u32, u8) {
        (0, 0)
    }
}

/// Counts a packet in its flow, and hands counts over before that are another interval's or were
/// judged by another generation.
///
/// `generation` is the policy's that judged the packet. Of the one that judged the counts, which
/// their record tells, the tally keeps the lower half: below, any generation less than 32,768
/// changes away from it will do.
///
/// # Safety
///
/// `tally` is of the entry, which is in a map value.
#[inline(always)]
pub(crate) unsafe fn count_flow<E: Entry>(
    tally: *mut Tally,
    entry: *const E,
    generation: u32,
    direction: Direction,
    reason: Reason,
    moment: &Moment,
    measure: &Measure,
) {
    // SAFETY: by the caller; every field is a number that other CPUs may change meanwhile.
    unsafe {
        let Some(interval) = moment.interval() else { return };
        let seen = (&raw const (*tally).interval).read_volatile();
        let name = (&raw const (*tally).flags_and_reason).read_volatile();
        let judged_otherwise = name & Tally::NAMED != 0 && name >> 16 != generation & 0xffff;
        let ended = seen != interval && atomic::replace_u32(&raw mut (*tally).interval, seen, interval);
        if judged_otherwise || ended {
            end_interval(tally, entry, generation, direction, seen);
        }
        let counts = Counts::new(measure.packets, measure.bytes).0;
        let before = atomic::fetch_add(&raw mut (*tally).counts, counts);
        if before == 0 {
            (*tally).first = moment.stamp;
            let name = Tally::NAMED | (reason as u32) << 8 | generation << 16;
            atomic::set_bits(&raw mut (*tally).flags_and_reason, name);
        }
        let flags = u32::from(logged_flags(measure.flags));
        if (&raw const (*tally).flags_and_reason).read_volatile() & flags != flags {
            atomic::set_bits(&raw mut (*tally).flags_and_reason, flags);
        }
        if Counts(before).is_half_full() {
            end_interval(tally, entry, generation, direction, interval);
        }
    }
}

/// Hands the counts of an ended interval over, or to the losses.
///
/// # Safety
///
/// As of [`count_flow`].
#[inline(always)]
pub(crate) unsafe fn end_interval<E: Entry>(
    tally: *mut Tally,
    entry: *const E,
    generation: u32,
    direction: Direction,
    interval: u32,
) {
    // SAFETY: by the caller.
    unsafe {
        if hand_over(tally, entry, generation, direction, interval) == Handed::NoRoom
            && atomic::take_u32(&raw mut (*tally).flags_and_reason) & Tally::NAMED != 0
        {
            let counts = Counts(atomic::take(&raw mut (*tally).counts));
            let slot = Key::slot_of(*entry.cast::<u64>());
            count_lost(u32::from(slot), direction, counts.packets(), counts.bytes());
        }
    }
}

/// What became of a tally's counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handed {
    /// There were none, or none that are named already.
    Nothing,
    /// Their record is in the ring.
    Done,
    /// The ring is full; they are where they were.
    NoRoom,
}

/// Hands a tally's counts over as a record.
///
/// # Safety
///
/// As of [`count_flow`].
#[inline(always)]
pub(crate) unsafe fn hand_over<E: Entry>(
    tally: *mut Tally,
    entry: *const E,
    generation: u32,
    direction: Direction,
    interval: u32,
) -> Handed {
    // SAFETY: by the caller.
    unsafe {
        if (&raw const (*tally).flags_and_reason).read_volatile() & Tally::NAMED == 0 {
            return Handed::Nothing;
        }
        let Some(mut place) = RECORDS.reserve(0) else { return Handed::NoRoom };
        let name = atomic::take_u32(&raw mut (*tally).flags_and_reason);
        if name & Tally::NAMED == 0 {
            // Another CPU was faster.
            place.discard(0);
            return Handed::Nothing;
        }
        let record: *mut FlowRecord = place.as_mut_ptr();
        let words: *const u64 = entry.cast();
        let rest = words.add(REST_OF_KEY);
        let key = Key([*words, *words.add(1), *rest, *rest.add(1), *rest.add(2)]);
        let first = key.0[0];
        ((*record).local, (*record).remote) = key.addresses();
        (*record).local_port = (first >> 48) as u16;
        (*record).remote_port = (first >> 32) as u16;
        (*record).protocol = (first >> 8) as u8;
        (*record).family = (first as u8 & 3) << 1;
        (*record).direction = direction as u8;
        (*record).slot = Key::slot_of(first);
        (*record).interval = interval;
        ((*record).opened, (*record).initiator) = E::admission(entry);
        let counts = Counts(atomic::take(&raw mut (*tally).counts));
        (*record).packets = counts.packets();
        (*record).bytes = counts.bytes();
        (*record).tcp_flags = (name & (Tally::NAMED - 1)) as u8;
        (*record).reason = (name >> 8) as u8;
        (*record).generation = of_lower_half(generation, (name >> 16) as u16);
        (*record).first = (*tally).first;
        // A closed connection's last packets do not count for its idle time.
        let (first, last) = ((*tally).first, (*tally).last);
        (*record).last = if last.wrapping_sub(first) < 1 << 31 { last } else { first };
        place.submit(0);
        Handed::Done
    }
}

/// The generation nearest to `near` that has this lower half.
#[inline(always)]
pub(crate) const fn of_lower_half(near: u32, lower: u16) -> u32 {
    near.wrapping_add(lower.wrapping_sub(near as u16) as i16 as u32)
}
