//! `fleetotp confirm ADMIN`: checks a code, activates the token, and has every reachable host demand it.

use std::io::{IsTerminal as _, Write};

use clap::Args;

use super::enroll::{ProtectionArgs, VouchingArgs, read_line};
use super::globals::Globals;
use super::run::{Run, Wanted, names};
use super::setup::{Setup, World};
use super::{recover, show, suspect};
use crate::error::Error;
use crate::exit;
use crate::inventory::model::Admin;
use crate::ledger::{
    Confirmation, ConfirmedHow, GenerationRecord, LedgerError, TokenRecord, TryLimit, TryOutcome,
};
use crate::names::{AdminName, RealmName};
use crate::plan::wish::Parts;
use crate::playbook::desk::Permissions;
use crate::playbook::sheets::{Protection, destroy};
use crate::playbook::unseal::unseal;
use crate::text::suggest;
use crate::token::code::{Verdict, check};
use crate::vault::SealLabel;

/// Arguments of `confirm`.
#[derive(Debug, Clone, Args)]
pub struct ConfirmArgs {
    /// The admin
    #[arg(value_name = "ADMIN")]
    pub(super) admin: String,

    /// The realm, where the admin has several unconfirmed sheets
    #[arg(long, env = "FLEETOTP_REALM", value_name = "REALM")]
    pub(super) realm: Option<String>,

    /// Do not contact hosts now; `sync` enforces later
    #[arg(long, env = "FLEETOTP_NO_PUSH", conflicts_with = "recovery")]
    no_push: bool,

    /// Take a recovery code instead: it is used up, every older key ends, and a new sheet is written
    #[arg(long, env = "FLEETOTP_RECOVERY")]
    recovery: bool,

    #[command(flatten)]
    protection: ProtectionArgs,

    #[command(flatten)]
    vouching: VouchingArgs,
}

/// Runs the command.
///
/// # Errors
/// An unknown admin, nothing to confirm, a code that is not right.
pub async fn run(
    args: &ConfirmArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    if globals.check {
        return Err(Error::usage(
            "--check makes no sense here: a confirmation is a fact",
        ));
    }
    let setup = Setup::open(globals, world).await?;
    let (permissions, protection) = if args.recovery {
        if args.protection.is_stdin() {
            return Err(Error::usage(
                "the recovery code is read from standard input, so the passphrase cannot be",
            ));
        }
        (
            recover::permissions(args.vouching.vouched()),
            args.protection.read()?,
        )
    } else {
        (Permissions::default(), Protection::None)
    };
    let mut run = Run::begin(&setup, globals, world, "confirm", permissions, protection).await?;
    let result = if args.recovery {
        recover::run(args, globals, &setup, &mut run, out).await
    } else {
        confirm(args, globals, world, &setup, &mut run, out).await
    };
    let code = match &result {
        Ok(code) => *code,
        Err(error) => error.kind().code(),
    };
    run.finish(code).await?;
    result
}

async fn confirm(
    args: &ConfirmArgs,
    globals: &Globals,
    world: &World,
    setup: &Setup,
    run: &mut Run<'_>,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let (token, generation) = match pending(args, setup, run)? {
        Waiting::One(token, generation) => (*token, *generation),
        Waiting::None(tokens, error) => {
            return Err(suspect::nothing_pending(&tokens, error, setup, world, run).await?);
        }
    };
    let admin = token
        .admin
        .clone()
        .ok_or_else(|| Error::failed("the admin of this token is unknown"))?;
    let key = run
        .desk()
        .ledger()
        .sealed_secret(&token.serial, generation.number)
        .await?
        .ok_or_else(|| Error::failed("the secret of this sheet is gone"))?;
    let label = SealLabel {
        project: setup.ledger.project_id(),
        serial: &token.serial,
        generation: generation.number,
    };
    let key = unseal(&setup.vault, &setup.ledger, &label, &key, globals.check).await?;
    if std::io::stdin().is_terminal() {
        eprint!("code of {admin} for realm {}: ", token.realm);
    }
    let typed = run.wait_for(|| read_line("the code")).await?;
    // Counted before it is looked at; not before it was typed, or a cancelled prompt would count.
    let attempt = setup
        .ledger
        .begin_try(&token.serial, generation.number, tries(setup, &token.realm))
        .await?;
    let now = world.clock.now();
    let verdict = check(
        &key,
        generation.params,
        typed.expose(),
        now,
        generation.last_step,
    )
    .map_err(|e| Error::failed(e.to_string()))?;
    let step = match verdict {
        Verdict::Accepted { step } => step,
        other => {
            let error = refuse(other, setup, &attempt, &generation).await?;
            return Err(
                suspect::old_generation(&token, &generation, &typed, error, setup, now).await?,
            );
        }
    };
    suspect::expired(&token, &generation, setup, now).await?;
    let confirmation = Confirmation {
        serial: token.serial.clone(),
        generation: generation.number,
        how: ConfirmedHow::Code { step, attempt },
        vouched: args.vouching.vouched(),
    };
    let confirmed = setup.ledger.confirm(&confirmation).await?;
    let left = confirmed.sheet.as_ref().and_then(destroy);
    eprintln!(
        "confirmed: {admin} in realm {}; the sheet's file is removed",
        token.realm
    );
    if let Some(left) = left {
        eprintln!("note: {left}");
    }
    run.desk().reload().await?;
    if args.no_push {
        eprintln!("note: hosts were not contacted; run `fleetotp sync`");
        return Ok(exit::DONE);
    }
    push(globals, setup, run, &admin, &token, out).await
}

