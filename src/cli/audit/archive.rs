//! `fleetotp audit archive`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::export::{Range, write_export};
use super::moment;
use crate::audit::export::Export;
use crate::cli::globals::Globals;
use crate::cli::hold::Hold;
use crate::cli::setup::{Setup, World};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::exit;
use crate::ledger::{ChainCheck, Head};

/// Arguments of `audit archive`.
#[derive(Debug, Clone, Args)]
pub struct ArchiveArgs {
    /// Events before this day or time
    #[arg(long, env = "FLEETOTP_BEFORE", value_name = "DATE", value_parser = moment)]
    before: Timestamp,
    /// The file to move them to; must not exist
    #[arg(long, env = "FLEETOTP_OUT", value_name = "FILE")]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When the log is not sound, no event is old enough, or the ledger, the key or the file cannot be used.
pub(super) async fn run(
    args: &ArchiveArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    if args.out == Path::new("-") {
        return Err(Error::usage(
            "an archive takes the place of events, and standard output keeps none",
        )
        .hinted("name a file: --out FILE"));
    }
    let setup = Setup::open(globals, world).await?;
    if globals.check {
        let start = setup.ledger.chain_start().await?;
        match setup.ledger.head_before(args.before).await? {
            Some(end) => eprintln!("would archive events {} to {}", start.size + 1, end.size),
            None => eprintln!("no event is that old"),
        }
        return Ok(exit::DONE);
    }
    let hold = Hold::begin(&setup.ledger, world, "audit archive").await?;
    let result = archive(args, &setup, world, out).await;
    hold.end(result).await
}

async fn archive(
    args: &ArchiveArgs,
    setup: &Setup,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let ledger = &setup.ledger;
    if let Some(fault) = ledger.verify_chain().await?.faults.first() {
        return Err(Error::failed(format!("nothing is archived: {fault}"))
            .hinted("`fleetotp audit verify` says more; archiving would remove the traces"));
    }
    let signer = setup.signer().await?;
    let start = ledger.chain_start().await?;
    let end = ledger
        .head_before(args.before)
        .await?
        .ok_or_else(|| Error::failed("no event is that old"))?;
    let now = world.clock.now();
    let range = Range {
        start: &start,
        end: &end,
        archived: &[],
    };
    let text = write_export(ledger, signer.as_ref(), range, now, &args.out, out).await?;
    read_back(args, &start, &end)?;
    ledger.seal_events(&end).await?;
    eprintln!("archived {text}");
    Ok(exit::DONE)
}

/// What is about to be deleted must be in the file, and whole.
fn read_back(args: &ArchiveArgs, start: &Head, end: &Head) -> Result<(), Error> {
    let name = args.out.display().to_string();
    let text = std::fs::read_to_string(&args.out)
        .map_err(|e| Error::failed(format!("cannot read `{name}` back")).caused_by(e))?;
    let export = Export::parse(&name, &text)?;
    let mut check = ChainCheck::new(start.clone(), BTreeSet::new());
    export.check(&mut check);
    if check.finish(Some(end)).is_sound() && export.strange.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!(
        "`{name}` is not what was written; nothing was removed from the ledger"
    )))
}
