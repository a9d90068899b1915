//! What the flow log needs of the kernel's side, and no more: so that all of it can be tested
//! without a kernel.

use std::os::fd::OwnedFd;

use filter_common::{
    abi::{CONNECTIONS, FLOWS},
    counters::Counters,
    record::FlowRecord,
};

use super::Result;
use crate::{clock::Clock, state::Attachment};

/// Slots that a sweep goes through: the connections' first, then those of rejected and untracked
/// flows.
pub const SLOTS: u32 = (CONNECTIONS + FLOWS) as u32;

/// The kernel's side of the flow log.
pub trait Source {
    /// A reader begins: it has the ring's lock from now on. Where the ring was read up to must be
    /// asked anew, as others may have read since, and which ring it is, as everything may have been
    /// detached and other devices attached.
    fn begin(&mut self) -> Result<()>;

    /// Both clocks, read now.
    fn clock(&mut self) -> Result<Clock>;

    /// The attached interfaces.
    fn attachments(&mut self) -> Result<Vec<Attachment>>;

    /// Packets, bytes and records of an interface that no record will count, since its counters
    /// were last set to zero.
    fn lost(&mut self, slot: u32) -> Result<Lost>;

    /// The interval that is open for an interface; `None`: it is not logged. Every packet of an
    /// earlier one is counted.
    fn open_interval(&mut self, slot: u32) -> Result<Option<Interval>>;

    /// Hands over the counts in some slots of the tables to the ring.
    fn sweep(&mut self, request: SweepRequest) -> Result<Swept>;

    /// Gives records of the ring to `keep`, oldest first, until the ring is empty or `limit` of
    /// them were given, and says how many that were. A record leaves the ring only after `keep`
    /// returned `Ok` for it.
    fn take(&mut self, limit: usize, keep: &mut dyn FnMut(&[FlowRecord]) -> Result<()>) -> Result<usize>;

    /// What was remarkable in the ring since this was asked last, for people.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// A file descriptor that is readable as long as the ring has records.
    fn readable(&self) -> Result<Option<OwnedFd>>;

    /// Whether the ring that this reader reads is still the host's.
    fn ring(&self) -> Ring;
}

/// What became of the ring since its reader began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// It is the host's.
    Current,
    /// Everything was detached, and then something attached: there is another ring.
    Replaced,
    /// Everything was detached: there is no ring.
    Gone,
}

/// An interval of an interface's flow log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Intervals since the Unix epoch, by the kernel's count.
    pub number: u32,
    /// Its length, in seconds.
    pub seconds: u32,
}

/// One run of the sweeping program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepRequest {
    /// First slot.
    pub first: u32,
    /// Number of slots.
    pub count: u32,
    /// The interface whose counts are meant; `None`: all.
    pub slot: Option<u32>,
    /// [`filter_common::abi::sweep_flags`].
    pub flags: u32,
}

/// What a run of the sweeping program did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Records handed over.
    pub records: u32,
    /// Records that found no room in the ring; their counts stayed where they were.
    pub deferred: u32,
    /// The lowest generation that a later record of these slots can name; [`u32::MAX`]: none can.
    pub oldest: u32,
}

/// What was lost, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lost {
    /// Packets that no record will count.
    pub packets: [u64; 2],
    /// Their bytes.
    pub bytes: [u64; 2],
    /// Records that found no room.
    pub records: [u64; 2],
}

impl From<&Counters> for Lost {
    fn from(counters: &Counters) -> Self {
        Self { packets: counters.lost_packets, bytes: counters.lost_bytes, records: counters.lost_records }
    }
}
