//! What a packet costs the programs that `attach` loads, over an empty program.
//!
//! The measuring itself is `tests/benches/datapath.rs`, which has the harness of the verdict
//! tests; here its wrapper programs are built, and its rows become a table.

use std::fmt::Write;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Bench, Report, object};
use crate::{setup, shell, workspace};

pub(super) fn measure(bench: &Bench) -> Result<Report> {
    setup::toolchain()?;
    let object = object::build("filter-bench")?;
    let mut command = workspace::cargo("bench");
    // What is measured runs in the kernel: the rest need not be optimised.
    command.args(["--quiet", "--package", "tests", "--bench", "datapath", "--profile", "dev"]);
    let output = command
        .env("FILTER_BENCH_OBJECT", object)
        .env("FILTER_BENCH_RUNS", bench.runs.to_string())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", shell::describe(&command)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", shell::describe(&command), output.status);
    }
    let numbers: Value = serde_json::from_slice(&output.stdout).context("the benchmark wrote no JSON")?;
    let rows = numbers.as_array().context("the benchmark wrote no rows")?;
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let wrong = rows.iter().map(|row| text(row, "wrong")).filter(|wrong| !wrong.is_empty()).collect();
    Ok(Report { table: table(rows), numbers, wrong })
}

fn table(rows: &[Value]) -> String {
    let mut table = format!(
        "{:<44} {:>8} {:>13} {:>8} {:>8}\n",
        "ns per packet over an empty program", "median", "spread", "cold", "aim"
    );
    for row in rows {
        let number = |name: &str| row[name].as_i64().unwrap_or_default();
        let spread = format!("{} to {}", number("least"), number("most"));
        let aim = row["aim"].as_i64().map_or_else(String::new, |aim| aim.to_string());
        let name = row["name"].as_str().unwrap_or_default();
        // Writing to a string does not fail.
        let _ =
            writeln!(table, "{name:<44} {:>8} {spread:>13} {:>8} {aim:>8}", number("median"), number("cold"));
    }
    table
}
