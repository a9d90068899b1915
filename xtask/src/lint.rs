//! `cargo xtask lint`: everything about the code that a machine can judge without running it.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::shell::{self, progress};
use crate::{setup, workspace};

/// Checks formatting, lints, licences, bans, sources, documentation and the conformance table.
///
/// All checks run, also after one has failed. Known vulnerabilities are `cargo xtask audit`'s.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the checks whose name contains this.
    only: Option<String>,
}

/// A check: its name, and what makes the command that performs it.
struct Check {
    name: &'static str,
    prepare: fn() -> Result<()>,
    command: fn() -> Command,
}

const CHECKS: [Check; 7] = [
    Check {
        name: "format",
        prepare: || setup::component("rustfmt", "rustfmt", "cargo-fmt"),
        command: format,
    },
    Check { name: "clippy", prepare: clippy_ready, command: clippy },
    Check { name: "clippy-ebpf", prepare: clippy_ready, command: clippy_ebpf },
    Check { name: "documentation", prepare: setup::toolchain, command: documentation },
    Check { name: "documentation-ebpf", prepare: setup::toolchain, command: documentation_ebpf },
    Check { name: "conformance", prepare: || Ok(()), command: conformance },
    Check { name: "dependencies", prepare: setup::cargo_deny, command: dependencies },
];

/// The crate of the kernel programs.
const EBPF: &str = "filter-ebpf";

pub(crate) fn perform(arguments: &Arguments) -> Result<()> {
    let wanted =
        |check: &&Check| arguments.only.as_ref().is_none_or(|only| check.name.contains(only.as_str()));
    let mut results: Vec<(&str, bool, Duration)> = Vec::new();
    for check in CHECKS.iter().filter(wanted) {
        (check.prepare)()?;
        progress(&format!("lint: {}", check.name));
        let start = Instant::now();
        let outcome = shell::run(&mut (check.command)());
        if let Err(error) = &outcome {
            eprintln!("error: {error:#}");
        }
        results.push((check.name, outcome.is_ok(), start.elapsed()));
    }
    if results.is_empty() {
        bail!("no check has that in its name");
    }
    println!();
    for (name, passed, time) in &results {
        println!("{name:<20} {:<8} {:>10}", if *passed { "ok" } else { "FAILED" }, shell::seconds(*time));
    }
    let failed = results.iter().filter(|(_, passed, _)| !passed).count();
    if failed > 0 {
        bail!("{failed} of {} checks failed", results.len());
    }
    Ok(())
}

fn clippy_ready() -> Result<()> {
    setup::component("clippy", "clippy", "cargo-clippy")?;
    setup::toolchain()
}

fn format() -> Command {
    let mut command = workspace::cargo("fmt");
    command.args(["--all", "--check"]);
    command
}

fn clippy() -> Command {
    let mut command = workspace::cargo("clippy");
    command.args(["--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]);
    command
}

/// A command about the kernel programs as they are built for the kernel. On the host they are
/// nothing but a stub.
fn for_the_kernel(subcommand: &str) -> Command {
    let mut command = workspace::cargo(subcommand);
    let flags = format!("--cfg=bpf_target_arch=\"{}\"", std::env::consts::ARCH);
    command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", flags);
    command.args(["--quiet", "--package", EBPF, "--target", "bpfel-unknown-none"]);
    command.args(["-Z", "build-std=core", "--target-dir"]).arg(workspace::target().join("lint-ebpf"));
    command
}

fn clippy_ebpf() -> Command {
    let mut command = for_the_kernel("clippy");
    command.args(["--", "-D", "warnings"]);
    command
}

fn documentation() -> Command {
    let mut command = workspace::cargo("doc");
    command.env("RUSTDOCFLAGS", "-D warnings");
    command.args(["--quiet", "--workspace", "--exclude", EBPF, "--no-deps", "--document-private-items"]);
    command
}

fn documentation_ebpf() -> Command {
    let mut command = for_the_kernel("doc");
    command.env("RUSTDOCFLAGS", "-D warnings").args(["--no-deps", "--document-private-items"]);
    command
}

fn conformance() -> Command {
    let mut command = workspace::cargo("xtask");
    command.args(["conformance", "--check"]);
    command
}

fn dependencies() -> Command {
    let mut command = Command::new("cargo-deny");
    command.current_dir(workspace::root());
    command.args(["--log-level", "warn", "check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
    command
}
