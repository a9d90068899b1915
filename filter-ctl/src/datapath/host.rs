//! The running datapath of this host, as every other part of the crate sees it.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aya::{
    maps::{Map, MapData, MapType, RingBuf},
    programs::{TestRun, TestRunOptions, Xdp},
    util::nr_cpus,
};
use aya_obj::programs::XdpAttachType;
use filter_common::{
    abi::{self, Config, Ports, Sweep, Usage, maps, programs},
    counters::Counters,
};

use super::{error::Error, journal, places::Places, sys};
use crate::{clock::Clock, state::Attachment};

/// Tick rates that a kernel can be built with.
const RATES: [u32; 4] = [100, 250, 300, 1000];

/// The pinned maps and programs of this host.
#[derive(Debug)]
pub struct Host {
    places: Places,
    clock: Xdp,
    sweep: Xdp,
    hz: u32,
}

impl Host {
    /// Opens what the first `attach` pinned.
    ///
    /// # Errors
    ///
    /// If nothing is attached, or the process may not open it.
    pub fn open() -> Result<Self, Error> {
        Self::open_in(&Places::from_environment())
    }

    /// [`Host::open`] with folders of one's own.
    ///
    /// # Errors
    ///
    /// As [`Host::open`].
    pub fn open_in(places: &Places) -> Result<Self, Error> {
        if !sys::is_root() {
            return Err(Error::NotRoot);
        }
        let open = |name: &str| {
            let path = places.programs().join(name);
            if !path.exists() {
                return Err(Error::NothingAttached);
            }
            Xdp::from_pin(path, XdpAttachType::Interface).map_err(Error::program(name))
        };
        let mut host = Self {
            places: places.clone(),
            clock: open(programs::CLOCK)?,
            sweep: open(programs::SWEEP)?,
            hz: 0,
        };
        host.hz = match journal::HostFacts::read(places)?.hz {
            0 => host.measure_rate()?,
            hz => hz,
        };
        Ok(host)
    }

    /// Where this host's things are kept.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Clock ticks per second.
    #[must_use]
    pub fn hz(&self) -> u32 {
        self.hz
    }

    /// The attached devices, by slot.
    ///
    /// # Errors
    ///
    /// If a state file cannot be read.
    pub fn attachments(&self) -> Result<Vec<Attachment>, Error> {
        super::attachments_in(&self.places)
    }

