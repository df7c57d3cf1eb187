//! Storing what a run saw on hosts: one transaction for all, rows written where something changed, one event per host.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use sqlx::AssertSqlSafe;

use crate::clock::{Timestamp, whole_milliseconds};
use crate::ledger::event::Draft;
use crate::ledger::hosts::{host_of, token_host_of};
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::ledger::{HostRecord, LedgerError, TokenHostRecord, canonical_json};
use crate::names::{HostName, Login, printable};
use crate::token::id::{Generation, Serial};
use crate::token::state::{TokenHostState, TokenState};

/// Remote texts are cut to this many characters.
pub const MAX_DETAIL: usize = 200;

/// What came of an attempt to reach a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostOutcome {
    /// It was reached and read.
    Read,
    /// It was reached, but reading or changing it failed.
    Failed(String),
    /// It was not reached.
    Unreachable(String),
}

/// An attempt to reach a host. What is `None` keeps the value known before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostObservation {
    /// The host.
    pub host: HostName,
    /// When.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: HostOutcome,
    /// Its `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// Fingerprint of its host key.
    pub host_key: Option<String>,
    /// How it was reached; must hold no secret.
    pub connection: Option<Value>,
    /// Other facts worth keeping.
    pub facts: Option<Value>,
    /// Equivalence class.
    pub class: Option<String>,
    /// Hash over the configuration that this program manages.
    pub config_hash: Option<String>,
    /// Ways past the code that it has: a list.
    pub weaknesses: Option<Value>,
}

impl HostObservation {
    /// An attempt without particulars.
    pub const fn new(host: HostName, at: Timestamp, outcome: HostOutcome) -> Self {
        Self {
            host,
            at,
            outcome,
            machine_id: None,
            host_key: None,
            connection: None,
            facts: None,
            class: None,
            config_hash: None,
            weaknesses: None,
        }
    }
}

/// A token on a host, as read back from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHostObservation {
    /// The token.
    pub serial: Serial,
    /// The host.
    pub host: HostName,
    /// The account there.
    pub login: Login,
    /// What was seen.
    pub state: TokenHostState,
    /// Why it is a gap.
    pub reason: Option<String>,
    /// Generation seen in slot `current`.
    pub current: Option<Generation>,
    /// Generation seen in slot `next`.
    pub next: Option<Generation>,
    /// When.
    pub at: Timestamp,
}

/// What changed on one host, for its event.
#[derive(Debug, Default)]
struct HostChange {
    fields: Vec<(&'static str, Value)>,
    tokens: Vec<Value>,
}

/// Which tokens on a host were read again and showed nothing new.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unchanged {
    /// All of which something was known but those that are being revoked.
    Rest,
    /// These.
    Some(Vec<String>),
}

/// What readings of a run showed nothing new: one event, so that the log tells when a host was last read.
#[derive(Debug, Default)]
pub struct Readings {
    /// The earliest of them: no reading is dated later than it was.
    at: Option<Timestamp>,
    hosts: Vec<Value>,
    some: Map<String, Value>,
    tried: Vec<Value>,
}

impl Readings {
    fn add(&mut self, host: &HostName, seen: &HostObservation, unchanged: Option<Unchanged>) {
        let name = host.as_str();
        let at = whole_milliseconds(seen.at);
        self.at = Some(self.at.map_or(at, |earliest| earliest.min(at)));
        if seen.outcome != HostOutcome::Read {
            self.tried.push(name.into());
            return;
        }
        match unchanged {
            Some(Unchanged::Rest) => self.hosts.push(name.into()),
            Some(Unchanged::Some(serials)) => {
                self.some.insert(name.to_owned(), serials.into());
            }
            None => {
                self.some.insert(name.to_owned(), Value::Array(Vec::new()));
            }
        }
    }

    fn event(self) -> Option<Draft> {
        let Self {
            at,
            hosts,
            some,
            tried,
        } = self;
        let at = at?;
        let mut draft = Draft::new("hosts.read").with("at", at.to_string());
        for (key, list) in [("hosts", &hosts), ("tried", &tried)] {
            if !list.is_empty() {
                draft = draft.with(key, list.clone());
            }
        }
        if !some.is_empty() {
            draft = draft.with("some", some);
        }
        Some(draft)
    }
}

