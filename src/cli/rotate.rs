//! `fleetotp rotate`: a new key beside the old one, both valid until the new one is used or the overlap ends.

mod choice;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::Arc;

use clap::Args;

use self::choice::{Choice, choose, document, table};
use super::enroll::{ProtectionArgs, VouchingArgs};
use super::globals::{Globals, Output};
use super::play::write;
use super::run::{Run, Wanted, named};
use super::setup::{Setup, World};
use super::show;
use crate::clock::Span;
use crate::error::Error;
use crate::exit;
use crate::names::{AdminName, HostName, RealmName};
use crate::plan::wish::Parts;
use crate::playbook::desk::{Permissions, Seat};
use crate::playbook::outcome::{Outcome, Status};

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

    #[command(flatten)]
    protection: ProtectionArgs,

    #[command(flatten)]
    vouching: VouchingArgs,
}

/// An admin in a realm.
type Id = (AdminName, RealmName);

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
    let choice = choose(args, &setup, pattern.as_deref(), world.clock.now()).await?;
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
            write(out, &show::document(&[], &Outcome::default()))?;
        }
        return Ok(exit::DONE);
    }
    let permissions = Permissions {
        rotate: true,
        vouched: args.vouching.vouched(),
        ..Permissions::default()
    };
    let protection = args.protection.read()?;
    let mut run = Run::begin(&setup, globals, world, "rotate", permissions, protection).await?;
    let result = if args.abort {
        abort(args, globals, &setup, &mut run, &choice).await
    } else {
        rotate(args, globals, &setup, &mut run, &choice).await
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
    show::print(&outcome, globals, out)?;
    Ok(code)
}

/// Begins rotations and pushes them. Where a host fails, those of its admins are taken back everywhere: half a rotation
/// helps nobody. Hosts that are away get theirs from the next `sync`.
async fn rotate(
    args: &RotateArgs,
    globals: &Globals,
    setup: &Setup,
    run: &mut Run<'_>,
    choice: &Choice,
) -> Result<(Outcome, bool), Error> {
    for id in choice.taken() {
        if run.stopping() {
            break;
        }
        let Some(seat) = seat(setup, id) else {
            continue;
        };
        if let Some(why) = run.desk().rotate(&seat).await? {
            let note = format!("{} in realm {}: not rotated: {why}", id.0, id.1);
            run.desk().notes.push(note);
        }
    }
    let begun = run.desk().begun().clone();
    if args.no_push || begun.is_empty() {
        return Ok((run.without_hosts(), begun.is_empty()));
    }
    let wanted = wanted(setup, globals, &begun)?;
    let mut outcome = run.converge_and_confirm(&wanted).await?;
    let failed: BTreeMap<HostName, Status> = outcome
        .hosts
        .iter()
        .filter(|(_, report)| matches!(report.status, Status::Failed(_)))
        .map(|(host, report)| (host.clone(), report.status.clone()))
        .collect();
    if failed.is_empty() {
        return Ok((outcome, false));
    }
    let mut back = BTreeSet::new();
    for id in &begun {
        let Some(host) = failed.keys().find(|host| concerns(setup, host, id)) else {
            continue;
        };
        let why = format!("{host} failed");
        if run.desk().take_back(&id.0, &id.1, &why).await? {
            back.insert(id.clone());
        } else {
            outcome.notes.push(format!(
                "the rotation of {} in realm {} goes on although {host} failed: its new code was used already",
                id.0, id.1
            ));
        }
    }
    outcome.sheets.retain(|s| {
        !back
            .iter()
            .any(|(a, r)| s.admin == a.as_str() && s.realm == r.as_str())
    });
    if !back.is_empty() {
        let wanted = self::wanted(setup, globals, &back)?;
        outcome.merge(run.converge(&wanted).await?);
        // What was taken back without a fault has failed all the same.
        for (host, status) in failed {
            if let Some(report) = outcome.hosts.get_mut(&host)
                && report.status == Status::Ok
            {
                report.status = status;
            }
        }
    }
    Ok((outcome, false))
}

/// Takes rotations back whose new code was not used. Hosts are read first: only they know whether it was.
async fn abort(
    args: &RotateArgs,
    globals: &Globals,
    setup: &Setup,
    run: &mut Run<'_>,
    choice: &Choice,
) -> Result<(Outcome, bool), Error> {
    let ids: BTreeSet<Id> = choice.taken().cloned().collect();
    let mut outcome = Outcome::default();
    let wanted = wanted(setup, globals, &ids)?;
    if !args.no_push {
        outcome = run.converge_and_confirm(&wanted).await?;
    }
    let mut refused = false;
    for (admin, realm) in &ids {
        if !run.desk().take_back(admin, realm, "asked for").await? {
            refused = true;
            outcome.notes.push(format!(
                "the rotation of {admin} in realm {realm} is not taken back: its new code was used"
            ));
        }
    }
    if args.no_push {
        outcome.merge(run.without_hosts());
    } else {
        outcome.merge(run.converge(&wanted).await?);
    }
    Ok((outcome, refused))
}

fn seat(setup: &Setup, (admin, realm): &Id) -> Option<Seat> {
    let enrolment = setup.inventory.enrolment();
    let admin = Arc::new(enrolment.admins.get(admin)?.clone());
    Some(Seat {
        login: admin.login.clone(),
        admin,
        realm: Arc::new(enrolment.realms.get(realm)?.clone()),
    })
}

/// Returns whether a host is one of an admin's in a realm.
fn concerns(setup: &Setup, host: &HostName, (admin, realm): &Id) -> bool {
    setup
        .inventory
        .realm_of(host)
        .is_some_and(|r| r.name == *realm)
        && setup.inventory.admins_on(host).any(|a| a.name == *admin)
}

/// The hosts of these tokens, for these admins.
fn wanted(setup: &Setup, globals: &Globals, ids: &BTreeSet<Id>) -> Result<Wanted, Error> {
    let hosts = setup
        .inventory
        .select("all", globals.limit.as_deref())?
        .into_iter()
        .map(|h| h.name.clone())
        .filter(|host| ids.iter().any(|id| concerns(setup, host, id)))
        .collect();
    Ok(Wanted {
        hosts,
        admins: Some(ids.iter().map(|(admin, _)| admin.clone()).collect()),
        parts: Parts {
            host: false,
            secrets: true,
        },
        evidence: true,
        ..Wanted::default()
    })
}
