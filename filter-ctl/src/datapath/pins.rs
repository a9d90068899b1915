//! Folders of pins in bpffs: one per attached device, `<network namespace>-<ifindex>`.
//!
//! A folder holds what keeps the two hooks alive (`receive`, `send`: links, or for clsact the
//! program, whose filter the kernel keeps by itself) and an empty folder that names the slot. It
//! is filled under another name (`attaching-…`) and then renamed: a folder under its final name is
//! complete. (bpffs allows no dots in names.)

use std::{
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use aya::programs::ProgramInfo;

use super::{error::Error, places::Places, sys};

/// The two hooks of a device, as files of its folder.
pub(super) const SIDES: [&str; 2] = ["receive", "send"];

const ATTACHING: &str = "attaching-";
const SLOT: &str = "slot-";

/// The folder of a device that is being attached.
pub(super) fn attaching(places: &Places, key: &str) -> PathBuf {
    places.interfaces().join(format!("{ATTACHING}{key}"))
}

/// The folder of an attached device.
pub(super) fn attached(places: &Places, key: &str) -> PathBuf {
    places.interfaces().join(key)
}

/// Makes the folder of a device that is being attached.
pub(super) fn begin(places: &Places, key: &str, slot: u32) -> Result<PathBuf, Error> {
    let folder = attaching(places, key);
    create(&folder.join(format!("{SLOT}{slot}")))?;
    Ok(folder)
}

/// Gives it its final name: the commit of an attachment.
pub(super) fn commit(places: &Places, key: &str) -> Result<(), Error> {
    let (from, to) = (attaching(places, key), attached(places, key));
    fs::rename(&from, &to).map_err(Error::system(format!("rename {} to {}", from.display(), to.display())))
}

/// What stands in the place of a side's pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    Missing,
    /// A link, and the program that it runs; it may have lost its hook.
    Link {
        program: u32,
        hooked: bool,
    },
    /// A program, which says nothing of its filter (clsact).
    Program,
}

/// The pins of a folder, by side.
pub(super) fn sides(folder: &Path) -> Result<[Pin; 2], Error> {
    let [receive, send] = SIDES.map(|side| pin(&folder.join(side)));
    Ok([receive?, send?])
}

fn pin(path: &Path) -> Result<Pin, Error> {
    let object = match sys::open_pin(path) {
        Ok(object) => object,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Pin::Missing),
        Err(error) => return Err(Error::system(format!("bpf(BPF_OBJ_GET, {})", path.display()))(error)),
    };
    // A program's descriptor is no link: the call fails or names another type.
    Ok(match sys::link(object.as_fd()) {
        Ok(Some(link)) => Pin::Link { program: link.program, hooked: link.ifindex != 0 },
        _ => Pin::Program,
    })
}

/// Whether the links of a folder still have a device. `None` if it has only programs (clsact).
pub(super) fn alive(folder: &Path) -> Result<Option<bool>, Error> {
    Ok(alive_by(sides(folder)?))
}

fn alive_by(sides: [Pin; 2]) -> Option<bool> {
    if sides.iter().any(|side| matches!(side, Pin::Link { hooked: true, .. })) {
        Some(true)
    } else if sides == [Pin::Missing; 2] || sides.iter().any(|side| matches!(side, Pin::Link { .. })) {
        Some(false)
    } else {
        None
    }
}

/// Ids of the programs that a folder's links run, and of those that are pinned themselves.
pub(super) fn programs(folder: &Path) -> Vec<u32> {
    let program = |side: &str| match pin(&folder.join(side)) {
        Ok(Pin::Link { program, .. }) => Some(program),
        Ok(Pin::Program) => ProgramInfo::from_pin(folder.join(side)).ok().map(|info| info.id()),
        _ => None,
    };
    SIDES.into_iter().filter_map(program).collect()
}

/// Takes the links of a folder off their hooks. Fine if there is no such folder.
pub(super) fn detach_links(folder: &Path) -> Result<(), Error> {
    for side in SIDES {
        let path = folder.join(side);
        let object = match sys::open_pin(&path) {
            Ok(object) => object,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::system(format!("bpf(BPF_OBJ_GET, {})", path.display()))(error)),
        };
        // Removing the pin would do, but not at once: the kernel defers it to a work queue.
        if let Ok(Some(_)) = sys::link(object.as_fd()) {
            sys::detach_link(object.as_fd())
                .map_err(Error::system(format!("bpf(BPF_LINK_DETACH, {})", path.display())))?;
        }
    }
    Ok(())
}

