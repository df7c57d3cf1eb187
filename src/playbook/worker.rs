//! The work on one host: inspect, plan, apply, prove, enforce, read back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::clock::Timestamp;
use crate::fleet::FleetError;
use crate::fleet::canary::CanaryKey;
use crate::fleet::session::Session;
use crate::fleet::target::Target;
use crate::host::facts::{Facts, Slot};
use crate::host::parse;
use crate::host::reply::{Applied, ReplyError, applied};
use crate::host::request::{Inspect, Judged, Request};
use crate::inventory::model::Realm;
use crate::ledger::{HostObservation, HostOutcome, HostRecord, TokenHostObservation};
use crate::names::{AdminName, HostName, Login, RealmName};
use crate::plan::canary::allowed_groups;
use crate::plan::change::{Change, GROUP_ENFORCED, GROUP_EXEMPT, HostPlan, Part};
use crate::plan::decide::{KEYS_UNKNOWN, NEEDS_KEY, host_plan};
use crate::plan::diff::difference;
use crate::plan::enforce::{self, enforcement};
use crate::plan::evidence::confirmed_step;
use crate::plan::finding::{Finding, Gap, Severity};
use crate::plan::state::Stamp;
use crate::plan::wish::{Member, Wish};
use crate::playbook::apply::{Canary, enforcement_request, request};
use crate::playbook::desk::{Place, Seat, SeenLogin};
use crate::playbook::engine::{Shared, Turn};
use crate::playbook::outcome::{HostReport, ShownChange, Status};
use crate::playbook::prove::{self, Proof};
use crate::token::key;
use crate::token::secret::Secret;
use crate::token::state::TokenHostState;

/// How long reading a host may take.
const INSPECT: Duration = Duration::from_secs(60);
/// How long changing a host may take; package managers are slow.
const APPLY: Duration = Duration::from_secs(300);
/// How often a host that changed under us is read and planned again.
const ATTEMPTS: u32 = 3;

/// What the host says of a secret whose file has not changed since it was last looked at.
const SEEN: &str = "seen";

/// What one worker does.
#[derive(Debug, Clone)]
pub struct Job {
    /// The host.
    pub name: HostName,
    /// How it is connected to.
    pub target: Target,
    /// The admins who have an account there.
    pub seats: Vec<Seat>,
    /// The host's realm.
    pub realm: Arc<Realm>,
    /// What earlier runs know about the host.
    pub memory: Memory,
}

/// What earlier runs know about a host, so that nothing is looked at twice. Kept in the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The configuration that was judged last.
    #[serde(skip)]
    pub judged_hash: Option<String>,
    /// OpenSSH's version then.
    #[serde(default)]
    pub version: String,
    /// State files (`current/alice`) with their hash and the fingerprint of the secret they held then.
    #[serde(default)]
    pub states: BTreeMap<String, (String, String)>,
}

impl Memory {
    /// Reads it from the ledger's host row.
    pub fn of(record: &HostRecord) -> Self {
        let facts = record.facts.clone().unwrap_or_default();
        let memory: Self = serde_json::from_value(facts).unwrap_or_default();
        Self {
            judged_hash: record.config_hash.clone(),
            ..memory
        }
    }

    fn from_facts(facts: &Facts) -> Self {
        let states = facts
            .states
            .iter()
            .map(|((slot, login), state)| {
                let fingerprint = state.secret_sha256.chars().take(12).collect();
                (
                    format!("{}/{login}", slot.as_str()),
                    (state.file.sha256.clone(), fingerprint),
                )
            })
            .collect();
        Self {
            judged_hash: None,
            version: facts.version_text.clone(),
            states,
        }
    }
}

