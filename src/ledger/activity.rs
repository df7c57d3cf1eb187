//! Logins as hosts' logs tell them, and how far each log was read. Both in one transaction: no line twice, none lost.

use serde_json::Value;
use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::ledger::event::Draft;
use crate::ledger::hosts::token_host_of;
use crate::ledger::open::Ledger;
use crate::ledger::origin::{Origin, origin_of};
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::ledger::{LedgerError, TokenHostRecord, canonical_json};
use crate::names::{HostName, Login, printable};
use crate::token::id::{Generation, Serial};
use crate::token::state::{Slot, TokenHostState};

/// Lines and keys are cut to this many characters.
const MAX_TEXT: usize = 300;

/// A login, before it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLogin {
    /// Names the line on its host.
    pub place: String,
    /// When.
    pub at: Timestamp,
    /// The account.
    pub login: Login,
    /// `sshd`, `sudo`.
    pub service: String,
    /// What came of it, such as `accepted`.
    pub outcome: String,
    /// What was accepted: `key`, `code`.
    pub factors: Vec<String>,
    /// From where.
    pub address: Option<String>,
    /// From which port.
    pub port: Option<u16>,
    /// Where that is, if a database of addresses was given and knows it.
    pub origin: Option<Origin>,
    /// The key's fingerprint.
    pub key: Option<String>,
    /// The state file that the log names.
    pub slot: Option<Slot>,
    /// How many state files refused a code before another took it.
    pub refused_before: u16,
    /// The time step of the code, where it could be told.
    pub step: Option<u64>,
    /// The line.
    pub line: String,
}

/// A stored login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginRecord {
    /// The host.
    pub host: HostName,
    /// When.
    pub at: Timestamp,
    /// The account.
    pub login: Login,
    /// `sshd`, `sudo`.
    pub service: String,
    /// What came of it, such as `accepted`.
    pub outcome: String,
    /// What was accepted.
    pub factors: Vec<String>,
    /// From where.
    pub address: Option<String>,
    /// From which port.
    pub port: Option<u16>,
    /// Where that is, if a database of addresses was given and knows it.
    pub origin: Option<Origin>,
    /// The key's fingerprint.
    pub key: Option<String>,
    /// The token of that login there, as the ledger knew it when the line was collected.
    pub serial: Option<Serial>,
    /// The generation, where that could be told.
    pub generation: Option<Generation>,
    /// The code's time step, where that could be told.
    pub step: Option<u64>,
    /// How many state files refused a code before another took it.
    pub refused_before: u16,
    /// The line.
    pub line: String,
}

impl LoginRecord {
    /// Returns whether somebody got in.
    pub fn is_accepted(&self) -> bool {
        self.outcome == "accepted"
    }

    /// Returns whether it was refused by what somebody typed; a connection that merely ended is neither.
    pub fn is_refused(&self) -> bool {
        !self.is_accepted() && self.outcome != "ended"
    }

    /// Returns whether a code was accepted for it.
    pub fn has_code(&self) -> bool {
        self.factors.iter().any(|f| f == "code")
    }
}

/// Where reading a host's log goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct LogCursor {
    /// How far it was read.
    pub place: Value,
    /// What was not complete.
    pub joining: Value,
    /// Time of the last line.
    pub last_at: Option<Timestamp>,
}

/// Something of a log was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogGap {
    /// The host.
    pub host: HostName,
    /// When it was noticed.
    pub noticed_at: Timestamp,
    /// The last line before it.
    pub after: Option<Timestamp>,
    /// The first line after it.
    pub until: Option<Timestamp>,
}

/// What one collection brought from a host.
#[derive(Debug, Clone, PartialEq)]
pub struct Collected {
    /// The host.
    pub host: HostName,
    /// Logins of accounts that are an admin's.
    pub logins: Vec<NewLogin>,
    /// Where the next one goes on; `None` where the host has no log.
    pub cursor: Option<LogCursor>,
    /// What was lost: the last line before it and the first after it.
    pub gap: Option<(Option<Timestamp>, Option<Timestamp>)>,
    /// Tries of people who have no account.
    pub strangers: u64,
    /// Logins of accounts that are no admin's.
    pub others: u64,
}

