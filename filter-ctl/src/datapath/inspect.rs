//! What `status` asks: the state folder's word, checked against the kernel.

use filter_common::{abi::Usage, counters::Counters};

use super::{
    device::{self, Device},
    error::Error,
    hooks,
    host::Host,
    journal::{self, Entry, HostFacts, Phase},
    netns,
    pins::{self, Pin},
    places::Places,
    policy, sys, versions,
};
use crate::state::Hook;

/// Whether an attachment is what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Its programs run on both sides.
    Enforcing,
    /// Nobody can tell from here: filters of clsact on a device of another network namespace.
    NotChecked,
    /// Its device is gone; the next command that changes something removes it, or `detach` does if
    /// its network namespace went, too.
    DeviceGone,
    /// A command is at work on it, or was killed; the next one finishes or takes back.
    Unfinished,
    /// A side, or both, has lost its program.
    NotEnforcing,
}

impl Condition {
    /// A few words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforcing => "enforcing",
            Self::NotChecked => "not checked",
            Self::DeviceGone => "device gone",
            Self::Unfinished => "unfinished",
            Self::NotEnforcing => "NOT ENFORCING",
        }
    }
}

/// One attached device as it is now.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the state folder says, but with the device's name of today where it can be known.
    pub entry: Entry,
    /// Whether it is so.
    pub condition: Condition,
    /// If it is not enforced: which sides lack what.
    pub missing: Vec<String>,
    /// Generation of the policy in the kernel.
    pub generation: Option<u32>,
    /// Connections in the table.
    pub usage: Usage,
    /// What was counted.
    pub counters: Counters,
    /// Whether the device is in this process's network namespace.
    pub here: bool,
    /// Programs of others on its hooks; known only from its own namespace.
    pub foreign: Vec<String>,
}

/// State files that cannot be understood, each with what is wrong with it.
///
/// # Errors
///
/// If a state file cannot be read.
pub fn damaged(places: &Places) -> Result<Vec<String>, Error> {
    let damaged = journal::damaged(places)?.into_iter().chain(HostFacts::damaged(places));
    Ok(damaged.map(|error| error.to_string()).collect())
}

/// The attached devices, and names of folders of programs whose state is lost.
///
/// # Errors
///
/// If the process may not read maps and state, or they cannot be read.
pub fn inspect(places: &Places) -> Result<(Vec<Report>, Vec<String>), Error> {
    if !sys::is_root() {
        return Err(Error::NotRoot);
    }
    let mut entries = journal::entries(places)?;
    let folders = pins::folders(places)?;
    // Those that another version has attached are its own, unless this one has, too.
    let foreign = versions::keys(places)?;
    let is_ours = |entry: &Entry| folders.iter().any(|folder| folder.key == entry.key());
    entries.retain(|entry| is_ours(entry) || !foreign.contains(&entry.key()));
    let orphans: Vec<_> = folders
        .iter()
        .filter(|folder| folder.complete && !entries.iter().any(|entry| entry.key() == folder.key))
        .map(|folder| folder.key.clone())
        .collect();
    if entries.is_empty() {
        return Ok((Vec::new(), orphans));
    }
    let host = Host::open_in(places)?;
    let netns = device::current_netns()?;
    let report = |entry| report(places, &host, netns, entry);
    Ok((entries.into_iter().map(report).collect::<Result<_, _>>()?, orphans))
}

fn report(places: &Places, host: &Host, netns: u64, mut entry: Entry) -> Result<Report, Error> {
    let folder = pins::attached(places, &entry.key());
    let here = entry.attachment.netns == netns;
    // It may have been renamed since.
    let name = if here { device::name_of(entry.attachment.ifindex)? } else { None };
    if let Some(name) = name {
        entry.attachment.device = name;
    }
    let (condition, missing) = check(places, netns, &entry)?;
    let slot = entry.attachment.slot;
    let foreign = if here { foreign(&entry, &pins::programs(&folder)) } else { Vec::new() };
    Ok(Report {
        condition,
        missing,
        generation: policy::in_force(host, slot)?.map(|policy| policy.generation()),
        usage: host.usage(slot)?,
        counters: host.counters(slot)?,
        here,
        foreign,
        entry,
    })
}

