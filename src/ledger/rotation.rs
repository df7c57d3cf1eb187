//! The ends of a rotation: the new generation takes the old one's place, is taken back, or was not confirmed in time.
//!
//! Which end it is depends on what the hosts have, so each of these decides by what was last read of them.

use std::collections::BTreeSet;

use crate::ledger::event::Draft;
use crate::ledger::hosts::token_host_of;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::ledger::{
    Cause, GenerationRecord, LedgerError, SheetRecord, TokenHostRecord, TokenRecord,
};
use crate::names::RealmName;
use crate::token::id::{Generation, Serial};
use crate::token::state::{GenerationState, SheetState, TokenState};

/// A rotation that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationEnd {
    /// The token afterwards.
    pub token: TokenRecord,
    /// The generation that ended with it.
    pub ended: Generation,
    /// Its sheet, where that was still open; the file is to be removed.
    pub sheet: Option<SheetRecord>,
}

impl Ledger {
    /// Ends every rotation whose new generation is confirmed and stands in `current` on every host that has the token.
    /// The old generation is superseded: its secret is deleted here too.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn finish_rotations(&self) -> Result<Vec<RotationEnd>, LedgerError> {
        let candidates = self
            .rotating(
                "SELECT t.serial FROM token t JOIN generation g ON g.serial = t.serial
                 WHERE t.state = 'rotating' AND g.slot = 'next' AND g.state = 'active'",
            )
            .await?;
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        let mut ends = Vec::new();
        for serial in candidates {
            let token = tx.token(&serial).await?;
            let (Some(old), Some(new)) = (&token.current, confirmed_next(&token)) else {
                continue;
            };
            let everywhere = tx.hosts_of_token(&serial).await?.iter().all(|row| {
                // Where nothing of it was seen there is nothing old either.
                row.next.is_none() && row.current.is_none_or(|number| number == new.number)
            });
            if !everywhere {
                continue;
            }
            let ended = old.number;
            let sheet = tx
                .end_generation(
                    &serial,
                    ended,
                    GenerationState::Superseded,
                    SheetState::Void,
                )
                .await?;
            sqlx::query("UPDATE generation SET slot = 'current' WHERE serial = $1 AND number = $2")
                .bind(serial.as_str().to_owned())
                .bind(i64::from(new.number))
                .execute(tx.db())
                .await?;
            tx.set_token_state(&token.serial, TokenState::Active)
                .await?;
            tx.event(about("rotation.finished", &token, new.number).with("supersedes", ended))
                .await?;
            ends.push(tx.rotation_end(&serial, ended, sheet).await?);
        }
        tx.commit().await?;
        Ok(ends)
    }

    /// Takes back a rotation whose new generation nobody has confirmed: the old one alone is valid again.
    ///
    /// # Errors
    /// When the token is not in a rotation, the new generation is confirmed already, or the database fails.
    pub async fn take_back_rotation(
        &self,
        serial: &Serial,
        why: &str,
        cause: &Cause,
    ) -> Result<RotationEnd, LedgerError> {
        let mut tx = self.begin().await?;
        let token = tx.token(serial).await?;
        let refuse = |what| LedgerError::Token {
            serial: serial.clone(),
            state: token.state,
            what,
        };
        let Some(next) = token
            .next
            .as_ref()
            .filter(|_| token.state == TokenState::Rotating)
        else {
            return Err(refuse("there is no rotation to take back"));
        };
        if token.current.is_none() || next.state != GenerationState::Pending {
            return Err(refuse(
                "its rotation cannot be taken back: the new code was used",
            ));
        }
        let ended = next.number;
        let sheet = tx
            .end_generation(serial, ended, GenerationState::Withdrawn, SheetState::Void)
            .await?;
        tx.set_token_state(&token.serial, TokenState::Active)
            .await?;
        let draft = about("rotation.taken_back", &token, ended)
            .with("why", why)
            .with("sheet", sheet.as_ref().map(|s| s.id.as_str()));
        tx.event(cause.add_to(draft)).await?;
        let end = tx.rotation_end(serial, ended, sheet).await?;
        tx.commit().await?;
        Ok(end)
    }

    /// Ends every rotation whose overlap is over with nobody having confirmed the new generation, where every host that
    /// was ever read for this token was read again after the overlap and no longer has it. Any other host may have been
    /// where the new code was used. Tokens in `expire`, the realms whose policy says so, expire with it; the others
    /// keep their old generation.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn end_overdue_rotations(
        &self,
        expire: &BTreeSet<RealmName>,
    ) -> Result<Vec<RotationEnd>, LedgerError> {
        let candidates = self
            .rotating(
                "SELECT t.serial FROM token t JOIN generation g ON g.serial = t.serial
                 WHERE t.state = 'rotating' AND g.slot = 'next' AND g.state = 'pending'",
            )
            .await?;
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.begin().await?;
        let now = tx.now;
        let mut ends = Vec::new();
        for serial in candidates {
            let token = tx.token(&serial).await?;
            let Some((next, end)) = token
                .next
                .as_ref()
                .and_then(|n| Some((n, n.expires_at.filter(|end| *end <= now)?)))
            else {
                continue;
            };
            let over = |row: &TokenHostRecord| {
                let has = |slot: Option<Generation>| slot == Some(next.number);
                row.observed_at >= end && !has(row.next) && !has(row.current)
            };
            if !tx.hosts_of_token(&serial).await?.iter().all(over) {
                continue;
            }
            let sheet = tx
                .end_generation(
                    &serial,
                    next.number,
                    GenerationState::Expired,
                    SheetState::Expired,
                )
                .await?;
            let mut state = TokenState::Active;
            let Some(old) = &token.current else {
                continue;
            };
            if expire.contains(&token.realm) {
                state = TokenState::Expired;
                tx.end_generation(
                    &serial,
                    old.number,
                    GenerationState::Expired,
                    SheetState::Expired,
                )
                .await?;
            }
            tx.set_token_state(&token.serial, state).await?;
            tx.event(
                about("rotation.overdue", &token, next.number)
                    .with("state", state.as_str())
                    .with("sheet", sheet.as_ref().map(|s| s.id.as_str())),
            )
            .await?;
            ends.push(tx.rotation_end(&serial, next.number, sheet).await?);
        }
        tx.commit().await?;
        Ok(ends)
    }

    /// Returns the tokens whose last rotation nobody confirmed in time, so that their old generation lives on.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn unconfirmed_rotations(&self) -> Result<BTreeSet<Serial>, LedgerError> {
        let found = self
            .rotating(
                "SELECT t.serial FROM token t JOIN generation g ON g.serial = t.serial AND g.number = t.generations
                 WHERE t.state = 'active' AND g.slot = 'next' AND g.state = 'expired'",
            )
            .await?;
        Ok(found.into_iter().collect())
    }

    async fn rotating(&self, query: &'static str) -> Result<Vec<Serial>, LedgerError> {
        sqlx::query(query)
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| row.parsed("serial"))
            .collect()
    }
}

