//! Bytes that must never be printed.

use std::fmt;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A secret text: no `Display`, a redacted `Debug`, wiped when dropped.
///
/// Holds base32 keys, `otpauth://` URIs and passwords. The buffer is never grown in place, so no copy stays behind.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes over a secret text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Returns the text. Every caller of this function is a place to review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the first twelve hexadecimal digits of the secret's SHA-256, by which output names it.
    ///
    /// Only meaningful for secrets with enough entropy to withstand guessing, such as 160-bit keys.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl PartialEq for Secret {
    /// Compares digests, so the time taken says nothing about the texts.
    fn eq(&self, other: &Self) -> bool {
        Sha256::digest(self.0.as_bytes()) == Sha256::digest(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.to_owned())
    }
}

/// Returns the first twelve hexadecimal digits of the SHA-256 of `bytes`.
pub fn fingerprint_of(bytes: &[u8]) -> String {
    let mut hex = HEXLOWER.encode(&Sha256::digest(bytes));
    hex.truncate(12);
    hex
}

/// Length of a key in bytes: 160 bits, as RFC 4226 section 4 (R6) recommends.
pub const KEY_BYTES: usize = 20;

/// Encodes bytes in base32 (RFC 4648 section 6) without padding, which pam_google_authenticator refuses.
pub fn base32(bytes: &[u8]) -> Secret {
    Secret::new(BASE32_NOPAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_matches_the_vectors_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(plain.as_bytes()).expose(), coded);
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::from("hunter2")), "[redacted]");
    }
}
