//! The verdict on a question, from what a policy's cells say.
//!
//! The order is that of the datapath (`filter-ebpf`, `pipeline.rs`): never filtered; exempt;
//! DHCP; source/destination check; the connection, or the rules of both layers. What a question
//! cannot ask about is left out: fragments, packets that cannot be read, segments in mid-stream
//! (a TCP packet is the SYN of a new connection, or belongs to a tracked one), a full table. And
//! what is DHCP is told to be so although a connection with it exists, as one can that a neighbour
//! began where rules allow that.

use std::net::IpAddr;

use filter_common::{
    Direction,
    abi::Side,
    address::Address,
    cell::{Cell, untracked},
    exempt::{self, Candidate},
    policy::{self, Block, flags},
    service::{TCP, UDP},
    verdict::{Category, Reason},
};

use super::{Message, Question};
use crate::{
    policy::{EffectivePolicy, Interface},
    reference::Reference,
};

/// What a policy says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The packet's cell.
    pub forward: Cell,
    /// The cell of its mirror image: the other direction, the answer's service.
    pub mirror: Cell,
    /// Whether the interface's end is an address of its own.
    pub own: bool,
    /// Whether `SourceDestCheck` is on.
    pub source_dest_check: bool,
    /// Which end of the link the device is: it matters for exempt sources alone.
    pub side: Side,
}

impl Facts {
    /// What the rules say, asked one by one.
    #[must_use]
    pub fn of_rules(policy: &EffectivePolicy, question: &Question, side: Side) -> Self {
        let reference = Reference::new(policy);
        let (direction, remote, local) = (question.direction, question.remote(), question.local());
        Self {
            forward: reference.cell(direction, remote, question.service()),
            mirror: reference.cell(direction.reverse(), remote, question.mirror_service()),
            own: is_own(&policy.interface, local),
            source_dest_check: policy.source_dest_check,
            side,
        }
    }

    /// What tables say: compiled ones, or those in the kernel.
    #[must_use]
    pub fn of_tables<B: Block>(block: &B, question: &Question, side: Side) -> Self {
        let local = question.local();
        let (remote, family) = (Address::from(question.remote()), question.family());
        let row = policy::address_class(block, &remote, family);
        let cell = |service, direction| {
            policy::cells(block, row, policy::service_class(block, service)).of(direction)
        };
        Self {
            forward: cell(question.service(), question.direction),
            mirror: cell(question.mirror_service(), question.direction.reverse()),
            own: policy::is_own(block, &local.into(), family) || is_link_local_v6(local),
            source_dest_check: block.header().flags & flags::SOURCE_DEST_CHECK != 0,
            side,
        }
    }

    /// The same about the packet's answer.
    #[must_use]
    pub const fn of_reply(&self) -> Self {
        Self { forward: self.mirror, mirror: self.forward, ..*self }
    }

    /// Whether the remote is exempt and this packet may profit from it: a source can be forged
    /// (design; ADR 0008). On side `host` the packet must be this host's own, which is supposed here.
    #[must_use]
    pub fn is_exempt(&self, direction: Direction) -> bool {
        let earned = matches!(direction, Direction::Egress)
            || matches!(self.side, Side::Host)
            || !self.forward.has(Cell::LINK_LOCAL)
            || self.own;
        self.forward.has(Cell::EXEMPT) && earned
    }
}

/// Whether an address is the interface's own.
pub(super) fn is_own(interface: &Interface, local: IpAddr) -> bool {
    interface.own.iter().any(|own| own.contains(&local)) || is_link_local_v6(local)
}

fn is_link_local_v6(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Whether no connection is made for the flow of a packet that rules let pass.
pub(super) const fn is_untracked(question: &Question, facts: &Facts) -> bool {
    matches!(question.protocol, TCP | UDP) && untracked(facts.forward, facts.mirror)
}

/// A question that nothing but itself says to be of a connection: it is of none if the flow is untracked,
/// or if the packet is no answer, query or error of ICMP.
pub(super) fn settled(question: Question, facts: &Facts) -> Question {
    let established = question.established && question.can_belong() && !is_untracked(&question, facts);
    Question { established, ..question }
}

/// Whether it is a packet that can open a connection: of ICMP messages only those that ask can.
pub(super) fn opens(question: &Question) -> bool {
    !matches!(question.message, Message::Icmp(..)) || question.query().is_some_and(|query| !query.is_answer)
}

/// What becomes of a packet, and why.
#[must_use]
pub fn judge(question: &Question, facts: &Facts) -> Reason {
    let forward = facts.forward;
    let candidate = exempt::candidate(&question.packet(), question.direction);
    if let Candidate::Yes(reason) = candidate {
        return reason;
    }
    if facts.is_exempt(question.direction) {
        return Reason::Exempt;
    }
    let near = forward.0 & (Cell::EXEMPT | Cell::LINK_LOCAL) != 0
        || question.direction == Direction::Ingress && forward.has(Cell::SAME_SUBNET);
    if candidate == Candidate::Dhcp && near {
        return Reason::Dhcp;
    }
    if facts.source_dest_check && !facts.own {
        return Reason::SourceDestCheck;
    }
    if question.established {
        return match (forward.has(Cell::NACL_ALLOW), question.is_error()) {
            (false, _) => Reason::NetworkAcl,
            (true, true) => Reason::Related,
            (true, false) => Reason::Connection,
        };
    }
    let (acl, groups) = (forward.has(Cell::NACL_ALLOW), forward.has(Cell::GROUP_ALLOW));
    match question.direction {
        // The network ACL stands at the subnet's edge, the groups at the interface.
        Direction::Ingress if !acl => return Reason::NetworkAcl,
        _ if !groups => return Reason::SecurityGroup,
        _ if !acl => return Reason::NetworkAcl,
        _ => {}
    }
    if is_untracked(question, facts) {
        return Reason::Untracked;
    }
    // What answers an exempt source that is not believed is exempt, and needs no connection.
    if !opens(question) || forward.has(Cell::EXEMPT) { Reason::Stray } else { Reason::NewConnection }
}

/// `accept` or `reject`.
#[must_use]
pub const fn verdict(reason: Reason) -> &'static str {
    if reason.passes() { "accept" } else { "reject" }
}

/// The layer that rejected; else what let the packet pass.
#[must_use]
pub const fn layer(reason: Reason) -> &'static str {
    match reason.category() {
        Category::NeverFiltered => "never-filtered",
        Category::Exempt => "exempt",
        Category::Accepted => "security-group",
        // Their names are the layers'.
        Category::Rejected | Category::Unparsable => reason.name(),
    }
}

/// Whether rules of the groups had a say in this outcome.
#[must_use]
pub const fn asks_groups(question: &Question, reason: Reason) -> bool {
    let judged = matches!(reason.category(), Category::Accepted | Category::Rejected);
    judged && !question.established && !matches!(reason, Reason::SourceDestCheck)
}

/// Whether the packet begins a tracked connection or belongs to one.
#[must_use]
pub const fn is_tracked(reason: Reason) -> bool {
    matches!(reason, Reason::NewConnection | Reason::Connection | Reason::Related)
}
