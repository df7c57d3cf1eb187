//! The hash chain over the events, and what a check of it can tell.

use serde_json::Value;
use sqlx::AnyConnection;

use crate::clock::Timestamp;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::{genesis, link};
use crate::ledger::{Event, LedgerError, canonical_json};

/// Hashed before the project's id to make what the first event links to.
pub(super) const GENESIS_VERSION: &str = "fleetotp event log v1\n";

/// Events read at a time while checking.
const BATCH: u32 = 1000;

/// The end of the chain: how many events, and the hash of the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Number of events.
    pub size: i64,
    /// Hash of the last one in hexadecimal; of the project's id where there is none.
    pub hash: String,
}

impl Head {
    /// Reads the end as the event table has it.
    pub(super) async fn read(
        connection: &mut AnyConnection,
        project: &str,
    ) -> Result<Self, LedgerError> {
        let row = sqlx::query("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1")
            .fetch_optional(&mut *connection)
            .await?;
        let found = match row {
            Some(row) => Self {
                size: row.int("seq")?,
                hash: row.text("hash")?,
            },
            None => Self {
                size: 0,
                hash: genesis(project),
            },
        };
        // New events are never chained to a log whose end was cut off: that would hide the cut.
        match Self::recorded(connection).await? {
            Some(recorded) if recorded != found => Err(LedgerError::damaged(format!(
                "its event log ends at number {}, but number {} was written last",
                found.size, recorded.size
            ))),
            _ => Ok(found),
        }
    }

    /// The end as noted beside the event table.
    async fn recorded(connection: &mut AnyConnection) -> Result<Option<Self>, LedgerError> {
        let row = sqlx::query("SELECT value FROM meta WHERE key = 'head'")
            .fetch_optional(connection)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let text = row.text("value")?;
        let head = text
            .split_once(' ')
            .and_then(|(size, hash)| {
                Some(Self {
                    size: size.parse().ok()?,
                    hash: hash.to_owned(),
                })
            })
            .ok_or_else(|| LedgerError::damaged("the note of the event log's end is unreadable"))?;
        Ok(Some(head))
    }

    pub(super) async fn write(&self, connection: &mut AnyConnection) -> Result<(), LedgerError> {
        sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('head', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(format!("{} {}", self.size, self.hash))
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Something is wrong with the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// The event's text or its search columns were changed, or the event was moved or exchanged.
    #[error("event {seq} is not what was written: {what}")]
    Altered {
        /// The event's number.
        seq: i64,
        /// How that shows.
        what: &'static str,
    },
    /// Events are missing.
    #[error("events {from} to {to} are missing")]
    Missing {
        /// First missing number.
        from: i64,
        /// Last missing number.
        to: i64,
    },
    /// The last events are not those that were written last.
    #[error("the log ends at number {found}, but number {written} was written last")]
    End {
        /// The last number found.
        found: i64,
        /// The last number written.
        written: i64,
    },
}

/// Result of a check of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// The end of the chain as found.
    pub head: Head,
    /// What is wrong, in order; empty for a sound chain.
    pub faults: Vec<ChainFault>,
}

impl ChainReport {
    /// Returns whether nothing is wrong. Whoever can write the database can also rewrite the whole chain: only a head
    /// that was kept elsewhere shows that.
    pub const fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Ledger {
    /// Returns the end of the chain, for witnesses.
    ///
    /// # Errors
    /// When the database fails or the end is not what was written last.
    pub async fn head(&self) -> Result<Head, LedgerError> {
        let mut connection = self.inner.pool.acquire().await?;
        Head::read(&mut connection, self.inner.project.as_str()).await
    }

    /// Checks every event against its hash, its predecessor and its search columns.
    ///
    /// # Errors
    /// When the database fails; what is wrong with the chain is in the report.
    pub async fn verify_chain(&self) -> Result<ChainReport, LedgerError> {
        let mut head = Head {
            size: 0,
            hash: genesis(self.inner.project.as_str()),
        };
        let mut faults = Vec::new();
        loop {
            let events = self.events_with_columns(head.size).await?;
            if events.is_empty() {
                break;
            }
            for (event, serial, host) in events {
                if event.seq != head.size + 1 {
                    faults.push(ChainFault::Missing {
                        from: head.size + 1,
                        to: event.seq - 1,
                    });
                }
                // After a gap the hash cannot fit, and the gap is reported already.
                let linked =
                    event.seq != head.size + 1 || link(&head.hash, &event.body) == event.hash;
                let what = if linked {
                    fault_of(&event, serial.as_deref(), host.as_deref())
                } else {
                    Some("its hash does not follow from its text and the event before")
                };
                if let Some(what) = what {
                    faults.push(ChainFault::Altered {
                        seq: event.seq,
                        what,
                    });
                }
                head = Head {
                    size: event.seq,
                    hash: event.hash,
                };
            }
        }
        let mut connection = self.inner.pool.acquire().await?;
        if let Some(written) = Head::recorded(&mut connection).await?
            && written != head
        {
            faults.push(ChainFault::End {
                found: head.size,
                written: written.size,
            });
        }
        Ok(ChainReport { head, faults })
    }

    async fn events_with_columns(
        &self,
        after: i64,
    ) -> Result<Vec<(Event, Option<String>, Option<String>)>, LedgerError> {
        sqlx::query("SELECT * FROM event WHERE seq > $1 ORDER BY seq LIMIT $2")
            .bind(after)
            .bind(i64::from(BATCH))
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| {
                let event = Event {
                    seq: row.int("seq")?,
                    at: row.time("at")?,
                    kind: row.text("kind")?,
                    body: row.text("body")?,
                    hash: row.text("hash")?,
                };
                Ok((event, row.maybe_text("serial")?, row.maybe_text("host")?))
            })
            .collect()
    }
}

/// Compares the search columns with the hashed text.
fn fault_of(event: &Event, serial: Option<&str>, host: Option<&str>) -> Option<&'static str> {
    let Ok(body) = serde_json::from_str::<Value>(&event.body) else {
        return Some("its text is not JSON");
    };
    let data = |key: &str| {
        body.pointer(&format!("/data/{key}"))
            .and_then(Value::as_str)
    };
    let at = body.get("at").and_then(Value::as_str);
    if canonical_json(&body) != event.body {
        Some("its text is not canonical")
    } else if body.get("seq").and_then(Value::as_i64) != Some(event.seq) {
        Some("its number was changed")
    } else if at.and_then(|t| t.parse::<Timestamp>().ok()) != Some(event.at) {
        Some("its time was changed")
    } else if body.get("kind").and_then(Value::as_str) != Some(event.kind.as_str())
        || data("serial") != serial
        || data("host") != host
    {
        Some("its search columns were changed")
    } else {
        None
    }
}
