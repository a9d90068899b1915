//! The block as it is asked: the worked example, searches against a walk, and content of any kind.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    cell::Cell,
    service::{SERVICE_KINDS, TCP, UDP},
};

/// Appends words; the place at which they begin.
fn append(words: &mut Vec<u32>, new: &[u32]) -> u32 {
    let place = words.len() as u32;
    words.extend(new);
    place
}

/// Halves as words, the first of each pair in the low bits.
fn halves(halves: &[u16]) -> Vec<u32> {
    halves.chunks(2).map(|pair| u32::from(pair[0]) | u32::from(*pair.get(1).unwrap_or(&0)) << 16).collect()
}

/// A chunk: the number of ranges, their starts, their nodes.
fn chunk(ranges: &[(u32, u32)]) -> Vec<u32> {
    let mut words = vec![ranges.len() as u32];
    words.extend(ranges.iter().map(|(start, _)| start));
    words.extend(ranges.iter().map(|(_, node)| node));
    words
}

fn block(header: PolicyHeader, mut words: Vec<u32>) -> Words {
    words.resize(words.len().next_power_of_two(), 0);
    Words::new(header, words)
}

/// "tcp 443 from 10.0.0.0/8", as this module's head tells it.
fn worked_example(sparse: bool) -> Words {
    let mut words = vec![0; HEADER_WORDS];
    let mut root = [LEAF; 256];
    root[10] = LEAF | 1;
    let v4 = Root { place: append(&mut words, &root), bits: 8 };
    let none = Root { place: append(&mut words, &[LEAF; 2]), bits: 1 };
    let mut directory = [0; SERVICE_KINDS * 256];
    directory[1] = 1;
    let directory = 2 * append(&mut words, &halves(&directory));
    let mut pages = [0; 512];
    pages[256 + 187] = 1;
    let pages = 2 * append(&mut words, &halves(&pages));
    let allowed = CellPair::new(Cell(Cell::GROUP_ALLOW), Cell(0)).0;
    let cells = if sparse {
        let rows =
            [chunk(&[(0, 0)]), chunk(&[(0, 0), (1, u32::from(allowed))])].map(|row| append(&mut words, &row));
        append(&mut words, &rows)
    } else {
        2 * append(&mut words, &halves(&[0, 0, 0, allowed]))
    };
    let header = PolicyHeader {
        generation: 1,
        flags: if sparse { flags::SPARSE } else { 0 },
        v4,
        v6: none,
        own_v4: none,
        own_v6: none,
        directory,
        pages,
        cells,
        columns: 2,
        ..PolicyHeader::default()
    };
    block(header, words)
}

#[test]
fn the_worked_example_works() {
    for sparse in [false, true] {
        let block = worked_example(sparse);
        for (remote, protocol, port, allowed) in [
            ([10, 1, 2, 3], TCP, 443, true),
            ([10, 0, 0, 0], TCP, 443, true),
            ([10, 255, 255, 255], TCP, 443, true),
            ([9, 255, 255, 255], TCP, 443, false),
            ([11, 0, 0, 0], TCP, 443, false),
            ([10, 1, 2, 3], TCP, 442, false),
            ([10, 1, 2, 3], TCP, 444, false),
            ([10, 1, 2, 3], TCP, 187, false),
            ([10, 1, 2, 3], UDP, 443, false),
            ([10, 1, 2, 3], 47, 0, false),
        ] {
            let remote = std::net::Ipv4Addr::from(remote).into();
            let service = Service::new(protocol, port);
            let ingress = cell(&block, Direction::Ingress, &remote, Family::V4, service);
            assert_eq!(
                ingress.has(Cell::GROUP_ALLOW),
                allowed,
                "{remote:?} {protocol} {port}, sparse: {sparse}"
            );
            assert_eq!(cell(&block, Direction::Egress, &remote, Family::V4, service), Cell(0));
        }
    }
}

