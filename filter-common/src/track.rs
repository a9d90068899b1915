//! Connection tracking: phases, transitions and idle timeouts.
//!
//! Stateful in AWS's sense: an entry stands for a conversation that rules admitted, in the
//! direction that began it. AWS publishes the timeouts for established TCP, UDP and other
//! protocols (EC2 guide, `security-group-connection-tracking`); those it does not publish are
//! Linux's (`net/netfilter/nf_conntrack_proto_tcp.c`, `nf_conntrack_proto_icmp.c`).
//!
//! TCP is followed by its flags alone. RST closes from either side, with a linger of 10 s for
//! what is still on its way; FIN from both sides leads to `TIME_WAIT`. What comes after an entry
//! has run out meets the rules again.
//!
//! A *half-open* phase is one in which the other direction has not been seen: it is evicted
//! first when the table is full.

use crate::{Direction, connection::State, packet::tcp_flags, service};

/// Where a connection stands.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// UDP, one direction only.
    UdpOneWay = 0,
    /// UDP, answered once.
    UdpAnswered = 1,
    /// UDP, answered once and asked again.
    UdpAskedAgain = 2,
    /// UDP, more than one exchange.
    UdpStream = 3,
    /// TCP, SYN seen.
    TcpSynSent = 4,
    /// TCP, SYN answered.
    TcpSynReceived = 5,
    /// TCP, established.
    TcpEstablished = 6,
    /// TCP, one side has sent FIN.
    TcpFinWait = 7,
    /// TCP, the FIN was followed by a segment of the other side.
    TcpCloseWait = 8,
    /// TCP, both sides have sent FIN.
    TcpTimeWait = 9,
    /// TCP, reset.
    TcpClosed = 10,
    /// TCP, picked up in mid-stream; the other direction not seen.
    TcpPickedUp = 11,
    /// ICMP query, unanswered.
    IcmpAsked = 12,
    /// ICMP query, answered.
    IcmpAnswered = 13,
    /// Other protocol, one direction only.
    OtherOneWay = 14,
    /// Other protocol, both directions.
    OtherBothWays = 15,
}

impl Phase {
    /// Number of phases.
    pub const COUNT: usize = 16;

    /// Every phase, in the order of its number.
    pub const ALL: [Self; Self::COUNT] = [
        Self::UdpOneWay,
        Self::UdpAnswered,
        Self::UdpAskedAgain,
        Self::UdpStream,
        Self::TcpSynSent,
        Self::TcpSynReceived,
        Self::TcpEstablished,
        Self::TcpFinWait,
        Self::TcpCloseWait,
        Self::TcpTimeWait,
        Self::TcpClosed,
        Self::TcpPickedUp,
        Self::IcmpAsked,
        Self::IcmpAnswered,
        Self::OtherOneWay,
        Self::OtherBothWays,
    ];

    /// The phase of a number, as read from a state word.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        if (number as usize) < Self::COUNT { Some(Self::ALL[number as usize]) } else { None }
    }

    /// Whether a connection in a phase is half-open: its other direction has not been seen.
    #[inline(always)]
    #[must_use]
    pub const fn is_half_open(number: u8) -> bool {
        number == Self::UdpOneWay as u8
            || number == Self::TcpSynSent as u8
            || number == Self::TcpPickedUp as u8
            || number == Self::IcmpAsked as u8
            || number == Self::OtherOneWay as u8
    }

    /// The word for it in `filter-ctl connections`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UdpOneWay | Self::OtherOneWay => "one-way",
            Self::UdpAnswered | Self::UdpAskedAgain | Self::IcmpAnswered => "answered",
            Self::UdpStream => "stream",
            Self::TcpSynSent => "syn-sent",
            Self::TcpSynReceived => "syn-received",
            Self::TcpEstablished => "established",
            Self::TcpFinWait => "fin-wait",
            Self::TcpCloseWait => "close-wait",
            Self::TcpTimeWait => "time-wait",
            Self::TcpClosed => "closed",
            Self::TcpPickedUp => "picked-up",
            Self::IcmpAsked => "asked",
            Self::OtherBothWays => "both-ways",
        }
    }
}

