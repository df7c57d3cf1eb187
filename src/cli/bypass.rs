//! `fleetotp bypass`: one-time codes for an emergency, each for one admin on one host.

use std::collections::BTreeMap;
use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::errand::Results;
use super::globals::{Globals, Output};
use super::play::write;
use super::run::Run;
use super::setup::{Setup, World};
use crate::clock::{Span, Timestamp};
use crate::error::Error;
use crate::exit;
use crate::ledger::{BypassRecord, NewBypass};
use crate::names::{AdminName, HostName};
use crate::plan::bypass::Fate;
use crate::plan::wish::Member;
use crate::playbook::bypass::{Give, Settle};
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::{HostReport, Outcome, Status};
use crate::playbook::sheets::Protection;
use crate::token::id::{BypassId, Serial};
use crate::token::secret::Secret;
use crate::token::state::{BypassState, TokenState};

/// The longest a one-time code may last.
const LONGEST: Span = Span::from_days(1);

/// What to do with one-time codes.
#[derive(Debug, Clone, Subcommand)]
pub enum BypassCommand {
    /// Give an admin a one-time code on each of some hosts, and print it once
    Grant(GrantArgs),
    /// List one-time codes that are open
    List(ListArgs),
    /// Take one-time codes back
    Revoke(RevokeArgs),
}

/// Arguments of `bypass grant`.
#[derive(Debug, Clone, Args)]
pub struct GrantArgs {
    /// The admin
    #[arg(value_name = "ADMIN")]
    admin: String,

    /// On which hosts: a pattern; each gets a code of its own
    #[arg(long, env = "FLEETOTP_HOSTS", value_name = "PATTERN")]
    hosts: String,

    /// How long the codes can be used, at most 1d; hosts end them by themselves
    #[arg(
        long = "for",
        env = "FLEETOTP_FOR",
        value_name = "DURATION",
        default_value = "30m"
    )]
    lasting: Span,

    /// Why; it goes into the event log
    #[arg(long, env = "FLEETOTP_REASON", value_name = "TEXT")]
    reason: String,

    /// The ticket it belongs to
    #[arg(long, env = "FLEETOTP_TICKET", value_name = "ID")]
    ticket: String,
}

/// Arguments of `bypass list`.
#[derive(Debug, Clone, Args)]
pub struct ListArgs {
    /// Also those that have ended
    #[arg(long, env = "FLEETOTP_ALL")]
    all: bool,
}

/// Arguments of `bypass revoke`.
#[derive(Debug, Clone, Args)]
pub struct RevokeArgs {
    /// A grant's id, or an admin for all of theirs
    #[arg(value_name = "ID|ADMIN")]
    which: String,

