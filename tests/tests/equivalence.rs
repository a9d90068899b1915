//! Random documents, random packets, random live updates: the programs in the kernel say what the
//! rules say, in verdict and reason.
//!
//! # Three who must agree
//!
//! ```text
//! facts ─ document.rs ─▶ files ─▶ filter_ctl::document ─▶ effective policy ─▶ compile ─▶ kernel
//!   │                                                            │                         │
//!   └─ World::cell ═══ equal for each packet ═══ Reference::cell ┘                         │
//!                                                     └─ tests::model ══ equal reason ═════┘
//! ```
//!
//! A case's document is a set of *facts* (`facts.rs`), each of which is one thing that the document
//! says. What they mean is walked twice: by `World::cell`, which knows nothing but the facts, and
//! by the reference evaluator over what the decoder and the resolver made of the files. So an error
//! of either of these shows even where compiler and reference agree on the wrong policy. Tracked
//! state, fragments, exemptions are the model's (`tests::model`), which asks the reference evaluator.
//!
//! # A case is data
//!
//! Facts and steps (a packet, a wait, a change of facts) are drawn from the seed before anything
//! runs, by chance alone and never by what the kernel said. So a case repeats exactly, a case
//! without some of its parts is a case, too, and a failure can be shrunk (`shrink.rs`). What is
//! drawn is not uniform: addresses, ports and messages lie on the edges of the facts and beside
//! them, packets answer, repeat, quote and fragment earlier ones, waits are near the timeouts.
//!
//! # Cost
//!
//! 360,000 packets in 900 documents, with some 1,800 live updates, take about 45 s of processor time:
//! a third in the kernel (loading the programs, the packets, the sweeps between cases), the rest in
//! the test's own unoptimised code. Putting a policy into force as `apply` does waits for the
//! kernel's grace periods, 10 to 20 ms and on a busy machine 100; so most updates are written in place
//! (`Eni::rewrite`), and those of every eighth case only are swapped. Two threads share the cases, one
//! for each side of the link, with programs, maps and clocks of their own.
//!
//! # Seeds
//!
//! Case `n` of a run with seed `s` has the seed `s + n`. `FILTER_SEED=…` repeats a run, with a
//! case's own seed it begins with that case. `FILTER_SECONDS=…` goes on with new cases for so long, 0
//! runs one (`cargo xtask fuzz` sets it), else their number is fixed. Such a run proves less, and says so.

#[path = "equivalence/case.rs"]
mod case;
#[path = "equivalence/chance.rs"]
mod chance;
#[path = "equivalence/document.rs"]
mod document;
#[path = "equivalence/facts.rs"]
mod facts;
#[path = "equivalence/packets.rs"]
mod packets;
#[path = "equivalence/reading.rs"]
mod reading;
#[path = "equivalence/shrink.rs"]
mod shrink;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use case::{Case, Failure, Tally};
use filter_common::verdict::Reason;
use tests::program::Programs;

/// Cases of an ordinary run.
const CASES: u64 = 900;
/// Packets that they are, at least.
const PACKETS: u64 = 300_000;
/// Who run them.
const WORKERS: u64 = 2;
/// What a run may take. Where it is not enough, many others use the machine.
const PATIENCE: Duration = Duration::from_secs(4 * 60);
/// Packets that are compared even then.
const PACKETS_IN_A_HURRY: u64 = 10_000;
/// Cases of a run of given length, however long they and loading the programs take; and the packets
/// that they are, at least. (A run of length 0 is a single case.)
const CASES_IN_A_MOMENT: u64 = 4;
const PACKETS_IN_A_MOMENT: u64 = 1_000;

/// Reasons that these packets cannot meet: they have tests of their own.
const NEVER_MET: [Reason; 9] = [
    Reason::AllowanceExceeded,
    Reason::Arp,
    Reason::Truncated,
    Reason::BadIpHeader,
    Reason::BadTransportHeader,
    Reason::ExtensionHeaders,
    Reason::NotIp,
    Reason::TinyFragment,
    Reason::NoPolicy,
];

/// A number from the environment.
fn given(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// The seed of this run, printed.
fn seed() -> u64 {
    let seed = given("FILTER_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.expect("a time after 1970").as_nanos() as u64 >> 10
    });
    println!("FILTER_SEED={seed}");
    seed
}

