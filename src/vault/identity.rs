//! The identity: the secret key that opens what was sealed, in a file of age-keygen's form.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use age::secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use super::{Recipient, VaultError};
use crate::clock::Timestamp;
use crate::token::secret::Secret;

/// More than any hand-kept list of identities.
const MAX_FILE: u64 = 64 * 1024;

/// A new identity and its public half.
#[derive(Debug)]
pub struct NewIdentity {
    /// The text of an identity file, as age-keygen writes it.
    pub file: Secret,
    /// The public key.
    pub recipient: Recipient,
}

/// Makes a new identity. Its randomness is the operating system's: age takes no other source.
pub fn generate_identity(now: Timestamp) -> NewIdentity {
    let identity = age::x25519::Identity::generate();
    let recipient = Recipient::from_age(identity.to_public());
    let key = identity.to_string();
    // Whole seconds, as age-keygen writes.
    let seconds = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let mut file = String::with_capacity(256);
    for part in [
        "# created: ",
        &seconds.to_string(),
        "\n# public key: ",
        &recipient.to_string(),
        "\n",
        key.expose_secret(),
        "\n",
    ] {
        file.push_str(part);
    }
    NewIdentity {
        file: Secret::new(file),
        recipient,
    }
}

/// Reads the identities of a file that nobody else can read.
pub(super) fn read(path: &Path) -> Result<Vec<age::x25519::Identity>, VaultError> {
    let unreadable = |source: std::io::Error| VaultError::IdentityUnreadable {
        path: path.to_owned(),
        source,
    };
    let invalid = |why: String| VaultError::IdentityInvalid {
        path: path.to_owned(),
        why,
    };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(VaultError::NeedsIdentity {
                path: Some(path.to_owned()),
            });
        }
        Err(e) => return Err(unreadable(e)),
    };
    // Asked of the open file, so that nobody can swap it in between.
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(invalid("it is not a regular file".to_owned()));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(VaultError::IdentityExposed {
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.len() > MAX_FILE {
        return Err(invalid("it is too large".to_owned()));
    }
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE as usize + 1));
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    let mut identities = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        identities.push(line.parse().map_err(|_| {
            invalid(format!(
                "line {} is not an age identity, which begins with `AGE-SECRET-KEY-1`",
                number + 1
            ))
        })?);
    }
    if identities.is_empty() {
        return Err(invalid("it holds no identity".to_owned()));
    }
    Ok(identities)
}
