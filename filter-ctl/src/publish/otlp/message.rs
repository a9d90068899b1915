//! Records as OTLP's `ExportLogsServiceRequest`, in JSON.

use std::{io, ops::Range};

use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::{
    flowlog::fields::{Field, Value},
    publish::{Batch, BatchRow, text::write_line},
};

/// A log record (`LogRecord` of `opentelemetry/proto/logs/v1`).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord {
    /// When the last packet was seen.
    time_unix_nano: String,
    /// When the record was sent.
    observed_time_unix_nano: String,
    body: Json,
    attributes: Vec<Attribute>,
}

#[derive(Serialize)]
struct Attribute {
    key: String,
    value: Json,
}

/// The request for some of a batch's records.
pub(super) fn encode(service: &str, batch: &Batch, rows: Range<usize>, now: u64) -> io::Result<Vec<u8>> {
    let records = rows.map(|row| record(batch, &batch.row(row), now)).collect::<io::Result<Vec<_>>>()?;
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": service } }] });
    let scope = json!({ "name": "filter", "version": env!("CARGO_PKG_VERSION") });
    let logs = json!([{ "scope": scope, "logRecords": records }]);
    let request = json!({ "resourceLogs": [{ "resource": resource, "scopeLogs": logs }] });
    serde_json::to_vec(&request).map_err(Into::into)
}

fn record(batch: &Batch, row: &BatchRow<'_>, now: u64) -> io::Result<LogRecord> {
    let mut line = Vec::new();
    write_line(row, &mut line)?;
    line.pop();
    let attributes = batch.format().fields().iter().zip(row.values());
    Ok(LogRecord {
        time_unix_nano: nanos(row.measure.end),
        observed_time_unix_nano: nanos(now),
        body: json!({ "stringValue": String::from_utf8_lossy(&line) }),
        attributes: attributes.filter_map(|(&field, value)| attribute(field, &value)).collect(),
    })
}

/// A field with a value as an attribute.
fn attribute(field: Field, value: &Value<'_>) -> Option<Attribute> {
    let value = match value {
        Value::None => return None,
        // Protocol Buffers' long numbers are strings in JSON.
        Value::Int(number) => json!({ "intValue": number.to_string() }),
        Value::Address(address) => json!({ "stringValue": address.to_string() }),
        Value::Text(text) => json!({ "stringValue": in_conventions_words(field, text) }),
    };
    Some(Attribute { key: key(field), value })
}

/// The name of a field's attribute: that of the semantic conventions, that of the collector's reader of flow
/// logs, or one like it.
fn key(field: Field) -> String {
    let known = match field {
        Field::AccountId => "cloud.account.id",
        Field::Region => "cloud.region",
        Field::InterfaceId => "network.interface.name",
        Field::InstanceId => "host.id",
        Field::SrcAddr => "source.address",
        Field::SrcPort => "source.port",
        Field::DstAddr => "destination.address",
        Field::DstPort => "destination.port",
        Field::Type => "network.type",
        Field::FlowDirection => "network.io.direction",
        Field::VpcId => "aws.vpc.id",
        Field::SubnetId => "aws.vpc.subnet.id",
        Field::AzId => "aws.az.id",
        Field::Version => "aws.vpc.flow.log.version",
        Field::LogStatus => "aws.vpc.flow.status",
        field => {
            return match field.name().strip_prefix("filter-") {
                Some(own) => format!("filter.{}", own.replace('-', "_")),
                None => format!("aws.vpc.flow.{}", field.column()),
            };
        }
    };
    known.to_owned()
}

/// A value in the words that the semantic conventions have for it.
fn in_conventions_words(field: Field, text: &str) -> String {
    match (field, text) {
        (Field::FlowDirection, "ingress") => "receive".to_owned(),
        (Field::FlowDirection, "egress") => "transmit".to_owned(),
        (Field::Type, text) => text.to_lowercase(),
        (_, text) => text.to_owned(),
    }
}

fn nanos(seconds: u64) -> String {
    (u128::from(seconds) * 1_000_000_000).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::flowlog::fake::{TestResult, lost_record, resolved};

    #[test]
    fn a_record_has_its_line_and_its_fields() -> TestResult {
        let format = "${srcaddr} ${dstport} ${flow-direction} ${type} ${packets} ${vpc-id} ${tcp-flags} ${filter-reason}";
        let mut batch = Batch::new(Arc::new(format.parse()?), 0);
        assert!(batch.push(&resolved(), 1) && batch.push(&lost_record(), 2));
        let message: Json = serde_json::from_slice(&encode("gateway", &batch, 0..2, 1_700_000_100)?)?;
        let logs = &message["resourceLogs"][0];
        assert_eq!(logs["resource"]["attributes"][0]["value"]["stringValue"], "gateway");
        let expected = json!({
            "timeUnixNano": "1700000061000000000",
            "observedTimeUnixNano": "1700000100000000000",
            "body": { "stringValue": "198.51.100.7 22 ingress IPv4 12 vpc-0b2 3 new-connection" },
            "attributes": [
                { "key": "source.address", "value": { "stringValue": "198.51.100.7" } },
                { "key": "destination.port", "value": { "intValue": "22" } },
                { "key": "network.io.direction", "value": { "stringValue": "receive" } },
                { "key": "network.type", "value": { "stringValue": "ipv4" } },
                { "key": "aws.vpc.flow.packets", "value": { "intValue": "12" } },
                { "key": "aws.vpc.id", "value": { "stringValue": "vpc-0b2" } },
                { "key": "aws.vpc.flow.tcp_flags", "value": { "intValue": "3" } },
                { "key": "filter.reason", "value": { "stringValue": "new-connection" } },
            ],
        });
        let records = &logs["scopeLogs"][0]["logRecords"];
        assert_eq!(records[0], expected);
        let lost: Vec<_> =
            records[1]["attributes"].as_array().into_iter().flatten().map(|it| &it["key"]).collect();
        assert_eq!(lost, ["network.io.direction", "aws.vpc.id"], "what has no value is left out");
        Ok(())
    }

    #[test]
    fn attributes_have_names_of_their_own() {
        let keys: std::collections::HashSet<_> = Field::ALL.iter().map(|&field| key(field)).collect();
        assert_eq!(keys.len(), Field::ALL.len());
        assert!(keys.contains("filter.sg_rule") && keys.contains("aws.vpc.flow.pkt_srcaddr"));
    }
}
