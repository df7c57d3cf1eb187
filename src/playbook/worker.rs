//! The work on one host: inspect, plan, apply, prove, enforce, read back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::clock::Timestamp;
use crate::fleet::FleetError;
use crate::fleet::session::Session;
use crate::host::facts::Facts;
use crate::host::parse;
use crate::host::request::{Inspect, Judged, Request};
use crate::inventory::model::PolicyScope;
use crate::ledger::{HostObservation, HostOutcome, ItemReading};
use crate::names::{AdminName, Login, RealmName};
use crate::plan::change::{Change, GROUP_ENFORCED, HostPlan, Part};
use crate::plan::decide::host_plan;
use crate::plan::diff::difference;
use crate::plan::enforce::{self, enforcement};
use crate::plan::everyone::ACCOUNTS_UNREAD;
use crate::plan::finding::{Finding, Gap, KEYS_UNKNOWN, NEEDS_KEY, Severity};
use crate::plan::preflight::{self, Asked};
use crate::plan::wish::{Member, Wish};
use crate::playbook::apply::enforcement_request;
use crate::playbook::behind;
use crate::playbook::desk::{KeyFound, Place};
use crate::playbook::engine::{Shared, Turn};
use crate::playbook::job::{Ask, Finished, Job, Memory};
use crate::playbook::observe::{class_of, observations};
use crate::playbook::outcome::{HostReport, ShownChange, Skip, Status};
use crate::playbook::prove;
use crate::playbook::stop::{Fault, Stop};
use crate::playbook::times::Phase;
use crate::playbook::weakness::weaknesses;
use crate::token::id::Generation;

/// How long reading a host may take.
const INSPECT: Duration = Duration::from_secs(60);
/// How often a host that changed under us is read and planned again.
const ATTEMPTS: u32 = 3;

/// What the host says of a secret whose file has not changed since it was last looked at.
const SEEN: &str = "seen";

/// Works on one host; never fails, the report says what happened.
pub async fn work(job: Job, shared: Arc<Shared>, desk: mpsc::Sender<Ask>, turn: Turn) {
    let name = job.name.clone();
    let mut worker = Worker {
        report: HostReport::new(name.clone(), Status::Ok),
        job,
        shared,
        desk: desk.clone(),
        members: Vec::new(),
        known: BTreeSet::new(),
        others: BTreeSet::new(),
        gaps_of_desk: Vec::new(),
        turn,
        asked_at: Timestamp::default(),
        read_at: Timestamp::default(),
        readings: Vec::new(),
    };
    let mut observed = None;
    let mut dropped = None;
    let result = match worker.open().await {
        Ok(session) => {
            dropped = session.dropped().map(|(n, by)| (n, by.to_owned()));
            worker.shared.pause_for_tests("connected").await;
            let result = worker.steps(&session).await;
            session.close().await;
            result
        }
        Err(stop) => Err(stop),
    };
    let at = worker.shared.clock.now();
    let outcome = match result {
        Ok(seen) => {
            observed = Some(seen);
            Some(HostOutcome::Read)
        }
        Err(Stop::Unreachable(why)) => {
            worker.report.status = Status::Unreachable(why.clone());
            Some(HostOutcome::Unreachable(why))
        }
        Err(Stop::NotTried(status)) => {
            worker.report.status = status;
            None
        }
        Err(Stop::Failed(why)) => {
            worker.report.status = Status::Failed(why.clone());
            Some(HostOutcome::Failed(why))
        }
        Err(Stop::Interrupted) => {
            worker.report.status = Status::Skipped(Skip::Interrupted);
            Some(HostOutcome::Failed("interrupted".to_owned()))
        }
    };
    let mut host = outcome.map(|outcome| HostObservation::new(name, at, outcome));
    worker.leave_open();
    worker.tell_of_drops(dropped);
    let mut tokens = Vec::new();
    if let (Some(seen), Some(host)) = (&observed, &mut host) {
        host.machine_id.clone_from(&seen.facts.machine_id);
        host.host_key = seen.facts.host_keys.first().cloned();
        host.connection = Some(worker.job.target.record());
        host.class = Some(class_of(&seen.facts));
        host.config_hash.clone_from(&seen.config_hash);
        host.weaknesses = weaknesses(&seen.facts).and_then(|w| serde_json::to_value(w).ok());
        host.facts = serde_json::to_value(Memory::from_facts(&seen.facts)).ok();
        tokens = observations(
            &worker.job.name,
            &worker.members,
            &worker.report.gaps,
            &seen.facts,
            at,
        );
    }
    // The dispatcher only goes away when the whole run does.
    drop(
        desk.send(Ask::Done(Box::new(Finished {
            report: worker.report,
            host,
            tokens,
            readings: worker.readings,
            turn: Some(worker.turn),
        })))
        .await,
    );
}

