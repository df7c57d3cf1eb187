//! Runs: which command, by whom, from when to when, with which exit code.

use crate::ledger::LedgerError;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::people::PersonKind;
use crate::token::id::RunId;

/// Who runs the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A name such as `alice` or `ci:deploy#17`.
    pub name: String,
    /// Whether the name was given by the caller (`--actor`, environment) rather than read from the system.
    pub claimed: bool,
}

impl Ledger {
    /// Starts a run. Every event from here on carries its id and the actor's pseudonym.
    ///
    /// `command` is stored and hashed: the command's name without arguments, which could name people.
    ///
    /// # Errors
    /// When the database fails or the lock was lost.
    pub async fn begin_run(&self, command: &str, actor: &Actor) -> Result<RunId, LedgerError> {
        let mut tx = self.begin().await?;
        let person = tx.person(PersonKind::Actor, &actor.name).await?;
        let run = RunId::random(tx.entropy.as_ref())?;
        let now = tx.now_ms();
        sqlx::query("INSERT INTO run (id, command, actor, started_at) VALUES ($1, $2, $3, $4)")
            .bind(run.as_str().to_owned())
            .bind(command.to_owned())
            .bind(person.as_str().to_owned())
            .bind(now)
            .execute(tx.db())
            .await?;
        let mut context = tx.context().clone();
        context.run = Some(run.clone());
        context.actor = Some(person);
        context.claimed = actor.claimed;
        tx.set_context(context.clone());
        tx.event(Draft::new("run.started").with("command", command))
            .await?;
        tx.commit().await?;
        let mut shared = self.context();
        shared.run = context.run;
        shared.actor = context.actor;
        shared.claimed = context.claimed;
        Ok(run)
    }

    /// Returns whether a run with this id was begun with this ledger.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn knows_run(&self, id: &str) -> Result<bool, LedgerError> {
        let found = sqlx::query("SELECT 1 FROM run WHERE id = $1")
            .bind(id.to_owned())
            .fetch_optional(&self.inner.pool)
            .await?;
        Ok(found.is_some())
    }

    /// Keeps what the run is asked for, so that it can be done again as it was: outside the event chain, as it can name people.
    ///
    /// # Errors
    /// When the database fails or the lock was lost; without a run it does nothing.
    pub async fn keep_request(&self, request: &str) -> Result<(), LedgerError> {
        let Some(run) = self.context().run.clone() else {
            return Ok(());
        };
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE run SET request = $1 WHERE id = $2")
            .bind(request.to_owned())
            .bind(run.as_str().to_owned())
            .execute(tx.db())
            .await?;
        tx.commit().await
    }

    /// Ends the run that [`Ledger::begin_run`] started; without one, does nothing.
    ///
    /// # Errors
    /// When the database fails or the lock was lost.
    pub async fn finish_run(&self, exit_code: u8) -> Result<(), LedgerError> {
        let Some(run) = self.context().run.clone() else {
            return Ok(());
        };
        let mut tx = self.begin().await?;
        let now = tx.now_ms();
        sqlx::query("UPDATE run SET ended_at = $1, exit_code = $2 WHERE id = $3")
            .bind(now)
            .bind(i64::from(exit_code))
            .bind(run.as_str().to_owned())
            .execute(tx.db())
            .await?;
        tx.event(Draft::new("run.finished").with("exit_code", exit_code))
            .await?;
        tx.commit().await?;
        self.context().run = None;
        Ok(())
    }
}
