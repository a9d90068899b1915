//! `apply`: new rules for attached interfaces.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    Exit, Failure, Output, OutputArguments,
    documents::{self, LimitsArguments, Orders, Read},
    output,
};
use crate::{
    datapath::{
        self, Places, Session,
        apply::{Applied, Wanted, dry_run},
        inspect,
        journal::{self, Entry},
        rules::Rules,
        versions,
    },
    state::{ActiveLog, Attachment},
};

/// Swap the rules of the attached interfaces that a document covers
///
/// Each interface's rules change at once: no packet sees half of the old and half of the new ones.
/// Tracked connections go on. If the document fails for one interface, none changes; if it changes
/// nothing, nothing is done.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The policy document: a file (JSON, YAML) or a folder of them
    pub path: PathBuf,

    /// Only say what would change
    #[arg(long)]
    pub dry_run: bool,

    /// Only these interfaces (may be repeated); without it the document must cover every attached one
    #[arg(long, value_name = "eni-…", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Quotas.
    #[command(flatten)]
    pub limits: LimitsArguments,

    /// Printing.
    #[command(flatten)]
    pub output: OutputArguments,
}

const EXAMPLES: &str = "\
Examples:
  filter-ctl apply policy.yaml
  filter-ctl apply vpc/ --dry-run
  filter-ctl apply web.yaml --only eni-0a1b2c3d4e5f60718";

/// Changed rules of an interface that are shown, of each kind.
const MOST: usize = 20;

/// Runs the command.
///
/// # Errors
///
/// If something is wrong with the document or the kernel refuses; the old rules enforce then.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut read = documents::read(&arguments.path, &arguments.limits)?;
    let places = Places::from_environment();
    let (applied, mut notes) = if arguments.dry_run {
        versions::refuse(&places)?;
        let wanted = wanted(&mut read, &journal::entries(&places)?, &arguments.only)?;
        (dry_run(&places, &wanted, &read.path)?, Vec::new())
    } else {
        let session = Session::begin(&places)?;
        let wanted = wanted(&mut read, &session.entries()?, &arguments.only)?;
        (session.apply(&wanted, &read.path)?, session.notes().to_vec())
    };
    // Rules that nothing enforces are no reason to fail, but to be told.
    notes.extend(inspect::warnings(&places, applied.iter().map(|one| &one.before))?);
    let used: Vec<_> = applied.iter().map(|one| one.before.attachment.interface.id.as_str()).collect();
    read.warn_of_the_rest(&used);
    read.tell_warnings(arguments.output.output);
    match arguments.output.output {
        Output::Json => output::print_json(&json!({
            "dry_run": arguments.dry_run,
            "interfaces": applied.iter().map(to_json).collect::<Vec<_>>(),
            "notes": notes,
            "warnings": read.warnings,
        })),
        Output::Table => {
            for applied in &applied {
                output::print(&describe(applied, arguments.dry_run));
            }
            notes.iter().for_each(|note| output::note(note));
        }
    }
    Ok(())
}

/// Applies a document to all attached interfaces and says what changed, in a line.
pub(super) fn in_one_line(path: &Path, limits: &LimitsArguments) -> Result<String, Failure> {
    let mut read = documents::read(path, limits)?;
    let session = Session::begin(&Places::from_environment())?;
    let entries = session.entries()?;
    if entries.is_empty() {
        return Ok("nothing is attached; the document is good".into());
    }
    let wanted = wanted(&mut read, &entries, &[])?;
    let applied = session.apply(&wanted, &read.path)?;
    let changed: Vec<_> = applied
        .iter()
        .filter(|one| one.changed || one.before.attachment.flow_logs != one.after.attachment.flow_logs)
        .map(|one| one.before.attachment.interface.id.as_str())
        .collect();
    Ok(match changed.as_slice() {
        [] => "applied, nothing changed".into(),
        changed => format!("applied, changed {}", changed.join(", ")),
    })
}

/// The attached interfaces that are meant, with their new policies. Every error of every
/// interface is told at once.
fn wanted(read: &mut Read, entries: &[Entry], only: &[String]) -> Result<Vec<Wanted>, Failure> {
    if entries.is_empty() {
        return Err(datapath::Error::NothingAttached.into());
    }
    let attached = |id: &String| entries.iter().any(|entry| entry.attachment.interface.id == *id);
    if let Some(id) = only.iter().find(|id| !attached(id)) {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{id} is not attached; `filter-ctl status` lists what is"),
        ));
    }
    let meant = |entry: &&Entry| only.is_empty() || only.contains(&entry.attachment.interface.id);
    let meant: Vec<_> = entries.iter().filter(meant).collect();
    let known: Vec<String> = read.document.interface_ids().into_iter().map(str::to_owned).collect();
    let lacking: Vec<_> = meant
        .iter()
        .map(|entry| entry.attachment.interface.id.as_str())
        .filter(|id| !known.iter().any(|known| known == id))
        .collect();
    if !lacking.is_empty() {
        let message = format!(
            "error: {} lacks attached interfaces: {}. Add them, name the ones that are meant with `--only`, or detach the others",
            read.path.display(),
            lacking.join(", ")
        );
        return Err(Failure::new(Exit::Document, crate::text::shown(&message)));
    }
    let mut wanted = Vec::new();
    let mut failures: Vec<Failure> = Vec::new();
    for entry in meant {
        match read.policy(&entry.attachment.interface.id, Orders::of(entry)) {
            Ok((policy, compiled)) => wanted.push(Wanted { entry: entry.clone(), policy, compiled }),
            // Interfaces of one group share its errors.
            Err(failure) if failures.iter().any(|known| known.message == failure.message) => {}
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(wanted) } else { Err(Failure::all(Exit::Document, failures)) }
}

