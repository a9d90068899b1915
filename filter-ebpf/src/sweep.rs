//! Sweeping the tables: handing counts over, giving slots back.
//!
//! User space calls it through `filter_sweep`; the connection table calls [`reclaim`] when an
//! interface's allowance is used up. `bpf_loop` walks the slots (kernel 5.17).

use core::ffi::{c_long, c_void};

use aya_ebpf::helpers::bpf_loop;
use filter_common::{
    Direction,
    abi::{self, sweep_flags},
    connection::{Cached, Tally},
    policy::{Block, PolicyHeader},
    table::{self, RESERVED},
    track::Phase,
};

use crate::{
    account::{self, Entry, Handed},
    clock, connections, flows, memory, policy,
};

/// Slots of one run.
const MAX_COUNT: u32 = 1 << 16;

const CONNECTIONS: u32 = abi::CONNECTIONS as u32;
const SLOTS: u32 = CONNECTIONS + abi::FLOWS as u32;

// All of 64 bits: the verifier wants accesses to the stack aligned, and LLVM, told that packets
// need not be, merges neighbouring halves.
struct Walk {
    first: u64,
    /// Only this interface's, or `u32::MAX`.
    slot: u64,
    flags: u64,
    records: u64,
    deferred: u64,
    oldest: u64,
    ticks: u64,
}

/// What a run did: see the fields of [`abi::Sweep`].
pub(crate) struct Swept {
    pub(crate) records: u32,
    pub(crate) deferred: u32,
    pub(crate) oldest: u32,
}

impl Walk {
    #[inline(always)]
    const fn asks(&self, flag: u32) -> bool {
        self.flags & flag as u64 != 0
    }

    #[inline(always)]
    const fn concerns(&self, owner: u32) -> bool {
        self.slot == u32::MAX as u64 || self.slot == owner as u64
    }

    /// A later record can name a generation.
    #[inline(always)]
    fn needs(&mut self, generation: u32) {
        if u64::from(generation) < self.oldest {
            self.oldest = generation.into();
        }
    }
}

/// Sweeps `count` slots from `first` on, counted through both tables.
#[inline(always)]
pub(crate) fn run(first: u32, count: u32, slot: u32, flags: u32) -> Swept {
    let mut walk = Walk {
        first: first.into(),
        slot: slot.into(),
        flags: flags.into(),
        records: 0,
        deferred: 0,
        oldest: u32::MAX.into(),
        ticks: clock::ticks(),
    };
    let count = if count > MAX_COUNT { MAX_COUNT } else { count };
    let callback = visit as unsafe extern "C" fn(u32, *mut c_void) -> c_long;
    // SAFETY: the callback has the helper's signature, and its context is a `Walk`.
    unsafe { bpf_loop(count, callback as *mut c_void, (&raw mut walk).cast(), 0) };
    Swept { records: walk.records as u32, deferred: walk.deferred as u32, oldest: walk.oldest as u32 }
}

/// Gives back the slots of an interface's expired connections among `count` from `first` on.
#[inline(always)]
pub(crate) fn reclaim(first: u32, count: u32, slot: u32) {
    run(first, count, slot, sweep_flags::RECLAIM);
}

unsafe extern "C" fn visit(index: u32, walk: *mut c_void) -> c_long {
    // SAFETY: it is the `Walk` that `run` passed.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    let slot = (walk.first as u32).wrapping_add(index);
    if slot < CONNECTIONS {
        visit_connection(walk, slot);
    } else if slot < SLOTS {
        visit_flow(walk, slot - CONNECTIONS);
    } else {
        return 1;
    }
    0
}

/// The tag and the interface of a slot that is in use and that the walk is about.
#[inline(always)]
fn meant<E, const SLOTS: usize>(
    walk: &Walk,
    table: &memory::Table<E, SLOTS>,
    slot: u32,
) -> Option<(u64, u32)> {
    let tag = table::tag_of(table, slot);
    let owner = table.owner(slot);
    if tag > RESERVED && walk.concerns(owner) { Some((tag, owner)) } else { None }
}

