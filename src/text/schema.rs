//! JSON Schemas of what users write, made from the types that read it, so that editors complete and explain it.
//!
//! Draft 7: every language server of YAML knows it.

use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// The schema of a whole file that is read as `T`.
pub fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    let settings = settings.with_transform(AsRead);
    settings.into_generator().into_root_schema_for::<T>().into()
}

/// What the reader of YAML makes of types: a mapping of which nothing is written, as in `vault:` alone on its line, is an
/// empty one, wherever no key has to be there. Besides, what editors have no use for goes: where lines end in comments of
/// the sources, the sizes of Rust's numbers, defaults of nothing.
#[derive(Debug, Clone)]
struct AsRead;

impl Transform for AsRead {
    fn transform(&mut self, schema: &mut Schema) {
        let needs = ["required", "oneOf", "minProperties"]
            .iter()
            .any(|w| schema.get(*w).is_some());
        let has_keys = schema.get("properties").is_some();
        if has_keys && !needs && schema.get("type") == Some(&Value::from("object")) {
            schema.insert("type".to_owned(), Value::from(vec!["object", "null"]));
        }
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.replace('\n', " ");
        }
        schema.remove("format");
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
        transform_subschemas(self, schema);
    }
}

/// A mapping with these keys and no others, of which those have to be there.
pub fn closed(schema: &mut Schema, required: &[&str]) {
    schema.remove("unevaluatedProperties");
    schema.insert("additionalProperties".to_owned(), false.into());
    schema.remove("required");
    if !required.is_empty() {
        schema.insert("required".to_owned(), Value::from(required.to_vec()));
    }
}

/// Text that is not blank.
pub fn words(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "pattern": r"\S"})
}

/// A pattern of hosts or admins, or a list of them, which is their union.
pub fn pattern(generator: &mut SchemaGenerator) -> Schema {
    let one = words(generator);
    json_schema!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
}

/// The mapping that a schema has under a key; empty where there is none.
pub fn part(schema: &Schema, key: &str) -> Map<String, Value> {
    let found = schema.get(key).and_then(Value::as_object);
    found.cloned().unwrap_or_default()
}
