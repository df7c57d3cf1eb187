//! Codes that fleetotp gives hosts for its own account: each once.

use crate::ledger::LedgerError;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::names::HostName;
use crate::token::id::Serial;

impl Ledger {
    /// Returns the step of the last code of a token that a host was given.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn own_code_step(
        &self,
        host: &HostName,
        serial: &Serial,
    ) -> Result<Option<u64>, LedgerError> {
        let row = sqlx::query("SELECT step FROM own_code WHERE host = $1 AND serial = $2")
            .bind(host.as_str().to_owned())
            .bind(serial.as_str().to_owned())
            .fetch_optional(&self.inner.pool)
            .await?;
        let step = row.map(|row| row.int("step")).transpose()?;
        Ok(step.and_then(|s| u64::try_from(s).ok()))
    }

    /// Notes that a host is given the code of a step, before it is; returns whether it may be: it may not where that step or
    /// a later one was given. Not an event: it is the run's own login.
    ///
    /// # Errors
    /// When the database fails: then no code may be given.
    pub async fn take_own_code(
        &self,
        host: &HostName,
        serial: &Serial,
        step: u64,
    ) -> Result<bool, LedgerError> {
        // A run that only checks has no lock, and logs in all the same.
        let mut tx = self.begin_without_lock().await?;
        let done = sqlx::query(
            "INSERT INTO own_code (host, serial, step) VALUES ($1, $2, $3)
             ON CONFLICT (host) DO UPDATE SET serial = excluded.serial, step = excluded.step
             WHERE own_code.serial <> excluded.serial OR own_code.step < excluded.step",
        )
        .bind(host.as_str().to_owned())
        .bind(serial.as_str().to_owned())
        .bind(i64::try_from(step).unwrap_or(i64::MAX))
        .execute(tx.db())
        .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}
