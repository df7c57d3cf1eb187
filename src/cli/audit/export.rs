//! `fleetotp audit export`.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::moment;
use crate::audit::export::{event_line, first_line, head_line};
use crate::audit::ssh::Signer;
use crate::cli::globals::Globals;
use crate::cli::hold::Hold;
use crate::cli::setup::{Setup, World};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::exit;
use crate::ledger::{Event, ExportNote, Head, Ledger};
use crate::playbook::witness::sign_head;

/// Events read at a time.
const BATCH: u32 = 1000;

/// Arguments of `audit export`.
#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// Where to write it; `-` is standard output. A file that is there is not overwritten
    #[arg(long, env = "FLEETOTP_OUT", value_name = "FILE")]
    out: PathBuf,
    /// Events from this day or time on
    #[arg(long, env = "FLEETOTP_SINCE", value_name = "DATE", value_parser = moment)]
    since: Option<Timestamp>,
    /// Events before this day or time
    #[arg(long, env = "FLEETOTP_UNTIL", value_name = "DATE", value_parser = moment)]
    until: Option<Timestamp>,
    /// Events from this number on
    #[arg(
        long,
        env = "FLEETOTP_FROM",
        value_name = "N",
        conflicts_with = "since"
    )]
    from: Option<i64>,
    /// Events up to this number
    #[arg(long, env = "FLEETOTP_TO", value_name = "N", conflicts_with = "until")]
    to: Option<i64>,
}

/// Runs the command.
///
/// # Errors
/// When no event is chosen, or the ledger, the key or the file cannot be used.
pub(super) async fn run(
    args: &ExportArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    if globals.check {
        eprintln!("would write an export to {}", args.out.display());
        return Ok(exit::DONE);
    }
    let hold = Hold::begin(&setup.ledger, world, "audit export").await?;
    let result = export(args, &setup, world, out).await;
    hold.end(result).await
}

async fn export(
    args: &ExportArgs,
    setup: &Setup,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let ledger = &setup.ledger;
    let signer = setup.signer().await?;
    let first = ledger.chain_start().await?;
    let start = match (args.from, args.since) {
        (Some(from), _) => head_at(ledger, from - 1).await?,
        (None, Some(since)) => ledger.head_before(since).await?.unwrap_or(first),
        (None, None) => first,
    };
    let head = match (args.to, args.until) {
        (Some(to), _) => head_at(ledger, to).await?,
        (None, Some(until)) => ledger
            .head_before(until)
            .await?
            .unwrap_or_else(|| start.clone()),
        (None, None) => ledger.head().await?,
    };
    if head.size <= start.size {
        return Err(Error::failed("there is no event in that range"));
    }
    let range = Range {
        start: &start,
        end: &head,
        archived: &[],
    };
    let now = world.clock.now();
    let text = write_export(ledger, signer.as_ref(), range, now, &args.out, out).await?;
    let note = ExportNote {
        from: start.size + 1,
        to: head.size,
    };
    ledger.record_export(note).await?;
    eprintln!("{text}");
    Ok(exit::DONE)
}

/// The events after one head up to another; those that are no longer in the ledger.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Range<'a> {
    pub(in crate::cli) start: &'a Head,
    pub(in crate::cli) end: &'a Head,
    pub(in crate::cli) archived: &'a [Event],
}

/// Writes the events between two heads, both signed where there is a key. Returns what was written, for people.
///
/// # Errors
/// When the ledger, the key or the file cannot be used; then there is no file.
pub(in crate::cli) async fn write_export(
    ledger: &Ledger,
    signer: Option<&Signer>,
    range: Range<'_>,
    now: Timestamp,
    path: &Path,
    out: &mut (dyn Write + Send),
) -> Result<String, Error> {
    let Range { start, end, .. } = range;
    let known = ledger.signed_heads().await?;
    for head in [start, end] {
        let has = known
            .iter()
            .any(|k| k.head == *head && k.signature.is_some());
        if head.size > 0 && !has {
            sign_head(ledger, head, signer.cloned(), now).await?;
        }
    }
    let failed = |e: std::io::Error| {
        Error::failed(format!("cannot write `{}`", path.display())).caused_by(e)
    };
    let heads = if path == Path::new("-") {
        put_all(ledger, range, out, &failed).await?
    } else {
        // Complete under its name, or not there at all. A temporary file is its owner's alone, and so is what names hosts
        // and what was done there.
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let directory = parent.unwrap_or_else(|| Path::new("."));
        if path.symlink_metadata().is_ok() {
            return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
        }
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        let mut buffered = BufWriter::new(file.as_file_mut());
        let heads = put_all(ledger, range, &mut buffered, &failed).await?;
        drop(buffered);
        file.as_file().sync_all().map_err(failed)?;
        file.persist_noclobber(path).map_err(|e| failed(e.error))?;
        heads
    };
    let signed = match heads {
        0 => "unsigned: fleetotp.yml names no `audit: {signing_key: …}`".to_owned(),
        1 => "1 signed head".to_owned(),
        n => format!("{n} signed heads"),
    };
    Ok(format!(
        "events {} to {}, {signed}; head {}:{}",
        start.size + 1,
        end.size,
        end.size,
        end.hash
    ))
}

/// Writes first line, events and signed heads; returns how many of the latter.
async fn put_all(
    ledger: &Ledger,
    Range {
        start,
        end,
        archived,
    }: Range<'_>,
    out: &mut (dyn Write + Send),
    failed: &(dyn Fn(std::io::Error) -> Error + Sync),
) -> Result<usize, Error> {
    let project = ledger.project_id().as_str();
    let mut put = |line: String| out.write_all(line.as_bytes()).map_err(failed);
    put(first_line(project, start, end.size))?;
    let mut after = start.size;
    for event in archived {
        if event.seq > after && event.seq <= end.size {
            put(event_line(&event.body, &event.hash))?;
            after = event.seq;
        }
    }
    while after < end.size {
        let events = ledger.events(after, BATCH).await?;
        if events.is_empty() {
            break;
        }
        for event in events.iter().filter(|e| e.seq <= end.size) {
            put(event_line(&event.body, &event.hash))?;
        }
        after = events.last().map_or(end.size, |e| e.seq);
    }
    let mut heads = 0;
    for signed in ledger.signed_heads().await? {
        if (start.size..=end.size).contains(&signed.head.size)
            && let Some(line) = head_line(project, &signed)
        {
            put(line)?;
            heads += 1;
        }
    }
    out.flush().map_err(failed)?;
    Ok(heads)
}

/// Returns the head at a number that was typed.
async fn head_at(ledger: &Ledger, size: i64) -> Result<Head, Error> {
    let start = ledger.chain_start().await?;
    if size == start.size {
        return Ok(start);
    }
    let found = ledger.events(size - 1, 1).await?.into_iter().next();
    match found.filter(|e| e.seq == size && size > 0) {
        Some(event) => Ok(Head {
            size,
            hash: event.hash,
        }),
        None => Err(Error::failed(format!("there is no event {size} here"))),
    }
}
