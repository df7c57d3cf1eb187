//! Beginning rotations and taking them back, on hosts too: for the command and for the task of playbooks.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cli::journal::Turn;
use crate::cli::run::{Run, Wanted};
use crate::cli::setup::Setup;
use crate::error::Error;
use crate::names::HostName;
use crate::plan::wish::Parts;
use crate::playbook::desk::Seat;
use crate::playbook::outcome::{Outcome, Status};
use crate::playbook::rotate::{Choice, Id};

/// Begins rotations and pushes them. Where a host fails, those of its admins are taken back everywhere: half a rotation
/// helps nobody. Hosts that are away get theirs from the next `sync`. `before` are hosts that have had their turn: only what
/// is taken back concerns them.
///
/// Returns as well whether none could be begun.
///
/// # Errors
/// When the ledger, the vault or a sheet cannot be written.
pub(in crate::cli) async fn rotate(
    run: &mut Run<'_>,
    choice: &Choice,
    (before, hosts): (&[HostName], &[HostName]),
    turn: &Turn,
    no_push: bool,
) -> Result<(Outcome, bool), Error> {
    let setup = run.setup;
    for id in choice.taken() {
        if run.stopping() {
            break;
        }
        let Some(seat) = seat(setup, id) else {
            continue;
        };
        if let Some(why) = run.desk().rotate(&seat).await? {
            let note = format!("{} in realm {}: not rotated: {why}", id.0, id.1);
            run.desk().notes.push(note);
        }
    }
    let begun = run.desk().begun().clone();
    if no_push || begun.is_empty() {
        return Ok((run.without_hosts(), begun.is_empty()));
    }
    let wanted = wanted(setup, hosts, &begun, turn);
    let mut outcome = run.converge_and_confirm(&wanted).await?;
    let failed: BTreeSet<HostName> = outcome
        .hosts
        .iter()
        .filter(|(_, report)| matches!(report.status, Status::Failed(_)))
        .map(|(host, _)| host.clone())
        .collect();
    if failed.is_empty() {
        return Ok((outcome, false));
    }
    let mut back = BTreeSet::new();
    for id in &begun {
        let Some(host) = failed.iter().find(|host| concerns(setup, host, id)) else {
            continue;
        };
        let why = format!("{host} failed");
        if run.desk().take_back(&id.0, &id.1, &why).await? {
            back.insert(id.clone());
        } else {
            outcome.notes.push(format!(
                "the rotation of {} in realm {} goes on although {host} failed: its new code was used already",
                id.0, id.1
            ));
        }
    }
    outcome.sheets.retain(|s| {
        !back
            .iter()
            .any(|(a, r)| s.admin == a.as_str() && s.realm == r.as_str())
    });
    if !back.is_empty() {
        let all: Vec<HostName> = before.iter().chain(hosts).cloned().collect();
        let wanted = self::wanted(setup, &all, &back, turn);
        // What was taken back without a fault has failed all the same.
        outcome.merge(run.converge(&wanted).await?);
    }
    Ok((outcome, false))
}

/// Takes rotations back whose new code was not used. Hosts are read first: only they know whether it was.
///
/// Returns as well whether one was not.
///
/// # Errors
/// When the ledger cannot be written.
pub(in crate::cli) async fn abort(
    run: &mut Run<'_>,
    choice: &Choice,
    hosts: &[HostName],
    no_push: bool,
) -> Result<(Outcome, bool), Error> {
    let setup = run.setup;
    let ids: BTreeSet<Id> = choice.taken().cloned().collect();
    let mut outcome = Outcome::default();
    let wanted = wanted(setup, hosts, &ids, &Turn::default());
    if !no_push {
        outcome = run.converge_and_confirm(&wanted).await?;
    }
    let mut refused = false;
    for (admin, realm) in &ids {
        if !run.desk().take_back(admin, realm, "asked for").await? {
            refused = true;
            outcome.notes.push(format!(
                "the rotation of {admin} in realm {realm} is not taken back: its new code was used"
            ));
        }
    }
    if no_push {
        outcome.merge(run.without_hosts());
    } else {
        outcome.merge(run.converge(&wanted).await?);
    }
    Ok((outcome, refused))
}

fn seat(setup: &Setup, (admin, realm): &Id) -> Option<Seat> {
    let enrolment = setup.inventory.enrolment();
    let admin = Arc::new(enrolment.admins.get(admin)?.clone());
    Some(Seat {
        login: admin.login.clone(),
        admin,
        realm: Arc::new(enrolment.realms.get(realm)?.clone()),
    })
}

/// Returns whether a host is one of an admin's in a realm.
fn concerns(setup: &Setup, host: &HostName, (admin, realm): &Id) -> bool {
    setup
        .inventory
        .realm_of(host)
        .is_some_and(|r| r.name == *realm)
        && setup.inventory.admins_on(host).any(|a| a.name == *admin)
}

/// Those of these hosts that have the tokens, for their admins.
fn wanted(setup: &Setup, hosts: &[HostName], ids: &BTreeSet<Id>, turn: &Turn) -> Wanted {
    Wanted {
        hosts: hosts
            .iter()
            .filter(|host| ids.iter().any(|id| concerns(setup, host, id)))
            .cloned()
            .collect(),
        admins: Some(ids.iter().map(|(admin, _)| admin.clone()).collect()),
        parts: Parts {
            host: false,
            secrets: true,
        },
        evidence: true,
        stage: turn.clone(),
        ..Wanted::default()
    }
}