/// What workers ask of the dispatcher.
#[derive(Debug)]
pub enum Ask {
    /// What should these seats have?
    Places(Vec<Seat>, oneshot::Sender<Vec<Place>>),
    /// The key of an admin's current generation in a realm; `None` without the identity.
    Key(AdminName, RealmName, oneshot::Sender<Option<Secret>>),
    /// A host has seen a complete login with the generation that it has.
    Confirmed(SeenLogin, oneshot::Sender<()>),
    /// May this host of an equivalence class go on, and must it prove the change?
    Class(String, oneshot::Sender<ClassTurn>),
    /// How the proof of a class's change ended on the host whose turn it was.
    Proved(String, HostName, ProofEnd),
    /// The host is done.
    Done(Box<Finished>),
}

/// A host's turn within its equivalence class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassTurn {
    /// First of its class: prove by logins.
    Prove,
    /// The change was proved on another host of the class.
    Follow,
    /// The proof failed on that host: leave this one alone.
    Leave(HostName, String),
}

/// How the proof of a class's change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofEnd {
    /// Logins were as expected.
    Proved,
    /// Logins were not as expected: the class is left alone.
    Failed(String),
    /// It did not come to a proof: the next host of the class takes its turn.
    Undecided,
}

/// What a worker hands back.
#[derive(Debug)]
pub struct Finished {
    /// For people.
    pub report: HostReport,
    /// For the ledger.
    pub host: HostObservation,
    /// For the ledger.
    pub tokens: Vec<TokenHostObservation>,
}

/// Works on one host; never fails, the report says what happened.
pub async fn work(job: Job, shared: Arc<Shared>, desk: mpsc::Sender<Ask>, turn: Turn) {
    let name = job.name.clone();
    let mut worker = Worker {
        report: HostReport::new(name.clone(), Status::Ok),
        job,
        shared,
        desk: desk.clone(),
        members: Vec::new(),
        gaps_of_desk: Vec::new(),
        turn,
        read_at: Timestamp::default(),
    };
    let mut observed = None;
    let result = match Session::open(worker.job.target.clone(), &worker.shared.control).await {
        Ok(session) => {
            let result = worker.steps(&session).await;
            session.close().await;
            result
        }
        Err(error) => Err(error.into()),
    };
    let at = worker.shared.clock.now();
    let outcome = match result {
        Ok(seen) => {
            observed = Some(seen);
            HostOutcome::Read
        }
        Err(Stop::Unreachable(why)) => {
            worker.report.status = Status::Unreachable(why.clone());
            HostOutcome::Unreachable(why)
        }
        Err(Stop::Failed(why)) => {
            worker.report.status = Status::Failed(why.clone());
            HostOutcome::Failed(why)
        }
        Err(Stop::Interrupted) => {
            worker.report.status = Status::Skipped;
            HostOutcome::Failed("interrupted".to_owned())
        }
    };
    let mut host = HostObservation::new(name, at, outcome);
    let mut tokens = Vec::new();
    if let Some(seen) = &observed {
        host.machine_id.clone_from(&seen.facts.machine_id);
        host.class = Some(class_of(&seen.facts));
        host.config_hash.clone_from(&seen.config_hash);
        host.facts = serde_json::to_value(Memory::from_facts(&seen.facts)).ok();
        tokens = worker.observations(&seen.facts, at);
    }
    // The dispatcher only goes away when the whole run does.
    drop(
        desk.send(Ask::Done(Box::new(Finished {
            report: worker.report,
            host,
            tokens,
        })))
        .await,
    );
}

/// Why the work on a host ended early.
#[derive(Debug)]
enum Stop {
    Unreachable(String),
    Failed(String),
    Interrupted,
}

impl From<FleetError> for Stop {
    fn from(error: FleetError) -> Self {
        let mut text = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            text = format!("{text}: {cause}");
        }
        if error.is_unreachable() {
            Self::Unreachable(text)
        } else {
            Self::Failed(text)
        }
    }
}

impl From<ReplyError> for Stop {
    fn from(error: ReplyError) -> Self {
        FleetError::from(error).into()
    }
}

/// What was last read on a host.
struct Seen {
    facts: Facts,
    config_hash: Option<String>,
}

