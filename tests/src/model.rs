//! The whole filter, slowly and plainly: what must become of a packet, written from the rules.
//!
//! Knows no tables, hooks or bytes. Rules are asked one by one by [`filter_ctl::reference`];
//! connections and fragments are remembered in ordinary maps. Tests send the same packets through
//! the programs and compare verdict and reason.

mod packet;

use std::{collections::HashMap, net::IpAddr};

use filter_common::{Direction, cell::Cell, service::Service, track::IdleTimeouts, verdict::Reason};
use filter_ctl::{policy::EffectivePolicy, reference::Reference};

pub use packet::{Content, Packet, Part};

use crate::frame::flags;

/// Who talks to whom: protocol, local and remote end, and for a ping, who asks and what.
type Key = (u8, IpAddr, u16, IpAddr, u16, Option<(u8, Direction)>);

/// Which datagram a fragment is of: the way it takes, from whom, to whom, identification, protocol.
type Datagram = (Direction, IpAddr, IpAddr, u16, u8);

/// How far a conversation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// UDP, ICMP, other: how often the talk changed its side.
    Turns(u32),
    SynSent,
    SynReceived,
    Established,
    FinWait,
    CloseWait,
    TimeWait,
    Closed,
    PickedUp,
}

#[derive(Clone, Debug)]
struct Conversation {
    initiator: Direction,
    stage: Stage,
    /// Who has sent FIN.
    fins: [bool; 2],
    /// In ticks.
    last: u64,
    /// The rules under which it was last asked about: what they said is remembered.
    asked_under: u32,
    /// The rules that let it begin.
    opened_under: u32,
}

/// What a packet is to the conversation that it may belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Own,
    Answer,
    Related,
}

/// The filter's memory.
#[derive(Debug)]
pub struct Model {
    /// What judges.
    pub policy: EffectivePolicy,
    /// Counts the policies.
    pub generation: u32,
    /// Clock ticks per second.
    pub hz: u64,
    /// Now, in ticks.
    pub now: u64,
    /// Whether the device is the host's end of the link (and no packet is the host's own).
    pub host_side: bool,
    /// A timeout was so near that the model cannot know what the programs, a moment later, see.
    pub uncertain: bool,
    conversations: HashMap<Key, Conversation>,
    /// First fragments: when, and how long their transport header is.
    fragments: HashMap<Datagram, (u64, u16)>,
}

impl Model {
    /// Nothing is remembered.
    #[must_use]
    pub fn new(policy: EffectivePolicy, hz: u32, host_side: bool) -> Self {
        Self {
            policy,
            generation: 1,
            hz: hz.into(),
            now: 0,
            host_side,
            uncertain: false,
            conversations: HashMap::new(),
            fragments: HashMap::new(),
        }
    }

    /// Other rules are put into force; what has expired under the old ones stays so.
    pub fn apply(&mut self, policy: EffectivePolicy) {
        let keys: Vec<Key> = self.conversations.keys().copied().collect();
        for key in keys {
            if !self.is_live(&key) {
                self.conversations.remove(&key);
            }
        }
        self.policy = policy;
        self.generation += 1;
    }

    /// What must become of a packet.
    pub fn judge(&mut self, direction: Direction, packet: &Packet) -> Reason {
        let reason = self.decide(direction, packet);
        if let (Part::First(id), true) = (packet.part, reason.judged() && reason.passes()) {
            let header = match packet.content {
                Content::Tcp(..) => 20,
                Content::Other(_) => 0,
                _ => 8,
            };
            let key = datagram(direction, packet, id);
            let known = self.fragments.get(&key).copied().filter(|(seen, _)| self.is_within(*seen, 30));
            let longest = known.map_or(header, |(_, known)| known.max(header));
            self.fragments.insert(key, (self.now, longest));
        }
        reason
    }

