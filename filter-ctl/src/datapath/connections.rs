//! The tracked connections, read from the table's memory while the programs go on.

use std::{net::IpAddr, os::fd::AsFd, time::Duration};

use filter_common::{
    Direction,
    abi::{CONNECTIONS, maps},
    connection::{Connection, KeyParts, State},
    table::{LANES, RESERVED, lane},
    track::Phase,
};
use serde_json::Value;

use super::{error::Error, host::Host, policy, sys};

/// A tracked connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Slot of the interface.
    pub slot: u32,
    /// IANA protocol number.
    pub protocol: u8,
    /// The interface's address and port.
    pub local: (IpAddr, u16),
    /// The other end's.
    pub remote: (IpAddr, u16),
    /// Where it stands.
    pub phase: Phase,
    /// The direction of its first packet.
    pub origin: Direction,
    /// Since its first packet.
    pub age: Duration,
    /// Since its last packet.
    pub idle: Duration,
    /// Until it is forgotten if no packet comes.
    pub expires: Duration,
}

impl Tracked {
    /// Its times, in seconds, as fields of a JSON object.
    #[must_use]
    pub fn times_json(&self) -> [(String, Value); 3] {
        let times =
            [("age_seconds", self.age), ("idle_seconds", self.idle), ("expires_in_seconds", self.expires)];
        times.map(|(name, time)| (name.to_owned(), time.as_secs_f64().into()))
    }
}

/// All connections that have not expired, in the order of slot, protocol, local and remote.
///
/// # Errors
///
/// If the table cannot be read.
pub fn read(host: &Host, wanted: impl Fn(u32) -> bool) -> Result<Vec<Tracked>, Error> {
    let mapped = |name: &str, length| {
        let map = host.map(name)?;
        sys::Mapping::new(map.fd().as_fd(), length, false).map_err(Error::system(format!("mmap({name})")))
    };
    let tags = mapped(maps::CONNECTION_TAGS, CONNECTIONS * 2)?;
    let entries = mapped(maps::CONNECTIONS, CONNECTIONS * size_of::<Connection>())?;
    let clock = host.clock()?;
    let mut timeouts = std::collections::BTreeMap::new();
    let mut found = Vec::new();
    for index in 0..CONNECTIONS / LANES as usize {
        let Some(word) = tags.read::<u64>(index * 8).filter(|word| *word != 0) else { continue };
        for number in 0..LANES {
            let tag = lane(word, number);
            if tag <= RESERVED {
                continue;
            }
            let place = index * LANES as usize + number as usize;
            let Some(entry) = entries.read::<Connection>(place * size_of::<Connection>()) else { continue };
            // Had the slot changed hands meanwhile, the copy could be of two connections.
            if tags.read::<u64>(index * 8).map(|word| lane(word, number)) != Some(tag) {
                continue;
            }
            let Some(key) = entry.key().parts() else { continue };
            let slot = u32::from(key.slot);
            if !wanted(slot) {
                continue;
            }
            let timeouts = match timeouts.entry(slot) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(unknown) => {
                    unknown.insert(policy::header_in_force(host, slot)?.map(|header| header.timeouts))
                }
            };
            let state = State(entry.state);
            let Some(phase) = Phase::ALL.get(usize::from(state.phase_number())).copied() else { continue };
            let timeout = timeouts.map_or(Duration::ZERO, |timeouts| clock.span(timeouts[phase as usize]));
            let idle = clock.span(entry.idle(clock.stamp()));
            if let Some(expires) = timeout.checked_sub(idle) {
                found.push(tracked(&key, state, phase, clock.age(entry.opened), idle, expires));
            }
        }
    }
    found.sort_by_key(|one| (one.slot, one.protocol, one.local, one.remote));
    Ok(found)
}

fn tracked(
    key: &KeyParts,
    state: State,
    phase: Phase,
    age: Duration,
    idle: Duration,
    expires: Duration,
) -> Tracked {
    Tracked {
        slot: key.slot.into(),
        protocol: key.protocol,
        local: (key.local.to_ip(key.family), key.local_port),
        remote: (key.remote.to_ip(key.family), key.remote_port),
        phase,
        origin: state.initiator(),
        age,
        idle,
        expires,
    }
}