struct Worker {
    job: Job,
    shared: Arc<Shared>,
    desk: mpsc::Sender<Ask>,
    report: HostReport,
    members: Vec<Member>,
    gaps_of_desk: Vec<Gap>,
    turn: Turn,
    read_at: Timestamp,
}

impl Worker {
    async fn steps(&mut self, session: &Session) -> Result<Seen, Stop> {
        let mut facts = self
            .inspect(session, false, self.job.memory.judged_hash.clone())
            .await?;
        if let Some(id) = self.own_abandoned_change(&facts) {
            // Left by a run of this project that is no more: this run holds the lock.
            prove::take_back(session, &id).await?;
            facts = self.inspect(session, false, None).await?;
        }
        self.take_in_confirmations(&facts).await?;
        self.members = self.members_wished().await?;
        // Whoever only looks at secrets has not judged sshd.
        let mut judged = if self.shared.parts.host || facts.judged_before {
            facts.config_hash.clone()
        } else {
            None
        };
        let mut attempt = 1;
        loop {
            let plan = self.plan(session, &mut facts).await?;
            self.report.findings.clone_from(&plan.findings);
            self.report.gaps = self
                .gaps_of_desk
                .iter()
                .cloned()
                .chain(plan.gaps.iter().cloned())
                .collect();
            if let Some(finding) = plan
                .findings
                .iter()
                .find(|f| f.severity == Severity::Refusal)
            {
                return Err(Stop::Failed(format!("{} ({})", finding.text, finding.id)));
            }
            if self.shared.check {
                self.report.changes.extend(
                    plan.changes
                        .iter()
                        .map(|(part, change)| shown(*part, change)),
                );
                self.predict_enforcement(&facts, &plan);
                return Ok(Seen {
                    facts,
                    config_hash: None,
                });
            }
            if plan.is_empty() {
                break;
            }
            if self.shared.stopping() {
                return Err(Stop::Interrupted);
            }
            match self.apply(session, &facts, &plan).await {
                Ok(done) => {
                    self.report.changes.extend(
                        plan.changes
                            .iter()
                            .map(|(part, change)| shown(*part, change)),
                    );
                    judged = done.config_hash;
                    facts = self
                        .inspect(session, self.demand_due(&facts), judged.clone())
                        .await?;
                    break;
                }
                Err(Fault::Changed(why)) if attempt < ATTEMPTS => {
                    // A login or another tool was faster: read again, never overwrite.
                    attempt += 1;
                    tracing::debug!(host = %self.job.name, %why, "the host changed; reading it again");
                    facts = self.inspect(session, false, None).await?;
                }
                Err(Fault::Changed(why) | Fault::Proof(why)) => return Err(Stop::Failed(why)),
                Err(Fault::Stop(stop)) => return Err(stop),
            }
        }
        if self.shared.parts.secrets && self.demand_due(&facts) {
            judged = self.enforce(session, &mut facts).await?.or(judged);
        }
        Ok(Seen {
            facts,
            config_hash: judged,
        })
    }

    async fn inspect(
        &mut self,
        session: &Session,
        keys: bool,
        judged_hash: Option<String>,
    ) -> Result<Facts, Stop> {
        let logins: Vec<Login> = self.job.seats.iter().map(|s| s.login.clone()).collect();
        let mut users: Vec<Login> = self
            .shared
            .protected
            .iter()
            .filter(|l| !logins.contains(l))
            .cloned()
            .collect();
        if let Some(login) = self
            .job
            .target
            .connecting_login()
            .filter(|l| !users.contains(l) && !logins.contains(l))
        {
            users.push(login);
        }
        let evidence = if self.shared.evidence {
            logins.clone()
        } else {
            Vec::new()
        };
        let memory = &self.job.memory;
        let version = if memory.version.is_empty() {
            "-"
        } else {
            &memory.version
        };
        let wanted = Inspect {
            logins,
            users,
            evidence,
            keys,
            judged: judged_hash.map(|hash| Judged {
                hash,
                version: version.to_owned(),
            }),
            seen: memory
                .states
                .iter()
                .map(|(file, (sum, _))| (file.clone(), sum.clone()))
                .collect(),
        };
        let answer = session
            .exec(Request::inspect(&wanted), self.shared.limit(INSPECT))
            .await?;
        // Whatever takes its time later: the host's clock is compared with the time when it was read.
        self.read_at = self.shared.clock.now();
        let mut facts = parse::facts(&answer)?;
        for ((slot, login), state) in &mut facts.states {
            if state.secret_sha256 == SEEN {
                let known = memory.states.get(&format!("{}/{login}", slot.as_str()));
                state.secret_sha256 = known
                    .map(|(_, fingerprint)| fingerprint.clone())
                    .unwrap_or_default();
            }
        }
        Ok(facts)
    }

