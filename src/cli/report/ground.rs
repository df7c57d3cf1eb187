//! What a report rests on: a time or period, whom it was narrowed to, the log with what was archived of it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::audit::export::Export;
use crate::cli::globals::Globals;
use crate::cli::run::{admins_within, names};
use crate::cli::setup::{Setup, World};
use crate::clock::{self, Span, Timestamp};
use crate::error::Error;
use crate::ledger::{ChainCheck, Event, Head, Ledger};
use crate::report::activity::Collections;
use crate::report::coverage::{Counts, Pairs};
use crate::report::picture::Picture;
use crate::report::view::{Only, Population, View};
use crate::report::{Scope, source};

/// Of what time a report is, and where the beginning of the log is.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TimeArgs {
    /// The state at a time: a date (its end, UTC) or an RFC 3339 time
    #[arg(long, env = "FLEETOTP_REPORT_AS_OF", value_name = "TIME")]
    pub(super) as_of: Option<String>,

    /// What happened from one time up to another, and the state at the latter; dates mean their beginning and end, UTC
    #[arg(long, env = "FLEETOTP_REPORT_BETWEEN", value_names = ["FROM", "TO"], num_args = 2, value_delimiter = ' ', conflicts_with = "as_of")]
    pub(super) between: Option<Vec<String>>,

    /// The same for the last whole month, quarter or year (UTC): last_month, last_quarter, last_year
    #[arg(
        long,
        env = "FLEETOTP_REPORT_PERIOD",
        value_name = "PERIOD",
        conflicts_with_all = ["as_of", "between"]
    )]
    pub(super) period: Option<String>,

    /// An archive of events that are no longer in the ledger; give all of them
    #[arg(long, env = "FLEETOTP_REPORT_ARCHIVE", value_name = "FILE")]
    pub(super) archive: Vec<PathBuf>,
}

/// Of what time a report is.
#[derive(Debug, Clone)]
pub(super) struct Time {
    as_of: Timestamp,
    between: Option<(Timestamp, Timestamp)>,
    /// For the names of files.
    pub(super) name: String,
    archive: Vec<PathBuf>,
}

impl TimeArgs {
    /// Reads what was typed.
    ///
    /// # Errors
    /// What is no time, is yet to come, or ends before it begins.
    pub(super) fn read(&self, world: &World) -> Result<Time, Error> {
        let now = world.clock.now();
        let archive: Vec<PathBuf> = self
            .archive
            .iter()
            .map(|path| world.cwd.join(path))
            .collect();
        let of_period = |from: Timestamp, to: Timestamp, name: String| Time {
            as_of: last_before(to).min(now),
            between: Some((from, to)),
            name,
            archive: archive.clone(),
        };
        if let Some(word) = &self.period {
            let (from, to, name) = clock::last_period(word, now).ok_or_else(|| {
                let word = crate::names::printable(word, 40);
                Error::usage(format!("`{word}` is no period"))
                    .hinted("write last_month, last_quarter or last_year; others by their dates")
            })?;
            return Ok(of_period(from, to, name));
        }
        if let Some([from, to]) = self.between.as_deref() {
            let ((from, _), (_, to)) = (typed(from)?, typed(to)?);
            if from >= to {
                return Err(Error::usage("the period ends before it begins"));
            }
            if from > now {
                return Err(to_come(from));
            }
            let name = format!("{}_{}", day(from), day(last_before(to)));
            return Ok(of_period(from, to, name));
        }
        let as_of = match self.as_of.as_deref() {
            None => now,
            Some(text) => {
                let (first, end) = typed(text)?;
                let last = if first < end { last_before(end) } else { end };
                if first > now {
                    return Err(to_come(last));
                }
                // Of today there is what happened so far.
                last.min(now)
            }
        };
        Ok(Time {
            as_of,
            between: None,
            name: day(as_of),
            archive,
        })
    }
}

fn to_come(at: Timestamp) -> Error {
    Error::usage(format!("{at} is yet to come"))
}

/// The last instant before a time: the log has whole milliseconds.
fn last_before(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond() - 1).unwrap_or(at)
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// A day, its first instant and the one after its end; or a time, twice.
fn typed(text: &str) -> Result<(Timestamp, Timestamp), Error> {
    let first = clock::read_time(text).ok_or_else(|| {
        Error::usage(format!(
            "`{}` is no time",
            crate::names::printable(text, 40)
        ))
        .hinted("write a date such as 2026-11-01, or a time such as 2026-11-01T12:00:00Z")
    })?;
    let end = if clock::is_day(text) {
        Span::from_days(1).after(first)
    } else {
        first
    };
    Ok((first, end))
}

/// Whom a report is narrowed to: by flags, or by the play that asks for it.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Narrow {
    hosts: String,
    limit: Option<String>,
    /// Those of the play.
    admins: Option<String>,
    /// Those of the flag.
    only_admins: Option<String>,
}

impl Narrow {
    /// Takes flags, and flags alone: evidence must not lack a host because of a variable that somebody has set.
    pub(in crate::cli) fn by_flags(globals: &Globals) -> Self {
        Self::by_play(globals, "all", None)
    }

    /// The same, for the hosts and admins of a play.
    pub(in crate::cli) fn by_play(globals: &Globals, hosts: &str, admins: Option<&str>) -> Self {
        let flag = |name: &str, value: &Option<String>, from_environment: bool| {
            if from_environment && value.is_some() {
                tracing::warn!(
                    "reports are narrowed by the flag --{name} alone: the environment's is left aside"
                );
            }
            value.clone().filter(|_| !from_environment)
        };
        Self {
            hosts: hosts.to_owned(),
            limit: flag("limit", &globals.limit, globals.limit_from_environment),
            admins: admins.map(str::to_owned),
            only_admins: flag("admins", &globals.admins, globals.admins_from_environment),
        }
    }

