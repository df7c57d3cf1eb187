//! Recovery codes: hashes of codes that are worth one new sheet each. They live as long as the generation of their sheet:
//! a rotation that is taken back leaves the old ones, and what replaces a generation replaces its codes.
//!
//! Hashes stay when a code was used or replaced: no code can be made from them, and whoever comes with such a code is
//! told from somebody who guesses.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::tries::{TryId, TryLimit};
use crate::ledger::tx::Tx;
use crate::token::id::{Generation, Serial};
use crate::token::state::TokenState;

/// Under this number of a generation, which no generation has, tries of recovery codes are counted.
const TRIES: Generation = 0;

/// A recovery code, as far as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryRecord {
    /// Its number among all codes of the token.
    pub number: i64,
    /// On whose sheet it stands.
    pub generation: Generation,
    /// Argon2id in PHC form.
    pub hash: String,
    /// When it was redeemed.
    pub used_at: Option<Timestamp>,
    /// When its sheet's generation ended.
    pub void_at: Option<Timestamp>,
}

impl RecoveryRecord {
    /// Returns whether it can be redeemed.
    pub const fn is_open(&self) -> bool {
        self.used_at.is_none() && self.void_at.is_none()
    }
}

/// How many recovery codes a token has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct RecoveryCount {
    /// Can still be redeemed.
    pub left: u32,
    /// Stand on sheets whose generation is live: in a rotation on two.
    pub issued: u32,
}

impl Ledger {
    /// Returns the newest codes of a token, used and replaced ones too, at most 60.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recovery_codes(
        &self,
        serial: &Serial,
    ) -> Result<Vec<RecoveryRecord>, LedgerError> {
        sqlx::query("SELECT * FROM recovery_code WHERE serial = $1 ORDER BY number DESC LIMIT 60")
            .bind(serial.as_str().to_owned())
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| {
                Ok(RecoveryRecord {
                    number: row.int("number")?,
                    generation: row.generation("generation")?,
                    hash: row.text("hash")?,
                    used_at: row.maybe_time("used_at")?,
                    void_at: row.maybe_time("void_at")?,
                })
            })
            .collect()
    }

    /// Returns how many codes tokens have on live sheets; those without any are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recovery_counts(&self) -> Result<BTreeMap<Serial, RecoveryCount>, LedgerError> {
        let rows = sqlx::query(
            "SELECT serial, COUNT(*) AS issued, SUM(CASE WHEN used_at IS NULL THEN 1 ELSE 0 END) AS usable
             FROM recovery_code WHERE void_at IS NULL GROUP BY serial",
        )
        .fetch_all(&self.inner.pool)
        .await?;
        let count = |n: i64| u32::try_from(n).map_err(LedgerError::damaged);
        rows.iter()
            .map(|row| {
                Ok((
                    row.parsed("serial")?,
                    RecoveryCount {
                        left: count(row.int("usable")?)?,
                        issued: count(row.int("issued")?)?,
                    },
                ))
            })
            .collect()
    }

    /// Begins a try of a recovery code, before it is looked at.
    ///
    /// # Errors
    /// [`LedgerError::Throttled`] after too many wrong ones.
    pub async fn begin_recovery_try(
        &self,
        serial: &Serial,
        limit: TryLimit,
    ) -> Result<TryId, LedgerError> {
        self.begin_try(serial, TRIES, limit).await
    }

    /// Uses a recovery code up. What it is worth, a new sheet, is issued after this: a code never works twice, whenever
    /// the program is killed.
    ///
    /// # Errors
    /// When it was used or replaced in between, or the token's state does not allow it.
    pub async fn redeem(
        &self,
        serial: &Serial,
        number: i64,
        attempt: &TryId,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let token = tx.token(serial).await?;
        if !is_redeemable(token.state) {
            return Err(LedgerError::Token {
                serial: serial.clone(),
                state: token.state,
                what: "its recovery codes are worth nothing",
            });
        }
        let now = tx.now_ms();
        let row = sqlx::query(
            "UPDATE recovery_code SET used_at = $1 WHERE serial = $2 AND number = $3
             AND used_at IS NULL AND void_at IS NULL RETURNING generation",
        )
        .bind(now)
        .bind(serial.as_str().to_owned())
        .bind(number)
        .fetch_optional(tx.db())
        .await?
        .ok_or_else(|| LedgerError::RecoveryUsed(serial.clone()))?;
        let generation = row.generation("generation")?;
        tx.accept_try(attempt).await?;
        let left = sqlx::query(
            "SELECT COUNT(*) AS n FROM recovery_code WHERE serial = $1 AND used_at IS NULL AND void_at IS NULL",
        )
        .bind(serial.as_str().to_owned())
        .fetch_one(tx.db())
        .await?
        .int("n")?;
        tx.event(
            Draft::new("recovery.redeemed")
                .with("serial", serial.as_str())
                .with("generation", generation)
                .with("admin", token.person.as_str())
                .with("realm", token.realm.as_str())
                .with("number", number)
                .with("left", left),
        )
        .await?;
        tx.commit().await
    }
}

/// Returns whether recovery codes of such a token are worth something. A revoked token needs an approved enrolment, and
/// codes of a sheet that expired unconfirmed may be in anybody's hands.
pub const fn is_redeemable(state: TokenState) -> bool {
    matches!(
        state,
        TokenState::Pending | TokenState::Active | TokenState::Rotating
    )
}

impl Tx {
    /// Ends the codes of a generation's sheet, when the generation ends.
    pub(super) async fn end_recovery(
        &mut self,
        serial: &Serial,
        generation: Generation,
    ) -> Result<(), LedgerError> {
        let now = self.now_ms();
        sqlx::query(
            "UPDATE recovery_code SET void_at = $1 WHERE serial = $2 AND generation = $3 AND void_at IS NULL",
        )
        .bind(now)
        .bind(serial.as_str().to_owned())
        .bind(i64::from(generation))
        .execute(self.db())
        .await?;
        Ok(())
    }

    /// Stores the codes of a new sheet.
    pub(super) async fn store_recovery(
        &mut self,
        serial: &Serial,
        generation: Generation,
        hashes: &[String],
    ) -> Result<(), LedgerError> {
        if hashes.is_empty() {
            return Ok(());
        }
        let now = self.now_ms();
        let last = sqlx::query(
            "SELECT COALESCE(MAX(number), 0) AS last FROM recovery_code WHERE serial = $1",
        )
        .bind(serial.as_str().to_owned())
        .fetch_one(self.db())
        .await?
        .int("last")?;
        for (number, hash) in (last + 1..).zip(hashes) {
            sqlx::query(
                "INSERT INTO recovery_code (serial, number, generation, hash, issued_at) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(serial.as_str().to_owned())
            .bind(number)
            .bind(i64::from(generation))
            .bind(hash.clone())
            .bind(now)
            .execute(self.db())
            .await?;
        }
        Ok(())
    }
}
