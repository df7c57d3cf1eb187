//! Reading what was last known of hosts, and of tokens on them.

use std::collections::BTreeSet;

use sqlx::any::AnyRow;

use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::{HostRecord, LedgerError, TokenHostRecord};
use crate::names::{HostName, Login};
use crate::token::id::Serial;

impl Ledger {
    /// Returns all hosts that were ever met and are not retired, by name.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn hosts(&self) -> Result<Vec<HostRecord>, LedgerError> {
        sqlx::query("SELECT * FROM host WHERE retired_at IS NULL ORDER BY name")
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(host_of)
            .collect()
    }

    /// Returns the same without facts, weaknesses and connections: of many hosts with many admins these are most of it.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn hosts_at_a_glance(&self) -> Result<Vec<HostRecord>, LedgerError> {
        sqlx::query(
            "SELECT name, machine_id, host_key, CAST(NULL AS TEXT) AS connection, CAST(NULL AS TEXT) AS facts, class,
             config_hash, reachable, detail, last_attempt_at, last_seen_at, CAST(NULL AS TEXT) AS weaknesses, rolled_back_at
             FROM host WHERE retired_at IS NULL ORDER BY name",
        )
        .fetch_all(&self.inner.pool)
        .await?
        .iter()
        .map(host_of)
        .collect()
    }

    /// Returns a token on every host, as last read, by host.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn hosts_of_token(
        &self,
        serial: &Serial,
    ) -> Result<Vec<TokenHostRecord>, LedgerError> {
        sqlx::query("SELECT * FROM token_host WHERE serial = $1 ORDER BY host")
            .bind(serial.as_str().to_owned())
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(token_host_of)
            .collect()
    }

    /// Returns a host, unless it was never met or is retired.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn host(&self, name: &HostName) -> Result<Option<HostRecord>, LedgerError> {
        sqlx::query("SELECT * FROM host WHERE name = $1 AND retired_at IS NULL")
            .bind(name.as_str().to_owned())
            .fetch_optional(&self.inner.pool)
            .await?
            .as_ref()
            .map(host_of)
            .transpose()
    }

    /// Returns every token on every host, as last read, by token and host.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn token_hosts(&self) -> Result<Vec<TokenHostRecord>, LedgerError> {
        sqlx::query("SELECT * FROM token_host ORDER BY serial, host")
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(token_host_of)
            .collect()
    }

    /// Returns every login that was ever seen or given a token on a host.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn logins_on(&self, host: &HostName) -> Result<BTreeSet<Login>, LedgerError> {
        sqlx::query("SELECT DISTINCT login FROM token_host WHERE host = $1")
            .bind(host.as_str().to_owned())
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| row.parsed("login"))
            .collect()
    }
}

pub(super) fn host_of(row: &AnyRow) -> Result<HostRecord, LedgerError> {
    Ok(HostRecord {
        name: row.parsed("name")?,
        machine_id: row.maybe_text("machine_id")?,
        host_key: row.maybe_text("host_key")?,
        connection: row.maybe_json("connection")?,
        facts: row.maybe_json("facts")?,
        class: row.maybe_text("class")?,
        config_hash: row.maybe_text("config_hash")?,
        reachable: row.int("reachable")? != 0,
        detail: row.maybe_text("detail")?,
        last_attempt_at: row.time("last_attempt_at")?,
        last_seen_at: row.maybe_time("last_seen_at")?,
        weaknesses: row.maybe_json("weaknesses")?,
        rolled_back_at: row.maybe_time("rolled_back_at")?,
    })
}

pub(super) fn token_host_of(row: &AnyRow) -> Result<TokenHostRecord, LedgerError> {
    Ok(TokenHostRecord {
        serial: row.parsed("serial")?,
        host: row.parsed("host")?,
        login: row.parsed("login")?,
        state: row.parsed("state")?,
        reason: row.maybe_text("reason")?,
        current: row.maybe_generation("current_generation")?,
        next: row.maybe_generation("next_generation")?,
        changed_at: row.time("changed_at")?,
        observed_at: row.time("observed_at")?,
    })
}
