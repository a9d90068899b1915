//! Python programs that tests hold against ours: a stand-in for AWS's service, a public reader of flow logs, a
//! database that reads Parquet. They live in a virtual environment below the build folder.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::packages;
use crate::shell::{self, progress};
use crate::workspace;

/// What is installed: versions are pinned, those of what they need in turn are not.
const REQUIREMENTS: &str = "duckdb==2.0.1\nflowlogs_reader==5.0.1\nmoto[server]==5.2.5\n";

/// Where the environment is.
pub(crate) fn folder() -> PathBuf {
    workspace::scratch().join("python")
}

/// Sees to it that the environment is there with everything in it.
pub(crate) fn ensure() -> Result<()> {
    let folder = folder();
    let stamp = folder.join("requirements.txt");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == REQUIREMENTS) {
        return Ok(());
    }
    progress("installing the Python programs that tests start (about a minute)");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    // Debian has this part of Python's own library in a package of its own.
    if !shell::succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        packages::fetch(&["python3-venv"])?;
    }
    shell::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .context("cannot make a Python environment")?;
    let wanted = folder.join("wanted.txt");
    fs::write(&wanted, REQUIREMENTS).with_context(|| format!("cannot write {}", wanted.display()))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(&wanted);
    shell::run(&mut pip).context("cannot install the Python programs")?;
    // Only now: an interrupted installation begins anew.
    fs::rename(&wanted, &stamp).with_context(|| format!("cannot write {}", stamp.display()))
}