fn describe(applied: &Applied, dry_run: bool) -> String {
    let Applied { before, after, changed } = applied;
    let device = crate::text::shown(&before.attachment.device);
    let id = crate::text::shown(&before.attachment.interface.id);
    let logs = log_differences(&before.attachment, &after.attachment);
    if !changed {
        return format!("{id} on {device}: unchanged (generation {})\n{logs}", before.attachment.generation);
    }
    let generations = if dry_run {
        format!("would change (generation {} enforces)", before.attachment.generation)
    } else {
        format!("changed, generation {} → {}", before.attachment.generation, after.attachment.generation)
    };
    let mut text = format!("{id} on {device}: {generations}\n");
    for line in differences(&before.rules, &after.rules) {
        text += &format!("  {}\n", crate::text::shown(&line));
    }
    if before.attachment.interval != after.attachment.interval && !dry_run {
        text += &format!("  flow log {}\n", super::status::log_line(after));
    }
    text += &logs;
    if before.allowance != after.allowance {
        let shown =
            |allowance: Option<u32>| allowance.map_or("unlimited".into(), |number| number.to_string());
        text += &format!("  connections allowed {} → {}\n", shown(before.allowance), shown(after.allowance));
    }
    text
}

/// Flow logs that only one side has, a line each; a changed one is one that goes and one that comes.
fn log_differences(before: &Attachment, after: &Attachment) -> String {
    let only = |of: &Attachment, not: &Attachment| {
        let new = |log: &&ActiveLog| not.flow_logs.iter().all(|other| other.log != log.log);
        of.flow_logs.iter().filter(new).cloned().collect::<Vec<_>>()
    };
    let mut text = String::new();
    for (sign, logs) in [('-', only(before, after)), ('+', only(after, before))] {
        for line in super::status::log_lines(&logs) {
            text += &format!("  {sign} flow log {line}\n");
        }
    }
    text
}

fn differences(before: &Rules, after: &Rules) -> Vec<String> {
    let mut lines = Vec::new();
    let missing = |from: &[String], of: &[String]| {
        from.iter().filter(|id| !of.contains(id)).cloned().collect::<Vec<_>>().join(", ")
    };
    for (word, ids) in [
        ("added", missing(&after.groups, &before.groups)),
        ("removed", missing(&before.groups, &after.groups)),
    ] {
        if !ids.is_empty() {
            lines.push(format!("security groups {word}: {ids}"));
        }
    }
    if before.network_acl != after.network_acl {
        lines.push(format!("network ACL {} → {}", before.network_acl, after.network_acl));
    }
    let numbers = [
        ("security group rules", before.group_rules, after.group_rules),
        ("network ACL rules", before.network_acl_rules, after.network_acl_rules),
    ];
    for (what, [old_in, old_out], [new_in, new_out]) in numbers {
        lines.push(if (old_in, old_out) == (new_in, new_out) {
            format!("{what}: {new_in} ingress, {new_out} egress")
        } else {
            format!("{what}: {old_in} → {new_in} ingress, {old_out} → {new_out} egress")
        });
    }
    if before.strict_tcp != after.strict_tcp {
        let shown = |strict| if strict { "on" } else { "off" };
        lines.push(format!("strict TCP {} → {}", shown(before.strict_tcp), shown(after.strict_tcp)));
    }
    if before.exemptions != after.exemptions {
        lines.push(format!("exempt {} → {}", before.exemptions.name(), after.exemptions.name()));
    }
    if let Some((added, removed)) = before.changes(after) {
        for (sign, rules) in [('-', removed), ('+', added)] {
            lines.extend(rules.iter().take(MOST).map(|rule| format!("{sign} {rule}")));
            if rules.len() > MOST {
                lines.push(format!("{sign} … and {} more", rules.len() - MOST));
            }
        }
    }
    lines
}

fn to_json(applied: &Applied) -> serde_json::Value {
    let Applied { before, after, changed } = applied;
    let (added, removed) = before.rules.changes(&after.rules).unwrap_or_default();
    json!({
        "interface_id": before.attachment.interface.id,
        "device": before.attachment.device,
        "changed": changed,
        "generation": { "before": before.attachment.generation, "after": after.attachment.generation },
        "rules": {
            "before": { "groups": before.rules.group_rules, "network_acl": before.rules.network_acl_rules },
            "after": { "groups": after.rules.group_rules, "network_acl": after.rules.network_acl_rules },
            "added": added,
            "removed": removed,
        },
        "flow_logs": { "before": before.attachment.flow_logs, "after": after.attachment.flow_logs },
        "flow_log_interval": { "before": before.attachment.interval, "after": after.attachment.interval },
        "connections_allowed": { "before": before.allowance, "after": after.allowance },
    })
}
