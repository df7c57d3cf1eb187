//! Hosts from which fleetotp was taken off, or on which a run was rolled back.

use crate::ledger::LedgerError;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::names::HostName;
use crate::token::id::RunId;

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

    /// Records that the configuration text that a run has changed on these hosts is what it was before. What was known of
    /// their configuration is forgotten, so that the next run looks at it anew.
    ///
    /// # Errors
    /// When the database fails; then nothing is recorded.
    pub async fn record_rollback(
        &self,
        run: &RunId,
        hosts: &[RemovedHost],
        reason: &str,
        ticket: Option<&str>,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now_ms();
        for back in hosts {
            let host = back.host.as_str();
            sqlx::query("UPDATE host SET config_hash = NULL, rolled_back_at = $1 WHERE name = $2")
                .bind(now)
                .bind(host.to_owned())
                .execute(tx.db())
                .await?;
            if back.key_only > 0 {
                sqlx::query(
                    "UPDATE token_host SET state = 'gap', reason = 'rolled back: no code is demanded', changed_at = $1,
                     observed_at = $1 WHERE host = $2 AND state = 'enforced'",
                )
                .bind(now)
                .bind(host.to_owned())
                .execute(tx.db())
                .await?;
            }
            tx.event(
                Draft::new("host.rolled_back")
                    .with("host", host)
                    .with("of_run", run.as_str())
                    .with("key_only", back.key_only)
                    .with("reason", reason)
                    .with("ticket", ticket),
            )
            .await?;
        }
        tx.commit().await
    }
}
