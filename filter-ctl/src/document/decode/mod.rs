//! Trees into objects, by hand, so that every error of a file is found in one go.
//!
//! A [`Decoder`] knows the way to the value it stands at (`SecurityGroups[0].IpPermissions[2]`)
//! and collects what is wrong. Its readers return `None` after an error and for an absent field;
//! the caller goes on either way.

mod acl;
mod cidr;
mod flat_rule;
mod flow_log;
mod group;
mod interface;
mod network;
mod prefix_list;
mod repeated;
mod service;
mod tags;
mod top;

use std::{
    fmt::{self, Write as _},
    ops::RangeInclusive,
    sync::Arc,
};

use super::{
    diagnostic::{At, Diagnostic, Severity, Source, Span},
    model::{Model, Place, Spanned},
    tree::{Field, Node, Value},
};
use crate::closest::closest;

pub(super) use top::{decode, decode_limits};

/// One step of a field path.
#[derive(Clone, Copy)]
enum Step {
    Key(&'static str),
    Index(usize),
}

struct Decoder<'d> {
    source: &'d Arc<Source>,
    number: u32,
    path: Vec<Step>,
    found: &'d mut Vec<Diagnostic>,
    model: &'d mut Model,
}

/// An object of the tree.
#[derive(Clone, Copy)]
struct Object<'t> {
    span: Span,
    fields: &'t [Field<'t>],
}

impl<'t> Object<'t> {
    fn field(&self, name: &str) -> Option<&'t Field<'t>> {
        self.fields.iter().find(|field| field.name == name)
    }

    fn has(&self, name: &str) -> bool {
        self.field(name).is_some()
    }
}

