//! Flow-log records as `filter-ctl flows` prints them, and the clock that ends their intervals.

use std::{fmt, mem::offset_of, net::IpAddr};

use aya::maps::{Array, Map, MapData};
use filter_common::abi::{self, Config};

use crate::lab::Lab;

/// One line of the default format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `interface-id`
    pub interface: String,
    /// `account-id`
    pub account: String,
    /// `srcaddr`; `None` in `NODATA` and `SKIPDATA` lines, as are all up to `bytes`.
    pub source: Option<IpAddr>,
    /// `dstaddr`
    pub destination: Option<IpAddr>,
    /// `srcport`
    pub source_port: u16,
    /// `dstport`
    pub destination_port: u16,
    /// `protocol`
    pub protocol: u8,
    /// `packets`
    pub packets: u64,
    /// `bytes`
    pub bytes: u64,
    /// `start`
    pub start: u64,
    /// `end`
    pub end: u64,
    /// `action`
    pub action: String,
    /// `log-status`
    pub status: String,
}

impl Record {
    /// Reads every line of the default format.
    ///
    /// # Panics
    ///
    /// When a line is no record.
    #[must_use]
    pub fn parse_all(text: &str) -> Vec<Self> {
        text.lines()
            .filter(|line| !line.is_empty())
            .map(|line| Self::parse(line).unwrap_or_else(|| panic!("no flow-log record: {line:?}")))
            .collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(' ').collect();
        let [version, account, interface, source, destination, rest @ ..] = fields.as_slice() else {
            return None;
        };
        let [source_port, destination_port, protocol, packets, bytes, start, end, action, status] = rest
        else {
            return None;
        };
        (*version == "2").then_some(())?;
        let dashes = [source, destination, source_port, destination_port, protocol, packets, bytes, action];
        if *status != "OK" && !dashes.iter().all(|field| **field == "-") {
            return None;
        }
        Some(Self {
            interface: (*interface).to_owned(),
            account: (*account).to_owned(),
            source: number(source)?,
            destination: number(destination)?,
            source_port: number(source_port)?.unwrap_or(0),
            destination_port: number(destination_port)?.unwrap_or(0),
            protocol: number(protocol)?.unwrap_or(0),
            packets: number(packets)?.unwrap_or(0),
            bytes: number(bytes)?.unwrap_or(0),
            start: start.parse().ok()?,
            end: end.parse().ok()?,
            action: (*action).to_owned(),
            status: (*status).to_owned(),
        })
    }

    /// What a test compares: direction, protocol, destination port, action.
    #[must_use]
    pub fn brief(&self) -> String {
        let address = |address: Option<IpAddr>| address.map_or("-".to_owned(), |address| address.to_string());
        format!(
            "{} > {} proto {} {}",
            address(self.source),
            address(self.destination),
            self.protocol,
            self.action
        )
    }
}

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.source_port, self.destination_port);
        write!(
            formatter,
            "{} ports {from} > {to}, {} packets, {} bytes, {}",
            self.brief(),
            self.packets,
            self.bytes,
            self.status
        )
    }
}

/// A field that may be `-`: the outer `None` says that it is neither that nor a value.
fn number<T: std::str::FromStr>(field: &str) -> Option<Option<T>> {
    if field == "-" {
        return Some(None);
    }
    field.parse().ok().map(Some)
}

/// All records of one protocol between two hosts, in one direction, with one action: their sums.
///
/// Sums, because a test that happens to run across the end of an interval finds a flow in two records.
#[must_use]
pub fn sum(records: &[Record], source: IpAddr, destination: IpAddr, protocol: u8, action: &str) -> Sum {
    let mut sum = Sum::default();
    for record in records {
        if record.source == Some(source)
            && record.destination == Some(destination)
            && record.protocol == protocol
            && record.action == action
        {
            sum.packets += record.packets;
            sum.bytes += record.bytes;
        }
    }
    sum
}

/// What several records add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Their packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Asserts that records exist, are of this interface, and sum up as expected.
///
/// # Panics
///
/// With all records, when they do not.
#[track_caller]
pub fn assert_sum(records: &[Record], flow: (IpAddr, IpAddr), protocol: u8, action: &str, expected: Sum) {
    let found = sum(records, flow.0, flow.1, protocol, action);
    assert!(
        found == expected,
        "{} > {} protocol {protocol} {action}: {found:?} instead of {expected:?} in\n{}",
        flow.0,
        flow.1,
        list(records)
    );
}

/// Records for a message, one a line.
#[must_use]
pub fn list(records: &[Record]) -> String {
    records.iter().map(|record| format!("  {record}\n")).collect()
}

/// Moves the clock of the lab's programs into the future.
///
/// # Panics
///
/// When nothing is attached, so that there is no clock.
pub fn advance(lab: &Lab, seconds: u64) {
    let pinned = find(&lab.pins(), abi::maps::CONFIG).expect("a pinned configuration map");
    let map = Map::Array(MapData::from_pin(pinned).expect("open the configuration map"));
    // The whole value as words, because aya wants its own mark on a type that it shall read.
    let mut map = Array::<_, [u64; size_of::<Config>() / 8]>::try_from(map).expect("the map's shape");
    let mut config = map.get(&0, 0).expect("read the configuration");
    config[offset_of!(Config, clock_offset) / 8] += seconds * ticks_per_second();
    map.set(0, config, 0).expect("write the configuration");
}

/// Moves the clock of what was just attached to the beginning of an interval, so that what a test
/// does at once is in one.
///
/// # Panics
///
/// As [`advance`].
pub fn begin_interval(lab: &Lab, seconds: u64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    // The kernel's intervals begin within a tick of the wall clock's.
    advance(lab, seconds - now.as_secs() % seconds + 1);
}

/// `CONFIG_HZ`: the coarse clock's resolution is one tick.
fn ticks_per_second() -> u64 {
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec that outlives the call.
    let result = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) };
    assert!(result == 0 && resolution.tv_nsec > 0, "clock_getres");
    1_000_000_000 / resolution.tv_nsec.unsigned_abs()
}

/// A pinned object by its name, wherever below the root it stands.
fn find(folder: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let kind = entry.file_type().ok()?;
            if entry.file_name() == name && !kind.is_dir() {
                return Some(entry.path());
            }
            if kind.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    None
}
