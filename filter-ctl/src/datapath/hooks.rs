//! Which hooks a device gets, why, and how programs get onto them and off again.
//!
//! XDP in the driver is the cheapest place on a physical device. On veth, tap and other software
//! devices it is not: there it takes TCP its segmentation offloads, so the same pipeline runs at
//! TCX. Kernels before 6.6 have no TCX; there it is a filter of the clsact qdisc. What a kernel
//! or driver can do is found out by trying, not by its version (aya's plain `attach` would go by it).

use std::path::Path;

use aya::{
    Ebpf,
    programs::{
        Link as _, LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode,
        links::FdLink,
        tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
    },
};
use filter_common::abi::{Link, programs};

use super::{
    device::{self, Device, Filter},
    error::Error,
    kernel, object,
};
use crate::state::Hook;

/// `--hook`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum HookOrder {
    /// XDP for physical devices, TCX for software ones, clsact where the kernel has no TCX.
    #[default]
    Auto,
    /// XDP on receive, TCX or clsact on send.
    Xdp,
    /// TCX on both sides (Linux 6.6).
    Tcx,
    /// Filters of the clsact qdisc on both sides.
    Clsact,
}

/// `--xdp-mode`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum XdpModeOrder {
    /// In the driver; with `--hook auto`, TCX where the driver cannot.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's generic receive path: works everywhere, slower than TCX.
    Generic,
}

/// Priority and handle of our clsact filters: found again by them, and first.
const PRIORITY: u16 = 1;
const HANDLE: TcHandle = TcHandle::new(0, 0xf117);

/// The hooks to try, best first, and why in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// For what the device receives.
    pub receive: Vec<Hook>,
    /// For what it sends.
    pub send: Vec<Hook>,
    /// One clause for people.
    pub reason: String,
}

/// Decides which hooks to try.
///
/// # Errors
///
/// If the order cannot work on this device.
pub fn plan(device: &Device, order: HookOrder, mode: XdpModeOrder) -> Result<Plan, Error> {
    let link = device.link.clone().map_err(|kind| Error::LinkType { device: device.name.clone(), kind })?;
    let order = if mode == XdpModeOrder::Auto { order } else { HookOrder::Xdp };
    let classifier = vec![Hook::Tcx, Hook::Clsact];
    let (receive, send, reason) = match (order, mode) {
        (HookOrder::Tcx, _) => (vec![Hook::Tcx], vec![Hook::Tcx], "as ordered".to_owned()),
        (HookOrder::Clsact, _) => (vec![Hook::Clsact], vec![Hook::Clsact], "as ordered".to_owned()),
        (HookOrder::Xdp, _) if link == Link::Ip => {
            let reason = "its packets have no Ethernet header, and XDP needs one; take `--hook tcx`".into();
            return Err(Error::Hook { hook: "xdp", device: device.name.clone(), reason });
        }
        (HookOrder::Xdp, XdpModeOrder::Generic) => {
            (vec![Hook::XdpGeneric], classifier, "as ordered".to_owned())
        }
        (HookOrder::Xdp, _) => (vec![Hook::XdpNative], classifier, "as ordered".to_owned()),
        (HookOrder::Auto, _) if link == Link::Ip => {
            (classifier.clone(), classifier, "packets without an Ethernet header".to_owned())
        }
        (HookOrder::Auto, _) => match &device.kind {
            Some(kind) => {
                let reason = format!("a {kind} device, where XDP would cost TCP its offloads");
                (classifier.clone(), classifier, reason)
            }
            None => {
                let receive = vec![Hook::XdpNative, Hook::Tcx, Hook::Clsact];
                (receive, classifier, "a device with a driver of its own".to_owned())
            }
        },
    };
    Ok(Plan { receive, send, reason })
}

/// A program on a hook; dropping it takes it off again.
#[derive(Debug)]
pub(super) enum Attached {
    /// A link, which lives as long as it is pinned or held.
    Link(FdLink),
    /// A filter of the clsact qdisc, which the kernel keeps.
    Filter(SchedClassifierLink),
}

impl Attached {
    /// Pins what keeps the hook alive, and lets go of it.
    pub(super) fn keep(self, ebpf: &mut Ebpf, side: Side, path: &Path) -> Result<Kept, Error> {
        match self {
            Self::Link(link) => {
                link.pin(path)?;
                Ok(Kept(None))
            }
            Self::Filter(link) => {
                classifier(ebpf, side)?.pin(path)?;
                Ok(Kept(Some(link)))
            }
        }
    }
}

/// A filter that is not taken off any more once it is [released](Kept::release).
#[derive(Debug)]
pub(super) struct Kept(Option<SchedClassifierLink>);

impl Kept {
    /// The attachment is complete: the filter stays.
    pub(super) fn release(self) {
        std::mem::forget(self.0);
    }
}

