//! One interface of the programs: its rules, its frames, its counts.

use aya::{
    Pod,
    maps::PerCpuValues,
    programs::{ProgramFd, SchedClassifier, TestRun, TestRunOptions, Xdp},
    util::nr_cpus,
};
use filter_common::{
    Direction,
    abi::{self, FRAGMENT_SECONDS, Ports, RING_BYTES, programs, sweep_flags},
    counters::Counters,
    record::FlowRecord,
    verdict::Reason,
};
use filter_ctl::{
    clock::Clock,
    compile::{Compiled, compile},
    datapath::{
        Host,
        connections::{self, Tracked},
        policy::{Prepared, end_expired},
    },
    policy::EffectivePolicy,
};

use super::{Hooks, Metadata, Outcome, Programs, Receive, Setting, block::Block};
use crate::frame::Frame;

/// Counters as aya wants them.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct PlainCounters(Counters);
// SAFETY: a struct of integers without padding.
unsafe impl Pod for PlainCounters {}

/// A network interface whose packets the programs judge.
pub struct Eni<'a> {
    pub(super) programs: &'a mut Programs,
    pub(super) setting: Setting,
    pub(super) receive: Receive,
    pub(super) slot: u32,
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

    /// Puts a policy into force, with a new generation, as `apply` does.
    pub fn apply(&mut self, policy: &EffectivePolicy) {
        let (compiled, clock) = self.compile(policy);
        let prepared = Prepared::new(&compiled, &clock, self.programs.generation).expect("memory for it");
        prepared.commit(&self.programs.host, self.slot).expect("put the policy into force");
        self.hooks().block = Some(Block::new(compiled.tier, prepared));
    }

    /// Puts a policy into force, with a new generation, where the old one lies. No program of the
    /// interface runs meanwhile, so none can see half of it, and the kernel's grace period is saved,
    /// which [`Eni::apply`] waits for: 10 ms and more, on a busy machine 100.
    pub fn rewrite(&mut self, policy: &EffectivePolicy) {
        let (compiled, clock) = self.compile(policy);
        let generation = self.programs.generation;
        let timeouts = compiled.header(&clock, generation).timeouts;
        end_expired(&self.programs.host, self.slot, &timeouts).expect("sweep");
        let block = self.hooks().block.as_ref();
        if !block.is_some_and(|block| block.rewrite(&compiled, &clock, generation)) {
            self.apply(policy);
        }
    }

    /// Compiles a policy for a new generation.
    fn compile(&mut self, policy: &EffectivePolicy) -> (Compiled, Clock) {
        self.programs.generation += 1;
        let compiled = compile(policy).expect("a policy that compiles");
        let mut clock = self.programs.host.clock().expect("read the clock");
        // The wall's clock moves with the programs', or intervals would begin anew.
        let moved = u128::from(self.programs.moved) * 1_000_000_000 / u128::from(clock.hz);
        clock.unix_nanos += moved as u64;
        self.hooks().phase = clock.epoch_phase();
        (compiled, clock)
    }

    fn hooks(&mut self) -> &mut Hooks {
        self.programs.hooks.get_mut(&self.setting).expect("loaded")
    }

    /// The generation of the last policy that was put into force.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.programs.generation
    }

    /// Forgets connections, flows, counts, records and ports, as `detach` and `attach` do.
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
        self.programs.ports.set(self.slot, [0; size_of::<Ports>() / 8], 0).expect("clear the ports");
    }

    fn clear_counters(&mut self) {
        let cpus = nr_cpus().expect("the number of CPUs");
        let zeros =
            PerCpuValues::try_from(vec![PlainCounters(Counters::ZERO); cpus]).expect("one for each CPU");
        self.programs.counters.set(self.slot, zeros, 0).expect("clear the counters");
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
        let all = self.programs.counters.get(&self.slot, 0).expect("read the counters");
        let mut sum = Counters::ZERO;
        for PlainCounters(one) in all.iter() {
            for way in [0, 1] {
                for reason in 0..Reason::COUNT {
                    sum.packets[way][reason] += one.packets[way][reason];
                    sum.bytes[way][reason] += one.bytes[way][reason];
                }
                sum.lost_packets[way] += one.lost_packets[way];
                sum.lost_bytes[way] += one.lost_bytes[way];
                sum.lost_records[way] += one.lost_records[way];
            }
        }
        sum
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

    /// Local ports that are remembered to have had connections, of TCP and of UDP.
    #[must_use]
    pub fn ports(&self) -> [Vec<u16>; 2] {
        let words = self.programs.ports.get(&self.slot, 0).expect("read the ports");
        let (tcp, udp) = words.split_at(words.len() / 2);
        [tcp, udp].map(|words| {
            let is_set = |port: &u16| words[usize::from(port / 64)] >> (port % 64) & 1 != 0;
            (0..=u16::MAX).filter(is_set).collect()
        })
    }

    /// Entries that count against the allowance.
    #[must_use]
    pub fn usage(&self) -> u64 {
        self.programs.host.usage(self.slot).expect("read the usage").connections
    }

    /// Its program at XDP and the one at the send side of TC, for others to call.
    #[must_use]
    pub fn program_fds(&self) -> (&ProgramFd, &ProgramFd) {
        let ebpf = &self.programs.hooks[&self.setting].ebpf;
        let xdp: &Xdp = ebpf.program(programs::XDP).expect("the program").try_into().expect("XDP");
        let send: &SchedClassifier =
            ebpf.program(programs::TC_SEND).expect("the program").try_into().expect("TC");
        (xdp.fd().expect("loaded"), send.fd().expect("loaded"))
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
    ///
    /// # Panics
    ///
    /// Where [`Eni::try_judge_bytes`] has no answer.
    pub fn judge_bytes(&mut self, direction: Direction, bytes: &[u8], metadata: Metadata) -> Outcome {
        self.try_judge_bytes(direction, bytes, metadata).unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    /// [`Eni::judge_bytes`] for whoever shrinks a failure.
    ///
    /// # Errors
    ///
    /// When the counters do not say one reason, or another than what became of the frame.
    pub fn try_judge_bytes(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        metadata: Metadata,
    ) -> Result<Outcome, String> {
        let before = self.counters();
        let passed = self.run(direction, bytes, metadata);
        let after = self.counters();
        let outcome = difference(&before, &after, direction)?;
        if passed != outcome.reason.passes() {
            return Err(format!("{:?} was counted, but passed: {passed}", outcome.reason));
        }
        Ok(outcome)
    }

    /// Runs the programs over frames again and again, on two CPUs at once, and meanwhile something else.
    ///
    /// # Panics
    ///
    /// If the machine has but one CPU.
    pub fn run_at_once(
        &self,
        direction: Direction,
        frames: &[(Vec<u8>, Metadata)],
        times: usize,
        meanwhile: impl Fn(&Host),
    ) {
        std::thread::scope(|scope| {
            let runs = [0, 1].map(|cpu| {
                scope.spawn(move || {
                    bind(cpu);
                    for (bytes, metadata) in frames.iter().cycle().take(frames.len() * times) {
                        self.run_shared(direction, bytes, *metadata);
                    }
                })
            });
            while runs.iter().any(|run| !run.is_finished()) {
                meanwhile(&self.programs.host);
            }
        });
    }

    /// Runs the programs over a frame without asking the counters; whether it passed.
    pub fn run(&mut self, direction: Direction, bytes: &[u8], metadata: Metadata) -> bool {
        self.run_shared(direction, bytes, metadata)
    }

    fn run_shared(&self, direction: Direction, bytes: &[u8], metadata: Metadata) -> bool {
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

/// Binds the calling thread to a CPU: a program's context is its CPU's, so no two may run on one.
fn bind(cpu: usize) {
    // SAFETY: a set of CPUs is integers, of which zeros are the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is ours, and the kernel copies it.
    let result = unsafe {
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
    };
    assert_eq!(result, 0, "bind to CPU {cpu}: {}", std::io::Error::last_os_error());
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
fn difference(before: &Counters, after: &Counters, expected: Direction) -> Result<Outcome, String> {
    let mut moved = Vec::new();
    for direction in Direction::BOTH {
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
        [(direction, outcome)] if direction == expected => Ok(outcome),
        _ => Err(format!("one {} packet was counted as {moved:?}", expected.name())),
    }
}

/// Records that the ring has room for.
#[must_use]
pub const fn ring_capacity() -> usize {
    // Eight bytes of header each.
    RING_BYTES as usize / (size_of::<FlowRecord>() + 8)
}