    /// What the head of a report says of it; `None` where it is of everything.
    fn words(&self) -> Option<String> {
        let mut words = Vec::new();
        if self.hosts != "all" {
            words.push(format!("hosts {}", self.hosts));
        }
        words.extend(self.limit.iter().map(|l| format!("hosts limited to {l}")));
        let (play, flag) = self.admin_patterns();
        words.extend(play.map(|a| format!("admins {a}")));
        let limited = if play.is_some() { "limited to " } else { "" };
        words.extend(flag.map(|a| format!("admins {limited}{a}")));
        (!words.is_empty()).then(|| words.join("; "))
    }

    fn only(&self, setup: &Setup) -> Result<Only, Error> {
        let all = self.hosts == "all" && self.limit.is_none();
        let (play, flag) = self.admin_patterns();
        Ok(Only {
            hosts: if all {
                None
            } else {
                let hosts = setup.inventory.select(&self.hosts, self.limit.as_deref())?;
                Some(names(&hosts).into_iter().collect())
            },
            admins: admins_within(setup, play, flag)?,
        })
    }

    fn admin_patterns(&self) -> (Option<&str>, Option<&str>) {
        let play = self.admins.as_deref().filter(|a| *a != "all");
        let flag = self.only_admins.as_deref().filter(|a| *a != "all");
        (play, flag)
    }
}

/// What reports are computed from.
pub(super) struct Ground {
    /// The state and all that belongs to it.
    pub(super) view: Arc<View>,
    /// Of a period, where it was asked for: the counts at its beginning, and the event before its first.
    pub(super) before: Option<(Counts, Head)>,
    /// Events that are no longer in the ledger.
    pub(super) archived: Vec<Event>,
    /// Logins and findings, where they were asked for.
    pub(super) collections: Collections,
}

impl Ground {
    /// Reads the logins and findings that collections have stored until the report's time.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(super) async fn read_collections(&mut self, setup: &Setup) -> Result<(), Error> {
        self.collections = source::collections(&setup.ledger, self.view.now()).await?;
        Ok(())
    }
}

/// Reads the log into a picture; for coverage of a period, the counts at its beginning on the way.
///
/// # Errors
/// When the log, an archive or the inventory cannot be used.
pub(super) async fn ground(
    setup: &Setup,
    narrow: &Narrow,
    time: &Time,
    counts: bool,
) -> Result<Ground, Error> {
    let ledger = &setup.ledger;
    let archived = archived(ledger, &time.archive).await?;
    let scope = |as_of: Timestamp, picture: &Picture| Scope {
        project: ledger.project_id().to_string(),
        as_of,
        between: time.between,
        version: env!("CARGO_PKG_VERSION"),
        log: picture.log.clone(),
        only: narrow.words(),
    };
    let mut view = View {
        picture: Picture::default(),
        people: source::people(ledger).await?,
        population: Population::of(&setup.inventory)?,
        only: narrow.only(setup)?,
        scope: scope(time.as_of, &Picture::default()),
        accepted: source::accepted(ledger, time.as_of).await?,
    };
    let mut before = None;
    if let Some((from, _)) = time.between.filter(|_| counts) {
        // The state in which the period begins: what happened at its first instant belongs to it.
        let last = last_before(from);
        source::advance(&mut view.picture, ledger, &archived, last).await?;
        view.scope = scope(last, &view.picture);
        let first = Arc::new(view);
        let (size, hash) = first.picture.log.clone();
        before = Some((Pairs::of(&first).counts(), Head { size, hash }));
        view = Arc::into_inner(first)
            .ok_or_else(|| Error::failed("the first state of the period is still in use"))?;
    }
    source::advance(&mut view.picture, ledger, &archived, time.as_of).await?;
    view.scope = scope(time.as_of, &view.picture);
    Ok(Ground {
        view: Arc::new(view),
        before,
        archived,
        collections: Collections::default(),
    })
}

/// Reads archives, and takes them only where they are the beginning of this very log.
async fn archived(ledger: &Ledger, paths: &[PathBuf]) -> Result<Vec<Event>, Error> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let mut exports = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::failed(format!("cannot read `{name}`")).caused_by(e))?;
        exports.push(Export::parse(&name, &text)?);
    }
    exports.sort_by_key(|e| e.start.size);
    let project = ledger.project_id().as_str();
    let mut check = ChainCheck::new(Head::genesis(project), std::collections::BTreeSet::new());
    for export in &exports {
        export.check(&mut check);
    }
    let sealed = ledger.chain_start().await?;
    let strange = exports.iter().any(|e| !e.strange.is_empty());
    let chain = check.finish(Some(&sealed));
    if let Some(fault) = chain.faults.first() {
        return Err(refused(&fault.to_string()));
    }
    if strange || exports.iter().any(|e| e.project != project) {
        return Err(refused(
            "there is something in them that is none of its events",
        ));
    }
    let mut events = Vec::new();
    for export in exports {
        events.extend(export.into_events()?);
    }
    Ok(events)
}

fn refused(why: &str) -> Error {
    Error::failed(format!(
        "the archives are not the beginning of this event log: {why}"
    ))
    .hinted("give every archive, each by --archive FILE; `audit verify --archive` says more")
}
