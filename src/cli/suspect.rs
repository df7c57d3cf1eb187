//! Signs of malfeasance at `confirm`: recorded as events of their own kind, and said.
//!
//! A code can only be recognised while the vault still has its key. A generation that is dead has none, on purpose: so
//! codes of the sheet that is confirmed, of the generation that a rotation replaces, and of a sheet whose time is over
//! but which nothing has ended yet are recognised, and others are wrong codes like any.

use std::io::IsTerminal as _;

use super::confirm::{refuse, tries};
use super::enroll::read_line;
use super::run::Run;
use super::setup::{Setup, World};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::ledger::{GenerationRecord, LedgerError, Signal, TokenRecord};
use crate::playbook::unseal::unseal;
use crate::token::code::{Verdict, check};
use crate::token::secret::Secret;
use crate::token::state::{GenerationState, TokenState};
use crate::vault::{SealLabel, VaultError};

/// Nothing waits for a code: takes it all the same, to tell whose it is. Returns the error to be shown.
///
/// # Errors
/// When the ledger or the vault fails.
pub async fn nothing_pending(
    tokens: &[TokenRecord],
    error: Error,
    setup: &Setup,
    world: &World,
    run: &Run<'_>,
) -> Result<Error, Error> {
    let [token] = tokens else { return Ok(error) };
    if token.state == TokenState::Expired {
        setup
            .ledger
            .signal(Signal::ExpiredSheet, &token.serial, None, None)
            .await?;
        return Ok(error.hinted(
            "somebody tries to confirm a sheet that expired: find out who has it; \
             a new one is made with `fleetotp enroll --reissue`",
        ));
    }
    let Some(generation) = token
        .current
        .as_ref()
        .filter(|g| g.state == GenerationState::Active)
    else {
        return Ok(error);
    };
    let Some(key) = key(token, generation, setup).await? else {
        return Ok(error);
    };
    if std::io::stdin().is_terminal() {
        eprintln!(
            "note: nothing waits for a code; it is checked only to tell whether it is the confirmed sheet's"
        );
        eprint!("code: ");
    }
    let Ok(typed) = run.wait_for(|| read_line("the code")).await else {
        return Ok(error);
    };
    // Counted as any other: the answer tells whether a code is right.
    let attempt = setup
        .ledger
        .begin_try(&token.serial, generation.number, tries(setup, &token.realm))
        .await?;
    match verdict(&key, generation, &typed, world.clock.now())? {
        Verdict::Accepted { .. } | Verdict::Replayed { .. } => {
            setup
                .ledger
                .fail_try(&attempt, crate::ledger::TryOutcome::Replayed)
                .await?;
            setup
                .ledger
                .signal(
                    Signal::SecondConfirm,
                    &token.serial,
                    Some(generation.number),
                    Some(true),
                )
                .await?;
            Ok(error.hinted(
                "this is a code of the sheet that is confirmed already. If it was not the admin who typed it, \
                 somebody else has the key: replace it with `fleetotp enroll --lost-device`",
            ))
        }
        other => {
            drop(refuse(other, setup, &attempt, generation).await?);
            Ok(error)
        }
    }
}

/// A wrong code in a rotation may be one of the key that is being replaced. Returns the error to be shown.
///
/// # Errors
/// When the ledger or the vault fails.
pub async fn old_generation(
    token: &TokenRecord,
    tried: &GenerationRecord,
    typed: &Secret,
    error: Error,
    setup: &Setup,
    now: Timestamp,
) -> Result<Error, Error> {
    let Some(old) = token
        .current
        .as_ref()
        .filter(|g| g.number != tried.number && g.state == GenerationState::Active)
    else {
        return Ok(error);
    };
    let Some(key) = key(token, old, setup).await? else {
        return Ok(error);
    };
    match verdict(&key, old, typed, now)? {
        Verdict::Accepted { .. } | Verdict::Replayed { .. } => {
            setup
                .ledger
                .signal(
                    Signal::OldGeneration,
                    &token.serial,
                    Some(old.number),
                    Some(true),
                )
                .await?;
            Ok(error.hinted(
                "this is a code of the old entry, which the new sheet replaces: type the one of the new entry",
            ))
        }
        _ => Ok(error),
    }
}

/// A right code of a sheet whose time is over is a sign, and no confirmation.
///
/// # Errors
/// [`LedgerError::Expired`], or when the ledger fails.
pub async fn expired(
    token: &TokenRecord,
    generation: &GenerationRecord,
    setup: &Setup,
    now: Timestamp,
) -> Result<(), Error> {
    let Some(at) = generation.expires_at.filter(|at| *at <= now) else {
        return Ok(());
    };
    setup
        .ledger
        .signal(
            Signal::ExpiredSheet,
            &token.serial,
            Some(generation.number),
            Some(true),
        )
        .await?;
    Err(LedgerError::Expired {
        serial: token.serial.clone(),
        generation: generation.number,
        at,
    }
    .into())
}

/// Reads a key; `None` without the identity, or where the ciphertext is gone.
async fn key(
    token: &TokenRecord,
    generation: &GenerationRecord,
    setup: &Setup,
) -> Result<Option<Secret>, Error> {
    let Some(sealed) = setup
        .ledger
        .sealed_secret(&token.serial, generation.number)
        .await?
    else {
        return Ok(None);
    };
    let label = SealLabel {
        project: setup.ledger.project_id(),
        serial: &token.serial,
        generation: generation.number,
    };
    match unseal(&setup.vault, &setup.ledger, &label, &sealed, false).await {
        Ok(key) => Ok(Some(key)),
        Err(VaultError::NeedsIdentity { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn verdict(
    key: &Secret,
    generation: &GenerationRecord,
    typed: &Secret,
    now: Timestamp,
) -> Result<Verdict, Error> {
    check(
        key,
        generation.params,
        typed.expose(),
        now,
        generation.last_step,
    )
    .map_err(|e| Error::failed(e.to_string()))
}
