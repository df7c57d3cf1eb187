//! `fleetotp play`: runs playbooks.

mod asked;
mod chosen;
mod list;
mod stage;
mod step;
mod tasks;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use self::asked::{Asked, shown};
use self::chosen::any_is_chosen;
use self::stage::Player;
use super::ci::{CiArgs, Suite};
use super::enroll::ProtectionArgs;
use super::globals::{Globals, Output};
use super::run::Run;
use super::setup::{Setup, World};
use super::{runs, show};
use crate::error::Error;
use crate::exit;
use crate::playbook::conditions::holds_on;
use crate::playbook::desk::Permissions;
use crate::playbook::schema::{self, Action, Play, tags};
use crate::playbook::tasks::SyncTask;
use crate::text::SourceFile;

/// Arguments of `play`.
#[derive(Debug, Clone, Args)]
pub struct PlayArgs {
    /// Playbooks, in order
    #[arg(value_name = "PLAYBOOK", required_unless_present = "retry_failed")]
    playbooks: Vec<PathBuf>,

    /// Only the hosts that this earlier run did not finish: its id, or `last`; with its playbooks, where none is named, and what narrowed it
    #[arg(long, env = "FLEETOTP_RETRY_FAILED", value_name = "RUN")]
    retry_failed: Option<String>,

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

    /// Leave out the tasks before the first one of this name, which may be a pattern
    #[arg(long, env = "FLEETOTP_START_AT_TASK", value_name = "NAME")]
    start_at_task: Option<String>,

    /// Ask of each task of all plays, before the run begins, whether it is to be done
    #[arg(long, env = "FLEETOTP_STEP")]
    step: bool,

    /// List the hosts of each play; do nothing
    #[arg(long, env = "FLEETOTP_LIST_HOSTS")]
    list_hosts: bool,

    /// List the tasks of each play; do nothing
    #[arg(long, env = "FLEETOTP_LIST_TASKS")]
    list_tasks: bool,

    /// With --check: exit with 8 if anything would change
    #[arg(long, env = "FLEETOTP_DETAILED_EXITCODE")]
    detailed_exitcode: bool,

    /// Say at the end where the time went
    #[arg(long, env = "FLEETOTP_PROFILE")]
    profile: bool,

    #[command(flatten)]
    protection: ProtectionArgs,

    #[command(flatten)]
    ci: CiArgs,
}

/// A playbook that was read: its path as it was given, and its plays.
type Book = (String, Vec<Play>);

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
    let mut asked = Asked::by(args, globals, world);
    let (mut books, mut only) = (Vec::new(), None);
    if args.retry_failed.is_none() {
        books = read(&asked, world)?;
    }
    let setup = Setup::open(globals, world).await?;
    if let Some(name) = &args.retry_failed {
        let run = runs::find(&setup, name).await?;
        asked = asked.again(&run)?;
        books = read(&asked, world)?;
        let left = setup.ledger.run_left(&run.id).await?;
        if left.is_empty() {
            write(out, &format!("run {name} has left no host undone\n"))?;
            return Ok(exit::DONE);
        }
        only = Some(left);
    }
    let limited = globals.limit.is_some();
    let globals = &asked.narrow(globals);
    if let Some(left) = &only {
        any_is_chosen(&books, left, limited, &setup, globals)?;
    }
    if args.list_hosts || args.list_tasks {
        return list::list(args, globals, &setup, (&books, only.as_ref()), out);
    }
    if asked.step {
        step::ask(&mut books)?;
    }
    let plays: Vec<&Play> = books.iter().flat_map(|(_, plays)| plays).collect();
    let files = books
        .iter()
        .flat_map(|(file, plays)| std::iter::repeat_n(file, plays.len()));
    let has = |is: fn(&Action) -> bool| {
        let mut tasks = plays.iter().flat_map(|p| &p.tasks);
        tasks.any(|t| is(&t.action))
    };
    let permissions = Permissions {
        issue: has(|a| matches!(a, Action::Enroll | Action::Sync(SyncTask { no_new: false }))),
        rotate: has(|a| matches!(a, Action::Rotate(_))),
        ..Permissions::default()
    };
    for play in &plays {
        tell_conditions(play, &setup, globals)?;
    }
    let names: Vec<&str> = books.iter().map(|(name, _)| name.as_str()).collect();
    let mut run = Run::begin(
        &setup,
        globals,
        world,
        &format!("{COMMAND}{}", names.join(" ")),
        permissions,
        args.protection.read()?,
    )
    .await?;
    run.keep_request(&asked.text()?).await?;
    let mut player = Player::new(&mut run, only);
    player.expect(&plays).await?;
    let mut suites = Vec::new();
    for ((number, play), file) in (1..).zip(&plays).zip(files) {
        let end = player.play(number, play, out).await?;
        if args.ci.is_wanted(world) {
            suites.push(Suite {
                name: play.name.clone(),
                file: file.clone(),
                hosts: player.last.clone(),
            });
        }
        if end.is_break() {
            break;
        }
    }
    let Player {
        all,
        documents,
        ends,
        profile,
        ..
    } = player;
    let profile = args.profile.then_some(profile);
    match globals.output {
        Output::Text => {
            write(out, &show::recap(&all))?;
            if let Some(profile) = profile {
                write(out, &profile.text(&all))?;
            }
        }
        Output::Json => {
            let profile = profile.map(|p| p.json(&all));
            show::document(&documents, &all, profile, out)?;
        }
    }
    args.ci.tell(world, "fleetotp play", &suites)?;
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

