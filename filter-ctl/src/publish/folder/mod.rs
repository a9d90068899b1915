//! A folder as destination: files in the layout of AWS's S3 keys, each complete when it appears.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Batch, BatchRow, Destination, Due, Error, Layout, Rotation, Trouble, Turn,
    encoder::Encoder,
    layout::{Hash, Window},
    partial::{Partial, Staging, make_folder},
    retention::Retention,
};
use crate::flowlog::logformat::LogFormat;

/// Where files in the making lie, below the folder; no reader of a log looks into it.
const STAGING: &str = ".partial";

/// Writes files into a folder.
pub struct Folder {
    root: PathBuf,
    layout: Layout,
    format: Arc<LogFormat>,
    rotation: Rotation,
    retention: Retention,
    staging: Staging,
    open: BTreeMap<Window, Open>,
    /// Files that take no more records, oldest first.
    complete: VecDeque<Complete>,
    /// Where the source of records stood after the last batch.
    position: u64,
    published: u64,
}

/// A file that takes records.
struct Open {
    opened_at: u64,
    /// Where the source of records stood before the first one.
    after: u64,
    encoder: Encoder,
    partial: Partial,
}

/// A file that takes none any more.
struct Complete {
    window: Window,
    after: u64,
    partial: Partial,
}

impl Folder {
    /// Opens a folder for one flow log's files, and makes it if there is none. What a crash left
    /// half-written is removed, and what is kept too long. `position` is where the source of records stands.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made or written, or another process writes this flow log's files
    /// there.
    pub fn open(
        root: impl Into<PathBuf>,
        layout: Layout,
        format: Arc<LogFormat>,
        rotation: Rotation,
        retention: Retention,
        position: u64,
    ) -> Result<Self, Error> {
        let root = root.into();
        let staging = root.join(STAGING).join(layout.flow_log());
        make_folder(&root).map_err(|error| trouble("make", &root, error))?;
        let staging = Staging::open(&staging).map_err(|error| trouble("open", &staging, error))?;
        Ok(Self {
            root,
            layout,
            format,
            rotation,
            retention,
            staging,
            open: BTreeMap::new(),
            complete: VecDeque::new(),
            position,
            published: 0,
        })
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whose files these are and how they are laid out.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Files that were published since it was opened.
    #[must_use]
    pub const fn published(&self) -> u64 {
        self.published
    }

    /// Removes what is kept too long.
    ///
    /// # Errors
    ///
    /// If the folder cannot be read, or a file not be removed.
    pub fn enforce_retention(&self, now: u64) -> Result<(), Error> {
        self.retention
            .enforce(&self.root, &self.layout, now)
            .map(drop)
            .map_err(|error| trouble("remove old files in", &self.root, error))
    }

    /// Puts a record into its window's file.
    fn push(&mut self, row: &BatchRow<'_>, after: u64, now: u64) -> io::Result<()> {
        let window = self.rotation.window_of(row.measure.end);
        if !self.open.contains_key(&window) {
            while self.open.len() >= self.rotation.max_open.max(1) {
                self.end_oldest()?;
            }
            let encoder = Encoder::new(self.layout.options().file_format, &self.format)?;
            self.open.insert(window, Open { opened_at: now, after, encoder, partial: Partial::default() });
        }
        match self.open.get_mut(&window) {
            Some(file) => file.encoder.push(row),
            None => Ok(()),
        }
    }

    fn end_oldest(&mut self) -> io::Result<()> {
        match self.open.pop_first() {
            Some((window, file)) => self.end(window, file),
            None => Ok(()),
        }
    }

    /// Completes a file.
    fn end(&mut self, window: Window, file: Open) -> io::Result<()> {
        let Open { after, encoder, mut partial, .. } = file;
        encoder.finish(&mut partial.pending)?;
        self.complete.push_back(Complete { window, after, partial });
        Ok(())
    }

    /// Completes the files that a predicate picks.
    fn end_those(&mut self, meant: impl Fn(Window, &Open) -> bool) -> io::Result<()> {
        for (window, file) in
            self.open.extract_if(.., |&window, file| meant(window, file)).collect::<Vec<_>>()
        {
            self.end(window, file)?;
        }
        Ok(())
    }

    /// Moves what is encoded to the files in the making.
    fn collect(&mut self) -> io::Result<()> {
        for file in self.open.values_mut() {
            file.encoder.take(&mut file.partial.pending)?;
        }
        let most = self.rotation.max_bytes;
        self.end_those(|_, file| file.partial.len() >= most)
    }

    fn write(&mut self) -> Result<(), Error> {
        for file in self.open.values_mut() {
            let written = file.partial.write(&self.staging);
            written.map_err(|error| trouble("write a file in", &self.root, error))?;
        }
        while let Some(file) = self.complete.front_mut() {
            let path = self.root.join(self.layout.key(file.window, Hash::random()));
            match file.partial.publish(&self.staging, &path) {
                Ok(()) => {
                    self.complete.pop_front();
                    self.published += 1;
                }
                // Another hash, then.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(trouble("write", &path, error)),
            }
        }
        Ok(())
    }
}

impl Destination for Folder {
    fn take(&mut self, batch: &Batch, turn: &mut Turn<'_>) {
        for row in batch.rows() {
            // Encoding into memory fails only where a format has no room for more.
            if self.push(&row, batch.after(), turn.now).is_err() {
                turn.refuse(&row, row.measure);
            }
        }
        self.position = batch.position();
    }

    async fn send(&mut self, turn: &mut Turn<'_>) -> Result<(), Error> {
        let (rotation, now, all) = (self.rotation, turn.now, turn.due == Due::All);
        let before = self.published;
        self.collect()
            .and_then(|()| self.end_those(|window, file| all || rotation.is_due(window, file.opened_at, now)))
            .map_err(|error| Error::new("encode records", Trouble::Unknown, error))?;
        self.write()?;
        if self.published > before { self.enforce_retention(now) } else { Ok(()) }
    }

    fn durable(&self) -> u64 {
        let open = self.open.values().map(|file| file.after);
        let complete = self.complete.iter().map(|file| file.after);
        open.chain(complete).min().unwrap_or(self.position)
    }
}

/// An error about a file or folder.
pub(super) fn trouble(action: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Trouble::Access,
        _ => Trouble::Unknown,
    };
    Error::new(format!("{action} {}", path.display()), kind, error)
}

#[cfg(test)]
mod tests;
