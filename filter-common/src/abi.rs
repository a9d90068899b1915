//! Names, sizes and versions that the kernel programs and user space agree on.

/// Version of every layout in this crate. Maps are pinned below a directory of this number, so
/// that a program never meets a table of another shape.
pub const ABI_VERSION: u32 = 3;

/// Interfaces that can be attached on one host. Also the number of slots of every per-interface map.
pub const MAX_INTERFACES: u32 = 256;

/// Slots of the connection table. One-entry array maps of this many entries are allocated at the
/// first `attach`.
pub const CONNECTIONS: usize = 1 << 20;

/// Slots of the table that counts rejected and untracked flows.
pub const FLOWS: usize = 1 << 17;

// Slots are masked, not compared: the verifier needs it.
const _: () = assert!(CONNECTIONS.is_power_of_two() && FLOWS.is_power_of_two());
// Keys and records hold an interface's slot in 16 bits.
const _: () = assert!(MAX_INTERFACES <= 1 << 16);

/// Bytes of the ring buffer that carries flow records to user space.
pub const RING_BYTES: u32 = 8 << 20;

// The kernel wants a power of two and whole pages, of up to 64 KiB.
const _: () = assert!(RING_BYTES.is_power_of_two() && RING_BYTES >= 64 << 10);

/// Fragmented datagrams that are remembered at a time.
pub const FRAGMENTS: u32 = 16 << 10;

/// Clock ticks (jiffies) per [`Stamp`], as a shift: 16 ticks, 64 ms at 250 Hz.
pub const STAMP_SHIFT: u32 = 4;

/// A coarse time: ticks since boot, moved by the test offset, divided by 16. 32 bits of it last
/// for more than two years at 1000 Hz, which keeps a table's entry within two cache lines.
pub type Stamp = u32;

/// Names of the maps, as declared in the object and pinned in bpffs.
pub mod maps {
    /// [`super::Config`], one entry.
    pub const CONFIG: &str = "CONFIG";
    /// Policies of up to 256 KiB, by interface slot.
    pub const POLICY_SMALL: &str = "POLICY_SMALL";
    /// Policies of up to 4 MiB, by interface slot.
    pub const POLICY_MEDIUM: &str = "POLICY_MEDIUM";
    /// Policies of up to 64 MiB, by interface slot.
    pub const POLICY_LARGE: &str = "POLICY_LARGE";
    /// Tag directory of the connection table.
    pub const CONNECTION_TAGS: &str = "CONNECTION_TAGS";
    /// Entries of the connection table.
    pub const CONNECTIONS: &str = "CONNECTIONS";
    /// Tag directory of the table of rejected and untracked flows.
    pub const FLOW_TAGS: &str = "FLOW_TAGS";
    /// Entries of the table of rejected and untracked flows.
    pub const FLOWS: &str = "FLOWS";
    /// Verdicts of first fragments, for the later ones to follow.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// [`super::Usage`] by interface slot.
    pub const USAGE: &str = "USAGE";
    /// [`super::Ports`] by interface slot.
    pub const PORTS: &str = "PORTS";
    /// [`crate::counters::Counters`] by interface slot, per CPU.
    pub const COUNTERS: &str = "COUNTERS";
    /// The ring buffer of [`crate::record::FlowRecord`].
    pub const RECORDS: &str = "RECORDS";

    /// Every map that outlives the process, in the order in which they are pinned.
    pub const PINNED: [&str; 13] = [
        CONFIG,
        POLICY_SMALL,
        POLICY_MEDIUM,
        POLICY_LARGE,
        CONNECTION_TAGS,
        CONNECTIONS,
        FLOW_TAGS,
        FLOWS,
        FRAGMENTS,
        USAGE,
        PORTS,
        COUNTERS,
        RECORDS,
    ];
}

/// Names of the programs in the object.
pub mod programs {
    /// XDP at the device's receive side (`xdp.frags`).
    pub const XDP: &str = "filter_xdp";
    /// TC (TCX or clsact) at the device's receive side.
    pub const TC_RECEIVE: &str = "filter_tc_receive";
    /// TC (TCX or clsact) at the device's send side.
    pub const TC_SEND: &str = "filter_tc_send";
    /// Hands over the open counts of a range of table slots; run by `BPF_PROG_TEST_RUN`, never
    /// attached. Its input is a frame that starts with a [`super::Sweep`].
    pub const SWEEP: &str = "filter_sweep";
    /// Tells the clock: run by `BPF_PROG_TEST_RUN`, never attached. Its input is a frame whose
    /// first eight bytes it overwrites with the programs' clock: `bpf_jiffies64` and the test offset.
    pub const CLOCK: &str = "filter_clock";
}

/// Load-time constants (`.rodata`) of the programs; the verifier folds them.
pub mod globals {
    /// `u32`: the slot of the interface in every per-interface map.
    pub const SLOT: &str = "SLOT";
    /// `u8`: 0 = side `workload`, 1 = side `host`.
    pub const SIDE: &str = "SIDE";
    /// `u8`: 0 = frames begin with an Ethernet header, 1 = packets begin with the IP header.
    pub const LINK: &str = "LINK";
    /// `u64`: the tick until which connections older than the filter are picked up.
    pub const GRACE_UNTIL: &str = "GRACE_UNTIL";
    /// `u32`: stamps for which later fragments may follow a first one, [`super::FRAGMENT_SECONDS`].
    pub const FRAGMENT_STAMPS: &str = "FRAGMENT_STAMPS";
}

