//! A program of somebody else on the device: two instructions, loaded without any library.

use std::{
    ffi::CString,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::netns::Namespace;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_DETACH: libc::c_long = 34;

/// Where the foreign program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// XDP in the driver.
    XdpNative,
    /// XDP in the generic receive path.
    XdpGeneric,
    /// TCX on the receive side.
    TcxIngress,
}

/// A foreign program that lets everything pass; detached when it goes out of scope.
#[derive(Debug)]
pub struct Foreign {
    link: OwnedFd,
    _program: OwnedFd,
}

impl Foreign {
    /// Attaches it to a device of the namespace.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    #[must_use]
    pub fn attach(on: &Namespace, device: &str, place: Place) -> Self {
        const XDP: u32 = 6;
        const SCHED_CLS: u32 = 3;
        const BPF_XDP: u32 = 37;
        const BPF_TCX_INGRESS: u32 = 46;
        let (kind, attach_type, flags, verdict) = match place {
            Place::XdpGeneric => (XDP, BPF_XDP, 1 << 1, 2),
            Place::XdpNative => (XDP, BPF_XDP, 1 << 2, 2),
            Place::TcxIngress => (SCHED_CLS, BPF_TCX_INGRESS, 0, u32::MAX),
        };
        on.run(|| {
            let name = CString::new(device).expect("a device name");
            // SAFETY: a string that ends in NUL and outlives the call.
            let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
            let program = load(kind, verdict).expect("load a foreign program");
            // struct bpf_attr, link_create: prog_fd, target_ifindex, attach_type, flags.
            let program_number = program.as_raw_fd().unsigned_abs();
            let link = open(BPF_LINK_CREATE, &[program_number, index, attach_type, flags]);
            Self { link: link.expect("attach a foreign program"), _program: program }
        })
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // Closing would not do: a child that another test has forked may hold the link until its exec.
        let _ = bpf(BPF_LINK_DETACH, &[self.link.as_raw_fd().unsigned_abs()]);
    }
}

/// Loads `r0 = verdict; exit`.
fn load(kind: u32, verdict: u32) -> io::Result<OwnedFd> {
    const MOVE_TO_R0: u64 = 0xb7;
    const EXIT: u64 = 0x95;
    let instructions = [MOVE_TO_R0 | u64::from(verdict) << 32, EXIT];
    let license = c"GPL";
    let halves = |pointer: u64| [pointer as u32, (pointer >> 32) as u32];
    let [code_low, code_high] = halves(instructions.as_ptr().addr() as u64);
    let [license_low, license_high] = halves(license.as_ptr().addr() as u64);
    // struct bpf_attr, prog_load: prog_type, insn_cnt, insns, license.
    open(BPF_PROG_LOAD, &[kind, 2, code_low, code_high, license_low, license_high])
}

/// A command that opens something.
fn open(command: libc::c_long, attributes: &[u32]) -> io::Result<OwnedFd> {
    let number = bpf(command, attributes)?;
    // SAFETY: the kernel has just opened it for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The system call, with the rest of its attributes zero.
fn bpf(command: libc::c_long, attributes: &[u32]) -> io::Result<i32> {
    let mut all = [0_u32; 32];
    all[..attributes.len()].copy_from_slice(attributes);
    // SAFETY: the attributes outlive the call; what they point at, the caller keeps alive.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, all.as_ptr(), size_of_val(&all)) };
    let number = i32::try_from(result).map_err(io::Error::other)?;
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(number)
}
