//! Break-glass: who was granted a one-time code on which host, why, and what became of it. Never the code.

use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::names::{AdminName, HostName, Login};
use crate::token::id::{BypassId, Serial};
use crate::token::state::BypassState;

/// A one-time code on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BypassRecord {
    /// The grant's id; one grant may cover several hosts, each with a code of its own.
    pub id: BypassId,
    /// The host.
    pub host: HostName,
    /// The admin's token.
    pub serial: Serial,
    /// The admin; `None` once the person was erased.
    pub admin: Option<AdminName>,
    /// The account there.
    pub login: Login,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// When it ends.
    pub due_at: Timestamp,
    /// Why.
    pub reason: String,
    /// The ticket.
    pub ticket: Option<String>,
    /// Its state.
    pub state: BypassState,
    /// When its end was seen.
    pub ended_at: Option<Timestamp>,
}

/// A grant, before any host has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBypass {
    /// Its id.
    pub id: BypassId,
    /// The admin's token by host.
    pub places: Vec<(HostName, Serial)>,
    /// The account.
    pub login: Login,
    /// When it ends.
    pub due: Timestamp,
    /// Why.
    pub reason: String,
    /// The ticket.
    pub ticket: Option<String>,
}

const SELECT: &str =
    "SELECT b.*, p.name AS admin_name FROM bypass b JOIN token t ON t.serial = b.serial
    JOIN person p ON p.id = t.admin ORDER BY b.granted_at, b.id, b.host";

impl Ledger {
    /// Records a grant, before the first host gets it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn grant_bypass(&self, new: &NewBypass) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now_ms();
        for (host, serial) in &new.places {
            sqlx::query(
                "INSERT INTO bypass (id, host, serial, login, granted_at, due_at, reason, ticket, state)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'open')",
            )
            .bind(new.id.as_str().to_owned())
            .bind(host.as_str().to_owned())
            .bind(serial.as_str().to_owned())
            .bind(new.login.as_str().to_owned())
            .bind(now)
            .bind(new.due.as_millisecond())
            .bind(new.reason.clone())
            .bind(new.ticket.clone())
            .execute(tx.db())
            .await?;
            tx.event(
                Draft::new("bypass.granted")
                    .with("bypass", new.id.as_str())
                    .with("serial", serial.as_str())
                    .with("host", host.as_str())
                    .with("due", new.due.to_string())
                    .with("reason", new.reason.as_str())
                    .with("ticket", new.ticket.as_deref()),
            )
            .await?;
        }
        tx.commit().await
    }

    /// Records what became of a one-time code on a host. One that has ended already stays as it is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_bypass(
        &self,
        id: &BypassId,
        host: &HostName,
        state: BypassState,
        reason: Option<&str>,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now_ms();
        let row = sqlx::query("SELECT serial, state FROM bypass WHERE id = $1 AND host = $2")
            .bind(id.as_str().to_owned())
            .bind(host.as_str().to_owned())
            .fetch_optional(tx.db())
            .await?;
        let Some(row) = row else { return Ok(()) };
        if row.text("state")? != BypassState::Open.as_str() {
            return Ok(());
        }
        let serial = row.text("serial")?;
        sqlx::query("UPDATE bypass SET state = $1, ended_at = $2 WHERE id = $3 AND host = $4")
            .bind(state.as_str())
            .bind(now)
            .bind(id.as_str().to_owned())
            .bind(host.as_str().to_owned())
            .execute(tx.db())
            .await?;
        let kind = match state {
            BypassState::Used => "bypass.used",
            BypassState::Expired => "bypass.expired",
            BypassState::Revoked => "bypass.revoked",
            BypassState::Failed => "bypass.failed",
            BypassState::Gone | BypassState::Open => "bypass.gone",
        };
        tx.event(
            Draft::new(kind)
                .with("bypass", id.as_str())
                .with("serial", serial)
                .with("host", host.as_str())
                .with("reason", reason),
        )
        .await?;
        tx.commit().await
    }

    /// Returns every one-time code that was ever granted, oldest first.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn bypasses(&self) -> Result<Vec<BypassRecord>, LedgerError> {
        sqlx::query(SELECT)
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(record_of)
            .collect()
    }

    /// Returns the one-time codes whose end no host has shown yet, oldest first.
    ///
    /// # Errors
    /// As [`Ledger::bypasses`].
    pub async fn open_bypasses(&self) -> Result<Vec<BypassRecord>, LedgerError> {
        let mut all = self.bypasses().await?;
        all.retain(|b| b.state == BypassState::Open);
        Ok(all)
    }
}

fn record_of(row: &AnyRow) -> Result<BypassRecord, LedgerError> {
    Ok(BypassRecord {
        id: row.parsed("id")?,
        host: row.parsed("host")?,
        serial: row.parsed("serial")?,
        admin: row.maybe_parsed("admin_name")?,
        login: row.parsed("login")?,
        granted_at: row.time("granted_at")?,
        due_at: row.time("due_at")?,
        reason: row.text("reason")?,
        ticket: row.maybe_text("ticket")?,
        state: row.parsed("state")?,
        ended_at: row.maybe_time("ended_at")?,
    })
}
