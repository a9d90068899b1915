//! What is wrong with a document, and where: for people (`miette`) and for programs (JSON).

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, SourceSpan, SpanContents};
use serde::Serialize;

use crate::text;

/// Bytes of a very long line that are shown on each side of the place.
const WINDOW: usize = 80;

/// Bytes of a place that are pointed at: a value may be many megabytes.
const POINTED: usize = 80;

/// Bytes whose characters are counted at once.
const BLOCK: usize = 1024;

/// The text of one file, with its lines found when a place in it must first be named.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
    lines: OnceLock<Vec<usize>>,
    /// Characters before each block of [`BLOCK`] bytes: a file may be one line of many megabytes
    /// with as many findings, and counting each column from its beginning would never end.
    characters: OnceLock<Vec<usize>>,
    /// The text as a terminal may be shown it, byte for byte in the same place, if it differs.
    shown: OnceLock<Option<String>>,
}

impl Source {
    pub(super) fn new(name: String, text: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            text,
            lines: OnceLock::new(),
            characters: OnceLock::new(),
            shown: OnceLock::new(),
        })
    }

    /// The text as a terminal may be shown it.
    fn shown(&self) -> &str {
        self.shown.get_or_init(|| text::replaced(&self.text)).as_deref().unwrap_or(&self.text)
    }

    /// Offsets of the lines' beginnings.
    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| {
            let ends = self.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
            std::iter::once(0).chain(ends.map(|(offset, _)| offset + 1)).collect()
        })
    }

    /// The number of characters before an offset.
    fn characters(&self, offset: usize) -> usize {
        let begins = |bytes: &[u8]| bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        let bytes = self.text.as_bytes();
        let blocks = self.characters.get_or_init(|| {
            let mut before = 0;
            let count = |block| {
                let first = before;
                before += begins(block);
                first
            };
            bytes.chunks(BLOCK).map(count).collect()
        });
        let block = (offset / BLOCK).min(blocks.len().saturating_sub(1));
        blocks.get(block).map_or(0, |before| before + begins(&bytes[block * BLOCK..offset]))
    }

    /// The line (from 0) that holds an offset.
    fn line(&self, offset: usize) -> usize {
        self.lines().partition_point(|start| *start <= offset) - 1
    }

    /// Beginning and end of a line, without its line feed.
    fn bounds(&self, line: usize) -> (usize, usize) {
        let start = self.lines()[line];
        let end = self.lines().get(line + 1).map_or(self.text.len(), |next| next - 1);
        (start, end)
    }

    /// The offset moved back to the beginning of a character of the text.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

impl miette::SourceCode for Source {
    /// Whole lines, but of a very long line (JSON without line breaks) only the neighbourhood.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let (start, end) = (span.offset(), span.offset() + span.len());
        if end > self.text.len() {
            return Err(MietteError::OutOfBounds);
        }
        let line = self.line(start);
        let (from, first) = if before == 0 {
            (start, line)
        } else {
            let first = line.saturating_sub(before);
            (self.bounds(first).0.max(self.floor(start.saturating_sub(WINDOW))), first)
        };
        let first = self.line(from).max(first);
        let to = if after == 0 {
            end
        } else {
            let last = (self.line(end) + after).min(self.lines().len() - 1);
            self.bounds(last).1.min(self.floor(end + WINDOW)).max(end)
        };
        Ok(Box::new(miette::MietteSpanContents::new_named(
            text::escaped(&self.name).into_owned(),
            &self.shown().as_bytes()[from..to],
            (from, to - from).into(),
            first,
            from - self.bounds(first).0,
            self.line(to) - first + 1,
        )))
    }
}

/// A stretch of a file's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) length: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        // Files of 4 GiB are refused before they are parsed.
        Self { start: start as u32, length: end.saturating_sub(start) as u32 }
    }
}

/// A stretch of the text of one of a document's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    pub(super) source: u32,
    pub(super) span: Span,
}

/// The files that a document was read from.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(pub(super) Vec<Arc<Source>>);

impl Sources {
    /// File and line of a place.
    pub(super) fn place(&self, at: At) -> String {
        let source = &self.0[at.source as usize];
        format!("{}:{}", source.name, source.line(at.span.start as usize) + 1)
    }

    pub(super) fn diagnostic(
        &self,
        severity: Severity,
        id: &'static str,
        at: At,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::new(severity, id, &self.0[at.source as usize], at.span, field, message)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing can be applied.
    Error,
    /// Probably not what was meant.
    Warning,
    /// Worth knowing.
    Note,
}

/// The name of a rule, or of what it is missing in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RuleName {
    /// A security group's.
    Group {
        /// `sg-…`
        group_id: String,
        /// `ingress` or `egress`; `None`: the finding is about the group.
        direction: Option<&'static str>,
        /// `sgr-…`, see [`crate::policy::Group::rule_id`].
        rule_id: Option<String>,
    },
    /// A network ACL's.
    NetworkAcl {
        /// `acl-…`
        network_acl_id: String,
        /// `ingress` or `egress`.
        direction: &'static str,
        /// `RuleNumber`; `None`: a rule is missing in this direction.
        rule_number: Option<u16>,
    },
}

