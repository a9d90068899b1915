//! Printing the records that are wanted.

use std::{
    io::{self, BufWriter, Write},
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
};

use super::{Arguments, tell_gaps};
use crate::{
    cli::output,
    flowlog::{
        Error, Record, Result,
        fields::Row,
        follow::Sink,
        format::Format,
        spool::{Dropped, Reader},
        subscription::{LogRecord, Subscriptions},
    },
    policy::FlowLog,
    state::{ActiveLog, Attachment},
};

/// Prints the records that are wanted.
pub(super) struct Printer<'a> {
    arguments: &'a Arguments,
    format: Format,
    output: BufWriter<Box<dyn Write + 'a>>,
    /// What the output is, if its reader can go away.
    descriptor: Option<RawFd>,
    /// The flow log whose records are asked for; `None`: the records as they are kept.
    log: Option<Subscriptions>,
}

impl<'a> Printer<'a> {
    /// # Errors
    ///
    /// If a flow log is asked for that covers none of the attached interfaces.
    pub(super) fn to_stdout(arguments: &'a Arguments, attachments: &[Attachment]) -> Result<Self> {
        let stdout = io::stdout();
        let descriptor = Some(stdout.as_raw_fd());
        Ok(Self { descriptor, ..Self::new(arguments, attachments, stdout)? })
    }

    pub(super) fn new(
        arguments: &'a Arguments,
        attachments: &[Attachment],
        output: impl Write + 'a,
    ) -> Result<Self> {
        let log = arguments.flow_log.as_ref().map(|id| covering(id, attachments)).transpose()?;
        let asked = arguments.format.as_ref();
        let of_log = log.as_ref().map(|log| &log.format);
        let format = match asked.or(of_log) {
            Some(format) => Format::of(arguments.output, format.clone()),
            None => Format::default_of(arguments.output),
        };
        let output = BufWriter::with_capacity(64 << 10, Box::new(output) as Box<dyn Write + 'a>);
        let log = log.is_some().then(Subscriptions::default);
        let mut printer = Self { arguments, format, output, descriptor: None, log };
        printer.cover(attachments).map_err(Error::Output)?;
        Ok(printer)
    }

    /// Prints the names of the fields, if they are asked for.
    pub(super) fn header(&mut self) -> Result<()> {
        if !self.arguments.header {
            return Ok(());
        }
        let written = self.format.write_header(&mut self.output).and_then(|()| self.output.flush());
        listening(written).map(|_| ())
    }

    /// Prints what was kept.
    pub(super) fn spool(&mut self, mut reader: Reader, dropped: Dropped) -> Result<()> {
        for record in reader.by_ref() {
            let record = record?;
            if !listening(self.take(&record, |log, record, emit| log.stream(record, emit)))? {
                return Ok(());
            }
        }
        if listening(self.with_log(|log, emit| log.finish(emit)))? && listening(self.output.flush())? {
            tell_gaps(&reader, dropped);
        }
        Ok(())
    }

    /// Prints a record, or has the flow log take it.
    fn take(
        &mut self,
        record: &Record,
        take: impl FnOnce(&mut Subscriptions, &Record, Emit<'_>),
    ) -> io::Result<()> {
        if self.log.is_none() {
            return write(record, record, self.arguments, &self.format, &mut self.output);
        }
        self.with_log(|log, emit| take(log, record, emit))
    }

    /// Does something with the flow log, if one is asked for, and prints what it gives out.
    fn with_log(&mut self, work: impl FnOnce(&mut Subscriptions, Emit<'_>)) -> io::Result<()> {
        let Self { arguments, format, output, log, .. } = self;
        let Some(log) = log else { return Ok(()) };
        let mut written = Ok(());
        work(log, &mut |_, one: LogRecord| {
            if written.is_ok() {
                written = write(&one.record, &one, arguments, format, output);
            }
        });
        written
    }

    /// Learns which interfaces the flow log covers.
    fn cover(&mut self, attachments: &[Attachment]) -> io::Result<()> {
        let wanted = self.arguments.flow_log.as_deref();
        let logs: Vec<Vec<ActiveLog>> = attachments
            .iter()
            .map(|known| known.flow_logs.iter().filter(|one| Some(&*one.log.id) == wanted).cloned().collect())
            .collect();
        let covered = attachments.iter().map(|known| &known.interface).zip(logs.iter().map(Vec::as_slice));
        self.with_log(|log, emit| log.learn(covered, emit))
    }
}

type Emit<'e> = &'e mut dyn FnMut(&Arc<FlowLog>, LogRecord);

/// The flow log with an id.
fn covering<'l>(id: &str, attachments: &'l [Attachment]) -> Result<&'l FlowLog> {
    let logs = || attachments.iter().flat_map(|known| &known.flow_logs).map(|one| &one.log);
    logs().find(|log| log.id == id).ok_or_else(|| {
        let mut known: Vec<_> = logs().map(|log| log.id.clone()).collect();
        known.sort_unstable();
        known.dedup();
        Error::UnknownLog { wanted: id.to_owned(), known }
    })
}

/// Writes a record's row, if the record is wanted.
fn write(
    record: &Record,
    row: &dyn Row,
    arguments: &Arguments,
    format: &Format,
    output: &mut dyn Write,
) -> io::Result<()> {
    if arguments.filters.want(record) { format.write(row, output) } else { Ok(()) }
}

impl Sink for Printer<'_> {
    fn accept(&mut self, records: &[Record]) -> io::Result<()> {
        for record in records {
            self.take(record, |log, record, emit| log.accept(record, emit))?;
        }
        self.output.flush()
    }

