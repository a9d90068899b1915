//! The real kernel programs, run over single frames with `BPF_PROG_TEST_RUN`.
//!
//! The maps and programs are those of `attach`, in a bpffs of this process's own that nobody else
//! sees and that goes with it. Each combination of load-time constants ([`Setting`]) is loaded
//! once, has a slot of its own, and shares the maps: the connection table alone is 128 MiB.
//!
//! What became of a frame is asked twice: the program's return value says whether it passes, the
//! interface's counters say why.

use std::{
    collections::HashMap,
    ffi::CStr,
    fs,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::PathBuf,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use aya::{
    Ebpf,
    programs::{ProgramInfo, SchedClassifier, TestRun, TestRunOptions, Xdp},
};
use filter_common::{
    Direction,
    abi::{self, FRAGMENT_SECONDS, Link, RING_BYTES, Side, programs, sweep_flags},
    counters::Counters,
    record::FlowRecord,
    verdict::Reason,
};
use filter_ctl::{
    compile::compile,
    datapath::{
        Host, Places,
        connections::{self, Tracked},
        object::{self, Constants},
        policy::Prepared,
    },
    document::{self, Limits},
    policy::EffectivePolicy,
};
use tempfile::TempDir;

use crate::{frame::Frame, policy};

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
    ebpf: Ebpf,
}

/// The programs and maps of this process.
pub struct Programs {
    host: Host,
    places: Places,
    hooks: HashMap<Setting, Hooks>,
    generation: u32,
    moved: u64,
    // Both go with the process at the latest.
    _bpffs: OwnedFd,
    _state: TempDir,
}

/// The one set of programs of this process, whoever holds it works alone.
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
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("policy.json");
    fs::write(&file, policy.document().to_string()).expect("write the document");
    let loaded =
        document::load(&file, &Limits::None).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let (policy, _) =
        loaded.document.effective(policy::ENI).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    policy
}

impl Programs {
    fn new() -> Self {
        let bpffs = mount_bpffs();
        let state = TempDir::new().expect("a state folder");
        let root = PathBuf::from(format!("/proc/self/fd/{}", bpffs.as_raw_fd()));
        let places = Places::new(state.path().to_owned(), root.join("filter"));
        for folder in [places.maps(), places.programs()] {
            fs::create_dir_all(folder).expect("a folder in bpffs");
        }
        let mut ebpf = object::load(&places, None).expect("create the maps");
        for name in [programs::CLOCK, programs::SWEEP] {
            let program: &mut Xdp =
                ebpf.program_mut(name).expect("the program").try_into().expect("an XDP program");
            program.load().unwrap_or_else(|error| panic!("{name}: {error:?}"));
            program.pin(places.programs().join(name)).expect("pin");
        }
        let host = Host::open_in(&places).expect("open what was just made");
        write_secret(&host);
        Self { host, places, hooks: HashMap::new(), generation: 0, moved: 0, _bpffs: bpffs, _state: state }
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
        eni.apply(policy);
        eni.clear();
        eni
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
        xdp.load().unwrap_or_else(|error| panic!("{}: {error:?}", programs::XDP));
        for name in [programs::TC_RECEIVE, programs::TC_SEND] {
            let program: &mut SchedClassifier =
                ebpf.program_mut(name).expect("the program").try_into().expect("a TC program");
            program.load().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        self.hooks.insert(setting, Hooks { slot, phase: 0, ebpf });
    }
}

/// A network interface whose packets the programs judge.
pub struct Eni<'a> {
    programs: &'a mut Programs,
    setting: Setting,
    receive: Receive,
    slot: u32,
}

