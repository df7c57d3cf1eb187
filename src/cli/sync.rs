//! `fleetotp sync`: reads hosts, takes in confirmations by login, finishes what is open. Quiet when nothing happened.

use std::io::Write;

use clap::Args;

use super::globals::{Globals, Output};
use super::play::write;
use super::run::{Run, Wanted, admins_of, names};
use super::setup::{Setup, World};
use super::show;
use crate::error::Error;
use crate::inventory::model::OnOverdue;
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
    let wanted = Wanted {
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
    let mut outcome = run.converge_and_confirm(&wanted).await?;
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
        let expire = setup
            .inventory
            .enrolment()
            .realms
            .values()
            .filter(|r| r.policy.on_overdue == OnOverdue::Expire)
            .map(|r| r.name.clone())
            .collect();
        run.desk().end_overdue_rotations(&expire).await?;
        outcome.notes.append(&mut run.desk().notes);
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