/// Idle timeouts in seconds; [`IdleTimeouts::by_phase`] spreads them over the phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdleTimeouts {
    /// `TcpEstablishedTimeout`: 60 to 432,000, default 432,000.
    pub tcp_established: u32,
    /// `UdpStreamTimeout`: 60 to 180, default 180.
    pub udp_stream: u32,
    /// `UdpTimeout`: 30 to 60, default 30.
    pub udp: u32,
}

impl Default for IdleTimeouts {
    fn default() -> Self {
        Self { tcp_established: 432_000, udp_stream: 180, udp: 30 }
    }
}

impl IdleTimeouts {
    /// The longest that an interface may have.
    pub const LONGEST: Self = Self { tcp_established: 432_000, udp_stream: 180, udp: 60 };

    /// Seconds after which an idle connection in a phase is forgotten.
    #[must_use]
    pub const fn by_phase(&self, phase: Phase) -> u32 {
        match phase {
            Phase::UdpOneWay | Phase::UdpAnswered | Phase::UdpAskedAgain => self.udp,
            Phase::UdpStream => self.udp_stream,
            Phase::TcpEstablished => self.tcp_established,
            Phase::TcpSynSent | Phase::TcpFinWait | Phase::TcpTimeWait | Phase::TcpPickedUp => 120,
            Phase::TcpSynReceived | Phase::TcpCloseWait => 60,
            Phase::IcmpAsked | Phase::IcmpAnswered => 30,
            Phase::TcpClosed => 10,
            Phase::OtherOneWay | Phase::OtherBothWays => 600,
        }
    }
}

/// The phase in which a packet opens a connection.
#[inline(always)]
#[must_use]
pub const fn opening(protocol: u8, is_icmp: bool, flags: u8) -> Phase {
    if is_icmp {
        return Phase::IcmpAsked;
    }
    match protocol {
        service::TCP if is_bare_syn(flags) => Phase::TcpSynSent,
        service::TCP => Phase::TcpPickedUp,
        service::UDP => Phase::UdpOneWay,
        _ => Phase::OtherOneWay,
    }
}

/// Whether TCP flags ask for a new connection.
#[inline(always)]
#[must_use]
pub const fn is_bare_syn(flags: u8) -> bool {
    flags & (tcp_flags::SYN | tcp_flags::ACK | tcp_flags::RST | tcp_flags::FIN) == tcp_flags::SYN
}

/// Whether a segment of a known connection asks for a new one, so that the rules must be asked: a
/// SYN that acknowledges nothing, whatever other flags disguise it (some hosts answer SYN with FIN).
/// Before the handshake is over, a bare SYN is the connection's own, sent again.
#[inline(always)]
#[must_use]
pub const fn begins_anew(state: State, protocol: u8, flags: u8) -> bool {
    let phase = state.phase_number();
    let in_handshake = phase == Phase::TcpSynSent as u8 || phase == Phase::TcpSynReceived as u8;
    protocol == service::TCP
        && flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
        && !(in_handshake && is_bare_syn(flags))
}

/// Whether a segment is the SYN of a connection that has not been answered yet, sent again.
#[inline(always)]
#[must_use]
pub const fn is_syn_sent_again(state: State, flags: u8) -> bool {
    state.phase_number() == Phase::TcpSynSent as u8 && is_bare_syn(flags)
}

/// Whether a connection is over and only waits for what is still on its way: that must not keep
/// it, or whoever goes on sending would never meet the rules again.
#[inline(always)]
#[must_use]
pub const fn lingers(state: State) -> bool {
    let phase = state.phase_number();
    phase == Phase::TcpClosed as u8 || phase == Phase::TcpTimeWait as u8
}