/// What all workers share.
struct Run {
    seed: u64,
    start: Instant,
    /// How long it goes on; `None`: for [`CASES`].
    time: Option<Duration>,
    /// Cases that were run.
    cases: AtomicU64,
    tally: Mutex<Tally>,
    /// The first failure, as small as it gets.
    failure: Mutex<Option<String>>,
}

impl Run {
    /// Whether there shall be another case.
    fn wants(&self, number: u64) -> bool {
        let failed = self.failure.lock().expect("no worker panics with it").is_some();
        let least = if self.time == Some(Duration::ZERO) { 1 } else { CASES_IN_A_MOMENT };
        let in_time = |time| number < least || self.start.elapsed() < time;
        let wanted = self.time.map_or(number < CASES && in_time(PATIENCE), in_time);
        wanted && !failed
    }

    /// Runs the even cases or the odd ones: those of one side, so that only its programs are loaded.
    fn work(&self, first: u64) {
        let mut programs = Programs::new();
        for number in (first..).step_by(WORKERS as usize).take_while(|number| self.wants(*number)) {
            self.cases.fetch_add(1, Ordering::Relaxed);
            let case = Case::random(self.seed + number);
            let mut tally = [0; Reason::COUNT];
            let result = case.run(&mut programs, &mut tally);
            let mut all = self.tally.lock().expect("no worker panics with it");
            all.iter_mut().zip(tally).for_each(|(sum, count)| *sum += count);
            drop(all);
            if let Err(failure) = result {
                let mut first = self.failure.lock().expect("no worker panics with it");
                if first.is_none() {
                    *first = Some(report(self.seed + number, case, failure, &mut programs));
                }
            }
        }
    }
}

/// What to tell of a failure.
fn report(seed: u64, case: Case, failure: Failure, programs: &mut Programs) -> String {
    println!("FILTER_SEED={seed} fails: {}\nshrinking it …", failure.what);
    let run = |case: &Case| case.run(programs, &mut [0; Reason::COUNT]).err();
    let (case, failure, attempts) = shrink::shrink(case, failure, run);
    format!(
        "{case}{}\nThis is what is left after {attempts} attempts to make it smaller. FILTER_SEED={seed} repeats it.",
        failure.what
    )
}

#[test]
fn the_programs_say_what_the_rules_say() {
    let run = Run {
        seed: seed(),
        start: Instant::now(),
        time: given("FILTER_SECONDS").map(Duration::from_secs),
        cases: AtomicU64::new(0),
        tally: Mutex::new([0; Reason::COUNT]),
        failure: Mutex::new(None),
    };
    thread::scope(|scope| {
        for first in 0..WORKERS {
            let run = &run;
            scope.spawn(move || run.work(first));
        }
    });
    let tally = run.tally.into_inner().expect("no worker panicked");
    for (reason, count) in Reason::ALL.iter().zip(&tally) {
        println!("{:>8} {}", count, reason.name());
    }
    let (judged, time) = (tally.iter().sum::<u64>(), run.start.elapsed());
    let cases = run.cases.into_inner();
    println!(
        "{cases} documents, {judged} packets in {:.1} s: {:.0} packets a second",
        time.as_secs_f64(),
        judged as f64 / time.as_secs_f64()
    );
    if let Some(failure) = run.failure.into_inner().expect("no worker panicked") {
        panic!("{failure}");
    }
    let least = match run.time {
        None if cases < CASES => PACKETS_IN_A_HURRY,
        None => PACKETS,
        Some(Duration::ZERO) => 0,
        Some(_) => PACKETS_IN_A_MOMENT,
    };
    assert!(judged > least, "only {judged} packets were compared");
    if least < PACKETS {
        println!(
            "HURRIED: {cases} documents, where an ordinary run has {CASES}. That each reason was met often is not \
             asserted."
        );
        return;
    }
    // Packets that say nothing prove nothing.
    for reason in Reason::ALL.iter().filter(|reason| !NEVER_MET.contains(reason)) {
        let count = tally[*reason as usize];
        assert!(count > 100, "{} was met {count} times", reason.name());
    }
}
