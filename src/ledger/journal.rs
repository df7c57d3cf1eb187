//! The journal of a run: what it was about to do and what came of it, host by host.
//!
//! Committed with the database's full synchronisation. What a host's PAM and sshd texts were is written before the host is
//! asked to change them, so that a run that was killed can be told of, retried and rolled back.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::observe::MAX_DETAIL;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::names::{HostName, printable};
use crate::token::id::RunId;
use crate::token::state::state_type;

/// Which play of a run, and which batch of it, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// The play; a command that is no playbook has one.
    pub play: i64,
    /// The batch.
    pub batch: i64,
    /// Tasks that are done later are still to come: hosts end this part, and are not done with it.
    pub more: bool,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            play: 1,
            batch: 1,
            more: false,
        }
    }
}

state_type! {
    /// Where a host is in a run.
    HostPhase, "phase" {
        /// Its turn in a part of the run has not come, or it is being read.
        Waiting = "waiting",
        /// PAM or sshd text is being changed.
        Changing = "changing",
        /// It is done.
        Done = "done",
    }
}

state_type! {
    /// How a host ended in a run: of two parts of it the later one in this list counts.
    HostResult, "result" {
        /// Nothing was wanted of it: no condition holds there, or no realm covers it.
        Skipped = "skipped",
        /// Nothing was to be changed.
        Ok = "ok",
        /// Something was changed.
        Changed = "changed",
        /// It was not reached, or lost on the way.
        Unreachable = "unreachable",
        /// It was reached, and something failed; what was begun has been reverted.
        Failed = "failed",
    }
}

/// A configuration text that a run is about to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextChange {
    /// Where.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What is there; `None` where nothing is.
    pub before: Option<String>,
    /// SHA-256 of what will be there, in hexadecimal; `None` where nothing will be.
    pub after: Option<String>,
}

/// How a host ended, for the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostEnd {
    /// The host.
    pub host: HostName,
    /// How.
    pub result: HostResult,
    /// Why it was not done.
    pub reason: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// A run as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// The command.
    pub command: String,
    /// Who ran it; `None` once the person was erased.
    pub actor: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended; `None` where it goes on, or was killed.
    pub ended_at: Option<Timestamp>,
    /// Its exit code.
    pub exit_code: Option<u8>,
    /// What it was asked for, as JSON, where it is a run of playbooks.
    pub request: Option<String>,
    /// How many hosts ended how; those that are not done are counted as `None`.
    pub hosts: BTreeMap<Option<HostResult>, u64>,
}

/// A host in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunHost {
    /// Which play and batch.
    pub stage: Stage,
    /// The play's name.
    pub play_name: String,
    /// The host.
    pub host: HostName,
    /// Where it is.
    pub phase: HostPhase,
    /// How it ended.
    pub result: Option<HostResult>,
    /// Why it was not done.
    pub reason: Option<String>,
    /// When it began to wait for its turn.
    pub begun_at: Timestamp,
    /// When it was done.
    pub ended_at: Option<Timestamp>,
}

/// A configuration text that a run was about to change, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFile {
    /// The host.
    pub host: HostName,
    /// Which text changed how, over all plays of the run.
    pub change: TextChange,
    /// SHA-256 of what was there, in hexadecimal.
    pub before_sha256: Option<String>,
}

impl Ledger {
    /// Notes that hosts wait for their turn in a part of the run. One that has had a turn before keeps its batch and how it ended.
    ///
    /// # Errors
    /// When the database fails or the lock was lost; without a run it does nothing.
    pub async fn journal_batch(
        &self,
        stage: Stage,
        play_name: &str,
        hosts: &[HostName],
    ) -> Result<(), LedgerError> {
        let Some(run) = self.context().run.clone() else {
            return Ok(());
        };
        let mut tx = self.begin().await?;
        let now = tx.now_ms();
        for host in hosts {
            sqlx::query(
                "INSERT INTO run_host (run, play, batch, play_name, host, phase, begun_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
                 ON CONFLICT (run, play, host) DO UPDATE SET phase = excluded.phase,
                 batch = CASE WHEN run_host.result IS NULL THEN excluded.batch ELSE run_host.batch END",
            )
            .bind(run.as_str().to_owned())
            .bind(stage.play)
            .bind(stage.batch)
            .bind(play_name.to_owned())
            .bind(host.as_str().to_owned())
            .bind(HostPhase::Waiting.as_str())
            .bind(now)
            .execute(tx.db())
            .await?;
        }
        tx.commit().await
    }

