//! Canonical JSON: one text per value, so that a hash over it means the value.
//!
//! Keys sorted by their bytes, no white space, strings escaped as `serde_json` does (only what JSON demands), integers
//! in decimal. Events hold no fractions, so there is no question of how to write them.

use serde_json::Value;

/// Returns the canonical text of a value.
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_value(item, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_space_do_not_matter() {
        let one: Value =
            serde_json::from_str(r#"{ "b": [1, {"z": null, "a": "é\n\""}], "a": true }"#).unwrap();
        let two: Value =
            serde_json::from_str(r#"{"a":true,"b":[1,{"a":"\u00e9\n\"","z":null}]}"#).unwrap();
        let text = canonical_json(&one);
        assert_eq!(
            text,
            "{\"a\":true,\"b\":[1,{\"a\":\"é\\n\\\"\",\"z\":null}]}"
        );
        assert_eq!(text, canonical_json(&two));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), one);
    }
}
