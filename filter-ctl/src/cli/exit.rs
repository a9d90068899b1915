//! How commands end: exit codes, and errors for people and for programs.

use std::process::ExitCode;

use serde_json::json;

use super::output::{self, Output};
use crate::datapath;

/// Exit codes. They are stable and listed in `docs/commands.md`.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// The kernel or the system failed.
    System = 1,
    /// The command line is wrong (clap exits with it by itself, too).
    Usage = 2,
    /// The document has errors.
    Document = 3,
    /// A device, interface or attachment is missing.
    NotFound = 4,
    /// Refused because of what is there: attached already, a foreign XDP program, the lock.
    Conflict = 5,
    /// No permission, no bpffs, no programs, a kernel that is too old.
    Environment = 6,
}

impl Exit {
    /// The word for it in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::System => "system",
            Self::Usage => "usage",
            Self::Document => "document",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Environment => "environment",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What people are told.
    pub message: String,
}

impl Failure {
    /// A failure.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// Prints it: for people on standard error, for programs also as an object.
    pub fn report(&self, output: Output) {
        // What is wrong with a document comes with its own headings.
        let heading = if self.exit == Exit::Document { "" } else { "error: " };
        eprintln!("{heading}{}", self.message);
        if output == Output::Json {
            let error = json!({ "code": self.exit.name(), "exit": self.exit as u8, "message": self.message });
            output::print_json(&json!({ "error": error }));
        }
    }
}

impl From<datapath::Error> for Failure {
    fn from(error: datapath::Error) -> Self {
        Self::new(exit_of(&error), error.to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let datapath = error.chain().find_map(|cause| cause.downcast_ref::<datapath::Error>());
        Self::new(datapath.map_or(Exit::System, exit_of), format!("{error:#}"))
    }
}

fn exit_of(error: &datapath::Error) -> Exit {
    use datapath::Error as E;
    match error {
        E::NotRoot | E::NoBpffs(_) | E::OldKernel { .. } | E::NoPrograms | E::Shape { .. } => {
            Exit::Environment
        }
        E::NoDevice { .. } | E::NotAttached { .. } | E::NothingAttached => Exit::NotFound,
        E::AlreadyAttached { .. } | E::Orphan { .. } | E::ForeignXdp { .. } | E::Locked(_) | E::Full(_) => {
            Exit::Conflict
        }
        _ => Exit::System,
    }
}
