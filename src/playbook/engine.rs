//! The dispatcher: owns the run's state, hands out tokens and turns, takes in reports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use crate::audit::head::Witness;
use crate::clock::{Clock, Entropy};
use crate::error::Error;
use crate::fleet::control::ControlDir;
use crate::fleet::fanout::Fanout;
use crate::fleet::target::Target;
use crate::host::facts::Facts;
use crate::ledger::{
    HostEnd, HostObservation, ItemReading, Ledger, Readings, Stage, TokenHostObservation,
    VerifiedHost,
};
use crate::names::{HostName, Login};
use crate::plan::finding::{KEY_LOST, NEEDS_KEY};
use crate::playbook::active::Active;
use crate::playbook::desk::{Desk, Seat};
use crate::playbook::job::{Ask, ClassTurn, Finished, Job, ProofEnd};
use crate::playbook::journal;
use crate::playbook::limits::{Limits, Tally};
use crate::playbook::outcome::{HostReport, Outcome, Skip, Status};
use crate::playbook::said::Said;
use crate::playbook::witness::WitnessMaker;
use crate::playbook::worker::work;

/// How many reports are stored at a time.
const BATCH: usize = 50;

/// What all workers of a run share.
#[derive(Debug)]
pub struct Shared {
    /// Control sockets.
    pub control: ControlDir,
    /// Keeps connections from being too many at a time, and from trying everywhere what is refused.
    pub fanout: Arc<Fanout>,
    /// To look up what was written; besides the one witness, the dispatcher alone writes.
    pub ledger: Ledger,
    /// The project's id.
    pub project: String,
    /// The run's id.
    pub run: String,
    /// Which pass over hosts this is in the run, from 1.
    pub pass: u32,
    /// Which part of the run this is, for its journal.
    pub stage: Stage,
    /// How many hosts the batch has, of which limits are shares; 0 where there are no limits.
    pub batch: usize,
    /// Left on hosts that are changed: shows that the log was not rewritten or cut since.
    pub witness: Arc<WitnessMaker>,
    /// How much may go wrong before no further host is begun.
    pub limits: Limits,
    /// Set once that is exceeded.
    pub halt: AtomicBool,
    /// Change nothing.
    pub check: bool,
    /// Look for logins that confirm.
    pub evidence: bool,
    /// Prepare no host that was never prepared.
    pub prepared_only: bool,
    /// Bring no text to a host on which a run's text was rolled back.
    pub keeps_rollbacks: bool,
    /// Accounts that keep their way in.
    pub protected: BTreeSet<Login>,
    /// How long hosts wait for a confirmation.
    pub revert_after: Duration,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Which hosts are being worked on.
    pub active: Arc<Active>,
    /// Set by the first signal.
    pub stop: Arc<AtomicBool>,
}

impl Shared {
    /// Returns the witness that this run leaves on hosts.
    ///
    /// # Errors
    /// When it cannot be made: then nothing may be changed.
    pub async fn witness(&self) -> Result<&Witness, Error> {
        self.witness.witness(&self.ledger, self.clock.now()).await
    }

    /// Returns whether a signal asked the run to end: nothing new is begun then.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Returns whether too much went wrong: no further host is begun then.
    pub fn halted(&self) -> bool {
        self.halt.load(Ordering::Relaxed)
    }

    /// Returns the name of the change that a host may make in this pass: no other has it.
    pub fn transaction(&self) -> String {
        format!("{}-{}-{}", self.project, self.run, self.pass)
    }

    /// Returns the open change that a run which is no more has left: one that this ledger knows, since whoever asks holds
    /// its lock. Another's may be going on now, by a copy of this project, and is left to it and to the host.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn abandoned(&self, facts: &Facts) -> Result<Option<String>, Error> {
        let mine = format!("{}-", self.project);
        for id in facts.open_changes.iter().filter(|_| !self.check) {
            let run = id
                .strip_prefix(&mine)
                .and_then(|rest| rest.rsplit_once('-'));
            if let Some((run, _pass)) = run
                && self.ledger.knows_run(run).await?
            {
                return Ok(Some(id.clone()));
            }
        }
        Ok(None)
    }

    /// Returns the accounts that must keep their way in on a host.
    pub fn protected_on(&self, target: &Target, facts: &Facts) -> BTreeSet<Login> {
        let connecting = facts.connecting_login.as_deref();
        self.protected
            .iter()
            .cloned()
            .chain(connecting.and_then(|l| Login::new(l).ok()))
            .chain(target.connecting_login())
            .collect()
    }

    /// Returns how long a request may take. In debug builds `FLEETOTP_TEST_LIMIT` says it, in seconds, so that tests
    /// need not wait for minutes.
    pub fn limit(&self, usual: Duration) -> Duration {
        #[cfg(debug_assertions)]
        if let Some(seconds) = std::env::var("FLEETOTP_TEST_LIMIT")
            .ok()
            .and_then(|text| text.parse().ok())
        {
            return Duration::from_secs(seconds);
        }
        usual
    }

    /// In debug builds, waits at a named point for as many seconds as `FLEETOTP_TEST_PAUSE=point:seconds` says, so that
    /// tests can kill the run or reboot a host there; with `point:seconds:file` it makes that file as soon as it is there.
    pub async fn pause_for_tests(&self, point: &str) {
        #[cfg(debug_assertions)]
        if let Ok(wish) = std::env::var("FLEETOTP_TEST_PAUSE") {
            let mut parts = wish.splitn(3, ':');
            if parts.next() == Some(point) {
                let seconds = parts.next().and_then(|s| s.parse().ok()).unwrap_or(0);
                drop(parts.next().map(|file| std::fs::write(file, "")));
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
        }
        #[cfg(not(debug_assertions))]
        let _ = point;
    }
}

