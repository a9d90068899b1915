//! What the kernel programs and user space share.
//!
//! Layouts of the maps (the ABI), and the pure logic that both sides run: reading packets,
//! looking a policy up, tracking a connection. Nothing here knows about aya, maps or hooks, so
//! all of it runs in ordinary tests; `filter-ebpf` only connects it to the kernel.
//!
//! A packet's way through these modules: [`packet`] reads it, [`exempt`] says whether it is
//! filtered at all, [`connection`] finds its connection's slot, [`track`] moves the connection's
//! state, [`policy`] decides a new one, [`verdict`] names the outcome.
#![cfg_attr(not(any(test, feature = "user")), no_std)]

pub mod abi;
pub mod address;
pub mod bench;
pub mod bytes;
pub mod cell;
pub mod connection;
pub mod counters;
pub mod exempt;
pub mod packet;
pub mod policy;
pub mod record;
pub mod sender;
pub mod service;
pub mod table;
pub mod track;
pub mod verdict;

/// Whether a packet comes to the network interface or leaves it; always the ENI's own view,
/// never the device's (on side `host` a packet received by the device is the ENI's egress).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Towards the ENI.
    Ingress = 0,
    /// Away from the ENI.
    Egress = 1,
}

impl Direction {
    /// Both, each at its [`Direction::index`].
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The other direction: the one in which answers travel.
    #[inline(always)]
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }

    /// The position of this direction in arrays that hold one element per direction.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word that flow logs use: `ingress` or `egress`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}