/// One of the two sides of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Receive,
    Send,
}

impl Side {
    fn program(self) -> &'static str {
        match self {
            Self::Receive => programs::TC_RECEIVE,
            Self::Send => programs::TC_SEND,
        }
    }

    fn attach_type(self) -> TcAttachType {
        match self {
            Self::Receive => TcAttachType::Ingress,
            Self::Send => TcAttachType::Egress,
        }
    }
}

/// Has the kernel verify and compile a side's TC program.
pub(super) fn load(ebpf: &mut Ebpf, side: Side) -> Result<(), Error> {
    classifier(ebpf, side).map(drop)
}

/// Tries the hooks of a side in order; also says what did not work on the way.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    device: &Device,
    side: Side,
    hooks: &[Hook],
) -> Result<(Hook, Attached, Vec<String>), Error> {
    let mut failures = Vec::new();
    for (number, hook) in hooks.iter().copied().enumerate() {
        let attempt = match hook {
            Hook::XdpNative => attach_xdp(ebpf, device, XdpMode::Driver),
            Hook::XdpGeneric => attach_xdp(ebpf, device, XdpMode::Skb),
            Hook::Tcx => attach_tcx(ebpf, device, side),
            Hook::Clsact => attach_clsact(ebpf, device, side),
        };
        match attempt {
            Ok(attached) => return Ok((hook, attached, failures)),
            // A program that the verifier refuses is no question of hooks.
            Err(error @ Error::Program { source: ProgramError::LoadError { .. }, .. }) => return Err(error),
            Err(error @ Error::NoTcx(_)) if number + 1 == hooks.len() => return Err(error),
            Err(error) if number + 1 == hooks.len() => {
                let mut reason = error.to_string();
                if hook == Hook::XdpNative {
                    reason += "; `--xdp-mode generic` or `--hook tcx` work with any driver";
                }
                for failure in &failures {
                    reason = format!("{failure}; {reason}");
                }
                return Err(Error::Hook { hook: name(hook), device: device.name.clone(), reason });
            }
            Err(Error::NoTcx(_)) => failures.push("this kernel has no TCX".into()),
            Err(error) => failures.push(format!("{} not possible ({error})", name(hook))),
        }
    }
    Err(Error::MissingSymbol("a hook to try".into()))
}

fn attach_xdp(ebpf: &mut Ebpf, device: &Device, mode: XdpMode) -> Result<Attached, Error> {
    let failed = |error| Error::program(programs::XDP)(error);
    let program: &mut Xdp = program(ebpf, programs::XDP)?.try_into().map_err(failed)?;
    if program.fd().is_err() {
        object::load_program(|| program.load()).map_err(failed)?;
    }
    let id = program.attach_to_if_index(device.ifindex, mode).map_err(failed)?;
    let link = program.take_link(id).map_err(failed)?;
    // aya may have fallen back to netlink, whose attachment nothing could pin: it goes off here.
    let link = FdLink::try_from(link).map_err(|_| Error::OldKernel {
        release: kernel::release(),
        what: "XDP links (or the driver refuses them)".into(),
    })?;
    Ok(Attached::Link(link))
}

fn attach_tcx(ebpf: &mut Ebpf, device: &Device, side: Side) -> Result<Attached, Error> {
    let failed = |error| Error::program(side.program())(error);
    let program = classifier(ebpf, side)?;
    // First on both sides: a program before ours could answer for the packet, and ours would
    // never see it.
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let attempt = program.attach_with_options(&device.name, side.attach_type(), options);
    let id = attempt
        .map_err(|error| if kernel::has_tcx() { failed(error) } else { Error::NoTcx(kernel::release()) })?;
    let link = program.take_link(id).map_err(failed)?;
    let link = FdLink::try_from(link).map_err(|error| Error::Hook {
        hook: name(Hook::Tcx),
        device: device.name.clone(),
        reason: error.to_string(),
    })?;
    Ok(Attached::Link(link))
}

fn attach_clsact(ebpf: &mut Ebpf, device: &Device, side: Side) -> Result<Attached, Error> {
    let failed = |error| Error::program(side.program())(error);
    if !device::clsact(device.ifindex)?.present {
        tc::qdisc_add_clsact(&device.name).map_err(|error| failed(error.into()))?;
    }
    let program = classifier(ebpf, side)?;
    let options = NlOptions { priority: PRIORITY, handle: HANDLE, classid: None };
    let options = TcAttachOptions::Netlink(options);
    let id = program.attach_with_options(&device.name, side.attach_type(), options).map_err(failed)?;
    Ok(Attached::Filter(program.take_link(id).map_err(failed)?))
}

fn our_filter(side: Side) -> Filter {
    Filter { egress: side == Side::Send, priority: PRIORITY, handle: HANDLE.into() }
}

