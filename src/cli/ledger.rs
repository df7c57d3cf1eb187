//! `fleetotp ledger`: what concerns the ledger itself.

use std::collections::BTreeMap;
use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::globals::{Globals, Output};
use super::play::write;
use super::run::{Run, names};
use super::setup::{Setup, World};
use super::show;
use crate::error::Error;
use crate::inventory::model::Realm;
use crate::ledger::{TakenGeneration, TakenHow, TakenToken};
use crate::names::{AdminName, HostName, RealmName};
use crate::plan::recover::{Lost, Witnessed, lost};
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::{HostReport, Outcome};
use crate::playbook::recover::{HostRead, Read, Witness};
use crate::playbook::sheets::{Protection, destroy};
use crate::token::id::Serial;
use crate::token::params::CodeParams;
use crate::token::uri;

/// What to do with the ledger.
#[derive(Debug, Clone, Subcommand)]
pub enum LedgerCommand {
    /// Take in what hosts know and this ledger has lost: after an old copy was restored
    Recover(RecoverArgs),
}

/// Arguments of `ledger recover`.
#[derive(Debug, Clone, Args)]
pub struct RecoverArgs {
    /// Why; it goes into the event log
    #[arg(long, env = "FLEETOTP_REASON", value_name = "TEXT")]
    reason: String,
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps the whole run from going on.
pub async fn run(
    command: &LedgerCommand,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let LedgerCommand::Recover(args) = command;
    let setup = Setup::open(globals, world).await?;
    let hosts = names(&setup.inventory.select("all", globals.limit.as_deref())?);
    let none = Permissions::default();
    let run = Run::begin(
        &setup,
        globals,
        world,
        "ledger recover",
        none,
        Protection::None,
    )
    .await?;
    let logins = run.logins_on(&hosts).await?;
    let results = run.errand(Read { logins }, &hosts).await?;
    let (mut outcome, read) = run.outcome_of(results);
    let found = found(&setup, &read).await?;
    let mut rows = Vec::new();
    for ((admin, realm), lost) in &found {
        rows.push(take_in(&setup, globals, args, (admin, realm), lost, &mut outcome).await?);
    }
    mark(&run, globals, &read, &mut outcome).await?;
    show::tell(&outcome);
    let code = outcome.code();
    let text = match globals.output {
        Output::Text => show::lines(&outcome, globals),
        Output::Json => {
            let hosts: Vec<&HostReport> = outcome.hosts.values().collect();
            let document = json!({
                "tokens": rows, "hosts": hosts, "notes": outcome.notes, "exit_code": code,
            });
            format!("{document:#}\n")
        }
    };
    write(out, &text)?;
    run.finish(code).await?;
    Ok(code)
}

type Found = BTreeMap<(AdminName, RealmName), Lost>;

async fn found(setup: &Setup, read: &BTreeMap<HostName, HostRead>) -> Result<Found, Error> {
    let witnessed: Vec<Witnessed<'_>> = read
        .iter()
        .filter_map(|(host, read)| {
            Some(Witnessed {
                facts: &read.facts,
                ahead: read.lost.is_some(),
                seats: setup
                    .inventory
                    .admins_on(host)
                    .map(|a| (a.name.clone(), a.login.clone()))
                    .collect(),
                realm: setup.inventory.realm_of(host)?.name.clone(),
            })
        })
        .collect();
    let tokens = setup.ledger.tokens().await?;
    Ok(lost(
        setup.ledger.project_id().as_str(),
        &witnessed,
        &tokens,
    ))
}

/// Takes in one token and says so.
async fn take_in(
    setup: &Setup,
    globals: &Globals,
    args: &RecoverArgs,
    (admin, realm): (&AdminName, &RealmName),
    lost: &Lost,
    outcome: &mut Outcome,
) -> Result<Value, Error> {
    let (what, token) = match lost {
        Lost::Conflict(why) => (
            format!("nothing taken in: {why}; see `fleetotp adopt`"),
            None,
        ),
        Lost::Ended(serial) => (
            format!(
                "token {serial} has ended: hosts demand a code and have no secret. Revoke it if it was revoked; `enroll {admin} --reissue` lets {admin} in again"
            ),
            Some((serial, Vec::new())),
        ),
        Lost::Token(serial, generations) => {
            let newest = generations.last().map_or(0, |g| g.number);
            (
                format!(
                    "token {serial} generation {newest} taken in; its key is on hosts only: re-issue or rotate it before it is needed elsewhere"
                ),
                Some((serial, generations.clone())),
            )
        }
    };
    outcome
        .notes
        .push(format!("{admin} in realm {realm}: {what}"));
    if let Some((serial, generations)) = token.filter(|_| !globals.check) {
        let taken = taken(
            setup,
            (admin, realm),
            serial,
            generations,
            TakenHow::Recovered,
        )?;
        let taken = TakenToken {
            reason: Some(args.reason.clone()),
            ..taken
        };
        for sheet in setup.ledger.take_in(&taken).await? {
            outcome.notes.extend(destroy(&sheet));
        }
    }
    Ok(json!({"admin": admin, "realm": realm, "what": what}))
}

/// A token as the ledger stores it, with what inventory and policy say.
///
/// # Errors
/// When admin or realm is not in the inventory.
pub fn taken(
    setup: &Setup,
    (admin, realm): (&AdminName, &RealmName),
    serial: &Serial,
    generations: Vec<TakenGeneration>,
    how: TakenHow,
) -> Result<TakenToken, Error> {
    let enrolment = setup.inventory.enrolment();
    let (Some(known), Some(realm)) = (enrolment.admins.get(admin), enrolment.realms.get(realm))
    else {
        return Err(Error::failed(format!(
            "{admin} or {realm} is not in the inventory"
        )));
    };
    let Realm { name, policy, .. } = realm;
    Ok(TakenToken {
        serial: serial.clone(),
        admin: admin.clone(),
        realm: name.clone(),
        policy: policy.name.clone(),
        issuer: policy.issuer.clone(),
        label: uri::account_label(&known.login, name),
        params: CodeParams::new(policy.algorithm, policy.digits, policy.period),
        generations,
        how,
        reason: None,
    })
}

/// Leaves a witness of this ledger where one of lost events was, so that runs go on there. Only where everything was read:
/// what was taken in is in the ledger by then.
async fn mark(
    run: &Run<'_>,
    globals: &Globals,
    read: &BTreeMap<HostName, HostRead>,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let lost: Vec<(HostName, String)> = read
        .iter()
        .filter_map(|(host, read)| Some((host.clone(), read.lost.clone()?)))
        .collect();
    if lost.is_empty() || globals.check {
        return Ok(());
    }
    run.setup.ledger.record_lost_events(&lost).await?;
    let hosts: Vec<HostName> = lost.into_iter().map(|(host, _)| host).collect();
    for (host, result) in run.errand(Witness, &hosts).await? {
        if let (Err(status), Some(report)) = (result, outcome.hosts.get_mut(&host)) {
            report.status = status;
        }
    }
    Ok(())
}
