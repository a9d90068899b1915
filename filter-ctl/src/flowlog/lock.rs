//! One reader of the ring at a time.
//!
//! A ring buffer has one consumer position: two readers would tear records from each other. The
//! lock is `flock(2)` on a file, so it ends with the process that holds it, however it dies.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{Error, Result};

/// How often a waiting reader asks again.
const RETRY: Duration = Duration::from_millis(50);

/// The right to drain the ring and to write the spool; given back on drop.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Waits up to `patience` for the lock. If it has to wait at all, `waiting` is told once for
    /// whom.
    pub fn acquire(path: &Path, patience: Duration, waiting: impl FnOnce(Option<u32>)) -> Result<Self> {
        let deadline = Instant::now() + patience;
        let mut file = open(path)?;
        let mut waiting = Some(waiting);
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(source)) => return Err(Error::file("lock", path)(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            let holder = written_pid(&mut file);
            if Instant::now() >= deadline {
                return Err(Error::Busy { holder });
            }
            if let Some(waiting) = waiting.take() {
                waiting(holder);
            }
            thread::sleep(RETRY);
        }
        write_pid(&mut file).map_err(Error::file("write", path))?;
        Ok(Self { file })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file gives the lock back; the number only has to go so that it misleads nobody.
        let _ = self.file.set_len(0);
    }
}

/// The process that holds the lock, if one does; 0 if it has not said who it is.
pub fn holder(path: &Path) -> Result<Option<u32>> {
    if !path.exists() {
        return Ok(None);
    }
    let mut file = open(path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(written_pid(&mut file).unwrap_or(0))),
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

fn written_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

    #[test]
    fn a_second_reader_is_told_who_holds_the_lock() -> TestResult {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("ring.lock");
        let first = Lock::acquire(&path, Duration::ZERO, |_| {})?;

        let mut told = None;
        let second = Lock::acquire(&path, Duration::from_millis(60), |pid| told = Some(pid));
        let us = Some(std::process::id());
        assert!(matches!(second, Err(Error::Busy { holder }) if holder == us), "{second:?}");
        assert_eq!(told, Some(us));
        assert_eq!(holder(&path)?, us);

        drop(first);
        assert_eq!(holder(&path)?, None);
        Lock::acquire(&path, Duration::ZERO, |_| {})?;
        Ok(())
    }

    #[test]
    fn a_second_reader_waits_for_the_first() -> TestResult {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("new").join("ring.lock");
        let first = Lock::acquire(&path, Duration::ZERO, |_| {})?;
        let release = thread::spawn(move || {
            thread::sleep(Duration::from_millis(120));
            drop(first);
        });
        Lock::acquire(&path, Duration::from_secs(10), |_| {})?;
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
