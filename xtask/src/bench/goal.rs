//! What a benchmark must reach, and whether it did.

use std::fmt::Write;

use serde_json::{Value, json};

/// A row of the table of goals.
pub(super) struct Goal {
    pub(super) work: String,
    pub(super) must: String,
    /// What was measured, in words; `None`: nothing was.
    pub(super) measured: Option<String>,
    pub(super) met: bool,
}

impl Goal {
    /// A goal that a number must not stay below.
    pub(super) fn at_least(work: &str, unit: &str, bound: f64, measured: Option<f64>) -> Self {
        let met = measured.is_some_and(|measured| measured >= bound);
        Self::new(work, "≥", unit, bound, measured, met)
    }

    /// A goal that a number must not exceed.
    pub(super) fn at_most(work: &str, unit: &str, bound: f64, measured: Option<f64>) -> Self {
        let met = measured.is_some_and(|measured| measured <= bound);
        Self::new(work, "≤", unit, bound, measured, met)
    }

    fn new(work: &str, sign: &str, unit: &str, bound: f64, measured: Option<f64>, met: bool) -> Self {
        let measured = measured.filter(|measured| measured.is_finite());
        Self {
            work: work.to_owned(),
            must: format!("{sign} {bound} {unit}"),
            measured: measured.map(|measured| format!("{measured:.2} {unit}")),
            met: met && measured.is_some(),
        }
    }

    fn verdict(&self) -> &'static str {
        match (&self.measured, self.met) {
            (None, _) => "not measured",
            (_, true) => "met",
            (_, false) => "MISSED",
        }
    }
}

/// The goals for people.
pub(super) fn table(goals: &[Goal]) -> String {
    let mut table = format!("{:<76} {:<24} {:<24}\n", "goal", "must be", "is");
    for goal in goals {
        let measured = goal.measured.as_deref().unwrap_or("-");
        // Writing to a string does not fail.
        let _ = writeln!(table, "{:<76} {:<24} {measured:<24} {}", goal.work, goal.must, goal.verdict());
    }
    table
}

/// The goals for machines.
pub(super) fn json(goals: &[Goal]) -> Value {
    let row = |goal: &Goal| json!({ "work": goal.work, "must": goal.must, "measured": goal.measured, "verdict": goal.verdict() });
    goals.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::Goal;

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let verdict = |measured| Goal::at_least("work", "×", 5.0, measured).verdict();
        assert_eq!(
            [verdict(Some(5.0)), verdict(Some(4.99)), verdict(None), verdict(Some(f64::NAN))],
            ["met", "MISSED", "not measured", "not measured"]
        );
        assert_eq!(Goal::at_most("work", "×", 5.0, Some(5.01)).verdict(), "MISSED");
    }
}
