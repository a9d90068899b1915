//! A packet's way: read, found or judged, counted.
//!
//! In stages, each of which leaves what it found out in the packet's [`Context`] and begins by
//! reading it there: a later stage is then verified once, and not once for each way to it (see
//! `verifier.rs`).

use filter_common::{
    Direction,
    cell::{Cell, untracked},
    connection::Cached,
    exempt::{self, Candidate},
    packet::{Fragment, Packet},
    policy::{Block, address_class, cells, flags, service_class},
    service::{TCP, UDP},
    table, track,
    verdict::{Category, Reason, Verdict},
};

use crate::{
    account::{self, Measure, Moment},
    connections::{self, Hit},
    flows, fragments,
    maps::CONTEXT,
    policy, ports,
    seen::{Context, Role, Seen, fact},
    settings,
    source::Source,
    verifier,
};

/// Result of reading a packet that could be read; any other is the number of a [`Reason`].
const READ: u32 = u32::MAX;

/// No slot of the table.
const NOWHERE: u32 = u32::MAX;

/// Judges a packet and counts it.
#[inline(always)]
pub(crate) fn judge<S: Source>(source: &S, direction: Direction) -> Verdict {
    let slot = settings::slot();
    let Some(context) = CONTEXT.get_ptr_mut(0) else { return Verdict(Reason::NoPolicy) };
    // SAFETY: the context is this CPU's own, and programs do not interrupt each other on one CPU.
    // Writing it makes it valid.
    let result = unsafe {
        (*context).packet = Packet::EMPTY;
        (*context).facts.get().write_volatile(0);
        let result = match (*context).packet.read(source, settings::link()) {
            Ok(()) => READ,
            Err(reason) => reason as u32,
        };
        verifier::forget((*context).forgotten.get(), result)
    };
    verifier::forget_memory();
    // SAFETY: as above.
    unsafe { measure(source, context, result == READ) };
    let reason = match policy::of(slot) {
        None => Reason::NoPolicy,
        Some(policy) if result == READ => {
            // SAFETY: as above. From here on it is only read, but for what lies in cells.
            let seen = Seen { policy, context: unsafe { &*context }, direction };
            judge_read(source, &seen, context)
        }
        Some(_) => Reason::from_number(result as u8).unwrap_or(Reason::NoPolicy),
    };
    // SAFETY: as above.
    account::count_reason(slot, direction, reason, unsafe { &(*context).measure });
    Verdict(reason)
}

/// Measures the packet: on the wire if it could be read, else as it came.
///
/// # Safety
///
/// The context is this CPU's own, and its packet is written.
#[inline(always)]
unsafe fn measure<S: Source>(source: &S, context: *mut Context, read: bool) {
    // SAFETY: by the caller.
    unsafe {
        let (packets, bytes) =
            if read { (*context).packet.on_the_wire(source) } else { (1, source.length() as u64) };
        (*context).measure = Measure { packets, bytes, flags: (*context).packet.tcp_flags };
    }
}

/// Judges a packet that could be read, and counts it in its flow if it was judged by rules.
#[inline(always)]
fn judge_read<S: Source>(source: &S, seen: &Seen<'_>, context: *mut Context) -> Reason {
    match exempt::candidate(&seen.context.packet, seen.direction) {
        Candidate::Yes(reason) => return reason,
        Candidate::Dhcp => seen.learn(fact::DHCP),
        Candidate::No => {}
    }
    // SAFETY: as in `judge`.
    unsafe { (*context).moment = Moment::now(&seen.policy, &mut (*context).interval) };
    let reason = decide(source, seen, context);
    let reason = Reason::from_number(seen.forget(reason as u32) as u8).unwrap_or(Reason::NoPolicy);
    verifier::forget_memory();
    let accepted = matches!(reason.category(), Category::Accepted);
    if matches!(seen.context.packet.fragment, Fragment::First) && accepted {
        // LLVM drops a result that nobody uses, and the function then returns with whatever is in
        // the register: the verifier refuses that to be a stack pointer.
        seen.forget(fragments::remember(&seen.context.packet, seen.direction, seen.context.moment.stamp));
    }
    // Packets of connections are counted in the connection's entry.
    let logged = seen.context.moment.interval().is_some();
    if logged && reason.judged() && !matches!(reason, Reason::Connection | Reason::NewConnection) {
        // SAFETY: as above; what was found out about the packet's connection is of no use any more.
        seen.forget(unsafe { flows::count(seen, context, reason) });
    }
    reason
}

