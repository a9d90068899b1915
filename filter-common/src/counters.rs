//! Per-CPU counters of an interface.

use crate::verdict::Reason;

/// What the programs count per interface and CPU, whether or not a flow log is on.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// Packets on the wire, by direction and [`Reason`].
    pub packets: [[u64; Reason::COUNT]; 2],
    /// Bytes (IP length; whole frame where there is no readable IP header), likewise.
    pub bytes: [[u64; Reason::COUNT]; 2],
    /// Judged packets that no record will count, by direction.
    pub lost_packets: [u64; 2],
    /// Their bytes.
    pub lost_bytes: [u64; 2],
    /// Records that found no room in the ring or in the flow table, by direction.
    pub lost_records: [u64; 2],
}

// A reason more is another layout: count the ABI's version up.
const _: () = assert!(size_of::<Counters>() == 848);

impl Counters {
    /// All zero.
    pub const ZERO: Self = Self {
        packets: [[0; Reason::COUNT]; 2],
        bytes: [[0; Reason::COUNT]; 2],
        lost_packets: [0; 2],
        lost_bytes: [0; 2],
        lost_records: [0; 2],
    };
}