impl Ledger {
    /// Stores observations. A host that was met for the first time, whose reachability or configuration
    /// changed, or on which a token's state changed, gets one event with all of it; all others share one.
    ///
    /// # Errors
    /// When a token or host is unknown, or the database fails; then nothing is stored.
    pub async fn observe(
        &self,
        hosts: &[HostObservation],
        tokens: &[TokenHostObservation],
    ) -> Result<(), LedgerError> {
        let mut readings = Readings::default();
        self.observe_part(hosts, tokens, &mut readings).await?;
        self.store_reads(readings).await
    }

    /// Notes that hosts were read and showed nothing new.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn store_reads(&self, readings: Readings) -> Result<(), LedgerError> {
        let Some(draft) = readings.event() else {
            return Ok(());
        };
        let mut tx = self.begin().await?;
        tx.event(draft).await?;
        tx.commit().await
    }

    /// Stores a part of a run's observations; what showed nothing new is left to [`Self::store_reads`], at the end. A run that
    /// is killed before has then told of it in the tables only: the log never claims more than was seen.
    ///
    /// # Errors
    /// As [`Self::observe`].
    pub async fn observe_part(
        &self,
        hosts: &[HostObservation],
        tokens: &[TokenHostObservation],
        readings: &mut Readings,
    ) -> Result<(), LedgerError> {
        if hosts.is_empty() && tokens.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        let mut changes: BTreeMap<&HostName, HostChange> = BTreeMap::new();
        let mut attempts: BTreeMap<&HostName, &HostObservation> = BTreeMap::new();
        for host in hosts {
            let known = known_host(&mut tx, &host.host).await?;
            let fields = observe_host(&mut tx, host, known.as_ref()).await?;
            if !fields.is_empty() {
                changes.entry(&host.host).or_default().fields = fields;
            }
            attempts.insert(&host.host, host);
        }
        let mut by_host: BTreeMap<&HostName, Vec<&TokenHostObservation>> = BTreeMap::new();
        for token in tokens {
            by_host.entry(&token.host).or_default().push(token);
        }
        let mut unchanged: BTreeMap<&HostName, Unchanged> = BTreeMap::new();
        for (host, tokens) in by_host {
            let (changed, same) = observe_tokens(&mut tx, host, &tokens).await?;
            if !changed.is_empty() {
                changes.entry(host).or_default().tokens = changed;
            }
            unchanged.insert(host, same);
        }
        for (host, change) in changes {
            let mut draft = Draft::new("host.observed").with("host", host.as_str());
            if let Some(seen) = attempts.remove(host) {
                draft = draft.with("at", whole_milliseconds(seen.at).to_string());
            }
            match unchanged.remove(host) {
                Some(Unchanged::Rest) => draft = draft.with("rest", true),
                Some(Unchanged::Some(serials)) if !serials.is_empty() => {
                    draft = draft.with("same", serials);
                }
                _ => {}
            }
            for (key, value) in change.fields {
                draft = draft.with(key, value);
            }
            if !change.tokens.is_empty() {
                draft = draft.with("tokens", change.tokens);
            }
            tx.event(draft).await?;
        }
        for (host, seen) in attempts {
            readings.add(host, seen, unchanged.remove(host));
        }
        tx.commit().await
    }

    /// Stores what came of reaching hosts; see [`Ledger::observe`].
    ///
    /// # Errors
    /// As there.
    pub async fn observe_hosts(&self, hosts: &[HostObservation]) -> Result<(), LedgerError> {
        self.observe(hosts, &[]).await
    }

    /// Stores tokens on hosts that were observed before; see [`Ledger::observe`].
    ///
    /// # Errors
    /// As there.
    pub async fn observe_token_hosts(
        &self,
        tokens: &[TokenHostObservation],
    ) -> Result<(), LedgerError> {
        self.observe(&[], tokens).await
    }
}

/// What is known of a host, and whether it is retired.
async fn known_host(
    tx: &mut Tx,
    name: &HostName,
) -> Result<Option<(HostRecord, bool)>, LedgerError> {
    let row = sqlx::query("SELECT * FROM host WHERE name = $1")
        .bind(name.as_str().to_owned())
        .fetch_optional(tx.db())
        .await?;
    row.map(|row| Ok((host_of(&row)?, row.maybe_int("retired_at")?.is_some())))
        .transpose()
}

