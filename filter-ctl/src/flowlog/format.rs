//! Records as text and as JSON, as `flows` prints them.
//!
//! Text is AWS's default format. JSON lines have the later fields that we know besides, and our own
//! ones, under their columns' names.

use std::io::{self, Write};

use serde::Serializer;

use super::{
    fields::{Field, Row},
    logformat::LogFormat,
};

/// How records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// AWS's default format: 14 fields, separated by spaces; `-` where there is no value.
    #[default]
    Text,
    /// One JSON object per line, numbers as numbers; `null` where there is no value.
    Json,
}

/// The fields of JSON lines after the default format's.
const JSON: &[Field] = &[
    Field::VpcId,
    Field::SubnetId,
    Field::TcpFlags,
    Field::Type,
    Field::PktSrcAddr,
    Field::PktDstAddr,
    Field::FlowDirection,
    Field::FilterReason,
    Field::FilterGeneration,
    Field::FilterNaclId,
    Field::FilterNaclRule,
    Field::FilterSgGroup,
    Field::FilterSgRule,
    Field::FilterLostPackets,
    Field::FilterLostBytes,
    Field::FilterLostRecords,
];

/// Which fields, and how they are written.
#[derive(Clone, Debug)]
pub struct Format {
    output: Output,
    text: LogFormat,
}

impl Format {
    /// AWS's default format as text; as JSON, every field that we know. The version is 2 in both:
    /// JSON names its fields, so that those that come along change nothing for who reads version 2.
    #[must_use]
    pub fn default_of(output: Output) -> Self {
        Self { output, text: LogFormat::default() }
    }

    /// Writes the names of the fields as a line. JSON lines name them anyway.
    pub fn write_header(&self, to: &mut dyn Write) -> io::Result<()> {
        match self.output {
            Output::Text => self.text.write_header(to),
            Output::Json => Ok(()),
        }
    }