/// How many hosts may be worked on, and be connected to, at a time. A host that waits for another of its class to prove
/// the change keeps its connection and lets others work.
#[derive(Debug, Clone)]
struct Slots {
    working: Arc<Semaphore>,
    connected: Arc<Semaphore>,
}

/// A worker's right to work.
#[derive(Debug)]
pub struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    working: Arc<Semaphore>,
}

impl Turn {
    /// Lets others work until `waiting` is over.
    pub async fn yield_while<T>(&mut self, waiting: impl Future<Output = T>) -> T {
        self.permit = None;
        let result = waiting.await;
        self.permit = self.working.clone().acquire_owned().await.ok();
        result
    }
}

/// How the changes of classes of hosts stand: over all batches of a run, so that none is proved twice, and none is tried
/// again that was not proved.
#[derive(Debug, Default)]
pub struct Proofs(HashMap<String, Class>);

/// How a class's change stands.
#[derive(Debug)]
enum Class {
    /// One host proves it; these wait.
    Proving(Vec<oneshot::Sender<ClassTurn>>),
    Proved,
    Failed(HostName, String),
}

/// Told after each host, for progress.
pub trait Progress {
    /// A host is being worked on.
    fn begun(&self, host: &HostName);

    /// A host is done.
    fn done(&self, report: &HostReport, done: usize, all: usize);
}

/// Runs jobs, at most `forks` at a time, and returns what came of them.
///
/// # Errors
/// When the ledger cannot be written; hosts that are being worked on are then finished first.
pub async fn run(
    jobs: Vec<Job>,
    forks: usize,
    shared: Arc<Shared>,
    desk: &mut Desk,
    proofs: &mut Proofs,
    progress: &dyn Progress,
) -> Result<Outcome, Error> {
    let all = jobs.len();
    let (sender, mut asks) = mpsc::channel(256);
    let forks = forks.max(1);
    let slots = Slots {
        working: Arc::new(Semaphore::new(forks)),
        connected: Arc::new(Semaphore::new(forks.saturating_mul(3))),
    };
    let mut dispatcher = Dispatcher {
        desk,
        shared: &shared,
        proofs,
        tally: Tally {
            hosts: shared.batch,
            ..Tally::default()
        },
        outcome: Outcome::default(),
        machines: BTreeMap::new(),
        hosts: Vec::new(),
        tokens: Vec::new(),
        readings: Vec::new(),
        verified: Vec::new(),
        ends: Vec::new(),
        reads: Readings::default(),
        fault: None,
        said: Said::default(),
    };
    let answering = async {
        while let Some(ask) = asks.recv().await {
            if let Ask::Begun(host) = &ask {
                shared.active.begun(host);
                progress.begun(host);
                continue;
            }
            if let Some(report) = dispatcher.answer(ask).await {
                progress.done(&report, dispatcher.outcome.hosts.len() + 1, all);
                dispatcher
                    .outcome
                    .hosts
                    .insert(report.host.clone(), *report);
            }
        }
    };
    let (ended, ()) = tokio::join!(begin_each(jobs, slots, shared.clone(), sender), answering);
    if let Err(error) = ended {
        // A panic in a worker is a defect of this program; the other hosts were finished all the same.
        dispatcher.fault.get_or_insert(Error::new(
            crate::error::Kind::Internal,
            format!("a worker ended abnormally: {error}"),
        ));
    }
    dispatcher.store().await;
    let reads = std::mem::take(&mut dispatcher.reads);
    let stored = dispatcher.desk.ledger().store_reads(reads).await;
    dispatcher.keep(stored.map_err(Error::from));
    let Dispatcher {
        mut outcome, fault, ..
    } = dispatcher;
    if let Some(fault) = fault {
        return Err(fault);
    }
    outcome.interrupted = shared.stopping();
    outcome.sheets = std::mem::take(&mut desk.sheets);
    outcome.notes = std::mem::take(&mut desk.notes);
    outcome.needs_identity = outcome.has_gap(NEEDS_KEY);
    outcome.secret_lost = outcome.has_gap(KEY_LOST);
    Ok(outcome)
}

