//! `fleetotp verify`: whether hosts still let in who must get in, and refuse who must be refused, by real logins.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;

use clap::Args;

use super::ci::CiArgs;
use super::globals::{Globals, Output};
use super::play::write;
use super::run::{Run, names};
use super::setup::{Setup, World};
use super::show;
use crate::error::Error;
use crate::exit;
use crate::names::HostName;
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::{HostReport, Outcome, Status};
use crate::playbook::sheets::Protection;
use crate::playbook::verify::Verify;

/// Arguments of `verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// Hosts: a pattern
    #[arg(value_name = "HOSTS", default_value = "all")]
    hosts: String,

    /// On each host, not once for all with the same sshd, configuration and PAM text
    #[arg(long, env = "FLEETOTP_EVERY_HOST")]
    every_host: bool,

    /// Exit 9 where a login did not end as it must
    #[arg(long, env = "FLEETOTP_STRICT")]
    strict: bool,

    #[command(flatten)]
    ci: CiArgs,
}

/// Runs the command.
///
/// # Errors
/// Patterns that match nothing, `--check`, and whatever keeps the whole run from going on.
pub async fn run(
    args: &VerifyArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    if globals.check {
        return Err(Error::usage(
            "`verify` logs in as a temporary member, so it cannot be made with --check",
        )
        .hinted("it changes nothing that stays"));
    }
    let setup = Setup::open(globals, world).await?;
    let hosts = setup
        .inventory
        .select(&args.hosts, globals.limit.as_deref())?;
    // Of hosts that no realm covers nothing is claimed.
    let (hosts, unmanaged): (Vec<HostName>, Vec<HostName>) = names(&hosts)
        .into_iter()
        .partition(|h| setup.inventory.realm_of(h).is_some());
    let permissions = Permissions::default();
    let run = Run::begin(
        &setup,
        globals,
        world,
        "verify",
        permissions,
        Protection::None,
    )
    .await?;
    let mut outcome = verified(&run, &hosts, args.every_host).await?;
    if !unmanaged.is_empty() {
        let unmanaged: BTreeSet<&str> = unmanaged.iter().map(HostName::as_str).collect();
        let unmanaged: Vec<&str> = unmanaged.into_iter().collect();
        let unmanaged = unmanaged.join(", ");
        let note = format!("in no realm, so not verified: {unmanaged}");
        outcome.notes.push(note);
    }
    let mut code = outcome.code();
    let failed = |r: &HostReport| r.verification.as_ref().is_some_and(|v| !v.held);
    if args.strict && code == exit::DONE && outcome.hosts.values().any(failed) {
        code = exit::FINDINGS;
    }
    args.ci
        .tell_of(world, "fleetotp verify", globals, &failing(&outcome))?;
    match globals.output {
        Output::Text => {
            write(out, &lines(&outcome, globals))?;
            show::tell(&outcome);
        }
        Output::Json => show::print(&outcome, globals, out)?,
    }
    run.finish(code).await?;
    Ok(code)
}

/// Tries the login table on hosts, and records what came of it.
///
/// # Errors
/// When the ledger cannot be written.
pub(super) async fn verified(
    run: &Run<'_>,
    hosts: &[HostName],
    every_host: bool,
) -> Result<Outcome, Error> {
    let inventory = &run.setup.inventory;
    let mut errand = Verify {
        every_host,
        ..Verify::default()
    };
    for host in hosts {
        let Some(realm) = inventory.realm_of(host) else {
            continue;
        };
        let logins = inventory.admins_on(host).map(|a| a.login.clone());
        errand
            .hosts
            .insert(host.clone(), (realm.policy.clone(), logins.collect()));
    }
    let (mut outcome, done) = run.outcome_of(run.errand(errand, hosts).await?);
    let records: Vec<_> = done.iter().map(|(host, v)| v.record(host)).collect();
    run.setup.ledger.record_verified(&records).await?;
    for (host, verification) in done {
        if let Some(report) = outcome.hosts.get_mut(&host) {
            report.verification = Some(verification);
        }
    }
    Ok(outcome)
}

/// The same for a task of a play: a host that does not hold has failed.
///
/// # Errors
/// As [`verified`].
pub(super) async fn by_task(
    run: &Run<'_>,
    hosts: &[HostName],
    every_host: bool,
) -> Result<Outcome, Error> {
    Ok(failing(&verified(run, hosts, every_host).await?))
}

/// The same with hosts failed where the table does not hold.
fn failing(outcome: &Outcome) -> Outcome {
    let mut outcome = outcome.clone();
    for report in outcome.hosts.values_mut() {
        if let Some(fault) = report.verification.as_ref().and_then(|v| v.fault.clone()) {
            report.status = Status::Failed(fault);
        }
    }
    outcome
}

fn lines(outcome: &Outcome, globals: &Globals) -> String {
    let mut text = show::lines(outcome, globals);
    for (host, report) in &outcome.hosts {
        let Some(done) = &report.verification else {
            continue;
        };
        let word = match &done.fault {
            None => "verified".to_owned(),
            Some(fault) => format!("NOT VERIFIED: {fault}"),
        };
        // Writing to a string cannot fail.
        _ = writeln!(text, "{host}: {word}");
        text.push_str(&show::table(done, globals));
    }
    text
}
