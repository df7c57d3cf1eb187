//! `fleetotp collect`: reads hosts' logs on from where the last time ended, stores the logins, says what is odd in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::globals::{Globals, Output};
use super::play::write;
use super::run::{Run, names};
use super::setup::{Setup, World};
use super::tell::{TellArgs, Tellers};
use crate::activity::findings::{ActivityFinding, Known, Limits, findings};
use crate::activity::geo::{GeoError, Places};
use crate::clock::{Span, Timestamp};
use crate::error::Error;
use crate::exit;
use crate::inventory::model::Module;
use crate::ledger::{FindingRecord, Origin};
use crate::names::{HostName, Login};
use crate::playbook::collect::{Collect, HostLog, StepLengths};
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::{Outcome, Status};
use crate::playbook::sheets::Protection;
use crate::playbook::tasks::{self, CollectTask};
use crate::token::state::TokenHostState;

/// Arguments of `collect`.
#[derive(Debug, Clone, Args)]
pub struct CollectArgs {
    /// Judge everything that was collected within this time, not only what is new
    #[arg(long, env = "FLEETOTP_SINCE", value_name = "DURATION")]
    since: Option<Span>,

    /// From how many refused tries of one login on there is a finding
    #[arg(
        long,
        env = "FLEETOTP_SPIKE",
        value_name = "N",
        default_value_t = tasks::SPIKE,
        value_parser = clap::value_parser!(u32).range(2..=1000)
    )]
    spike: u32,

    /// Within which time those tries are
    #[arg(
        long,
        env = "FLEETOTP_WITHIN",
        value_name = "DURATION",
        default_value_t = tasks::WITHIN
    )]
    within: Span,

    /// After which time without a login a demanded token is a finding
    #[arg(
        long,
        env = "FLEETOTP_UNUSED",
        value_name = "DURATION",
        default_value_t = tasks::UNUSED
    )]
    unused: Span,

    /// Database of addresses in MaxMind's format, for country, place and network; may be given several times
    #[arg(long, env = "FLEETOTP_GEO", value_name = "FILE", value_delimiter = ',')]
    geo: Vec<PathBuf>,

    #[command(flatten)]
    tell: TellArgs,

    /// Exit 9 where there is any finding
    #[arg(long, env = "FLEETOTP_STRICT")]
    strict: bool,
}

/// Runs the command.
///
/// # Errors
/// Patterns that match nothing, and whatever keeps the whole run from going on.
pub async fn run(
    args: &CollectArgs,
    globals: &Globals,
    world: &World,
    out: &mut (dyn Write + Send),
) -> Result<u8, Error> {
    let setup = Setup::open(globals, world).await?;
    let hosts = names(&setup.inventory.select("all", globals.limit.as_deref())?);
    let places = places(args, &setup, world)?;
    let tellers = Tellers::new(&args.tell, &setup, world)?;
    let permissions = Permissions::default();
    let run = Run::begin(
        &setup,
        globals,
        world,
        "collect",
        permissions,
        Protection::None,
    )
    .await?;
    let collected = collect(&run, &hosts, args, &places, &tellers).await?;
    let text = match globals.output {
        Output::Json => format!("{:#}\n", collected.document()),
        Output::Text => collected.text(),
    };
    write(out, &text)?;
    let mut code = collected.outcome.code();
    if code == exit::DONE && collected.is_strictly_bad(args.strict) {
        code = exit::FINDINGS;
    }
    // Everything is stored and said by now.
    if !globals.check
        && let Err(error) = tellers.tell(&setup).await
    {
        run.finish(error.kind().code()).await?;
        return Err(error);
    }
    run.finish(code).await?;
    Ok(code)
}

/// What a collection brought, for the command and the task.
pub(super) struct Collection {
    /// How each host ended.
    pub(super) outcome: Outcome,
    rows: Vec<Row>,
    found: Vec<ActivityFinding>,
    /// Why those who are to be told of findings were not.
    pub(super) untold: Option<String>,
}

impl Collection {
    /// Returns whether there is a finding where none may be.
    pub(super) const fn is_strictly_bad(&self, strict: bool) -> bool {
        strict && !self.found.is_empty()
    }

    /// Returns it as JSON.
    pub(super) fn document(&self) -> Value {
        document(&self.outcome, &self.rows, &self.found)
    }

    /// Returns it for people.
    pub(super) fn text(&self) -> String {
        text(&self.outcome, &self.rows, &self.found)
    }
}

impl From<&CollectTask> for CollectArgs {
    fn from(task: &CollectTask) -> Self {
        Self {
            since: task.since,
            spike: task.spike,
            within: task.within,
            unused: task.unused,
            geo: Vec::new(),
            tell: TellArgs::default(),
            strict: task.strict,
        }
    }
}

