//! Whom secrets are sealed to.

use std::fmt;

use crate::names::printable;

/// A text cannot be a vault recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("vault recipient {shown} {why}")]
pub struct RecipientError {
    shown: String,
    why: &'static str,
}

/// An age X25519 public key, `age1…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient(age::x25519::Recipient);

impl Recipient {
    /// Reads a public key as `age-keygen` prints it.
    ///
    /// # Errors
    /// When it is not an X25519 public key. A secret key given by mistake is not shown.
    pub fn parse(text: &str) -> Result<Self, RecipientError> {
        let text = text.trim();
        if text.to_ascii_uppercase().contains("AGE-SECRET-KEY-") {
            return Err(RecipientError {
                shown: "(not shown)".to_owned(),
                why: "is a secret key: write the public key, which begins with `age1`, and replace this identity, \
                      since a project file is not a place for secrets",
            });
        }
        let error = |why| RecipientError {
            shown: format!("`{}`", printable(text, 80)),
            why,
        };
        if text.starts_with("ssh-") || text.starts_with("ecdsa-") || text.starts_with("sk-") {
            return Err(error(
                "is an SSH key: the vault takes age public keys, as `age-keygen` makes them",
            ));
        }
        text.parse().map(Self).map_err(|_| {
            if text.starts_with("age1") {
                error("is not an age X25519 public key: a character is wrong or missing, or it is of a plugin")
            } else {
                error("is not an age public key, which begins with `age1`")
            }
        })
    }

    pub(super) const fn as_age(&self) -> &age::x25519::Recipient {
        &self.0
    }

    pub(super) const fn from_age(recipient: age::x25519::Recipient) -> Self {
        Self(recipient)
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
