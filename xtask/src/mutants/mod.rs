//! `cargo xtask mutants`: whether breaking a rule of the datapath makes a test fail.
//!
//! cargo-mutants names the ways to break the code (`==` into `!=`, a function that answers `true`,
//! a match arm left out). It cannot judge them by itself: code for the BPF target is not part of any
//! test that cargo knows, and one build of everything for each mutant would take days. So each one is
//! put into a copy of the tree here, and the suites are asked in the order of their price:
//!
//! ```text
//! filter-common's mutants ─▶ its unit tests ──┐ survived
//! filter-ebpf's mutants ──────────────────────┴▶ equivalence (3 s) ─▶ verdicts ─▶ equivalence (20 s)
//! ```
//!
//! The first suite with a failing test ends the matter. A mutant that no suite notices has
//! *survived*: either a test is missing, or the mutant changes nothing that can be seen, and then
//! `docs/mutants.md` says why.

mod judge;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::shell::{self, progress};
use crate::{
    setup::{self, MUTANTS},
    workspace,
};

use judge::{Judge, Outcome};
use tree::Tree;

/// Breaks the verdict logic in every small way, one after the other, and tells which test notices.
///
/// A whole pass takes hours: `--file` and `--shard` take parts of it. Exits with 1 if a mutant
/// survives that docs/mutants.md does not explain.
///
/// Examples:
///   cargo xtask mutants --list                    what would be broken
///   cargo xtask mutants --file cell.rs            one file
///   cargo xtask mutants --file filter-ebpf/ --shard 1/8
///   cargo xtask mutants --file filter-ebpf/ --skip 19  the rest of a pass that was broken off
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Only files whose path contains this; may be given several times.
    #[arg(long, value_name = "PART")]
    file: Vec<String>,
    /// Only every Nth mutant, from the Kth on.
    #[arg(long, value_name = "K/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
    /// Leave out the first so many, which a pass that was broken off has judged.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    skip: usize,
    /// Only print the mutants.
    #[arg(long)]
    list: bool,
}

/// The verdict logic: what decides about packets, in the library and in the kernel programs.
const FILES: [&str; 16] = [
    "filter-common/src/cell.rs",
    "filter-common/src/exempt.rs",
    "filter-common/src/packet/ip.rs",
    "filter-common/src/packet/link.rs",
    "filter-common/src/packet/mod.rs",
    "filter-common/src/packet/query.rs",
    "filter-common/src/packet/quote.rs",
    "filter-common/src/packet/transport.rs",
    "filter-common/src/policy.rs",
    "filter-common/src/track.rs",
    "filter-common/src/verdict.rs",
    "filter-ebpf/src/connections.rs",
    "filter-ebpf/src/fragments.rs",
    "filter-ebpf/src/pipeline.rs",
    "filter-ebpf/src/ports.rs",
    "filter-ebpf/src/seen.rs",
];

/// Where survivors are explained, by their names without line numbers, in backticks.
const EXPLAINED: &str = "docs/mutants.md";

/// One way to break the code.
struct Mutant {
    file: String,
    /// `file:line:column: what becomes of it`
    name: String,
    /// First and last place, as line and column from 1, the last one excluded.
    span: [(usize, usize); 2],
    replacement: String,
}

impl Mutant {
    /// The name without line and column, which other changes move.
    fn stable_name(&self) -> String {
        let change = self.name.split_once(": ").map_or(self.name.as_str(), |(_, change)| change);
        format!("{}: {change}", self.file)
    }
}

pub(crate) fn perform(arguments: &Arguments) -> Result<()> {
    setup::cargo_mutants()?;
    let mutants = list(arguments)?;
    ensure!(!mutants.is_empty(), "no mutant is in such a file and shard");
    if arguments.list {
        mutants.iter().for_each(|mutant| println!("{}", mutant.name));
        println!("{} mutants", mutants.len());
        return Ok(());
    }
    shell::require_root("cargo xtask mutants", "the verdict tests load programs into the kernel")?;
    setup::toolchain()?;
    setup::tools(MUTANTS)?;
    let tree = Tree::copy()?;
    progress("building the copy, and running the suites over what is not broken");
    let judge = Judge::new(&tree)?;
    // In a table's cell, a bar is written with a backslash.
    let explained =
        fs::read_to_string(workspace::root().join(EXPLAINED)).unwrap_or_default().replace("\\|", "|");
    let (mut counts, mut unexplained) = (BTreeMap::new(), Vec::new());
    let start = Instant::now();
    for (number, mutant) in mutants.iter().enumerate() {
        let begin = Instant::now();
        let outcome = tree.with(mutant, || judge.outcome(mutant))?;
        let mut word = outcome.word();
        if outcome == Outcome::Survived && explained.contains(&format!("`{}`", mutant.stable_name())) {
            word = "explained";
        } else if outcome == Outcome::Survived {
            unexplained.push(mutant.name.as_str());
        }
        *counts.entry(word).or_insert(0) += 1;
        let by = if let Outcome::Caught(test) = &outcome { format!(" by {test}") } else { String::new() };
        let (place, time) = (number + 1, shell::seconds(begin.elapsed()));
        println!("{place}/{} {word}{by}: {} ({time})", mutants.len(), mutant.name);
    }
    println!("\n{} mutants in {}", mutants.len(), shell::seconds(start.elapsed()));
    counts.iter().for_each(|(word, count)| println!("{count:>6} {word}"));
    if !unexplained.is_empty() {
        bail!("no test notices, and {EXPLAINED} does not explain:\n{}", unexplained.join("\n"));
    }
    Ok(())
}

fn list(arguments: &Arguments) -> Result<Vec<Mutant>> {
    let wanted =
        |file: &&str| arguments.file.is_empty() || arguments.file.iter().any(|part| file.contains(part));
    let mut command = Command::new("cargo-mutants");
    command.current_dir(workspace::root()).args(["mutants", "--list", "--json", "--workspace"]);
    let files: Vec<&str> = FILES.into_iter().filter(wanted).collect();
    ensure!(!files.is_empty(), "no file of the verdict logic has such a path: {}", FILES.join(", "));
    command.args(files.iter().flat_map(|file| ["--file", file]));
    let listed: Vec<Value> = serde_json::from_str(&shell::read(&mut command)?)?;
    let (first, step) = arguments.shard.unwrap_or((1, 1));
    listed.iter().skip(first - 1).step_by(step).skip(arguments.skip).map(mutant).collect()
}

fn mutant(value: &Value) -> Result<Mutant> {
    let text = |name: &str| {
        value[name].as_str().map(str::to_owned).with_context(|| format!("cargo-mutants tells no {name}"))
    };
    let place = |end: &str| {
        let number = |name: &str| value["span"][end][name].as_u64().map(|number| number as usize);
        number("line").zip(number("column")).context("cargo-mutants tells no place")
    };
    Ok(Mutant {
        file: text("file")?,
        name: text("name")?,
        span: [place("start")?, place("end")?],
        replacement: text("replacement")?,
    })
}

/// `K/N`, from 1/N to N/N.
fn shard(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
    parts
        .filter(|(k, n)| (1..=*n).contains(k))
        .ok_or_else(|| "expected K/N with K from 1 to N, as in 2/8".to_owned())
}
