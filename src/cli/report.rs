//! `fleetotp report`: rotation, revocation, coverage, activity; of now or of a day before.

mod pack;

use std::io::Write;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::globals::{Globals, Output};
use super::run::admins_of;
use super::setup::{Setup, World};
use crate::clock::{self, Span, Timestamp};
use crate::error::Error;
use crate::exit;
use crate::report::activity::activity;
use crate::report::coverage::{Counts, Pairs, coverage};
use crate::report::format::{self, Format};
use crate::report::picture::Picture;
use crate::report::view::{Judged, Only, Population, View};
use crate::report::{Scope, revocation, rotation, source};

/// Which report.
#[derive(Debug, Clone, Subcommand)]
pub enum ReportCommand {
    /// Every token: age, last rotation, due, overdue, overlap, who issued and who confirmed
    Rotation(ReportArgs),
    /// Every revocation: when it was asked, by whom, why; per host read back or open; time to revoke
    Revocation(ReportArgs),
    /// Every account: is a code demanded; exceptions, ways past it, sheets, separation of duties
    Coverage(ReportArgs),
    /// Logins that were collected: by hour, admin, host and source, what was refused, and what was odd in them
    Activity(ReportArgs),
    /// All reports, the event log and the table of controls in one signed directory, which stock tools can check
    Pack(pack::PackArgs),
}

/// Arguments of every report.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Written how; `-o json` means json
    #[arg(long, env = "FLEETOTP_REPORT_FORMAT", value_name = "FORMAT")]
    format: Option<String>,

    /// Written to this file, readable by nobody else, instead of standard output
    #[arg(long, env = "FLEETOTP_REPORT_OUT", value_name = "FILE")]
    out: Option<std::path::PathBuf>,

    #[command(flatten)]
    time: TimeArgs,

    /// Exit code 9 where something is overdue, open, unknown or not enforced; for activity, where there is an alert or a warning
    #[arg(long, env = "FLEETOTP_REPORT_STRICT")]
    strict: bool,
}

/// Of what time a report is.
#[derive(Debug, Clone, Args)]
pub struct TimeArgs {
    /// The state at a time: a date (its end, UTC) or an RFC 3339 time
    #[arg(long, env = "FLEETOTP_REPORT_AS_OF", value_name = "TIME")]
    as_of: Option<String>,

    /// What happened from one time up to another, and the state at the latter; dates mean their beginning and end, UTC
    #[arg(long, env = "FLEETOTP_REPORT_BETWEEN", value_names = ["FROM", "TO"], num_args = 2, value_delimiter = ' ', conflicts_with = "as_of")]
    between: Option<Vec<String>>,
}

/// Runs the command.
///
/// # Errors
/// When inventory, ledger or log cannot be read, a time is not one, or the result cannot be written.
pub async fn run(
    command: &ReportCommand,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let args = match command {
        ReportCommand::Rotation(args)
        | ReportCommand::Revocation(args)
        | ReportCommand::Coverage(args)
        | ReportCommand::Activity(args) => args,
        ReportCommand::Pack(args) => return pack::run(args, globals, world, out).await,
    };
    let format = format_of(args, globals)?;
    let time = time_of(&args.time, world)?;
    let setup = Setup::open(globals, world).await?;
    let (view, before) = view(
        &setup,
        globals,
        time,
        matches!(command, ReportCommand::Coverage(_)),
    )
    .await?;
    let view = Arc::new(view);
    let judged = match command {
        ReportCommand::Rotation(_) => rotation::rotation(&view),
        ReportCommand::Revocation(_) => revocation::revocation(&view),
        ReportCommand::Activity(_) => {
            let stored = source::collections(&setup.ledger, view.now()).await?;
            activity(&view, &stored)
        }
        ReportCommand::Coverage(_) | ReportCommand::Pack(_) => coverage(&view, before.as_ref()),
    };
    write(&judged, format, args, world, out)?;
    Ok(if args.strict && judged.open > 0 {
        exit::FINDINGS
    } else {
        exit::DONE
    })
}

/// Returns the numbers of all reports as text, for the task `report`.
///
/// # Errors
/// When ledger or log cannot be read.
pub async fn summaries(setup: &Setup, globals: &Globals, world: &World) -> Result<String, Error> {
    let time = Time {
        as_of: world.clock.now(),
        between: None,
    };
    let (view, _) = view(setup, globals, time, false).await?;
    let view = Arc::new(view);
    let stored = source::collections(&setup.ledger, view.now()).await?;
    let mut text = Vec::new();
    let format =
        format::by_name("text").ok_or_else(|| Error::failed("there is no format `text`"))?;
    for mut judged in [
        rotation::rotation(&view),
        revocation::revocation(&view),
        coverage(&view, None),
        activity(&view, &stored),
    ] {
        judged.report.limits.clear();
        judged
            .report
            .sections
            .retain(|s| matches!(s.body, crate::report::Body::Figures(_)));
        format
            .write(&judged.report, &mut text)
            .map_err(|e| Error::failed("cannot write the report").caused_by(e))?;
    }
    String::from_utf8(text).map_err(|e| Error::failed("the report is no text").caused_by(e))
}

