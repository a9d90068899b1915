//! Standard output and UNIX sockets as destinations, a line for each record, for Vector, Fluent Bit, Loki's
//! and others' agents to read.
//!
//! A connection that breaks is made anew, and the line that it broke in is sent again. What the other end has
//! received but not yet read when it goes, nobody can know: it counts as delivered.

use std::{
    io::{self, ErrorKind},
    path::PathBuf,
    time::Duration,
};

use serde::Serializer;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, Stdout, stdout},
    net::UnixStream,
    time,
};

use super::{Batch, BatchRow, Destination, Error, Trouble, Turn, text::write_line};
use crate::flowlog::logformat::LogFormat;

/// How long the other end may take nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lines {
    /// Words, in the order of the format; `-` where there is no value.
    #[default]
    Text,
    /// A JSON object: names with `_` for `-`, numbers as numbers, `null` where there is no value.
    Json,
}

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// This process's standard output.
    Stdout,
    /// A UNIX stream socket that somebody listens at.
    Unix(PathBuf),
}

/// Writes lines.
#[derive(Debug)]
pub struct Stream {
    target: Target,
    lines: Lines,
    connection: Option<Connection>,
    /// Whole lines that are not written yet, but for the first `sent` bytes.
    pending: Vec<u8>,
    sent: usize,
    /// Where the source of records stood before and after what is pending.
    after: u64,
    position: u64,
}

#[derive(Debug)]
enum Connection {
    Stdout(Stdout),
    Unix(UnixStream),
}

impl Stream {
    /// A target, for records after the place `position` of their source.
    #[must_use]
    pub const fn new(target: Target, lines: Lines, position: u64) -> Self {
        Self { target, lines, connection: None, pending: Vec::new(), sent: 0, after: position, position }
    }

    async fn write(&mut self) -> io::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(self.target.connect().await?),
        };
        while self.sent < self.pending.len() {
            let rest = &self.pending[self.sent..];
            let written = match connection {
                Connection::Stdout(output) => patiently(write_all(output, rest)).await?,
                Connection::Unix(socket) => patiently(socket.write(rest)).await?,
            };
            if written == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            self.sent += written;
        }
        Ok(())
    }

    /// Goes back to the start of the line that was being sent.
    fn rewind(&mut self) {
        let sent = &self.pending[..self.sent];
        let start = sent.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        self.pending.drain(..start);
        self.sent = 0;
        self.connection = None;
    }
}

impl Destination for Stream {
    fn take(&mut self, batch: &Batch, _: &mut Turn<'_>) {
        for row in batch.rows() {
            // A vector takes everything.
            let _ = match self.lines {
                Lines::Text => write_line(&row, &mut self.pending),
                Lines::Json => write_json(batch.format(), &row, &mut self.pending),
            };
        }
        self.position = batch.position();
    }

    async fn send(&mut self, _: &mut Turn<'_>) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        match self.write().await {
            Ok(()) => {
                self.pending.clear();
                self.sent = 0;
                self.after = self.position;
                Ok(())
            }
            Err(error) => {
                self.rewind();
                let trouble = match error.kind() {
                    ErrorKind::PermissionDenied => Trouble::Access,
                    _ => Trouble::Unknown,
                };
                Err(Error::new(format!("write to {}", self.target), trouble, error))
            }
        }
    }

    fn durable(&self) -> u64 {
        self.after
    }
}

impl Target {
    async fn connect(&self) -> io::Result<Connection> {
        match self {
            Self::Stdout => Ok(Connection::Stdout(stdout())),
            Self::Unix(path) => Ok(Connection::Unix(patiently(UnixStream::connect(path)).await?)),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => to.write_str("standard output"),
            Self::Unix(path) => write!(to, "{}", path.display()),
        }
    }
}

