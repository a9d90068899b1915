//! `cargo xtask conformance`: the table of AWS's rules, gathered from the tests that prove them.
//!
//! # The problem
//!
//! A table that says "this rule is enforced here and proved there" is believed, and is wrong as soon
//! as somebody renames a test or moves a function. So nobody writes it: what it says stands in the
//! comments above the tests, and a table that differs from them fails `cargo xtask lint`.
//!
//! # The form
//!
//! One test of each rule tells what it is; any other test names it by its number. A rule ends at an
//! empty line, or where the next one begins:
//!
//! ```text
//! /// Conformance 25: The lowest number that matches decides.
//! /// Source: VPC guide `nacl-rules`.
//! /// Enforced: `filter-ctl/src/compile/effects.rs` (`network_acl`).
//! #[test]
//! fn row_25_the_lowest_number_wins() { … }
//!
//! /// Conformance 25, 26, 27.
//! fn rows_25_to_27_network_acl(lab: &mut Lab) { … }
//! ```
//!
//! Whole numbers are behaviours (given, when, then), and their tests have the number in their names.
//! Numbers such as 1.3-a are single sentences of AWS's pages, by topic.
//!
//! What is checked: a rule is told once, and before anybody names it; the files and what stands in
//! them exist; what carries the comment is a test that runs; none of the behaviours that are
//! [`required`] is missing.

mod rule;
mod source;
mod table;

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, bail};

use self::{
    rule::{Number, Rule, Said},
    source::Test,
};
use crate::{shell::progress, workspace};

/// Gathers the rules from the tests into docs/conformance.md.
///
/// Examples:
///   cargo xtask conformance            write the table anew
///   cargo xtask conformance --check    whether it is what the tests say, as `lint` asks
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the table is not what the tests say.
    #[arg(long)]
    check: bool,
}

/// Where the table stands, below the workspace's folder.
const TABLE: &str = "docs/conformance.md";

/// The behaviours that must have a test. (40, 45, 48 and 50 are the API's.)
fn required() -> impl Iterator<Item = u16> {
    (1..=39).chain(41..=44).chain([46, 47, 49])
}

/// A rule and its proofs.
struct Row {
    rule: Rule,
    tests: Vec<Test>,
}

pub(crate) fn perform(arguments: &Arguments) -> Result<()> {
    let rows = gather(source::tests(workspace::root())?)?;
    for row in rows.values() {
        for place in &row.rule.enforced {
            source::check(workspace::root(), place).with_context(|| format!("rule {}", row.rule.number))?;
        }
    }
    let text = table::render(&rows);
    let path = workspace::root().join(TABLE);
    if arguments.check {
        let found = fs::read_to_string(&path).with_context(|| format!("cannot read {TABLE}"))?;
        if found != text {
            bail!("{TABLE} is not what the tests say; write it again by `cargo xtask conformance`");
        }
    } else {
        fs::write(&path, text).with_context(|| format!("cannot write {TABLE}"))?;
        let proofs: usize = rows.values().map(|row| row.tests.len()).sum();
        progress(&format!("{TABLE}: {} rules, {proofs} proofs", rows.len()));
    }
    Ok(())
}

/// Joins what the tests say; fails with all that is wrong.
fn gather(tests: Vec<Test>) -> Result<BTreeMap<Number, Row>> {
    let mut rows = BTreeMap::new();
    let mut faults = Vec::new();
    let mut named = Vec::new();
    for test in tests {
        let said = rule::read(&test.comment).with_context(|| format!("the comment above {test}"))?;
        for said in said {
            match said {
                Said::Names(numbers) => {
                    named.extend(numbers.into_iter().map(|number| (number, test.clone())));
                }
                Said::Tells(rule) => {
                    let number = rule.number;
                    if !number.is_in_name(&test.name) {
                        faults.push(format!("{test} proves {number}, but its name does not say so"));
                    }
                    let row = Row { rule, tests: vec![test.clone()] };
                    if let Some(earlier) = rows.insert(number, row) {
                        faults.push(format!("{number} is told twice: by {test} and {}", earlier.tests[0]));
                    }
                }
            }
        }
    }
    for (number, test) in named {
        match rows.get_mut(&number) {
            Some(row) => row.tests.push(test),
            None => faults.push(format!("{test} names {number}, which no test tells")),
        }
    }
    for number in required().map(Number::Behaviour).filter(|number| !rows.contains_key(number)) {
        faults.push(format!("no test proves {number}"));
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, comment: &str) -> Test {
        Test {
            suite: "tests/verdicts".to_owned(),
            name: name.to_owned(),
            file: "tests/tests/verdicts.rs".to_owned(),
            runs: "",
            comment: comment.to_owned(),
        }
    }

    fn told(number: &str) -> String {
        format!("Conformance {number}: A rule.\nSource: RFC `826`.\nEnforced: `Cargo.toml`.")
    }

    fn complete() -> Vec<Test> {
        required().map(|number| test(&format!("row_{number}_words"), &told(&number.to_string()))).collect()
    }

    fn fault(tests: Vec<Test>) -> String {
        gather(tests).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_complete_set_has_a_row_for_each_rule_and_a_proof_for_each_mention() {
        let mut tests = complete();
        tests.push(test("traffic", "Words.\n\nConformance 1, 2.\n\nMore words."));
        let rows = gather(tests).expect("nothing is wrong");
        assert_eq!(rows.len(), required().count());
        assert_eq!(rows[&Number::Behaviour(2)].tests.len(), 2);
    }

    #[test]
    fn what_is_missing_told_twice_unknown_or_badly_named_is_told() {
        let mut tests = complete();
        let _ = tests.remove(24);
        assert_eq!(fault(tests), "no test proves 25");
        let mut tests = complete();
        tests.push(test("row_7_again", &told("7")));
        assert!(fault(tests).starts_with("7 is told twice"));
        let mut tests = complete();
        tests.push(test("traffic", "Conformance 40."));
        assert!(fault(tests).ends_with("names 40, which no test tells"));
        let mut tests = complete();
        tests[0].name = "row_10_words".to_owned();
        assert!(fault(tests).contains("proves 1, but its name does not say so"));
    }
}
