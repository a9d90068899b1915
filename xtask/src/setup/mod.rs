//! `cargo xtask setup`: everything that the other actions need, fetched where it is missing.
//!
//! Each action calls the part that it needs. With nothing to do, a part costs milliseconds.

mod debian;
mod packages;
pub(crate) mod python;
mod rust_src;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{self, progress};
use crate::workspace;

pub(crate) use debian::Suites;
pub(crate) use packages::{BENCH, DEMO, KERNELS, MUTANTS, PEERS, TESTS, tools};

/// Prepares this machine: the Rust parts, the system tools and bpffs.
///
/// Every action runs its own part of this; running it first only saves time later.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also fetch what only some actions need: rustfmt, clippy and cargo-deny (lint, audit),
    /// cargo-mutants (mutants), and the system tools of kernels, bench and demo. Building takes minutes.
    #[arg(long)]
    all: bool,
}

/// The linker whose LLVM is the one that the pinned rustc ships.
const BPF_LINKER: &str = "0.10.4";
/// The version of cargo-deny that the configuration in deny.toml was written for.
const CARGO_DENY: &str = "0.20.2";
/// The version of cargo-mutants whose list `mutants` reads.
const CARGO_MUTANTS: &str = "27.1.0";

const BPFFS: &str = "/sys/fs/bpf";

pub(crate) fn perform(arguments: &Arguments) -> Result<()> {
    toolchain()?;
    if arguments.all {
        component("rustfmt", "rustfmt", "cargo-fmt")?;
        component("clippy", "clippy", "cargo-clippy")?;
        cargo_deny()?;
        cargo_mutants()?;
    }
    shell::require_root("setup", "it installs system tools and mounts bpffs")?;
    tools(TESTS)?;
    python::ensure()?;
    if arguments.all {
        tools(&[KERNELS, BENCH, PEERS, DEMO, MUTANTS].concat())?;
    }
    bpffs()?;
    progress("everything is in place");
    Ok(())
}

/// What building needs: the standard library's source and bpf-linker.
pub(crate) fn toolchain() -> Result<()> {
    rust_src::ensure()?;
    bpf_linker()
}

fn bpf_linker() -> Result<()> {
    if version_of("bpf-linker", &[]).as_deref() == Some(BPF_LINKER) {
        return Ok(());
    }
    progress(&format!("building bpf-linker {BPF_LINKER} (about a minute)"));
    cargo_install("bpf-linker", BPF_LINKER, &mut Command::new("cargo"))
}

/// cargo-deny: licences, bans, sources, advisories.
pub(crate) fn cargo_deny() -> Result<()> {
    cargo_tool("cargo-deny", &[], CARGO_DENY)
}

/// cargo-mutants: ways to break the code.
pub(crate) fn cargo_mutants() -> Result<()> {
    cargo_tool("cargo-mutants", &["mutants"], CARGO_MUTANTS)
}

/// A developer's tool, built without optimisation: it has little to do here, so that the minutes
/// which the optimiser would take are better saved. `before` are the words that stand before its
/// options.
fn cargo_tool(name: &str, before: &[&str], version: &str) -> Result<()> {
    if version_of(name, before).as_deref() == Some(version) {
        return Ok(());
    }
    progress(&format!("building {name} {version} (some minutes)"));
    let mut cargo = Command::new("cargo");
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_RELEASE_LTO", "off");
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    cargo_install(name, version, &mut cargo)
}

fn cargo_install(package: &str, version: &str, cargo: &mut Command) -> Result<()> {
    // In the workspace, so that the pinned toolchain builds it.
    cargo.current_dir(workspace::root());
    cargo.args(["install", package, "--version", version, "--locked", "--force", "--quiet"]);
    shell::run(cargo).with_context(|| format!("cannot install {package} {version}"))?;
    if shell::find(package).is_none() {
        bail!("{package} was installed, but is not on the path");
    }
    Ok(())
}

/// The last word of what `program --version` says first.
fn version_of(program: &str, before: &[&str]) -> Option<String> {
    shell::find(program)?;
    let said = shell::read(Command::new(program).args(before).arg("--version")).ok()?;
    Some(said.lines().next()?.split_whitespace().nth(1)?.to_owned())
}

/// A component of the toolchain that brings the program `program`.
pub(crate) fn component(name: &str, package: &str, program: &str) -> Result<()> {
    let usable = || shell::succeeds(Command::new(program).current_dir(workspace::root()).arg("--version"));
    if shell::find(program).is_some() && usable() {
        return Ok(());
    }
    progress(&format!("fetching {name} with rustup"));
    if shell::find("rustup").is_some() {
        let mut rustup = Command::new("rustup");
        shell::run_for(
            rustup.current_dir(workspace::root()).args(["component", "add", name]),
            rust_src::PATIENCE,
        )?;
    }
    if !usable() {
        bail!(
            "{name} is missing, and rustup could not fetch it: install it (`rustup component add {name}`, or the distribution's {package})"
        );
    }
    Ok(())
}

/// The BPF file system, where programs, maps and links outlive their process.
pub(crate) fn bpffs() -> Result<()> {
    let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
    let mounted = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(BPFFS) && words.next() == Some("bpf")
    });
    if mounted {
        return Ok(());
    }
    shell::require_root("setup", "it mounts bpffs")?;
    progress(&format!("mounting bpffs at {BPFFS}"));
    shell::run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS]))
        .with_context(|| format!("cannot mount bpffs at {BPFFS}: is this a container without CAP_SYS_ADMIN?"))
}
