//! The connection table: `filter_common::table` over its maps.

use core::ptr;

use filter_common::{
    Direction,
    abi::{self, FRAGMENT_SECONDS, Stamp, Usage},
    connection::{Cached, Connection, Key, State, Tally, age, idle},
    policy::{Block, PolicyHeader},
    table::{self, LANES, Place, RESERVED, WORDS},
    track::{self, IdleTimeouts, Phase},
};

use crate::{
    account, atomic,
    maps::{CONNECTION_TAGS, CONNECTIONS, USAGE},
    memory, ports,
    seen::{Seen, fact},
    settings, sweep,
};

/// Slots looked through, per stamp, for room when the interface's allowance is used up.
const SEARCH: u32 = 16 << 10;

/// The connection table.
pub(crate) type Table = memory::Table<Connection, { abi::CONNECTIONS }>;

/// The table; `None` never happens, but the verifier can't know.
#[inline(always)]
pub(crate) fn table() -> Option<Table> {
    let tags = CONNECTION_TAGS.get_ptr_mut(0)?.cast();
    Some(Table::new(tags, CONNECTIONS.get_ptr_mut(0)?.cast()))
}

/// A connection that was found.
#[derive(Clone, Copy)]
pub(crate) struct Hit {
    pub(crate) entry: *mut Connection,
    pub(crate) state: State,
}

/// Stamps after which an idle connection in a phase is forgotten.
#[inline(always)]
fn timeout(header: &PolicyHeader, phase: u8) -> u32 {
    if (phase as usize) < Phase::COUNT { header.timeouts[phase as usize] } else { 0 }
}

/// The state of an entry, and for how many stamps it has been idle.
#[inline(always)]
fn state_and_idle(entry: *mut Connection, now: Stamp) -> (State, u32) {
    // SAFETY: the entry is in the table; other CPUs may change it, hence volatile.
    unsafe {
        let state = State((&raw const (*entry).state).read_volatile());
        let ingress = (&raw const (*entry).ingress.last).read_volatile();
        let egress = (&raw const (*entry).egress.last).read_volatile();
        (state, idle(ingress, egress, now))
    }
}

/// Whether an entry has outlived its timeout. Timeouts are those of the interface whose packet asks.
#[inline(always)]
pub(crate) fn has_expired(entry: *mut Connection, header: &PolicyHeader, now: Stamp) -> bool {
    let (state, idle) = state_and_idle(entry, now);
    idle > timeout(header, state.phase_number())
}

impl Hit {
    /// The network ACL's verdicts that the connection remembers.
    #[inline(always)]
    pub(crate) fn cached(&self) -> Cached {
        // SAFETY: the entry is in the table; other CPUs may change the word, hence volatile.
        Cached(unsafe { (&raw const (*self.entry).cached).read_volatile() })
    }

    /// Generation of the policy that admitted the connection.
    #[inline(always)]
    pub(crate) fn opened_under(&self) -> u32 {
        // SAFETY: the entry is in the table.
        unsafe { (&raw const (*self.entry).generation).read_volatile() }
    }

    /// A packet that keeps the connection from being idle.
    #[inline(always)]
    pub(crate) fn touch(&self, direction: Direction, now: Stamp) {
        // SAFETY: the entry is in the table.
        unsafe { (&raw mut (*tally(self.entry, direction)).last).write_volatile(now) };
    }

    /// Lets the connection remember them.
    #[inline(always)]
    pub(crate) fn cache(&self, cached: Cached) {
        // SAFETY: the entry is in the table, the word is written whole.
        unsafe { (&raw mut (*self.entry).cached).write_volatile(cached.0) };
    }
}

/// What is in a slot.
#[inline(always)]
pub(crate) fn hit(table: &Table, slot: u32) -> Hit {
    let entry = table.entry(slot);
    // SAFETY: the entry is in the table; other CPUs may change it, hence volatile.
    Hit { entry, state: State(unsafe { (&raw const (*entry).state).read_volatile() }) }
}

/// Whether a connection has not outlived its timeout. The packet's own direction is asked first: the
/// other one may stand in another cache line.
#[inline(always)]
pub(crate) fn is_live(hit: &Hit, direction: Direction, header: &PolicyHeader, now: Stamp) -> bool {
    let timeout = timeout(header, hit.state.phase_number());
    // SAFETY: the entry is in the table; other CPUs may change it, hence volatile.
    let last = |direction| unsafe { (&raw const (*tally(hit.entry, direction)).last).read_volatile() };
    age(last(direction), now) <= timeout || age(last(direction.reverse()), now) <= timeout
}

