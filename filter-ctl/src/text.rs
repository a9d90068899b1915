//! Text that others wrote, made fit for a terminal: names, ids and values of documents can hold
//! anything, and a terminal obeys what it is shown.

use std::borrow::Cow;

/// Characters of one word that are shown.
const WORD: usize = 80;

/// Characters of a message that are shown: its beginning and its end.
const MESSAGE: (usize, usize) = (300, 100);

/// Whether a terminal would obey a character instead of showing it: control characters, and those
/// that turn the direction of writing or break lines.
fn commands(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with all characters escaped that a terminal would obey: `\u{1b}`, `\n`.
#[must_use]
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(commands) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if commands(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// [`escaped`], with words cut that are too long to be read.
#[must_use]
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    if text.len() <= WORD || text.split(' ').all(|word| word.len() <= WORD) {
        return escaped(text);
    }
    let words: Vec<_> = text.split(' ').map(|word| escaped(&cut(word, WORD)).into_owned()).collect();
    Cow::Owned(words.join(" "))
}

/// [`shown`], with its middle left out where it is too long to be read: the words of a value are
/// no shorter than the value.
#[must_use]
pub(crate) fn message(text: &str) -> Cow<'_, str> {
    let (head, tail) = MESSAGE;
    let text = shown(text);
    if text.chars().nth(head + tail).is_none() {
        return text;
    }
    let end = text.char_indices().rev().nth(tail - 1).map_or(0, |(offset, _)| offset);
    Cow::Owned(format!("{} {}", cut(&text, head), &text[end..]))
}

/// The first so many characters, with a sign that there are more.
fn cut(text: &str, characters: usize) -> Cow<'_, str> {
    match text.char_indices().nth(characters) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The text with every character replaced that a terminal would obey, by one of as many bytes, so
/// that places in it stay what they are. Tabs and ends of lines remain. `None`: it has none.
#[must_use]
pub(crate) fn replaced(text: &str) -> Option<String> {
    let obeyed = |character: char, next: Option<&char>| match character {
        '\n' | '\t' => false,
        '\r' => next != Some(&'\n'),
        character => commands(character),
    };
    let mut characters = text.chars().peekable();
    let mut any = false;
    let mut shown = String::with_capacity(text.len());
    while let Some(character) = characters.next() {
        if obeyed(character, characters.peek()) {
            any = true;
            shown.push(match character.len_utf8() {
                1 => '?',
                2 => '\u{b7}',
                _ => '\u{fffd}',
            });
        } else {
            shown.push(character);
        }
    }
    any.then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        assert_eq!(escaped("eni-\u{1b}[31m\n\u{9b}\u{202e}ä"), "eni-\\u{1b}[31m\\n\\u{9b}\\u{202e}ä");
        assert!(matches!(escaped("sg-0a1 ä"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let long = "x".repeat(5 << 20);
        assert_eq!(shown(&format!("a {long} b")), format!("a {}… b", "x".repeat(80)));
        let words = "x ".repeat(5 << 19);
        let shown = message(&words);
        assert!(shown.chars().count() < 410, "{}", shown.len());
        assert_eq!(message("short"), "short");
    }

    #[test]
    fn replaced_characters_keep_their_places() {
        let text = "a\u{1b}\u{9b}\u{202e}\t\r\n\rb";
        let shown = replaced(text).unwrap_or_default();
        assert_eq!(shown, "a?\u{b7}\u{fffd}\t\r\n?b");
        assert_eq!(shown.len(), text.len());
        assert_eq!(replaced("a\tb\r\n"), None);
    }
}
