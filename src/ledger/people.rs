//! Pseudonyms: events name people by these, and one table says who they are.

use std::collections::BTreeMap;

use crate::ledger::LedgerError;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::names::{AdminName, Login};
use crate::token::id::{PersonId, Serial};

/// Why a person is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PersonKind {
    /// Holds tokens.
    Admin,
    /// Runs the program, or vouches for something.
    Actor,
}

impl PersonKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Actor => "actor",
        }
    }
}

impl Tx {
    /// Returns the pseudonym of a person, which is made on first use.
    pub(super) async fn person(
        &mut self,
        kind: PersonKind,
        name: &str,
    ) -> Result<PersonId, LedgerError> {
        let row = sqlx::query("SELECT id FROM person WHERE kind = $1 AND name = $2")
            .bind(kind.as_str())
            .bind(name.to_owned())
            .fetch_optional(self.db())
            .await?;
        if let Some(row) = row {
            return row.parsed("id");
        }
        let id = PersonId::random(self.entropy.as_ref())?;
        let now = self.now_ms();
        sqlx::query("INSERT INTO person (id, kind, name, created_at) VALUES ($1, $2, $3, $4)")
            .bind(id.as_str().to_owned())
            .bind(kind.as_str())
            .bind(name.to_owned())
            .bind(now)
            .execute(self.db())
            .await?;
        Ok(id)
    }
}

impl Ledger {
    /// Returns the name behind a pseudonym: an admin's or an actor's; `None` for unknown and erased people.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn person_name(&self, id: &PersonId) -> Result<Option<String>, LedgerError> {
        let row = sqlx::query("SELECT name FROM person WHERE id = $1")
            .bind(id.as_str().to_owned())
            .fetch_optional(&self.inner.pool)
            .await?;
        match row {
            Some(row) => row.maybe_text("name"),
            None => Ok(None),
        }
    }

    /// Returns the names behind all pseudonyms; erased people have none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn people(&self) -> Result<BTreeMap<String, String>, LedgerError> {
        sqlx::query("SELECT id, name FROM person WHERE name IS NOT NULL")
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| Ok((row.text("id")?, row.text("name")?)))
            .collect()
    }

    /// Returns the accounts that each token was ever seen with: most have one.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn logins(&self) -> Result<Vec<(Serial, Login)>, LedgerError> {
        // In the table's own order: the order of the key, which begins with the serial, would cost a look-up for each row.
        let mut logins = sqlx::query("SELECT serial, login FROM token_host GROUP BY login, serial")
            .fetch_all(&self.inner.pool)
            .await?
            .iter()
            .map(|row| Ok((row.parsed("serial")?, row.parsed("login")?)))
            .collect::<Result<Vec<_>, LedgerError>>()?;
        logins.sort();
        Ok(logins)
    }

    /// Returns an admin's pseudonym, if the admin ever held a token.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn admin_id(&self, admin: &AdminName) -> Result<Option<PersonId>, LedgerError> {
        sqlx::query("SELECT id FROM person WHERE kind = 'admin' AND name = $1")
            .bind(admin.as_str().to_owned())
            .fetch_optional(&self.inner.pool)
            .await?
            .map(|row| row.parsed("id"))
            .transpose()
    }
}
