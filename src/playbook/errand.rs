//! What a command does once on each of many hosts, without issuing tokens: connect, do it, disconnect.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::fleet::FleetError;
use crate::fleet::session::Session;
use crate::fleet::target::Target;
use crate::host::facts::Facts;
use crate::host::parse;
use crate::host::reply::{Applied, ReplyError, applied};
use crate::host::request::{Inspect, Request};
use crate::inventory::model::Module;
use crate::names::{HostName, Login};
use crate::plan::finding::Finding;
use crate::plan::wish::{Parts, Wish};
use crate::playbook::behind;
use crate::playbook::engine::Shared;
use crate::playbook::outcome::{Skip, Status};
use crate::playbook::stop;

/// How long reading a host may take.
pub const INSPECT: Duration = Duration::from_secs(60);
/// How long changing a host may take.
const APPLY: Duration = Duration::from_secs(120);

/// One thing to do on a host.
pub trait Errand: Send + Sync + 'static {
    /// What comes of it.
    type Done: Send + 'static;

    /// Does it.
    fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> impl Future<Output = Result<Self::Done, Stop>> + Send;
}

/// Why it was not done on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// The host is not as it was read; reading it again may help.
    Changed(String),
    /// Anything else.
    Ended(Status),
}

impl Stop {
    /// Reached, but something failed.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Ended(Status::Failed(why.into()))
    }

    /// Refused; the text says what to do.
    pub fn refused(finding: &Finding) -> Self {
        Self::failed(finding.sentence())
    }

    /// Returns how the host ended.
    pub fn into_status(self) -> Status {
        match self {
            Self::Changed(why) => Status::Failed(format!("{why}; run again")),
            Self::Ended(status) => status,
        }
    }
}

impl From<FleetError> for Stop {
    fn from(error: FleetError) -> Self {
        let text = stop::told(&error);
        Self::Ended(if matches!(error, FleetError::Interrupted) {
            Status::Skipped(Skip::Interrupted)
        } else if error.is_unreachable() {
            Status::Unreachable(text)
        } else {
            Status::Failed(text)
        })
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<ReplyError> for Stop {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Failed { code, what } if code == "changed" => Self::Changed(what),
            other => FleetError::from(other).into(),
        }
    }
}

/// Runs an errand on hosts, at most `forks` at a time.
pub async fn on_each<E: Errand>(
    errand: Arc<E>,
    targets: Vec<(HostName, Target)>,
    forks: usize,
    shared: Arc<Shared>,
) -> BTreeMap<HostName, Result<E::Done, Status>> {
    let slots = Arc::new(Semaphore::new(forks.max(1)));
    let mut running = JoinSet::new();
    for (name, target) in targets {
        let (errand, shared, slots) = (errand.clone(), shared.clone(), slots.clone());
        running.spawn(async move {
            let slot = slots.acquire_owned().await;
            if slot.is_err() || shared.stopping() {
                return (name, Err(Status::Skipped(Skip::Interrupted)));
            }
            shared.active.begun(&name);
            let done = visit(errand.as_ref(), &name, target, &shared).await;
            shared.active.done(&name);
            (name, done.map_err(Stop::into_status))
        });
    }
    let mut results = BTreeMap::new();
    while let Some(ended) = running.join_next().await {
        // A panic in an errand is a defect of this program; that host is then missing, and the caller says so.
        if let Ok((name, result)) = ended {
            results.insert(name, result);
        }
    }
    results
}

async fn visit<E: Errand>(
    errand: &E,
    name: &HostName,
    target: Target,
    shared: &Shared,
) -> Result<E::Done, Stop> {
    let session = Session::open(target, &shared.control, &shared.fanout).await?;
    let done = errand.run(name, &session, shared).await;
    session.close().await;
    done
}

/// Everything fleetotp may have on a host, and when it was read.
#[derive(Debug)]
pub struct Seen {
    /// What was read.
    pub facts: Facts,
    /// The controller's time then.
    pub at: Timestamp,
}

/// Reads a host: these logins, and every login of fleetotp's groups and state files that it has besides.
pub async fn read_all(
    session: &Session,
    shared: &Shared,
    logins: &BTreeSet<Login>,
    keys: bool,
) -> Result<Seen, Stop> {
    let first = read(session, shared, logins, keys).await?;
    let facts = &first.facts;
    let found = facts
        .other_states
        .iter()
        .map(|(_, login)| login)
        .chain(facts.groups.values().flat_map(|g| &g.members))
        .filter_map(|login| Login::new(login).ok());
    let more: BTreeSet<Login> = logins.iter().cloned().chain(found).collect();
    if more == *logins {
        return Ok(first);
    }
    read(session, shared, &more, keys).await
}

/// Reads a host; what its sshd does is always judged anew.
pub async fn read(
    session: &Session,
    shared: &Shared,
    logins: &BTreeSet<Login>,
    keys: bool,
) -> Result<Seen, Stop> {
    let users = shared
        .protected
        .iter()
        .cloned()
        .chain(session.target().connecting_login())
        .filter(|l| !logins.contains(l))
        .collect::<BTreeSet<_>>();
    let wanted = Inspect {
        logins: logins.iter().cloned().collect(),
        users: users.into_iter().collect(),
        keys,
        ..Inspect::default()
    };
    let answer = session
        .exec(Request::inspect(&wanted), shared.limit(INSPECT))
        .await?;
    let at = shared.clock.now();
    Ok(Seen {
        facts: parse::facts(&answer)?,
        at,
    })
}

/// Sends operations.
pub async fn send(session: &Session, shared: &Shared, request: Request) -> Result<Applied, Stop> {
    let answer = session.exec(request, shared.limit(APPLY)).await?;
    Ok(applied(&answer)?)
}

/// Refuses a host that has seen events which the ledger does not have.
pub async fn not_behind(facts: &Facts, shared: &Shared) -> Result<(), Stop> {
    match behind::refusal(facts, shared).await {
        Ok(None) => Ok(()),
        Ok(Some(finding)) => Err(Stop::refused(&finding)),
        Err(error) => Err(Stop::failed(error.to_string())),
    }
}

/// What a host should have where nothing is brought to it.
pub fn wish(seen: &Seen, session: &Session, shared: &Shared) -> Wish {
    Wish {
        project: shared.project.clone(),
        protected: shared.protected_on(session.target(), &seen.facts),
        module: Module::default(),
        window: 0,
        members: Vec::new(),
        known: BTreeSet::new(),
        exempt: BTreeSet::new(),
        parts: Parts::default(),
        can_confirm: session.target().can_confirm(),
        now: seen.at,
        revert_after: shared.revert_after,
    }
}
