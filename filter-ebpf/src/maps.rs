//! Every map, with why it is of its type. Layouts are `filter-common`'s.
//!
//! Tables that the hot path reads are one-entry arrays with one large value: the JIT reads those
//! inline, where each call of a helper costs about 9 ns. `BPF_F_MMAPABLE` lets user space fill
//! and read them at memory speed.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, ArrayOfMaps, LruHashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use filter_common::{
    abi::{self, Config, FragmentKey, FragmentVerdict, MAX_INTERFACES, Ports, Usage},
    connection::{Connection, Flow},
    counters::Counters,
    policy::TIERS,
    record::FlowRecord,
    table::LANES,
};

use crate::seen::Context;

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const SLOTS: usize = MAX_INTERFACES as usize;

/// One policy block of a tier.
pub(crate) type Block<const WORDS: usize> = Array<[u64; WORDS], 1, MMAPABLE>;

#[btf_map]
pub(crate) static CONFIG: Array<Config, 1> = Array::new();

// An update of the outer map is the commit of a policy: a packet sees all of the old or all of the new.
#[btf_map]
pub(crate) static POLICY_SMALL: ArrayOfMaps<Block<{ TIERS[0] / 8 }>, SLOTS> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static POLICY_MEDIUM: ArrayOfMaps<Block<{ TIERS[1] / 8 }>, SLOTS> = ArrayOfMaps::new();
#[btf_map]
pub(crate) static POLICY_LARGE: ArrayOfMaps<Block<{ TIERS[2] / 8 }>, SLOTS> = ArrayOfMaps::new();

#[btf_map]
pub(crate) static CONNECTION_TAGS: Array<[u64; abi::CONNECTIONS / LANES as usize], 1, MMAPABLE> =
    Array::new();
#[btf_map]
pub(crate) static CONNECTIONS: Array<[Connection; abi::CONNECTIONS], 1, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static FLOW_TAGS: Array<[u64; abi::FLOWS / LANES as usize], 1, MMAPABLE> = Array::new();
#[btf_map]
pub(crate) static FLOWS: Array<[Flow; abi::FLOWS], 1, MMAPABLE> = Array::new();

// Fragments are rare and their state may be lost (it fails closed), so the kernel's LRU does.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentVerdict, { abi::FRAGMENTS as usize }> =
    LruHashMap::new();

#[btf_map]
pub(crate) static USAGE: Array<Usage, SLOTS> = Array::new();
#[btf_map]
pub(crate) static PORTS: Array<Ports, SLOTS> = Array::new();
#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<Counters, SLOTS> = PerCpuArray::new();

#[btf_map]
pub(crate) static RECORDS: RingBuf<FlowRecord, { abi::RING_BYTES as usize }> = RingBuf::new();

/// Room for the largest header that is read at once, IPv6's.
pub(crate) type Scratch = [u64; 5];

#[btf_map]
pub(crate) static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static CONTEXT: PerCpuArray<Context, 1> = PerCpuArray::new();
