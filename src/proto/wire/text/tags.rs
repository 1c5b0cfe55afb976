//! Tags, as Python prints a list of strings.

use std::fmt::Write as _;

use crate::limits::{TAGS_BYTES_MAX, TAGS_MAX};

/// The reason why a text is not a list of tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagsError {
    /// It is not a list of strings; the byte where that shows.
    #[error("not a list of strings, at byte {0}")]
    Syntax(usize),
    /// An escape without a character.
    #[error("an escape that is no character, at byte {0}")]
    Escape(usize),
    /// More than [`TAGS_MAX`] tags.
    #[error("more than {TAGS_MAX} tags")]
    TooMany,
    /// More than [`TAGS_BYTES_MAX`] bytes.
    #[error("more than {TAGS_BYTES_MAX} bytes")]
    TooLong,
}

/// Returns the list as Python's `repr` prints it, `[]` if it is empty.
pub fn encode_tags<S: AsRef<str>>(tags: &[S]) -> String {
    let mut out = String::from("[");
    for (number, tag) in tags.iter().enumerate() {
        if number > 0 {
            out.push_str(", ");
        }
        push_repr(&mut out, tag.as_ref());
    }
    out.push(']');
    out
}

fn push_repr(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character == quote => out.extend(['\\', quote]),
            _ if is_printable(character) => out.push(character),
            _ => push_escape(out, character),
        }
    }
    out.push(quote);
}

/// True for what Python prints (`str.isprintable`): no control, format, surrogate, private or
/// unassigned character, and no separator but the space. The standard library escapes
/// all others, and at the beginning of a string combining marks too.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    let mut text = [b'a', 0, 0, 0, 0];
    let length = 1 + character.encode_utf8(&mut text[1..]).len();
    std::str::from_utf8(&text[..length])
        .is_ok_and(|text| text.escape_debug().nth(1) == Some(character))
}

