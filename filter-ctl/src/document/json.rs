//! Strict JSON (RFC 8259) into the spanned tree.
//!
//! A parser of our own, because a YAML parser takes what JSON forbids and refuses what it allows
//! (tabs), and `serde_json` tells no places of values.

use std::borrow::Cow;

use super::{
    diagnostic::Span,
    tree::{Field, MAX_DEPTH, Node, Parsed, SyntaxError, Value, report_duplicates},
};

/// Parses a whole file.
pub(super) fn parse(text: &str) -> Result<Parsed<'_>, SyntaxError> {
    let mut parser = Parser { text, bytes: text.as_bytes(), place: 0, depth: 0, errors: Vec::new() };
    let root = parser.value()?;
    parser.blank();
    if parser.place < text.len() {
        return Err(parser.unexpected("the end of the file"));
    }
    Ok(Parsed { roots: vec![root], errors: parser.errors })
}

struct Parser<'s> {
    text: &'s str,
    bytes: &'s [u8],
    place: usize,
    depth: usize,
    errors: Vec<SyntaxError>,
}

impl<'s> Parser<'s> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.place).copied()
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.place += 1;
        }
    }

    /// The error for what stands here instead of `expected`.
    fn unexpected(&self, expected: &str) -> SyntaxError {
        let Some(found) = self.text[self.place..].chars().next() else {
            let end = self.text.len();
            return SyntaxError::new(
                Span::new(end, end),
                format!("the file ends where {expected} should follow"),
            );
        };
        let span = Span::new(self.place, self.place + found.len_utf8());
        let shown = if found.is_control() { found.escape_debug().to_string() } else { found.to_string() };
        let error = SyntaxError::new(span, format!("expected {expected}, found `{shown}`"));
        match found {
            '/' | '#' => error.help("JSON has no comments; YAML files have them"),
            '\'' => error.help("JSON strings stand in double quotes"),
            '}' | ']' => error.help("a comma must not stand before a closing bracket"),
            _ => error,
        }
    }

    fn value(&mut self) -> Result<Node<'s>, SyntaxError> {
        self.blank();
        let start = self.place;
        let value = match self.peek() {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            _ => return Err(self.unexpected("a value")),
        };
        Ok(Node { span: Span::new(start, self.place), value })
    }

    fn nested(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<Value<'s>, SyntaxError>,
    ) -> Result<Value<'s>, SyntaxError> {
        if self.depth == MAX_DEPTH {
            return Err(SyntaxError::too_deep(Span::new(self.place, self.place + 1)));
        }
        self.depth += 1;
        self.place += 1;
        let value = parse(self);
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Result<Value<'s>, SyntaxError> {
        let mut items = Vec::new();
        self.blank();
        if self.take(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value()?);
            self.blank();
            if self.take(b']') {
                return Ok(Value::List(items));
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `]`"));
            }
        }
    }

    fn object(&mut self) -> Result<Value<'s>, SyntaxError> {
        let mut fields = Vec::new();
        self.blank();
        if self.take(b'}') {
            return Ok(Value::Object(fields));
        }
        loop {
            self.blank();
            let start = self.place;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("a field name in double quotes"));
            }
            let name = self.string()?;
            let span = Span::new(start, self.place);
            self.blank();
            if !self.take(b':') {
                return Err(self.unexpected("`:`"));
            }
            let value = self.value()?;
            fields.push(Field { name, span, value });
            self.blank();
            if self.take(b'}') {
                report_duplicates(&fields, &mut self.errors);
                return Ok(Value::Object(fields));
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `}`"));
            }
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.place += usize::from(found);
        found
    }

    fn word(&mut self, word: &str, value: Value<'s>) -> Result<Value<'s>, SyntaxError> {
        if !self.text[self.place..].starts_with(word) {
            return Err(self.unexpected("a value"));
        }
        self.place += word.len();
        Ok(value)
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.unexpected("a digit"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.place += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value<'s>, SyntaxError> {
        let start = self.place;
        self.take(b'-');
        if self.take(b'0') {
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                let span = Span::new(start, self.place + 1);
                return Err(SyntaxError::new(span, "a number must not begin with 0")
                    .help("account ids and the like are strings: put them in double quotes"));
            }
        } else {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        Ok(Value::Number(Cow::Borrowed(&self.text[start..self.place])))
    }

    /// A string; borrowed unless it has escapes.
    fn string(&mut self) -> Result<Cow<'s, str>, SyntaxError> {
        let opening = self.place;
        self.place += 1;
        let mut plain = self.place;
        let mut decoded = String::new();
        loop {
            match self.peek() {
                None => {
                    let span = Span::new(opening, opening + 1);
                    return Err(SyntaxError::new(span, "this string has no closing double quote"));
                }
                Some(b'"') => {
                    let rest = &self.text[plain..self.place];
                    self.place += 1;
                    if decoded.is_empty() {
                        return Ok(Cow::Borrowed(rest));
                    }
                    decoded.push_str(rest);
                    return Ok(Cow::Owned(decoded));
                }
                Some(b'\\') => {
                    decoded.push_str(&self.text[plain..self.place]);
                    decoded.push(self.escape()?);
                    plain = self.place;
                }
                Some(0..=0x1f) => {
                    let span = Span::new(self.place, self.place + 1);
                    return Err(SyntaxError::new(span, "a control character stands inside of a string")
                        .help("write a line break as \\n, a tab as \\t"));
                }
                Some(_) => self.place += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let start = self.place;
        self.place += 1;
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.place += 1;
                return self.unicode(start);
            }
            _ => return Err(self.unexpected("an escape (one of \" \\ / b f n r t u)")),
        };
        self.place += 1;
        Ok(character)
    }

    /// `\uXXXX`, or two of them that are a surrogate pair.
    fn unicode(&mut self, start: usize) -> Result<char, SyntaxError> {
        let mut unit = self.unit(start)?;
        if (0xd800..0xdc00).contains(&unit) && self.text[self.place..].starts_with("\\u") {
            self.place += 2;
            let low = self.unit(start)?;
            if (0xdc00..0xe000).contains(&low) {
                unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            }
        }
        char::from_u32(unit).ok_or_else(|| {
            SyntaxError::new(Span::new(start, self.place), "this escape is half of a character")
        })
    }

    fn unit(&mut self, start: usize) -> Result<u32, SyntaxError> {
        let unit = self
            .text
            .get(self.place..self.place + 4)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| {
                SyntaxError::new(Span::new(start, self.place), "\\u takes four hexadecimal digits")
            })?;
        self.place += 4;
        Ok(unit)
    }
}