/// What `confirm` can be about.
enum Waiting {
    /// The one generation that waits for a code.
    One(Box<TokenRecord>, Box<GenerationRecord>),
    /// None does; the tokens that were meant, and what is to be said.
    None(Vec<TokenRecord>, Error),
}

/// Returns how many wrong codes the realm's policy allows.
pub(super) fn tries(setup: &Setup, realm: &RealmName) -> TryLimit {
    setup
        .inventory
        .enrolment()
        .realms
        .get(realm)
        .map_or(TryLimit::DEFAULT, |r| TryLimit(r.policy.confirm_tries))
}

/// Finds the tokens of the admin that is meant, in the realm that is meant.
pub(super) fn tokens_of(
    admin: &str,
    realm: Option<&str>,
    setup: &Setup,
    run: &mut Run<'_>,
) -> Result<(AdminName, Vec<TokenRecord>), Error> {
    let known: Vec<AdminName> = run
        .desk()
        .tokens()
        .filter_map(|t| t.admin.clone())
        .chain(setup.inventory.enrolment().admins.keys().cloned())
        .collect();
    let Some(name) = known.iter().find(|n| n.as_str() == admin) else {
        let shown = crate::names::printable(admin, 60);
        return Err(Error::failed(format!("there is no admin `{shown}`"))
            .hinted_if(suggest::hint(admin, known.iter().map(AdminName::as_str))));
    };
    let mine: Vec<TokenRecord> = run
        .desk()
        .tokens()
        .filter(|t| t.admin.as_ref() == Some(name) && realm.is_none_or(|r| t.realm.as_str() == r))
        .cloned()
        .collect();
    Ok((name.clone(), mine))
}

/// Finds the one generation that waits for a code.
fn pending(args: &ConfirmArgs, setup: &Setup, run: &mut Run<'_>) -> Result<Waiting, Error> {
    let (name, mine) = tokens_of(&args.admin, args.realm.as_deref(), setup, run)?;
    let waiting: Vec<_> = mine
        .iter()
        .filter_map(|t| Some((t.clone(), t.pending()?.clone())))
        .collect();
    match waiting.as_slice() {
        [(token, generation)] => Ok(Waiting::One(
            Box::new(token.clone()),
            Box::new(generation.clone()),
        )),
        [] => {
            let state = mine.first().map_or_else(
                || "none was issued".to_owned(),
                |t| format!("the token of realm {} is {}", t.realm, t.state),
            );
            let error = Error::failed(format!("{name} has no unconfirmed sheet: {state}"));
            Ok(Waiting::None(mine, error))
        }
        several => {
            let realms: Vec<&str> = several.iter().map(|(t, _)| t.realm.as_str()).collect();
            Err(
                Error::usage(format!("{name} has several unconfirmed sheets"))
                    .hinted(format!("say which with --realm: {}", realms.join(", "))),
            )
        }
    }
}

/// Records a wrong code and says what is the matter with it.
pub(super) async fn refuse(
    verdict: Verdict,
    setup: &Setup,
    attempt: &crate::ledger::TryId,
    generation: &GenerationRecord,
) -> Result<Error, LedgerError> {
    let (outcome, error) = match verdict {
        Verdict::Replayed { .. } => (TryOutcome::Replayed, Error::failed("this code was used before").hinted("wait for the next one")),
        Verdict::OtherParams(params) => (
            TryOutcome::OtherParams,
            Error::failed(format!("the key is right, but the app computed the code as {params} instead of {}", generation.params))
                .hinted("the authenticator app ignores parameters of the QR code: use another app, or let the policy be sha1, 6 digits, 30s"),
        ),
        Verdict::Malformed => (TryOutcome::Malformed, Error::failed("this is no code: six digits are expected")),
        Verdict::Wrong | Verdict::Accepted { .. } => (
            TryOutcome::Wrong,
            Error::failed("the code is wrong").hinted("is it this sheet's entry in the app, and is the phone's clock right? Codes change every thirty seconds"),
        ),
    };
    let blocked = setup.ledger.fail_try(attempt, outcome).await?;
    Ok(match blocked {
        Some(until) => error.hinted(format!(
            "too many wrong codes: no more are taken until {until}"
        )),
        None => error,
    })
}

async fn push(
    globals: &Globals,
    setup: &Setup,
    run: &mut Run<'_>,
    admin: &AdminName,
    token: &TokenRecord,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let Some(record) = setup.inventory.enrolment().admins.get(admin) else {
        eprintln!("note: {admin} is no longer in the inventory, so no host was contacted");
        return Ok(exit::DONE);
    };
    let wanted = wanted(globals, setup, record, token)?;
    let outcome = run.converge(&wanted).await?;
    show::print(&outcome, globals, out)?;
    Ok(outcome.code())
}

/// The hosts of an admin's realm, for secrets only.
pub(super) fn wanted(
    globals: &Globals,
    setup: &Setup,
    admin: &Admin,
    token: &TokenRecord,
) -> Result<Wanted, Error> {
    let mut hosts: Vec<_> = setup
        .inventory
        .hosts_of(admin)
        .filter(|h| {
            setup
                .inventory
                .realm_of(&h.name)
                .is_some_and(|r| r.name == token.realm)
        })
        .collect();
    if let Some(limit) = &globals.limit {
        let chosen = setup.inventory.select("all", Some(limit))?;
        hosts.retain(|h| chosen.iter().any(|c| c.name == h.name));
    }
    Ok(Wanted {
        hosts: names(&hosts),
        admins: Some([admin.name.clone()].into()),
        parts: Parts {
            host: false,
            secrets: true,
        },
        ..Wanted::default()
    })
}
