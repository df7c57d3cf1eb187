//! Protection of a sheet: encrypted to a public key, or by a passphrase.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use age::ssh::ParseRecipientKeyError;
use data_encoding::HEXLOWER;
use lopdf::encryption::crypt_filters::{Aes256CryptFilter, CryptFilter};
use lopdf::encryption::{EncryptionState, EncryptionVersion, Permissions};
use zeroize::{Zeroize as _, Zeroizing};

use super::error::SheetError;
use super::passphrase;
use crate::clock::Entropy;
use crate::token::secret::Secret;

/// A public key that a sheet can be encrypted to.
#[derive(Clone)]
pub enum Recipient {
    /// An age X25519 key, `age1…`.
    Age(age::x25519::Recipient),
    /// An OpenSSH key, ssh-ed25519 or ssh-rsa.
    Ssh(age::ssh::Recipient),
}

impl std::fmt::Debug for Recipient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Age(_) => "Recipient::Age",
            Self::Ssh(_) => "Recipient::Ssh",
        })
    }
}

impl std::str::FromStr for Recipient {
    type Err = SheetError;

    fn from_str(text: &str) -> Result<Self, SheetError> {
        let no = |why: String| Err(SheetError::Recipient { why });
        let text = text.trim();
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-")
            || text.starts_with("-----BEGIN")
        {
            return no(
                "is a private key; the file now holds a secret that must be replaced".to_owned(),
            );
        }
        if text.starts_with("age1") {
            return match text.parse() {
                Ok(key) => Ok(Self::Age(key)),
                Err(_) => {
                    no("is not a valid age public key; it may have been cut short".to_owned())
                }
            };
        }
        let kind = text.split_ascii_whitespace().next().unwrap_or_default();
        match kind {
            "ssh-ed25519" | "ssh-rsa" => match text.parse() {
                Ok(key) => Ok(Self::Ssh(key)),
                Err(ParseRecipientKeyError::RsaModulusTooSmall) => {
                    no("is an RSA key of less than 2048 bits".to_owned())
                }
                Err(ParseRecipientKeyError::RsaModulusTooLarge) => {
                    no("is too large an RSA key".to_owned())
                }
                Err(_) => no(format!(
                    "is not a valid {kind} public key; it may have been cut short"
                )),
            },
            _ if kind.starts_with("ecdsa-") || kind.starts_with("sk-") => {
                no(format!("is a {kind} key, which age cannot encrypt to"))
            }
            "" => no("is empty".to_owned()),
            _ => no("is not a public key that age can encrypt to".to_owned()),
        }
    }
}

impl Recipient {
    /// Returns whether the key is one that its owner may also log in with, which a report should say.
    pub const fn is_ssh_key(&self) -> bool {
        matches!(self, Self::Ssh(_))
    }

    fn as_age(&self) -> &dyn age::Recipient {
        match self {
            Self::Age(key) => key,
            Self::Ssh(key) => key,
        }
    }
}

/// Encrypts the bytes of a sheet to a public key, in age's binary format (`.pdf.age`).
///
/// # Errors
/// [`SheetError::Recipient`] when the key itself makes encryption fail.
pub fn encrypt_to_recipient(pdf: &[u8], recipient: &Recipient) -> Result<Vec<u8>, SheetError> {
    let failed = |e: &dyn std::fmt::Display| SheetError::Recipient {
        why: format!("cannot be encrypted to: {}", plain(&e.to_string())),
    };
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient.as_age()))
        .map_err(|e| failed(&e))?;
    let mut out = Vec::with_capacity(pdf.len() + 1024);
    let mut writer = encryptor.wrap_output(&mut out).map_err(|e| failed(&e))?;
    writer.write_all(pdf).map_err(|e| failed(&e))?;
    // Without this the last chunk is missing and readers say "truncated".
    writer.finish().map_err(|e| failed(&e))?;
    Ok(out)
}

