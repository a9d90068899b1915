//! A packet as the interface sees it: local and remote, its key, what may become of it.

use core::cell::UnsafeCell;

use filter_common::{
    Direction,
    address::{Address, Family},
    cell::Cell,
    connection::{Connection, Key, KeyParts, flow_kind},
    packet::{Fragment, Packet, query, quote},
    policy::{self, Block, flags},
    service::{TCP, UDP},
    table::Place,
    track,
    verdict::Reason,
};

use crate::{
    account::{self, Interval, Measure, Moment},
    connections,
    policy::Policy,
    settings,
    source::Source,
    verifier,
};

/// What is known of the packet at hand. It lies in a map of this CPU's own, as the 512 bytes of
/// stack are for all functions of a program together.
#[repr(C, align(8))]
pub(crate) struct Context {
    pub(crate) packet: Packet,
    /// The key to look its connection up by, once [`Seen::lookup`] has found it out.
    pub(crate) key: Key,
    pub(crate) place: Place,
    pub(crate) moment: Moment,
    pub(crate) measure: Measure,
    /// The interval that the last packet was in.
    pub(crate) interval: Interval,
    /// What was found out so far, bits of [`fact`].
    pub(crate) facts: UnsafeCell<u32>,
    role: UnsafeCell<u32>,
    /// The policy's row for its remote address, its cells for the packet and its mirror image.
    row: UnsafeCell<u32>,
    forward: UnsafeCell<u32>,
    mirror: UnsafeCell<u32>,
    /// See [`verifier::forget`].
    pub(crate) forgotten: UnsafeCell<u32>,
    /// The best candidate so far, of [`Seen::prefer`].
    pub(crate) best: UnsafeCell<u64>,
}

/// What can be found out about a packet.
pub(crate) mod fact {
    /// Its ports are DHCP's; whether it is DHCP, its remote tells.
    pub(crate) const DHCP: u32 = 1 << 0;
    /// It belongs to a live connection.
    pub(crate) const FOUND: u32 = 1 << 1;
    /// The network ACL's verdict is known.
    pub(crate) const VERDICT: u32 = 1 << 2;
    /// The network ACL allows it.
    pub(crate) const ALLOWED: u32 = 1 << 3;
    /// It is a SYN, and if the rules accept it, it replaces the connection in its slot.
    pub(crate) const REPLACE: u32 = 1 << 4;
    /// It is a SYN, and if the rules accept it, the established connection in its slot stays.
    pub(crate) const KEEP: u32 = 1 << 5;
    /// The interface's end is an address of its own.
    pub(crate) const OWN: u32 = 1 << 6;
}

/// A packet, and the policy that judges it.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) policy: Policy,
    pub(crate) context: &'a Context,
    pub(crate) direction: Direction,
}

/// How a packet relates to the connection of the key that it is looked up by.
#[derive(Clone, Copy)]
pub(crate) enum Role {
    /// It belongs to it and may open it.
    Own,
    /// It belongs to it but can't open it: the answer to an ICMP query.
    Answer,
    /// It is an error about it.
    Related,
    /// There is no key: a later fragment, an ICMP message that asks nothing.
    Nothing,
}

impl Role {
    /// The role of a number that was one before.
    #[inline(always)]
    pub(crate) const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Own,
            1 => Self::Answer,
            2 => Self::Related,
            _ => Self::Nothing,
        }
    }
}

/// Whether an address is the interface's own. Called, not inlined: few packets need it.
#[inline(never)]
fn is_own(policy: &Policy, local: &Address, family: Family) -> bool {
    policy::is_own(policy, local, family) || matches!(family, Family::V6) && local.is_v6_link_local()
}

/// Writes the key of the connection that an ICMP error quotes; false if it quotes none. Called,
/// not inlined: errors are rare, and the stack is short.
#[inline(never)]
fn quoted_key<S: Source>(seen: &Seen<'_>, source: &S, key: *mut Key) -> bool {
    let packet = &seen.context.packet;
    let Some(quoted) = quote::read(packet, source) else { return false };
    // The quoted packet went the other way, and its error must come back to its sender.
    if quoted.source != packet.destination {
        return false;
    }
    let mut ports = (quoted.source_port, quoted.destination_port);
    if quoted.is_icmp(packet.family) {
        let Some(asked) = query::of(packet.family, quoted.destination_port as u8) else { return false };
        ports = asked.ports(quoted.source_port, seen.direction.reverse());
    } else if matches!(seen.direction, Direction::Egress) {
        ports = (ports.1, ports.0);
    }
    let (local, remote) = match seen.direction {
        Direction::Ingress => (quoted.source, quoted.destination),
        Direction::Egress => (quoted.destination, quoted.source),
    };
    let parts = KeyParts { local, remote, protocol: quoted.protocol, ..seen.parts(ports.0, ports.1) };
    // SAFETY: the key is in the context's map.
    unsafe { *key = Key::new(&parts) };
    true
}

