//! Which rules match a packet, without walking all of them.
//!
//! # The problem
//!
//! The compiled tables say what is decided, not by which rules: their rows and columns merge what
//! is decided alike, by whichever rules. A batch of packets wants the rules of each packet, at
//! hundreds of thousands of packets a second, out of thousands of rules.
//!
//! # The structure
//!
//! A rule matches if one of its prefixes holds the remote address and one of its spans holds the
//! service (its place on the line of all services, as in the compiler). So, one after the other:
//!
//! 1. Prefixes nest or are disjoint. Each different prefix is a *node* whose parent is the
//!    narrowest one around it; the address space is cut into ranges (`compile/addresses.rs`), each
//!    with the innermost node that covers it. All rules that could match hang on the chain from
//!    there to the outermost.
//! 2. In a node, the spans that hold a place are found in an *interval tree* that needs no
//!    pointers: spans sorted by first place are a balanced tree (the middle is the root), and
//!    each root knows how far its tree reaches. Trees that reach not far enough, and those to the
//!    right of a span that begins too late, are not entered.
//!
//! It only lists rules, in document order; verdicts come from the tables.
//!
//! # Worked example
//!
//! Rules 0: tcp 22 from 10.0.0.0/8; 1: all from 10.1.0.0/16; 2: tcp 80-90 from 10.0.0.0/8. Nodes:
//! 10.0.0.0/8 with 22-22→0 and 80-90→2; 10.1.0.0/16 with all→1 below it. For 10.1.2.3, tcp 85:
//! the innermost node is 10.1.0.0/16, its tree yields 1; its parent's yields 2: rules 1, 2.
//!
//! # Cost
//!
//! Memory and building: the number of (rule, prefix, span) triples times its logarithm. A
//! packet: the logarithm of the ranges, then per node on the chain (seldom more than five) the
//! logarithm of its spans, then the matches. Rejected: remembering answers by (address class,
//! service class), which never ends for random packets; lists of rules for each pair of classes,
//! whose size is their product; a hash per prefix length, which asks up to 129 of them.

use std::collections::HashMap;
use std::net::IpAddr;

use filter_common::service::Service;
use ipnet::IpNet;

use crate::{
    compile::{Prefix, Range, cut, spans},
    policy::RuleService,
};

/// No node: nothing covers the range, nothing is around the prefix.
const NOWHERE: u32 = u32::MAX;

/// The rules of one layer and direction, by what they match.
#[derive(Debug)]
pub struct Index {
    v4: Vec<Range>,
    v6: Vec<Range>,
    nodes: Vec<Node>,
}

/// A prefix that rules name.
#[derive(Debug)]
struct Node {
    parent: u32,
    spans: Spans,
}

impl Index {
    /// Indexes rules: each with its number, once for each of its prefixes.
    #[must_use]
    pub fn new<'a>(rules: impl Iterator<Item = (u32, RuleService, &'a IpNet)>) -> Self {
        let mut numbers: HashMap<IpNet, u32> = HashMap::new();
        let mut contents: Vec<Vec<Span>> = Vec::new();
        for (rule, service, prefix) in rules {
            let node = *numbers.entry(prefix.trunc()).or_insert_with(|| {
                contents.push(Vec::new());
                contents.len() as u32 - 1
            });
            let found = spans(service).into_iter().map(|(first, last)| Span { first, last, rule });
            contents[node as usize].extend(found);
        }
        let mut nodes: Vec<Node> =
            contents.into_iter().map(|spans| Node { parent: NOWHERE, spans: Spans::new(spans) }).collect();
        let [v4, v6] = [true, false].map(|v4| {
            let mut prefixes: Vec<(Prefix, u32)> = numbers
                .iter()
                .filter(|(prefix, _)| matches!(prefix, IpNet::V4(_)) == v4)
                .map(|(prefix, node)| (Prefix::from(prefix), *node))
                .collect();
            prefixes.sort_unstable();
            let Ok(ranges) = cut::<std::convert::Infallible>(&prefixes, NOWHERE, |around, own| {
                nodes[own as usize].parent = around;
                Ok(own)
            });
            ranges
        });
        Self { v4, v6, nodes }
    }

    /// Replaces what `found` holds by the numbers of the rules that match, ascending.
    pub fn matches(&self, remote: IpAddr, service: Service, found: &mut Vec<u32>) {
        found.clear();
        let (ranges, place) = match remote {
            IpAddr::V4(address) => (&self.v4, u128::from(address.to_bits()) << 96),
            IpAddr::V6(address) => (&self.v6, address.to_bits()),
        };
        // The first range begins at 0.
        let mut node = ranges[ranges.partition_point(|range| range.0 <= place) - 1].1;
        let service = service.place();
        while let Some(Node { parent, spans }) = self.nodes.get(node as usize) {
            spans.find(service, found);
            node = *parent;
        }
        found.sort_unstable();
        // A list's entries may lie within each other.
        found.dedup();
    }
}