impl Ledger {
    /// Returns where reading each host's log goes on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_cursors(&self) -> Result<Vec<(HostName, LogCursor)>, LedgerError> {
        sqlx::query("SELECT * FROM log_cursor")
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| {
                let json = |key| Ok::<_, LedgerError>(row.maybe_json(key)?.unwrap_or_default());
                let cursor = LogCursor {
                    place: json("place")?,
                    joining: json("joining")?,
                    last_at: row.maybe_time("last_at")?,
                };
                Ok((row.parsed("host")?, cursor))
            })
            .collect()
    }

    /// Stores what was collected from hosts and returns how many logins of each were new.
    ///
    /// # Errors
    /// When the database fails; then nothing of it is stored, and the next collection brings it again.
    pub async fn store_activity(&self, all: &[Collected]) -> Result<Vec<usize>, LedgerError> {
        let mut tx = self.begin().await?;
        let mut stored = Vec::with_capacity(all.len());
        for one in all {
            stored.push(tx.store_collected(one).await?);
        }
        tx.commit().await?;
        Ok(stored)
    }

    /// Returns the logins that were stored at or after a time, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn logins_stored_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<LoginRecord>, LedgerError> {
        sqlx::query("SELECT * FROM login_event WHERE stored_at >= $1 ORDER BY at, host, place")
            .bind(since.as_millisecond())
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(login_of)
            .collect()
    }

    /// Returns every login that was accepted, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn accepted_logins(&self) -> Result<Vec<LoginRecord>, LedgerError> {
        sqlx::query("SELECT * FROM login_event WHERE outcome = 'accepted' ORDER BY at, host, place")
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(login_of)
            .collect()
    }

    /// Returns every login that was stored up to a time, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn logins_stored_by(
        &self,
        until: Timestamp,
    ) -> Result<Vec<LoginRecord>, LedgerError> {
        sqlx::query("SELECT * FROM login_event WHERE stored_at <= $1 ORDER BY at, host, place")
            .bind(until.as_millisecond())
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(login_of)
            .collect()
    }

    /// Returns what was lost of logs and noticed at or after a time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_gaps_since(&self, since: Timestamp) -> Result<Vec<LogGap>, LedgerError> {
        sqlx::query("SELECT * FROM log_gap WHERE noticed_at >= $1 ORDER BY noticed_at, host")
            .bind(since.as_millisecond())
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| {
                Ok(LogGap {
                    host: row.parsed("host")?,
                    noticed_at: row.time("noticed_at")?,
                    after: row.maybe_time("after_at")?,
                    until: row.maybe_time("until_at")?,
                })
            })
            .collect()
    }

    /// Returns when a code of each token was accepted last on each host, up to a time; and the hosts whose logs were ever read.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_accepted(
        &self,
        until: Timestamp,
    ) -> Result<(Vec<(Serial, HostName, Timestamp)>, Vec<HostName>), LedgerError> {
        let last = sqlx::query(
            "SELECT serial, host, MAX(at) AS at FROM login_event WHERE outcome = 'accepted' AND factors LIKE '%code%'
             AND serial IS NOT NULL AND at <= $1 GROUP BY serial, host",
        )
        .bind(until.as_millisecond())
        .fetch_all(&self.inner.pool)
        .await?
        .iter()
        .map(|row| Ok((row.parsed("serial")?, row.parsed("host")?, row.time("at")?)))
        .collect::<Result<_, LedgerError>>()?;
        let read = sqlx::query("SELECT host FROM log_cursor")
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| row.parsed("host"))
            .collect::<Result<_, LedgerError>>()?;
        Ok((last, read))
    }

    /// Returns the tokens of which a recovery code was redeemed at or after a time, and when.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recovery_uses_since(
        &self,
        since: Timestamp,
    ) -> Result<Vec<(Serial, Timestamp)>, LedgerError> {
        sqlx::query("SELECT serial, used_at FROM recovery_code WHERE used_at >= $1 ORDER BY used_at, serial")
            .bind(since.as_millisecond())
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| Ok((row.parsed("serial")?, row.time("used_at")?)))
            .collect()
    }
}

