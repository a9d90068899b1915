//! Publishing: the records of a flow log go to its destination.
//!
//! Each flow log has a [`Publisher`], which takes records and never waits, and a [`Destination`], which has
//! a thread of its own. Between them stands a [`queue`] that is bounded in bytes.
//!
//! ```text
//! record ──▶ Publisher ──batch──▶ queue ──▶ worker ──▶ Destination ──▶ folder, S3, CloudWatch Logs, …
//!               │    ▲               │        │ again, with growing waits, until it is taken
//!           no room  └── SKIPDATA    └─full   └─refused for good
//!               └──────▶ losses ◀─────────────┘
//! ```
//!
//! **Nothing is unbounded, and nothing is lost unseen.** When a destination is slower than its records
//! come, or down, the queue fills; from then on records are counted as [`losses`], by interface and
//! interval, and the counts go out as `SKIPDATA` records once there is room. Every packet stands in
//! exactly one record or in one loss.
//!
//! **At least once.** A record that a destination acknowledged is not sent again. After a crash, what was taken
//! but was not durable yet ([`Progress::durable`]) must be published again, by whoever kept the
//! records; some of it may then arrive twice.

pub mod aws;
pub mod backoff;
pub mod batch;
#[cfg(feature = "cloudwatch")]
pub mod cloudwatch;
mod encoder;
pub mod folder;
pub mod layout;
pub mod losses;
#[cfg(feature = "otlp")]
pub mod otlp;
mod parquet;
mod partial;
pub mod publisher;
pub mod queue;
pub mod retention;
pub mod rotation;
pub mod s3;
pub mod stream;
mod text;
mod tls;
mod worker;

#[cfg(test)]
mod fake;

use std::{future::Future, time::Duration};

pub use batch::{Batch, BatchRow, Measure};
pub use folder::Folder;
pub use layout::Layout;
pub use losses::Losses;
pub use publisher::{Limits, Publisher, Summary};
pub use retention::Retention;
pub use rotation::Rotation;
pub use s3::S3;
pub use stream::Stream;
pub use worker::Progress;

use crate::flowlog::fields::Row;

/// Where records go.
///
/// What it has taken is its own affair: it keeps it, in bounded memory, until [`Destination::send`]
/// has brought it to its place.
pub trait Destination: Send + 'static {
    /// Takes a batch. Called only when the last [`Destination::send`] went well.
    fn take(&mut self, batch: &Batch, turn: &mut Turn<'_>);

    /// Brings what was taken to its place: as far as it is due, or [all of it](Due::All).
    ///
    /// # Errors
    ///
    /// If it cannot be done now. What was not brought is still there: another call goes on where
    /// this one failed.
    fn send(&mut self, turn: &mut Turn<'_>) -> impl Future<Output = Result<(), Error>>;

    /// The place of the source of records up to which everything is durable at the destination.
    fn durable(&self) -> u64;
}

/// What a destination needs to know and to tell when it is called.
#[derive(Debug)]
pub struct Turn<'a> {
    /// Unix time in seconds.
    pub now: u64,
    /// What is to be sent.
    pub due: Due,
    /// What is wrong though the call goes well: told, and nothing waits for it.
    pub trouble: Option<Error>,
    losses: &'a mut Losses,
    refused: u64,
}

impl<'a> Turn<'a> {
    /// A call at a time.
    #[must_use]
    pub const fn new(now: u64, due: Due, losses: &'a mut Losses) -> Self {
        Self { now, due, trouble: None, losses, refused: 0 }
    }

    /// Counts records as lost: the destination will never take them. `row` is any of their
    /// interface.
    pub fn refuse(&mut self, row: &dyn Row, measure: Measure) {
        self.refused += measure.records;
        self.losses.count_as(row, measure);
    }
}

/// How much of what was taken is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// What has waited long enough, or is enough to be worth it.
    Elapsed,
    /// Everything: the log ends.
    All,
}

/// Why something could not be brought to a destination just now.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {source}")]
pub struct Error {
    /// What was tried: `write /var/log/…`.
    pub action: String,
    /// What kind of trouble it is.
    pub trouble: Trouble,
    /// How long the destination asks to be left alone.
    pub after: Option<Duration>,
    /// What was said.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl Error {
    /// An error of some kind.
    pub fn new(
        action: impl Into<String>,
        trouble: Trouble,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { action: action.into(), trouble, after: None, source: source.into() }
    }
}

/// The kinds of trouble that AWS's `DeliverLogsErrorMessage` tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The destination wants fewer requests.
    RateLimited,
    /// The destination forbids it: credentials, permissions, owners.
    Access,
    /// Anything else: unreachable, full, broken.
    Unknown,
}

impl Trouble {
    /// AWS's words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RateLimited => "Rate limited",
            Self::Access => "Access error",
            Self::Unknown => "Unknown error",
        }
    }
}
