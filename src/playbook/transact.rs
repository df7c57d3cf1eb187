//! Making a planned change on a host: sent, proved by logins once per class of hosts, confirmed or taken back.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::fleet::session::Session;
use crate::host::facts::Facts;
use crate::host::reply::{Applied, ReplyError, applied};
use crate::host::request::Request;
use crate::plan::change::HostPlan;
use crate::playbook::apply::{Canary, request};
use crate::playbook::job::{Ask, ClassTurn, ProofEnd};
use crate::playbook::journal;
use crate::playbook::logins::{Proof, Table, Verification};
use crate::playbook::observe::class_of_change;
use crate::playbook::prove;
use crate::playbook::stop::{Fault, Stop};
use crate::playbook::times::Phase;
use crate::playbook::worker::Worker;

/// How long changing a host may take; package managers are slow.
const APPLY: Duration = Duration::from_secs(300);

impl Worker {
    /// Makes the change of a plan.
    pub(super) async fn apply(
        &mut self,
        session: &Session,
        facts: &Facts,
        plan: &HostPlan,
    ) -> Result<Applied, Fault> {
        let id = self.shared.transaction();
        if !plan.needs_transaction() {
            let request = self.request(facts, plan, &id, None).await?;
            return self.send(session, request).await;
        }
        if self.job.conditions.proves_itself {
            return self.apply_and_prove(session, facts, plan, &id).await;
        }
        let class = class_of_change(facts, plan);
        let (reply, turn) = oneshot::channel();
        let since = Instant::now();
        self.ask(Ask::Class(class.clone(), reply)).await?;
        let turn = self
            .turn
            .yield_while(turn)
            .await
            .map_err(|_| Stop::Interrupted)?;
        self.report.times.add(Phase::Wait, since);
        match turn {
            ClassTurn::Leave(host, why) => Err(Stop::Failed(format!(
                "left alone: the same change was not proved on {host}: {why}"
            ))
            .into()),
            ClassTurn::Follow => {
                self.begin_nothing_more()?;
                self.note_texts(facts, plan).await?;
                let request = self.request(facts, plan, &id, None).await?;
                let opened = self.send(session, request).await?;
                self.conclude(session, &id, opened, None).await
            }
            ClassTurn::Prove => {
                let result = self.apply_and_prove(session, facts, plan, &id).await;
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
        &mut self,
        session: &Session,
        facts: &Facts,
        plan: &HostPlan,
        id: &str,
    ) -> Result<Applied, Fault> {
        let proof = Proof::make(&self.shared, &self.job.realm.policy, facts)
            .await
            .map_err(Stop::Failed)?;
        let logins = self.job.seats.iter().map(|s| s.login.clone());
        let canary =
            Canary::of(&proof, facts, logins.collect()).map_err(|f| Stop::Failed(f.text))?;
        self.note_texts(facts, plan).await?;
        let request = self.request(facts, plan, id, Some(&canary)).await?;
        let opened = self.send(session, request).await?;
        self.conclude(session, id, opened, Some(&proof)).await
    }

    /// Confirms what the host has opened, or has it taken back.
    async fn conclude(
        &mut self,
        session: &Session,
        id: &str,
        opened: Applied,
        proof: Option<&Proof>,
    ) -> Result<Applied, Fault> {
        self.shared.pause_for_tests("opened").await;
        let mut table = Table::default();
        let since = Instant::now();
        let confirmed = prove::confirm(session, id, proof, &self.shared, &mut table).await;
        let phase = if proof.is_some() {
            Phase::Prove
        } else {
            Phase::Confirm
        };
        self.report.times.add(phase, since);
        if proof.is_some() {
            let fault = confirmed.as_ref().err().map(ToString::to_string);
            self.report.verification = Some(Verification::of(table, fault));
        }
        match confirmed {
            Ok(()) => {
                self.shared.pause_for_tests("confirmed").await;
                Ok(opened)
            }
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

    /// Has it noted what is about to change, before the host hears of it.
    async fn note_texts(&self, facts: &Facts, plan: &HostPlan) -> Result<(), Stop> {
        let (reply, noted) = oneshot::channel();
        let texts = journal::texts(facts, plan);
        self.ask(Ask::Changing(self.job.name.clone(), texts, reply))
            .await?;
        noted.await.map_err(|_| Stop::Interrupted)
    }

    async fn request(
        &self,
        facts: &Facts,
        plan: &HostPlan,
        id: &str,
        canary: Option<&Canary<'_>>,
    ) -> Result<Request, Stop> {
        let window = self.shared.revert_after.as_secs();
        let witness = self.shared.witness().await?;
        Ok(request(facts, plan, id, window, witness, canary))
    }

    /// Sends a request for changes.
    pub(super) async fn send(
        &mut self,
        session: &Session,
        request: Request,
    ) -> Result<Applied, Fault> {
        let since = Instant::now();
        let answer = session.exec(request, self.shared.limit(APPLY)).await;
        self.report.times.add(Phase::Change, since);
        let answer = answer.map_err(Stop::from)?;
        match applied(&answer) {
            Ok(done) => Ok(done),
            Err(ReplyError::Failed { code, what }) if code == "changed" => {
                Err(Fault::Changed(what))
            }
            Err(error) => Err(Stop::from(error).into()),
        }
    }
}
