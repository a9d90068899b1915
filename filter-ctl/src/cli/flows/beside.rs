//! Reading beside an agent: it drains the ring, the spool has everything.

use std::io;

use tokio::signal::unix::SignalKind;

use super::{Arguments, Printer, output, tell_unlogged};
use crate::{
    agent::client::{self, Following},
    datapath::{self, Places},
    flowlog::{
        Error, Folder, Record, Result,
        follow::{Sink, Stop},
        spool::{self, Dropped, Position, Reader},
    },
};

/// Records that are printed at a time.
const BATCH: usize = 256;

/// Has the agent bring everything to the spool, if there is one, and says so.
pub(super) fn collected(places: &Places, folder: &Folder) -> Result<Option<(Reader, Dropped)>> {
    if client::collect(places).map_err(asking)?.is_none() {
        return Ok(None);
    }
    tell(places);
    spool::kept(&folder.spool(), Position::default()).map(Some)
}

/// Prints, if there is an agent; else returns false.
pub(super) fn print(arguments: &Arguments, places: &Places, folder: &Folder) -> Result<bool> {
    if arguments.follow {
        return follow(arguments, places, folder);
    }
    let Some((reader, dropped)) = collected(places, folder)? else { return Ok(false) };
    let attachments = datapath::attachments()?;
    let mut printer = Printer::to_stdout(arguments, &attachments)?;
    tell_unlogged(&arguments.filters.interface_id, &attachments);
    printer.header()?;
    printer.spool(reader, dropped)?;
    Ok(true)
}

fn follow(arguments: &Arguments, places: &Places, folder: &Folder) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(asking)?;
    runtime.block_on(async {
        let Some(mut agent) = Following::begin(places).map_err(asking)? else { return Ok(false) };
        let mut stop = Stop::on(&[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
            .map_err(asking)?;
        let attachments = datapath::attachments()?;
        let mut printer = Printer::to_stdout(arguments, &attachments)?;
        tell(places);
        tell_unlogged(&arguments.filters.interface_id, &attachments);
        printer.header()?;
        let mut from = agent.next().await.map_err(asking)?.map(|told| told.end).unwrap_or_default();
        loop {
            let told = tokio::select! {
                () = stop.received() => return Ok(true),
                told = agent.next() => told.map_err(asking)?,
            };
            let Some(told) = told else {
                output::note("the agent has ended");
                return Ok(true);
            };
            let (reader, _) = spool::kept(&folder.spool(), from)?;
            let attachments = datapath::attachments()?;
            let printed = give(&mut printer, reader, &mut from)?.and_then(|()| {
                told.complete.iter().try_for_each(|(id, until)| printer.complete(id, *until))?;
                printer.learn(&attachments)
            });
            match printed {
                Ok(()) if attachments.is_empty() => {
                    output::note("nothing is attached any more");
                    return Ok(true);
                }
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(true),
                Err(error) => return Err(Error::Output(error)),
            }
        }
    })
}

/// Gives all of a reader's records to the printer and notes up to where.
fn give(printer: &mut Printer<'_>, mut reader: Reader, place: &mut Position) -> Result<io::Result<()>> {
    loop {
        let records = reader.by_ref().take(BATCH).collect::<Result<Vec<Record>>>()?;
        *place = reader.position();
        if records.is_empty() {
            return Ok(Ok(()));
        }
        if let Err(error) = printer.accept(&records) {
            return Ok(Err(error));
        }
    }
}

fn tell(places: &Places) {
    // That it collects is known; which process it is, is of less interest.
    if let Ok(Some(agent)) = client::status(places) {
        output::note(&format!("the agent (process {}) collects; these are its records", agent.pid));
    }
}

fn asking(source: io::Error) -> Error {
    Error::Kernel { action: "ask the agent", source: Box::new(source) }
}
