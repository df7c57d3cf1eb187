//! Values of variables, and where each was set.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use indexmap::IndexMap;
use regex::Regex;

use crate::names::printable;
use crate::text::yaml::{Kind, Node, Resolved, Scalar};
use crate::text::{FileError, Position, SourceFile};

/// A value as Ansible holds it: JSON's kinds, whole numbers of any size that matters, and two marks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    /// `!unsafe`: text that is never a template.
    Unsafe(String),
    /// `!vault`: ciphertext.
    Vault(String),
    List(Vec<Self>),
    Map(IndexMap<String, Self>),
}

/// Where a variable was set.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) file: SourceFile,
    pub(crate) position: Position,
}

impl Origin {
    pub(crate) fn error(&self, message: impl Into<String>) -> FileError {
        self.file.error(self.position, message)
    }
}

/// A variable's value with its place; cheap to clone, because ranges give one to many hosts.
#[derive(Debug, Clone)]
pub(crate) struct Var {
    pub(crate) value: Arc<Value>,
    pub(crate) origin: Origin,
}

/// Variables by name.
pub(crate) type Vars = IndexMap<Arc<str>, Var>;

impl Value {
    /// Reads a node; `file` is for errors.
    pub(crate) fn from_node(file: &SourceFile, node: &Node) -> Result<Self, FileError> {
        convert(file, node, false)
    }

    /// Returns whether Ansible would have to render or decrypt something to know the value.
    pub(crate) fn needs_ansible(&self) -> Option<&'static str> {
        match self {
            Self::Text(text) if ["{{", "{%", "{#"].iter().any(|m| text.contains(m)) => {
                Some("is a Jinja template")
            }
            Self::Vault(_) => Some("is encrypted with ansible-vault"),
            Self::List(items) => items.iter().find_map(Self::needs_ansible),
            Self::Map(map) => map.values().find_map(Self::needs_ansible),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Text(_)
            | Self::Unsafe(_) => None,
        }
    }

    /// Returns the value as serde's; what JSON cannot hold becomes text.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(i) => u64::try_from(*i).map(Json::from).unwrap_or_else(|_| {
                i64::try_from(*i).map_or_else(|_| Json::String(i.to_string()), Json::from)
            }),
            Self::Float(f) => serde_json::Number::from_f64(*f)
                .map_or_else(|| Json::String(python_float(*f)), Json::Number),
            Self::Text(text) | Self::Unsafe(text) => Json::String(text.clone()),
            Self::Vault(text) => Json::Object(
                [("__ansible_vault".to_owned(), Json::String(text.clone()))]
                    .into_iter()
                    .collect(),
            ),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(map) => {
                Json::Object(map.iter().map(|(k, v)| (k.clone(), v.to_json())).collect())
            }
        }
    }

    /// Appends the value as Python's `json.dumps(…, sort_keys=True, indent=4, ensure_ascii=False)` writes it.
    pub(crate) fn write_json(&self, out: &mut String, indent: usize) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            // Writing to a string cannot fail.
            Self::Int(i) => _ = write!(out, "{i}"),
            Self::Float(f) => out.push_str(&python_float(*f)),
            Self::Text(text) => write_json_text(out, text),
            Self::Unsafe(text) => {
                write_json_map(out, indent, [("__ansible_unsafe", text)], |out, text, _| {
                    write_json_text(out, text);
                });
            }
            Self::Vault(text) => {
                write_json_map(out, indent, [("__ansible_vault", text)], |out, text, _| {
                    write_json_text(out, text);
                });
            }
            Self::List(items) => {
                write_json_list(out, indent, items, |out, item, indent| {
                    item.write_json(out, indent);
                });
            }
            Self::Map(map) => {
                let mut entries: Vec<(&str, &Self)> =
                    map.iter().map(|(k, v)| (k.as_str(), v)).collect();
                entries.sort_unstable_by_key(|(k, _)| *k);
                write_json_map(out, indent, entries, |out, value, indent| {
                    value.write_json(out, indent);
                });
            }
        }
    }
}

