//! Adding to and taking from a list in a YAML file that a person wrote, without touching anything else of it.
//!
//! Only forms that can be changed line by line: a list with one item a line, or one in brackets on one line. For others
//! the caller says what to write, rather than this guessing.

use super::yaml::{Node, parse};
use super::{FileError, SourceFile};

/// What is to become of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListEdit<'a> {
    /// Add this text at the end.
    Add(&'a str),
    /// Take this text out.
    Remove(&'a str),
}

/// Returns the text with the list at `path` changed; `None` where it cannot be changed without risk.
///
/// # Errors
/// When the file is no YAML.
pub fn edit_list(
    source: &SourceFile,
    path: &[&str],
    edit: ListEdit<'_>,
) -> Result<Option<String>, FileError> {
    let root = parse(source)?;
    let mut node = &root;
    for key in path {
        match node.as_mapping().and_then(|m| m.get(key)) {
            Some(entry) => node = &entry.value,
            None => return Ok(None),
        }
    }
    let Some(items) = node.as_sequence().filter(|i| !i.is_empty()) else {
        return Ok(None);
    };
    let changed = match edit {
        ListEdit::Add(text) | ListEdit::Remove(text) if !is_plain(text) => None,
        ListEdit::Add(text) => block_add(source, items, text).or_else(|| flow(source, items, edit)),
        ListEdit::Remove(text) => {
            block_remove(source, items, text).or_else(|| flow(source, items, edit))
        }
    };
    // Whatever was thought above: only a text that reads back as wanted, and otherwise as before, is handed out.
    let Some(text) = changed else { return Ok(None) };
    let again = parse(&SourceFile::new(source.name(), text.clone()))?;
    let mut wanted = shape(&root);
    let found = shape(&again);
    change(&mut wanted, path, edit);
    Ok((wanted == found).then_some(text))
}

/// Whether a text needs no quotes and cannot be taken for anything else.
fn is_plain(text: &str) -> bool {
    text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Lines with their ends.
fn lines(source: &SourceFile) -> Vec<&str> {
    source.text().split_inclusive('\n').collect()
}

/// The number of an item's line, from 0, and its indentation, if the line holds nothing but the item.
fn item_line<'a>(lines: &[&'a str], item: &Node) -> Option<(usize, &'a str)> {
    let number = item.position.line.checked_sub(1)?;
    let line = lines.get(number)?;
    let rest = line.trim_start();
    let indent = line.get(..line.len() - rest.len())?;
    let value = rest.strip_prefix("- ")?.trim();
    let text = item.as_text()?;
    let value = match value.split_once(" #") {
        Some((value, _)) => value.trim_end(),
        None => value,
    };
    let bare = value == text
        || value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) == Some(text)
        || value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) == Some(text);
    bare.then_some((number, indent))
}

fn block_add(source: &SourceFile, items: &[Node], text: &str) -> Option<String> {
    let lines = lines(source);
    let (number, indent) = item_line(&lines, items.last()?)?;
    let mut out = String::new();
    for (index, line) in lines.iter().enumerate() {
        out.push_str(line);
        if index == number {
            let end = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
            if !line.ends_with('\n') {
                out.push_str(end);
            }
            out.push_str(indent);
            out.push_str("- ");
            out.push_str(text);
            out.push_str(end);
        }
    }
    Some(out)
}

fn block_remove(source: &SourceFile, items: &[Node], text: &str) -> Option<String> {
    let lines = lines(source);
    let gone: Vec<usize> = items
        .iter()
        .filter(|i| i.as_text() == Some(text))
        .map(|i| item_line(&lines, i).map(|(number, _)| number))
        .collect::<Option<_>>()?;
    let kept = lines
        .iter()
        .enumerate()
        .filter(|(index, _)| !gone.contains(index))
        .map(|(_, line)| *line);
    Some(kept.collect())
}

/// A list in brackets on one line.
fn flow(source: &SourceFile, items: &[Node], edit: ListEdit<'_>) -> Option<String> {
    let lines = lines(source);
    let number = items.first()?.position.line.checked_sub(1)?;
    let line = lines.get(number)?;
    let (open, close) = (line.find('[')?, line.find(']')?);
    let inside = line.get(open + 1..close)?;
    let mut texts: Vec<&str> = inside.split(',').map(str::trim).collect();
    let same = texts.len() == items.len()
        && texts
            .iter()
            .zip(items)
            .all(|(t, i)| i.as_text() == Some(t.trim_matches(['"', '\''])));
    if !same {
        return None;
    }
    match edit {
        ListEdit::Add(text) => texts.push(text),
        ListEdit::Remove(text) => texts.retain(|t| t.trim_matches(['"', '\'']) != text),
    }
    let changed = format!(
        "{}[{}]{}",
        line.get(..open)?,
        texts.join(", "),
        line.get(close + 1..)?
    );
    let out = lines
        .iter()
        .enumerate()
        .map(|(index, line)| if index == number { &changed } else { *line });
    Some(out.collect())
}

