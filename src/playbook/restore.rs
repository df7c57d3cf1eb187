//! Putting text back on a host: a change that is confirmed over a connection made under it, or undone. For taking fleetotp
//! off a host, and for rolling a run back.

use std::collections::BTreeSet;

use crate::fleet::session::Session;
use crate::names::{HostName, Login};
use crate::plan::change::HostPlan;
use crate::plan::finding::{Finding, Severity};
use crate::playbook::apply::{Canary, request};
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Seen, Stop};
use crate::playbook::logins::{Proof, Table};
use crate::playbook::outcome::{ShownChange, Status};
use crate::playbook::prove;

/// What came of it on a host.
#[derive(Debug, Default)]
pub struct Restored {
    /// What was changed, or would be.
    pub changes: Vec<ShownChange>,
    /// What was noticed; a refusal means that nothing was changed.
    pub findings: Vec<Finding>,
    /// Logins of whom no code is demanded any more.
    pub key_only: Vec<String>,
}

impl Restored {
    /// Returns how the host ended.
    pub fn status(&self) -> Status {
        let refusal = self
            .findings
            .iter()
            .find(|f| f.severity == Severity::Refusal);
        refusal.map_or(Status::Ok, |f| {
            Status::Failed(format!("{} ({})", f.text, f.id))
        })
    }
}

/// Reads a host that may be changed; what a run that is no more has left open there is taken back first.
///
/// # Errors
/// When the host cannot be read, or has seen events that the ledger does not have.
pub(super) async fn look(
    session: &Session,
    shared: &Shared,
    logins: &BTreeSet<Login>,
) -> Result<Seen, Stop> {
    let seen = errand::read_all(session, shared, logins, false).await?;
    errand::not_behind(&seen.facts, shared).await?;
    let Some(id) = shared.abandoned(&seen.facts).await? else {
        return Ok(seen);
    };
    prove::take_back(session, &id).await?;
    errand::read_all(session, shared, logins, false).await
}

/// Makes the change of a plan and has it confirmed; with a proof only after the temporary member's logins.
///
/// # Errors
/// When it is not confirmed; then the text is, or will be, as it was.
pub(super) async fn confirmed(
    host: &HostName,
    (seen, plan): (&Seen, &HostPlan),
    session: &Session,
    shared: &Shared,
    proof: Option<(&Proof, &Canary<'_>)>,
) -> Result<(), Stop> {
    shared.active.changing(host);
    let noted = shared
        .ledger
        .journal_changing(shared.stage, host, &[])
        .await;
    noted.map_err(|e| Stop::failed(e.to_string()))?;
    let id = shared.transaction();
    let window = shared.revert_after.as_secs();
    let witness = shared.witness().await?;
    let (proof, canary) = proof.unzip();
    let request = request(&seen.facts, plan, &id, window, witness, canary);
    errand::send(session, shared, request).await?;
    shared.pause_for_tests("opened").await;
    let confirmed = prove::confirm(session, &id, proof, shared, &mut Table::default()).await;
    let Err(error) = confirmed else {
        return Ok(());
    };
    let asked = tokio::time::timeout(shared.revert_after, prove::take_back(session, &id)).await;
    let back = if matches!(asked, Ok(Ok(()))) {
        "fleetotp's text has been put back".to_owned()
    } else {
        format!("the host puts fleetotp's text back by itself within {window} s")
    };
    Err(Stop::failed(format!("{error}; {back}")))
}