impl Tx {
    async fn store_collected(&mut self, one: &Collected) -> Result<usize, LedgerError> {
        let host = one.host.as_str();
        let tokens = sqlx::query("SELECT * FROM token_host WHERE host = $1")
            .bind(host.to_owned())
            .fetch_all(self.db())
            .await?
            .iter()
            .map(token_host_of)
            .collect::<Result<Vec<_>, _>>()?;
        let (mut new, mut accepted) = (0_usize, 0_usize);
        for login in &one.logins {
            if self.store_login(&one.host, login, &tokens).await? {
                new += 1;
                accepted += usize::from(login.outcome == "accepted");
            }
        }
        let now = self.now_ms();
        if let Some((after, until)) = &one.gap {
            sqlx::query(
                "INSERT INTO log_gap (host, noticed_at, after_at, until_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            )
            .bind(host.to_owned())
            .bind(now)
            .bind(after.map(Timestamp::as_millisecond))
            .bind(until.map(Timestamp::as_millisecond))
            .execute(self.db())
            .await?;
        }
        if let Some(cursor) = &one.cursor {
            sqlx::query(
                "INSERT INTO log_cursor (host, place, joining, last_at, collected_at) VALUES ($1, $2, $3, $4, $5)
                 ON CONFLICT (host) DO UPDATE SET place = excluded.place, joining = excluded.joining,
                 last_at = excluded.last_at, collected_at = excluded.collected_at",
            )
            .bind(host.to_owned())
            .bind(canonical_json(&cursor.place))
            .bind(canonical_json(&cursor.joining))
            .bind(cursor.last_at.map(Timestamp::as_millisecond))
            .bind(now)
            .execute(self.db())
            .await?;
        }
        // The chain attests what was collected; a login each would drown what matters in it.
        if new > 0 || one.gap.is_some() {
            self.event(
                Draft::new("activity.collected")
                    .with("host", host)
                    .with("logins", new)
                    .with("accepted", accepted)
                    .with("strangers", one.strangers)
                    .with("others", one.others)
                    .with("gap", one.gap.is_some())
                    .with("place", one.cursor.as_ref().map(|c| c.place.clone())),
            )
            .await?;
        }
        Ok(new)
    }

    /// Whether the first file that was asked held a one-time code then.
    async fn has_bypass(&mut self, host: &HostName, login: &NewLogin) -> Result<bool, LedgerError> {
        if login.refused_before > 0 {
            return Ok(false);
        }
        let row = sqlx::query(
            "SELECT COUNT(*) AS n FROM bypass WHERE host = $1 AND login = $2 AND granted_at <= $3
             AND COALESCE(ended_at, due_at) >= $3",
        )
        .bind(host.as_str().to_owned())
        .bind(login.login.as_str().to_owned())
        .bind(login.at.as_millisecond())
        .fetch_one(self.db())
        .await?;
        Ok(row.int("n")? > 0)
    }

    /// Stores a login unless it is there; returns whether it is new.
    async fn store_login(
        &mut self,
        host: &HostName,
        login: &NewLogin,
        tokens: &[TokenHostRecord],
    ) -> Result<bool, LedgerError> {
        let mine = token_for(login, tokens);
        let (serial, generation) = match mine {
            // A one-time code in `next` is of no generation.
            Some(token) if self.has_bypass(host, login).await? => {
                (Some(token.serial.clone()), None)
            }
            Some(token) => (Some(token.serial.clone()), generation_of(login, token)),
            None => (None, None),
        };
        let stored_at = self.now_ms();
        let origin = login.origin.as_ref();
        let spot = origin.and_then(|o| o.spot);
        let done = sqlx::query(
            "INSERT INTO login_event (host, place, at, login, service, outcome, factors, address, port, key, serial,
             generation, step, refused_before, line, stored_at, country, city, latitude, longitude, asn, network_owner)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
             ON CONFLICT DO NOTHING",
        )
        .bind(host.as_str().to_owned())
        .bind(login.place.clone())
        .bind(login.at.as_millisecond())
        .bind(login.login.as_str().to_owned())
        .bind(printable(&login.service, 40))
        .bind(login.outcome.clone())
        .bind(login.factors.join("+"))
        .bind(login.address.as_deref().map(|a| printable(a, 100)))
        .bind(login.port.map(i64::from))
        .bind(login.key.as_deref().map(|k| printable(k, 100)))
        .bind(serial.as_ref().map(|s| s.as_str().to_owned()))
        .bind(generation.map(i64::from))
        .bind(login.step.and_then(|s| i64::try_from(s).ok()))
        .bind(i64::from(login.refused_before))
        .bind(printable(&login.line, MAX_TEXT))
        .bind(stored_at)
        .bind(origin.and_then(|o| o.country.clone()))
        .bind(origin.and_then(|o| o.city.as_deref()).map(|c| printable(c, 100)))
        .bind(spot.map(|s| i64::from(s.latitude)))
        .bind(spot.map(|s| i64::from(s.longitude)))
        .bind(origin.and_then(|o| o.asn).map(i64::from))
        .bind(origin.and_then(|o| o.owner.as_deref()).map(|o| printable(o, 100)))
        .execute(self.db())
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        if login.outcome == "accepted"
            && login.factors.iter().any(|f| f == "code")
            && let Some(serial) = serial
        {
            sqlx::query(
                "UPDATE token_host SET last_accepted_at = $1 WHERE serial = $2 AND host = $3
                 AND (last_accepted_at IS NULL OR last_accepted_at < $1)",
            )
            .bind(login.at.as_millisecond())
            .bind(serial.as_str().to_owned())
            .bind(host.as_str().to_owned())
            .execute(self.db())
            .await?;
        }
        Ok(true)
    }
}