    fn own_abandoned_change(&self, facts: &Facts) -> Option<String> {
        let mine = format!("{}-", self.shared.project);
        (!self.shared.check)
            .then(|| {
                facts
                    .open_changes
                    .iter()
                    .find(|id| id.starts_with(&mine))
                    .cloned()
            })
            .flatten()
    }

    async fn take_in_confirmations(&self, facts: &Facts) -> Result<(), Stop> {
        if !self.shared.evidence || self.shared.check {
            return Ok(());
        }
        for seat in &self.job.seats {
            let period = i64::try_from(seat.realm.policy.period.as_secs()).unwrap_or(30);
            let Some(step) = confirmed_step(facts, &seat.login, period, self.shared.clock.now())
            else {
                continue;
            };
            let state = facts.states.get(&(Slot::Current, seat.login.clone()));
            let Some((state, stamp)) = state.and_then(|s| Some((s, Stamp::of(s)?))) else {
                continue;
            };
            if stamp.project != self.shared.project {
                continue;
            }
            let (reply, answer) = oneshot::channel();
            let seen = SeenLogin {
                admin: seat.admin.name.clone(),
                realm: seat.realm.name.clone(),
                host: self.job.name.clone(),
                serial: stamp.serial,
                generation: stamp.generation,
                secret_sha256: state.secret_sha256.clone(),
                step,
            };
            self.ask(Ask::Confirmed(seen, reply)).await?;
            answer.await.map_err(|_| Stop::Interrupted)?;
        }
        Ok(())
    }

