//! Files and folders into sources, and sources into trees.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    diagnostic::{Diagnostic, Severity, Source, Span},
    json,
    tree::Parsed,
    yaml,
};

/// Largest file. A hundred thousand rules need about 10 MB.
const MAX_BYTES: u64 = 256 << 20;

/// The files that a path stands for: itself, or the documents of a folder in the order of their names.
/// Folders in it are not looked into, which is told of those that hold documents.
pub(super) fn files(path: &Path, found: &mut Vec<Diagnostic>) -> Result<Vec<PathBuf>, Box<Diagnostic>> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let (folders, mut files): (Vec<PathBuf>, Vec<PathBuf>) = entries
        .map_err(|error| unreadable(path, &error))?
        .into_iter()
        .map(|entry| entry.path())
        // Editors keep their copies in files whose names begin with a dot.
        .filter(|file| !file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")))
        .partition(|file| file.is_dir());
    files.retain(|file| syntax(file).is_some());
    files.sort();
    // Reading a pipe waits for whoever writes it.
    if let Some(other) = files.iter().find(|file| fs::metadata(file).is_ok_and(|what| !what.is_file())) {
        let message = "in a folder of documents, this is a pipe, a socket or a device";
        return Err(Diagnostic::file("not-a-file", other.display().to_string(), message).into());
    }
    for folder in folders.iter().filter(|folder| holds_documents(folder)) {
        let message = "this folder holds documents, but lies in one: they are not read";
        let mut note = Diagnostic::file("folder-not-read", folder.display().to_string(), message);
        note.severity = Severity::Note;
        found.push(note);
    }
    if files.is_empty() {
        let name = path.display().to_string();
        return Err(Diagnostic::file("no-documents", name, "this folder holds no document")
            .help("documents are files named *.json, *.yaml or *.yml; folders in it are not looked into")
            .into());
    }
    Ok(files)
}

fn holds_documents(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| syntax(&entry.path()).is_some()))
}

fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let name = path.display().to_string();
    match error.kind() {
        io::ErrorKind::NotFound => Diagnostic::file("missing-file", name, "there is no such file or folder"),
        _ => Diagnostic::file("unreadable-file", name, format!("cannot be read: {error}")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Syntax {
    Json,
    Yaml,
}

fn syntax(path: &Path) -> Option<Syntax> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "json" => Some(Syntax::Json),
        "yaml" | "yml" => Some(Syntax::Yaml),
        _ => None,
    }
}

/// The text of a file.
pub(super) fn source(path: &Path) -> Result<Arc<Source>, Box<Diagnostic>> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    // One byte more than allowed tells, and a device that never ends does no harm.
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("the file is larger than {MAX_BYTES} bytes");
        return Err(Diagnostic::file("file-too-large", name, message).into());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        let utf16 = error.as_bytes().starts_with(b"\xff\xfe") || error.as_bytes().starts_with(b"\xfe\xff");
        let help = if utf16 {
            "it is UTF-16, as Windows PowerShell's `>` writes it: save it with `| Out-File -Encoding utf8`"
        } else {
            "save the file as UTF-8"
        };
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let source = Source::new(name.clone(), text);
        let span = Span::new(place, place + 1);
        Diagnostic::new(Severity::Error, "not-utf8", &source, span, "", "this is not UTF-8").help(help)
    })?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Diagnostic::file("empty-file", name, "the file is empty").into());
    }
    Ok(Source::new(name, text))
}

/// The tree of a file. A file whose name does not tell is JSON if it begins like JSON.
pub(super) fn parse<'s>(path: &Path, source: &'s Arc<Source>, found: &mut Vec<Diagnostic>) -> Parsed<'s> {
    let text = source.text.as_str();
    let json = syntax(path).map_or(text.trim_start().starts_with('{'), |syntax| syntax == Syntax::Json);
    let parsed = if json { json::parse(text) } else { yaml::parse(text) };
    let mut parsed = parsed.unwrap_or_else(|error| Parsed { roots: Vec::new(), errors: vec![error] });
    if parsed.roots.is_empty() && parsed.errors.is_empty() {
        found.push(Diagnostic::file("empty-file", &source.name, "the file holds nothing"));
    }
    for error in parsed.errors.drain(..) {
        let mut diagnostic =
            Diagnostic::new(Severity::Error, error.id, source, error.span, "", error.message);
        diagnostic.help = error.help.map(str::to_owned);
        found.push(diagnostic);
    }
    parsed
}