/// Begins the work on each host in its turn, no more of them than may be connected at once: of many hosts those that wait
/// take no memory but their job's. Returns the first abnormal end.
async fn begin_each(
    jobs: Vec<Job>,
    slots: Slots,
    shared: Arc<Shared>,
    sender: mpsc::Sender<Ask>,
) -> Result<(), JoinError> {
    let (mut workers, mut result) = (JoinSet::new(), Ok(()));
    for job in jobs {
        let Ok(connected) = slots.connected.clone().acquire_owned().await else {
            break;
        };
        let (working, shared, sender) = (slots.working.clone(), shared.clone(), sender.clone());
        workers.spawn(async move {
            let _connected = connected;
            begin(job, working, shared, sender).await;
        });
        while let Some(ended) = workers.try_join_next() {
            result = result.and(ended);
        }
    }
    drop(sender);
    while let Some(ended) = workers.join_next().await {
        result = result.and(ended);
    }
    result
}

/// Works on a host once it is its turn, unless nothing more is to be begun.
async fn begin(job: Job, working: Arc<Semaphore>, shared: Arc<Shared>, sender: mpsc::Sender<Ask>) {
    let Ok(permit) = working.clone().acquire_owned().await else {
        return;
    };
    if shared.stopping() || shared.halted() {
        let skip = if shared.stopping() {
            Skip::Interrupted
        } else {
            Skip::Stopped
        };
        let report = HostReport::new(job.name, Status::Skipped(skip));
        let finished = Finished {
            report,
            host: None,
            tokens: Vec::new(),
            readings: Vec::new(),
            turn: None,
        };
        drop(sender.send(Ask::Done(Box::new(finished))).await);
        return;
    }
    // Whoever does not listen any more shows nothing either.
    drop(sender.send(Ask::Begun(job.name.clone())).await);
    let turn = Turn {
        permit: Some(permit),
        working,
    };
    work(job, shared, sender, turn).await;
}

struct Dispatcher<'a> {
    desk: &'a mut Desk,
    shared: &'a Shared,
    proofs: &'a mut Proofs,
    tally: Tally,
    outcome: Outcome,
    machines: BTreeMap<String, HostName>,
    hosts: Vec<HostObservation>,
    tokens: Vec<TokenHostObservation>,
    readings: Vec<ItemReading>,
    verified: Vec<VerifiedHost>,
    ends: Vec<HostEnd>,
    /// What showed nothing new: one event, at the end.
    reads: Readings,
    fault: Option<Error>,
    said: Said,
}