/// What was last read on a host.
struct Seen {
    facts: Facts,
    config_hash: Option<String>,
}

/// A worker and what it has found out.
pub(super) struct Worker {
    pub(super) job: Job,
    pub(super) shared: Arc<Shared>,
    desk: mpsc::Sender<Ask>,
    pub(super) report: HostReport,
    pub(super) members: Vec<Member>,
    /// Logins that are no strangers in the group, with or without a token.
    known: BTreeSet<Login>,
    /// Every other account, where nobody who can log in may be overlooked.
    others: BTreeSet<Login>,
    pub(super) gaps_of_desk: Vec<Gap>,
    pub(super) turn: Turn,
    asked_at: Timestamp,
    pub(super) read_at: Timestamp,
    pub(super) readings: Vec<ItemReading>,
}

impl Worker {
    /// Looks up what earlier runs know about the host, and connects.
    async fn open(&mut self) -> Result<Session, Stop> {
        let known = self.shared.ledger.host(&self.job.name).await;
        let known = known.map_err(|e| Stop::Failed(e.to_string()))?;
        self.job.memory = known.as_ref().map(Memory::of).unwrap_or_default();
        let mut target = self.job.target.clone();
        target.doubtful = self.job.memory.away;
        let since = Instant::now();
        let opened = Session::open(target, &self.shared.control, &self.shared.fanout).await;
        self.report.times.add(Phase::Connect, since);
        opened.map_err(|error| match error {
            FleetError::Interrupted => Stop::NotTried(Status::Skipped(Skip::Interrupted)),
            error => error.into(),
        })
    }

