//! A copy of the tree in which the code may be broken.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Mutant;
use crate::{shell, workspace};

/// What cargo makes of the copy, in it.
const TARGET: &str = "target";

/// The copy; one mutant at a time is in it.
pub(super) struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Copies what git knows, as it is now, over what an earlier run has left.
    pub(super) fn copy() -> Result<Self> {
        let root = workspace::scratch().join("mutants");
        let mut command = Command::new("git");
        command.current_dir(workspace::root());
        let files = shell::read(command.args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
        let mut wanted = HashSet::new();
        for file in files.lines() {
            let (from, to) = (workspace::root().join(file), root.join(file));
            // Git lists what was deleted, too, until that is committed.
            let Ok(new) = fs::read(&from) else { continue };
            // What is the same keeps its time, so that cargo does not build it again.
            if fs::read(&to).ok().as_ref() != Some(&new) {
                fs::create_dir_all(to.parent().context("a file is in a folder")?)?;
                fs::write(&to, new).with_context(|| format!("cannot write {}", to.display()))?;
            }
            wanted.insert(to);
        }
        // A test file that is gone would be a suite still.
        wanted.insert(root.join(TARGET));
        remove_others(&root, &wanted)?;
        Ok(Self { root })
    }

    /// Cargo in the copy.
    pub(super) fn cargo(&self) -> Command {
        let mut command = workspace::cargo("test");
        // Its own folder, also where a common one is set.
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", self.root.join(TARGET));
        command
    }

    /// Does something while a mutant is in the tree.
    pub(super) fn with<T>(&self, mutant: &Mutant, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let path = self.root.join(&mutant.file);
        let whole = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let [start, end] = mutant.span.map(|place| offset(&whole, place));
        let (start, end) = start.zip(end).context("the mutant is of another version of its file")?;
        ensure!(start <= end, "the mutant ends before it begins");
        fs::write(&path, [&whole[..start], &mutant.replacement, &whole[end..]].concat())?;
        let result = act();
        fs::write(&path, whole)?;
        result
    }
}

/// Removes what is in a folder and below it, but for `wanted` files and folders.
fn remove_others(folder: &Path, wanted: &HashSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if wanted.contains(&path) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            remove_others(&path, wanted)?;
            // Only if that has left it empty.
            let _ = fs::remove_dir(&path);
        } else {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Where a line and a column, both from 1, lie in a text.
fn offset(text: &str, (line, column): (usize, usize)) -> Option<usize> {
    let before: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let here = text.get(before..)?;
    let mut characters = here.char_indices().map(|(at, _)| at).chain([here.len()]);
    characters.nth(column - 1).map(|at| before + at)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs};

    use super::{offset, remove_others};

    #[test]
    fn what_is_gone_vanishes_from_the_copy_and_its_target_stays() {
        let root = crate::workspace::scratch().join(format!("tree-{}", std::process::id()));
        for file in ["a/kept.rs", "a/gone.rs", "b/gone.rs", "target/debug/made"] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, "").expect("written");
        }
        let wanted = HashSet::from([root.join("a/kept.rs"), root.join("target")]);
        remove_others(&root, &wanted).expect("removed");
        let exists =
            ["a/kept.rs", "target/debug/made", "a/gone.rs", "b"].map(|path| root.join(path).exists());
        fs::remove_dir_all(&root).expect("removed");
        assert_eq!(exists, [true, true, false, false]);
    }

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let text = "ab\näöc\n";
        assert_eq!(offset(text, (1, 1)), Some(0));
        assert_eq!(offset(text, (2, 3)), Some(7));
        assert_eq!(offset(text, (3, 1)), Some(text.len()));
        assert_eq!(offset(text, (3, 2)), None);
    }
}
