//! `attach`: from a device and a policy to enforcement.

use std::path::Path;

use filter_common::abi::{self, MAX_INTERFACES, sweep_flags};

use super::{
    Session,
    device::{self, Device, program_name},
    error::Error,
    hooks::{self, HookOrder, Plan, XdpModeOrder},
    host::Host,
    journal::{self, Entry, HostFacts, Phase},
    kernel,
    object::{self, Constants},
    pins, policy,
    rules::Rules,
};
use crate::{
    compile::Compiled,
    naming::book::Encoded,
    policy::EffectivePolicy,
    state::{ActiveLog, Attachment, Hook, Side},
};

/// What shall be attached, and how.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The device.
    pub device: &'a Device,
    /// The network interface's policy.
    pub policy: &'a EffectivePolicy,
    /// The same, compiled.
    pub compiled: &'a Compiled,
    /// Where it was read from.
    pub document: &'a Path,
    /// Which end of the link the device is.
    pub side: Side,
    /// Which hooks.
    pub hook: HookOrder,
    /// Which mode of XDP.
    pub mode: XdpModeOrder,
    /// Seconds during which connections older than the filter are picked up.
    pub grace: u32,
    /// The interval of `--log`.
    pub log: Option<u32>,
    /// Whether `--strict-tcp` was given.
    pub strict_tcp: bool,
    /// Whether the programs log what they drop.
    pub debug: bool,
}

/// What was attached, and what people should know about it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The attachment.
    pub entry: Entry,
    /// Remarks.
    pub notes: Vec<String>,
}

impl Session {
    /// Attaches a device. If anything fails, nothing of it is left behind.
    ///
    /// # Errors
    ///
    /// If the device is taken, cannot be filtered, or the kernel refuses.
    pub fn attach(&self, order: &Order<'_>) -> Result<Outcome, Error> {
        let plan = hooks::plan(order.device, order.hook, order.mode)?;
        self.check_free(order)?;
        let result = self.attach_free(order, &plan);
        if result.is_err() {
            self.clean_up_if_last()?;
        }
        result.map_err(on_old_kernel)
    }

    /// Refuses a device that is taken, before anything else is looked at.
    ///
    /// # Errors
    ///
    /// If it is attached, or carries programs of ours whose state is lost.
    pub fn check_device(&self, device: &Device) -> Result<(), Error> {
        let key = journal::key(device.netns, device.ifindex);
        let name = device.name.clone();
        if let Some(entry) = self.entries()?.into_iter().find(|entry| entry.key() == key) {
            let interface = entry.attachment.interface.id;
            return Err(Error::AlreadyAttached { device: name, interface });
        }
        if pins::attached(&self.places, &key).exists() {
            return Err(Error::Orphan { device: name });
        }
        Ok(())
    }

    fn check_free(&self, order: &Order<'_>) -> Result<(), Error> {
        self.check_device(order.device)?;
        match order.device.xdp {
            Some(id) if matches!(order.hook, HookOrder::Auto | HookOrder::Xdp) => {
                Err(Error::ForeignXdp { device: order.device.name.clone(), program: program_name(id) })
            }
            _ => Ok(()),
        }
    }

    fn attach_free(&self, order: &Order<'_>, plan: &Plan) -> Result<Outcome, Error> {
        let host = self.ensure_base()?;
        let slot = self.free_slot()?;
        let entry = self.draft(order, slot, &host)?;
        // From here on a killed attach is known to the next command.
        entry.save(&self.places)?;
        let result = self.fill_and_hook(order, plan, &host, entry.clone());
        if result.is_err() {
            // The error that matters is the one that made us give up.
            let _ = self.take_down(&entry);
        }
        result
    }

    /// The same interface on two devices is a mistake, or both ends of one link.
    fn also_attached(&self, new: &Entry) -> Result<Option<String>, Error> {
        let id = &new.attachment.interface.id;
        let same = |entry: &Entry| entry.attachment.interface.id == *id && entry.key() != new.key();
        let other = self.entries()?.into_iter().find(same);
        Ok(other.map(|entry| format!("{id} is also attached to {}", entry.attachment.device)))
    }

    fn free_slot(&self) -> Result<u32, Error> {
        let entries = self.entries()?.into_iter().map(|entry| entry.attachment.slot);
        let orphans = pins::folders(&self.places)?.into_iter().filter_map(|folder| folder.slot);
        let taken: Vec<_> = entries.chain(orphans).collect();
        (0..MAX_INTERFACES).find(|slot| !taken.contains(slot)).ok_or(Error::Full(MAX_INTERFACES))
    }

