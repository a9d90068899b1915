//! Connection tracking: phases, transitions and idle timeouts.
//!
//! Stateful in AWS's sense: an entry stands for a conversation that rules admitted, in the
//! direction that began it. AWS publishes the timeouts for established TCP, UDP and other
//! protocols (EC2 guide, `security-group-connection-tracking`); those it does not publish are
//! Linux's (`net/netfilter/nf_conntrack_proto_tcp.c`, `nf_conntrack_proto_icmp.c`).
//!
//! A *half-open* phase is one in which the other direction has not been seen: it is evicted
//! first when the table is full.



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
    /// TCP, both sides have sent FIN, the last one unanswered.
    TcpLastAck = 9,
    /// TCP, both sides have sent FIN and the last one was answered.
    TcpTimeWait = 10,
    /// TCP, reset.
    TcpClosed = 11,
    /// TCP, picked up in mid-stream; the other direction not seen.
    TcpPickedUp = 12,
    /// ICMP query, unanswered.
    IcmpAsked = 13,
    /// ICMP query, answered.
    IcmpAnswered = 14,
    /// Other protocol, one direction only.
    OtherOneWay = 15,
    /// Other protocol, both directions.
    OtherBothWays = 16,
}

impl Phase {
    /// Number of phases.
    pub const COUNT: usize = 17;

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
        Self::TcpLastAck,
        Self::TcpTimeWait,
        Self::TcpClosed,
        Self::TcpPickedUp,
        Self::IcmpAsked,
        Self::IcmpAnswered,
        Self::OtherOneWay,
        Self::OtherBothWays,
    ];

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
            Self::TcpLastAck => "last-ack",
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
    /// Seconds after which an idle connection in a phase is forgotten.
    #[must_use]
    pub const fn by_phase(&self, phase: Phase) -> u32 {
        match phase {
            Phase::UdpOneWay | Phase::UdpAnswered | Phase::UdpAskedAgain => self.udp,
            Phase::UdpStream => self.udp_stream,
            Phase::TcpEstablished => self.tcp_established,
            Phase::TcpSynSent | Phase::TcpFinWait | Phase::TcpTimeWait | Phase::TcpPickedUp => 120,
            Phase::TcpSynReceived | Phase::TcpCloseWait => 60,
            Phase::TcpLastAck | Phase::IcmpAsked | Phase::IcmpAnswered => 30,
            Phase::TcpClosed => 10,
            Phase::OtherOneWay | Phase::OtherBothWays => 600,
        }
    }
}
