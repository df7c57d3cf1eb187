//! What Ansible's INI reader leaves to Python: splitting a line into words, and literals.

use std::iter::Peekable;
use std::str::Chars;

use indexmap::IndexMap;

use super::value::{Value, python_float};

/// A line cannot be split into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SplitError {
    /// A quote is opened and never closed.
    #[error("a quote is not closed")]
    OpenQuote,
    /// The line ends after a backslash.
    #[error("the line ends with a backslash")]
    TrailingBackslash,
}

/// Splits as a POSIX shell does, without expansions; a `#` outside quotes ends the line, even inside a word.
///
/// # Errors
/// A quote that is not closed, or a backslash at the end.
pub(crate) fn split_words(line: &str, comments: bool) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '#' if comments => break,
            '\\' => {
                let next = chars.next().ok_or(SplitError::TrailingBackslash)?;
                word.get_or_insert_default().push(next);
            }
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(SplitError::OpenQuote)? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(SplitError::OpenQuote)? {
                        '"' => break,
                        '\\' => match chars.next().ok_or(SplitError::TrailingBackslash)? {
                            c @ ('"' | '\\') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads a text as a Python literal; what is none stays text, as in Ansible's INI files.
pub(crate) fn literal_or_text(text: &str) -> Value {
    literal(text).unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// How deep literals may nest.
const MAX_DEPTH: usize = 64;

fn literal(text: &str) -> Option<Value> {
    let mut parser = Literal {
        chars: text.trim_start_matches([' ', '\t']).chars().peekable(),
        depth: 0,
    };
    let value = parser.tuple_or_value(None)?;
    parser.space();
    parser.chars.peek().is_none().then_some(value)
}

struct Literal<'a> {
    chars: Peekable<Chars<'a>>,
    depth: usize,
}

impl Literal<'_> {
    /// Skips blanks and a comment. Inside brackets Python would go on in the next line; a value has only one.
    fn space(&mut self) {
        while self
            .chars
            .next_if(|c| matches!(c, ' ' | '\t' | '\u{c}'))
            .is_some()
        {}
        if self.chars.peek() == Some(&'#') {
            while self.chars.next().is_some() {}
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.space();
        self.chars.next_if_eq(&wanted).is_some()
    }

    /// `1`, or `1, 2` which is a tuple; ends before `close` or the end of the text.
    fn tuple_or_value(&mut self, close: Option<char>) -> Option<Value> {
        let first = self.value()?;
        if !self.eat(',') {
            return Some(first);
        }
        let mut items = vec![first];
        loop {
            self.space();
            if self.chars.peek().copied() == close {
                return Some(Value::List(items));
            }
            items.push(self.value()?);
            if !self.eat(',') {
                return Some(Value::List(items));
            }
        }
    }

    fn value(&mut self) -> Option<Value> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = self.value_inside();
        self.depth -= 1;
        value
    }

    fn value_inside(&mut self) -> Option<Value> {
        self.space();
        match *self.chars.peek()? {
            '[' => {
                self.chars.next();
                self.items(']').map(Value::List)
            }
            '(' => {
                self.chars.next();
                if self.eat(')') {
                    return Some(Value::List(Vec::new()));
                }
                let value = self.tuple_or_value(Some(')'))?;
                self.eat(')').then_some(value)
            }
            '{' => {
                self.chars.next();
                self.set_or_map()
            }
            '\'' | '"' => self.texts(),
            '-' | '+' => {
                let negative = self.chars.next() == Some('-');
                self.space();
                self.signed_number(negative)
            }
            '0'..='9' => self.number(),
            '.' => {
                let mut ahead = self.chars.clone();
                ahead.next();
                if ahead.next() == Some('.') && ahead.next() == Some('.') {
                    self.chars.nth(2);
                    return Some(Value::Text("...".to_owned()));
                }
                self.number()
            }
            c if c.is_ascii_alphabetic() => self.name(),
            _ => None,
        }
    }

    fn signed_number(&mut self, negative: bool) -> Option<Value> {
        Some(match self.number()? {
            Value::Int(i) if negative => Value::Int(-i),
            Value::Float(f) if negative => Value::Float(-f),
            Value::Text(text) if negative => Value::Text(format!("(-0-{text})")),
            value => value,
        })
    }

    fn items(&mut self, close: char) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        loop {
            if self.eat(close) {
                return Some(items);
            }
            items.push(self.value()?);
            if !self.eat(',') {
                return self.eat(close).then_some(items);
            }
        }
    }

    fn set_or_map(&mut self) -> Option<Value> {
        let mut map = IndexMap::new();
        if self.eat('}') {
            return Some(Value::Map(map));
        }
        let first = self.value()?;
        if !self.eat(':') {
            let mut items = vec![hashable(first)?];
            while self.eat(',') {
                if self.eat('}') {
                    return Some(Value::List(items));
                }
                let item = hashable(self.value()?)?;
                if !items.contains(&item) {
                    items.push(item);
                }
            }
            return self.eat('}').then_some(Value::List(items));
        }
        map.insert(key(first)?, self.value()?);
        while self.eat(',') {
            if self.eat('}') {
                return Some(Value::Map(map));
            }
            let name = key(self.value()?)?;
            if !self.eat(':') {
                return None;
            }
            map.insert(name, self.value()?);
        }
        self.eat('}').then_some(Value::Map(map))
    }

    fn name(&mut self) -> Option<Value> {
        let mut ahead = self.chars.clone();
        let mut name = String::new();
        while let Some(c) = ahead.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(c);
        }
        if matches!(ahead.peek(), Some('\'' | '"')) {
            return self.texts();
        }
        self.chars = ahead;
        match name.as_str() {
            "None" => Some(Value::Null),
            "True" => Some(Value::Bool(true)),
            "False" => Some(Value::Bool(false)),
            // `set()` is how Python writes an empty set.
            "set" => (self.eat('(') && self.eat(')')).then(|| Value::List(Vec::new())),
            _ => None,
        }
    }

    /// One or more string literals in a row.
    fn texts(&mut self) -> Option<Value> {
        let mut text = String::new();
        let mut kind = None;
        loop {
            let (part, bytes) = self.one_text()?;
            if *kind.get_or_insert(bytes) != bytes {
                return None;
            }
            text.push_str(&part);
            self.space();
            let mut ahead = self.chars.clone();
            while ahead.next_if(char::is_ascii_alphabetic).is_some() {}
            if !matches!(ahead.peek(), Some('\'' | '"')) {
                // Ansible does not trust text made of bytes to be a template.
                return Some(if bytes {
                    Value::Unsafe(text)
                } else {
                    Value::Text(text)
                });
            }
        }
    }

    fn one_text(&mut self) -> Option<(String, bool)> {
        let mut prefix = String::new();
        while let Some(c) = self.chars.next_if(char::is_ascii_alphabetic) {
            prefix.push(c.to_ascii_lowercase());
        }
        let (raw, bytes) = match prefix.as_str() {
            "" | "u" => (false, false),
            "r" => (true, false),
            "b" => (false, true),
            "rb" | "br" => (true, true),
            _ => return None,
        };
        let quote = self.chars.next_if(|c| matches!(c, '\'' | '"'))?;
        let mut triple = false;
        if self.chars.peek() == Some(&quote) {
            self.chars.next();
            if self.chars.next_if_eq(&quote).is_none() {
                return Some((String::new(), bytes));
            }
            triple = true;
        }
        let mut text = String::new();
        loop {
            let c = self.chars.next()?;
            if c == quote {
                if !triple {
                    break;
                }
                let mut ahead = self.chars.clone();
                if ahead.next() == Some(quote) && ahead.next() == Some(quote) {
                    self.chars = ahead;
                    break;
                }
                text.push(c);
            } else if c == '\\' && raw {
                text.push(c);
                text.push(self.chars.next()?);
            } else if c == '\\' {
                self.escape(&mut text, bytes)?;
            } else if bytes && !c.is_ascii() {
                return None;
            } else {
                text.push(c);
            }
        }
        Some((text, bytes))
    }

    fn escape(&mut self, text: &mut String, bytes: bool) -> Option<()> {
        let c = self.chars.next()?;
        let plain = match c {
            '\\' | '\'' | '"' => Some(c),
            'a' => Some('\u{7}'),
            'b' => Some('\u{8}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            _ => None,
        };
        if let Some(plain) = plain {
            text.push(plain);
            return Some(());
        }
        let code = match c {
            '0'..='7' => {
                let mut code = c.to_digit(8)?;
                for _ in 0..2 {
                    if let Some(digit) = self.chars.next_if(|c| c.is_digit(8)) {
                        code = code * 8 + digit.to_digit(8)?;
                    }
                }
                code
            }
            'x' => self.hexadecimal(2)?,
            'u' if !bytes => self.hexadecimal(4)?,
            'U' if !bytes => self.hexadecimal(8)?,
            'N' if !bytes => return None,
            _ => {
                text.extend(['\\', c]);
                return Some(());
            }
        };
        if bytes && code > 0x7f {
            return None;
        }
        text.push(char::from_u32(code)?);
        Some(())
    }

    fn hexadecimal(&mut self, len: usize) -> Option<u32> {
        (0..len).try_fold(0u32, |sum, _| {
            sum.checked_mul(16)?
                .checked_add(self.chars.next()?.to_digit(16)?)
        })
    }

    fn number(&mut self) -> Option<Value> {
        let mut text = String::new();
        while let Some(c) = self
            .chars
            .next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
        {
            text.push(c);
            let is_decimal = !text.starts_with("0x") && !text.starts_with("0X");
            if is_decimal
                && matches!(c, 'e' | 'E')
                && let Some(sign) = self.chars.next_if(|c| matches!(c, '+' | '-'))
            {
                text.push(sign);
            }
        }
        number(&text)
    }
}

