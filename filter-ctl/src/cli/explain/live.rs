//! The tables in force, asked instead of a document, and compared with one.

use filter_common::{abi::CONNECTIONS, policy::Block};

use super::{
    super::{
        Exit, Failure,
        documents::{self, Orders},
    },
    Arguments, first_error, unclear,
};
use crate::{
    compile::Compiled,
    datapath::{
        self, Host,
        connections::{self, Tracked},
        inspect,
        journal::Entry,
        tables::Tables,
    },
    explain::{Asked, Document, Explanation, Facts, InForce, Message, Question, judge},
    policy::EffectivePolicy,
};

/// Explains a packet of an attached device.
pub(super) fn explain(arguments: &Arguments, device: &str, asked: &Asked) -> Result<Explanation, Failure> {
    let host = Host::open()?;
    let entry = entry(&host, device, arguments.interface_id.as_deref())?;
    let attachment = &entry.attachment;
    let slot = attachment.slot;
    let mut question = asked.complete(&attachment.interface).map_err(unclear)?;
    let Some(tables) = Tables::in_force(&host, slot)? else {
        let message =
            format!("{device} has no policy in force, so everything is dropped; apply its document again");
        return Err(Failure::new(Exit::System, message));
    };
    let connection = connection(&host, slot, &question)?;
    // A packet belongs to a connection if the table says so, and only then.
    question.established = connection.is_some();
    let side = attachment.side.into();
    let facts = Facts::of_tables(&tables, &question, side);

    let path = arguments.path.clone().unwrap_or_else(|| entry.document.clone());
    let (policy, document) = match document(arguments, &entry) {
        Ok((policy, compiled)) if tables.are(&compiled, &host.clock()?) => {
            (Some(policy), Document::Same(path))
        }
        Ok((policy, _)) => {
            let reason = judge(&question, &Facts::of_rules(&policy, &question, side));
            (Some(policy), Document::Differs(path, reason))
        }
        // It was asked for by name: then it has to be there.
        Err(failure) if arguments.path.is_some() => return Err(failure),
        Err(failure) => (None, Document::Unreadable(path, first_error(&failure).to_owned())),
    };
    let in_force = InForce {
        device: attachment.device.clone(),
        generation: tables.header().generation,
        connection,
        full: host.usage(slot)?.connections >= u64::from(tables.header().allowance).min(CONNECTIONS as u64),
        document,
    };
    Ok(Explanation::of_tables(&attachment.interface.id, question, facts, policy.as_ref(), in_force))
}

/// What the document says of the attached interface.
fn document(arguments: &Arguments, entry: &Entry) -> Result<(EffectivePolicy, Compiled), Failure> {
    let path = arguments.path.as_ref().unwrap_or(&entry.document);
    let mut read = documents::read(path, &arguments.limits)?;
    read.policy(&entry.attachment.interface.id, Orders::of(entry))
}

/// The attachment of a device.
fn entry(host: &Host, device: &str, interface_id: Option<&str>) -> Result<Entry, Failure> {
    let mut entries = inspect::attached_as(host.places(), device)?;
    if let Some(id) = interface_id {
        entries.retain(|entry| entry.attachment.interface.id == id);
        if entries.is_empty() {
            let message = format!("{device} is not attached as {id}; `filter-ctl status` lists what is");
            return Err(Failure::new(Exit::NotFound, crate::text::shown(&message)));
        }
    }
    let netns = datapath::device::current_netns()?;
    let here = entries.iter().position(|entry| entry.attachment.netns == netns);
    match (here, entries.len()) {
        (Some(place), _) => Ok(entries.swap_remove(place)),
        (None, 1) => Ok(entries.swap_remove(0)),
        (None, _) => {
            let hint = "name the network interface, too (--interface-id)".to_owned();
            Err(datapath::Error::Ambiguous { what: device.to_owned(), hint }.into())
        }
    }
}

/// The connection in the table that a packet belongs to, if its ports (or, of ICMP, its addresses
/// and the query's type) are known.
fn connection(host: &Host, slot: u32, question: &Question) -> Result<Option<Tracked>, Failure> {
    let (local, remote) = (question.local(), question.remote());
    let ports = match question.message {
        Message::Ports(from, to) if question.direction == filter_common::Direction::Ingress => {
            Some((to, from))
        }
        Message::Ports(from, to) => Some((from, to)),
        Message::Nothing => Some((0, 0)),
        Message::Icmp(..) => None,
    };
    let query = question.query().map(|query| query.ports(0, question.direction).1);
    let belongs = |one: &Tracked| {
        let by_ports = ports.is_some_and(|ports| ports == (one.local.1, one.remote.1));
        let by_query = ports.is_none() && query == Some(one.remote.1);
        one.protocol == question.protocol
            && (one.local.0, one.remote.0) == (local, remote)
            && (by_ports || by_query)
    };
    Ok(connections::read(host, |of| of == slot)?.into_iter().find(belongs))
}
