//! Tries of codes at the controller, and when to stop taking them.

use crate::clock::{Span, Timestamp};
use crate::ledger::LedgerError;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::signals::Signal;
use crate::ledger::tx::Tx;
use crate::token::id::{Generation, Serial};

/// So many wrong codes as [`TryLimit`] says within this time ...
const WITHIN: Span = Span::from_secs(10 * 60);
/// ... block the generation for this time.
const BLOCK: Span = Span::from_secs(15 * 60);

/// How many wrong codes block a generation: the policy's `confirm_tries`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TryLimit(pub u16);

impl TryLimit {
    /// The built-in limit.
    pub const DEFAULT: Self = Self(5);
}

/// A try that was begun: counted as wrong until told otherwise, so that a killed program gives no free guesses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TryId {
    serial: Serial,
    generation: Generation,
    number: i64,
    limit: TryLimit,
}

/// What came of a try that was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryOutcome {
    /// Not a code of this key.
    Wrong,
    /// A code that was used before.
    Replayed,
    /// Right only under other parameters than the sheet's: the app's fault. Counts, since it tells whether a guess
    /// was close.
    OtherParams,
    /// Not a code at all; does not count.
    Malformed,
}

impl TryOutcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Replayed => "replayed",
            Self::OtherParams => "other_params",
            Self::Malformed => "malformed",
        }
    }
}

impl Ledger {
    /// Begins a try of a code against a generation, before the code is looked at.
    ///
    /// # Errors
    /// [`LedgerError::Throttled`] after too many wrong ones.
    pub async fn begin_try(
        &self,
        serial: &Serial,
        generation: Generation,
        limit: TryLimit,
    ) -> Result<TryId, LedgerError> {
        let mut tx = self.begin().await?;
        if let Some(until) = tx.blocked_until(serial, generation, limit).await? {
            tx.signal(
                Signal::OverLimit,
                serial,
                Some(generation).filter(|g| *g > 0),
                None,
            )
            .await?;
            tx.commit().await?;
            return Err(LedgerError::Throttled { until });
        }
        let row = sqlx::query(
            "SELECT COALESCE(MAX(number), 0) AS last FROM confirm_try WHERE serial = $1 AND generation = $2",
        )
        .bind(serial.as_str().to_owned())
        .bind(i64::from(generation))
        .fetch_one(tx.db())
        .await?;
        let number = row.int("last")? + 1;
        let now = tx.now_ms();
        sqlx::query(
            "INSERT INTO confirm_try (serial, generation, number, at, counts) VALUES ($1, $2, $3, $4, 1)",
        )
        .bind(serial.as_str().to_owned())
        .bind(i64::from(generation))
        .bind(number)
        .bind(now)
        .execute(tx.db())
        .await?;
        tx.commit().await?;
        Ok(TryId {
            serial: serial.clone(),
            generation,
            number,
            limit,
        })
    }

    /// Records what came of a try that was not accepted; an accepted one goes to [`Ledger::confirm`]. Returns until
    /// when no more are taken, if this was one too many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fail_try(
        &self,
        attempt: &TryId,
        outcome: TryOutcome,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let mut tx = self.begin().await?;
        tx.end_try(attempt, outcome != TryOutcome::Malformed, outcome.as_str())
            .await?;
        let blocked = tx
            .blocked_until(&attempt.serial, attempt.generation, attempt.limit)
            .await?;
        tx.event(
            Draft::new(if attempt.generation == 0 {
                "recovery.refused"
            } else {
                "confirm.refused"
            })
            .with("serial", attempt.serial.as_str())
            .with("generation", Some(attempt.generation).filter(|g| *g > 0))
            .with("outcome", outcome.as_str())
            .with("blocked_until", blocked.map(|t| t.to_string())),
        )
        .await?;
        tx.commit().await?;
        Ok(blocked)
    }

    /// Returns until when no codes are taken for a generation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn throttle(
        &self,
        serial: &Serial,
        generation: Generation,
        limit: TryLimit,
    ) -> Result<Option<Timestamp>, LedgerError> {
        self.begin()
            .await?
            .blocked_until(serial, generation, limit)
            .await
    }
}

impl Tx {
    async fn blocked_until(
        &mut self,
        serial: &Serial,
        generation: Generation,
        limit: TryLimit,
    ) -> Result<Option<Timestamp>, LedgerError> {
        let limit = i64::from(limit.0.max(1));
        let rows = sqlx::query(
            "SELECT at FROM confirm_try WHERE serial = $1 AND generation = $2 AND counts = 1
             ORDER BY number DESC LIMIT $3",
        )
        .bind(serial.as_str().to_owned())
        .bind(i64::from(generation))
        .bind(limit)
        .fetch_all(self.db())
        .await?;
        let times = rows
            .iter()
            .map(|row| row.time("at"))
            .collect::<Result<Vec<_>, _>>()?;
        if i64::try_from(times.len()).unwrap_or(limit) < limit {
            return Ok(None);
        }
        let (Some(newest), Some(oldest)) = (times.first(), times.last()) else {
            return Ok(None);
        };
        // None are taken while blocked, so the newest ones are always those that led to the block.
        if *newest > WITHIN.after(*oldest) {
            return Ok(None);
        }
        Ok(Some(BLOCK.after(*newest)).filter(|until| *until > self.now))
    }

    pub(super) async fn accept_try(&mut self, attempt: &TryId) -> Result<(), LedgerError> {
        self.end_try(attempt, false, "accepted").await
    }

    async fn end_try(
        &mut self,
        attempt: &TryId,
        counts: bool,
        outcome: &'static str,
    ) -> Result<(), LedgerError> {
        sqlx::query(
            "UPDATE confirm_try SET counts = $1, outcome = $2 WHERE serial = $3 AND generation = $4 AND number = $5",
        )
        .bind(i64::from(counts))
        .bind(outcome)
        .bind(attempt.serial.as_str().to_owned())
        .bind(i64::from(attempt.generation))
        .bind(attempt.number)
        .execute(self.db())
        .await?;
        Ok(())
    }
}
