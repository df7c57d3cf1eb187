//! `fleetotp audit log`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::moment;
use crate::cli::globals::{Globals, Output};
use crate::cli::play::write;
use crate::cli::setup::{Setup, World};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::exit;
use crate::ledger::Event;
use crate::names::printable;

/// Events read at a time.
const BATCH: u32 = 1000;
/// How often `--follow` looks.
const PAUSE: Duration = Duration::from_millis(500);

/// Arguments of `audit log`.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// Only this kind: `token.issued`, or `token` for all of a group
    #[arg(long, env = "FLEETOTP_KIND", value_name = "KIND")]
    kind: Option<String>,
    /// Only events that name this admin or actor
    #[arg(long, env = "FLEETOTP_ADMIN", value_name = "NAME")]
    admin: Option<String>,
    /// Only events that name this host
    #[arg(long, env = "FLEETOTP_HOST", value_name = "HOST")]
    host: Option<String>,
    /// From this day or time on
    #[arg(long, env = "FLEETOTP_SINCE", value_name = "DATE", value_parser = moment)]
    since: Option<Timestamp>,
    /// Before this day or time
    #[arg(long, env = "FLEETOTP_UNTIL", value_name = "DATE", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only the last N
    #[arg(short = 'n', long, env = "FLEETOTP_LAST", value_name = "N")]
    last: Option<usize>,
    /// Go on with events as they are written, until interrupted; JSON then is one event a line
    #[arg(long, env = "FLEETOTP_FOLLOW")]
    follow: bool,
}

/// Runs the command.
///
/// # Errors
/// When the ledger cannot be read, or nobody is called so.
pub(super) async fn run(
    args: &LogArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    let mut people = setup.ledger.people().await?;
    let ids: Option<Vec<String>> = args.admin.as_ref().map(|name| {
        let named = people.iter().filter(|(id, n)| *n == name || *id == name);
        named.map(|(id, _)| id.clone()).collect()
    });
    if ids.as_ref().is_some_and(Vec::is_empty) {
        let name = args.admin.as_deref().unwrap_or_default();
        return Err(Error::failed(format!(
            "no event can name `{}`",
            printable(name, 80)
        )));
    }
    let mut after = i64::MIN;
    let mut shown = Vec::new();
    loop {
        let events = setup.ledger.events(after, BATCH).await?;
        let Some(end) = events.last().map(|e| e.seq) else {
            break;
        };
        after = end;
        shown.extend(events.into_iter().filter(|e| fits(args, ids.as_deref(), e)));
        if let Some(last) = args.last {
            shown.drain(..shown.len().saturating_sub(last));
        }
    }
    let lines = args.follow || globals.output == Output::Text;
    if !lines {
        let events: Vec<Value> = shown.iter().map(|e| document(e, &people)).collect();
        write(out, &format!("{:#}\n", json!({ "events": events })))?;
        return Ok(exit::DONE);
    }
    // One for all rounds: an interrupt that comes while events are read must not be lost.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        for event in &shown {
            let line = match globals.output {
                Output::Text => text(event, &people),
                Output::Json => document(event, &people).to_string(),
            };
            write(out, &format!("{line}\n"))?;
        }
        if !args.follow {
            return Ok(exit::DONE);
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = &mut interrupted => return Ok(exit::INTERRUPTED),
        }
        shown = setup.ledger.events(after, BATCH).await?;
        if let Some(end) = shown.last() {
            after = end.seq;
            people = setup.ledger.people().await?;
        }
        shown.retain(|e| fits(args, ids.as_deref(), e));
    }
}

fn fits(args: &LogArgs, ids: Option<&[String]>, event: &Event) -> bool {
    let of_kind = |kind: &String| {
        event.kind == *kind
            || event
                .kind
                .strip_prefix(kind.as_str())
                .is_some_and(|rest| rest.starts_with('.'))
    };
    args.kind.as_ref().is_none_or(of_kind)
        && args.since.is_none_or(|since| event.at >= since)
        && args.until.is_none_or(|until| event.at < until)
        && (ids.is_none() && args.host.is_none() || {
            let body = serde_json::from_str(&event.body).unwrap_or_default();
            ids.is_none_or(|ids| ids.iter().any(|id| names(&body, id)))
                && args.host.as_ref().is_none_or(|host| names(&body, host))
        })
}

/// Whether a value is this text, or holds it as a value or a key.
fn names(value: &Value, text: &str) -> bool {
    match value {
        Value::String(s) => s == text,
        Value::Array(items) => items.iter().any(|v| names(v, text)),
        Value::Object(map) => map.iter().any(|(k, v)| k == text || names(v, text)),
        _ => false,
    }
}

/// The event with names in place of pseudonyms; those of erased people stay.
fn document(event: &Event, people: &BTreeMap<String, String>) -> Value {
    let mut body: Value = serde_json::from_str(&event.body).unwrap_or_default();
    put_names(&mut body, people);
    json!({"event": body, "hash": event.hash})
}

fn put_names(value: &mut Value, people: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some(name) = people.get(text) {
                name.clone_into(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|v| put_names(v, people)),
        Value::Object(map) => map.values_mut().for_each(|v| put_names(v, people)),
        _ => {}
    }
}

/// One line for people.
fn text(event: &Event, people: &BTreeMap<String, String>) -> String {
    let document = document(event, people);
    let body = document.get("event").cloned().unwrap_or_default();
    let actor = body.get("actor").and_then(Value::as_str).unwrap_or("-");
    let data = body.get("data").and_then(Value::as_object);
    let fields = data.into_iter().flatten().map(|(key, value)| {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!("{key}={}", printable(&value, 200))
    });
    let fields: Vec<String> = fields.collect();
    format!(
        "{} {} {} by {} {}",
        event.seq,
        event.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        printable(&event.kind, 60),
        printable(actor, 80),
        fields.join(" ")
    )
    .trim_end()
    .to_owned()
}