/// Collects from hosts, stores what is new and judges it; a check stores and judges nothing.
///
/// # Errors
/// When the ledger cannot be used, or an inventory variable that is needed.
async fn collect(
    run: &Run<'_>,
    hosts: &[HostName],
    args: &CollectArgs,
    places: &Places,
    tellers: &Tellers,
) -> Result<Collection, Error> {
    let (setup, world) = (run.setup, run.world);
    let ledger = &setup.ledger;
    let started = world.clock.now();
    let errand = Collect {
        cursors: ledger.log_cursors().await?.into_iter().collect(),
        logins: run.logins_on(hosts).await?,
        steps: step_lengths(setup).await?,
    };
    let (outcome, done) = run.outcome_of(run.errand(errand, hosts).await?);
    let mut collection = Collection {
        outcome,
        rows: Vec::new(),
        found: Vec::new(),
        untold: None,
    };
    if run.globals.check {
        collection.rows = done.values().map(|log| Row::of(log, None)).collect();
        return Ok(collection);
    }
    let mut collected: Vec<_> = done.values().map(|log| log.collected.clone()).collect();
    for login in collected.iter_mut().flat_map(|c| &mut c.logins) {
        login.origin = origin(places, login.address.as_deref())?;
    }
    let new = ledger.store_activity(&collected).await?;
    let logs = done.values().zip(new);
    collection.rows = logs.map(|(log, new)| Row::of(log, Some(new))).collect();
    // A run that ended between storing and judging has left logins that nobody has looked at.
    let unjudged = ledger.judged_until().await?.unwrap_or(started);
    let since = match args.since {
        Some(span) => before(started, span).min(unjudged),
        None => started.min(unjudged),
    };
    let now = world.clock.now();
    let read = done.values().filter(|l| l.log.is_some());
    let known = known(setup, since, now, read, places).await?;
    let limits = Limits {
        spike: args.spike,
        within: args.within,
        unused: args.unused,
    };
    collection.found = findings(&known, limits);
    let found = collection.found.iter();
    let records: Vec<FindingRecord> = found.map(|f| record(f, now)).collect();
    ledger
        .store_findings(&records, &tellers.channels(), now)
        .await?;
    Ok(collection)
}

/// Does what the command does, for the task: databases and who is told are those of the project file. What was found and
/// could not be told is said, and told by the next collection.
pub(super) async fn by_task(
    run: &Run<'_>,
    hosts: &[HostName],
    task: &CollectTask,
) -> Result<Collection, Error> {
    let args = CollectArgs::from(task);
    let (setup, world) = (run.setup, run.world);
    let places = places(&args, setup, world)?;
    let tellers = Tellers::new(&args.tell, setup, world)?;
    let mut collection = collect(run, hosts, &args, &places, &tellers).await?;
    if !run.globals.check
        && let Err(error) = tellers.tell(setup).await
    {
        collection.untold = Some(error.to_string());
    }
    Ok(collection)
}

/// Opens the databases of flags, else those of the project file.
fn places(args: &CollectArgs, setup: &Setup, world: &World) -> Result<Places, Error> {
    let project = &setup.project;
    let paths: Vec<PathBuf> = if args.geo.is_empty() {
        let named = project.settings.activity.geo.iter();
        named.map(|p| project.resolve(p)).collect()
    } else {
        args.geo.iter().map(|p| world.cwd.join(p)).collect()
    };
    let mut places = Places::default();
    for path in paths {
        let shown = path.display().to_string();
        let bytes = std::fs::read(&path).map_err(|e| {
            Error::failed(format!("cannot read the database of addresses `{shown}`")).caused_by(e)
        })?;
        places.add(&shown, bytes).map_err(unusable)?;
    }
    Ok(places)
}

fn unusable(error: GeoError) -> Error {
    Error::failed("cannot tell where addresses are").caused_by(error)
}

fn origin(places: &Places, address: Option<&str>) -> Result<Option<Origin>, Error> {
    match address {
        Some(address) if !places.is_empty() => places.origin(address).map_err(unusable),
        _ => Ok(None),
    }
}

/// How long the time steps of each login's codes are, by host. A token that is not revoked counts before one that is.
async fn step_lengths(setup: &Setup) -> Result<BTreeMap<(HostName, Login), StepLengths>, Error> {
    let tokens: BTreeMap<_, _> = setup
        .ledger
        .tokens()
        .await?
        .iter()
        .map(|t| (t.serial.clone(), StepLengths::of(t)))
        .collect();
    let mut on_hosts = setup.ledger.token_hosts().await?;
    on_hosts.sort_by_key(|t| (t.state != TokenHostState::Revoked, t.changed_at));
    Ok(on_hosts
        .into_iter()
        .filter_map(|t| Some(((t.host, t.login), *tokens.get(&t.serial)?)))
        .collect())
}

