//! Recovery codes (worth a new sheet, at the controller) and scratch codes (worth a login, on a host).

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::clock::{Entropy, EntropyError};
use crate::token::secret::Secret;

/// The alphabet of recovery codes: Crockford's base 32, in which no two signs look alike.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a recovery code, of five bits each: 80 bits.
const LENGTH: usize = 16;
const GROUP: usize = 4;

/// Memory in KiB, passes, lanes. A code has 80 random bits, so it is not the hash that keeps guessers out: it is there
/// for the day on which codes should turn out to be worse than they are. Sheets are made by the hundred.
const COST: (u32, u32, u32) = (8 * 1024, 2, 1);
/// What a hash in the ledger may cost at most: whoever could change it must not be able to stop the program.
const MOST_MEMORY: u32 = 64 * 1024;
const MOST_PASSES: u32 = 8;

/// A recovery code could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The hash function refused.
    #[error("cannot hash a recovery code: {0}")]
    Hash(String),
}

/// Makes a recovery code in groups for typing, `7K2M-9QXA-04TB-ZZ3C`.
///
/// # Errors
/// When the random source fails.
pub fn generate(entropy: &dyn Entropy) -> Result<Secret, EntropyError> {
    let mut bytes = Zeroizing::new([0u8; LENGTH]);
    entropy.fill(bytes.as_mut_slice())?;
    // All of it at once, so that no copy stays behind.
    let mut text = String::with_capacity(LENGTH + LENGTH / GROUP);
    for (number, byte) in bytes.iter().enumerate() {
        if number > 0 && number % GROUP == 0 {
            text.push('-');
        }
        text.extend(ALPHABET.get(usize::from(byte & 31)).map(|b| char::from(*b)));
    }
    Ok(Secret::new(text))
}

/// Brings what a person typed into the form that is hashed; `None` for what cannot be a recovery code.
///
/// Case, blanks and dashes do not matter, and what looks alike is the same.
pub fn read(typed: &str) -> Option<Secret> {
    let mut code = String::with_capacity(LENGTH);
    for c in typed.chars() {
        let c = match c.to_ascii_uppercase() {
            ' ' | '-' | '\t' => continue,
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        };
        if code.len() == LENGTH || !c.is_ascii() || !ALPHABET.contains(&(c as u8)) {
            drop(Secret::new(code));
            return None;
        }
        code.push(c);
    }
    let code = Secret::new(code);
    (code.expose().len() == LENGTH).then_some(code)
}

/// Hashes a code for the ledger: Argon2id, in PHC form.
///
/// # Errors
/// When it is no code, or randomness fails.
pub fn hash(code: &Secret, entropy: &dyn Entropy) -> Result<String, RecoveryError> {
    let wrong = |e: &dyn std::fmt::Display| RecoveryError::Hash(e.to_string());
    let code = read(code.expose()).ok_or_else(|| wrong(&"it is none"))?;
    let mut salt = [0u8; 16];
    entropy.fill(&mut salt)?;
    let salt = SaltString::encode_b64(&salt).map_err(|e| wrong(&e))?;
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|e| wrong(&e))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(code.expose().as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|e| wrong(&e))
}

/// Returns whether a code, as [`read`] gives it, is the one of a hash. Hashes are compared in constant time; one that is
/// unreadable, of another function or too costly fits nothing.
pub fn fits(code: &Secret, hash: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else {
        return false;
    };
    let affordable = Params::try_from(&parsed)
        .is_ok_and(|p| p.m_cost() <= MOST_MEMORY && p.t_cost() <= MOST_PASSES);
    parsed.algorithm == Algorithm::Argon2id.ident()
        && affordable
        && Argon2::default()
            .verify_password(code.expose().as_bytes(), &parsed)
            .is_ok()
}

/// Makes a scratch code as pam_google_authenticator takes them: eight digits, the first not 0.
///
/// # Errors
/// When the random source fails.
pub fn scratch(entropy: &dyn Entropy) -> Result<Secret, EntropyError> {
    const LEAST: u64 = 10_000_000;
    const COUNT: u64 = 90_000_000;
    let mut bytes = Zeroizing::new([0u8; 8]);
    entropy.fill(bytes.as_mut_slice())?;
    // The bias of 2^64 modulo 9 * 10^7 is below one in 10^11.
    let number = LEAST + u64::from_le_bytes(*bytes) % COUNT;
    Ok(Secret::new(number.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn codes_have_80_bits_in_groups_and_read_back_as_people_type() {
        let code = generate(&SystemEntropy).unwrap();
        assert_eq!(code.expose().len(), 19);
        assert!(code.expose().split('-').all(|g| g.len() == 4));
        let read_back = read(code.expose()).unwrap();
        let sloppy = code.expose().to_lowercase().replace('-', "  ");
        assert_eq!(read(&sloppy).unwrap(), read_back);
        assert_eq!(
            read("o1IL-0000-0000-0000").unwrap(),
            Secret::from("0111000000000000")
        );
        for typed in [
            "",
            "7K2M-9QXA-04TB-ZZ3",
            "7K2M-9QXA-04TB-ZZ3CC",
            "7K2M-9QXA-04TB-ZZ3U",
            "７K2M-9QXA-04TB-ZZ3C",
        ] {
            assert!(read(typed).is_none(), "{typed}");
        }
        assert_ne!(generate(&SystemEntropy).unwrap(), code);
    }

    #[test]
    fn a_hash_fits_its_code_only_and_says_how_it_was_made() {
        let (one, two) = (
            generate(&SystemEntropy).unwrap(),
            generate(&SystemEntropy).unwrap(),
        );
        let phc = hash(&one, &SystemEntropy).unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=8192,t=2,p=1$"), "{phc}");
        assert_ne!(phc, hash(&one, &SystemEntropy).unwrap(), "salted");
        assert!(fits(&read(one.expose()).unwrap(), &phc));
        assert!(!fits(&read(two.expose()).unwrap(), &phc));
    }

    #[test]
    fn a_hash_that_was_tampered_with_fits_nothing_and_costs_nothing() {
        let code = read(generate(&SystemEntropy).unwrap().expose()).unwrap();
        let phc = hash(&code, &SystemEntropy).unwrap();
        for hash in [
            String::new(),
            phc.replace("m=8192", "m=4194304"),
            phc.replace("t=2", "t=4000000"),
            phc.replace("argon2id", "argon2i"),
            phc.replace("p=1$", "p=1$AAAA"),
        ] {
            assert!(!fits(&code, &hash), "{hash}");
        }
    }

    #[test]
    fn scratch_codes_are_what_the_module_takes() {
        for _ in 0..100 {
            let code = scratch(&SystemEntropy).unwrap();
            let number: u64 = code.expose().parse().unwrap();
            assert!((10_000_000..100_000_000).contains(&number));
        }
    }
}
