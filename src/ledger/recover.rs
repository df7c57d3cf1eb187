//! Taking in what hosts know and the ledger does not: after an old copy was restored, or with a host of another project.

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::people::PersonKind;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::ledger::{LedgerError, SheetRecord};
use crate::names::{AdminName, HostName, PolicyName, RealmName};
use crate::token::id::{Generation, Serial};
use crate::token::params::CodeParams;
use crate::token::state::{GenerationState, SheetState, Slot, TokenState};

/// Why a generation is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenHow {
    /// It is this project's, and the ledger had lost it.
    Recovered,
    /// It was another project's, or another tool's.
    Adopted,
}

impl TakenHow {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Adopted => "adopted",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Recovered => "token.recovered",
            Self::Adopted => "token.adopted",
        }
    }
}

/// A generation as hosts have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenGeneration {
    /// Its number.
    pub number: Generation,
    /// Where hosts have it.
    pub slot: Slot,
    /// Fingerprint of its key.
    pub fingerprint: String,
    /// It does not expire any more.
    pub confirmed: bool,
    /// When it ends unless confirmed.
    pub expires_at: Option<Timestamp>,
    /// The key, sealed, and to whom; `None` where only the host has it.
    pub sealed: Option<(Vec<u8>, Vec<String>)>,
}

/// A token as hosts have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenToken {
    /// Its serial.
    pub serial: Serial,
    /// The admin.
    pub admin: AdminName,
    /// The realm.
    pub realm: RealmName,
    /// The realm's policy.
    pub policy: PolicyName,
    /// Organisation, as apps show it.
    pub issuer: String,
    /// Account, as apps show it.
    pub label: String,
    /// Parameters of the codes.
    pub params: CodeParams,
    /// The generations that are in use; none where hosts demand a code and have no secret.
    pub generations: Vec<TakenGeneration>,
    /// Why it is taken in.
    pub how: TakenHow,
    /// The reason that was given.
    pub reason: Option<String>,
}

impl Ledger {
    /// Takes in a token as hosts have it. Returns sheets that this ended; their files are to be removed.
    ///
    /// # Errors
    /// When the ledger has another token for that admin and realm, or the database fails.
    pub async fn take_in(&self, taken: &TakenToken) -> Result<Vec<SheetRecord>, LedgerError> {
        let mut tx = self.begin().await?;
        let sheets = take_in(&mut tx, taken).await?;
        tx.commit().await?;
        Ok(sheets)
    }

    /// Records that a host had seen events which this ledger has lost, and up to where.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record_lost_events(&self, lost: &[(HostName, String)]) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        for (host, witness) in lost {
            tx.event(
                Draft::new("ledger.recovered")
                    .with("host", host.as_str())
                    .with("witness", witness.as_str()),
            )
            .await?;
        }
        tx.commit().await
    }
}

async fn take_in(tx: &mut Tx, taken: &TakenToken) -> Result<Vec<SheetRecord>, LedgerError> {
    let serial = &taken.serial;
    let person = tx.person(PersonKind::Admin, taken.admin.as_str()).await?;
    let row = sqlx::query("SELECT serial FROM token WHERE admin = $1 AND realm = $2")
        .bind(person.as_str().to_owned())
        .bind(taken.realm.as_str().to_owned())
        .fetch_optional(tx.db())
        .await?;
    let newest = taken
        .generations
        .iter()
        .map(|g| g.number)
        .max()
        .unwrap_or(0);
    let now = tx.now_ms();
    if let Some(row) = &row {
        if row.parsed::<Serial>("serial")? != *serial {
            return Err(LedgerError::Overtaken(serial.clone(), newest));
        }
    } else {
        sqlx::query(
            "INSERT INTO token (serial, admin, realm, state, policy, generations, created_at, changed_at)
             VALUES ($1, $2, $3, 'pending', $4, $5, $6, $6)",
        )
        .bind(serial.as_str().to_owned())
        .bind(person.as_str().to_owned())
        .bind(taken.realm.as_str().to_owned())
        .bind(taken.policy.as_str().to_owned())
        .bind(i64::from(newest))
        .bind(now)
        .execute(tx.db())
        .await?;
    }
    let token = tx.token(serial).await?;
    let mut sheets = Vec::new();
    let dead = if taken.generations.is_empty() {
        GenerationState::Expired
    } else {
        GenerationState::Superseded
    };
    for live in [&token.current, &token.next].into_iter().flatten() {
        let same =
            |g: &&TakenGeneration| g.number == live.number && g.fingerprint == live.fingerprint;
        if !taken.generations.iter().any(|g| same(&g)) {
            let ended = tx
                .end_generation(serial, live.number, dead, SheetState::Void)
                .await?;
            sheets.extend(ended);
        }
    }
    for generation in &taken.generations {
        sheets.extend(store(tx, taken, generation).await?);
    }
    let state = state_of(&taken.generations);
    sqlx::query("UPDATE token SET state = $1, generations = $2, changed_at = $3 WHERE serial = $4")
        .bind(state.as_str())
        .bind(i64::from(newest.max(token.generations)))
        .bind(now)
        .bind(serial.as_str().to_owned())
        .execute(tx.db())
        .await?;
    let generations: Vec<Value> = taken
        .generations
        .iter()
        .map(|g| {
            json!({
                "generation": g.number,
                "slot": g.slot.as_str(),
                "confirmed": g.confirmed,
                "fingerprint": g.fingerprint,
                "sealed": g.sealed.is_some(),
                "expires_at": g.expires_at.map(|t| t.to_string()),
            })
        })
        .collect();
    tx.event(
        Draft::new(taken.how.kind())
            .with("serial", serial.as_str())
            .with("admin", person.as_str())
            .with("realm", taken.realm.as_str())
            .with("policy", taken.policy.as_str())
            .with("state", state.as_str())
            .with("generations", generations)
            .with("reason", taken.reason.as_deref()),
    )
    .await?;
    Ok(sheets)
}

