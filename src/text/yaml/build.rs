//! From the events of the YAML parser to the tree, with limits against hostile files.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::node::{Entry, Key, Kind, Mapping, Node, Scalar, Tag};
use super::scalar::{self, Resolved};
use crate::names::printable;
use crate::text::{FileError, Position, SourceFile};

/// Levels of nesting; an inventory with groups ten deep needs about thirty.
const MAX_DEPTH: usize = 128;
/// Nodes that aliases and merges may add; a bomb of ten levels asks for billions.
const MAX_COPIED: usize = 500_000;

/// Parses the one document of a file; an empty file is a null node.
///
/// # Errors
/// At their position: wrong syntax, duplicate keys, keys that are not scalars, nesting or aliases beyond the limits,
/// numbers beyond 127 bits, several documents.
pub fn parse(source: &SourceFile) -> Result<Node, FileError> {
    let text = source.text();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json = text.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let mut builder = Builder {
        source,
        resolve: if json {
            scalar::resolve_json
        } else {
            scalar::resolve
        },
        open: Vec::new(),
        anchors: HashMap::new(),
        copied: 0,
        root: None,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|e| {
            let marker = e.marker();
            let mut position = Position::new(marker.line().max(1), marker.col() + 1);
            // What ends too early is noticed after the last line, where there is nothing to show.
            if let Some((index, line)) = text.lines().enumerate().last()
                && position.line > index + 1
            {
                position = Position::new(index + 1, line.chars().count() + 1);
            }
            source.error(
                position,
                format!("wrong YAML: {}", printable(e.info(), 200)),
            )
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or_else(|| Node {
        position: Position::new(1, 1),
        tag: None,
        kind: Kind::Scalar(Scalar {
            text: String::new(),
            resolved: Resolved::Null,
        }),
        height: 1,
        size: 1,
    }))
}

/// A list or mapping whose end was not read yet.
struct Open {
    position: Position,
    anchor: usize,
    tag: Option<Tag>,
    height: usize,
    size: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Node>),
    Mapping {
        entries: Vec<Entry>,
        seen: HashMap<String, usize>,
        merged: Vec<Entry>,
        key: Option<PendingKey>,
    },
}

enum PendingKey {
    Plain(Key),
    Merge(Position),
}

struct Builder<'a> {
    source: &'a SourceFile,
    resolve: fn(&str) -> Result<Resolved, scalar::TooLarge>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    copied: usize,
    root: Option<Node>,
}

fn position_of(span: Span) -> Position {
    let width = if span.end.line() == span.start.line() {
        span.end.col().saturating_sub(span.start.col()).max(1)
    } else {
        1
    };
    Position {
        line: span.start.line().max(1),
        column: span.start.col() + 1,
        width,
    }
}

