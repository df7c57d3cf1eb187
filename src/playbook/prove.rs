//! Proves an open change by logins, then confirms it over a fresh connection; or takes it back.

use std::time::Duration;

use crate::fleet::FleetError;
use crate::fleet::fresh::Fresh;
use crate::fleet::session::Session;
use crate::host::reply::applied;
use crate::host::request::Request;
use crate::playbook::engine::Shared;
use crate::playbook::logins::{Proof, Table};
use crate::playbook::prove_sudo;

/// How long a host may take to let anyone in after sshd re-read its configuration.
const PATIENCE: Duration = Duration::from_secs(25);

/// Why a change was not confirmed. The host has reverted it, or will by itself.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A login of the temporary member did not end as it must.
    #[error("{0}")]
    Table(String),
    /// sudo did not do what it must.
    #[error("{0}")]
    Sudo(String),
    /// A login could not be tried.
    #[error("the proof by login could not be made: {0}")]
    Untried(FleetError),
    /// No fresh connection.
    #[error("no fresh connection after the change: {0}")]
    NoFreshConnection(FleetError),
    /// The host had reverted the change before it was confirmed.
    #[error("the change was not confirmed: {0}")]
    NotConfirmed(FleetError),
}

/// Proves and confirms change `id`. With a proof, the temporary member tries the login table: what must get in first, what
/// must be refused after it, and then it calls sudo. `table` has what came of it, also where that is the error.
///
/// # Errors
/// When any of it is not as expected; the caller then has the change reverted.
pub async fn confirm(
    session: &Session,
    id: &str,
    proof: Option<&Proof>,
    shared: &Shared,
    table: &mut Table,
) -> Result<(), ProofError> {
    let clock = shared.clock.as_ref();
    if let Some(proof) = proof {
        let tried = table.try_what_gets_in(session, id, proof, clock).await;
        tried.map_err(ProofError::Untried)?;
        if let Some(fault) = table.fault() {
            return Err(ProofError::Table(fault));
        }
    }
    let fresh = Fresh::open(session, PATIENCE)
        .await
        .map_err(ProofError::NoFreshConnection)?;
    if let Some(proof) = proof {
        let tried = table.try_what_is_refused(session, id, proof, clock).await;
        tried.map_err(ProofError::Untried)?;
        if let Some(fault) = table.fault() {
            return Err(ProofError::Table(fault));
        }
        // Last: it gives the temporary member, which is a member again, a new file without the codes that were used.
        let tried = prove_sudo::prove(session, proof, clock).await;
        tried.map_err(ProofError::Sudo)?;
    }
    shared.pause_for_tests("proved").await;
    let mut request = Request::apply();
    request.line(&["confirm", id]);
    let answer = fresh
        .finish(request)
        .await
        .map_err(ProofError::NotConfirmed)?;
    applied(&answer).map_err(|e| ProofError::NotConfirmed(e.into()))?;
    Ok(())
}

/// Has the host take a change back at once. What cannot be asked for happens by itself at the end of the window.
pub async fn take_back(session: &Session, id: &str) -> Result<(), FleetError> {
    let mut request = Request::apply();
    request.line(&["rollback", id]);
    let answer = session.exec(request, Duration::from_secs(60)).await?;
    applied(&answer)?;
    Ok(())
}
