//! What tasks do besides bringing hosts to something: rotate, collect, report.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Instant;

use serde_json::Value;

use super::super::journal::Turn;
use super::super::profile::Profile;
use super::super::report::Narrow;
use super::super::rotate::push;
use super::super::run::Run;
use super::super::show::Told;
use super::super::{collect, report, status, sync};
use crate::error::Error;
use crate::names::{AdminName, HostName};
use crate::playbook::conditions::holds_on;
use crate::playbook::outcome::Outcome;
use crate::playbook::rotate::{Query, Which, choose};
use crate::playbook::schema::{Action, Play, Task};
use crate::playbook::tasks::{CollectTask, ReportTask};

/// What decides on the exit code besides how hosts ended.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// With `--check`: something would be rotated.
    pub(super) changes: bool,
    /// A task failed on the controller's side: no rotation could be begun, no report made.
    pub(super) failed: bool,
    /// What was to be collected was not.
    pub(super) uncollected: bool,
    /// A task that is to judge found something.
    pub(super) findings: bool,
}

/// Does what follows once hosts are as they are to be: collects, and reports, in the order of the tasks. What was done on
/// hosts and is shown only once must be shown all the same, so what fails here becomes a note.
pub(super) async fn after(
    run: &mut Run<'_>,
    play: &Play,
    hosts: &[HostName],
    outcome: &mut Outcome,
    (turn, ends, profile): (&Turn, &mut Ends, &mut Profile),
    out: &mut (dyn Write + Send),
) -> Told {
    let mut told = Told::new();
    for (number, task) in (0..).zip(&play.tasks) {
        let since = Instant::now();
        let done = match &task.action {
            Action::Collect(args) => match begin(run, play, task, hosts, turn).await {
                Ok(_) if outcome.interrupted => break,
                Ok(hosts) => collected(run, args, (turn, &hosts), outcome, ends).await,
                Err(error) => Err(error),
            },
            _ if outcome.interrupted => continue,
            Action::Report(args) => reported(run, play, args, ends, out).await,
            Action::Sync(_) => {
                let ended = sync::end_what_is_overdue(run).await;
                match ended {
                    Ok(notes) => outcome.notes.extend(notes),
                    Err(error) => outcome.notes.push(failed(task, ends, &error)),
                }
                continue;
            }
            _ => continue,
        };
        profile.note(task.name.clone(), since);
        match done {
            Ok(one) => told.extend([(number, one)]),
            Err(error) => {
                ends.uncollected |= matches!(task.action, Action::Collect(_));
                outcome.notes.push(failed(task, ends, &error));
            }
        }
    }
    told
}

fn failed(task: &Task, ends: &mut Ends, error: &Error) -> String {
    ends.failed = true;
    let why = error.report();
    let why = why.trim_end().trim_start_matches("error: ");
    format!("{}: failed: {why}", task.name)
}

/// Returns those of these hosts on which a task's condition holds. They wait for it from now on, also where the run is cut short
/// before.
///
/// # Errors
/// A condition that cannot be told, and when the ledger cannot be written.
pub(super) async fn begin(
    run: &Run<'_>,
    play: &Play,
    task: &Task,
    hosts: &[HostName],
    turn: &Turn,
) -> Result<Vec<HostName>, Error> {
    let chosen = where_it_holds(run, play, task, hosts)?;
    run.journal_waiting(turn, &chosen).await?;
    Ok(chosen)
}

/// Those of these hosts on which a task's condition holds.
fn where_it_holds(
    run: &Run<'_>,
    play: &Play,
    task: &Task,
    hosts: &[HostName],
) -> Result<Vec<HostName>, Error> {
    let mut chosen = Vec::with_capacity(hosts.len());
    for name in hosts {
        let Some(host) = run.setup.inventory.host(name.as_str()) else {
            continue;
        };
        if holds_on(&task.when, &play.vars, host)? {
            chosen.push(name.clone());
        }
    }
    Ok(chosen)
}

async fn collected(
    run: &Run<'_>,
    task: &CollectTask,
    (turn, hosts): (&Turn, &[HostName]),
    outcome: &mut Outcome,
    ends: &mut Ends,
) -> Result<(String, Value), Error> {
    let done = collect::by_task(run, hosts, task).await?;
    run.journal_ended(turn, hosts, &done.outcome).await?;
    ends.findings |= done.is_strictly_bad(task.strict);
    if let Some(why) = &done.untold {
        ends.failed = true;
        outcome.notes.push(format!("collect: {why}"));
    }
    let told = (done.text(), done.document());
    outcome.merge(done.outcome);
    Ok(told)
}

async fn reported(
    run: &Run<'_>,
    play: &Play,
    task: &ReportTask,
    ends: &mut Ends,
    out: &mut (dyn Write + Send),
) -> Result<(String, Value), Error> {
    let (setup, globals) = (run.setup, run.globals);
    if !task.is_computed() {
        // From the tables: no need to read the log.
        let text = status::text(setup, globals, run.world.clock.now()).await?;
        return Ok((text, Value::Null));
    }
    let narrow = Narrow::by_play(globals, &play.hosts, play.admins.as_deref());
    let done = report::task::run(task, narrow, globals.check, setup, run.world, out).await?;
    ends.findings |= task.strict && done.open > 0;
    Ok((done.text, done.document))
}

/// What came of a task `rotate`.
#[derive(Debug, Default)]
pub(super) struct Rotated {
    pub(super) outcome: Outcome,
    /// With `--check`: something would be rotated.
    pub(super) would: bool,
    /// None of those that are meant could be begun.
    pub(super) refused: bool,
}

/// Does what the command does, for the play's admins on a batch of its hosts. `before` are the hosts of earlier batches:
/// they get back what is taken back.
pub(super) async fn rotate(
    run: &mut Run<'_>,
    admins: Option<&BTreeSet<AdminName>>,
    (before, hosts): (&[HostName], &[HostName]),
    turn: &Turn,
    which: Which,
) -> Result<Rotated, Error> {
    let query = Query {
        admins: admins.cloned(),
        hosts: Some(hosts.iter().cloned().collect()),
        which,
        ..Query::default()
    };
    let now = run.world.clock.now();
    let choice = choose(&run.setup.inventory, &run.setup.ledger, &query, now).await?;
    let mut rotated = Rotated::default();
    let check = run.globals.check;
    if check {
        rotated.would = choice.taken().next().is_some();
        let would = choice.taken();
        let would =
            would.map(|(admin, realm)| format!("{admin} in realm {realm}: would be rotated"));
        rotated.outcome.notes.extend(would);
    } else if choice.taken().next().is_some() || !run.desk().begun().is_empty() {
        // Also what an earlier batch has begun.
        (rotated.outcome, rotated.refused) =
            push::rotate(run, &choice, (before, hosts), turn, false).await?;
    }
    let begun = run.desk().begun();
    let left = choice
        .left()
        .filter(|(id, _)| !begun.contains(id))
        .map(|((admin, realm), why)| format!("{admin} in realm {realm}: not rotated: {why}"));
    rotated.outcome.notes.extend(left);
    Ok(rotated)
}
