//! `FlowLogs`.
//!
//! Read are the objects of `DescribeFlowLogs` and the parameters of `CreateFlowLogs`, which name
//! several resources at once.

use super::{Decoder, Object};
use crate::{
    closest::closest,
    document::{
        diagnostic::{Severity, Span},
        model::{PlacedFlowLog, Spanned},
        tree::{Node, Value},
    },
    flowlog::{
        fields::Field,
        logformat::{FormatError, LogFormat},
    },
    policy::{Destination, DestinationOptions, DestinationType, FileFormat, FlowLog, TrafficType},
};

/// `MaxAggregationInterval` when it is absent (API reference, `CreateFlowLogs`).
const DEFAULT_INTERVAL: u32 = 600;

pub(super) const FIELDS: &[&str] = &[
    "FlowLogId",
    "ResourceType",
    "ResourceId",
    "ResourceIds",
    "TrafficType",
    "LogFormat",
    "MaxAggregationInterval",
    "LogDestinationType",
    "LogDestination",
    "LogGroupName",
    "DestinationOptions",
    "TagFieldSpecifications",
    "FlowLogStatus",
    "Tags",
];

/// `ResourceType`, with the ids of each. Those that are not here have no flow logs here.
const RESOURCES: [(&str, &str); 3] = [("VPC", "vpc-"), ("Subnet", "subnet-"), ("NetworkInterface", "eni-")];
const FOREIGN_RESOURCES: [&str; 3] = ["TransitGateway", "TransitGatewayAttachment", "RegionalNatGateway"];

/// The fields that take the values of a resource's tags, in order.
const TAG_FIELDS: [(&str, [Field; 2]); 3] = [
    ("network-interface", [Field::InterfaceTag, Field::InterfaceTag2]),
    ("instance", [Field::InstanceTag, Field::InstanceTag2]),
    ("auto-scaling-group", [Field::AsgTag, Field::AsgTag2]),
];

