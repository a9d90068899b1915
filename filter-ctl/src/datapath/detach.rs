//! `detach`: off the device, out of the maps, and with the last one out of bpffs.

use std::path::Path;

use super::{
    Session,
    device::{self, Device},
    error::Error,
    hooks,
    journal::{self, Entry},
    netns,
    pins::{self, Pin},
    versions,
};
use crate::state::Hook;

/// What was taken off.
#[derive(Clone, Debug)]
pub struct Detached {
    /// The attachment that was; `None` if its state was lost.
    pub entry: Option<Entry>,
    /// Remarks.
    pub notes: Vec<String>,
    /// Whether it was the last one, so that nothing of ours is left in bpffs.
    pub last: bool,
}

impl Session {
    /// Takes a device off.
    ///
    /// # Errors
    ///
    /// If it is not attached, or the kernel refuses.
    pub fn detach(&self, name: &str) -> Result<Detached, Error> {
        let netns = device::current_netns()?;
        let found = match Device::find(name) {
            Ok(device) => Some(device),
            Err(Error::NoDevice { .. }) => None,
            Err(error) => return Err(error),
        };
        let key = found.as_ref().map(|device| journal::key(device.netns, device.ifindex));
        let foreign = match &key {
            Some(key) => self.take_off_foreign(key, found.as_ref())?,
            None => Vec::new(),
        };
        let entries = self.entries()?;
        let is_meant = |entry: &&Entry| match &key {
            Some(key) => entry.key() == *key,
            None => entry.attachment.netns == netns && entry.attachment.device == name,
        };
        let (entry, mut notes) = match (entries.iter().find(is_meant), &key) {
            (Some(entry), _) => (Some(entry.clone()), self.take_down(entry)?),
            // What was asked for was done while things were set straight.
            (None, _) if self.removed.iter().any(|entry| is_meant(&entry)) => {
                (self.removed.iter().find(is_meant).cloned(), Vec::new())
            }
            (None, Some(key)) if pins::attached(&self.places, key).exists() => {
                if let Some(device) = &found {
                    detach_lost_filters(&pins::attached(&self.places, key), device)?;
                }
                for folder in pins::folders(&self.places)?.iter().filter(|folder| folder.key == *key) {
                    self.remove_orphan(folder)?;
                }
                (None, vec!["its state was lost; its programs were taken off".to_owned()])
            }
            _ if !foreign.is_empty() => (None, Vec::new()),
            // Nobody can enter a namespace that is gone: its attachments go from anywhere.
            _ => match gone(&entries, name)?.or_else(|| gone(&self.removed, name).ok().flatten()) {
                Some(entry) if self.removed.contains(entry) => (Some(entry.clone()), Vec::new()),
                Some(entry) => (Some(entry.clone()), self.take_down(entry)?),
                None => return Err(not_attached(name, found.is_some(), &entries)),
            },
        };
        notes.extend(foreign);
        self.detached(entry, notes)
    }

    /// Takes a network interface off, whichever its device is.
    ///
    /// # Errors
    ///
    /// If it is not attached, or not to one device alone; if its filters are in another network
    /// namespace; or if the kernel refuses.
    pub fn detach_interface(&self, id: &str) -> Result<Detached, Error> {
        let is_meant = |entry: &&Entry| entry.attachment.interface.id == id;
        let entries = self.entries()?;
        let (entry, notes) = match entries.iter().filter(is_meant).collect::<Vec<_>>()[..] {
            [entry] if self.is_out_of_reach(entry)? => {
                return Err(not_attached(&entry.attachment.device, false, &entries));
            }
            [entry] => {
                let device = Device::find(&entry.attachment.device).ok();
                let device =
                    device.filter(|device| journal::key(device.netns, device.ifindex) == entry.key());
                let mut notes = self.take_off_foreign(&entry.key(), device.as_ref())?;
                notes.extend(self.take_down(entry)?);
                (Some(entry.clone()), notes)
            }
            [] => match self.removed.iter().find(is_meant) {
                Some(entry) => (Some(entry.clone()), Vec::new()),
                None => {
                    let hint = "; `filter-ctl status` lists what is".to_owned();
                    return Err(Error::NotAttached { device: id.to_owned(), hint });
                }
            },
            [first, ..] => {
                let device = first.attachment.device.clone();
                return Err(Error::Ambiguous {
                    what: id.to_owned(),
                    hint: format!("name the device ({device}, …)"),
                });
            }
        };
        self.detached(entry, notes)
    }

    fn detached(&self, entry: Option<Entry>, notes: Vec<String>) -> Result<Detached, Error> {
        self.clean_up_if_last()?;
        let last = self.entries()?.is_empty() && versions::foreign(&self.places)?.is_empty();
        Ok(Detached { entry, notes, last })
    }

    /// Filters of clsact can be taken off only in their own network namespace.
    fn is_out_of_reach(&self, entry: &Entry) -> Result<bool, Error> {
        let attachment = &entry.attachment;
        Ok([attachment.receive, attachment.send].contains(&Hook::Clsact)
            && attachment.netns != device::current_netns()?
            && netns::exists(attachment.netns))
    }
}

/// The attachment of a device by its name in a network namespace that is gone.
fn gone<'a>(entries: &'a [Entry], name: &str) -> Result<Option<&'a Entry>, Error> {
    let is_meant = |entry: &&Entry| entry.attachment.device == name && !netns::exists(entry.attachment.netns);
    match entries.iter().filter(is_meant).collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [entry] => Ok(Some(entry)),
        [first, ..] => {
            let hint = format!("take `--interface-id {}`, …", first.attachment.interface.id);
            Err(Error::Ambiguous { what: name.to_owned(), hint })
        }
    }
}

/// Takes off filters of clsact whose state is lost: a pinned program tells of one. Whether the
/// qdisc was added for us is lost with it, so it stays.
pub(super) fn detach_lost_filters(folder: &Path, device: &Device) -> Result<(), Error> {
    let [receive, send] = pins::sides(folder)?.map(|pin| match pin {
        Pin::Program => Hook::Clsact,
        Pin::Missing | Pin::Link { .. } => Hook::Tcx,
    });
    if [receive, send].contains(&Hook::Clsact) {
        hooks::detach_clsact(&device.name, device.ifindex, [receive, send], false)?;
    }
    Ok(())
}

fn not_attached(name: &str, exists: bool, entries: &[Entry]) -> Error {
    let elsewhere = entries.iter().any(|entry| entry.attachment.device == name);
    let hint = if elsewhere {
        format!("; a {name} of another network namespace is: enter it with `nsenter --net=/run/netns/NAME`")
    } else {
        String::new()
    };
    let device = name.to_owned();
    if exists { Error::NotAttached { device, hint } } else { Error::NoDevice { device, hint } }
}