/// Stores an attempt; returns what changed, without what changes every time.
async fn observe_host(
    tx: &mut Tx,
    seen: &HostObservation,
    known: Option<&(HostRecord, bool)>,
) -> Result<Vec<(&'static str, Value)>, LedgerError> {
    let retired = known.is_some_and(|(_, retired)| *retired);
    let known = known.map(|(host, _)| host);
    let (reachable, detail) = match &seen.outcome {
        HostOutcome::Read => (true, None),
        HostOutcome::Failed(why) => (true, Some(printable(why, MAX_DETAIL))),
        HostOutcome::Unreachable(why) => (false, Some(printable(why, MAX_DETAIL))),
    };
    let read_at = (seen.outcome == HostOutcome::Read).then(|| seen.at.as_millisecond());
    sqlx::query(
        "INSERT INTO host (name, machine_id, host_key, connection, facts, class, config_hash, reachable, detail,
         last_attempt_at, last_seen_at, weaknesses) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (name) DO UPDATE SET
         machine_id = COALESCE(excluded.machine_id, host.machine_id),
         host_key = COALESCE(excluded.host_key, host.host_key),
         connection = COALESCE(excluded.connection, host.connection),
         facts = COALESCE(excluded.facts, host.facts),
         class = COALESCE(excluded.class, host.class),
         config_hash = COALESCE(excluded.config_hash, host.config_hash),
         reachable = excluded.reachable, detail = excluded.detail, last_attempt_at = excluded.last_attempt_at,
         last_seen_at = COALESCE(excluded.last_seen_at, host.last_seen_at),
         weaknesses = COALESCE(excluded.weaknesses, host.weaknesses), retired_at = NULL",
    )
    .bind(seen.host.as_str().to_owned())
    .bind(seen.machine_id.clone())
    .bind(seen.host_key.clone())
    .bind(seen.connection.as_ref().map(canonical_json))
    .bind(seen.facts.as_ref().map(canonical_json))
    .bind(seen.class.clone())
    .bind(seen.config_hash.clone())
    .bind(i64::from(reachable))
    .bind(detail.clone())
    .bind(seen.at.as_millisecond())
    .bind(read_at)
    .bind(seen.weaknesses.as_ref().map(canonical_json))
    .execute(tx.db())
    .await?;
    let mut fields = Vec::new();
    if retired {
        fields.push(("returned", Value::from(true)));
    }
    if known.is_none_or(|k| k.reachable != reachable || k.detail != detail) {
        fields.push(("reachable", Value::from(reachable)));
        fields.push(("detail", detail.into()));
    }
    for (key, now, before) in [
        ("machine_id", &seen.machine_id, known.map(|k| &k.machine_id)),
        ("host_key", &seen.host_key, known.map(|k| &k.host_key)),
        ("class", &seen.class, known.map(|k| &k.class)),
        (
            "config_hash",
            &seen.config_hash,
            known.map(|k| &k.config_hash),
        ),
    ] {
        if let Some(value) = now
            && before != Some(now)
        {
            fields.push((key, Value::from(value.as_str())));
        }
    }
    if let Some(weaknesses) = &seen.weaknesses
        && known.and_then(|k| k.weaknesses.as_ref()) != Some(weaknesses)
    {
        fields.push(("weaknesses", weaknesses.clone()));
    }
    Ok(fields)
}

/// Stores the tokens seen on one host; returns what changed, and what did not.
async fn observe_tokens(
    tx: &mut Tx,
    host: &HostName,
    seen: &[&TokenHostObservation],
) -> Result<(Vec<Value>, Unchanged), LedgerError> {
    let rows = sqlx::query(
        "SELECT r.*, t.state AS token_state FROM token_host r JOIN token t ON t.serial = r.serial WHERE r.host = $1",
    )
    .bind(host.as_str().to_owned())
    .fetch_all(tx.db())
    .await?;
    let mut known = BTreeMap::new();
    let mut expected = BTreeSet::new();
    for row in &rows {
        let record = token_host_of(row)?;
        let state: TokenState = row.parsed("token_state")?;
        if !matches!(state, TokenState::Revoking | TokenState::Revoked) {
            expected.insert(record.serial.clone());
        }
        known.insert(record.serial.clone(), record);
    }
    let mut changes = Vec::new();
    let mut changed = Vec::new();
    let mut same = BTreeSet::new();
    for token in seen {
        let reason = token.reason.as_deref().map(|r| printable(r, MAX_DETAIL));
        let before = known.get(&token.serial);
        if before.is_some_and(|b| is_same(b, token, reason.as_deref())) {
            same.insert(&token.serial);
        } else {
            changes.push(change_of(before, token, reason.as_deref()));
            changed.push((*token, reason));
        }
    }
    write_tokens(tx, &changed).await?;
    if changed.iter().any(|(token, _)| token.current.is_some()) {
        sqlx::query("UPDATE host SET removed_at = NULL WHERE name = $1 AND removed_at IS NOT NULL")
            .bind(host.as_str().to_owned())
            .execute(tx.db())
            .await?;
    }
    touch(tx, host, seen, &same, known.len()).await?;
    for (token, _) in &changed {
        expected.remove(&token.serial);
    }
    let unchanged = if same.iter().copied().eq(&expected) {
        Unchanged::Rest
    } else {
        Unchanged::Some(same.iter().map(ToString::to_string).collect())
    };
    Ok((changes, unchanged))
}

