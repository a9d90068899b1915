//! The tables in force for a slot, asked where they are: in the memory that the programs read.

use std::{fmt, os::fd::AsFd};

use filter_common::policy::{Block, HEADER_WORDS, PolicyHeader, TIERS};

use super::{error::Error, host::Host, policy, sys};
use crate::{clock::Clock, compile::Compiled};

/// A policy block in the kernel. It stays what it is: a new policy is another block.
pub struct Tables {
    header: PolicyHeader,
    mapping: sys::Mapping,
    /// Size of the block less 4.
    mask: u32,
}

impl fmt::Debug for Tables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tables").field("header", &self.header).finish_non_exhaustive()
    }
}

impl Tables {
    /// The tables that enforce for a slot now; `None`: there are none, and everything is dropped.
    ///
    /// # Errors
    ///
    /// If the kernel does not hand them out.
    pub fn in_force(host: &Host, slot: u32) -> Result<Option<Self>, Error> {
        let Some(policy) = policy::in_force(host, slot)? else { return Ok(None) };
        let length = TIERS[policy.tier];
        let mapping = sys::Mapping::new(policy.map.as_fd(), length, false)
            .map_err(Error::system(format!("mmap of a policy of {length} bytes")))?;
        let header = mapping.read(0).ok_or_else(|| Error::MissingSymbol("a policy's header".into()))?;
        Ok(Some(Self { header, mapping, mask: length as u32 - 4 }))
    }

    /// Whether they are those of a compiled policy, under whatever generation.
    #[must_use]
    pub fn are(&self, compiled: &Compiled, clock: &Clock) -> bool {
        let PolicyHeader { generation, interval_phase, .. } = self.header;
        let header = PolicyHeader { interval_phase, ..compiled.header(clock, generation) };
        let mut words = (0..).zip(&compiled.words).skip(HEADER_WORDS);
        header == self.header && words.all(|(place, word)| self.word(place) == *word)
    }
}

impl Block for Tables {
    fn header(&self) -> &PolicyHeader {
        &self.header
    }

    fn word(&self, place: u32) -> u32 {
        // The mask keeps the offset within the block and aligned.
        self.mapping.read((place << 2 & self.mask) as usize).unwrap_or_default()
    }

    fn half(&self, place: u32) -> u16 {
        self.mapping.read((place << 1 & (self.mask | 2)) as usize).unwrap_or_default()
    }
}