/// A stretch of services, both ends included, that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    first: u32,
    last: u32,
    rule: u32,
}

/// Spans, sorted, as the tree that halving makes of them.
#[derive(Debug)]
struct Spans {
    spans: Vec<Span>,
    /// At each root: the greatest last place in its tree.
    reach: Vec<u32>,
}

impl Spans {
    fn new(mut spans: Vec<Span>) -> Self {
        fn fill(spans: &[Span], reach: &mut [u32]) -> u32 {
            let middle = spans.len() / 2;
            let Some(root) = spans.get(middle) else { return 0 };
            let left = fill(&spans[..middle], &mut reach[..middle]);
            let right = fill(&spans[middle + 1..], &mut reach[middle + 1..]);
            reach[middle] = root.last.max(left).max(right);
            reach[middle]
        }
        spans.sort_unstable();
        let mut reach = vec![0; spans.len()];
        fill(&spans, &mut reach);
        Self { spans, reach }
    }

    /// Adds the rules whose spans hold a place.
    fn find(&self, place: u32, found: &mut Vec<u32>) {
        fn find(spans: &[Span], reach: &[u32], place: u32, found: &mut Vec<u32>) {
            let middle = spans.len() / 2;
            let Some(root) = spans.get(middle).filter(|_| reach[middle] >= place) else { return };
            find(&spans[..middle], &reach[..middle], place, found);
            if root.first <= place {
                if place <= root.last {
                    found.push(root.rule);
                }
                find(&spans[middle + 1..], &reach[middle + 1..], place, found);
            }
        }
        find(&self.spans, &self.reach, place, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(index: &Index, remote: &str, port: u16) -> Vec<u32> {
        let mut found = vec![99];
        index.matches(remote.parse().expect("an address"), Service::new(6, port), &mut found);
        found
    }

    #[test]
    fn rules_are_found_along_the_chain_in_their_order() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let (wide, narrow) = (net("10.0.0.0/8"), net("10.1.0.0/16"));
        let rules = [
            (0, RuleService::Tcp(22, 22), &wide),
            (1, RuleService::All, &narrow),
            (2, RuleService::Tcp(80, 90), &wide),
            // A list with one entry inside of another.
            (3, RuleService::Tcp(0, u16::MAX), &wide),
            (3, RuleService::Tcp(0, u16::MAX), &narrow),
        ];
        let index = Index::new(rules.into_iter());
        assert_eq!(found(&index, "10.1.2.3", 85), [1, 2, 3]);
        assert_eq!(found(&index, "10.2.0.0", 22), [0, 3]);
        assert_eq!(found(&index, "10.2.0.0", 91), [3]);
        assert!(found(&index, "11.0.0.0", 22).is_empty());
        assert!(found(&index, "::1", 22).is_empty());
    }

    #[test]
    fn an_index_of_nothing_finds_nothing() {
        assert!(found(&Index::new(std::iter::empty()), "0.0.0.0", 0).is_empty());
    }
}
