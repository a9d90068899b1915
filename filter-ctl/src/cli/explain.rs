//! `explain`: why a packet passes, or does not.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use filter_common::Direction;

use super::{
    Exit, Failure, Output, OutputArguments,
    documents::{self, LimitsArguments, Orders, Read as Document},
    output,
};
use crate::{
    document::Diagnostic,
    explain::{
        Asked, Explanation,
        batch::{Batch, BatchError},
        endpoint::Endpoint,
        protocol_number,
    },
    text,
};

mod live;

/// Tell why a packet passes, or does not
///
/// Each layer in AWS's order, the rules that matched or nearly did, whether the packet is tracked,
/// and what becomes of its answer. Asks the document, or with --device the tables in the kernel.
/// The packet is the first of a new connection unless --established says otherwise.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The policy document: a file (JSON, YAML) or a folder of them; with --device, by default the one
    /// that was applied
    #[arg(required_unless_present = "device")]
    pub path: Option<PathBuf>,

    /// The network interface; may be left out if there is one only, or if the packet names its address
    #[arg(long, value_name = "eni-…")]
    pub interface_id: Option<String>,

    /// Whether the packet goes to the interface or comes from it
    #[arg(long, value_enum, required_unless_present = "packets")]
    pub direction: Option<Way>,

    /// tcp, udp, icmp, icmpv6, or a number
    #[arg(long, value_parser = protocol_number, allow_negative_numbers = true, required_unless_present = "packets")]
    pub protocol: Option<u8>,

    /// Where it comes from: 192.0.2.1, 192.0.2.1:443 or 2001:db8::1, which stands in brackets before a
    /// port. On egress by default the interface's primary address; by default an ephemeral port
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub source: Option<Endpoint>,

    /// Where it goes to, likewise. On ingress by default the interface's primary address, so that :443
    /// is enough
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub destination: Option<Endpoint>,

    /// Type and code of an ICMP message: 8/0 or 8 is an echo request, of ICMPv6 128/0
    #[arg(long, value_name = "TYPE[/CODE]", value_parser = icmp)]
    pub icmp: Option<(u8, u8)>,

    /// The packet belongs to a tracked connection; not with --device, whose table of connections decides
    #[arg(long)]
    pub established: bool,

    /// Ask the tables in the kernel of this attached device, and compare them with the document
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,

    /// Answer many packets: a file (- is standard input) with one JSON object a line (interface_id,
    /// direction, protocol, source, destination, source_port, destination_port, icmp_type, icmp_code,
    /// established), one compact JSON object a line, in the same order
    #[arg(long, value_name = "FILE", conflicts_with_all =
          ["direction", "protocol", "source", "destination", "icmp", "established", "device"])]
    pub packets: Option<PathBuf>,

    /// Quotas.
    #[command(flatten)]
    pub limits: LimitsArguments,

    /// Printing.
    #[command(flatten)]
    pub output: OutputArguments,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl explain vpc/ --direction ingress --protocol tcp --source 192.0.2.9 --destination :22
  filter-ctl explain web.yaml --direction egress --protocol udp --destination 192.0.2.53:53
  filter-ctl explain web.yaml --direction ingress --protocol icmp --icmp 8/0 --source 192.0.2.9
  filter-ctl explain --device eth0 --direction ingress --protocol icmp --icmp 8 --source 192.0.2.9
  filter-ctl explain web.yaml --packets packets.jsonl | jq -c 'select(.verdict == \"reject\")'";

/// `--direction`
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// To the network interface.
    Ingress,
    /// From the network interface.
    Egress,
}

