//! A kernel's side without a kernel, and records to go with it.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
    os::fd::OwnedFd,
    time::Duration,
};

use filter_common::{
    Direction,
    abi::{STAMP_SHIFT, Stamp, sweep_flags},
    record::FlowRecord,
    verdict::Reason,
};

use super::{
    Collector, Error, Folder, Record, Result, Source,
    lock::Lock,
    record::{Content, Loss},
    resolve::Resolver,
    source::{Lost, Ring, SweepRequest, Swept},
    spool::Spool,
};
use crate::{
    clock::Clock,
    naming::Decisions,
    policy::Interface,
    state::{Attachment, Hook, Side},
};

/// In the middle of a second, so that a stamp's 64 ms do not change the second.
pub(crate) const CLOCK: Clock = Clock { hz: 250, ticks: 4_000_000, unix_nanos: 1_700_000_100_500_000_000 };

/// A stamp so many seconds before [`CLOCK`].
pub(crate) fn seconds_ago(seconds: u64) -> Stamp {
    ((CLOCK.ticks - seconds * 250) >> STAMP_SHIFT) as Stamp
}

/// SSH from outside: packets of the last minute and a half.
pub(crate) fn record(slot: u16) -> FlowRecord {
    FlowRecord {
        local: Ipv4Addr::new(10, 0, 1, 20).into(),
        remote: Ipv4Addr::new(198, 51, 100, 7).into(),
        local_port: 22,
        remote_port: 40022,
        protocol: 6,
        family: 4,
        direction: Direction::Ingress as u8,
        reason: Reason::NewConnection as u8,
        slot,
        tcp_flags: 3,
        initiator: Direction::Ingress as u8,
        interval: 28_333_334,
        generation: 12,
        first: seconds_ago(90),
        last: seconds_ago(39),
        opened: 12,
        packets: 12,
        bytes: 2410,
    }
}

/// [`record`], resolved.
pub(crate) fn resolved() -> Record {
    resolve(&record(0))
}

/// A record of the interface `eni-0a1`, resolved.
pub(crate) fn resolve(record: &FlowRecord) -> Record {
    let mut resolver = Resolver::default();
    resolver.learn(vec![attachment(0, "eni-0a1")]);
    resolver.resolve(record, Decisions::default(), &CLOCK)
}

/// A record about losses.
pub(crate) fn lost_record() -> Record {
    Record { content: Content::Lost(Loss { packets: 40, bytes: 4000, records: 3 }), ..resolved() }
}

pub(crate) fn attachment(slot: u32, id: &str) -> Attachment {
    let own = ["10.0.1.20/32", "10.0.1.99/32", "2001:db8:1::20/128", "2001:db8:1::21/128"];
    Attachment {
        slot,
        device: "veth1".to_owned(),
        ifindex: 7,
        netns: 1,
        interface: Interface {
            id: id.to_owned(),
            vpc_id: "vpc-0b2".to_owned(),
            subnet_id: "subnet-0c3".to_owned(),
            account_id: "111122223333".to_owned(),
            primary_v4: Some(Ipv4Addr::new(10, 0, 1, 20)),
            primary_v6: match "2001:db8:1::20".parse() {
                Ok(IpAddr::V6(address)) => Some(address),
                _ => None,
            },
            own: own.iter().filter_map(|own| own.parse().ok()).collect(),
            ..Interface::default()
        },
        side: Side::Workload,
        receive: Hook::XdpNative,
        send: Hook::Tcx,
        reason: String::new(),
        log: true,
        interval: Some(60),
        flow_logs: Vec::new(),
        generation: 12,
        fingerprint: 0,
        attached_at: 1_700_000_000,
    }
}