impl Builder<'_> {
    fn error(&self, position: Position, message: impl Into<String>) -> FileError {
        self.source.error(position, message)
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), FileError> {
        let position = position_of(span);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => Err(self
                .error(position, "a second document begins here")
                .hinted("a file holds one document: remove the `---`")),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let node = self.scalar(&text, plain, tag.as_deref(), position)?;
                let is_merge = plain && tag.is_none() && text == "<<";
                self.finish(node, anchor, is_merge)
            }
            Event::SequenceStart(anchor, tag) => {
                let items = Items::Sequence(Vec::new());
                self.begin(position, anchor, tag.as_deref(), items)
            }
            Event::MappingStart(anchor, tag) => {
                let items = Items::Mapping {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    merged: Vec::new(),
                    key: None,
                };
                self.begin(position, anchor, tag.as_deref(), items)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(self.error(
                        position,
                        "this alias stands inside the very node it refers to",
                    ));
                };
                self.copied += node.size;
                if self.copied > MAX_COPIED {
                    return Err(self.error(
                        position,
                        format!("aliases multiply this file to more than {MAX_COPIED} nodes"),
                    ));
                }
                if self.open.len() + node.height > MAX_DEPTH {
                    return Err(self.too_deep(position));
                }
                let node = node.clone();
                self.finish(node, 0, false)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn too_deep(&self, position: Position) -> FileError {
        self.error(
            position,
            format!("nested more than {MAX_DEPTH} levels deep"),
        )
    }

    fn scalar(
        &self,
        text: &str,
        plain: bool,
        tag: Option<&saphyr_parser::Tag>,
        position: Position,
    ) -> Result<Node, FileError> {
        let too_large = |_| {
            self.error(position, "this number is too large")
                .hinted("quote it to make it text")
        };
        let core = tag
            .filter(|t| t.is_yaml_core_schema())
            .map(|t| t.suffix.as_str());
        let unfit =
            |what: &str| self.error(position, format!("this is not {what}, as its tag says"));
        let resolved = match core {
            None | Some("unsafe") => {
                if plain && tag.is_none_or(|t| t.suffix == "unsafe") {
                    (self.resolve)(text).map_err(too_large)?
                } else {
                    Resolved::Text
                }
            }
            Some("str") => Resolved::Text,
            Some(core) => match (core, scalar::resolve(text).map_err(too_large)?) {
                ("null", _) => Resolved::Null,
                ("int", r @ Resolved::Int(_))
                | ("float", r @ Resolved::Float(_))
                | ("bool", r @ Resolved::Bool(_))
                | ("timestamp", r @ Resolved::Timestamp) => r,
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "the file asks for a floating-point number"
                )]
                ("float", Resolved::Int(i)) => Resolved::Float(i as f64),
                ("int", _) => return Err(unfit("a whole number")),
                ("float", _) => return Err(unfit("a number")),
                ("bool", _) => return Err(unfit("a boolean")),
                ("timestamp", _) => return Err(unfit("a date")),
                _ => {
                    return Err(self.error(
                        position,
                        format!("the tag `!!{}` is not supported", printable(core, 40)),
                    ));
                }
            },
        };
        Ok(Node {
            position,
            tag: own_tag(tag),
            kind: Kind::Scalar(Scalar {
                text: text.to_owned(),
                resolved,
            }),
            height: 1,
            size: 1,
        })
    }

    fn begin(
        &mut self,
        position: Position,
        anchor: usize,
        tag: Option<&saphyr_parser::Tag>,
        items: Items,
    ) -> Result<(), FileError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(self.too_deep(position));
        }
        if let Some(Open {
            items: Items::Mapping { key: None, .. },
            ..
        }) = self.open.last()
        {
            return Err(self
                .error(position, "a list or mapping cannot be a key")
                .hinted("quote the text if it begins with `[`, `{` or `?`"));
        }
        if let Some(core) = tag.filter(|t| t.is_yaml_core_schema())
            && !matches!(
                (core.suffix.as_str(), &items),
                ("map", Items::Mapping { .. }) | ("seq", Items::Sequence(_))
            )
        {
            return Err(self.error(
                position,
                format!(
                    "the tag `!!{}` is not supported here",
                    printable(&core.suffix, 40)
                ),
            ));
        }
        self.open.push(Open {
            // A block mapping's span begins at its first key; its end is unknown here.
            position: Position {
                width: 1,
                ..position
            },
            anchor,
            tag: own_tag(tag),
            height: 1,
            size: 1,
            items,
        });
        Ok(())
    }

    fn end(&mut self) -> Result<(), FileError> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let kind = match open.items {
            Items::Sequence(items) => Kind::Sequence(items),
            Items::Mapping {
                entries, merged, ..
            } => Kind::Mapping(with_merged(entries, merged)),
        };
        let node = Node {
            position: open.position,
            tag: open.tag,
            kind,
            height: open.height,
            size: open.size,
        };
        self.finish(node, open.anchor, false)
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, is_merge: bool) -> Result<(), FileError> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
            self.copied += node.size;
            if self.copied > MAX_COPIED {
                return Err(self.error(node.position, "anchors hold too many nodes"));
            }
        }
        let source = self.source;
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.height = open.height.max(node.height + 1);
        open.size += node.size;
        match &mut open.items {
            Items::Sequence(items) => items.push(node),
            Items::Mapping {
                entries,
                seen,
                merged,
                key,
            } => match key.take() {
                None if is_merge => *key = Some(PendingKey::Merge(node.position)),
                None => {
                    let new = new_key(source, node)?;
                    let index = entries.len();
                    if let Some(first) = seen.insert(new.scalar.text.clone(), index) {
                        return Err(duplicate(source, &new, entries.get(first)));
                    }
                    *key = Some(PendingKey::Plain(new));
                }
                Some(PendingKey::Plain(key)) => entries.push(Entry { key, value: node }),
                Some(PendingKey::Merge(at)) => merge(source, at, node, merged)?,
            },
        }
        Ok(())
    }
}

