//! `fleetotp confirm ADMIN --recovery`: one recovery code for one new sheet.

use std::io::{IsTerminal as _, Write};

use super::confirm::{ConfirmArgs, tokens_of, tries, wanted};
use super::enroll::read_line;
use super::globals::Globals;
use super::run::Run;
use super::setup::Setup;
use super::show;
use crate::error::Error;
use crate::ledger::{
    IssueKind, RecoveryRecord, Signal, TokenRecord, TryOutcome, Vouched, is_redeemable,
};
use crate::names::AdminName;
use crate::playbook::desk::Permissions;
use crate::token::recovery;
use crate::token::secret::Secret;

/// What a redeemed code allows: as a lost device.
pub fn permissions(vouched: Vouched) -> Permissions {
    Permissions {
        issue: true,
        replace: Some(IssueKind::LostDevice),
        vouched,
        ..Permissions::default()
    }
}

/// Reads a code, uses it up, and replaces every key of the token.
///
/// # Errors
/// No token with recovery codes, a code that is not right, and whatever keeps the new sheet from being made.
pub async fn run(
    args: &ConfirmArgs,
    globals: &Globals,
    setup: &Setup,
    run: &mut Run<'_>,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let (name, token) = token(args, setup, run).await?;
    // Before a code is used up for nothing.
    let admin = setup
        .inventory
        .enrolment()
        .admins
        .get(&name)
        .ok_or_else(|| {
            Error::failed(format!(
                "{name} is no longer in the inventory, so there is no new sheet for a code"
            ))
        })?;
    let wanted = wanted(globals, setup, admin, &token)?;
    if wanted.hosts.is_empty() {
        return Err(Error::failed(format!(
            "{name} has no host in realm {}, so there is no new sheet for a code",
            token.realm
        )));
    }
    if std::io::stdin().is_terminal() {
        eprint!("recovery code of {name} for realm {}: ", token.realm);
    }
    let typed = run.wait_for(|| read_line("the recovery code")).await?;
    redeem(&name, &token, &typed, setup).await?;
    eprintln!(
        "redeemed: a recovery code of {name} for realm {}; the others of its sheet are worth nothing from now on",
        token.realm
    );
    run.desk().reload().await?;
    // First the sheet, whichever hosts can be reached; then the hosts.
    let mut outcome = run.issue(&wanted).await?;
    let made = !outcome.sheets.is_empty();
    if made {
        outcome.merge(run.converge(&wanted).await?);
    }
    show::print(&outcome, globals, out)?;
    if made {
        Ok(outcome.code())
    } else {
        Err(
            Error::failed("the code is used, and no sheet could be made").hinted(format!(
                "see the notes above; then make it with `fleetotp enroll {name} --lost-device`"
            )),
        )
    }
}

/// Finds the one token whose codes are meant.
async fn token(
    args: &ConfirmArgs,
    setup: &Setup,
    run: &mut Run<'_>,
) -> Result<(AdminName, TokenRecord), Error> {
    let (name, mine) = tokens_of(&args.admin, args.realm.as_deref(), setup, run)?;
    let counts = setup.ledger.recovery_counts().await?;
    let with_codes: Vec<TokenRecord> = mine
        .into_iter()
        .filter(|t| is_redeemable(t.state) && counts.get(&t.serial).is_some_and(|c| c.issued > 0))
        .collect();
    match with_codes.as_slice() {
        [one] => Ok((name, one.clone())),
        [] => Err(Error::failed(format!("{name} has no recovery codes"))
            .hinted("a new sheet without one is made with `fleetotp enroll --lost-device`, once you know who asks")),
        several => {
            let realms: Vec<&str> = several.iter().map(|t| t.realm.as_str()).collect();
            Err(
                Error::usage(format!("{name} has recovery codes in several realms"))
                    .hinted(format!("say which with --realm: {}", realms.join(", "))),
            )
        }
    }
}

/// Checks a code and uses it up.
async fn redeem(
    name: &AdminName,
    token: &TokenRecord,
    typed: &Secret,
    setup: &Setup,
) -> Result<(), Error> {
    let ledger = &setup.ledger;
    let attempt = ledger
        .begin_recovery_try(&token.serial, tries(setup, &token.realm))
        .await?;
    let Some(code) = recovery::read(typed.expose()) else {
        ledger.fail_try(&attempt, TryOutcome::Malformed).await?;
        return Err(Error::failed("this is no recovery code").hinted(
            "it has sixteen letters and digits in groups of four, as on the sheet's second page",
        ));
    };
    let codes = ledger.recovery_codes(&token.serial).await?;
    // All of them, whichever fits, so that the time taken does not tell which.
    let fitting: Vec<&RecoveryRecord> = codes
        .iter()
        .filter(|c| recovery::fits(&code, &c.hash))
        .collect();
    let Some(found) = fitting.first() else {
        let blocked = ledger.fail_try(&attempt, TryOutcome::Wrong).await?;
        let error = Error::failed(format!("this is no recovery code of {name}"));
        return Err(match blocked {
            Some(until) => error.hinted(format!(
                "too many wrong codes: no more are taken until {until}"
            )),
            None => error,
        });
    };
    if !found.is_open() {
        ledger.fail_try(&attempt, TryOutcome::Replayed).await?;
        let (signal, what) = if found.used_at.is_some() {
            (Signal::RecoveryReused, "was redeemed before")
        } else {
            (Signal::RecoveryDead, "is of a sheet that was replaced")
        };
        ledger
            .signal(signal, &token.serial, Some(found.generation), Some(true))
            .await?;
        return Err(Error::failed(format!("this recovery code {what}"))
            .hinted("find out who has it: the admin may have tried an old sheet, or somebody else has seen it"));
    }
    ledger.redeem(&token.serial, found.number, &attempt).await?;
    Ok(())
}
