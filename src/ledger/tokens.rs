//! Reading tokens, generations and sealed secrets.

use std::collections::BTreeMap;

use sqlx::any::AnyRow;

use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::sheets::sheet_of;
use crate::ledger::tx::Tx;
use crate::ledger::{Cause, GenerationRecord, LedgerError, TokenRecord};
use crate::names::{AdminName, RealmName};
use crate::token::id::{Generation, Serial};
use crate::token::params::{Algorithm, CodeParams};
use crate::token::state::{Slot, TokenState};

/// Live generations with their sheets; the sheet's columns have names of their own.
macro_rules! generations {
    ($condition:literal) => {
        concat!(
            "SELECT g.*, s.id AS sheet_id, s.state AS sheet_state, s.encryption AS sheet_encryption, ",
            "s.path AS sheet_path, s.sha256 AS sheet_sha256, s.issued_at AS sheet_issued_at, ",
            "s.expires_at AS sheet_expires_at ",
            "FROM generation g LEFT JOIN sheet s ON s.serial = g.serial AND s.generation = g.number ",
            "WHERE g.state IN ('pending', 'active')",
            $condition
        )
    };
}

/// Tokens with the name behind the pseudonym.
macro_rules! tokens {
    ($condition:literal) => {
        concat!(
            "SELECT t.*, p.name AS admin_name FROM token t JOIN person p ON p.id = t.admin ",
            $condition
        )
    };
}

impl Ledger {
    /// Returns all tokens, ordered by admin and realm.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, LedgerError> {
        let tokens = sqlx::query(tokens!("ORDER BY p.name, t.realm"))
            .fetch_all(&self.inner.pool)
            .await?;
        let generations = sqlx::query(generations!(""))
            .fetch_all(&self.inner.pool)
            .await?;
        let mut by_serial: BTreeMap<String, Vec<GenerationRecord>> = BTreeMap::new();
        for row in &generations {
            by_serial
                .entry(row.text("serial")?)
                .or_default()
                .push(generation_of(row)?);
        }
        tokens
            .iter()
            .map(|row| {
                let live = by_serial.remove(&row.text("serial")?).unwrap_or_default();
                token_of(row, live)
            })
            .collect()
    }

    /// Returns the tokens by admin and realm; those of erased persons are left out.
    ///
    /// # Errors
    /// As [`Ledger::tokens`].
    pub async fn tokens_by_admin(
        &self,
    ) -> Result<BTreeMap<(AdminName, RealmName), TokenRecord>, LedgerError> {
        let tokens = self.tokens().await?.into_iter();
        Ok(tokens
            .filter_map(|t| Some(((t.admin.clone()?, t.realm.clone()), t)))
            .collect())
    }

    /// Returns the token of an admin in a realm.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn token(
        &self,
        admin: &AdminName,
        realm: &RealmName,
    ) -> Result<Option<TokenRecord>, LedgerError> {
        let row = sqlx::query(tokens!(
            "WHERE p.kind = 'admin' AND p.name = $1 AND t.realm = $2"
        ))
        .bind(admin.as_str().to_owned())
        .bind(realm.as_str().to_owned())
        .fetch_optional(&self.inner.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let generations = sqlx::query(generations!(" AND g.serial = $1"))
            .bind(row.text("serial")?)
            .fetch_all(&self.inner.pool)
            .await?;
        let live = generations
            .iter()
            .map(generation_of)
            .collect::<Result<_, _>>()?;
        token_of(&row, live).map(Some)
    }

    /// Returns the sealed secret of a generation, for the vault; `None` once the generation is dead.
    ///
    /// # Errors
    /// When there is no such generation, or the database fails.
    pub async fn sealed_secret(
        &self,
        serial: &Serial,
        generation: Generation,
    ) -> Result<Option<Vec<u8>>, LedgerError> {
        let row = sqlx::query("SELECT sealed FROM generation WHERE serial = $1 AND number = $2")
            .bind(serial.as_str().to_owned())
            .bind(i64::from(generation))
            .fetch_optional(&self.inner.pool)
            .await?
            .ok_or_else(|| LedgerError::UnknownGeneration(serial.clone(), generation))?;
        row.maybe_text("sealed")?
            .map(|text| {
                data_encoding::BASE64
                    .decode(text.as_bytes())
                    .map_err(LedgerError::damaged)
            })
            .transpose()
    }
}

