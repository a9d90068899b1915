//! Every developer action of the project, as `cargo xtask ACTION`.
//!
//! One file per action. Each action does its own set-up first, so that on a machine that has
//! only Rust and root one command is enough.

mod audit;
mod bench;
mod build;
mod conformance;
mod demo;
mod fuzz;
mod install;
mod lab;
mod lint;
mod mutants;
mod setup;
mod shell;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, shows, tests and measures `filter`.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Setup(setup::Arguments),
    Build(build::Arguments),
    Run(build::RunArguments),
    Demo(demo::Arguments),
    Test(test::Arguments),
    Fuzz(fuzz::Arguments),
    Mutants(mutants::Arguments),
    Lint(lint::Arguments),
    Conformance(conformance::Arguments),
    Audit(audit::Arguments),
    Bench(bench::Arguments),
    Install(install::Arguments),
}

fn main() -> ExitCode {
    shell::widen_path();
    match perform(Arguments::parse().action) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(action: Action) -> Result<ExitCode> {
    match action {
        Action::Setup(arguments) => setup::perform(&arguments)?,
        Action::Build(arguments) => build::perform(&arguments)?,
        Action::Run(arguments) => return build::run(&arguments),
        Action::Demo(arguments) => demo::perform(&arguments)?,
        Action::Test(arguments) => test::perform(&arguments)?,
        Action::Fuzz(arguments) => fuzz::perform(&arguments)?,
        Action::Mutants(arguments) => mutants::perform(&arguments)?,
        Action::Lint(arguments) => lint::perform(&arguments)?,
        Action::Conformance(arguments) => conformance::perform(&arguments)?,
        Action::Audit(arguments) => return audit::perform(&arguments),
        Action::Bench(arguments) => bench::perform(&arguments)?,
        Action::Install(arguments) => install::perform(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
