//! Revocation: the intent, and one item per host that stays open until the host was read back and shows it.
//!
//! The intent is committed without the run lock: whoever revokes must not wait for a run that works on hosts, and that
//! run asks for it before it changes a host.

use serde_json::Value;
use sqlx::any::AnyRow;

use crate::clock::Timestamp;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::people::PersonKind;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::ledger::{Cause, LedgerError, SheetRecord, TokenRecord, canonical_json};
use crate::names::{AdminName, HostName, Login, PolicyName, RealmName};
use crate::token::id::Serial;
use crate::token::state::{GenerationState, SheetState, TokenState};

/// A token to be revoked.
#[derive(Debug, Clone)]
pub struct RevocationRequest {
    /// The admin.
    pub admin: AdminName,
    /// The realm.
    pub realm: RealmName,
    /// The realm's policy, for a token that is made only to be revoked.
    pub policy: PolicyName,
    /// Where the admin may have something: each becomes an open item, as does every host that the ledger knows of.
    pub hosts: Vec<RevocationHost>,
    /// Why.
    pub reason: Option<String>,
    /// The ticket.
    pub ticket: Option<String>,
}

/// A host of a revocation.
#[derive(Debug, Clone)]
pub struct RevocationHost {
    /// The host.
    pub host: HostName,
    /// The account there.
    pub login: Login,
    /// How to reach it, without secrets.
    pub connection: Option<Value>,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// The token afterwards.
    pub token: TokenRecord,
    /// Sheets that this made worthless; their files are to be removed.
    pub voided: Vec<SheetRecord>,
    /// It was being revoked, or was revoked, before.
    pub before: bool,
}

/// A token on a host from which it is to be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationItem {
    /// The token.
    pub serial: Serial,
    /// The admin; `None` once the person was erased.
    pub admin: Option<AdminName>,
    /// The realm.
    pub realm: RealmName,
    /// The host.
    pub host: HostName,
    /// The account there.
    pub login: Login,
    /// Since when the item is open, or was.
    pub since: Timestamp,
    /// Why the token is revoked.
    pub reason: Option<String>,
    /// The ticket.
    pub ticket: Option<String>,
    /// What proved it, or who attested it; `None` while it is open.
    pub proof: Option<Value>,
    /// Why it is still open, as last seen.
    pub why: Option<String>,
    /// How the host was reached last, without secrets.
    pub connection: Option<Value>,
    /// The token's policy.
    pub policy: PolicyName,
    /// The host is retired.
    pub retired: bool,
}

impl RevocationItem {
    /// Returns whether the host is still to be proven.
    pub const fn is_open(&self) -> bool {
        self.proof.is_none()
    }
}

impl Ledger {
    /// Commits that tokens are to be revoked: their secrets are deleted from the ledger, their sheets are void, and every
    /// host becomes an open item. All or none. Asking again adds hosts and changes nothing else.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn request_revocations(
        &self,
        requests: &[RevocationRequest],
    ) -> Result<Vec<Revocation>, LedgerError> {
        let mut tx = self.begin_without_lock().await?;
        let mut done = Vec::with_capacity(requests.len());
        for request in requests {
            done.push(request_one(&mut tx, request).await?);
        }
        tx.commit().await?;
        Ok(done)
    }

    /// Returns all items of tokens that are being revoked or are revoked, by token and host.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn revocation_items(&self) -> Result<Vec<RevocationItem>, LedgerError> {
        sqlx::query(
            "SELECT i.*, t.realm, t.policy, t.revoke_requested_at, t.revoke_reason, t.revoke_ticket, p.name AS admin_name,
             h.connection, h.retired_at FROM token_host i JOIN token t ON t.serial = i.serial JOIN person p ON p.id = t.admin
             JOIN host h ON h.name = i.host
             WHERE i.desired = 'revoked' AND t.state IN ('revoking', 'revoked') ORDER BY i.serial, i.host",
        )
        .fetch_all(&self.inner.pool)
        .await?
        .iter()
        .map(item_of)
        .collect()
    }

    /// Returns a number that changes whenever a revocation is requested, to notice those of other processes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revocation_mark(&self) -> Result<(i64, i64), LedgerError> {
        let row = sqlx::query(
            "SELECT COUNT(*) AS n, COALESCE(MAX(revoke_requested_at), 0) AS newest FROM token
             WHERE state IN ('revoking', 'revoked')",
        )
        .fetch_one(&self.inner.pool)
        .await?;
        Ok((row.int("n")?, row.int("newest")?))
    }
}

