//! `cargo xtask fuzz`: what the tests try at random for seconds, for minutes or hours.
//!
//! Two kinds of targets, both ordinary tests: those of the readers (packets, documents), whose
//! engine is bolero, and the equivalence of rules and kernel, which has an engine of its own.
//! Each prints what repeats a failure, and shrinks it before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{
    setup, shell,
    test::{self, programs::Built, suite},
};

/// Tries random packets and documents against the readers, the rules and the kernel.
///
/// A quarter of the time goes to the readers, the rest to random documents, packets and live
/// updates in the kernel. A failure is shrunk and printed with what repeats it.
///
/// Examples:
///   cargo xtask fuzz                       ten minutes, other seeds every time
///   cargo xtask fuzz --minutes 480         over night
///   cargo xtask fuzz --minutes 0 --seed 7  one case: that of a seed which a failure has named
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// How long, in minutes; 0 is a single case.
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// The seed of the first document; each next one has the next number.
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
}

/// The readers' targets: a suite, and the part of the names by which its targets are known.
const READERS: [(&str, &str); 2] = [("filter-common", "tests::fuzz::"), ("filter-ctl", "tests::fuzz::")];
/// Rules against kernel.
const EQUIVALENCE: (&str, &str) = ("tests/equivalence", "the_programs_say_what_the_rules_say");

/// What a suite may take beyond twice its time: to load its programs, to shrink a failure.
const GRACE: Duration = Duration::from_secs(5 * 60);

pub(crate) fn perform(arguments: &Arguments) -> Result<()> {
    shell::require_root("cargo xtask fuzz", "it loads programs into the kernel")?;
    setup::toolchain()?;
    let (built, mut report) = test::build(false)?;
    let start = Instant::now();
    let time = Duration::from_secs(arguments.minutes * 60);
    for (suite, targets) in READERS {
        let time = (time / 8).max(Duration::from_millis(1));
        let variables = [("BOLERO_RANDOM_TEST_TIME_MS", time.as_millis().to_string())];
        run(&mut report, &built, (suite, targets), &variables, time)?;
    }
    let time = time * 3 / 4;
    let mut variables = vec![("FILTER_SECONDS", time.as_secs().to_string())];
    variables.extend(arguments.seed.map(|seed| ("FILTER_SEED", seed.to_string())));
    run(&mut report, &built, EQUIVALENCE, &variables, time)?;
    report.print(start.elapsed());
    report.verdict()
}

fn run(
    report: &mut test::Report,
    built: &Built,
    (suite, targets): (&str, &str),
    variables: &[(&str, String)],
    time: Duration,
) -> Result<()> {
    let program = built.tests.iter().find(|program| program.suite() == suite);
    let program = program.with_context(|| format!("the build made no suite {suite}"))?;
    let mut command = program.command(built, &[targets.to_owned(), "--nocapture".to_owned()]);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    report.run(suite, || suite::run(&mut command, time * 2 + GRACE))
}
