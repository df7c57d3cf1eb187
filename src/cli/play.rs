//! `fleetotp play`: runs playbooks.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::enroll::ProtectionArgs;
use super::globals::{Globals, Output};
use super::leavers::Leavers;
use super::report::Narrow;
use super::rotate::push;
use super::run::{Run, Wanted, admins_of, names};
use super::setup::{Setup, World};
use super::show::Told;
use super::{collect, inventory, report, show, status};
use crate::error::Error;
use crate::exit;
use crate::plan::wish::Parts;
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::Outcome;
use crate::playbook::rotate::{Query, Which, choose};
use crate::playbook::schema::{self, Action, Play};
use crate::playbook::tasks::{CollectTask, ReportTask};
use crate::text::SourceFile;

/// Arguments of `play`.
#[derive(Debug, Clone, Args)]
pub struct PlayArgs {
    /// Playbooks, in order
    #[arg(value_name = "PLAYBOOK", required = true)]
    playbooks: Vec<PathBuf>,

    /// Only tasks with one of these tags
    #[arg(
        short = 't',
        long,
        env = "FLEETOTP_TAGS",
        value_name = "TAGS",
        value_delimiter = ','
    )]
    tags: Vec<String>,

    /// No tasks with one of these tags
    #[arg(
        long,
        env = "FLEETOTP_SKIP_TAGS",
        value_name = "TAGS",
        value_delimiter = ','
    )]
    skip_tags: Vec<String>,

    /// List the hosts of each play; do nothing
    #[arg(long, env = "FLEETOTP_LIST_HOSTS")]
    list_hosts: bool,

    /// List the tasks of each play; do nothing
    #[arg(long, env = "FLEETOTP_LIST_TASKS")]
    list_tasks: bool,

    /// With --check: exit with 8 if anything would change
    #[arg(long, env = "FLEETOTP_DETAILED_EXITCODE")]
    detailed_exitcode: bool,

    #[command(flatten)]
    protection: ProtectionArgs,
}

/// Runs the command.
///
/// # Errors
/// A playbook that is wrong, a pattern that matches nothing, and whatever keeps the whole run from going on.
pub async fn run(
    args: &PlayArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let mut books = Vec::new();
    for path in &args.playbooks {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(world.cwd.join(path)).map_err(|e| {
            Error::failed(format!("cannot read the playbook `{shown}`")).caused_by(e)
        })?;
        let mut plays = schema::parse(&SourceFile::new(shown.clone(), text))?;
        schema::choose(&mut plays, &args.tags, &args.skip_tags).map_err(Error::failed)?;
        books.push((shown, plays));
    }
    let setup = Setup::open(globals, world).await?;
    if args.list_hosts || args.list_tasks {
        return list(args, globals, &setup, &books, out);
    }
    let has = |is: fn(&Action) -> bool| {
        let mut plays = books.iter().flat_map(|(_, plays)| plays);
        plays.any(|p| p.tasks.iter().any(|t| is(&t.action)))
    };
    let permissions = Permissions {
        issue: has(|a| *a == Action::Enroll),
        rotate: has(|a| matches!(a, Action::Rotate(_))),
        ..Permissions::default()
    };
    let command = format!(
        "play {}",
        args.playbooks
            .iter()
            .map(|p| p.display().to_string())
            .collect::<Vec<_>>()
            .join(" ")
    );
    let mut run = Run::begin(
        &setup,
        globals,
        world,
        &command,
        permissions,
        args.protection.read()?,
    )
    .await?;
    let mut all = Outcome::default();
    let mut documents = Vec::new();
    let mut ends = Ends::default();
    for play in books.iter().flat_map(|(_, plays)| plays) {
        let wanted = wanted(play, globals, &setup)?;
        let mut outcome = Outcome::default();
        // What only rotates, collects or reports brings hosts to nothing: like the commands, it contacts no host for that.
        if play.tasks.iter().any(|t| t.action.converges()) {
            outcome = run.converge(&wanted).await?;
        }
        for which in rotations(play) {
            let rotated = rotate(&mut run, &wanted, which).await?;
            ends.changes |= rotated.would;
            ends.failed |= rotated.refused;
            outcome.merge(rotated.outcome);
        }
        let told = after(&run, play, &wanted, &mut outcome, &mut ends, out).await;
        match globals.output {
            Output::Text => write(out, &show::play(play, &outcome, &told, globals))?,
            Output::Json => documents.push(show::play_json(play, &outcome, &told)),
        }
        show::tell(&outcome);
        let interrupted = outcome.interrupted;
        all.merge(outcome);
        if interrupted {
            break;
        }
    }
    match globals.output {
        Output::Text => write(out, &show::recap(&all))?,
        Output::Json => write(out, &show::document(&documents, &all))?,
    }
    let mut code = all.code();
    if ends.failed && !all.interrupted {
        code = exit::ERROR;
    }
    let changes = all.changed() || ends.changes;
    if code == exit::DONE && ends.findings {
        code = exit::FINDINGS;
    }
    if code == exit::DONE && globals.check && args.detailed_exitcode && changes {
        code = exit::CHANGES;
    }
    run.finish(code).await?;
    Ok(code)
}

/// What decides on the exit code besides how hosts ended.
#[derive(Debug, Default)]
struct Ends {
    /// With `--check`: something would be rotated.
    changes: bool,
    /// A task failed on the controller's side: no rotation could be begun, no report made.
    failed: bool,
    /// A task that is to judge found something.
    findings: bool,
}

