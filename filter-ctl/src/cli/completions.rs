//! `completions`: for the shell.

use clap::CommandFactory;

use super::{Cli, Failure, output};

/// Print completions for a shell
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl completions bash > /usr/share/bash-completion/completions/filter-ctl
  filter-ctl completions zsh > /usr/share/zsh/site-functions/_filter-ctl
  filter-ctl completions fish > /usr/share/fish/vendor_completions.d/filter-ctl.fish";

/// Runs the command.
///
/// # Errors
///
/// None.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "filter-ctl", &mut script);
    output::print(&String::from_utf8_lossy(&script));
    Ok(())
}
