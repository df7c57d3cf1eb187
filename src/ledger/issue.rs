//! Issuing a generation: token, generation with its sealed secret, sheet and event in one transaction, before anything
//! else sees the secret.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::ledger::confirm::Vouched;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::people::PersonKind;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::ledger::{Cause, LedgerError, SheetEncryption, SheetRecord, TokenRecord};
use crate::names::{AdminName, PolicyName, RealmName};
use crate::token::id::{Generation, Serial, SheetId};
use crate::token::params::CodeParams;
use crate::token::state::{GenerationState, SheetState, Slot, TokenState};

/// Why a generation is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IssueKind {
    /// The first one, or the first after revocation or expiry.
    First,
    /// Replaces the generation that waits for its confirmation, and no other.
    Reissue,
    /// Replaces every live generation.
    LostDevice,
    /// A second generation beside the active one.
    Rotation,
}

impl IssueKind {
    /// Returns the word that stands in the ledger and in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Reissue => "reissue",
            Self::LostDevice => "lost_device",
            Self::Rotation => "rotation",
        }
    }
}

/// The names of a generation to come: needed to seal its secret before it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// The token: the admin's in that realm, or a new one.
    pub serial: Serial,
    /// The next number.
    pub generation: Generation,
    /// A new sheet.
    pub sheet: SheetId,
}

/// A generation to be stored. Holds the secret in sealed form only.
#[derive(Debug, Clone)]
pub struct NewGeneration {
    /// From [`Ledger::reserve`]; the secret is sealed to these names.
    pub names: Reserved,
    /// The admin.
    pub admin: AdminName,
    /// Where the token is used.
    pub realm: RealmName,
    /// Why it is issued.
    pub kind: IssueKind,
    /// The policy.
    pub policy: PolicyName,
    /// Organisation, as apps show it.
    pub issuer: String,
    /// Account, as apps show it.
    pub label: String,
    /// Parameters of the codes.
    pub params: CodeParams,
    /// The secret, sealed by the vault.
    pub sealed: Vec<u8>,
    /// The recipients that it is sealed to.
    pub sealed_to: Vec<String>,
    /// Hashes of the recovery codes on the sheet; they end with this generation.
    pub recovery: Vec<String>,
    /// Fingerprint of the base32 key.
    pub fingerprint: String,
    /// When the secret stops working unless confirmed.
    pub expires_at: Option<Timestamp>,
    /// How the sheet will be protected.
    pub encryption: SheetEncryption,
    /// Who vouched for what.
    pub vouched: Vouched,
    /// Why a rotation is asked for; a new sheet in a rotation keeps what was said.
    pub cause: Cause,
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The token with its new generation and sheet.
    pub token: TokenRecord,
    /// Sheets that this made worthless; their files are to be removed.
    pub voided: Vec<SheetRecord>,
}

impl Ledger {
    /// Returns the names for the next generation of an admin's token in a realm.
    ///
    /// # Errors
    /// When the database or the random source fails.
    pub async fn reserve(
        &self,
        admin: &AdminName,
        realm: &RealmName,
    ) -> Result<Reserved, LedgerError> {
        let entropy = self.inner.entropy.as_ref();
        let (serial, generations) = match self.token(admin, realm).await? {
            Some(token) => (token.serial, token.generations),
            None => (Serial::random(entropy)?, 0),
        };
        Ok(Reserved {
            serial,
            generation: generations + 1,
            sheet: SheetId::random(entropy)?,
        })
    }

    /// Stores new generations, all or none. When this returns, they are on the disk; only then may a host or a file
    /// see their secrets.
    ///
    /// # Errors
    /// When a token's state does not allow it, its number was taken in between, or the database fails.
    pub async fn issue(&self, new: &[NewGeneration]) -> Result<Vec<Issued>, LedgerError> {
        let mut tx = self.begin().await?;
        let mut issued = Vec::with_capacity(new.len());
        for generation in new {
            issued.push(issue_one(&mut tx, generation).await?);
        }
        tx.commit().await?;
        Ok(issued)
    }
}