    /// Why; it goes into the event log
    #[arg(long, env = "FLEETOTP_REASON", value_name = "TEXT")]
    reason: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Patterns that match nothing, an admin who is unknown or revoked, and whatever keeps the whole run from going on.
pub async fn run(
    command: &BypassCommand,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    match command {
        BypassCommand::List(args) => list(args, &setup, globals, out).await,
        BypassCommand::Grant(args) => grant(args, &setup, globals, world, out).await,
        BypassCommand::Revoke(args) => revoke(args, &setup, globals, world, out).await,
    }
}

async fn list(
    args: &ListArgs,
    setup: &Setup,
    globals: &Globals,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let records = if args.all {
        setup.ledger.bypasses().await?
    } else {
        setup.ledger.open_bypasses().await?
    };
    let text = match globals.output {
        Output::Json => {
            let rows: Vec<Value> = records.iter().map(row).collect();
            format!("{:#}\n", json!({ "bypasses": rows }))
        }
        Output::Text => records.iter().map(|r| format!("{}\n", line(r))).collect(),
    };
    write(out, &text)?;
    Ok(exit::DONE)
}

/// Returns a one-time code as JSON.
pub fn row(record: &BypassRecord) -> Value {
    json!({
        "id": record.id,
        "host": record.host,
        "admin": record.admin.as_ref().map(AdminName::as_str),
        "login": record.login,
        "state": record.state,
        "granted_at": record.granted_at,
        "due_at": record.due_at,
        "ended_at": record.ended_at,
        "reason": record.reason,
        "ticket": record.ticket,
    })
}

/// Returns a one-time code in one line.
pub fn line(record: &BypassRecord) -> String {
    let admin = record.admin.as_ref().map_or("(erased)", AdminName::as_str);
    let ticket = record.ticket.as_deref().unwrap_or("-");
    let end = match (record.state, record.ended_at) {
        (BypassState::Open, _) => format!("open until {}", record.due_at),
        (state, Some(at)) => format!("{state}, seen {at}"),
        (state, None) => state.to_string(),
    };
    format!(
        "{} {admin} on {}: {end}; ticket {ticket}, {}",
        record.id, record.host, record.reason
    )
}

async fn grant(
    args: &GrantArgs,
    setup: &Setup,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    for (flag, text) in [("--reason", &args.reason), ("--ticket", &args.ticket)] {
        if text.trim().is_empty() {
            return Err(Error::usage(format!("{flag} is empty")));
        }
    }
    if args.lasting > LONGEST || args.lasting.as_secs() == 0 {
        return Err(Error::usage("--for must be more than 0s and at most 1d"));
    }
    let (places, members) = places(args, setup, globals).await?;
    let hosts: Vec<HostName> = members.keys().cloned().collect();
    let login = members
        .values()
        .next()
        .map(|m| m.login.clone())
        .ok_or_else(|| Error::failed("no host was chosen"))?;
    let none = Permissions::default();
    let run = Run::begin(
        setup,
        globals,
        world,
        "bypass grant",
        none,
        Protection::None,
    )
    .await?;
    let id = BypassId::random(world.entropy.as_ref()).map_err(|e| Error::failed(e.to_string()))?;
    let second = world.clock.now().as_second();
    let now = Timestamp::from_second(second).unwrap_or_default();
    let due = args.lasting.after(now);
    let give = |push| Give {
        members: members.clone(),
        id: id.clone(),
        due,
        push,
    };
    let mut results = run.errand(give(false), &hosts).await?;
    if !globals.check {
        let able: Vec<HostName> = hosts
            .iter()
            .filter(|h| matches!(results.get(*h), Some(Ok(_))))
            .cloned()
            .collect();
        let new = NewBypass {
            id: id.clone(),
            places: able
                .iter()
                .filter_map(|h| Some((h.clone(), places.get(h)?.clone())))
                .collect(),
            login,
            due,
            reason: args.reason.clone(),
            ticket: Some(args.ticket.clone()),
        };
        // Before the first host has it: what is on a host is in the log.
        setup.ledger.grant_bypass(&new).await?;
        let given = run.errand(give(true), &able).await?;
        for (host, result) in &given {
            // A connection that was lost says nothing about what the host did: that one stays open.
            if let Err(Status::Failed(why)) = result {
                let failed = BypassState::Failed;
                setup
                    .ledger
                    .end_bypass(&id, host, failed, Some(why))
                    .await?;
            }
        }
        results.extend(given);
    }
    let code = answer(&run, &id, due, results, out)?;
    run.finish(code).await?;
    Ok(code)
}

type Places = (BTreeMap<HostName, Serial>, BTreeMap<HostName, Member>);

/// The admin's token and account on each chosen host.
async fn places(args: &GrantArgs, setup: &Setup, globals: &Globals) -> Result<Places, Error> {
    let chosen = setup.inventory.select_admins(Some(&args.admin))?;
    let [admin] = chosen.as_slice() else {
        return Err(Error::usage("name one admin"));
    };
    let tokens = setup.ledger.tokens().await?;
    let (mut places, mut members) = (BTreeMap::new(), BTreeMap::new());
    for host in setup
        .inventory
        .select(&args.hosts, globals.limit.as_deref())?
    {
        let here = setup.inventory.admins_on(&host.name);
        let realm = setup.inventory.realm_of(&host.name);
        let (true, Some(realm)) = (here.into_iter().any(|a| a.name == admin.name), realm) else {
            let text = format!("{} is no admin of {}", admin.name, host.name);
            return Err(
                Error::failed(text).hinted("choose hosts that the inventory gives to the admin")
            );
        };
        let token = tokens
            .iter()
            .find(|t| t.admin.as_ref() == Some(&admin.name) && t.realm == realm.name);
        let Some(token) = token else {
            return Err(Error::failed(format!(
                "{} has no token in realm {}",
                admin.name, realm.name
            )));
        };
        if matches!(token.state, TokenState::Revoking | TokenState::Revoked) {
            return Err(Error::failed(format!(
                "the token of {} is {}: whoever is revoked gets no code",
                admin.name, token.state
            )));
        }
        places.insert(host.name.clone(), token.serial.clone());
        let member = Member {
            admin: admin.name.clone(),
            login: admin.login.clone(),
            realm: realm.name.clone(),
            policy: realm.policy.clone(),
            token: None,
        };
        members.insert(host.name.clone(), member);
    }
    Ok((places, members))
}

/// Prints the codes: here, once, and nowhere else.
fn answer(
    run: &Run<'_>,
    id: &BypassId,
    due: Timestamp,
    results: Results<Option<Secret>>,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let globals = run.globals;
    let (outcome, done) = run.outcome_of(results);
    let codes: BTreeMap<HostName, Secret> = done
        .into_iter()
        .filter_map(|(host, code)| Some((host, code?)))
        .collect();
    let code = outcome.code();
    match globals.output {
        Output::Json => {
            let codes: Vec<Value> = codes
                .iter()
                .map(|(host, code)| json!({"host": host, "code": code.expose()}))
                .collect();
            let hosts: Vec<&HostReport> = outcome.hosts.values().collect();
            let document = json!({
                "id": id, "due_at": due, "codes": codes, "hosts": hosts, "exit_code": code,
            });
            write(out, &format!("{document:#}\n"))?;
        }
        Output::Text => {
            for (host, code) in &codes {
                write(out, &format!("{host}: {}\n", code.expose()))?;
            }
            for report in outcome.hosts.values() {
                let host = &report.host;
                let text = match &report.status {
                    Status::Ok if globals.check => format!("{host}: would get a one-time code\n"),
                    Status::Ok => continue,
                    Status::Failed(why) => format!("{host}: failed: {why}\n"),
                    Status::Unreachable(why) => format!("{host}: unreachable: {why}\n"),
                    Status::Skipped(_) => format!("{host}: not begun\n"),
                };
                write(out, &text)?;
            }
            if !codes.is_empty() {
                eprintln!(
                    "grant {id}: each code works once, on its host only, until {due}; shown only now"
                );
            }
        }
    }
    Ok(code)
}

async fn revoke(
    args: &RevokeArgs,
    setup: &Setup,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let mut open = setup.ledger.open_bypasses().await?;
    open.retain(|b| {
        b.id.as_str() == args.which || b.admin.as_ref().is_some_and(|a| a.as_str() == args.which)
    });
    if open.is_empty() {
        let shown = crate::names::printable(&args.which, 60);
        return Err(
            Error::failed(format!("no one-time code is open for `{shown}`"))
                .hinted("see `fleetotp bypass list --all`"),
        );
    }
    let none = Permissions::default();
    let run = Run::begin(
        setup,
        globals,
        world,
        "bypass revoke",
        none,
        Protection::None,
    )
    .await?;
    let outcome = settle(&run, open, true, args.reason.as_deref()).await?;
    super::show::print(&outcome, globals, out)?;
    let code = outcome.code();
    run.finish(code).await?;
    Ok(code)
}

/// Looks what became of open one-time codes and records it; with `revoke`, takes them back.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn settle(
    run: &Run<'_>,
    open: Vec<BypassRecord>,
    revoke: bool,
    reason: Option<&str>,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    if open.is_empty() {
        return Ok(outcome);
    }
    let mut by_host: BTreeMap<HostName, Vec<BypassRecord>> = BTreeMap::new();
    for record in open {
        by_host.entry(record.host.clone()).or_default().push(record);
    }
    let settle = Settle {
        open: by_host
            .iter()
            .map(|(host, records)| {
                let of = |r: &BypassRecord| (r.id.clone(), r.login.clone());
                (host.clone(), records.iter().map(of).collect())
            })
            .collect(),
        revoke,
    };
    let hosts: Vec<HostName> = by_host.keys().cloned().collect();
    for (host, result) in run.errand(settle, &hosts).await? {
        let status = match result {
            Err(status) => status,
            Ok(fates) => {
                for (id, fate) in fates {
                    let state = match fate {
                        Fate::Open if revoke => BypassState::Revoked,
                        Fate::Open => continue,
                        Fate::Used => BypassState::Used,
                        Fate::Expired => BypassState::Expired,
                        Fate::Gone => BypassState::Gone,
                    };
                    if !run.globals.check {
                        let ledger = &run.setup.ledger;
                        ledger.end_bypass(&id, &host, state, reason).await?;
                    }
                    let admin = by_host
                        .get(&host)
                        .and_then(|records| records.iter().find(|r| r.id == id))
                        .and_then(|r| r.admin.as_ref())
                        .map_or("(erased)", AdminName::as_str);
                    outcome.notes.push(format!(
                        "the one-time code {id} of {admin} on {host}: {state}"
                    ));
                }
                Status::Ok
            }
        };
        outcome
            .hosts
            .insert(host.clone(), HostReport::new(host, status));
    }
    outcome.interrupted = run.stopping();
    Ok(outcome)
}

/// Says on standard error which one-time codes are open: after every run, until each has ended.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn remind(setup: &Setup) -> Result<(), Error> {
    for record in setup.ledger.open_bypasses().await? {
        eprintln!("BYPASS {}", line(&record));
    }
    Ok(())
}