/// The attachments of a device: of this network namespace's one of that name, whatever it was called when
/// it was attached, and of devices of other namespaces that were called so then.
///
/// # Errors
///
/// If there is none, a state file cannot be read, or netlink fails.
pub fn attached_as(places: &Places, name: &str) -> Result<Vec<Entry>, Error> {
    let netns = device::current_netns()?;
    let device = match Device::find(name) {
        Ok(device) => Some(device),
        Err(Error::NoDevice { .. }) => None,
        Err(error) => return Err(error),
    };
    let key = device.as_ref().map(|device| journal::key(device.netns, device.ifindex));
    let mut entries = journal::entries(places)?;
    entries.retain(|entry| match &entry.attachment {
        here if here.netns == netns => Some(entry.key()) == key,
        there => there.device == name,
    });
    for entry in &mut entries {
        if let Some(device) = device.as_ref().filter(|_| entry.attachment.netns == netns) {
            entry.attachment.device.clone_from(&device.name);
        }
    }
    if entries.is_empty() { Err(not_attached(places, name)) } else { Ok(entries) }
}

/// What to say of a device that no state file tells of: perhaps its state is lost.
#[must_use]
pub fn not_attached(places: &Places, name: &str) -> Error {
    let key = Device::find(name).map(|device| journal::key(device.netns, device.ifindex));
    let device = name.to_owned();
    if key.is_ok_and(|key| pins::attached(places, &key).exists()) {
        return Error::Orphan { device };
    }
    Error::NotAttached { device, hint: "; `filter-ctl status` lists what is".to_owned() }
}

/// Remarks on attachments that do not enforce on both sides.
///
/// # Errors
///
/// If the kernel cannot be asked.
pub fn warnings<'a>(
    places: &Places,
    entries: impl IntoIterator<Item = &'a Entry>,
) -> Result<Vec<String>, Error> {
    let netns = device::current_netns()?;
    let mut warnings = Vec::new();
    for entry in entries {
        let (condition, missing) = check(places, netns, entry)?;
        if condition == Condition::NotEnforcing {
            let device = &entry.attachment.device;
            warnings.push(format!(
                "{device} is NOT ENFORCING ({}); `filter-ctl detach {device}`, then attach it again",
                missing.join("; ")
            ));
        }
    }
    Ok(warnings)
}

/// What one side of an attachment does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SideState {
    Runs,
    /// Its pin, and with it the link, is gone.
    Unpinned,
    /// Its link is there, but on no device.
    Unhooked,
    /// No filter of ours.
    NoFilter,
    /// A filter, if at all, in another network namespace.
    Unknown,
}

impl SideState {
    fn of(hook: Hook, pin: Pin, filter: Option<bool>) -> Self {
        match (hook, pin, filter) {
            (Hook::Clsact, _, Some(true)) | (_, Pin::Link { hooked: true, .. }, _) => Self::Runs,
            (Hook::Clsact, _, Some(false)) => Self::NoFilter,
            (Hook::Clsact, _, None) => Self::Unknown,
            (_, Pin::Link { hooked: false, .. }, _) => Self::Unhooked,
            (_, Pin::Missing | Pin::Program, _) => Self::Unpinned,
        }
    }

    /// What is missing, if something is.
    const fn lack(self) -> Option<&'static str> {
        match self {
            Self::Runs | Self::Unknown => None,
            Self::Unpinned => Some("its pin is gone"),
            Self::Unhooked => Some("its link has no device"),
            Self::NoFilter => Some("its clsact filter is gone"),
        }
    }
}

