//! Events: one line of the audit log each.
//!
//! An event names admins and actors by pseudonym only, and no account; who they are stands in the `person` table, which
//! can be erased without breaking the chain.

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::open::{Context, Ledger};
use crate::ledger::row::RowExt as _;

/// Version of an event's form; part of the hashed text.
pub(super) const VERSION: u8 = 1;

/// An event of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the chain, from 1.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, such as `token.issued`.
    pub kind: String,
    /// The canonical JSON text that the hash covers.
    pub body: String,
    /// SHA-256 over the previous event's hash and the body, in hexadecimal.
    pub hash: String,
}

/// An event to be appended.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) kind: &'static str,
    data: Map<String, Value>,
}

impl Draft {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            data: Map::new(),
        }
    }

    /// Adds a value; null ones are left out.
    #[must_use]
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.data.insert(key.to_owned(), value);
        }
        self
    }

    /// A text of the data, for the search columns.
    pub(super) fn text_of(&self, key: &str) -> Option<String> {
        self.data
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
    }

    /// The whole event, as it is hashed.
    pub(super) fn body(&self, seq: i64, at: Timestamp, context: &Context) -> Value {
        let mut body = json!({
            "v": VERSION,
            "seq": seq,
            "at": at.to_string(),
            "kind": self.kind,
            "data": self.data,
        });
        if let Some(map) = body.as_object_mut() {
            if let Some(actor) = &context.actor {
                map.insert("actor".to_owned(), actor.as_str().into());
                map.insert("claimed".to_owned(), context.claimed.into());
            }
            if let Some(run) = &context.run {
                map.insert("run".to_owned(), run.as_str().into());
            }
        }
        body
    }
}

impl Ledger {
    /// Returns the number of the last event up to a time, 0 where there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_event_by(&self, at: Timestamp) -> Result<i64, LedgerError> {
        let row = sqlx::query("SELECT COALESCE(MAX(seq), 0) AS last FROM event WHERE at <= $1")
            .bind(at.as_millisecond())
            .fetch_one(&self.inner.pool)
            .await?;
        row.int("last")
    }

    /// Returns at most `limit` events that follow number `after` (0 for the beginning), in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn events(&self, after: i64, limit: u32) -> Result<Vec<Event>, LedgerError> {
        sqlx::query(
            "SELECT seq, at, kind, body, hash FROM event WHERE seq > $1 ORDER BY seq LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&self.inner.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(Event {
                seq: row.int("seq")?,
                at: row.time("at")?,
                kind: row.text("kind")?,
                body: row.text("body")?,
                hash: row.text("hash")?,
            })
        })
        .collect()
    }
}
