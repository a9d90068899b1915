//! The table of rejected and untracked flows: only counted, never asked for a verdict.
//!
//! The same structure as the connections' ([`filter_common::table`]), with a key that also holds
//! the direction and the reason. When a bucket is full, the flow that was idle longest makes room,
//! if its interval has ended or its counts were handed over; if all have counts of the open
//! interval, the packet is a counted loss: a scan cannot push others' counts out, nor can it hide.

use filter_common::{
    Direction, abi,
    connection::{Flow, Key},
    policy::Block,
    table::{self, LANES, Place, RESERVED, WORDS},
    verdict::Reason,
};

use crate::{
    account,
    maps::{FLOW_TAGS, FLOWS},
    memory,
    seen::{Context, Seen},
    settings, verifier,
};

/// The table of flows.
pub(crate) type Table = memory::Table<Flow, { abi::FLOWS }>;

/// The table; `None` never happens, but the verifier can't know.
#[inline(always)]
pub(crate) fn table() -> Option<Table> {
    let tags = FLOW_TAGS.get_ptr_mut(0)?.cast();
    Some(Table::new(tags, FLOWS.get_ptr_mut(0)?.cast()))
}

/// Counts a packet of a rejected or untracked flow, where a flow log wants it. Its key and place replace
/// those of the connection that it does not belong to, in the packet's context: were they on the stack,
/// the verifier would follow what each comparison tells of them.
///
/// # Safety
///
/// The context is this CPU's own, and nobody else refers to its key and place.
#[inline(never)]
pub(crate) unsafe fn count(seen: &Seen<'_>, context: *mut Context, reason: Reason) -> u32 {
    let Some(interval) = seen.context.moment.interval() else { return 0 };
    // SAFETY: by the caller.
    unsafe { (*context).key = seen.flow_key(reason) };
    verifier::forget_memory();
    let Some(place) = Table::place(&seen.context.key) else { return 0 };
    // SAFETY: by the caller.
    unsafe { (*context).place = place };
    verifier::forget_memory();
    let Some(entry) = find_or_insert(seen, interval) else {
        let measure = &seen.context.measure;
        account::count_lost(settings::slot(), seen.direction, measure.packets, measure.bytes);
        return 0;
    };
    // SAFETY: the entry is in the table.
    unsafe {
        account::count_flow(
            &raw mut (*entry).tally,
            entry,
            seen.policy.header().generation,
            seen.direction,
            reason,
            &seen.context.moment,
            &seen.context.measure,
        );
        // After it: the record of an ended interval tells its own last packet.
        (*entry).tally.last = seen.context.moment.stamp;
    }
    1
}

#[inline(always)]
fn find_or_insert(seen: &Seen<'_>, interval: u32) -> Option<*mut Flow> {
    let table = table()?;
    let (key, place) = (&seen.context.key, &seen.context.place);
    if let Some(slot) = table::find(&table, place, key) {
        return Some(table.entry(seen.forget(slot)));
    }
    if !table::lock(&table, place) {
        return None;
    }
    let entry = insert(&table, place, key, seen, interval);
    table::unlock(&table, place);
    entry
}

#[inline(always)]
fn insert(table: &Table, place: &Place, key: &Key, seen: &Seen<'_>, interval: u32) -> Option<*mut Flow> {
    if let Some(slot) = table::find(table, place, key) {
        return Some(table.entry(seen.forget(slot)));
    }
    let slot = table::claim(table, place).or_else(|| evict(table, place, interval, seen))?;
    let slot = seen.forget(slot);
    let entry = table.entry(slot);
    // SAFETY: the slot is reserved by us. Counts are left as they are, as in `connections::fill`.
    unsafe {
        table.write_key(slot, key);
        (*entry).generation = seen.policy.header().generation;
        (*entry).tally.last = seen.context.moment.stamp;
        (*entry).tally.interval = interval;
    }
    table::publish(table, slot, place.tag);
    Some(entry)
}

#[inline(always)]
fn evict(table: &Table, place: &Place, interval: u32, seen: &Seen<'_>) -> Option<u32> {
    let moment = &seen.context.moment;
    seen.prefer_none();
    for n in 0..2 * WORDS * LANES {
        let slot = place.word(n / LANES) * LANES + n % LANES;
        if table::tag_of(table, slot) <= RESERVED {
            continue;
        }
        let entry = table.entry(slot);
        // SAFETY: the entry is in the table.
        let (free_to_go, idle) = unsafe {
            let ended = (&raw const (*entry).tally.interval).read_volatile() != interval;
            let handed_over = (&raw const (*entry).tally.counts).read_volatile() == 0;
            (
                ended || handed_over,
                moment.stamp.wrapping_sub((&raw const (*entry).tally.last).read_volatile()),
            )
        };
        if free_to_go && idle < 1 << 31 {
            seen.prefer(idle + 1, slot);
        }
    }
    let victim = seen.preferred()?;
    let tag = table::tag_of(table, victim);
    if tag <= RESERVED || !table::change(table, victim, tag, RESERVED) {
        return None;
    }
    let entry = table.entry(victim);
    // SAFETY: the entry is reserved by us.
    unsafe { end(entry) };
    Some(victim)
}

/// Hands the counts of a reserved entry over, or to the losses.
///
/// # Safety
///
/// The entry is reserved by the caller.
#[inline(always)]
pub(crate) unsafe fn end(entry: *mut Flow) {
    // SAFETY: by the caller.
    unsafe {
        let direction = direction_of((*entry).key[0]);
        let (generation, interval) = ((*entry).generation, (*entry).tally.interval);
        account::end_interval(&raw mut (*entry).tally, entry, generation, direction, interval);
    }
}

/// The direction that a flow's key holds in its first word. See `filter_common::connection::flow_kind`.
#[inline(always)]
pub(crate) const fn direction_of(first: u64) -> Direction {
    if first >> 2 & 1 == 0 { Direction::Ingress } else { Direction::Egress }
}
