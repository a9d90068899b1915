//! What other versions of filter have attached, and still enforce.
//!
//! Maps are pinned below a folder of their layout's version (`v2`), and another version cannot read
//! them. The state folder is shared. So after an update of `filter-ctl` what stands on a device may
//! be known by its state file only, and its pins lie beside ours. They are left as they are: the
//! folders of devices (see `pins.rs`) are alike in all versions, so `status` can name them,
//! and `detach` can take their hooks off. Nothing else is done before they are gone: a second filter
//! on the same device would judge by rules of its own, and a slot or a generation that is in use
//! would be given again.

use std::path::{Path, PathBuf};

use super::{
    Session,
    detach::detach_lost_filters,
    device::{self, Device},
    error::Error,
    journal, netns,
    pins::{self, Folder},
    places::Places,
    sys,
};

/// A device that another version filters.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Foreign {
    /// The device's name, if it is known: by its state file, or because it is in this network
    /// namespace.
    pub device: Option<String>,
    /// Network namespace and index, `<inode>-<ifindex>`.
    pub key: String,
    /// Whose pins they are: `v1`.
    pub version: String,
    /// Where they are.
    pub pins: PathBuf,
}

impl Foreign {
    /// The device, for people.
    #[must_use]
    pub fn name(&self) -> String {
        let unnamed = || format!("network namespace-index {}", self.key);
        self.device.clone().unwrap_or_else(unnamed)
    }
}

/// The devices that other versions filter.
///
/// # Errors
///
/// If folders or state files cannot be read, or the kernel cannot be asked.
pub fn foreign(places: &Places) -> Result<Vec<Foreign>, Error> {
    if !sys::is_root() {
        return Err(Error::NotRoot);
    }
    let own = device::current_netns()?;
    let mut found = Vec::new();
    for version in others(places)? {
        for folder in pins::folders_in(&interfaces(&version))? {
            let (netns, ifindex) = parts(&folder.key);
            let here = if netns == Some(own) { ifindex.map(device::name_of).transpose()? } else { None };
            if is_over(&folder, netns, here.as_ref())? {
                continue;
            }
            let entries = journal::entries(places)?;
            let known = entries.into_iter().find(|entry| entry.key() == folder.key);
            found.push(Foreign {
                device: here.flatten().or(known.map(|entry| entry.attachment.device)),
                key: folder.key,
                version: version.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                pins: folder.path,
            });
        }
    }
    Ok(found)
}

/// The keys of the devices that other versions filter, or did until the device went.
pub(super) fn keys(places: &Places) -> Result<Vec<String>, Error> {
    let mut keys = Vec::new();
    for version in others(places)? {
        keys.extend(pins::folders_in(&interfaces(&version))?.into_iter().map(|folder| folder.key));
    }
    Ok(keys)
}

/// Refuses to go on if another version filters a device.
///
/// # Errors
///
/// If one does, or as [`foreign`].
pub fn refuse(places: &Places) -> Result<(), Error> {
    let foreign = foreign(places)?;
    if foreign.is_empty() { Ok(()) } else { Err(Error::OtherVersion(foreign)) }
}

/// Whether nothing of a folder runs any more. `here`: the device's name, if it is in this network
/// namespace; `Some(None)`: it is gone.
fn is_over(folder: &Folder, netns: Option<u64>, here: Option<&Option<String>>) -> Result<bool, Error> {
    Ok(match pins::alive(&folder.path)? {
        Some(alive) => !alive,
        // Filters of clsact go with their device.
        None => here == Some(&None) || netns.is_some_and(|netns| !netns::exists(netns)),
    })
}

/// Folders of other versions beside ours.
fn others(places: &Places) -> Result<Vec<PathBuf>, Error> {
    let is_version =
        |name: &String| name.strip_prefix('v').is_some_and(|digits| digits.parse::<u32>().is_ok());
    let folders = pins::names(places.bpffs())?.into_iter().filter(is_version);
    let mut others: Vec<_> = folders.map(|name| places.bpffs().join(name)).collect();
    others.retain(|folder| *folder != places.version());
    others.sort();
    Ok(others)
}

fn interfaces(version: &Path) -> PathBuf {
    version.join(Places::INTERFACES)
}

/// Network namespace and index of a [key](journal::key).
fn parts(key: &str) -> (Option<u64>, Option<u32>) {
    let (netns, ifindex) = key.split_once('-').unwrap_or_default();
    (netns.parse().ok(), ifindex.parse().ok())
}

impl Session {
    /// Takes another version's filter off a device, and that version's maps out of bpffs with its
    /// last one. Says so, if there was one. Filters of clsact need the device, which is then in this
    /// network namespace.
    pub(super) fn take_off_foreign(&self, key: &str, device: Option<&Device>) -> Result<Vec<String>, Error> {
        let mut notes = Vec::new();
        for version in others(&self.places)? {
            for folder in pins::folders_in(&interfaces(&version))?.iter().filter(|folder| folder.key == key) {
                pins::detach_links(&folder.path)?;
                if let Some(device) = device {
                    detach_lost_filters(&folder.path, device)?;
                }
                pins::remove(&folder.path)?;
                notes.push(format!(
                    "another version of filter had attached it ({}); its filter was taken off, and what it had counted and not yet told in flow records is gone",
                    folder.path.display()
                ));
            }
            remove_if_unused(&version)?;
        }
        Ok(notes)
    }

    /// Removes what is left of other versions once none of their hooks runs any more.
    pub(super) fn remove_foreign_leftovers(&self) -> Result<(), Error> {
        if foreign(&self.places)?.is_empty() {
            others(&self.places)?.iter().try_for_each(|version| pins::remove(version))?;
        }
        Ok(())
    }
}

/// Removes a version's maps if it has no device.
fn remove_if_unused(version: &Path) -> Result<(), Error> {
    if pins::folders_in(&interfaces(version))?.is_empty() { pins::remove(version) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_other_versions_are_others() {
        let root = tempfile::tempdir().expect("a folder");
        let places = Places::new(root.path().join("state"), root.path().join("bpf"));
        assert!(others(&places).expect("none").is_empty());
        for name in ["v1", "v30", "vx", "w1"] {
            fs::create_dir_all(places.bpffs().join(name)).expect("made");
        }
        fs::create_dir_all(places.version()).expect("made");
        assert_eq!(others(&places).expect("readable"), ["v1", "v30"].map(|name| places.bpffs().join(name)));
    }

    #[test]
    fn maps_go_with_the_last_device() {
        let root = tempfile::tempdir().expect("a folder");
        let version = root.path().join("v1");
        let device = interfaces(&version).join("1-2");
        fs::create_dir_all(version.join("maps")).expect("made");
        fs::create_dir_all(&device).expect("made");
        remove_if_unused(&version).expect("nothing done");
        assert!(device.exists());
        fs::remove_dir(&device).expect("removed");
        remove_if_unused(&version).expect("removed");
        assert!(!version.exists());
    }

    #[test]
    fn a_key_has_two_parts() {
        assert_eq!(parts(&journal::key(4_026_531_840, 7)), (Some(4_026_531_840), Some(7)));
        assert_eq!(parts("other"), (None, None));
    }
}
