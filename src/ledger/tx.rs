//! A write transaction: the only way to change the ledger, and the only place that appends events.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use sqlx::{Any, AnyConnection, Transaction};

use crate::clock::{Entropy, Timestamp, whole_milliseconds};
use crate::ledger::chain::{GENESIS_VERSION, Head};
use crate::ledger::event::Draft;
use crate::ledger::open::{Context, Ledger};
use crate::ledger::row::RowExt as _;
use crate::ledger::{LedgerError, canonical_json};

/// An open write transaction; dropping it undoes everything, events too.
pub(super) struct Tx {
    tx: Transaction<'static, Any>,
    /// The time of everything in this transaction, in whole milliseconds.
    pub(super) now: Timestamp,
    pub(super) entropy: Arc<dyn Entropy>,
    context: Context,
    /// The chain's end, once it was needed.
    head: Option<Head>,
    project: String,
}

impl Tx {
    pub(super) async fn begin(ledger: &Ledger, fenced: bool) -> Result<Self, LedgerError> {
        // IMMEDIATE: a transaction that reads first and writes later would otherwise fail when another process wrote
        // in between, instead of waiting for it.
        let mut tx = ledger.inner.pool.begin_with("BEGIN IMMEDIATE").await?;
        let context = ledger.context().clone();
        if let Some(lease) = context.lease.as_ref().filter(|_| fenced) {
            // Fencing: whoever lost the lock must not write, however long it slept.
            let row = sqlx::query("SELECT lease FROM run_lock WHERE name = 'run'")
                .fetch_optional(&mut *tx)
                .await?;
            let held = row.map(|row| row.text("lease")).transpose()?;
            if held.as_ref() != Some(lease) {
                return Err(LedgerError::LockLost);
            }
        }
        Ok(Self {
            tx,
            now: whole_milliseconds(ledger.inner.clock.now()),
            entropy: Arc::clone(&ledger.inner.entropy),
            context,
            head: None,
            project: ledger.inner.project.as_str().to_owned(),
        })
    }

    /// The connection, for statements.
    pub(super) fn db(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }

    /// The current time in milliseconds.
    pub(super) fn now_ms(&self) -> i64 {
        self.now.as_millisecond()
    }

    /// The run and actor of this process.
    pub(super) const fn context(&self) -> &Context {
        &self.context
    }

    pub(super) fn set_context(&mut self, context: Context) {
        self.context = context;
    }

    /// Appends an event to the chain. Every event of the program passes through here.
    pub(super) async fn event(&mut self, draft: Draft) -> Result<(), LedgerError> {
        let head = match self.head.take() {
            Some(head) => head,
            None => Head::read(&mut self.tx, &self.project).await?,
        };
        let seq = head.size + 1;
        let body = draft.body(seq, self.now, &self.context);
        let text = canonical_json(&body);
        let hash = link(&head.hash, &text);
        sqlx::query(
            "INSERT INTO event (seq, at, kind, serial, host, body, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(seq)
        .bind(self.now.as_millisecond())
        .bind(draft.kind)
        .bind(draft.text_of("serial"))
        .bind(draft.text_of("host"))
        .bind(text)
        .bind(hash.clone())
        .execute(&mut *self.tx)
        .await?;
        self.head = Some(Head { size: seq, hash });
        Ok(())
    }

    pub(super) async fn commit(mut self) -> Result<(), LedgerError> {
        if let Some(head) = self.head.take() {
            head.write(&mut self.tx).await?;
        }
        self.tx.commit().await?;
        Ok(())
    }
}

/// The hash of an event: SHA-256 over the previous hash in hexadecimal, followed by the canonical bytes. Both are text,
/// so `printf %s%s PREVIOUS BODY | sha256sum` is all that a reviewer needs.
pub(super) fn link(previous: &str, body: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(previous.as_bytes());
    hasher.update(body.as_bytes());
    data_encoding::HEXLOWER.encode(&hasher.finalize())
}

/// What the first event links to: names the project, so that no two projects' logs can be exchanged.
pub(super) fn genesis(project: &str) -> String {
    link(GENESIS_VERSION, project)
}
