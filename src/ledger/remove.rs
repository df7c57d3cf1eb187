//! Hosts from which fleetotp was taken off.

use crate::ledger::LedgerError;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::names::HostName;

/// A host from which fleetotp was taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedHost {
    /// The host.
    pub host: HostName,
    /// How many logins it demanded a code of.
    pub key_only: usize,
}

impl Ledger {
    /// Records that nothing of fleetotp is on these hosts any more: their tokens are absent there. A host that is marked
    /// already stays as it is.
    ///
    /// # Errors
    /// When the database fails; then nothing is recorded.
    pub async fn record_removal(
        &self,
        hosts: &[RemovedHost],
        reason: &str,
        ticket: Option<&str>,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now_ms();
        for removed in hosts {
            let host = removed.host.as_str();
            let row = sqlx::query("SELECT removed_at FROM host WHERE name = $1")
                .bind(host.to_owned())
                .fetch_optional(tx.db())
                .await?;
            let Some(row) = row else { continue };
            if row.maybe_int("removed_at")?.is_some() {
                continue;
            }
            sqlx::query(
                "UPDATE host SET removed_at = $1, config_hash = NULL, class = NULL, facts = NULL, weaknesses = NULL WHERE name = $2",
            )
            .bind(now)
            .bind(host.to_owned())
            .execute(tx.db())
            .await?;
            sqlx::query(
                "UPDATE token_host SET state = 'absent', reason = 'fleetotp was removed from this host', current_generation = NULL, next_generation = NULL,
                 changed_at = $1, observed_at = $1 WHERE host = $2 AND state <> 'revoked'",
            )
            .bind(now)
            .bind(host.to_owned())
            .execute(tx.db())
            .await?;
            tx.event(
                Draft::new("host.removed")
                    .with("host", host)
                    .with("key_only", removed.key_only)
                    .with("reason", reason)
                    .with("ticket", ticket),
            )
            .await?;
        }
        tx.commit().await
    }
}