/// `8/0` or `8`.
fn icmp(text: &str) -> Result<(u8, u8), String> {
    let (icmp_type, code) = text.split_once('/').unwrap_or((text, "0"));
    match (icmp_type.parse(), code.parse()) {
        (Ok(icmp_type), Ok(code)) => Ok((icmp_type, code)),
        _ => Err("expected TYPE/CODE or TYPE, each from 0 to 255".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
///
/// If the question or the document is wrong, or the interface is missing. A packet that is
/// rejected is an answer, not an error.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.established && arguments.device.is_some() {
        let message = "--established cannot go with --device: the device's table of connections decides";
        return Err(Failure::new(Exit::Usage, message));
    }
    let (explanation, warnings) = match (arguments, asked(arguments)) {
        (Arguments { packets: Some(packets), path: Some(path), .. }, _) => {
            return batch(arguments, path, packets);
        }
        (Arguments { device: Some(device), .. }, Some(asked)) => {
            (live::explain(arguments, device, &asked)?, Vec::new())
        }
        (Arguments { path: Some(path), .. }, Some(asked)) => explain(arguments, path, &asked)?,
        // The command line has the packet, and a document or a device.
        _ => return Err(Failure::new(Exit::Usage, "name a document or a device, and a packet")),
    };
    match arguments.output.output {
        Output::Json => {
            let mut json = explanation.to_json();
            json["warnings"] = serde_json::json!(warnings);
            output::print_json(&json);
        }
        Output::Table => output::print(&explanation.report()),
    }
    Ok(())
}

/// The packet of the command line.
fn asked(arguments: &Arguments) -> Option<Asked> {
    Some(Asked {
        direction: match arguments.direction? {
            Way::Ingress => Direction::Ingress,
            Way::Egress => Direction::Egress,
        },
        protocol: arguments.protocol?,
        source: arguments.source.unwrap_or_default(),
        destination: arguments.destination.unwrap_or_default(),
        icmp: arguments.icmp.map_or((None, None), |(icmp_type, code)| (Some(icmp_type), Some(code))),
        established: arguments.established,
    })
}

fn explain(
    arguments: &Arguments,
    path: &Path,
    asked: &Asked,
) -> Result<(Explanation, Vec<Diagnostic>), Failure> {
    let mut read = documents::read(path, &arguments.limits)?;
    let local: Vec<_> = asked.local().into_iter().collect();
    let wanted = arguments.interface_id.as_deref();
    let id = read.document.select(wanted, &local).map(str::to_owned);
    let id = id.map_err(|error| not_selected(&read, wanted, &error.to_string()))?;
    let (policy, _) = read.policy(&id, Orders::default())?;
    let question = asked.complete(&policy.interface).map_err(unclear)?;
    read.tell_warnings(arguments.output.output);
    Ok((Explanation::of_rules(&policy, question), read.warnings))
}

/// A question that cannot be answered.
fn unclear(error: crate::explain::AskError) -> Failure {
    Failure::new(Exit::Usage, text::shown(&error.to_string()))
}

fn not_selected(read: &Document, wanted: Option<&str>, error: &str) -> Failure {
    let ids = read.document.interface_ids();
    let (exit, message) = match (wanted, &ids[..]) {
        (Some(_), _) | (None, []) => (Exit::NotFound, error.to_owned()),
        (None, _) => {
            let (count, some) = (ids.len(), some(&ids));
            let message =
                format!("the document has {count} network interfaces: name one with --interface-id ({some})");
            (Exit::Usage, message)
        }
    };
    Failure::new(exit, text::shown(&message))
}

/// A document's first error, in one line.
fn first_error(failure: &Failure) -> &str {
    let first = failure.details.as_ref().and_then(|details| details[0]["message"].as_str());
    first.unwrap_or(&failure.message)
}

/// The first of some ids.
fn some(ids: &[&str]) -> String {
    const MOST: usize = 20;
    let more = if ids.len() > MOST { ", …" } else { "" };
    format!("{}{more}", ids[..ids.len().min(MOST)].join(", "))
}

fn batch(arguments: &Arguments, path: &Path, packets: &Path) -> Result<(), Failure> {
    let mut read = documents::read(path, &arguments.limits)?;
    let ids = read.document.interface_ids();
    let default = match (&arguments.interface_id, &ids[..]) {
        (Some(id), ids) if !ids.contains(&id.as_str()) => {
            let message = format!("the document has no network interface {id}; it has {}", some(ids));
            return Err(Failure::new(Exit::NotFound, text::shown(&message)));
        }
        (Some(id), _) => Some(id.clone()),
        (None, [only]) => Some((*only).to_owned()),
        (None, _) => None,
    };
    let input: Box<dyn Read> = if packets == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let unreadable =
            |error| Failure::new(Exit::Usage, text::shown(&format!("{}: {error}", packets.display())));
        Box::new(File::open(packets).map_err(unreadable)?)
    };
    // What is wrong with the one interface that lines are about by default is no matter of lines.
    if let Some(id) = &default {
        read.policy(id, Orders::default())?;
    }
    read.tell_warnings(Output::Table);
    let by_address = read.document.by_primary_address();
    let mut find = |id: &str| {
        read.document.select(Some(id), &[]).map_err(|error| format!("interface_id: {error}"))?;
        read.effective(id, Orders::default())
            .map_err(|failure| format!("{id} has no policy: {}", first_error(&failure)))
    };
    let mut batch = Batch::new(&mut find, default).by_address(by_address);
    let out = io::BufWriter::with_capacity(64 << 10, io::stdout().lock());
    match batch.run(input, out) {
        Ok(()) => Ok(()),
        Err(BatchError::Read(error)) => {
            let message = format!("packets {}: {error}", packets.display());
            Err(Failure::new(Exit::System, text::shown(&message)))
        }
        Err(BatchError::Write(error)) => match output::refusal(Err(error)) {
            None => Ok(()),
            Some(error) => Err(output::unwritten(&error)),
        },
    }
}