/// Removes a folder with its pins. Fine if there is none.
pub(super) fn remove(folder: &Path) -> Result<(), Error> {
    let failed = |error| Error::system(format!("remove {}", folder.display()))(error);
    let contents = match fs::read_dir(folder) {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for content in contents {
        let content = content.map_err(failed)?;
        if content.file_type().map_err(failed)?.is_dir() {
            remove(&content.path())?;
        } else {
            fs::remove_file(content.path()).map_err(failed)?;
        }
    }
    fs::remove_dir(folder).map_err(failed)
}

/// A folder of pins as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// `<network namespace>-<ifindex>`.
    pub(super) key: String,
    /// Whether it has its final name.
    pub(super) complete: bool,
    pub(super) slot: Option<u32>,
}

/// All folders of pins.
pub(super) fn folders(places: &Places) -> Result<Vec<Folder>, Error> {
    folders_in(&places.interfaces())
}

/// All folders of pins in a version's folder of interfaces.
pub(super) fn folders_in(interfaces: &Path) -> Result<Vec<Folder>, Error> {
    let mut folders = Vec::new();
    for name in names(interfaces)? {
        let path = interfaces.join(&name);
        let slot = names(&path)?.iter().find_map(|name| name.strip_prefix(SLOT)?.parse().ok());
        let (key, complete) = match name.strip_prefix(ATTACHING) {
            Some(key) => (key.to_owned(), false),
            None => (name, true),
        };
        folders.push(Folder { path, key, complete, slot });
    }
    folders.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(folders)
}

/// Names of what is in a folder; none if there is no such folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let failed = |error| Error::system(format!("read {}", folder.display()))(error);
    match fs::read_dir(folder) {
        Ok(contents) => contents
            .map(|content| content.map(|content| content.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<_>>()
            .map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Creates a folder in bpffs, and those above it.
pub(super) fn create(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::system(format!("mkdir {}", folder.display())))
}

/// Checks that our folder's place is on bpffs.
pub(super) fn require_bpffs(places: &Places) -> Result<(), Error> {
    // Our own folder may not exist yet: its nearest ancestor tells.
    let existing = places.bpffs().ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match sys::is_bpffs(existing) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::NoBpffs(places.bpffs().to_owned())),
        Err(error) => Err(Error::system(format!("statfs {}", existing.display()))(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_tell_their_key_and_slot_and_whether_they_are_complete() {
        let root = tempfile::tempdir().expect("a folder");
        let places = Places::new(root.path().join("state"), root.path().join("bpf"));
        begin(&places, "4026-7", 3).expect("begun");
        let begun = folders(&places).expect("readable");
        assert_eq!((begun[0].key.as_str(), begun[0].complete, begun[0].slot), ("4026-7", false, Some(3)));
        commit(&places, "4026-7").expect("renamed");
        let done = folders(&places).expect("readable");
        assert_eq!((done.len(), done[0].complete, done[0].slot), (1, true, Some(3)));
        remove(&done[0].path).expect("removed");
        assert!(folders(&places).expect("readable").is_empty());
    }

    #[test]
    fn a_device_is_there_while_one_link_has_it() {
        let link = |hooked| Pin::Link { program: 1, hooked };
        assert_eq!(alive_by([link(true), Pin::Missing]), Some(true));
        assert_eq!(alive_by([link(false), link(false)]), Some(false));
        assert_eq!(alive_by([link(false), Pin::Program]), Some(false));
        assert_eq!(alive_by([Pin::Missing, Pin::Missing]), Some(false));
        assert_eq!(alive_by([Pin::Program, Pin::Missing]), None);
    }

    #[test]
    fn a_folder_that_is_not_on_bpffs_is_refused() {
        let root = tempfile::tempdir().expect("a folder");
        let places = Places::new(root.path().into(), root.path().join("bpf"));
        assert!(matches!(require_bpffs(&places), Err(Error::NoBpffs(_))));
    }
}
