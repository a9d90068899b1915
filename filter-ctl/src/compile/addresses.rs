//! From prefixes to the ranges of addresses that the same prefixes cover.
//!
//! # The problem
//!
//! Given prefixes, each with a number for what it contributes, cut the whole address space into
//! ranges and give each the sum of what covers it; quickly, for a million prefixes.
//!
//! # The structure
//!
//! Prefixes nest or are disjoint, never anything between. Sorted by first address, the wider
//! first, they open and close like brackets; the prefixes that cover the current place are a
//! stack. Each level of the stack has the number of its *sum*: the parent's sum joined with its
//! own contribution. Joins are remembered by (parent, contribution), so a million hosts with
//! the same rule below the same parent cost one join and a million look-ups.
//!
//! # Worked example
//!
//! 10.0.0.0/8 (a) and 10.1.0.0/16 (b). Sorted: a, b. The ranges come out as 0.0.0.0: nothing;
//! 10.0.0.0: a; 10.1.0.0: a+b; 10.2.0.0 (b closed): a; 11.0.0.0 (a closed): nothing.
//!
//! # Cost
//!
//! One sort (done by the caller), then linear. Rejected: a trie, which needs a node per bit or
//! path compression, and gives the same ranges.

use ipnet::IpNet;

/// A prefix of either family: IPv4 addresses are the upper 32 of the 128 bits. So both families
/// are cut, and laid out, by the same code.
///
/// Sorts by first address, the wider prefix first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Prefix {
    first: u128,
    length: u8,
}

impl Prefix {
    /// Its last address.
    fn last(self) -> u128 {
        self.first | u128::MAX.checked_shr(self.length.into()).unwrap_or(0)
    }
}

impl From<&IpNet> for Prefix {
    fn from(net: &IpNet) -> Self {
        let first = match net {
            IpNet::V4(net) => u128::from(net.network().to_bits()) << 96,
            IpNet::V6(net) => net.network().to_bits(),
        };
        Self { first, length: net.prefix_len() }
    }
}

/// First address of a range, and what holds in it.
pub(crate) type Range = (u128, u32);

/// The ranges, from 0 on and ascending, that sorted, unlike prefixes cut the space into.
///
/// `outside` holds where no prefix does; `join` tells what holds in a prefix, from what holds
/// around it and from the prefix's own number.
///
/// # Errors
///
/// The first that `join` reports.
pub(crate) fn ranges<E>(
    prefixes: &[(Prefix, u32)],
    outside: u32,
    mut join: impl FnMut(u32, u32) -> Result<u32, E>,
) -> Result<Vec<Range>, E> {
    let mut ranges: Vec<Range> = Vec::with_capacity(2 * prefixes.len() + 1);
    let mut begin = |first: u128, holds: u32| match ranges.last_mut() {
        Some(range) if range.0 == first => range.1 = holds,
        _ => ranges.push((first, holds)),
    };
    begin(0, outside);
    let mut open: Vec<(u128, u32)> = vec![(u128::MAX, outside)];
    let close_before = |open: &mut Vec<(u128, u32)>, first: u128, begin: &mut dyn FnMut(u128, u32)| {
        while open.len() > 1 && open[open.len() - 1].0 < first {
            let (last, _) = open[open.len() - 1];
            open.pop();
            begin(last + 1, open[open.len() - 1].1);
        }
    };
    for &(prefix, own) in prefixes {
        close_before(&mut open, prefix.first, &mut begin);
        let holds = join(open[open.len() - 1].1, own)?;
        open.push((prefix.last(), holds));
        begin(prefix.first, holds);
    }
    close_before(&mut open, u128::MAX, &mut begin);
    Ok(ranges)
}

/// The same ranges with other numbers, neighbours that come out alike being one.
pub(super) fn renumber(ranges: &[Range], number: impl Fn(u32) -> u32) -> Vec<Range> {
    let mut renumbered: Vec<Range> = Vec::with_capacity(ranges.len());
    for &(first, holds) in ranges {
        let holds = number(holds);
        if renumbered.last().is_none_or(|range| range.1 != holds) {
            renumbered.push((first, holds));
        }
    }
    renumbered
}

/// The ranges that `prefixes` cover (1) and those that they don't (0), for each family.
pub(super) fn covered<'a>(prefixes: impl IntoIterator<Item = &'a IpNet>) -> [Vec<Range>; 2] {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for net in prefixes {
        let list = if matches!(net, IpNet::V4(_)) { &mut v4 } else { &mut v6 };
        list.push((Prefix::from(net), 1));
    }
    [v4, v6].map(|mut list| {
        list.sort_unstable();
        list.dedup();
        let Ok(cut) = ranges::<std::convert::Infallible>(&list, 0, |_, own| Ok(own));
        renumber(&cut, |holds| holds)
    })
}

/// How many different numbers the ranges have.
pub(super) fn distinct(ranges: &[Range]) -> usize {
    ranges.iter().map(|range| range.1).collect::<std::collections::HashSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(nets: &[(&str, u32)]) -> Vec<(u32, u32)> {
        let mut prefixes: Vec<_> = nets
            .iter()
            .map(|(net, own)| (Prefix::from(&net.parse::<IpNet>().expect("a test's prefix")), *own))
            .collect();
        prefixes.sort_unstable();
        let Ok(cut) = ranges::<std::convert::Infallible>(&prefixes, 0, |around, own| Ok(around | own));
        renumber(&cut, |holds| holds)
            .into_iter()
            .map(|(first, holds)| ((first >> 96) as u32, holds))
            .collect()
    }

    #[test]
    fn nested_prefixes_close_in_order() {
        assert_eq!(
            cut(&[("10.0.0.0/8", 1), ("10.1.0.0/16", 2)]),
            [(0, 0), (0x0a00_0000, 1), (0x0a01_0000, 3), (0x0a02_0000, 1), (0x0b00_0000, 0)]
        );
    }

    #[test]
    fn prefixes_at_both_ends_of_the_space_leave_nothing_behind() {
        assert_eq!(cut(&[("0.0.0.0/32", 1)]), [(0, 1), (1, 0)]);
        assert_eq!(cut(&[("255.255.255.255/32", 1)]), [(0, 0), (u32::MAX, 1)]);
        assert_eq!(cut(&[("0.0.0.0/0", 1), ("128.0.0.0/1", 2)]), [(0, 1), (0x8000_0000, 3)]);
    }

    #[test]
    fn neighbours_that_hold_the_same_are_one_range() {
        assert_eq!(
            cut(&[("10.0.0.0/9", 1), ("10.128.0.0/9", 1)]),
            [(0, 0), (0x0a00_0000, 1), (0x0b00_0000, 0)]
        );
    }
}
