//! Sheets: from `rendering` to their end.

use sqlx::any::AnyRow;

use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::ledger::{LedgerError, SheetEncryption, SheetRecord};
use crate::token::id::{Generation, Serial, SheetId};
use crate::token::state::SheetState;

impl Ledger {
    /// Records the hash and the final path of a sheet's file. Called when the file is complete under its temporary
    /// name, before the rename: a crash in between is then told from a foreign file.
    ///
    /// # Errors
    /// When there is no such sheet, or it is not being rendered.
    pub async fn sheet_rendered(
        &self,
        sheet: &SheetId,
        sha256: &str,
        path: &str,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let record = tx.sheet(sheet).await?;
        if record.state != SheetState::Rendering {
            return Err(refused(&record, SheetState::Rendering));
        }
        sqlx::query("UPDATE sheet SET sha256 = $1, path = $2 WHERE id = $3")
            .bind(sha256.to_owned())
            .bind(path.to_owned())
            .bind(sheet.as_str().to_owned())
            .execute(tx.db())
            .await?;
        tx.event(event("sheet.rendered", &record).with("sha256", sha256))
            .await?;
        tx.commit().await
    }

    /// Records that the file stands under its final name.
    ///
    /// # Errors
    /// When there is no such sheet, or it is not being rendered.
    pub async fn sheet_issued(&self, sheet: &SheetId) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let record = tx.sheet(sheet).await?;
        tx.change_sheet(&record, SheetState::Issued).await?;
        tx.event(event("sheet.issued", &record).with("sha256", record.sha256.clone()))
            .await?;
        tx.commit().await
    }

    /// Records that a sheet is worthless: its file was lost or never finished. The generation stays until it is
    /// re-issued.
    ///
    /// # Errors
    /// When there is no such sheet, or it ended already.
    pub async fn sheet_void(&self, sheet: &SheetId, why: &str) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let record = tx.sheet(sheet).await?;
        tx.change_sheet(&record, SheetState::Void).await?;
        tx.event(event("sheet.void", &record).with("why", why))
            .await?;
        tx.commit().await
    }

    /// Returns all sheets in a state, oldest first: `rendering` ones are those that a crash left behind.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn sheets_in(&self, state: SheetState) -> Result<Vec<SheetRecord>, LedgerError> {
        sqlx::query("SELECT * FROM sheet WHERE state = $1 ORDER BY issued_at, id")
            .bind(state.as_str())
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| sheet_of(row, false))
            .collect()
    }

    /// Returns all sheets, oldest first.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn sheets(&self) -> Result<Vec<SheetRecord>, LedgerError> {
        sqlx::query("SELECT * FROM sheet ORDER BY issued_at, id")
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| sheet_of(row, false))
            .collect()
    }
}

impl Tx {
    pub(super) async fn sheet(&mut self, id: &SheetId) -> Result<SheetRecord, LedgerError> {
        let row = sqlx::query("SELECT * FROM sheet WHERE id = $1")
            .bind(id.as_str().to_owned())
            .fetch_optional(self.db())
            .await?
            .ok_or_else(|| LedgerError::UnknownSheet(id.clone()))?;
        sheet_of(&row, false)
    }

    pub(super) async fn sheet_of_generation(
        &mut self,
        serial: &Serial,
        generation: Generation,
    ) -> Result<Option<SheetRecord>, LedgerError> {
        sqlx::query("SELECT * FROM sheet WHERE serial = $1 AND generation = $2")
            .bind(serial.as_str().to_owned())
            .bind(i64::from(generation))
            .fetch_optional(self.db())
            .await?
            .map(|row| sheet_of(&row, false))
            .transpose()
    }

    /// Changes a sheet's state, where that state may follow.
    pub(super) async fn change_sheet(
        &mut self,
        sheet: &SheetRecord,
        state: SheetState,
    ) -> Result<(), LedgerError> {
        if !sheet.state.may_become(state) {
            return Err(refused(sheet, state));
        }
        self.set_sheet_state(sheet, state).await
    }

    pub(super) async fn set_sheet_state(
        &mut self,
        sheet: &SheetRecord,
        state: SheetState,
    ) -> Result<(), LedgerError> {
        let ended = (!state.is_open()).then_some(self.now_ms());
        sqlx::query("UPDATE sheet SET state = $1, ended_at = $2 WHERE id = $3")
            .bind(state.as_str())
            .bind(ended)
            .bind(sheet.id.as_str().to_owned())
            .execute(self.db())
            .await?;
        Ok(())
    }
}

fn refused(sheet: &SheetRecord, to: SheetState) -> LedgerError {
    LedgerError::Sheet {
        sheet: sheet.id.clone(),
        from: sheet.state,
        to,
    }
}

fn event(kind: &'static str, sheet: &SheetRecord) -> Draft {
    Draft::new(kind)
        .with("sheet", sheet.id.as_str())
        .with("serial", sheet.serial.as_str())
        .with("generation", sheet.generation)
}

/// Reads a sheet from its own row, or from that of its generation, where the columns have a prefix.
pub(super) fn sheet_of(row: &AnyRow, joined: bool) -> Result<SheetRecord, LedgerError> {
    let column = |own, prefixed| if joined { prefixed } else { own };
    let encryption = row.text(column("encryption", "sheet_encryption"))?;
    Ok(SheetRecord {
        id: row.parsed(column("id", "sheet_id"))?,
        serial: row.parsed("serial")?,
        generation: row.generation(column("generation", "number"))?,
        state: row.parsed(column("state", "sheet_state"))?,
        encryption: SheetEncryption::parse(&encryption)
            .ok_or_else(|| LedgerError::damaged("a sheet has an unknown kind of encryption"))?,
        path: row.maybe_text(column("path", "sheet_path"))?,
        sha256: row.maybe_text(column("sha256", "sheet_sha256"))?,
        issued_at: row.time(column("issued_at", "sheet_issued_at"))?,
        expires_at: row.maybe_time(column("expires_at", "sheet_expires_at"))?,
    })
}
