//! Keys: made from the random source, read back from base32.

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use crate::clock::{Entropy, EntropyError};
use crate::token::secret::{KEY_BYTES, Secret, base32};

/// A text is not a key. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is not base32 (A to Z and 2 to 7), or is empty")]
pub struct KeyError;

/// Makes a new key of 160 random bits, as unpadded base32.
///
/// # Errors
/// When the random source fails.
pub fn generate(entropy: &dyn Entropy) -> Result<Secret, EntropyError> {
    let mut bytes = Zeroizing::new([0u8; KEY_BYTES]);
    entropy.fill(bytes.as_mut_slice())?;
    Ok(base32(bytes.as_slice()))
}

/// Decodes a base32 key; case, spaces, dashes and padding do not matter, as in what people copy from elsewhere.
///
/// # Errors
/// When the text is not base32 or holds no byte.
pub fn decode(key: &Secret) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let mut text = Zeroizing::new(Vec::with_capacity(key.expose().len()));
    text.extend(
        key.expose()
            .bytes()
            .filter(|b| !matches!(b, b' ' | b'-' | b'='))
            .map(|b| b.to_ascii_uppercase()),
    );
    let bytes = Zeroizing::new(BASE32_NOPAD.decode(&text).map_err(|_| KeyError)?);
    if bytes.is_empty() {
        return Err(KeyError);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    /// A random source that delivers nothing.
    #[derive(Debug)]
    struct NoEntropy;

    impl Entropy for NoEntropy {
        fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
            Err(EntropyError("empty".to_owned()))
        }
    }

    #[test]
    fn a_key_has_160_bits_and_no_padding() {
        let key = generate(&SystemEntropy).unwrap();
        assert_eq!(key.expose().len(), 32);
        assert_eq!(decode(&key).unwrap().len(), KEY_BYTES);
        assert_ne!(key, generate(&SystemEntropy).unwrap());
    }

    #[test]
    fn without_randomness_there_is_no_key() {
        assert!(generate(&NoEntropy).is_err());
    }

    #[test]
    fn keys_are_read_as_people_write_them() {
        let wanted = decode(&Secret::from("MZXW6YTBOI")).unwrap();
        for text in ["mzxw6ytboi", "MZXW 6YTB OI", "mzxw-6ytb-oi======"] {
            assert_eq!(decode(&Secret::from(text)).unwrap(), wanted, "{text}");
        }
        for text in ["", "====", "MZXW1", "MZXW6YTBOÏ", "M"] {
            assert_eq!(decode(&Secret::from(text)), Err(KeyError), "{text}");
        }
    }
}
