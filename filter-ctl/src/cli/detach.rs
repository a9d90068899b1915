//! `detach`: take a device's filter off.

use serde_json::json;

use super::{Failure, Output, OutputArguments, output};
use crate::datapath::{Places, Session};

/// Take a device's filter off
///
/// Its traffic is not filtered any more, its tracked connections are forgotten, and its flow
/// records are kept. With the last device, everything of ours leaves bpffs.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The device
    pub device: String,

    /// Printing.
    #[command(flatten)]
    pub output: OutputArguments,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl detach eth0
  nsenter --net=/run/netns/web filter-ctl detach eth0";

/// Runs the command.
///
/// # Errors
///
/// If the device is not attached, or the kernel refuses.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let session = Session::begin(&Places::from_environment())?;
    let detached = session.detach(&arguments.device)?;
    let notes: Vec<_> = session.notes().iter().chain(&detached.notes).cloned().collect();
    let id = detached.entry.as_ref().map(|entry| entry.attachment.interface.id.clone());
    match arguments.output.output {
        Output::Json => output::print_json(&json!({
            "device": arguments.device,
            "interface_id": id,
            "last": detached.last,
            "notes": notes,
        })),
        Output::Table => {
            let id = id.map(|id| format!(" ({})", crate::text::shown(&id))).unwrap_or_default();
            output::print(&format!(
                "detached {}{id}: its traffic is not filtered any more\n",
                arguments.device
            ));
            notes.iter().for_each(|note| output::note(note));
        }
    }
    Ok(())
}