/// A key of a mapping as JSON writes it.
fn key(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        Value::Null => Some("null".to_owned()),
        Value::Bool(b) => Some(b.to_string()),
        Value::Int(i) => Some(i.to_string()),
        Value::Float(f) => Some(python_float(f)),
        Value::Unsafe(_) | Value::Vault(_) | Value::List(_) | Value::Map(_) => None,
    }
}

fn hashable(value: Value) -> Option<Value> {
    (!matches!(value, Value::Map(_))).then_some(value)
}

/// Drops underscores between digits; `None` where Python forbids them.
fn without_underscores(text: &str) -> Option<String> {
    let mut before = ' ';
    for c in text.chars().chain([' ']) {
        if (c == '_' && !before.is_ascii_alphanumeric())
            || (before == '_' && !c.is_ascii_alphanumeric())
        {
            return None;
        }
        before = c;
    }
    Some(text.chars().filter(|c| *c != '_').collect())
}

fn number(text: &str) -> Option<Value> {
    let lower = text.to_ascii_lowercase();
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = lower.strip_prefix(prefix) {
            let digits = without_underscores(&format!("0{digits}"))?;
            let valid = digits.len() > 1 && digits.chars().all(|c| c.is_digit(radix));
            return valid
                .then(|| i128::from_str_radix(&digits, radix).ok())?
                .map(Value::Int);
        }
    }
    let (lower, imaginary) = match lower.strip_suffix('j') {
        Some(digits) => (digits, true),
        None => (lower.as_str(), false),
    };
    let digits = without_underscores(lower)?;
    if imaginary {
        // A complex number becomes the text that Python prints for it.
        let shown = python_float(float(&digits)?);
        return Some(Value::Text(format!(
            "{}j",
            shown.strip_suffix(".0").unwrap_or(&shown)
        )));
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        // `0123` is an error in Python 3, which leaves the text as it is; `00` is zero.
        if digits.starts_with('0') && digits.bytes().any(|b| b != b'0') {
            return None;
        }
        return digits.parse().ok().map(Value::Int);
    }
    float(&digits).map(Value::Float)
}

