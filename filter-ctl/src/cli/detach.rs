//! `detach`: take a device's filter off.

use serde_json::json;

use super::{Exit, Failure, Output, OutputArguments, output};
use crate::datapath::{Places, Session};

/// Take a device's filter off
///
/// Its traffic is not filtered any more, its tracked connections are forgotten, and its flow
/// records are kept. With the last device, everything of ours leaves bpffs.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The device
    #[arg(required_unless_present = "interface_id")]
    pub device: Option<String>,

    /// The network interface, instead of the device
    #[arg(long, value_name = "eni-…", conflicts_with = "device")]
    pub interface_id: Option<String>,

    /// Printing.
    #[command(flatten)]
    pub output: OutputArguments,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl detach eth0
  filter-ctl detach --interface-id eni-0a1b2c3d4e5f60718
  nsenter --net=/run/netns/web filter-ctl detach eth0";

/// Runs the command.
///
/// # Errors
///
/// If the device is not attached, or the kernel refuses.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let session = Session::begin_detach(&Places::from_environment())?;
    let detached = match (&arguments.device, &arguments.interface_id) {
        (Some(device), _) => session.detach(device)?,
        (None, Some(id)) => session.detach_interface(id)?,
        // The command line has one of them.
        (None, None) => return Err(Failure::new(Exit::Usage, "name a device")),
    };
    let attached = detached.entry.as_ref().map(|entry| &entry.attachment.device);
    let device = arguments.device.as_ref().or(attached).map_or("", String::as_str);
    let notes: Vec<_> = session.notes().iter().chain(&detached.notes).cloned().collect();
    let id = detached.entry.as_ref().map(|entry| entry.attachment.interface.id.clone());
    match arguments.output.output {
        Output::Json => output::print_json(&json!({
            "device": device,
            "interface_id": id,
            "last": detached.last,
            "notes": notes,
        })),
        Output::Table => {
            let id = id.map(|id| format!(" ({})", crate::text::shown(&id))).unwrap_or_default();
            output::print(&format!("detached {device}{id}: its traffic is not filtered any more\n"));
            notes.iter().for_each(|note| output::note(note));
        }
    }
    Ok(())
}