/// Writes all of some bytes, so that they are out and not in a buffer.
async fn write_all(output: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<usize> {
    output.write_all(bytes).await?;
    output.flush().await?;
    Ok(bytes.len())
}

async fn patiently<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

fn write_json(format: &LogFormat, row: &BatchRow<'_>, to: &mut Vec<u8>) -> io::Result<()> {
    let columns = format.fields().iter().map(|field| field.column());
    serde_json::Serializer::new(&mut *to).collect_map(columns.zip(row.values()))?;
    to.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{
        io::{AsyncBufReadExt, AsyncReadExt, BufReader},
        net::UnixListener,
    };

    use super::*;
    use crate::{
        flowlog::{
            Record,
            fake::{TestResult, lost_record, resolved},
        },
        publish::{Due, Limits, Losses, Publisher},
    };

    fn numbered(start: u64) -> Record {
        Record { start, end: start, ..resolved() }
    }

    fn publisher(target: Target, lines: Lines, format: &str) -> TestResult<Publisher> {
        let tick = Duration::from_millis(20);
        let limits = Limits { tick, longest_wait: tick, ..Limits::default() };
        Ok(Publisher::start("fl-1", format.parse()?, 60, 0, limits, Stream::new(target, lines, 0))?)
    }

    #[tokio::test]
    async fn a_socket_gets_lines_of_text() -> TestResult {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path)?;
        let mut publisher = publisher(Target::Unix(path), Lines::Text, "${start} ${srcaddr} ${log-status}")?;
        publisher.publish(&numbered(7), 1);
        publisher.publish(&lost_record(), 2);
        let summary = publisher.finish(Duration::from_secs(60)).await;
        assert_eq!((summary.left, summary.progress.durable), (0, 2));
        let mut text = String::new();
        listener.accept().await?.0.read_to_string(&mut text).await?;
        assert_eq!(text, "7 198.51.100.7 OK\n1700000010 - SKIPDATA\n");
        Ok(())
    }

    #[tokio::test]
    async fn json_lines_have_numbers_and_null() -> TestResult {
        let mut batch = Batch::new(Arc::new("${dstport} ${pkt-srcaddr} ${log-status}".parse()?), 0);
        assert!(batch.push(&resolved(), 1) && batch.push(&lost_record(), 2));
        let mut lines = Vec::new();
        for row in batch.rows() {
            write_json(batch.format(), &row, &mut lines)?;
        }
        let expected = concat!(
            r#"{"dstport":22,"pkt_srcaddr":"198.51.100.7","log_status":"OK"}"#,
            "\n",
            r#"{"dstport":null,"pkt_srcaddr":null,"log_status":"SKIPDATA"}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(lines)?, expected);
        Ok(())
    }

    #[tokio::test]
    async fn a_reader_that_comes_back_gets_the_rest_in_whole_lines() -> TestResult {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("socket");
        let mut publisher = publisher(Target::Unix(path.clone()), Lines::Text, "${start}")?;
        // Nobody listens yet.
        publisher.publish(&numbered(1), 1);
        publisher.flush();
        while publisher.progress().failures == 0 {
            time::sleep(Duration::from_millis(5)).await;
        }
        let error = publisher.progress().error.unwrap_or_default();
        assert!(error.starts_with("cannot write to /") && error.contains("No such file"), "{error}");

        let listener = UnixListener::bind(&path)?;
        let mut reader = BufReader::new(listener.accept().await?.0);
        let mut line = String::new();
        reader.read_line(&mut line).await?;
        assert_eq!(line, "1\n");
        drop(reader);

        for start in 2..=9 {
            publisher.publish(&numbered(start), start);
        }
        let end = tokio::spawn(publisher.finish(Duration::from_secs(60)));
        let mut text = String::new();
        listener.accept().await?.0.read_to_string(&mut text).await?;
        assert_eq!(text, "2\n3\n4\n5\n6\n7\n8\n9\n");
        assert_eq!(end.await?.left, 0);
        Ok(())
    }

    #[tokio::test]
    async fn a_connection_that_breaks_within_a_line_sends_it_again() -> TestResult {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path)?;
        let mut stream = Stream::new(Target::Unix(path), Lines::Text, 0);
        // More than the socket's buffers hold, so that some line is cut.
        let mut batch = Batch::new(Arc::new("${start} ${account-id} ${vpc-id} ${interface-id}".parse()?), 0);
        assert!((0..50_000).all(|start| batch.push(&numbered(start), start)));
        let mut losses = Losses::new(60);
        let mut turn = Turn::new(0, Due::Elapsed, &mut losses);
        stream.take(&batch, &mut turn);

        let (first, sent) = tokio::join!(
            async {
                let mut reader = listener.accept().await?.0;
                let mut bytes = vec![0; 100_003];
                reader.read_exact(&mut bytes).await?;
                Ok::<_, io::Error>(bytes)
            },
            stream.send(&mut turn)
        );
        assert!(sent.is_err() && stream.durable() == 0);
        let whole = first?.iter().filter(|&&byte| byte == b'\n').count();

        let (second, sent) = tokio::join!(
            async {
                let mut reader = BufReader::new(listener.accept().await?.0).lines();
                let (mut lines, last) = (Vec::new(), "49999 111122223333 vpc-0b2 eni-0a1");
                while let Some(line) = reader.next_line().await? {
                    lines.push(line);
                    if lines.last().is_some_and(|line| line == last) {
                        break;
                    }
                }
                Ok::<_, io::Error>(lines)
            },
            stream.send(&mut turn)
        );
        sent?;
        let second = second?;
        let numbers = second.iter().map(|line| line.split(' ').next()?.parse().ok());
        let numbers: Vec<u64> = numbers.collect::<Option<_>>().ok_or("a line is torn")?;
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "in order, none left out");
        // What the reader left in the socket when it went is gone with it.
        assert!(numbers[0] >= whole as u64, "{} after {whole}", numbers[0]);
        Ok(())
    }
}
