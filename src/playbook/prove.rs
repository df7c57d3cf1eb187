//! Proves an open change by logins, then confirms it over a fresh connection; or takes it back.

use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::fleet::FleetError;
use crate::fleet::canary::{self, CanaryKey, Outcome, Route};
use crate::fleet::fresh::Fresh;
use crate::fleet::session::Session;
use crate::host::reply::{Applied, applied};
use crate::host::request::Request;
use crate::inventory::model::Policy;
use crate::playbook::prove_sudo;
use crate::token::code::code_at;
use crate::token::params::CodeParams;
use crate::token::secret::Secret;

/// How long a host may take to let anyone in after sshd re-read its configuration.
const PATIENCE: Duration = Duration::from_secs(25);

/// The temporary member's secrets.
#[derive(Debug)]
pub struct Proof {
    /// Its key pair.
    pub pair: CanaryKey,
    /// Key of its codes.
    pub key: Secret,
    /// The project, as stamped on hosts.
    pub project: String,
    /// How sudo is to be called, once for each of its services; none where it does not ask for codes.
    pub sudo: Vec<&'static str>,
}

/// Why a change was not confirmed. The host has reverted it, or will by itself.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A member with key and right code was not let in.
    #[error("a member with key and right code was refused")]
    MemberRefused,
    /// A member was let in by key alone.
    #[error("a member was let in without being asked for a code")]
    NotAsked,
    /// A member with a wrong code was let in.
    #[error("a member with a wrong code was let in")]
    WrongCodeAccepted,
    /// sudo asked a member for no code.
    #[error("sudo did not ask a member for a code")]
    SudoDoesNotAsk,
    /// A right code led nowhere in sudo.
    #[error("a member with a right code was refused by sudo")]
    SudoRefused,
    /// A right code was all that sudo wanted.
    #[error("sudo let a member pass by a code alone")]
    SudoByCodeAlone,
    /// A wrong code led on in sudo.
    #[error("sudo took a wrong code from a member")]
    SudoTakesWrongCode,
    /// A login ended otherwise.
    #[error("the proof by login could not be made: {0}")]
    Unclear(String),
    /// No fresh connection.
    #[error("no fresh connection after the change: {0}")]
    NoFreshConnection(FleetError),
    /// The host had reverted the change before it was confirmed.
    #[error("the change was not confirmed: {0}")]
    NotConfirmed(FleetError),
}

/// Proves and confirms change `id`. With a proof, the temporary member logs in first and is refused last.
///
/// # Errors
/// When any of it is not as expected; the caller then has the change reverted.
pub async fn confirm(
    session: &Session,
    id: &str,
    proof: Option<(&Proof, &Policy)>,
    clock: &dyn Clock,
) -> Result<Applied, ProofError> {
    if let Some((proof, policy)) = proof {
        let code = right_code(&proof.key, policy, clock.now())
            .ok_or_else(|| ProofError::Unclear("no code could be computed".to_owned()))?;
        match login(session, proof, code, Route::Direct).await? {
            Outcome::In => {}
            Outcome::Unasked => return Err(ProofError::NotAsked),
            Outcome::Refused | Outcome::Barred => return Err(ProofError::MemberRefused),
            Outcome::Unclear(why) => return Err(ProofError::Unclear(why)),
        }
    }
    if let Some((proof, policy)) = proof {
        prove_sudo::prove(session, proof, policy, clock).await?;
    }
    let fresh = Fresh::open(session.target(), PATIENCE)
        .await
        .map_err(ProofError::NoFreshConnection)?;
    if let Some((proof, policy)) = proof {
        refused(session, proof, policy, clock).await?;
    }
    let mut request = Request::apply();
    request.line(&["confirm", id]);
    let answer = fresh
        .finish(request)
        .await
        .map_err(ProofError::NotConfirmed)?;
    applied(&answer).map_err(|e| ProofError::NotConfirmed(e.into()))
}

/// A wrong code must be refused. Tried from the host's own loopback, so that the penalty for it hits nobody else.
async fn refused(
    session: &Session,
    proof: &Proof,
    policy: &Policy,
    clock: &dyn Clock,
) -> Result<(), ProofError> {
    let wrong = || {
        wrong_code(&proof.key, policy, clock.now())
            .ok_or_else(|| ProofError::Unclear("no code could be computed".to_owned()))
    };
    let mut outcome = login(session, proof, wrong()?, Route::Loopback).await?;
    if matches!(outcome, Outcome::Unclear(_) | Outcome::Barred) {
        // Forwarding may be off there, or logins from there: then as everybody does.
        outcome = login(session, proof, wrong()?, Route::Direct).await?;
    }
    match outcome {
        Outcome::Refused => Ok(()),
        Outcome::In => Err(ProofError::WrongCodeAccepted),
        Outcome::Unasked => Err(ProofError::NotAsked),
        Outcome::Barred => Err(ProofError::Unclear(
            "the temporary member was refused before it was asked for a code".to_owned(),
        )),
        Outcome::Unclear(why) => Err(ProofError::Unclear(why)),
    }
}

async fn login(
    session: &Session,
    proof: &Proof,
    code: Secret,
    route: Route,
) -> Result<Outcome, ProofError> {
    canary::login(session, &proof.pair, &code, route)
        .await
        .map_err(|e| ProofError::Unclear(e.to_string()))
}

fn params(policy: &Policy) -> CodeParams {
    CodeParams::new(policy.algorithm, policy.digits, policy.period)
}

pub(super) fn right_code(key: &Secret, policy: &Policy, now: Timestamp) -> Option<Secret> {
    code_at(key, params(policy), now).ok()
}

/// Returns a code that is none of those the host would take now.
pub(super) fn wrong_code(key: &Secret, policy: &Policy, now: Timestamp) -> Option<Secret> {
    let period = i64::try_from(policy.period.as_secs()).ok()?;
    let at = |offset: i64| {
        Timestamp::from_second(now.as_second() + offset * period)
            .ok()
            .and_then(|t| code_at(key, params(policy), t).ok())
    };
    let taken: Vec<Secret> = (-10..=10).filter_map(at).collect();
    (1_000..1_100)
        .filter_map(at)
        .find(|code| !taken.contains(code))
}

/// Has the host take a change back at once. What cannot be asked for happens by itself at the end of the window.
pub async fn take_back(session: &Session, id: &str) -> Result<(), FleetError> {
    let mut request = Request::apply();
    request.line(&["rollback", id]);
    let answer = session.exec(request, Duration::from_secs(60)).await?;
    applied(&answer)?;
    Ok(())
}
