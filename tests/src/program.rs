//! The real kernel programs, run over single frames with `BPF_PROG_TEST_RUN`.
//!
//! The maps and programs are those of `attach`, in a bpffs of this process's own that nobody else
//! sees and that goes with it. Each combination of load-time constants ([`Setting`]) is loaded
//! once, has a slot of its own, and shares the maps: the connection table alone is 128 MiB.
//!
//! What became of a frame is asked twice: the program's return value says whether it passes, the
//! interface's counters say why.

mod block;
mod eni;

use std::{
    collections::HashMap,
    fs,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::PathBuf,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use aya::{
    Ebpf, Pod,
    maps::{Array, Map, MapData, PerCpuArray},
    programs::{ProgramInfo, SchedClassifier, Xdp},
};
pub use eni::{Eni, ring_capacity};
use filter_common::{
    abi::{Config, FRAGMENT_SECONDS, Link, Ports, Side, maps, programs},
    verdict::Reason,
};
use filter_ctl::{
    datapath::{
        Host, Places,
        object::{self, Constants},
    },
    document::{self, Limits},
    policy::EffectivePolicy,
};
use tempfile::TempDir;

use crate::policy;

/// What differs from one attached device to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setting {
    /// Whether the device is the host's end of the link; else the workload's.
    pub host_side: bool,
    /// Whether frames begin with the IP header.
    pub bare: bool,
    /// Whether connections older than the filter are still picked up.
    pub grace: bool,
    /// Whether it is a second device of its kind, with a slot of its own.
    pub twin: bool,
}

impl Setting {
    /// The workload's device.
    pub const WORKLOAD: Self = Self { host_side: false, bare: false, grace: false, twin: false };
    /// The host's end of its link.
    pub const HOST: Self = Self { host_side: true, bare: false, grace: false, twin: false };
}

/// Where the device's receive side is hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// At XDP.
    Xdp,
    /// At TC.
    Tc,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why.
    pub reason: Reason,
    /// How many packets it was counted as.
    pub packets: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// How the kernel sees a frame at TC, beside its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Metadata {
    /// Index of the device by which it came in; 0: this host made it.
    pub came_by: u32,
    /// Payload bytes of each segment, and their number.
    pub segments: Option<(u32, u32)>,
}

/// What a program costs.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Instructions that the verifier walked.
    pub verified: u64,
    /// Bytes of machine code.
    pub machine_code: u64,
}

struct Hooks {
    slot: u32,
    /// Ticks from the programs' clock to the epoch, as the policy in force has it.
    phase: u64,
    /// The policy in force.
    block: Option<block::Block>,
    ebpf: Ebpf,
}

/// The programs and maps of this process.
pub struct Programs {
    host: Host,
    places: Places,
    hooks: HashMap<Setting, Hooks>,
    /// Open once: they are read for every frame.
    counters: PerCpuArray<MapData, eni::PlainCounters>,
    ports: Array<MapData, Ports>,
    generation: u32,
    moved: u64,
    // Goes with the process.
    _bpffs: OwnedFd,
}

/// The common set of programs of this process, whoever holds it works alone.
pub fn programs() -> MutexGuard<'static, Programs> {
    static PROGRAMS: OnceLock<Mutex<Programs>> = OnceLock::new();
    // A failed test leaves nothing that the next one does not clear.
    PROGRAMS.get_or_init(|| Mutex::new(Programs::new())).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The policy that a document comes to for the protected interface.
///
/// # Panics
///
/// When the document is none.
#[must_use]
pub fn effective(policy: &policy::Policy) -> EffectivePolicy {
    effective_of(policy, policy::ENI)
}

/// The policy that a document comes to for one of its interfaces.
///
/// # Panics
///
/// When the document is none.
#[must_use]
pub fn effective_of(policy: &policy::Policy, interface: &str) -> EffectivePolicy {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("policy.json");
    fs::write(&file, policy.document().to_string()).expect("write the document");
    let loaded =
        document::load(&file, &Limits::None).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let (policy, _) =
        loaded.document.effective(interface).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    policy
}

impl Default for Programs {
    fn default() -> Self {
        Self::new()
    }
}

