//! `fleetotp audit`: what happened, and the proof that the log of it is what was written.

mod archive;
pub(in crate::cli) mod export;
mod log;
mod verify;

use std::io::Write;

use clap::Subcommand;

use super::collect;
use super::globals::Globals;
use super::setup::World;
use crate::clock::{self, Timestamp};
use crate::error::Error;

/// What to do with the event log.
#[derive(Debug, Clone, Subcommand)]
pub enum AuditCommand {
    /// Show events, with people's names
    Log(log::LogArgs),
    /// Write events to a file that stock tools can check: JSON lines, with signed heads
    Export(export::ExportArgs),
    /// Say whether the log is what was written, and up to where nothing is missing
    Verify(verify::VerifyArgs),
    /// Move old events to a file; their end stays as a seal; with the file the log can still be verified and reports be told
    Archive(archive::ArchiveArgs),
    /// The same as `collect`
    Collect(collect::CollectArgs),
}

/// Runs the command.
///
/// # Errors
/// When the project, the ledger or a file cannot be used; what is wrong with the log is a result.
pub async fn run(
    command: &AuditCommand,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    match command {
        AuditCommand::Log(args) => log::run(args, globals, world, out).await,
        AuditCommand::Export(args) => export::run(args, globals, world, out).await,
        AuditCommand::Verify(args) => verify::run(args, globals, world, out).await,
        AuditCommand::Archive(args) => archive::run(args, globals, world, out).await,
        AuditCommand::Collect(args) => collect::run(args, globals, world, out).await,
    }
}

/// Reads a time as typed: a day (its beginning in UTC) or RFC 3339.
fn moment(text: &str) -> Result<Timestamp, String> {
    clock::read_time(text).ok_or_else(|| "write a day such as 2026-01-31, or RFC 3339".to_owned())
}
