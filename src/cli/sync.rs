//! `fleetotp sync`: reads hosts, takes in confirmations by login, finishes what is open. Quiet when nothing happened.

use std::io::Write;

use clap::Args;

use super::globals::{Globals, Output};
use super::leavers::Leavers;
use super::play::write;
use super::revoke::choose::{Chosen, MaxRevoke};
use super::revoke::people::People;
use super::revoke::request;
use super::run::{Run, Wanted, admins_of, names};
use super::setup::{Setup, World};
use super::show;
use crate::error::Error;
use crate::ledger::RevocationRequest;
use crate::plan::wish::Parts;
use crate::playbook::desk::Permissions;
use crate::playbook::sheets::{Protection, destroy};

/// Arguments of `sync`.
#[derive(Debug, Clone, Args)]
pub struct SyncArgs {
    /// Revoke admins who have left the inventory
    #[arg(long, env = "FLEETOTP_PRUNE", requires = "reason")]
    prune: bool,

    /// How many admins --prune may revoke at once: a number, or in per cent and then at least three
    #[arg(
        long,
        env = "FLEETOTP_MAX_REVOKE",
        default_value = "10%",
        value_name = "N"
    )]
    max_revoke: MaxRevoke,

    /// Why --prune revokes; goes into the log
    #[arg(long, env = "FLEETOTP_REASON", value_name = "TEXT")]
    reason: Option<String>,

    /// The ticket of --prune; goes into the log
    #[arg(long, env = "FLEETOTP_TICKET", value_name = "ID")]
    ticket: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Patterns that match nothing, and whatever keeps the whole run from going on.
pub async fn run(
    args: &SyncArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    let hosts = setup.inventory.select("all", globals.limit.as_deref())?;
    let admins = admins_of(&setup, globals.admins.as_deref())?;
    let mut wanted = Wanted {
        hosts: names(&hosts),
        admins,
        parts: Parts {
            host: false,
            secrets: true,
        },
        evidence: true,
        leavers: if globals.limit.is_some() {
            Leavers::All
        } else {
            Leavers::AllEverywhere
        },
    };
    let mut run = Run::begin(
        &setup,
        globals,
        world,
        "sync",
        Permissions::default(),
        Protection::None,
    )
    .await?;
    let mut pruned = Vec::new();
    if args.prune {
        pruned = prune(args, globals, world, &setup).await?;
        run.desk().reload().await?;
    }
    let mut outcome = run.converge(&wanted).await?;
    outcome.notes.splice(0..0, pruned);
    let confirmed = std::mem::take(&mut run.desk().confirmed);
    if !confirmed.is_empty() && !outcome.interrupted {
        // Hosts that were read before the confirming one: once more, only they.
        let names: std::collections::BTreeSet<_> = run.desk().names_of(&confirmed);
        wanted.hosts.retain(|h| {
            setup
                .inventory
                .admins_on(h)
                .any(|a| names.contains(&a.name))
        });
        wanted.evidence = false;
        wanted.leavers = Leavers::Nobody;
        outcome.merge(run.converge(&wanted).await?);
    }
    if !globals.check {
        // Only now: a confirming login in time must have been seen first.
        for expired in setup.ledger.expire_overdue().await? {
            outcome.notes.push(format!(
                "token {} generation {} expired unconfirmed",
                expired.serial, expired.generation
            ));
            outcome
                .notes
                .extend(expired.sheet.as_ref().and_then(destroy));
        }
    }
    show::tell(&outcome);
    match globals.output {
        Output::Text => write(out, &show::lines(&outcome, globals))?,
        Output::Json => write(out, &show::document(&[], &outcome))?,
    }
    let code = outcome.code();
    run.finish(code).await?;
    Ok(code)
}

/// Requests that the tokens of those be revoked who left the inventory; says whom.
async fn prune(
    args: &SyncArgs,
    globals: &Globals,
    world: &World,
    setup: &Setup,
) -> Result<Vec<String>, Error> {
    let people = People::read(setup, globals.user.as_deref()).await?;
    let mut chosen = Chosen::default();
    chosen.add_undeclared(&people);
    let protected = &setup.project.settings.protected;
    chosen.guard(&people, protected, args.max_revoke)?;
    let mut notes: Vec<String> = chosen
        .kept
        .iter()
        .map(|(name, why)| format!("{name} left the inventory and is not revoked: {why}"))
        .collect();
    let defaults = setup.defaults(globals, &world.cwd);
    let (reason, ticket) = (args.reason.as_deref(), args.ticket.as_deref());
    let requests = request::of(setup, &people, &chosen, &defaults, reason, ticket);
    if globals.check {
        let would =
            |r: &RevocationRequest| format!("{} left the inventory: would be revoked", r.admin);
        notes.extend(requests.iter().map(would));
        return Ok(notes);
    }
    for revocation in setup.ledger.request_revocations(&requests).await? {
        if let Some(name) = &revocation.token.admin {
            let realm = &revocation.token.realm;
            notes.push(format!(
                "{name} left the inventory: revoked in realm {realm}"
            ));
        }
        notes.extend(revocation.voided.iter().filter_map(destroy));
    }
    Ok(notes)
}
