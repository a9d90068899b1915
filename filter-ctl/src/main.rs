//! The `filter-ctl` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    filter_ctl::cli::main()
}
