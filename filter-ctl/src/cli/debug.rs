//! `debug`: what the kernel programs of a device log.

use std::{
    io::{self, Write},
    process,
};

use super::{Exit, Failure, Output, output};
use crate::datapath::{Places, kernel_log};

/// Print what the kernel programs of a device log, until interrupted
///
/// For debugging filter itself: one line for each dropped packet, with the number of the reason.
/// The device must have been attached with `--debug`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The device
    pub device: String,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl attach eth0 --policy policy.yaml --debug
  filter-ctl debug eth0";

/// Runs the command.
///
/// # Errors
///
/// If the device is not attached, or its programs do not log.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let print = |line: &str| {
        // Nobody reads any more: there is nothing left to do, and nothing to undo.
        let written = writeln!(io::stdout(), "{line}");
        if written.is_err() {
            let failure = output::refusal(written).map(|error| output::unwritten(&error));
            process::exit(failure.map_or(Exit::Success, |failure| {
                failure.report(Output::Table);
                failure.exit
            }) as i32);
        }
    };
    let logs = kernel_log::follow(&Places::from_environment(), &arguments.device, print)?;
    if logs {
        Ok(())
    } else {
        let what = format!("the programs of {} do not log: attach it with --debug", arguments.device);
        Err(Failure::new(Exit::Conflict, what))
    }
}