    fn decide(&mut self, direction: Direction, packet: &Packet) -> Reason {
        if packet.tags > 2 {
            return Reason::VlanDepth;
        }
        if let Some(reason) = never_filtered(direction, packet) {
            return reason;
        }
        let (local, remote) = match direction {
            Direction::Ingress => (packet.destination, packet.source),
            Direction::Egress => (packet.source, packet.destination),
        };
        let key = if matches!(packet.part, Part::Later(..)) { None } else { key(direction, packet) };
        let live = key.as_ref().is_some_and(|(key, _)| self.is_live(key));
        let stage = key.as_ref().filter(|_| live).map(|(key, _)| self.conversations[key].stage);
        // A SYN asks for a new connection, whatever else it says; in a handshake a plain one is that one's.
        let in_handshake = matches!(stage, Some(Stage::SynSent | Stage::SynReceived));
        let asks = packet.flags() & (flags::SYN | flags::ACK) == flags::SYN;
        // A SYN that is sent again after a change of the rules begins under the new ones.
        let stale = stage == Some(Stage::SynSent)
            && key.as_ref().is_some_and(|(key, _)| self.conversations[key].opened_under != self.generation);
        let anew = asks && (stale && packet.is_syn() || !(in_handshake && packet.is_syn()));
        let found = key.filter(|_| live && !anew);
        let remembered = found.as_ref().is_some_and(|(key, _)| {
            !packet.is_icmp() && self.conversations[key].asked_under == self.generation
        });

        let cell = Reference::new(&self.policy).cell(direction, remote, packet.service());
        if !remembered && let Some(reason) = self.besides_rules(direction, packet, local, cell) {
            return reason;
        }
        if let Some((key, role)) = found {
            if let Some(conversation) = self.conversations.get_mut(&key).filter(|_| !packet.is_icmp()) {
                conversation.asked_under = self.generation;
            }
            return self.go_on(direction, packet, &key, role, cell);
        }
        match (direction, cell.has(Cell::NACL_ALLOW), cell.has(Cell::GROUP_ALLOW)) {
            (_, true, true) => {}
            (Direction::Ingress, false, _) | (Direction::Egress, false, true) => return Reason::NetworkAcl,
            _ => return Reason::SecurityGroup,
        }
        if matches!(packet.protocol(), 6 | 17) && self.needs_no_tracking(direction, packet, remote, cell) {
            return Reason::Untracked;
        }
        let Some((key, Role::Own)) = key else { return Reason::Stray };
        let strict = packet.protocol() == 6 && !packet.is_syn() && self.policy.strict_tcp;
        if cell.has(Cell::EXEMPT) {
            // Not believed to be so; what answers it is exempt.
            return if strict { Reason::StrictTcp } else { Reason::Stray };
        }
        if anew && stage == Some(Stage::Established) {
            // A forged SYN must not make it half-open.
            return self.go_on(direction, packet, &key, Role::Own, cell);
        }
        let segment = packet.protocol() == 6 && !packet.is_syn();
        let in_mid_stream = packet.flags() & (flags::ACK | flags::FIN | flags::RST) == flags::ACK;
        if segment && self.policy.strict_tcp {
            return Reason::StrictTcp;
        }
        if segment && !(in_mid_stream && cell.has(Cell::NARROW)) {
            return Reason::Stray;
        }
        let stage = match packet.content {
            Content::Tcp(..) if packet.is_syn() => Stage::SynSent,
            Content::Tcp(..) => Stage::PickedUp,
            _ => Stage::Turns(0),
        };
        let conversation = Conversation {
            initiator: direction,
            stage,
            fins: [false; 2],
            last: self.now,
            asked_under: self.generation,
            opened_under: self.generation,
        };
        self.conversations.insert(key, conversation);
        Reason::NewConnection
    }

