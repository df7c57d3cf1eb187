//! What becomes of sheets outside the program: handed over, and cleared away.

use crate::clock::Timestamp;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::people::PersonKind;
use crate::ledger::row::RowExt as _;
use crate::ledger::sheets::sheet_of;
use crate::ledger::{LedgerError, SheetRecord};
use crate::names::{AdminName, RealmName, printable};
use crate::token::id::SheetId;
use crate::token::state::SheetState;

/// A sheet with whose it is and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetEntry {
    /// The sheet.
    pub sheet: SheetRecord,
    /// Whose it is; `None` once the person was erased.
    pub admin: Option<AdminName>,
    /// Where its code is used.
    pub realm: RealmName,
    /// When it was handed over.
    pub delivered_at: Option<Timestamp>,
    /// To whom; `None` once the person was erased.
    pub delivered_to: Option<String>,
    /// How.
    pub delivered_how: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Ledger {
    /// Returns all sheets with whose they are, oldest first.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn sheet_entries(&self) -> Result<Vec<SheetEntry>, LedgerError> {
        sqlx::query(
            "SELECT s.*, t.realm AS realm, a.name AS admin_name, d.name AS delivered_name FROM sheet s
             JOIN token t ON t.serial = s.serial JOIN person a ON a.id = t.admin
             LEFT JOIN person d ON d.id = s.delivered_to ORDER BY s.issued_at, s.id",
        )
        .fetch_all(&self.inner.pool)
        .await?
        .iter()
        .map(|row| {
            Ok(SheetEntry {
                sheet: sheet_of(row, false)?,
                admin: row.maybe_parsed("admin_name")?,
                realm: row.parsed("realm")?,
                delivered_at: row.maybe_time("delivered_at")?,
                delivered_to: row.maybe_text("delivered_name")?,
                delivered_how: row.maybe_text("delivered_how")?,
                ended_at: row.maybe_time("ended_at")?,
            })
        })
        .collect()
    }

    /// Records that a sheet was handed over.
    ///
    /// # Errors
    /// When there is no such sheet, it was handed over before, or its time is over.
    pub async fn sheet_delivered(
        &self,
        sheet: &SheetId,
        to: &str,
        how: &str,
    ) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        let record = tx.sheet(sheet).await?;
        if let Some(at) = record.expires_at.filter(|at| *at <= tx.now)
            && record.state.is_open()
        {
            return Err(LedgerError::Expired {
                serial: record.serial,
                generation: record.generation,
                at,
            });
        }
        tx.change_sheet(&record, SheetState::Delivered).await?;
        let person = tx.person(PersonKind::Actor, to).await?;
        let (now, how) = (tx.now_ms(), printable(how, 200));
        sqlx::query(
            "UPDATE sheet SET delivered_at = $1, delivered_to = $2, delivered_how = $3 WHERE id = $4",
        )
        .bind(now)
        .bind(person.as_str().to_owned())
        .bind(how.clone())
        .bind(sheet.as_str().to_owned())
        .execute(tx.db())
        .await?;
        tx.event(
            Draft::new("sheet.delivered")
                .with("sheet", record.id.as_str())
                .with("serial", record.serial.as_str())
                .with("generation", record.generation)
                .with("to", person.as_str())
                .with("how", how),
        )
        .await?;
        tx.commit().await
    }

    /// Records which files of the directory of sheets were removed; their names are those of sheets.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sheets_purged(&self, files: &[String]) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        tx.event(Draft::new("sheets.purged").with("files", files.to_vec()))
            .await?;
        tx.commit().await
    }
}
