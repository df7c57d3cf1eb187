//! The whole program: from arguments to an exit code.

use std::ffi::OsString;
use std::io::{self, Write as _};

use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::adopt;
use super::audit;
use super::bypass;
use super::collect;
use super::confirm;
use super::doctor;
use super::enroll;
use super::generate;
use super::globals::Globals;
use super::hosts;
use super::inventory;
use super::inventory::InventoryCommand;
use super::ledger;
use super::play;
use super::remove;
use super::report;
use super::revoke;
use super::rollback;
use super::rotate;
use super::runs;
use super::setup::World;
use super::sheets;
use super::status;
use super::sync;
use super::vault;
use super::verify;
use crate::error::{Error, Kind};
use crate::exit;
use crate::fleet::askpass;
use crate::project::Project;

/// Enrols the admins of a Linux fleet in TOTP over SSH, and proves it.
#[derive(Debug, Parser)]
#[command(
    name = "fleetotp",
    version,
    about,
    propagate_version = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make a project directory: settings, identity, ledger
    Init(super::init::InitArgs),
    /// Run playbooks
    Play(play::PlayArgs),
    /// Issue tokens and sheets, and push them to hosts
    Enroll(enroll::EnrollArgs),
    /// Confirm an admin's sheet by a code, and enforce it
    Confirm(confirm::ConfirmArgs),
    /// Give admins new keys, with an overlap in which old and new codes are valid
    Rotate(rotate::RotateArgs),
    /// Read every host, take in confirmations by login, and finish what is open
    Sync(sync::SyncArgs),
    /// End admins' tokens on every host, and read it back
    Revoke(revoke::RevokeArgs),
    /// Try by real logins whether hosts let in and refuse whom they must
    Verify(verify::VerifyArgs),
    /// What earlier runs did, host by host
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// Put back the PAM and sshd text that a run has changed
    Rollback(rollback::RollbackArgs),
    /// Show every token: state, age, sheet, hosts
    Status(status::StatusArgs),
    /// Compute a report from the event log: rotation, revocation, coverage
    #[command(subcommand)]
    Report(report::ReportCommand),
    /// List the hosts that the ledger knows, or retire one
    #[command(subcommand)]
    Hosts(hosts::HostsCommand),
    /// List, hand over and clear away sheets
    #[command(subcommand)]
    Sheets(sheets::SheetsCommand),
    /// Look for what is wrong with the project on this side: identity, ledger, sheets, policies, ages
    Doctor(doctor::DoctorArgs),
    /// Say who can open the secrets, and seal them anew
    #[command(subcommand)]
    Vault(vault::VaultCommand),
    /// One-time codes for an emergency
    #[command(subcommand)]
    Bypass(bypass::BypassCommand),
    /// Read hosts' logs, store who logged in with which token, and say what is odd in it
    Collect(collect::CollectArgs),
    /// What happened, and the proof that the log of it is what was written
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// What concerns the ledger itself
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// Take hosts of another project over, with the codes that people have
    Adopt(adopt::AdoptArgs),
    /// Take fleetotp off hosts: the original login configuration back, and nothing left
    Remove(remove::RemoveArgs),
    /// List, draw, show or check the inventory
    #[command(subcommand)]
    Inventory(InventoryCommand),
    /// Print shell completions
    Completions(generate::CompletionsArgs),
    /// Print a JSON Schema by which editors complete and check files
    Schema(generate::SchemaArgs),
    /// Write the manual pages
    Man(generate::ManArgs),
}

/// Runs the program and returns its exit code; never panics, never exits by itself.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let args: Vec<OsString> = args.into_iter().collect();
    // ssh started this program to answer a prompt.
    if let Some(socket) = std::env::var_os(askpass::SOCKET_VARIABLE) {
        let prompt = args
            .get(1)
            .map(|a| a.to_string_lossy().into_owned())
            .unwrap_or_default();
        return askpass::helper(&socket, &prompt);
    }
    let cli = match parse(args) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to fail.
            drop(error.print());
            return if error.use_stderr() {
                exit::USAGE
            } else {
                exit::DONE
            };
        }
    };
    start_log(cli.globals.verbose);
    match run(&cli) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => exit::DONE,
        Err(error) => {
            drop(io::stderr().write_all(error.report().as_bytes()));
            error.kind().code()
        }
    }
}

