//! Whatever a file holds: it is read, or refused with a place in it; nothing panics.
//!
//! Fuzz targets that run as ordinary tests, with random inputs for a second each
//! (`BOLERO_RANDOM_TEST_TIME_MS`; `cargo xtask fuzz` gives them minutes); bolero shrinks what fails.

use bolero::{TypeGenerator, check, generator::produce};

use super::*;

const YAML: &str = include_str!("../../../../examples/web.yaml");
const JSON: [&str; 3] = [
    include_str!("../../../../examples/describe/describe-security-groups.json"),
    include_str!("../../../../examples/describe/describe-network-acls.json"),
    include_str!("../../../../examples/describe/describe-network-interfaces.json"),
];

/// What documents and their syntaxes are made of, and what they should not be.
const TOKENS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ": ",
    ",",
    "\"",
    "'",
    "\n",
    "\n  ",
    "- ",
    "-1",
    "null",
    "~",
    "true",
    "0",
    "65536",
    "1e999",
    "0x1f",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "|\n",
    ">-\n",
    "#",
    "%YAML 1.2\n",
    "---\n",
    "...\n",
    "\\u",
    "\\ud800",
    "\u{feff}",
    "\u{202e}",
    "\u{0}",
    "0.0.0.0/0",
    "::/129",
    "sg-",
    "IpProtocol",
    "Entries",
];

/// A place in a text, of which some is removed, and something put there instead.
#[derive(Clone, Debug, TypeGenerator)]
struct Edit {
    at: u16,
    removed: Option<u8>,
    #[generator(0..TOKENS.len())]
    token: usize,
    /// Instead of the token: what stands elsewhere, for so long.
    copied: Option<(u16, u8)>,
}

/// A document, damaged.
#[derive(Clone, Debug, TypeGenerator)]
struct Damaged {
    #[generator(0..4usize)]
    document: usize,
    #[generator(produce::<Vec<Edit>>().with().len(0..6usize))]
    edits: Vec<Edit>,
}

impl Damaged {
    fn text(&self) -> (&'static str, String) {
        let (name, whole) =
            JSON.get(self.document).map_or(("policy.yaml", YAML), |json| ("policy.json", json));
        let mut text = whole.to_owned();
        // A character's beginning, anywhere in the text.
        let place = |text: &str, at: u16| text.floor_char_boundary(text.len() * usize::from(at) / 65_536);
        let end = |text: &str, from: usize, length: u8| {
            text.floor_char_boundary((from + usize::from(length)).min(text.len())).max(from)
        };
        for edit in &self.edits {
            let new = match edit.copied {
                None => TOKENS[edit.token].to_owned(),
                Some((at, length)) => {
                    let from = place(&text, at);
                    text[from..end(&text, from, length)].to_owned()
                }
            };
            let from = place(&text, edit.at);
            text.replace_range(from..end(&text, from, edit.removed.unwrap_or(0)), &new);
        }
        (name, text)
    }
}

/// Takes a document as far as it goes.
fn use_all(name: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a file can be written");
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    let check = |found: &Diagnostic| {
        assert!(found.line.is_none_or(|line| (1..=lines).contains(&line)), "{found:?}");
        assert!(!found.render(false).is_empty());
    };
    match load(&path, &Limits::Aws) {
        Err(errors) => errors.all().iter().for_each(check),
        Ok(Loaded { document, warnings }) => {
            warnings.iter().for_each(check);
            for id in document.interface_ids() {
                match document.effective(id) {
                    Err(errors) => errors.all().iter().for_each(check),
                    Ok((_, warnings)) => warnings.iter().for_each(check),
                }
            }
        }
    }
}

#[test]
fn arbitrary_files_are_read_or_refused() {
    check!().for_each(|bytes| {
        use_all("policy.json", bytes);
        use_all("policy.yaml", bytes);
        use_all("pl-0123456789abcdef0.json", bytes);
    });
}

#[test]
fn damaged_documents_are_read_or_refused() {
    check!().with_type::<Damaged>().for_each(|damaged| {
        let (name, text) = damaged.text();
        use_all(name, text.as_bytes());
        // JSON is YAML, as far as it is JSON.
        use_all("policy.yaml", text.as_bytes());
    });
}