/// Counts of one direction.
///
/// # Safety
///
/// The entry is in the table.
#[inline(always)]
pub(crate) unsafe fn tally(entry: *mut Connection, direction: Direction) -> *mut Tally {
    // SAFETY: by the caller.
    unsafe {
        match direction {
            Direction::Ingress => &raw mut (*entry).ingress,
            Direction::Egress => &raw mut (*entry).egress,
        }
    }
}

/// Changes a connection's state, unless it has changed meanwhile or its slot has gone to another.
#[inline(always)]
pub(crate) fn change_state(hit: &Hit, state: State) {
    // SAFETY: the entry is in the table.
    unsafe { atomic::replace(&raw mut (*hit.entry).state, hit.state.0, state.0) };
}

/// Opens a connection. Null: there is no room, and the packet must be dropped. (A pointer, not an
/// `Option` of one: that would be returned through a sixth argument.)
///
/// A function of its own, called: it is off the hot path, and the pipeline calls it from one place.
#[inline(never)]
pub(crate) fn open(seen: &Seen<'_>, cached: Cached) -> *mut Connection {
    let (key, place) = (&seen.context.key, &seen.context.place);
    let Some(table) = table() else { return ptr::null_mut() };
    let Some(usage) = USAGE.get_ptr_mut(settings::slot()) else { return ptr::null_mut() };
    if !table::lock(&table, place) {
        return ptr::null_mut();
    }
    let entry = match reserve(&table, seen, key, place, usage) {
        Reserved::Mine(slot) => {
            let slot = seen.forget(slot);
            let entry = table.entry(slot);
            // Before the entry can be found, or its next packet would not look for it.
            ports::remember(seen);
            // SAFETY: the slot is reserved, so the entry is ours but for packets that found its
            // former connection just before: those only add to counts and compare-and-swap the
            // state, which the incarnation makes fail.
            unsafe {
                table.write_key(slot, key);
                fill(entry, seen, cached);
            }
            table::publish(&table, slot, place.tag);
            entry
        }
        Reserved::Theirs(slot) => table.entry(seen.forget(slot)),
        Reserved::None => ptr::null_mut(),
    };
    table::unlock(&table, place);
    entry
}

enum Reserved {
    /// A slot to fill.
    Mine(u32),
    /// Another CPU has just opened the connection.
    Theirs(u32),
    None,
}

#[inline(always)]
fn reserve(table: &Table, seen: &Seen<'_>, key: &Key, place: &Place, usage: *mut Usage) -> Reserved {
    let header = seen.policy.header();
    if let Some(slot) = table::find(table, place, key) {
        let slot = seen.forget(slot);
        let entry = table.entry(slot);
        if !seen.knows(fact::REPLACE) && !has_expired(entry, header, seen.context.moment.stamp) {
            return Reserved::Theirs(slot);
        }
        if table::change(table, slot, place.tag, RESERVED) {
            // SAFETY: the entry is reserved.
            unsafe { close(entry) };
            return Reserved::Mine(slot);
        }
        // Neighbours kept us from seizing it: it may still hold the key, which must not stand twice.
        return Reserved::None;
    }
    // SAFETY: the pointer is into the map's value.
    let used = unsafe { (&raw const (*usage).connections).read_volatile() };
    let full = used >= u64::from(header.allowance);
    if !full && let Some(slot) = table::claim(table, place) {
        // SAFETY: the pointer is into the map's value.
        unsafe { atomic::fetch_add(&raw mut (*usage).connections, 1) };
        return Reserved::Mine(slot);
    }
    // Where the allowance is used up, only this interface's connections may make room.
    match evict(table, seen, header, full) {
        Some(slot) => Reserved::Mine(slot),
        None => Reserved::None,
    }
}

/// Seizes a slot of the key's buckets: an expired connection's, else that of the half-open one
/// that has been idle longest. Established ones are never taken. The slot comes counted for the
/// interface that asks.
#[inline(always)]
fn evict(table: &Table, seen: &Seen<'_>, header: &PolicyHeader, own_only: bool) -> Option<u32> {
    let (place, now) = (&seen.context.place, seen.context.moment.stamp);
    let asking = settings::slot();
    seen.prefer_none();
    for n in 0..2 * WORDS * LANES {
        let slot = place.word(n / LANES) * LANES + n % LANES;
        if table::tag_of(table, slot) <= RESERVED || own_only && table.owner(slot) != asking {
            continue;
        }
        seen.prefer(rank(table, slot, header, now), slot);
    }
    let victim = seen.preferred()?;
    let tag = table::tag_of(table, victim);
    if tag <= RESERVED || !table::change(table, victim, tag, RESERVED) {
        return None;
    }
    if rank(table, victim, header, now) == 0 {
        // It was answered while we chose: an established connection is never taken.
        table::publish(table, victim, tag);
        return None;
    }
    let entry = table.entry(victim);
    // SAFETY: the entry is reserved.
    unsafe { close(entry) };
    let owner = table.owner(victim);
    if owner != asking {
        add_usage(owner, 1u64.wrapping_neg());
        add_usage(asking, 1);
    }
    Some(victim)
}

