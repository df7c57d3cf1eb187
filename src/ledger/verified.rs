//! Hosts whose login table was tried.

use serde_json::Value;

use crate::ledger::LedgerError;
use crate::ledger::event::Draft;
use crate::ledger::open::Ledger;
use crate::names::HostName;

/// What came of a login table on a host.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedHost {
    /// The host.
    pub host: HostName,
    /// Every login that was tried ended as it must.
    pub held: bool,
    /// The host of the same class on which it was tried.
    pub like: Option<HostName>,
    /// What did not.
    pub fault: Option<String>,
    /// The logins: who, with what, what came of it.
    pub logins: Value,
}

impl Ledger {
    /// Records what came of login tables.
    ///
    /// # Errors
    /// When the database fails; then nothing is recorded.
    pub async fn record_verified(&self, hosts: &[VerifiedHost]) -> Result<(), LedgerError> {
        if hosts.is_empty() {
            return Ok(());
        }
        let mut tx = self.begin().await?;
        for verified in hosts {
            tx.event(
                Draft::new("host.verified")
                    .with("host", verified.host.as_str())
                    .with("held", verified.held)
                    .with("like", verified.like.as_ref().map(HostName::as_str))
                    .with("fault", verified.fault.as_deref())
                    .with("logins", verified.logins.clone()),
            )
            .await?;
        }
        tx.commit().await
    }
}
