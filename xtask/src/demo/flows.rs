//! The flow log: what it must say of the traffic that was sent, and what it says.

use std::net::IpAddr;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::story::Story;
use crate::lab::{Host, Lab};

/// The interval that the example policy's flow log asks for, in seconds.
const INTERVAL: u64 = 60;

/// A line that must be there.
#[derive(Debug)]
pub(super) struct Expected {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) port: u16,
    pub(super) protocol: u8,
    pub(super) accepted: bool,
}

/// Seconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Waits until the interval is over, shows its lines and looks for those that must be there.
pub(super) fn show(story: &mut Story, lab: &Lab, expected: &[Expected], begin: u64) -> Result<()> {
    let wait = INTERVAL + 1 - now() % INTERVAL;
    story.step("filter-ctl flows");
    story.note(&format!("(the flow log's interval is {INTERVAL} s: waiting {wait} s until it ends)"));
    thread::sleep(Duration::from_secs(wait));
    let mut lines = lab.filter.flows()?;
    // Records leave in no particular order.
    lines.sort_by_key(|line| Line::parse(line).map_or(0, |line| line.start));
    story.note("version account interface source destination sport dport protocol packets bytes start end action status");
    for line in &lines {
        story.note(line);
    }
    let parsed: Vec<Line> = lines.iter().filter_map(|line| Line::parse(line)).collect();
    let missing: Vec<&Expected> =
        expected.iter().filter(|wanted| !parsed.iter().any(|line| line.is(wanted))).collect();
    let found = expected.len() - missing.len();
    story.expect(missing.is_empty(), &format!("{found} of {} attempts are in the flow log", expected.len()));
    for wanted in missing {
        story.note(&format!("missing: {wanted:?}"));
    }
    let replies =
        parsed.iter().filter(|line| line.source == Host::Workload.address(crate::lab::Family::V4)).count();
    story.expect(replies > 0, "answers are lines of their own, in the other direction");
    // The kernel's clock and the wall clock may differ by a tick.
    let older = parsed.iter().any(|line| line.start + 2 < begin);
    story.expect(!older, "no line is older than the filter");
    Ok(())
}

/// The fields of a line in the default format that the demo looks at.
struct Line {
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    protocol: u8,
    start: u64,
    accepted: bool,
}

impl Line {
    /// None for lines without addresses (`NODATA`, `SKIPDATA`).
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(' ').collect();
        Some(Self {
            source: fields.get(3)?.parse().ok()?,
            destination: fields.get(4)?.parse().ok()?,
            port: fields.get(6)?.parse().ok()?,
            protocol: fields.get(7)?.parse().ok()?,
            start: fields.get(10)?.parse().ok()?,
            accepted: *fields.get(12)? == "ACCEPT",
        })
    }

    fn is(&self, wanted: &Expected) -> bool {
        self.source == wanted.source
            && self.destination == wanted.destination
            && self.port == wanted.port
            && self.protocol == wanted.protocol
            && self.accepted == wanted.accepted
    }
}

#[cfg(test)]
mod tests {
    use super::{Expected, Line};

    #[test]
    fn a_line_of_the_default_format_is_understood() {
        let text = "2 111122223333 eni-0a1 198.51.100.7 10.0.1.20 40022 22 6 12 2410 1700000010 1700000061 ACCEPT OK";
        let line = Line::parse(text).expect("a full line");
        let wanted = Expected {
            source: [198, 51, 100, 7].into(),
            destination: [10, 0, 1, 20].into(),
            port: 22,
            protocol: 6,
            accepted: true,
        };
        assert!(line.is(&wanted));
        assert!(Line::parse("2 111122223333 eni-0a1 - - - - - - - 1700000000 1700000058 - NODATA").is_none());
    }
}
