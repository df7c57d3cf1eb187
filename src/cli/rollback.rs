//! `fleetotp rollback RUN`: the PAM and sshd text back that a run has changed.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;

use super::globals::Globals;
use super::run::Run;
use super::runs;
use super::setup::{Setup, World};
use super::show;
use crate::error::Error;
use crate::ledger::TextChange;
use crate::names::HostName;
use crate::playbook::desk::Permissions;
use crate::playbook::rollback::RollBack;
use crate::playbook::sheets::Protection;

/// Arguments of `rollback`.
#[derive(Debug, Clone, Args)]
pub struct RollbackArgs {
    /// The run's id, or `last`; see `fleetotp runs list`
    #[arg(value_name = "RUN")]
    run: String,

    /// Why; goes into the event log
    #[arg(long, env = "FLEETOTP_REASON", value_name = "TEXT")]
    reason: String,

    /// The ticket it belongs to
    #[arg(long, env = "FLEETOTP_TICKET", value_name = "ID")]
    ticket: Option<String>,

    /// Also where no code is demanded any more then
    #[arg(long, env = "FLEETOTP_ALLOW_WEAKER")]
    allow_weaker: bool,
}

/// Runs the command.
///
/// # Errors
/// A run that is unknown or has changed no text, and whatever keeps the whole run from going on.
pub async fn run(
    args: &RollbackArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    if args.reason.trim().is_empty() {
        return Err(Error::usage("--reason is empty"));
    }
    let setup = Setup::open(globals, world).await?;
    let undone = runs::find(&setup, &args.run).await?;
    let mut texts: BTreeMap<HostName, Vec<TextChange>> = BTreeMap::new();
    for file in setup.ledger.run_files(&undone.id).await? {
        texts.entry(file.host).or_default().push(file.change);
    }
    if texts.is_empty() {
        return Err(
            Error::failed(format!("run {} has changed no PAM or sshd text", undone.id))
                .hinted("secrets, groups and revocations are never rolled back"),
        );
    }
    let chosen = setup
        .inventory
        .select_or_none("all", globals.limit.as_deref())?;
    let known = |host: &HostName| chosen.iter().any(|h| h.name == *host);
    let (hosts, gone): (Vec<HostName>, Vec<HostName>) = texts.keys().cloned().partition(known);
    if hosts.is_empty() {
        return Err(Error::failed(format!(
            "none of the hosts that run {} has changed is among those chosen",
            undone.id
        )));
    }
    let command = "rollback";
    let permissions = Permissions::default();
    let run = Run::begin(
        &setup,
        globals,
        world,
        command,
        permissions,
        Protection::None,
    )
    .await?;
    let logins = run.logins_on(&hosts).await?;
    // A host that no realm covers any more is proved with codes as they are by default: the temporary member has its own.
    let mut policies = setup.inventory.enrolment().policies.iter();
    let default = policies.find(|(name, _)| name.as_str() == "default");
    let policy_of = |host: &HostName| {
        let realm = setup.inventory.realm_of(host).map(|r| &r.policy);
        let policy = realm.or(default.map(|(_, policy)| policy))?;
        Some((host.clone(), policy.clone()))
    };
    let errand = RollBack {
        texts,
        logins,
        policies: hosts.iter().filter_map(policy_of).collect(),
        allow_weaker: args.allow_weaker,
    };
    let (mut outcome, mut back) = run.restore(errand, &hosts).await?;
    // Where the text was already what it was before, nothing was rolled back.
    back.retain(|b| {
        outcome
            .hosts
            .get(&b.host)
            .is_some_and(|r| !r.changes.is_empty())
    });
    if !gone.is_empty() && globals.limit.is_none() {
        let gone: Vec<&str> = gone.iter().map(HostName::as_str).collect();
        outcome.notes.push(format!(
            "not rolled back, since no inventory names them any more: {}",
            gone.join(", ")
        ));
    }
    if !globals.check {
        let ledger = &setup.ledger;
        let ticket = args.ticket.as_deref();
        ledger
            .record_rollback(&undone.id, &back, &args.reason, ticket)
            .await?;
    }
    show::print(&outcome, globals, out)?;
    let code = outcome.code();
    run.finish(code).await?;
    Ok(code)
}
