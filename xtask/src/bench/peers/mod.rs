//! `peers`: ours beside other packet filters, with the same rules and the same packets.
//!
//! All contenders take turns, run by run, so that a machine that slows down does so for all of
//! them; a ratio is one of the same run. Before anything is timed, each contender is loaded with
//! each number of rules, and single packets prove that it decides as the rules say.

mod contender;
mod flows;
mod goals;
mod probe;
mod report;
mod rules;
mod sender;
mod stage;

use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::numbers::Sample;
use super::{Bench, Report, cpu, object};
use crate::setup;
use crate::shell::progress;
use contender::{CONTENDERS, Contender, NATIVE, NONE};
use rules::{DROPPED, Rules};
use stage::{Flood, Stage};

/// How many rules there are.
const SIZES: [u32; 4] = [10, 1_000, 10_000, 100_000];
/// How many there are beside the one for the flows.
const BESIDE_FLOWS: u32 = 1_000;

/// One contender with one number of rules, and what was measured in each run.
struct Cell {
    contender: &'static Contender,
    rules: Rules,
    nanoseconds: Sample,
    received: Sample,
    sent: Sample,
}

/// What is measured.
struct Plan {
    sizes: &'static [u32],
    /// The flood that everybody drops.
    drops: Vec<Cell>,
    /// The flood of established flows.
    flows: Vec<Cell>,
    /// What is not measured, and why.
    left_out: Vec<String>,
}

/// iptables has a network of its own.
struct Stages {
    clean: Stage,
    stained: Stage,
}

pub(super) fn measure(bench: &Bench) -> Result<Report> {
    setup::toolchain()?;
    let _pinned = cpu::pin()?;
    let mut plan = Plan::new(bench);
    let object = object::build("filter-bench-sender")?;
    let object = fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    let mut stages = Stages {
        clean: Stage::build("peers", &bench.binary, &object)?,
        stained: Stage::build("iptables", &bench.binary, &object)?,
    };
    progress("checking everybody's verdicts");
    plan.check(&mut stages)?;
    let window =
        if bench.quick { Duration::from_millis(100) } else { Duration::from_secs(bench.seconds.into()) };
    for run in 0..bench.runs {
        progress(&format!("run {} of {}", run + 1, bench.runs));
        for cell in &mut plan.drops {
            cell.drop_flood(stages.of(cell.contender), window)?;
        }
        for cell in &mut plan.flows {
            let flood = flows::measure(stages.of(cell.contender), cell.contender, cell.rules, window)?;
            cell.add(flood);
        }
    }
    report::make(bench, &plan)
}

impl Plan {
    /// Everything that the tools of this machine can do.
    fn new(bench: &Bench) -> Self {
        let sizes = if bench.quick { &SIZES[..2] } else { &SIZES[..] };
        let mut left_out = Vec::new();
        for tool in setup::PEERS {
            if let Err(error) = setup::tools(&[*tool]) {
                left_out.push(format!("{}: {error:#}", tool.0));
            }
        }
        let (mut drops, mut flows) = (Vec::new(), Vec::new());
        for contender in &CONTENDERS {
            let missing = contender.missing();
            if !missing.is_empty() {
                left_out.push(format!("{}: there is no {}", contender.name, missing.join(", no ")));
                continue;
            }
            let sizes = if contender.has_rules() { sizes } else { &sizes[..1] };
            let bearable = sizes.iter().filter(|count| **count <= contender.most);
            drops.extend(bearable.map(|count| Cell::new(contender, Rules { count: *count, flows: false })));
            if flows::takes_part(contender) {
                flows.push(Cell::new(contender, Rules { count: BESIDE_FLOWS, flows: true }));
            }
        }
        Self { sizes, drops, flows, left_out }
    }

    /// Has everybody's verdicts checked; leaves out what this kernel or its own tool cannot load.
    fn check(&mut self, stages: &mut Stages) -> Result<()> {
        for cell in std::mem::take(&mut self.drops) {
            let stage = stages.of(cell.contender);
            match cell.contender.load(stage, cell.rules) {
                Ok(()) => {
                    probe::check(stage, cell.contender, cell.rules)?;
                    cell.contender.unload(stage)?;
                    self.drops.push(cell);
                }
                Err(error) if cell.contender.is_ours() => return Err(error),
                Err(error) => {
                    self.left_out.push(format!("{} rules: {error:#}", cell.rules.count));
                    // What there is of it; it may be nothing.
                    drop(cell.contender.unload(stage));
                    self.flows.retain(|flows| flows.contender.name != cell.contender.name);
                }
            }
        }
        Ok(())
    }

    /// A contender's cell with so many rules; of one without rules, its only one.
    fn drop(&self, name: &str, count: u32) -> Option<&Cell> {
        let matches = |cell: &&Cell| {
            cell.contender.name == name && (!cell.contender.has_rules() || cell.rules.count == count)
        };
        self.drops.iter().find(matches)
    }

    fn flow(&self, name: &str) -> Option<&Cell> {
        self.flows.iter().find(|cell| cell.contender.name == name)
    }
}

impl Stages {
    fn of(&mut self, contender: &Contender) -> &mut Stage {
        if contender.stains() { &mut self.stained } else { &mut self.clean }
    }
}

impl Cell {
    fn new(contender: &'static Contender, rules: Rules) -> Self {
        let [nanoseconds, received, sent] = std::array::from_fn(|_| Sample::default());
        Self { contender, rules, nanoseconds, received, sent }
    }

    fn add(&mut self, flood: Flood) {
        self.nanoseconds.add(flood.nanoseconds);
        self.received.add(flood.received);
        self.sent.add(flood.sent);
    }

    /// Loads the contender and measures the flood that it drops.
    fn drop_flood(&mut self, stage: &mut Stage, window: Duration) -> Result<()> {
        let contender = self.contender;
        contender.load(stage, self.rules)?;
        let through = stage.come_through()?;
        let flood = stage.flood(DROPPED, window).with_context(|| contender.name)?;
        let through = stage.come_through()? - through;
        ensure!(
            through <= contender.lets_through(stage.sender.sent()?, self.rules),
            "{}: {through} packets of the flood came through",
            contender.name
        );
        ensure!(through > 0 || contender.drops(), "{}: the flood did not come through", contender.name);
        contender.unload(stage)?;
        self.add(flood);
        Ok(())
    }
}

/// Does again what was interrupted, as it is when the machine was stopped for a moment.
fn retry<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
