//! Records as text and as JSON, in AWS's fields.
//!
//! A format is a list of [`Field`]s. The default one is AWS's version 2; JSON lines add the later
//! fields that we know, and a few of our own whose names begin with `filter_`.

use std::{
    fmt::{self, Display},
    io::{self, Write},
    net::IpAddr,
};

use filter_common::Direction;
use serde::{Serialize, Serializer};

use super::record::{Content, Flow, Record};

/// How records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// AWS's default format: 14 fields, separated by spaces; `-` where there is no value.
    #[default]
    Text,
    /// One JSON object per line, numbers as numbers; `null` where there is no value.
    Json,
}

macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal, $version:expr;)+) => {
        /// A field of a record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Field { $($(#[doc = $doc])+ $name,)+ }

        impl Field {
            /// Every field.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its name in headers and formats.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The version of flow logs that brought it; `None` for our own.
            #[must_use]
            pub const fn version(self) -> Option<u8> {
                match self { $(Self::$name => $version,)+ }
            }
        }
    };
}

// VPC guide, `flow-log-records`, "Available fields".
fields! {
    /// The version of the format.
    Version = "version", Some(2);
    /// The owner of the interface.
    AccountId = "account-id", Some(2);
    /// The interface.
    InterfaceId = "interface-id", Some(2);
    /// The source address; the interface's primary one for outgoing traffic.
    SrcAddr = "srcaddr", Some(2);
    /// The destination address; the interface's primary one for incoming traffic.
    DstAddr = "dstaddr", Some(2);
    /// The source port.
    SrcPort = "srcport", Some(2);
    /// The destination port.
    DstPort = "dstport", Some(2);
    /// The IANA protocol number.
    Protocol = "protocol", Some(2);
    /// Packets in the interval.
    Packets = "packets", Some(2);
    /// Bytes in the interval.
    Bytes = "bytes", Some(2);
    /// When the first packet was seen, in Unix seconds.
    Start = "start", Some(2);
    /// When the last packet was seen, in Unix seconds.
    End = "end", Some(2);
    /// `ACCEPT` or `REJECT`.
    Action = "action", Some(2);
    /// `OK`, `NODATA` or `SKIPDATA`.
    LogStatus = "log-status", Some(2);
    /// The interface's VPC.
    VpcId = "vpc-id", Some(3);
    /// The interface's subnet.
    SubnetId = "subnet-id", Some(3);
    /// FIN 1, SYN 2, RST 4, SYN-ACK 18, OR-ed.
    TcpFlags = "tcp-flags", Some(3);
    /// `IPv4` or `IPv6`.
    Type = "type", Some(3);
    /// The source address in the packets.
    PktSrcAddr = "pkt-srcaddr", Some(3);
    /// The destination address in the packets.
    PktDstAddr = "pkt-dstaddr", Some(3);
    /// `ingress` or `egress`.
    FlowDirection = "flow-direction", Some(5);
    /// Why the packets got their verdict.
    FilterReason = "filter-reason", None;
    /// The generation of the policy that judged them.
    FilterGeneration = "filter-generation", None;
    /// The network ACL, where it was asked.
    FilterNaclId = "filter-nacl-id", None;
    /// The number of its rule that decided; 32767 and 32768 are `*`.
    FilterNaclRule = "filter-nacl-rule", None;
    /// The security group whose rule let them pass.
    FilterSgGroup = "filter-sg-group", None;
    /// The id of that rule.
    FilterSgRule = "filter-sg-rule", None;
    /// Packets that no record counts (`SKIPDATA`).
    FilterLostPackets = "filter-lost-packets", None;
    /// Their bytes.
    FilterLostBytes = "filter-lost-bytes", None;
    /// Records that would have counted them, as far as known.
    FilterLostRecords = "filter-lost-records", None;
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// A name or an address.
    Text(&'a str),
    /// An address.
    Address(IpAddr),
    /// Not known, or of no meaning for this record.
    Absent,
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => to.serialize_u64(*number),
            Self::Text(text) => to.serialize_str(text),
            Self::Address(address) => address.serialize(to),
            Self::Absent => to.serialize_none(),
        }
    }
}

impl Display for Value<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(to, "{number}"),
            Self::Text(text) => to.write_str(text),
            Self::Address(address) => write!(to, "{address}"),
            Self::Absent => to.write_str("-"),
        }
    }
}

impl From<Option<u64>> for Value<'_> {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Self::Absent, Self::Number)
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Absent, Self::Text)
    }
}

impl From<Option<IpAddr>> for Value<'_> {
    fn from(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Absent, Self::Address)
    }
}

impl Field {
    /// AWS's default format, which is version 2.
    pub const DEFAULT: &'static [Self] = Self::ALL.split_at(14).0;

    /// Its name in JSON.
    #[must_use]
    pub fn key(self) -> String {
        self.name().replace('-', "_")
    }

