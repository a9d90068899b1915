//! Flow logs: from the kernel's ring buffer to lines that people read.
//!
//! The programs hand over one [`filter_common::record::FlowRecord`] per flow and interval. Here,
//! under a [`lock`], they are taken from the ring ([`collect`]), resolved to what AWS calls a
//! record ([`record`], [`resolve`]) with the rules that decided ([`crate::naming`]), kept in a
//! bounded [`spool`], counted by rule ([`hits`]), and printed by whoever wants to see some of them
//! ([`mod@format`], [`follow`]) in whatever [`fields`]. What the kernel could not hand over is counted there and becomes a
//! `SKIPDATA` record here ([`losses`]).
//!
//! ```text
//! ring ──take──▶ name ──▶ resolve ──▶ spool ──▶ filter ──▶ format ──▶ stdout
//!                                       ▲ └───▶ hits
//! COUNTERS.lost ──▶ losses ─────────────┘
//! ```
//!
//! Whoever drains the ring appends *all* of it to the spool; filters apply to what is printed,
//! never to what is kept. So a second reader sees the same records again, whatever the first one
//! asked for.

pub mod collect;
pub mod detach;
pub mod fields;
pub mod follow;
pub mod format;
pub mod hits;
pub mod host;
pub mod lock;
pub mod logformat;
pub mod losses;
pub mod record;
pub mod resolve;
mod row;
pub mod source;
pub mod spool;

#[cfg(test)]
pub(crate) mod fake;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use collect::Collector;
pub use host::{HostSource, hand_over_all};
pub use record::Record;
pub use source::Source;

use crate::{
    datapath::{self, Places},
    naming::Shelf,
};

/// What can go wrong between the ring and the reader.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the state folder.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried: `open`, `write` and so on.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process reads the ring.
    #[error("the flow log is being read by {0}: stop it or try again later")]
    Busy(lock::Holder),
    /// The kernel's side: maps, programs, the clock.
    #[error("cannot {action}: {source}")]
    Kernel {
        /// What was tried.
        action: &'static str,
        /// What the datapath said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The datapath as a whole.
    #[error(transparent)]
    Host(#[from] datapath::Error),
    /// The output.
    #[error("cannot write the flow records: {0}")]
    Output(#[source] io::Error),
}

/// `Result` of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error about a file of an [`io::Error`], for `map_err`.
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }
}

/// The files of the flow log under the state folder.
#[derive(Clone, Debug)]
pub struct Folder {
    state: PathBuf,
    limits: spool::Limits,
}

impl Folder {
    /// The flow log's files under a state folder, with the default limits.
    #[must_use]
    pub fn new(state: impl Into<PathBuf>) -> Self {
        Self { state: state.into(), limits: spool::Limits::default() }
    }

    /// The flow log's files of a host. `FILTER_SPOOL_BYTES` sets the bound of the spool.
    #[must_use]
    pub fn of(places: &Places) -> Self {
        let folder = Self::new(places.state());
        match std::env::var("FILTER_SPOOL_BYTES").ok().and_then(|bytes| bytes.parse().ok()) {
            Some(bytes) => folder.with_limits(spool::Limits::of(bytes)),
            None => folder,
        }
    }

    /// The same files with other limits of the spool.
    #[must_use]
    pub fn with_limits(self, limits: spool::Limits) -> Self {
        Self { limits, ..self }
    }

    /// The limits of the spool.
    #[must_use]
    pub const fn limits(&self) -> spool::Limits {
        self.limits
    }

    /// The lock that whoever drains the ring holds.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.state.join("ring.lock")
    }

    /// The folder of the spool's segments.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.state.join("spool")
    }

    /// The hit counters of the rules.
    #[must_use]
    pub fn hits(&self) -> PathBuf {
        self.state.join("hits.json")
    }

    /// The rules by which records are named.
    #[must_use]
    pub fn shelf(&self) -> Shelf {
        Shelf::new(&self.state)
    }

    /// The losses that are already in the spool as `SKIPDATA` records.
    #[must_use]
    pub fn losses(&self) -> PathBuf {
        self.state.join("losses.json")
    }
}

/// What `status` tells about the flow log.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Statistics {
    /// Bytes that the spool takes.
    pub bytes: u64,
    /// Its bound.
    pub limit: u64,
    /// Records that it has dropped for want of room, since it was created.
    pub dropped_records: u64,
    /// Packets that those records counted.
    pub dropped_packets: u64,
    /// The process that reads the ring just now.
    pub reader: Option<lock::Holder>,
}

/// What `status` tells about the flow log; takes no lock for longer than a moment.
pub fn statistics(folder: &Folder) -> Result<Statistics> {
    let usage = spool::usage(&folder.spool())?;
    Ok(Statistics {
        bytes: usage.bytes,
        limit: folder.limits.bytes,
        dropped_records: usage.dropped.records,
        dropped_packets: usage.dropped.packets,
        reader: lock::holder(&folder.lock())?,
    })
}

/// Replaces a small file at once, so that a crash leaves the old or the new one.
fn replace(path: &Path, contents: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, contents).map_err(Error::file("write", &partial))?;
    std::fs::rename(&partial, path).map_err(Error::file("replace", path))
}
