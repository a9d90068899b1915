//! What `filter-ctl` remembers about attached devices between its runs.

use serde::{Deserialize, Serialize};

use crate::policy::Interface;

/// One attached device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Slot of the interface in every per-interface map.
    pub slot: u32,
    /// The device's name when it was attached.
    pub device: String,
    /// The device's index in its network namespace.
    pub ifindex: u32,
    /// Inode of the device's network namespace.
    pub netns: u64,
    /// The network interface that it is attached as.
    pub interface: Interface,
    /// Which end of the link the device is.
    pub side: Side,
    /// What the receive side is hooked by.
    pub receive: Hook,
    /// What the send side is hooked by.
    pub send: Hook,
    /// Why these hooks: one sentence for people.
    pub reason: String,
    /// Whether it was attached with `--log`.
    pub log: bool,
    /// The kernel's flow-log interval in seconds; `None`: not logged.
    pub interval: Option<u32>,
    /// Generation of the policy that enforces.
    pub generation: u32,
    /// Fingerprint of that policy: an apply that would change nothing is seen by it.
    pub fingerprint: u64,
    /// Unix seconds of the attachment.
    pub attached_at: u64,
}

/// Which end of the link a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The workload's own device: what it receives is the interface's ingress.
    Workload,
    /// The host's end of the workload's link: what it receives is the interface's egress.
    Host,
}

/// Where the kernel calls a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the generic receive path.
    XdpGeneric,
    /// TCX (kernel 6.6).
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
}