/// On which sides of a device of this network namespace our clsact filters stand.
pub(super) fn our_filters(ifindex: u32) -> Result<[bool; 2], Error> {
    let filters = device::clsact(ifindex)?.filters;
    Ok([Side::Receive, Side::Send].map(|side| filters.contains(&our_filter(side))))
}

/// Takes our clsact filters off a device of this network namespace, and the qdisc if it was
/// added for us and nobody else uses it. Fine if they are not there.
pub(super) fn detach_clsact(device: &str, ifindex: u32, hooks: [Hook; 2], added: bool) -> Result<(), Error> {
    for (side, hook) in [Side::Receive, Side::Send].into_iter().zip(hooks) {
        if hook != Hook::Clsact || !device::clsact(ifindex)?.filters.contains(&our_filter(side)) {
            continue;
        }
        SchedClassifierLink::attached(device, side.attach_type(), PRIORITY, HANDLE, None)
            .map_err(Error::system(format!("if_nametoindex({device})")))?
            .detach()
            .map_err(Error::program(side.program()))?;
    }
    let left = device::clsact(ifindex)?;
    if added && left.present && left.filters.is_empty() {
        device::remove_clsact(ifindex)?;
    }
    Ok(())
}

/// Programs of others at the device's TCX hooks, as `name, id N (receive)`.
pub(super) fn foreign_tcx(device: &str, ours: &[u32]) -> Vec<String> {
    let sides = [(TcAttachType::Ingress, "receive"), (TcAttachType::Egress, "send")];
    sides
        .into_iter()
        .filter_map(|(side, word)| Some((SchedClassifier::query_tcx(device, side).ok()?.1, word)))
        .flat_map(|(programs, word)| programs.into_iter().map(move |program| (program, word)))
        .filter(|(program, _)| !ours.contains(&program.id()))
        .map(|(program, word)| {
            format!("{}, id {} ({word})", program.name_as_str().unwrap_or("unnamed"), program.id())
        })
        .collect()
}

fn classifier(ebpf: &mut Ebpf, side: Side) -> Result<&mut SchedClassifier, Error> {
    let failed = |error| Error::program(side.program())(error);
    let program: &mut SchedClassifier = program(ebpf, side.program())?.try_into().map_err(failed)?;
    if program.fd().is_err() {
        object::load_program(|| program.load()).map_err(failed)?;
    }
    Ok(program)
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::programs::Program, Error> {
    ebpf.program_mut(name).ok_or_else(|| Error::MissingSymbol(name.to_owned()))
}

/// The hook's name for people.
#[must_use]
pub fn name(hook: Hook) -> &'static str {
    match hook {
        Hook::XdpNative => "XDP (native)",
        Hook::XdpGeneric => "XDP (generic)",
        Hook::Tcx => "TCX",
        Hook::Clsact => "clsact",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(kind: Option<&str>, link: Result<Link, String>) -> Device {
        let kind = kind.map(str::to_owned);
        Device { name: "d".into(), ifindex: 2, netns: 1, link, kind, xdp: None, addresses: Vec::new() }
    }

    #[test]
    fn physical_devices_get_xdp_and_software_ones_tcx() {
        let physical = plan(&device(None, Ok(Link::Ethernet)), HookOrder::Auto, XdpModeOrder::Auto);
        assert_eq!(physical.expect("a plan").receive, [Hook::XdpNative, Hook::Tcx, Hook::Clsact]);
        let veth = plan(&device(Some("veth"), Ok(Link::Ethernet)), HookOrder::Auto, XdpModeOrder::Auto);
        let veth = veth.expect("a plan");
        assert_eq!(veth.receive, [Hook::Tcx, Hook::Clsact]);
        assert!(veth.reason.contains("veth"));
    }

    #[test]
    fn a_mode_of_xdp_asks_for_xdp() {
        let plan = plan(&device(Some("veth"), Ok(Link::Ethernet)), HookOrder::Auto, XdpModeOrder::Generic);
        assert_eq!(plan.expect("a plan").receive, [Hook::XdpGeneric]);
    }

    #[test]
    fn xdp_is_refused_where_frames_have_no_ethernet_header() {
        let tun = device(Some("tun"), Ok(Link::Ip));
        assert!(matches!(plan(&tun, HookOrder::Xdp, XdpModeOrder::Auto), Err(Error::Hook { .. })));
        assert!(plan(&tun, HookOrder::Auto, XdpModeOrder::Auto).is_ok());
    }

    #[test]
    fn other_link_types_are_refused() {
        let other = device(None, Err("INFINIBAND".into()));
        assert!(matches!(plan(&other, HookOrder::Auto, XdpModeOrder::Auto), Err(Error::LinkType { .. })));
    }
}