    /// Reads both clocks.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to run the program.
    pub fn clock(&self) -> Result<Clock, Error> {
        undisturbed(|| {
            let begun = Instant::now();
            // The tick began up to one tick before it was read: nothing that matters.
            let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let ticks = self.ticks()?;
            let unix_nanos = u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX);
            Ok((begun.elapsed(), Clock { hz: self.hz, ticks, unix_nanos }))
        })
    }

    /// Runs the sweep over `count` slots from `first` on (see [`Sweep`]); returns what it says.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to run the program.
    pub fn sweep(&self, first: u32, count: u32, slot: u32, flags: u32) -> Result<Sweep, Error> {
        let request = Sweep { first, count, slot, flags, ..Sweep::default() };
        let mut answer = [0; size_of::<Sweep>()];
        run(&self.sweep, programs::SWEEP, &bytes(&request), &mut answer)?;
        Ok(value(&answer))
    }

    /// Runs the sweep over both tables; returns the records handed over and deferred.
    ///
    /// # Errors
    ///
    /// As [`Host::sweep`].
    pub fn sweep_all(&self, slot: u32, flags: u32) -> Result<(u64, u64), Error> {
        const AT_ONCE: u32 = 1 << 16;
        let end = u32::try_from(abi::CONNECTIONS + abi::FLOWS).unwrap_or(u32::MAX);
        let (mut records, mut deferred) = (0, 0);
        for first in (0..end).step_by(AT_ONCE as usize) {
            let done = self.sweep(first, AT_ONCE.min(end - first), slot, flags)?;
            records += u64::from(done.records);
            deferred += u64::from(done.deferred);
        }
        Ok((records, deferred))
    }

    /// The ring buffer of flow records.
    ///
    /// # Errors
    ///
    /// If the pin cannot be opened.
    pub fn records(&self) -> Result<RingBuf<MapData>, Error> {
        Ok(RingBuf::try_from(Map::RingBuf(self.map(maps::RECORDS)?))?)
    }

    /// The counters of an interface, summed over the CPUs.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn counters(&self, slot: u32) -> Result<Counters, Error> {
        const SIZE: usize = size_of::<Counters>();
        let mut all = vec![0; SIZE * cpus()?];
        self.lookup(maps::COUNTERS, slot, &mut all)?;
        let mut sum = [0_u64; SIZE / 8];
        for (index, word) in all.chunks_exact(8).enumerate() {
            let word = u64::from_ne_bytes(word.try_into().unwrap_or_default());
            let total = &mut sum[index % (SIZE / 8)];
            *total = total.wrapping_add(word);
        }
        Ok(value(&sum.map(u64::to_ne_bytes).concat()))
    }

    /// How much of its allowance an interface uses.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn usage(&self, slot: u32) -> Result<Usage, Error> {
        let mut usage = [0; size_of::<Usage>()];
        self.lookup(maps::USAGE, slot, &mut usage)?;
        Ok(value(&usage))
    }

    /// The host's configuration.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    pub fn config(&self) -> Result<Config, Error> {
        let mut config = [0; size_of::<Config>()];
        self.lookup(maps::CONFIG, 0, &mut config)?;
        Ok(value(&config))
    }

    /// Moves the programs' clock, in ticks: for tests.
    ///
    /// # Errors
    ///
    /// If the map cannot be written.
    pub fn set_clock_offset(&self, ticks: u64) -> Result<(), Error> {
        let config = Config { clock_offset: ticks, ..self.config()? };
        self.update(maps::CONFIG, 0, &bytes(&config))
    }

    /// A pinned map.
    ///
    /// # Errors
    ///
    /// If the pin cannot be opened.
    pub fn map(&self, name: &str) -> Result<MapData, Error> {
        Ok(MapData::from_pin(self.places.maps().join(name))?)
    }

    /// Zeroes what is counted for a slot, before it is given to an interface.
    pub(super) fn clear_slot(&self, slot: u32) -> Result<(), Error> {
        self.update(maps::USAGE, slot, &[0; size_of::<Usage>()])?;
        self.update(maps::PORTS, slot, &[0; size_of::<Ports>()])?;
        self.update(maps::COUNTERS, slot, &vec![0; size_of::<Counters>() * cpus()?])
    }

    /// Writes the secret of the hash, once: entries of another secret would not be found again.
    pub(super) fn ensure_secret(&self) -> Result<(), Error> {
        let mut config = self.config()?;
        if config.hash_secret != [0; 12] {
            return Ok(());
        }
        let mut random = [0; size_of::<[u32; 12]>()];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut random))
            .map_err(Error::system("read /dev/urandom"))?;
        config.hash_secret = value(&random);
        self.update(maps::CONFIG, 0, &bytes(&config))
    }

    fn lookup(&self, name: &str, key: u32, value: &mut [u8]) -> Result<(), Error> {
        let map = self.map_of(name, value.len())?;
        let found = sys::lookup(map.fd().as_fd(), key, value)
            .map_err(Error::system(format!("bpf(BPF_MAP_LOOKUP_ELEM, {name}[{key}])")))?;
        found.ok_or_else(|| Error::MissingSymbol(format!("{name}[{key}]")))
    }

    fn update(&self, name: &str, key: u32, value: &[u8]) -> Result<(), Error> {
        let map = self.map_of(name, value.len())?;
        sys::update(map.fd().as_fd(), key, value)
            .map_err(Error::system(format!("bpf(BPF_MAP_UPDATE_ELEM, {name}[{key}])")))
    }

    /// A map whose values, on all CPUs together for a per-CPU map, are as long as ours. The kernel
    /// does not ask: it would write its values over the end of a shorter one.
    fn map_of(&self, name: &str, length: usize) -> Result<MapData, Error> {
        let map = self.map(name)?;
        let info = map.info()?;
        let size = info.value_size() as usize;
        let per_cpu = matches!(info.map_type()?, MapType::PerCpuArray);
        let found = if per_cpu { size.next_multiple_of(8) * cpus()? } else { size };
        if found == length {
            return Ok(map);
        }
        let difference = format!("values of {found} bytes, expected {length}");
        Err(Error::Shape { path: self.places.maps().join(name), difference })
    }

    /// The programs' clock (`bpf_jiffies64` and the test offset), which only a program can read.
    fn ticks(&self) -> Result<u64, Error> {
        let mut answer = [0; 64];
        run(&self.clock, programs::CLOCK, &[0; 64], &mut answer)?;
        Ok(value(&answer[..8]))
    }

    /// Measures the tick rate: two readings, far enough apart to tell the rates from each other.
    fn measure_rate(&self) -> Result<u32, Error> {
        let (before, start) = (self.ticks()?, Instant::now());
        std::thread::sleep(Duration::from_millis(250));
        let (after, elapsed) = (self.ticks()?, start.elapsed());
        Ok(nearest_rate(after.saturating_sub(before), elapsed))
    }
}

