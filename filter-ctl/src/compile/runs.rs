//! Functions over the services, as runs.
//!
//! Every table of the compiler is a function from a line (all services in a row, later the
//! service classes) to some value that changes seldom along it. It is kept as its *runs*: the
//! place where each begins and the value that it has, first run at 0, neighbours unequal. So a
//! rule for all TCP ports costs three runs and not 65,536 values, and everything below is linear
//! in the runs. Equal functions have equal runs, which makes them usable as keys.

use std::{collections::HashMap, hash::Hash, rc::Rc};

use filter_common::service::SERVICE_KINDS;

/// Where a run begins, and its value.
pub(super) type Run<V> = (u32, V);

/// Length of the line of all services, `kind << 16 | value`.
pub(super) const SERVICES: u32 = (SERVICE_KINDS as u32) << 16;

/// Adds a run to a list of them, keeping neighbours unequal and no run empty.
pub(super) fn push<V: PartialEq>(runs: &mut Vec<Run<V>>, start: u32, value: V) {
    if runs.last().is_some_and(|last| last.0 == start) {
        runs.pop();
    }
    if runs.last().is_none_or(|last| last.1 != value) {
        runs.push((start, value));
    }
}

/// The function that at each place has `join` of what the two have there.
pub(super) fn overlay<V: Copy + PartialEq>(
    left: &[Run<V>],
    right: &[Run<V>],
    join: impl Fn(V, V) -> V,
) -> Vec<Run<V>> {
    let mut joined = Vec::with_capacity(left.len() + right.len());
    let (mut l, mut r) = (0, 0);
    loop {
        push(&mut joined, left[l].0.max(right[r].0), join(left[l].1, right[r].1));
        let next = |runs: &[Run<V>], at: usize| runs.get(at + 1).map_or(u32::MAX, |run| run.0);
        let (after_left, after_right) = (next(left, l), next(right, r));
        if after_left == u32::MAX && after_right == u32::MAX {
            return joined;
        }
        l += usize::from(after_left <= after_right);
        r += usize::from(after_right <= after_left);
    }
}

/// Functions that are kept once and known by number, in the order in which they came.
pub(super) struct Interned<V> {
    numbers: HashMap<Rc<[Run<V>]>, u32>,
    functions: Vec<Rc<[Run<V>]>>,
    runs: usize,
}

impl<V: Copy + Eq + Hash> Interned<V> {
    pub(super) fn new() -> Self {
        Self { numbers: HashMap::new(), functions: Vec::new(), runs: 0 }
    }

    /// The number of a function.
    pub(super) fn number(&mut self, runs: Vec<Run<V>>) -> u32 {
        if let Some(&number) = self.numbers.get(runs.as_slice()) {
            return number;
        }
        let number = self.functions.len() as u32;
        let runs: Rc<[Run<V>]> = runs.into();
        self.runs += runs.len();
        self.functions.push(Rc::clone(&runs));
        self.numbers.insert(runs, number);
        number
    }

    /// The function that has a number.
    pub(super) fn get(&self, number: u32) -> &[Run<V>] {
        &self.functions[number as usize]
    }

    /// All functions, by number.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &[Run<V>]> {
        self.functions.iter().map(|runs| &**runs)
    }

    /// Runs of all functions together.
    pub(super) const fn total_runs(&self) -> usize {
        self.runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_joins_at_every_place_and_has_no_needless_runs() {
        let left = [(0, 1), (5, 2), (9, 1)];
        let right = [(0, 0), (5, 4), (7, 0)];
        assert_eq!(overlay(&left, &right, |a, b| a | b), [(0, 1), (5, 6), (7, 2), (9, 1)]);
        assert_eq!(overlay(&left, &right, |_, b| b / 8), [(0, 0)]);
    }
}