async fn issue_one(tx: &mut Tx, new: &NewGeneration) -> Result<Issued, LedgerError> {
    let serial = &new.names.serial;
    let number = new.names.generation;
    let person = tx.person(PersonKind::Admin, new.admin.as_str()).await?;
    let row = sqlx::query("SELECT serial FROM token WHERE admin = $1 AND realm = $2")
        .bind(person.as_str().to_owned())
        .bind(new.realm.as_str().to_owned())
        .fetch_optional(tx.db())
        .await?;
    let overtaken = || LedgerError::Overtaken(serial.clone(), number);
    let now = tx.now_ms();
    let mut cause = new.cause.clone();
    let (slot, state, dead) = match row {
        Some(row) => {
            if row.parsed::<Serial>("serial")? != *serial {
                return Err(overtaken());
            }
            let token = tx.token(serial).await?;
            if token.generations + 1 != number {
                return Err(overtaken());
            }
            let plan = plan(&token, new.kind)?;
            if new.kind == IssueKind::Reissue && cause == Cause::default() {
                cause = token.pending().map(|g| g.cause.clone()).unwrap_or_default();
            }
            sqlx::query(
                "UPDATE token SET state = $1, policy = $2, generations = $3, changed_at = $4,
                 revoke_requested_at = NULL, revoke_reason = NULL, revoke_ticket = NULL WHERE serial = $5",
            )
            .bind(plan.1.as_str())
            .bind(new.policy.as_str().to_owned())
            .bind(i64::from(number))
            .bind(now)
            .bind(serial.as_str().to_owned())
            .execute(tx.db())
            .await?;
            plan
        }
        None => {
            if number != 1 {
                return Err(overtaken());
            }
            if new.kind != IssueKind::First {
                return Err(LedgerError::UnknownToken(serial.clone()));
            }
            sqlx::query(
                "INSERT INTO token (serial, admin, realm, state, policy, generations, created_at, changed_at)
                 VALUES ($1, $2, $3, 'pending', $4, 1, $5, $5)",
            )
            .bind(serial.as_str().to_owned())
            .bind(person.as_str().to_owned())
            .bind(new.realm.as_str().to_owned())
            .bind(new.policy.as_str().to_owned())
            .bind(now)
            .execute(tx.db())
            .await?;
            (Slot::Current, TokenState::Pending, Vec::new())
        }
    };
    let mut voided = Vec::new();
    for generation in &dead {
        voided.extend(
            tx.end_generation(
                serial,
                *generation,
                GenerationState::Superseded,
                SheetState::Void,
            )
            .await?,
        );
    }
    insert(tx, new, slot, &cause).await?;
    tx.store_recovery(serial, number, &new.recovery).await?;
    let vouched = new.vouched.store(tx).await?;
    let replaces: Vec<Value> = dead.iter().map(|g| Value::from(*g)).collect();
    let voids: Vec<Value> = voided.iter().map(|s| Value::from(s.id.as_str())).collect();
    let mut draft = Draft::new("token.issued")
        .with("serial", serial.as_str())
        .with("generation", number)
        .with("admin", person.as_str())
        .with("realm", new.realm.as_str())
        .with("purpose", new.kind.as_str())
        .with("policy", new.policy.as_str())
        .with("params", new.params.to_string())
        .with("fingerprint", new.fingerprint.as_str())
        .with("expires_at", new.expires_at.map(|t| t.to_string()))
        .with("slot", slot.as_str())
        .with("state", state.as_str())
        .with("sheet", new.names.sheet.as_str())
        .with("encryption", new.encryption.as_str());
    if !new.recovery.is_empty() {
        draft = draft.with("recovery_codes", new.recovery.len());
    }
    if !replaces.is_empty() {
        draft = draft.with("replaces", replaces).with("voids", voids);
    }
    tx.event(vouched.add_to(cause.add_to(draft))).await?;
    Ok(Issued {
        token: tx.token(serial).await?,
        voided,
    })
}