/// The token of a login on its host: where there were several, the one that is not ended.
fn token_for<'a>(login: &NewLogin, tokens: &'a [TokenHostRecord]) -> Option<&'a TokenHostRecord> {
    tokens
        .iter()
        .filter(|t| t.login == login.login)
        .max_by_key(|t| (t.state != TokenHostState::Revoked, t.changed_at))
}

/// The generation whose code it was. The log names the file where something is wrong with it; else the number of files
/// that refused tells, since `next` is asked first.
fn generation_of(login: &NewLogin, token: &TokenHostRecord) -> Option<Generation> {
    if let Some(slot) = login.slot {
        return match slot {
            Slot::Current => token.current,
            Slot::Next => token.next,
        };
    }
    if !login.factors.iter().any(|f| f == "code") {
        return None;
    }
    match (token.next, login.refused_before) {
        (Some(next), 0) => Some(next),
        (Some(_), _) => token.current,
        (None, 0) => token.current,
        // There was another file then: a rotation that has ended since, or a one-time code.
        (None, _) if login.at < token.changed_at => None,
        (None, _) => token.current,
    }
}

fn login_of(row: &AnyRow) -> Result<LoginRecord, LedgerError> {
    Ok(LoginRecord {
        host: row.parsed("host")?,
        at: row.time("at")?,
        login: row.parsed("login")?,
        service: row.text("service")?,
        outcome: row.text("outcome")?,
        factors: row
            .text("factors")?
            .split('+')
            .filter(|f| !f.is_empty())
            .map(str::to_owned)
            .collect(),
        address: row.maybe_text("address")?,
        port: row.maybe_number("port")?,
        origin: origin_of(row)?,
        key: row.maybe_text("key")?,
        serial: row.maybe_parsed("serial")?,
        generation: row.maybe_generation("generation")?,
        step: row.maybe_number("step")?,
        refused_before: row.maybe_number("refused_before")?.unwrap_or(0),
        line: row.text("line")?,
    })
}
