//! Which test notices a mutant.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Mutant, tree::Tree};
use crate::{
    shell::{self, Ended},
    workspace,
};

/// What became of a mutant.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A test fails, this one first.
    Caught(String),
    /// A suite does not end.
    Hangs,
    /// It does not compile.
    Unviable,
    /// The kernel does not load it.
    Refused,
    /// Nobody notices.
    Survived,
}

impl Outcome {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Caught(_) => "caught",
            Self::Hangs => "hangs",
            Self::Unviable => "does not compile",
            Self::Refused => "refused by the kernel",
            Self::Survived => "SURVIVED",
        }
    }
}

/// A suite: what cargo is given to build it, and what the test program is given.
struct Suite {
    build: &'static [&'static str],
    run: &'static [&'static str],
    /// Seconds of random cases, where the suite makes any.
    seconds: u32,
    /// How long it takes with nothing broken.
    time: Duration,
}

impl Suite {
    const fn new(build: &'static [&'static str], run: &'static [&'static str], seconds: u32) -> Self {
        Self { build, run, seconds, time: Duration::ZERO }
    }

    const fn equivalence(seconds: u32) -> Self {
        Self::new(&["--package", "tests", "--test", "equivalence"], &["the_programs_say"], seconds)
    }
}

/// The cheap ones first; random cases find at once most of what is broken in a kernel program, where
/// the verdict tests come to it only after all that stand before.
const SUITES: [Suite; 4] = [
    Suite::new(&["--package", "filter-common", "--lib"], &[], 0),
    Suite::equivalence(3),
    Suite::new(&["--package", "tests", "--test", "verdicts"], &[], 0),
    Suite::equivalence(20),
];
/// The first suite that runs the kernel programs.
const IN_THE_KERNEL: usize = 1;

/// What random inputs to the readers may take.
const READERS_MILLISECONDS: &str = "200";
/// How libtest ends the line of a test that failed.
const FAILED: &str = " ... FAILED";
/// What building may take.
const BUILDING: Duration = Duration::from_secs(20 * 60);

/// What a command came to.
enum Ran {
    Well,
    Badly(String),
    TooLate,
}

/// The suites, with the time that each takes.
pub(super) struct Judge<'a> {
    tree: &'a Tree,
    suites: [Suite; SUITES.len()],
}

impl<'a> Judge<'a> {
    /// Runs all suites over the tree as it is: they must pass.
    pub(super) fn new(tree: &'a Tree) -> Result<Self> {
        let mut judge = Self { tree, suites: SUITES };
        for place in 0..judge.suites.len() {
            let suite = &judge.suites[place];
            if !matches!(judge.cargo(suite, &["--no-run"], BUILDING)?, Ran::Well) {
                bail!("`cargo test {} --no-run` fails with nothing broken", suite.build.join(" "));
            }
            let start = Instant::now();
            if !matches!(judge.test(suite, BUILDING)?, Ran::Well) {
                bail!("`cargo test {}` fails with nothing broken", suite.build.join(" "));
            }
            judge.suites[place].time = start.elapsed();
        }
        Ok(judge)
    }

    /// Asks the suites about the mutant that is in the tree.
    pub(super) fn outcome(&self, mutant: &Mutant) -> Result<Outcome> {
        let first = if mutant.file.starts_with("filter-common/") { 0 } else { IN_THE_KERNEL };
        for (place, suite) in self.suites.iter().enumerate().skip(first) {
            if !matches!(self.cargo(suite, &["--no-run"], BUILDING)?, Ran::Well) {
                return Ok(Outcome::Unviable);
            }
            // A busy machine is not a mutant that hangs.
            let limit = suite.time * 4 + Duration::from_secs(60);
            match self.test(suite, limit)? {
                Ran::Well => {}
                Ran::TooLate => return Ok(Outcome::Hangs),
                Ran::Badly(output) if place >= IN_THE_KERNEL && output.contains("verifier_log") => {
                    return Ok(Outcome::Refused);
                }
                Ran::Badly(output) => return Ok(Outcome::Caught(first_failed(&output))),
            }
        }
        Ok(Outcome::Survived)
    }

    fn test(&self, suite: &Suite, limit: Duration) -> Result<Ran> {
        self.cargo(suite, &[&["--"], suite.run].concat(), limit)
    }

    /// Runs `cargo test`, for at most `limit`.
    fn cargo(&self, suite: &Suite, more: &[&str], limit: Duration) -> Result<Ran> {
        let path = workspace::scratch().join("mutants.log");
        let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = self.tree.cargo();
        command.args(suite.build).args(more);
        command.env("FILTER_SECONDS", suite.seconds.to_string()).env("RUST_BACKTRACE", "0");
        // So that the log says at once why a test failed, and not at the suite's end.
        // With one thread, that would come between a test's name and its result.
        command.env("RUST_TEST_NOCAPTURE", "1").env("RUST_TEST_THREADS", "2");
        command.env("BOLERO_RANDOM_TEST_TIME_MS", READERS_MILLISECONDS);
        command.stdout(log.try_clone()?).stderr(log);
        let output = || -> Result<String> { Ok(String::from_utf8_lossy(&fs::read(&path)?).into_owned()) };
        // One failed test is enough; the rest of the suite would only take its time.
        let failed = || Ok(output()?.contains(FAILED));
        Ok(match shell::run_until(&mut command, limit, failed)? {
            Ended::Well => Ran::Well,
            Ended::Badly | Ended::Enough => Ran::Badly(output()?),
            Ended::TooLate => Ran::TooLate,
        })
    }
}

/// The first test that a suite's output names as failed.
fn first_failed(output: &str) -> String {
    let failed = output.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(FAILED));
    failed.unwrap_or("a suite that crashes").to_owned()
}

#[cfg(test)]
mod tests {
    use super::first_failed;

    #[test]
    fn the_first_failed_test_is_named() {
        let output = "test a::b ... ok\ntest c::d ... FAILED\ntest e ... FAILED\n";
        assert_eq!(first_failed(output), "c::d");
        assert_eq!(first_failed("signal: 11"), "a suite that crashes");
    }
}
