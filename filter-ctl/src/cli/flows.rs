//! `filter-ctl flows`: the flow log, as text or as JSON.

use std::{
    io::{self, BufWriter, Write},
    os::fd::{AsRawFd, RawFd},
    time::Duration,
};

use filter_common::abi::sweep_flags;

use super::{Exit, Failure, output};
use crate::{
    datapath::{self, Host, Places},
    flowlog::{
        Collector, Error, Folder, HostSource, Record, Result, Source,
        follow::{End, Sink, follow},
        format::{Format, Output},
        lock::Lock,
        record::{Action, Content},
        spool::{Dropped, Reader, Spool},
    },
    state::Attachment,
    text,
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

/// Runs the command on this host.
pub fn run(arguments: &Arguments) -> Result<()> {
    let folder = Folder::of(&Places::from_environment());
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
            Error::File { .. } | Error::Kernel { .. } | Error::Output(_) => {
                Self::new(Exit::System, error.to_string())
            }
        }
    }
}

/// Drains a kernel's side and prints.
pub fn print(arguments: &Arguments, folder: &Folder, source: &mut dyn Source) -> Result<()> {
    let mut printer = Printer::to_stdout(arguments);
    let lock = lock(folder)?;
    tell_unlogged(arguments, &source.attachments()?);
    let mut collector = Collector::open(folder, lock, source)?;
    printer.header()?;
    if arguments.follow {
        if follow(&mut collector, &mut printer)? == End::Detached {
            output::note("nothing is attached any more");
        }
        return Ok(());
    }
    collector.sweep(None, sweep_flags::OPEN_INTERVAL, &mut |_| {})?;
    collector.notes().iter().for_each(|note| output::note(note));
    let (reader, dropped) = (collector.reader()?, collector.spool().dropped());
    // The lock ends here: a slow reader of our output keeps nobody from draining the ring.
    drop(collector);
    printer.spool(reader, dropped)
}

/// Prints what was kept when there is nothing to drain.
fn print_kept(arguments: &Arguments, folder: &Folder) -> Result<()> {
    output::note("nothing is attached; these are the records that were kept");
    let mut printer = Printer::to_stdout(arguments);
    printer.header()?;
    let lock = lock(folder)?;
    let spool = Spool::open(&folder.spool(), folder.limits())?;
    let (reader, dropped) = (spool.reader()?, spool.dropped());
    drop((spool, lock));
    printer.spool(reader, dropped)
}

fn lock(folder: &Folder) -> Result<Lock> {
    Lock::acquire(&folder.lock(), PATIENCE, |holder| {
        output::tell(&format!("waiting for {holder}, which reads the flow log\n"));
        true
    })
}

/// Says which of the wanted interfaces have no flow log: silence would look like no traffic.
fn tell_unlogged(arguments: &Arguments, attachments: &[Attachment]) {
    for Attachment { device, interface, interval, .. } in attachments {
        let wanted = arguments.interface_id.is_empty() || arguments.interface_id.contains(&interface.id);
        if wanted && interval.is_none() {
            output::note(&format!(
                "{} ({device}) is not logged: let a flow log of the policy cover it, or attach it with --log",
                text::shown(&interface.id)
            ));
        }
    }
    for id in &arguments.interface_id {
        if !attachments.iter().any(|attachment| attachment.interface.id == *id) {
            output::note(&format!("{id} is not attached"));
        }
    }
}

/// Prints the records that are wanted.
struct Printer<'a> {
    arguments: &'a Arguments,
    format: Format,
    output: BufWriter<Box<dyn Write + 'a>>,
    /// What the output is, if its reader can go away.
    descriptor: Option<RawFd>,
}

impl<'a> Printer<'a> {
    fn to_stdout(arguments: &'a Arguments) -> Self {
        let stdout = io::stdout();
        let descriptor = Some(stdout.as_raw_fd());
        Self { descriptor, ..Self::new(arguments, stdout) }
    }

    fn new(arguments: &'a Arguments, output: impl Write + 'a) -> Self {
        let output = BufWriter::with_capacity(64 << 10, Box::new(output) as Box<dyn Write + 'a>);
        Self { arguments, format: Format::default_of(arguments.output), output, descriptor: None }
    }

    fn header(&mut self) -> Result<()> {
        if !self.arguments.header {
            return Ok(());
        }
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

    fn note(&mut self, note: &str) {
        output::note(note);
    }

    fn output(&self) -> Option<RawFd> {
        self.descriptor
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
        output::note(&format!(
            "the spool was full: its {records} oldest records ({packets} packets) are gone"
        ));
    }
    reader.notes().iter().for_each(|note| output::note(note));
    if reader.unreadable() > 0 {
        output::note(&format!("{} lines of the spool could not be read", reader.unreadable()));
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::flowlog::fake::{lost_record, record, resolve, resolved};

    type TestResult<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    /// What `flows` with some options prints of three records: one accepted, one rejected, one of losses.
    fn printed(options: &[&str]) -> TestResult<String> {
        let Command { arguments } = Command::try_parse_from([&["flows"], options].concat())?;
        let mut rejected = record(0);
        rejected.reason = 7;
        let place = tempfile::tempdir()?;
        let mut spool = Spool::open(place.path(), Default::default())?;
        spool.append(&[resolved(), resolve(&rejected), lost_record()])?;
        let mut output = Vec::new();
        let mut printer = Printer::new(&arguments, &mut output);
        printer.header()?;
        printer.spool(spool.reader()?, spool.dropped())?;
        drop(printer);
        Ok(String::from_utf8(output)?)
    }

    fn last_words(lines: &str) -> Vec<String> {
        let last_two = |line: &str| line.rsplitn(3, ' ').take(2).collect::<Vec<_>>().join(" ");
        lines.lines().map(last_two).collect()
    }

    #[test]
    fn all_of_the_spool_is_printed_without_a_header() -> TestResult {
        assert_eq!(last_words(&printed(&[])?), ["OK ACCEPT", "OK REJECT", "SKIPDATA -"]);
        Ok(())
    }

    #[test]
    fn an_action_selects_its_records_and_never_hides_losses() -> TestResult {
        assert_eq!(last_words(&printed(&["--action", "REJECT"])?), ["OK REJECT", "SKIPDATA -"]);
        assert_eq!(last_words(&printed(&["--action", "accept"])?), ["OK ACCEPT", "SKIPDATA -"]);
        assert!(printed(&["--action", "MAYBE"]).is_err());
        Ok(())
    }

    #[test]
    fn an_interface_selects_its_records() -> TestResult {
        assert_eq!(printed(&["--interface-id", "eni-0a9"])?, "");
        assert_eq!(printed(&["--interface-id", "eni-0a9", "--interface-id", "eni-0a1"])?, printed(&[])?);
        Ok(())
    }

    #[test]
    fn the_header_comes_once_and_never_before_json() -> TestResult {
        let text = printed(&["--header"])?;
        assert!(text.starts_with("version account-id interface-id srcaddr dstaddr srcport dstport "));
        assert_eq!(text.lines().count(), 4);
        let json = printed(&["--header", "--output", "json"])?;
        assert_eq!(json.lines().count(), 3);
        assert!(json.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        Ok(())
    }

    #[test]
    fn a_closed_pipe_is_no_error() -> TestResult {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let place = tempfile::tempdir()?;
        let mut spool = Spool::open(place.path(), Default::default())?;
        spool.append(&vec![resolved(); 2000])?;
        let arguments = Arguments::default();
        Printer::new(&arguments, Closed).spool(spool.reader()?, spool.dropped())?;
        Ok(())
    }
}
