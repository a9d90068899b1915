//! A table of words, a row for each suite and a column for each kernel; as text and as Markdown,
//! from which it can be read again.

use std::collections::{BTreeMap, BTreeSet};

use super::series::numbers;

/// The head of a column: a kernel's release, which sorts by its numbers, so that 6.12 comes after 6.1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kernel {
    numbers: Vec<u32>,
    name: String,
}

impl Kernel {
    fn new(name: &str) -> Self {
        Self { numbers: numbers(name), name: name.to_owned() }
    }

    fn is_of_the_same_series(&self, other: &Self) -> bool {
        self.numbers.iter().take(2).eq(other.numbers.iter().take(2))
    }
}

/// What stands where nothing ran.
const NOTHING: &str = "–";

/// The cells that have something in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Grid {
    cells: BTreeMap<(String, Kernel), String>,
}

impl Grid {
    pub(super) fn set(&mut self, suite: &str, kernel: &str, text: String) {
        self.cells.insert((suite.to_owned(), Kernel::new(kernel)), text);
    }

    /// Puts in what is newer. Another release of a series takes the column of the old one.
    pub(super) fn update(&mut self, newer: Self) {
        let kernels: BTreeSet<_> = newer.cells.keys().map(|(_, kernel)| kernel.clone()).collect();
        self.cells.retain(|(_, old), _| {
            kernels.iter().all(|kernel| kernel == old || !kernel.is_of_the_same_series(old))
        });
        self.cells.extend(newer.cells);
    }

    /// The heading and the rows.
    fn rows(&self) -> Vec<Vec<&str>> {
        let kernels: BTreeSet<_> = self.cells.keys().map(|(_, kernel)| kernel).collect();
        let suites: BTreeSet<_> = self.cells.keys().map(|(suite, _)| suite).collect();
        let heading = ["suite"].into_iter().chain(kernels.iter().map(|kernel| kernel.name.as_str()));
        let mut rows = vec![heading.collect::<Vec<_>>()];
        for suite in suites {
            let cell = |kernel: &&Kernel| self.cells.get(&(suite.clone(), (*kernel).clone()));
            let cells = kernels.iter().map(|kernel| cell(kernel).map_or(NOTHING, String::as_str));
            rows.push([suite.as_str()].into_iter().chain(cells).collect());
        }
        rows
    }

    pub(super) fn text(&self) -> String {
        let rows = self.rows();
        let width = |place: usize| rows.iter().map(|row| row[place].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let line = |row: &Vec<&str>| {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        rows.iter().map(line).collect()
    }

    pub(super) fn markdown(&self) -> String {
        let rows = self.rows();
        let mut lines: Vec<_> = rows.iter().map(|row| format!("| {} |\n", row.join(" | "))).collect();
        lines.insert(1, format!("|{}\n", " --- |".repeat(rows[0].len())));
        lines.concat()
    }

    /// Reads what [`Grid::markdown`] wrote; lines that are no rows are passed over.
    pub(super) fn read(markdown: &str) -> Self {
        let cells = |line: &str| -> Option<Vec<String>> {
            let line = line.trim().strip_prefix('|')?.strip_suffix('|')?;
            Some(line.split('|').map(|cell| cell.trim().to_owned()).collect())
        };
        let mut rows = markdown.lines().filter_map(cells);
        let heading = rows.next().unwrap_or_default();
        let mut grid = Self::default();
        for row in rows.skip(1) {
            for (kernel, text) in heading.iter().zip(&row).skip(1).filter(|(_, text)| *text != NOTHING) {
                grid.set(&row[0], kernel, text.clone());
            }
        }
        grid
    }
}

#[cfg(test)]
mod tests {
    use super::Grid;

    fn grid(cells: &[(&str, &str, &str)]) -> Grid {
        let mut grid = Grid::default();
        cells.iter().for_each(|(suite, kernel, text)| grid.set(suite, kernel, (*text).to_owned()));
        grid
    }

    #[test]
    fn kernels_stand_in_the_order_of_their_numbers() {
        let grid = grid(&[("live", "6.12.9", "4"), ("live", "6.1.0-50", "3"), ("frames", "6.12.9", "2")]);
        let markdown =
            "| suite | 6.1.0-50 | 6.12.9 |\n| --- | --- | --- |\n| frames | – | 2 |\n| live | 3 | 4 |\n";
        assert_eq!(grid.markdown(), markdown);
        assert_eq!(Grid::read(markdown), grid);
        assert_eq!(grid.text(), "suite   6.1.0-50  6.12.9\nframes  –         2\nlive    3         4\n");
    }

    #[test]
    fn what_is_newer_replaces_its_cell_and_an_old_release_its_column() {
        let mut old = grid(&[("live", "6.1.0-50", "3"), ("live", "6.12.9", "3"), ("frames", "6.12.9", "1")]);
        old.update(grid(&[("live", "6.12.10", "4"), ("live", "6.1.0-50", "5")]));
        assert_eq!(old, grid(&[("live", "6.1.0-50", "5"), ("live", "6.12.10", "4")]));
        assert_eq!(Grid::read("\n\n"), Grid::default());
    }
}
