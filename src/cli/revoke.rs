//! `fleetotp revoke`: ends admins' tokens everywhere, reads every host back, and says what is still open.

pub(crate) mod choose;
mod file;
pub(crate) mod people;
pub(crate) mod request;
pub(crate) mod show;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use self::choose::{Chosen, MaxRevoke};
use self::file::MatchOn;
use self::people::People;
use super::globals::Globals;
use super::leavers::Leavers;
use super::play::write;
use super::run::{Run, Wanted, admins_of, names, take_lock};
use super::setup::{Setup, World};
use super::show as shown;
use crate::clock::Span;
use crate::error::{Error, Kind};
use crate::exit;
use crate::ledger::{Lock, RevocationItem};
use crate::names::HostName;
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::{Outcome, Status};
use crate::playbook::sheets::{Protection, destroy};
use crate::token::id::Serial;

/// How long to wait between two tries to reach a host or to take the lock.
const PAUSE: Duration = Duration::from_secs(2);

/// Arguments of `revoke`.
#[derive(Debug, Clone, Args)]
pub struct RevokeArgs {
    /// Admins, by name (also --admins PATTERN, --from, --not-in)
    #[arg(value_name = "ADMIN")]
    names: Vec<String>,

    /// A list of leavers: CSV with the header admin, email or login, then perhaps reason and ticket
    #[arg(long, env = "FLEETOTP_REVOKE_FROM", value_name = "FILE")]
    from: Option<PathBuf>,

    /// A list of all current staff: CSV with such a header; whoever it does not name is revoked
    #[arg(long, env = "FLEETOTP_REVOKE_NOT_IN", value_name = "FILE")]
    not_in: Option<PathBuf>,

    /// By which column of --not-in people are told apart; the first that it has
    #[arg(long, env = "FLEETOTP_MATCH_ON", value_enum, value_name = "COLUMN")]
    match_on: Option<MatchOn>,

    /// How many admins a pattern or --not-in may revoke at once: a number, or in per cent and then at least three
    #[arg(
        long,
        env = "FLEETOTP_MAX_REVOKE",
        default_value = "10%",
        value_name = "N"
    )]
    max_revoke: MaxRevoke,

    /// Go on where a name is known to neither inventory nor ledger
    #[arg(long, env = "FLEETOTP_ALLOW_UNKNOWN")]
    allow_unknown: bool,

    /// Exit with 9 where something stays open, or a name of a list is unknown
    #[arg(long, env = "FLEETOTP_STRICT")]
    strict: bool,

    /// How long to wait for another run to end and for hosts that are not reached, such as 15m
    #[arg(long, env = "FLEETOTP_WAIT", value_name = "TIME")]
    wait: Option<Span>,

    /// Record it without contacting hosts; `sync` finishes it
    #[arg(long, env = "FLEETOTP_NO_PUSH", conflicts_with = "wait")]
    no_push: bool,

    /// Why; goes into the log
    #[arg(long, env = "FLEETOTP_REASON", value_name = "TEXT")]
    reason: Option<String>,

    /// The ticket; goes into the log
    #[arg(long, env = "FLEETOTP_TICKET", value_name = "ID")]
    ticket: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// Nobody chosen, unknown names, lists that are wrong, more than may be revoked at once, another run's lock.
