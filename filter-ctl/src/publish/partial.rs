//! Files that nobody sees until they are complete.
//!
//! A file is written in a staging folder of the same file system, synced, and then renamed to its
//! place, whose folder is synced too. So a crash at any moment leaves a whole file or none, and in
//! the staging folder perhaps a rest, which the next start sweeps away.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// How the names of files in the making end.
const SUFFIX: &str = ".partial";
/// The file that is locked as long as somebody writes.
const LOCK: &str = "lock";

/// A folder for files in the making, of one process at a time.
#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
    _lock: File,
}

impl Staging {
    /// Opens a staging folder, makes it if there is none, and sweeps away what a crash left there.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        make_folder(folder)?;
        let lock = File::create(folder.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(ErrorKind::ResourceBusy, "another process writes the files of this flow log")
            }
            TryLockError::Error(error) => error,
        })?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().ends_with(SUFFIX.as_bytes()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { folder: folder.to_owned(), _lock: lock })
    }

    fn file(&self) -> io::Result<NamedTempFile> {
        // Flow logs tell who talks to whom: for the owner and the group's log shippers only.
        let mut file = tempfile::Builder::new();
        file.prefix("").suffix(SUFFIX).permissions(Permissions::from_mode(0o640)).tempfile_in(&self.folder)
    }
}

/// A file in the making. Dropped, it is removed.
#[derive(Debug, Default)]
pub(super) struct Partial {
    file: Option<NamedTempFile>,
    written: u64,
    /// What comes after that.
    pub(super) pending: Vec<u8>,
}

impl Partial {
    /// Bytes of it, those that are not written yet included.
    pub(super) fn len(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Writes what is pending. After an error, another call goes on where this one failed.
    pub(super) fn write(&mut self, staging: &Staging) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(staging.file()?),
        };
        write_some(file, &mut self.pending, &mut self.written)
    }

    /// Makes it the file of a path, durably, and makes that path's folder. The error
    /// [`ErrorKind::AlreadyExists`] says that there is such a file. After an error, it may be tried again.
    pub(super) fn publish(&mut self, staging: &Staging, path: &Path) -> io::Result<()> {
        self.write(staging)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        make_folder(folder)?;
        let Some(file) = self.file.take() else { return Ok(()) };
        let placed = match file.as_file().sync_all() {
            Ok(()) => file.persist_noclobber(path).map_err(|error| (error.error, error.file)),
            Err(error) => Err((error, file)),
        };
        if let Err((error, file)) = placed {
            self.file = Some(file);
            return Err(error);
        }
        sync(folder)
    }
}

/// Writes what is pending, as far as it goes.
fn write_some(to: &mut impl Write, pending: &mut Vec<u8>, written: &mut u64) -> io::Result<()> {
    while !pending.is_empty() {
        match to.write(pending) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                *written += bytes as u64;
                pending.drain(..bytes);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes a folder and those above it, durably.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().unwrap_or(Path::new("/"));
    make_folder(above)?;
    match DirBuilder::new().mode(0o750).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync(above),
    }
}

/// Makes the entries of a folder durable.
fn sync(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowlog::fake::TestResult;

    fn names(folder: &Path) -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    #[test]
    fn a_file_appears_whole_and_only_when_it_is_complete() -> TestResult {
        let root = tempfile::tempdir()?;
        let (tree, staging) = (root.path().join("tree"), Staging::open(&root.path().join("staging"))?);
        let mut partial = Partial { pending: b"one ".to_vec(), ..Partial::default() };
        partial.write(&staging)?;
        partial.pending.extend(b"two");
        assert_eq!(partial.len(), 7);
        assert!(!tree.exists());
        assert_eq!(names(&staging.folder)?.len(), 2, "the lock and the file in the making");

        let path = tree.join("2026/11/file.log.gz");
        partial.publish(&staging, &path)?;
        assert_eq!(fs::read(&path)?, b"one two");
        assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o640);
        assert_eq!(names(&staging.folder)?, ["lock"]);
        Ok(())
    }

    #[test]
    fn no_file_is_replaced() -> TestResult {
        let root = tempfile::tempdir()?;
        let staging = Staging::open(&root.path().join("staging"))?;
        let (taken, free) = (root.path().join("taken"), root.path().join("free"));
        fs::write(&taken, "old")?;
        let mut partial = Partial { pending: b"new".to_vec(), ..Partial::default() };
        let error = partial.publish(&staging, &taken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        partial.publish(&staging, &free)?;
        assert_eq!((fs::read(&taken)?, fs::read(&free)?), (b"old".to_vec(), b"new".to_vec()));
        Ok(())
    }

    #[test]
    fn what_a_crash_left_is_swept_at_the_next_start_and_what_is_in_use_is_not() -> TestResult {
        let root = tempfile::tempdir()?;
        let folder = root.path().join("staging");
        let staging = Staging::open(&folder)?;
        let mut partial = Partial { pending: b"half a".to_vec(), ..Partial::default() };
        partial.write(&staging)?;

        let busy = Staging::open(&folder).unwrap_err();
        assert_eq!(busy.to_string(), "another process writes the files of this flow log");
        assert_eq!(names(&folder)?.len(), 2);

        // As the kernel does when the process ends: the lock goes, the file stays.
        std::mem::forget(partial);
        drop(staging);
        assert_eq!(names(&folder)?.len(), 2);
        Staging::open(&folder)?;
        assert_eq!(names(&folder)?, ["lock"]);
        Ok(())
    }

    #[test]
    fn a_failed_write_goes_on_where_it_failed() -> TestResult {
        let root = tempfile::tempdir()?;
        let staging = Staging::open(&root.path().join("staging"))?;
        let mut partial = Partial { pending: b"whole".to_vec(), ..Partial::default() };
        let blocked = root.path().join("folder");
        fs::write(&blocked, "no folder")?;
        for _ in 0..2 {
            assert!(partial.publish(&staging, &blocked.join("file")).is_err());
        }
        fs::remove_file(&blocked)?;
        partial.publish(&staging, &blocked.join("file"))?;
        assert_eq!(fs::read(blocked.join("file"))?, b"whole");
        Ok(())
    }

    /// A disk that becomes full.
    struct Disk {
        room: usize,
        bytes: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room).min(2);
            if fits == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= fits;
            self.bytes.extend(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_gets_the_rest_when_it_has_room() -> TestResult {
        let mut disk = Disk { room: 5, bytes: Vec::new() };
        let (mut pending, mut written) = (b"whole file".to_vec(), 0);
        let error = write_some(&mut disk, &mut pending, &mut written).unwrap_err();
        assert_eq!((error.kind(), written, &*pending), (ErrorKind::StorageFull, 5, &b" file"[..]));
        disk.room = 100;
        write_some(&mut disk, &mut pending, &mut written)?;
        assert_eq!((written, &*disk.bytes), (10, &b"whole file"[..]));
        Ok(())
    }
}