/// What a file says, without where.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    Scalar(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

fn shape(node: &Node) -> Shape {
    if let Some(items) = node.as_sequence() {
        return Shape::List(items.iter().map(shape).collect());
    }
    if let Some(map) = node.as_mapping() {
        let entries = map.entries.iter();
        return Shape::Map(
            entries
                .map(|e| (e.key.scalar.text.clone(), shape(&e.value)))
                .collect(),
        );
    }
    Shape::Scalar(format!("{:?}", node.kind))
}

fn change(shape: &mut Shape, path: &[&str], edit: ListEdit<'_>) {
    match (shape, path) {
        (Shape::Map(entries), [key, rest @ ..]) => {
            if let Some((_, below)) = entries.iter_mut().find(|(k, _)| k == key) {
                change(below, rest, edit);
            }
        }
        (Shape::List(items), []) => {
            let scalar = |text: &str| {
                parse(&SourceFile::new("", text))
                    .map_or_else(|_| Shape::Scalar(String::new()), |n| self::shape(&n))
            };
            match edit {
                ListEdit::Add(text) => items.push(scalar(text)),
                ListEdit::Remove(text) => {
                    let quoted = scalar(&format!("\"{text}\""));
                    let plain = scalar(text);
                    items.retain(|i| *i != plain && *i != quoted);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(text: &str, edit: ListEdit<'_>) -> Option<String> {
        edit_list(
            &SourceFile::new("f.yml", text),
            &["vault", "recipients"],
            edit,
        )
        .unwrap()
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        let text = "# top\nvault:\n  # who\n  recipients:\n    - age1a # me\n    - \"age1b\"\n  # key\n  identity: x # y\nother: [1, 2]\n";
        assert_eq!(
            edit(text, ListEdit::Add("age1c")).unwrap(),
            text.replace("    - \"age1b\"\n", "    - \"age1b\"\n    - age1c\n")
        );
        assert_eq!(
            edit(text, ListEdit::Remove("age1b")).unwrap(),
            text.replace("    - \"age1b\"\n", "")
        );
        assert_eq!(
            edit(text, ListEdit::Remove("age1a")).unwrap(),
            text.replace("    - age1a # me\n", "")
        );
    }

    #[test]
    fn other_forms_and_ends_of_lines() {
        for (text, edit_as, wanted) in [
            (
                "vault: {recipients: [age1a, 'age1b']} # x\n",
                ListEdit::Add("age1c"),
                Some("vault: {recipients: [age1a, 'age1b', age1c]} # x\n"),
            ),
            (
                "vault: {recipients: [age1a, 'age1b']}\n",
                ListEdit::Remove("age1b"),
                Some("vault: {recipients: [age1a]}\n"),
            ),
            (
                "vault:\r\n  recipients:\r\n  - age1a\r\n",
                ListEdit::Add("age1c"),
                Some("vault:\r\n  recipients:\r\n  - age1a\r\n  - age1c\r\n"),
            ),
            (
                "vault:\n  recipients:\n  - age1a",
                ListEdit::Add("age1c"),
                Some("vault:\n  recipients:\n  - age1a\n  - age1c\n"),
            ),
            // Not safe: an anchor, several lines, nothing there.
            (
                "x: &r [age1a]\nvault: {recipients: *r}\n",
                ListEdit::Add("age1c"),
                None,
            ),
            (
                "vault:\n  recipients: [age1a,\n    age1b]\n",
                ListEdit::Add("age1c"),
                None,
            ),
            ("vault:\n  recipients: []\n", ListEdit::Add("age1c"), None),
            ("state: x\n", ListEdit::Add("age1c"), None),
            (
                "vault:\n  recipients:\n  - age1a\n",
                ListEdit::Add("a: b"),
                None,
            ),
        ] {
            assert_eq!(edit(text, edit_as).as_deref(), wanted, "{text:?}");
        }
    }
}