    /// Notes what is about to be changed on a host, before it hears of it: without texts only that something is, as where text is put
    /// back, which no rollback undoes. What an earlier play of the run has noted of a
    /// file stays beside it.
    ///
    /// # Errors
    /// When the database fails or the lock was lost; then nothing may be changed.
    pub async fn journal_changing(
        &self,
        stage: Stage,
        host: &HostName,
        texts: &[TextChange],
    ) -> Result<(), LedgerError> {
        let Some(run) = self.context().run.clone() else {
            return Ok(());
        };
        let mut tx = self.begin().await?;
        sqlx::query("UPDATE run_host SET phase = $1 WHERE run = $2 AND play = $3 AND host = $4")
            .bind(HostPhase::Changing.as_str())
            .bind(run.as_str().to_owned())
            .bind(stage.play)
            .bind(host.as_str().to_owned())
            .execute(tx.db())
            .await?;
        if !texts.is_empty() {
            sqlx::query(
                "UPDATE host SET rolled_back_at = NULL WHERE name = $1 AND rolled_back_at IS NOT NULL",
            )
            .bind(host.as_str().to_owned())
            .execute(tx.db())
            .await?;
        }
        for text in texts {
            store_text(&mut tx, &run, stage, host, text).await?;
        }
        tx.commit().await
    }

    /// Notes how hosts ended in a part of the run.
    ///
    /// # Errors
    /// When the database fails or the lock was lost; without a run it does nothing.
    pub async fn journal_done(&self, stage: Stage, ends: &[HostEnd]) -> Result<(), LedgerError> {
        let Some(run) = self.context().run.clone() else {
            return Ok(());
        };
        if ends.is_empty() {
            return Ok(());
        }
        let phase = if stage.more {
            HostPhase::Waiting
        } else {
            HostPhase::Done
        };
        let mut tx = self.begin().await?;
        for end in ends {
            let row = sqlx::query(
                "SELECT result FROM run_host WHERE run = $1 AND play = $2 AND host = $3",
            )
            .bind(run.as_str().to_owned())
            .bind(stage.play)
            .bind(end.host.as_str().to_owned())
            .fetch_optional(tx.db())
            .await?;
            let before: Option<HostResult> = match row {
                Some(row) => row.maybe_parsed("result")?,
                None => None,
            };
            let (result, reason) = match before {
                Some(before) if before > end.result => (before, None),
                _ => (end.result, end.reason.as_deref()),
            };
            sqlx::query(
                "UPDATE run_host SET phase = $1, result = $2, reason = COALESCE($3, reason), ended_at = $4
                 WHERE run = $5 AND play = $6 AND host = $7",
            )
            .bind(phase.as_str())
            .bind(result.as_str())
            .bind(reason.map(|r| printable(r, MAX_DETAIL)))
            .bind(end.at.as_millisecond())
            .bind(run.as_str().to_owned())
            .bind(stage.play)
            .bind(end.host.as_str().to_owned())
            .execute(tx.db())
            .await?;
        }
        tx.commit().await
    }

    /// Returns the newest runs, newest first.
    ///
    /// # Errors
    /// When the database fails or holds what cannot be.
    pub async fn runs(&self, most: u32) -> Result<Vec<RunRecord>, LedgerError> {
        let rows = sqlx::query(
            "SELECT run.*, person.name AS actor_name FROM run LEFT JOIN person ON person.id = run.actor
             ORDER BY run.started_at DESC, run.id LIMIT $1",
        )
        .bind(i64::from(most))
        .fetch_all(&self.inner.pool)
        .await?;
        let mut runs = Vec::with_capacity(rows.len());
        for row in &rows {
            runs.push(self.run_of(row).await?);
        }
        Ok(runs)
    }

