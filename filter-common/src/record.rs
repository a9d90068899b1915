//! The flow record as it travels through the ring buffer.

use crate::{abi::Stamp, address::Address};

/// One direction of one conversation in one interval, judged by one generation of the policy for
/// one reason.
///
/// It says all that user space needs to name the rules that decided: for a tracked connection the
/// groups' rule is the one that admitted its first packet, so a record tells that packet's
/// direction and generation, too.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowRecord {
    /// The ENI's address.
    pub local: Address,
    /// The other end's address.
    pub remote: Address,
    /// The ENI's port. Of ICMP and other protocols, and of later fragments, what the key has in
    /// its place (see [`crate::connection::Key`]).
    pub local_port: u16,
    /// The other end's port; likewise.
    pub remote_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
    /// [`crate::Direction`] as a number.
    pub direction: u8,
    /// [`crate::verdict::Reason`] of all packets; of a connection's first one in the interval.
    pub reason: u8,
    /// Slot of the interface.
    pub slot: u16,
    /// TCP flags as AWS counts them (FIN 1, SYN 2, RST 4, SYN-ACK 18), OR-ed.
    pub tcp_flags: u8,
    /// Direction of the packet that opened the connection; 0 if none is tracked.
    pub initiator: u8,
    /// Number of the interval: ticks since the Unix epoch divided by the interval's length.
    pub interval: u32,
    /// Generation of the policy that judged the packets.
    pub generation: u32,
    /// When its first packet was seen.
    pub first: Stamp,
    /// When its last packet was seen.
    pub last: Stamp,
    /// Generation of the policy whose groups admitted the connection; 0 if none is tracked.
    pub opened: u32,
    /// Packets on the wire.
    pub packets: u64,
    /// Bytes: IP length, headers of every GSO segment counted.
    pub bytes: u64,
}

// The sum of its fields: padding would carry the kernel's memory to user space.
const _: () = assert!(size_of::<FlowRecord>() == 2 * 16 + 2 * 2 + 4 + 2 + 2 + 5 * 4 + 2 * 8);
const _: () = assert!(size_of::<FlowRecord>() == 80);