    /// What decides before the rules do: exempt addresses, fragments, DHCP, `SourceDestCheck`.
    fn besides_rules(
        &mut self,
        direction: Direction,
        packet: &Packet,
        local: IpAddr,
        cell: Cell,
    ) -> Option<Reason> {
        let own = self.policy.interface.own.iter().any(|block| block.contains(&local))
            || matches!(local, IpAddr::V6(local) if local.is_unicast_link_local());
        // As a source, exempt addresses are only believed where they can be: the packets that these
        // tests send to a host's end are not the host's own.
        let believed = !self.host_side && (own || !cell.has(Cell::LINK_LOCAL));
        if cell.has(Cell::EXEMPT) && (direction == Direction::Egress || believed) {
            return Some(Reason::Exempt);
        }
        if let Part::Later(id, offset) = packet.part {
            let key = datagram(direction, packet, id);
            let follows = self
                .fragments
                .get(&key)
                .copied()
                .is_some_and(|(seen, header)| self.is_within(seen, 30) && offset >= header);
            return Some(if follows { Reason::Fragment } else { Reason::OrphanFragment });
        }
        let (from, to) = packet.ports();
        let ports = if direction == Direction::Ingress { (67, 68) } else { (68, 67) };
        let near = cell.has(Cell::EXEMPT) || direction == Direction::Ingress && cell.has(Cell::SAME_SUBNET);
        let whole = packet.part == Part::Whole;
        if whole && packet.protocol() == 17 && local.is_ipv4() && (from, to) == ports && near {
            return Some(Reason::Dhcp);
        }
        (self.policy.source_dest_check && !own).then_some(Reason::SourceDestCheck)
    }

    /// A packet of a conversation: the network ACL alone is asked.
    fn go_on(&mut self, way: Direction, packet: &Packet, key: &Key, role: Role, cell: Cell) -> Reason {
        let now = self.now;
        let conversation = self.conversations.get_mut(key).expect("it is there");
        if !cell.has(Cell::NACL_ALLOW) {
            return Reason::NetworkAcl;
        }
        if role == Role::Related {
            return Reason::Related;
        }
        if !matches!(conversation.stage, Stage::Closed | Stage::TimeWait) {
            conversation.last = now;
        }
        conversation.advance(way, packet.flags());
        Reason::Connection
    }

    /// EC2 guide, "Untracked connections": rules for any address in both directions, one of them
    /// for all ports.
    fn needs_no_tracking(&self, direction: Direction, packet: &Packet, remote: IpAddr, cell: Cell) -> bool {
        let answer = Service::new(packet.protocol(), packet.ports().0);
        let mirror = Reference::new(&self.policy).cell(direction.reverse(), remote, answer);
        cell.has(Cell::ANY_ADDRESS)
            && mirror.has(Cell::ANY_ADDRESS)
            && (cell.has(Cell::ANY_ADDRESS_ALL_PORTS) || mirror.has(Cell::ANY_ADDRESS_ALL_PORTS))
    }

    fn is_live(&mut self, key: &Key) -> bool {
        let Some(conversation) = self.conversations.get(key) else { return false };
        let (last, timeout) = (conversation.last, conversation.timeout(key, &self.policy.timeouts));
        self.is_within(last, timeout)
    }

    fn is_within(&mut self, then: u64, seconds: u32) -> bool {
        let (idle, timeout) = (self.now - then, u64::from(seconds) * self.hz);
        self.uncertain |= idle.abs_diff(timeout) < self.hz / 2;
        idle <= timeout
    }
}

impl Conversation {
    fn timeout(&self, key: &Key, timeouts: &IdleTimeouts) -> u32 {
        match (self.stage, key.0) {
            (Stage::Turns(0..=2), 17) => timeouts.udp,
            (Stage::Turns(_), 17) => timeouts.udp_stream,
            (Stage::Turns(_), _) if key.5.is_some() => 30,
            (Stage::Turns(_), _) => 600,
            (Stage::Established, _) => timeouts.tcp_established,
            (Stage::SynReceived | Stage::CloseWait, _) => 60,
            (Stage::Closed, _) => 10,
            _ => 120,
        }
    }

