//! What an authenticator app must know besides the key: hash, digits, length of a step.

use std::fmt;

use serde::Serialize;

use crate::clock::Span;

/// Hash function of a code, RFC 6238 section 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// HMAC-SHA-1: the only one that every authenticator app honours.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

impl Algorithm {
    /// All hash functions of RFC 6238.
    pub const ALL: [Self; 3] = [Self::Sha1, Self::Sha256, Self::Sha512];

    /// Returns the name as it stands in `otpauth://` URIs and in the ledger: `SHA1`, `SHA256`, `SHA512`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// Returns the hash function of that name, written as [`Algorithm::as_str`] does.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.as_str() == text)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The parameters of a time-based code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeParams {
    /// Hash function.
    pub algorithm: Algorithm,
    /// Digits of a code, 6 to 8.
    pub digits: u8,
    /// Length of a step in seconds, at least 1.
    pub period: u16,
}

impl CodeParams {
    /// SHA1, 6 digits, 30 seconds: the only set that every authenticator app honours.
    pub const DEFAULT: Self = Self {
        algorithm: Algorithm::Sha1,
        digits: 6,
        period: 30,
    };

    /// Takes the parameters from a policy's values; a period beyond 18 hours is cut, and no backend accepts it anyway.
    pub fn new(algorithm: Algorithm, digits: u8, period: Span) -> Self {
        Self {
            algorithm,
            digits,
            period: u16::try_from(period.as_secs()).unwrap_or(u16::MAX),
        }
    }
}

impl Default for CodeParams {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for CodeParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}s", self.algorithm, self.digits, self.period)
    }
}
