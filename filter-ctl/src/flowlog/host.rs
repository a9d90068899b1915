//! The kernel's side of the flow log on this host.

use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{Map, MapData, RingBuf};
use filter_common::{abi::maps, record::FlowRecord};

use super::{
    Error, Folder, Result, Source, detach,
    source::{Interval, Lost, Ring, SweepRequest, Swept},
};
use crate::{
    clock::Clock,
    datapath::{self, Host, policy},
    state::Attachment,
};

/// The host's pinned programs and maps.
pub struct HostSource<'a> {
    given: &'a Host,
    /// What is pinned since the reader began: another detach and attach may lie between.
    opened: Option<Host>,
    /// Open while there is a reader. It remembers how far it has read, so that one that was opened
    /// before another process read would go back and give that process's records again.
    ring: Option<RingBuf<MapData>>,
    /// The ring's id: the last detach removes the maps, the next attach makes new ones.
    ring_id: Option<u32>,
    notes: Vec<String>,
}

impl<'a> HostSource<'a> {
    /// The flow log's view of a host.
    #[must_use]
    pub const fn new(host: &'a Host) -> Self {
        Self { given: host, opened: None, ring: None, ring_id: None, notes: Vec::new() }
    }

    fn host(&self) -> &Host {
        self.opened.as_ref().unwrap_or(self.given)
    }
}

/// Moves everything that the kernel still counts for an interface to the spool and frees its slots
/// of the tables.
///
/// It is for `detach`, when the interface's programs run no more and its attachment is still in
/// the state folder: the records' names come from there.
pub fn hand_over_all(host: &Host, slot: u32) -> Result<()> {
    detach::hand_over(&mut HostSource::new(host), &Folder::of(host.places()), slot)
}

impl Source for HostSource<'_> {
    fn begin(&mut self) -> Result<()> {
        // The old one first, if any.
        self.ring = None;
        let host = Host::open_in(self.given.places())?;
        let opened = host.map(maps::RECORDS).and_then(|map| {
            let id = map.info()?.id();
            Ok((RingBuf::try_from(Map::RingBuf(map))?, id))
        });
        let (ring, id) = opened.map_err(kernel("open the ring of flow records"))?;
        (self.opened, self.ring, self.ring_id) = (Some(host), Some(ring), Some(id));
        Ok(())
    }

    fn clock(&mut self) -> Result<Clock> {
        self.host().clock().map_err(kernel("read the clock"))
    }

    fn attachments(&mut self) -> Result<Vec<Attachment>> {
        self.host().attachments().map_err(kernel("list the attached interfaces"))
    }

    fn lost(&mut self, slot: u32) -> Result<Lost> {
        let counters = self.host().counters(slot).map_err(kernel("read the counters"))?;
        Ok(Lost::from(&counters))
    }

    fn open_interval(&mut self, slot: u32) -> Result<Option<Interval>> {
        let open = policy::open_interval(self.host(), slot).map_err(kernel("ask which interval is open"))?;
        Ok(open.map(|(number, seconds)| Interval { number, seconds }))
    }

    fn sweep(&mut self, request: SweepRequest) -> Result<Swept> {
        let SweepRequest { first, count, slot, flags } = request;
        let slot = slot.unwrap_or(u32::MAX);
        let swept = self.host().sweep(first, count, slot, flags).map_err(kernel("sweep the tables"))?;
        Ok(Swept { records: swept.records, deferred: swept.deferred, oldest: swept.oldest })
    }

    fn take(&mut self, limit: usize, keep: &mut dyn FnMut(&[FlowRecord]) -> Result<()>) -> Result<usize> {
        let Some(ring) = &mut self.ring else { return Ok(0) };
        let mut taken = 0;
        while taken < limit {
            // One at a time, as the item is released when it is dropped. The price is a write per
            // record, about a microsecond.
            let Some(item) = ring.next() else { break };
            match flow_record(&item) {
                Some(record) => {
                    if let Err(error) = keep(&[record]) {
                        // Not dropped: that would release it.
                        std::mem::forget(item);
                        return Err(error);
                    }
                }
                None => {
                    let bytes = item.len();
                    self.notes.push(format!("the ring held {bytes} bytes that are no flow record"));
                }
            }
            taken += 1;
        }
        Ok(taken)
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn readable(&self) -> Result<Option<OwnedFd>> {
        let Some(ring) = &self.ring else { return Ok(None) };
        let ring = ring.as_fd().try_clone_to_owned();
        ring.map(Some).map_err(|source| Error::Kernel { action: "watch the ring", source: source.into() })
    }

    fn ring(&self) -> Ring {
        let pinned = self.host().map(maps::RECORDS).ok().and_then(|map| map.info().ok());
        match pinned.map(|info| info.id()) {
            None => Ring::Gone,
            id if id == self.ring_id => Ring::Current,
            Some(_) => Ring::Replaced,
        }
    }
}

/// A record from its bytes in the ring; `None` if they are too few or too many.
fn flow_record(bytes: &[u8]) -> Option<FlowRecord> {
    if bytes.len() != size_of::<FlowRecord>() {
        return None;
    }
    // SAFETY: as many bytes as the type has, read unaligned; it is made of integers only, so every
    // bit pattern is a value of it.
    Some(unsafe { bytes.as_ptr().cast::<FlowRecord>().read_unaligned() })
}

fn kernel(action: &'static str) -> impl FnOnce(datapath::Error) -> Error {
    move |source| Error::Kernel { action, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_from_exactly_its_bytes() {
        let mut bytes = vec![0; size_of::<FlowRecord>()];
        // `packets` is the last word but one.
        bytes[64..72].copy_from_slice(&12_u64.to_ne_bytes());
        assert_eq!(flow_record(&bytes).map(|record| record.packets), Some(12));
        assert_eq!(flow_record(&bytes[1..]), None);
    }
}
