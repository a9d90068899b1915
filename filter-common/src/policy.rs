//! The compiled policy: its layout, and how it is asked.
//!
//! # The problem
//!
//! A security group or network ACL rule names a remote prefix, a protocol, and destination ports
//! or an ICMP type and code. Asking the rules one after the other costs time that grows with
//! their number. A firewall's packet must cost the same with 10 rules and with 100,000.
//!
//! # The structure
//!
//! User space cuts the remote addresses into *address classes* (all addresses that the same rules
//! name) and the services into *service classes* likewise, over both layers and both directions
//! at once. A policy is then one block of memory with four tables:
//!
//! - **addresses**: DXR (Zec, Rizzo, Mikuc: "DXR: towards a billion routing lookups per second in
//!   software", 2012). A root is indexed by the first bits of the address. An entry is the class
//!   itself (a *leaf*), or the place of a *chunk*: the sorted starts of the address ranges below
//!   that root entry, searched without branches on the data. An IPv6 address is walked as up to
//!   four 32-bit words: a range of one word is a leaf, or leads to the chunk of the next word.
//!   A chunk of many ranges has an *index*: what its starts span is cut into as many even parts, and
//!   for each part the index says which ranges reach into it. (All of IPv6's global addresses begin
//!   with the same three bits, and a network's with many more: its root tells few of them apart.)
//! - **services**: a directory by kind and high byte, and pages of 256 classes by low byte. Pages
//!   that are alike are stored once, so a policy's services take a few KiB.
//! - **cells**: one 16-bit [`CellPair`] for each (address class, service class): the verdict of
//!   both layers in both directions. *Dense*, a matrix; or, where that would not fit, *sparse*:
//!   each address class has a chunk that maps the starts of ranges of service classes to pairs.
//! - **own addresses**: DXR again, class 1 = one of the interface's own addresses.
//!
//! # Worked example
//!
//! "tcp 443 from 10.0.0.0/8" gives two IPv4 classes (in 10/8: 1; elsewhere: 0) and two service
//! classes (tcp 443: 1; all else: 0). Root of 8 bits: entry 10 is leaf 1, the others leaf 0. The
//! TCP directory points at page 0 (all 0) but for high byte 1, whose page holds class 1 at
//! 443 - 256 = 187. `10.1.2.3:443` is class (1, 1), whose cell says GROUP_ALLOW for ingress.
//!
//! # Cost
//!
//! One root read and, for an address below a chunk, log2(ranges in the chunk) reads, or with an index
//! three and mostly one more; two reads for the service; one for the cell. The block is the value of a one-entry array map, which the
//! kernel's JIT reads inline. Rejected: kernel LPM tries (58 to 437 ns against 14 to 25 here), a
//! walk over the rules, bit vectors (they grow with the rules).
//!
//! # Layout
//!
//! The block is an array of 32-bit words, a [`PolicyHeader`] first. "Place" is a word index.
//! Indices are masked to the block's size, a power of two: the verifier needs it, and no content,
//! however wrong, makes a program read outside of the block.

use crate::{
    Direction,
    address::{Address, Family},
    cell::CellPair,
    service::Service,
    track::Phase,
};

/// Sizes of the blocks, in bytes: a policy is put into the smallest that holds it.
pub const TIERS: [usize; 3] = [256 << 10, 4 << 20, 64 << 20];

/// Bit of a node that is a leaf; the other bits are the class. Without it, a node is the place
/// of a chunk.
pub const LEAF: u32 = 1 << 31;

/// Steps of the search in a chunk: a chunk has less than `1 << SEARCH_STEPS` ranges.
pub const SEARCH_STEPS: u32 = 21;

/// Most bits of a root.
pub const MAX_ROOT_BITS: u32 = 18;

/// What a chunk begins with, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHead {
    /// Ranges, below `1 << SEARCH_STEPS`.
    pub count: u32,
    /// The index has `1 << index_bits` parts; 0: there is none.
    pub index_bits: u32,
    /// A part of the index spans `1 << shift` addresses (or numbers of services).
    pub shift: u32,
}

impl ChunkHead {
    const BITS: u32 = 5;

    /// As a word.
    #[must_use]
    pub const fn word(self) -> u32 {
        self.count | self.index_bits << SEARCH_STEPS | self.shift << (SEARCH_STEPS + Self::BITS)
    }

