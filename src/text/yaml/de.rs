//! From a tree to a type, with serde; every error knows its place.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::node::{Entry, Key, Kind, Node, Scalar};
use super::scalar::Resolved;
use crate::names::printable;
use crate::text::{FileError, Position, SourceFile, suggest};

/// Reads a whole file into a type.
///
/// # Errors
/// Those of [`super::parse`] and [`from_node`].
pub fn from_source<T: for<'de> Deserialize<'de>>(source: &SourceFile) -> Result<T, FileError> {
    from_node(source, &super::parse(source)?)
}

/// Reads a node into a type.
///
/// # Errors
/// An unknown key at the key, a wrong value at the value, a missing key at the mapping that lacks it.
pub fn from_node<'de, T: Deserialize<'de>>(
    source: &SourceFile,
    node: &'de Node,
) -> Result<T, FileError> {
    T::deserialize(Value(node)).map_err(|e| {
        source
            .error(e.position.unwrap_or(node.position), e.message)
            .hinted_if(e.hint)
    })
}

/// What serde says, and where.
#[derive(Debug)]
struct DeError {
    position: Option<Position>,
    message: String,
    hint: Option<String>,
}

impl DeError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            position: None,
            message: message.into(),
            hint: None,
        }
    }

    /// Sets the place, unless a deeper level already did.
    fn at(mut self, position: Position) -> Self {
        self.position.get_or_insert(position);
        self
    }

    fn unknown(what: &str, name: &str, expected: &'static [&'static str]) -> Self {
        let hint = suggest::hint(name, expected.iter().copied()).or_else(|| {
            (!expected.is_empty()).then(|| format!("use one of: {}", expected.join(", ")))
        });
        Self {
            position: None,
            message: format!("unknown {what} `{}`", printable(name, 60)),
            hint,
        }
    }
}

impl fmt::Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DeError {}

/// Names the kind of a value, never its content: that may be a secret.
fn kind_of(unexpected: de::Unexpected<'_>) -> &'static str {
    match unexpected {
        de::Unexpected::Bool(_) => "a boolean",
        de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) => "a whole number",
        de::Unexpected::Float(_) => "a number",
        de::Unexpected::Str(_) | de::Unexpected::Char(_) | de::Unexpected::Bytes(_) => "text",
        de::Unexpected::Unit | de::Unexpected::Option => "nothing",
        de::Unexpected::Seq => "a list",
        de::Unexpected::Map => "a mapping",
        _ => "something else",
    }
}

/// Puts serde's words for what it wants into ours.
fn wanted(expected: &dyn de::Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "a string" | "string" => "text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "a boolean" => "a boolean (true or false)".to_owned(),
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number from 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        t if t.starts_with("struct ") => "a mapping".to_owned(),
        t if t.starts_with("enum ") => "a name".to_owned(),
        _ => text,
    }
}

impl de::Error for DeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!(
            "expected {}, found {}",
            wanted(expected),
            kind_of(unexpected)
        ))
    }

    fn invalid_value(unexpected: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        // The one sensible case is a number that does not fit.
        let found = match unexpected {
            de::Unexpected::Unsigned(n) => n.to_string(),
            de::Unexpected::Signed(n) => n.to_string(),
            other => kind_of(other).to_owned(),
        };
        let range = match expected.to_string().as_str() {
            "u8" => Some("a whole number from 0 to 255"),
            "u16" => Some("a whole number from 0 to 65535"),
            _ => None,
        };
        let expected = range.map_or_else(|| wanted(expected), str::to_owned);
        Self::new(format!("expected {expected}, found {found}"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown("key", field, expected)
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::unknown("value", variant, expected)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("the key `{field}` is missing"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("duplicate `{field}`"))
    }
}

/// A node as serde's source.
#[derive(Clone, Copy)]
struct Value<'de>(&'de Node);

impl<'de> Value<'de> {
    fn check_tag(self) -> Result<(), DeError> {
        match &self.0.tag {
            Some(tag) if tag.as_str() != "!unsafe" => Err(DeError::new(format!(
                "the tag `{}` is not supported here",
                printable(tag.as_str(), 40)
            ))
            .at(self.0.position)),
            _ => Ok(()),
        }
    }

    fn at<T>(self, result: Result<T, DeError>) -> Result<T, DeError> {
        result.map_err(|e| e.at(self.0.position))
    }

    fn visit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.check_tag()?;
        self.at(match &self.0.kind {
            Kind::Scalar(scalar) => visit_scalar(scalar, visitor),
            Kind::Sequence(items) => visitor.visit_seq(Items(items.iter())),
            Kind::Mapping(mapping) => visitor.visit_map(Entries {
                rest: mapping.entries.iter(),
                value: None,
            }),
        })
    }

    fn visit_text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match &self.0.kind {
            Kind::Scalar(scalar) if scalar.resolved != Resolved::Null => {
                self.check_tag()?;
                self.at(visitor.visit_borrowed_str(&scalar.text))
            }
            Kind::Scalar(_) | Kind::Sequence(_) | Kind::Mapping(_) => self.visit(visitor),
        }
    }
}

