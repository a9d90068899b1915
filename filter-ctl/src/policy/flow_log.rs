//! Flow logs as a document describes them: what they record, how, and where it goes.

use serde::{Deserialize, Serialize};

use crate::flowlog::{fields::Field, logformat::LogFormat};

/// A flow log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlowLog {
    /// `fl-…`
    pub id: String,
    /// What it is for: `vpc-…`, `subnet-…` or `eni-…`.
    pub resource_id: String,
    /// `TrafficType`
    pub traffic: TrafficType,
    /// `MaxAggregationInterval`, in seconds: 1 to 600, a divisor of 600.
    pub interval: u32,
    /// `LogFormat`
    pub format: LogFormat,
    /// Where its records go.
    pub destination: Destination,
    /// `TagFieldSpecifications`: of which tags the values stand in which fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tag_keys: Vec<(Field, String)>,
}

/// The traffic that a flow log records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum TrafficType {
    /// What was accepted.
    Accept,
    /// What was rejected.
    Reject,
    /// Both.
    All,
}

/// Where a flow log's records go: `LogDestinationType`, `LogDestination`, `DestinationOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Destination {
    /// Of which kind it is.
    pub kind: DestinationType,
    /// `LogDestination`, or `LogGroupName` where there is only that; `None` for kinds that need no
    /// place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `DestinationOptions`
    #[serde(default)]
    pub options: DestinationOptions,
}

/// `LogDestinationType`: AWS's (API, `CreateFlowLogs`), then our own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DestinationType {
    /// CloudWatch Logs: `arn:aws:logs:…:log-group:NAME`, or the group's name.
    CloudWatchLogs,
    /// An S3 bucket: `arn:aws:s3:::BUCKET/PREFIX`.
    S3,
    /// A Firehose stream. Nothing is delivered to it; the records are in the spool.
    KinesisDataFirehose,
    /// The host's spool alone: where no destination is named.
    #[default]
    Spool,
    /// A folder, by its absolute path, laid out as in S3.
    File,
    /// The agent's standard output.
    Stdout,
    /// A UNIX socket, by its absolute path.
    Unix,
    /// An OTLP collector, by its URL.
    Otlp,
}

impl DestinationType {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::CloudWatchLogs,
        Self::S3,
        Self::KinesisDataFirehose,
        Self::Spool,
        Self::File,
        Self::Stdout,
        Self::Unix,
        Self::Otlp,
    ];

    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CloudWatchLogs => "cloud-watch-logs",
            Self::S3 => "s3",
            Self::KinesisDataFirehose => "kinesis-data-firehose",
            Self::Spool => "spool",
            Self::File => "file",
            Self::Stdout => "stdout",
            Self::Unix => "unix",
            Self::Otlp => "otlp",
        }
    }

    /// The form that `LogDestination` has; `None`: there is none.
    #[must_use]
    pub const fn target(self) -> Option<&'static str> {
        match self {
            Self::CloudWatchLogs => Some("arn:aws:logs:REGION:ACCOUNT:log-group:NAME"),
            Self::S3 => Some("arn:aws:s3:::BUCKET or arn:aws:s3:::BUCKET/PREFIX"),
            Self::KinesisDataFirehose => Some("arn:aws:firehose:REGION:ACCOUNT:deliverystream/NAME"),
            Self::Spool | Self::Stdout => None,
            Self::File => Some("the absolute path of a folder"),
            Self::Unix => Some("the absolute path of a socket"),
            Self::Otlp => Some("a URL, http://… or https://…"),
        }
    }

    /// Whether `LogDestination` may say this.
    #[must_use]
    pub fn fits(self, target: &str) -> bool {
        // arn:PARTITION:SERVICE:…, with partitions `aws`, `aws-cn`, `aws-us-gov`.
        let arn = |service: &str, resource: &str| {
            let parts: Vec<_> = target.splitn(6, ':').collect();
            matches!(parts[..], ["arn", partition, named, _, _, rest]
                if partition.starts_with("aws") && named == service
                    && rest.strip_prefix(resource).is_some_and(|name| !name.is_empty()))
        };
        match self {
            Self::CloudWatchLogs => arn("logs", "log-group:"),
            Self::S3 => arn("s3", "") && !target.contains(":::/"),
            Self::KinesisDataFirehose => arn("firehose", "deliverystream/"),
            Self::Spool | Self::Stdout => false,
            Self::File | Self::Unix => target.starts_with('/') && target.len() > 1,
            Self::Otlp => ["http://", "https://"].iter().any(|scheme| {
                target.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            }),
        }
    }

    /// The kind that a `LogDestination` without a type is of.
    #[must_use]
    pub fn of_target(target: &str) -> Option<Self> {
        [Self::CloudWatchLogs, Self::S3, Self::KinesisDataFirehose].into_iter().find(|kind| kind.fits(target))
    }
}

/// `DestinationOptions`: how files are written, for `s3` and `file`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DestinationOptions {
    /// `FileFormat`
    pub file_format: FileFormat,
    /// `HiveCompatiblePartitions`: folders are called `year=2026` instead of `2026`.
    pub hive_compatible_partitions: bool,
    /// `PerHourPartition`: a folder for each hour instead of each day.
    pub per_hour_partition: bool,
}

/// `FileFormat`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileFormat {
    /// Lines of text, compressed by gzip.
    #[default]
    PlainText,
    /// Apache Parquet.
    Parquet,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_told_by_their_targets() {
        let of = |target| DestinationType::of_target(target);
        assert_eq!(of("arn:aws:s3:::bucket"), Some(DestinationType::S3));
        assert_eq!(of("arn:aws-us-gov:s3:::bucket/prefix/"), Some(DestinationType::S3));
        assert_eq!([of("arn:aws:s3:::"), of("arn:aws:s3:::/prefix")], [None, None]);
        let group = "arn:aws:logs:eu-west-1:444455556666:log-group:/vpc/rejected:*";
        assert_eq!(of(group), Some(DestinationType::CloudWatchLogs));
        let stream = "arn:aws:firehose:eu-west-1:444455556666:deliverystream/flows";
        assert_eq!(of(stream), Some(DestinationType::KinesisDataFirehose));
        assert_eq!(of("/var/log/flows"), None, "a folder and a socket look alike");
        assert!(DestinationType::File.fits("/var/log/flows") && !DestinationType::File.fits("flows"));
        assert!(DestinationType::Otlp.fits("http://[::1]:4318") && !DestinationType::Otlp.fits("https:///x"));
        assert!(!DestinationType::Stdout.fits("x"));
    }

    #[test]
    fn names_are_those_of_documents() -> Result<(), serde_json::Error> {
        for kind in DestinationType::ALL {
            assert_eq!(serde_json::to_value(kind)?, kind.name());
        }
        Ok(())
    }
}
