//! `cargo xtask audit`: known vulnerabilities among the dependencies.
//!
//! Apart from `lint`, because its database comes from the network and changes every day: a
//! check that passed yesterday may fail today without a change here.

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Result;

use crate::shell::{self, Ended, progress};
use crate::{setup, workspace};

/// Checks the dependencies against the advisory database.
///
/// Exits with 0 when nothing is known, 1 when something is, and 3 when the database could not
/// be fetched, so that nothing was checked.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// The exit code that says: nothing was checked.
const OUT_OF_REACH: u8 = 3;
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn perform(_: &Arguments) -> Result<ExitCode> {
    setup::cargo_deny()?;
    progress("fetching the advisory database");
    if shell::run_for(deny().args(["--log-level", "off", "fetch", "db"]), PATIENCE)? != Ended::Well {
        println!("The advisory database is out of reach from this machine: nothing was checked.");
        println!("Run `cargo xtask audit` again where the network allows it.");
        return Ok(ExitCode::from(OUT_OF_REACH));
    }
    let checked = deny().args(["check", "--disable-fetch", "advisories"]).status()?;
    Ok(if checked.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn deny() -> Command {
    let mut command = Command::new("cargo-deny");
    command.current_dir(workspace::root());
    command
}
