//! `cargo xtask test`: all tests, the privileged ones included.
//!
//! Everything is built by one cargo call, so that each crate is compiled once and with one set
//! of features; cargo says which test programs came out of it, and each is then run as a suite
//! of its own, with its time.

pub(crate) mod programs;
pub(crate) mod suite;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::setup::{self, TESTS};
use crate::shell::{self, progress};

use programs::{Built, Program};
use suite::Outcome;

/// Runs all tests: unit, documentation and, as root, whole-system tests.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the suites whose name contains this.
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    /// Leave out the whole-system tests, which need root.
    #[arg(long)]
    unprivileged: bool,
    /// Given to every test program, after `--`: a part of a test's name, or libtest's options.
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn perform(arguments: &Arguments) -> Result<()> {
    if !arguments.unprivileged {
        let why = "the whole-system tests make network namespaces and load programs into the kernel; \
                   `cargo xtask test --unprivileged` leaves them out";
        shell::require_root("cargo xtask test", why)?;
        setup::tools(TESTS)?;
        setup::bpffs()?;
    }
    setup::toolchain()?;
    let wanted = |name: &str| arguments.suite.as_ref().is_none_or(|part| name.contains(part.as_str()));
    if wanted(programs::WITH_PYTHON) {
        setup::python::ensure()?;
    }
    let start = Instant::now();
    let (built, mut report) = build(arguments.unprivileged)?;

    // The plain ones first: what they find is cheaper to understand.
    let (system, plain): (Vec<&Program>, Vec<&Program>) = built
        .tests
        .iter()
        .filter(|program| wanted(&program.suite()))
        .partition(|program| program.privileged());
    for program in plain {
        report.run(&program.suite(), || {
            suite::run(&mut program.command(&built, &arguments.arguments), suite::LIMIT)
        })?;
    }
    if wanted("documentation") {
        report.run("documentation", || {
            suite::run(&mut programs::documentation(&arguments.arguments), suite::LIMIT)
        })?;
    }
    for program in system {
        report.run(&program.suite(), || {
            suite::run(&mut program.command(&built, &arguments.arguments), suite::LIMIT)
        })?;
    }
    report.print(start.elapsed());
    report.verdict()
}

/// Builds all tests; the report has no suite yet.
pub(crate) fn build(unprivileged: bool) -> Result<(Built, Report)> {
    let start = Instant::now();
    progress("building everything that the tests need");
    let built = programs::build(unprivileged)?;
    Ok((built, Report { building: start.elapsed(), suites: Vec::new() }))
}

/// What ran, and how it ended.
pub(crate) struct Report {
    building: Duration,
    suites: Vec<(String, Outcome)>,
}

impl Report {
    pub(crate) fn run(&mut self, name: &str, suite: impl FnOnce() -> Result<Outcome>) -> Result<()> {
        println!();
        progress(&format!("suite {name}"));
        let outcome = suite()?;
        progress(&format!("suite {name}: {}", shell::seconds(outcome.time)));
        self.suites.push((name.to_owned(), outcome));
        Ok(())
    }

    pub(crate) fn print(&self, whole: Duration) {
        println!("\n{:<40} {:>8} {:>8} {:>8} {:>14}", "suite", "passed", "failed", "ignored", "time");
        println!("{:<40} {:>8} {:>8} {:>8} {:>14}", "(building)", "", "", "", shell::seconds(self.building));
        for (name, outcome) in &self.suites {
            let Outcome { passed, failed, ignored, time, .. } = *outcome;
            // A suite without tests has no place in the table, unless it crashed.
            if passed + failed + ignored == 0 && outcome.success {
                continue;
            }
            let mark = if outcome.success { "" } else { "  FAILED" };
            println!("{name:<40} {passed:>8} {failed:>8} {ignored:>8} {:>14}{mark}", shell::seconds(time));
        }
        println!("{:<40} {:>8} {:>8} {:>8} {:>14}", "(all)", "", "", "", shell::seconds(whole));
        let (passed, failed, ignored) = self.totals();
        println!("\n{passed} passed, {failed} failed, {ignored} skipped");
    }

    fn totals(&self) -> (usize, usize, usize) {
        self.suites.iter().fold((0, 0, 0), |(passed, failed, ignored), (_, outcome)| {
            // A suite that ended badly without naming a failed test has failed all the same.
            let crashed = usize::from(!outcome.success && outcome.failed == 0);
            (passed + outcome.passed, failed + outcome.failed + crashed, ignored + outcome.ignored)
        })
    }

    pub(crate) fn verdict(&self) -> Result<()> {
        let failed: Vec<&str> = self
            .suites
            .iter()
            .filter(|(_, outcome)| !outcome.success)
            .map(|(name, _)| name.as_str())
            .collect();
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        if self.totals().0 == 0 {
            bail!("no test ran");
        }
        Ok(())
    }
}