    /// From a word.
    #[inline(always)]
    #[must_use]
    pub fn from_word(word: u32) -> Self {
        let field = |at: u32| word >> at & ((1 << Self::BITS) - 1);
        Self {
            count: word & ((1 << SEARCH_STEPS) - 1),
            index_bits: field(SEARCH_STEPS),
            shift: field(SEARCH_STEPS + Self::BITS),
        }
    }
}

/// Where an address table begins.
///
/// A chunk of `n` ranges at place `c` is: word `c` holds its [`ChunkHead`]; words `c+1 .. c+1+n` hold the
/// ranges' starts, ascending, the first one 0; words `c+1+n .. c+1+2n` hold their nodes. A start
/// in the chunk of the first address word has the root's bits cleared. If it has an index of `p` parts,
/// words `c+1+2n ..= c+1+2n+p` hold the number of the range in which each part begins, counted from
/// the second range's start on: 0 in the first one, and behind the last one `n - 1`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// Place of the root's `1 << bits` nodes.
    pub place: u32,
    /// Leading bits of the address that index the root, 1 to [`MAX_ROOT_BITS`].
    pub bits: u32,
}

/// What a policy block begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyHeader {
    /// Number of this policy, counted up with every applied one and never 0: what a connection
    /// remembers beside a cached verdict.
    pub generation: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Connections that the interface may track.
    pub allowance: u32,
    /// Length of the kernel's flow-log interval in clock ticks; 0: nothing is logged.
    pub interval_ticks: u32,
    /// Added to the clock, in ticks, before the division by the interval: ticks since the epoch.
    pub interval_phase: u64,
    /// Remote IPv4 addresses.
    pub v4: Root,
    /// Remote IPv6 addresses.
    pub v6: Root,
    /// The interface's own IPv4 addresses: class 1.
    pub own_v4: Root,
    /// The interface's own IPv6 addresses: class 1.
    pub own_v6: Root,
    /// Place, *in 16-bit halves*, of the service directory: `kind * 256 + high byte` → page.
    pub directory: u32,
    /// Place, *in 16-bit halves*, of the service pages: `page * 256 + low byte` → service class.
    pub pages: u32,
    /// Dense: place, *in 16-bit halves*, of the matrix `row * columns + service class`.
    /// Sparse: place (in words) of the rows' chunk places.
    pub cells: u32,
    /// Service classes.
    pub columns: u32,
    /// Idle timeouts by [`Phase`], in stamps (see [`crate::abi::Stamp`]).
    pub timeouts: [u32; Phase::COUNT],
}

const _: () = assert!(size_of::<PolicyHeader>() == 136);

/// Bits of [`PolicyHeader::flags`].
pub mod flags {
    /// The cells are sparse.
    pub const SPARSE: u32 = 1;
    /// `SourceDestCheck`: the local address must be one of the interface's own.
    pub const SOURCE_DEST_CHECK: u32 = 2;
    /// `StrictTcp`: a TCP segment that belongs to no connection and is no SYN is refused.
    pub const STRICT_TCP: u32 = 4;
}

/// Words that the header takes; the tables come after it.
pub const HEADER_WORDS: usize = size_of::<PolicyHeader>().div_ceil(4);

/// A policy block that can be read.
pub trait Block {
    /// The header.
    fn header(&self) -> &PolicyHeader;
    /// The word at a place; places wrap at the block's end.
    fn word(&self, place: u32) -> u32;
    /// All ones if `a <= b`, else zero. BPF compares by branching only, and the verifier would
    /// follow both branches of every step of a search: programs compute it instead.
    fn at_most(&self, a: u32, b: u32) -> u32 {
        u32::from(a <= b).wrapping_neg()
    }
    /// The 16-bit half at a place counted in halves (the first half of a word is its low one);
    /// places wrap at the block's end.
    fn half(&self, place: u32) -> u16;
}

/// The node whose range holds `key`, in the chunk at `chunk`.
#[inline(always)]
fn search<B: Block>(block: &B, chunk: u32, key: u32) -> u32 {
    let head = ChunkHead::from_word(block.word(chunk));
    let starts = chunk.wrapping_add(1);
    let nodes = starts.wrapping_add(head.count);
    let (mut low, mut length) = (0u32, head.count);
    if head.index_bits != 0 {
        let first = block.word(starts.wrapping_add(1));
        let part = (key.wrapping_sub(first) & block.at_most(first, key)) >> head.shift;
        let last = (1u32 << head.index_bits).wrapping_sub(1);
        let is_part = block.at_most(part, last);
        let index = nodes.wrapping_add(head.count).wrapping_add(part & is_part | last & !is_part);
        low = block.word(index);
        length = block.word(index.wrapping_add(1)).wrapping_sub(low).wrapping_add(1);
    }
    for _ in 0..SEARCH_STEPS {
        if length <= 1 {
            break;
        }
        let half = length >> 1;
        let start = block.word(starts.wrapping_add(low).wrapping_add(half));
        low = low.wrapping_add(half & block.at_most(start, key));
        length -= half;
    }
    block.word(nodes.wrapping_add(low))
}

