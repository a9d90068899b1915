//! What ours must reach beside the others (native XDP, unless said).

use super::super::goal::Goal;
use super::super::numbers::Sample;
use super::contender::{CONNTRACK, DROP, Kind};
use super::rules::Style;
use super::{Cell, NATIVE, NONE, Plan};

/// How much slower than an empty program one with 1,000 rules may be: the larger of the two.
const OVER_EMPTY: (f64, f64) = (1.25, 25.0);

pub(super) fn all(plan: &Plan) -> Vec<Goal> {
    let mut goals = vec![over_empty(plan), flat(plan)];
    for (count, bound) in [(1_000, 5.0), (10_000, 5.0), (100_000, 10.0)] {
        let best = fastest(plan, count, |kind| matches!(kind, Kind::Nftables(_, Style::Set | Style::Map)));
        let work = format!("dropped packets a second against nftables' best set or map, {count} rules");
        goals.push(Goal::at_least(&work, "×", bound, against(plan, count, best)));
    }
    let linear = |kind| matches!(kind, Kind::Iptables | Kind::Nftables(_, Style::Linear));
    let best = fastest(plan, 1_000, linear);
    let work = "dropped packets a second against linear nftables and iptables, 1000 rules";
    goals.push(Goal::at_least(work, "×", 30.0, against(plan, 1_000, best)));
    goals.push(conntrack(plan));
    goals
}

fn over_empty(plan: &Plan) -> Goal {
    let work = "CPU per dropped packet with 1000 rules against an empty XDP drop";
    let (share, more) = OVER_EMPTY;
    let measured = plan.drop(NATIVE, 1_000).zip(plan.drop(DROP, 1_000)).map(|(own, empty)| {
        (own.nanoseconds.share_of(&empty.nanoseconds), own.nanoseconds.over(&empty.nanoseconds).median())
    });
    Goal {
        work: work.to_owned(),
        must: format!("≤ {share} × or + {more} ns"),
        measured: measured.map(|(share, more)| format!("{share:.2} ×, {more:+.0} ns")),
        met: measured.is_some_and(|measured| measured.0 <= share || measured.1 <= more),
    }
}

fn flat(plan: &Plan) -> Goal {
    let measured = plan.drop(NATIVE, 100_000).zip(plan.drop(NATIVE, 10));
    let measured = measured.map(|(many, few)| many.nanoseconds.share_of(&few.nanoseconds));
    Goal::at_most("CPU per dropped packet with 100000 rules against 10", "×", 1.5, measured)
}

/// The cost that a contender adds to what is there without a filter.
fn conntrack(plan: &Plan) -> Goal {
    let added = |name| Some(added(plan.flow(name)?, plan.flow(NONE)?));
    let measured =
        added(NATIVE).zip(added(CONNTRACK)).map(|(own, other)| other.median() / own.median().max(1.0));
    let work = "CPU added per packet of 65536 established flows, against nftables with conntrack";
    Goal::at_least(work, "×", 4.0, measured)
}

pub(super) fn added(cell: &Cell, none: &Cell) -> Sample {
    cell.nanoseconds.over(&none.nanoseconds)
}

/// Of the contenders of a kind, the one that drops most packets with so many rules.
fn fastest(plan: &Plan, count: u32, kind: impl Fn(Kind) -> bool) -> Option<&Cell> {
    let of_kind = plan.drops.iter().filter(|cell| kind(cell.contender.kind) && cell.rules.count == count);
    of_kind.max_by(|one, other| one.received.median().total_cmp(&other.received.median()))
}

/// How many times as many packets ours drops.
fn against(plan: &Plan, count: u32, other: Option<&Cell>) -> Option<f64> {
    Some(plan.drop(NATIVE, count)?.received.share_of(&other?.received))
}
