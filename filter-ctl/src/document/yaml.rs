//! YAML 1.2 (core schema) into the spanned tree.

use std::{borrow::Cow, collections::HashMap};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::{
    diagnostic::Span,
    tree::{Field, MAX_DEPTH, Node, Parsed, SyntaxError, Value, report_duplicates},
};

/// Values that aliases may stand for in one file, all together: a "billion laughs" file is refused.
const MAX_COPIED: usize = 1_000_000;

/// Parses a whole file, with all of its documents.
pub(super) fn parse(text: &str) -> Result<Parsed<'_>, SyntaxError> {
    let mut places = Places::new(text);
    let mut builder = Builder::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let place = places.byte(*error.marker());
            refused(Span::new(place, place), error.info())
        })?;
        let span = Span::new(places.byte(span.start), places.byte(span.end));
        builder.event(event, span)?;
    }
    Ok(builder.parsed)
}

/// The parser's own errors, with the help that they lack.
fn refused(span: Span, info: &str) -> SyntaxError {
    if info.contains("recursion limit") {
        return SyntaxError::too_deep(span);
    }
    let error = SyntaxError::new(span, info);
    if info.contains("tab") {
        error.help("indent with spaces")
    } else if info.contains("anchor") {
        error.help("a string that begins with * needs quotes")
    } else {
        error.help("a value that begins with a special character or holds `: ` or ` #` needs quotes")
    }
}

/// Turns the parser's places, which count characters, into bytes. The parser moves on, with
/// small steps back, so the last answer is a good start.
struct Places<'s> {
    text: &'s str,
    ascii: bool,
    characters: usize,
    bytes: usize,
}

impl<'s> Places<'s> {
    fn new(text: &'s str) -> Self {
        Self { text, ascii: text.is_ascii(), characters: 0, bytes: 0 }
    }

    fn byte(&mut self, marker: Marker) -> usize {
        if self.ascii {
            return marker.index().min(self.text.len());
        }
        while self.characters < marker.index() {
            let Some(character) = self.text[self.bytes..].chars().next() else { break };
            self.bytes += character.len_utf8();
            self.characters += 1;
        }
        while self.characters > marker.index() {
            let Some(character) = self.text[..self.bytes].chars().next_back() else { break };
            self.bytes -= character.len_utf8();
            self.characters -= 1;
        }
        self.bytes
    }
}

/// A list or object that is not complete.
struct Open<'s> {
    span: Span,
    anchor: usize,
    items: Items<'s>,
}

enum Items<'s> {
    List(Vec<Node<'s>>),
    Object(Vec<Field<'s>>, Option<(Cow<'s, str>, Span)>),
}

#[derive(Default)]
struct Builder<'s> {
    parsed: Parsed<'s>,
    open: Vec<Open<'s>>,
    anchors: HashMap<usize, Node<'s>>,
    copied: usize,
}

impl<'s> Builder<'s> {
    fn event(&mut self, event: Event<'s>, span: Span) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(Open { items: Items::Object(_, key @ None), .. }) = self.open.last_mut() {
                    *key = Some((text, span));
                    return Ok(());
                }
                let node = Node { span, value: scalar(text, style, tag.as_deref()) };
                self.complete(node, anchor)
            }
            Event::SequenceStart(anchor, _) => self.start(span, anchor, Items::List(Vec::new())),
            Event::MappingStart(anchor, _) => self.start(span, anchor, Items::Object(Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let end = (span.start + span.length) as usize;
                let value = match open.items {
                    Items::List(items) => Value::List(items),
                    Items::Object(fields, _) => {
                        report_duplicates(&fields, &mut self.parsed.errors);
                        Value::Object(fields)
                    }
                };
                let span = Span::new(open.span.start as usize, end);
                self.complete(Node { span, value }, open.anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(SyntaxError::new(span, "this alias stands inside of what it names"));
                };
                let node = copy(node, &mut self.copied, span)?;
                self.complete(node, 0)
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd => Ok(()),
            Event::DocumentStart(_) | Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
        }
    }

    fn start(&mut self, span: Span, anchor: usize, items: Items<'s>) -> Result<(), SyntaxError> {
        if let Some(Open { items: Items::Object(_, None), .. }) = self.open.last() {
            return Err(SyntaxError::new(span, "a field's name must be a string"));
        }
        if self.open.len() == MAX_DEPTH {
            return Err(SyntaxError::too_deep(span));
        }
        self.open.push(Open { span, anchor, items });
        Ok(())
    }

    /// Puts a complete value where it belongs.
    fn complete(&mut self, node: Node<'s>, anchor: usize) -> Result<(), SyntaxError> {
        if anchor != 0 {
            let copy = copy(&node, &mut self.copied, node.span)?;
            self.anchors.insert(anchor, copy);
        }
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.parsed.roots.push(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Object(fields, key)) => match key.take() {
                Some((name, span)) => fields.push(Field { name, span, value: node }),
                None => return Err(SyntaxError::new(node.span, "a field's name must be a string")),
            },
        }
        Ok(())
    }
}

/// A copy of a value, counted.
fn copy<'s>(node: &Node<'s>, copied: &mut usize, span: Span) -> Result<Node<'s>, SyntaxError> {
    *copied += count(node);
    if *copied > MAX_COPIED {
        return Err(SyntaxError {
            id: "too-many-aliases",
            span,
            message: format!("aliases stand for more than {MAX_COPIED} values"),
            help: None,
        });
    }
    Ok(node.clone())
}

fn count(node: &Node<'_>) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(count).sum(),
        Value::Object(fields) => fields.iter().map(|field| count(&field.value)).sum(),
        _ => 0,
    }
}

/// The value of a scalar: YAML 1.2's core schema.
fn scalar<'s>(text: Cow<'s, str>, style: ScalarStyle, tag: Option<&Tag>) -> Value<'s> {
    let string = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    if style != ScalarStyle::Plain || string {
        return Value::Text(text);
    }
    match &*text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if is_number(&text) => Value::Number(text),
        _ => Value::Text(text),
    }
}

/// Whether a plain scalar is a decimal number. (`0x50` and `1e3` stay strings: no field of a
/// document is written so.)
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && all_digits(fraction)
}
