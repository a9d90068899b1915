//! The tag fields of flow logs (VPC guide, `flow-log-records`, version 11).

use std::fmt::Write;

use super::fields::Field;
use crate::policy::Interface;

/// The values of the fields that a flow log's `TagFieldSpecifications` ask for. Of an interface
/// without the tag there is none, and none of instances and auto scaling groups: documents describe
/// neither.
pub(super) fn values(keys: &[(Field, String)], interface: &Interface) -> Vec<(Field, String)> {
    let of_interface = |field: Field| matches!(field, Field::InterfaceTag | Field::InterfaceTag2);
    let value =
        |key: &str| interface.tags.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
    let named = keys.iter().filter(|(field, _)| of_interface(*field));
    // A word that is empty would move those after it.
    let valued =
        named.filter_map(|(field, key)| Some((*field, value(key).filter(|value| !value.is_empty())?)));
    valued.map(|(field, value)| (field, encoded(value))).collect()
}

/// Percent-encodes everything but RFC 3986's unreserved characters, byte by byte in UTF-8.
fn encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // A string takes every write.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Conformance 5.3-a: The values of tags are percent-encoded where they have special characters.
    /// Source: VPC guide `flow-log-records`.
    /// Enforced: `filter-ctl/src/flowlog/tags.rs` (`encoded`).
    #[test]
    fn what_would_break_a_line_of_words_is_percent_encoded() {
        assert_eq!(encoded("web-1_a.b~c"), "web-1_a.b~c");
        assert_eq!(encoded("a b\t%/-\u{e4}"), "a%20b%09%25%2F-%C3%A4");
    }

    #[test]
    fn a_field_has_the_value_of_the_tag_that_it_is_for() {
        let tags =
            [("team", "core net"), ("empty", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let interface = Interface { tags: tags.into(), ..Interface::default() };
        let of = |field, key: &str| values(&[(field, key.to_owned())], &interface);
        assert_eq!(of(Field::InterfaceTag2, "team"), [(Field::InterfaceTag2, "core%20net".to_owned())]);
        assert_eq!(of(Field::InterfaceTag, "Team"), [], "keys are told apart by case");
        assert_eq!(of(Field::InterfaceTag, "empty"), []);
        assert_eq!(of(Field::InstanceTag, "team"), [], "it is the interface's tag, not the instance's");
    }
}
