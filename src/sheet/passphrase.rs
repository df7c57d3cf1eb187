//! Passphrases for sheets.

use zeroize::Zeroizing;

use super::error::SheetError;
use crate::clock::{Entropy, EntropyError};
use crate::token::secret::Secret;

/// Letters and digits that cannot be mistaken for each other in print or over the telephone: 31, so 4.95 bits each.
const READABLE: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// Groups of a generated passphrase.
const GROUPS: usize = 6;
/// Characters of a group.
const GROUP: usize = 4;

/// Checks that every reader of PDFs will take a passphrase: 1 to 127 printable ASCII characters.
///
/// Readers differ in how they normalise other characters, and longer passphrases are cut: both lock people out.
///
/// # Errors
/// [`SheetError::Passphrase`], without the passphrase.
pub fn check(passphrase: &Secret) -> Result<(), SheetError> {
    let text = passphrase.expose();
    if text.is_empty() {
        return Err(SheetError::Passphrase("is empty"));
    }
    if text.len() > 127 {
        return Err(SheetError::Passphrase("is longer than 127 characters"));
    }
    if !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(SheetError::Passphrase(
            "may only hold letters without accents, digits, spaces and signs of ASCII",
        ));
    }
    Ok(())
}

/// Returns whether a passphrase is so short that a stolen file could be opened by trying: the format's key derivation is
/// fast.
pub fn is_short(passphrase: &Secret) -> bool {
    passphrase.expose().len() < 16
}

/// Makes a passphrase such as `k7mq-2xwe-…`: six groups of four, 118 bits. It is 29 characters long, since some readers
/// cut what is typed after 32.
///
/// # Errors
/// When the random source fails.
pub fn generate(entropy: &dyn Entropy) -> Result<Secret, EntropyError> {
    // The largest multiple of 31 in a byte: bytes from here on would favour the first letters.
    let limit = 256 - 256 % READABLE.len();
    let mut text = String::with_capacity(GROUPS * (GROUP + 1));
    let mut byte = Zeroizing::new([0u8; 1]);
    for position in 0..GROUPS * GROUP {
        if position > 0 && position % GROUP == 0 {
            text.push('-');
        }
        let drawn = loop {
            entropy.fill(&mut *byte)?;
            let [value] = *byte;
            if usize::from(value) < limit {
                break usize::from(value) % READABLE.len();
            }
        };
        if let Some(c) = READABLE.get(drawn) {
            text.push(char::from(*c));
        }
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn generated_passphrases_pass_the_rule_and_differ() {
        let first = generate(&SystemEntropy).unwrap();
        let second = generate(&SystemEntropy).unwrap();
        check(&first).unwrap();
        assert!(!is_short(&first) && is_short(&Secret::from("hunter2")));
        assert!(first != second);
        assert_eq!(first.expose().len(), 29);
        let groups: Vec<&str> = first.expose().split('-').collect();
        assert_eq!(groups.len(), 6);
        assert!(
            groups
                .iter()
                .all(|g| g.len() == 4 && g.bytes().all(|b| READABLE.contains(&b)))
        );
    }

    #[test]
    fn passphrases_that_lock_people_out_are_refused() {
        for text in [
            "",
            "pässword",
            "ﬁne",
            "a\u{a0}b",
            "a\tb",
            "a\n",
            &"x".repeat(128),
        ] {
            let error = check(&Secret::from(text)).unwrap_err().to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        check(&Secret::new("~".repeat(127))).unwrap();
    }
}