/// The verdict: by its connection if there is one, else by the rules.
#[inline(always)]
fn decide<S: Source>(source: &S, seen: &Seen<'_>, context: *mut Context) -> Reason {
    let Some(table) = connections::table() else { return Reason::AllowanceExceeded };
    // SAFETY: the context is this CPU's own; nothing else refers to its key and place.
    let (key, place) = unsafe { (&raw mut (*context).key, &raw mut (*context).place) };
    // SAFETY: as above.
    let role = seen.lookup(source, key);
    seen.remember_role(role);
    verifier::forget_memory();

    // SAFETY: as above.
    let slot = unsafe { find(seen, &table, place) };
    let slot = seen.forget(slot);
    verifier::forget_memory();
    let hit = connections::hit(&table, slot);
    if slot != NOWHERE {
        recall(seen, &hit);
    }

    if !seen.knows(fact::VERDICT) {
        if let Some(reason) = classify(source, seen) {
            return reason;
        }
        let found = seen.knows(fact::FOUND);
        if !found && let Some(reason) = denied(seen.direction, seen.forward()) {
            return reason;
        }
        classify_mirror(seen);
        if !found {
            // SAFETY: as above.
            return unsafe { open(seen, &hit, place) };
        }
        recall_acl(seen, &hit);
    }
    go_on(seen, &hit)
}

/// Looks the packet's connection up: a slot, or [`NOWHERE`].
///
/// # Safety
///
/// The place is in the context.
#[inline(always)]
unsafe fn find(seen: &Seen<'_>, table: &connections::Table, place: *mut table::Place) -> u32 {
    match seen.role() {
        Role::Nothing => return NOWHERE,
        Role::Own if !ports::may_be_connected(seen) => return NOWHERE,
        _ => {}
    }
    // SAFETY: by the caller.
    match unsafe { write_place(seen, place) } {
        Some(at) => table::find(table, &at, &seen.context.key).unwrap_or(NOWHERE),
        None => NOWHERE,
    }
}

/// Writes where the packet's key may stand.
///
/// # Safety
///
/// The place is in the context.
#[inline(always)]
unsafe fn write_place(seen: &Seen<'_>, place: *mut table::Place) -> Option<table::Place> {
    let at = connections::Table::place(&seen.context.key)?;
    // SAFETY: by the caller.
    unsafe { *place = at };
    Some(at)
}

/// What a connection in the table knows: that the packet is its own, and what the network ACL
/// said of it, if that was the current one. (Never of ICMP: its types differ.)
#[inline(always)]
fn recall(seen: &Seen<'_>, hit: &Hit) {
    let packet = &seen.context.packet;
    let header = seen.policy.header();
    if !connections::is_live(hit, seen.direction, header, seen.context.moment.stamp) {
        return;
    }
    // A SYN that is sent again is the connection's own, unless the rules have changed meanwhile: then
    // it begins under the new ones.
    let asked_again =
        track::is_syn_sent_again(hit.state, packet.tcp_flags) && hit.opened_under() != header.generation;
    if asked_again || track::begins_anew(hit.state, packet.protocol, packet.tcp_flags) {
        // The rules are asked. What they accept replaces the connection, but an established one.
        seen.learn(if track::is_replaced_by_syn(hit.state) { fact::REPLACE } else { fact::KEEP });
        return;
    }
    seen.learn(fact::FOUND);
    let cached = hit.cached();
    if !packet.is_icmp() && cached.generation() == header.generation && cached.is_of(hit.state) {
        seen.learn(fact::VERDICT);
        if cached.allows(seen.direction) {
            seen.learn(fact::ALLOWED);
        }
    }
}

/// Asks the policy's tables, and says what follows from them without regard to connections.
#[inline(always)]
fn classify<S: Source>(source: &S, seen: &Seen<'_>) -> Option<Reason> {
    let packet = &seen.context.packet;
    seen.remember_row(address_class(&seen.policy, seen.remote(), packet.family));
    verifier::forget_memory();
    let forward = cells(&seen.policy, seen.row(), service_class(&seen.policy, packet.service()));
    seen.remember_forward(forward.of(seen.direction));
    verifier::forget_memory();

    if seen.must_know_own() && seen.local_is_own() {
        seen.learn(fact::OWN);
    }
    let forward = seen.forward();
    if forward.has(Cell::EXEMPT) && seen.exemption_holds(source, forward) {
        return Some(Reason::Exempt);
    }
    if matches!(packet.fragment, Fragment::Later) {
        let follows = fragments::follows(packet, seen.direction, seen.context.moment.stamp);
        return Some(if follows { Reason::Fragment } else { Reason::OrphanFragment });
    }
    if seen.knows(fact::DHCP) && seen.is_dhcp_on_the_link(forward) {
        return Some(Reason::Dhcp);
    }
    if seen.policy.header().flags & flags::SOURCE_DEST_CHECK != 0 && !seen.knows(fact::OWN) {
        return Some(Reason::SourceDestCheck);
    }
    None
}