    async fn members_wished(&mut self) -> Result<Vec<Member>, Stop> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Places(self.job.seats.clone(), reply)).await?;
        let places = answer.await.map_err(|_| Stop::Interrupted)?;
        let mut members = Vec::with_capacity(places.len());
        for (seat, place) in self.job.seats.iter().zip(places) {
            let token = match place {
                Place::Token(token) => Some(token),
                Place::Nothing => None,
                Place::Gap(id, text) => {
                    self.gaps_of_desk.push(Gap {
                        login: seat.login.to_string(),
                        id,
                        text,
                    });
                    None
                }
            };
            members.push(Member {
                admin: seat.admin.name.clone(),
                login: seat.login.clone(),
                realm: seat.realm.name.clone(),
                policy: seat.realm.policy.clone(),
                token,
            });
        }
        Ok(members)
    }

    fn wish(&self, facts: &Facts) -> Wish {
        let connecting = facts
            .connecting_login
            .as_deref()
            .and_then(|l| Login::new(l).ok());
        Wish {
            project: self.shared.project.clone(),
            protected: self
                .shared
                .protected
                .iter()
                .cloned()
                .chain(connecting)
                .chain(self.job.target.connecting_login())
                .collect(),
            members: self.members.clone(),
            parts: self.shared.parts,
            can_confirm: self.job.target.can_confirm(),
            now: self.read_at,
            revert_after: self.shared.revert_after,
        }
    }

    /// Plans; asks for keys and for a closer look where the plan needs them.
    async fn plan(&mut self, session: &Session, facts: &mut Facts) -> Result<HostPlan, Stop> {
        let mut plan = host_plan(facts, &self.wish(facts));
        if facts.judged_before && plan.needs_transaction() {
            // What was judged before was not read again, and a change needs to know it.
            *facts = self.inspect(session, false, None).await?;
            plan = host_plan(facts, &self.wish(facts));
        }
        if plan.gaps.iter().any(|g| g.id == KEYS_UNKNOWN) {
            *facts = self.inspect(session, true, None).await?;
            plan = host_plan(facts, &self.wish(facts));
        }
        let logins: BTreeSet<String> = plan
            .gaps
            .iter()
            .filter(|g| g.id == NEEDS_KEY)
            .map(|g| g.login.clone())
            .collect();
        if logins.is_empty() {
            return Ok(plan);
        }
        for index in 0..self.members.len() {
            let Some(member) = self
                .members
                .get(index)
                .filter(|m| logins.contains(m.login.as_str()))
            else {
                continue;
            };
            let (reply, answer) = oneshot::channel();
            self.ask(Ask::Key(member.admin.clone(), member.realm.clone(), reply))
                .await?;
            let key = answer.await.map_err(|_| Stop::Interrupted)?;
            if let Some(token) = self.members.get_mut(index).and_then(|m| m.token.as_mut()) {
                token.key = key;
            }
        }
        let plan = host_plan(facts, &self.wish(facts));
        if plan.gaps.iter().any(|g| g.id == KEYS_UNKNOWN) {
            *facts = self.inspect(session, true, None).await?;
            return Ok(host_plan(facts, &self.wish(facts)));
        }
        Ok(plan)
    }

    /// Returns whether a code is to be demanded of somebody of whom it is not yet.
    fn demand_due(&self, facts: &Facts) -> bool {
        let enforced = facts.members(GROUP_ENFORCED);
        let now = self.shared.clock.now();
        self.shared.parts.secrets
            && self.members.iter().any(|m| {
                m.token.as_ref().is_some_and(|t| enforce::wanted(m, t, now))
                    && !enforced.contains(m.login.as_str())
                    && facts.accounts.contains_key(&m.login)
            })
    }

    async fn apply(
        &mut self,
        session: &Session,
        facts: &Facts,
        plan: &HostPlan,
    ) -> Result<Applied, Fault> {
        let id = format!("{}-{}", self.shared.project, self.shared.run);
        let window = self.shared.revert_after.as_secs();
        if !plan.needs_transaction() {
            let request = request(
                facts,
                plan,
                &id,
                window,
                &self.shared.project,
                &self.shared.head,
                None,
            );
            return self.send(session, request).await;
        }
        let class = class_of(facts);
        let (reply, turn) = oneshot::channel();
        self.ask(Ask::Class(class.clone(), reply)).await?;
        let turn = self
            .turn
            .yield_while(turn)
            .await
            .map_err(|_| Stop::Interrupted)?;
        match turn {
            ClassTurn::Leave(host, why) => Err(Stop::Failed(format!(
                "left alone: the same change was not proved on {host}: {why}"
            ))
            .into()),
            ClassTurn::Follow => {
                let opened = self
                    .send(
                        session,
                        request(
                            facts,
                            plan,
                            &id,
                            window,
                            &self.shared.project,
                            &self.shared.head,
                            None,
                        ),
                    )
                    .await?;
                self.conclude(session, &id, opened, None).await
            }
            ClassTurn::Prove => {
                let result = self
                    .apply_and_prove(session, facts, plan, &id, window)
                    .await;
                let end = match &result {
                    Ok(_) => ProofEnd::Proved,
                    Err(Fault::Proof(why)) => ProofEnd::Failed(why.clone()),
                    Err(Fault::Changed(_) | Fault::Stop(_)) => ProofEnd::Undecided,
                };
                self.ask(Ask::Proved(class, self.job.name.clone(), end))
                    .await?;
                result
            }
        }
    }

    async fn apply_and_prove(
        &self,
        session: &Session,
        facts: &Facts,
        plan: &HostPlan,
        id: &str,
        window: u64,
    ) -> Result<Applied, Fault> {
        let groups = allowed_groups(facts).map_err(|f| Stop::Failed(f.text))?;
        let pair = CanaryKey::generate(&self.shared.control)
            .await
            .map_err(Stop::from)?;
        let proof = Proof {
            pair,
            key: key::generate(self.shared.entropy.as_ref())
                .map_err(|e| Stop::Failed(e.to_string()))?,
        };
        let policy = self.job.realm.policy.clone();
        let canary = Canary {
            public_key: proof.pair.public(),
            key: &proof.key,
            policy: &policy,
            groups,
            logins: self.job.seats.iter().map(|s| s.login.clone()).collect(),
        };
        let opened = self
            .send(
                session,
                request(
                    facts,
                    plan,
                    id,
                    window,
                    &self.shared.project,
                    &self.shared.head,
                    Some(&canary),
                ),
            )
            .await?;
        self.conclude(session, id, opened, Some((&proof, &policy)))
            .await
    }

    /// Confirms what the host has opened, or has it taken back.
    async fn conclude(
        &self,
        session: &Session,
        id: &str,
        opened: Applied,
        proof: Option<(&Proof, &crate::inventory::model::Policy)>,
    ) -> Result<Applied, Fault> {
        self.shared.pause_for_tests("opened").await;
        match prove::confirm(session, id, proof, self.shared.clock.as_ref()).await {
            Ok(_) => Ok(opened),
            Err(error) => {
                // Asking for longer than the window is of no use: then the host has reverted by itself.
                let window = self.shared.revert_after;
                let asked = tokio::time::timeout(window, prove::take_back(session, id)).await;
                let by_itself = format!(
                    "the host reverts the change by itself within {} s",
                    window.as_secs()
                );
                match asked {
                    Ok(Ok(())) => Err(Fault::Proof(format!("{error}; it has been reverted"))),
                    Ok(Err(back)) if !back.is_unreachable() => {
                        Err(Fault::Proof(format!("{error}; {by_itself}")))
                    }
                    Ok(Err(_)) | Err(_) => Err(Stop::Unreachable(format!(
                        "lost before the change was confirmed ({error}); {by_itself}"
                    ))
                    .into()),
                }
            }
        }
    }

    async fn send(&self, session: &Session, request: Request) -> Result<Applied, Fault> {
        let answer = session
            .exec(request, self.shared.limit(APPLY))
            .await
            .map_err(Stop::from)?;
        match applied(&answer) {
            Ok(done) => Ok(done),
            Err(ReplyError::Failed { code, what }) if code == "changed" => {
                Err(Fault::Changed(what))
            }
            Err(error) => Err(Stop::from(error).into()),
        }
    }

    async fn enforce(
        &mut self,
        session: &Session,
        facts: &mut Facts,
    ) -> Result<Option<String>, Stop> {
        if facts.accounts.values().any(|a| a.keys.is_none()) {
            *facts = self.inspect(session, true, None).await?;
        }
        let enforcement = enforcement(facts, &self.wish(facts));
        // What the plan found is the cause; what follows from it needs no second gap.
        let new = |gap: &&Gap| self.report.gaps.iter().all(|g| g.login != gap.login);
        let gaps: Vec<Gap> = enforcement.gaps.iter().filter(new).cloned().collect();
        self.report.gaps.extend(gaps);
        if enforcement.changes.is_empty() {
            return Ok(None);
        }
        if self.shared.stopping() {
            return Err(Stop::Interrupted);
        }
        let request =
            enforcement_request(facts, &enforcement, &self.shared.project, &self.shared.head);
        let done = match self.send(session, request).await {
            Ok(done) => done,
            Err(Fault::Stop(stop)) => return Err(stop),
            Err(Fault::Changed(why) | Fault::Proof(why)) => {
                return Err(Stop::Failed(format!("{why}; run again")));
            }
        };
        self.report.changes.extend(
            enforcement
                .changes
                .iter()
                .map(|c| shown(Part::Enforcement, c)),
        );
        self.report
            .enforced
            .extend(enforcement.logins.iter().cloned());
        *facts = self
            .inspect(session, false, done.config_hash.clone())
            .await?;
        Ok(done.config_hash)
    }

    /// Says in `--check` whose code would be demanded, as far as can be told before anything is written.
    fn predict_enforcement(&mut self, facts: &Facts, plan: &HostPlan) {
        let enforced = facts.members(GROUP_ENFORCED);
        let now = self.shared.clock.now();
        for member in &self.members {
            let wanted = member
                .token
                .as_ref()
                .is_some_and(|t| enforce::wanted(member, t, now));
            let login = member.login.as_str();
            if wanted
                && self.shared.parts.secrets
                && !enforced.contains(login)
                && !plan.gaps.iter().any(|g| g.login == login)
            {
                self.report.changes.push(ShownChange {
                    part: Some(Part::Enforcement),
                    summary: format!(
                        "group {GROUP_ENFORCED}: +{login}, once its secret was read back"
                    ),
                    diff: format!(
                        "group {GROUP_ENFORCED}: +{login}, once its secret was read back\n"
                    ),
                });
            }
        }
    }

    /// Turns what was last read into the ledger's rows.
    fn observations(&self, facts: &Facts, at: Timestamp) -> Vec<TokenHostObservation> {
        let (enforced, exempt) = (facts.members(GROUP_ENFORCED), facts.members(GROUP_EXEMPT));
        let mut rows = Vec::new();
        for member in &self.members {
            let Some(serial) = member.token.as_ref().and_then(|t| t.serial.parse().ok()) else {
                continue;
            };
            let login = member.login.as_str();
            let generation = |slot| {
                let stamp = facts
                    .states
                    .get(&(slot, member.login.clone()))
                    .and_then(Stamp::of)?;
                u32::try_from(stamp.generation).ok()
            };
            let gap = self.report.gaps.iter().find(|g| g.login == login);
            let state = if !facts.accounts.contains_key(&member.login) {
                TokenHostState::NoAccount
            } else if enforced.contains(login) {
                TokenHostState::Enforced
            } else if exempt.contains(login) {
                TokenHostState::Exempt
            } else if gap.is_some() {
                TokenHostState::Gap
            } else if generation(Slot::Current).is_some() {
                TokenHostState::Staged
            } else {
                TokenHostState::Absent
            };
            rows.push(TokenHostObservation {
                serial,
                host: self.job.name.clone(),
                login: member.login.clone(),
                state,
                reason: gap.map(|g| g.text.clone()),
                current: generation(Slot::Current),
                next: generation(Slot::Next),
                at,
            });
        }
        rows
    }

    async fn ask(&self, ask: Ask) -> Result<(), Stop> {
        self.desk.send(ask).await.map_err(|_| Stop::Interrupted)
    }
}

/// Why an apply did not succeed.
enum Fault {
    /// The host is not as it was read: read again and plan again.
    Changed(String),
    /// The change was not proved and is taken back.
    Proof(String),
    /// Anything else.
    Stop(Stop),
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

fn shown(part: Part, change: &Change) -> ShownChange {
    ShownChange {
        part: Some(part),
        summary: change.summary(),
        diff: difference(change),
    }
}

/// Hosts with the same sshd, options, configuration, PAM text and module take a change alike.
fn class_of(facts: &Facts) -> String {
    let mut text = format!("{} {:?}\n", facts.version_text, facts.os);
    for listener in &facts.listeners {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{} {}", listener.config, listener.options);
    }
    _ = writeln!(text, "{:?}", facts.module_sha256);
    for (path, file) in &facts.files {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{path} {}", file.sha256);
    }
    crate::token::secret::fingerprint_of(text.as_bytes())
}

/// Adds a finding to a report, used by the dispatcher for what only it can see.
pub fn note(report: &mut HostReport, id: &'static str, text: String, remedy: &'static str) {
    report.findings.push(Finding::note(id, text, remedy));
}