impl Eni<'_> {
    /// Its slot in the maps.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// The maps.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.programs.host
    }

    /// Puts a policy into force, with a new generation.
    pub fn apply(&mut self, policy: &EffectivePolicy) {
        self.programs.generation += 1;
        let compiled = compile(policy).expect("a policy that compiles");
        let mut clock = self.programs.host.clock().expect("read the clock");
        // The wall's clock moves with the programs', or intervals would begin anew.
        let moved = u128::from(self.programs.moved) * 1_000_000_000 / u128::from(clock.hz);
        clock.unix_nanos += moved as u64;
        let hooks = self.programs.hooks.get_mut(&self.setting).expect("loaded");
        hooks.phase = clock.epoch_phase();
        Prepared::new(&compiled, &clock, self.programs.generation)
            .and_then(|prepared| prepared.commit(&self.programs.host, self.slot))
            .expect("put the policy into force");
    }

    /// The generation of the last policy that was put into force.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.programs.generation
    }

    /// Forgets connections, flows, counts and records, as `detach` does.
    pub fn clear(&mut self) {
        let host = &self.programs.host;
        let flags = sweep_flags::FORGET | sweep_flags::OPEN_INTERVAL;
        if self.usage() > 0 {
            host.sweep_all(self.slot, flags).expect("sweep");
        } else {
            let (first, count) = (abi::CONNECTIONS as u32, 1 << 16);
            for first in (first..first + abi::FLOWS as u32).step_by(count as usize) {
                host.sweep(first, count, self.slot, flags).expect("sweep");
            }
        }
        // First fragments cannot be swept: they grow old.
        self.wait(FRAGMENT_SECONDS + 1);
        self.records();
        self.clear_counters();
    }

    fn clear_counters(&mut self) {
        use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
        /// Counters as aya wants them.
        #[derive(Clone, Copy)]
        #[repr(transparent)]
        struct Plain(Counters);
        // SAFETY: a struct of integers without padding.
        unsafe impl aya::Pod for Plain {}
        let map = self.programs.host.map(filter_common::abi::maps::COUNTERS).expect("the counters");
        let mut map: PerCpuArray<MapData, Plain> =
            Map::PerCpuArray(map).try_into().expect("an array per CPU");
        let cpus = aya::util::nr_cpus().expect("the number of CPUs");
        let zeros = PerCpuValues::try_from(vec![Plain(Counters::ZERO); cpus]).expect("one for each CPU");
        map.set(self.slot, zeros, 0).expect("clear the counters");
    }

    /// Moves the programs' clock on.
    pub fn wait(&mut self, seconds: u32) {
        let ticks = u64::from(seconds) * u64::from(self.programs.host.hz());
        self.wait_ticks(ticks);
    }

    /// Moves the programs' clock on to half a second after the next interval has begun.
    pub fn wait_for_interval(&mut self, seconds: u32) {
        let clock = self.programs.host.clock().expect("read the clock");
        let length = clock.ticks_of(seconds);
        let position = clock.ticks.wrapping_add(self.programs.hooks[&self.setting].phase) % length;
        self.wait_ticks(length - position + u64::from(clock.hz) / 2);
    }

    fn wait_ticks(&mut self, ticks: u64) {
        self.programs.moved += ticks;
        self.programs.host.set_clock_offset(self.programs.moved).expect("move the clock");
    }

    /// What is counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.programs.host.counters(self.slot).expect("read the counters")
    }

    /// Takes what the ring holds of this interface.
    pub fn records(&mut self) -> Vec<FlowRecord> {
        let mut ring = self.programs.host.records().expect("the ring");
        let mut records = Vec::new();
        while let Some(item) = ring.next() {
            assert_eq!(item.len(), size_of::<FlowRecord>(), "one record");
            // SAFETY: as many bytes as a record has, of which every pattern is one.
            let record: FlowRecord = unsafe { item.as_ptr().cast::<FlowRecord>().read_unaligned() };
            if u32::from(record.slot) == self.slot {
                records.push(record);
            }
        }
        records
    }

    /// Sweeps both tables; records handed over and deferred.
    pub fn sweep(&mut self, flags: u32) -> (u64, u64) {
        self.programs.host.sweep_all(self.slot, flags).expect("sweep")
    }

    /// The tracked connections.
    #[must_use]
    pub fn connections(&self) -> Vec<Tracked> {
        connections::read(&self.programs.host, |slot| slot == self.slot).expect("read the table")
    }

    /// Entries that count against the allowance.
    #[must_use]
    pub fn usage(&self) -> u64 {
        self.programs.host.usage(self.slot).expect("read the usage").connections
    }

    /// Lets a frame pass or not, as the wire or the host would hand it over.
    pub fn judge(&mut self, direction: Direction, frame: &Frame) -> Outcome {
        self.judge_as(direction, frame, Metadata { came_by: 1, segments: None })
    }

    /// [`Eni::judge`] with what the kernel knows beside the bytes.
    pub fn judge_as(&mut self, direction: Direction, frame: &Frame, metadata: Metadata) -> Outcome {
        let bytes = if self.setting.bare { frame.bare() } else { frame.bytes() };
        self.judge_bytes(direction, &bytes, metadata)
    }

    /// [`Eni::judge_as`] of any bytes.
    pub fn judge_bytes(&mut self, direction: Direction, bytes: &[u8], metadata: Metadata) -> Outcome {
        let before = self.counters();
        let passed = self.run(direction, bytes, metadata);
        let after = self.counters();
        let outcome = difference(&before, &after, direction);
        assert_eq!(passed, outcome.reason.passes(), "{:?} was counted, but passed: {passed}", outcome.reason);
        outcome
    }

    /// Runs the programs over a frame without asking the counters; whether it passed.
    pub fn run(&mut self, direction: Direction, bytes: &[u8], metadata: Metadata) -> bool {
        let ebpf = &self.programs.hooks[&self.setting].ebpf;
        let received = (direction == Direction::Ingress) != self.setting.host_side;
        if received && self.receive == Receive::Xdp {
            let program: &Xdp =
                ebpf.program(programs::XDP).expect("the program").try_into().expect("an XDP program");
            let options = TestRunOptions { data_in: Some(bytes), ..TestRunOptions::new() };
            return match program.test_run(options).expect("run").return_value {
                1 => false,
                2 => true,
                other => panic!("XDP action {other}"),
            };
        }
        let name = if received { programs::TC_RECEIVE } else { programs::TC_SEND };
        let program: &SchedClassifier =
            ebpf.program(name).expect("the program").try_into().expect("a TC program");
        let context = context(metadata);
        let options =
            TestRunOptions { data_in: Some(bytes), ctx_in: Some(&context), ..TestRunOptions::new() };
        match program.test_run(options).expect("run").return_value.cast_signed() {
            -1 => true,
            2 => false,
            other => panic!("TC action {other}"),
        }
    }
}

