//! The JSON Schema of an inventory in YAML, for editors: Ansible's groups, and fleetotp's own keys by the types that read them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use super::{Exempt, Pattern, RealmKeys, Texts, Time, admins, policies};
use crate::inventory::sources::yaml::{OWN_KEYS, SECTIONS};
use crate::names::{AdminName, Login, PolicyName, RealmName};
use crate::text::schema as text;

/// The schema of an inventory source in YAML or JSON.
pub fn schema() -> Value {
    text::of::<Document>()
}

/// The whole file; only its schema is wanted.
enum Document {}

impl JsonSchema for Document {
    fn schema_name() -> Cow<'static, str> {
        "fleetotp inventory".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let group = generator.subschema_for::<Group>();
        let mut keys: Map<String, Value> = OWN_KEYS
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), own(generator, key)?)))
            .collect();
        // Configuration of a plugin, which only Ansible can run.
        keys.insert("plugin".to_owned(), json_schema!({"type": "null"}).into());
        json_schema!({
            "description": "An inventory as Ansible has it, and who needs a code where.",
            "type": "object",
            "minProperties": 1,
            "properties": keys,
            "additionalProperties": group,
        })
    }
}

/// One of fleetotp's own keys. A mapping that holds nothing but sections is an Ansible group of that name; one that holds
/// other keys as well is refused.
fn own(generator: &mut SchemaGenerator, key: &str) -> Option<Value> {
    let (about, entries) = match key {
        "admins" => (
            "Who has an account on the hosts; each name is a key.",
            generator.subschema_for::<Option<BTreeMap<AdminName, admins::Raw>>>(),
        ),
        "realms" => (
            "Hosts on which an admin has one token: one sheet, one entry in the app. Without realms all hosts are one.",
            generator.subschema_for::<Option<BTreeMap<RealmName, RealmKeys>>>(),
        ),
        "policies" => (
            "Who needs a code, since when, with which parameters.",
            generator.subschema_for::<Option<BTreeMap<PolicyName, policies::Raw>>>(),
        ),
        "exemptions" => (
            "Accounts that need not give a code, with who answers for it and until when.",
            generator.subschema_for::<Option<BTreeMap<Login, Exempt>>>(),
        ),
        _ => return None,
    };
    let group = generator.subschema_for::<Group>();
    let schema = json_schema!({
        "description": about,
        "type": ["object", "null"],
        "if": {"type": "object", "minProperties": 1, "propertyNames": {"enum": SECTIONS}},
        "then": group,
        "else": {"allOf": [entries, {"propertyNames": {"not": {"enum": SECTIONS}}}]},
    });
    Some(schema.into())
}

/// A group of Ansible; only its schema is wanted.
enum Group {}

impl JsonSchema for Group {
    fn schema_name() -> Cow<'static, str> {
        "group".into()
    }

    fn inline_schema() -> bool {
        false
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let group = generator.subschema_for::<Self>();
        let keys: Map<String, Value> = SECTIONS
            .into_iter()
            .map(|section| {
                let free = json_schema!({"type": ["object", "null"]});
                let schema = match section {
                    "hosts" => json_schema!({
                        "description": "Hosts, or ranges such as web[01:20], each with its variables.",
                        "type": ["object", "string", "null"],
                        "additionalProperties": free,
                    }),
                    "children" => json_schema!({
                        "description": "Groups that belong to this one.",
                        "type": ["object", "string", "null"],
                        "additionalProperties": group,
                    }),
                    _ => json_schema!({
                        "description": "Variables of every host of the group.",
                        "type": ["object", "null"],
                    }),
                };
                (section.to_owned(), schema.into())
            })
            .collect();
        json_schema!({
            "description": "A group of hosts.",
            "type": ["object", "null"],
            "properties": keys,
            "additionalProperties": false,
        })
    }
}

macro_rules! schema_of {
    ($name:ident, $schema:expr) => {
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                $schema(generator)
            }
        }
    };
}

schema_of!(Pattern, text::pattern);
schema_of!(
    Texts,
    |_: &mut SchemaGenerator| json_schema!({"type": ["string", "array"], "items": {"type": "string"}})
);
schema_of!(
    Time,
    |_: &mut SchemaGenerator| json_schema!({"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].*([Zz]|[+-][0-9:]+))?$"})
);

/// The services of a policy: others come besides sshd, not in its place.
pub(super) fn services(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<crate::inventory::model::Service>();
    json_schema!({"anyOf": [
        {"const": "sshd"},
        {"type": "array", "items": one, "contains": {"const": "sshd"}},
        {"type": "null"},
    ]})
}
