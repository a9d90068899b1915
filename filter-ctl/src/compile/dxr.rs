//! Address tables: ranges into the roots and chunks of [`filter_common::policy`].
//!
//! # The problem
//!
//! That module's essay tells the structure. What remains is to choose the root's bits, and to cut
//! 128-bit ranges at the borders of 32-bit words.
//!
//! # The structure
//!
//! A root has about as many entries as there are ranges, so that it and the chunks take about the same
//! memory and a chunk is short: 8 bits for a handful of rules, [`MAX_ROOT_BITS`] from 131,073 ranges on.
//! With so many, no chunk of the first word can be too long for the search: 2^16 ranges or fewer
//! make at most 2^17 - 1 entries below one root entry, and more ranges mean a root of 17 bits,
//! below which there are only 2^15 words. A chunk of an inner word of IPv6 can be too long, and is
//! then refused.
//!
//! A word is *split* if a range begins inside of it, that is, in the words below. It then has an
//! entry that leads to a chunk of the next word, and what follows it an entry of its own.
//!
//! # Worked example
//!
//! 2001:db8::/48 is class 1, all else 0. In the first word, 0x20010db8 is split and the next is 0
//! again: starts 0, 0x20010db8, 0x20010db9 with nodes 0, chunk, 0. In that chunk: starts 0 and
//! 0x00010000 with nodes 1 and 0.
//!
//! # Cost
//!
//! Linear in the ranges; eight bytes per entry, of which a range makes two per word at most, and four to eight
//! more in chunks that have an index.
//! Rejected: sharing equal chunks, as neighbouring networks are seldom cut alike.

use std::net::Ipv6Addr;

use filter_common::policy::{ChunkHead, LEAF, MAX_ROOT_BITS, Root, SEARCH_STEPS};

use super::{CompileError, addresses::Range};

/// Fewest bits of a root: 1 KiB.
const MIN_ROOT_BITS: u32 = 8;

/// Appends the table of `ranges` to a block's words.
///
/// # Errors
///
/// [`CompileError::Crowded`]
pub(super) fn append(words: &mut Vec<u32>, ranges: &[Range]) -> Result<Root, CompileError> {
    let bits = ranges.len().next_power_of_two().ilog2().clamp(MIN_ROOT_BITS, MAX_ROOT_BITS);
    let place = words.len();
    words.resize(place + (1 << bits), 0);
    let shift = 128 - bits;
    let mut rest = ranges;
    let mut holds = 0;
    for entry in 0..1u32 << bits {
        let first = u128::from(entry) << shift;
        let inside = rest.partition_point_from_start(|range| range.0 >> shift == u128::from(entry));
        let (mut here, after) = rest.split_at(inside);
        if let Some(&(start, at_start)) = here.first()
            && start == first
        {
            holds = at_start;
            here = &here[1..];
        }
        words[place + entry as usize] = match here.last() {
            None => LEAF | holds,
            Some(&(_, after)) => {
                let chunk = append_chunk(words, here, holds, 0, u32::MAX >> bits)?;
                holds = after;
                chunk
            }
        };
        rest = after;
    }
    Ok(Root { place: place as u32, bits })
}

/// Appends the chunk that cuts one word, and the chunks below it; returns its place.
///
/// `ranges` are those that begin inside of what the chunk is about, `holds` is what holds at its
/// start; the word is the `depth`th, of which the bits of `mask` vary.
fn append_chunk(
    words: &mut Vec<u32>,
    ranges: &[Range],
    mut holds: u32,
    depth: u32,
    mask: u32,
) -> Result<u32, CompileError> {
    let shift = 96 - 32 * depth;
    let below = (1u128 << shift) - 1;
    let mut entries: Vec<(u32, u32)> = Vec::new();
    let mut add = |start: u32, node: u32| {
        if entries.last().is_some_and(|last| last.0 == start) {
            entries.pop();
        }
        if entries.last().is_none_or(|last| last.1 != node) {
            entries.push((start, node));
        }
    };
    add(0, LEAF | holds);
    let mut rest = ranges;
    while let Some(&(start, at_start)) = rest.first() {
        let word = (start >> shift) as u32 & mask;
        let same = rest.partition_point_from_start(|range| range.0 >> shift == start >> shift);
        let (mut here, after) = rest.split_at(same);
        if start & below == 0 {
            holds = at_start;
            here = &here[1..];
        }
        match here.last() {
            None => add(word, LEAF | holds),
            Some(&(_, at_end)) => {
                add(word, append_chunk(words, here, holds, depth + 1, u32::MAX)?);
                holds = at_end;
                if word < mask {
                    add(word + 1, LEAF | holds);
                }
            }
        }
        rest = after;
    }
    if entries.len() >= 1 << SEARCH_STEPS {
        let network = ranges[0].0 & u128::MAX.checked_shl(shift + 32).unwrap_or(0);
        return Err(CompileError::Crowded {
            network: Ipv6Addr::from_bits(network),
            length: 32 * depth,
            ranges: entries.len(),
            limit: (1 << SEARCH_STEPS) - 1,
        });
    }
    let place = words.len() as u32;
    let (starts, nodes): (Vec<u32>, Vec<u32>) = entries.into_iter().unzip();
    let index = Index::of(&starts);
    let (index_bits, shift) = index.as_ref().map_or((0, 0), |index| (index.bits, index.shift));
    words.push(ChunkHead { count: starts.len() as u32, index_bits, shift }.word());
    words.extend(&starts);
    words.extend(nodes);
    words.extend(index.iter().flat_map(|index| index.parts(&starts)));
    Ok(place)
}

