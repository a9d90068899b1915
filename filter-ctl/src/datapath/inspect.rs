//! What `status` asks: the state folder's word, checked against the kernel.

use filter_common::{abi::Usage, counters::Counters};

use super::{
    device::{self, Device},
    error::Error,
    hooks,
    host::Host,
    journal::{self, Entry, Phase},
    pins,
    places::Places,
    policy,
};

/// Whether an attachment is what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// Its programs run.
    Enforcing,
    /// Its device is gone; the next command that changes something removes it.
    DeviceGone,
    /// A command is at work on it, or was killed; the next one finishes or takes back.
    Unfinished,
    /// Its pins are gone: it is not enforced.
    NotEnforcing,
}

impl Condition {
    /// A few words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforcing => "enforcing",
            Self::DeviceGone => "device gone",
            Self::Unfinished => "unfinished",
            Self::NotEnforcing => "NOT ENFORCING: its pins are gone",
        }
    }
}

/// One attached device as it is now.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the state folder says.
    pub entry: Entry,
    /// Whether it is so.
    pub condition: Condition,
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

/// The attached devices, and names of folders of programs whose state is lost.
///
/// # Errors
///
/// If maps or state cannot be read.
pub fn inspect(places: &Places) -> Result<(Vec<Report>, Vec<String>), Error> {
    let entries = journal::entries(places)?;
    let folders = pins::folders(places)?;
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

fn report(places: &Places, host: &Host, netns: u64, entry: Entry) -> Result<Report, Error> {
    let folder = pins::attached(places, &entry.key());
    let here = entry.attachment.netns == netns;
    let condition = match entry.phase {
        Phase::Attached if !folder.exists() => Condition::NotEnforcing,
        Phase::Attached if pins::alive(&folder)? == Some(false) => Condition::DeviceGone,
        Phase::Attached => Condition::Enforcing,
        Phase::Attaching | Phase::Detaching => Condition::Unfinished,
    };
    let slot = entry.attachment.slot;
    let foreign = if here { foreign(&entry, &pins::programs(&folder)) } else { Vec::new() };
    Ok(Report {
        condition,
        generation: policy::in_force(host, slot)?.map(|policy| policy.generation()),
        usage: host.usage(slot)?,
        counters: host.counters(slot)?,
        here,
        foreign,
        entry,
    })
}

/// Programs of others on the device's hooks.
fn foreign(entry: &Entry, ours: &[u32]) -> Vec<String> {
    let name = &entry.attachment.device;
    let mut foreign = hooks::foreign_tcx(name, ours);
    let xdp = Device::find(name).ok().and_then(|device| device.xdp).filter(|id| !ours.contains(id));
    foreign.extend(xdp.map(|id| format!("{} (XDP, before ours)", device::program_name(id))));
    foreign
}
