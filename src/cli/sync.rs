//! `fleetotp sync`: reads every host, takes in confirmations by login, repairs what was changed by hand, enrols what is
//! new, finishes what is open. Quiet when nothing happened.

use std::collections::BTreeSet;
use std::io::Write;

use clap::Args;

use super::ci::CiArgs;
use super::globals::{Globals, Output};
use super::leavers::Leavers;
use super::revoke::choose::{Chosen, MaxRevoke};
use super::revoke::people::People;
use super::revoke::request;
use super::run::{Run, Wanted, admins_of, names};
use super::setup::{Setup, World};
use super::{bypass, show};
use crate::error::Error;
use crate::exit;
use crate::inventory::model::OnOverdue;
use crate::ledger::Ledger;
use crate::ledger::RevocationRequest;
use crate::names::{HostName, printable};
use crate::plan::enforce::UNKNOWN_MEMBERS;
use crate::plan::finding::Severity;
use crate::plan::wish::Parts;
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::{HostReport, Outcome};
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

    /// Leave hosts alone that were never prepared, and issue nothing to admins who have no token yet
    #[arg(long, env = "FLEETOTP_NO_NEW")]
    no_new: bool,

    /// Exit 9 where anything stays open: gaps, tokens without a host, secrets that need the identity
    #[arg(long, env = "FLEETOTP_STRICT")]
    strict: bool,

    /// With --check: exit with 8 if anything would change
    #[arg(long, env = "FLEETOTP_DETAILED_EXITCODE")]
    detailed_exitcode: bool,

    #[command(flatten)]
    ci: CiArgs,
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
    let wanted = Wanted {
        hosts: names(&hosts),
        admins,
        parts: Parts {
            host: true,
            secrets: true,
        },
        evidence: true,
        leavers: if globals.limit.is_some() {
            Leavers::All
        } else {
            Leavers::AllEverywhere
        },
        prepared_only: args.no_new,
        keeps_rollbacks: true,
        ..Wanted::default()
    };
    let permissions = Permissions {
        issue: !args.no_new,
        ..Permissions::default()
    };
    let mut run = Run::begin(
        &setup,
        globals,
        world,
        "sync",
        permissions,
        Protection::None,
    )
    .await?;
    let mut pruned = Vec::new();
    if args.prune {
        pruned = match prune(args, globals, world, &setup).await {
            Ok(pruned) => pruned,
            Err(error) => {
                run.finish(error.kind().code()).await?;
                return Err(error);
            }
        };
        run.desk().reload().await?;
    }
    let ended = settle_bypasses(&run, &wanted.hosts).await?;
    let standing = standing_gaps(&setup.ledger).await?;
    let mut outcome = run.converge_and_confirm(&wanted).await?;
    outcome.notes.splice(0..0, pruned);
    outcome.notes.extend(ended);
    outcome.notes.extend(end_what_is_overdue(&mut run).await?);
    let mut code = outcome.code();
    let stays_open = |h: &HostReport| {
        !h.gaps.is_empty()
            || h.revoked.iter().any(|r| r.state == "open")
            || h.findings.iter().any(|f| f.id == UNKNOWN_MEMBERS)
    };
    if args.strict && code == exit::DONE && outcome.hosts.values().any(stays_open) {
        code = exit::FINDINGS;
    }
    if code == exit::DONE && globals.check && args.detailed_exitcode && outcome.changed() {
        code = exit::CHANGES;
    }
    args.ci.tell_of(world, "fleetotp sync", globals, &outcome)?;
    if globals.output == Output::Text && globals.verbose == 0 {
        leave_out_what_stands(&mut outcome, &standing);
    }
    show::print(&outcome, globals, out)?;
    run.finish(code).await?;
    Ok(code)
}

/// Takes in how one-time codes on these hosts ended; returns what is to be said of it.
///
/// # Errors
/// When the ledger cannot be written.
pub(super) async fn settle_bypasses(
    run: &Run<'_>,
    hosts: &[HostName],
) -> Result<Vec<String>, Error> {
    let mut open = run.setup.ledger.open_bypasses().await?;
    open.retain(|b| hosts.contains(&b.host));
    Ok(bypass::settle(run, open, false, None).await?.notes)
}

/// Ends what was not confirmed in time; returns what is to be said of it. After hosts were read: a confirming login in time
/// must have been seen first.
///
/// # Errors
/// When the ledger cannot be written.
pub(super) async fn end_what_is_overdue(run: &mut Run<'_>) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    if run.globals.check {
        return Ok(notes);
    }
    for expired in run.setup.ledger.expire_overdue().await? {
        notes.push(format!(
            "token {} generation {} expired unconfirmed",
            expired.serial, expired.generation
        ));
        notes.extend(expired.sheet.as_ref().and_then(destroy));
    }
    let realms = run.setup.inventory.enrolment().realms.values();
    let expire = realms
        .filter(|r| r.policy.on_overdue == OnOverdue::Expire)
        .map(|r| r.name.clone())
        .collect();
    run.desk().end_overdue_rotations(&expire).await?;
    notes.append(&mut run.desk().notes);
    Ok(notes)
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

/// A gap that an earlier run has found: host, login, reason.
type Standing = BTreeSet<(String, String, String)>;

async fn standing_gaps(ledger: &Ledger) -> Result<Standing, Error> {
    let rows = ledger.token_hosts().await?;
    Ok(rows
        .into_iter()
        .filter_map(|r| Some((r.host.to_string(), r.login.to_string(), r.reason?)))
        .collect())
}

/// A run every few minutes says a gap when it appears; `status` has those that stand, `-v` says all.
fn leave_out_what_stands(outcome: &mut Outcome, standing: &Standing) {
    for report in outcome.hosts.values_mut() {
        let host = report.host.to_string();
        report.gaps.retain(|gap| {
            let known = (
                host.clone(),
                gap.login.clone(),
                printable(&gap.text, crate::ledger::MAX_DETAIL),
            );
            !standing.contains(&known)
        });
        report
            .findings
            .retain(|f| f.severity != Severity::Note || f.id == UNKNOWN_MEMBERS);
    }
}
