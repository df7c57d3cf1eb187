//! The vault: secrets as age ciphertext, which the ledger stores.
//!
//! Sealing needs the public recipients only, so a job that holds no identity can issue and revoke but not read.
//! age authenticates no context of its own; the plaintext therefore begins with project, serial and generation, and a
//! ciphertext moved to another token does not open.

mod identity;
mod recipient;

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

pub use identity::{NewIdentity, generate_identity};
pub use recipient::{Recipient, RecipientError};

use crate::error::{Error, Kind};
use crate::token::id::{Generation, ProjectId, Serial};
use crate::token::secret::Secret;

/// Version of the plaintext's form.
const HEADER: &str = "fleetotp secret v1";

/// A plaintext is a few short lines; anything longer was not sealed here.
const MAX_PLAINTEXT: u64 = 4096;

/// What a sealed secret belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealLabel<'a> {
    /// The project.
    pub project: &'a ProjectId,
    /// The token.
    pub serial: &'a Serial,
    /// The token's generation.
    pub generation: Generation,
}

impl SealLabel<'_> {
    fn prefix(&self) -> String {
        format!(
            "{HEADER}\nproject {}\nserial {}\ngeneration {}\nkey ",
            self.project, self.serial, self.generation
        )
    }
}

/// Sealing or opening failed. No variant holds a part of a secret.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// No recipient is configured.
    #[error("no vault recipient is configured, so a secret could not be kept")]
    NoRecipients,
    /// A recipient is not usable.
    #[error(transparent)]
    Recipient(#[from] RecipientError),
    /// The secret must be read and there is no identity at hand.
    #[error("{}", match .path {
        Some(path) => format!("reading a secret needs the age identity, and there is none at `{}`", path.display()),
        None => "reading a secret needs the age identity, and none is configured".to_owned(),
    })]
    NeedsIdentity {
        /// Where it was looked for.
        path: Option<PathBuf>,
    },
    /// Others can read the identity file.
    #[error("the identity file `{}` can be read by others: its mode is {mode:04o}", .path.display())]
    IdentityExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The identity file cannot be read.
    #[error("cannot read the identity file `{}`", .path.display())]
    IdentityUnreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The identity file does not hold age identities.
    #[error("the identity file `{}` is not usable: {why}", .path.display())]
    IdentityInvalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line but without its text.
        why: String,
    },
    /// The identity is none of those that the secret was sealed to.
    #[error("the identity does not open this secret: it was sealed to other recipients")]
    WrongIdentity,
    /// The ciphertext is damaged.
    #[error("the sealed secret is damaged: {0}")]
    Damaged(&'static str),
    /// The ciphertext belongs to another token, generation or project.
    #[error(
        "the sealed secret belongs to another token than {serial} generation {generation}: the ledger was tampered with, or is of another project"
    )]
    Misplaced {
        /// The token whose secret was wanted.
        serial: Serial,
        /// The generation that was wanted.
        generation: Generation,
    },
    /// age failed to encrypt.
    #[error("cannot seal a secret: {0}")]
    Seal(String),
}

impl From<VaultError> for Error {
    fn from(error: VaultError) -> Self {
        let hint = match &error {
            VaultError::NoRecipients => {
                Some("name an age public key in `vault.recipients` of fleetotp.yml".to_owned())
            }
            VaultError::NeedsIdentity { .. } => Some(
                "give --identity FILE or set `vault.identity` in fleetotp.yml, or run this where the identity is kept"
                    .to_owned(),
            ),
            VaultError::IdentityExposed { path, .. } => {
                Some(format!("chmod 600 '{}'", path.display()))
            }
            VaultError::WrongIdentity => Some(
                "use the identity whose public key stood in `vault.recipients` when the token was issued".to_owned(),
            ),
            _ => None,
        };
        let kind = match error {
            VaultError::Recipient(_) | VaultError::NoRecipients => Kind::File,
            _ => Kind::Failed,
        };
        let shown = Self::new(kind, error.to_string()).hinted_if(hint);
        match error {
            VaultError::IdentityUnreadable { source, .. } => shown.caused_by(source),
            _ => shown,
        }
    }
}

/// Seals and opens secrets.
pub struct Vault {
    recipients: Vec<Recipient>,
    identity: Option<PathBuf>,
    /// Read on first use, so that a run which opens nothing never touches the file.
    opened: OnceLock<Vec<age::x25519::Identity>>,
    /// How many secrets were opened: reading them is an event.
    count: AtomicU64,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault")
            .field("recipients", &self.recipients)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// A vault that seals to `recipients` and opens with the identities in the file at `identity`.
    ///
    /// # Errors
    /// When there is no recipient.
    pub fn new(recipients: Vec<Recipient>, identity: Option<PathBuf>) -> Result<Self, VaultError> {
        if recipients.is_empty() {
            return Err(VaultError::NoRecipients);
        }
        Ok(Self {
            recipients,
            identity,
            opened: OnceLock::new(),
            count: AtomicU64::new(0),
        })
    }