fn visit_scalar<'de, V: Visitor<'de>>(
    scalar: &'de Scalar,
    visitor: V,
) -> Result<V::Value, DeError> {
    match scalar.resolved {
        Resolved::Null => visitor.visit_unit(),
        Resolved::Bool(b) => visitor.visit_bool(b),
        Resolved::Int(i) => {
            if let Ok(i) = u64::try_from(i) {
                visitor.visit_u64(i)
            } else if let Ok(i) = i64::try_from(i) {
                visitor.visit_i64(i)
            } else {
                visitor.visit_i128(i)
            }
        }
        Resolved::Float(f) => visitor.visit_f64(f),
        Resolved::Timestamp | Resolved::Text => visitor.visit_borrowed_str(&scalar.text),
    }
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.visit(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.visit_text(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.visit_text(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.visit_text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        if self.0.is_null() {
            return self.at(visitor.visit_none());
        }
        self.at(visitor.visit_some(self))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.at(visitor.visit_newtype_struct(self))
    }

    /// A mapping of which nothing is written is an empty one, as in `vault:` alone on its line.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match &self.0.kind {
            Kind::Scalar(scalar) if scalar.resolved == Resolved::Null => self.at(visitor
                .visit_map(Entries {
                    rest: [].iter(),
                    value: None,
                })),
            // serde would take a list for a struct, field by field.
            Kind::Scalar(_) | Kind::Sequence(_) => Err(DeError::new(format!(
                "expected a mapping, found {}",
                self.0.describe()
            ))
            .at(self.0.position)),
            Kind::Mapping(_) => self.visit(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.check_tag()?;
        self.at(match &self.0.kind {
            Kind::Scalar(_) => visitor.visit_enum(Variant {
                name: self,
                value: None,
            }),
            Kind::Mapping(mapping) => match mapping.entries.as_slice() {
                [entry] => visitor.visit_enum(KeyedVariant(entry)),
                _ => Err(DeError::new("expected one key")),
            },
            Kind::Sequence(_) => Err(DeError::new("expected a name, found a list")),
        })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf unit unit_struct seq tuple tuple_struct
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = DeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DeError> {
        self.0
            .next()
            .map(|node| Value(node).at(seed.deserialize(Value(node))))
            .transpose()
    }
}

struct Entries<'de> {
    rest: std::slice::Iter<'de, Entry>,
    value: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = DeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DeError> {
        let Some(entry) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(&entry.value);
        seed.deserialize(KeyText(&entry.key))
            .map(Some)
            .map_err(|e| e.at(entry.key.position))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DeError> {
        let node = self
            .value
            .take()
            .ok_or_else(|| DeError::new("a value was asked for before its key"))?;
        Value(node).at(seed.deserialize(Value(node)))
    }
}

/// A key as serde's source: always its text.
struct KeyText<'de>(&'de Key);

impl<'de> Deserializer<'de> for KeyText<'de> {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_borrowed_str(&self.0.scalar.text)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        let name = de::value::BorrowedStrDeserializer::new(&self.0.scalar.text);
        visitor.visit_enum(name)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}

/// `name` as an enum's variant.
struct Variant<'de> {
    name: Value<'de>,
    value: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = DeError;
    type Variant = VariantValue<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), DeError> {
        let name = self.name.at(seed.deserialize(self.name))?;
        Ok((name, VariantValue(self.value)))
    }
}

/// `{name: value}` as an enum's variant.
struct KeyedVariant<'de>(&'de Entry);

impl<'de> EnumAccess<'de> for KeyedVariant<'de> {
    type Error = DeError;
    type Variant = VariantValue<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Self::Variant), DeError> {
        let name = seed
            .deserialize(KeyText(&self.0.key))
            .map_err(|e| e.at(self.0.key.position))?;
        Ok((name, VariantValue(Some(&self.0.value))))
    }
}

struct VariantValue<'de>(Option<&'de Node>);

impl<'de> VariantValue<'de> {
    fn value(&self) -> Result<Value<'de>, DeError> {
        self.0
            .map(Value)
            .ok_or_else(|| DeError::new("expected a mapping, found a name alone"))
    }
}

impl<'de> VariantAccess<'de> for VariantValue<'de> {
    type Error = DeError;

    fn unit_variant(self) -> Result<(), DeError> {
        match self.0 {
            Some(node) if !node.is_null() => {
                Err(DeError::new("this name takes no value").at(node.position))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DeError> {
        let value = self.value()?;
        value.at(seed.deserialize(value))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, DeError> {
        self.value()?.visit(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.value()?.deserialize_map(visitor)
    }
}
