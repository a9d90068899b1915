//! `cargo xtask kernels`: the whole-system tests in other kernels than this machine's.
//!
//! A program that loads in one kernel need not in another, and one that loads need not do the
//! same: verifiers differ, and an old one may take a branch for dead that is not. So the tests
//! themselves run in each kernel, verdicts before all. A kernel comes as a Debian package, boots
//! in a machine that QEMU emulates in software, from an image that holds the test programs and
//! what they start, and says on a serial port how they ended.
//!
//! Emulation is slow: the time limits of the tests are stretched ([`PATIENCE`]), and no time that
//! is measured there means anything.

mod fetch;
mod grid;
mod image;
mod machine;
mod series;
mod table;

use std::env;
use std::fs::{self, File, TryLockError};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use crate::setup::{self, KERNELS, TESTS};
use crate::shell::{self, progress};
use crate::test::programs::{self, Built, Program};

use fetch::{Archive, Unpacked};
use image::{Image, Job};
use machine::{Boot, Report};
use series::Kernel;
use table::{Column, Table};

/// Runs the whole-system tests in other kernels, emulated by QEMU.
///
/// Without `--kernel`: one that is too old (where `attach` must say so), the oldest in which
/// everything works, the long-term ones since, and the newest that Debian has.
///
/// Examples:
///   cargo xtask kernels --ci                                         what a change must pass
///   cargo xtask kernels --kernel 6.1 --suite verdicts -- row_25      one test in one kernel
///   cargo xtask kernels --kernel 6 --jobs 1 --write                  all of 6, into docs/kernels.md
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Only this series (`6.1`), all of a major version (`6`), or `newest`; may be repeated.
    #[arg(long, value_name = "PATTERN")]
    kernel: Vec<String>,
    /// Only the suites whose name contains this; may be repeated.
    #[arg(long, value_name = "NAME")]
    suite: Vec<String>,
    /// What a change must pass: verdicts and a short equivalence run, in the oldest and the newest kernel.
    #[arg(long, conflicts_with = "suite")]
    ci: bool,
    /// Write what ran into the table of docs/kernels.md.
    #[arg(long, conflicts_with_all = ["ci", "arguments"])]
    write: bool,
    /// How many machines run side by side; each has two processors and wants up to 4 GB of memory.
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    jobs: usize,
    /// The longest that one suite may take, in minutes.
    #[arg(long, value_name = "MINUTES", default_value_t = 45)]
    limit: u64,
    /// Given to every test program, after `--`: a part of a test's name, or libtest's options.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// By how much the limits of waits are stretched: emulation is that much slower.
const PATIENCE: &str = "10";
/// The suite that asks whether `attach` refuses a kernel that is too old, and takes any other.
const FLOOR_SUITE: &str = "tests/floor";
/// Suites of `--ci`.
const CI_SUITES: [&str; 3] = [FLOOR_SUITE, "tests/verdicts", "tests/equivalence"];
/// How long the equivalence suite of `--ci` goes on with new cases, in seconds.
const CI_SECONDS: &str = "60";
/// Variables that the tests read, handed on into the machines.
const VARIABLES: [&str; 2] = ["FILTER_SEED", "FILTER_SECONDS"];

pub(crate) fn perform(arguments: &Arguments) -> Result<()> {
    if env::consts::ARCH != "x86_64" {
        bail!("the machines that this emulates are x86-64 ones, and run this machine's own programs");
    }
    let mut wanted = TESTS.to_vec();
    wanted.extend(KERNELS);
    setup::tools(&wanted)?;
    setup::toolchain()?;
    let _lock = lock()?;
    let archive = Archive::open()?;
    let kernels = series::choose(&archive.kernels(), &arguments.kernel, arguments.ci)?;
    let kernels: Vec<(Kernel, Unpacked)> = kernels
        .into_iter()
        .map(|kernel| archive.unpack(&kernel).map(|unpacked| (kernel, unpacked)))
        .collect::<Result<_>>()?;

    progress("building the tests");
    let built = programs::build(false)?;
    let suites = suites(&built, arguments)?;
    let asks_for_the_floor = suites.iter().any(|suite| suite.suite() == FLOOR_SUITE);
    let (kernels, left_out): (Vec<_>, Vec<_>) =
        kernels.into_iter().partition(|(kernel, _)| asks_for_the_floor || !kernel.is_below_the_floor());
    for (kernel, _) in left_out {
        progress(&format!(
            "{} is below the floor: of all suites, only {FLOOR_SUITE} runs there",
            kernel.name()
        ));
    }
    let image = Image::pack(&built, &suites)?;
    let table = Table { columns: boot_all(&kernels, &image, &suites, arguments)? };
    println!("\n{}", table.text());
    if arguments.write {
        progress(&format!("writing {}", table.write()?.display()));
    }
    table.verdict()
}

