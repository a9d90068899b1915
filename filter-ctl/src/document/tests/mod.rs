//! Tests of whole documents.

mod account;
mod aws;
mod conformance;
mod errors;
mod examples;
mod flow_logs;
mod fuzz;
mod rules;

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{Diagnostic, Document, Limits, Loaded, Severity, load};

/// A folder with files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    folder
}

/// Loads one file; its text must be without errors.
fn loaded(text: &str) -> Loaded {
    let folder = folder(&[("policy.yaml", text)]);
    load(&folder.path().join("policy.yaml"), &Limits::None)
        .unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

/// The document of one file without errors.
fn document(text: &str) -> Document {
    loaded(text).document
}

/// The errors of one file.
fn errors(name: &str, text: &str) -> String {
    errors_with(name, text, &Limits::None)
}

fn errors_with(name: &str, text: &str, limits: &Limits) -> String {
    let folder = folder(&[(name, text)]);
    match load(&folder.path().join(name), limits) {
        Ok(_) => "no errors".to_owned(),
        Err(errors) => lines(errors, folder.path()),
    }
}

/// One line for each finding: place, id, field, message, expectation, help.
fn lines(found: impl IntoIterator<Item = Diagnostic>, folder: &Path) -> String {
    let folder = format!("{}/", folder.display());
    let line = |one: Diagnostic| {
        let place = one.line.zip(one.column).map(|(line, column)| format!("{line}:{column}"));
        let mut text = format!(
            "{}{} [{}] {one}",
            one.file.replace(&folder, ""),
            place.map(|place| format!(":{place}")).unwrap_or_default(),
            one.id
        );
        if let Some(expected) = &one.expected {
            text += &format!(" | {expected}");
        }
        if let Some(help) = &one.help {
            text += &format!(" | {help}");
        }
        text.replace(&folder, "")
    };
    found.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What was selected, or why nothing was.
trait SelectErrorText {
    fn text(self) -> String;
}

impl SelectErrorText for Result<String, super::SelectError> {
    fn text(self) -> String {
        self.unwrap_or_else(|error| error.to_string())
    }
}
