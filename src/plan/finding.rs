//! What a plan noticed: each finding has an id, a sentence and a remedy.

use serde::Serialize;

/// The gap that asks for another inspection, one that counts public keys.
pub const KEYS_UNKNOWN: &str = "keys-unknown";
/// The gap that asks for a key from the vault.
pub const NEEDS_KEY: &str = "needs-identity";
/// The gap of a secret that only hosts have: the ledger was recovered from them, and no identity reads it.
pub const KEY_LOST: &str = "secret-lost";

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing is held back.
    Note,
    /// Something may go wrong; nothing is held back.
    Warning,
    /// Nothing is changed on the host.
    Refusal,
}

/// Something a plan noticed on a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Finding {
    /// A stable name, such as `pam-other-mfa`.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub text: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl Finding {
    /// Something worth knowing.
    pub fn note(id: &'static str, text: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            id,
            severity: Severity::Note,
            text: text.into(),
            remedy,
        }
    }

    /// Something that may go wrong.
    pub fn warning(id: &'static str, text: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::note(id, text, remedy)
        }
    }

    /// Returns text, id and remedy in one line.
    pub fn sentence(&self) -> String {
        format!("{} ({}); {}", self.text, self.id, self.remedy)
    }

    /// Something for which nothing is changed on the host.
    pub fn refusal(id: &'static str, text: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            id,
            severity: Severity::Refusal,
            text: text.into(),
            remedy,
        }
    }
}

/// Why an admin's token is not in force on a host: a named gap, never a silent success.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Gap {
    /// The account concerned.
    pub login: String,
    /// A stable name, such as `no-account`.
    pub id: &'static str,
    /// What is missing.
    pub text: String,
}
