//! `fleetotp report pack`: everything a reviewer needs in one directory, checked without fleetotp.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::ground::{Narrow, Time, TimeArgs, ground};
use super::named_format;
use crate::cli::audit::export::{Range, write_export};
use crate::cli::globals::Globals;
use crate::cli::hold::Hold;
use crate::cli::setup::{Setup, World};
use crate::error::Error;
use crate::exit;
use crate::ledger::{ExportNote, Head};
use crate::report::activity::activity;
use crate::report::controls::Controls;
use crate::report::coverage::coverage;
use crate::report::format::{Format, csv};
use crate::report::pack::{NAMESPACE, Pack, SIGNERS};
use crate::report::{Report, revocation, rotation};

/// The formats of a pack where nobody says which.
pub(super) const FORMATS: [&str; 4] = ["html", "pdf", "csv", "json"];
/// Says in a pack that it is not of everybody; the manifest names it.
const NARROWED: &str = "NARROWED.txt";

/// Arguments of `report pack`.
#[derive(Debug, Clone, Args)]
pub struct PackArgs {
    /// The directory to make; there must be nothing of that name
    #[arg(long, env = "FLEETOTP_PACK_OUT", value_name = "DIR")]
    out: PathBuf,

    /// The formats of the reports
    #[arg(
        long,
        env = "FLEETOTP_PACK_FORMATS",
        value_name = "FORMAT",
        value_delimiter = ',',
        default_values_t = FORMATS.map(str::to_owned)
    )]
    formats: Vec<String>,

    #[command(flatten)]
    time: TimeArgs,

    /// Exit code 9 where something is overdue, open, unknown or not enforced
    #[arg(long, env = "FLEETOTP_PACK_STRICT")]
    strict: bool,
}

/// Runs the command.
///
/// # Errors
/// When inventory, ledger, log or signing key cannot be used, or the directory cannot be written.
pub(super) async fn run(
    args: &PackArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let wish = Wish {
        formats: formats_of(&args.formats)?,
        time: args.time.read(world)?,
        narrow: Narrow::by_flags(globals),
        out: args.out.clone(),
    };
    let setup = Setup::open(globals, world).await?;
    if globals.check {
        eprintln!("would write a pack to {}", args.out.display());
        return Ok(exit::DONE);
    }
    let hold = Hold::begin(&setup.ledger, world, "report pack").await?;
    let result = make(&wish, world, &setup, out).await;
    let result = result.map(|open| {
        if args.strict && open > 0 {
            exit::FINDINGS
        } else {
            exit::DONE
        }
    });
    hold.end(result).await
}

/// Returns the formats of these names; those of a pack where there are none.
///
/// # Errors
/// A name of none.
pub(super) fn formats_of(names: &[String]) -> Result<Vec<&'static dyn Format>, Error> {
    if names.is_empty() {
        return FORMATS.iter().map(|name| named_format(name)).collect();
    }
    names.iter().map(|name| named_format(name)).collect()
}

/// What pack is to be made.
pub(super) struct Wish {
    pub(super) formats: Vec<&'static dyn Format>,
    pub(super) time: Time,
    pub(super) narrow: Narrow,
    pub(super) out: PathBuf,
}

/// Makes a pack; the caller holds the lock. Returns how much in it is not as it should be.
///
/// # Errors
/// When inventory, ledger, log or signing key cannot be used, or the directory cannot be written.
pub(super) async fn make(
    wish: &Wish,
    world: &World,
    setup: &Setup,
    out: &mut (dyn Write + Send),
) -> Result<u64, Error> {
    let mut ground = ground(setup, &wish.narrow, &wish.time, true).await?;
    ground.read_collections(setup).await?;
    let view = &ground.view;
    let judged = [
        rotation::rotation(view),
        revocation::revocation(view),
        coverage(view, ground.before.as_ref().map(|b| &b.0)),
        activity(view, &ground.collections),
    ];
    let open = judged.iter().map(|j| j.open).sum();
    let controls = Controls::read()
        .map_err(|e| Error::failed("the table of controls is broken").caused_by(e))?;
    let controls = controls.report(view.scope.clone());
    let reports: Vec<&Report> = judged
        .iter()
        .map(|j| &j.report)
        .chain([&controls])
        .collect();
    let shown = wish.out.display();
    let place = world.cwd.join(&wish.out);
    let cannot = |e: io::Error| {
        Error::failed(format!("cannot write the pack `{shown}`"))
            .caused_by(e)
            .hinted("a pack needs a name of its own: give another --out")
    };
    let mut pack = Pack::begin(&place).map_err(cannot)?;
    for report in &reports {
        for format in &wish.formats {
            add(&mut pack, report, *format).map_err(cannot)?;
        }
    }

    // The log of the period: from the first event after its beginning to the last one that the reports rest on.
    let ledger = &setup.ledger;
    let signer = setup.signer().await?;
    let end = Head {
        size: view.scope.log.0,
        hash: view.scope.log.1.clone(),
    };
    let start = match &ground.before {
        Some((_, first)) => first.clone(),
        None if ground.archived.is_empty() => ledger.chain_start().await?,
        None => Head::genesis(ledger.project_id().as_str()),
    };
    let range = Range {
        start: &start,
        end: &end,
        archived: &ground.archived,
    };
    let scratch =
        tempfile::tempdir().map_err(|e| Error::failed("no temporary directory").caused_by(e))?;
    let log = scratch.path().join("events.jsonl");
    let now = world.clock.now();
    write_export(ledger, signer.as_ref(), range, now, &log, out).await?;
    pack.add("log/events.jsonl", |to| {
        io::copy(&mut std::fs::File::open(&log)?, to).map(drop)
    })
    .map_err(cannot)?;
    pack.add("log/head", |to| writeln!(to, "{} {}", end.size, end.hash))
        .map_err(cannot)?;

    if let Some(only) = &view.scope.only {
        pack.add(NARROWED, |to| {
            writeln!(to, "The reports are narrowed to {only}; what else there is, is left out. The log is whole.")
        })
        .map_err(cannot)?;
    }

    let mut signature = None;
    if let Some(signer) = &signer {
        let signers = signer.allowed_signers()?;
        pack.add(SIGNERS, |to| to.write_all(signers.as_bytes()))
            .map_err(cannot)?;
        signature = Some(signer.sign_in(NAMESPACE, &pack.manifest())?);
    }
    let files = pack.len();
    // Recorded first: a pack that nobody can find is a lesser evil than one that nobody knows of.
    ledger
        .record_export(ExportNote {
            from: start.size + 1,
            to: end.size,
        })
        .await?;
    pack.finish(signature.as_deref()).map_err(cannot)?;
    let signed = match &signer {
        Some(signer) => format!("signed by {}", signer.fingerprint()),
        None => "unsigned: fleetotp.yml names no `audit: {signing_key: …}`".to_owned(),
    };
    eprintln!("{files} files in {shown}, {signed}; check them by: sh {shown}/verify.sh");
    Ok(open)
}

/// Adds a report in one format; as CSV every section has a file of its own.
fn add(pack: &mut Pack, report: &Report, format: &'static dyn Format) -> io::Result<()> {
    if format.name() != "csv" {
        let name = format!("reports/{}.{}", report.name, format.extension());
        return pack.add(&name, |to| format.write(report, to));
    }
    for section in &report.sections {
        let name = format!("reports/{}", csv::file_name(report.name, section.id));
        pack.add(&name, |to| csv::write_table(report, section.id, to))?;
    }
    Ok(())
}