fn record(found: &ActivityFinding, noticed_at: Timestamp) -> FindingRecord {
    FindingRecord {
        key: found.key.clone(),
        id: found.id.to_owned(),
        severity: found.severity.as_str().to_owned(),
        at: found.at,
        noticed_at,
        serial: found.serial.clone(),
        login: found.login.clone(),
        hosts: found.hosts.clone(),
        text: found.text.clone(),
        evidence: found.evidence.clone(),
    }
}

fn before(now: Timestamp, span: Span) -> Timestamp {
    now.checked_sub(span.duration()).unwrap_or(Timestamp::MIN)
}

async fn known(
    setup: &Setup,
    since: Timestamp,
    now: Timestamp,
    read: impl Iterator<Item = &HostLog>,
    places: &Places,
) -> Result<Known, Error> {
    let ledger = &setup.ledger;
    let mut judged = ledger.logins_stored_since(since).await?;
    let mut accepted = ledger.accepted_logins().await?;
    // Logins that were stored before there was a database: else the first one after would be from nowhere else.
    for login in judged.iter_mut().chain(&mut accepted) {
        if login.origin.is_none() {
            login.origin = origin(places, login.address.as_deref())?;
        }
    }
    let on_hosts = ledger.token_hosts().await?;
    let is_silent = |host: &HostName| {
        let realm = setup.inventory.realm_of(host);
        realm.is_some_and(|r| r.policy.module == Module::Oath)
    };
    let silent = on_hosts
        .iter()
        .map(|t| &t.host)
        .filter(|host| is_silent(host))
        .cloned()
        .collect();
    Ok(Known {
        judged,
        accepted,
        tokens: ledger.tokens().await?,
        on_hosts,
        bypasses: ledger.bypasses().await?,
        recoveries: ledger.recovery_uses_since(since).await?,
        gaps: ledger.log_gaps_since(since).await?,
        read: read
            .map(|l| l.collected.host.clone())
            .collect::<BTreeSet<HostName>>(),
        silent,
        now,
    })
}

/// What a host's log brought.
struct Row {
    host: HostName,
    log: Option<String>,
    logins: usize,
    accepted: usize,
    /// Unknown in a check, which stores nothing.
    new: Option<usize>,
    strangers: u64,
    others: u64,
    more: bool,
}

impl Row {
    fn of(log: &HostLog, new: Option<usize>) -> Self {
        let all = &log.collected.logins;
        Self {
            host: log.collected.host.clone(),
            log: log.log.clone(),
            logins: all.len(),
            accepted: all.iter().filter(|l| l.outcome == "accepted").count(),
            new,
            strangers: log.collected.strangers,
            others: log.collected.others,
            more: log.more,
        }
    }

    fn json(&self) -> Value {
        json!({
            "host": self.host,
            "log": self.log,
            "logins": self.logins,
            "accepted": self.accepted,
            "new": self.new,
            "strangers": self.strangers,
            "others": self.others,
            "more": self.more,
        })
    }
}

fn document(outcome: &Outcome, rows: &[Row], found: &[ActivityFinding]) -> Value {
    let failed: Vec<Value> = outcome
        .hosts
        .values()
        .filter_map(|report| {
            let (status, why) = ended(&report.status)?;
            Some(json!({ "host": report.host, "status": status, "why": why }))
        })
        .collect();
    json!({
        "hosts": rows.iter().map(Row::json).collect::<Vec<_>>(),
        "failed": failed,
        "findings": found,
    })
}

fn ended(status: &Status) -> Option<(&'static str, Option<&str>)> {
    match status {
        Status::Ok => None,
        Status::Failed(why) => Some(("failed", Some(why))),
        Status::Unreachable(why) => Some(("unreachable", Some(why))),
        Status::Skipped(_) => Some(("skipped", None)),
    }
}

fn text(outcome: &Outcome, rows: &[Row], found: &[ActivityFinding]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for row in rows {
        let Some(log) = &row.log else {
            _ = writeln!(text, "{}: keeps no log that can be read", row.host);
            continue;
        };
        let refused = row.logins - row.accepted;
        _ = writeln!(
            text,
            "{}: {} logins, {refused} refused; {} of other accounts, {} of nobody's ({log}){}",
            row.host,
            row.accepted,
            row.others,
            row.strangers,
            if row.more {
                "; there is more for the next run"
            } else {
                ""
            }
        );
    }
    for report in outcome.hosts.values() {
        if let Some((status, why)) = ended(&report.status) {
            _ = writeln!(
                text,
                "{}: {status}{}",
                report.host,
                why.map(|w| format!(": {w}")).unwrap_or_default()
            );
        }
    }
    for finding in found {
        let weight = finding.severity.as_str();
        _ = writeln!(text, "{weight} ({}): {}", finding.id, finding.text);
        for line in &finding.evidence {
            _ = writeln!(text, "    {line}");
        }
    }
    text
}
