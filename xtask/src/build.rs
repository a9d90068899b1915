//! `cargo xtask build` and `cargo xtask run`: the release binary, with the eBPF object inside.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::shell::{self, progress};
use crate::{setup, workspace};

/// Builds the release binary of filter-ctl, with the eBPF object inside.
///
/// The binary needs no toolchain, no source tree and no other file.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Builds filter-ctl and runs it with the given arguments.
#[derive(clap::Args)]
pub(crate) struct RunArguments {
    /// What filter-ctl is given, after `--`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn perform(_: &Arguments) -> Result<()> {
    let binary = release()?;
    println!("{}", binary.display());
    Ok(())
}

/// Prepares the toolchain and builds the release binary; the answer is its path.
pub(crate) fn release() -> Result<PathBuf> {
    setup::toolchain()?;
    progress("building filter-ctl (release)");
    shell::run(workspace::cargo("build").args(["--release", "--package", "filter-ctl"]))?;
    let binary = workspace::target().join("release/filter-ctl");
    if !binary.is_file() {
        bail!("cargo built no {}", binary.display());
    }
    Ok(binary)
}

/// The binary that was asked for, or a fresh one.
pub(crate) fn given_or_release(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(given) => given.canonicalize().with_context(|| format!("no {}", given.display())),
        None => release(),
    }
}

pub(crate) fn run(arguments: &RunArguments) -> Result<ExitCode> {
    let binary = release()?;
    let status = Command::new(&binary)
        .args(&arguments.arguments)
        .status()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
