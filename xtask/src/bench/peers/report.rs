//! What was measured, as tables, plots and JSON.

use std::fmt::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::super::numbers::Sample;
use super::super::plot::{self, Bar, Line};
use super::super::{Bench, Report, goal};
use super::{BESIDE_FLOWS, Cell, NATIVE, NONE, Plan, flows, goals};

/// The share of the sender's packets above which a contender could have taken more.
const KEEPS_UP: f64 = 0.99;

pub(super) fn make(bench: &Bench, plan: &Plan) -> Result<Report> {
    let mut table = String::new();
    for count in plan.sizes {
        let cells: Vec<&Cell> = plan
            .drops
            .iter()
            .filter(|cell| cell.rules.count == *count || !cell.contender.has_rules())
            .collect();
        writeln!(table, "Dropped packets, {count} rules\n{}", block(&cells, plan.drop(NATIVE, *count)))?;
    }
    let cells: Vec<&Cell> = plan.flows.iter().collect();
    writeln!(
        table,
        "Packets of {} established flows beside {BESIDE_FLOWS} rules, dropped behind the contender\n{}",
        flows::COUNT,
        block(&cells, plan.flow(NATIVE))
    )?;
    if let Some(none) = plan.flow(NONE) {
        writeln!(table, "{:<38} {:>8} {:>17}", "what that adds to no filter, ns", "median", "least to most")?;
        for cell in cells.iter().filter(|cell| cell.contender.name != NONE) {
            let added = goals::added(cell, none);
            writeln!(table, "{:<38} {:>8.0} {:>17}", cell.contender.name, added.median(), spread(&added, 0))?;
        }
    }
    writeln!(table, "\n*: as many as the sender handed over; more were possible.\n")?;
    for left_out in &plan.left_out {
        writeln!(table, "left out: {left_out}")?;
    }
    let goals = goals::all(plan);
    table += &goal::table(&goals);
    plots(bench, plan)?;
    let numbers = json!({
        "dropped": plan.drops.iter().map(row).collect::<Value>(),
        "established": plan.flows.iter().map(row).collect::<Value>(),
        "left_out": plan.left_out,
        "goals": goal::json(&goals),
    });
    Ok(Report { table, numbers, wrong: Vec::new() })
}

/// One table: contenders from top to bottom.
fn block(cells: &[&Cell], own: Option<&Cell>) -> String {
    let mut table = format!(
        "{:<38} {:>8} {:>17} {:>9} {:>15} {:>11} {:>11}\n",
        "", "CPU ns", "least to most", "Mpps", "least to most", "CPU, × ours", "Mpps, ours ×"
    );
    for cell in cells {
        let Cell { nanoseconds, received, sent, .. } = cell;
        let mark = if received.share_of(sent) >= KEEPS_UP { "*" } else { " " };
        let ratios = own.map(|own| (nanoseconds.share_of(&own.nanoseconds), own.received.share_of(received)));
        let (cost, speed) = ratios.unwrap_or((f64::NAN, f64::NAN));
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "{:<38} {:>8.0} {:>17} {:>8.3}{mark} {:>15} {cost:>11.2} {speed:>11.2}",
            cell.contender.name,
            nanoseconds.median(),
            spread(nanoseconds, 0),
            received.median(),
            spread(received, 3)
        );
    }
    table
}

fn spread(sample: &Sample, digits: usize) -> String {
    format!("{:.digits$} to {:.digits$}", sample.least(), sample.most())
}

fn row(cell: &Cell) -> Value {
    json!({
        "contender": cell.contender.name,
        "rules": cell.contender.has_rules().then_some(cell.rules.count),
        "nanoseconds": cell.nanoseconds.json(),
        "received_mpps": cell.received.json(),
        "sent_mpps": cell.sent.json(),
    })
}

fn plots(bench: &Bench, plan: &Plan) -> Result<()> {
    let mut lines: Vec<Line> = Vec::new();
    for cell in plan.drops.iter().filter(|cell| cell.contender.drops()) {
        let nanoseconds = cell.nanoseconds.median();
        let points: Vec<(f64, f64)> = if cell.contender.has_rules() {
            vec![(cell.rules.count.into(), nanoseconds)]
        } else {
            plan.sizes.iter().map(|count| (f64::from(*count), nanoseconds)).collect()
        };
        match lines.iter_mut().find(|line| line.name == cell.contender.name) {
            Some(line) => line.points.extend(points),
            None => lines.push(Line { name: cell.contender.name, own: cell.contender.is_ours(), points }),
        }
    }
    let title = "CPU time of a dropped packet by rules (ns, median)";
    bench.write("peers-ns-by-rules.svg", &plot::lines(title, "rules", &lines))?;
    for count in plan.sizes {
        let cells = plan
            .drops
            .iter()
            .filter(|cell| cell.contender.drops())
            .filter(|cell| cell.rules.count == *count || !cell.contender.has_rules());
        let title = format!("Dropped packets, {count} rules (millions a second, median)");
        bench.write(
            &format!("peers-mpps-{count}.svg"),
            &plot::bars(&title, &bars(cells, |cell| &cell.received)),
        )?;
    }
    let title = format!("CPU time of a packet of {} established flows (ns, median)", flows::COUNT);
    bench.write("peers-ns-flows.svg", &plot::bars(&title, &bars(plan.flows.iter(), |cell| &cell.nanoseconds)))
}

fn bars<'a>(cells: impl Iterator<Item = &'a Cell>, of: fn(&Cell) -> &Sample) -> Vec<Bar> {
    let bar = |cell: &Cell| {
        let sample = of(cell);
        Bar {
            name: cell.contender.name,
            own: cell.contender.is_ours(),
            value: sample.median(),
            least: sample.least(),
            most: sample.most(),
        }
    };
    cells.map(bar).collect()
}