    /// Its value in a record that is written in a format of some version.
    #[must_use]
    pub fn value(self, record: &Record, version: u8) -> Value<'_> {
        let (flow, loss) = match &record.content {
            Content::Flow(flow) => (Some(flow), None),
            Content::Lost(loss) => (None, Some(loss)),
            Content::Idle => (None, None),
        };
        let number = |number: fn(&Flow) -> u64| Value::from(flow.map(number));
        let acl = flow.and_then(|flow| flow.rules.acl.rule());
        let group = flow.and_then(|flow| flow.rules.groups.rule());
        // What is local is the source of what goes out and the destination of what comes in.
        let outgoing = record.direction == Some(Direction::Egress);
        let address = |own: fn(&Flow) -> IpAddr, source: bool| {
            Value::from(flow.map(|flow| if source == outgoing { own(flow) } else { flow.remote }))
        };
        let port = |source: bool| {
            let port = |flow: &Flow| if source == outgoing { flow.local_port } else { flow.remote_port };
            Value::from(flow.map(port).map(u64::from))
        };
        match self {
            Self::Version => Value::Number(version.into()),
            Self::AccountId => record.account_id.as_deref().into(),
            Self::InterfaceId => record.interface_id.as_deref().into(),
            Self::SrcAddr => address(|flow| flow.shown, true),
            Self::DstAddr => address(|flow| flow.shown, false),
            Self::SrcPort => port(true),
            Self::DstPort => port(false),
            Self::Protocol => number(|flow| flow.protocol.into()),
            Self::Packets => number(|flow| flow.packets),
            Self::Bytes => number(|flow| flow.bytes),
            Self::Start => Value::Number(record.start),
            Self::End => Value::Number(record.end),
            Self::Action => flow.map(|flow| flow.action().name()).into(),
            Self::LogStatus => Value::Text(record.content.status()),
            Self::VpcId => record.vpc_id.as_deref().into(),
            Self::SubnetId => record.subnet_id.as_deref().into(),
            Self::TcpFlags => number(|flow| flow.tcp_flags.into()),
            Self::Type => flow.map(|flow| if flow.local.is_ipv4() { "IPv4" } else { "IPv6" }).into(),
            Self::PktSrcAddr => address(|flow| flow.local, true),
            Self::PktDstAddr => address(|flow| flow.local, false),
            Self::FlowDirection => record.direction.map(Direction::name).into(),
            Self::FilterReason => flow.map(|flow| flow.reason.name()).into(),
            Self::FilterGeneration => number(|flow| flow.generation.into()),
            Self::FilterNaclId => acl.map(|rule| &*rule.acl).into(),
            Self::FilterNaclRule => acl.map(|rule| u64::from(rule.number)).into(),
            Self::FilterSgGroup => group.map(|rule| &*rule.group).into(),
            Self::FilterSgRule => group.map(|rule| &*rule.id).into(),
            Self::FilterLostPackets => loss.map(|loss| loss.packets).into(),
            Self::FilterLostBytes => loss.map(|loss| loss.bytes).into(),
            Self::FilterLostRecords => loss.map(|loss| loss.records).into(),
        }
    }
}

/// Which fields, and how they are written.
#[derive(Clone, Debug)]
pub struct Format {
    output: Output,
    fields: Vec<(Field, String)>,
    version: u8,
}

impl Format {
    /// AWS's default format as text; as JSON, every field that we know. The version is 2 in both:
    /// JSON names its fields, so that those that come along change nothing for who reads version 2.
    #[must_use]
    pub fn default_of(output: Output) -> Self {
        let fields = match output {
            Output::Text => Field::DEFAULT,
            Output::Json => Field::ALL,
        };
        Self { output, fields: fields.iter().map(|&field| (field, field.key())).collect(), version: 2 }
    }

    /// Writes the names of the fields as a line. JSON lines name them anyway.
    pub fn write_header(&self, to: &mut dyn Write) -> io::Result<()> {
        if self.output == Output::Json {
            return Ok(());
        }
        self.write_words(to, self.fields.iter().map(|(field, _)| field.name()))
    }

    /// Writes a record as a line.
    pub fn write(&self, record: &Record, to: &mut dyn Write) -> io::Result<()> {
        match self.output {
            Output::Text => {
                self.write_words(to, self.fields.iter().map(|(field, _)| field.value(record, self.version)))
            }
            Output::Json => {
                let values = self.fields.iter().map(|(field, key)| (key, field.value(record, self.version)));
                serde_json::Serializer::new(&mut *to).collect_map(values)?;
                to.write_all(b"\n")
            }
        }
    }

    fn write_words<T: Display>(&self, to: &mut dyn Write, words: impl Iterator<Item = T>) -> io::Result<()> {
        for (position, word) in words.enumerate() {
            let space = if position == 0 { "" } else { " " };
            write!(to, "{space}{word}")?;
        }
        writeln!(to)
    }
}

#[cfg(test)]
mod tests {
    use filter_common::{record::FlowRecord, verdict::Reason};

    use super::*;
    use crate::flowlog::fake::{lost_record, record, resolve, resolved, seconds_ago};

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
        assert_eq!(Field::DEFAULT.iter().filter_map(|field| field.version()).max(), Some(2));
        Ok(())
    }
}
