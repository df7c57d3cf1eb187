//! The hash chain over the events: its end, and the check of all of it.

use std::collections::BTreeSet;

use sqlx::AnyConnection;

use crate::ledger::LedgerError;
use crate::ledger::check::{ChainCheck, ChainFault, ChainReport, Columns, Item};
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::genesis;

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
    /// What the first event of a project follows.
    pub fn genesis(project: &str) -> Self {
        Self {
            size: 0,
            hash: genesis(project),
        }
    }

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
            None => Self::genesis(project),
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
        let start = self.chain_start().await?;
        let mut check = ChainCheck::new(start, BTreeSet::new());
        let noted = self.check_events(&mut check).await?;
        let mut report = check.finish(noted.as_ref());
        // Only the events themselves say that earlier ones were archived; a row beside them says nothing.
        if report.start.size > 0 && !report.archived.contains(&report.start) {
            let (from, to) = (1, report.start.size);
            report.faults.push(ChainFault::RemovedAtHead { from, to });
        }
        Ok(report)
    }

    /// Returns what the first event here follows: the project's id, or the end of what was archived.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn chain_start(&self) -> Result<Head, LedgerError> {
        let sealed = self.seal().await?;
        Ok(sealed.unwrap_or_else(|| Head::genesis(self.inner.project.as_str())))
    }

    /// Feeds every event to a check, as they are at one moment. Returns the end that was noted when the last one was written.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn check_events(&self, check: &mut ChainCheck) -> Result<Option<Head>, LedgerError> {
        let mut tx = self.inner.pool.begin().await?;
        let mut after = i64::MIN;
        loop {
            let rows = sqlx::query("SELECT * FROM event WHERE seq > $1 ORDER BY seq LIMIT $2")
                .bind(after)
                .bind(i64::from(BATCH))
                .fetch_all(&mut *tx)
                .await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                after = row.int("seq")?;
                let (kind, serial) = (row.text("kind")?, row.maybe_text("serial")?);
                let (host, body) = (row.maybe_text("host")?, row.text("body")?);
                check.push(&Item {
                    body: &body,
                    hash: &row.text("hash")?,
                    columns: Some(Columns {
                        seq: after,
                        at: row.time("at")?,
                        kind: &kind,
                        serial: serial.as_deref(),
                        host: host.as_deref(),
                    }),
                });
            }
        }
        Head::recorded(&mut tx).await
    }
}
