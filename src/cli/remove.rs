//! `fleetotp remove HOSTS`: takes fleetotp off hosts and says of whom no code is demanded any more.

use std::io::Write;

use clap::Args;

use super::globals::Globals;
use super::run::{Run, names};
use super::setup::{Setup, World};
use super::show;
use crate::error::Error;
use crate::playbook::desk::Permissions;
use crate::playbook::remove::Remove;
use crate::playbook::sheets::Protection;

/// Arguments of `remove`.
#[derive(Debug, Clone, Args)]
pub struct RemoveArgs {
    /// Hosts: a pattern
    #[arg(value_name = "HOSTS")]
    hosts: String,

    /// Why; it ends the demand for a code on these hosts, and goes into the event log
    #[arg(long, env = "FLEETOTP_REASON", value_name = "TEXT")]
    reason: String,

    /// The ticket it belongs to
    #[arg(long, env = "FLEETOTP_TICKET", value_name = "ID")]
    ticket: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Patterns that match nothing, and whatever keeps the whole run from going on.
pub async fn run(
    args: &RemoveArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    if args.reason.trim().is_empty() {
        return Err(Error::usage("--reason is empty"));
    }
    let setup = Setup::open(globals, world).await?;
    let hosts = names(
        &setup
            .inventory
            .select(&args.hosts, globals.limit.as_deref())?,
    );
    let permissions = Permissions::default();
    let run = Run::begin(
        &setup,
        globals,
        world,
        "remove",
        permissions,
        Protection::None,
    )
    .await?;
    let logins = run.logins_on(&hosts).await?;
    let (outcome, removed) = run.restore(Remove { logins }, &hosts).await?;
    if !globals.check {
        let ticket = args.ticket.as_deref();
        setup
            .ledger
            .record_removal(&removed, &args.reason, ticket)
            .await?;
    }
    show::print(&outcome, globals, out)?;
    let code = outcome.code();
    run.finish(code).await?;
    Ok(code)
}
