//! `fleetotp enroll`: issues tokens and sheets and pushes them.

use std::io::Write;

use clap::Args;

use super::globals::Globals;
use super::run::{Run, Wanted, admins_of, named, names};
use super::setup::{Setup, World};
use super::show;
use crate::error::Error;
use crate::ledger::{IssueKind, Vouched};
use crate::plan::wish::Parts;
use crate::playbook::desk::Permissions;
use crate::playbook::sheets::Protection;
use crate::token::secret::Secret;

/// Arguments of `enroll`.
#[derive(Debug, Clone, Args)]
pub struct EnrollArgs {
    /// Admins; everyone where absent (also --admins)
    #[arg(value_name = "ADMIN")]
    names: Vec<String>,

    /// Replace sheets that nobody has confirmed yet
    #[arg(long, env = "FLEETOTP_REISSUE", conflicts_with = "lost_device")]
    reissue: bool,

    /// Replace every key of these admins at once; their old codes stop working
    #[arg(long, env = "FLEETOTP_LOST_DEVICE")]
    lost_device: bool,

    /// Issue tokens and write sheets without contacting hosts; `play` or `sync` pushes them later
    #[arg(long, env = "FLEETOTP_NO_PUSH", conflicts_with = "lost_device")]
    no_push: bool,

    #[command(flatten)]
    protection: ProtectionArgs,

    #[command(flatten)]
    vouching: VouchingArgs,
}

/// How sheets without a recipient are protected.
#[derive(Debug, Clone, Args)]
pub struct ProtectionArgs {
    /// Encrypt sheets by a passphrase: made for each and shown once, or one line of standard input
    #[arg(long, env = "FLEETOTP_PASSPHRASE", value_name = "HOW", value_parser = ["generate", "stdin"])]
    passphrase: Option<String>,
}

impl ProtectionArgs {
    /// Returns whether the passphrase comes from standard input.
    pub fn is_stdin(&self) -> bool {
        self.passphrase.as_deref() == Some("stdin")
    }

    /// Reads the passphrase where it comes from standard input.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(&self) -> Result<Protection, Error> {
        Ok(match self.passphrase.as_deref() {
            None => Protection::None,
            Some("generate") => Protection::Generated,
            Some(_) => Protection::Given(read_line("the passphrase")?),
        })
    }
}

/// Who vouched for whom; goes into the event log.
#[derive(Debug, Clone, Args)]
pub struct VouchingArgs {
    /// Who checked the admin's identity
    #[arg(long, env = "FLEETOTP_VERIFIED_BY", value_name = "WHO")]
    verified_by: Option<String>,

    /// How: such as "passport" or "video call"
    #[arg(long, env = "FLEETOTP_VERIFIED_HOW", value_name = "HOW")]
    verified_how: Option<String>,

    /// Who approved it
    #[arg(long, env = "FLEETOTP_APPROVED_BY", value_name = "WHO")]
    approved_by: Option<String>,
}

impl VouchingArgs {
    /// Returns it as the ledger stores it.
    pub fn vouched(&self) -> Vouched {
        Vouched {
            verified_by: self.verified_by.clone(),
            verified_how: self.verified_how.clone(),
            approved_by: self.approved_by.clone(),
        }
    }
}

/// Reads one line of standard input without a trace elsewhere.
///
/// # Errors
/// When there is none.
pub fn read_line(what: &str) -> Result<Secret, Error> {
    let mut line = String::with_capacity(1024);
    std::io::stdin().read_line(&mut line).map_err(|e| {
        Error::failed(format!("cannot read {what} from standard input")).caused_by(e)
    })?;
    let secret = Secret::new(line.trim_end_matches(['\r', '\n']).to_owned());
    let mut line = zeroize::Zeroizing::new(line);
    line.clear();
    if secret.expose().is_empty() {
        return Err(Error::usage(format!("{what} is missing on standard input")));
    }
    Ok(secret)
}

/// Runs the command.
///
/// # Errors
/// Patterns that match nothing, and whatever keeps the whole run from going on.
pub async fn run(
    args: &EnrollArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    let pattern = named(&args.names, globals)?;
    let admins = admins_of(&setup, pattern.as_deref())?;
    if (args.lost_device || args.reissue) && admins.is_none() {
        return Err(Error::usage(
            "name the admins whose sheets are to be replaced",
        ));
    }
    let replace = match (args.lost_device, args.reissue) {
        (true, _) => Some(IssueKind::LostDevice),
        (false, true) => Some(IssueKind::Reissue),
        (false, false) => None,
    };
    let hosts = setup.inventory.select("all", globals.limit.as_deref())?;
    let relevant: Vec<_> = match &admins {
        None => hosts,
        Some(only) => hosts
            .into_iter()
            .filter(|h| {
                setup
                    .inventory
                    .admins_on(&h.name)
                    .any(|a| only.contains(&a.name))
            })
            .collect(),
    };
    let wanted = Wanted {
        hosts: names(&relevant),
        admins,
        parts: Parts {
            host: false,
            secrets: true,
        },
        ..Wanted::default()
    };
    let permissions = Permissions {
        issue: true,
        no_push: args.no_push,
        replace,
        vouched: args.vouching.vouched(),
        ..Permissions::default()
    };
    let mut run = Run::begin(
        &setup,
        globals,
        world,
        "enroll",
        permissions,
        args.protection.read()?,
    )
    .await?;
    let outcome = if args.no_push {
        let mut outcome = run.issue(&wanted).await?;
        if !globals.check {
            outcome.notes.push(
                "hosts were not contacted; `fleetotp play` or `sync` pushes what was issued"
                    .to_owned(),
            );
        }
        outcome
    } else {
        run.converge(&wanted).await?
    };
    show::print(&outcome, globals, out)?;
    let code = outcome.code();
    run.finish(code).await?;
    Ok(code)
}
