//! The `otpauth://` URI in a sheet's QR code.
//!
//! Written so that every known app reads it the same way: defaults are left out (no app can misread what is not there,
//! and the code stays small), `%20` and never `+`, one literal colon in the label, prefix and `issuer` equal, ASCII only.

use std::fmt::Write as _;

use crate::names::{Login, RealmName};
use crate::token::key::{self, KeyError};
use crate::token::params::CodeParams;
use crate::token::secret::{Secret, base32};

/// Longest issuer or account in bytes after encoding: keeps the QR code within what a phone reads from paper.
const MAX_ENCODED: usize = 150;

/// A URI cannot be made of these parts. Never holds the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// The issuer or account is not usable.
    #[error("the {what} {why}")]
    Part {
        /// `issuer` or `account`.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The key is not base32.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Returns the account part of a token's label: `login@realm`.
///
/// Apps that key their entries by issuer and account then overwrite the old entry on rotation, and those that key by
/// account alone do not mix up two realms. A login has no `@`, so different pairs have different labels.
pub fn account_label(login: &Login, realm: &RealmName) -> String {
    format!("{login}@{realm}")
}

/// Checks that a text can be an issuer: for policies, before anything is issued.
///
/// # Errors
/// When it is empty, too long, or holds a colon or control characters.
pub fn check_issuer(issuer: &str) -> Result<(), UriError> {
    check_part("issuer", issuer)
}

fn check_part(what: &'static str, text: &str) -> Result<(), UriError> {
    let why = if text.trim().is_empty() {
        "is empty"
    } else if text.trim() != text {
        "begins or ends with white space"
    } else if text.contains(':') {
        "contains a colon, which separates issuer and account in authenticator apps"
    } else if text.chars().any(char::is_control) {
        "contains control characters"
    } else if encoded_len(text) > MAX_ENCODED {
        "is too long for a QR code"
    } else {
        return Ok(());
    };
    Err(UriError::Part { what, why })
}

/// Makes the URI.
///
/// # Errors
/// When issuer or account cannot stand in one, or the key is not base32.
pub fn build(
    key: &Secret,
    issuer: &str,
    account: &str,
    params: CodeParams,
) -> Result<Secret, UriError> {
    check_part("issuer", issuer)?;
    check_part("account", account)?;
    // Decoded and encoded again: upper case, no padding, no spaces.
    let key = base32(&key::decode(key)?);
    // Large enough from the start, so that no copy of the key is left behind by a reallocation.
    let mut uri = String::with_capacity(
        96 + 2 * encoded_len(issuer) + encoded_len(account) + key.expose().len(),
    );
    uri.push_str("otpauth://totp/");
    encode(&mut uri, issuer);
    uri.push(':');
    encode(&mut uri, account);
    uri.push_str("?secret=");
    uri.push_str(key.expose());
    uri.push_str("&issuer=");
    encode(&mut uri, issuer);
    let default = CodeParams::DEFAULT;
    // Writing to a string cannot fail.
    if params.algorithm != default.algorithm {
        _ = write!(uri, "&algorithm={}", params.algorithm);
    }
    if params.digits != default.digits {
        _ = write!(uri, "&digits={}", params.digits);
    }
    if params.period != default.period {
        _ = write!(uri, "&period={}", params.period);
    }
    Ok(Secret::new(uri))
}

/// RFC 3986 section 2.3, and `@`, which may stand in a path and in a query as it is.
const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'@')
}

fn encoded_len(text: &str) -> usize {
    text.bytes().map(|b| if is_plain(b) { 1 } else { 3 }).sum()
}

fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::params::Algorithm;

    fn key() -> Secret {
        base32(b"12345678901234567890")
    }

    #[test]
    fn defaults_are_left_out() {
        let uri = build(&key(), "Example Corp", "alice@prod", CodeParams::DEFAULT).unwrap();
        assert_eq!(
            uri.expose(),
            "otpauth://totp/Example%20Corp:alice@prod?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Example%20Corp"
        );
        let other = CodeParams {
            algorithm: Algorithm::Sha256,
            digits: 8,
            period: 60,
        };
        let uri = build(&key(), "Zoë & Söhne+", "a@b", other).unwrap();
        assert_eq!(
            uri.expose(),
            "otpauth://totp/Zo%C3%AB%20%26%20S%C3%B6hne%2B:a@b?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=Zo%C3%AB%20%26%20S%C3%B6hne%2B&algorithm=SHA256&digits=8&period=60"
        );
    }

    #[test]
    fn what_apps_would_misread_is_refused() {
        for issuer in ["", "  ", "a:b", "a\nb", " a", &"é".repeat(60)] {
            assert!(
                build(&key(), issuer, "a@b", CodeParams::DEFAULT).is_err(),
                "{issuer:?}"
            );
            assert!(check_issuer(issuer).is_err());
        }
        assert!(build(&key(), "Corp", "a:b", CodeParams::DEFAULT).is_err());
        assert!(build(&Secret::from("!"), "Corp", "a", CodeParams::DEFAULT).is_err());
    }

    #[test]
    fn labels_differ_between_realms() {
        let label =
            |l: &str, r: &str| account_label(&Login::new(l).unwrap(), &RealmName::new(r).unwrap());
        assert_eq!(label("alice", "prod"), "alice@prod");
        assert_ne!(label("a", "b@c"), label("a", "c"));
    }

    proptest! {
        /// What another implementation reads from the URI is what went in.
        #[test]
        fn the_uri_reads_back_as_written(
            bytes in proptest::collection::vec(any::<u8>(), 20..=20),
            issuer in "[^:\\p{C}\\p{Z}]([^:\\p{C}]{0,9}[^:\\p{C}\\p{Z}])?",
            account in "[a-z][a-z0-9._-]{0,20}@[A-Za-z0-9._@+-]{1,20}",
            digits in prop::sample::select(vec![6u8, 7, 8]),
            period in 1u16..=60,
            algorithm in prop::sample::select(Algorithm::ALL.to_vec()),
        ) {
            prop_assume!(issuer.trim() == issuer);
            let params = CodeParams { algorithm, digits, period };
            let uri = build(&base32(&bytes), &issuer, &account, params).unwrap();
            prop_assert!(uri.expose().is_ascii());
            prop_assert!(!uri.expose().contains('+'));
            prop_assert_eq!(uri.expose().matches(':').count(), 2);
            let read = totp_rs::Totp::from_url(uri.expose()).unwrap();
            prop_assert_eq!(read.secret().as_bytes(), bytes.as_slice());
            prop_assert_eq!(read.issuer(), Some(issuer.as_str()));
            prop_assert_eq!(read.account_name(), account.as_str());
            prop_assert_eq!(read.digits(), digits);
            prop_assert_eq!(read.step(), u64::from(period));
            let read_algorithm = read.algorithm();
            prop_assert_eq!(read_algorithm.as_str(), algorithm.as_str());
        }
    }
}
