//! What can go wrong in the datapath.

use std::{fmt, io, path::PathBuf};

use aya::{EbpfError, maps::MapError, pin::PinError, programs::ProgramError};

use super::{kernel::FLOOR, versions::Foreign};

/// An error of the datapath, with what to do about it where there is something to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not root.
    #[error(
        "this needs root: loading programs and attaching them to a device takes CAP_BPF, CAP_NET_ADMIN and the right to write to bpffs; try `sudo filter-ctl …`"
    )]
    NotRoot,
    /// bpffs is not mounted.
    #[error("{} is not on a BPF file system; `mount -t bpf bpf /sys/fs/bpf` mounts it (inside of `ip netns exec` it is hidden: use `nsenter --net=/run/netns/NAME`)", .0.display())]
    NoBpffs(PathBuf),
    /// The kernel lacks something.
    #[error("this kernel ({release}) lacks {what}; filter needs Linux {} or later", FLOOR)]
    OldKernel {
        /// `uname -r`.
        release: String,
        /// What is missing.
        what: String,
    },
    /// TCX was ordered, and the kernel has none.
    #[error("this kernel ({0}) has no TCX, which came with Linux 6.6; `--hook clsact` does the same")]
    NoTcx(String),
    /// Built without the kernel programs.
    #[error("this filter-ctl was built without its kernel programs; build it with `cargo xtask build`")]
    NoPrograms,
    /// The embedded object is not what this crate expects.
    #[error("the kernel programs lack `{0}`: object and filter-ctl are from different versions")]
    MissingSymbol(String),
    /// A pinned map has another shape.
    #[error("the pinned map {} is not of this version: {difference}; detach every device with the version that attached it", .path.display())]
    Shape {
        /// The pin.
        path: PathBuf,
        /// In what it differs.
        difference: String,
    },
    /// No such device.
    #[error("there is no device {device} in this network namespace{hint}")]
    NoDevice {
        /// Its name.
        device: String,
        /// What else might help, with a leading separator, or nothing.
        hint: String,
    },
    /// A device that cannot be filtered.
    #[error("{device} cannot be filtered: its link type ({kind}) is neither Ethernet nor plain IP")]
    LinkType {
        /// The device.
        device: String,
        /// `ARPHRD_…`
        kind: String,
    },
    /// Nothing of ours on the device.
    #[error("{device} is not attached{hint}")]
    NotAttached {
        /// The device or interface.
        device: String,
        /// What else might help, with a leading separator, or nothing.
        hint: String,
    },
    /// More than one attachment is meant.
    #[error("{what} is attached more than once; {hint}")]
    Ambiguous {
        /// The device or interface.
        what: String,
        /// How to name one of them.
        hint: String,
    },
    /// Nothing is attached at all.
    #[error("no device is attached; `filter-ctl attach DEVICE --policy PATH` attaches one")]
    NothingAttached,
    /// A second attach.
    #[error(
        "{device} is already attached as {interface}; `filter-ctl apply PATH` changes its rules, `filter-ctl detach {device}` takes it off"
    )]
    AlreadyAttached {
        /// The device.
        device: String,
        /// The network interface.
        interface: String,
    },
    /// Programs of ours without their state.
    #[error(
        "{device} carries programs of filter whose state is lost; they keep enforcing. `filter-ctl detach {device}`, then attach it again"
    )]
    Orphan {
        /// The device.
        device: String,
    },
    /// Programs of another version of filter.
    #[error("{}", by_another_version(.0))]
    OtherVersion(Vec<Foreign>),
    /// Somebody else's XDP program.
    #[error(
        "{device} already has an XDP program ({program}) that is not ours, and a device has room for one; remove it (`ip link set dev {device} xdp off`, or `xdpgeneric off`), or take `--hook tcx`, which judges what that program lets through"
    )]
    ForeignXdp {
        /// The device.
        device: String,
        /// Name and id.
        program: String,
    },
    /// The hook that was asked for does not work here.
    #[error("{hook} does not work on {device}: {reason}")]
    Hook {
        /// The hook's name.
        hook: &'static str,
        /// The device.
        device: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Another command is running.
    #[error("another filter-ctl is changing something right now (lock {}); try again", .0.display())]
    Locked(PathBuf),
    /// All slots are taken.
    #[error("{0} interfaces are attached, and that is the most this host can have")]
    Full(u32),
    /// A state file that cannot be read.
    #[error("the state file {} is damaged ({reason}); what it is about goes on. The next command that changes something sets it aside", .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The verifier, or something else about a program.
    #[error("{program}: {}", said(.source))]
    Program {
        /// The program's name.
        program: String,
        /// What aya says, with the verifier's log.
        source: ProgramError,
    },
    /// A system call.
    #[error("{call}: {source}")]
    System {
        /// The call and what it was about.
        call: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Netlink.
    #[error("netlink, {what}: {reason}")]
    Netlink {
        /// What was asked.
        what: String,
        /// What went wrong.
        reason: String,
    },
    /// Loading the object.
    #[error("loading the kernel programs: {}", Chain(.0))]
    Load(#[from] EbpfError),
    /// A map.
    #[error("{}", Chain(.0))]
    Map(#[from] MapError),
    /// A pin.
    #[error("{}", Chain(.0))]
    Pin(#[from] PinError),
}

impl Error {
    /// The verifier's log, if it refused a program.
    #[must_use]
    pub fn verifier_log(&self) -> Option<String> {
        match self {
            Self::Program { source: ProgramError::LoadError { verifier_log, .. }, .. } => {
                Some(verifier_log.to_string())
            }
            _ => None,
        }
    }

    /// An error of a system call.
    pub(crate) fn system(call: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let call = call.into();
        move |source| Self::System { call, source }
    }

    /// An error of a program.
    pub(crate) fn program(program: &str) -> impl FnOnce(ProgramError) -> Self {
        let program = program.to_owned();
        move |source| Self::Program { program, source }
    }
}

/// What other versions filter, and how to get rid of it.
fn by_another_version(foreign: &[Foreign]) -> String {
    let devices: Vec<_> =
        foreign.iter().map(|one| format!("{} ({})", one.name(), one.pins.display())).collect();
    format!(
        "another version of filter enforces on {}, and this one cannot change it: detach with the version that attached it, or `filter-ctl detach DEVICE` takes it off; then attach again",
        devices.join(", ")
    )
}

/// What a program's error says, without the verifier's log, which is long.
fn said(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, .. } => format!("bpf(BPF_PROG_LOAD): {io_error}"),
        error => Chain(error).to_string(),
    }
}

/// An error with its causes, as one line.
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        write!(formatter, "{said}")?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Transparent errors repeat themselves.
            if !said.contains(&text) {
                write!(formatter, ": {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}
