//! The compiler: one interface's effective policy into one block of tables.
//!
//! [`filter_common::policy`] tells the block's layout and how it is asked. The way there:
//! `effects.rs` reduces the rules to what each prefix contributes; `addresses.rs` cuts the address
//! spaces into ranges; `cells.rs` sums contributions up to rows of decisions; `services.rs` finds
//! the columns; `dxr.rs` and `block.rs` lay all of it out. `runs.rs` is what they compute with.
//!
//! [`crate::reference`] says the same without any of it, and the tests hold the two together.

mod addresses;
mod block;
mod cells;
mod dxr;
mod effects;
mod runs;
mod services;
#[cfg(test)]
pub(crate) mod tests;

use std::{fmt, net::Ipv6Addr};

pub(crate) use addresses::{Prefix, Range, ranges as cut};
pub(crate) use effects::spans;
use filter_common::{
    abi::CONNECTIONS,
    policy::{HEADER_WORDS, PolicyHeader, TIERS, Words, flags},
    track::{IdleTimeouts, Phase},
};
use ipnet::IpNet;

use crate::{clock::Clock, policy::EffectivePolicy};

/// A policy as tables, independent of when and where it will be enforced.
#[derive(Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Where the tables are. What depends on the moment is filled in by [`Compiled::header`].
    pub header: PolicyHeader,
    /// The block's words; the first [`HEADER_WORDS`] are room for the header.
    pub words: Vec<u32>,
    /// Which of [`TIERS`] it needs.
    pub tier: usize,
    /// What the header gets beside places.
    pub settings: Settings,
    /// How large it came out.
    pub statistics: Statistics,
    /// A hash of all that matters for enforcement, the same in every process: policies that enforce
    /// the same have the same. Not a proof against somebody who makes collisions on purpose.
    pub fingerprint: u64,
}

/// Settings of a policy in units of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Idle timeouts of connections.
    pub timeouts: IdleTimeouts,
    /// Connections that may be tracked; `None`: as many as the table has room for.
    pub allowance: Option<u32>,
    /// Seconds of the flow-log interval; `None`: nothing is logged.
    pub flow_log_interval: Option<u32>,
}

/// What a policy came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Statistics {
    /// Rules, each remote of a group's rule counted, as AWS does.
    pub rules: usize,
    /// Classes of remote IPv4 addresses.
    pub address_classes_v4: usize,
    /// Classes of remote IPv6 addresses.
    pub address_classes_v6: usize,
    /// Classes of services.
    pub service_classes: usize,
    /// Bytes of the cells.
    pub cells_bytes: usize,
    /// Bytes of the block, header included.
    pub block_bytes: usize,
    /// Whether the cells are stored as runs.
    pub sparse: bool,
}

/// Why a policy cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The block is too large for the largest tier.
    #[error(
        "the policy needs {bytes} bytes, {limit} is the most: {addresses} for addresses and services, \
         {cells} for the decisions ({rows} classes of addresses, {columns} classes of services); use fewer \
         prefixes, or give more of them the same ports"
    )]
    TooLarge {
        /// Bytes needed.
        bytes: usize,
        /// Bytes available.
        limit: usize,
        /// Of them, for the address and service tables.
        addresses: usize,
        /// Of them, for the cells.
        cells: usize,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        columns: usize,
    },
    /// The rules tell too many services apart.
    #[error(
        "the rules tell {classes} classes of ports and protocols apart, {limit} is the most; use port ranges \
         instead of single ports"
    )]
    ServiceClasses {
        /// Classes found.
        classes: usize,
        /// Most that there may be.
        limit: usize,
    },
    /// Too many different combinations of overlapping prefixes and port ranges.
    #[error(
        "overlapping prefixes with different ports combine to {runs} separate decisions and more, {limit} is \
         the most; let fewer prefixes with ports of their own lie within each other, or use fewer different \
         port ranges"
    )]
    Entangled {
        /// Decisions counted when it was given up.
        runs: usize,
        /// Most that there may be.
        limit: usize,
    },
    /// Too many different ranges below one IPv6 network, at a border of 32 bits.
    #[error(
        "{ranges} ranges of addresses below {network}/{length} differ, {limit} is the most below one network \
         of that length; merge neighbouring prefixes into wider ones"
    )]
    Crowded {
        /// The network's address.
        network: Ipv6Addr,
        /// Its length.
        length: u32,
        /// Ranges found.
        ranges: usize,
        /// Most that there may be.
        limit: usize,
    },
}

/// What a policy's rules and the size of its tables depend on, among the interfaces of one document:
/// those in which it is the same are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Likeness {
    vpc_id: String,
    /// It tells the network ACL, too.
    subnet_id: String,
    group_ids: Vec<String>,
    /// The room that own addresses take; `None`: there are too many.
    own_words: Option<usize>,
}

impl Likeness {
    /// That of a document's interface.
    #[must_use]
    pub fn of(policy: &EffectivePolicy) -> Self {
        Self {
            vpc_id: policy.interface.vpc_id.clone(),
            subnet_id: policy.interface.subnet_id.clone(),
            group_ids: policy.groups.iter().map(|group| group.id.clone()).collect(),
            own_words: own_words(&policy.interface.own).ok(),
        }
    }
}

/// Compiles a policy.
///
/// # Errors
///
/// If the policy is too large or too intricate; each error says what to change.
pub fn compile(policy: &EffectivePolicy) -> Result<Compiled, CompileError> {
    compile_with(policy, Limits::DEFAULT)
}

