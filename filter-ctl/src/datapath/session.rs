//! The right to change the datapath, and setting straight what a killed command left.

use std::fs;

use aya::programs::Xdp;
use filter_common::abi::{programs, sweep_flags};

use super::{
    device,
    error::Error,
    hooks,
    host::Host,
    journal::{self, Entry, HostFacts, Lock, Phase},
    netns, object, pins,
    places::Places,
    policy, sys, versions,
};
use crate::{naming::book::Encoded, state::Hook};

/// One command's turn to change something.
#[derive(Debug)]
pub struct Session {
    pub(super) places: Places,
    /// Attachments that setting things straight has removed.
    pub(super) removed: Vec<Entry>,
    notes: Vec<String>,
    _lock: Lock,
}

impl Session {
    /// Waits for its turn, then finishes or takes back what a killed command left.
    ///
    /// # Errors
    ///
    /// If the process may not change anything, it is somebody else's turn, or another version filters
    /// a device.
    pub fn begin(places: &Places) -> Result<Self, Error> {
        let mut session = Self::wait(places)?;
        versions::refuse(places)?;
        session.repair()?;
        Ok(session)
    }

    /// [`Session::begin`] to take a device off. If another version filters one, nothing is set
    /// straight before that: its state would seem to lack its pins.
    ///
    /// # Errors
    ///
    /// If the process may not change anything, or it is somebody else's turn.
    pub fn begin_detach(places: &Places) -> Result<Self, Error> {
        let mut session = Self::wait(places)?;
        if versions::foreign(places)?.is_empty() {
            session.repair()?;
        }
        Ok(session)
    }

    fn wait(places: &Places) -> Result<Self, Error> {
        if !sys::is_root() {
            return Err(Error::NotRoot);
        }
        pins::require_bpffs(places)?;
        let lock = Lock::take(places)?;
        Ok(Self { places: places.clone(), removed: Vec::new(), notes: Vec::new(), _lock: lock })
    }