/// Appends a JSON object; the entries must be sorted already.
pub(crate) fn write_json_map<'a, T>(
    out: &mut String,
    indent: usize,
    entries: impl IntoIterator<Item = (&'a str, T)>,
    mut write_value: impl FnMut(&mut String, T, usize),
) {
    let mut first = true;
    for (key, value) in entries {
        out.push_str(if first { "{\n" } else { ",\n" });
        first = false;
        out.extend(std::iter::repeat_n(' ', indent + 4));
        write_json_text(out, key);
        out.push_str(": ");
        write_value(out, value, indent + 4);
    }
    close(out, first, indent, '{', '}');
}

/// Appends a JSON array.
pub(crate) fn write_json_list<T>(
    out: &mut String,
    indent: usize,
    items: impl IntoIterator<Item = T>,
    mut write_item: impl FnMut(&mut String, T, usize),
) {
    let mut first = true;
    for item in items {
        out.push_str(if first { "[\n" } else { ",\n" });
        first = false;
        out.extend(std::iter::repeat_n(' ', indent + 4));
        write_item(out, item, indent + 4);
    }
    close(out, first, indent, '[', ']');
}

fn close(out: &mut String, empty: bool, indent: usize, open: char, close: char) {
    if empty {
        out.push(open);
    } else {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent));
    }
    out.push(close);
}

/// Appends a JSON string without escaping what need not be.
pub(crate) fn write_json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Formats a float as Python's `repr` does, and JSON's extensions for what is no number.
pub(crate) fn python_float(f: f64) -> String {
    if f.is_nan() {
        return "NaN".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    // Both languages print the shortest digits that read back; they differ in when the exponent is used.
    let scientific = format!("{f:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if f != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{f}");
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

/// Returns a key as JSON names it: Python's encoder turns numbers and booleans into text.
pub(crate) fn key_text(key: &Scalar) -> String {
    match key.resolved {
        Resolved::Text => key.text.clone(),
        Resolved::Null => "null".to_owned(),
        Resolved::Bool(b) => b.to_string(),
        Resolved::Int(i) => i.to_string(),
        Resolved::Float(f) => python_float(f),
        Resolved::Timestamp => iso_time(&key.text).unwrap_or_else(|| key.text.clone()),
    }
}

fn convert(file: &SourceFile, node: &Node, is_unsafe: bool) -> Result<Value, FileError> {
    let mut is_unsafe = is_unsafe;
    match node.tag.as_ref().map(crate::text::yaml::Tag::as_str) {
        None => {}
        Some("!unsafe") => is_unsafe = true,
        Some("!vault" | "!vault-encrypted") => {
            return match &node.kind {
                Kind::Scalar(scalar) => Ok(Value::Vault(scalar.text.clone())),
                Kind::Sequence(_) | Kind::Mapping(_) => {
                    Err(file.error(node.position, "`!vault` needs text"))
                }
            };
        }
        Some(tag) => {
            return Err(file
                .error(
                    node.position,
                    format!("the tag `{}` is not known", printable(tag, 40)),
                )
                .hinted("Ansible inventories know `!vault` and `!unsafe`"));
        }
    }
    Ok(match &node.kind {
        Kind::Scalar(scalar) => match scalar.resolved {
            Resolved::Null => Value::Null,
            Resolved::Bool(b) => Value::Bool(b),
            Resolved::Int(i) => Value::Int(i),
            Resolved::Float(f) => Value::Float(f),
            Resolved::Timestamp => Value::Text(iso_time(&scalar.text).ok_or_else(|| {
                file.error(node.position, "this date does not exist")
                    .hinted("quote it to make it text")
            })?),
            Resolved::Text if is_unsafe => Value::Unsafe(scalar.text.clone()),
            Resolved::Text => Value::Text(scalar.text.clone()),
        },
        Kind::Sequence(items) => Value::List(
            items
                .iter()
                .map(|item| convert(file, item, is_unsafe))
                .collect::<Result<_, _>>()?,
        ),
        Kind::Mapping(mapping) => {
            let mut map = IndexMap::with_capacity(mapping.entries.len());
            for entry in &mapping.entries {
                let value = convert(file, &entry.value, is_unsafe)?;
                if map.insert(key_text(&entry.key.scalar), value).is_some() {
                    return Err(file.error(
                        entry.key.position,
                        "duplicate key: it is written differently and means the same",
                    ));
                }
            }
            Value::Map(map)
        }
    })
}

static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"^(\d{4})-(\d\d?)-(\d\d?)(?:(?:[Tt]|[ \t]+)(\d\d?):(\d\d):(\d\d)(?:\.(\d*))?(?:[ \t]*(?:(Z)|([-+])(\d\d?)(?::(\d\d))?))?)?$",
    )
    .ok()
});