impl Tx {
    /// Gives a token a state; which may follow which is the caller's to know.
    pub(super) async fn set_token_state(
        &mut self,
        serial: &Serial,
        state: TokenState,
    ) -> Result<(), LedgerError> {
        let now = self.now_ms();
        sqlx::query("UPDATE token SET state = $1, changed_at = $2 WHERE serial = $3")
            .bind(state.as_str())
            .bind(now)
            .bind(serial.as_str().to_owned())
            .execute(self.db())
            .await?;
        Ok(())
    }

    /// Reads a token inside the transaction.
    pub(super) async fn token(&mut self, serial: &Serial) -> Result<TokenRecord, LedgerError> {
        let row = sqlx::query(tokens!("WHERE t.serial = $1"))
            .bind(serial.as_str().to_owned())
            .fetch_optional(self.db())
            .await?
            .ok_or_else(|| LedgerError::UnknownToken(serial.clone()))?;
        let generations = sqlx::query(generations!(" AND g.serial = $1"))
            .bind(serial.as_str().to_owned())
            .fetch_all(self.db())
            .await?;
        let live = generations
            .iter()
            .map(generation_of)
            .collect::<Result<_, _>>()?;
        token_of(&row, live)
    }
}

fn token_of(row: &AnyRow, live: Vec<GenerationRecord>) -> Result<TokenRecord, LedgerError> {
    let mut record = TokenRecord {
        serial: row.parsed("serial")?,
        person: row.parsed("admin")?,
        admin: row.maybe_parsed("admin_name")?,
        realm: row.parsed("realm")?,
        state: row.parsed("state")?,
        policy: row.parsed("policy")?,
        generations: row.generation("generations")?,
        created_at: row.time("created_at")?,
        changed_at: row.time("changed_at")?,
        current: None,
        next: None,
    };
    for generation in live {
        let slot = match generation.slot {
            Slot::Current => &mut record.current,
            Slot::Next => &mut record.next,
        };
        if slot.replace(generation).is_some() {
            return Err(LedgerError::damaged(format!(
                "token {} has two live generations in one slot",
                record.serial
            )));
        }
    }
    Ok(record)
}

fn generation_of(row: &AnyRow) -> Result<GenerationRecord, LedgerError> {
    let algorithm = row.text("algorithm")?;
    Ok(GenerationRecord {
        number: row.generation("number")?,
        slot: row.parsed("slot")?,
        state: row.parsed("state")?,
        issuer: row.text("issuer")?,
        label: row.text("label")?,
        params: CodeParams {
            algorithm: Algorithm::parse(&algorithm)
                .ok_or_else(|| LedgerError::damaged("it names an unknown hash function"))?,
            digits: row.number("digits")?,
            period: row.number("period")?,
        },
        fingerprint: row.text("fingerprint")?,
        issued_at: row.time("issued_at")?,
        expires_at: row.maybe_time("expires_at")?,
        confirmed_at: row.maybe_time("confirmed_at")?,
        confirmed_how: row.maybe_text("confirmed_how")?,
        confirmed_on: row.maybe_parsed("confirmed_on")?,
        last_step: row.maybe_number("last_step")?,
        cause: Cause {
            reason: row.maybe_text("reason")?,
            ticket: row.maybe_text("ticket")?,
        },
        sheet: match row.maybe_text("sheet_id")? {
            Some(_) => Some(sheet_of(row, true)?),
            None => None,
        },
    })
}