impl Decoder<'_> {
    fn at(&self, span: Span) -> At {
        At { source: self.number, span }
    }

    /// The path of the value that the decoder stands at.
    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.path {
            let _infallible = match step {
                Step::Key(name) if path.is_empty() => write!(path, "{name}"),
                Step::Key(name) => write!(path, ".{name}"),
                Step::Index(index) => write!(path, "[{index}]"),
            };
        }
        path
    }

    /// The path of a field of that value.
    fn field_path(&self, name: &str) -> String {
        let path = self.path();
        if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
    }

    fn place(&self, object: &Object<'_>) -> Place {
        Place { at: self.at(object.span), path: self.path() }
    }

    /// A finding about the value that the decoder stands at, or about a field of it.
    fn report(
        &mut self,
        severity: Severity,
        id: &'static str,
        span: Span,
        field: &str,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        let path = if field.is_empty() { self.path() } else { self.field_path(field) };
        self.found.push(Diagnostic::new(severity, id, self.source, span, path, message));
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    fn error(
        &mut self,
        id: &'static str,
        span: Span,
        field: &str,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.report(Severity::Error, id, span, field, message)
    }

    fn wrong_type(&mut self, node: &Node<'_>, field: &str, expected: &str) {
        let message = format!("expected {expected}, found {}", node.value.kind());
        self.error("wrong-type", node.span, field, message).expected = Some(format!("{expected} goes here"));
    }

    /// The object that a node is.
    fn object<'t>(&mut self, node: &'t Node<'t>) -> Option<Object<'t>> {
        match &node.value {
            Value::Object(fields) => Some(Object { span: node.span, fields }),
            _ => {
                self.wrong_type(node, "", "an object");
                None
            }
        }
    }

    /// Reads the object in a field; an absent one or a null is no object.
    fn nested<'t, T>(
        &mut self,
        object: &Object<'t>,
        name: &'static str,
        read: impl FnOnce(&mut Self, &Object<'t>) -> T,
    ) -> Option<T> {
        let node = &object.field(name).filter(|field| field.value.value != Value::Null)?.value;
        self.path.push(Step::Key(name));
        let result = self.object(node).map(|nested| read(self, &nested));
        self.path.pop();
        result
    }

    /// Reads each item of the list in a field. `None`: there is no such field. A null is refused:
    /// a list whose items are all commented out may mean "none" or "the default".
    fn each<'t>(
        &mut self,
        object: &Object<'t>,
        name: &'static str,
        mut read: impl FnMut(&mut Self, &'t Node<'t>, usize),
    ) -> Option<()> {
        let node = &object.field(name)?.value;
        let Value::List(items) = &node.value else {
            self.wrong_type(node, name, "a list");
            if node.value == Value::Null
                && let Some(diagnostic) = self.found.last_mut()
            {
                diagnostic.help =
                    Some("write [] for a list without items, or leave the field out".to_owned());
            }
            return Some(());
        };
        self.path.push(Step::Key(name));
        for (index, item) in items.iter().enumerate() {
            self.path.push(Step::Index(index));
            read(self, item, index);
            self.path.pop();
        }
        self.path.pop();
        Some(())
    }

    /// Reads each object of the list in a field.
    fn objects<'t>(
        &mut self,
        object: &Object<'t>,
        name: &'static str,
        mut read: impl FnMut(&mut Self, &Object<'t>, usize),
    ) -> Option<()> {
        self.each(object, name, |decoder, node, index| {
            if let Some(object) = decoder.object(node) {
                read(decoder, &object, index);
            }
        })
    }

    /// The scalar in a field; a null is as good as no field.
    fn scalar<'t>(&self, object: &Object<'t>, name: &str) -> Option<&'t Node<'t>> {
        object.field(name).map(|field| &field.value).filter(|node| node.value != Value::Null)
    }

    fn text<'t>(&mut self, object: &Object<'t>, name: &'static str) -> Option<Spanned<&'t str>> {
        let node = self.scalar(object, name)?;
        match &node.value {
            Value::Text(text) | Value::Number(text) => Some(Spanned { value: text, at: self.at(node.span) }),
            _ => {
                self.wrong_type(node, name, "a string");
                None
            }
        }
    }

    fn owned(&mut self, object: &Object<'_>, name: &'static str) -> Option<String> {
        self.text(object, name).map(|text| text.value.to_owned())
    }

    fn boolean(&mut self, object: &Object<'_>, name: &'static str) -> Option<bool> {
        let node = self.scalar(object, name)?;
        match &node.value {
            Value::Bool(value) => Some(*value),
            _ => {
                self.wrong_type(node, name, "true or false");
                None
            }
        }
    }

    /// A whole number from `low` to `high`.
    fn integer(
        &mut self,
        object: &Object<'_>,
        name: &'static str,
        low: i64,
        high: i64,
    ) -> Option<Spanned<i64>> {
        self.integer_as(object, name, &(low..=high), &format!("a whole number from {low} to {high}"))
    }

    /// A whole number of a range; of another one is said what was `expected`.
    fn integer_as(
        &mut self,
        object: &Object<'_>,
        name: &'static str,
        range: &RangeInclusive<i64>,
        expected: &str,
    ) -> Option<Spanned<i64>> {
        let node = self.scalar(object, name)?;
        let Value::Number(text) = &node.value else {
            self.wrong_type(node, name, "a number");
            if matches!(&node.value, Value::Text(text) if text.parse::<i64>().is_ok())
                && let Some(diagnostic) = self.found.last_mut()
            {
                diagnostic.help = Some("leave the quotes out".to_owned());
            }
            return None;
        };
        match text.parse::<i64>() {
            Ok(value) if range.contains(&value) => Some(Spanned { value, at: self.at(node.span) }),
            _ => {
                self.out_of_range(node.span, name, text, expected);
                None
            }
        }
    }

    fn out_of_range(&mut self, span: Span, name: &'static str, number: impl fmt::Display, expected: &str) {
        self.error("out-of-range", span, name, format!("{number} is out of range")).expected =
            Some(expected.to_owned());
    }

    /// Reports an absent field that must be there.
    fn missing(&mut self, object: &Object<'_>, name: &str, expected: &str) {
        self.error("missing-field", object.span, name, "this field is missing").expected =
            Some(expected.to_owned());
    }

    /// An id of a kind: `sg-` and letters, digits, hyphens.
    fn id(&mut self, object: &Object<'_>, name: &'static str, kind: &str) -> Option<Spanned<String>> {
        let text = self.text(object, name)?;
        let rest = text.value.strip_prefix(kind).and_then(|rest| rest.strip_prefix('-'));
        let well_formed = rest.is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
        if !well_formed {
            let message = format!("`{}` is no id of this kind", text.value);
            self.error("malformed-id", text.at.span, name, message).expected =
                Some(format!("{kind}- followed by letters, digits and hyphens"));
            return None;
        }
        Some(Spanned { value: text.value.to_owned(), at: text.at })
    }

    /// The id of an object, or a derived one.
    fn own_id(&mut self, object: &Object<'_>, name: &'static str, kind: &'static str) -> String {
        match self.id(object, name, kind) {
            Some(id) => id.value,
            None => self.model.derived_id(kind),
        }
    }

    /// `OwnerId`: an account.
    fn owner(&mut self, object: &Object<'_>) -> Option<String> {
        let text = self.text(object, "OwnerId")?;
        if text.value.len() != 12 || !text.value.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("`{}` is no account id", text.value);
            self.error("malformed-id", text.at.span, "OwnerId", message).expected =
                Some("twelve digits".to_owned());
        }
        Some(text.value.to_owned())
    }

    /// Reports every field that is not among the known ones.
    fn only(&mut self, object: &Object<'_>, known: &[&str]) {
        for field in object.fields.iter().filter(|field| !known.contains(&&*field.name)) {
            let message = format!("there is no field `{}` here", field.name);
            let help = match closest(&field.name, known) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("the fields are {}", known.join(", ")),
            };
            self.error("unknown-field", field.span, &field.name, message).help = Some(help);
        }
    }

    /// Reports unknown fields that look like a misspelt known one.
    fn misspelt(&mut self, object: &Object<'_>, severity: Severity, known: &[&str]) {
        for field in object.fields.iter().filter(|field| !known.contains(&&*field.name)) {
            if let Some(name) = closest(&field.name, known) {
                let message = format!("there is no field `{}` here", field.name);
                self.report(severity, "unknown-field", field.span, &field.name, message).help =
                    Some(format!("did you mean `{name}`?"));
            }
        }
    }
}

impl Decoder<'_> {
    /// Warns of unknown fields that do not look like any known one.
    fn unknown(&mut self, object: &Object<'_>, known: &[&str]) {
        let strange =
            |field: &&Field<'_>| !known.contains(&&*field.name) && closest(&field.name, known).is_none();
        for field in object.fields.iter().filter(strange) {
            let message = format!("there is no field `{}` here", field.name);
            self.report(Severity::Warning, "unknown-field", field.span, &field.name, message).help =
                Some(format!("the fields are {}", known.join(", ")));
        }
    }
}
