//! One reader of the ring at a time.
//!
//! A ring buffer has one consumer position: two readers would tear records from each other. The
//! lock is `flock(2)` on a file, so it ends with the process that holds it, however it dies.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Error, Result};

/// How often a waiting reader asks again.
const RETRY: Duration = Duration::from_millis(50);

/// The right to drain the ring and to write the spool; given back on drop.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

/// The process that holds the lock, as far as it has said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Its id; `None` for the moment between taking the lock and saying so.
    pub pid: Option<u32>,
    /// Whether it follows the log: then it holds the lock until somebody stops it.
    pub follows: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(to, "process {pid}")?,
            None => to.write_str("another process")?,
        }
        to.write_str(if self.follows { " (`flows --follow`)" } else { "" })
    }
}

impl Lock {
    /// Waits up to `patience` for the lock. If it has to wait at all, `wait_for` is asked once
    /// whether to wait for this holder.
    pub fn acquire(path: &Path, patience: Duration, wait_for: impl FnOnce(Holder) -> bool) -> Result<Self> {
        let deadline = Instant::now() + patience;
        let mut file = open(path)?;
        let mut wait_for = Some(wait_for);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(Error::file("lock", path)(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            let holder = written(&mut file);
            let refused = wait_for.take().is_some_and(|wait_for| !wait_for(holder));
            if refused || Instant::now() >= deadline {
                return Err(Error::Busy(holder));
            }
            thread::sleep(RETRY);
        }
        let mut lock = Self { file, path: path.to_owned() };
        lock.say(false)?;
        Ok(lock)
    }

    /// Says that the lock is held until somebody stops this process.
    pub fn follow(&mut self) -> Result<()> {
        self.say(true)
    }

    fn say(&mut self, follows: bool) -> Result<()> {
        let follows = if follows { " follows" } else { "" };
        let text = format!("{}{follows}\n", std::process::id());
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .map_err(Error::file("write", &self.path))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file gives the lock back; the text only has to go so that it misleads nobody.
        let _ = self.file.set_len(0);
    }
}

/// The process that holds the lock, if one does.
pub fn holder(path: &Path) -> Result<Option<Holder>> {
    if !path.exists() {
        return Ok(None);
    }
    let mut file = File::open(path).map_err(Error::file("open", path))?;
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(written(&mut file))),
        Err(TryLockError::Error(source)) => Err(Error::file("lock", path)(source)),
    }
}

/// Opens the lock's file and makes it, and its folder, if need be. Both are the owner's alone: who
/// can open the file can lock every other reader out.
fn open(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder).map_err(Error::file("create", folder))?;
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(Error::file("open", path))
}

/// What the holder has written.
fn written(file: &mut File) -> Holder {
    let mut text = String::new();
    // Nothing, half of it, or not ours: then nobody has said anything.
    let _ = file.rewind().and_then(|()| file.read_to_string(&mut text));
    let mut words = text.split_whitespace();
    let pid = words.next().and_then(|pid| pid.parse().ok());
    Holder { pid, follows: words.next() == Some("follows") }
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn a_second_reader_is_told_who_holds_the_lock() -> TestResult {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ring.lock");
        let mut first = Lock::acquire(&path, Duration::ZERO, |_| true)?;

        let mut told = None;
        let second = Lock::acquire(&path, Duration::from_millis(60), |holder| {
            told = Some(holder);
            true
        });
        let us = Holder { pid: Some(std::process::id()), follows: false };
        assert!(matches!(second, Err(Error::Busy(holder)) if holder == us), "{second:?}");
        assert_eq!(told, Some(us));
        assert_eq!(holder(&path)?, Some(us));

        first.follow()?;
        let start = Instant::now();
        let second = Lock::acquire(&path, Duration::from_secs(60), |holder| !holder.follows);
        let message = second.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains(&format!("process {} (`flows --follow`)", std::process::id())), "{message}");
        assert!(start.elapsed() < Duration::from_secs(30), "it does not wait for a follower");

        drop(first);
        assert_eq!(holder(&path)?, None);
        Lock::acquire(&path, Duration::ZERO, |_| true)?;
        Ok(())
    }

    #[test]
    fn a_second_reader_waits_for_the_first() -> TestResult {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("new").join("ring.lock");
        let first = Lock::acquire(&path, Duration::ZERO, |_| true)?;
        let release = thread::spawn(move || {
            thread::sleep(Duration::from_millis(120));
            drop(first);
        });
        Lock::acquire(&path, Duration::from_secs(10), |_| true)?;
        assert!(release.join().is_ok());
        Ok(())
    }

    #[test]
    fn nobody_holds_a_lock_that_was_never_taken() -> TestResult {
        let folder = tempfile::tempdir()?;
        assert_eq!(holder(&folder.path().join("ring.lock"))?, None);
        Ok(())
    }
}
