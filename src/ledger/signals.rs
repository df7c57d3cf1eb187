//! Signs that somebody has what somebody else should have: events of their own kind, beside every other trace.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::token::id::{Generation, Serial};

/// What was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A code of a sheet that is confirmed already was offered as its confirmation.
    SecondConfirm,
    /// In a rotation, a code of the generation that is being replaced was offered as the new one's confirmation.
    OldGeneration,
    /// Somebody tried to confirm a sheet whose time is over; `right` tells whether with a code of it.
    ExpiredSheet,
    /// Tries went on after too many wrong codes.
    OverLimit,
    /// A recovery code was offered that had been redeemed.
    RecoveryReused,
    /// A recovery code of a replaced sheet was offered.
    RecoveryDead,
}

impl Signal {
    /// Returns the kind of the event.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::SecondConfirm => "signal.second_confirm",
            Self::OldGeneration => "signal.old_generation",
            Self::ExpiredSheet => "signal.expired_sheet",
            Self::OverLimit => "signal.over_limit",
            Self::RecoveryReused => "signal.recovery_reused",
            Self::RecoveryDead => "signal.recovery_dead",
        }
    }
}

/// The signals of one token.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Signals {
    /// How many.
    pub count: u32,
    /// The newest one's time.
    pub last_at: Timestamp,
    /// The newest one's kind, without `signal.`.
    pub last: String,
}

impl Ledger {
    /// Records a signal. `right` tells, where that could be seen, whether the code was one of the generation.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn signal(
        &self,
        signal: Signal,
        serial: &Serial,
        generation: Option<Generation>,
        right: Option<bool>,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        tx.signal(signal, serial, generation, right).await?;
        tx.commit().await
    }

    /// Returns the signals of every token that has any.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn signals(&self) -> Result<BTreeMap<Serial, Signals>, LedgerError> {
        let rows = sqlx::query(
            "SELECT e.serial AS serial, e.kind AS kind, e.at AS at, n.count AS count FROM event e JOIN
             (SELECT serial, MAX(seq) AS last, COUNT(*) AS count FROM event
              WHERE kind LIKE 'signal.%' AND serial IS NOT NULL GROUP BY serial) n ON n.last = e.seq",
        )
        .fetch_all(&self.inner.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok((
                    row.parsed("serial")?,
                    Signals {
                        count: row.number("count")?,
                        last_at: row.time("at")?,
                        last: row.text("kind")?.trim_start_matches("signal.").to_owned(),
                    },
                ))
            })
            .collect()
    }
}

impl Tx {
    pub(super) async fn signal(
        &mut self,
        signal: Signal,
        serial: &Serial,
        generation: Option<Generation>,
        right: Option<bool>,
    ) -> Result<(), LedgerError> {
        let token = self.token(serial).await?;
        self.event(
            Draft::new(signal.kind())
                .with("serial", serial.as_str())
                .with("generation", generation)
                .with("admin", token.person.as_str())
                .with("realm", token.realm.as_str())
                .with("right", right),
        )
        .await
    }
}
