//! Network namespaces, known by the inodes that the kernel gives them.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Whether a network namespace still exists, as far as can be found out: a process lives in it or
/// holds it open, it is mounted here, or it has a name. To be called by root.
pub(super) fn exists(inode: u64) -> bool {
    let is_it = |path: &Path| fs::metadata(path).is_ok_and(|facts| facts.ino() == inode);
    let link = format!("net:[{inode}]");
    let held = |process: &PathBuf| {
        is_it(&process.join("ns/net"))
            || contents(&process.join("fd"))
                .any(|fd| fs::read_link(fd).is_ok_and(|to| to == Path::new(&link)))
    };
    contents(Path::new("/run/netns")).any(|name| is_it(&name))
        || fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| is_mounted(&mounts, &link))
        || contents(Path::new("/proc")).filter(|path| is_process(path)).any(|process| held(&process))
}

/// Whether `mountinfo` names a namespace as what is mounted (its fourth field).
fn is_mounted(mounts: &str, link: &str) -> bool {
    mounts.lines().any(|mount| mount.split(' ').nth(3) == Some(link))
}

fn is_process(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok())
}

fn contents(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_namespace_exists_and_an_impossible_one_does_not() {
        let own = fs::metadata("/proc/self/ns/net").expect("our own").ino();
        assert!(exists(own));
        assert!(!exists(u64::MAX));
    }

    #[test]
    fn mounted_namespaces_are_found() {
        let mounts = "80 27 0:4 net:[4026532661] /run/netns/a rw shared:1 - nsfs nsfs rw\n";
        assert!(is_mounted(mounts, "net:[4026532661]"));
        assert!(!is_mounted(mounts, "net:[402653266]"));
    }
}
