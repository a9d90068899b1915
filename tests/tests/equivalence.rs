//! Random rules, random packets: the programs in the kernel say what the model says.
//!
//! Policies and packets come from small pools, so that rules match, connections are hit and edges
//! are met; sequences reply to themselves, quote themselves, wait, and change their rules. The
//! seed of a run is printed; `FILTER_SEED` repeats it.

#[path = "equivalence/chance.rs"]
mod chance;
#[path = "equivalence/reading.rs"]
mod reading;

use chance::Chance;
use filter_common::{Direction, verdict::Reason};
use tests::{
    model::{Model, Packet},
    policy::Policy,
    program::{Eni, Receive, Setting, effective, programs},
    random::Random,
};

/// Policies, packets of each, and how often the rules of one change meanwhile.
const POLICIES: usize = 160;
const PACKETS: usize = 300;

const WAITS: [u32; 12] = [1, 5, 9, 12, 28, 33, 58, 64, 118, 125, 175, 605];

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

fn ticks(eni: &Eni<'_>) -> u64 {
    eni.host().clock().expect("read the clock").ticks
}

/// One policy's sequence; how often each reason was given.
fn sequence(eni: &mut Eni<'_>, model: &mut Model, chance: &mut Chance, seen: &mut [u64]) {
    let mut history: Vec<(Direction, Packet)> = Vec::new();
    // When, what, and what became of it: for whoever reads a failure.
    let mut told: Vec<(u64, Direction, Packet, Reason)> = Vec::new();
    for step in 0..PACKETS {
        if chance.one_in(40) {
            eni.wait(chance.of(&WAITS));
        }
        if chance.one_in(100) {
            model.policy = chance.policy(&model.policy);
            model.generation += 1;
            eni.apply(&model.policy);
        }
        let (direction, packet) = if history.is_empty() || chance.one_in(4) {
            chance.packet()
        } else {
            let recent = history.len().saturating_sub(8);
            let place = recent + chance.0.below((history.len() - recent) as u64) as usize;
            chance.about(&history[place])
        };
        model.now = ticks(eni);
        let expected = model.judge(direction, &packet);
        let found = eni.judge(direction, &packet.frame()).reason;
        if model.uncertain {
            return;
        }
        let tell = || {
            let same = |other: &Packet| {
                [(other.source, other.destination), (other.destination, other.source)]
                    .contains(&(packet.source, packet.destination))
            };
            let told = told.iter().filter(|(_, _, other, _)| same(other));
            let lines: Vec<_> = told.map(|one| format!("{one:?}")).collect();
            format!(
                "step {step}: {direction:?} {packet:?}\nunder {:?}\nafter\n{}",
                model.policy,
                lines.join("\n")
            )
        };
        assert_eq!(found, expected, "{}", tell());
        told.push((model.now / model.hz, direction, packet.clone(), found));
        seen[found as usize] += 1;
        // What has passed makes the better story.
        if found.passes() && found != Reason::Exempt || chance.one_in(8) {
            history.push((direction, packet));
        }
    }
}

/// The seed of this run, printed.
fn seed() -> u64 {
    let given = std::env::var("FILTER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.expect("a time after 1970").as_nanos() as u64
    });
    println!("FILTER_SEED={seed}");
    seed
}

#[test]
fn the_programs_say_what_the_model_says() {
    let mut chance = Chance(Random::new(seed()));
    let base = effective(&Policy::new());
    let mut seen = vec![0; Reason::COUNT];
    let places = [
        (Setting::WORKLOAD, Receive::Xdp),
        (Setting::WORKLOAD, Receive::Tc),
        (Setting::HOST, Receive::Xdp),
        (Setting::HOST, Receive::Tc),
    ];
    let mut programs = programs();
    for number in 0..POLICIES {
        let (setting, receive) = places[number % places.len()];
        let mut policy = chance.policy(&base);
        policy.source_dest_check = chance.one_in(6);
        policy.strict_tcp = chance.one_in(6);
        if chance.one_in(4) {
            let services = effective(&Policy::new().exempt("services"));
            (policy.reserved, policy.platform) = (services.reserved, services.platform);
        }
        let mut eni = programs.eni(setting, receive, &policy);
        let mut model = Model::new(policy, eni.host().hz(), setting.host_side);
        sequence(&mut eni, &mut model, &mut chance, &mut seen);
    }
    for (reason, count) in Reason::ALL.iter().zip(&seen) {
        println!("{:>8} {}", count, reason.name());
    }
    let judged: u64 = seen.iter().sum();
    assert!(judged > 30_000, "only {judged} packets were compared");
    // Packets that say nothing prove nothing.
    for reason in Reason::ALL.iter().filter(|reason| !NEVER_MET.contains(reason)) {
        let count = seen[*reason as usize];
        assert!(count > 20, "{} was met {count} times", reason.name());
    }
}