/// Fewest ranges of a chunk that has an index: fewer are searched as fast.
const INDEXED: usize = 8;

/// The index of a chunk.
struct Index {
    bits: u32,
    shift: u32,
}

impl Index {
    /// As many parts as there are ranges, or somewhat more.
    fn of(starts: &[u32]) -> Option<Self> {
        let &[_, first, .., last] = starts else { return None };
        if starts.len() < INDEXED {
            return None;
        }
        let bits = starts.len().next_power_of_two().ilog2();
        let span = u32::BITS - (last - first).leading_zeros();
        Some(Self { bits, shift: span.saturating_sub(bits) })
    }

    /// Which range each part begins in.
    fn parts(&self, starts: &[u32]) -> impl Iterator<Item = u32> {
        let (first, shift, count) = (starts[1], self.shift, starts.len() as u32);
        let mut range = 0;
        let inner = (1..1u64 << self.bits).map(move |part| {
            let begin = u64::from(first) + (part << shift);
            while range + 1 < starts.len() && u64::from(starts[range + 1]) <= begin {
                range += 1;
            }
            range as u32
        });
        [0].into_iter().chain(inner).chain([count - 1])
    }
}

/// Where a condition that holds for the first elements ends, in time of the logarithm of *that*
/// and not of all elements: most stretches are short.
trait PartitionFromStart<T> {
    fn partition_point_from_start(&self, condition: impl Fn(&T) -> bool) -> usize;
}

impl<T> PartitionFromStart<T> for [T] {
    fn partition_point_from_start(&self, condition: impl Fn(&T) -> bool) -> usize {
        let mut end = 1;
        while end <= self.len() && condition(&self[end - 1]) {
            end *= 2;
        }
        let known = end / 2;
        known + self[known..self.len().min(end)].partition_point(condition)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use filter_common::{
        address::{Address, Family},
        policy::{HEADER_WORDS, PolicyHeader, Words, address_class},
    };
    use proptest::{collection::vec, prelude::*};

    use super::{Range, append};

    /// Words that differ in their lowest bits only, in the middle, anywhere.
    fn word() -> impl Strategy<Value = u32> {
        prop_oneof![
            any::<u32>(),
            (0u32..64).prop_map(|low| 0x2001_0d00 | low),
            (0u32..4096).prop_map(|middle| middle << 12),
            Just(u32::MAX),
        ]
    }

    proptest! {
        #[test]
        fn every_address_has_the_class_of_its_range(
            starts in vec((word(), word(), prop_oneof![Just(0), word()]), 0..400),
            others in vec((word(), word(), word()), 20),
        ) {
            let number = |(a, b, c): (u32, u32, u32)| {
                u128::from(a) << 96 | u128::from(b) << 64 | u128::from(c) << 32
            };
            let mut classes = BTreeMap::from([(0, 0)]);
            classes.extend(starts.into_iter().map(number).zip(1..));
            let ranges: Vec<Range> = classes.iter().map(|(start, class)| (*start, *class)).collect();
            let mut words = vec![0; HEADER_WORDS];
            let v6 = append(&mut words, &ranges).expect("few ranges");
            words.resize(words.len().next_power_of_two(), 0);
            let block = Words::new(PolicyHeader { v6, ..PolicyHeader::default() }, words);
            let edges = ranges.iter().flat_map(|(start, _)| [start.wrapping_sub(1), *start, start + 1]);
            for bits in edges.chain(others.into_iter().map(number)) {
                let expected = classes.range(..=bits).next_back().map(|(_, class)| *class);
                let address = Address([96, 64, 32, 0].map(|shift| (bits >> shift) as u32));
                prop_assert_eq!(Some(address_class(&block, &address, Family::V6)), expected, "{:x}", bits);
            }
        }
    }
}