fn is_same(before: &TokenHostRecord, now: &TokenHostObservation, reason: Option<&str>) -> bool {
    before.login == now.login
        && before.state == now.state
        && before.reason.as_deref() == reason
        && before.current == now.current
        && before.next == now.next
}

/// A change as events show it. The login is left out: it names a person.
fn change_of(
    before: Option<&TokenHostRecord>,
    now: &TokenHostObservation,
    reason: Option<&str>,
) -> Value {
    let mut change = json!({
        "serial": now.serial.as_str(),
        "state": now.state.as_str(),
    });
    if let Some(map) = change.as_object_mut() {
        let optional = [
            ("before", before.map(|b| Value::from(b.state.as_str()))),
            ("reason", reason.map(Value::from)),
            ("current", now.current.map(Value::from)),
            ("next", now.next.map(Value::from)),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                map.insert(key.to_owned(), value);
            }
        }
    }
    change
}

/// Writes rows, many to a statement: what costs is the way to the database's thread and back.
async fn write_tokens(
    tx: &mut Tx,
    changed: &[(&TokenHostObservation, Option<String>)],
) -> Result<(), LedgerError> {
    for rows in changed.chunks(100) {
        let values: Vec<String> = (0..rows.len())
            .map(|row| {
                let n = |column: usize| row * 8 + column;
                format!(
                    "(${}, ${}, ${}, ${}, ${}, ${}, ${}, ${}, ${})",
                    n(1),
                    n(2),
                    n(3),
                    n(4),
                    n(5),
                    n(6),
                    n(7),
                    n(8),
                    n(8)
                )
            })
            .collect();
        let sql = format!(
            "INSERT INTO token_host (serial, host, login, state, reason, current_generation, next_generation,
             changed_at, observed_at) VALUES {}
             ON CONFLICT (serial, host) DO UPDATE SET login = excluded.login, state = excluded.state,
             reason = excluded.reason, current_generation = excluded.current_generation,
             next_generation = excluded.next_generation, changed_at = excluded.changed_at,
             observed_at = excluded.observed_at",
            values.join(", ")
        );
        // Safe: the text holds placeholders only, no value.
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (token, reason) in rows {
            query = query
                .bind(token.serial.as_str().to_owned())
                .bind(token.host.as_str().to_owned())
                .bind(token.login.as_str().to_owned())
                .bind(token.state.as_str())
                .bind(reason.clone())
                .bind(token.current.map(i64::from))
                .bind(token.next.map(i64::from))
                .bind(token.at.as_millisecond());
        }
        query.execute(tx.db()).await?;
    }
    Ok(())
}

/// Notes that unchanged rows were read again: one statement where the whole host is unchanged, as in most runs.
async fn touch(
    tx: &mut Tx,
    host: &HostName,
    seen: &[&TokenHostObservation],
    same: &BTreeSet<&Serial>,
    known: usize,
) -> Result<(), LedgerError> {
    let at = seen.iter().map(|t| t.at.as_millisecond()).max();
    let Some(at) = at.filter(|_| !same.is_empty()) else {
        return Ok(());
    };
    if same.len() == known {
        sqlx::query("UPDATE token_host SET observed_at = $1 WHERE host = $2")
            .bind(at)
            .bind(host.as_str().to_owned())
            .execute(tx.db())
            .await?;
        return Ok(());
    }
    for serial in same {
        sqlx::query("UPDATE token_host SET observed_at = $1 WHERE host = $2 AND serial = $3")
            .bind(at)
            .bind(host.as_str().to_owned())
            .bind(serial.as_str().to_owned())
            .execute(tx.db())
            .await?;
    }
    Ok(())
}
