//! How commands end: exit codes, and errors for people and for programs.

use std::{error::Error, io, process::ExitCode};

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
    /// No permission, no bpffs, no programs, a kernel that lacks what is needed.
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
    /// What programs are told besides.
    pub details: Option<serde_json::Value>,
}

impl Failure {
    /// A failure.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), details: None }
    }

    /// Several failures as one.
    #[must_use]
    pub fn all(exit: Exit, failures: Vec<Self>) -> Self {
        let (messages, details): (Vec<_>, Vec<_>) =
            failures.into_iter().map(|failure| (failure.message, failure.details)).unzip();
        let flat = details.into_iter().flatten().flat_map(|details| match details {
            serde_json::Value::Array(details) => details,
            details => vec![details],
        });
        Self { details: Some(flat.collect()), ..Self::new(exit, messages.join("\n")) }
    }

    /// Prints it: for people on standard error, for programs also as an object.
    pub fn report(&self, output: Output) {
        // What is wrong with a document comes with its own headings.
        let heading = if self.exit == Exit::Document { "" } else { "error: " };
        output::tell(&format!("{heading}{}\n", self.message));
        if output == Output::Json {
            let error = json!({
                "code": self.exit.name(),
                "exit": self.exit as u8,
                "message": self.message,
                "details": self.details,
            });
            output::print_json(&json!({ "error": error }));
        }
    }
}

impl From<datapath::Error> for Failure {
    fn from(error: datapath::Error) -> Self {
        let mut message = error.to_string();
        if let Some(log) = error.verifier_log() {
            // Up to a million lines: the end tells, the whole is kept.
            let path = datapath::Places::from_environment().state().join("verifier.log");
            let end: Vec<_> = log.lines().rev().take(12).collect();
            let end: Vec<_> = end.into_iter().rev().collect();
            message += &format!("\n{}", end.join("\n"));
            if std::fs::write(&path, &log).is_ok() {
                message += &format!("\n(the verifier's whole log: {})", path.display());
            }
        }
        Self::new(exit_of(&error), message)
    }
}

/// Whether a read-only file system is behind an error, however deep.
fn is_read_only(error: &(dyn Error + 'static)) -> bool {
    let is_it = |error: &(dyn Error + 'static)| {
        error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
    };
    is_it(error) || error.source().is_some_and(is_read_only)
}

fn exit_of(error: &datapath::Error) -> Exit {
    use datapath::Error as E;
    if is_read_only(error) {
        return Exit::Environment;
    }
    match error {
        E::NotRoot | E::NoBpffs(_) | E::OldKernel { .. } | E::NoTcx(_) | E::NoPrograms | E::Shape { .. } => {
            Exit::Environment
        }
        E::System { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Exit::Environment,
        E::NoDevice { .. } | E::NotAttached { .. } | E::NothingAttached => Exit::NotFound,
        E::Ambiguous { .. }
        | E::AlreadyAttached { .. }
        | E::Orphan { .. }
        | E::OtherVersion(_)
        | E::ForeignXdp { .. }
        | E::Locked(_)
        | E::Full(_) => Exit::Conflict,
        _ => Exit::System,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_environment_forbids_has_an_exit_code_of_its_own() {
        let system = |kind: io::ErrorKind| exit_of(&datapath::Error::system("mkdir")(kind.into()));
        assert_eq!(system(io::ErrorKind::ReadOnlyFilesystem), Exit::Environment);
        assert_eq!(system(io::ErrorKind::PermissionDenied), Exit::Environment);
        assert_eq!(system(io::ErrorKind::StorageFull), Exit::System);
        let io_error = io::ErrorKind::ReadOnlyFilesystem.into();
        let call = aya::sys::SyscallError { call: "BPF_OBJ_PIN", io_error };
        let pin = aya::pin::PinError::SyscallError(call);
        assert_eq!(exit_of(&datapath::Error::Pin(pin)), Exit::Environment);
    }
}
