//! What the ledger hands out. No record holds a secret: sealed ones have an operation of their own.

use crate::clock::Timestamp;
use crate::ledger::Cause;
use crate::names::{AdminName, HostName, Login, PolicyName, RealmName};
use crate::token::id::{Generation, PersonId, Serial, SheetId};
use crate::token::params::CodeParams;
use crate::token::state::{GenerationState, SheetState, Slot, TokenHostState, TokenState};

/// A token with its live generations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its serial, the same over all generations.
    pub serial: Serial,
    /// The admin's pseudonym.
    pub person: PersonId,
    /// The admin; `None` once the person was erased.
    pub admin: Option<AdminName>,
    /// Where it is used.
    pub realm: RealmName,
    /// Its state.
    pub state: TokenState,
    /// The policy under which the newest generation was issued.
    pub policy: PolicyName,
    /// How many generations were ever made.
    pub generations: Generation,
    /// First issue.
    pub created_at: Timestamp,
    /// Last change of state or generation.
    pub changed_at: Timestamp,
    /// The live generation in slot `current`.
    pub current: Option<GenerationRecord>,
    /// The live generation in slot `next`.
    pub next: Option<GenerationRecord>,
}

impl TokenRecord {
    /// Returns the generation that waits for its confirmation.
    pub fn pending(&self) -> Option<&GenerationRecord> {
        [&self.next, &self.current]
            .into_iter()
            .flatten()
            .find(|g| g.state == GenerationState::Pending)
    }

    /// Returns whether nobody has confirmed its rotation by the end of the overlap.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.next.as_ref().is_some_and(|g| {
            g.state == GenerationState::Pending && g.expires_at.is_some_and(|at| at <= now)
        })
    }

    /// Returns the live generation with that number.
    pub fn generation(&self, number: Generation) -> Option<&GenerationRecord> {
        [&self.current, &self.next]
            .into_iter()
            .flatten()
            .find(|g| g.number == number)
    }
}

/// One generation of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationRecord {
    /// Its number, from 1.
    pub number: Generation,
    /// Which state file on hosts.
    pub slot: Slot,
    /// Its state.
    pub state: GenerationState,
    /// Organisation, as apps show it.
    pub issuer: String,
    /// Account, as apps show it.
    pub label: String,
    /// Parameters of its codes.
    pub params: CodeParams,
    /// Fingerprint of the base32 key; [`crate::token::secret::Secret::fingerprint`].
    pub fingerprint: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it stops working unless confirmed.
    pub expires_at: Option<Timestamp>,
    /// When a code was verified.
    pub confirmed_at: Option<Timestamp>,
    /// `code` (at the controller) or `login` (on a host).
    pub confirmed_how: Option<String>,
    /// The host of the confirming login.
    pub confirmed_on: Option<HostName>,
    /// Newest time step that the controller accepted: it and earlier ones are replays.
    pub last_step: Option<u64>,
    /// Why its rotation was asked for.
    pub cause: Cause,
    /// Its sheet.
    pub sheet: Option<SheetRecord>,
}

/// How a sheet's file is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SheetEncryption {
    /// A plain PDF.
    Plain,
    /// An age file to the admin's recipient.
    Recipient,
    /// A PDF with a passphrase.
    Passphrase,
}

impl SheetEncryption {
    /// Returns the word that stands in the ledger and in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Recipient => "recipient",
            Self::Passphrase => "passphrase",
        }
    }

    /// Reads the word that [`Self::as_str`] gives.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Plain, Self::Recipient, Self::Passphrase]
            .into_iter()
            .find(|e| e.as_str() == text)
    }
}

/// A sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SheetRecord {
    /// Its id, printed on it.
    pub id: SheetId,
    /// The token.
    pub serial: Serial,
    /// The generation it carries.
    pub generation: Generation,
    /// Its state.
    pub state: SheetState,
    /// How the file is protected.
    pub encryption: SheetEncryption,
    /// Final path of the file, once rendered.
    pub path: Option<String>,
    /// SHA-256 of the file in hexadecimal, once rendered.
    pub sha256: Option<String>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When its secret stops working unless confirmed.
    pub expires_at: Option<Timestamp>,
}

/// A host, as last met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRecord {
    /// Its name in the inventory.
    pub name: HostName,
    /// Its `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// Fingerprint of its host key.
    pub host_key: Option<String>,
    /// How to reach it, without secrets.
    pub connection: Option<serde_json::Value>,
    /// Other facts worth keeping.
    pub facts: Option<serde_json::Value>,
    /// Equivalence class: same sshd, effective configuration, PAM text.
    pub class: Option<String>,
    /// Hash over the configuration that this program manages.
    pub config_hash: Option<String>,
    /// Whether the last attempt reached it.
    pub reachable: bool,
    /// Why not, or what failed.
    pub detail: Option<String>,
    /// Last attempt.
    pub last_attempt_at: Timestamp,
    /// Last time it was read.
    pub last_seen_at: Option<Timestamp>,
    /// Ways past the code that were last seen on it: a list.
    pub weaknesses: Option<serde_json::Value>,
    /// When a run's text was put back on it, if no run has brought it again since.
    pub rolled_back_at: Option<Timestamp>,
}

/// A token on a host, as last read from the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHostRecord {
    /// The token.
    pub serial: Serial,
    /// The host.
    pub host: HostName,
    /// The account there.
    pub login: Login,
    /// What was seen.
    pub state: TokenHostState,
    /// Why it is a gap.
    pub reason: Option<String>,
    /// Generation seen in slot `current`.
    pub current: Option<Generation>,
    /// Generation seen in slot `next`.
    pub next: Option<Generation>,
    /// When this last became different.
    pub changed_at: Timestamp,
    /// When it was last read.
    pub observed_at: Timestamp,
}