impl Decoder<'_> {
    pub(super) fn flow_log(&mut self, object: &Object<'_>) {
        self.misspelt(object, Severity::Error, FIELDS);
        self.tags(object, "Tags");
        let place = self.place(object);
        let resources = self.resources(object);
        // Those of transit gateways have fields of their own, and are ignored.
        let ours = |id: &str| RESOURCES.iter().any(|(_, kind)| id.starts_with(kind));
        let foreign = resources.iter().flatten().any(|resource| !ours(&resource.value));
        let log = FlowLog {
            id: String::new(),
            resource_id: String::new(),
            traffic: self.traffic_type(object),
            interval: self.interval(object),
            format: if foreign { LogFormat::default() } else { self.log_format(object) },
            destination: self.destination(object),
            tag_keys: self.tag_fields(object),
        };
        let active = self.owned(object, "FlowLogStatus").is_none_or(|status| status == "ACTIVE");
        let mut given = self.id(object, "FlowLogId", "fl").map(|id| id.value);
        for resource in resources {
            let id = given.take().unwrap_or_else(|| self.model.derived_id("fl"));
            let log = FlowLog { id, ..log.clone() };
            self.model.flow_logs.push(PlacedFlowLog { place: place.clone(), log, resource, active });
        }
    }

    /// What it is for; each resource has a flow log of its own. `None`: the document does not say.
    fn resources(&mut self, object: &Object<'_>) -> Vec<Option<Spanned<String>>> {
        let mut resources: Vec<Spanned<String>> = Vec::new();
        resources.extend(self.text(object, "ResourceId").map(owned));
        let more = self.texts(object, "ResourceIds");
        if let Some((field, true)) =
            object.field("ResourceIds").map(|field| (field, object.has("ResourceId")))
        {
            let message = "ResourceId is given, too";
            self.error("two-resources", field.span, "ResourceIds", message).expected =
                Some("one of the two".to_owned());
        } else if let Some((field, true)) = object.field("FlowLogId").map(|field| (field, more.len() > 1)) {
            let message = "a flow log is for one resource";
            self.error("two-resources", field.span, "FlowLogId", message).help = Some(
                "with several ResourceIds, leave FlowLogId out: each has a flow log of its own".to_owned(),
            );
        }
        resources.extend(more);
        if let Some(kind) = self.text(object, "ResourceType") {
            self.check_resource_type(&kind, &resources);
        }
        if resources.is_empty() { vec![None] } else { resources.into_iter().map(Some).collect() }
    }

    fn check_resource_type(&mut self, kind: &Spanned<&str>, resources: &[Spanned<String>]) {
        if FOREIGN_RESOURCES.contains(&kind.value) {
            return;
        }
        let Some((name, prefix)) = RESOURCES.iter().find(|(name, _)| *name == kind.value) else {
            let message = format!("`{}` is no kind of resource", kind.value);
            self.error("bad-resource-type", kind.at.span, "ResourceType", message).expected =
                Some("VPC, Subnet or NetworkInterface".to_owned());
            return;
        };
        for resource in resources.iter().filter(|resource| !resource.value.starts_with(prefix)) {
            let message = format!("`{}` is no {name}", resource.value);
            self.error("bad-resource-type", resource.at.span, "ResourceId", message).expected =
                Some(format!("{prefix}…"));
        }
    }

    fn traffic_type(&mut self, object: &Object<'_>) -> TrafficType {
        let words =
            [("ALL", TrafficType::All), ("ACCEPT", TrafficType::Accept), ("REJECT", TrafficType::Reject)];
        self.word(object, "TrafficType", "bad-traffic-type", "traffic type", &words, "ACCEPT, REJECT or ALL")
            .unwrap_or(TrafficType::All)
    }

    /// AWS has 60 and 600. Shorter ones are for live views and tests; longer intervals are put
    /// together from shorter ones, so an interval must fit into 600 a whole number of times.
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

    /// `${field}` tokens with spaces between them.
    fn log_format(&mut self, object: &Object<'_>) -> LogFormat {
        const NAME: &str = "LogFormat";
        let Some(text) = self.text(object, NAME) else { return LogFormat::default() };
        match text.value.parse() {
            Ok(format) => format,
            Err(error) => {
                let (id, message) = match &error {
                    FormatError::Empty | FormatError::Twice(_) => ("bad-log-format", error.to_string()),
                    FormatError::Stray(word) => {
                        ("bad-log-format", format!("`{word}` is no field of a flow log's format"))
                    }
                    FormatError::Unknown { name, .. } => {
                        ("unknown-log-field", format!("flow logs have no field `{name}`"))
                    }
                };
                let diagnostic = self.error(id, text.at.span, NAME, message);
                match error {
                    FormatError::Unknown { suggestion: Some(field), .. } => {
                        diagnostic.help = Some(format!("did you mean `{field}`?"));
                    }
                    FormatError::Unknown { .. } => {
                        diagnostic.help = Some("docs/flow-logs.md lists the fields".to_owned());
                    }
                    _ => {
                        diagnostic.expected = Some(
                            "fields as in ${version} ${srcaddr} ${action}, each once, with spaces between them"
                                .to_owned(),
                        );
                    }
                }
                LogFormat::default()
            }
        }
    }

    /// Where the records go. AWS's default is CloudWatch Logs; what names no place at all means the
    /// spool here.
    fn destination(&mut self, object: &Object<'_>) -> Destination {
        let names = DestinationType::ALL.map(|kind| (kind.name(), kind));
        let expected = DestinationType::ALL.map(DestinationType::name).join(", ");
        let named = self.word(
            object,
            "LogDestinationType",
            "bad-destination",
            "log destination type",
            &names,
            &expected,
        );
        let target = self.text(object, "LogDestination");
        let group = self.owned(object, "LogGroupName");
        let options = self.destination_options(object);
        let given = self.scalar(object, "LogDestinationType").is_some();
        let kind = match (named, &target, &group) {
            _ if given => named,
            (_, Some(target), _) => {
                let known = DestinationType::of_target(target.value);
                if known.is_none() {
                    let message = format!("`{}` does not tell what it is", target.value);
                    self.error("bad-destination", target.at.span, "LogDestination", message).help =
                        Some(format!("say it with LogDestinationType: {expected}"));
                }
                known
            }
            (_, None, Some(_)) => Some(DestinationType::CloudWatchLogs),
            (_, None, None) => Some(DestinationType::Spool),
        };
        // What is wrong with it is told.
        let Some(kind) = kind else { return Destination::default() };
        if kind == DestinationType::KinesisDataFirehose {
            let message = "nothing is delivered to Firehose: the records are in the spool";
            self.report(Severity::Warning, "undelivered", object.span, "LogDestinationType", message);
        }
        let target = match (target, group) {
            (Some(target), _) => self.check_target(kind, &target),
            (None, Some(group)) if kind == DestinationType::CloudWatchLogs => Some(group),
            (None, _) => {
                if let Some(form) = kind.target() {
                    self.missing(object, "LogDestination", form);
                }
                None
            }
        };
        Destination { kind, target, options }
    }

    fn check_target(&mut self, kind: DestinationType, target: &Spanned<&str>) -> Option<String> {
        const NAME: &str = "LogDestination";
        let name = kind.name();
        if !kind.fits(target.value) {
            let message = match kind.target() {
                Some(_) => format!("`{}` is no destination of type {name}", target.value),
                None => format!("{name} has no LogDestination"),
            };
            self.error("bad-destination", target.at.span, NAME, message).expected =
                kind.target().map(str::to_owned);
        } else if matches!(kind, DestinationType::S3 | DestinationType::File)
            && target.value.split('/').skip(1).any(|folder| folder == "AWSLogs")
        {
            // VPC guide, `flow-logs-s3-create-flow-log`: reserved.
            let message = "`AWSLogs` is reserved: the files' own paths begin with it";
            self.error("bad-destination", target.at.span, NAME, message);
        }
        Some(target.value.to_owned())
    }

    fn destination_options(&mut self, object: &Object<'_>) -> DestinationOptions {
        const FIELDS: [&str; 3] = ["FileFormat", "HiveCompatiblePartitions", "PerHourPartition"];
        self.nested(object, "DestinationOptions", |decoder, object| {
            decoder.only(object, &FIELDS);
            let formats = [("plain-text", FileFormat::PlainText), ("parquet", FileFormat::Parquet)];
            let format = decoder.word(
                object,
                FIELDS[0],
                "bad-file-format",
                "file format",
                &formats,
                "plain-text or parquet",
            );
            DestinationOptions {
                file_format: format.unwrap_or_default(),
                hive_compatible_partitions: decoder.boolean(object, FIELDS[1]).unwrap_or_default(),
                per_hour_partition: decoder.boolean(object, FIELDS[2]).unwrap_or_default(),
            }
        })
        .unwrap_or_default()
    }

    /// One to three kinds of resources, each with at most two keys: there are two fields for each.
    fn tag_fields(&mut self, object: &Object<'_>) -> Vec<(Field, String)> {
        const NAME: &str = "TagFieldSpecifications";
        let mut keys: Vec<(Field, String)> = Vec::new();
        self.objects(object, NAME, |decoder, object, _| {
            decoder.only(object, &["ResourceType", "TagKeys"]);
            let kind = decoder.word(
                object,
                "ResourceType",
                "bad-resource-type",
                "resource with tag fields",
                &TAG_FIELDS,
                "network-interface, instance or auto-scaling-group",
            );
            let Some(fields) = kind else {
                if !object.has("ResourceType") {
                    decoder.missing(
                        object,
                        "ResourceType",
                        "network-interface, instance or auto-scaling-group",
                    );
                }
                return;
            };
            let named = decoder.texts(object, "TagKeys");
            if keys.iter().any(|(field, _)| fields.contains(field)) {
                decoder.error("bad-tag-fields", object.span, "ResourceType", "it stands above already");
            } else if named.len() > fields.len() {
                let message = format!("{} keys", named.len());
                decoder.error("bad-tag-fields", named[fields.len()].at.span, "TagKeys", message).expected =
                    Some("at most two, as there are two fields for them".to_owned());
            } else if named.is_empty() {
                decoder.missing(object, "TagKeys", "one or two keys of tags");
            }
            keys.extend(fields.into_iter().zip(named).map(|(field, key)| (field, key.value)));
        });
        keys
    }

    /// A word of a few.
    fn word<T: Copy>(
        &mut self,
        object: &Object<'_>,
        name: &'static str,
        id: &'static str,
        noun: &str,
        words: &[(&'static str, T)],
        expected: &str,
    ) -> Option<T> {
        let text = self.text(object, name)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(*value);
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let diagnostic = self.error(id, text.at.span, name, format!("`{}` is no {noun}", text.value));
        diagnostic.expected = Some(expected.to_owned());
        diagnostic.help = closest(text.value, &known)
            .filter(|_| known.len() > 3)
            .map(|word| format!("did you mean `{word}`?"));
        None
    }

    /// The strings of a list.
    fn texts(&mut self, object: &Object<'_>, name: &'static str) -> Vec<Spanned<String>> {
        let mut texts = Vec::new();
        self.each(object, name, |decoder, node, _| match scalar(node) {
            Some((text, span)) => texts.push(Spanned { value: text.to_owned(), at: decoder.at(span) }),
            None => decoder.wrong_type(node, "", "a string"),
        });
        texts
    }
}

fn scalar<'t>(node: &'t Node<'_>) -> Option<(&'t str, Span)> {
    match &node.value {
        Value::Text(text) | Value::Number(text) => Some((text, node.span)),
        _ => None,
    }
}

fn owned(text: Spanned<&str>) -> Spanned<String> {
    Spanned { value: text.value.to_owned(), at: text.at }
}
