//! `fleetotp report`: rotation, revocation, coverage, activity; of now or of a day before.

mod ground;
mod pack;
pub(super) mod task;

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};

pub(super) use self::ground::Narrow;
use self::ground::{Ground, TimeArgs, ground};
use super::globals::{Globals, Output};
use super::setup::{Setup, World};
use crate::error::Error;
use crate::exit;
use crate::playbook::tasks::ReportKind;
use crate::report::activity::activity;
use crate::report::coverage::coverage;
use crate::report::format::{self, Format};
use crate::report::view::Judged;
use crate::report::{revocation, rotation};

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
    let (kind, args) = match command {
        ReportCommand::Rotation(args) => (ReportKind::Rotation, args),
        ReportCommand::Revocation(args) => (ReportKind::Revocation, args),
        ReportCommand::Coverage(args) => (ReportKind::Coverage, args),
        ReportCommand::Activity(args) => (ReportKind::Activity, args),
        ReportCommand::Pack(args) => return pack::run(args, globals, world, out).await,
    };
    let format = format_of(args, globals)?;
    let time = args.time.read(world)?;
    let setup = Setup::open(globals, world).await?;
    let narrow = Narrow::by_flags(globals);
    let counts = kind == ReportKind::Coverage;
    let mut ground = ground(&setup, &narrow, &time, counts).await?;
    if kind == ReportKind::Activity {
        ground.read_collections(&setup).await?;
    }
    let judged = judge(kind, &ground);
    match &args.out {
        Some(path) if globals.check => {
            eprintln!("would write the report to {}", path.display());
        }
        Some(path) => to_file(&judged, format, &world.cwd.join(path))?,
        None => to_output(&judged, format, out)?,
    }
    Ok(if args.strict && judged.open > 0 {
        exit::FINDINGS
    } else {
        exit::DONE
    })
}

/// Computes a report.
fn judge(kind: ReportKind, ground: &Ground) -> Judged {
    match kind {
        ReportKind::Rotation => rotation::rotation(&ground.view),
        ReportKind::Revocation => revocation::revocation(&ground.view),
        ReportKind::Coverage => coverage(&ground.view, ground.before.as_ref().map(|b| &b.0)),
        ReportKind::Activity => activity(&ground.view, &ground.collections),
    }
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

fn cannot(error: std::io::Error) -> Error {
    Error::failed("cannot write the report").caused_by(error)
}

fn to_output(
    judged: &Judged,
    format: &dyn Format,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let mut buffered = std::io::BufWriter::new(out);
    match format
        .write(&judged.report, &mut buffered)
        .and_then(|()| buffered.flush())
    {
        // Whoever reads stopped reading.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(cannot),
    }
}

/// Complete under its name, or not there at all: a cut report could be taken for a whole one.
fn to_file(judged: &Judged, format: &dyn Format, path: &Path) -> Result<(), Error> {
    whole(path, &mut |out| format.write(&judged.report, out))
}

/// Writes a file for nobody else to read, under another name until it is complete.
fn whole(
    path: &Path,
    write: &mut dyn FnMut(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Error> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    let file = tempfile::NamedTempFile::new_in(directory).map_err(cannot)?;
    let mut buffered = std::io::BufWriter::new(file);
    write(&mut buffered).map_err(cannot)?;
    let file = buffered.into_inner().map_err(|e| cannot(e.into_error()))?;
    file.as_file().sync_all().map_err(cannot)?;
    file.persist(path).map_err(|e| cannot(e.error))?;
    Ok(())
}
