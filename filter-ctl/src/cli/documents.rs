//! Documents on the command line: reading them, and saying what is wrong with them.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use super::{Exit, Failure, Output, output};
use crate::{
    compile::{Compiled, compile},
    datapath::journal::Entry,
    document::{self, Diagnostic, Diagnostics, Document, Limits},
    policy::EffectivePolicy,
    text,
};

/// Which quotas a document must keep.
#[derive(Clone, Debug, clap::Args)]
pub struct LimitsArguments {
    /// Quotas that the document must keep: `none` (AWS's are warnings), `aws`, or a file with own numbers
    #[arg(long, value_name = "none|aws|FILE", default_value = "none")]
    limits: String,
}

/// What `attach` was told about an interface beside the document, kept for every later `apply`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Orders {
    /// `--log`: its interval in seconds.
    pub(super) log: Option<u32>,
    /// `--strict-tcp`
    pub(super) strict_tcp: bool,
}

impl Orders {
    /// What an attached interface was told.
    pub(super) const fn of(entry: &Entry) -> Self {
        Self { log: entry.log_seconds, strict_tcp: entry.strict_tcp }
    }
}

/// A document that was read, with what is worth knowing about it.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) document: Document,
    pub(super) path: PathBuf,
    /// About single objects.
    loaded: usize,
    pub(super) warnings: Vec<Diagnostic>,
}

/// Reads a document.
pub(super) fn read(path: &Path, limits: &LimitsArguments) -> Result<Read, Failure> {
    let limits = Limits::from_argument(&limits.limits)?;
    let loaded = document::load(path, &limits)?;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Ok(Read { document: loaded.document, path, loaded: loaded.warnings.len(), warnings: loaded.warnings })
}

impl Read {
    /// One interface's policy, with what `attach` was told beside it, compiled.
    pub(super) fn policy(
        &mut self,
        id: &str,
        orders: Orders,
    ) -> Result<(EffectivePolicy, Compiled), Failure> {
        let policy = self.effective(id, orders)?;
        let compiled = self.compile(&policy)?;
        Ok((policy, compiled))
    }

    /// Compiles a policy of the document.
    pub(super) fn compile(&self, policy: &EffectivePolicy) -> Result<Compiled, Failure> {
        compile(policy).map_err(|error| {
            let message = format!("error: {}: {}: {error}", self.path.display(), policy.interface.id);
            Failure::new(Exit::Document, text::shown(&message))
        })
    }

    /// One interface's policy, with what `attach` was told beside it.
    pub(super) fn effective(&mut self, id: &str, orders: Orders) -> Result<EffectivePolicy, Failure> {
        let Orders { log, strict_tcp } = orders;
        let (mut policy, warnings) = self.document.effective(id)?;
        self.warnings.extend(warnings);
        policy.strict_tcp |= strict_tcp;
        if let Some(log) = log {
            self.check_log(id, log)?;
        }
        policy.flow_log_interval = match (policy.flow_log_interval, log) {
            (Some(document), Some(log)) => Some(document.min(log)),
            (document, log) => document.or(log),
        };
        Ok(policy)
    }

    /// The kernel counts in the shortest interval; longer ones are put together from it.
    fn check_log(&self, id: &str, log: u32) -> Result<(), Failure> {
        for other in self.document.flow_logs_for(id).into_iter().map(|flow_log| flow_log.interval) {
            if !other.is_multiple_of(log.min(other)) || !log.is_multiple_of(log.min(other)) {
                let message = format!(
                    "--log {log}: a flow log of the document covers {id} every {other} s, and one of the two must be a multiple of the other"
                );
                return Err(Failure::new(Exit::Usage, text::shown(&message)));
            }
        }
        Ok(())
    }

    /// Replaces what single interfaces told by what the whole document tells.
    pub(super) fn keep_warnings(&mut self, warnings: Vec<Diagnostic>) {
        self.warnings.truncate(self.loaded);
        self.warnings.extend(warnings);
    }

    /// Adds what is wrong where none of the `used` interfaces reaches.
    pub(super) fn warn_of_the_rest(&mut self, used: &[&str]) {
        self.warnings.extend(self.document.trouble_elsewhere(used));
    }

    /// Tells people the warnings; in JSON they are part of the object.
    pub(super) fn tell_warnings(&self, output: Output) {
        if output == Output::Table {
            for warning in &self.warnings {
                output::tell(&warning.render(color()));
            }
        }
    }
}

/// A document's errors.
pub(super) fn failure(errors: Vec<Diagnostic>) -> Failure {
    let text: String = errors.iter().map(|error| error.render(color())).collect();
    let details = serde_json::to_value(errors).ok();
    Failure { details, ..Failure::new(Exit::Document, text.trim_end()) }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Self {
        failure(diagnostics.into_iter().collect())
    }
}

/// Whether errors may be coloured.
fn color() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