async fn request_one(tx: &mut Tx, request: &RevocationRequest) -> Result<Revocation, LedgerError> {
    let person = tx.person(PersonKind::Admin, request.admin.as_str()).await?;
    let now = tx.now_ms();
    let row = sqlx::query("SELECT serial FROM token WHERE admin = $1 AND realm = $2")
        .bind(person.as_str().to_owned())
        .bind(request.realm.as_str().to_owned())
        .fetch_optional(tx.db())
        .await?;
    let serial = match row {
        Some(row) => row.parsed::<Serial>("serial")?,
        None => {
            // Without a generation: only so that what is on hosts has something to be counted by.
            let serial = Serial::random(tx.entropy.as_ref())?;
            sqlx::query(
                "INSERT INTO token (serial, admin, realm, state, policy, generations, created_at, changed_at)
                 VALUES ($1, $2, $3, 'pending', $4, 0, $5, $5)",
            )
            .bind(serial.as_str().to_owned())
            .bind(person.as_str().to_owned())
            .bind(request.realm.as_str().to_owned())
            .bind(request.policy.as_str().to_owned())
            .bind(now)
            .execute(tx.db())
            .await?;
            serial
        }
    };
    let token = tx.token(&serial).await?;
    let before = matches!(token.state, TokenState::Revoking | TokenState::Revoked);
    let mut voided = Vec::new();
    for generation in [&token.current, &token.next].into_iter().flatten() {
        let ended = tx
            .end_generation(
                &serial,
                generation.number,
                GenerationState::Revoked,
                SheetState::Void,
            )
            .await?;
        voided.extend(ended);
    }
    let cause = Cause::new(request.reason.as_deref(), request.ticket.as_deref());
    if !before {
        sqlx::query(
            "UPDATE token SET state = 'revoking', changed_at = $1, revoke_requested_at = $1, revoke_reason = $2,
             revoke_ticket = $3 WHERE serial = $4",
        )
        .bind(now)
        .bind(cause.reason.clone())
        .bind(cause.ticket.clone())
        .bind(serial.as_str().to_owned())
        .execute(tx.db())
        .await?;
        // Every host of an earlier life is to be proven again.
        sqlx::query(
            "UPDATE token_host SET desired = 'revoked', proof = NULL WHERE serial = $1 AND host IN
             (SELECT name FROM host WHERE retired_at IS NULL)",
        )
        .bind(serial.as_str().to_owned())
        .execute(tx.db())
        .await?;
    }
    let mut added = 0;
    for host in &request.hosts {
        added += tx.add_item(&serial, host).await?;
    }
    if !before || added > 0 {
        let voids: Vec<Value> = voided.iter().map(|s| Value::from(s.id.as_str())).collect();
        let draft = Draft::new("token.revoke_requested")
            .with("serial", serial.as_str())
            .with("admin", person.as_str())
            .with("realm", request.realm.as_str())
            .with("again", before)
            .with("voids", voids);
        tx.event(cause.add_to(draft)).await?;
    }
    // Without a single host there is nothing to wait for.
    let now = tx.token(&serial).await?;
    tx.settle_revocation(&now).await?;
    Ok(Revocation {
        token: tx.token(&serial).await?,
        voided,
        before,
    })
}

impl Tx {
    /// Adds a host to a token's items; returns 1 where it was none before.
    async fn add_item(
        &mut self,
        serial: &Serial,
        host: &RevocationHost,
    ) -> Result<u64, LedgerError> {
        let now = self.now_ms();
        let connection = host.connection.as_ref().map(canonical_json);
        sqlx::query(
            "INSERT INTO host (name, connection, reachable, detail, last_attempt_at)
             VALUES ($1, $2, 0, 'it was never tried', $3)
             ON CONFLICT (name) DO UPDATE SET connection = COALESCE(excluded.connection, host.connection)",
        )
        .bind(host.host.as_str().to_owned())
        .bind(connection)
        .bind(now)
        .execute(self.db())
        .await?;
        let row = sqlx::query("SELECT desired FROM token_host WHERE serial = $1 AND host = $2")
            .bind(serial.as_str().to_owned())
            .bind(host.host.as_str().to_owned())
            .fetch_optional(self.db())
            .await?;
        let desired = row.as_ref().map(|r| r.maybe_text("desired")).transpose()?;
        match desired {
            Some(Some(word)) if word == "revoked" => return Ok(0),
            Some(_) => {
                sqlx::query(
                    "UPDATE token_host SET desired = 'revoked', proof = NULL WHERE serial = $1 AND host = $2",
                )
                .bind(serial.as_str().to_owned())
                .bind(host.host.as_str().to_owned())
                .execute(self.db())
                .await?;
            }
            None => {
                sqlx::query(
                    "INSERT INTO token_host (serial, host, login, state, desired, reason, changed_at, observed_at)
                     VALUES ($1, $2, $3, 'gap', 'revoked', 'it was never read', $4, $4)",
                )
                .bind(serial.as_str().to_owned())
                .bind(host.host.as_str().to_owned())
                .bind(host.login.as_str().to_owned())
                .bind(now)
                .execute(self.db())
                .await?;
            }
        }
        Ok(1)
    }
}

fn item_of(row: &AnyRow) -> Result<RevocationItem, LedgerError> {
    Ok(RevocationItem {
        serial: row.parsed("serial")?,
        admin: row.maybe_parsed("admin_name")?,
        realm: row.parsed("realm")?,
        host: row.parsed("host")?,
        login: row.parsed("login")?,
        since: row.time("revoke_requested_at")?,
        reason: row.maybe_text("revoke_reason")?,
        ticket: row.maybe_text("revoke_ticket")?,
        proof: row.maybe_json("proof")?,
        why: row.maybe_text("reason")?,
        connection: row.maybe_json("connection")?,
        policy: row.parsed("policy")?,
        retired: row.maybe_int("retired_at")?.is_some(),
    })
}