/// Asks the kernel whether both sides of an attachment run.
fn check(places: &Places, own: u64, entry: &Entry) -> Result<(Condition, Vec<String>), Error> {
    let folder = pins::attached(places, &entry.key());
    let attachment = &entry.attachment;
    if entry.phase != Phase::Attached {
        return Ok((Condition::Unfinished, Vec::new()));
    }
    if !folder.exists() {
        return Ok((Condition::NotEnforcing, vec!["its pins are gone".into()]));
    }
    let hooks = [attachment.receive, attachment.send];
    let here = attachment.netns == own;
    let filtered = hooks.contains(&Hook::Clsact);
    let exists = if here {
        Some(device::name_of(attachment.ifindex)?.is_some())
    } else {
        // Of links the kernel tells; filters have gone with their namespace.
        (filtered && !netns::exists(attachment.netns)).then_some(false)
    };
    let filters = if exists == Some(true) && filtered {
        hooks::our_filters(attachment.ifindex)?.map(Some)
    } else {
        [None; 2]
    };
    let pins = pins::sides(&folder)?;
    let state = |side: usize| SideState::of(hooks[side], pins[side], filters[side]);
    Ok(judge([state(0), state(1)], exists))
}

/// The two sides together. `exists`: whether the device is there, if that can be told.
fn judge(sides: [SideState; 2], exists: Option<bool>) -> (Condition, Vec<String>) {
    // A device that goes takes both sides with it.
    let unhooked = sides.contains(&SideState::Unhooked) && !sides.contains(&SideState::Runs);
    if exists == Some(false) || exists.is_none() && unhooked {
        return (Condition::DeviceGone, Vec::new());
    }
    let lacks = pins::SIDES.into_iter().zip(sides);
    let missing: Vec<_> =
        lacks.filter_map(|(name, side)| Some(format!("{name}: {}", side.lack()?))).collect();
    let condition = if !missing.is_empty() {
        Condition::NotEnforcing
    } else if sides.contains(&SideState::Unknown) {
        Condition::NotChecked
    } else {
        Condition::Enforcing
    };
    (condition, missing)
}

/// Programs of others on the device's hooks.
fn foreign(entry: &Entry, ours: &[u32]) -> Vec<String> {
    let name = &entry.attachment.device;
    let mut foreign = hooks::foreign_tcx(name, ours);
    let xdp = Device::find(name).ok().and_then(|device| device.xdp).filter(|id| !ours.contains(id));
    foreign.extend(xdp.map(|id| format!("{} (XDP, before ours)", device::program_name(id))));
    foreign
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Pin = Pin::Link { program: 1, hooked: true };
    const UNHOOKED: Pin = Pin::Link { program: 1, hooked: false };

    #[test]
    fn both_sides_must_run() {
        let tcx = |pin| SideState::of(Hook::Tcx, pin, None);
        assert_eq!(judge([tcx(LINK), tcx(LINK)], Some(true)).0, Condition::Enforcing);
        let (condition, missing) = judge([tcx(Pin::Missing), tcx(LINK)], Some(true));
        assert_eq!(condition, Condition::NotEnforcing);
        assert_eq!(missing, ["receive: its pin is gone"]);
        let (condition, missing) = judge([tcx(UNHOOKED), tcx(UNHOOKED)], Some(true));
        assert_eq!((condition, missing.len()), (Condition::NotEnforcing, 2));
        assert_eq!(judge([tcx(UNHOOKED), tcx(UNHOOKED)], None).0, Condition::DeviceGone);
    }

    #[test]
    fn a_filter_counts_only_where_it_can_be_seen() {
        let clsact = |filter| SideState::of(Hook::Clsact, Pin::Program, filter);
        assert_eq!(judge([clsact(Some(true)); 2], Some(true)).0, Condition::Enforcing);
        assert_eq!(judge([clsact(None); 2], None).0, Condition::NotChecked);
        assert_eq!(judge([clsact(None); 2], Some(false)).0, Condition::DeviceGone);
        let (condition, missing) = judge([clsact(Some(true)), clsact(Some(false))], Some(true));
        assert_eq!(condition, Condition::NotEnforcing);
        assert_eq!(missing, ["send: its clsact filter is gone"]);
    }

    #[test]
    fn a_side_that_lacks_its_link_tells_even_where_the_filter_cannot_be_seen() {
        let sides = [SideState::of(Hook::XdpNative, Pin::Missing, None), SideState::Unknown];
        assert_eq!(judge(sides, None).0, Condition::NotEnforcing);
    }
}
