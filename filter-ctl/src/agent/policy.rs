//! The document that the agent watches: applied when it begins, on SIGHUP, and when the file changes.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

use super::{
    board::{Board, PolicyReport, now},
    say,
};

/// Applies a document as `filter-ctl apply` does, and says what became of it.
pub type Apply = Box<dyn Fn(&Path) -> Result<String, String> + Send>;

/// How often it is looked whether the document has changed.
const LOOK: Duration = Duration::from_secs(2);

/// Asks for the document to be applied again.
pub(super) type Reload = Sender<()>;

/// Watches a document in a thread of its own, which ends with the last [`Reload`].
///
/// # Errors
///
/// If the thread cannot be made.
pub(super) fn watch(path: PathBuf, apply: Apply, board: Arc<Board>) -> io::Result<Reload> {
    let (reload, asked) = channel();
    board.change(|report| {
        report.policy = Some(PolicyReport { path: path.display().to_string(), ..PolicyReport::default() });
    });
    thread::Builder::new().name("policy".into()).spawn(move || run(&path, &*apply, &board, &asked))?;
    Ok(reload)
}

fn run(path: &Path, apply: &dyn Fn(&Path) -> Result<String, String>, board: &Board, asked: &Receiver<()>) {
    let mut seen = None;
    loop {
        // Before it is read: a change meanwhile is seen the next time.
        let current = fingerprint(path);
        if seen.as_ref() != Some(&current) {
            seen = Some(current);
            let applied = apply(path);
            match &applied {
                Ok(what) => say(&format!("{}: {what}", path.display())),
                Err(error) => {
                    say(&format!("{}: not applied, what was in force still is:\n{error}", path.display()))
                }
            }
            board.change(|report| note(report.policy.get_or_insert_default(), applied));
        }
        match asked.recv_timeout(LOOK) {
            Ok(()) => seen = None,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn note(report: &mut PolicyReport, applied: Result<String, String>) {
    match applied {
        Ok(_) => {
            report.successes += 1;
            report.applied_at = Some(now());
            report.error = None;
        }
        Err(error) => {
            report.failures += 1;
            report.error = Some(error);
        }
    }
}

/// What tells one state of a document from another: its files' inodes, sizes and times.
type Fingerprint = BTreeMap<PathBuf, (u64, u64, i64, i64)>;

/// A file's state, or that of the files in a folder. What cannot be read has none: reading it tells why.
fn fingerprint(path: &Path) -> Fingerprint {
    let state = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((path.to_owned(), (found.ino(), found.size(), found.mtime(), found.mtime_nsec())))
    };
    let within = fs::read_dir(path).into_iter().flatten().flatten().filter_map(|entry| state(&entry.path()));
    within.chain(state(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_file_of_a_folder_is_seen() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let before = fingerprint(folder.path());
        fs::write(folder.path().join("a.yaml"), "a")?;
        let one = fingerprint(folder.path());
        assert_ne!(before, one);
        assert_eq!(one, fingerprint(folder.path()));
        fs::write(folder.path().join("a.yaml"), "ab")?;
        assert_ne!(one, fingerprint(folder.path()));
        Ok(())
    }

    #[test]
    fn what_fails_is_told_until_it_is_well_again() {
        let mut report = PolicyReport::default();
        note(&mut report, Err("line 3".into()));
        assert_eq!((report.failures, report.error.as_deref()), (1, Some("line 3")));
        note(&mut report, Ok("applied".into()));
        assert_eq!((report.successes, report.error), (1, None));
    }
}
