//! Generations that nobody confirmed in time.

use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::{LedgerError, SheetRecord};
use crate::token::id::{Generation, Serial};
use crate::token::state::{GenerationState, SheetState, TokenState};

/// A generation that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expired {
    /// The token.
    pub serial: Serial,
    /// The generation.
    pub generation: Generation,
    /// Its sheet, if it was still open; the file is to be removed.
    pub sheet: Option<SheetRecord>,
}

impl Ledger {
    /// Ends every first issue or re-issue whose time ran out unconfirmed. Hosts do the same by themselves.
    ///
    /// Rotations are left alone: whether the old or the new generation survives depends on what was used where. Call
    /// this after the hosts were read, or a confirming login in time could be missed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire_overdue(&self) -> Result<Vec<Expired>, LedgerError> {
        let mut tx = self.begin().await?;
        let now = tx.now_ms();
        let rows = sqlx::query(
            "SELECT serial, number FROM generation WHERE state = 'pending' AND slot = 'current' AND expires_at <= $1",
        )
        .bind(now)
        .fetch_all(tx.db())
        .await?;
        let mut expired = Vec::with_capacity(rows.len());
        for row in rows {
            let serial: Serial = row.parsed("serial")?;
            let generation = row.generation("number")?;
            let token = tx.token(&serial).await?;
            let sheet = tx
                .end_generation(
                    &serial,
                    generation,
                    GenerationState::Expired,
                    SheetState::Expired,
                )
                .await?;
            if token.state.may_become(TokenState::Expired) {
                tx.set_token_state(&serial, TokenState::Expired).await?;
            }
            tx.event(
                Draft::new("token.expired")
                    .with("serial", serial.as_str())
                    .with("generation", generation)
                    .with("admin", token.person.as_str())
                    .with("realm", token.realm.as_str())
                    .with("sheet", sheet.as_ref().map(|s| s.id.as_str())),
            )
            .await?;
            expired.push(Expired {
                serial,
                generation,
                sheet,
            });
        }
        tx.commit().await?;
        Ok(expired)
    }
}