/// Asks the policy's tables about the packet's mirror image: of accepted packets only, as nothing else
/// needs it.
#[inline(always)]
fn classify_mirror(seen: &Seen<'_>) {
    verifier::forget_memory();
    let service = service_class(&seen.policy, seen.context.packet.mirror_service());
    let mirror = cells(&seen.policy, seen.row(), service);
    seen.remember_mirror(mirror.of(seen.direction.reverse()));
    verifier::forget_memory();
}

/// The network ACL's verdict on a packet of a known connection, by the current policy.
#[inline(always)]
fn recall_acl(seen: &Seen<'_>, hit: &Hit) {
    let forward = seen.forward();
    if forward.has(Cell::NACL_ALLOW) {
        seen.learn(fact::ALLOWED);
    }
    if !seen.context.packet.is_icmp() {
        hit.cache(cached(seen).of(hit.state));
    }
}

/// What becomes of a packet of no known connection that the rules accept: if it can, it opens one.
///
/// # Safety
///
/// The place is in the context.
#[inline(always)]
unsafe fn open(seen: &Seen<'_>, hit: &Hit, place: *mut table::Place) -> Reason {
    let packet = &seen.context.packet;
    let forward = seen.forward();
    if (packet.protocol == TCP || packet.protocol == UDP) && untracked(forward, seen.mirror()) {
        return Reason::Untracked;
    }
    if seen.knows(fact::KEEP) {
        seen.learn(fact::ALLOWED);
        return go_on(seen, hit);
    }
    if !seen.may_open(forward) {
        let segment = packet.protocol == TCP && !track::is_bare_syn(packet.tcp_flags);
        return if segment && seen.is_strict() { Reason::StrictTcp } else { Reason::Stray };
    }
    // It may not have been looked up.
    // SAFETY: by the caller.
    if unsafe { write_place(seen, place) }.is_none() {
        return Reason::AllowanceExceeded;
    }
    verifier::forget_memory();
    let entry = connections::open(seen, cached(seen));
    if entry.is_null() {
        connections::make_room(seen.context.moment.stamp);
        return Reason::AllowanceExceeded;
    }
    // SAFETY: the entry is in the table.
    unsafe { seen.count_in(entry, Reason::NewConnection) };
    Reason::NewConnection
}

/// A packet of a known connection: the groups had their say when it was opened, the network ACL
/// has it now.
#[inline(always)]
fn go_on(seen: &Seen<'_>, hit: &Hit) -> Reason {
    if !seen.knows(fact::ALLOWED) {
        return Reason::NetworkAcl;
    }
    if matches!(seen.role(), Role::Related) {
        return Reason::Related;
    }
    let next = track::advance(hit.state, seen.direction, seen.context.packet.tcp_flags);
    if next != hit.state {
        connections::change_state(hit, next);
    }
    // SAFETY: the entry is in the table.
    unsafe { seen.count_in(hit.entry, Reason::Connection) };
    // After it: the record of an ended interval tells its own last packet.
    if !track::lingers(hit.state) {
        hit.touch(seen.direction, seen.context.moment.stamp);
    }
    Reason::Connection
}

/// The network ACL's verdicts on both directions of the packet's connection.
#[inline(always)]
fn cached(seen: &Seen<'_>) -> Cached {
    let generation = seen.policy.header().generation;
    let here = seen.forward().has(Cell::NACL_ALLOW);
    let there = seen.mirror().has(Cell::NACL_ALLOW);
    match seen.direction {
        Direction::Ingress => Cached::new(generation, here, there),
        Direction::Egress => Cached::new(generation, there, here),
    }
}

/// The reason of the layer that denies a new packet: the network ACL stands outside of the groups.
#[inline(always)]
const fn denied(direction: Direction, cell: Cell) -> Option<Reason> {
    let nacl = cell.has(Cell::NACL_ALLOW);
    let groups = cell.has(Cell::GROUP_ALLOW);
    match (direction, nacl, groups) {
        (_, true, true) => None,
        (Direction::Ingress, false, _) | (Direction::Egress, false, true) => Some(Reason::NetworkAcl),
        _ => Some(Reason::SecurityGroup),
    }
}
