//! How many events one `PutLogEvents` takes.
//!
//! Source: CloudWatch Logs API, `PutLogEvents`: at most 1,048,576 bytes, which is the sum of all messages in UTF-8
//! plus 26 bytes for each; at most 10,000 events; at most 24 hours from the first to the last; in
//! chronological order.

use crate::publish::Measure;

/// Bytes of one request.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Bytes that are counted for each event besides its message.
const OVERHEAD: usize = 26;
/// Events of one request.
const MAX_EVENTS: usize = 10_000;
/// Milliseconds from the first to the last event of one request.
const MAX_SPAN: i64 = 24 * 60 * 60 * 1000;

/// A record on its way.
pub(super) struct Event {
    /// Milliseconds since the Unix epoch.
    pub(super) time: i64,
    pub(super) text: String,
    pub(super) measure: Measure,
}

impl Event {
    /// Its bytes, as the service counts them.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

/// How many of the first of some events, which are in chronological order, fit into one request: at
/// least one.
pub(super) fn prefix(events: &[Event]) -> usize {
    let Some(first) = events.first() else { return 0 };
    let mut bytes = 0;
    let too_many = |event: &Event| {
        bytes += event.bytes();
        bytes > MAX_BYTES || event.time - first.time > MAX_SPAN
    };
    let most = events.len().min(MAX_EVENTS);
    events[..most].iter().position(too_many).unwrap_or(most).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(time: i64, bytes: usize) -> Event {
        let measure = Measure { start: 0, end: 0, records: 1, packets: 0, bytes: 0 };
        Event { time, text: "x".repeat(bytes), measure }
    }

    #[test]
    fn a_request_has_at_most_a_mebibyte_with_26_bytes_for_each_event() {
        let quarter = (1 << 18) - 26;
        let mut events: Vec<_> = (0..5).map(|_| event(0, quarter)).collect();
        assert_eq!(prefix(&events), 4);
        events[3] = event(0, quarter + 1);
        assert_eq!(prefix(&events), 3);
    }

    #[test]
    fn a_request_has_at_most_ten_thousand_events() {
        let events: Vec<_> = (0..10_001).map(|_| event(0, 1)).collect();
        assert_eq!(prefix(&events), 10_000);
        assert_eq!(prefix(&events[..9_999]), 9_999);
    }

    #[test]
    fn a_request_spans_at_most_a_day() {
        let day = 24 * 60 * 60 * 1000;
        let events = [event(5, 1), event(5 + day, 1), event(6 + day, 1)];
        assert_eq!(prefix(&events), 2);
    }

    #[test]
    fn one_that_is_too_large_goes_alone() {
        assert_eq!(prefix(&[event(0, 2 << 20), event(0, 1)]), 1);
        assert_eq!(prefix(&[]), 0);
    }
}