/// Removes the invisible marks that age's translated messages put around values.
fn plain(text: &str) -> String {
    text.replace(['\u{2068}', '\u{2069}'], "")
}

/// Encrypts the bytes of a sheet by a passphrase: AES-256 as in PDF 2.0 (security handler revision 6).
///
/// # Errors
/// [`SheetError::Passphrase`] when the rule of [`passphrase::check`] is broken.
pub fn encrypt_with_passphrase(
    pdf: &[u8],
    passphrase: &Secret,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, SheetError> {
    passphrase::check(passphrase)?;
    let mut document = lopdf::Document::load_mem(pdf).map_err(SheetError::internal)?;
    let mut key = Zeroizing::new([0u8; 32]);
    let mut owner = Zeroizing::new([0u8; 32]);
    entropy.fill(&mut *key)?;
    entropy.fill(&mut *owner)?;
    // Nobody needs the owner's password: it is random and thrown away.
    let owner = Zeroizing::new(HEXLOWER.encode(&*owner));
    let filter: Arc<dyn CryptFilter> = Arc::new(Aes256CryptFilter);
    // The variant named V5 writes revision 6; the one named R5 is the withdrawn predecessor.
    let state = EncryptionState::try_from(EncryptionVersion::V5 {
        encrypt_metadata: true,
        crypt_filters: BTreeMap::from([(b"StdCF".to_vec(), filter)]),
        file_encryption_key: &*key,
        stream_filter: b"StdCF".to_vec(),
        string_filter: b"StdCF".to_vec(),
        owner_password: &owner,
        user_password: passphrase.expose(),
        permissions: Permissions::all(),
    })
    .map_err(|_| SheetError::Passphrase("was refused by the PDF library"))?;
    document.version = "2.0".to_owned();
    let encrypted = document.encrypt(&state);
    encrypted.map_err(SheetError::internal)?;
    write_key_lengths(&mut document).map_err(SheetError::internal)?;
    let mut out = Vec::with_capacity(pdf.len() + 2048);
    document.save_to(&mut out).map_err(SheetError::internal)?;
    for object in document.objects.values_mut() {
        if let lopdf::Object::Stream(stream) = object {
            stream.content.zeroize();
        }
    }
    Ok(out)
}

/// Adds the two lengths that lopdf before 0.47 leaves out: without them poppler assumes 40 bits and shows a blank page.
fn write_key_lengths(document: &mut lopdf::Document) -> lopdf::Result<()> {
    let id = document.trailer.get(b"Encrypt")?.as_reference()?;
    let encrypt = document.get_object_mut(id)?.as_dict_mut()?;
    encrypt.set("Length", 256);
    let filters = encrypt.get_mut(b"CF")?.as_dict_mut()?;
    filters.get_mut(b"StdCF")?.as_dict_mut()?.set("Length", 32);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> String {
        text.parse::<Recipient>().unwrap_err().to_string()
    }

    #[test]
    fn keys_that_cannot_be_recipients_are_refused_by_their_kind() {
        assert!(why("ecdsa-sha2-nistp256 AAAAE2Vj c").contains("ecdsa-sha2-nistp256"));
        assert!(
            why("sk-ssh-ed25519@openssh.com AAAAGnNr c").contains("sk-ssh-ed25519@openssh.com")
        );
        assert!(why("age1qqqqqq").contains("cut short"));
        assert!(why("ssh-ed25519 AAAAC3Nza c").contains("cut short"));
        assert!(why("").contains("empty"));
        assert!(why("hunter2").contains("not a public key"));
        assert!(why("AGE-SECRET-KEY-1QQQ").contains("private key"));
    }

    #[test]
    fn errors_repeat_nothing_of_a_text_that_may_be_a_secret() {
        for text in [
            "hunter2",
            "AGE-SECRET-KEY-1HUNTER2",
            "age1hunter2",
            "ssh-rsa hunter2",
        ] {
            assert!(
                !why(text).to_lowercase().contains("hunter2"),
                "{}",
                why(text)
            );
        }
    }
}
