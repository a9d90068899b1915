//! What each program may cost the verifier and the machine.
//!
//! A program that grows by a tenth fails here until its budget is moved on purpose; one that
//! shrinks by as much fails too, so that the numbers stay true.

use filter_common::{
    abi::{self, programs},
    connection::{Connection, Flow},
};
use tests::program::{Cost, Setting, programs};

/// Slack of every number, in percent.
const SLACK: u64 = 10;

/// A program's budget: instructions that the verifier walks (it gives up after a million), bytes
/// of machine code. Measured with rustc 1.95 and bpf-linker 0.10 on kernel 6.18, x86-64.
struct Budget {
    name: &'static str,
    verified: u64,
    machine_code: u64,
}

const BUDGETS: [Budget; 5] = [
    Budget { name: programs::XDP, verified: 426_000, machine_code: 46_900 },
    Budget { name: programs::TC_RECEIVE, verified: 441_000, machine_code: 47_200 },
    Budget { name: programs::TC_SEND, verified: 441_000, machine_code: 47_400 },
    Budget { name: programs::SWEEP, verified: 79_200, machine_code: 6_650 },
    Budget { name: programs::CLOCK, verified: 21, machine_code: 137 },
];

/// The kernel whose verifier was measured; another walks other paths, and only has to bear them.
const MEASURED: &str = "6.18.";

/// What a verifier bears: it gives up after a million instructions.
const LIMIT: u64 = 800_000;

/// Trouble with a number, if there is any.
fn trouble(name: &str, what: &str, found: u64, budget: u64) -> Option<String> {
    let slack = (budget * SLACK / 100).max(2);
    (found.abs_diff(budget) > slack).then(|| format!("{name}: {found} {what}, the budget says {budget}"))
}

#[test]
fn programs_keep_within_their_budgets() {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    let mut found = Vec::new();
    for budget in BUDGETS {
        let Cost { verified, machine_code } = programs().cost(Setting::WORKLOAD, budget.name);
        println!("{}: {verified} instructions verified, {machine_code} bytes", budget.name);
        if verified > LIMIT {
            found.push(format!("{}: {verified} instructions verified", budget.name));
        }
        if !kernel.starts_with(MEASURED) {
            continue;
        }
        found.extend(trouble(budget.name, "instructions verified", verified, budget.verified));
        // Other machines have other code.
        if cfg!(target_arch = "x86_64") {
            found.extend(trouble(budget.name, "bytes of machine code", machine_code, budget.machine_code));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn both_sides_cost_the_verifier_alike() {
    for name in [programs::XDP, programs::TC_RECEIVE, programs::TC_SEND] {
        let workload = programs().cost(Setting::WORKLOAD, name).verified;
        let host = programs().cost(Setting::HOST, name).verified;
        assert!(host < workload * 3 / 2, "{name}: {workload} on side workload, {host} on side host");
        assert!(host < 500_000, "{name}: {host}, half of what the verifier bears");
    }
}

#[test]
fn a_connection_costs_130_bytes() {
    // An entry of two cache lines and its tag.
    assert_eq!(size_of::<Connection>() + size_of::<u16>(), 130);
    assert_eq!(size_of::<Flow>() + size_of::<u16>(), 130);
    // 100,000 connections fill 13 MB; the tables are made for a million at once.
    const { assert!(130 * (abi::CONNECTIONS + abi::FLOWS) <= 160 << 20) };
}
