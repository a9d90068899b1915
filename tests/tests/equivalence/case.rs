//! One case: a document, and what happens to an interface that is protected by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use filter_common::{Direction, cell::Cell, service::Service, verdict::Reason};
use filter_ctl::{policy::EffectivePolicy, reference::Reference};
use ipnet::IpNet;
use tests::{
    model::{Model, Packet},
    program::{Eni, Metadata, Programs, Receive, Setting},
    random::Random,
};

use crate::{
    chance::Chance,
    document::{self, Form},
    facts::{ENI, Fact, World},
    packets::Edges,
};

/// Steps of a case, and every how many the rules change.
const STEPS: usize = 400;
const CHANGE_EVERY: u64 = 200;

const WAITS: [u32; 14] = [1, 5, 9, 12, 28, 33, 44, 58, 64, 118, 125, 175, 345, 605];

/// A document and a sequence. All of it is known before it runs: what is left of a case when parts
/// of it are left out is a case as well.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) host_side: bool,
    pub(crate) receive: Receive,
    pub(crate) form: Form,
    /// Whether changes are put into force as `apply` does it. Most often they are written in place,
    /// which saves the kernel's grace periods.
    pub(crate) swaps: bool,
    /// All that the document may ever say, by numbers that steps refer to.
    pub(crate) facts: BTreeMap<usize, Fact>,
    /// What it says in the beginning.
    pub(crate) holds: BTreeSet<usize>,
    pub(crate) steps: Vec<Step>,
}

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Packet(Direction, Packet),
    /// Time passes, in seconds.
    Wait(u32),
    /// These facts begin to hold, or cease to.
    Change(BTreeSet<usize>),
}

/// Where a case fails, and how.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// How many steps it took; none if the document failed.
    pub(crate) steps: usize,
    pub(crate) what: String,
}

/// How often each reason was given.
pub(crate) type Tally = [u64; Reason::COUNT];

impl Case {
    /// The case of a seed.
    pub(crate) fn random(seed: u64) -> Self {
        let mut chance = Chance(Random::new(seed));
        let facts = chance.facts();
        let edges = Edges::of(&facts);
        let facts: BTreeMap<usize, Fact> = facts.into_iter().enumerate().collect();
        let holds: BTreeSet<usize> = facts.keys().copied().filter(|_| !chance.one_in(5)).collect();
        let mut now = holds.clone();
        let mut history: Vec<(Direction, Packet)> = Vec::new();
        let mut steps = Vec::new();
        for _ in 0..STEPS {
            if chance.one_in(40) {
                steps.push(Step::Wait(chance.of(&WAITS)));
            }
            if !facts.is_empty() && chance.one_in(CHANGE_EVERY) {
                let changed = (0..1 + chance.below(4)).map(|_| chance.below(facts.len())).collect();
                now = &now ^ &changed;
                steps.push(Step::Change(changed));
            }
            let (direction, packet) = if history.is_empty() || chance.one_in(3) {
                chance.packet(&edges)
            } else {
                let recent = history.len().saturating_sub(8);
                let place = recent + chance.below(history.len() - recent);
                chance.about(&history[place], &edges)
            };
            // What passes, as far as rules tell, makes the better story.
            let world = World(now.iter().map(|number| &facts[number]).collect());
            let cell = world.cell(direction, remote(direction, &packet), packet.service());
            if cell.has(Cell::NACL_ALLOW | Cell::GROUP_ALLOW) || chance.one_in(12) {
                history.push((direction, packet.clone()));
            }
            steps.push(Step::Packet(direction, packet));
        }
        Self {
            host_side: seed % 2 == 1,
            receive: chance.of(&[Receive::Xdp, Receive::Tc]),
            form: chance.of(&[Form::Json, Form::Json, Form::Yaml, Form::Folder]),
            swaps: chance.one_in(8),
            facts,
            holds,
            steps,
        }
    }

