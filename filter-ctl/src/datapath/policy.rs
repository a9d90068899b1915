//! Policies in the kernel: one block per interface, swapped whole.
//!
//! A policy is the value of a one-entry array map, made and filled off-line. The programs find it
//! by the interface's slot in the outer map of its size (a *tier*); they look into the smallest
//! tier first. So one change of one outer map is the commit:
//!
//! - same tier: the new map takes the old one's place;
//! - a smaller tier: the insertion is the commit, as it now stands before the old one;
//! - a larger tier: the removal of the old one is, which uncovers the new one.
//!
//! No packet sees neither, or half of one and half of the other.

use std::{
    fmt,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use aya::maps::MapData;
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use filter_common::{
    abi::{maps, sweep_flags},
    policy::{PolicyHeader, TIERS},
    track::Phase,
};

use super::{error::Error, host::Host, object, sys};
use crate::{clock::Clock, compile::Compiled};

/// Outer maps by tier, in the order in which the programs look into them.
const OUTER: [&str; TIERS.len()] = [maps::POLICY_SMALL, maps::POLICY_MEDIUM, maps::POLICY_LARGE];

/// A policy in the kernel that no program sees yet.
pub struct Prepared {
    pub(super) tier: usize,
    pub(super) map: OwnedFd,
    generation: u32,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "policy of generation {} in {}", self.generation, OUTER[self.tier])
    }
}

/// The map that it lies in.
impl AsFd for Prepared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl Prepared {
    /// Writes a compiled policy into a new map.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub fn new(compiled: &Compiled, clock: &Clock, generation: u32) -> Result<Self, Error> {
        let tier = compiled.tier;
        let (flags, size) = object::inner_template(OUTER[tier])?;
        let length = size as usize;
        if length != TIERS[tier] {
            return Err(Error::MissingSymbol(format!("{} of {} bytes", OUTER[tier], TIERS[tier])));
        }
        let definition = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, 4, size, 1, flags);
        let map = MapData::create(definition, "filter_policy", None)?;
        let call = || format!("mmap of a policy of {length} bytes");
        let mut mapping = sys::Mapping::new(map.fd().as_fd(), length, true).map_err(Error::system(call()))?;
        // Writable, as it was asked for.
        if let Some(target) = mapping.bytes_mut() {
            compiled.write(&compiled.header(clock, generation), target);
        }
        drop(mapping);
        let map = map.fd().as_fd().try_clone_to_owned().map_err(Error::system("dup"))?;
        Ok(Self { tier, map, generation })
    }

    /// Its number.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Makes it the policy of a slot. Connections that have expired are forgotten before, where it
    /// has longer timeouts.
    ///
    /// # Errors
    ///
    /// If the kernel refuses; the old policy is in force then.
    pub fn commit(&self, host: &Host, slot: u32) -> Result<(), Error> {
        end_expired(host, slot, &header(self.map.as_fd())?.timeouts)?;
        let outer = host.map(OUTER[self.tier])?;
        let inner = self.map.as_raw_fd().to_ne_bytes();
        sys::update(outer.fd().as_fd(), slot, &inner)
            .map_err(Error::system(format!("bpf(BPF_MAP_UPDATE_ELEM, {}[{slot}])", OUTER[self.tier])))?;
        // Larger tiers first: what a smaller one covers is not seen, so its removal changes nothing.
        for tier in (0..TIERS.len()).rev().filter(|tier| *tier != self.tier) {
            remove_from(host, tier, slot)?;
        }
        Ok(())
    }
}

/// Forgets a slot's connections that have expired, if one of `timeouts` is longer than in the policy
/// in force. Expired entries stay in the table until somebody wants their place: they would
/// come back to life, whatever the rules say of them now.
///
/// # Errors
///
/// If the kernel refuses.
pub fn end_expired(host: &Host, slot: u32, timeouts: &[u32; Phase::COUNT]) -> Result<(), Error> {
    let Some(header) = header_in_force(host, slot)? else { return Ok(()) };
    if timeouts.iter().zip(&header.timeouts).any(|(new, old)| new > old) {
        host.sweep_all(slot, sweep_flags::EXPIRE)?;
    }
    Ok(())
}

/// The policy in force for a slot, to be put back should a later one of several fail.
pub fn in_force(host: &Host, slot: u32) -> Result<Option<Prepared>, Error> {
    for (tier, name) in OUTER.into_iter().enumerate() {
        let outer = host.map(name)?;
        let mut id = [0; 4];
        let found = sys::lookup(outer.fd().as_fd(), slot, &mut id)
            .map_err(Error::system(format!("bpf(BPF_MAP_LOOKUP_ELEM, {name}[{slot}])")))?;
        if found.is_some() {
            let map =
                sys::map_by_id(u32::from_ne_bytes(id)).map_err(Error::system("bpf(BPF_MAP_GET_FD_BY_ID)"))?;
            let generation = header(map.as_fd())?.generation;
            return Ok(Some(Prepared { tier, map, generation }));
        }
    }
    Ok(None)
}

/// Waits until no program that has begun before still runs: the kernel does so after every change
/// of a map of maps, also after one that changes nothing.
pub(super) fn settle(host: &Host, slot: u32) -> Result<(), Error> {
    in_force(host, slot)?.map_or(Ok(()), |policy| policy.commit(host, slot))
}

/// The header of the policy in force for a slot.
pub(super) fn header_in_force(host: &Host, slot: u32) -> Result<Option<PolicyHeader>, Error> {
    in_force(host, slot)?.map(|policy| header(policy.map.as_fd())).transpose()
}

/// Ticks that a packet under way needs at most until it is counted. (It is microseconds; a virtual
/// machine's CPU may stand still longer, and then a record is late.)
const UNDER_WAY: u64 = 2;

/// The number of the interval that is open for a slot and its length in seconds; `None`: nothing is
/// logged. All packets of earlier ones are counted.
///
/// # Errors
///
/// If the kernel refuses.
pub fn open_interval(host: &Host, slot: u32) -> Result<Option<(u32, u32)>, Error> {
    let Some(header) = header_in_force(host, slot)? else { return Ok(None) };
    let clock = host.clock()?;
    let ticks = clock.ticks.saturating_sub(UNDER_WAY).wrapping_add(header.interval_phase);
    let seconds = header.interval_ticks / clock.hz.max(1);
    Ok(ticks.checked_div(u64::from(header.interval_ticks)).map(|number| (number as u32, seconds)))
}

/// Takes a slot's policy away: what still ran for it would drop everything.
pub(super) fn remove(host: &Host, slot: u32) -> Result<(), Error> {
    (0..TIERS.len()).rev().try_for_each(|tier| remove_from(host, tier, slot))
}

fn remove_from(host: &Host, tier: usize, slot: u32) -> Result<(), Error> {
    let outer = host.map(OUTER[tier])?;
    sys::delete(outer.fd().as_fd(), slot)
        .map_err(Error::system(format!("bpf(BPF_MAP_DELETE_ELEM, {}[{slot}])", OUTER[tier])))
}

fn header(map: BorrowedFd<'_>) -> Result<PolicyHeader, Error> {
    let mapping = sys::Mapping::new(map, size_of::<PolicyHeader>(), false)
        .map_err(Error::system("mmap of a policy's header"))?;
    mapping.read(0).ok_or_else(|| Error::MissingSymbol("a policy's header".into()))
}
