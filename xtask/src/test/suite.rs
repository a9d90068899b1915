//! Running one suite: its output is shown as it comes, its closing lines are counted.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::shell;

/// How a suite ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
    pub(crate) time: Duration,
}

/// After this an ordinary suite hangs: it is ended, and has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(15 * 60);

pub(crate) fn run(command: &mut Command, limit: Duration) -> Result<Outcome> {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", shell::describe(command)))?;
    let lines = lines(child.stdout.take().context("a test program has no standard output")?);
    let mut outcome = Outcome::default();
    // The channel closes when everybody who has the suite's output has ended.
    loop {
        match lines.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                println!("{line}");
                outcome.count(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                eprintln!("error: ended after {}: it hangs", shell::seconds(limit));
                outcome.time = start.elapsed();
                return Ok(outcome);
            }
        }
    }
    outcome.success = child.wait()?.success();
    outcome.time = start.elapsed();
    Ok(outcome)
}

/// The lines of an output as they come, so that waiting for the next one can be bounded.
pub(crate) fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()).is_err() {
                return;
            }
        }
    });
    lines
}

impl Outcome {
    /// Adds up lines like `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; …`.
    pub(crate) fn count(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for count in counts.1.split("; ") {
            let mut words = count.split(' ');
            let (Some(Ok(number)), Some(kind)) = (words.next().map(str::parse::<usize>), words.next()) else {
                continue;
            };
            match kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn closing_lines_are_added_up() {
        let mut outcome = Outcome::default();
        outcome.count(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s",
        );
        outcome.count("test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        outcome.count("test parses ... ok");
        assert_eq!((outcome.passed, outcome.failed, outcome.ignored), (14, 3, 1));
    }
}