    fn world(&self, holds: &BTreeSet<usize>) -> World<'_> {
        World(holds.iter().filter_map(|number| self.facts.get(number)).collect())
    }

    /// Runs it in the kernel, beside the model.
    pub(crate) fn run(&self, programs: &mut Programs, tally: &mut Tally) -> Result<(), Failure> {
        let mut holds = self.holds.clone();
        let failed = |steps, what| Failure { steps, what };
        let policy = self.load(&holds).map_err(|what| failed(0, what))?;
        let setting = if self.host_side { Setting::HOST } else { Setting::WORKLOAD };
        let mut eni = programs.eni(setting, self.receive, &policy);
        let mut model = Model::new(policy, eni.host().hz(), self.host_side);
        for (number, step) in self.steps.iter().enumerate() {
            let failed = |what| failed(number + 1, what);
            match step {
                Step::Wait(seconds) => eni.wait(*seconds),
                Step::Change(changed) => {
                    holds = &holds ^ changed;
                    model.apply(self.load(&holds).map_err(failed)?);
                    if self.swaps {
                        eni.apply(&model.policy);
                    } else {
                        eni.rewrite(&model.policy);
                    }
                }
                Step::Packet(direction, packet) => {
                    check_cells(&self.world(&holds), &model.policy, *direction, packet).map_err(failed)?;
                    match judge(&mut eni, &mut model, *direction, packet).map_err(failed)? {
                        Some(reason) => tally[reason as usize] += 1,
                        // So near to a timeout nobody knows.
                        None => return Ok(()),
                    }
                }
            }
        }
        Ok(())
    }

    fn load(&self, holds: &BTreeSet<usize>) -> Result<EffectivePolicy, String> {
        let world = self.world(holds);
        let policy = document::load(&world, self.form)?;
        let own = |blocks: Vec<IpNet>| BTreeSet::from_iter(blocks);
        let switches = [Fact::SourceDestCheck, Fact::StrictTcp].map(|fact| world.holds(&fact));
        let said = (world.timeouts(), switches, own(world.addresses(ENI)));
        let switches = [policy.source_dest_check, policy.strict_tcp];
        let resolved = (policy.timeouts, switches, own(policy.interface.own.clone()));
        if said != resolved {
            return Err(format!("the document says {said:?}, its policy {resolved:?}"));
        }
        Ok(policy)
    }
}

fn remote(direction: Direction, packet: &Packet) -> std::net::IpAddr {
    if direction == Direction::Ingress { packet.source } else { packet.destination }
}

/// The rules of the document and those of its effective policy say the same, of a packet and of
/// its mirror image.
fn check_cells(
    world: &World<'_>,
    policy: &EffectivePolicy,
    direction: Direction,
    packet: &Packet,
) -> Result<(), String> {
    let remote = remote(direction, packet);
    let mirror = Service::new(packet.protocol(), packet.ports().0);
    for (direction, service) in [(direction, packet.service()), (direction.reverse(), mirror)] {
        let said = world.cell(direction, remote, service);
        let resolved = Reference::new(policy).cell(direction, remote, service);
        if said != resolved {
            return Err(format!(
                "expected of the document's rules {:#010b} (bits of `Cell`) for {direction:?} {remote} {service:?}, \
                 found {:#010b} in its effective policy",
                said.0, resolved.0
            ));
        }
    }
    Ok(())
}

/// What the programs and the model both say of a packet; `None` where the model cannot know.
fn judge(
    eni: &mut Eni<'_>,
    model: &mut Model,
    direction: Direction,
    packet: &Packet,
) -> Result<Option<Reason>, String> {
    model.now = eni.host().clock().expect("read the clock").ticks;
    let expected = model.judge(direction, packet);
    let metadata = Metadata { came_by: 1, segments: None };
    let found = eni.try_judge_bytes(direction, &packet.frame().bytes(), metadata)?.reason;
    if model.uncertain {
        return Ok(None);
    }
    if found != expected {
        return Err(format!("expected {}, found {}", expected.name(), found.name()));
    }
    Ok(Some(found))
}

/// The whole case, to be read by people and repeated by hand.
impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut holds = self.holds.clone();
        let side = if self.host_side { "host" } else { "workload" };
        let mut document = document::render(&self.world(&holds));
        writeln!(out, "side {side}, received at {:?}, a document ({:?}):", self.receive, self.form)?;
        writeln!(out, "{{\n{}\n}}", document::sections(&document).join(",\n"))?;
        for (number, step) in self.steps.iter().enumerate() {
            write!(out, "step {}: ", number + 1)?;
            match step {
                Step::Packet(direction, packet) => writeln!(out, "{} {packet:?}", direction.name())?,
                Step::Wait(seconds) => writeln!(out, "wait {seconds} s")?,
                Step::Change(changed) => {
                    holds = &holds ^ changed;
                    let former = std::mem::replace(&mut document, document::render(&self.world(&holds)));
                    let (former, now) = (document::sections(&former), document::sections(&document));
                    writeln!(out, "the document is put into force again, now with")?;
                    for line in former.iter().filter(|line| !now.contains(line)) {
                        writeln!(out, "  - {line}")?;
                    }
                    for line in now.iter().filter(|line| !former.contains(line)) {
                        writeln!(out, "  + {line}")?;
                    }
                    if former == now {
                        writeln!(out, "  no change")?;
                    }
                }
            }
        }
        Ok(())
    }
}
