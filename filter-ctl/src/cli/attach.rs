//! `attach`: enforce a network interface's rules on a device.

use std::path::PathBuf;

use serde_json::json;

use super::{
    Exit, Failure, Output, OutputArguments,
    documents::{self, LimitsArguments, Orders},
    output,
    status::policy_line,
};
use crate::{
    datapath::{
        Device, Places, Session,
        attach::{Order, Outcome},
        hooks::{self, HookOrder, XdpModeOrder},
    },
    state::Side,
    text,
};

/// Enforce a network interface's rules on a device
///
/// Loads the programs, fills their maps, then attaches both directions of the device. The command
/// ends; enforcement stays until `detach`, or until the machine boots again.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The device to filter, as `ip link` names it
    pub device: String,

    /// The policy document: a file (JSON, YAML) or a folder of them
    #[arg(long, value_name = "PATH")]
    pub policy: PathBuf,

    /// The network interface that the device is; if not given: the document's only one, or the one
    /// whose primary address is on the device
    #[arg(long, value_name = "eni-…")]
    pub interface_id: Option<String>,

    /// Which end of the link the device is: `workload` = the workload's own device, `host` = the
    /// host's end of the link to a VM, container or namespace
    #[arg(long, value_enum, default_value_t = Side::Workload)]
    pub side: Side,

    /// Where the kernel shall call the programs
    #[arg(long, value_enum, default_value_t)]
    pub hook: HookOrder,

    /// How XDP shall run; other than `auto` it asks for XDP
    #[arg(long, value_enum, default_value_t)]
    pub xdp_mode: XdpModeOrder,

    /// Quotas.
    #[command(flatten)]
    pub limits: LimitsArguments,

    /// Log its flows even if no flow log of the document covers it, every SECONDS (600 if not said)
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "600",
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub log: Option<u32>,

    /// For how long connections that are older than the filter are picked up in mid-stream
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub grace: u32,

    /// Pick no TCP connection up in mid-stream: what is no SYN and belongs to no connection is
    /// rejected, whatever rule allows it. Holds until `detach`; the document can say it, too (`StrictTcp`)
    #[arg(long, conflicts_with = "grace")]
    pub strict_tcp: bool,

    /// Let the programs log what they drop, for `filter-ctl debug`; it slows dropping down
    #[arg(long)]
    pub debug: bool,

    /// Printing.
    #[command(flatten)]
    pub output: OutputArguments,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl attach eth0 --policy policy.yaml
  filter-ctl attach eth0 --policy vpc/ --interface-id eni-0a1b2c3d4e5f60718 --log 60
  filter-ctl attach tap7 --policy vpc/ --interface-id eni-0a1b2c3d4e5f60718 --side host
  filter-ctl attach eth0 --policy policy.yaml --hook xdp --xdp-mode native
  nsenter --net=/run/netns/web filter-ctl attach eth0 --policy web.yaml";

/// Runs the command.
///
/// # Errors
///
/// What stands in the way; nothing is left behind then.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.xdp_mode != XdpModeOrder::Auto
        && matches!(arguments.hook, HookOrder::Tcx | HookOrder::Clsact)
    {
        return Err(Failure::new(Exit::Usage, "--xdp-mode goes with --hook auto or xdp"));
    }
    let session = Session::begin(&Places::from_environment())?;
    let device = Device::find(&arguments.device)?;
    session.check_device(&device)?;
    let mut read = documents::read(&arguments.policy, &arguments.limits)?;
    let id = read
        .document
        .select(arguments.interface_id.as_deref(), &device.addresses)
        .map_err(|error| Failure::new(Exit::NotFound, text::shown(&error.to_string())))?
        .to_owned();
    let orders = Orders { log: arguments.log, strict_tcp: arguments.strict_tcp };
    let (policy, compiled) = read.policy(&id, orders)?;
    read.warn_of_the_rest(&[&id]);
    read.tell_warnings(arguments.output.output);
    let order = Order {
        device: &device,
        policy: &policy,
        compiled: &compiled,
        document: &read.path,
        side: arguments.side,
        hook: arguments.hook,
        mode: arguments.xdp_mode,
        grace: arguments.grace,
        log: arguments.log,
        strict_tcp: arguments.strict_tcp,
        debug: arguments.debug,
    };
    let outcome = session.attach(&order)?;
    let notes: Vec<_> = session.notes().iter().chain(&outcome.notes).cloned().collect();
    match arguments.output.output {
        Output::Json => {
            let entry = &outcome.entry;
            output::print_json(&json!({ "attached": entry, "notes": notes, "warnings": read.warnings }));
        }
        Output::Table => {
            output::print(&describe(&outcome));
            notes.iter().for_each(|note| output::note(note));
        }
    }
    Ok(())
}

fn describe(Outcome { entry, .. }: &Outcome) -> String {
    let attachment = &entry.attachment;
    let side = match attachment.side {
        Side::Workload => "the workload's own device",
        Side::Host => "the host's end of the workload's link",
    };
    let logs = super::status::log_lines(&attachment.flow_logs);
    let logs: String = logs.iter().map(|log| format!("          {log}\n")).collect();
    format!(
        "attached {} as {} ({side})\n  hooks   receive {}, send {}: {}\n  policy  {}\n  log     {}\n{logs}",
        text::shown(&attachment.device),
        text::shown(&attachment.interface.id),
        hooks::name(attachment.receive),
        hooks::name(attachment.send),
        attachment.reason,
        policy_line(entry),
        super::status::log_line(entry),
    )
}