/// Words that an interface's own addresses take in its block. Two interfaces that differ in nothing
/// else that is compiled have the same [`Statistics`] if these are as many.
fn own_words(own: &[IpNet]) -> Result<usize, CompileError> {
    let mut words = Vec::new();
    for ranges in &addresses::covered(own) {
        dxr::append(&mut words, ranges)?;
    }
    Ok(words.len())
}

/// What compiling may take. Memory and time stay within bounds whatever the rules are.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Largest dense matrix, in bytes.
    dense_bytes: usize,
    /// Runs of all different sums of contributions together.
    runs: usize,
    /// Runs looked at while contributions are summed up.
    steps: usize,
}

impl Limits {
    const DEFAULT: Self = Self {
        // Beyond it, a cell is as a rule a cache miss, and a search in a short list of runs costs no more.
        dense_bytes: 4 << 20,
        // What the largest block has room for.
        runs: TIERS[TIERS.len() - 1] / 8,
        // A second or two.
        steps: 1 << 28,
    };
}

fn compile_with(policy: &EffectivePolicy, limits: Limits) -> Result<Compiled, CompileError> {
    let effects = effects::gather(policy);
    let rules = effects.rules;
    let decisions = cells::decide(&effects, &limits)?;
    let own = addresses::covered(&policy.interface.own);
    let mut block = block::lay_out(&decisions, &own, &limits)?;
    if policy.source_dest_check {
        block.header.flags |= flags::SOURCE_DEST_CHECK;
    }
    if policy.strict_tcp {
        block.header.flags |= flags::STRICT_TCP;
    }
    let settings = Settings {
        timeouts: policy.timeouts,
        allowance: policy.allowance,
        flow_log_interval: policy.flow_log_interval,
    };
    let statistics = Statistics {
        rules,
        address_classes_v4: addresses::distinct(&decisions.v4),
        address_classes_v6: addresses::distinct(&decisions.v6),
        service_classes: decisions.columns,
        cells_bytes: block.cells_bytes,
        block_bytes: block.words.len() * 4,
        sparse: block.header.flags & flags::SPARSE != 0,
    };
    let fingerprint = fingerprint(&block.header, &block.words, &settings);
    Ok(Compiled {
        header: block.header,
        words: block.words,
        tier: block.tier,
        settings,
        statistics,
        fingerprint,
    })
}

impl fmt::Debug for Compiled {
    /// Without the words, of which there are millions.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { header, words: _, tier, settings, statistics, fingerprint } = self;
        formatter
            .debug_struct("Compiled")
            .field("header", header)
            .field("tier", tier)
            .field("settings", settings)
            .field("statistics", statistics)
            .field("fingerprint", fingerprint)
            .finish_non_exhaustive()
    }
}

impl Compiled {
    /// The header to enforce it with from now on, as the policy of number `generation`.
    #[must_use]
    pub fn header(&self, clock: &Clock, generation: u32) -> PolicyHeader {
        let Settings { timeouts, allowance, flow_log_interval } = self.settings;
        PolicyHeader {
            generation,
            allowance: allowance.unwrap_or(CONNECTIONS as u32),
            interval_ticks: flow_log_interval
                .map_or(0, |seconds| u32::try_from(clock.ticks_of(seconds)).unwrap_or(u32::MAX)),
            interval_phase: clock.epoch_phase(),
            timeouts: Phase::ALL.map(|phase| clock.stamps_of(timeouts.by_phase(phase))),
            ..self.header
        }
    }

    /// The block in this process's memory: what tests and `explain` ask.
    #[must_use]
    pub fn block(&self, clock: &Clock, generation: u32) -> Words {
        let mut words = self.words.clone();
        words.resize(words.len().next_power_of_two(), 0);
        Words::new(self.header(clock, generation), words)
    }

    /// Writes a header (from [`Compiled::header`]) and the tables to a block of its tier. What the
    /// block holds beyond [`Statistics::block_bytes`] stays as it is: nothing points there.
    ///
    /// # Panics
    ///
    /// If `target` is not as large as the tier.
    pub fn write(&self, header: &PolicyHeader, target: &mut [u8]) {
        assert_eq!(target.len(), TIERS[self.tier], "a block is written to memory of its tier");
        let (head, tables) = target.split_at_mut(HEADER_WORDS * 4);
        block::write_header(header, head);
        for (word, bytes) in self.words[HEADER_WORDS..].iter().zip(tables.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
    }
}

/// Hashes what is enforced: multiply and rotate, word by word, with the finish of MurmurHash3
/// (Appleby, public domain).
fn fingerprint(header: &PolicyHeader, words: &[u32], settings: &Settings) -> u64 {
    let PolicyHeader { flags, v4, v6, own_v4, own_v6, directory, pages, cells, columns, .. } = *header;
    let IdleTimeouts { tcp_established, udp_stream, udp } = settings.timeouts;
    // One more, so that "none" is none of the numbers.
    let optional = |value: Option<u32>| value.map_or(0, |value| u64::from(value) + 1);
    let places = [v4, v6, own_v4, own_v6].into_iter().flat_map(|root| [root.place, root.bits]);
    let numbers = [flags, directory, pages, cells, columns, tcp_established, udp_stream, udp];
    let all = places
        .chain(numbers)
        .map(u64::from)
        .chain([optional(settings.allowance), optional(settings.flow_log_interval), words.len() as u64])
        .chain(words.iter().copied().map(u64::from));
    let mut hash = all.fold(0x9e37_79b9_7f4a_7c15_u64, |hash, value| {
        (hash ^ value.wrapping_mul(0x87c3_7b91_1142_53d5)).rotate_left(27).wrapping_mul(0x4cf5_ad43_2745_937f)
    });
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ hash >> 33).wrapping_mul(factor);
    }
    hash ^ hash >> 33
}
