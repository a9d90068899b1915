//! `connections`: what is tracked.

use filter_common::{
    Direction,
    service::{ICMP, ICMPV6, TCP, UDP},
};
use serde_json::{Value, json};

use super::{Exit, Failure, Output, OutputArguments, output};
use crate::{
    datapath::{
        self, Host,
        connections::{Tracked, read},
        inspect,
    },
    state::Attachment,
    text,
};

/// List the tracked connections
///
/// Sorted by interface, protocol and addresses. For ICMP the local port is the query's identifier
/// and the remote port its type.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Only this device's
    pub device: Option<String>,

    /// Only this network interface's (may be repeated)
    #[arg(long, value_name = "eni-…")]
    pub interface_id: Vec<String>,

    /// Printing.
    #[command(flatten)]
    pub output: OutputArguments,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl connections
  filter-ctl connections eth0
  filter-ctl connections --output json | jq '.connections[] | select(.state == \"established\")'";

/// Runs the command.
///
/// # Errors
///
/// If the table cannot be read.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let host = Host::open()?;
    let mut wanted: Vec<Attachment> = match &arguments.device {
        Some(device) => {
            let entries = inspect::attached_as(host.places(), device)?;
            entries.into_iter().map(|entry| entry.attachment).collect()
        }
        None => host.attachments()?,
    };
    if wanted.is_empty() {
        return Err(datapath::Error::NothingAttached.into());
    }
    let ids = &arguments.interface_id;
    wanted.retain(|attachment| ids.is_empty() || ids.contains(&attachment.interface.id));
    if wanted.is_empty() {
        let message = format!("{} is not attached; `filter-ctl status` lists what is", ids.join(", "));
        return Err(Failure::new(Exit::NotFound, text::shown(&message)));
    }
    let tracked = read(&host, |slot| wanted.iter().any(|attachment| attachment.slot == slot))?;
    let of = |slot: u32| wanted.iter().find(|attachment| attachment.slot == slot);
    match arguments.output.output {
        Output::Json => {
            let connections: Vec<_> = tracked
                .iter()
                .map(|one| {
                    let mut json = json!({
                        "interface_id": of(one.slot).map(|attachment| &attachment.interface.id),
                        "device": of(one.slot).map(|attachment| &attachment.device),
                        "protocol": one.protocol,
                        "local_address": one.local.0,
                        "local_port": one.local.1,
                        "remote_address": one.remote.0,
                        "remote_port": one.remote.1,
                        "state": one.phase.name(),
                        "origin": one.origin.name(),
                    });
                    if let Value::Object(all) = &mut json {
                        all.extend(one.times_json());
                    }
                    json
                })
                .collect();
            output::print_json(&json!({ "connections": connections }));
        }
        Output::Table => {
            let rows: Vec<_> = tracked
                .iter()
                .map(|one| row(one, of(one.slot).map_or("?", |attachment| &attachment.interface.id)))
                .collect();
            let header =
                ["INTERFACE", "PROTOCOL", "LOCAL", "", "REMOTE", "STATE", "AGE", "IDLE", "EXPIRES IN"];
            output::print(&output::table(header, &[6, 7, 8], &rows));
        }
    }
    Ok(())
}

fn row(one: &Tracked, interface: &str) -> [String; 9] {
    let arrow = match one.origin {
        Direction::Ingress => "<-",
        Direction::Egress => "->",
    };
    let end = |(address, port): (std::net::IpAddr, u16)| match (one.protocol, address) {
        (TCP | UDP, _) => std::net::SocketAddr::new(address, port).to_string(),
        _ => address.to_string(),
    };
    [
        interface.to_owned(),
        protocol(one),
        end(one.local),
        arrow.to_owned(),
        end(one.remote),
        one.phase.name().to_owned(),
        output::span(one.age),
        output::span(one.idle),
        output::span(one.expires),
    ]
}

fn protocol(one: &Tracked) -> String {
    match one.protocol {
        TCP => "tcp".into(),
        UDP => "udp".into(),
        ICMP => format!("icmp id {}", one.local.1),
        ICMPV6 => format!("icmpv6 id {}", one.local.1),
        other => other.to_string(),
    }
}