fn confirmed_next(token: &TokenRecord) -> Option<&GenerationRecord> {
    token
        .next
        .as_ref()
        .filter(|g| token.state == TokenState::Rotating && g.state == GenerationState::Active)
}

fn about(kind: &'static str, token: &TokenRecord, generation: Generation) -> Draft {
    Draft::new(kind)
        .with("serial", token.serial.as_str())
        .with("generation", generation)
        .with("admin", token.person.as_str())
        .with("realm", token.realm.as_str())
}

impl Tx {
    /// Returns what was last read of a token on hosts that are not retired.
    async fn hosts_of_token(
        &mut self,
        serial: &Serial,
    ) -> Result<Vec<TokenHostRecord>, LedgerError> {
        sqlx::query(
            "SELECT r.* FROM token_host r JOIN host h ON h.name = r.host
             WHERE r.serial = $1 AND h.retired_at IS NULL",
        )
        .bind(serial.as_str().to_owned())
        .fetch_all(self.db())
        .await?
        .iter()
        .map(token_host_of)
        .collect()
    }

    async fn rotation_end(
        &mut self,
        serial: &Serial,
        ended: Generation,
        sheet: Option<SheetRecord>,
    ) -> Result<RotationEnd, LedgerError> {
        Ok(RotationEnd {
            token: self.token(serial).await?,
            ended,
            sheet,
        })
    }
}
