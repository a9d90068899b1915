//! The command line: one file per command.

pub mod agent;
pub mod apply;
pub mod attach;
pub mod check;
pub mod completions;
pub mod connections;
pub mod debug;
pub mod detach;
mod documents;
mod exit;
pub mod explain;
pub mod flows;
pub mod man;
mod output;
mod rules;
pub mod status;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use exit::{Exit, Failure};
pub use output::Output;

/// VPC security groups, network ACLs and flow logs for any Linux interface.
///
/// Attach a device to a network interface (`eni-…`) of a policy document, and the kernel enforces
/// the document's security groups and network ACL on it; no process stays behind.
#[derive(Debug, Parser)]
#[command(name = "filter-ctl", version, after_help = EXAMPLES, after_long_help = LONG, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl check policy.yaml
  filter-ctl explain policy.yaml --direction ingress --protocol icmp --icmp 8 --source 192.0.2.1
  filter-ctl attach eth0 --policy policy.yaml
  filter-ctl apply policy.yaml
  filter-ctl status
  filter-ctl flows --follow
  filter-ctl detach eth0";

const LONG: &str = "\
Examples:
  filter-ctl check policy.yaml
  filter-ctl explain policy.yaml --direction ingress --protocol icmp --icmp 8 --source 192.0.2.1
  filter-ctl attach eth0 --policy policy.yaml
  filter-ctl apply policy.yaml
  filter-ctl status
  filter-ctl flows --follow
  filter-ctl detach eth0

Exit codes:
  0  done
  1  the kernel or the system failed
  2  the command line is wrong
  3  the document has errors, or what `check --deny` denies; nothing was changed
  4  a device, interface or attachment is missing
  5  refused because of what is there: attached already, a foreign XDP program, another command at work
  6  no permission, no bpffs, no kernel programs in this binary, or a kernel that is too old

Environment:
  FILTER_STATE_DIR  folder of the state files instead of /run/filter
  FILTER_BPFFS      folder in bpffs instead of /sys/fs/bpf/filter";

#[derive(Debug, Subcommand)]
enum Command {
    Attach(attach::Arguments),
    Apply(apply::Arguments),
    Detach(detach::Arguments),
    Status(status::Arguments),
    Connections(connections::Arguments),
    Flows(Box<flows::Arguments>),
    Agent(agent::Arguments),
    Check(check::Arguments),
    Explain(explain::Arguments),
    Debug(debug::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// How a command prints.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct OutputArguments {
    /// How to print
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Output,
}

/// Parses the command line and runs it.
#[must_use]
pub fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        // Help and the version are no mistakes, but must be printed, too.
        Err(error) => {
            let printed = error.print();
            return match (error.exit_code(), output::refusal(printed)) {
                (0, None) => Exit::Success.into(),
                (0, Some(_)) => Exit::System.into(),
                _ => Exit::Usage.into(),
            };
        }
    };
    match run(command) {
        Ok(()) => match output::failure() {
            None => Exit::Success.into(),
            Some(failure) => {
                failure.report(Output::Table);
                failure.exit.into()
            }
        },
        Err((failure, output)) => {
            failure.report(output);
            failure.exit.into()
        }
    }
}

fn run(command: Command) -> Result<(), (Failure, Output)> {
    match command {
        Command::Attach(arguments) => with(arguments.output, |_| attach::run(&arguments)),
        Command::Apply(arguments) => with(arguments.output, |_| apply::run(&arguments)),
        Command::Detach(arguments) => with(arguments.output, |_| detach::run(&arguments)),
        Command::Status(arguments) => with(arguments.output, |_| status::run(&arguments)),
        Command::Connections(arguments) => with(arguments.output, |_| connections::run(&arguments)),
        Command::Agent(arguments) => with(OutputArguments::default(), |_| agent::run(&arguments)),
        Command::Check(arguments) => with(arguments.output, |_| check::run(&arguments)),
        Command::Explain(arguments) => with(arguments.output, |_| explain::run(&arguments)),
        Command::Debug(arguments) => with(OutputArguments::default(), |_| debug::run(&arguments)),
        Command::Flows(arguments) => {
            flows::run(&arguments).map_err(|error| (Failure::from(error), arguments.errors()))
        }
        Command::Completions(arguments) => with(OutputArguments::default(), |_| completions::run(&arguments)),
        Command::Man(arguments) => with(OutputArguments::default(), |_| man::run(&arguments)),
    }
}

fn with(
    output: OutputArguments,
    command: impl FnOnce(Output) -> Result<(), Failure>,
) -> Result<(), (Failure, Output)> {
    command(output.output).map_err(|failure| (failure, output.output))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_log_without_seconds_is_every_ten_minutes() {
        let parse = |words: &[&str]| Cli::try_parse_from(words).map(|cli| cli.command);
        let plain = parse(&["filter-ctl", "attach", "eth0", "--policy", "p.yaml", "--log"]);
        assert!(matches!(plain, Ok(Command::Attach(attach::Arguments { log: Some(600), .. }))));
        let minute = parse(&["filter-ctl", "attach", "eth0", "--log", "60", "--policy", "p.yaml"]);
        assert!(matches!(minute, Ok(Command::Attach(attach::Arguments { log: Some(60), .. }))));
        assert!(parse(&["filter-ctl", "attach", "eth0"]).is_err(), "a policy is needed");
    }
}
