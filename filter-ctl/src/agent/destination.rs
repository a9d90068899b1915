//! From what a flow log says of its destination to the one who publishes there.

use std::{io, path::PathBuf, sync::Arc};

use crate::{
    policy::{DestinationType, FlowLog, Interface},
    publish::{
        Folder, Layout, Limits, Publisher, Retention, Rotation, S3, Stream,
        aws::Settings,
        layout::Window,
        s3::Bucket,
        stream::{Lines, Target},
    },
};

/// Bytes of files that wait for an object store, on disk.
const STAGING_BYTES: u64 = 1 << 30;

/// What is set for all destinations.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seconds that a file's records come from.
    pub file_seconds: u32,
    /// Folder for files that wait for an object store.
    pub staging: PathBuf,
}

/// Whether something is to be published at all: records are in the spool anyway.
#[must_use]
pub const fn publishes(kind: DestinationType) -> bool {
    !matches!(kind, DestinationType::Spool)
}

/// Begins to publish a flow log's records, which are numbered from 1.
///
/// # Errors
///
/// If the destination cannot be opened, or is none that this program delivers to.
pub fn publisher(log: &FlowLog, interface: &Interface, options: &Options) -> Result<Publisher, String> {
    let target = log.destination.target.as_deref().unwrap_or_default();
    let limits = Limits::default();
    let folder = |root: PathBuf, prefix: &str| {
        let region = interface.placement.region.as_deref().unwrap_or("local");
        let layout = Layout::new(prefix, &interface.account_id, region, &log.id, log.destination.options)
            .map_err(text)?;
        let rotation = Rotation {
            window: options.file_seconds.clamp(1, 3600),
            // What an interval has counted comes when it is over.
            linger: log.interval + 30,
            ..Rotation::default()
        };
        let format = Arc::new(log.format.clone());
        Folder::open(root, layout, format, rotation, Retention::default(), 0).map_err(text)
    };
    let started = match log.destination.kind {
        DestinationType::File => {
            let folder = folder(target.into(), "")?;
            Publisher::start(&log.id, log.format.clone(), log.interval, 0, limits, folder)
        }
        DestinationType::S3 => {
            // arn:aws:s3:::BUCKET/PREFIX
            let place = target.splitn(6, ':').nth(5).unwrap_or_default();
            let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
            let settings = Settings { region: interface.placement.region.clone(), ..Settings::default() };
            let bucket = Bucket { name: name.to_owned(), settings, virtual_hosted: None };
            let s3 = S3::new(bucket, folder(options.staging.join(&log.id), prefix)?, STAGING_BYTES);
            Publisher::start(&log.id, log.format.clone(), log.interval, 0, limits, s3)
        }
        DestinationType::Stdout => stream(log, Target::Stdout, limits),
        DestinationType::Unix => stream(log, Target::Unix(target.into()), limits),
        DestinationType::CloudWatchLogs => cloudwatch(log, target, interface, limits)?,
        DestinationType::Otlp => otlp(log, target, limits)?,
        kind @ (DestinationType::Spool | DestinationType::KinesisDataFirehose) => {
            return Err(format!("nothing is delivered to {}", kind.name()));
        }
    };
    started.map_err(text)
}

fn stream(log: &FlowLog, target: Target, limits: Limits) -> io::Result<Publisher> {
    let stream = Stream::new(target, Lines::Text, 0);
    Publisher::start(&log.id, log.format.clone(), log.interval, 0, limits, stream)
}

#[cfg(feature = "cloudwatch")]
fn cloudwatch(
    log: &FlowLog,
    target: &str,
    interface: &Interface,
    limits: Limits,
) -> Result<io::Result<Publisher>, String> {
    use crate::publish::cloudwatch::{CloudWatch, Group};
    // arn:aws:logs:REGION:ACCOUNT:log-group:NAME[:*], or the name alone.
    let name = target.split_once(":log-group:").map_or(target, |(_, name)| name.trim_end_matches(":*"));
    let settings = Settings { region: interface.placement.region.clone(), ..Settings::default() };
    let group = Group { name: name.to_owned(), traffic: log.traffic, settings };
    let cloudwatch = CloudWatch::new(group, 0);
    Ok(Publisher::start(&log.id, log.format.clone(), log.interval, 0, limits, cloudwatch))
}

#[cfg(not(feature = "cloudwatch"))]
fn cloudwatch(_: &FlowLog, _: &str, _: &Interface, _: Limits) -> Result<io::Result<Publisher>, String> {
    Err("this program was built without CloudWatch Logs".into())
}

#[cfg(feature = "otlp")]
fn otlp(log: &FlowLog, target: &str, limits: Limits) -> Result<io::Result<Publisher>, String> {
    use crate::publish::otlp::{Collector, Otlp};
    let collector = Collector { url: target.to_owned(), headers: Vec::new(), service: "filter".into() };
    let otlp = Otlp::new(&collector, 0).map_err(text)?;
    Ok(Publisher::start(&log.id, log.format.clone(), log.interval, 0, limits, otlp))
}

#[cfg(not(feature = "otlp"))]
fn otlp(_: &FlowLog, _: &str, _: Limits) -> Result<io::Result<Publisher>, String> {
    Err("this program was built without OTLP".into())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// AWS's length of a file.
pub const FILE_SECONDS: u32 = Window::FIVE_MINUTES;