/// Which end of the link the device is.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The device is the workload's own: what it receives is the ENI's ingress.
    Workload = 0,
    /// The device is the host's end of the workload's link: what it receives is the ENI's egress.
    Host = 1,
}

/// What a frame of the device begins with.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header (`ARPHRD_ETHER`, `ARPHRD_LOOPBACK`).
    Ethernet = 0,
    /// The IP header (`ARPHRD_NONE`: tun, WireGuard).
    Ip = 1,
}

/// State of the whole host, written by user space only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// Added to `bpf_jiffies64`: tests move time with it. Zero otherwise.
    pub clock_offset: u64,
    /// Secret of the connection table's hash; random, made when the maps are created.
    pub hash_secret: [u32; 12],
}

const _: () = assert!(size_of::<Config>() == 56);

/// How much of its allowance an interface uses.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Entries of the connection table that belong to the interface, expired ones not yet
    /// reclaimed included.
    pub connections: u64,
    /// Where the next search for room goes on when the allowance is used up, in slots.
    pub hand: u64,
    /// Stamp of the last such search: there is one per stamp.
    pub searched: u64,
}

const _: () = assert!(size_of::<Usage>() == 24);

/// Local ports of an interface that a connection has had since it was attached: a bit for each port of
/// TCP, then of UDP.
pub type Ports = [u64; 2 * (1 << 16) / 64];

/// What [`programs::SWEEP`] shall do.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Sweep {
    /// First slot, counted through both tables: the connections first, then the flows.
    pub first: u32,
    /// Number of slots, at most 65,536 per run.
    pub count: u32,
    /// The interface slot whose counts are meant, or `u32::MAX` for all.
    pub slot: u32,
    /// Bits of [`sweep_flags`].
    pub flags: u32,
    /// Out: records handed over.
    pub records: u32,
    /// Out: records that found no room in the ring; their counts stayed where they were.
    pub deferred: u32,
    /// Out: the lowest generation that a later record of these slots can name, as a connection
    /// lives that was opened under it, or counts stayed where they were; `u32::MAX` if there is none.
    pub oldest: u32,
    /// Pads to 64 bytes, as a test run wants at least an Ethernet header.
    pub padding: [u32; 9],
}

const _: () = assert!(size_of::<Sweep>() == 64);

/// Which datagram a fragment belongs to (RFC 791, RFC 8200), and for which interface.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentKey {
    /// Source address.
    pub source: crate::address::Address,
    /// Destination address.
    pub destination: crate::address::Address,
    /// Identification.
    pub id: u32,
    /// Slot of the interface.
    pub slot: u16,
    /// Protocol; 0 for IPv6.
    pub protocol: u8,
    /// 4 or 6, and in the upper half the direction.
    pub family_and_direction: u8,
}

// No padding: the kernel hashes and compares a map's keys byte by byte.
const _: () = assert!(size_of::<FragmentKey>() == 16 + 16 + 4 + 2 + 1 + 1);

/// What later fragments need to know of an accepted first one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FragmentVerdict {
    /// When the first fragment was seen; it is followed for 30 seconds, as Linux reassembles.
    pub seen: Stamp,
    /// Its [`crate::packet::Packet::protected_length`]: a later fragment must not begin within.
    pub protected_length: u32,
}

/// Seconds for which later fragments may follow a first one (`net.ipv4.ipfrag_time`).
pub const FRAGMENT_SECONDS: u32 = 30;

/// Bits of [`Sweep::flags`].
pub mod sweep_flags {
    /// Hand over counts of the open interval, too, and not only those of ended ones.
    pub const OPEN_INTERVAL: u32 = 1;
    /// Free the slots of connections and flows that have expired.
    pub const RECLAIM: u32 = 2;
    /// Free all slots of the interface: it is being detached.
    pub const FORGET: u32 = 4;
    /// Free the slots of connections that have expired, whatever counts they have: timeouts are
    /// about to grow, and must bring none of them back.
    pub const EXPIRE: u32 = 8;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn maps_have_names_of_their_own_that_the_kernel_keeps_whole() {
        let names: HashSet<_> = maps::PINNED.into_iter().collect();
        assert_eq!(names.len(), maps::PINNED.len());
        for name in names {
            // `BPF_OBJ_NAME_LEN` is 16, with the zero at the end.
            assert!(name.len() < 16, "{name}");
        }
    }

    #[test]
    fn sweep_flags_are_bits_of_their_own() {
        use sweep_flags::{EXPIRE, FORGET, OPEN_INTERVAL, RECLAIM};
        assert_eq!([OPEN_INTERVAL, RECLAIM, FORGET, EXPIRE].map(u32::count_ones), [1; 4]);
        assert_eq!(OPEN_INTERVAL | RECLAIM | FORGET | EXPIRE, 15);
    }
}
