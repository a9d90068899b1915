//! What ran where and how it ended, for the terminal and for docs/kernels.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::grid::Grid;
use super::machine::{Ran, Report};
use crate::{shell, workspace};

/// Between these lines of docs/kernels.md stands the table.
const MARKS: [&str; 2] = ["<!-- table: `cargo xtask kernels --write` -->", "<!-- /table -->"];

/// A column for each kernel, a row for each suite.
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
}

/// What became of a kernel, by name, and in what time.
pub(super) struct Column {
    pub(super) kernel: String,
    pub(super) report: Report,
    pub(super) time: Duration,
}

impl Table {
    fn grid(&self, cell: fn(&Ran) -> String) -> Grid {
        let mut grid = Grid::default();
        for Column { kernel, report, .. } in &self.columns {
            for ran in &report.suites {
                grid.set(ran.suite.strip_prefix("tests/").unwrap_or(&ran.suite), kernel, cell(ran));
            }
        }
        grid
    }

    /// For people at a terminal, with times.
    pub(super) fn text(&self) -> String {
        let mut text =
            self.grid(|ran| format!("{}, {}", counts(ran), shell::seconds(ran.outcome.time))).text();
        for Column { kernel, report, time } in &self.columns {
            text += &format!("\n{kernel}: {}", shell::seconds(*time));
            for ran in &report.suites {
                for (what, count) in counted(&ran.instead) {
                    text += &format!("\n{kernel}, {}: {count} × instead: {what}", ran.suite);
                }
            }
            text.extend(report.trouble.iter().map(|trouble| format!("\n{trouble}")));
        }
        text
    }

    /// Puts what ran into the table of docs/kernels.md; what else stands there stays. Without
    /// times, which would only say how busy the machine was.
    pub(super) fn write(&self) -> Result<PathBuf> {
        let file = workspace::root().join("docs/kernels.md");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let text = replace(&text, self.grid(counts));
        fs::write(&file, text.with_context(|| format!("{} lacks its marks", file.display()))?)?;
        Ok(file)
    }

    /// Fails unless every suite of every kernel passed, and something ran.
    pub(super) fn verdict(&self) -> Result<()> {
        let mut failed = Vec::new();
        for Column { kernel, report, .. } in &self.columns {
            failed.extend(report.trouble.iter().map(|_| kernel.clone()));
            let bad = report.suites.iter().filter(|ran| !ran.outcome.success);
            failed.extend(bad.map(|ran| format!("{} in {kernel}", ran.suite)));
            if report.suites.iter().all(|ran| ran.outcome.passed == 0) {
                failed.push(format!("no test ran in {kernel}"));
            }
        }
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        Ok(())
    }
}

/// How a suite ended.
fn counts(ran: &Ran) -> String {
    let outcome = &ran.outcome;
    let mut text = format!("{} passed", outcome.passed);
    if !ran.instead.is_empty() {
        text += &format!(" ({} instead)", ran.instead.len());
    }
    if outcome.failed > 0 || !outcome.success {
        text += &format!(", {} FAILED", outcome.failed.max(1));
    }
    if outcome.ignored > 0 {
        text += &format!(", {} left out", outcome.ignored);
    }
    text
}

/// Each text once, with how often it was said.
fn counted(texts: &[String]) -> Vec<(&str, usize)> {
    let different: BTreeSet<_> = texts.iter().map(String::as_str).collect();
    different.into_iter().map(|text| (text, texts.iter().filter(|other| *other == text).count())).collect()
}

/// The text with what is newer in the table between the marks.
fn replace(text: &str, newer: Grid) -> Option<String> {
    let (before, rest) = text.split_once(MARKS[0])?;
    let (old, after) = rest.split_once(MARKS[1])?;
    let mut grid = Grid::read(old);
    grid.update(newer);
    Some(format!("{before}{}\n\n{}\n{}{after}", MARKS[0], grid.markdown(), MARKS[1]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Column, MARKS, Ran, Report, Table, counts, replace};
    use crate::test::suite::Outcome;

    fn ran(suite: &str, passed: usize, failed: usize) -> Ran {
        let time = Duration::from_secs(5);
        let outcome = Outcome { success: failed == 0, passed, failed, time, ..Outcome::default() };
        Ran { suite: suite.to_owned(), outcome, instead: Vec::new() }
    }

    fn table(columns: Vec<Vec<Ran>>) -> Table {
        let column = |(number, suites)| Column {
            kernel: format!("6.{number}"),
            report: Report { suites, trouble: None },
            time: Duration::from_secs(9),
        };
        Table { columns: columns.into_iter().enumerate().map(column).collect() }
    }

    #[test]
    fn what_failed_is_named() {
        let mut other = ran("tests/live", 3, 0);
        other.instead.push("no TCX".to_owned());
        let table = table(vec![vec![ran("tests/live", 4, 1)], vec![ran("tests/frames", 2, 0), other]]);
        let text = table.text();
        for part in ["4 passed, 1 FAILED", "3 passed (1 instead)", "6.1, tests/live: 1 × instead: no TCX"] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        assert_eq!(table.verdict().expect_err("a test failed").to_string(), "failed: tests/live in 6.0");
    }

    #[test]
    fn where_nothing_ran_nothing_has_passed() {
        assert!(table(vec![vec![ran("tests/live", 0, 0)]]).verdict().is_err());
        assert!(table(vec![vec![ran("tests/live", 1, 0)]]).verdict().is_ok());
    }

    #[test]
    fn the_text_around_the_table_stays_and_what_did_not_run_in_it_too() {
        let rows = |cell: &str| {
            format!("| suite | 6.0 |\n| --- | --- |\n| frames | 1 passed |\n| live | {cell} |\n")
        };
        let text = |cell: &str| format!("a\n{}\n\n{}\n{}\nb", MARKS[0], rows(cell), MARKS[1]);
        let newer = table(vec![vec![ran("tests/live", 4, 0)]]).grid(counts);
        assert_eq!(replace(&text("3 passed"), newer.clone()), Some(text("4 passed")));
        assert_eq!(replace("a", newer), None);
    }
}
