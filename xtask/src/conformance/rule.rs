//! What a comment says about a rule: see `mod.rs` for the form.

use std::{fmt, str::FromStr};

use anyhow::{Context, Result, bail, ensure};

/// The number of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Number {
    /// A behaviour: given, when, then.
    Behaviour(u16),
    /// A sentence of AWS's pages: chapter, section, letter.
    Sentence(u16, u16, char),
}

impl Number {
    /// Whether a test's name says that it proves this rule; a sentence need not be named.
    pub(super) fn is_in_name(self, name: &str) -> bool {
        let name = name.rsplit("::").next().unwrap_or_default();
        match self {
            Self::Behaviour(number) => name.starts_with(&format!("row_{number}_")),
            Self::Sentence(..) => true,
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behaviour(number) => write!(formatter, "{number}"),
            Self::Sentence(chapter, section, letter) => write!(formatter, "{chapter}.{section}-{letter}"),
        }
    }
}

impl FromStr for Number {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = match text.split_once('-') {
            None => text.parse().ok().map(Self::Behaviour),
            Some((section, letter)) => section.split_once('.').and_then(|(chapter, section)| {
                Some(Self::Sentence(chapter.parse().ok()?, section.parse().ok()?, letter.parse().ok()?))
            }),
        };
        parsed.with_context(|| format!("`{text}` is no number of a rule, such as 25 or 1.3-a"))
    }
}

/// A rule as its test tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) number: Number,
    /// The rule in one sentence, without its full stop.
    pub(super) words: String,
    pub(super) pages: Vec<Page>,
    pub(super) enforced: Vec<Place>,
}

/// Where it is written down: `VPC guide` and `nacl-rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) guide: String,
    pub(super) name: String,
}

/// A file and what in it enforces the rule (nothing named: all of it).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) symbols: Vec<String>,
}

/// What a comment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The rule itself.
    Tells(Rule),
    /// That the test proves rules which another one tells.
    Names(Vec<Number>),
}

/// With what a rule begins.
const CONFORMANCE: &str = "Conformance ";

/// Reads all rules of a comment; other text is nobody's business here.
pub(super) fn read(comment: &str) -> Result<Vec<Said>> {
    let mut said = Vec::new();
    let mut lines = comment.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix(CONFORMANCE) else { continue };
        let mut paragraph = first.to_owned();
        while let Some(line) = lines.next_if(|line| !line.is_empty() && !line.starts_with(CONFORMANCE)) {
            paragraph = paragraph + " " + line;
        }
        said.push(rule(&paragraph)?);
    }
    Ok(said)
}

fn rule(paragraph: &str) -> Result<Said> {
    let Some((number, rest)) = paragraph.split_once(": ") else {
        let numbers = paragraph.strip_suffix('.').context("a list of numbers ends with a full stop")?;
        return Ok(Said::Names(numbers.split(", ").map(str::parse).collect::<Result<_>>()?));
    };
    let number: Number = number.parse()?;
    let (words, rest) = rest.split_once(" Source: ").with_context(|| format!("{number} has no Source"))?;
    let (source, enforced) =
        rest.split_once(" Enforced: ").with_context(|| format!("{number} has no Enforced"))?;
    let part = |text: &str| -> Result<String> {
        let text =
            text.strip_suffix('.').with_context(|| format!("`{text}` does not end with a full stop"))?;
        ensure!(!text.is_empty(), "{number} has an empty part");
        Ok(text.to_owned())
    };
    Ok(Said::Tells(Rule {
        number,
        words: part(words)?,
        pages: pages(&part(source)?)?,
        enforced: part(enforced)?.split("; ").map(place).collect::<Result<_>>()?,
    }))
}

/// ``VPC guide `a`, `b`; EC2 API `C` ``
fn pages(text: &str) -> Result<Vec<Page>> {
    let mut pages = Vec::new();
    for group in text.split("; ") {
        let (guide, names) =
            group.split_once(" `").with_context(|| format!("`{group}` names no page in backticks"))?;
        for name in quoted(&format!("`{names}"))? {
            pages.push(Page { guide: guide.to_owned(), name });
        }
    }
    Ok(pages)
}

/// `` `file` (`symbol`, `symbol`) ``
fn place(text: &str) -> Result<Place> {
    let (file, symbols) = match text.split_once(" (") {
        None => (text, Vec::new()),
        Some((file, symbols)) => {
            (file, quoted(symbols.strip_suffix(')').with_context(|| format!("`{text}` lacks a `)`"))?)?)
        }
    };
    match quoted(file)?.as_slice() {
        [file] => Ok(Place { file: file.clone(), symbols }),
        _ => bail!("`{text}` is not one file and what stands in it"),
    }
}

/// `` `a`, `b` ``
fn quoted(text: &str) -> Result<Vec<String>> {
    let word = |word: &str| -> Result<String> {
        let inner = word.strip_prefix('`').and_then(|word| word.strip_suffix('`'));
        let inner = inner.filter(|inner| !inner.is_empty() && !inner.contains('`'));
        Ok(inner.with_context(|| format!("`{word}` is not one word in backticks"))?.to_owned())
    };
    text.split(", ").map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_over_several_lines() {
        let comment = "\
Some words.

Conformance 1.3-a: A rule of
two lines.
Source: VPC guide `nacl-rules`, `x`; EC2 API `Y`.
Enforced: `a/b.rs` (`one`, `two`);
`c.rs`.
Conformance 2, 25.

More words: these.";
        let page = |guide: &str, name: &str| Page { guide: guide.to_owned(), name: name.to_owned() };
        let rule = Rule {
            number: Number::Sentence(1, 3, 'a'),
            words: "A rule of two lines".to_owned(),
            pages: vec![page("VPC guide", "nacl-rules"), page("VPC guide", "x"), page("EC2 API", "Y")],
            enforced: vec![
                Place { file: "a/b.rs".to_owned(), symbols: vec!["one".to_owned(), "two".to_owned()] },
                Place { file: "c.rs".to_owned(), symbols: Vec::new() },
            ],
        };
        let numbers = vec![Number::Behaviour(2), Number::Behaviour(25)];
        assert_eq!(read(comment).expect("well formed"), [Said::Tells(rule), Said::Names(numbers)]);
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for comment in [
            "Conformance one.",
            "Conformance 1",
            "Conformance 1: words.",
            "Conformance 1: words. Source: VPC guide `a`.",
            "Conformance 1: words. Source: VPC guide. Enforced: `a`.",
            "Conformance 1: words. Source: VPC guide `a`. Enforced: a.",
            "Conformance 1: words. Source: VPC guide `a`. Enforced: `a` (`b`.",
            "Conformance 1: words. Source: VPC guide `a`. Enforced: `a`",
        ] {
            assert!(read(comment).is_err(), "{comment}");
        }
    }
}
