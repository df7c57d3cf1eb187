//! The tree that YAML text is parsed into.

use super::Resolved;
use crate::text::Position;

/// A node and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where the node begins; for scalars also how wide it is.
    pub position: Position,
    /// The tag, if one is written that is not part of the core schema (`!vault`, `!unsafe`).
    pub tag: Option<Tag>,
    /// What the node is.
    pub kind: Kind,
    /// How many levels the tree below has, itself included.
    pub(super) height: usize,
    /// How many nodes the tree below has, itself included.
    pub(super) size: usize,
}

/// A tag that gives a node a meaning of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub(super) String);

impl Tag {
    /// Returns the tag as written, such as `!vault`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Text, a number, a boolean or nothing.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping.
    Mapping(Mapping),
}

/// A scalar: its text as written (without quotes and escapes) and what YAML 1.1 makes of it.
#[derive(Debug, Clone)]
pub struct Scalar {
    /// The text.
    pub text: String,
    /// The value; always [`Resolved::Text`] for quoted scalars.
    pub resolved: Resolved,
}

/// A mapping in the order of the text; merged keys (`<<`) come first, as PyYAML puts them.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    /// The entries; no two have the same key.
    pub entries: Vec<Entry>,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key: always a scalar.
    pub key: Key,
    /// The value.
    pub value: Node,
}

/// The key of an entry.
#[derive(Debug, Clone)]
pub struct Key {
    /// Where the key stands.
    pub position: Position,
    /// The key.
    pub scalar: Scalar,
}

impl Mapping {
    /// Returns the entry whose key has this text.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key.scalar.text == key)
    }
}

impl Node {
    /// Returns whether the node is empty or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar(s) if s.resolved == Resolved::Null)
    }

    /// Returns the mapping, if the node is one.
    pub fn as_mapping(&self) -> Option<&Mapping> {
        match &self.kind {
            Kind::Mapping(mapping) => Some(mapping),
            Kind::Scalar(_) | Kind::Sequence(_) => None,
        }
    }

    /// Returns the list, if the node is one.
    pub fn as_sequence(&self) -> Option<&[Self]> {
        match &self.kind {
            Kind::Sequence(items) => Some(items),
            Kind::Scalar(_) | Kind::Mapping(_) => None,
        }
    }

    /// Returns the text of a scalar that is not null.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(s) if s.resolved != Resolved::Null => Some(&s.text),
            Kind::Scalar(_) | Kind::Sequence(_) | Kind::Mapping(_) => None,
        }
    }

    /// Says what the node is, with its article, for errors.
    pub fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
            Kind::Scalar(scalar) => scalar.describe(),
        }
    }
}

impl Scalar {
    /// Says what the scalar is, with its article, for errors.
    pub const fn describe(&self) -> &'static str {
        match self.resolved {
            Resolved::Null => "nothing",
            Resolved::Bool(_) => "a boolean",
            Resolved::Int(_) => "a whole number",
            Resolved::Float(_) => "a number",
            Resolved::Text | Resolved::Timestamp => "text",
        }
    }
}