fn state_of(generations: &[TakenGeneration]) -> TokenState {
    let has = |slot| generations.iter().find(|g| g.slot == slot);
    match (has(Slot::Current), has(Slot::Next)) {
        (None, None) => TokenState::Expired,
        (Some(current), None) if !current.confirmed => TokenState::Pending,
        (Some(_), None) => TokenState::Active,
        (_, Some(_)) => TokenState::Rotating,
    }
}

/// Stores one generation. What the vault holds of it stays, if it is the same key.
async fn store(
    tx: &mut Tx,
    taken: &TakenToken,
    generation: &TakenGeneration,
) -> Result<Option<SheetRecord>, LedgerError> {
    let (serial, number) = (&taken.serial, generation.number);
    let now = tx.now_ms();
    let confirmed = generation.confirmed;
    let state = if confirmed {
        GenerationState::Active
    } else {
        GenerationState::Pending
    };
    let (sealed, sealed_to) = match &generation.sealed {
        Some((sealed, to)) => (
            Some(data_encoding::BASE64.encode(sealed)),
            Some(serde_json::to_string(to).map_err(LedgerError::damaged)?),
        ),
        None => (None, None),
    };
    sqlx::query(
        "INSERT INTO generation (serial, number, slot, state, purpose, issuer, label, algorithm, digits, period,
         sealed, fingerprint, issued_at, expires_at, confirmed_at, confirmed_how, sealed_to)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
         ON CONFLICT (serial, number) DO UPDATE SET slot = excluded.slot, state = excluded.state,
         sealed = CASE WHEN generation.fingerprint = excluded.fingerprint THEN COALESCE(excluded.sealed, generation.sealed)
                  ELSE excluded.sealed END,
         fingerprint = excluded.fingerprint,
         confirmed_at = COALESCE(generation.confirmed_at, excluded.confirmed_at),
         confirmed_how = COALESCE(generation.confirmed_how, excluded.confirmed_how),
         sealed_to = COALESCE(excluded.sealed_to, generation.sealed_to), ended_at = NULL",
    )
    .bind(serial.as_str().to_owned())
    .bind(i64::from(number))
    .bind(generation.slot.as_str())
    .bind(state.as_str())
    .bind(taken.how.as_str())
    .bind(taken.issuer.clone())
    .bind(taken.label.clone())
    .bind(taken.params.algorithm.as_str())
    .bind(i64::from(taken.params.digits))
    .bind(i64::from(taken.params.period))
    .bind(sealed)
    .bind(generation.fingerprint.clone())
    .bind(now)
    .bind(generation.expires_at.map(Timestamp::as_millisecond))
    .bind(confirmed.then_some(now))
    .bind(confirmed.then_some(taken.how.as_str()))
    .bind(sealed_to)
    .execute(tx.db())
    .await?;
    let sheet = tx.sheet_of_generation(serial, number).await?;
    match sheet {
        Some(sheet) if confirmed && sheet.state.is_open() => {
            tx.set_sheet_state(&sheet, SheetState::Confirmed).await?;
            Ok(Some(sheet))
        }
        _ => Ok(None),
    }
}