/// The class of an address.
#[inline(always)]
fn class<B: Block>(block: &B, root: Root, address: &Address, family: Family) -> u32 {
    let bits = root.bits & 31;
    let first = address.0[0];
    let mut node = block.word(root.place.wrapping_add((first >> 1) >> (31 - bits)));
    if node & LEAF != 0 {
        return node & !LEAF;
    }
    node = search(block, node, first & (u32::MAX >> bits));
    if node & LEAF != 0 || matches!(family, Family::V4) {
        return node & !LEAF;
    }
    node = search(block, node, address.0[1]);
    if node & LEAF != 0 {
        return node & !LEAF;
    }
    node = search(block, node, address.0[2]);
    if node & LEAF != 0 {
        return node & !LEAF;
    }
    search(block, node, address.0[3]) & !LEAF
}

/// The class (the row of the matrix) of a remote address.
#[inline(always)]
pub fn address_class<B: Block>(block: &B, remote: &Address, family: Family) -> u32 {
    let root = match family {
        Family::V4 => block.header().v4,
        Family::V6 => block.header().v6,
    };
    class(block, root, remote, family)
}

/// Whether an address is one of the interface's own.
#[inline(always)]
pub fn is_own<B: Block>(block: &B, local: &Address, family: Family) -> bool {
    let root = match family {
        Family::V4 => block.header().own_v4,
        Family::V6 => block.header().own_v6,
    };
    class(block, root, local, family) != 0
}

/// The class (the column of the matrix) of a service.
#[inline(always)]
pub fn service_class<B: Block>(block: &B, service: Service) -> u32 {
    let high = (service.kind as u32) << 8 | (service.value >> 8) as u32;
    let page = block.half(block.header().directory.wrapping_add(high)) as u32;
    let low = (service.value & 0xff) as u32;
    block.half(block.header().pages.wrapping_add(page << 8).wrapping_add(low)) as u32
}

/// What both layers say, in both directions, about an address class and a service class.
#[inline(always)]
pub fn cells<B: Block>(block: &B, row: u32, column: u32) -> CellPair {
    let header = block.header();
    if header.flags & flags::SPARSE != 0 {
        let chunk = block.word(header.cells.wrapping_add(row));
        CellPair(search(block, chunk, column) as u16)
    } else {
        CellPair(block.half(header.cells.wrapping_add(row.wrapping_mul(header.columns)).wrapping_add(column)))
    }
}

/// The cell for one direction, remote address and service: what a new packet is judged by.
#[inline(always)]
pub fn cell<B: Block>(
    block: &B,
    direction: Direction,
    remote: &Address,
    family: Family,
    service: Service,
) -> crate::cell::Cell {
    let row = address_class(block, remote, family);
    cells(block, row, service_class(block, service)).of(direction)
}

/// A policy block in user space's memory: what the compiler produces, and what tests ask.
#[cfg(any(test, feature = "user"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    header: PolicyHeader,
    words: Vec<u32>,
}

#[cfg(any(test, feature = "user"))]
impl Words {
    /// A block of `words` (a power of two of them, the first [`HEADER_WORDS`] reserved) under `header`.
    ///
    /// # Panics
    ///
    /// If the number of words is not a power of two.
    #[must_use]
    pub fn new(header: PolicyHeader, words: Vec<u32>) -> Self {
        assert!(words.len().is_power_of_two(), "a block's size is a power of two");
        Self { header, words }
    }
}

#[cfg(any(test, feature = "user"))]
impl Block for Words {
    fn header(&self) -> &PolicyHeader {
        &self.header
    }

    fn word(&self, place: u32) -> u32 {
        self.words[place as usize & (self.words.len() - 1)]
    }

    fn half(&self, place: u32) -> u16 {
        let word = self.word(place >> 1);
        (word >> (16 * (place & 1))) as u16
    }
}

#[cfg(test)]
mod tests;
