//! Checks a document by docs/schema/report.schema.json: the few words of JSON Schema that it uses, and no others.

use std::path::Path;

use regex::Regex;
use serde_json::Value;

pub(super) fn check(document: &Value) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema/report.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    valid(&schema, &schema, document, "")
}

fn valid(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("{at}: {why}: {value}"));
    for (word, rule) in schema.as_object().unwrap() {
        let ok = match word.as_str() {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let place = rule.as_str().unwrap().strip_prefix('#').unwrap();
                valid(root, root.pointer(place).unwrap(), value, at)?;
                true
            }
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "type" => match rule {
                Value::Array(types) => types.iter().any(|t| is(value, t.as_str().unwrap())),
                one => is(value, one.as_str().unwrap()),
            },
            "pattern" => Regex::new(rule.as_str().unwrap())
                .unwrap()
                .is_match(value.as_str().unwrap()),
            "required" => value.as_object().is_none_or(|object| {
                rule.as_array()
                    .unwrap()
                    .iter()
                    .all(|key| object.contains_key(key.as_str().unwrap()))
            }),
            "items" => {
                for (number, item) in value.as_array().unwrap().iter().enumerate() {
                    valid(root, rule, item, &format!("{at}/{number}"))?;
                }
                true
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if let Some(rule) = rule.get(key) {
                        valid(root, rule, value, &format!("{at}/{key}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties");
                for (key, value) in value.as_object().into_iter().flatten() {
                    match rule {
                        _ if known.is_some_and(|k| k.get(key).is_some()) => {}
                        Value::Bool(false) => return wrong(&format!("`{key}` is not known")),
                        rule => valid(root, rule, value, &format!("{at}/{key}"))?,
                    }
                }
                true
            }
            "oneOf" => {
                let rules = rule.as_array().unwrap().iter();
                rules.filter(|r| valid(root, r, value, at).is_ok()).count() == 1
            }
            other => panic!("this check does not know `{other}`"),
        };
        if !ok {
            return wrong(word);
        }
    }
    Ok(())
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("this check does not know the type `{other}`"),
    }
}