/// Returns the tag as written, unless it is one of the core schema.
fn own_tag(tag: Option<&saphyr_parser::Tag>) -> Option<Tag> {
    tag.filter(|t| !t.is_yaml_core_schema()).map(|t| {
        Tag(if t.handle == "!" || t.handle.is_empty() {
            format!("!{}", t.suffix)
        } else {
            format!("{}{}", t.handle, t.suffix)
        })
    })
}

fn new_key(source: &SourceFile, node: Node) -> Result<Key, FileError> {
    match node.kind {
        Kind::Scalar(scalar) => Ok(Key {
            position: node.position,
            scalar,
        }),
        Kind::Sequence(_) | Kind::Mapping(_) => {
            Err(source.error(node.position, "a list or mapping cannot be a key"))
        }
    }
}

fn duplicate(source: &SourceFile, key: &Key, first: Option<&Entry>) -> FileError {
    let name = if source.may_hold_secrets() {
        "key".to_owned()
    } else {
        format!("`{}`", printable(&key.scalar.text, 60))
    };
    let place = first.map_or_else(String::new, |e| {
        format!(
            " (first at line {}, column {})",
            e.key.position.line, e.key.position.column
        )
    });
    source.error(key.position, format!("duplicate {name}{place}"))
}

/// Adds what `<<` stands for; earlier mappings of a list win, so their keys are put last.
fn merge(
    source: &SourceFile,
    at: Position,
    node: Node,
    merged: &mut Vec<Entry>,
) -> Result<(), FileError> {
    let wrong = |what: &Node| {
        source.error(
            at,
            format!(
                "`<<` needs a mapping or a list of mappings, not {}",
                what.describe()
            ),
        )
    };
    match node.kind {
        Kind::Mapping(mapping) => merged.extend(mapping.entries),
        Kind::Sequence(items) => {
            for item in items.into_iter().rev() {
                match item.kind {
                    Kind::Mapping(mapping) => merged.extend(mapping.entries),
                    Kind::Scalar(_) | Kind::Sequence(_) => return Err(wrong(&item)),
                }
            }
        }
        Kind::Scalar(_) => return Err(wrong(&node)),
    }
    Ok(())
}

/// Joins merged and own entries: a later value takes the place of an earlier one with the same key.
fn with_merged(entries: Vec<Entry>, merged: Vec<Entry>) -> Mapping {
    if merged.is_empty() {
        return Mapping { entries };
    }
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut joined: Vec<Entry> = Vec::new();
    for entry in merged.into_iter().chain(entries) {
        match places
            .get(&entry.key.scalar.text)
            .and_then(|place| joined.get_mut(*place))
        {
            Some(earlier) => *earlier = entry,
            None => {
                places.insert(entry.key.scalar.text.clone(), joined.len());
                joined.push(entry);
            }
        }
    }
    Mapping { entries: joined }
}
