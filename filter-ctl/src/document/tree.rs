//! The small tree that both syntaxes are parsed into: values that know where they stand.

use std::{borrow::Cow, collections::HashSet};

use super::diagnostic::Span;

/// Deepest nesting of lists and objects; AWS's own output needs less than ten.
pub(super) const MAX_DEPTH: usize = 64;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node<'s> {
    pub(super) span: Span,
    pub(super) value: Value<'s>,
}

/// What JSON and YAML have in common. Numbers keep their spelling: `000000000000` is a number in
/// YAML, and an account.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'s> {
    Null,
    Bool(bool),
    Number(Cow<'s, str>),
    Text(Cow<'s, str>),
    List(Vec<Node<'s>>),
    Object(Vec<Field<'s>>),
}

impl Value<'_> {
    /// What to call it in a message.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// One field of an object.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field<'s> {
    pub(super) name: Cow<'s, str>,
    pub(super) span: Span,
    pub(super) value: Node<'s>,
}

/// Something that is wrong before any field has a meaning.
#[derive(Clone, Debug)]
pub(super) struct SyntaxError {
    pub(super) id: &'static str,
    pub(super) span: Span,
    pub(super) message: String,
    pub(super) help: Option<&'static str>,
}

impl SyntaxError {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { id: "syntax", span, message: message.into(), help: None }
    }

    pub(super) fn help(mut self, help: &'static str) -> Self {
        self.help = Some(help);
        self
    }

    pub(super) fn too_deep(span: Span) -> Self {
        Self {
            id: "too-deep",
            span,
            message: format!("lists and objects are nested more than {MAX_DEPTH} deep"),
            help: None,
        }
    }
}

/// What a file holds: its values (YAML files may have several), and errors that did not stop the
/// parser.
#[derive(Debug, Default)]
pub(super) struct Parsed<'s> {
    pub(super) roots: Vec<Node<'s>>,
    pub(super) errors: Vec<SyntaxError>,
}

/// Reports the fields whose name an earlier field of the same object has.
pub(super) fn report_duplicates(fields: &[Field<'_>], errors: &mut Vec<SyntaxError>) {
    let duplicate = |field: &Field<'_>| SyntaxError {
        id: "duplicate-field",
        span: field.span,
        message: format!("the field `{}` is given twice", field.name),
        help: Some("keep one of them; items of the same kind belong into one list"),
    };
    if fields.len() <= 24 {
        for (index, field) in fields.iter().enumerate() {
            if fields[..index].iter().any(|earlier| earlier.name == field.name) {
                errors.push(duplicate(field));
            }
        }
    } else {
        let mut names = HashSet::with_capacity(fields.len());
        errors.extend(fields.iter().filter(|field| !names.insert(&*field.name)).map(duplicate));
    }
}

impl Node<'_> {
    /// Whether this is a list without items.
    pub(super) fn is_empty_list(&self) -> bool {
        matches!(&self.value, Value::List(items) if items.is_empty())
    }
}