    /// Returns one run.
    ///
    /// # Errors
    /// As [`Ledger::runs`].
    pub async fn run(&self, id: &RunId) -> Result<Option<RunRecord>, LedgerError> {
        let row = sqlx::query(
            "SELECT run.*, person.name AS actor_name FROM run LEFT JOIN person ON person.id = run.actor WHERE run.id = $1",
        )
        .bind(id.as_str().to_owned())
        .fetch_optional(&self.inner.pool)
        .await?;
        match row {
            Some(row) => self.run_of(&row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn run_of(&self, row: &AnyRow) -> Result<RunRecord, LedgerError> {
        let id: RunId = row.parsed("id")?;
        let counts = sqlx::query(
            "SELECT CASE WHEN phase = 'done' THEN result END AS ended, COUNT(*) AS hosts FROM run_host WHERE run = $1 GROUP BY ended",
        )
        .bind(id.as_str().to_owned())
        .fetch_all(&self.inner.pool)
        .await?;
        let mut hosts = BTreeMap::new();
        for count in &counts {
            hosts.insert(count.maybe_parsed("ended")?, count.number("hosts")?);
        }
        Ok(RunRecord {
            id,
            command: row.text("command")?,
            actor: row.maybe_text("actor_name")?,
            started_at: row.time("started_at")?,
            ended_at: row.maybe_time("ended_at")?,
            exit_code: row.maybe_number("exit_code")?,
            request: row.maybe_text("request")?,
            hosts,
        })
    }

    /// Returns the hosts of a run, by play, batch and name.
    ///
    /// # Errors
    /// As [`Ledger::runs`].
    pub async fn run_hosts(&self, run: &RunId) -> Result<Vec<RunHost>, LedgerError> {
        let rows = sqlx::query("SELECT * FROM run_host WHERE run = $1 ORDER BY play, batch, host")
            .bind(run.as_str().to_owned())
            .fetch_all(&self.inner.pool)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(RunHost {
                    stage: Stage {
                        play: row.int("play")?,
                        batch: row.int("batch")?,
                        more: false,
                    },
                    play_name: row.text("play_name")?,
                    host: row.parsed("host")?,
                    phase: row.parsed("phase")?,
                    result: row.maybe_parsed("result")?,
                    reason: row.maybe_text("reason")?,
                    begun_at: row.time("begun_at")?,
                    ended_at: row.maybe_time("ended_at")?,
                })
            })
            .collect()
    }

    /// Returns which configuration texts a run was about to change: what each was before the first of its plays, and was
    /// to be after the last.
    ///
    /// # Errors
    /// As [`Ledger::runs`].
    pub async fn run_files(&self, run: &RunId) -> Result<Vec<RunFile>, LedgerError> {
        let rows = sqlx::query(
            "SELECT f.*, t.body FROM run_file f LEFT JOIN config_text t ON t.sha256 = f.before_sha256
             WHERE f.run = $1 ORDER BY f.host, f.path, f.play",
        )
        .bind(run.as_str().to_owned())
        .fetch_all(&self.inner.pool)
        .await?;
        let mut files: Vec<RunFile> = Vec::new();
        for row in &rows {
            let (host, path): (HostName, String) = (row.parsed("host")?, row.text("path")?);
            let after = row.maybe_text("after_sha256")?;
            if let Some(last) = files.last_mut()
                && last.host == host
                && last.change.path == path
            {
                last.change.after = after;
                continue;
            }
            files.push(RunFile {
                host,
                change: TextChange {
                    path,
                    mode: row.number("mode")?,
                    before: row.maybe_text("body")?,
                    after,
                },
                before_sha256: row.maybe_text("before_sha256")?,
            });
        }
        Ok(files)
    }

    /// Returns the hosts of a run that were not done: those that failed or were not reached, and those that it did not come
    /// to.
    ///
    /// # Errors
    /// As [`Ledger::runs`].
    pub async fn run_left(&self, run: &RunId) -> Result<BTreeSet<HostName>, LedgerError> {
        let hosts = self.run_hosts(run).await?;
        let left = hosts.into_iter().filter(|h| {
            h.phase != HostPhase::Done
                || matches!(
                    h.result,
                    None | Some(HostResult::Failed | HostResult::Unreachable)
                )
        });
        Ok(left.map(|h| h.host).collect())
    }
}

/// SHA-256 of a text, in hexadecimal.
pub fn sum_of(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}

async fn store_text(
    tx: &mut Tx,
    run: &RunId,
    stage: Stage,
    host: &HostName,
    file: &TextChange,
) -> Result<(), LedgerError> {
    let before = match &file.before {
        None => None,
        Some(text) => {
            let sum = sum_of(text);
            sqlx::query("INSERT INTO config_text (sha256, body) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING")
                .bind(sum.clone())
                .bind(text.clone())
                .execute(tx.db())
                .await?;
            Some(sum)
        }
    };
    // A later pass of the play goes on from what the first has left; what counts is what was there before it.
    sqlx::query(
        "INSERT INTO run_file (run, play, host, path, mode, before_sha256, after_sha256) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (run, play, host, path) DO UPDATE SET mode = excluded.mode, after_sha256 = excluded.after_sha256,
         before_sha256 = CASE WHEN COALESCE(run_file.after_sha256, '') = COALESCE(excluded.before_sha256, '')
         THEN run_file.before_sha256 ELSE excluded.before_sha256 END",
    )
    .bind(run.as_str().to_owned())
    .bind(stage.play)
    .bind(host.as_str().to_owned())
    .bind(file.path.clone())
    .bind(i64::from(file.mode))
    .bind(before)
    .bind(file.after.clone())
    .execute(tx.db())
    .await?;
    Ok(())
}
