//! Classes of services: which columns a table needs, and the pages that tell a service's class.
//!
//! # The problem
//!
//! A table has a row per address class and a value for each of 327,680 services. Services
//! whose values are the same in every row are one class. They need not be neighbours: the ports
//! 80, 443 and 8080 of one rule are one class, and so is all that lies between them.
//!
//! # The structure
//!
//! Rows are runs, so a column differs from its left neighbour only where some row begins a run.
//! Each (row, value) has a random 128-bit number; a column's *signature* is the sum of its rows'
//! numbers. Going from left to right, a run that begins changes the sum by the new value's number
//! minus the old one's. Columns with equal signatures are one class. The numbers are keyed by a
//! fresh secret each time, so that no rule set can be made for which two different sums collide;
//! the secret does not show in the result, as classes are numbered in the order of their first service.
//!
//! Being in that order, each class is represented by its first place, and a row over classes is the
//! old row read at the representatives: its runs stay few.
//!
//! # Worked example
//!
//! Row 0: 22 and 80 → A, else B. Row 1: 80 → A, else B. Signatures: B+B at 0, A+B at 22, B+B at 23,
//! A+A at 80, B+B at 81. Three classes: 0 (all else), 1 (port 22), 2 (port 80). Row 0 becomes B, A, A: two runs.
//!
//! # Cost
//!
//! The number of runs times its logarithm (a sort by place), and two short hashes per run.
//! Rejected: refining a partition row by row, which touches every class in every row; classes by
//! the set of rules, which tells apart what is decided alike.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use filter_common::service::SERVICE_KINDS;

use super::runs::{Run, SERVICES, push};

/// The classes that the places of a line fall into.
pub(super) struct Columns {
    /// Class by place, as runs.
    classes: Vec<Run<u32>>,
    /// First place of each class, ascending.
    representatives: Vec<u32>,
}

impl Columns {
    /// The fewest classes that keep each row's values apart. `number` tells values apart.
    pub(super) fn merge<'a, V: Copy + 'a>(
        rows: impl Iterator<Item = &'a [Run<V>]>,
        number: impl Fn(V) -> u128,
    ) -> Self {
        let secrets = [RandomState::new(), RandomState::new()];
        let random = |row: usize, value: V| {
            let [high, low] = secrets.each_ref().map(|secret| secret.hash_one((row, number(value))));
            u128::from(high) << 64 | u128::from(low)
        };
        let mut changes: Vec<(u32, u128)> = vec![(0, 0)];
        for (index, row) in rows.enumerate() {
            let mut before = 0;
            for &(start, value) in row {
                let now = random(index, value);
                changes.push((start, now.wrapping_sub(before)));
                before = now;
            }
        }
        changes.sort_unstable_by_key(|&(start, _)| start);

        let mut by_signature: HashMap<u128, u32> = HashMap::new();
        let (mut classes, mut representatives) = (Vec::new(), Vec::new());
        let mut signature = 0u128;
        for here in changes.chunk_by(|left, right| left.0 == right.0) {
            let start = here[0].0;
            signature = here.iter().fold(signature, |sum, &(_, change)| sum.wrapping_add(change));
            let class = *by_signature.entry(signature).or_insert_with(|| {
                representatives.push(start);
                representatives.len() as u32 - 1
            });
            push(&mut classes, start, class);
        }
        Self { classes, representatives }
    }

    /// Number of classes.
    pub(super) const fn count(&self) -> usize {
        self.representatives.len()
    }

    /// A row, over classes instead of places.
    pub(super) fn restrict<V: Copy + PartialEq>(&self, row: &[Run<V>]) -> Vec<Run<V>> {
        let mut restricted = Vec::with_capacity(row.len());
        for &(start, value) in row {
            let first = self.representatives.partition_point(|&place| place < start);
            // Without a representative of its own, a run only repeats what earlier classes say, and
            // the next run takes its place here.
            if first < self.representatives.len() {
                push(&mut restricted, first as u32, value);
            }
        }
        restricted
    }

    /// These classes, put together further by `coarser`, whose line they are.
    pub(super) fn then(&self, coarser: &Self) -> Vec<Run<u32>> {
        let mut classes = Vec::with_capacity(self.classes.len());
        for &(start, class) in &self.classes {
            let at = coarser.classes.partition_point(|&(first, _)| first <= class) - 1;
            push(&mut classes, start, coarser.classes[at].1);
        }
        classes
    }
}

/// The directory and the pages of [`filter_common::policy`], as 16-bit halves.
pub(super) struct Pages {
    /// Page by `kind * 256 + high byte`.
    pub(super) directory: Vec<u16>,
    /// Class by `page * 256 + low byte`.
    pub(super) pages: Vec<u16>,
}

/// Lays out the class of every service. The classes must fit 16 bits.
pub(super) fn pages(classes: &[Run<u32>]) -> Pages {
    let mut known: HashMap<[u16; 256], u16> = HashMap::new();
    let mut result = Pages { directory: Vec::with_capacity(SERVICE_KINDS * 256), pages: Vec::new() };
    let mut run = 0;
    for first in (0..SERVICES).step_by(256) {
        let mut page = [0; 256];
        for (place, class) in (first..).zip(&mut page) {
            if classes.get(run + 1).is_some_and(|next| next.0 == place) {
                run += 1;
            }
            *class = classes[run].1 as u16;
        }
        let count = known.len() as u16;
        let number = *known.entry(page).or_insert_with(|| {
            result.pages.extend(page);
            count
        });
        result.directory.push(number);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_alike_in_every_row_are_one_class() {
        let rows: [&[Run<u8>]; 2] = [
            &[(0, b'B'), (22, b'A'), (23, b'B'), (80, b'A'), (81, b'B')],
            &[(0, b'B'), (80, b'A'), (81, b'B')],
        ];
        let columns = Columns::merge(rows.into_iter(), u128::from);
        assert_eq!(columns.count(), 3);
        assert_eq!(columns.classes, [(0, 0), (22, 1), (23, 0), (80, 2), (81, 0)]);
        assert_eq!(columns.restrict(rows[0]), [(0, b'B'), (1, b'A')]);
        assert_eq!(columns.restrict(rows[1]), [(0, b'B'), (2, b'A')]);
    }

    #[test]
    fn pages_that_are_alike_are_stored_once() {
        let pages = pages(&[(0, 0), (443, 1), (444, 0)]);
        assert_eq!(pages.pages.len(), 2 * 256);
        assert_eq!(pages.directory.iter().map(|&page| u32::from(page)).sum::<u32>(), 1);
        assert_eq!(pages.pages[usize::from(pages.directory[1]) * 256 + 443 - 256], 1);
    }
}