    fn advance(&mut self, way: Direction, flags: u8) {
        let answers = way != self.initiator;
        let has = |flag| flags & flag != 0;
        let other_ended = self.fins[way.reverse().index()];
        self.stage = match self.stage {
            Stage::Turns(turns) if answers == (turns % 2 == 0) => Stage::Turns((turns + 1).min(3)),
            Stage::Turns(turns) => Stage::Turns(turns),
            Stage::Closed => Stage::Closed,
            _ if has(flags::RST) => Stage::Closed,
            Stage::SynSent if answers && has(flags::SYN) => Stage::SynReceived,
            Stage::SynSent => Stage::SynSent,
            stage if has(flags::FIN) => {
                self.fins[way.index()] = true;
                match stage {
                    _ if other_ended => Stage::TimeWait,
                    Stage::PickedUp if !answers => Stage::PickedUp,
                    _ => Stage::FinWait,
                }
            }
            Stage::SynReceived if !answers && !has(flags::SYN) => Stage::Established,
            Stage::PickedUp if answers => Stage::Established,
            Stage::FinWait if other_ended => Stage::CloseWait,
            stage => stage,
        };
    }
}

/// Neighbour discovery, listener discovery, DHCP to everybody, DHCPv6: whatever the policy.
fn never_filtered(direction: Direction, packet: &Packet) -> Option<Reason> {
    if packet.part != Part::Whole {
        return None;
    }
    let link_local = matches!(packet.source, IpAddr::V6(source) if source.is_unicast_link_local());
    let (from, to) = packet.ports();
    match packet.icmp() {
        Some((133..=137, 0)) if packet.source.is_ipv6() && packet.hop_limit == 255 => {
            return Some(Reason::NeighborDiscovery);
        }
        Some((130..=132 | 143, _)) if link_local && packet.hop_limit == 1 => {
            return Some(Reason::MulticastListener);
        }
        _ => {}
    }
    let out = direction == Direction::Egress;
    let everybody = packet.destination.to_string() == "255.255.255.255";
    let dhcp = out && everybody && (from, to) == (68, 67);
    let dhcpv6 = link_local && (from, to) == if out { (546, 547) } else { (547, 546) };
    (packet.protocol() == 17 && (dhcp || dhcpv6)).then_some(Reason::Dhcp)
}

/// What tells datagrams apart: over IPv4 (RFC 791) the protocol too, over IPv6 (RFC 8200) not.
fn datagram(direction: Direction, packet: &Packet, id: u16) -> Datagram {
    let protocol = if packet.source.is_ipv4() { packet.protocol() } else { 0 };
    (direction, packet.source, packet.destination, id, protocol)
}

/// The conversation that a packet may belong to, and as what.
fn key(direction: Direction, packet: &Packet) -> Option<(Key, Role)> {
    let ends = |source, destination| match direction {
        Direction::Ingress => (destination, source),
        Direction::Egress => (source, destination),
    };
    let (local, remote) = ends(packet.source, packet.destination);
    match &packet.content {
        Content::Error(kind, _, quoted) => {
            let is_error =
                if packet.source.is_ipv4() { matches!(kind, 3 | 11 | 12) } else { matches!(kind, 1..=4) };
            // The quoted packet went the other way; who sent it gets the error.
            let readable =
                !matches!(quoted.part, Part::Later(..)) && !matches!(quoted.content, Content::Error(..));
            let fragmented_v6 = quoted.source.is_ipv6() && quoted.part != Part::Whole;
            if !is_error || !readable || fragmented_v6 || quoted.source != packet.destination {
                return None;
            }
            key(direction.reverse(), quoted).map(|(key, _)| (key, Role::Related))
        }
        Content::Icmp(kind, _, id) => {
            let (request, role) = match (packet.source.is_ipv4(), kind) {
                (true, 8 | 13 | 15 | 17) | (false, 128) => (*kind, Role::Own),
                (true, 0) => (8, Role::Answer),
                (true, 14 | 16 | 18) => (kind - 1, Role::Answer),
                (false, 129) => (128, Role::Answer),
                _ => return None,
            };
            let asker = if role == Role::Own { direction } else { direction.reverse() };
            Some(((packet.protocol(), local, *id, remote, 0, Some((request, asker))), role))
        }
        _ => {
            let (from, to) = packet.ports();
            let (own, other) = if direction == Direction::Egress { (from, to) } else { (to, from) };
            Some(((packet.protocol(), local, own, remote, other, None), Role::Own))
        }
    }
}