#[inline(always)]
fn visit_connection(walk: &mut Walk, slot: u32) {
    let Some(table) = connections::table() else { return };
    let Some((tag, owner)) = meant(walk, &table, slot) else { return };
    let entry = table.entry(slot);
    let mut gone = walk.asks(sweep_flags::FORGET);
    // An interface without a policy is being detached: its entries can only be forgotten.
    if let Some(policy) = policy::of(owner) {
        let header = policy.header();
        let mut kept = false;
        // SAFETY: the entry is in the table.
        unsafe {
            let generation = Cached((*entry).cached).generation();
            for direction in [Direction::Ingress, Direction::Egress] {
                let tally = connections::tally(entry, direction);
                kept |= !hand_over(walk, header, tally, entry, generation, direction);
            }
        }
        let now = clock::stamp(walk.ticks);
        let expired = connections::has_expired(entry, header, now);
        let over = !kept && expired;
        gone |= walk.asks(sweep_flags::RECLAIM) && over || walk.asks(sweep_flags::EXPIRE) && expired;
        if !over {
            // SAFETY: the entry is in the table.
            walk.needs(unsafe { (*entry).generation });
        }
    }
    if gone && table::change(&table, slot, tag, RESERVED) {
        // SAFETY: the entry is reserved.
        unsafe { connections::close(entry) };
        connections::free(&table, slot);
    }
}

#[inline(always)]
fn visit_flow(walk: &mut Walk, slot: u32) {
    let Some(table) = flows::table() else { return };
    let Some((tag, owner)) = meant(walk, &table, slot) else { return };
    let entry = table.entry(slot);
    let mut gone = walk.asks(sweep_flags::FORGET);
    if let Some(policy) = policy::of(owner) {
        let header = policy.header();
        // SAFETY: the entry is in the table.
        let (kept, idle) = unsafe {
            let direction = flows::direction_of((*entry).key[0]);
            let tally = &raw mut (*entry).tally;
            let kept = !hand_over(walk, header, tally, entry, (*entry).generation, direction);
            if kept {
                let name = (&raw const (*tally).flags_and_reason).read_volatile();
                walk.needs(account::of_lower_half((*entry).generation, (name >> 16) as u16));
            }
            (kept, clock::stamp(walk.ticks).wrapping_sub((*tally).last))
        };
        // As long as a half-open connection: two intervals of the usual length.
        let idle_enough = idle < 1 << 31 && idle > header.timeouts[Phase::TcpSynSent as usize];
        gone |= walk.asks(sweep_flags::RECLAIM) && !kept && idle_enough;
    }
    if gone && table::change(&table, slot, tag, RESERVED) {
        // SAFETY: the entry is reserved.
        unsafe { flows::end(entry) };
        table::release(&table, slot);
    }
}

/// Hands a tally over if its interval has ended, or if open ones are asked for. False if the ring
/// has no room: then the counts stay.
///
/// # Safety
///
/// The tally is of the entry, which is in a map value.
#[inline(always)]
unsafe fn hand_over<E: Entry>(
    walk: &mut Walk,
    header: &PolicyHeader,
    tally: *mut Tally,
    entry: *const E,
    generation: u32,
    direction: Direction,
) -> bool {
    // SAFETY: by the caller.
    unsafe {
        let interval = (&raw const (*tally).interval).read_volatile();
        let open = account::interval(header, walk.ticks) == Some(interval);
        if open && !walk.asks(sweep_flags::OPEN_INTERVAL) {
            // Counts are left, and the entry with them.
            return (&raw const (*tally).counts).read_volatile() == 0;
        }
        match account::hand_over(tally, entry, generation, direction, interval) {
            Handed::Nothing => true,
            Handed::Done => {
                walk.records += 1;
                true
            }
            Handed::NoRoom => {
                walk.deferred += 1;
                false
            }
        }
    }
}
