//! Printing: tables for people, one object for programs.

use std::{
    io::{self, Write},
    sync::OnceLock,
    time::Duration,
};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::Value;

use super::{Exit, Failure};
use crate::text;

/// `--output`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// One JSON object.
    Json,
}

/// Why something could not be printed.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Prints text. A reader that has gone away is no error of ours; any other is kept for
/// [`failure`], as what the command does is more than what it says.
pub(super) fn print(text: &str) {
    let mut out = io::stdout().lock();
    if let Some(error) = refusal(out.write_all(text.as_bytes()).and_then(|()| out.flush())) {
        let _ = FAILED.set(error);
    }
}

/// The failure to print, if there was one.
pub(super) fn failure() -> Option<Failure> {
    FAILED.get().map(unwritten)
}

/// A failure to write to standard output.
pub(super) fn unwritten(error: &io::Error) -> Failure {
    Failure::new(Exit::System, format!("write to standard output: {error}"))
}

/// An error of writing, unless it is only that nobody reads any more.
pub(super) fn refusal(written: io::Result<()>) -> Option<io::Error> {
    written.err().filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
}

/// Prints one JSON object.
pub(super) fn print_json(value: &Value) {
    print(&format!("{value:#}\n"));
}

/// A remark for people; never on standard output, which programs read.
pub(super) fn note(text: &str) {
    tell(&format!("note: {text}\n"));
}

/// Tells people something. As with [`print()`], that nobody listens is no error: `eprintln!` would
/// panic, and take the exit code with it.
pub(super) fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A table without borders; the columns named in `numbers` are aligned to the right.
#[must_use]
pub(super) fn table<const N: usize>(header: [&str; N], numbers: &[usize], rows: &[[String; N]]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| text::shown(cell)));
    }
    for number in numbers {
        if let Some(column) = table.column_mut(*number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // The preset pads every line to the table's width, which terminals wrap.
    table.to_string().lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// A duration in its two largest units: `3d 4h`, `12m 5s`, `0s`.
#[must_use]
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, length)| seconds >= *length).unwrap_or(3);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, length) in units.iter().skip(first).take(2) {
        if rest >= *length || parts.is_empty() {
            parts.push(format!("{}{name}", rest / length));
        }
        rest %= length;
    }
    parts.join(" ")
}

/// A count with its noun: `1 rule`, `2 rules`.
#[must_use]
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_two_units() {
        let shown = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(shown(0), "0s");
        assert_eq!(shown(59), "59s");
        assert_eq!(shown(725), "12m 5s");
        assert_eq!(shown(3_600), "1h");
        assert_eq!(shown(432_000), "5d");
        assert_eq!(shown(90_061), "1d 1h");
    }

    #[test]
    fn only_a_reader_that_has_gone_is_no_failure() {
        assert!(refusal(Ok(())).is_none());
        assert!(refusal(Err(io::ErrorKind::BrokenPipe.into())).is_none());
        assert!(refusal(Err(io::ErrorKind::StorageFull.into())).is_some());
    }

    #[test]
    fn a_cell_commands_no_terminal() {
        let text = table(["A"], &[], &[["eni-\u{1b}]0;title\u{7}\nx".into()]]);
        assert!(text.contains(r"eni-\u{1b}]0;title\u{7}\nx"), "{text}");
    }

    #[test]
    fn tables_have_no_trailing_blanks() {
        let text = table(["A", "N"], &[1], &[["x".into(), "12".into()], ["longer".into(), "3".into()]]);
        assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
        assert_eq!(text.lines().count(), 3);
    }
}