impl Seen<'_> {
    /// The interface's end.
    #[inline(always)]
    pub(crate) const fn local(&self) -> &Address {
        match self.direction {
            Direction::Ingress => &self.context.packet.destination,
            Direction::Egress => &self.context.packet.source,
        }
    }

    /// The other end.
    #[inline(always)]
    pub(crate) const fn remote(&self) -> &Address {
        match self.direction {
            Direction::Ingress => &self.context.packet.source,
            Direction::Egress => &self.context.packet.destination,
        }
    }

    /// The interface's port and the other end's.
    #[inline(always)]
    pub(crate) const fn ports(&self) -> (u16, u16) {
        match self.direction {
            Direction::Ingress => (self.context.packet.destination_port, self.context.packet.source_port),
            Direction::Egress => (self.context.packet.source_port, self.context.packet.destination_port),
        }
    }

    /// Whether it matters that the interface's end is an address of its own.
    #[inline(always)]
    pub(crate) fn must_know_own(&self) -> bool {
        self.forward().has(Cell::LINK_LOCAL) || self.policy.header().flags & flags::SOURCE_DEST_CHECK != 0
    }

    /// Whether the interface's end is an address of its own.
    #[inline(always)]
    pub(crate) fn local_is_own(&self) -> bool {
        is_own(&self.policy, self.local(), self.context.packet.family)
    }

    /// Whether a fact was learnt. Read from memory each time, so that the verifier does not tell
    /// the ways apart by which it was learnt.
    #[inline(always)]
    pub(crate) fn knows(&self, fact: u32) -> bool {
        // SAFETY: the context is in a map of this CPU's own.
        unsafe { self.context.facts.get().read_volatile() & fact != 0 }
    }

    /// Learns a fact.
    #[inline(always)]
    pub(crate) fn learn(&self, fact: u32) {
        let facts = self.context.facts.get();
        // SAFETY: as above.
        unsafe { facts.write_volatile(facts.read_volatile() | fact) };
    }

    /// The packet's relation to the connection that it is looked up by.
    #[inline(always)]
    pub(crate) fn role(&self) -> Role {
        // SAFETY: as above.
        Role::from_number(unsafe { self.context.role.get().read_volatile() })
    }

    #[inline(always)]
    pub(crate) fn remember_role(&self, role: Role) {
        // SAFETY: as above.
        unsafe { self.context.role.get().write_volatile(role as u32) };
    }

    /// The policy's row for the packet's remote address.
    #[inline(always)]
    pub(crate) fn row(&self) -> u32 {
        // SAFETY: as above.
        unsafe { self.context.row.get().read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn remember_row(&self, row: u32) {
        // SAFETY: as above.
        unsafe { self.context.row.get().write_volatile(row) };
    }

    /// What the policy says of the packet.
    #[inline(always)]
    pub(crate) fn forward(&self) -> Cell {
        // SAFETY: as above.
        Cell(unsafe { self.context.forward.get().read_volatile() } as u8)
    }

    #[inline(always)]
    pub(crate) fn remember_forward(&self, cell: Cell) {
        // SAFETY: as above.
        unsafe { self.context.forward.get().write_volatile(cell.0.into()) };
    }

    /// What the policy says of the packet's mirror image.
    #[inline(always)]
    pub(crate) fn mirror(&self) -> Cell {
        // SAFETY: as above.
        Cell(unsafe { self.context.mirror.get().read_volatile() } as u8)
    }

    #[inline(always)]
    pub(crate) fn remember_mirror(&self, cell: Cell) {
        // SAFETY: as above.
        unsafe { self.context.mirror.get().write_volatile(cell.0.into()) };
    }

    /// A number of which the verifier knows nothing any more.
    #[inline(always)]
    pub(crate) fn forget(&self, number: u32) -> u32 {
        // SAFETY: the context is in a map of this CPU's own.
        unsafe { verifier::forget(self.context.forgotten.get(), number) }
    }

    /// Begins a choice among candidates.
    #[inline(always)]
    pub(crate) fn prefer_none(&self) {
        // SAFETY: the context is in a map of this CPU's own.
        unsafe { self.context.best.get().write_volatile(0) };
    }

    /// Remembers the candidate of the highest rank. In memory: kept in a register, the verifier
    /// would follow every sequence of comparisons.
    #[inline(always)]
    pub(crate) fn prefer(&self, rank: u32, slot: u32) {
        let candidate = u64::from(rank) << 32 | u64::from(slot);
        let best = self.context.best.get();
        // SAFETY: as above.
        unsafe {
            if candidate > best.read_volatile() {
                best.write_volatile(candidate);
            }
        }
    }

    /// The candidate of the highest rank, if there was one above 0.
    #[inline(always)]
    pub(crate) fn preferred(&self) -> Option<u32> {
        // SAFETY: as above.
        let best = unsafe { self.context.best.get().read_volatile() };
        if best >> 32 == 0 { None } else { Some(best as u32) }
    }

    /// Writes the key to look the packet's connection up by.
    #[inline(always)]
    pub(crate) fn lookup<S: Source>(&self, source: &S, key: *mut Key) -> Role {
        let packet = &self.context.packet;
        if matches!(packet.fragment, Fragment::Later) {
            return Role::Nothing;
        }
        let mut ports = self.ports();
        let mut role = Role::Own;
        if packet.is_icmp() {
            if quote::is_error(packet) {
                return if quoted_key(self, source, key) { Role::Related } else { Role::Nothing };
            }
            let Some(asked) = query::of(packet.family, packet.icmp_type()) else { return Role::Nothing };
            ports = asked.ports(packet.icmp_identifier, self.direction);
            if asked.is_answer {
                role = Role::Answer;
            }
        }
        // SAFETY: the key is in the context's map.
        unsafe { *key = Key::new(&self.parts(ports.0, ports.1)) };
        role
    }

    #[inline(always)]
    fn parts(&self, local_port: u16, remote_port: u16) -> KeyParts {
        KeyParts {
            slot: settings::slot() as u16,
            family: self.context.packet.family,
            protocol: self.context.packet.protocol,
            local: *self.local(),
            remote: *self.remote(),
            local_port,
            remote_port,
            kind: 0,
        }
    }

    /// Whether an accepted packet may open a connection, by the rules of design for mid-stream
    /// segments: one that only an everywhere-on-all-ports rule admits passes but makes no entry,
    /// or a revoked connection would readmit itself and forged ACKs would fill the table; but for
    /// the grace after `attach`, in which older connections are picked up. With `StrictTcp` none is.
    /// Nor does a packet from an exempt address that is not believed: what answers it is exempt,
    /// and must not become a connection's that the network ACL is asked about.
    #[inline(always)]
    pub(crate) fn may_open(&self, cell: Cell) -> bool {
        use filter_common::packet::tcp_flags::{ACK, FIN, RST};
        if !matches!(self.role(), Role::Own) || cell.has(Cell::EXEMPT) {
            return false;
        }
        if self.context.packet.protocol != TCP || track::is_bare_syn(self.context.packet.tcp_flags) {
            return true;
        }
        if self.is_strict() {
            return false;
        }
        let grace = self.context.moment.ticks < settings::grace_until();
        let in_mid_stream = self.context.packet.tcp_flags & (ACK | FIN | RST) == ACK;
        in_mid_stream && (cell.has(Cell::NARROW) || grace)
    }

    /// Whether the interface is strict (`StrictTcp`) about TCP segments that may not open a connection.
    #[inline(always)]
    pub(crate) fn is_strict(&self) -> bool {
        self.policy.header().flags & flags::STRICT_TCP != 0
    }

    /// Whether an exempt remote is so for this packet. As a destination it always is; a source can
    /// be forged. On side `host` the services behind exempt addresses are this host's, so the
    /// packet must be one that it made, and not one that it forwards. On side `workload` that
    /// cannot be known: a link-local source at least must come to the interface's own address.
    #[inline(always)]
    pub(crate) fn exemption_holds<S: Source>(&self, source: &S, cell: Cell) -> bool {
        if matches!(self.direction, Direction::Egress) {
            return true;
        }
        if settings::is_host_side() {
            return source.made_by_this_host();
        }
        !cell.has(Cell::LINK_LOCAL) || self.knows(fact::OWN)
    }

    /// DHCPv4 with a server on the link: the candidate's ports are right, the rest is the remote.
    #[inline(always)]
    pub(crate) fn is_dhcp_on_the_link(&self, cell: Cell) -> bool {
        let reserved = cell.0 & (Cell::EXEMPT | Cell::LINK_LOCAL) != 0;
        reserved || matches!(self.direction, Direction::Ingress) && cell.has(Cell::SAME_SUBNET)
    }

    /// Counts the packet in its connection.
    ///
    /// # Safety
    ///
    /// The entry is in the connection table.
    #[inline(always)]
    pub(crate) unsafe fn count_in(&self, entry: *mut Connection, reason: Reason) {
        // SAFETY: by the caller.
        unsafe {
            account::count_flow(
                connections::tally(entry, self.direction),
                entry,
                self.policy.header().generation,
                self.direction,
                reason,
                &self.context.moment,
                &self.context.measure,
            );
        }
    }

    /// The key of the packet in the table of rejected and untracked flows: ports for TCP and UDP, type
    /// and code for ICMP.
    #[inline(always)]
    pub(crate) fn flow_key(&self, reason: Reason) -> Key {
        let packet = &self.context.packet;
        let with_ports = packet.protocol == TCP || packet.protocol == UDP;
        let (local_port, remote_port) = if matches!(packet.fragment, Fragment::Later) {
            (0, 0)
        } else if with_ports {
            self.ports()
        } else if packet.is_icmp() {
            (0, packet.destination_port)
        } else {
            (0, 0)
        };
        let kind = flow_kind(self.direction, reason);
        Key::new(&KeyParts { kind, ..self.parts(local_port, remote_port) })
    }
}