    /// Writes a record as a line.
    pub fn write(&self, row: &dyn Row, to: &mut dyn Write) -> io::Result<()> {
        match self.output {
            Output::Text => self.text.write(row, to),
            Output::Json => {
                let fields = self.text.fields().iter().chain(JSON);
                let values = fields.map(|&field| (field.column(), self.text.value(row, field)));
                serde_json::Serializer::new(&mut *to).collect_map(values)?;
                to.write_all(b"\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use filter_common::{record::FlowRecord, verdict::Reason};

    use super::*;
    use crate::flowlog::fake::{lost_record, record, resolve, resolved, seconds_ago};
    use crate::flowlog::{Record, record::Content};

    type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

    fn written(format: &Format, record: &Record) -> io::Result<String> {
        let mut line = Vec::new();
        format.write(record, &mut line)?;
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    fn text(record: &FlowRecord) -> io::Result<String> {
        written(&Format::default_of(Output::Text), &resolve(record))
    }

    #[test]
    fn ssh_let_in() -> TestResult {
        let line = "2 111122223333 eni-0a1 198.51.100.7 10.0.1.20 40022 22 6 12 2410 1700000010 1700000061 ACCEPT OK\n";
        assert_eq!(text(&record(0))?, line);
        Ok(())
    }

    #[test]
    fn rdp_refused() -> TestResult {
        let refused = FlowRecord {
            remote: IpAddr::from([198, 51, 100, 9]).into(),
            remote_port: 40023,
            local_port: 3389,
            reason: Reason::SecurityGroup as u8,
            packets: 3,
            bytes: 180,
            last: seconds_ago(83),
            ..record(0)
        };
        let line = "2 111122223333 eni-0a1 198.51.100.9 10.0.1.20 40023 3389 6 3 180 1700000010 1700000017 REJECT OK\n";
        assert_eq!(text(&refused)?, line);
        Ok(())
    }

    /// Conformance 30.
    #[test]
    fn row_30_a_ping_let_in_and_its_reply_dropped_by_the_network_acl() -> TestResult {
        let ping = FlowRecord {
            protocol: 1,
            local_port: 0,
            remote_port: 0,
            packets: 4,
            bytes: 336,
            last: seconds_ago(87),
            ..record(0)
        };
        let reply = FlowRecord { direction: 1, reason: Reason::NetworkAcl as u8, ..ping };
        let lines = [
            "2 111122223333 eni-0a1 198.51.100.7 10.0.1.20 0 0 1 4 336 1700000010 1700000013 ACCEPT OK\n",
            "2 111122223333 eni-0a1 10.0.1.20 198.51.100.7 0 0 1 4 336 1700000010 1700000013 REJECT OK\n",
        ];
        assert_eq!([text(&ping)?, text(&reply)?], lines);
        Ok(())
    }

    /// Conformance 37: The record of an interval without traffic has `NODATA` and dashes: seven from srcaddr to bytes, and
    /// one for the action.
    /// Source: VPC guide `flow-logs-records-examples`.
    /// Enforced: `filter-ctl/src/flowlog/format.rs`.
    #[test]
    fn row_37_a_record_without_a_flow_has_seven_dashes_and_one_for_the_action() -> TestResult {
        let format = Format::default_of(Output::Text);
        let lost = "2 111122223333 eni-0a1 - - - - - - - 1700000010 1700000061 - SKIPDATA\n";
        assert_eq!(written(&format, &lost_record())?, lost);
        let idle = Record { content: Content::Idle, ..resolved() };
        assert_eq!(written(&format, &idle)?, lost.replace("SKIPDATA", "NODATA"));
        Ok(())
    }

    /// Conformance 38.
    #[test]
    fn row_38_text_shows_the_primary_address_and_json_the_packets_too() -> TestResult {
        let to_secondary = FlowRecord { local: IpAddr::from([10, 0, 1, 99]).into(), ..record(0) };
        assert!(text(&to_secondary)?.contains(" 198.51.100.7 10.0.1.20 40022 22 "));
        let json: serde_json::Value =
            serde_json::from_str(&written(&Format::default_of(Output::Json), &resolve(&to_secondary))?)?;
        assert_eq!(json["dstaddr"], "10.0.1.20");
        assert_eq!(json["pkt_dstaddr"], "10.0.1.99");
        assert_eq!(json["pkt_srcaddr"], "198.51.100.7");
        Ok(())
    }

    #[test]
    fn json_has_awss_names_and_numbers_as_numbers() -> TestResult {
        let line = concat!(
            r#"{"version":2,"account_id":"111122223333","interface_id":"eni-0a1","srcaddr":"198.51.100.7","#,
            r#""dstaddr":"10.0.1.20","srcport":40022,"dstport":22,"protocol":6,"packets":12,"bytes":2410,"#,
            r#""start":1700000010,"end":1700000061,"action":"ACCEPT","log_status":"OK","vpc_id":"vpc-0b2","#,
            r#""subnet_id":"subnet-0c3","tcp_flags":3,"type":"IPv4","pkt_srcaddr":"198.51.100.7","#,
            r#""pkt_dstaddr":"10.0.1.20","flow_direction":"ingress","filter_reason":"new-connection","#,
            r#""filter_generation":12,"filter_nacl_id":null,"filter_nacl_rule":null,"#,
            r#""filter_sg_group":null,"filter_sg_rule":null,"filter_lost_packets":null,"#,
            r#""filter_lost_bytes":null,"filter_lost_records":null}"#,
            "\n"
        );
        assert_eq!(written(&Format::default_of(Output::Json), &resolved())?, line);
        Ok(())
    }

    #[test]
    fn json_says_how_much_was_lost() -> TestResult {
        let line = written(&Format::default_of(Output::Json), &lost_record())?;
        let json: serde_json::Value = serde_json::from_str(&line)?;
        assert_eq!(json["filter_lost_packets"], 40);
        assert_eq!(json["log_status"], "SKIPDATA");
        assert!(json["srcaddr"].is_null() && json["action"].is_null());
        Ok(())
    }

    #[test]
    fn an_unknown_interface_is_a_dash() -> TestResult {
        let unknown = Record { interface_id: None, account_id: None, ..resolved() };
        let line = written(&Format::default_of(Output::Text), &unknown)?;
        assert!(line.starts_with("2 - - 198.51.100.7 "), "{line}");
        Ok(())
    }

    #[test]
    fn the_header_names_the_default_formats_fields() -> TestResult {
        let mut header = Vec::new();
        Format::default_of(Output::Text).write_header(&mut header)?;
        let expected = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes \
                        start end action log-status\n";
        assert_eq!(String::from_utf8_lossy(&header), expected);
        Ok(())
    }
}
