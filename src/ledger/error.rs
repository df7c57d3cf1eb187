//! What can go wrong with the ledger.

use std::path::PathBuf;

use crate::clock::{EntropyError, Timestamp};
use crate::error::{Error, Kind};
use crate::ledger::lock::Holder;
use crate::token::id::{Generation, Serial, SheetId};
use crate::token::state::{GenerationState, SheetState, TokenState};

/// An operation on the ledger failed; nothing of it was stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// There is no ledger at this path.
    #[error("there is no ledger at `{}`", .0.display())]
    NotFound(PathBuf),
    /// There is one already.
    #[error("there is a ledger at `{}` already", .0.display())]
    Exists(PathBuf),
    /// The state URL is not one this program can use.
    #[error("cannot use `{shown}` as the ledger: {why}")]
    Location {
        /// The URL, without what may be a password.
        shown: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A newer program wrote this ledger.
    #[error("the ledger has version {found}, and this program knows up to {known}")]
    Newer {
        /// Version of the ledger.
        found: i64,
        /// Newest version that this program knows.
        known: i64,
    },
    /// Something in the ledger cannot be read back.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
    /// Another run holds the lock.
    #[error("the ledger is locked by {0}")]
    Locked(Holder),
    /// The lock was lost, so another run may be writing.
    #[error("this run lost its lock on the ledger; nothing more is written")]
    LockLost,
    /// There is no such token.
    #[error("the ledger has no token {0}")]
    UnknownToken(Serial),
    /// There is no such generation.
    #[error("the ledger has no generation {1} of token {0}")]
    UnknownGeneration(Serial, Generation),
    /// There is no such sheet.
    #[error("the ledger has no sheet {0}")]
    UnknownSheet(SheetId),
    /// The token's state does not allow it.
    #[error("token {serial} is {state}, so {what}")]
    Token {
        /// The token.
        serial: Serial,
        /// Its state.
        state: TokenState,
        /// What cannot be done.
        what: &'static str,
    },
    /// The generation's state does not allow it.
    #[error("generation {generation} of token {serial} is {state}, so it cannot be confirmed")]
    Generation {
        /// The token.
        serial: Serial,
        /// The generation.
        generation: Generation,
        /// Its state.
        state: GenerationState,
    },
    /// The sheet's state does not allow it.
    #[error("sheet {sheet} is {from} and cannot become {to}")]
    Sheet {
        /// The sheet.
        sheet: SheetId,
        /// Its state.
        from: SheetState,
        /// The state wanted.
        to: SheetState,
    },
    /// The generation was not confirmed in time.
    #[error("the sheet of token {serial} generation {generation} expired at {at}")]
    Expired {
        /// The token.
        serial: Serial,
        /// The generation.
        generation: Generation,
        /// When.
        at: Timestamp,
    },
    /// The code was used before.
    #[error("that code of token {0} was used before")]
    Replayed(Serial),
    /// The recovery code was used or replaced.
    #[error("that recovery code of token {0} was used or replaced in between")]
    RecoveryUsed(Serial),
    /// The number reserved for a generation was taken in between.
    #[error("generation {1} of token {0} was issued by another run in between")]
    Overtaken(Serial, Generation),
    /// Too many wrong codes.
    #[error("too many wrong codes: no more are tried before {until}")]
    Throttled {
        /// When the next try is allowed.
        until: Timestamp,
    },
    /// No random identifiers.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The file system.
    #[error("cannot {what} `{}`", .path.display())]
    Io {
        /// What was to be done: a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The database.
    #[error("the ledger's database failed")]
    Database(#[from] sqlx::Error),
}

impl LedgerError {
    pub(super) fn damaged(what: impl std::fmt::Display) -> Self {
        Self::Damaged(what.to_string())
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NotFound(_) => {
                "run `fleetotp init`, or point `state` in fleetotp.yml or --state at the ledger"
                    .to_owned()
            }
            Self::Location { .. } => {
                "write a path such as state/ledger.db, or sqlite:state/ledger.db".to_owned()
            }
            Self::Newer { .. } => "use the newer fleetotp that wrote it".to_owned(),
            Self::Damaged(_) => "restore the ledger from a backup".to_owned(),
            Self::Locked(_) => "wait for the other run to end".to_owned(),
            Self::LockLost => "run again once the other run has ended".to_owned(),
            Self::Generation { .. } | Self::Expired { .. } => {
                "issue a new sheet with `fleetotp enroll --reissue`".to_owned()
            }
            Self::Replayed(_) => "wait until the app shows a new code and type that one".to_owned(),
            Self::Database(sqlx::Error::Database(e)) if e.message().contains("locked") => {
                "another program is writing to the ledger's file; try again".to_owned()
            }
            _ => return None,
        })
    }
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        let kind = match error {
            LedgerError::Locked(_) | LedgerError::LockLost => Kind::Locked,
            _ => Kind::Failed,
        };
        let shown = Self::new(kind, error.to_string()).hinted_if(error.hint());
        match error {
            LedgerError::Io { source, .. } => shown.caused_by(source),
            LedgerError::Database(source) => shown.caused_by(source),
            _ => shown,
        }
    }
}
