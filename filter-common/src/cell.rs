//! The decision that a policy holds for one remote address class and one service class.

use crate::Direction;

/// What both layers say about one direction, as bits. Two of them, ingress in the low byte and
/// egress in the high byte, make a [`CellPair`], which is what the matrix stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cell(pub u8);

impl Cell {
    /// The network ACL allows it, or is not asked because the remote is in the same subnet.
    pub const NACL_ALLOW: u8 = 1 << 0;
    /// Some rule of the security groups allows it.
    pub const GROUP_ALLOW: u8 = 1 << 1;
    /// A rule from or to everywhere (`0.0.0.0/0`, `::/0`) is among those that allow it.
    pub const ANY_ADDRESS: u8 = 1 << 2;
    /// A rule from or to everywhere and on all ports is among those that allow it.
    pub const ANY_ADDRESS_ALL_PORTS: u8 = 1 << 3;
    /// A rule that is narrower than everywhere-on-all-ports is among those that allow it.
    pub const NARROW: u8 = 1 << 4;
    /// The remote is an address that is neither filtered nor logged.
    pub const EXEMPT: u8 = 1 << 5;
    /// The remote is exempt only as link-local (`169.254.0.0/16`), which the packet's source must earn.
    pub const LINK_LOCAL: u8 = 1 << 6;
    /// The remote is in the interface's subnet, or on its link.
    pub const SAME_SUBNET: u8 = 1 << 7;

    /// Whether all `bits` are set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, bits: u8) -> bool {
        self.0 & bits == bits
    }
}

/// Both directions' cells for one class of remote addresses and one class of services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CellPair(pub u16);

impl CellPair {
    /// Both cells.
    #[inline(always)]
    #[must_use]
    pub const fn new(ingress: Cell, egress: Cell) -> Self {
        Self(ingress.0 as u16 | (egress.0 as u16) << 8)
    }

    /// The cell of one direction.
    #[inline(always)]
    #[must_use]
    pub const fn of(self, direction: Direction) -> Cell {
        match direction {
            Direction::Ingress => Cell(self.0 as u8),
            Direction::Egress => Cell((self.0 >> 8) as u8),
        }
    }
}

/// Whether a packet of a flow whose own cell is `forward` and whose mirror image's cell is
/// `mirror` belongs to an untracked flow: a rule for any address matches in both directions and
/// at least one of the two is for all ports. Both halves of a flow come out alike.
///
/// EC2 guide, `security-group-connection-tracking`, "Untracked connections".
#[inline(always)]
#[must_use]
pub const fn untracked(forward: Cell, mirror: Cell) -> bool {
    let both = forward.0 & mirror.0 & Cell::ANY_ADDRESS != 0;
    let either = (forward.0 | mirror.0) & Cell::ANY_ADDRESS_ALL_PORTS != 0;
    both && either
}