/// Digits with a point or an exponent; Rust's parser alone would take `inf` as well.
fn float(text: &str) -> Option<f64> {
    let valid = text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'+' | b'-'))
        && text.bytes().any(|b| b.is_ascii_digit());
    valid.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Value {
        Value::Text(t.to_owned())
    }

    #[test]
    fn literals_become_values_and_the_rest_stays_text() {
        for (source, expected) in [
            ("1", Value::Int(1)),
            ("-1", Value::Int(-1)),
            ("--1", text("--1")),
            ("0123", text("0123")),
            ("00", Value::Int(0)),
            ("0x1F", Value::Int(31)),
            ("0o17", Value::Int(15)),
            ("1_000", Value::Int(1000)),
            ("1__0", text("1__0")),
            ("1.50", Value::Float(1.5)),
            ("1e5", Value::Float(100_000.0)),
            (".5", Value::Float(0.5)),
            ("10.0.0.1", text("10.0.0.1")),
            ("1.2.3", text("1.2.3")),
            ("True", Value::Bool(true)),
            ("true", text("true")),
            ("None", Value::Null),
            ("", text("")),
            ("yes", text("yes")),
            ("'03'", text("03")),
            ("'a' 'b'", text("ab")),
            (r"'a\tb\x41'", text("a\tbA")),
            (r"r'a\t'", text(r"a\t")),
            ("b'x'", Value::Unsafe("x".to_owned())),
            ("f'x'", text("f'x'")),
            ("r00''", text("r00''")),
            ("'a", text("'a")),
            ("1 # one", Value::Int(1)),
            ("a # one", text("a # one")),
            ("1,2", Value::List(vec![Value::Int(1), Value::Int(2)])),
            ("1,", Value::List(vec![Value::Int(1)])),
            ("(1)", Value::Int(1)),
            ("()", Value::List(vec![])),
            ("[1, 'a',]", Value::List(vec![Value::Int(1), text("a")])),
            ("[1", text("[1")),
            ("{1, 1}", Value::List(vec![Value::Int(1)])),
            (
                "{'a': 1}",
                Value::Map([("a".to_owned(), Value::Int(1))].into_iter().collect()),
            ),
            ("1-5", text("1-5")),
            ("inf", text("inf")),
            ("3j", text("3j")),
            ("0_j", text("0_j")),
            ("b''", Value::Unsafe(String::new())),
            ("...", text("...")),
        ] {
            assert_eq!(literal_or_text(source), expected, "{source:?}");
        }
        let deep = "[".repeat(5000);
        assert_eq!(literal_or_text(&deep), text(&deep));
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        let split = |line| split_words(line, true).unwrap();
        assert_eq!(
            split("h a=1  b='x y' c=\"p\\\"q\\n\""),
            ["h", "a=1", "b=x y", "c=p\"q\\n"]
        );
        assert_eq!(split("h l=a#b m=x"), ["h", "l=a"]);
        assert_eq!(split("h l='a#b' ''"), ["h", "l=a#b", ""]);
        assert_eq!(split_words("a#b", false).unwrap(), ["a#b"]);
        assert_eq!(split_words("a 'b", true), Err(SplitError::OpenQuote));
        assert_eq!(split_words("a\\", true), Err(SplitError::TrailingBackslash));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[-+0-9a-zA-Z_.'\"\\\\\\[\\](){}:,# éx]{0,40}") {
            drop(literal_or_text(&text));
            drop(split_words(&text, true));
        }
    }
}
