//! `check`: is a document right, and what does it come to?

use std::{
    collections::{HashMap, hash_map::Entry},
    path::PathBuf,
};

use serde_json::json;

use super::{
    Failure, Output, OutputArguments,
    documents::{self, LimitsArguments, Orders, Read},
    output::{self, count},
    status,
};
use crate::{
    compile::{self, Statistics},
    document::{Diagnostic, Severity},
    policy::EffectivePolicy,
    text,
};

/// Check a policy document without touching anything
///
/// Tells every error at once, then what each of its interfaces would enforce, and what is allowed and
/// yet probably not meant (lints). Needs no privilege.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The policy document: a file (JSON, YAML) or a folder of them
    pub path: PathBuf,

    /// Fail (exit code 3) if anything as bad as this is found
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    pub deny: Level,

    /// Quotas.
    #[command(flatten)]
    pub limits: LimitsArguments,

    /// Printing.
    #[command(flatten)]
    pub output: OutputArguments,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl check policy.yaml
  filter-ctl check vpc/ --limits aws
  filter-ctl check vpc/ --deny warning        # for CI: exit code 3 for a warning, too
  filter-ctl check policy.yaml --output json | jq .interfaces
  filter-ctl check vpc/ --output json | jq -r '.warnings[] | \"\\(.id) \\(.file):\\(.line) \\(.message)\"'";

/// How bad something must be to make `check` fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    /// What cannot be applied.
    Error,
    /// Warnings, too.
    Warning,
    /// Notes, too.
    Note,
}

/// Fails if something is as bad as `level`: with all that is.
fn deny(level: Level, warnings: &[Diagnostic]) -> Result<(), Failure> {
    let least = match level {
        Level::Error => return Ok(()),
        Level::Warning => Severity::Warning,
        Level::Note => Severity::Note,
    };
    let denied: Vec<Diagnostic> =
        warnings.iter().filter(|warning| warning.severity <= least).cloned().collect();
    if denied.is_empty() {
        return Ok(());
    }
    let told = format!("{} denied by --deny", count(denied.len(), "finding"));
    let failure = documents::failure(denied);
    Err(Failure { message: format!("{}\n{told}", failure.message), ..failure })
}

/// Statistics by what they depend on in a document: the subnet (and so its VPC and its network
/// ACL), the groups, and the room that own addresses take.
type Known = HashMap<(String, Vec<String>, Option<usize>), Statistics>;

/// What an interface's policy comes to. Interfaces that are alike are compiled once: with thousands
/// in one group, whose members are in its rules, compiling each would take time of their square.
fn statistics(read: &Read, policy: &EffectivePolicy, known: &mut Known) -> Result<Statistics, Failure> {
    let groups = policy.groups.iter().map(|group| group.id.clone()).collect();
    let own = compile::own_words(&policy.interface.own).ok();
    match known.entry((policy.interface.subnet_id.clone(), groups, own)) {
        Entry::Occupied(alike) => Ok(*alike.get()),
        Entry::Vacant(free) => Ok(*free.insert(read.compile(policy)?.statistics)),
    }
}

/// Runs the command.
///
/// # Errors
///
/// What is wrong with the document.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut read = documents::read(&arguments.path, &arguments.limits)?;
    let checked = read.document.check();
    if !checked.errors.is_empty() {
        return Err(documents::failure(checked.errors));
    }
    let ids: Vec<String> = read.document.interface_ids().into_iter().map(str::to_owned).collect();
    let mut interfaces = Vec::new();
    let mut known = HashMap::new();
    for id in &ids {
        let policy = read.effective(id, Orders::default())?;
        let statistics = statistics(&read, &policy, &mut known)?;
        interfaces.push((policy, statistics));
    }
    // Each interface has told of what it reaches; the whole document tells of all, once.
    read.keep_warnings(checked.warnings);
    read.warnings.extend(read.document.lint());
    deny(arguments.deny, &read.warnings)?;
    read.tell_warnings(arguments.output.output);
    match arguments.output.output {
        Output::Json => {
            let interfaces: Vec<_> = interfaces
                .iter()
                .map(|(policy, statistics)| {
                    json!({
                        "interface_id": policy.interface.id,
                        "interface": policy.interface,
                        "security_groups": policy.groups.iter().map(|group| &group.id).collect::<Vec<_>>(),
                        "network_acl_id": policy.nacl.id,
                        "flow_log_interval": policy.flow_log_interval,
                        "flow_logs": policy.flow_logs,
                        "connections_allowed": policy.allowance,
                        "strict_tcp": policy.strict_tcp,
                        "exemptions": policy.exemptions,
                        "statistics": statistics,
                    })
                })
                .collect();
            output::print_json(
                &json!({ "valid": true, "summary": read.document.summary(), "interfaces": interfaces, "warnings": read.warnings }),
            );
        }
        Output::Table => {
            let told =
                |severity, noun| match read.warnings.iter().filter(|one| one.severity == severity).count() {
                    0 => String::new(),
                    number => format!(", {}", count(number, noun)),
                };
            let warnings = told(Severity::Warning, "warning") + &told(Severity::Note, "note");
            let path = arguments.path.display().to_string();
            let path = text::escaped(&path);
            output::print(&format!("{path} is valid: {}{warnings}\n", read.document.summary()));
            let rows: Vec<_> = interfaces
                .iter()
                .map(|(policy, statistics)| {
                    let groups: Vec<_> = policy.groups.iter().map(|group| group.id.as_str()).collect();
                    [
                        policy.interface.id.clone(),
                        groups.join(", "),
                        policy.nacl.id.clone(),
                        statistics.rules.to_string(),
                        format!("{} KiB", statistics.block_bytes.div_ceil(1024)),
                        policy
                            .flow_log_interval
                            .map_or("none".into(), |seconds| format!("every {seconds} s")),
                    ]
                })
                .collect();
            if !rows.is_empty() {
                let header = ["INTERFACE", "SECURITY GROUPS", "NETWORK ACL", "RULES", "SIZE", "FLOW LOG"];
                output::print(&output::table(header, &[3, 4], &rows));
            }
            for (policy, _) in &interfaces {
                let peculiarities = status::peculiarities(policy.strict_tcp, policy.exemptions);
                if !peculiarities.is_empty() {
                    let id = text::escaped(&policy.interface.id);
                    output::print(&format!("{id}: {}\n", peculiarities.join(", ")));
                }
            }
        }
    }
    Ok(())
}
