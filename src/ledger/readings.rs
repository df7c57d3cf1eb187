//! What runs read of revocations: a proof closes an item, what is left opens it again; and hosts that do not come back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::ledger::{LedgerError, TokenRecord, canonical_json};
use crate::names::{HostName, printable};
use crate::token::id::Serial;
use crate::token::state::{TokenHostState, TokenState};

/// Texts of reasons and hosts are cut to this many characters.
const MAX_TEXT: usize = 200;

/// What a run read of an item.
#[derive(Debug, Clone)]
pub struct ItemReading {
    /// The token.
    pub serial: Serial,
    /// The host.
    pub host: HostName,
    /// What was seen, and when.
    pub result: ItemResult,
    /// Something was removed there in this run.
    pub repaired: bool,
}

/// How an item was read.
#[derive(Debug, Clone)]
pub enum ItemResult {
    /// Nothing is left and the login is closed: what was seen.
    Proven(Value),
    /// Something is left, and what.
    Open(String),
}

impl Ledger {
    /// Stores what a run read of items: a proof closes one, and what is left there opens it again. A token is `revoked`
    /// once every item is closed. A token that was enrolled anew in between is left alone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn store_readings(&self, readings: &[ItemReading]) -> Result<(), LedgerError> {
        if readings.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        let mut by_token: BTreeMap<&Serial, Vec<&ItemReading>> = BTreeMap::new();
        for reading in readings {
            by_token.entry(&reading.serial).or_default().push(reading);
        }
        for (serial, readings) in by_token {
            let token = tx.token(serial).await?;
            if !matches!(token.state, TokenState::Revoking | TokenState::Revoked) {
                continue;
            }
            for reading in readings {
                tx.store_reading(reading).await?;
            }
            tx.settle_revocation(&token).await?;
        }
        tx.commit().await
    }

    /// Ends a host: it is not expected back. Its open items are closed as attested, which is no proof.
    ///
    /// Returns how many items that closed; `None` where the ledger does not know the host.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retire_host(
        &self,
        host: &HostName,
        reason: &str,
        ticket: Option<&str>,
    ) -> Result<Option<usize>, LedgerError> {
        let mut tx = self.begin_without_lock().await?;
        let now = tx.now_ms();
        let done =
            sqlx::query("UPDATE host SET retired_at = COALESCE(retired_at, $1) WHERE name = $2")
                .bind(now)
                .bind(host.as_str().to_owned())
                .execute(tx.db())
                .await?;
        if done.rows_affected() == 0 {
            return Ok(None);
        }
        let open = sqlx::query(
            "SELECT serial FROM token_host WHERE host = $1 AND desired = 'revoked' AND proof IS NULL",
        )
        .bind(host.as_str().to_owned())
        .fetch_all(tx.db())
        .await?;
        let proof = json!({
            "how": "attested", "at": tx.now.to_string(), "reason": printable(reason, MAX_TEXT), "ticket": ticket,
        });
        let serials = open
            .iter()
            .map(|row| row.parsed::<Serial>("serial"))
            .collect::<Result<Vec<_>, _>>()?;
        sqlx::query(
            "UPDATE token_host SET proof = $1, reason = NULL WHERE host = $2 AND desired = 'revoked' AND proof IS NULL",
        )
        .bind(canonical_json(&proof))
        .bind(host.as_str().to_owned())
        .execute(tx.db())
        .await?;
        let attested: Vec<Value> = serials.iter().map(|s| Value::from(s.as_str())).collect();
        tx.event(
            Draft::new("host.retired")
                .with("host", host.as_str())
                .with("reason", printable(reason, MAX_TEXT))
                .with("ticket", ticket)
                .with("attested", attested),
        )
        .await?;
        for serial in &serials {
            let token = tx.token(serial).await?;
            tx.settle_revocation(&token).await?;
        }
        tx.commit().await?;
        Ok(Some(serials.len()))
    }
}

