//! Who can open which secret: re-sealing, and secrets that somebody could open who is no longer to.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::ledger::LedgerError;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::ledger::row::RowExt as _;
use crate::ledger::tx::Tx;
use crate::names::{AdminName, RealmName};
use crate::token::id::{Generation, Serial};

/// The sealed secret of a live generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ciphertext {
    /// The token.
    pub serial: Serial,
    /// The generation.
    pub generation: Generation,
    /// As the vault sealed it.
    pub sealed: Vec<u8>,
    /// To whom; `None` where that was not recorded.
    pub sealed_to: Option<Vec<String>>,
}

/// A live secret that a former recipient could open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// The token.
    pub serial: Serial,
    /// The generation; once it is dead, this is over.
    pub generation: Generation,
    /// Whose token it is; `None` once the person was erased.
    pub admin: Option<AdminName>,
    /// Where it is used.
    pub realm: RealmName,
    /// Who could open it.
    pub recipient: String,
    /// Since when that is known.
    pub since: Timestamp,
}

impl Ledger {
    /// Returns the sealed secrets of all live generations.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn ciphertexts(&self) -> Result<Vec<Ciphertext>, LedgerError> {
        let rows = sqlx::query(
            "SELECT serial, number, sealed, sealed_to FROM generation
             WHERE state IN ('pending', 'active') AND sealed IS NOT NULL ORDER BY serial, number",
        )
        .fetch_all(&self.inner.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Ciphertext {
                    serial: row.parsed("serial")?,
                    generation: row.generation("number")?,
                    sealed: data_encoding::BASE64
                        .decode(row.text("sealed")?.as_bytes())
                        .map_err(LedgerError::damaged)?,
                    sealed_to: sealed_to(row.maybe_text("sealed_to")?)?,
                })
            })
            .collect()
    }

    /// Replaces sealed secrets, all or none, by the same ones sealed to `recipients`. Generations that ended in between
    /// stay dead. What a recipient could open that is not among these is exposed from now on. Returns how many were
    /// replaced.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn rekey(
        &self,
        sealed: &[Ciphertext],
        recipients: &[String],
    ) -> Result<usize, LedgerError> {
        let mut tx = self.begin().await?;
        let list = serde_json::to_string(recipients).map_err(LedgerError::damaged)?;
        let (mut replaced, mut exposed) = (0, 0);
        for new in sealed {
            let row = sqlx::query(
                "SELECT sealed_to FROM generation WHERE serial = $1 AND number = $2 AND sealed IS NOT NULL",
            )
            .bind(new.serial.as_str().to_owned())
            .bind(i64::from(new.generation))
            .fetch_optional(tx.db())
            .await?;
            let Some(row) = row else { continue };
            for gone in sealed_to(row.maybe_text("sealed_to")?)?.unwrap_or_default() {
                if !recipients.contains(&gone)
                    && tx.expose(&new.serial, new.generation, &gone).await?
                {
                    exposed += 1;
                }
            }
            sqlx::query(
                "UPDATE generation SET sealed = $1, sealed_to = $2 WHERE serial = $3 AND number = $4",
            )
            .bind(data_encoding::BASE64.encode(&new.sealed))
            .bind(list.clone())
            .bind(new.serial.as_str().to_owned())
            .bind(i64::from(new.generation))
            .execute(tx.db())
            .await?;
            replaced += 1;
        }
        tx.event(
            Draft::new("vault.rekeyed")
                .with("secrets", replaced)
                .with("recipients", recipients.to_vec())
                .with("exposed", exposed),
        )
        .await?;
        tx.commit().await?;
        Ok(replaced)
    }

    /// Records that secrets are sealed to one more recipient from now on. What it could open before it left is no
    /// longer exposed: it may again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recipient_added(&self, recipient: &str) -> Result<(), LedgerError> {
        let mut tx = self.begin().await?;
        sqlx::query("DELETE FROM exposure WHERE recipient = $1")
            .bind(recipient.to_owned())
            .execute(tx.db())
            .await?;
        tx.event(Draft::new("vault.recipient_added").with("recipient", recipient))
            .await?;
        tx.commit().await
    }

    /// Records that a recipient left: every live secret that was sealed to it, or may have been, is exposed until it
    /// is replaced. Returns the tokens.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn recipient_removed(
        &self,
        recipient: &str,
    ) -> Result<BTreeSet<Serial>, LedgerError> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query(
            "SELECT serial, number, sealed_to FROM generation
             WHERE state IN ('pending', 'active') AND sealed IS NOT NULL",
        )
        .fetch_all(tx.db())
        .await?;
        let mut serials = BTreeSet::new();
        for row in &rows {
            let readers = sealed_to(row.maybe_text("sealed_to")?)?;
            if readers.is_none_or(|list| list.iter().any(|r| r == recipient)) {
                let serial: Serial = row.parsed("serial")?;
                tx.expose(&serial, row.generation("number")?, recipient)
                    .await?;
                serials.insert(serial);
            }
        }
        let list: Vec<String> = serials.iter().map(ToString::to_string).collect();
        tx.event(
            Draft::new("vault.recipient_removed")
                .with("recipient", recipient)
                .with("exposed", list),
        )
        .await?;
        tx.commit().await?;
        Ok(serials)
    }

    /// Returns every live secret that a former recipient could open.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn exposed(&self) -> Result<Vec<Exposed>, LedgerError> {
        let rows = sqlx::query(
            "SELECT e.serial AS serial, e.generation AS generation, e.recipient AS recipient, e.at AS at,
             t.realm AS realm, p.name AS admin_name FROM exposure e
             JOIN generation g ON g.serial = e.serial AND g.number = e.generation
             JOIN token t ON t.serial = e.serial JOIN person p ON p.id = t.admin
             WHERE g.state IN ('pending', 'active') ORDER BY p.name, t.realm, e.generation, e.recipient",
        )
        .fetch_all(&self.inner.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Exposed {
                    serial: row.parsed("serial")?,
                    generation: row.generation("generation")?,
                    admin: row.maybe_parsed("admin_name")?,
                    realm: row.parsed("realm")?,
                    recipient: row.text("recipient")?,
                    since: row.time("at")?,
                })
            })
            .collect()
    }

    /// Returns the tokens that are to be rotated because a former recipient could open a live secret of theirs.
    ///
    /// # Errors
    /// When the database fails or holds something unreadable.
    pub async fn exposed_tokens(&self) -> Result<BTreeSet<Serial>, LedgerError> {
        Ok(self
            .exposed()
            .await?
            .into_iter()
            .map(|e| e.serial)
            .collect())
    }
}

impl Tx {
    /// Notes that a recipient could open a secret; returns whether that was not known.
    async fn expose(
        &mut self,
        serial: &Serial,
        generation: Generation,
        recipient: &str,
    ) -> Result<bool, LedgerError> {
        let now = self.now_ms();
        let done = sqlx::query(
            "INSERT INTO exposure (serial, generation, recipient, at) VALUES ($1, $2, $3, $4)
             ON CONFLICT DO NOTHING",
        )
        .bind(serial.as_str().to_owned())
        .bind(i64::from(generation))
        .bind(recipient.to_owned())
        .bind(now)
        .execute(self.db())
        .await?;
        Ok(done.rows_affected() > 0)
    }
}

/// Reads the list of a row.
fn sealed_to(text: Option<String>) -> Result<Option<Vec<String>>, LedgerError> {
    text.map(|t| serde_json::from_str(&t).map_err(LedgerError::damaged))
        .transpose()
}
