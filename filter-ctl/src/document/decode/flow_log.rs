//! `FlowLogs`.

use super::{Decoder, Object};
use crate::document::{
    diagnostic::Severity,
    model::{FlowLog, PlacedFlowLog, Spanned, TrafficType},
};

/// `MaxAggregationInterval` when it is absent (API reference, `CreateFlowLogs`).
const DEFAULT_INTERVAL: u32 = 600;

pub(super) const FIELDS: &[&str] = &[
    "FlowLogId",
    "ResourceId",
    "TrafficType",
    "LogFormat",
    "MaxAggregationInterval",
    "FlowLogStatus",
    "Tags",
];

impl Decoder<'_> {
    pub(super) fn flow_log(&mut self, object: &Object<'_>) {
        self.misspelt(object, Severity::Error, FIELDS);
        self.tags(object, "Tags");
        let place = self.place(object);
        let id = self.own_id(object, "FlowLogId", "fl");
        let resource =
            self.text(object, "ResourceId").map(|text| Spanned { value: text.value.to_owned(), at: text.at });
        let traffic = self.traffic_type(object);
        let interval = self.interval(object);
        let format = self.log_format(object);
        let active = self.owned(object, "FlowLogStatus").is_none_or(|status| status == "ACTIVE");
        let log = FlowLog { id, resource_id: String::new(), traffic, interval, format };
        self.model.flow_logs.push(PlacedFlowLog { place, log, resource, active });
    }

    fn traffic_type(&mut self, object: &Object<'_>) -> TrafficType {
        let Some(text) = self.text(object, "TrafficType") else { return TrafficType::All };
        match text.value {
            "ALL" => TrafficType::All,
            "ACCEPT" => TrafficType::Accept,
            "REJECT" => TrafficType::Reject,
            other => {
                let message = format!("`{other}` is no traffic type");
                self.error("bad-traffic-type", text.at.span, "TrafficType", message).expected =
                    Some("ACCEPT, REJECT or ALL".to_owned());
                TrafficType::All
            }
        }
    }

    /// AWS has 60 and 600. Shorter ones are for tests; longer intervals are put together from
    /// shorter ones, so an interval must fit into 600 a whole number of times.
    fn interval(&mut self, object: &Object<'_>) -> u32 {
        const NAME: &str = "MaxAggregationInterval";
        let Some(interval) = self.integer(object, NAME, 1, 600) else { return DEFAULT_INTERVAL };
        let seconds = interval.value as u32;
        if !600u32.is_multiple_of(seconds) {
            let message = format!("600 is no multiple of {seconds}");
            self.error("bad-interval", interval.at.span, NAME, message).expected =
                Some("60 or 600; for tests also a shorter divisor of 600".to_owned());
        }
        seconds
    }

    /// `${field}` tokens with spaces between them. Which fields there are, the flow log knows.
    fn log_format(&mut self, object: &Object<'_>) -> Option<String> {
        let text = self.text(object, "LogFormat")?;
        let well_formed = |token: &str| {
            token.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).is_some_and(|name| {
                let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
                !name.is_empty() && name.bytes().all(letter)
            })
        };
        let mut tokens = text.value.split_ascii_whitespace().peekable();
        let wrong = if tokens.peek().is_none() { Some("") } else { tokens.find(|token| !well_formed(token)) };
        if let Some(token) = wrong {
            let message = format!("`{token}` is no field of a flow log's format");
            self.error("bad-log-format", text.at.span, "LogFormat", message).expected =
                Some("fields as in ${version} ${srcaddr} ${action}, with spaces between them".to_owned());
        }
        Some(text.value.to_owned())
    }
}