    fn complete(&mut self, interface_id: &str, until: u64) -> io::Result<()> {
        self.with_log(|log, emit| log.complete(interface_id, until, emit))?;
        self.output.flush()
    }

    fn learn(&mut self, attachments: &[Attachment]) -> io::Result<()> {
        self.cover(attachments)?;
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::flowlog::{
        fake::{attachment, lost_record, record, resolve, resolved},
        spool::Spool,
    };
    use crate::policy::TrafficType;

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
        let mut printer = Printer::new(&arguments, &[], &mut output)?;
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
    fn a_flow_logs_records_are_its_own_and_an_unknown_one_is_told() -> TestResult {
        let log = |id: &str, traffic| ActiveLog {
            since: 0,
            log: FlowLog {
                id: id.to_owned(),
                resource_id: "eni-0a1".to_owned(),
                traffic,
                interval: 60,
                format: "${action} ${packets} ${version}".parse().unwrap_or_default(),
                destination: Default::default(),
                tag_keys: Vec::new(),
            },
        };
        let flow_logs = vec![log("fl-1", TrafficType::Reject), log("fl-2", TrafficType::All)];
        let attached = [Attachment { flow_logs, ..attachment(0, "eni-0a1") }];
        let print = |options: &[&str]| -> TestResult<String> {
            let Command { arguments } = Command::try_parse_from([&["flows"], options].concat())?;
            let place = tempfile::tempdir()?;
            let mut spool = Spool::open(place.path(), Default::default())?;
            let mut rejected = record(0);
            rejected.reason = 7;
            spool.append(&[resolved(), resolved(), resolve(&rejected)])?;
            let mut output = Vec::new();
            let mut printer = Printer::new(&arguments, &attached, &mut output)?;
            printer.header()?;
            printer.spool(spool.reader()?, spool.dropped())?;
            drop(printer);
            Ok(String::from_utf8(output)?)
        };
        assert_eq!(print(&["--flow-log", "fl-1"])?, "REJECT 12 2\n");
        assert_eq!(
            print(&["--flow-log", "fl-2", "--header"])?,
            "action packets version\nACCEPT 24 2\nREJECT 12 2\n"
        );
        assert_eq!(print(&["--flow-log", "fl-2", "--format", "${bytes}", "--action", "accept"])?, "4820\n");
        let unknown = print(&["--flow-log", "fl-3"]).map_err(|error| error.to_string());
        let expected =
            "no attached interface is covered by a flow log fl-3; they are covered by fl-1, fl-2".to_owned();
        assert_eq!(unknown, Err(expected));
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
        Printer::new(&arguments, &[], Closed)?.spool(spool.reader()?, spool.dropped())?;
        Ok(())
    }
}
