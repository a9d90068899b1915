//! What the agent tells about itself: to its socket, to `/metrics`, to `/health`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::flowlog::spool::Position;

/// What whoever follows the spool must know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The spool's end.
    pub end: Position,
    /// By interface: up to when everything of it is in the spool, in Unix seconds.
    pub complete: BTreeMap<String, u64>,
}

/// One flow log's publishing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReport {
    /// `fl-…`
    pub id: String,
    /// The kind of its destination.
    pub destination: String,
    /// The destination's place.
    pub target: Option<String>,
    /// Records that were handed over.
    pub records: u64,
    /// Records that the destination has taken.
    pub published: u64,
    /// Packets that those count.
    pub packets: u64,
    /// Records that found no room and became `SKIPDATA`.
    pub lost: u64,
    /// Records that the destination refuses for good, which became `SKIPDATA`, too.
    pub refused: u64,
    /// Tries that failed.
    pub failures: u64,
    /// Bytes that wait.
    pub waiting_bytes: u64,
    /// What is wrong now.
    pub error: Option<String>,
}

/// The policy document that the agent watches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Where it is.
    pub path: String,
    /// When it was last applied well, in Unix seconds.
    pub applied_at: Option<u64>,
    /// How often it was applied well.
    pub successes: u64,
    /// How often it was not.
    pub failures: u64,
    /// What is wrong with it now; the policy before it is in force.
    pub error: Option<String>,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The agent's process.
    pub pid: u32,
    /// Since when it runs, in Unix seconds.
    pub since: u64,
    /// Its version.
    pub version: String,
    /// Whether it drains a ring: something is attached.
    pub collecting: bool,
    /// Records that it has kept in the spool.
    pub collected_records: u64,
    /// Its flow logs that have a destination.
    pub flow_logs: Vec<LogReport>,
    /// The document, if it watches one.
    pub policy: Option<PolicyReport>,
}

/// Where it is written and read.
#[derive(Debug)]
pub struct Board {
    report: Mutex<(Report, Instant)>,
    told: watch::Sender<Told>,
}

impl Board {
    /// An agent begins.
    #[must_use]
    pub fn new() -> Self {
        let report = Report {
            pid: std::process::id(),
            since: now(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..Report::default()
        };
        Self { report: Mutex::new((report, Instant::now())), told: watch::Sender::default() }
    }

    /// The report as it is now.
    #[must_use]
    pub fn report(&self) -> Report {
        self.locked().0.clone()
    }

    /// Changes the report.
    pub fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.locked().0);
    }

    /// The loop that collects has gone round.
    pub fn alive(&self) {
        self.locked().1 = Instant::now();
    }

    /// Seconds since it last did.
    #[must_use]
    pub fn idle_seconds(&self) -> u64 {
        self.locked().1.elapsed().as_secs()
    }

    /// Changes what followers of the spool know.
    pub fn tell(&self, change: impl FnOnce(&mut Told)) {
        self.told.send_if_modified(|told| {
            let before = told.clone();
            change(told);
            *told != before
        });
    }

    /// What followers of the spool know, and every change of it.
    #[must_use]
    pub fn told(&self) -> watch::Receiver<Told> {
        self.told.subscribe()
    }

    /// A thread that panicked left whole values.
    fn locked(&self) -> MutexGuard<'_, (Report, Instant)> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Board {
    fn default() -> Self {
        Self::new()
    }
}

/// Unix time in seconds.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
