//! `cargo xtask bench`: what the filter costs, measured on this machine.
//!
//! A benchmark is a function that takes the [`Bench`] and answers with a [`Report`]; adding one
//! is adding a line to [`BENCHES`]. Each writes its numbers as a table and as a JSON file under
//! `target/bench/`, with the machine they were measured on.

mod count;
mod datapath;
mod iperf;
mod numbers;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::setup::{self, BENCH};
use crate::shell::{self, progress};
use crate::{build, lab, workspace};

/// Measures the filter, and prints and saves the numbers.
///
/// Benchmarks: `iperf` (TCP and UDP throughput over veth, with and without the filter, and
/// whether the records count what the far end counts), `datapath` (nanoseconds that a packet
/// costs the kernel programs, by rules and by connections; two minutes).
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the benchmarks whose name contains this.
    name: Option<String>,
    /// Use this filter-ctl instead of building one.
    #[arg(long, value_name = "PATH")]
    filter_ctl: Option<PathBuf>,
    /// How often each variant is measured; the variants take turns.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How long one measurement takes, in seconds.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
}

/// What every benchmark is given.
struct Bench {
    binary: PathBuf,
    runs: usize,
    seconds: u32,
}

/// What a benchmark found.
struct Report {
    /// For people.
    table: String,
    /// For machines.
    numbers: Value,
    /// What must hold, whatever the machine, and did not.
    wrong: Vec<String>,
}

type Benchmark = fn(&Bench) -> Result<Report>;

const BENCHES: [(&str, Benchmark); 2] = [("iperf", iperf::measure), ("datapath", datapath::measure)];

pub(crate) fn perform(arguments: &Arguments) -> Result<()> {
    shell::require_root("a benchmark", "it makes network namespaces and loads programs into the kernel")?;
    setup::tools(BENCH)?;
    setup::bpffs()?;
    let chosen: Vec<_> = BENCHES
        .iter()
        .filter(|(name, _)| arguments.name.as_ref().is_none_or(|part| name.contains(part)))
        .collect();
    if chosen.is_empty() {
        bail!("no benchmark has that in its name");
    }
    if arguments.runs == 0 || arguments.seconds == 0 {
        bail!("at least one run of one second");
    }
    let bench = Bench {
        binary: build::given_or_release(arguments.filter_ctl.as_deref())?,
        runs: arguments.runs,
        seconds: arguments.seconds,
    };
    let load = load()?;
    if load > 0.5 {
        progress(&format!("this machine is busy (load {load}): the numbers will be worth little"));
    }
    let made = lab::guard()?;
    let mut wrong = Vec::new();
    for (name, measure) in chosen {
        progress(&format!("benchmark {name}"));
        let report = measure(&bench).with_context(|| format!("the benchmark {name}"))?;
        made.remove_all();
        println!("\n{}", report.table);
        let file = save(name, &report, load)?;
        println!("The numbers are in {}.", file.display());
        wrong.extend(report.wrong);
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

fn save(name: &str, report: &Report, load: f64) -> Result<PathBuf> {
    let folder = workspace::target().join("bench");
    fs::create_dir_all(&folder)?;
    let file = folder.join(format!("{name}.json"));
    let whole = json!({ "benchmark": name, "machine": machine(load)?, "numbers": report.numbers, "wrong": report.wrong });
    fs::write(&file, serde_json::to_string_pretty(&whole)? + "\n")?;
    Ok(file)
}

/// How many programs wanted a processor on average over the last minute.
fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    text.split(' ').next().unwrap_or_default().parse().context("/proc/loadavg has no number")
}

/// What the numbers were measured on.
fn machine(load: f64) -> Result<Value> {
    let processors = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let of = |key: &str| processors.lines().filter(|line| line.starts_with(key)).collect::<Vec<_>>();
    let model =
        of("model name").first().and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
    Ok(json!({
        "kernel": shell::read(Command::new("uname").arg("-r"))?.trim(),
        "processor": model,
        "processors": of("processor").len(),
        "load": load,
        "commit": shell::read(Command::new("git").current_dir(workspace::root()).args(["rev-parse", "HEAD"]))
            .map_or_else(|_| "unknown".to_owned(), |commit| commit.trim().to_owned()),
    }))
}