/// How well a connection makes room: 0 not at all, above 2^31 because it has expired, else because
/// it is half-open.
#[inline(always)]
fn rank(table: &Table, slot: u32, header: &PolicyHeader, now: Stamp) -> u32 {
    let (state, idle) = state_and_idle(table.entry(slot), now);
    let phase = state.phase_number();
    let timeout = if table.owner(slot) == settings::slot() {
        timeout(header, phase)
    } else {
        longest_timeout(header, phase)
    };
    if idle > timeout {
        idle | 1 << 31
    } else if Phase::is_half_open(phase) {
        idle + 1
    } else {
        0
    }
}

/// The longest timeout that any interface may have for a phase: by it another interface's
/// connections are judged, whose own is not at hand.
#[inline(always)]
fn longest_timeout(header: &PolicyHeader, phase: u8) -> u32 {
    let longest = |seconds: u32| settings::fragment_stamps().wrapping_mul(seconds / FRAGMENT_SECONDS);
    if phase == Phase::TcpEstablished as u8 {
        longest(IdleTimeouts::LONGEST.tcp_established)
    } else if phase == Phase::UdpStream as u8 {
        longest(IdleTimeouts::LONGEST.udp_stream)
    } else if phase <= Phase::UdpAskedAgain as u8 {
        longest(IdleTimeouts::LONGEST.udp)
    } else {
        timeout(header, phase)
    }
}

#[inline(always)]
fn add_usage(slot: u32, delta: u64) {
    if let Some(usage) = USAGE.get_ptr_mut(slot) {
        // SAFETY: the pointer is into the map's value.
        unsafe { atomic::fetch_add(&raw mut (*usage).connections, delta) };
    }
}

/// Hands the counts of a reserved entry over, or to the losses.
///
/// # Safety
///
/// The entry is reserved by the caller.
#[inline(always)]
pub(crate) unsafe fn close(entry: *mut Connection) {
    // SAFETY: by the caller.
    unsafe {
        let generation = Cached((*entry).cached).generation();
        for direction in [Direction::Ingress, Direction::Egress] {
            let tally = tally(entry, direction);
            account::end_interval(tally, entry, generation, direction, (*tally).interval);
        }
    }
}

/// Gives a reserved entry back, whose counts are handed over.
#[inline(always)]
pub(crate) fn free(table: &Table, slot: u32) {
    add_usage(table.owner(slot), 1u64.wrapping_neg());
    table::release(table, slot);
}

/// Fills a reserved entry, but for its key. Counts are left as they are: they were taken off, and what a late
/// packet of the former connection has added since must not vanish.
///
/// # Safety
///
/// The entry is reserved by the caller.
#[inline(always)]
unsafe fn fill(entry: *mut Connection, seen: &Seen<'_>, cached: Cached) {
    let (packet, moment) = (&seen.context.packet, &seen.context.moment);
    let phase = track::opening(packet.protocol, packet.is_icmp(), packet.tcp_flags);
    // SAFETY: by the caller.
    unsafe {
        let incarnation = State((*entry).state).incarnation().wrapping_add(1);
        (*entry).opened = moment.stamp;
        (*entry).generation = cached.generation();
        for tally in [&raw mut (*entry).ingress, &raw mut (*entry).egress] {
            (*tally).last = moment.stamp;
            (*tally).interval = moment.interval().unwrap_or(0);
        }
        let state = State::new(phase, seen.direction, incarnation);
        (*entry).cached = cached.of(state).0;
        (&raw mut (*entry).state).write_volatile(state.0);
    }
}

/// Looks through a part of the table for connections that have expired, once per stamp and
/// interface: with no agent running, this is how an allowance that is used up gets room again.
#[inline(always)]
pub(crate) fn make_room(now: Stamp) {
    let Some(usage) = USAGE.get_ptr_mut(settings::slot()) else { return };
    // SAFETY: the pointer is into the map's value.
    unsafe {
        let searched = (&raw const (*usage).searched).read_volatile();
        if searched == u64::from(now)
            || !atomic::replace(&raw mut (*usage).searched, searched, u64::from(now))
        {
            return;
        }
        let hand = atomic::fetch_add(&raw mut (*usage).hand, u64::from(SEARCH));
        sweep::reclaim(hand as u32 & (abi::CONNECTIONS as u32 - 1), SEARCH, settings::slot());
    }
}
