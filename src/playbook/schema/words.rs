//! The JSON Schema of playbooks, for editors: from the types of [`Play`], [`Task`](super::Task) and [`Action`], and here what their keys
//! hold, each as its reader takes it.

use schemars::{JsonSchema as _, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::{ACTIONS, Action, Play};
use crate::text::schema::{self as text, closed, part};

/// The schema of a playbook.
pub fn schema() -> Value {
    let mut schema = text::of::<Vec<Play>>();
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "fleetotp playbook".into());
        root.insert(
            "description".to_owned(),
            "A list of plays, which `fleetotp play` runs in order.".into(),
        );
        root.insert("minItems".to_owned(), 1.into());
    }
    schema
}

/// `serial`, as `Serial::read` takes it.
pub(crate) fn serial(_: &mut SchemaGenerator) -> Schema {
    let size = json_schema!({"anyOf": [
        {"type": "integer"},
        {"type": "string", "pattern": r"^(\s*[+-]?[0-9]+\s*|\s*\+?[0-9]+\s*%)$"},
    ]});
    json_schema!({"anyOf": [size, {"type": "array", "items": size, "minItems": 1}]})
}

/// `vars`: how to connect stands in the inventory.
pub(crate) fn variables(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": {"not": {"pattern": "^(ansible_.*|confirm_host)$"}},
    })
}

/// `tags`, as `tags::read` takes them.
pub(crate) fn tags(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "array"], "items": {"type": "string"}})
}

/// `when`, as `When::read` takes it.
pub(crate) fn when(generator: &mut SchemaGenerator) -> Schema {
    let text = text::words(generator);
    let one = json_schema!({"anyOf": [text, {"type": "boolean"}]});
    json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
}

/// A play has these keys and no others.
pub(crate) fn play(schema: &mut Schema) {
    closed(schema, &["hosts", "tasks"]);
}

/// A task has its own keys, and one of a word that says what is done, with what that takes.
pub(crate) fn task(schema: &mut Schema) {
    closed(schema, &[]);
    let mut keys = part(schema, "properties");
    keys.extend(actions());
    schema.insert("properties".to_owned(), keys.into());
    let one: Vec<Value> = ACTIONS
        .iter()
        .map(|word| json_schema!({"required": [word]}).into())
        .collect();
    schema.insert("oneOf".to_owned(), one.into());
}

/// What each task takes, and what it says of itself.
fn actions() -> Map<String, Value> {
    let settings = schemars::generate::SchemaSettings::draft07();
    let mut generator = settings
        .with(|s| s.inline_subschemas = true)
        .into_generator();
    let schema = Action::json_schema(&mut generator);
    let variants = schema.get("oneOf").and_then(Value::as_array);
    variants.into_iter().flatten().flat_map(keys_of).collect()
}

/// A task with parameters is a mapping of one key; one without is a word, and its key holds nothing.
fn keys_of(variant: &Value) -> Map<String, Value> {
    let about = variant.get("description").cloned().unwrap_or_default();
    let mut keys = match (variant.get("properties"), variant.get("const")) {
        (Some(Value::Object(keys)), _) => keys.clone(),
        (_, Some(Value::String(word))) => {
            let bare = json_schema!({"type": ["object", "null"], "maxProperties": 0});
            Map::from_iter([(word.clone(), bare.into())])
        }
        _ => Map::new(),
    };
    for (_, value) in &mut keys {
        if let Some(value) = value.as_object_mut() {
            value.insert("description".to_owned(), about.clone());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::super::{KEYS, parse};
    use super::*;
    use crate::text::SourceFile;

    fn keys(schema: &Value) -> Vec<String> {
        let mut keys: Vec<String> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        keys.sort();
        keys
    }

    fn sorted<const N: usize>(words: [&str; N]) -> Vec<String> {
        let mut words = words.map(str::to_owned).to_vec();
        words.sort();
        words
    }

    #[test]
    fn the_schema_has_every_word_of_the_reader() {
        let schema = schema();
        assert_eq!(keys(&schema["items"]), sorted(KEYS));
        let task = &schema["items"]["properties"]["tasks"]["items"];
        let own = ["name", "tags", "when"].map(str::to_owned);
        let wanted: Vec<String> = sorted(ACTIONS);
        let found: Vec<String> = keys(task)
            .into_iter()
            .filter(|k| !own.contains(k))
            .collect();
        assert_eq!(found, wanted);
        for part in [&schema["items"], task] {
            for (key, value) in part["properties"].as_object().unwrap() {
                assert!(value["description"].is_string(), "{key} is not explained");
            }
        }
    }

    #[test]
    fn every_word_is_read() {
        // Nothing takes this, so that a word that nobody looks at would let it pass.
        for key in KEYS {
            let text = format!("- hosts: all\n  tasks: []\n  {key}: [[]]\n");
            let text = match key {
                "hosts" => "- hosts: [[]]\n  tasks: []\n".to_owned(),
                "tasks" => "- hosts: all\n  tasks: [[]]\n".to_owned(),
                _ => text,
            };
            let error = parse(&SourceFile::new("p.yml", text))
                .unwrap_err()
                .to_string();
            assert!(!error.contains("a play has no"), "{key}: {error}");
        }
        for word in ACTIONS {
            let text = format!("- hosts: all\n  tasks: [{word}: [[]]]\n");
            let error = parse(&SourceFile::new("p.yml", text))
                .unwrap_err()
                .to_string();
            assert!(!error.contains("unknown task"), "{word}: {error}");
            assert!(!error.contains("nothing to do"), "{word}: {error}");
        }
    }
}
