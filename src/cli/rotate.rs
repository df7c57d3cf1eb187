//! `fleetotp rotate`: a new key beside the old one, both valid until the new one is used or the overlap ends.

pub(super) mod push;
mod show;

use std::io::Write;

use clap::Args;

use self::show::{document, table};
use super::enroll::{ProtectionArgs, VouchingArgs};
use super::globals::{Globals, Output};
use super::journal::Turn;
use super::play::write;
use super::run::{Run, admins_of, named, names};
use super::setup::{Setup, World};
use super::show as shown;
use crate::clock::Span;
use crate::error::Error;
use crate::exit;
use crate::ledger::Cause;
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::Outcome;
use crate::playbook::rotate::{Choice, Query, Which, choose};

/// Arguments of `rotate`.
#[derive(Debug, Clone, Args)]
pub struct RotateArgs {
    /// Admins (also --admins)
    #[arg(value_name = "ADMIN")]
    names: Vec<String>,

    /// Only tokens of this realm
    #[arg(long, env = "FLEETOTP_REALM", value_name = "REALM")]
    realm: Option<String>,

    /// Only tokens whose key is at least this old, such as 90d
    #[arg(long, env = "FLEETOTP_OLDER_THAN", value_name = "AGE")]
    older_than: Option<Span>,

    /// Only tokens that are due by their policy's rotate_every
    #[arg(long, env = "FLEETOTP_DUE")]
    due: bool,

    /// Only tokens whose key a former recipient of the vault could read
    #[arg(long, env = "FLEETOTP_EXPOSED")]
    exposed: bool,

    /// Take back rotations that nobody has confirmed yet
    #[arg(long, env = "FLEETOTP_ABORT", conflicts_with_all = ["older_than", "due", "exposed"])]
    abort: bool,

    /// Issue and write sheets, or take back, without contacting hosts; `sync` does that later
    #[arg(long, env = "FLEETOTP_NO_PUSH")]
    no_push: bool,

    /// Why; goes into the log and into `status`
    #[arg(long, env = "FLEETOTP_REASON", value_name = "TEXT")]
    reason: Option<String>,

    /// The ticket; goes into the log and into `status`
    #[arg(long, env = "FLEETOTP_TICKET", value_name = "ID")]
    ticket: Option<String>,

    #[command(flatten)]
    protection: ProtectionArgs,

    #[command(flatten)]
    vouching: VouchingArgs,
}

/// Runs the command.
///
/// # Errors
/// When nothing matches, and whatever keeps the whole run from going on.
pub async fn run(
    args: &RotateArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    let pattern = named(&args.names, globals)?;
    if pattern.is_none()
        && args.realm.is_none()
        && args.older_than.is_none()
        && !args.due
        && !args.exposed
    {
        return Err(Error::usage("say whose tokens are meant").hinted(
            "name admins, or use --admins, --realm, --older-than, --due or --exposed; `--admins all` is everyone",
        ));
    }
    let query = Query {
        admins: admins_of(&setup, pattern.as_deref())?,
        realm: args.realm.clone(),
        which: Which {
            due: args.due,
            older_than: args.older_than,
            exposed: args.exposed,
        },
        abort: args.abort,
        ..Query::default()
    };
    let choice = choose(&setup.inventory, &setup.ledger, &query, world.clock.now()).await?;
    something(&choice, args)?;
    if globals.check {
        match globals.output {
            Output::Text => write(out, &table(&choice))?,
            Output::Json => write(out, &document(&choice)?)?,
        }
        return Ok(exit::DONE);
    }
    for (id, why) in choice.left() {
        eprintln!("note: {} in realm {}: not rotated: {why}", id.0, id.1);
    }
    if choice.taken().next().is_none() {
        // Asked every night, it is no error that none is due.
        eprintln!("nothing is due");
        if globals.output == Output::Json {
            shown::document(&[], &Outcome::default(), None, out)?;
        }
        return Ok(exit::DONE);
    }
    let permissions = Permissions {
        rotate: true,
        no_push: args.no_push,
        vouched: args.vouching.vouched(),
        cause: Cause::new(args.reason.as_deref(), args.ticket.as_deref()),
        ..Permissions::default()
    };
    let protection = args.protection.read()?;
    let hosts = names(&setup.inventory.select("all", globals.limit.as_deref())?);
    let mut run = Run::begin(&setup, globals, world, "rotate", permissions, protection).await?;
    let result = if args.abort {
        push::abort(&mut run, &choice, &hosts, args.no_push).await
    } else {
        push::rotate(
            &mut run,
            &choice,
            (&[], &hosts),
            &Turn::default(),
            args.no_push,
        )
        .await
    };
    let code = match &result {
        Ok((outcome, refused)) => {
            if *refused && !outcome.interrupted {
                exit::ERROR
            } else {
                outcome.code()
            }
        }
        Err(error) => error.kind().code(),
    };
    run.finish(code).await?;
    let (outcome, _) = result?;
    shown::print(&outcome, globals, out)?;
    Ok(code)
}

/// Says so where nothing matches; whether something is due or exposed may be asked every night.
fn something(choice: &Choice, args: &RotateArgs) -> Result<(), Error> {
    if args.due || args.exposed || choice.taken().next().is_some() {
        return Ok(());
    }
    let mut why: Vec<String> = choice
        .left()
        .map(|(id, why)| format!("{} in realm {}: {why}", id.0, id.1))
        .take(5)
        .collect();
    if why.is_empty() {
        why.push("no token matches".to_owned());
    }
    Err(Error::failed(format!(
        "there is nothing to {}: {}",
        if args.abort { "take back" } else { "rotate" },
        why.join("; ")
    )))
}