    fn draft(&self, order: &Order<'_>, slot: u32, host: &Host) -> Result<Entry, Error> {
        let now = host.clock()?.unix_nanos / 1_000_000_000;
        let known = self.entries()?.iter().map(|entry| entry.attachment.generation).max().unwrap_or(0);
        let attachment = Attachment {
            slot,
            device: order.device.name.clone(),
            ifindex: order.device.ifindex,
            netns: order.device.netns,
            interface: order.policy.interface.clone(),
            side: order.side,
            receive: Hook::Clsact,
            send: Hook::Clsact,
            reason: String::new(),
            log: order.log.is_some(),
            interval: order.policy.flow_log_interval,
            flow_logs: ActiveLog::renewed(&[], &order.policy.flow_logs, now),
            generation: HostFacts::next_generation(&self.places, known)?,
            fingerprint: order.compiled.fingerprint,
            attached_at: now,
        };
        Ok(Entry {
            attachment,
            phase: Phase::Attaching,
            log_seconds: order.log,
            strict_tcp: order.strict_tcp,
            clsact_added: !device::clsact(order.device.ifindex)?.present,
            debug: order.debug,
            document: order.document.to_owned(),
            rules: Rules::of(order.policy, order.compiled),
            allowance: order.policy.allowance,
            applied_at: now,
        })
    }

    /// Rules and policy first, then the hooks, then the name that makes it valid.
    fn fill_and_hook(
        &self,
        order: &Order<'_>,
        plan: &Plan,
        host: &Host,
        mut entry: Entry,
    ) -> Result<Outcome, Error> {
        let slot = entry.attachment.slot;
        let clock = host.clock()?;
        self.put_book(slot, entry.attachment.generation, &Encoded::of(order.policy))?;
        policy::Prepared::new(order.compiled, &clock, entry.attachment.generation)?.commit(host, slot)?;
        // Whatever an earlier interface of this slot has left; the sweep works where there is a policy.
        host.sweep_all(slot, sweep_flags::FORGET)?;
        host.clear_slot(slot)?;

        let constants = Constants {
            slot,
            side: order.side.into(),
            link: order.device.link.clone().unwrap_or(abi::Link::Ethernet),
            grace_until: clock.ticks.wrapping_add(clock.ticks_of(order.grace)),
            fragment_stamps: clock.stamps_of(abi::FRAGMENT_SECONDS),
            debug: order.debug,
        };
        let mut ebpf = object::load(&self.places, Some(&constants))?;
        let folder = pins::begin(&self.places, &entry.key(), slot)?;
        let foreign = hooks::foreign_tcx(&order.device.name, &[]);

        // The verifier takes its time: both programs are loaded before the first is attached.
        hooks::load(&mut ebpf, hooks::Side::Send)?;
        let (receive, received, mut reasons) =
            hooks::attach(&mut ebpf, order.device, hooks::Side::Receive, &plan.receive)?;
        let (send, sent, more) = hooks::attach(&mut ebpf, order.device, hooks::Side::Send, &plan.send)?;
        let received = received.keep(&mut ebpf, hooks::Side::Receive, &folder.join(pins::SIDES[0]))?;
        let sent = sent.keep(&mut ebpf, hooks::Side::Send, &folder.join(pins::SIDES[1]))?;

        reasons.extend(more.into_iter().filter(|reason| !reasons.contains(reason)).collect::<Vec<_>>());
        reasons.insert(0, plan.reason.clone());
        entry.attachment.receive = receive;
        entry.attachment.send = send;
        entry.attachment.reason = reasons.join("; ");
        entry.clsact_added &= [receive, send].contains(&Hook::Clsact);
        entry.save(&self.places)?;
        pins::commit(&self.places, &entry.key())?;
        received.release();
        sent.release();
        entry.phase = Phase::Attached;
        entry.save(&self.places)?;
        let mut notes = notes(order, &foreign);
        notes.extend(self.also_attached(&entry)?);
        Ok(Outcome { entry, notes })
    }
}

fn notes(order: &Order<'_>, foreign: &[String]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(id) = order.device.xdp {
        notes.push(format!(
            "an XDP program that is not ours ({}) sees packets first: what it redirects or answers is not filtered",
            program_name(id)
        ));
    }
    if !foreign.is_empty() {
        notes.push(format!("other TC programs stand on this device, behind ours: {}", foreign.join(", ")));
    }
    notes
}

/// In a kernel that lacks something, says that first: what failed there is a consequence.
fn on_old_kernel(error: Error) -> Error {
    if !matches!(error, Error::Load(_) | Error::Program { .. } | Error::Map(_) | Error::Hook { .. }) {
        return error;
    }
    match kernel::missing() {
        Some(what) => Error::OldKernel { release: kernel::release(), what: what.into() },
        None => error,
    }
}