/// Parses, and notes what only the parser knows.
fn parse(args: Vec<OsString>) -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches_from(args)?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    let mut below = Some(&matches);
    while let Some(matches) = below {
        let from_environment = |name: &str| {
            let there = matches.try_contains_id(name).is_ok_and(|there| there);
            there.then(|| matches.value_source(name) == Some(ValueSource::EnvVariable))
        };
        if let Some(it_is) = from_environment("limit") {
            cli.globals.limit_from_environment = it_is;
        }
        if let Some(it_is) = from_environment("admins") {
            cli.globals.admins_from_environment = it_is;
        }
        below = matches.subcommand().map(|(_, matches)| matches);
    }
    Ok(cli)
}

/// Log lines go to standard error without colour: they may be kept in a file.
fn start_log(verbose: u8) {
    let level = match verbose {
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        2 => tracing::Level::DEBUG,
        _ => tracing::Level::TRACE,
    };
    let filter = tracing_subscriber::EnvFilter::new(format!("warn,fleetotp={level}"));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .try_init();
    // A second start in one process keeps the first.
    drop(started);
}

fn is_broken_pipe(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn run(cli: &Cli) -> Result<u8, Error> {
    let world = World::real()?.acting_as(cli.globals.actor.as_deref())?;
    let mut stdout = io::stdout();
    let globals = &cli.globals;
    match &cli.command {
        Command::Inventory(command) => {
            let project = Project::load(globals.config.as_deref(), &world.cwd)?;
            return inventory::run(command, globals, &project, &mut stdout);
        }
        Command::Completions(args) => return generate::completions(args, &mut stdout),
        Command::Schema(args) => return generate::schema(args, &mut stdout),
        Command::Man(args) => return generate::man(args, &world.cwd),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Kind::Internal, "cannot start the runtime").caused_by(e))?;
    let code = runtime.block_on(async {
        match &cli.command {
            Command::Init(args) => {
                super::init::run(
                    args,
                    globals.output,
                    &world.cwd,
                    world.clock.clone(),
                    world.entropy.clone(),
                    &mut stdout,
                )
                .await
            }
            Command::Play(args) => play::run(args, globals, &world, &mut stdout).await,
            Command::Enroll(args) => enroll::run(args, globals, &world, &mut stdout).await,
            Command::Confirm(args) => confirm::run(args, globals, &world, &mut stdout).await,
            Command::Rotate(args) => rotate::run(args, globals, &world, &mut stdout).await,
            Command::Sync(args) => sync::run(args, globals, &world, &mut stdout).await,
            Command::Revoke(args) => revoke::run(args, globals, &world, &mut stdout).await,
            Command::Verify(args) => verify::run(args, globals, &world, &mut stdout).await,
            Command::Runs(command) => runs::run(command, globals, &world, &mut stdout).await,
            Command::Rollback(args) => rollback::run(args, globals, &world, &mut stdout).await,
            Command::Hosts(command) => hosts::run(command, globals, &world, &mut stdout).await,
            Command::Status(args) => status::run(args, globals, &world, &mut stdout).await,
            Command::Report(command) => report::run(command, globals, &world, &mut stdout).await,
            Command::Doctor(args) => doctor::run(args, globals, &world, &mut stdout).await,
            Command::Vault(command) => vault::run(command, globals, &world, &mut stdout).await,
            Command::Sheets(command) => sheets::run(command, globals, &world, &mut stdout).await,
            Command::Bypass(command) => bypass::run(command, globals, &world, &mut stdout).await,
            Command::Collect(args) => collect::run(args, globals, &world, &mut stdout).await,
            Command::Audit(command) => audit::run(command, globals, &world, &mut stdout).await,
            Command::Ledger(command) => ledger::run(command, globals, &world, &mut stdout).await,
            Command::Adopt(args) => adopt::run(args, globals, &world, &mut stdout).await,
            Command::Remove(args) => remove::run(args, globals, &world, &mut stdout).await,
            Command::Inventory(_)
            | Command::Completions(_)
            | Command::Schema(_)
            | Command::Man(_) => Ok(exit::DONE),
        }
    });
    // Threads that wait for a terminal must not keep the program alive.
    runtime.shutdown_background();
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        let mut left = vec![Cli::command()];
        while let Some(command) = left.pop() {
            for argument in command.get_arguments().filter(|a| !a.is_positional()) {
                let name = argument.get_id().as_str();
                if matches!(name, "help" | "version" | "verbose") {
                    continue;
                }
                assert!(
                    argument.get_env().is_some(),
                    "{} --{name} has no FLEETOTP_ variable",
                    command.get_name()
                );
            }
            left.extend(command.get_subcommands().cloned());
        }
    }
}
