//! Whether a host has seen events that the ledger does not have: then an old copy of it was restored, and nothing of what
//! it believes may be brought to that host.

use crate::host::facts::Facts;
use crate::ledger::{Head, LedgerError};
use crate::plan::finding::Finding;
use crate::playbook::engine::Shared;

/// Returns the last witness on a host, if it is this project's and names an event that the ledger does not have.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn lost_witness<'a>(
    facts: &'a Facts,
    shared: &Shared,
) -> Result<Option<&'a str>, LedgerError> {
    let Some(witness) = facts.witness.as_deref() else {
        return Ok(None);
    };
    let mut fields = witness.split('\t');
    if fields.next() != Some(shared.project.as_str()) {
        return Ok(None);
    }
    let size = fields.next().and_then(|s| s.parse().ok());
    let (Some(size), Some(hash)) = (size, fields.next()) else {
        return Ok(None);
    };
    let hash = hash.to_owned();
    let known = shared.ledger.knows(&Head { size, hash }).await?;
    Ok((!known).then_some(witness))
}

/// Returns the refusal of such a host.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn refusal(facts: &Facts, shared: &Shared) -> Result<Option<Finding>, LedgerError> {
    let Some(witness) = lost_witness(facts, shared).await? else {
        return Ok(None);
    };
    let size = witness.split('\t').nth(1).unwrap_or("?");
    Ok(Some(Finding::refusal(
        "ledger-behind",
        format!(
            "the host has seen event {size} of a log that is not this ledger's: was an old ledger restored?"
        ),
        "use the newest ledger; if it is lost, take in what hosts know: fleetotp ledger recover",
    )))
}