pub async fn run(
    args: &RevokeArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    let people = People::read(&setup, globals.user.as_deref()).await?;
    let chosen = choose(args, globals, world, &setup, &people)?;
    if args.reason.is_none() && chosen.admins.values().any(|(reason, _)| reason.is_none()) {
        return Err(Error::usage("say why with --reason"));
    }
    let defaults = setup.defaults(globals, &world.cwd);
    let requests = request::of(
        &setup,
        &people,
        &chosen,
        &defaults,
        args.reason.as_deref(),
        args.ticket.as_deref(),
    );
    for name in &chosen.unknown {
        eprintln!("note: neither the inventory nor the ledger knows `{name}`");
    }
    for (name, why) in &chosen.kept {
        eprintln!("note: {name} is not revoked: {why}");
    }
    if globals.check {
        let rows = setup.ledger.token_hosts().await?;
        write(
            out,
            &show::planned(&requests, &rows, &people, &chosen, globals),
        )?;
        return Ok(verdict(args, &chosen, &Outcome::default(), &[], false));
    }
    let id = setup
        .ledger
        .begin_run("revoke", &world.actor)
        .await?
        .to_string();
    let result = setup.ledger.request_revocations(&requests).await;
    let mut serials = BTreeSet::new();
    for revocation in result? {
        for left in revocation.voided.iter().filter_map(destroy) {
            eprintln!("note: {left}");
        }
        if revocation.before && revocation.token.state == crate::token::state::TokenState::Revoked {
            let name = revocation.token.admin.as_ref().map_or("it", |n| n.as_str());
            eprintln!(
                "note: {name} was revoked in realm {} before",
                revocation.token.realm
            );
        }
        serials.insert(revocation.token.serial);
    }
    let mut outcome = Outcome::default();
    let limited = within(&setup, globals)?;
    if args.no_push {
        let items = items_of(&setup, &serials).await?;
        let code = verdict(args, &chosen, &outcome, &items, limited.is_some());
        write(
            out,
            &show::done(&items, &chosen, &outcome, code, globals, world.clock.now()),
        )?;
        setup.ledger.finish_run(code).await?;
        return Ok(code);
    }
    let start = tokio::time::Instant::now();
    let until = args.wait.map(|wait| start + wait.duration());
    let ready = async {
        let signer = setup.signer().await?;
        let lock = wait_for_lock(&setup, world, until).await?;
        Ok::<_, Error>((signer, lock))
    };
    let (signer, lock) = match ready.await {
        Ok(ready) => ready,
        Err(error) => {
            setup.ledger.finish_run(error.kind().code()).await?;
            return Err(error);
        }
    };
    let begun = (id, Some(lock));
    let mut run = Run::with_lock(
        &setup,
        globals,
        world,
        begun,
        signer,
        Permissions::default(),
        Protection::None,
    )
    .await?;
    loop {
        let hosts: BTreeSet<HostName> = items_of(&setup, &serials)
            .await?
            .into_iter()
            .filter(|i| i.is_open() && limited.as_ref().is_none_or(|l| l.contains(&i.host)))
            .map(|i| i.host)
            .collect();
        if hosts.is_empty() {
            break;
        }
        let wanted = Wanted {
            hosts: hosts.into_iter().collect(),
            leavers: Leavers::Only(serials.clone()),
            ..Wanted::default()
        };
        outcome.merge_retry(run.converge(&wanted).await?);
        let away = outcome.unreachable() || outcome.failed();
        if !away
            || outcome.interrupted
            || until.is_none_or(|u| tokio::time::Instant::now() + PAUSE > u)
        {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let items = items_of(&setup, &serials).await?;
    shown::tell(&outcome);
    let code = verdict(args, &chosen, &outcome, &items, limited.is_some());
    write(
        out,
        &show::done(&items, &chosen, &outcome, code, globals, world.clock.now()),
    )?;
    run.finish(code).await?;
    Ok(code)
}

fn choose(
    args: &RevokeArgs,
    globals: &Globals,
    world: &World,
    setup: &Setup,
    people: &People,
) -> Result<Chosen, Error> {
    let pattern = globals.admins.as_deref().filter(|_| args.names.is_empty());
    let ways = [
        !args.names.is_empty(),
        args.from.is_some(),
        args.not_in.is_some(),
        pattern.is_some(),
    ];
    match ways.iter().filter(|w| **w).count() {
        1 => {}
        0 => {
            return Err(Error::usage("nobody is named")
                .hinted("name admins, or use --admins, --from or --not-in"));
        }
        _ => {
            return Err(Error::usage(
                "name admins in one way only: as arguments, by --admins, --from or --not-in",
            ));
        }
    }
    let mut chosen = Chosen::default();
    chosen.add_names(people, &args.names, args.allow_unknown)?;
    if let Some(path) = &args.from {
        chosen.add_leavers(people, file::leavers(&world.cwd, path)?);
    }
    if let Some(path) = &args.not_in {
        chosen.add_orphans(people, &file::staff(&world.cwd, path, args.match_on)?);
    }
    if pattern.is_some() {
        for name in admins_of(setup, pattern)?.unwrap_or_default() {
            chosen.admins.insert(name, (None, None));
        }
    }
    if pattern.is_some() || args.not_in.is_some() {
        chosen.guard(people, &setup.project.settings.protected, args.max_revoke)?;
    }
    Ok(chosen)
}

/// The hosts of `--limit`, which counts as a flag only: a variable that is left in the environment must not leave hosts
/// out.
fn within(setup: &Setup, globals: &Globals) -> Result<Option<BTreeSet<HostName>>, Error> {
    let Some(limit) = globals.limit.as_deref() else {
        return Ok(None);
    };
    if globals.limit_from_environment {
        eprintln!(
            "note: FLEETOTP_LIMIT does not count here; a revocation is limited by the flag --limit only"
        );
        return Ok(None);
    }
    let hosts = setup.inventory.select("all", Some(limit))?;
    Ok(Some(names(&hosts).into_iter().collect()))
}

async fn items_of(setup: &Setup, serials: &BTreeSet<Serial>) -> Result<Vec<RevocationItem>, Error> {
    let mut items = setup.ledger.revocation_items().await?;
    items.retain(|i| serials.contains(&i.serial));
    Ok(items)
}

async fn wait_for_lock(
    setup: &Setup,
    world: &World,
    until: Option<tokio::time::Instant>,
) -> Result<Lock, Error> {
    loop {
        match take_lock(setup, world).await {
            Err(error) if error.kind() == Kind::Locked => {
                if until.is_none_or(|u| tokio::time::Instant::now() + PAUSE > u) {
                    return Err(error.hinted(
                        "the revocation is recorded: the other run pushes nothing of it any more, and `fleetotp sync` finishes it; --wait waits",
                    ));
                }
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

/// The exit code: hosts first, then what was left open on purpose, then what only `--strict` minds.
fn verdict(
    args: &RevokeArgs,
    chosen: &Chosen,
    outcome: &Outcome,
    items: &[RevocationItem],
    limited: bool,
) -> u8 {
    let code = outcome.code();
    let open: Vec<&RevocationItem> = items.iter().filter(|i| i.is_open()).collect();
    let reached = |item: &&&RevocationItem| {
        outcome
            .hosts
            .get(&item.host)
            .is_some_and(|r| r.status == Status::Ok)
    };
    // Reached, and it could not be closed: no success, whatever the host's own status.
    let refused = open.iter().any(|i| reached(&i));
    match code {
        exit::DONE | exit::FINDINGS if refused => exit::HOSTS_FAILED,
        exit::HOSTS_UNREACHABLE if refused => exit::HOSTS_FAILED_AND_UNREACHABLE,
        exit::DONE if !open.is_empty() && (limited || args.strict) => exit::FINDINGS,
        exit::DONE if args.strict && !(chosen.unknown.is_empty() && chosen.kept.is_empty()) => {
            exit::FINDINGS
        }
        code => code,
    }
}