impl Programs {
    /// A set of one's own, with a clock of its own: for tests that run in several threads. Most do
    /// with the common one, [`programs()`].
    ///
    /// # Panics
    ///
    /// When the kernel refuses something.
    #[must_use]
    pub fn new() -> Self {
        let bpffs = mount_bpffs();
        let root = PathBuf::from(format!("/proc/self/fd/{}", bpffs.as_raw_fd()));
        let places = Places::new(root.join("no-state"), root.join("filter"));
        for folder in [places.maps(), places.programs()] {
            fs::create_dir_all(folder).expect("a folder in bpffs");
        }
        let mut ebpf = object::load(&places, None).expect("create the maps");
        for name in [programs::CLOCK, programs::SWEEP] {
            let program: &mut Xdp =
                ebpf.program_mut(name).expect("the program").try_into().expect("an XDP program");
            object::verify(|| program.load()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            program.pin(places.programs().join(name)).expect("pin");
        }
        let host = Host::open_in(&places).expect("open what was just made");
        write_secret(&host);
        let counters = Map::PerCpuArray(host.map(maps::COUNTERS).expect("the counters"));
        let counters = counters.try_into().expect("an array per CPU");
        let ports = Map::Array(host.map(maps::PORTS).expect("the ports")).try_into().expect("an array");
        Self { host, places, hooks: HashMap::new(), counters, ports, generation: 0, moved: 0, _bpffs: bpffs }
    }

    /// The maps.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What a program of a setting costs; the two that are run by hand have none.
    pub fn cost(&mut self, setting: Setting, name: &str) -> Cost {
        let info = if [programs::CLOCK, programs::SWEEP].contains(&name) {
            ProgramInfo::from_pin(self.places.programs().join(name))
        } else {
            self.ensure(setting);
            self.hooks[&setting].ebpf.program(name).expect("the program").info()
        };
        let info = info.expect("the kernel's facts");
        Cost {
            verified: info.verified_instruction_count().expect("kernel 5.16").into(),
            machine_code: info.size_jitted().into(),
        }
    }

    /// An interface with nothing in its tables and its counters at zero.
    pub fn eni(&mut self, setting: Setting, receive: Receive, policy: &EffectivePolicy) -> Eni<'_> {
        self.ensure(setting);
        let mut eni = Eni { slot: self.hooks[&setting].slot, programs: self, setting, receive };
        // What a former test left is only given back while its slot has a policy.
        eni.rewrite(policy);
        eni.clear();
        eni
    }

    /// An interface that [`Programs::eni`] has made, with what its tables hold.
    pub fn again(&mut self, setting: Setting, receive: Receive) -> Eni<'_> {
        Eni { slot: self.hooks[&setting].slot, programs: self, setting, receive }
    }

    /// An interface that has no policy (never give one to its setting).
    pub fn vacant(&mut self, setting: Setting, receive: Receive) -> Eni<'_> {
        self.ensure(setting);
        Eni { slot: self.hooks[&setting].slot, programs: self, setting, receive }
    }

    fn ensure(&mut self, setting: Setting) {
        if self.hooks.contains_key(&setting) {
            return;
        }
        let slot = u32::try_from(self.hooks.len()).expect("few settings");
        let clock = self.host.clock().expect("read the clock");
        let constants = Constants {
            slot,
            side: if setting.host_side { Side::Host } else { Side::Workload },
            link: if setting.bare { Link::Ip } else { Link::Ethernet },
            grace_until: if setting.grace { u64::MAX } else { 0 },
            fragment_stamps: clock.stamps_of(FRAGMENT_SECONDS),
            debug: false,
        };
        let mut ebpf = object::load(&self.places, Some(&constants)).expect("open the maps");
        let xdp: &mut Xdp =
            ebpf.program_mut(programs::XDP).expect("the program").try_into().expect("an XDP program");
        object::verify(|| xdp.load()).unwrap_or_else(|error| panic!("{}: {error:?}", programs::XDP));
        for name in [programs::TC_RECEIVE, programs::TC_SEND] {
            let program: &mut SchedClassifier =
                ebpf.program_mut(name).expect("the program").try_into().expect("a TC program");
            object::verify(|| program.load()).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        self.hooks.insert(setting, Hooks { slot, phase: 0, block: None, ebpf });
    }
}

/// A bpffs that is mounted nowhere: only this process reaches it, and it goes with its descriptor.
fn mount_bpffs() -> OwnedFd {
    const CLOEXEC: libc::c_int = 1;
    const FSCONFIG_CMD_CREATE: libc::c_int = 6;
    let checked = |what: &str, result: libc::c_long| {
        assert!(result >= 0, "{what}: {}", std::io::Error::last_os_error());
        // A descriptor, or the 0 of success.
        result as libc::c_int
    };
    // SAFETY: a string that outlives the call.
    let context = checked("fsopen", unsafe { libc::syscall(libc::SYS_fsopen, c"bpf".as_ptr(), CLOEXEC) });
    // SAFETY: the call returned a new descriptor that nobody else owns.
    let context = unsafe { OwnedFd::from_raw_fd(context) };
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: the command takes no key and no value.
    checked("fsconfig", unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, null, null, 0)
    });
    // SAFETY: no pointers.
    let mount =
        checked("fsmount", unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, 0) });
    // SAFETY: as above.
    unsafe { OwnedFd::from_raw_fd(mount) }
}

/// Any secret but zeros: tests find the same buckets in every run.
fn write_secret(host: &Host) {
    /// The configuration as aya wants it.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    struct Plain(Config);
    // SAFETY: a struct of integers without padding.
    unsafe impl Pod for Plain {}
    let map = host.map(maps::CONFIG).expect("the configuration");
    let mut map: Array<MapData, Plain> = Map::Array(map).try_into().expect("an array");
    let hash_secret = std::array::from_fn(|place| 0x9e37_79b9_u32.wrapping_mul(2 * place as u32 + 1));
    map.set(0, Plain(Config { clock_offset: 0, hash_secret }), 0).expect("write");
}
