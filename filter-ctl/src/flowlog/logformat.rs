//! `LogFormat`: which fields a flow log's records have, and in which order.

use std::{
    fmt::{self, Display},
    io::{self, Write},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::fields::{Field, Row, Value};
use crate::closest::closest;

/// The fields of a flow log's records, in order: at least one, each once.
///
/// Written as AWS writes it, `${version} ${vpc-id} ${action}`, by [`Display`] and in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogFormat {
    fields: Vec<Field>,
    version: u8,
}

/// What is wrong with a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// There is no field in it.
    #[error("the format names no field")]
    Empty,
    /// Something else than a field.
    #[error(
        "`{0}` is no field of a flow log's format: fields are written ${{srcaddr}}, with spaces between them"
    )]
    Stray(String),
    /// No such field.
    #[error("flow logs have no field `{name}`{}", match suggestion {
        Some(suggestion) => format!(": did you mean `{suggestion}`?"),
        None => String::new(),
    })]
    Unknown {
        /// What stands there.
        name: String,
        /// What was perhaps meant.
        suggestion: Option<&'static str>,
    },
    /// A field that stands there already: a table has no two columns of one name.
    #[error("the format names the field `{0}` twice")]
    Twice(&'static str),
}

impl LogFormat {
    /// A format of some fields.
    ///
    /// # Errors
    ///
    /// If there is none, or one twice.
    pub fn new(fields: Vec<Field>) -> Result<Self, FormatError> {
        if fields.is_empty() {
            return Err(FormatError::Empty);
        }
        let again = fields.iter().enumerate().find(|(index, field)| fields[..*index].contains(field));
        if let Some((_, field)) = again {
            return Err(FormatError::Twice(field.name()));
        }
        // The oldest version is 2, so one of our own fields alone is written in that one.
        let version = fields.iter().filter_map(|field| field.version()).max().unwrap_or(2);
        Ok(Self { fields, version })
    }

    /// Its fields, in order.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The value of [`Field::Version`]: the highest version among AWS's fields in it (VPC guide,
    /// `flow-log-records`).
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.version
    }

    /// The value of one of the fields in a record.
    #[must_use]
    pub fn value<'r>(&self, row: &'r dyn Row, field: Field) -> Value<'r> {
        if field == Field::Version { self.version.into() } else { row.value(field) }
    }

    /// The values of a record, in order.
    pub fn values<'r>(&self, row: &'r dyn Row) -> impl Iterator<Item = Value<'r>> {
        self.fields.iter().map(|&field| self.value(row, field))
    }

    /// Writes the names of the fields as a line.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn write_header(&self, to: &mut (impl Write + ?Sized)) -> io::Result<()> {
        words(to, self.fields.iter().map(|field| field.name()))
    }

    /// Writes a record as a line of words, `-` where there is no value.
    ///
    /// # Errors
    ///
    /// Those of the output.
    pub fn write(&self, row: &dyn Row, to: &mut (impl Write + ?Sized)) -> io::Result<()> {
        words(to, self.values(row))
    }
}

impl Default for LogFormat {
    /// AWS's default format: the fields of version 2.
    fn default() -> Self {
        let fields = Field::ALL.iter().copied().filter(|field| field.version() == Some(2)).collect();
        Self { fields, version: 2 }
    }
}

impl FromStr for LogFormat {
    type Err = FormatError;

    fn from_str(format: &str) -> Result<Self, Self::Err> {
        Self::new(format.split_ascii_whitespace().map(field).collect::<Result<_, _>>()?)
    }
}

/// The field that a word names.
fn field(word: &str) -> Result<Field, FormatError> {
    let name = word.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let Some(name) = name.filter(|name| !name.is_empty() && name.bytes().all(letter)) else {
        return Err(FormatError::Stray(word.to_owned()));
    };
    Field::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
        FormatError::Unknown { name: name.to_owned(), suggestion: closest(name, &known) }
    })
}

impl Display for LogFormat {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, field) in self.fields.iter().enumerate() {
            let space = if position == 0 { "" } else { " " };
            write!(to, "{space}${{{}}}", field.name())?;
        }
        Ok(())
    }
}