    /// A vault of recipients as they stand in the project file.
    ///
    /// # Errors
    /// When there is none, or one is not usable; [`RecipientError`] says which.
    pub fn parse(recipients: &[String], identity: Option<PathBuf>) -> Result<Self, VaultError> {
        let recipients = recipients
            .iter()
            .map(|text| Recipient::parse(text))
            .collect::<Result<_, _>>()?;
        Self::new(recipients, identity)
    }

    /// Returns the public keys that secrets are sealed to.
    pub fn recipients(&self) -> Vec<String> {
        self.recipients.iter().map(ToString::to_string).collect()
    }

    /// Returns whether an identity file is there, without reading it. For plans that say what will need one.
    pub fn has_identity(&self) -> bool {
        self.identity
            .as_deref()
            .is_some_and(std::path::Path::exists)
    }

    /// Seals a secret for one generation of one token.
    ///
    /// # Errors
    /// When age fails.
    pub fn seal(&self, label: &SealLabel<'_>, secret: &Secret) -> Result<Vec<u8>, VaultError> {
        let seal_error = |e: &dyn std::fmt::Display| VaultError::Seal(plain(&e.to_string()));
        let encryptor = age::Encryptor::with_recipients(
            self.recipients
                .iter()
                .map(|r| r.as_age() as &dyn age::Recipient),
        )
        .map_err(|e| seal_error(&e))?;
        let mut sealed = Vec::new();
        let mut writer = encryptor
            .wrap_output(&mut sealed)
            .map_err(|e| seal_error(&e))?;
        writer
            .write_all(label.prefix().as_bytes())
            .and_then(|()| writer.write_all(secret.expose().as_bytes()))
            .and_then(|()| writer.write_all(b"\n"))
            .map_err(|e| seal_error(&e))?;
        // Without this the file is truncated and never opens again.
        writer.finish().map_err(|e| seal_error(&e))?;
        Ok(sealed)
    }

    /// Opens a sealed secret.
    ///
    /// # Errors
    /// [`VaultError::NeedsIdentity`] where there is no identity; otherwise what is wrong with the identity or the
    /// ciphertext.
    pub fn open(&self, label: &SealLabel<'_>, sealed: &[u8]) -> Result<Secret, VaultError> {
        let identities = self.identities()?;
        let decryptor = age::Decryptor::new_buffered(sealed)
            .map_err(|_| VaultError::Damaged("it is not an age file"))?;
        let mut reader = decryptor
            .decrypt(identities.iter().map(|i| i as &dyn age::Identity))
            .map_err(|error| match error {
                age::DecryptError::NoMatchingKeys => VaultError::WrongIdentity,
                _ => VaultError::Damaged("age cannot decrypt it"),
            })?
            .take(MAX_PLAINTEXT);
        // As large as a plaintext can be, so that reading never moves it and leaves a copy behind.
        let mut plaintext = Zeroizing::new(Vec::with_capacity(MAX_PLAINTEXT as usize + 1));
        reader
            .read_to_end(&mut plaintext)
            .map_err(|_| VaultError::Damaged("age cannot decrypt it"))?;
        let text = std::str::from_utf8(&plaintext)
            .map_err(|_| VaultError::Damaged("it does not hold text"))?;
        if !text.starts_with(HEADER) {
            return Err(VaultError::Damaged("it was not sealed by fleetotp"));
        }
        let key = text
            .strip_prefix(&label.prefix())
            .ok_or_else(|| VaultError::Misplaced {
                serial: label.serial.clone(),
                generation: label.generation,
            })?
            .strip_suffix('\n')
            .ok_or(VaultError::Damaged("it is cut short"))?;
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(Secret::from(key))
    }

    /// Returns how many secrets were opened since this was last asked.
    pub fn take_count(&self) -> u64 {
        self.count.swap(0, Ordering::Relaxed)
    }

    /// Returns the public keys of the identity at hand.
    ///
    /// # Errors
    /// [`VaultError::NeedsIdentity`] where there is none; otherwise what is wrong with it.
    pub fn identity_recipients(&self) -> Result<Vec<String>, VaultError> {
        Ok(self
            .identities()?
            .iter()
            .map(|i| i.to_public().to_string())
            .collect())
    }

    fn identities(&self) -> Result<&[age::x25519::Identity], VaultError> {
        if let Some(identities) = self.opened.get() {
            return Ok(identities);
        }
        let path = self
            .identity
            .as_deref()
            .ok_or(VaultError::NeedsIdentity { path: None })?;
        let identities = identity::read(path)?;
        Ok(self.opened.get_or_init(|| identities))
    }
}

/// age's texts hold invisible direction marks, which would confuse a terminal.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, '\u{2066}'..='\u{2069}') && !c.is_control())
        .collect()
}

#[cfg(test)]
mod tests;
