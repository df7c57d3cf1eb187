//! `fleetotp sync`: reads hosts, takes in confirmations by login, finishes what is open. Quiet when nothing happened.

use std::io::Write;

use clap::Args;

use super::globals::{Globals, Output};
use super::play::write;
use super::run::{Run, Wanted, admins_of, names};
use super::setup::{Setup, World};
use super::{bypass, show};
use crate::error::Error;
use crate::plan::wish::Parts;
use crate::playbook::desk::Permissions;
use crate::playbook::sheets::{Protection, destroy};

/// Arguments of `sync`.
#[derive(Debug, Clone, Args)]
pub struct SyncArgs {}

/// Runs the command.
///
/// # Errors
/// Patterns that match nothing, and whatever keeps the whole run from going on.
pub async fn run(
    _args: &SyncArgs,
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
    let mut open = setup.ledger.open_bypasses().await?;
    open.retain(|b| wanted.hosts.contains(&b.host));
    let ended = bypass::settle(&run, open, false, None).await?;
    let mut outcome = run.converge(&wanted).await?;
    outcome.notes.extend(ended.notes);
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
