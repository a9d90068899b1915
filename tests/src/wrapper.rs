//! The real programs behind a wrapper that gives every packet another remote end.
//!
//! See `filter-ebpf/src/bench.rs` for what a run is. Used by benchmarks and floods.

use std::{env, fs};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, MapData, ProgramArray},
    programs::{ProgramFd, SchedClassifier, TestRun, TestRunOptions, Xdp},
};
use filter_common::bench::State;

use crate::frame::Frame;

/// The wrapper's programs.
pub struct Wrapper {
    ebpf: Ebpf,
    state: Array<MapData, Plain>,
    next_xdp: ProgramArray<MapData>,
    next_tc: ProgramArray<MapData>,
}

/// The wrapper's state as aya wants it.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain(State);
// SAFETY: a struct of integers without padding.
unsafe impl Pod for Plain {}

/// Which remote ends a run's packets have.
#[derive(Clone, Copy, Debug)]
pub enum Remotes {
    /// Random addresses within the first so many of [`filter_common::bench::prefix`].
    Within(u32),
    /// Random ones of so many connections.
    Random(u32),
    /// Each of so many connections once.
    Each(u32),
}

impl Wrapper {
    /// Loads the wrapper from the object that `FILTER_BENCH_OBJECT` names.
    ///
    /// # Panics
    ///
    /// When there is none, or the kernel refuses it.
    #[must_use]
    pub fn new() -> Self {
        let path =
            env::var_os("FILTER_BENCH_OBJECT").expect("FILTER_BENCH_OBJECT names the wrapper's object");
        let object = fs::read(path).expect("read the wrapper's object");
        let mut ebpf = EbpfLoader::new().load(&object).expect("create the wrapper's maps");
        for name in ["bench_xdp", "empty_xdp"] {
            let program: &mut Xdp = ebpf.program_mut(name).expect("the program").try_into().expect("XDP");
            program.load().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        }
        let program: &mut SchedClassifier =
            ebpf.program_mut("bench_tc").expect("the program").try_into().expect("TC");
        program.load().expect("load bench_tc");
        let mut take = |name: &str| ebpf.take_map(name).expect("the map");
        let (state, next_xdp, next_tc) = (take("STATE"), take("NEXT_XDP"), take("NEXT_TC"));
        Self {
            state: state.try_into().expect("an array"),
            next_xdp: next_xdp.try_into().expect("programs"),
            next_tc: next_tc.try_into().expect("programs"),
            ebpf,
        }
    }

    /// Lets the wrapper call an XDP program; `None`: the empty one.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn call_xdp(&mut self, program: Option<&ProgramFd>) {
        let empty: &Xdp = self.ebpf.program("empty_xdp").expect("the program").try_into().expect("XDP");
        let fd = program.unwrap_or_else(|| empty.fd().expect("loaded"));
        self.next_xdp.set(0, fd, 0).expect("set the program to call");
    }

    /// Lets the wrapper call a TC program.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn call_tc(&mut self, program: &ProgramFd) {
        self.next_tc.set(0, program, 0).expect("set the program to call");
    }

    /// Sends a frame `times` times, each with another source, through XDP; nanoseconds of one.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn receive(&mut self, frame: &Frame, remotes: Remotes, seed: u64, times: u32) -> u64 {
        self.prepare(frame, remotes, seed, true);
        let program: &Xdp = self.ebpf.program("bench_xdp").expect("the program").try_into().expect("XDP");
        let bytes = frame.bytes();
        let options = TestRunOptions { data_in: Some(&bytes), repeat: times, ..TestRunOptions::new() };
        program.test_run(options).expect("run").duration.as_nanos() as u64
    }

    /// Sends a frame `times` times, each with another destination, through TC; nanoseconds of one.
    ///
    /// # Panics
    ///
    /// When the kernel refuses.
    pub fn send(&mut self, frame: &Frame, remotes: Remotes, seed: u64, times: u32) -> u64 {
        self.prepare(frame, remotes, seed, false);
        let program: &SchedClassifier =
            self.ebpf.program("bench_tc").expect("the program").try_into().expect("TC");
        let bytes = frame.bytes();
        let options = TestRunOptions { data_in: Some(&bytes), repeat: times, ..TestRunOptions::new() };
        program.test_run(options).expect("run").duration.as_nanos() as u64
    }

    fn prepare(&mut self, frame: &Frame, remotes: Remotes, seed: u64, received: bool) {
        let bytes = frame.bytes();
        let wide = bytes[12..14] == [0x86, 0xdd];
        let (mode, count) = match remotes {
            Remotes::Within(count) => (State::WITHIN_PREFIXES, count),
            Remotes::Random(count) => (State::CONNECTIONS, count),
            Remotes::Each(count) => (State::IN_ORDER, count),
        };
        let (ip, width, transport) = if wide { (22, 16, 54) } else { (26, 4, 34) };
        let (address_at, port_at) = if received { (ip, transport) } else { (ip + width, transport + 2) };
        let port = u16::from_be_bytes([bytes[port_at as usize], bytes[port_at as usize + 1]]);
        let state = State {
            random: seed,
            packets: 0,
            mode,
            count,
            address_at,
            port_at,
            wide: wide.into(),
            port: port.into(),
        };
        self.state.set(0, Plain(state), 0).expect("write the wrapper's state");
    }
}

impl Default for Wrapper {
    fn default() -> Self {
        Self::new()
    }
}
