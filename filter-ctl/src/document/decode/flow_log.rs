//! `FlowLogs`.

use super::{Decoder, Object};
use crate::{
    closest::closest,
    document::{
        diagnostic::Severity,
        model::{FlowLog, PlacedFlowLog, Spanned, TrafficType},
    },
    flowlog::fields::Field,
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
        // Those of transit gateways have fields of their own, and are ignored.
        let ours = |resource: &Spanned<String>| {
            ["vpc-", "subnet-", "eni-"].iter().any(|kind| resource.value.starts_with(kind))
        };
        if resource.as_ref().is_none_or(ours) {
            self.check_fields(object, format.as_deref().unwrap_or_default());
        }
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

    /// Warns of a format's fields that no record has.
    fn check_fields(&mut self, object: &Object<'_>, format: &str) {
        const NAME: &str = "LogFormat";
        let known: Vec<&str> = Field::ALL.iter().map(|field| field.name()).collect();
        let span = object.field(NAME).map_or(object.span, |field| field.value.span);
        let names = format
            .split_ascii_whitespace()
            .filter_map(|token| token.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')));
        for name in names.filter(|name| !known.contains(name)) {
            let help = match closest(name, &known) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "docs/flow-logs.md lists the fields that records have here".to_owned(),
            };
            let message = format!("flow logs have no field `{name}`");
            self.report(Severity::Warning, "unknown-log-field", span, NAME, message).help = Some(help);
        }
    }

    /// `${field}` tokens with spaces between them.
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
