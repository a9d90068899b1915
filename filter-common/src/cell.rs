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
    /// The remote is exempt only as the platform's (`169.254.0.0/16`, or its services' addresses), which
    /// the packet's source must earn.
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

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: u8 = Cell::ANY_ADDRESS;
    const ALL: u8 = Cell::ANY_ADDRESS | Cell::ANY_ADDRESS_ALL_PORTS;

    #[test]
    fn a_flow_is_untracked_if_any_address_may_both_ways_and_one_of_them_on_all_ports() {
        // EC2 guide, `security-group-connection-tracking`, "Untracked connections".
        for (forward, mirror, expected, what) in [
            (ANY, ALL, true, "tcp 80 from 0.0.0.0/0, and all to 0.0.0.0/0"),
            (ALL, ALL, true, "everything both ways"),
            (ANY, ANY, false, "tcp 80 from 0.0.0.0/0, and only tcp 1024-65535 to 0.0.0.0/0"),
            (ALL, 0, false, "everything in, nothing out"),
            (ANY, 0, false, "tcp 80 in, nothing out"),
            (Cell::NARROW, ALL, false, "tcp 80 from one host, and all to 0.0.0.0/0"),
            (ANY | Cell::NARROW, ALL | Cell::NARROW, true, "a narrower rule beside changes nothing"),
            (0, 0, false, "nothing"),
        ] {
            let noise =
                Cell::NACL_ALLOW | Cell::GROUP_ALLOW | Cell::EXEMPT | Cell::LINK_LOCAL | Cell::SAME_SUBNET;
            for other in [0, noise] {
                let (forward, mirror) = (Cell(forward | other), Cell(mirror | other));
                assert_eq!(untracked(forward, mirror), expected, "{what}");
                assert_eq!(untracked(mirror, forward), expected, "both halves come out alike: {what}");
            }
        }
    }

    #[test]
    fn a_pair_keeps_its_cells_apart() {
        for ingress in 0..=255 {
            for egress in [0, 1, 0x80, 0xa5, 0xff] {
                let pair = CellPair::new(Cell(ingress), Cell(egress));
                assert_eq!(pair.of(Direction::Ingress), Cell(ingress));
                assert_eq!(pair.of(Direction::Egress), Cell(egress));
            }
        }
    }

    #[test]
    fn bits_are_eight_different_ones() {
        let bits = [
            Cell::NACL_ALLOW,
            Cell::GROUP_ALLOW,
            Cell::ANY_ADDRESS,
            Cell::ANY_ADDRESS_ALL_PORTS,
            Cell::NARROW,
            Cell::EXEMPT,
            Cell::LINK_LOCAL,
            Cell::SAME_SUBNET,
        ];
        assert_eq!(bits.iter().fold(0, |all, bit| all | bit), 0xff);
        assert!(Cell(0b11).has(0b01) && !Cell(0b01).has(0b11) && Cell(0).has(0));
    }
}
