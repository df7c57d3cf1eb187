//! `fleetotp collect`: reads hosts' logs on from where the last time ended, stores the logins, says what is odd in them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::errand::outcome_of;
use super::globals::{Globals, Output};
use super::play::write;
use super::run::{Run, names};
use super::setup::{Setup, World};
use crate::activity::findings::{ActivityFinding, Known, Limits, Weight, findings};
use crate::clock::{Span, Timestamp};
use crate::error::Error;
use crate::exit;
use crate::names::HostName;
use crate::playbook::collect::{Collect, HostLog};
use crate::playbook::desk::Permissions;
use crate::playbook::outcome::{Outcome, Status};
use crate::playbook::sheets::Protection;
use crate::playbook::tasks::{self, CollectTask};

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
    let collected = collect(&run, &hosts, args).await?;
    let text = match globals.output {
        Output::Json => format!("{:#}\n", collected.document()),
        Output::Text => collected.text(),
    };
    write(out, &text)?;
    let mut code = collected.outcome.code();
    if code == exit::DONE && collected.is_strictly_bad(args.strict) {
        code = exit::FINDINGS;
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
            strict: task.strict,
        }
    }
}

/// Collects from hosts, stores what is new and judges it; a check stores and judges nothing.
///
/// # Errors
/// When the ledger cannot be used, or an inventory variable that is needed.
pub(super) async fn collect(
    run: &Run<'_>,
    hosts: &[HostName],
    args: &CollectArgs,
) -> Result<Collection, Error> {
    let (setup, world) = (run.setup, run.world);
    let started = world.clock.now();
    let errand = Collect {
        cursors: setup.ledger.log_cursors().await?.into_iter().collect(),
        logins: run.logins_on(hosts).await?,
    };
    let (outcome, done) = outcome_of(run.errand(errand, hosts).await?);
    let mut collection = Collection {
        outcome,
        rows: Vec::new(),
        found: Vec::new(),
    };
    if run.globals.check {
        collection.rows = done.values().map(|log| Row::of(log, None)).collect();
        return Ok(collection);
    }
    let collected: Vec<_> = done.values().map(|log| log.collected.clone()).collect();
    let new = setup.ledger.store_activity(&collected).await?;
    let logs = done.values().zip(new);
    collection.rows = logs.map(|(log, new)| Row::of(log, Some(new))).collect();
    let since = match args.since {
        Some(span) => before(started, span),
        None => started,
    };
    let read = done.values().filter(|l| l.log.is_some());
    let known = known(setup, since, world.clock.now(), read).await?;
    let limits = Limits {
        spike: args.spike,
        within: args.within,
        unused: args.unused,
    };
    collection.found = findings(&known, limits);
    Ok(collection)
}

fn before(now: Timestamp, span: Span) -> Timestamp {
    now.checked_sub(span.duration()).unwrap_or(Timestamp::MIN)
}

async fn known(
    setup: &Setup,
    since: Timestamp,
    now: Timestamp,
    read: impl Iterator<Item = &HostLog>,
) -> Result<Known, Error> {
    let ledger = &setup.ledger;
    Ok(Known {
        judged: ledger.logins_stored_since(since).await?,
        accepted: ledger.accepted_logins().await?,
        tokens: ledger.tokens().await?,
        on_hosts: ledger.token_hosts().await?,
        bypasses: ledger.bypasses().await?,
        recoveries: ledger.recovery_uses_since(since).await?,
        gaps: ledger.log_gaps_since(since).await?,
        read: read
            .map(|l| l.collected.host.clone())
            .collect::<BTreeSet<HostName>>(),
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
        Status::Skipped => Some(("skipped", None)),
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
        let weight = match finding.severity {
            Weight::Notice => "notice",
            Weight::Warning => "warning",
            Weight::Alert => "alert",
        };
        _ = writeln!(text, "{weight} ({}): {}", finding.id, finding.text);
        for line in &finding.evidence {
            _ = writeln!(text, "    {line}");
        }
    }
    text
}