impl TryFrom<String> for LogFormat {
    type Error = FormatError;

    fn try_from(format: String) -> Result<Self, Self::Error> {
        format.parse()
    }
}

impl From<LogFormat> for String {
    fn from(format: LogFormat) -> Self {
        format.to_string()
    }
}

/// Writes words with spaces between them, and ends the line.
fn words<T: Display>(to: &mut (impl Write + ?Sized), words: impl Iterator<Item = T>) -> io::Result<()> {
    for (position, word) in words.enumerate() {
        let space = if position == 0 { "" } else { " " };
        write!(to, "{space}{word}")?;
    }
    to.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_awss_version_2() {
        let fourteen = "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} \
                        ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status}";
        let format = LogFormat::default();
        assert_eq!(format.to_string(), fourteen);
        assert_eq!(fourteen.parse(), Ok(format));
    }

    /// Conformance 49: `version` of a custom format with fields of versions 2 and 5 is 5: the highest among them.
    /// Source: VPC guide `flow-log-records`.
    /// Enforced: `filter-ctl/src/flowlog/logformat.rs` (`LogFormat::new`).
    #[test]
    fn row_49_the_version_is_the_highest_among_the_fields() -> Result<(), FormatError> {
        let version = |format: &str| format.parse().map(|format: LogFormat| format.version());
        assert_eq!(version("${version} ${action}")?, 2);
        assert_eq!(version("${flow-direction} ${version} ${srcaddr}")?, 5);
        assert_eq!(version("${version} ${vpc-id} ${interface-tag} ${action}")?, 11);
        assert_eq!(version("${version} ${filter-reason} ${vpc-id}")?, 3, "ours have no version");
        assert_eq!(version("${filter-reason}")?, 2);
        Ok(())
    }

    #[test]
    fn what_is_no_format_says_why() {
        let error = |format: &str| format.parse::<LogFormat>().err().map(|error| error.to_string());
        assert_eq!(error(" \t").as_deref(), Some("the format names no field"));
        let stray =
            "is no field of a flow log's format: fields are written ${srcaddr}, with spaces between them";
        for word in ["srcaddr", "${}", "${srcaddr},", "${srcaddr}${dstaddr}", "$srcaddr", "${src addr}"] {
            let first = word.split(' ').next().unwrap_or_default();
            assert_eq!(error(&format!("${{version}} {word}")), Some(format!("`{first}` {stray}")));
        }
        assert_eq!(
            error("${src-addr}").as_deref(),
            Some("flow logs have no field `src-addr`: did you mean `srcaddr`?")
        );
        assert_eq!(
            error("${pkt_srcaddr}").as_deref(),
            Some("flow logs have no field `pkt_srcaddr`: did you mean `pkt-srcaddr`?")
        );
        assert_eq!(error("${weather}").as_deref(), Some("flow logs have no field `weather`"));
        assert_eq!(
            error("${end} ${start} ${end}").as_deref(),
            Some("the format names the field `end` twice")
        );
    }

    #[test]
    fn it_is_a_string_in_json() -> Result<(), Box<dyn std::error::Error>> {
        let json = r#""${version} ${vpc-id} ${action}""#;
        let format: LogFormat = serde_json::from_str(json)?;
        assert_eq!(serde_json::to_string(&format)?, json);
        assert!(serde_json::from_str::<LogFormat>(r#""${versoin}""#).is_err());
        Ok(())
    }

    #[test]
    fn a_row_is_written_in_the_formats_order_and_version() -> Result<(), Box<dyn std::error::Error>> {
        struct Fixed;
        impl Row for Fixed {
            fn value(&self, field: Field) -> Value<'_> {
                if field == Field::Action { "ACCEPT".into() } else { Value::None }
            }
        }
        let format: LogFormat = "${action} ${vpc-id} ${version}".parse()?;
        let mut lines = Vec::new();
        format.write_header(&mut lines)?;
        format.write(&Fixed, &mut lines)?;
        assert_eq!(String::from_utf8(lines)?, "action vpc-id version\nACCEPT - 3\n");
        Ok(())
    }
}