/// A `struct __sk_buff` (`linux/bpf.h`).
fn context(metadata: Metadata) -> [u8; 192] {
    const INGRESS_IFINDEX: usize = 36;
    const GSO_SEGS: usize = 164;
    const GSO_SIZE: usize = 176;
    let mut context = [0; 192];
    let mut set = |at: usize, value: u32| context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    set(INGRESS_IFINDEX, metadata.came_by);
    if let Some((size, count)) = metadata.segments {
        set(GSO_SIZE, size);
        set(GSO_SEGS, count);
    }
    context
}

/// The one reason whose counter has moved.
fn difference(before: &Counters, after: &Counters, expected: Direction) -> Outcome {
    let mut moved = Vec::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        for reason in Reason::ALL {
            let count = |counters: &[[u64; Reason::COUNT]; 2]| counters[direction.index()][*reason as usize];
            let packets = count(&after.packets) - count(&before.packets);
            if packets > 0 {
                let bytes = count(&after.bytes) - count(&before.bytes);
                moved.push((direction, Outcome { reason: *reason, packets, bytes }));
            }
        }
    }
    match moved[..] {
        [(direction, outcome)] if direction == expected => outcome,
        _ => panic!("one {} packet was counted as {moved:?}", expected.name()),
    }
}

/// A bpffs that is mounted nowhere: only this process reaches it, and it goes with its descriptor.
fn mount_bpffs() -> OwnedFd {
    const CLOEXEC: libc::c_int = 1;
    const FSCONFIG_CMD_CREATE: libc::c_int = 6;
    let name: &CStr = c"bpf";
    let checked = |what: &str, result: libc::c_long| {
        assert!(result >= 0, "{what}: {}", std::io::Error::last_os_error());
        // A descriptor, or the 0 of success.
        result as libc::c_int
    };
    // SAFETY: a string that outlives the call.
    let context = checked("fsopen", unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), CLOEXEC) });
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
    use aya::maps::{Array, Map, MapData};
    /// The configuration as aya wants it.
    #[derive(Clone, Copy)]
    #[repr(transparent)]
    struct Plain(filter_common::abi::Config);
    // SAFETY: a struct of integers without padding.
    unsafe impl aya::Pod for Plain {}
    let map = host.map(filter_common::abi::maps::CONFIG).expect("the configuration");
    let mut map: Array<MapData, Plain> = Map::Array(map).try_into().expect("an array");
    let hash_secret = std::array::from_fn(|place| 0x9e37_79b9_u32.wrapping_mul(2 * place as u32 + 1));
    map.set(0, Plain(filter_common::abi::Config { clock_offset: 0, hash_secret }), 0).expect("write");
}

/// Records that the ring has room for.
#[must_use]
pub const fn ring_capacity() -> usize {
    // Eight bytes of header each.
    RING_BYTES as usize / (size_of::<FlowRecord>() + 8)
}
