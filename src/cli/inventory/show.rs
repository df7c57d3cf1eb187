//! The documents of `inventory show` and `validate`, and their form as text.

use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::inventory::Inventory;
use crate::inventory::model::{Admin, Host, Policy, Realm};
use crate::names::printable;
use crate::text::suggest;

/// Realms, policies, admins and exemptions, all resolved.
pub(super) fn all(inventory: &Inventory) -> Value {
    let enrolment = inventory.enrolment();
    let realms: Map<String, Value> = enrolment
        .realms
        .values()
        .map(|r| (r.name.to_string(), realm(inventory, r)))
        .collect();
    let policies: Map<String, Value> = enrolment
        .policies
        .values()
        .map(|p| (p.name.to_string(), policy(p)))
        .collect();
    let admins: Map<String, Value> = enrolment
        .admins
        .values()
        .map(|a| (a.name.to_string(), admin(inventory, a)))
        .collect();
    let unmanaged: Vec<&str> = inventory
        .hosts()
        .filter(|h| inventory.realm_of(&h.name).is_none())
        .map(|h| h.name.as_str())
        .collect();
    let exemptions: Vec<Value> = enrolment
        .exemptions
        .iter()
        .map(|e| {
            json!({
                "login": e.login,
                "hosts": e.hosts,
                "owner": e.owner,
                "reason": e.reason,
                "approved_by": e.approved_by,
                "expires": e.expires.to_string(),
            })
        })
        .collect();
    json!({
        "realms": realms,
        "policies": policies,
        "admins": admins,
        "unmanaged_hosts": unmanaged,
        "exemptions": exemptions,
    })
}

/// One host or admin; where both have the name, both.
pub(super) fn one(inventory: &Inventory, name: &str) -> Result<Value, Error> {
    let mut document = Map::new();
    if let Some(found) = inventory.host(name) {
        document.insert("host".to_owned(), host(inventory, found));
    }
    let admins = &inventory.enrolment().admins;
    if let Some(found) = admins.get(name) {
        document.insert("admin".to_owned(), admin(inventory, found));
    }
    if document.is_empty() {
        let hosts = inventory.hosts().map(|h| h.name.as_str());
        let known = admins.keys().map(|a| a.as_str()).chain(hosts);
        return Err(Error::failed(format!(
            "there is no host or admin `{}`",
            printable(name, 80)
        ))
        .hinted_if(suggest::hint(name, known)));
    }
    Ok(Value::Object(document))
}

fn realm(inventory: &Inventory, realm: &Realm) -> Value {
    let hosts: Vec<&str> = inventory
        .hosts()
        .filter(|h| realm.hosts.contains(&h.name))
        .map(|h| h.name.as_str())
        .collect();
    json!({"policy": realm.policy.name, "hosts": hosts})
}

/// A policy with every value that is in effect, also those that cannot be changed yet.
fn policy(policy: &Policy) -> Value {
    let mut document = json!(policy);
    if let Value::Object(map) = &mut document {
        map.shift_remove("name");
        for (key, value) in [
            ("on_overdue", json!("keep")),
            ("on_state_unwritable", json!("deny")),
        ] {
            map.entry(key).or_insert(value);
        }
    }
    document
}

fn admin(inventory: &Inventory, admin: &Admin) -> Value {
    let mut realms: Map<String, Value> = Map::new();
    let mut unmanaged = Vec::new();
    for host in inventory.hosts_of(admin) {
        match inventory.realm_of(&host.name) {
            None => unmanaged.push(json!(host.name)),
            Some(realm) => {
                if let Value::Array(hosts) = realms
                    .entry(realm.name.as_str())
                    .or_insert_with(|| json!([]))
                {
                    hosts.push(json!(host.name));
                }
            }
        }
    }
    json!({
        "name": admin.display_name,
        "login": admin.login,
        "email": admin.email,
        "groups": admin.groups,
        "hosts": admin.hosts,
        "language": admin.language,
        "recipient": admin.recipient,
        "realms": realms,
        "unmanaged_hosts": unmanaged,
    })
}

/// Where a host is reached, without what its user's own ssh configuration may add.
pub(super) fn address(host: &Host) -> String {
    let connection = &host.connection;
    if connection.local {
        return "local".to_owned();
    }
    let address = connection
        .address
        .as_deref()
        .unwrap_or_else(|| host.name.as_str());
    let user = connection
        .user
        .as_ref()
        .map_or_else(String::new, |user| format!("{user}@"));
    match connection.port {
        Some(port) if address.contains(':') => format!("{user}[{address}]:{port}"),
        Some(port) => format!("{user}{address}:{port}"),
        None => format!("{user}{address}"),
    }
}

/// Variables are left out: they may hold secrets, and `inventory list --host` prints them.
fn host(inventory: &Inventory, host: &Host) -> Value {
    let realm = inventory.realm_of(&host.name);
    let admins: Map<String, Value> = inventory
        .admins_on(&host.name)
        .map(|a| (a.name.to_string(), json!({"login": a.login})))
        .collect();
    json!({
        "name": host.name,
        "groups": host.groups,
        "address": address(host),
        "sudo": host.connection.use_sudo,
        "realm": realm.map(|r| &r.name),
        "policy": realm.map(|r| &r.policy.name),
        "admins": admins,
    })
}

/// Writes a document for people: one value a line, indented by level.
pub(super) fn text(document: &Value) -> String {
    let mut out = String::new();
    write(&mut out, document, 0);
    out
}

fn write(out: &mut String, value: &Value, indent: usize) {
    let Value::Object(map) = value else {
        return;
    };
    for (key, value) in map {
        out.extend(std::iter::repeat_n(' ', indent));
        out.push_str(&printable(key, 200));
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                write(out, value, indent + 2);
                continue;
            }
            Value::Array(items) if items.iter().any(|i| i.is_object()) || is_long(items) => {
                out.push('\n');
                for item in items {
                    out.extend(std::iter::repeat_n(' ', indent + 2));
                    out.push_str(&inline(item));
                    out.push('\n');
                }
                continue;
            }
            _ => {}
        }
        out.push(' ');
        out.push_str(&inline(value));
        out.push('\n');
    }
}

fn is_long(items: &[Value]) -> bool {
    items
        .iter()
        .any(|item| item.as_str().is_some_and(|text| text.contains(' ')))
}

fn inline(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(b) => if *b { "yes" } else { "no" }.to_owned(),
        Value::Number(n) => n.to_string(),
        Value::String(text) => printable(text, 400),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        Value::Array(items) => items.iter().map(inline).collect::<Vec<_>>().join(", "),
        Value::Object(map) if map.is_empty() => "none".to_owned(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| format!("{key} {}", inline(value)))
            .collect::<Vec<_>>()
            .join(", "),
    }
}
