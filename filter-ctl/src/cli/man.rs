//! `man`: the manual pages.

use std::path::PathBuf;

use clap::CommandFactory;

use super::{Cli, Exit, Failure, output};

/// Print the manual page, or write all of them into a folder
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Write a page per command into this folder
    #[arg(long, value_name = "PATH")]
    pub folder: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl man | man --local-file -
  filter-ctl man --folder /usr/local/share/man/man1";

/// Runs the command.
///
/// # Errors
///
/// If the folder cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::System, format!("manual pages: {error}"));
    if let Some(folder) = &arguments.folder {
        std::fs::create_dir_all(folder).map_err(failed)?;
        return clap_mangen::generate_to(Cli::command(), folder).map_err(failed);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(failed)?;
    output::print(&String::from_utf8_lossy(&page));
    Ok(())
}