    async fn steps(&mut self, session: &Session) -> Result<Seen, Stop> {
        // Whoever only asks what could go wrong is told all of it, whatever was judged before.
        let only_preflight = self.job.conditions.only_preflight();
        let judged = self.job.memory.judged_hash.clone();
        let mut facts = self
            .inspect(session, only_preflight, judged.filter(|_| !only_preflight))
            .await?;
        let behind = behind::refusal(&facts, &self.shared).await;
        if let Some(finding) = behind.map_err(|e| Stop::Failed(e.to_string()))? {
            let why = format!("{} ({})", finding.text, finding.id);
            self.report.findings.push(finding);
            return Err(Stop::Failed(why));
        }
        if let Some(id) = self.shared.abandoned(&facts).await? {
            prove::take_back(session, &id).await?;
            facts = self.inspect(session, false, None).await?;
        }
        let settled = self.job.conditions.settle(&facts);
        self.report
            .left_out
            .clone_from(&self.job.conditions.skipped);
        settled.map_err(|e| Stop::Failed(e.to_string()))?;
        if !self.job.conditions.is_wanted() {
            return Ok(Seen {
                config_hash: facts.config_hash.clone().filter(|_| facts.judged_before),
                facts,
            });
        }
        if !self.job.conditions.leavers {
            self.job.leavers.clear();
        }
        // First: whatever else is wrong on this host must not hold it up.
        if !self.job.leavers.is_empty() {
            facts = self.revoke(session, facts).await?;
            if self.job.only_leavers {
                return Ok(Seen {
                    config_hash: facts.config_hash.clone().filter(|_| facts.judged_before),
                    facts,
                });
            }
        }
        self.shared.pause_for_tests("read").await;
        self.take_in_confirmations(&facts).await?;
        self.members = self.members_wished().await?;
        self.shared.pause_for_tests("issued").await;
        if self.take_in_promotions(&facts).await? {
            self.members = self.members_wished().await?;
        }
        self.known = self.known_logins(&facts).await?;
        // Whoever only looks at secrets has not judged sshd.
        let mut judged = if self.wish(&facts).parts.host || facts.judged_before {
            facts.config_hash.clone()
        } else {
            None
        };
        let warnings = self.preflight(&facts);
        let mut attempt = 1;
        loop {
            let mut plan = self.plan(session, &mut facts).await?;
            if let Some(tool) = &self.job.takes_over {
                tool.bring(&facts, &mut plan);
            }
            if self.job.conditions.only_preflight() {
                (plan.findings, plan.gaps) = preflight::dry(&facts, &self.wish(&facts));
            }
            plan.findings.extend(warnings.iter().cloned());
            self.report.findings = plan.findings.clone().into();
            if self.keeps_rollback() {
                self.report.findings.push(Finding::note(
                    "rolled-back",
                    "its PAM and sshd text was rolled back and is left as it is",
                    "bring it again by a playbook with the task pam_totp, or by enroll",
                ));
            }
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
            if self.revoked_meanwhile().await? {
                continue;
            }
            self.begin_nothing_more()?;
            match self.apply(session, &facts, &plan).await {
                Ok(done) => {
                    self.report.changes.extend(
                        plan.changes
                            .iter()
                            .map(|(part, change)| shown(*part, change)),
                    );
                    judged = done.config_hash;
                    self.job.memory.wrote(&plan);
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
        if self.job.conditions.parts.secrets && self.demand_due(&facts) {
            judged = self.enforce(session, &mut facts).await?.or(judged);
        }
        Ok(Seen {
            facts,
            config_hash: judged,
        })
    }

    /// Looks at the host as a whole, where the play asks for it.
    fn preflight(&mut self, facts: &Facts) -> Vec<Finding> {
        if !self.job.conditions.preflight {
            return Vec::new();
        }
        let asked = Asked {
            from: self.asked_at,
            to: self.read_at,
        };
        self.report.overview = Some(preflight::overview(facts, asked));
        preflight::warnings(facts, &self.wish(facts), asked)
    }

    /// Says how often sshd dropped the connection before it let it be.
    fn tell_of_drops(&mut self, dropped: Option<(usize, String)>) {
        if let Some((times, by)) = dropped {
            self.report.findings.push(Finding::note(
                "dropped-before-login",
                format!("{by} dropped the connection {times} times before anyone was authenticated"),
                "let its sshd take more (MaxStartups), exempt this address from PerSourcePenalties, or use fewer --forks",
            ));
        }
    }

    pub(super) async fn inspect(
        &mut self,
        session: &Session,
        keys: bool,
        judged_hash: Option<String>,
    ) -> Result<Facts, Stop> {
        let seats: Vec<Login> = self.job.seats.iter().map(|s| s.login.clone()).collect();
        let leavers: Vec<Login> = self
            .job
            .leavers
            .iter()
            .map(|l| l.leaver.login.clone())
            .collect();
        let mut logins = seats.clone();
        logins.extend(leavers.iter().filter(|l| !seats.contains(l)).cloned());
        let known: BTreeSet<Login> = logins.iter().cloned().collect();
        logins.extend(self.others.difference(&known).cloned());
        let exempt = &self.job.exempt;
        let protected = &self.shared.protected;
        let mut users: Vec<Login> = protected
            .union(exempt)
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
            seats
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
            leavers,
            users,
            evidence,
            keys,
            everyone: self.job.realm.policy.scope == PolicyScope::Everyone,
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
        self.asked_at = self.shared.clock.now();
        let since = Instant::now();
        let answer = session
            .exec(Request::inspect(&wanted), self.shared.limit(INSPECT))
            .await;
        self.report.times.add(Phase::Read, since);
        let answer = answer?;
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
        self.job.memory.learn(&facts);
        if let Some(tool) = &self.job.takes_over {
            tool.disregard(&mut facts);
        }
        Ok(facts)
    }

    async fn members_wished(&mut self) -> Result<Vec<Member>, Stop> {
        self.gaps_of_desk.clear();
        let (reply, answer) = oneshot::channel();
        let since = Instant::now();
        self.ask(Ask::Places(self.job.seats.clone(), reply)).await?;
        let places = answer.await.map_err(|_| Stop::Interrupted)?;
        self.report.times.add(Phase::Issue, since);
        let mut members = Vec::with_capacity(places.len());
        for (seat, place) in self.job.seats.iter().zip(places) {
            let token = match place {
                Place::Token(token) => Some(*token),
                Place::Nothing => None,
                // What is left of those who go is told by itself.
                Place::Gap("revoked", _)
                    if self
                        .job
                        .leavers
                        .iter()
                        .any(|l| l.leaver.login == seat.login) =>
                {
                    None
                }
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

    /// Accounts that must keep their way in.
    pub(super) fn protected(&self, facts: &Facts) -> BTreeSet<Login> {
        self.shared.protected_on(&self.job.target, facts)
    }

    /// Logins that are no strangers. The ledger is asked only where the inventory does not know a member.
    async fn known_logins(&self, facts: &Facts) -> Result<BTreeSet<Login>, Stop> {
        let seats = self.job.seats.iter().map(|s| &s.login);
        let mut known: BTreeSet<Login> = seats.chain(self.job.others.iter()).cloned().collect();
        let members = facts.members(GROUP_ENFORCED);
        if members
            .iter()
            .any(|m| known.iter().all(|l| l.as_str() != m))
        {
            let seen = self.shared.ledger.logins_on(&self.job.name).await;
            known.extend(seen.map_err(|e| Stop::Failed(e.to_string()))?);
        }
        Ok(known)
    }

    /// Whether the host's text was rolled back, and stays so in this run.
    fn keeps_rollback(&self) -> bool {
        self.shared.keeps_rollbacks && self.job.memory.rolled_back
    }

    fn wish(&self, facts: &Facts) -> Wish {
        let mut parts = self.job.conditions.parts;
        // Every host that a change was made on has its witness.
        parts.host &= !self.shared.prepared_only || facts.witness.is_some();
        parts.host &= !self.keeps_rollback();
        Wish {
            project: self.shared.project.clone(),
            protected: self.protected(facts),
            module: self.job.realm.policy.module,
            window: self.job.realm.policy.window,
            members: self.members.clone(),
            known: self.known.clone(),
            exempt: self.job.exempt.clone(),
            parts,
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
        if plan.findings.iter().any(|f| f.id == ACCOUNTS_UNREAD) {
            let all = facts.unmanaged.iter().filter_map(|l| Login::new(l).ok());
            self.others.extend(all);
            *facts = self.inspect(session, true, None).await?;
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
            let member = member.clone();
            let Some(token) = member.token else { continue };
            let mut missing = Vec::new();
            if token.key.is_none() {
                missing.push(token.generation);
            }
            if let Some(next) = token.next.as_ref().filter(|n| n.key.is_none()) {
                missing.push(next.generation);
            }
            for generation in missing {
                let (admin, realm) = (member.admin.clone(), member.realm.clone());
                let found = self.key(admin, realm, generation).await?;
                let lost = matches!(found, KeyFound::Lost);
                let key = match found {
                    KeyFound::Key(key) => Some(key),
                    KeyFound::NeedsIdentity | KeyFound::Lost => None,
                };
                let Some(token) = self.members.get_mut(index).and_then(|m| m.token.as_mut()) else {
                    continue;
                };
                match token.next.as_mut() {
                    Some(next) if next.generation == generation => {
                        (next.key, next.key_lost) = (key, lost);
                    }
                    _ => (token.key, token.key_lost) = (key, lost),
                }
            }
        }
        let plan = host_plan(facts, &self.wish(facts));
        if plan.gaps.iter().any(|g| g.id == KEYS_UNKNOWN) {
            *facts = self.inspect(session, true, None).await?;
            return Ok(host_plan(facts, &self.wish(facts)));
        }
        Ok(plan)
    }

    async fn key(
        &self,
        admin: AdminName,
        realm: RealmName,
        generation: i64,
    ) -> Result<KeyFound, Stop> {
        let Ok(generation) = Generation::try_from(generation) else {
            return Ok(KeyFound::Lost);
        };
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Key(admin, realm, generation, reply)).await?;
        answer.await.map_err(|_| Stop::Interrupted)
    }

    /// Returns whether a code is to be demanded of somebody of whom it is not yet.
    fn demand_due(&self, facts: &Facts) -> bool {
        let enforced = facts.members(GROUP_ENFORCED);
        let now = self.shared.clock.now();
        self.job.conditions.parts.secrets
            && self.members.iter().any(|m| {
                m.token.as_ref().is_some_and(|t| enforce::wanted(m, t, now))
                    && !enforced.contains(m.login.as_str())
                    && facts.accounts.contains_key(&m.login)
            })
    }

    async fn enforce(
        &mut self,
        session: &Session,
        facts: &mut Facts,
    ) -> Result<Option<String>, Stop> {
        if facts.accounts.values().any(|a| a.keys.is_none()) {
            *facts = self.inspect(session, true, None).await?;
        }
        self.shared.pause_for_tests("enforcing").await;
        let enforcement = enforcement(facts, &self.wish(facts));
        // What the plan found is the cause; what follows from it needs no second gap.
        let new = |gap: &&Gap| self.report.gaps.iter().all(|g| g.login != gap.login);
        let gaps: Vec<Gap> = enforcement.gaps.iter().filter(new).cloned().collect();
        self.report.gaps.extend(gaps);
        if enforcement.changes.is_empty() {
            return Ok(None);
        }
        self.begin_nothing_more()?;
        let request = enforcement_request(facts, &enforcement, self.shared.witness().await?);
        let done = match self.send(session, request).await {
            Ok(done) => done,
            Err(Fault::Stop(stop)) => return Err(stop),
            Err(Fault::Changed(why) | Fault::Proof(why)) => {
                return Err(Stop::Failed(format!("{why}; run again")));
            }
        };
        self.shared.pause_for_tests("enforced").await;
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

    /// A run that is to stop finishes what it has begun, and changes nothing else.
    pub(super) fn begin_nothing_more(&self) -> Result<(), Stop> {
        if self.shared.stopping() {
            return Err(Stop::Interrupted);
        }
        Ok(())
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
                && self.job.conditions.parts.secrets
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

    /// Tells the dispatcher something.
    pub(super) async fn ask(&self, ask: Ask) -> Result<(), Stop> {
        self.desk.send(ask).await.map_err(|_| Stop::Interrupted)
    }
}

pub(super) fn shown(part: Part, change: &Change) -> ShownChange {
    ShownChange {
        part: Some(part),
        summary: change.summary(),
        diff: difference(change),
    }
}

/// Adds a finding to a report, used by the dispatcher for what only it can see.
pub fn note(report: &mut HostReport, id: &'static str, text: String, remedy: &'static str) {
    report.findings.push(Finding::note(id, text, remedy));
}