/// A table of open counts and a ring with little room.
pub(crate) struct Fake {
    pub(super) attachments: Vec<Attachment>,
    pub(super) ring: VecDeque<FlowRecord>,
    /// The rings of later attaches.
    pub(super) later: Vec<VecDeque<FlowRecord>>,
    /// How many records the ring can hold.
    pub(super) room: usize,
    /// Open counts by table slot.
    pub(super) table: Vec<(u32, FlowRecord)>,
    pub(super) lost: Lost,
    pub(super) batch: usize,
    pub(super) sweeps: Vec<SweepRequest>,
    /// What the ring was remarkable for.
    pub(super) notes: Vec<String>,
    /// How many readers began.
    pub(super) begun: u32,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            attachments: vec![attachment(0, "eni-0a1"), attachment(1, "eni-0a2")],
            ring: VecDeque::new(),
            later: Vec::new(),
            room: 8,
            table: Vec::new(),
            lost: Lost::default(),
            batch: 3,
            sweeps: Vec::new(),
            notes: Vec::new(),
            begun: 0,
        }
    }
}

impl Source for Fake {
    fn begin(&mut self) -> Result<()> {
        if self.begun > 0 && !self.later.is_empty() {
            self.ring = self.later.remove(0);
        }
        self.begun += 1;
        Ok(())
    }

    fn clock(&mut self) -> Result<Clock> {
        Ok(CLOCK)
    }

    fn attachments(&mut self) -> Result<Vec<Attachment>> {
        Ok(self.attachments.clone())
    }

    fn lost(&mut self, slot: u32) -> Result<Lost> {
        match slot {
            0 => Ok(self.lost),
            1 => Ok(Lost::default()),
            _ => Err(Error::Kernel { action: "read the counters", source: "no such slot".into() }),
        }
    }

    fn sweep(&mut self, request: SweepRequest) -> Result<Swept> {
        self.sweeps.push(request);
        let mut swept = Swept::default();
        if request.flags & sweep_flags::OPEN_INTERVAL == 0 {
            return Ok(swept);
        }
        let end = request.first + request.count;
        self.table.retain(|(place, record)| {
            let meant = (request.first..end).contains(place)
                && request.slot.is_none_or(|slot| slot == u32::from(record.slot));
            if !meant {
                return true;
            }
            if self.ring.len() >= self.room {
                swept.deferred += 1;
                // As the kernel does: with the slot, its counts go to the losses.
                let forgotten = request.flags & sweep_flags::FORGET != 0;
                if forgotten {
                    self.lost.packets[usize::from(record.direction)] += record.packets;
                }
                return !forgotten;
            }
            self.ring.push_back(*record);
            swept.records += 1;
            false
        });
        Ok(swept)
    }

    fn take(&mut self, limit: usize, keep: &mut dyn FnMut(&[FlowRecord]) -> Result<()>) -> Result<usize> {
        let mut taken = 0;
        while taken < limit && !self.ring.is_empty() {
            let batch: Vec<_> = self.ring.iter().take(self.batch.min(limit - taken)).copied().collect();
            keep(&batch)?;
            taken += batch.len();
            self.ring.drain(..batch.len());
        }
        Ok(taken)
    }

    fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    fn readable(&self) -> Result<Option<OwnedFd>> {
        Ok(None)
    }

    fn ring(&self) -> Ring {
        match (self.attachments.is_empty(), self.later.is_empty()) {
            (true, _) => Ring::Gone,
            (false, false) => Ring::Replaced,
            (false, true) => Ring::Current,
        }
    }
}

pub(crate) type TestResult<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A state folder of a test's own.
pub(crate) struct Place {
    _folder: tempfile::TempDir,
    pub(crate) folder: Folder,
}

impl Place {
    pub(crate) fn new() -> TestResult<Self> {
        let place = tempfile::tempdir()?;
        Ok(Self { folder: Folder::new(place.path()), _folder: place })
    }

    pub(crate) fn collector<'a>(&self, fake: &'a mut Fake) -> Result<Collector<'a>> {
        let lock = Lock::acquire(&self.folder.lock(), Duration::ZERO, |_| false)?;
        Collector::open(&self.folder, lock, fake)
    }

    pub(crate) fn kept(&self) -> Result<Vec<Record>> {
        Spool::open(&self.folder.spool(), self.folder.limits())?.reader()?.collect()
    }
}

/// [`record`] with packets to tell it from others by.
pub(crate) fn numbered(slot: u16, packets: u64) -> FlowRecord {
    FlowRecord { packets, ..record(slot) }
}

pub(crate) fn packets(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.content.packets()).collect()
}
