//! Heads of the chain that left the ledger, signed where there is a key; exports; archived events.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::ledger::check::{ARCHIVED, HEAD_SIGNED};
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::{Head, LedgerError};
use crate::token::id::{Generation, Serial};

/// A head that was left on hosts or published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHead {
    /// The head.
    pub head: Head,
    /// When it was made.
    pub at: Timestamp,
    /// Fingerprint of the key and the armoured signature; `None` where no key was set.
    pub signature: Option<(String, String)>,
}

/// What was exported, for its event.
#[derive(Debug, Clone, Copy)]
pub struct ExportNote {
    /// Number of the first event.
    pub from: i64,
    /// Number of the last one.
    pub to: i64,
}

impl Ledger {
    /// Returns heads that left the ledger, by size.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn signed_heads(&self) -> Result<Vec<SignedHead>, LedgerError> {
        sqlx::query("SELECT size, hash, at, key, signature FROM signed_head ORDER BY size")
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| {
                Ok(SignedHead {
                    head: Head {
                        size: row.int("size")?,
                        hash: row.text("hash")?,
                    },
                    at: row.time("at")?,
                    signature: row
                        .maybe_text("signature")?
                        .map(|s| {
                            Ok::<_, LedgerError>((row.maybe_text("key")?.unwrap_or_default(), s))
                        })
                        .transpose()?,
                })
            })
            .collect()
    }

    /// Stores a head that leaves the ledger; that it was signed becomes an event. One that is there keeps its signature.
    ///
    /// # Errors
    /// When the database fails or the lock was lost.
    pub async fn store_head(&self, signed: &SignedHead) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let (key, signature) = signed.signature.clone().unzip();
        let stored = sqlx::query(
            "INSERT INTO signed_head (size, hash, at, key, signature) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (size) DO UPDATE SET at = excluded.at, key = excluded.key, signature = excluded.signature
             WHERE signed_head.signature IS NULL AND excluded.signature IS NOT NULL AND signed_head.hash = excluded.hash",
        )
        .bind(signed.head.size)
        .bind(signed.head.hash.clone())
        .bind(signed.at.as_millisecond())
        .bind(key.clone())
        .bind(signature)
        .execute(tx.db())
        .await?;
        if let Some(key) = key.filter(|_| stored.rows_affected() > 0) {
            tx.event(
                Draft::new(HEAD_SIGNED)
                    .with("size", signed.head.size)
                    .with("key", key),
            )
            .await?;
        }
        tx.commit().await
    }

    /// Returns the fingerprint of the key by which a head was signed last; `None` where none ever was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_signing_key(&self) -> Result<Option<String>, LedgerError> {
        sqlx::query("SELECT key FROM signed_head WHERE key IS NOT NULL ORDER BY size DESC LIMIT 1")
            .fetch_optional(&self.inner.pool)
            .await?
            .map(|row| row.text("key"))
            .transpose()
    }

    /// Returns up to where events were archived.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn seal(&self) -> Result<Option<Head>, LedgerError> {
        sqlx::query("SELECT size, hash FROM seal ORDER BY size DESC LIMIT 1")
            .fetch_optional(&self.inner.pool)
            .await?
            .map(|row| {
                Ok(Head {
                    size: row.int("size")?,
                    hash: row.text("hash")?,
                })
            })
            .transpose()
    }

    /// Returns the head of the last event before a time, `None` where the first event here is not that old: events are
    /// appended in order, and clocks may be set back.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn head_before(&self, time: Timestamp) -> Result<Option<Head>, LedgerError> {
        // The ledger keeps whole milliseconds; a time between two of them is after the first.
        let last = time.checked_sub(Duration::from_nanos(1)).unwrap_or(time);
        sqlx::query(
            "SELECT seq, hash FROM event WHERE seq < COALESCE((SELECT MIN(seq) FROM event WHERE at > $1), $2)
             ORDER BY seq DESC LIMIT 1",
        )
        .bind(last.as_millisecond())
        .bind(i64::MAX)
        .fetch_optional(&self.inner.pool)
        .await?
        .map(|row| {
            Ok(Head {
                size: row.int("seq")?,
                hash: row.text("hash")?,
            })
        })
        .transpose()
    }

    /// Records that events were exported.
    ///
    /// # Errors
    /// When the database fails or the lock was lost.
    pub async fn record_export(&self, note: ExportNote) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let draft = Draft::new("events.exported");
        // Of a time in which nothing happened there is a pack too, and it holds no event.
        let draft = if note.from <= note.to {
            draft.with("from", note.from).with("to", note.to)
        } else {
            draft.with("events", 0).with("after", note.to)
        };
        tx.event(draft).await?;
        tx.commit().await
    }

    /// Records that a command opened secrets of the vault, and how many.
    ///
    /// # Errors
    /// When the database fails or the lock was lost.
    pub async fn record_opened(&self, secrets: u64) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        tx.event(Draft::new("vault.opened").with("secrets", secrets))
            .await?;
        tx.commit().await
    }

    /// Records that a secret was to be opened and could not be, and why in a word or two.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record_refused(
        &self,
        serial: &Serial,
        generation: Generation,
        why: &str,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin_without_lock().await?;
        tx.event(
            Draft::new("vault.refused")
                .with("serial", serial.as_str())
                .with("generation", generation)
                .with("why", why),
        )
        .await?;
        tx.commit().await
    }

    /// Removes events up to a head and keeps that head as a seal; an event says so.
    ///
    /// # Errors
    /// When the ledger has another event there, the database fails or the lock was lost.
    pub async fn seal_events(&self, seal: &Head) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let row = sqlx::query("SELECT hash FROM event WHERE seq = $1")
            .bind(seal.size)
            .fetch_optional(tx.db())
            .await?;
        if row.map(|row| row.text("hash")).transpose()?.as_ref() != Some(&seal.hash) {
            return Err(LedgerError::damaged(format!(
                "event {} is not the one that was archived",
                seal.size
            )));
        }
        let now = tx.now_ms();
        tx.event(
            Draft::new(ARCHIVED)
                .with("size", seal.size)
                .with("hash", seal.hash.as_str()),
        )
        .await?;
        sqlx::query("INSERT INTO seal (size, hash, at) VALUES ($1, $2, $3)")
            .bind(seal.size)
            .bind(seal.hash.clone())
            .bind(now)
            .execute(tx.db())
            .await?;
        sqlx::query("DELETE FROM event WHERE seq <= $1")
            .bind(seal.size)
            .execute(tx.db())
            .await?;
        tx.commit().await
    }

    /// Returns whether the event of that number has that hash, as far as this ledger can tell: of archived ones only the heads
    /// that left it are kept, and others are taken as known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn knows(&self, head: &Head) -> Result<bool, LedgerError> {
        let start = self.chain_start().await?;
        if head.size == start.size {
            return Ok(head.hash == start.hash);
        }
        let table = if head.size < start.size {
            "SELECT hash FROM signed_head WHERE size = $1"
        } else {
            "SELECT hash FROM event WHERE seq = $1"
        };
        let row = sqlx::query(table)
            .bind(head.size)
            .fetch_optional(&self.inner.pool)
            .await?;
        match row {
            Some(row) => Ok(row.text("hash")? == head.hash),
            None => Ok(head.size < start.size && head.size >= 0),
        }
    }
}