/// Whether a SYN that the rules accept replaces the connection. An established one stays: a
/// forged SYN must not make it half-open.
#[inline(always)]
#[must_use]
pub const fn is_replaced_by_syn(state: State) -> bool {
    state.phase_number() != Phase::TcpEstablished as u8
}

/// The state after an accepted packet.
#[inline(always)]
#[must_use]
pub const fn advance(state: State, direction: Direction, flags: u8) -> State {
    let reply = direction as u8 != state.initiator() as u8;
    let phase = state.phase_number();
    const UDP_ONE_WAY: u8 = Phase::UdpOneWay as u8;
    const UDP_ANSWERED: u8 = Phase::UdpAnswered as u8;
    const UDP_ASKED_AGAIN: u8 = Phase::UdpAskedAgain as u8;
    const UDP_STREAM: u8 = Phase::UdpStream as u8;
    const ICMP_ASKED: u8 = Phase::IcmpAsked as u8;
    const OTHER_ONE_WAY: u8 = Phase::OtherOneWay as u8;
    match phase {
        UDP_ONE_WAY if reply => state.with_phase(Phase::UdpAnswered as u8),
        UDP_ANSWERED if !reply => state.with_phase(Phase::UdpAskedAgain as u8),
        UDP_ASKED_AGAIN if reply => state.with_phase(Phase::UdpStream as u8),
        ICMP_ASKED if reply => state.with_phase(Phase::IcmpAnswered as u8),
        OTHER_ONE_WAY if reply => state.with_phase(Phase::OtherBothWays as u8),
        UDP_ONE_WAY..=UDP_STREAM => state,
        _ if phase <= Phase::TcpPickedUp as u8 => advance_tcp(state, direction, reply, flags),
        _ => state,
    }
}

#[inline(always)]
const fn advance_tcp(state: State, direction: Direction, reply: bool, flags: u8) -> State {
    const SYN_SENT: u8 = Phase::TcpSynSent as u8;
    const SYN_RECEIVED: u8 = Phase::TcpSynReceived as u8;
    const ESTABLISHED: u8 = Phase::TcpEstablished as u8;
    const FIN_WAIT: u8 = Phase::TcpFinWait as u8;
    const CLOSE_WAIT: u8 = Phase::TcpCloseWait as u8;
    const CLOSED: u8 = Phase::TcpClosed as u8;
    const PICKED_UP: u8 = Phase::TcpPickedUp as u8;
    let phase = state.phase_number();
    if flags & tcp_flags::RST != 0 {
        return state.with_phase(CLOSED);
    }
    if flags & tcp_flags::FIN != 0 && phase != SYN_SENT && phase != CLOSED {
        let state = state.with_fin(direction);
        return if state.fin_seen(direction.reverse()) {
            state.with_phase(Phase::TcpTimeWait as u8)
        } else if phase == PICKED_UP && !reply {
            // The other side has still not been seen.
            state
        } else {
            state.with_phase(FIN_WAIT)
        };
    }
    match phase {
        SYN_SENT if reply && flags & tcp_flags::SYN != 0 => state.with_phase(SYN_RECEIVED),
        SYN_RECEIVED if !reply && flags & tcp_flags::SYN == 0 => state.with_phase(ESTABLISHED),
        PICKED_UP if reply => state.with_phase(ESTABLISHED),
        FIN_WAIT if state.fin_seen(direction.reverse()) => state.with_phase(CLOSE_WAIT),
        _ => state,
    }
}

/// TCP flags as flow logs count them: FIN 1, SYN 2, RST 4, SYN-ACK 18; any other alone is nothing.
///
/// VPC guide, `flow-log-records`, `tcp-flags`.
#[inline(always)]
#[must_use]
pub const fn logged_flags(flags: u8) -> u8 {
    let kept = flags & (tcp_flags::FIN | tcp_flags::SYN | tcp_flags::RST);
    if kept & tcp_flags::SYN != 0 && flags & tcp_flags::ACK != 0 { kept | tcp_flags::ACK } else { kept }
}

#[cfg(test)]
mod tests;