/// Does what follows once hosts are as they are to be: collects, and reports, in the order of the tasks. What was done on
/// hosts and is shown only once must be shown all the same, so what fails here becomes a note.
async fn after(
    run: &Run<'_>,
    play: &Play,
    wanted: &Wanted,
    outcome: &mut Outcome,
    ends: &mut Ends,
    out: &mut (dyn Write + Send),
) -> Told {
    let mut told = Told::new();
    for (number, task) in (0..).zip(&play.tasks) {
        if outcome.interrupted {
            break;
        }
        let done = match &task.action {
            Action::Collect(args) => collected(run, args, wanted, outcome, ends).await,
            Action::Report(args) => reported(run, play, args, ends, out).await,
            _ => continue,
        };
        match done {
            Ok(one) => told.extend([(number, one)]),
            Err(error) => {
                ends.failed = true;
                let why = error.report();
                let why = why.trim_end().trim_start_matches("error: ");
                outcome.notes.push(format!("{}: failed: {why}", task.name));
            }
        }
    }
    told
}

async fn collected(
    run: &Run<'_>,
    task: &CollectTask,
    wanted: &Wanted,
    outcome: &mut Outcome,
    ends: &mut Ends,
) -> Result<(String, Value), Error> {
    let done = collect::collect(run, &wanted.hosts, &task.into()).await?;
    ends.findings |= done.is_strictly_bad(task.strict);
    // What was found is shown, whether or not others could be told of it.
    if let Err(error) = done.tell(run).await {
        ends.failed = true;
        outcome
            .notes
            .push(format!("collect: {}", error.report().trim_end()));
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

/// Which tokens a play's tasks rotate.
fn rotations(play: &Play) -> impl Iterator<Item = Which> {
    play.tasks.iter().filter_map(|t| match &t.action {
        Action::Rotate(which) => Some(*which),
        _ => None,
    })
}

/// What came of a task `rotate`.
#[derive(Debug, Default)]
struct Rotated {
    outcome: Outcome,
    /// With `--check`: something would be rotated.
    would: bool,
    /// None of those that are meant could be begun.
    refused: bool,
}

/// Does what the command does, for the play's admins on its hosts.
async fn rotate(run: &mut Run<'_>, wanted: &Wanted, which: Which) -> Result<Rotated, Error> {
    let query = Query {
        admins: wanted.admins.clone(),
        hosts: Some(wanted.hosts.iter().cloned().collect()),
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
    } else if choice.taken().next().is_some() {
        (rotated.outcome, rotated.refused) =
            push::rotate(run, &choice, &wanted.hosts, false).await?;
    }
    let left = choice
        .left()
        .map(|((admin, realm), why)| format!("{admin} in realm {realm}: not rotated: {why}"));
    rotated.outcome.notes.extend(left);
    Ok(rotated)
}

fn wanted(play: &Play, globals: &Globals, setup: &Setup) -> Result<Wanted, Error> {
    let hosts = setup
        .inventory
        .select(&play.hosts, globals.limit.as_deref())?;
    let pattern = globals.admins.as_deref().or(play.admins.as_deref());
    let has = |action: Action| play.tasks.iter().any(|t| t.action == action);
    Ok(Wanted {
        hosts: names(&hosts),
        admins: admins_of(setup, pattern)?,
        parts: Parts {
            host: has(Action::PamTotp),
            secrets: has(Action::Enroll),
        },
        leavers: if has(Action::Revoke) {
            Leavers::All
        } else {
            Leavers::Nobody
        },
        ..Wanted::default()
    })
}

/// Prints hosts and tasks as Ansible does.
fn list(
    args: &PlayArgs,
    globals: &Globals,
    setup: &Setup,
    books: &[(String, Vec<Play>)],
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let mut text = String::new();
    for (book, plays) in books {
        // Writing to a string cannot fail.
        _ = writeln!(text, "\nplaybook: {book}");
        for (number, play) in plays.iter().enumerate() {
            let (number, pattern) = (number + 1, &play.hosts);
            _ = writeln!(
                text,
                "\n  play #{number} ({pattern}): {}\tTAGS: []",
                play.name
            );
            if args.list_hosts {
                let hosts = setup
                    .inventory
                    .select(&play.hosts, globals.limit.as_deref())?;
                _ = writeln!(text, "    pattern: ['{pattern}']");
                for line in inventory::list_hosts(&hosts).lines() {
                    _ = writeln!(text, "  {line}");
                }
            }
            if args.list_tasks {
                text.push_str("    tasks:\n");
                for task in &play.tasks {
                    let tags: Vec<&str> = task.tags.iter().map(String::as_str).collect();
                    _ = writeln!(text, "      {}\tTAGS: [{}]", task.name, tags.join(", "));
                }
            }
        }
    }
    write(out, &text)?;
    Ok(exit::DONE)
}

/// Returns a document as JSON for [`write()`]. Not by way of a [`serde_json::Value`]: of thousands of rows that takes several
/// times the memory of the text.
///
/// # Errors
/// When something in it has no form in JSON.
pub(crate) fn json(document: &impl serde::Serialize) -> Result<String, Error> {
    let text = serde_json::to_string_pretty(document);
    text.map(|text| text + "\n")
        .map_err(|e| Error::failed("cannot write JSON").caused_by(e))
}

/// Writes to standard output. What hosts said may be anything: nothing of it reaches the terminal as a command.
pub(crate) fn write(out: &mut (dyn Write + Send), text: &str) -> Result<(), Error> {
    let text = crate::names::without_controls(text);
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads stopped reading; the run and its exit code are the same.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|e| Error::failed("cannot write to standard output").caused_by(e)),
    }
}
