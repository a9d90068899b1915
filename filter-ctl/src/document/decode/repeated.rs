//! Objects that stand in a document more than once, because `describe` was run more than once.
//!
//! An object that says what an earlier one with its id said is passed over; one that says something
//! else is an error later on ([`crate::document::index`]), as nobody knows which of the two holds.
//! Only the fields that are read are compared: AWS counts free addresses and the like besides.

use std::{
    collections::hash_map::{DefaultHasher, Entry},
    hash::{Hash, Hasher},
};

use super::{Decoder, Object};
use crate::document::{
    diagnostic::{At, Severity},
    tree::{Field, Node, Value},
};

impl Decoder<'_> {
    /// Reads the objects under a top-level key, those that are told again only once.
    pub(super) fn once<'t>(
        &mut self,
        top: &Object<'t>,
        key: &'static str,
        id: &'static str,
        fields: &[&str],
        mut read: impl FnMut(&mut Self, &Object<'t>, usize),
    ) {
        let mut again: Vec<(At, At)> = Vec::new();
        self.objects(top, key, |decoder, object, index| match decoder.told_before(object, key, id, fields) {
            Some(first) => again.push((decoder.at(object.span), first)),
            None => read(decoder, object, index),
        });
        let Some((here, first)) = again.first().copied() else { return };
        let first = self.model.sources.place(first);
        let message = match again.len() {
            1 => format!("an object stands here again, with the same contents as in {first}"),
            count => {
                format!(
                    "{count} objects stand here again, with the same contents (the first of them as in {first})"
                )
            }
        };
        self.report(Severity::Note, "repeated-object", here.span, key, message).help =
            Some("they are read once".to_owned());
    }

    /// Where the same was told before.
    fn told_before(
        &mut self,
        object: &Object<'_>,
        key: &'static str,
        id: &str,
        fields: &[&str],
    ) -> Option<At> {
        let (Value::Text(text) | Value::Number(text)) = &object.field(id)?.value.value else { return None };
        let mut hasher = DefaultHasher::new();
        hash_fields(object.fields, &mut hasher, |name| fields.contains(&name));
        let (hash, at) = (hasher.finish(), self.at(object.span));
        match self.model.told.entry((key, text.to_string())) {
            Entry::Occupied(earlier) => (earlier.get().0 == hash).then_some(earlier.get().1),
            Entry::Vacant(free) => {
                free.insert((hash, at));
                None
            }
        }
    }
}

/// Hashes fields in the order of their names; a null is as good as no field.
fn hash_fields(fields: &[Field<'_>], hasher: &mut DefaultHasher, counts: impl Fn(&str) -> bool) {
    let mut fields: Vec<_> =
        fields.iter().filter(|field| field.value.value != Value::Null && counts(&field.name)).collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    fields.len().hash(hasher);
    for field in fields {
        field.name.hash(hasher);
        hash(&field.value, hasher);
    }
}

fn hash(node: &Node<'_>, hasher: &mut DefaultHasher) {
    std::mem::discriminant(&node.value).hash(hasher);
    match &node.value {
        Value::Null => {}
        Value::Bool(value) => value.hash(hasher),
        Value::Number(text) | Value::Text(text) => text.hash(hasher),
        Value::List(items) => {
            items.len().hash(hasher);
            items.iter().for_each(|item| hash(item, hasher));
        }
        Value::Object(fields) => hash_fields(fields, hasher, |_| true),
    }
}
