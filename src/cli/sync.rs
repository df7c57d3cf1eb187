//! `fleetotp sync`: reads every host, takes in confirmations by login, repairs what was changed by hand, enrols what is
//! new, finishes what is open. Quiet when nothing happened.

use std::collections::BTreeSet;
use std::io::Write;

use clap::Args;

use super::globals::{Globals, Output};
use super::play::write;
use super::run::{Run, Wanted, admins_of, names};
use super::setup::{Setup, World};
use super::{bypass, show};
use crate::error::Error;
use crate::exit;
use crate::ledger::Ledger;
use crate::names::printable;
use crate::plan::finding::Severity;
use crate::plan::wish::Parts;
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::Outcome;
use crate::playbook::sheets::{Protection, destroy};

/// Arguments of `sync`.
#[derive(Debug, Clone, Args)]
pub struct SyncArgs {
    /// Leave hosts alone that were never prepared, and issue nothing to admins who have no token yet
    #[arg(long, env = "FLEETOTP_NO_NEW")]
    no_new: bool,

    /// Exit 9 where anything stays open: gaps, tokens without a host, secrets that need the identity
    #[arg(long, env = "FLEETOTP_STRICT")]
    strict: bool,
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
            host: true,
            secrets: true,
        },
        evidence: true,
        prepared_only: args.no_new,
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
    let mut open = setup.ledger.open_bypasses().await?;
    open.retain(|b| wanted.hosts.contains(&b.host));
    let ended = bypass::settle(&run, open, false, None).await?;
    let standing = standing_gaps(&setup.ledger).await?;
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
    let mut code = outcome.code();
    if args.strict && code == exit::DONE && outcome.hosts.values().any(|h| !h.gaps.is_empty()) {
        code = exit::FINDINGS;
    }
    show::tell(&outcome);
    match globals.output {
        Output::Text => {
            if globals.verbose == 0 {
                leave_out_what_stands(&mut outcome, &standing);
            }
            write(out, &show::lines(&outcome, globals))?;
        }
        Output::Json => write(out, &show::document(&[], &outcome))?,
    }
    run.finish(code).await?;
    Ok(code)
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
            .retain(|finding| finding.severity != Severity::Note);
    }
}