impl Tx {
    async fn store_reading(&mut self, reading: &ItemReading) -> Result<(), LedgerError> {
        let row = sqlx::query(
            "SELECT r.proof, r.reason, r.state, CASE WHEN h.reachable = 1 AND h.detail IS NULL THEN 1 ELSE 0 END AS was_read
             FROM token_host r JOIN host h ON h.name = r.host
             WHERE r.serial = $1 AND r.host = $2 AND r.desired = 'revoked'",
        )
        .bind(reading.serial.as_str().to_owned())
        .bind(reading.host.as_str().to_owned())
        .fetch_optional(self.db())
        .await?;
        let Some(row) = row else { return Ok(()) };
        let (closed, why) = (
            row.maybe_text("proof")?.is_some(),
            row.maybe_text("reason")?,
        );
        let now = self.now_ms();
        match &reading.result {
            ItemResult::Proven(proof) => {
                sqlx::query(
                    "UPDATE token_host SET proof = $1, state = $2, reason = NULL, current_generation = NULL,
                     next_generation = NULL, changed_at = CASE WHEN proof IS NULL THEN $3 ELSE changed_at END,
                     observed_at = $3 WHERE serial = $4 AND host = $5",
                )
                .bind(canonical_json(proof))
                .bind(TokenHostState::Revoked.as_str())
                .bind(now)
                .bind(reading.serial.as_str().to_owned())
                .bind(reading.host.as_str().to_owned())
                .execute(self.db())
                .await?;
                // A row that was overwritten in between is told too: the log alone must tell what the table holds.
                let overwritten = row.text("state")? != TokenHostState::Revoked.as_str();
                if !closed || reading.repaired || overwritten {
                    let kind = if closed && reading.repaired {
                        "revocation.repaired"
                    } else {
                        "revocation.proven"
                    };
                    self.event(
                        Draft::new(kind)
                            .with("serial", reading.serial.as_str())
                            .with("host", reading.host.as_str())
                            .with("proof", proof.clone()),
                    )
                    .await?;
                }
            }
            ItemResult::Open(text) => {
                let text = printable(text, MAX_TEXT);
                // A host that could not be read has what it was last seen to have, as of then.
                let kept = row.int("was_read")? == 0 && !closed;
                let mut query = sqlx::query(if kept {
                    "UPDATE token_host SET reason = $1 WHERE serial = $2 AND host = $3"
                } else {
                    "UPDATE token_host SET proof = NULL, state = 'gap', reason = $1, changed_at = $4, observed_at = $4
                     WHERE serial = $2 AND host = $3"
                })
                .bind(text.clone())
                .bind(reading.serial.as_str().to_owned())
                .bind(reading.host.as_str().to_owned());
                if !kept {
                    query = query.bind(now);
                }
                query.execute(self.db()).await?;
                if closed || why.as_deref() != Some(text.as_str()) {
                    self.event(
                        Draft::new("revocation.open")
                            .with("serial", reading.serial.as_str())
                            .with("host", reading.host.as_str())
                            .with("why", text)
                            .with("again", closed),
                    )
                    .await?;
                }
            }
        }
        Ok(())
    }

    /// Makes a token `revoked` once no item is open, and `revoking` again where one was found open.
    pub(super) async fn settle_revocation(
        &mut self,
        token: &TokenRecord,
    ) -> Result<(), LedgerError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS open FROM token_host WHERE serial = $1 AND desired = 'revoked' AND proof IS NULL",
        )
        .bind(token.serial.as_str().to_owned())
        .fetch_one(self.db())
        .await?;
        let state = if row.int("open")? == 0 {
            TokenState::Revoked
        } else {
            TokenState::Revoking
        };
        if state == token.state || !token.state.may_become(state) {
            return Ok(());
        }
        self.set_token_state(&token.serial, state).await?;
        let kind = if state == TokenState::Revoked {
            "token.revoked"
        } else {
            "token.revoke_reopened"
        };
        self.event(
            Draft::new(kind)
                .with("serial", token.serial.as_str())
                .with("admin", token.person.as_str())
                .with("realm", token.realm.as_str()),
        )
        .await
    }
}
