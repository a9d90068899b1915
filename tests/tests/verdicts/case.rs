//! Cases: a policy, and what happens to a sequence of frames.

use filter_common::{
    Direction,
    abi::sweep_flags::OPEN_INTERVAL,
    verdict::{Category, Reason},
};
use filter_ctl::policy::EffectivePolicy;
use tests::{
    frame::Frame,
    policy::Policy,
    program::{Eni, Receive, Setting, effective, programs},
};

/// The interface under test, without a port.
pub(crate) const ENI: &str = "10.0.1.20";
/// A host outside of the subnet.
pub(crate) const HOST: &str = "198.51.100.7:40000";
/// Another one.
pub(crate) const STRANGER: &str = "203.0.113.9:40000";
/// A neighbour in the subnet.
pub(crate) const NEIGHBOUR: &str = "10.0.1.30:40000";
/// The host over IPv6.
pub(crate) const HOST_V6: &str = "[2001:db8:100::7]:40000";
/// The interface over IPv6.
pub(crate) const ENI_V6: &str = "2001:db8:0:1::20";
/// The rule's name for the host.
pub(crate) const HOST_RULE: &str = "198.51.100.7/32";
/// Likewise over IPv6.
pub(crate) const HOST_RULE_V6: &str = "2001:db8:100::7/128";

/// One step of a case.
pub(crate) enum Step {
    /// A frame and what becomes of it.
    Frame(Direction, Frame, Reason),
    /// The clock moves on, in seconds.
    Wait(u32),
    /// The rules change.
    Apply(Box<EffectivePolicy>),
    /// So many connections are tracked.
    Tracked(usize),
    /// These packets stand in flow records since the last such step: direction, action, number.
    Recorded(Vec<(Direction, Category, u64)>),
}

/// A frame comes to the interface.
pub(crate) fn ingress(frame: Frame, reason: Reason) -> Step {
    Step::Frame(Direction::Ingress, frame, reason)
}

/// A frame leaves it.
pub(crate) fn egress(frame: Frame, reason: Reason) -> Step {
    Step::Frame(Direction::Egress, frame, reason)
}

/// Time passes.
pub(crate) fn wait(seconds: u32) -> Step {
    Step::Wait(seconds)
}

/// Other rules are put into force.
pub(crate) fn apply(policy: impl Rules) -> Step {
    Step::Apply(Box::new(policy.rules()))
}

/// So many connections are tracked.
pub(crate) fn tracked(count: usize) -> Step {
    Step::Tracked(count)
}

/// The flow log has records of so many packets by direction and action, and no others.
pub(crate) fn recorded(packets: &[(Direction, Category, u64)]) -> Step {
    Step::Recorded(packets.to_vec())
}

/// A document, or what one comes to.
pub(crate) trait Rules {
    /// What it comes to.
    fn rules(self) -> EffectivePolicy;
}

impl Rules for Policy {
    fn rules(self) -> EffectivePolicy {
        effective(&self)
    }
}

impl Rules for EffectivePolicy {
    fn rules(self) -> EffectivePolicy {
        self
    }
}

/// Every place at which the programs stand.
pub(crate) const EVERYWHERE: [(Setting, Receive); 4] = [
    (Setting::WORKLOAD, Receive::Xdp),
    (Setting::WORKLOAD, Receive::Tc),
    (Setting::HOST, Receive::Xdp),
    (Setting::HOST, Receive::Tc),
];

/// Runs a case at every hook.
#[track_caller]
pub(crate) fn case(policy: impl Rules, steps: &[Step]) {
    let policy = policy.rules();
    each(&EVERYWHERE, &policy, |eni, place| walk(eni, place, steps));
}

/// Runs a case at one hook only, where all take the same way.
#[track_caller]
pub(crate) fn case_once(policy: impl Rules, steps: &[Step]) {
    let policy = policy.rules();
    each(&EVERYWHERE[..1], &policy, |eni, place| walk(eni, place, steps));
}

/// Runs a function at hooks.
pub(crate) fn each(
    places: &[(Setting, Receive)],
    policy: &EffectivePolicy,
    mut run: impl FnMut(&mut Eni<'_>, &str),
) {
    let mut programs = programs();
    for (setting, receive) in places {
        let side = if setting.host_side { "host" } else { "workload" };
        let mut eni = programs.eni(*setting, *receive, policy);
        run(&mut eni, &format!("side {side}, {receive:?}"));
    }
}

/// Takes the steps of a case.
#[track_caller]
pub(crate) fn walk(eni: &mut Eni<'_>, place: &str, steps: &[Step]) {
    for (number, step) in steps.iter().enumerate() {
        let number = number + 1;
        match step {
            Step::Frame(direction, frame, expected) => {
                let reason = eni.judge(*direction, frame).reason;
                let way = direction.name();
                assert_eq!(reason, *expected, "step {number} ({place}): {way} {frame:?}");
            }
            Step::Wait(seconds) => eni.wait(*seconds),
            Step::Apply(policy) => eni.apply(policy),
            Step::Tracked(count) => {
                let connections = eni.connections();
                assert_eq!(connections.len(), *count, "step {number} ({place}): {connections:#?}");
            }
            Step::Recorded(expected) => {
                let records = records(eni);
                assert_eq!(records, *expected, "step {number} ({place})");
            }
        }
    }
}

/// The packets of all records that have not been taken yet, ingress first, accepted ones first.
pub(crate) fn records(eni: &mut Eni<'_>) -> Vec<(Direction, Category, u64)> {
    eni.sweep(OPEN_INTERVAL);
    let records = eni.records();
    let mut sums = Vec::new();
    for direction in Direction::BOTH {
        for category in [Category::Accepted, Category::Rejected] {
            let of = records.iter().filter(|one| {
                let reason = Reason::from_number(one.reason).expect("a reason");
                one.direction == direction as u8 && reason.category() == category
            });
            let packets: u64 = of.map(|one| one.packets).sum();
            if packets > 0 {
                sums.push((direction, category, packets));
            }
        }
    }
    sums
}