/// Decides where the new generation goes, what the token becomes, and which generations die.
fn plan(
    token: &TokenRecord,
    kind: IssueKind,
) -> Result<(Slot, TokenState, Vec<Generation>), LedgerError> {
    let refuse = |what| {
        Err(LedgerError::Token {
            serial: token.serial.clone(),
            state: token.state,
            what,
        })
    };
    let live = || [&token.current, &token.next].into_iter().flatten();
    let all = live().map(|g| g.number).collect();
    match kind {
        IssueKind::First => match token.state {
            TokenState::Revoking | TokenState::Revoked | TokenState::Expired => {
                Ok((Slot::Current, TokenState::Pending, all))
            }
            _ => {
                refuse("there is nothing to issue: ask for a re-issue, a rotation or a replacement")
            }
        },
        IssueKind::Reissue => match token.pending() {
            Some(pending) => Ok((pending.slot, token.state, vec![pending.number])),
            None => refuse("there is no unconfirmed sheet to replace"),
        },
        IssueKind::LostDevice => Ok((Slot::Current, TokenState::Pending, all)),
        IssueKind::Rotation if token.state == TokenState::Active => {
            Ok((Slot::Next, TokenState::Rotating, Vec::new()))
        }
        IssueKind::Rotation => refuse("it cannot be rotated"),
    }
}

async fn insert(
    tx: &mut Tx,
    new: &NewGeneration,
    slot: Slot,
    cause: &Cause,
) -> Result<(), LedgerError> {
    let now = tx.now_ms();
    let expires_at = new.expires_at.map(Timestamp::as_millisecond);
    sqlx::query(
        "INSERT INTO generation (serial, number, slot, state, purpose, issuer, label, algorithm, digits, period,
         sealed, fingerprint, issued_at, expires_at, sealed_to, reason, ticket)
         VALUES ($1, $2, $3, 'pending', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(new.names.serial.as_str().to_owned())
    .bind(i64::from(new.names.generation))
    .bind(slot.as_str())
    .bind(new.kind.as_str())
    .bind(new.issuer.clone())
    .bind(new.label.clone())
    .bind(new.params.algorithm.as_str())
    .bind(i64::from(new.params.digits))
    .bind(i64::from(new.params.period))
    .bind(data_encoding::BASE64.encode(&new.sealed))
    .bind(new.fingerprint.clone())
    .bind(now)
    .bind(expires_at)
    .bind(serde_json::to_string(&new.sealed_to).map_err(LedgerError::damaged)?)
    .bind(cause.reason.clone())
    .bind(cause.ticket.clone())
    .execute(tx.db())
    .await?;
    sqlx::query(
        "INSERT INTO sheet (id, serial, generation, state, encryption, issued_at, expires_at)
         VALUES ($1, $2, $3, 'rendering', $4, $5, $6)",
    )
    .bind(new.names.sheet.as_str().to_owned())
    .bind(new.names.serial.as_str().to_owned())
    .bind(i64::from(new.names.generation))
    .bind(new.encryption.as_str())
    .bind(now)
    .bind(expires_at)
    .execute(tx.db())
    .await?;
    Ok(())
}

impl Tx {
    /// Ends a live generation: its sealed secret is deleted and its open sheet ends too. Returns that sheet.
    pub(super) async fn end_generation(
        &mut self,
        serial: &Serial,
        generation: Generation,
        state: GenerationState,
        sheet_state: SheetState,
    ) -> Result<Option<SheetRecord>, LedgerError> {
        let now = self.now_ms();
        sqlx::query(
            "UPDATE generation SET state = $1, sealed = NULL, ended_at = $2 WHERE serial = $3 AND number = $4",
        )
        .bind(state.as_str())
        .bind(now)
        .bind(serial.as_str().to_owned())
        .bind(i64::from(generation))
        .execute(self.db())
        .await?;
        self.end_recovery(serial, generation).await?;
        let sheet = self.sheet_of_generation(serial, generation).await?;
        match sheet {
            Some(sheet) if sheet.state.is_open() => {
                // A sheet that was never finished cannot expire in anybody's hands, yet its end is the same.
                self.set_sheet_state(&sheet, sheet_state).await?;
                Ok(Some(SheetRecord {
                    state: sheet_state,
                    ..sheet
                }))
            }
            _ => Ok(None),
        }
    }
}
