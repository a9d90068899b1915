//! `cargo xtask bench`: what the filter costs, measured on this machine.
//!
//! A benchmark is a function that takes the [`Bench`] and answers with a [`Report`]; adding one
//! is adding a line to [`BENCHES`]. Each writes its numbers as a table and as a JSON file under
//! `target/bench/`, with the machine they were measured on.

mod count;
mod cpu;
mod datapath;
mod goal;
mod iperf;
mod numbers;
mod object;
mod peers;
mod plot;
mod tcp;

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
/// costs the kernel programs, by rules and by connections; two minutes), `tcp` (throughput,
/// requests and connections a second over veth, with and without the filter), `peers` (nanoseconds
/// and packets a second beside nftables, iptables, ipset and xdp-filter; half an hour).
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
    /// One short run of few rules: shows that everything works, not how fast it is.
    #[arg(long, conflicts_with_all = ["runs", "seconds", "docs"])]
    quick: bool,
    /// Also write the results into docs/benchmarks.
    #[arg(long)]
    docs: bool,
}

/// What every benchmark is given.
struct Bench {
    binary: PathBuf,
    runs: usize,
    seconds: u32,
    /// Numbers do not matter.
    quick: bool,
    /// Where results are written.
    folders: Vec<PathBuf>,
}

impl Bench {
    /// Writes a file of results.
    fn write(&self, name: &str, content: &str) -> Result<()> {
        for folder in &self.folders {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let file = folder.join(name);
            fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
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

const BENCHES: [(&str, Benchmark); 4] = [
    ("iperf", iperf::measure),
    ("datapath", datapath::measure),
    ("tcp", tcp::measure),
    ("peers", peers::measure),
];

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
    let mut folders = vec![workspace::target().join("bench")];
    if arguments.docs {
        folders.push(workspace::root().join("docs/benchmarks"));
    }
    let bench = Bench {
        binary: build::given_or_release(arguments.filter_ctl.as_deref())?,
        runs: if arguments.quick { 1 } else { arguments.runs },
        seconds: if arguments.quick { 1 } else { arguments.seconds },
        quick: arguments.quick,
        folders,
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
        save(&bench, name, &report, load)?;
        for folder in &bench.folders {
            println!("The numbers are in {}.", folder.join(format!("{name}.json")).display());
        }
        wrong.extend(report.wrong);
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// Writes the report as JSON, and the table with the machine as Markdown.
fn save(bench: &Bench, name: &str, report: &Report, load: f64) -> Result<()> {
    let machine = machine(load)?;
    let described: String = machine
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            format!("- {name}: {}\n", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        })
        .collect();
    let whole = json!({
        "benchmark": name, "runs": bench.runs, "seconds": bench.seconds, "machine": machine,
        "numbers": report.numbers, "wrong": report.wrong,
    });
    bench.write(&format!("{name}.json"), &(serde_json::to_string_pretty(&whole)? + "\n"))?;
    let markdown = format!(
        "# `cargo xtask bench {name}`\n\n{described}- runs: {}\n\n```\n{}\n```\n",
        bench.runs,
        report.table.trim_end()
    );
    bench.write(&format!("{name}.md"), &markdown)
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
        "mitigations": mitigations(),
        "load": load,
        "commit": shell::read(Command::new("git").current_dir(workspace::root()).args(["rev-parse", "HEAD"]))
            .map_or_else(|_| "unknown".to_owned(), |commit| commit.trim().to_owned()),
    }))
}

/// What the kernel does about the processor's vulnerabilities; those that it does not have are left out.
fn mitigations() -> String {
    let folder = fs::read_dir("/sys/devices/system/cpu/vulnerabilities").into_iter().flatten();
    let mut found: Vec<String> = folder
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let state = fs::read_to_string(&path).ok()?;
            let name = path.file_name()?.to_string_lossy().into_owned();
            (state.trim() != "Not affected").then(|| format!("{name}: {}", state.trim()))
        })
        .collect();
    found.sort_unstable();
    if found.is_empty() { "none".to_owned() } else { found.join("; ") }
}