/// With what the record of a run of playbooks begins.
const COMMAND: &str = "play ";

/// Tells the conditions of a play on all of its hosts, as far as variables do: what cannot be told is wrong before anything
/// runs, not in the third batch.
fn tell_conditions(play: &Play, setup: &Setup, globals: &Globals) -> Result<(), Error> {
    if play.tasks.iter().all(|task| task.when.is_empty()) {
        return Ok(());
    }
    let limit = globals.limit.as_deref();
    for host in setup.inventory.select(&play.hosts, limit)? {
        for task in play.tasks.iter().filter(|t| !t.when.needs_facts()) {
            holds_on(&task.when, &play.vars, host)?;
        }
    }
    Ok(())
}

/// Reads playbooks, and drops the tasks that are not chosen.
fn read(asked: &Asked, world: &World) -> Result<Vec<Book>, Error> {
    let (mut names, mut all) = (Vec::new(), Vec::new());
    for path in &asked.playbooks {
        let shown = shown(path, world).into_owned();
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::failed(format!("cannot read the playbook `{shown}`")).caused_by(e)
        })?;
        let plays = schema::parse(&SourceFile::new(shown.clone(), text))?;
        names.push((shown, plays.len()));
        all.extend(plays);
    }
    tags::choose(&mut all, &asked.tags, &asked.skip_tags).map_err(Error::failed)?;
    let mut left_out = all.len();
    if let Some(name) = &asked.start_at_task {
        tags::start_at(&mut all, name).map_err(Error::failed)?;
    }
    left_out -= all.len();
    let mut plays = all.into_iter();
    let books = names.into_iter().map(|(name, count)| {
        let here = count.saturating_sub(left_out);
        left_out = left_out.saturating_sub(count);
        (name, plays.by_ref().take(here).collect())
    });
    Ok(books.collect())
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

/// Writes a document to standard output as JSON, without ever having all of its text in memory.
///
/// # Errors
/// When something in it has no form in JSON, and as [`write()`].
pub(crate) fn write_json(
    out: &mut (dyn Write + Send),
    document: &impl serde::Serialize,
) -> Result<(), Error> {
    let mut pieces = Pieces {
        out,
        text: Vec::new(),
        error: None,
    };
    let written = serde_json::to_writer_pretty(&mut pieces, document);
    if let Some(error) = pieces.error.take() {
        return Err(error);
    }
    written.map_err(|e| Error::failed("cannot write JSON").caused_by(e))?;
    pieces.text.push(b'\n');
    write(pieces.out, &String::from_utf8_lossy(&pieces.text))
}

/// Passes text on in pieces of some size.
struct Pieces<'o> {
    out: &'o mut (dyn Write + Send),
    text: Vec<u8>,
    error: Option<Error>,
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        if self.text.len() > PIECE && self.error.is_none() {
            // JSON is written in whole characters.
            let text = std::mem::take(&mut self.text);
            self.error = write(self.out, &String::from_utf8_lossy(&text)).err();
        }
        if self.error.is_some() {
            return Err(std::io::Error::other("standard output"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How much JSON is gathered before it is written.
const PIECE: usize = 64 * 1024;

/// Writes to standard output. What hosts said may be anything: nothing of it reaches the terminal as a command.
pub(crate) fn write(out: &mut (dyn Write + Send), text: &str) -> Result<(), Error> {
    let text = crate::names::without_controls(text);
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads stopped reading; the run and its exit code are the same.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(|e| Error::failed("cannot write to standard output").caused_by(e)),
    }
}
