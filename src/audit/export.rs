//! The export: one file of JSON lines, checked by `sha256sum` and `ssh-keygen` alone.
//!
//! ```text
//! {"export":{"from":1,"previous":HASH,"project":ID,"to":N,"v":1}}
//! {"event":BODY,"hash":HASH}                     one per event, BODY as it is hashed
//! {"head":{"at":…,"hash":…,"project":…,"size":…,"v":1},"key":…,"signature":…}
//! ```

use serde_json::{Value, json};

use crate::error::Error;
use crate::ledger::{ChainCheck, Event, Head, Item, SignedHead, canonical_json};

/// Version of the form.
const VERSION: u8 = 1;
const EVENT: &str = "{\"event\":";
const HASH: &str = ",\"hash\":\"";
const CLOSE: &str = "\"}";

/// Returns the first line: a project's events from after `start` to number `to`.
pub fn first_line(project: &str, start: &Head, to: i64) -> String {
    let line = json!({"export": {
        "from": start.size + 1, "previous": start.hash, "project": project, "to": to, "v": VERSION,
    }});
    canonical_json(&line) + "\n"
}

/// Returns the line of an event.
pub fn event_line(body: &str, hash: &str) -> String {
    format!("{EVENT}{body}{HASH}{hash}{CLOSE}\n")
}

/// Returns the line of a head; `None` for one that is not signed.
pub fn head_line(project: &str, signed: &SignedHead) -> Option<String> {
    let (key, signature) = signed.signature.as_ref()?;
    let line = json!({
        "head": {
            "at": signed.at.to_string(), "hash": signed.head.hash, "project": project,
            "size": signed.head.size, "v": VERSION,
        },
        "key": key,
        "signature": signature,
    });
    Some(canonical_json(&line) + "\n")
}

/// An export as it was read.
#[derive(Debug)]
pub struct Export {
    /// The project.
    pub project: String,
    /// What its first event follows.
    pub start: Head,
    /// The number of its last event.
    pub to: i64,
    /// The signed heads in it.
    pub heads: Vec<SignedHead>,
    /// Lines that are none of an export's, by number.
    pub strange: Vec<usize>,
    events: Vec<(String, String)>,
}

impl Export {
    /// Reads an export. What is wrong with its events is for a check to say.
    ///
    /// # Errors
    /// When its first line is not one of an export, or of a version that is not known.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let no = |why: &str| Error::failed(format!("`{name}` is not an export: {why}"));
        let mut lines = text.split('\n');
        let first: Value = lines
            .next()
            .and_then(|line| serde_json::from_str(line).ok())
            .ok_or_else(|| no("its first line is not JSON"))?;
        let field = |key: &str| first.get("export").and_then(|e| e.get(key));
        let version = field("v").and_then(Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            return Err(no(
                "its first line names no version that this program knows",
            ));
        }
        let text_of = |key: &str| field(key).and_then(Value::as_str).map(str::to_owned);
        let number = |key: &str| field(key).and_then(Value::as_i64);
        let (Some(project), Some(hash), Some(from), Some(to)) = (
            text_of("project"),
            text_of("previous"),
            number("from").filter(|n| *n > 0),
            number("to"),
        ) else {
            return Err(no("its first line is not complete"));
        };
        let mut export = Self {
            project,
            start: Head {
                size: from - 1,
                hash,
            },
            to,
            heads: Vec::new(),
            strange: Vec::new(),
            events: Vec::new(),
        };
        let mut ended = false;
        for (index, line) in lines.enumerate() {
            if ended {
                // The empty one before.
                export.strange.push(index + 1);
                ended = false;
            }
            if line.is_empty() {
                // Only the end of the last line.
                ended = true;
            } else if let Some(event) = read_event(line) {
                export.events.push(event);
            } else if let Some(head) = read_head(line, &export.project) {
                export.heads.push(head);
            } else {
                export.strange.push(index + 2);
            }
        }
        Ok(export)
    }

    /// Returns its events, to be read on from; whether they are what was written, a check has to say before.
    ///
    /// # Errors
    /// An event that cannot be read.
    pub fn into_events(self) -> Result<Vec<Event>, Error> {
        let no = |seq: i64| Error::failed(format!("the event after number {seq} cannot be read"));
        let mut after = self.start.size;
        let mut events = Vec::with_capacity(self.events.len());
        for (body, hash) in self.events {
            let parsed: Value = serde_json::from_str(&body).map_err(|_| no(after))?;
            let text = |key: &str| parsed.get(key).and_then(Value::as_str);
            let (seq, at, kind) = (
                parsed.get("seq").and_then(Value::as_i64),
                text("at").and_then(|at| at.parse().ok()),
                text("kind").map(str::to_owned),
            );
            let (Some(seq), Some(at), Some(kind)) = (seq, at, kind) else {
                return Err(no(after));
            };
            after = seq;
            events.push(Event {
                seq,
                at,
                kind,
                body,
                hash,
            });
        }
        Ok(events)
    }

    /// Feeds its events to a check.
    pub fn check(&self, check: &mut ChainCheck) {
        for (body, hash) in &self.events {
            check.push(&Item {
                body,
                hash,
                columns: None,
            });
        }
    }
}

fn read_event(line: &str) -> Option<(String, String)> {
    let inner = line.strip_prefix(EVENT)?.strip_suffix(CLOSE)?;
    let (body, hash) = inner.rsplit_once(HASH)?;
    Some((body.to_owned(), hash.to_owned()))
}

fn read_head(line: &str, project: &str) -> Option<SignedHead> {
    let line: Value = serde_json::from_str(line).ok()?;
    let field = |key: &str| line.get("head")?.get(key);
    let text = |key: &str| field(key).and_then(Value::as_str);
    (text("project")? == project).then_some(())?;
    Some(SignedHead {
        head: Head {
            size: field("size")?.as_i64()?,
            hash: text("hash")?.to_owned(),
        },
        at: text("at")?.parse().ok()?,
        signature: Some((
            line.get("key")?.as_str()?.to_owned(),
            line.get("signature")?.as_str()?.to_owned(),
        )),
    })
}
