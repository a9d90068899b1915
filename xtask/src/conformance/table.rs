//! The document.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    Row,
    rule::{Number, Page, Place},
    source::Test,
};

const HEAD: &str = "\
# Conformance

<!-- Written by `cargo xtask conformance` from the comments above the tests; `cargo xtask lint` compares. Do not edit. -->

Each rule that AWS documents and `filter` enforces: what it says, AWS's page, the code that enforces it, and the tests that
prove it. Whole numbers are behaviours of the whole (given this, when that, then such); numbers such as 1.3-a are single
sentences of AWS's pages. Where those are silent, [semantics.md](semantics.md) says what is done here, and what none of it
can stop.

E is the protected interface, in subnet S. H is a remote host outside S, N a neighbour of E inside S.

The suite `tests/verdicts` runs single packets through the programs in the kernel, at XDP and at TC, on both sides of the
link. Suites with \"every hook, both sides\" send real traffic between network namespaces, through TCX, clsact, native and
generic XDP, on either side. `cargo xtask test --suite tests/verdicts -- row_25` runs the proofs of one rule, `cargo xtask
test` all of them.
";

/// The chapters: title, first and last behaviour. Sentences begin with a chapter's number.
const CHAPTERS: [(&str, u16, u16); 6] = [
    ("Security groups", 1, 14),
    ("Connection tracking", 15, 24),
    ("Network ACLs", 25, 32),
    ("What is exempt", 33, 34),
    ("Flow logs", 35, 38),
    ("Documents and quotas", 39, 50),
];

/// The whole document.
pub(super) fn render(rows: &BTreeMap<Number, Row>) -> String {
    let mut text = HEAD.to_owned();
    for (chapter, (title, first, last)) in (1..).zip(CHAPTERS) {
        let is_in = |number: &Number| match *number {
            Number::Behaviour(number) => (first..=last).contains(&number),
            Number::Sentence(of, ..) => of == chapter,
        };
        let _ = write!(text, "\n## {title}\n\n| # | rule | AWS page | enforced by | proved by |\n");
        text += "| --- | --- | --- | --- | --- |\n";
        for row in rows.iter().filter(|(number, _)| is_in(number)).map(|(_, row)| row) {
            let rule = &row.rule;
            let cells = [
                rule.number.to_string(),
                rule.words.replace('|', "\\|"),
                joined(rule.pages.iter().map(page), ", "),
                joined(rule.enforced.iter().map(place), "; "),
                joined(row.tests.iter().map(test), "<br>"),
            ];
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    text
}

fn joined(parts: impl Iterator<Item = String>, separator: &str) -> String {
    parts.collect::<Vec<_>>().join(separator)
}

/// A page, linked where its guide's pages have an address of today.
fn page(Page { guide, name }: &Page) -> String {
    let base = match guide.as_str() {
        "VPC guide" => "https://docs.aws.amazon.com/vpc/latest/userguide/",
        "VPC peering guide" => "https://docs.aws.amazon.com/vpc/latest/peering/",
        "EC2 guide" => "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/",
        "EC2 API" => "https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_",
        _ => return format!("{guide} {name}"),
    };
    format!("{guide} [{name}]({base}{name}.html)")
}

fn place(Place { file, symbols }: &Place) -> String {
    let short = file.replace("/src/", "/").replace(".rs", "");
    let symbols = joined(symbols.iter().map(|symbol| format!("`{symbol}`")), ", ");
    let space = if symbols.is_empty() { "" } else { " " };
    format!("[{short}](../{file}){space}{symbols}")
}

fn test(Test { suite, name, file, runs, .. }: &Test) -> String {
    let runs = if runs.is_empty() { String::new() } else { format!(" ({runs})") };
    format!("{suite} [{name}](../{file}){runs}")
}
