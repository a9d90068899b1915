//! How long published files are kept.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::layout::Layout;

/// What may be kept of a flow log's files. Without bounds, they are kept forever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Seconds since the window of a file began.
    pub max_age: Option<u64>,
    /// Bytes of all files together; the oldest go first.
    pub max_bytes: Option<u64>,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A published file.
#[derive(Debug)]
pub(super) struct Published {
    /// When its window begins, in Unix seconds.
    pub(super) time: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

impl Retention {
    /// Removes what is too old or too much, and the folders that become empty. Only files that are
    /// this flow log's by name and place are looked at.
    pub(super) fn enforce(&self, root: &Path, layout: &Layout, now: u64) -> io::Result<Removed> {
        let mut removed = Removed::default();
        if *self == Self::default() {
            return Ok(removed);
        }
        let top = root.join(layout.top());
        let files = published(root, layout)?;
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files {
            let old = self.max_age.is_some_and(|age| file.time.saturating_add(age) < now);
            if !old && self.max_bytes.is_none_or(|most| bytes <= most) {
                continue;
            }
            fs::remove_file(&file.path)?;
            bytes -= file.bytes;
            removed.files += 1;
            removed.bytes += file.bytes;
            prune(&file.path, &top);
        }
        Ok(removed)
    }
}

/// The flow log's files below a folder, oldest first.
pub(super) fn published(root: &Path, layout: &Layout) -> io::Result<Vec<Published>> {
    let mut files = Vec::new();
    let mut folders = vec![root.join(layout.top())];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file()
                && let Some(time) = entry.file_name().to_str().and_then(|name| layout.time_of(name))
            {
                files.push(Published { time, path: entry.path(), bytes: entry.metadata()?.len() });
            }
        }
    }
    files.sort_by(|one, other| (one.time, &one.path).cmp(&(other.time, &other.path)));
    Ok(files)
}

/// Removes the folders of a file that are empty, up to the flow log's own.
pub(super) fn prune(file: &Path, top: &Path) {
    for folder in file.ancestors().skip(1).take_while(|folder| folder.starts_with(top) && *folder != top) {
        // Not empty, or somebody else was faster: both are fine.
        if fs::remove_dir(folder).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        flowlog::fake::TestResult,
        policy::DestinationOptions,
        publish::layout::{Hash, Window},
    };

    const DAY: u64 = 24 * 60 * 60;
    const NOW: u64 = 20_000 * DAY;

    struct Tree {
        root: tempfile::TempDir,
        layout: Layout,
    }

    impl Tree {
        /// A file of 100 bytes for each of the last five days.
        fn new() -> TestResult<Self> {
            let layout = Layout::new("", "111122223333", "us-east-1", "fl-1", DestinationOptions::default())?;
            let tree = Self { root: tempfile::tempdir()?, layout };
            for age in 0..5 {
                tree.put(&tree.layout.key(Window::of(NOW - age * DAY, 300), Hash::new(age as u32)))?;
            }
            Ok(tree)
        }

        fn put(&self, key: &str) -> TestResult {
            let path = self.root.path().join(key);
            fs::create_dir_all(path.parent().ok_or("no folder")?)?;
            fs::write(path, [0; 100])?;
            Ok(())
        }

        fn enforce(&self, retention: Retention) -> io::Result<Removed> {
            retention.enforce(self.root.path(), &self.layout, NOW)
        }

        /// The ages in days of the files that are left.
        fn left(&self) -> io::Result<Vec<u64>> {
            let files = published(self.root.path(), &self.layout)?;
            Ok(files.iter().map(|file| (NOW - file.time) / DAY).collect())
        }
    }

    #[test]
    fn old_files_go_and_their_empty_folders() -> TestResult {
        let tree = Tree::new()?;
        assert_eq!(tree.left()?, [4, 3, 2, 1, 0]);
        let removed = tree.enforce(Retention { max_age: Some(2 * DAY), max_bytes: None })?;
        assert_eq!((removed, tree.left()?), (Removed { files: 2, bytes: 200 }, vec![2, 1, 0]));
        let top = tree.root.path().join(tree.layout.top());
        assert!(top.join("2024").is_dir() && !top.join("2024/09/30").exists(), "{removed:?}");
        Ok(())
    }

    #[test]
    fn the_oldest_go_where_there_are_too_many_bytes() -> TestResult {
        let tree = Tree::new()?;
        tree.enforce(Retention { max_age: None, max_bytes: Some(299) })?;
        assert_eq!(tree.left()?, [1, 0]);
        Ok(())
    }

    #[test]
    fn without_bounds_all_are_kept() -> TestResult {
        let tree = Tree::new()?;
        assert_eq!(tree.enforce(Retention::default())?, Removed::default());
        assert_eq!(tree.left()?.len(), 5);
        Ok(())
    }

    #[test]
    fn only_the_flow_logs_own_files_go() -> TestResult {
        let tree = Tree::new()?;
        let other = Layout::new("", "111122223333", "us-east-1", "fl-2", DestinationOptions::default())?;
        let foreign =
            [other.key(Window::of(0, 300), Hash::new(1)), format!("{}/notes.txt", tree.layout.top())];
        for key in &foreign {
            tree.put(key)?;
        }
        std::os::unix::fs::symlink("/etc", tree.root.path().join(tree.layout.top()).join("link"))?;
        tree.enforce(Retention { max_age: Some(0), max_bytes: Some(0) })?;
        assert_eq!(tree.left()?, Vec::<u64>::new());
        assert!(foreign.iter().all(|key| tree.root.path().join(key).exists()));
        Ok(())
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_empty() -> TestResult {
        let tree = Tree { root: tempfile::tempdir()?, ..Tree::new()? };
        assert_eq!(tree.enforce(Retention { max_age: Some(0), max_bytes: None })?, Removed::default());
        Ok(())
    }
}
