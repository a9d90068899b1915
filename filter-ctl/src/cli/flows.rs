//! `filter-ctl flows`: the flow log, as text or as JSON.

use std::{
    io::{self, BufWriter, Stdout, Write},
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use filter_common::abi::sweep_flags;

use crate::{
    flowlog::{
        Collector, Error, Folder, Record, Result, Source,
        follow::{Sink, follow},
        format::{Format, Output},
        lock::Lock,
        record::{Action, Content},
        spool::{Dropped, Reader},
    },
    state::Attachment,
};

/// How long a second reader waits for the first.
const PATIENCE: Duration = Duration::from_secs(5);

/// Print flow records: accepted and rejected traffic, in AWS's format.
///
/// Hands over what the kernel has counted until now, keeps all of it in the spool (a bounded
/// folder: /run/filter/spool, 64 MiB), and prints what matches. A second call prints the same
/// records again.
///
/// An interface is logged where a flow log of the policy covers it, or where it was attached with
/// `--log`.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Print records as they come, until Ctrl-C; ended intervals only, and not those that the
    /// spool already holds. Meanwhile nobody else can read the flow log
    #[arg(long, short)]
    pub follow: bool,

    /// Only this network interface's (may be repeated)
    #[arg(long, value_name = "eni-…")]
    pub interface_id: Vec<String>,

    /// Only accepted or only rejected traffic; what was lost (SKIPDATA) is always told
    #[arg(long, value_enum, ignore_case = true)]
    pub action: Option<Action>,

    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,

    /// Print the fields' names first (text only: JSON names them in every line)
    #[arg(long)]
    pub header: bool,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl flows --header
  filter-ctl flows --action reject --interface-id eni-0a1b2c3d4e5f60718
  filter-ctl flows --output json | jq -r 'select(.dstport == 22) | .srcaddr'
  filter-ctl flows --follow --output json";

impl Arguments {
    /// Whether a record is to be printed. A loss is told whatever the action asked for: the lost
    /// packets may have been of that one.
    fn want(&self, record: &Record) -> bool {
        let interface = self.interface_id.is_empty()
            || self.interface_id.iter().any(|id| record.interface_id.as_ref() == Some(id));
        let action = match (&record.content, self.action) {
            (Content::Flow(flow), Some(action)) => flow.action() == action,
            (Content::Idle | Content::Lost(_), _) | (_, None) => true,
        };
        interface && action
    }
}

/// Runs the command on a kernel's side; `None` if nothing is attached: then the spool is all there is.
pub fn print(arguments: &Arguments, folder: &Folder, source: Option<&mut dyn Source>) -> Result<()> {
    let mut printer = Printer::new(arguments);
    let lock = Lock::acquire(&folder.lock(), PATIENCE, |holder| {
        let holder = holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        eprintln!("waiting for {holder}, which reads the flow log");
    })?;
    let mut collector = Collector::open(folder, lock)?;
    if arguments.header {
        printer.header()?;
    }
    let Some(source) = source else {
        eprintln!("note: nothing is attached; these are the records that were kept");
        return printer.spool(collector.reader()?, collector.spool().dropped());
    };
    tell_unlogged(arguments, &source.attachments()?);
    if arguments.follow {
        return follow(&mut collector, source, &mut printer);
    }
    collector.sweep(source, None, sweep_flags::OPEN_INTERVAL, &mut |_| {})?;
    let (reader, dropped) = (collector.reader()?, collector.spool().dropped());
    // The lock ends here: a slow reader of our output keeps nobody from draining the ring.
    drop(collector);
    printer.spool(reader, dropped)
}

/// Says which of the wanted interfaces have no flow log: silence would look like no traffic.
fn tell_unlogged(arguments: &Arguments, attachments: &[Attachment]) {
    for Attachment { device, interface, interval, .. } in attachments {
        let wanted = arguments.interface_id.is_empty() || arguments.interface_id.contains(&interface.id);
        if wanted && interval.is_none() {
            eprintln!(
                "note: {} ({device}) is not logged: let a flow log of the policy cover it, or attach it with --log",
                interface.id
            );
        }
    }
    for id in &arguments.interface_id {
        if !attachments.iter().any(|attachment| attachment.interface.id == *id) {
            eprintln!("note: {id} is not attached");
        }
    }
}

/// Prints the records that are wanted.
struct Printer<'a> {
    arguments: &'a Arguments,
    format: Format,
    output: BufWriter<Stdout>,
}

impl<'a> Printer<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        let output = BufWriter::with_capacity(64 << 10, io::stdout());
        Self { arguments, format: Format::default_of(arguments.output), output }
    }

    fn header(&mut self) -> Result<()> {
        let written = self.format.write_header(&mut self.output).and_then(|()| self.output.flush());
        listening(written).map(|_| ())
    }

    fn spool(&mut self, mut reader: Reader, dropped: Dropped) -> Result<()> {
        for record in reader.by_ref() {
            let record = record?;
            if self.arguments.want(&record) && !listening(self.format.write(&record, &mut self.output))? {
                return Ok(());
            }
        }
        if listening(self.output.flush())? {
            tell_gaps(&reader, dropped);
        }
        Ok(())
    }
}

impl Sink for Printer<'_> {
    fn accept(&mut self, records: &[Record]) -> io::Result<()> {
        for record in records.iter().filter(|record| self.arguments.want(record)) {
            self.format.write(record, &mut self.output)?;
        }
        self.output.flush()
    }

    fn output(&self) -> Option<RawFd> {
        Some(self.output.get_ref().as_raw_fd())
    }
}

/// Whether anybody listens; other errors than a closed pipe remain errors.
fn listening(written: io::Result<()>) -> Result<bool> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::Output(error)),
    }
}

fn tell_gaps(reader: &Reader, dropped: Dropped) {
    let Dropped { records, packets, .. } = dropped;
    if records > 0 {
        eprintln!("note: the spool was full: its {records} oldest records ({packets} packets) are gone");
    }
    if reader.unreadable() > 0 {
        eprintln!("note: {} lines of the spool could not be read", reader.unreadable());
    }
}
