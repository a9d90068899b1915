//! `Tags`, of all kinds of objects: they decide nothing here, but AWS would refuse some of them.

use std::collections::HashSet;

use super::{Decoder, Object};
use crate::document::{
    diagnostic::{Severity, Span},
    tree::Value,
};

/// EC2 guide, `Using_Tags`, "Tag restrictions". Tags of AWS itself do not count.
const MOST: usize = 50;
const KEY: usize = 128;
const VALUE: usize = 256;

/// Fields that only describe output has, never a request: the object's `aws:` tags are AWS's own.
const DESCRIBED: [&str; 3] = ["OwnerId", "GroupOwnerId", "CreationTime"];

impl Decoder<'_> {
    /// The keys and values of an object's tags.
    pub(super) fn tags(&mut self, object: &Object<'_>, list: &'static str) -> Vec<(String, String)> {
        let Some(node) = self.scalar(object, list) else { return Vec::new() };
        let Value::List(items) = &node.value else {
            self.bad_tag(node.span, list, "tags are a list of { Key: …, Value: … }".to_owned());
            return Vec::new();
        };
        let described = DESCRIBED.iter().any(|field| object.has(field));
        let mut tags = Vec::new();
        let mut keys = HashSet::new();
        let mut own = 0;
        for (index, item) in items.iter().enumerate() {
            let field = format!("{list}[{index}]");
            let Some((key, value)) = tag(&item.value) else {
                self.bad_tag(item.span, &field, "a tag is { Key: …, Value: … }".to_owned());
                continue;
            };
            let reserved = key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:"));
            own += usize::from(!reserved);
            let fresh = keys.insert(key.to_owned());
            let wrong = if key.is_empty() {
                Some("a tag's key must not be empty".to_owned())
            } else if key.chars().count() > KEY {
                Some(format!("a tag's key has at most {KEY} characters"))
            } else if value.chars().count() > VALUE {
                Some(format!("a tag's value has at most {VALUE} characters"))
            } else if reserved && !described {
                Some(format!("`{key}`: keys that begin with `aws:` are reserved"))
            } else if !fresh {
                Some(format!("there is a tag `{key}` above"))
            } else {
                None
            };
            if let Some(message) = wrong {
                self.bad_tag(item.span, &field, message);
            }
            tags.push((key.to_owned(), value.to_owned()));
        }
        if own > MOST {
            self.bad_tag(node.span, list, format!("{own} tags; AWS allows {MOST}"));
        }
        tags
    }

    fn bad_tag(&mut self, span: Span, field: &str, message: String) {
        self.report(Severity::Warning, "bad-tag", span, field, message);
    }
}

/// Key and value of a tag; a tag without a value has an empty one.
fn tag<'t>(value: &'t Value<'_>) -> Option<(&'t str, &'t str)> {
    let Value::Object(fields) = value else { return None };
    let text = |name| {
        fields.iter().find(|field| field.name == name).map(|field| match &field.value.value {
            Value::Text(text) | Value::Number(text) => Some(&**text),
            Value::Bool(true) => Some("true"),
            Value::Bool(false) => Some("false"),
            Value::Null => Some(""),
            Value::List(_) | Value::Object(_) => None,
        })
    };
    Some((text("Key")??, text("Value").unwrap_or(Some(""))?))
}