#[test]
fn an_ipv6_address_is_walked_word_by_word() {
    // 2001:db8::/32 is class 1, 2001:db8:0:1::/64 class 2, 2001:db8:0:1::5 alone class 3, all else 0.
    let mut words = vec![0; HEADER_WORDS];
    let last = append(&mut words, &chunk(&[(0, LEAF | 2), (5, LEAF | 3), (6, LEAF | 2)]));
    let third = append(&mut words, &chunk(&[(0, last), (1, LEAF | 2)]));
    let second = append(&mut words, &chunk(&[(0, LEAF | 1), (1, third), (2, LEAF | 1)]));
    let first = append(&mut words, &chunk(&[(0, LEAF), (0x0db8, second), (0x0db9, LEAF)]));
    let mut root = vec![LEAF; 1 << 16];
    root[0x2001] = first;
    let v6 = Root { place: append(&mut words, &root), bits: 16 };
    let block = block(PolicyHeader { v6, ..PolicyHeader::default() }, words);
    for (address, class) in [
        ("2001:db8::", 1),
        ("2001:db8:0:1::", 2),
        ("2001:db8:0:1::4", 2),
        ("2001:db8:0:1::5", 3),
        ("2001:db8:0:1::6", 2),
        ("2001:db8:0:1:0:1::5", 2),
        ("2001:db8:0:2::5", 1),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", 1),
        ("2001:db7:ffff::", 0),
        ("2001:db9::", 0),
        ("::", 0),
        ("fe80::1", 0),
    ] {
        let parsed: std::net::Ipv6Addr = address.parse().expect("it is an address");
        assert_eq!(address_class(&block, &parsed.into(), Family::V6), class, "{address}");
    }
}

proptest! {
    #[test]
    fn a_chunks_head_keeps_its_fields_apart(count in 0u32..1 << SEARCH_STEPS, index_bits in 0u32..32, shift in 0u32..32) {
        let head = ChunkHead { count, index_bits, shift };
        prop_assert_eq!(ChunkHead::from_word(head.word()), head);
    }

    #[test]
    fn a_search_finds_the_range_of_every_key(
        starts in vec(any::<u32>(), 0..600),
        keys in vec(any::<u32>(), 1..50),
    ) {
        let mut ranges = BTreeMap::from([(0, 0)]);
        ranges.extend(starts.into_iter().zip(1..));
        let list: Vec<_> = ranges.iter().map(|(start, node)| (*start, *node)).collect();
        let mut words = vec![0; HEADER_WORDS];
        let place = append(&mut words, &chunk(&list));
        let block = block(PolicyHeader::default(), words);
        let edges = list.iter().flat_map(|(start, _)| [start.wrapping_sub(1), *start, start.wrapping_add(1)]);
        for key in edges.chain(keys) {
            let expected = ranges.range(..=key).next_back().map(|(_, node)| *node);
            prop_assert_eq!(Some(search(&block, place, key)), expected);
        }
    }

    #[test]
    fn no_content_makes_a_lookup_fail(
        numbers in vec(any::<u32>(), 16),
        words in vec(any::<u32>(), 64),
        address: [u32; 4],
        protocol: u8,
        port: u16,
    ) {
        let root = |n: usize| Root { place: numbers[n], bits: numbers[n + 1] };
        let header = PolicyHeader {
            flags: numbers[0],
            v4: root(1),
            v6: root(3),
            own_v4: root(5),
            own_v6: root(7),
            directory: numbers[9],
            pages: numbers[10],
            cells: numbers[11],
            columns: numbers[12],
            ..PolicyHeader::default()
        };
        let block = Words::new(header, words);
        for family in [Family::V4, Family::V6] {
            let service = Service::new(protocol, port);
            let _ = cell(&block, Direction::Ingress, &Address(address), family, service);
            let _ = is_own(&block, &Address(address), family);
        }
    }
}

#[test]
fn a_chunk_may_have_as_many_ranges_as_the_steps_reach() {
    let count = (1 << SEARCH_STEPS) - 1;
    let ranges: Vec<_> = (0..count).map(|n| (n * 16, n)).collect();
    let mut words = vec![0; HEADER_WORDS];
    let place = append(&mut words, &chunk(&ranges));
    let block = block(PolicyHeader::default(), words);
    for n in [0, 1, 2, count / 2, count - 2, count - 1] {
        for inside in [0, 15] {
            assert_eq!(search(&block, place, n * 16 + inside), n);
        }
    }
    assert_eq!(search(&block, place, u32::MAX), count - 1);
}