/// Of what time a report is.
#[derive(Clone, Copy)]
struct Time {
    as_of: Timestamp,
    between: Option<(Timestamp, Timestamp)>,
}

fn time_of(args: &TimeArgs, world: &World) -> Result<Time, Error> {
    let now = world.clock.now();
    let to_come = |at: Timestamp| Error::usage(format!("{at} is yet to come"));
    // The end of a state is its last instant, the end of a period the first one after it.
    let last_before = |at: Timestamp| Timestamp::from_millisecond(at.as_millisecond() - 1);
    if let Some([from, to]) = args.between.as_deref() {
        let ((from, _), (_, to)) = (typed(from)?, typed(to)?);
        if from >= to {
            return Err(Error::usage(
                "the period of --between ends before it begins",
            ));
        }
        if from > now {
            return Err(to_come(from));
        }
        return Ok(Time {
            as_of: last_before(to).unwrap_or(to).min(now),
            between: Some((from, to)),
        });
    }
    let as_of = match args.as_of.as_deref() {
        None => now,
        Some(text) => {
            let (first, end) = typed(text)?;
            let last = if first < end {
                last_before(end).unwrap_or(end)
            } else {
                end
            };
            if first > now {
                return Err(to_come(last));
            }
            // Of today there is what happened so far.
            last.min(now)
        }
    };
    Ok(Time {
        as_of,
        between: None,
    })
}

/// A day, its first instant and the one after its end; or a time, twice.
fn typed(text: &str) -> Result<(Timestamp, Timestamp), Error> {
    let first = clock::read_time(text).ok_or_else(|| {
        Error::usage(format!(
            "`{}` is no time",
            crate::names::printable(text, 40)
        ))
        .hinted("write a date such as 2026-11-01, or a time such as 2026-11-01T12:00:00Z")
    })?;
    let end = if clock::is_day(text) {
        Span::from_days(1).after(first)
    } else {
        first
    };
    Ok((first, end))
}

fn format_of(args: &ReportArgs, globals: &Globals) -> Result<&'static dyn Format, Error> {
    let name = match (&args.format, globals.output) {
        (Some(name), _) => name.as_str(),
        (None, Output::Json) => "json",
        (None, Output::Text) => "text",
    };
    named_format(name)
}

fn named_format(name: &str) -> Result<&'static dyn Format, Error> {
    format::by_name(name).ok_or_else(|| {
        let names = format::FORMATS.iter().map(|f| f.name());
        Error::usage(format!(
            "there is no format `{}`",
            crate::names::printable(name, 40)
        ))
        .hinted_if(crate::text::suggest::hint(name, names))
    })
}

/// Reads the log into a picture; for coverage of a period, the counts at its beginning on the way.
async fn view(
    setup: &Setup,
    globals: &Globals,
    time: Time,
    counts: bool,
) -> Result<(View, Option<Counts>), Error> {
    let hosts = match globals.limit.as_deref() {
        None => None,
        limit => Some(
            super::run::names(&setup.inventory.select("all", limit)?)
                .into_iter()
                .collect(),
        ),
    };
    let only = Only {
        admins: admins_of(setup, globals.admins.as_deref())?,
        hosts,
    };
    let ledger = &setup.ledger;
    let scope = |as_of: Timestamp, picture: &Picture| Scope {
        project: ledger.project_id().to_string(),
        as_of,
        between: time.between,
        version: env!("CARGO_PKG_VERSION"),
        log: picture.log.clone(),
    };
    let mut view = View {
        picture: Picture::default(),
        people: source::people(ledger).await?,
        population: Population::of(&setup.inventory)?,
        only,
        scope: scope(time.as_of, &Picture::default()),
    };
    let mut before = None;
    if let Some((from, _)) = time.between.filter(|_| counts) {
        source::advance(&mut view.picture, ledger, from).await?;
        view.scope = scope(from, &view.picture);
        let first = Arc::new(view);
        before = Some(Pairs::of(&first).counts());
        view = Arc::into_inner(first)
            .ok_or_else(|| Error::failed("the first state of the period is still in use"))?;
    }
    source::advance(&mut view.picture, ledger, time.as_of).await?;
    view.scope = scope(time.as_of, &view.picture);
    Ok((view, before))
}

fn write(
    judged: &Judged,
    format: &dyn Format,
    args: &ReportArgs,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let cannot = |e| Error::failed("cannot write the report").caused_by(e);
    let Some(path) = &args.out else {
        let mut buffered = std::io::BufWriter::new(out);
        return match format
            .write(&judged.report, &mut buffered)
            .and_then(|()| buffered.flush())
        {
            // Whoever reads stopped reading.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => result.map_err(cannot),
        };
    };
    // Complete under its name, or not there at all: a cut report could be taken for a whole one.
    let path = world.cwd.join(path);
    let directory = path.parent().unwrap_or(&world.cwd);
    let file = tempfile::NamedTempFile::new_in(directory).map_err(cannot)?;
    let mut buffered = std::io::BufWriter::new(file);
    format
        .write(&judged.report, &mut buffered)
        .map_err(cannot)?;
    let file = buffered.into_inner().map_err(|e| cannot(e.into_error()))?;
    file.as_file().sync_all().map_err(cannot)?;
    file.persist(&path).map_err(|e| cannot(e.error))?;
    Ok(())
}