/// Reads two clocks until both readings are of one moment: on a busy machine seconds can lie between
/// them, by which intervals and all times of records would be wrong. Of several disturbed attempts
/// the least disturbed one counts.
fn undisturbed<T>(mut read: impl FnMut() -> Result<(Duration, T), Error>) -> Result<T, Error> {
    const ATTEMPTS: usize = 10;
    const MOMENT: Duration = Duration::from_millis(1);
    let mut best = read()?;
    for _ in 1..ATTEMPTS {
        if best.0 <= MOMENT {
            break;
        }
        let next = read()?;
        if next.0 < best.0 {
            best = next;
        }
    }
    Ok(best.1)
}

fn nearest_rate(ticks: u64, elapsed: Duration) -> u32 {
    let measured = ticks as f64 / elapsed.as_secs_f64().max(f64::EPSILON);
    let distance = |rate: &u32| (measured / f64::from(*rate)).max(f64::MIN_POSITIVE).ln().abs();
    RATES.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(RATES[1])
}

/// Runs a program once over a frame.
fn run(program: &Xdp, name: &str, frame: &[u8], answer: &mut [u8]) -> Result<(), Error> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.data_out = Some(answer);
    program.test_run(options).map(drop).map_err(Error::program(name))
}

fn cpus() -> Result<usize, Error> {
    nr_cpus().map_err(|(path, error)| Error::system(format!("read {path}"))(error))
}

/// A value of the ABI from its bytes. `T` is one of the structs of integers in `filter_common`.
pub(super) fn value<T: Copy>(bytes: &[u8]) -> T {
    assert_eq!(bytes.len(), size_of::<T>(), "as long as the value");
    // SAFETY: as many bytes as the type has, unaligned, and every bit pattern is a value of it.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

/// The bytes of a value of the ABI, which has no padding.
pub(super) fn bytes<T: Copy>(value: &T) -> Vec<u8> {
    // SAFETY: the structs of the ABI pad explicitly, so every byte is initialised.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measured_rate_is_the_nearest_one_that_kernels_have() {
        let quarter = Duration::from_millis(250);
        assert_eq!(nearest_rate(25, quarter), 100);
        assert_eq!(nearest_rate(62, quarter), 250);
        assert_eq!(nearest_rate(74, quarter), 300);
        assert_eq!(nearest_rate(251, quarter), 1000);
        assert_eq!(nearest_rate(64, Duration::from_millis(262)), 250);
    }

    #[test]
    fn a_disturbed_reading_of_the_clocks_is_made_again() -> Result<(), Error> {
        let read = |gaps: &[u64]| {
            let mut gaps = gaps.iter().copied();
            undisturbed(|| {
                let micros = gaps.next().unwrap_or(9_000_000);
                Ok((Duration::from_micros(micros), micros))
            })
        };
        assert_eq!(read(&[40])?, 40);
        assert_eq!(read(&[2_000_000, 300, 20])?, 300, "good enough");
        assert_eq!(read(&[2_000_000, 5_000, 8_000])?, 5_000, "the best there is");
        Ok(())
    }

    #[test]
    fn values_of_the_abi_survive_the_way_through_bytes() {
        let sweep = Sweep { first: 7, count: 8, slot: 9, ..Sweep::default() };
        let back: Sweep = value(&bytes(&sweep));
        assert_eq!((back.first, back.count, back.slot), (7, 8, 9));
        assert_eq!(bytes(&sweep).len(), 64);
    }
}