impl Dispatcher<'_> {
    /// Answers one message. A worker whose answer is dropped ends as interrupted.
    async fn answer(&mut self, ask: Ask) -> Option<Box<HostReport>> {
        match ask {
            Ask::Places(seats, reply) => {
                if let Some(places) = self.places(&seats).await {
                    drop(reply.send(places));
                }
            }
            Ask::Key(admin, realm, generation, reply) => {
                let key = self.desk.key(&admin, &realm, generation).await;
                if let Some(key) = self.keep(key) {
                    drop(reply.send(key));
                }
            }
            Ask::Revoked(serials, reply) => {
                let found = self.desk.revoked_of(serials).await;
                if let Some(found) = self.keep(found) {
                    drop(reply.send(found));
                }
            }
            Ask::Confirmed(seen, reply) => {
                let done = self.desk.confirmed_by_login(&seen).await;
                if self.keep(done).is_some() {
                    reply.send(()).unwrap_or_default();
                }
            }
            Ask::Changing(host, texts, reply) => {
                self.shared.active.changing(&host);
                let ledger = self.desk.ledger();
                let noted = ledger
                    .journal_changing(self.shared.stage, &host, &texts)
                    .await;
                if self.keep(noted.map_err(Error::from)).is_some() {
                    reply.send(()).unwrap_or_default();
                }
            }
            Ask::Class(class, reply) => self.turn(class, reply),
            // It only shows.
            Ask::Begun(_) => {}
            Ask::Proved(class, host, end) => self.proof_ended(class, host, end),
            Ask::Done(finished) => {
                let Finished {
                    mut report,
                    mut host,
                    tokens,
                    readings,
                    turn,
                } = *finished;
                self.ends
                    .extend(journal::end_of(&report, self.shared.clock.now()));
                if let Some(host) = &mut host {
                    self.twins(&mut report, host);
                }
                self.hosts.extend(host);
                self.shared.active.done(&report.host);
                self.count(&report);
                drop(turn);
                self.tokens.extend(tokens);
                let verification = report.verification.as_ref();
                let verified = verification.map(|v| v.record(&report.host));
                self.verified.extend(verified);
                self.readings.extend(readings);
                if self.hosts.len() >= BATCH {
                    self.store().await;
                }
                self.said.share(&mut report);
                return Some(Box::new(report));
            }
        }
        None
    }

    /// Begins no further host once too much went wrong.
    fn count(&mut self, report: &HostReport) {
        self.tally.count(report);
        if let (None, Some(why)) = (&self.outcome.stopped, self.shared.limits.stop(self.tally)) {
            self.shared.halt.store(true, Ordering::Relaxed);
            self.outcome.stopped = Some(why);
        }
    }

    async fn places(&mut self, seats: &[Seat]) -> Option<Vec<crate::playbook::desk::Place>> {
        let fresh = self.desk.notice_revocations().await;
        self.keep(fresh)?;
        let mut places = Vec::with_capacity(seats.len());
        for seat in seats {
            let place = self.desk.place(seat).await;
            places.push(self.keep(place)?);
        }
        Some(places)
    }

    fn turn(&mut self, class: String, reply: oneshot::Sender<ClassTurn>) {
        match self.proofs.0.get_mut(&class) {
            None => {
                self.proofs.0.insert(class, Class::Proving(Vec::new()));
                drop(reply.send(ClassTurn::Prove));
            }
            Some(Class::Proving(waiting)) => waiting.push(reply),
            Some(Class::Proved) => drop(reply.send(ClassTurn::Follow)),
            Some(Class::Failed(host, why)) => {
                drop(reply.send(ClassTurn::Leave(host.clone(), why.clone())));
            }
        }
    }

    fn proof_ended(&mut self, class: String, host: HostName, end: ProofEnd) {
        let Some(Class::Proving(mut waiting)) = self.proofs.0.remove(&class) else {
            return;
        };
        let (turn, state) = match end {
            ProofEnd::Proved => (ClassTurn::Follow, Class::Proved),
            ProofEnd::Failed(why) => (
                ClassTurn::Leave(host.clone(), why.clone()),
                Class::Failed(host, why),
            ),
            ProofEnd::Undecided => {
                // A waiting worker whose run has ended no longer listens: then the next.
                while let Some(next) = waiting.pop() {
                    if next.send(ClassTurn::Prove).is_ok() {
                        self.proofs.0.insert(class, Class::Proving(waiting));
                        return;
                    }
                }
                return;
            }
        };
        self.proofs.0.insert(class, state);
        for reply in waiting {
            drop(reply.send(turn.clone()));
        }
    }

    /// One machine under two names is one host: said, not counted twice in silence.
    fn twins(&mut self, report: &mut HostReport, host: &mut HostObservation) {
        let Some(machine) = &host.machine_id else {
            return;
        };
        match self.machines.get(machine) {
            Some(other) if *other != report.host => {
                let text = format!(
                    "{} and {other} have the same machine-id: one machine under two names",
                    report.host
                );
                crate::playbook::worker::note(
                    report,
                    "same-machine",
                    text,
                    "name it once in the inventory, or give a cloned machine its own /etc/machine-id",
                );
            }
            _ => {
                self.machines.insert(machine.clone(), report.host.clone());
            }
        }
    }

    /// Stores what was observed; a check observes too.
    async fn store(&mut self) {
        if self.shared.check || (self.hosts.is_empty() && self.ends.is_empty()) {
            self.hosts.clear();
            self.tokens.clear();
            self.readings.clear();
            self.ends.clear();
            return;
        }
        let ledger = self.desk.ledger().clone();
        let stored = ledger
            .observe_part(&self.hosts, &self.tokens, &mut self.reads)
            .await;
        self.hosts.clear();
        self.tokens.clear();
        if self.keep(stored.map_err(Error::from)).is_some() {
            let stored = self.desk.ledger().store_readings(&self.readings).await;
            self.keep(stored.map_err(Error::from));
        }
        self.readings.clear();
        let verified = std::mem::take(&mut self.verified);
        let noted = self.desk.ledger().record_verified(&verified).await;
        self.keep(noted.map_err(Error::from));
        let ends = std::mem::take(&mut self.ends);
        let noted = self
            .desk
            .ledger()
            .journal_done(self.shared.stage, &ends)
            .await;
        self.keep(noted.map_err(Error::from));
    }

    /// Keeps the first error and asks workers to stop; returns what succeeded.
    fn keep<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.shared.stop.store(true, Ordering::Relaxed);
                self.fault.get_or_insert(error);
                None
            }
        }
    }
}
