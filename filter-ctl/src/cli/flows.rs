//! `filter-ctl flows`: the flow log, as text or as JSON.

mod beside;
mod filters;
mod printer;
mod summary;

use std::time::Duration;

use filter_common::abi::sweep_flags;

use super::{Exit, Failure, output};
use crate::{
    datapath::{self, Host, Places},
    flowlog::{
        Collector, Error, Folder, HostSource, Result, Source,
        follow::{End, follow},
        format::Output,
        lock::Lock,
        logformat::LogFormat,
        spool::{Dropped, Reader, Spool},
    },
    state::Attachment,
    text,
};
use filters::Filters;
use printer::Printer;

/// How long a second reader waits for the first.
const PATIENCE: Duration = Duration::from_secs(5);

/// Print flow records: accepted and rejected traffic, in AWS's format.
///
/// Hands over what the kernel has counted until now, keeps all of it in the spool (a bounded
/// folder: /run/filter/spool, 64 MiB), and prints what matches. A second call prints the same
/// records again. Where an agent runs, it hands over and keeps; this reads what it has kept.
///
/// An interface is logged where a flow log of the policy covers it, or where it was attached with
/// `--log`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Print records as they come, until Ctrl-C; ended intervals only, and not those that the
    /// spool already holds. Without an agent, nobody else can read the flow log meanwhile
    #[arg(long, short)]
    pub follow: bool,

    /// Print the records of this flow log of the policy: its traffic, over its interval, in its
    /// format. Else every record is printed as the kernel has counted it
    #[arg(long, value_name = "fl-…")]
    pub flow_log: Option<String>,

    /// Print these fields, as in '${version} ${srcaddr} ${action}', in the order given
    #[arg(long, value_name = "FIELDS")]
    pub format: Option<LogFormat>,

    /// Which records.
    #[command(flatten)]
    pub filters: Filters,

    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,

    /// Print the fields' names first (text only: JSON names them in every line)
    #[arg(long)]
    pub header: bool,
}

impl Arguments {
    /// How errors are told: records have no place for them, a summary has.
    pub(super) fn errors(&self) -> super::Output {
        match &self.command {
            Some(Command::Summary(arguments)) => arguments.output.output,
            None => super::Output::Table,
        }
    }
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    Summary(summary::Arguments),
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl flows --header
  filter-ctl flows --action reject --interface-id eni-0a1b2c3d4e5f60718
  filter-ctl flows --address 198.51.100.0/24 --port 443 --since 10m
  filter-ctl flows --format '${start} ${srcaddr} ${dstport} ${action} ${filter-sg-rule}' --header
  filter-ctl flows --flow-log fl-0a1b2c3d4e5f60718 --follow
  filter-ctl flows --output json | jq -r 'select(.dstport == 22) | .srcaddr'
  filter-ctl flows summary --since 1h";

/// Runs the command on this host.
///
/// # Errors
///
/// If the records cannot be read or printed.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(Command::Summary(arguments)) = &arguments.command {
        return summary::run(arguments);
    }
    let places = Places::from_environment();
    let folder = Folder::of(&places);
    if beside::print(arguments, &places, &folder)? {
        return Ok(());
    }
    let printed = match Host::open() {
        Ok(host) => print(arguments, &folder, &mut HostSource::new(&host)),
        Err(error) => Err(error.into()),
    };
    match printed {
        // Perhaps only while we waited for another reader.
        Err(Error::Host(datapath::Error::NothingAttached)) if !arguments.follow => {
            print_kept(arguments, &folder)
        }
        printed => printed,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Host(error) => error.into(),
            Error::Busy(_) => Self::new(Exit::Conflict, error.to_string()),
            Error::UnknownLog { .. } => Self::new(Exit::NotFound, text::shown(&error.to_string())),
            Error::File { .. } | Error::Kernel { .. } | Error::Output(_) => {
                Self::new(Exit::System, error.to_string())
            }
        }
    }
}

/// Drains a kernel's side and prints.
fn print(arguments: &Arguments, folder: &Folder, source: &mut dyn Source) -> Result<()> {
    let lock = lock(folder)?;
    let attachments = source.attachments()?;
    let mut printer = Printer::to_stdout(arguments, &attachments)?;
    tell_unlogged(&arguments.filters.interface_id, &attachments);
    let mut collector = Collector::open(folder, lock, source)?;
    printer.header()?;
    if arguments.follow {
        if follow(&mut collector, &mut printer)? == End::Detached {
            output::note("nothing is attached any more");
        }
        return Ok(());
    }
    let (reader, dropped) = drain(collector)?;
    printer.spool(reader, dropped)
}

/// Brings everything that the kernel has counted to the spool. The lock ends here: a slow reader of
/// our output keeps nobody from draining the ring.
fn drain(mut collector: Collector<'_>) -> Result<(Reader, Dropped)> {
    collector.sweep(None, sweep_flags::OPEN_INTERVAL, &mut |_| {})?;
    collector.notes().iter().for_each(|note| output::note(note));
    Ok((collector.reader()?, collector.spool().dropped()))
}

/// Prints what was kept when there is nothing to drain.
fn print_kept(arguments: &Arguments, folder: &Folder) -> Result<()> {
    let mut printer = Printer::to_stdout(arguments, &[])?;
    let (reader, dropped) = kept(folder)?;
    printer.header()?;
    printer.spool(reader, dropped)
}

/// What was kept when there is nothing to drain.
fn kept(folder: &Folder) -> Result<(Reader, Dropped)> {
    output::note("nothing is attached; these are the records that were kept");
    let _lock = lock(folder)?;
    let spool = Spool::open(&folder.spool(), folder.limits())?;
    Ok((spool.reader()?, spool.dropped()))
}

fn lock(folder: &Folder) -> Result<Lock> {
    Lock::acquire(&folder.lock(), PATIENCE, |holder| {
        output::tell(&format!("waiting for {holder}, which reads the flow log\n"));
        true
    })
}

/// Says which of the wanted interfaces have no flow log: silence would look like no traffic.
fn tell_unlogged(wanted: &[String], attachments: &[Attachment]) {
    for Attachment { device, interface, interval, .. } in attachments {
        if (wanted.is_empty() || wanted.contains(&interface.id)) && interval.is_none() {
            output::note(&format!(
                "{} ({device}) is not logged: let a flow log of the policy cover it, or attach it with --log",
                text::shown(&interface.id)
            ));
        }
    }
    for id in wanted {
        if !attachments.iter().any(|attachment| attachment.interface.id == *id) {
            output::note(&format!("{id} is not attached"));
        }
    }
}

fn tell_gaps(reader: &Reader, dropped: Dropped) {
    let Dropped { records, packets, .. } = dropped;
    if records > 0 {
        output::note(&format!(
            "the spool was full: its {records} oldest records ({packets} packets) are gone"
        ));
    }
    reader.notes().iter().for_each(|note| output::note(note));
    if reader.unreadable() > 0 {
        output::note(&format!("{} lines of the spool could not be read", reader.unreadable()));
    }
}
