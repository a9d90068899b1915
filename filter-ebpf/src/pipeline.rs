//! A packet's way: read, found or judged, counted.

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
    connections, flows, fragments,
    maps::CONTEXT,
    policy::{self, Policy},
    seen::{Context, Role, Seen},
    settings,
    source::Source,
    verifier,
};

/// Judges a packet and counts it.
#[inline(always)]
pub(crate) fn judge<S: Source>(source: &S, direction: Direction) -> Verdict {
    let slot = settings::slot();
    let Some(context) = CONTEXT.get_ptr_mut(0) else { return Verdict(Reason::NoPolicy) };
    // SAFETY: the context is this CPU's own, and programs do not interrupt each other on one CPU.
    // Writing it whole makes it valid.
    unsafe {
        (*context).packet = Packet::EMPTY;
        (*context).measure = Measure { packets: 1, bytes: source.length() as u64, flags: 0 };
    }
    let reason = match policy::of(slot) {
        None => Reason::NoPolicy,
        // SAFETY: as above.
        Some(policy) => match unsafe { (*context).packet.read(source, settings::link()) } {
            Err(reason) => reason,
            Ok(()) => {
                verifier::forget_memory();
                judge_read(source, policy, context, direction)
            }
        },
    };
    // SAFETY: as above.
    account::count_reason(slot, direction, reason, unsafe { &(*context).measure });
    Verdict(reason)
}

/// Judges a packet that could be read, and counts it in its flow if it was judged by rules.
#[inline(always)]
fn judge_read<S: Source>(
    source: &S,
    policy: Policy,
    context: *mut Context,
    direction: Direction,
) -> Reason {
    // SAFETY: the context is this CPU's own, and valid since `judge` wrote it.
    let packet = unsafe { &(*context).packet };
    let (packets, bytes) = packet.on_the_wire(source);
    // SAFETY: as above.
    unsafe { (*context).measure = Measure { packets, bytes, flags: packet.tcp_flags } };
    let candidate = exempt::candidate(packet, direction);
    if let Candidate::Yes(reason) = candidate {
        return reason;
    }
    // SAFETY: as above.
    unsafe { (*context).moment = Moment::now(&policy) };
    // SAFETY: as above. From here on it is only read, but for the key and its place.
    let seen = Seen { policy, context: unsafe { &*context }, direction };
    let reason = decide(source, &seen, context, matches!(candidate, Candidate::Dhcp));
    if matches!(packet.fragment, Fragment::First) && matches!(reason.category(), Category::Accepted) {
        // LLVM drops a result that nobody uses, and the function then returns with whatever is in
        // the register: the verifier refuses that to be a stack pointer.
        seen.forget(fragments::remember(packet, seen.context.moment.stamp));
    }
    // Packets of connections are counted in the connection's entry.
    if reason.judged() && !matches!(reason, Reason::Connection | Reason::NewConnection) {
        seen.forget(flows::count(&seen, reason));
    }
    reason
}