fn push_escape(out: &mut String, character: char) {
    let code = u32::from(character);
    // A write to a string cannot fail.
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// Reads a Python list of strings. Empty text is an empty list.
pub fn decode_tags(raw: &str) -> Result<Vec<Box<str>>, TagsError> {
    if raw.len() > TAGS_BYTES_MAX {
        return Err(TagsError::TooLong);
    }
    let mut reader = Reader { raw, next: 0 };
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    let tags = reader.list()?;
    reader.skip_space();
    if reader.next < raw.len() {
        Err(TagsError::Syntax(reader.next))
    } else {
        Ok(tags)
    }
}

struct Reader<'a> {
    raw: &'a str,
    next: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.raw[self.next..].chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.next += character.len_utf8();
        Some(character)
    }

    fn take_if(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.next += wanted.len_utf8();
        }
        there
    }

    fn skip_space(&mut self) {
        while self
            .peek()
            .is_some_and(|character| character.is_ascii_whitespace())
        {
            self.next += 1;
        }
    }

    fn list(&mut self) -> Result<Vec<Box<str>>, TagsError> {
        let mut tags = Vec::new();
        self.skip_space();
        if !self.take_if('[') {
            return Err(TagsError::Syntax(self.next));
        }
        loop {
            self.skip_space();
            if self.take_if(']') {
                return Ok(tags);
            }
            if tags.len() == TAGS_MAX {
                return Err(TagsError::TooMany);
            }
            tags.push(self.string()?.into());
            self.skip_space();
            if !self.take_if(',') && self.peek() != Some(']') {
                return Err(TagsError::Syntax(self.next));
            }
        }
    }

    fn string(&mut self) -> Result<String, TagsError> {
        let start = self.next;
        let Some(quote @ ('\'' | '"')) = self.take() else {
            return Err(TagsError::Syntax(start));
        };
        let mut text = String::new();
        loop {
            match self.take() {
                None | Some('\n') => return Err(TagsError::Syntax(self.next)),
                Some('\\') => self.escape(&mut text)?,
                Some(character) if character == quote => return Ok(text),
                Some(character) => text.push(character),
            }
        }
    }

    /// Reads one escape, after its backslash.
    fn escape(&mut self, text: &mut String) -> Result<(), TagsError> {
        let start = self.next - 1;
        let Some(kind) = self.take() else {
            return Err(TagsError::Syntax(start));
        };
        match kind {
            '\n' => {}
            '\\' | '\'' | '"' => text.push(kind),
            'a' => text.push('\x07'),
            'b' => text.push('\x08'),
            'f' => text.push('\x0c'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'v' => text.push('\x0b'),
            'x' => text.push(self.code(16, 2, 2).ok_or(TagsError::Escape(start))?),
            'u' => text.push(self.code(16, 4, 4).ok_or(TagsError::Escape(start))?),
            'U' => text.push(self.code(16, 8, 8).ok_or(TagsError::Escape(start))?),
            '0'..='7' => {
                self.next -= 1;
                text.push(self.code(8, 1, 3).ok_or(TagsError::Escape(start))?);
            }
            // A name of the Unicode tables, which Python never prints.
            'N' => return Err(TagsError::Escape(start)),
            other => text.extend(['\\', other]),
        }
        Ok(())
    }

    /// Reads a character by its number, with `least` to `most` digits.
    fn code(&mut self, radix: u32, least: usize, most: usize) -> Option<char> {
        let mut code = 0_u32;
        let mut digits = 0;
        while digits < most
            && let Some(digit) = self.peek().and_then(|character| character.to_digit(radix))
        {
            code = code.checked_mul(radix)?.checked_add(digit)?;
            self.next += 1;
            digits += 1;
        }
        if digits < least {
            None
        } else {
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lists and what `repr` of Python 3.11 makes of them.
    const REPRS: &[(&[&str], &str)] = &[
        (&[], "[]"),
        (
            &["isp:local", "location:laptop"],
            "['isp:local', 'location:laptop']",
        ),
        (&["it's"], "[\"it's\"]"),
        (&["say \"x\""], "['say \"x\"']"),
        (
            &["it's \"q\" \\ tab\u{9} \u{e9}"],
            "['it\\'s \"q\" \\\\ tab\\t \u{e9}']",
        ),
        (
            &["\u{0}\u{1f}\u{7f}\u{80}\u{a0}\u{ad}"],
            "['\\x00\\x1f\\x7f\\x80\\xa0\\xad']",
        ),
        (
            &["\u{200b}\u{2028}\u{e000}\u{e0001}"],
            "['\\u200b\\u2028\\ue000\\U000e0001']",
        ),
        (
            &["e\u{301} \u{4e2d} \u{1f600}"],
            "['e\u{301} \u{4e2d} \u{1f600}']",
        ),
        (&["line\u{d}\u{a}end"], "['line\\r\\nend']"),
        (&["", " "], "['', ' ']"),
    ];

    #[test]
    fn prints_as_python_does() {
        for (tags, repr) in REPRS {
            assert_eq!(encode_tags(tags), *repr);
            let read = decode_tags(repr).map(|tags| tags.join("\n---\n"));
            assert_eq!(read, Ok(tags.join("\n---\n")));
        }
    }

    #[test]
    fn reads_other_spellings() {
        let read = |raw| decode_tags(raw).map(|tags| tags.join("+"));
        assert_eq!(read(""), Ok(String::new()));
        assert_eq!(read(" [ 'a' , \"b\" , ] "), Ok("a+b".into()));
        assert_eq!(
            read(r"['\x41\u00e9\U0001f600\101\0']"),
            Ok("A\u{e9}\u{1f600}A\0".into())
        );
        assert_eq!(
            read(r"['\a\b\f\v\q\d']"),
            Ok("\x07\x08\x0c\x0b\\q\\d".into())
        );
    }

    #[test]
    fn refuses_what_is_no_list_of_strings() {
        for raw in [
            "[",
            "]",
            "x",
            "['a'",
            "['a]",
            "['a' 'b']",
            "[1]",
            "['a'] x",
            "[,]",
            "['a',,]",
        ] {
            assert!(
                matches!(decode_tags(raw), Err(TagsError::Syntax(_))),
                "{raw}"
            );
        }
        for raw in [
            r"['\x4']",
            r"['\ud800']",
            r"['\U00110000']",
            r"['\N{DASH}']",
        ] {
            assert!(
                matches!(decode_tags(raw), Err(TagsError::Escape(_))),
                "{raw}"
            );
        }
        let many = format!("[{}]", "'',".repeat(TAGS_MAX + 1));
        assert_eq!(decode_tags(&many), Err(TagsError::TooMany));
        assert_eq!(
            decode_tags(&" ".repeat(TAGS_BYTES_MAX + 1)),
            Err(TagsError::TooLong)
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(tags in prop::collection::vec(any::<String>(), 0..8)) {
            let printed = encode_tags(&tags);
            prop_assume!(printed.len() <= TAGS_BYTES_MAX);
            let read = decode_tags(&printed).expect("we print lists");
            prop_assert!(read.iter().map(|tag| &**tag).eq(tags.iter().map(String::as_str)));
        }

        #[test]
        fn nothing_panics(raw in any::<String>()) {
            let _ = decode_tags(&raw);
        }
    }
}