/// Two at once would write the same files.
fn lock() -> Result<File> {
    fs::create_dir_all(fetch::folder())?;
    let lock = File::create(fetch::folder().join("lock"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!("another `cargo xtask kernels` is running in this folder"),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// The suites that are meant.
fn suites<'a>(built: &'a Built, arguments: &Arguments) -> Result<Vec<&'a Program>> {
    let wanted = |suite: &str| match arguments.ci {
        true => CI_SUITES.contains(&suite),
        false => {
            arguments.suite.is_empty() || arguments.suite.iter().any(|part| suite.contains(part.as_str()))
        }
    };
    let suites: Vec<_> =
        built.tests.iter().filter(|program| program.privileged() && wanted(&program.suite())).collect();
    if suites.is_empty() {
        bail!("no suite that needs root has that in its name");
    }
    Ok(suites)
}

/// Runs the suites in every kernel, some kernels at the same time.
fn boot_all(
    kernels: &[(Kernel, Unpacked)],
    image: &Image,
    suites: &[&Program],
    arguments: &Arguments,
) -> Result<Vec<Column>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((kernel, unpacked)) = kernels.get(next.fetch_add(1, Ordering::Relaxed)) {
            let start = Instant::now();
            let report = boot(kernel, unpacked, image, suites, arguments);
            let time = start.elapsed();
            progress(&format!("{}: {}", kernel.name(), shell::seconds(time)));
            let column = report.map(|report| Column { kernel: kernel.name().to_owned(), report, time });
            done.push((kernel.series, column));
        }
        done
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..arguments.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().map(|worker| worker.join().map_err(|_| anyhow!("a worker panicked")));
        done.collect::<Result<Vec<_>>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    done.sort_by_key(|(series, _)| *series);
    done.into_iter().map(|(_, column)| column).collect()
}

/// Runs the suites in one kernel.
fn boot(
    kernel: &Kernel,
    unpacked: &Unpacked,
    image: &Image,
    suites: &[&Program],
    arguments: &Arguments,
) -> Result<Report> {
    progress(&format!("booting {}", kernel.name()));
    let limit = Duration::from_secs(60 * arguments.limit);
    let mut environment = vec![("FILTER_PATIENCE".to_owned(), PATIENCE.to_owned())];
    if arguments.ci {
        environment.push(("FILTER_SECONDS".to_owned(), CI_SECONDS.to_owned()));
    }
    environment.extend(VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), env::var(name).ok()?))));
    // Where nothing can be attached, that is all there is to ask.
    let suites = suites.iter().copied();
    let suites =
        suites.filter(|suite| !kernel.is_below_the_floor() || suite.suite() == FLOOR_SUITE).collect();
    let job = Job { suites, limit: limit.as_secs(), arguments: &arguments.arguments, environment };
    let console = fetch::folder().join(format!("{}.console", kernel.release));
    machine::run(&Boot {
        release: &kernel.release,
        kernel: &unpacked.image()?,
        image: &image.complete(&kernel.release, unpacked, &job)?,
        console: &console,
        limit,
        // Who said it must be told where several speak at once.
        prefix: if arguments.jobs > 1 { format!("{}: ", kernel.series) } else { String::new() },
    })
}