/// The verdict: by its connection if there is one, else by the rules.
#[inline(always)]
fn decide<S: Source>(source: &S, seen: &Seen<'_>, context: *mut Context, dhcp: bool) -> Reason {
    let header = seen.policy.header();
    let packet = &seen.context.packet;

    // 1. Its connection. An ICMP error belongs to that of the packet that it quotes.
    let Some(table) = connections::table() else { return Reason::AllowanceExceeded };
    // SAFETY: the context is this CPU's own; nothing else refers to its key and place.
    let role = unsafe { seen.lookup(source, &raw mut (*context).key) };
    let role = Role::from_number(seen.forget(role as u32));
    verifier::forget_memory();
    let mut slot = NOWHERE;
    if !matches!(role, Role::Nothing) {
        let Some(place) = connections::Table::place(&seen.context.key) else {
            return Reason::AllowanceExceeded;
        };
        // SAFETY: as above.
        unsafe { (*context).place = place };
        slot = table::find(&table, &place, &seen.context.key).unwrap_or(NOWHERE);
    }
    let slot = seen.forget(slot);
    verifier::forget_memory();
    let is_icmp = packet.is_icmp();
    let mut found = None;
    let mut begins_anew = false;
    let mut verdict = Known::No;
    if slot != NOWHERE {
        found = connections::live(&table, slot, header, seen.context.moment.stamp);
    }
    if let Some(hit) = &found {
        begins_anew = track::begins_anew(hit.state, packet.protocol, packet.tcp_flags);
        // SAFETY: the entry is in the table; other CPUs may change the word, hence volatile.
        let cached = Cached(unsafe { (&raw const (*hit.entry).cached).read_volatile() });
        if !is_icmp && !begins_anew && cached.generation() == header.generation {
            verdict = Known::allowed(cached.allows(seen.direction));
        }
    }

    // 2. What the policy says of it, unless the connection remembers.
    let mut forward = Cell(0);
    let mut mirror = Cell(0);
    if matches!(verdict, Known::No) {
        let row = address_class(&seen.policy, seen.remote(), packet.family);
        let column = service_class(&seen.policy, packet.service());
        forward = cells(&seen.policy, row, column).of(seen.direction);
        if forward.has(Cell::EXEMPT) && seen.exemption_holds(source, forward) {
            return Reason::Exempt;
        }
        if matches!(packet.fragment, Fragment::Later) {
            let follows = fragments::follows(packet, seen.context.moment.stamp);
            return if follows { Reason::Fragment } else { Reason::OrphanFragment };
        }
        if dhcp && seen.is_dhcp_on_the_link(forward) {
            return Reason::Dhcp;
        }
        if header.flags & flags::SOURCE_DEST_CHECK != 0 && !seen.local_is_own() {
            return Reason::SourceDestCheck;
        }
        if !is_icmp && (found.is_some() || forward.has(Cell::NACL_ALLOW | Cell::GROUP_ALLOW)) {
            let column = service_class(&seen.policy, packet.mirror_service());
            mirror = cells(&seen.policy, row, column).of(seen.direction.reverse());
        }
        if let Some(hit) = &found
            && !begins_anew
        {
            verdict = Known::allowed(forward.has(Cell::NACL_ALLOW));
            if !is_icmp {
                // SAFETY: the entry is in the table, the word is written whole.
                unsafe {
                    let cached = seen.cached(forward, mirror);
                    (&raw mut (*hit.entry).cached).write_volatile(cached.0);
                }
            }
        }
    }

    // 3. A connection's packet: the groups have had their say when it was opened.
    if matches!(verdict, Known::No) {
        // 4. Or the rules.
        if let Some(reason) = denied(seen.direction, forward) {
            return reason;
        }
        if (packet.protocol == TCP || packet.protocol == UDP) && untracked(forward, mirror) {
            return Reason::Untracked;
        }
        let replaces = match &found {
            Some(hit) => track::is_replaced_by_syn(hit.state),
            None => true,
        };
        if replaces {
            if !seen.may_open(role, forward) {
                return Reason::Stray;
            }
            let cached = seen.cached(forward, mirror);
            let entry = connections::open(seen, cached, begins_anew);
            if entry.is_null() {
                connections::make_room(seen.context.moment.stamp);
                return Reason::AllowanceExceeded;
            }
            // SAFETY: the entry is in the table.
            unsafe { seen.count_in(entry, Reason::NewConnection) };
            return Reason::NewConnection;
        }
        verdict = Known::Allowed;
    }
    match (&found, verdict) {
        (Some(hit), Known::Allowed) => {
            if matches!(role, Role::Related) {
                return Reason::Related;
            }
            let next = track::advance(hit.state, seen.direction, packet.tcp_flags);
            if next != hit.state {
                connections::change_state(hit, next);
            }
            // SAFETY: the entry is in the table.
            unsafe { seen.count_in(hit.entry, Reason::Connection) };
            Reason::Connection
        }
        _ => Reason::NetworkAcl,
    }
}

/// No slot of the table.
const NOWHERE: u32 = u32::MAX;

/// What the network ACL says of a connection's packet.
#[derive(Clone, Copy)]
enum Known {
    /// Not asked yet, or there is no connection.
    No,
    Allowed,
    Denied,
}

impl Known {
    #[inline(always)]
    const fn allowed(allowed: bool) -> Self {
        if allowed { Self::Allowed } else { Self::Denied }
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
