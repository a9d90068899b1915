//! The matrix of decisions: rows by address class, columns by service class.
//!
//! # The problem
//!
//! Each range of addresses has a sum of effects, service by service. Which ranges are *decided*
//! alike, in how few rows and columns can that be written, and how is it stored?
//!
//! # The structure
//!
//! Three steps, each on runs, so that nothing is ever as large as rows times services:
//!
//! 1. Services that no prefix's contribution tells apart are put together first. A rule with a
//!    thousand ports then is a run or two instead of thousands, in every sum that it joins.
//! 2. Sums along the stack of prefixes (`addresses.rs`) become rows of decisions; equal rows are one.
//! 3. Services that no *decision* tells apart are put together: two rules of different ranks or the
//!    like may come to the same.
//!
//! Then the matrix is stored dense, two bytes per cell and one read to ask it, unless it is
//! larger than [`Limits::dense_bytes`] or would need a larger block than the sparse form: rows as
//! runs, eight bytes per run and a binary search to ask it.
//!
//! # Worked example
//!
//! 10,000 rules, each one host and one port of its own: 10,001 rows by 10,001 columns. Dense 200 MB.
//! Sparse: each row is "nothing, then the own port, then nothing": three runs, 320 KB in all.
//!
//! # Cost
//!
//! Linear in the sums' runs, but for the columns' sort. What cannot be told by few runs is
//! refused ([`CompileError::Entangled`]) before it takes memory. Rejected: bit vectors per rule, a
//! decision tree, and sharing of parts of rows, which real rule sets have no need of.

use std::collections::HashMap;

use super::{
    CompileError, Limits,
    addresses::{self, Range, renumber},
    effects::{Effect, Effects},
    runs::{Interned, Run, overlay},
    services::Columns,
};

/// Most service classes: pages hold them in 16 bits.
const COLUMNS_LIMIT: usize = 1 << 16;

/// What a policy decides.
pub(super) struct Decisions {
    /// Row by IPv4 address.
    pub(super) v4: Vec<Range>,
    /// Row by IPv6 address.
    pub(super) v6: Vec<Range>,
    /// Column by service, on the line of services.
    pub(super) classes: Vec<Run<u32>>,
    /// Number of columns.
    pub(super) columns: usize,
    /// Rows, each as runs of [`filter_common::cell::CellPair`]s by column.
    pub(super) rows: Vec<Vec<Run<u16>>>,
}

impl Decisions {
    /// Bytes of the dense matrix.
    pub(super) const fn dense_bytes(&self) -> usize {
        self.rows.len() * self.columns * 2
    }

    /// Bytes of the sparse rows.
    pub(super) fn sparse_bytes(&self) -> usize {
        self.rows.iter().map(|row| 4 * (1 + 1 + 2 * row.len())).sum()
    }
}

/// Works out rows and columns.
pub(super) fn decide(effects: &Effects, limits: &Limits) -> Result<Decisions, CompileError> {
    let fine = Columns::merge(effects.functions.all(), Effect::number);
    let own = effects.functions.all().map(|function| fine.restrict(function)).collect();
    let mut sums = Sums::new(own, limits);
    let v4 = addresses::ranges(&effects.v4, sums.nothing, |around, own| sums.join(around, own))?;
    let v6 = addresses::ranges(&effects.v6, sums.nothing, |around, own| sums.join(around, own))?;

    let mut rows = Interned::new();
    let mut row_of_sum = vec![None; sums.sums.all().len()];
    for &(_, sum) in v4.iter().chain(&v6) {
        row_of_sum[sum as usize].get_or_insert_with(|| rows.number(decisions(sums.sums.get(sum))));
    }
    let row = |sum: u32| row_of_sum[sum as usize].expect("every range's sum has a row");
    let (v4, v6) = (renumber(&v4, row), renumber(&v6, row));

    let coarse = Columns::merge(rows.all(), u128::from);
    if coarse.count() > COLUMNS_LIMIT {
        return Err(CompileError::ServiceClasses { classes: coarse.count(), limit: COLUMNS_LIMIT });
    }
    let rows = rows.all().map(|row| coarse.restrict(row)).collect();
    Ok(Decisions { v4, v6, classes: fine.then(&coarse), columns: coarse.count(), rows })
}

fn decisions(sum: &[Run<Effect>]) -> Vec<Run<u16>> {
    let mut row = Vec::with_capacity(sum.len());
    for &(start, effect) in sum {
        super::runs::push(&mut row, start, effect.decide());
    }
    row
}

/// Sums of prefixes' contributions, each kept once.
struct Sums<'a> {
    own: Vec<Vec<Run<Effect>>>,
    sums: Interned<Effect>,
    known: HashMap<(u32, u32), u32>,
    /// The sum of no contribution.
    nothing: u32,
    /// Runs looked at.
    steps: usize,
    limits: &'a Limits,
}

impl<'a> Sums<'a> {
    fn new(own: Vec<Vec<Run<Effect>>>, limits: &'a Limits) -> Self {
        let mut sums = Interned::new();
        let nothing = sums.number(vec![(0, Effect::NOTHING)]);
        Self { own, sums, known: HashMap::new(), nothing, steps: 0, limits }
    }

    fn join(&mut self, around: u32, own: u32) -> Result<u32, CompileError> {
        if let Some(&known) = self.known.get(&(around, own)) {
            return Ok(known);
        }
        let (left, right) = (self.sums.get(around), &self.own[own as usize]);
        self.steps += left.len() + right.len();
        let joined = overlay(left, right, Effect::and);
        let number = self.sums.number(joined);
        for (runs, limit) in [(self.sums.total_runs(), self.limits.runs), (self.steps, self.limits.steps)] {
            if runs > limit {
                return Err(CompileError::Entangled { runs, limit });
            }
        }
        self.known.insert((around, own), number);
        Ok(number)
    }
}
