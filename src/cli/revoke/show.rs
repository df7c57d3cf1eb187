//! What a revocation has done, and what is open, as text and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::choose::Chosen;
use super::people::People;
use crate::cli::globals::{Globals, Output};
use crate::cli::status::span;
use crate::clock::Timestamp;
use crate::ledger::{RevocationItem, RevocationRequest, TokenHostRecord};
use crate::names::HostName;
use crate::playbook::outcome::Outcome;

/// Returns the items of one token as JSON.
pub(crate) fn item_json(item: &RevocationItem) -> Value {
    json!({
        "host": item.host,
        "login": item.login,
        "state": state(item),
        "since": item.since,
        "proof": item.proof,
        "why": item.why,
    })
}

/// `open`, `proven` or `attested`.
pub(crate) fn state(item: &RevocationItem) -> &'static str {
    let how = item
        .proof
        .as_ref()
        .map(|p| p.get("how").and_then(Value::as_str));
    match how {
        None => "open",
        Some(Some("attested")) => "attested",
        Some(_) => "proven",
    }
}

fn line(item: &RevocationItem, now: Timestamp) -> String {
    let host = &item.host;
    let at = item
        .proof
        .as_ref()
        .and_then(|p| p.get("at")?.as_str().map(str::to_owned))
        .unwrap_or_default();
    match state(item) {
        "open" => format!(
            "{host}: open since {} ({}): {}",
            item.since,
            span(now.as_second() - item.since.as_second()),
            item.why.as_deref().unwrap_or("not read yet")
        ),
        "attested" => format!("{host}: attested at {at}, not proven: the host is retired"),
        _ => format!("{host}: removed and read back at {at}"),
    }
}

/// Returns what was done.
pub(crate) fn done(
    items: &[RevocationItem],
    chosen: &Chosen,
    outcome: &Outcome,
    code: u8,
    globals: &Globals,
    now: Timestamp,
) -> String {
    let mut tokens: BTreeMap<(String, String), Vec<&RevocationItem>> = BTreeMap::new();
    for item in items {
        let admin = item
            .admin
            .as_ref()
            .map_or_else(|| item.serial.to_string(), ToString::to_string);
        tokens
            .entry((admin, item.realm.to_string()))
            .or_default()
            .push(item);
    }
    if globals.output == Output::Json {
        let revocations: Vec<Value> = tokens
            .iter()
            .filter_map(|((admin, realm), items)| {
                let first = items.first()?;
                let open = items.iter().filter(|i| i.is_open()).count();
                Some(json!({
                    "admin": admin,
                    "realm": realm,
                    "serial": first.serial.as_str(),
                    "state": if open == 0 { "revoked" } else { "revoking" },
                    "requested_at": first.since,
                    "reason": first.reason,
                    "ticket": first.ticket,
                    "open": open,
                    "hosts": items.iter().map(|i| item_json(i)).collect::<Vec<_>>(),
                }))
            })
            .collect();
        return format!(
            "{:#}\n",
            json!({
                "revocations": revocations,
                "unknown": chosen.unknown,
                "kept": kept(chosen),
                "hosts": outcome.hosts.values().collect::<Vec<_>>(),
                "notes": outcome.notes,
                "exit_code": code,
            })
        );
    }
    let mut text = String::new();
    for ((admin, realm), items) in tokens {
        let open = items.iter().filter(|i| i.is_open()).count();
        // Writing to a string cannot fail.
        _ = writeln!(
            text,
            "{admin} in realm {realm}: {} of {} hosts done, {open} open",
            items.len() - open,
            items.len()
        );
        for item in items {
            _ = writeln!(text, "  {}", line(item, now));
        }
    }
    for report in outcome.hosts.values() {
        let told: BTreeSet<_> = report
            .findings
            .iter()
            .map(|f| (&f.id, &f.text, f.remedy))
            .collect();
        for (id, finding, remedy) in told {
            _ = writeln!(
                text,
                "{}: ({id}) {finding}\n{0}:   -> {remedy}",
                report.host
            );
        }
    }
    text
}

/// Returns what would be done.
pub(crate) fn planned(
    requests: &[RevocationRequest],
    known: &[TokenHostRecord],
    people: &People,
    chosen: &Chosen,
    globals: &Globals,
) -> String {
    let all: Vec<(&RevocationRequest, BTreeSet<&HostName>)> = requests
        .iter()
        .map(|request| {
            let mine = people
                .by_name
                .get(&request.admin)
                .into_iter()
                .flat_map(|p| {
                    p.tokens
                        .iter()
                        .filter(|t| t.realm == request.realm)
                        .map(|t| &t.serial)
                });
            let mine: BTreeSet<_> = mine.collect();
            let rows = known.iter().filter(|r| mine.contains(&r.serial));
            let hosts = request.hosts.iter().map(|h| &h.host);
            (request, hosts.chain(rows.map(|r| &r.host)).collect())
        })
        .collect();
    if globals.output == Output::Json {
        let revocations: Vec<Value> = all
            .iter()
            .map(|(r, hosts)| json!({"admin": r.admin, "realm": r.realm, "reason": r.reason, "ticket": r.ticket, "hosts": hosts}))
            .collect();
        return format!(
            "{:#}\n",
            json!({"would_revoke": revocations, "unknown": chosen.unknown, "kept": kept(chosen)})
        );
    }
    let mut text = String::new();
    for (request, hosts) in all {
        let names: Vec<&str> = hosts.into_iter().map(HostName::as_str).collect();
        // Writing to a string cannot fail.
        _ = writeln!(
            text,
            "would revoke {} in realm {}: {}",
            request.admin,
            request.realm,
            names.join(", ")
        );
    }
    text
}

fn kept(chosen: &Chosen) -> Vec<Value> {
    chosen
        .kept
        .iter()
        .map(|(name, why)| json!({"admin": name, "why": why}))
        .collect()
}
