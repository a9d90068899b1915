//! The standard library's source, which `-Z build-std=core` compiles for the BPF target.
//!
//! rustup has it as a component. Where rustup is missing or cannot download, Debian has it as
//! the package `rust-src`; only the one of exactly rustc's version fits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::debian::Suites;
use crate::shell::{self, Ended, progress};
use crate::workspace;

/// How long rustup may take; where it cannot download, it may hang.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The Debian suite that has many versions of rust-src side by side.
const SUITE: &str = "trixie-backports";

pub(super) fn ensure() -> Result<()> {
    let place = place()?;
    if present(&place) {
        return Ok(());
    }
    progress("fetching the standard library's source (rust-src)");
    if from_rustup()? && present(&place) {
        return Ok(());
    }
    progress(&format!("rustup could not; taking Debian's package from {SUITE}"));
    from_debian(&place)?;
    if !present(&place) {
        bail!("rust-src was fetched, but {} is still missing", marker(&place).display());
    }
    Ok(())
}

/// Where cargo looks for the source.
fn place() -> Result<PathBuf> {
    let sysroot = shell::read(rustc().args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim()).join("lib/rustlib/src/rust"))
}

fn marker(place: &Path) -> PathBuf {
    place.join("library/core/src/lib.rs")
}

fn present(place: &Path) -> bool {
    marker(place).is_file() && place.join("library/Cargo.lock").is_file()
}

fn rustc() -> Command {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(workspace::root());
    rustc
}

fn from_rustup() -> Result<bool> {
    if shell::find("rustup").is_none() {
        return Ok(false);
    }
    let mut rustup = Command::new("rustup");
    rustup.current_dir(workspace::root()).args(["component", "add", "rust-src"]);
    Ok(shell::run_for(&mut rustup, PATIENCE)? == Ended::Well)
}

fn from_debian(place: &Path) -> Result<()> {
    let said = shell::read(rustc().arg("-vV"))?;
    let release =
        said.lines().find_map(|line| line.strip_prefix("release: ")).context("rustc names no release")?;
    let folder = workspace::scratch().join("rust-src");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let suite = Suites::open(&folder, &[SUITE])?;
    let member = format!("usr/src/rustc-{release}/library");
    let library = suite.unpack("rust-src", &format!("{release}+*"), &member)?.join(&member);
    fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
    // Copied, not linked: the target folder may be cleaned, the toolchain must go on working.
    shell::run(
        Command::new("cp").args(["-a", "--no-target-directory"]).arg(&library).arg(place.join("library")),
    )?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}