    /// What was set straight, for people.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What is attached.
    ///
    /// # Errors
    ///
    /// If a state file cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        journal::entries(&self.places)
    }

    /// The running datapath; the first time its maps are made and the programs pinned that are
    /// run by hand.
    pub(super) fn ensure_base(&self) -> Result<Host, Error> {
        object::bytes()?;
        for folder in [self.places.maps(), self.places.programs(), self.places.interfaces()] {
            pins::create(&folder)?;
        }
        let pin = |name: &str| self.places.programs().join(name);
        if [programs::CLOCK, programs::SWEEP].into_iter().any(|name| !pin(name).exists()) {
            let mut ebpf = object::load(&self.places, None)?;
            for name in [programs::CLOCK, programs::SWEEP] {
                if pin(name).exists() {
                    continue;
                }
                let program = ebpf.program_mut(name).ok_or_else(|| Error::MissingSymbol(name.to_owned()))?;
                let program: &mut Xdp = program.try_into().map_err(Error::program(name))?;
                object::load_program(|| program.load()).map_err(Error::program(name))?;
                program.pin(pin(name))?;
            }
        }
        let host = Host::open_in(&self.places)?;
        host.ensure_secret()?;
        let facts = HostFacts::read(&self.places)?;
        if facts.hz != host.hz() {
            HostFacts { hz: host.hz(), ..facts }.save(&self.places)?;
        }
        Ok(host)
    }

    /// Writes down the rules by which the records of a policy will be named.
    pub(super) fn put_book(&self, slot: u32, generation: u32, book: &Encoded) -> Result<(), Error> {
        let shelf = self.places.shelf();
        let failed = || format!("write the rules to {}", shelf.folder().display());
        shelf.put(slot, generation, book).map_err(|error| Error::system(failed())(error))
    }

    /// Removes the rules of a slot that is free again.
    fn drop_books(&self, slot: u32) -> Result<(), Error> {
        let shelf = self.places.shelf();
        let failed = || format!("tidy up {}", shelf.folder().display());
        shelf.keep(|other, _| other != slot).map_err(|error| Error::system(failed())(error))
    }

    /// Removes everything that is shared by all devices once there is none.
    pub(super) fn clean_up_if_last(&self) -> Result<(), Error> {
        if !self.entries()?.is_empty() || !pins::folders(&self.places)?.is_empty() {
            return Ok(());
        }
        pins::remove(&self.places.version())?;
        // Another version may filter a device: then its folder stays, and so does this one.
        let _ = fs::remove_dir(self.places.bpffs());
        Ok(())
    }

    /// Takes an attachment off its device and out of the maps. Every step may have been done
    /// already; what cannot be done any more is noted.
    pub(super) fn take_down(&self, entry: &Entry) -> Result<Vec<String>, Error> {
        let mut notes = Vec::new();
        let entry = Entry { phase: Phase::Detaching, ..entry.clone() };
        entry.save(&self.places)?;
        let folders =
            [pins::attached(&self.places, &entry.key()), pins::attaching(&self.places, &entry.key())];
        for folder in &folders {
            pins::detach_links(folder)?;
        }
        self.take_down_filters(&entry, &mut notes)?;
        match Host::open_in(&self.places) {
            Ok(host) => {
                policy::settle(&host, entry.attachment.slot)?;
                if let Err(reason) = super::drain_before_detach(&host, &entry.attachment) {
                    notes.push(format!("flow records of {} are lost: {reason}", entry.attachment.device));
                }
                self.release_slot(&host, entry.attachment.slot)?;
            }
            Err(Error::NothingAttached) => {}
            Err(error) => return Err(error),
        }
        for folder in &folders {
            pins::remove(folder)?;
        }
        self.drop_books(entry.attachment.slot)?;
        entry.remove(&self.places)?;
        Ok(notes)
    }

    /// Filters of clsact are no links: they go by name, in the device's own namespace.
    fn take_down_filters(&self, entry: &Entry, notes: &mut Vec<String>) -> Result<(), Error> {
        let attachment = &entry.attachment;
        let hooks = [attachment.receive, attachment.send];
        if !hooks.contains(&Hook::Clsact) {
            return Ok(());
        }
        if attachment.netns != device::current_netns()? {
            let device = &attachment.device;
            if !netns::exists(attachment.netns) {
                notes.push(format!("the network namespace of {device} is gone, and its filters with it"));
                return Ok(());
            }
            notes
                .push(format!("filters of clsact on {device} in another network namespace were not removed"));
            return Ok(());
        }
        match device::name_of(attachment.ifindex)? {
            Some(name) => hooks::detach_clsact(&name, attachment.ifindex, hooks, entry.clsact_added),
            None => Ok(()),
        }
    }

    /// Takes a slot's connections and policy away, in this order: the sweep works only where there
    /// is a policy.
    pub(super) fn release_slot(&self, host: &Host, slot: u32) -> Result<(), Error> {
        host.sweep_all(slot, sweep_flags::FORGET)?;
        policy::remove(host, slot)?;
        host.clear_slot(slot)
    }

    /// Brings state, pins and devices into agreement.
    fn repair(&mut self) -> Result<(), Error> {
        self.remove_foreign_leftovers()?;
        journal::remove_unfinished(&self.places)?;
        for damaged in journal::damaged(&self.places)? {
            self.notes.push(journal::set_aside(damaged)?);
        }
        self.repair_facts()?;
        for entry in self.entries()? {
            let device = entry.attachment.device.clone();
            let folder = pins::attached(&self.places, &entry.key());
            let note = match entry.phase {
                Phase::Attaching if folder.exists() => {
                    Entry { phase: Phase::Attached, ..entry }.save(&self.places)?;
                    self.notes.push(format!("{device}: finished an attach that was killed"));
                    continue;
                }
                Phase::Attaching => "took back an attach that was killed",
                Phase::Detaching => "finished a detach that was killed",
                Phase::Attached if !folder.exists() => "its pins are gone, so it is not attached any more",
                Phase::Attached if !self.has_device(&entry)? => "the device is gone, so its attachment went",
                Phase::Attached => continue,
            };
            let more = self.take_down(&entry)?;
            self.notes.push(format!("{device}: {note}"));
            self.notes.extend(more);
            self.removed.push(entry);
        }
        let known: Vec<_> = self.entries()?.iter().map(Entry::key).collect();
        for folder in pins::folders(&self.places)? {
            if !folder.complete {
                pins::detach_links(&folder.path)?;
                pins::remove(&folder.path)?;
            } else if !known.contains(&folder.key) {
                self.repair_orphan(&folder)?;
            }
        }
        self.clean_up_if_last()
    }

    /// Rebuilds damaged facts about the host. No connection may meet a generation a second time, so
    /// they go on behind the highest that is in force.
    fn repair_facts(&mut self) -> Result<(), Error> {
        let Some(damaged) = HostFacts::damaged(&self.places) else { return Ok(()) };
        let host = match Host::open_in(&self.places) {
            Ok(host) => host,
            Err(Error::NothingAttached) => {
                self.notes.push(journal::set_aside(damaged)?);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut highest = 0;
        let entries = self.entries()?;
        let slots = entries.iter().map(|entry| entry.attachment.slot);
        for slot in slots.chain(pins::folders(&self.places)?.iter().filter_map(|folder| folder.slot)) {
            let generation = policy::in_force(&host, slot)?.map_or(0, |policy| policy.generation());
            highest = highest.max(generation);
        }
        highest = entries.iter().map(|entry| entry.attachment.generation).fold(highest, u32::max);
        self.notes.push(journal::set_aside(damaged)?);
        HostFacts { hz: host.hz(), generation: highest.saturating_add(1) }.save(&self.places)
    }

    /// Programs without state keep enforcing: to take them off unasked would open the device. They
    /// go when the device is gone.
    fn repair_orphan(&mut self, folder: &pins::Folder) -> Result<(), Error> {
        if pins::alive(&folder.path)? == Some(false) {
            return self.remove_orphan(folder);
        }
        self.notes.push(format!(
            "{}: programs whose state is lost keep enforcing; `filter-ctl detach` in that namespace takes them off",
            folder.key
        ));
        Ok(())
    }

    /// Takes off programs whose state is lost. Filters of clsact must have gone before.
    pub(super) fn remove_orphan(&self, folder: &pins::Folder) -> Result<(), Error> {
        pins::detach_links(&folder.path)?;
        if let (Ok(host), Some(slot)) = (Host::open_in(&self.places), folder.slot) {
            self.release_slot(&host, slot)?;
        }
        pins::remove(&folder.path)
    }

    fn has_device(&self, entry: &Entry) -> Result<bool, Error> {
        if let Some(alive) = pins::alive(&pins::attached(&self.places, &entry.key()))? {
            return Ok(alive);
        }
        // Only filters: the kernel says nothing of them, but the device must be there.
        Ok(entry.attachment.netns != device::current_netns()?
            || device::name_of(entry.attachment.ifindex)?.is_some())
    }
}
