//! `fleetotp report pack`: everything a reviewer needs in one directory, checked without fleetotp.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::{TimeArgs, named_format, time_of, view};
use crate::cli::audit::export::write_export;
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
use crate::report::{Report, revocation, rotation, source};

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
        default_value = "html,pdf,csv,json"
    )]
    formats: Vec<String>,

    #[command(flatten)]
    time: TimeArgs,
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
    let formats = args
        .formats
        .iter()
        .map(|name| named_format(name))
        .collect::<Result<Vec<_>, _>>()?;
    let setup = Setup::open(globals, world).await?;
    if globals.check {
        eprintln!("would write a pack to {}", args.out.display());
        return Ok(exit::DONE);
    }
    let hold = Hold::begin(&setup.ledger, world, "report pack").await?;
    let result = pack(args, &formats, globals, world, &setup, out).await;
    hold.end(result).await
}

async fn pack(
    args: &PackArgs,
    formats: &[&'static dyn Format],
    globals: &Globals,
    world: &World,
    setup: &Setup,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let time = time_of(&args.time, world)?;
    let (view, first) = view(setup, globals, time, true).await?;
    let view = Arc::new(view);
    let stored = source::collections(&setup.ledger, view.now()).await?;
    let controls = Controls::read()
        .map_err(|e| Error::failed("the table of controls is broken").caused_by(e))?;
    let reports = [
        rotation::rotation(&view).report,
        revocation::revocation(&view).report,
        coverage(&view, first.as_ref()).report,
        activity(&view, &stored).report,
        controls.report(view.scope.clone()),
    ];
    let place = world.cwd.join(&args.out);
    let cannot = |e: io::Error| {
        Error::failed(format!("cannot write the pack `{}`", args.out.display()))
            .caused_by(e)
            .hinted("a pack needs a name of its own: give another --out")
    };
    let mut pack = Pack::begin(&place).map_err(cannot)?;
    for report in &reports {
        for format in formats {
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
    let start = match time.between {
        Some((from, _)) => ledger.head_before(from).await?,
        None => None,
    };
    let start = match start {
        Some(start) => start,
        None => ledger.chain_start().await?,
    };
    let scratch =
        tempfile::tempdir().map_err(|e| Error::failed("no temporary directory").caused_by(e))?;
    let log = scratch.path().join("events.jsonl");
    let now = world.clock.now();
    write_export(ledger, signer.as_ref(), &start, &end, now, &log, out).await?;
    pack.add("log/events.jsonl", |to| {
        io::copy(&mut std::fs::File::open(&log)?, to).map(drop)
    })
    .map_err(cannot)?;
    pack.add("log/head", |to| writeln!(to, "{} {}", end.size, end.hash))
        .map_err(cannot)?;

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
    eprintln!(
        "{} files in {}, {signed}; check them by: sh {}/verify.sh",
        files,
        args.out.display(),
        args.out.display()
    );
    Ok(exit::DONE)
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