/// One finding about a document.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name of the kind of finding.
    pub id: &'static str,
    /// The file.
    pub file: String,
    /// The line in it, from 1; `None`: the finding is about the whole file.
    pub line: Option<usize>,
    /// The character in the line, from 1.
    pub column: Option<usize>,
    /// The field, as in `SecurityGroups[0].IpPermissions[2].FromPort`; empty: no field.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What was expected there.
    pub expected: Option<String>,
    /// What can be done.
    pub help: Option<String>,
    /// The rule that it is about, if it is about one.
    pub rule: Option<RuleName>,
    #[serde(skip)]
    source: Option<Arc<Source>>,
    #[serde(skip)]
    span: Span,
}

impl Diagnostic {
    pub(super) fn new(
        severity: Severity,
        id: &'static str,
        source: &Arc<Source>,
        span: Span,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let start = source.floor(span.start as usize);
        let line = source.line(start);
        let (line_start, line_end) = source.bounds(line);
        // A label over several lines hides what it points at: the first line is enough.
        let end = (start + span.length as usize).min(line_end.max(start)).min(start + POINTED);
        let end = source.floor(end);
        Self {
            severity,
            id,
            file: source.name.clone(),
            line: Some(line + 1),
            column: Some(source.characters(start) - source.characters(line_start) + 1),
            field: field.into(),
            message: message.into(),
            expected: None,
            help: None,
            rule: None,
            source: Some(Arc::clone(source)),
            span: Span::new(start, end),
        }
    }

    /// A finding about a whole file or folder.
    pub(super) fn file(id: &'static str, file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            id,
            file: file.into(),
            line: None,
            column: None,
            field: String::new(),
            message: message.into(),
            expected: None,
            help: None,
            rule: None,
            source: None,
            span: Span::default(),
        }
    }

    pub(super) fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn rule(mut self, rule: RuleName) -> Self {
        self.rule = Some(rule);
        self
    }

    /// What makes two findings the same one.
    pub(super) fn identity(&self) -> (&str, Option<usize>, Option<usize>, &str, &str, &str) {
        (&self.file, self.line, self.column, &self.field, self.id, &self.message)
    }

    /// The finding with its source line, as text for a terminal.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(110).with_links(false);
        let mut text = String::new();
        match handler.render_report(&mut text, self) {
            Ok(()) => text,
            Err(fmt::Error) => format!("{self}\n"),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line.is_none() {
            write!(f, "{}: ", text::escaped(&self.file))?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", text::message(&self.field))?;
        }
        f.write_str(&text::message(&self.message))
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.id))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Note => miette::Severity::Advice,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(text::message(help)) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| &**source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.source.as_ref()?;
        let label = LabeledSpan::new_primary_with_span(
            self.expected.as_deref().map(|expected| text::message(expected).into_owned()),
            (self.span.start as usize, self.span.length as usize),
        );
        Some(Box::new(std::iter::once(label)))
    }
}

/// Findings, sorted by file and line.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Diagnostic] {
        &self.0
    }

    /// All of them with their source lines, as text for a terminal.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        self.0.iter().map(|diagnostic| diagnostic.render(color)).collect()
    }

    /// Only those that an `Err` is made of: `Ok` if there is no error, with the rest.
    pub(super) fn split(found: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, Self> {
        let (errors, rest): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|diagnostic| diagnostic.severity == Severity::Error);
        if errors.is_empty() { Ok(sorted(rest)) } else { Err(Self(sorted(errors))) }
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl From<Box<Diagnostic>> for Diagnostics {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        Self(vec![*diagnostic])
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("no errors in the document"),
            [one] => one.fmt(f),
            all => write!(f, "{} errors in the document", all.len()),
        }
    }
}

impl std::error::Error for Diagnostics {}

impl miette::Diagnostic for Diagnostics {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        Some(Box::new(self.0.iter().map(|diagnostic| diagnostic as &dyn miette::Diagnostic)))
    }
}

/// The findings in the order of files and lines, each once.
pub(super) fn sorted(mut found: Vec<Diagnostic>) -> Vec<Diagnostic> {
    found.sort_by(|a, b| a.identity().cmp(&b.identity()));
    found.dedup_by(|a, b| a.identity() == b.identity());
    found
}
