//! `agent`: collects flow records for as long as it runs, and publishes flow logs.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Exit, Failure, apply, documents::LimitsArguments};
use crate::{
    agent::{Apply, Failure as Ended, Settings, destination, serve},
    datapath::{self, Places},
};

/// Collect flow records and publish flow logs, until it is stopped
///
/// Drains what the kernel counts into the spool, as `flows` does, and hands every flow log's records to
/// its destination: a folder, S3, CloudWatch Logs, an OTLP collector, a socket or standard output. There
/// is one agent on a host; beside it, `flows` reads the spool. SIGTERM and Ctrl-C end it when
/// everything is handed over; the next one goes on where it ended.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Apply this document, as `apply` does, at the start, on SIGHUP and when it changes
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,

    /// Serve /metrics (OpenMetrics) and /health at this address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9747")]
    listen: SocketAddr,

    /// Serve neither
    #[arg(long, conflicts_with = "listen")]
    no_listen: bool,

    /// Begin a file of a folder or bucket for every so many seconds of records
    #[arg(long, value_name = "SECONDS", default_value_t = destination::FILE_SECONDS,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    file_seconds: u32,

    /// Keep files that wait for a bucket in this folder
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/filter/staging")]
    staging: PathBuf,

    /// Quotas.
    #[command(flatten)]
    limits: LimitsArguments,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl agent
  filter-ctl agent --policy /etc/filter/policy.yaml
  curl -s http://127.0.0.1:9747/metrics";

/// Runs the command.
///
/// # Errors
///
/// If there is an agent already, another process drains the ring, or something of the host fails.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    datapath::require_root()?;
    let limits = arguments.limits.clone();
    let apply: Apply =
        Box::new(move |path: &Path| apply::in_one_line(path, &limits).map_err(|failure| failure.message));
    serve(Settings {
        places: Places::from_environment(),
        options: destination::Options {
            file_seconds: arguments.file_seconds,
            staging: arguments.staging.clone(),
        },
        listen: (!arguments.no_listen).then_some(arguments.listen),
        policy: arguments.policy.clone().map(|path| (path, apply)),
    })
    .map_err(Failure::from)
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Running(_) => Self::new(Exit::Conflict, ended.to_string()),
            Ended::FlowLogs(error) => error.into(),
            Ended::System { .. } => Self::new(Exit::System, ended.to_string()),
        }
    }
}