/// Returns a YAML timestamp in ISO 8601 as Python's `isoformat` writes it; `None` if there is no such time.
fn iso_time(text: &str) -> Option<String> {
    let parts = TIME.as_ref()?.captures(text)?;
    let number = |index: usize| -> Option<i8> { parts.get(index)?.as_str().parse().ok() };
    let year: i16 = parts.get(1)?.as_str().parse().ok()?;
    let date = jiff::civil::Date::new(year, number(2)?, number(3)?).ok()?;
    if year == 0 {
        return None;
    }
    let mut out = date.to_string();
    let Some(hour) = number(4) else {
        return Some(out);
    };
    let (minute, second) = (number(5)?, number(6)?);
    jiff::civil::Time::new(hour, minute, second, 0).ok()?;
    _ = write!(out, "T{hour:02}:{minute:02}:{second:02}");
    let fraction: String = parts
        .get(7)
        .map(|m| m.as_str())
        .unwrap_or_default()
        .chars()
        .chain("000000".chars())
        .take(6)
        .collect();
    if fraction != "000000" {
        _ = write!(out, ".{fraction}");
    }
    if parts.get(8).is_some() {
        out.push_str("+00:00");
    } else if let Some(sign) = parts.get(9) {
        let (hours, minutes) = (number(10)?, number(11).unwrap_or(0));
        if hours > 23 {
            return None;
        }
        let sign = if hours == 0 && minutes == 0 {
            "+"
        } else {
            sign.as_str()
        };
        _ = write!(out, "{sign}{hours:02}:{minutes:02}");
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_python_prints_them() {
        for (f, text) in [
            (1.0, "1.0"),
            (1.5, "1.5"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-0.0, "-0.0"),
            (685_230.15, "685230.15"),
            (f64::INFINITY, "Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(python_float(f), text);
        }
    }

    #[test]
    fn times_print_in_iso_form() {
        for (text, expected) in [
            ("2024-01-01", Some("2024-01-01")),
            ("2024-13-01", None),
            ("2024-01-01 10:00:00", Some("2024-01-01T10:00:00")),
            (
                "2001-12-14t21:59:43.10-05:00",
                Some("2001-12-14T21:59:43.100000-05:00"),
            ),
            ("2001-12-14 21:59:43Z", Some("2001-12-14T21:59:43+00:00")),
        ] {
            assert_eq!(iso_time(text).as_deref(), expected);
        }
    }

    #[test]
    fn json_is_pythons() {
        let value = Value::Map(
            [
                ("b".to_owned(), Value::List(vec![])),
                ("a".to_owned(), Value::Text("é\u{1}\"\u{7f}".to_owned())),
                ("v".to_owned(), Value::Vault("x".to_owned())),
            ]
            .into_iter()
            .collect(),
        );
        let mut out = String::new();
        value.write_json(&mut out, 0);
        assert_eq!(
            out,
            "{\n    \"a\": \"é\\u0001\\\"\u{7f}\",\n    \"b\": [],\n    \"v\": {\n        \"__ansible_vault\": \"x\"\n    }\n}"
        );
    }
}
