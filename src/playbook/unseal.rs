//! Opening a sealed secret for a command: a try that fails is an event, whatever becomes of the run.

use crate::ledger::Ledger;
use crate::token::secret::Secret;
use crate::vault::{SealLabel, Vault, VaultError};

/// Opens a secret. That there is no identity here is no try; with `check` nothing is recorded.
///
/// # Errors
/// Those of [`Vault::open`].
pub async fn unseal(
    vault: &Vault,
    ledger: &Ledger,
    label: &SealLabel<'_>,
    sealed: &[u8],
    check: bool,
) -> Result<Secret, VaultError> {
    let opened = vault.open(label, sealed);
    let why = match &opened {
        Ok(_) | Err(VaultError::NeedsIdentity { .. }) => return opened,
        Err(VaultError::WrongIdentity) => "wrong identity",
        Err(VaultError::Damaged(_)) => "damaged",
        Err(VaultError::Misplaced { .. }) => "of another token",
        Err(_) => "identity not usable",
    };
    if !check
        && let Err(error) = ledger
            .record_refused(label.serial, label.generation, why)
            .await
    {
        tracing::warn!("a failed try to read a secret could not be recorded: {error}");
    }
    opened
}
