//! What ran where and how it ended, for the terminal and for docs/kernels.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

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
    fn suites(&self) -> BTreeSet<&str> {
        let all = self.columns.iter().flat_map(|column| &column.report.suites);
        all.map(|ran| ran.suite.as_str()).collect()
    }

    /// The rows as words: a heading, the suites, the sum of each kernel's time.
    fn rows(&self, times: bool) -> Vec<Vec<String>> {
        let mut heading = vec!["suite".to_owned()];
        heading.extend(self.columns.iter().map(|column| column.kernel.clone()));
        let mut rows = vec![heading];
        for suite in self.suites() {
            let mut row = vec![suite.strip_prefix("tests/").unwrap_or(suite).to_owned()];
            for column in &self.columns {
                let ran = column.report.suites.iter().find(|ran| ran.suite == suite);
                row.push(ran.map_or_else(|| "–".to_owned(), |ran| cell(ran, times)));
            }
            rows.push(row);
        }
        if times {
            let mut last = vec!["(all)".to_owned()];
            last.extend(self.columns.iter().map(|column| shell::seconds(column.time)));
            rows.push(last);
        }
        rows
    }

    /// For people at a terminal.
    pub(super) fn text(&self) -> String {
        let rows = self.rows(true);
        let width = |place: usize| rows.iter().map(|row| row[place].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=self.columns.len()).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            let cells: Vec<_> =
                row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
            text += &format!("{}\n", cells.join("  ").trim_end());
        }
        for column in &self.columns {
            for ran in &column.report.suites {
                for (what, count) in counted(&ran.instead) {
                    text += &format!("\n{}, {}: {count} × instead: {what}", column.kernel, ran.suite);
                }
            }
            if let Some(trouble) = &column.report.trouble {
                text += &format!("\n{trouble}");
            }
        }
        text
    }

    /// For docs/kernels.md: what passed, without times, which would only say how busy the machine was.
    fn markdown(&self) -> String {
        let mut text = String::new();
        for (number, row) in self.rows(false).iter().enumerate() {
            text += &format!("| {} |\n", row.join(" | "));
            if number == 0 {
                text += &format!("|{}\n", " --- |".repeat(row.len()));
            }
        }
        text
    }

    /// Puts the table into its place in docs/kernels.md.
    pub(super) fn write(&self) -> Result<PathBuf> {
        let file = workspace::root().join("docs/kernels.md");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let table = self.markdown();
        fs::write(
            &file,
            between(&text, &table).with_context(|| format!("{} lacks its marks", file.display()))?,
        )?;
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

fn cell(ran: &Ran, times: bool) -> String {
    let outcome = &ran.outcome;
    let mut cell = format!("{} passed", outcome.passed);
    if !ran.instead.is_empty() {
        cell += &format!(" ({} instead)", ran.instead.len());
    }
    if outcome.failed > 0 || !outcome.success {
        cell += &format!(", {} FAILED", outcome.failed.max(1));
    }
    if outcome.ignored > 0 {
        cell += &format!(", {} left out", outcome.ignored);
    }
    if times {
        cell += &format!(", {}", shell::seconds(outcome.time));
    }
    cell
}

/// Each text once, with how often it was said.
fn counted(texts: &[String]) -> Vec<(&str, usize)> {
    let different: BTreeSet<_> = texts.iter().map(String::as_str).collect();
    different.into_iter().map(|text| (text, texts.iter().filter(|other| *other == text).count())).collect()
}

/// The text with something else between the marks.
fn between(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some(format!("{before}{}\n\n{table}\n{}{after}", MARKS[0], MARKS[1]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Column, MARKS, Ran, Report, Table, between};
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
    fn a_table_has_a_column_for_each_kernel_and_a_row_for_each_suite() {
        let mut other = ran("tests/live", 3, 0);
        other.instead.push("no TCX".to_owned());
        let table = table(vec![vec![ran("tests/live", 4, 1)], vec![ran("tests/frames", 2, 0), other]]);
        assert_eq!(
            table.markdown(),
            "| suite | 6.0 | 6.1 |\n| --- | --- | --- |\n| frames | – | 2 passed |\n\
             | live | 4 passed, 1 FAILED | 3 passed (1 instead) |\n"
        );
        assert!(table.text().contains("6.1, tests/live: 1 × instead: no TCX"), "{}", table.text());
        let error = table.verdict().expect_err("a test failed");
        assert_eq!(error.to_string(), "failed: tests/live in 6.0");
    }

    #[test]
    fn where_nothing_ran_nothing_has_passed() {
        assert!(table(vec![vec![ran("tests/live", 0, 0)]]).verdict().is_err());
        assert!(table(vec![vec![ran("tests/live", 1, 0)]]).verdict().is_ok());
    }

    #[test]
    fn the_text_around_the_table_stays() {
        let text = format!("a\n{}\nold\n{}\nb", MARKS[0], MARKS[1]);
        assert_eq!(
            between(&text, "new").as_deref(),
            Some(&*format!("a\n{}\n\nnew\n{}\nb", MARKS[0], MARKS[1]))
        );
        assert_eq!(between("a", "new"), None);
    }
}
