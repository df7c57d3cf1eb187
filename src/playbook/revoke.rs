//! The end of tokens on one host: changed in steps, each decided on what was read after the one before; then read back.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use crate::fleet::session::Session;
use crate::host::facts::Facts;
use crate::ledger::{ItemReading, ItemResult};
use crate::names::Login;
use crate::plan::change::{Change, Part};
use crate::plan::finding::Gap;
use crate::plan::revoke::{Farewell, Leaver, Verdict, ends_due, memberships_due, remains, verdict};
use crate::playbook::apply::revocation_request;
use crate::playbook::job::{Ask, LeaverSeat};
use crate::playbook::outcome::{RevokedHere, Status};
use crate::playbook::stop::{Fault, Stop};
use crate::playbook::worker::{Worker, shown};

/// Memberships, what follows from them, a login in flight, and once more.
const ROUNDS: u32 = 5;

impl Worker {
    /// Ends what is to be ended on this host and reads it back; returns what was read last.
    pub(super) async fn revoke(
        &mut self,
        session: &Session,
        mut facts: Facts,
    ) -> Result<Facts, Stop> {
        let mut judged = facts.config_hash.clone().filter(|_| facts.judged_before);
        let mut trouble: BTreeMap<Login, String> = BTreeMap::new();
        let mut touched: Vec<Login> = Vec::new();
        for _ in 0..ROUNDS {
            let steps = self.steps_due(&facts, &trouble);
            if steps.is_empty() {
                break;
            }
            if self.shared.check {
                let all = steps.iter().flat_map(|(_, changes)| changes);
                self.report
                    .changes
                    .extend(all.map(|c| shown(Part::Revocation, c)));
                return Ok(facts);
            }
            for (logins, changes) in steps {
                self.begin_nothing_more()?;
                self.shared.pause_for_tests("revoking").await;
                let witness = self.shared.witness().await?;
                let request = revocation_request(&facts, &changes, witness);
                match self.send(session, request).await {
                    Ok(done) => {
                        self.report
                            .changes
                            .extend(changes.iter().map(|c| shown(Part::Revocation, c)));
                        touched.extend(logins);
                        judged = judged.and(done.config_hash);
                    }
                    // A login or another tool was faster: read again.
                    Err(Fault::Changed(_)) => {}
                    Err(Fault::Stop(Stop::Failed(why)) | Fault::Proof(why)) => {
                        trouble.extend(logins.into_iter().map(|l| (l, why.clone())));
                    }
                    Err(Fault::Stop(stop)) => return Err(stop),
                }
            }
            facts = self.inspect(session, false, judged.clone()).await?;
        }
        if !self.shared.check {
            self.read_back(&facts, &trouble, &touched);
        }
        Ok(facts)
    }

    /// Requests to send, each with the logins that it is about: one for all memberships, then one for each login, so that
    /// the trouble with one does not keep the others.
    fn steps_due(
        &self,
        facts: &Facts,
        trouble: &BTreeMap<Login, String>,
    ) -> Vec<(Vec<Login>, Vec<Change>)> {
        let leavers: Vec<Leaver> = self
            .job
            .leavers
            .iter()
            .map(|l| l.leaver.clone())
            .filter(|l| !trouble.contains_key(&l.login))
            .collect();
        let protected = self.protected(facts);
        let farewell = Farewell {
            project: &self.shared.project,
            protected: &protected,
            leavers: &leavers,
            now: self.read_at,
        };
        let first = memberships_due(facts, &farewell);
        if !first.is_empty() {
            let logins = leavers.iter().map(|l| l.login.clone()).collect();
            return vec![(logins, first)];
        }
        leavers
            .iter()
            .map(|l| (vec![l.login.clone()], ends_due(facts, &farewell, l)))
            .filter(|(_, changes)| !changes.is_empty())
            .collect()
    }

    /// Judges by what was read last.
    fn read_back(&mut self, facts: &Facts, trouble: &BTreeMap<Login, String>, touched: &[Login]) {
        let protected = self.protected(facts);
        let leavers = self.job.leavers.clone();
        let all: Vec<Leaver> = leavers.iter().map(|l| l.leaver.clone()).collect();
        let farewell = Farewell {
            project: &self.shared.project.clone(),
            protected: &protected,
            leavers: &all,
            now: self.read_at,
        };
        for seat in &leavers {
            let result = match verdict(facts, &farewell, &seat.leaver) {
                Verdict::Proven(proof) => ItemResult::Proven(proof),
                Verdict::Open(why) => ItemResult::Open(match trouble.get(&seat.leaver.login) {
                    Some(cause) => format!("{cause}; {why}"),
                    None => why,
                }),
            };
            self.report.findings.extend(remains(facts, &seat.leaver));
            let repaired = touched.contains(&seat.leaver.login);
            self.take_reading(seat, result, repaired);
        }
    }

    fn take_reading(&mut self, seat: &LeaverSeat, result: ItemResult, repaired: bool) {
        let (state, proof, why) = match &result {
            ItemResult::Proven(proof) => ("proven", Some(proof.clone()), None),
            ItemResult::Open(why) => ("open", None, Some(why.clone())),
        };
        let new = match result {
            ItemResult::Proven(_) => seat.open || repaired,
            ItemResult::Open(_) => !seat.open,
        };
        self.report.revoked.push(RevokedHere {
            admin: seat
                .admin
                .as_ref()
                .map_or_else(|| seat.serial.to_string(), ToString::to_string),
            serial: seat.serial.to_string(),
            login: seat.leaver.login.to_string(),
            state,
            since: seat.since.to_string(),
            at: self.read_at.to_string(),
            proof,
            why,
            new,
        });
        self.readings.push(ItemReading {
            serial: seat.serial.clone(),
            host: self.job.name.clone(),
            result,
            repaired,
        });
    }

    /// What could not be read stays open, with the reason; what was proven before stays proven.
    pub(super) fn leave_open(&mut self) {
        let why = match &self.report.status {
            Status::Unreachable(why) => format!("unreachable: {why}"),
            Status::Failed(why) => why.clone(),
            Status::Skipped(_) => "interrupted".to_owned(),
            Status::Ok => return,
        };
        self.read_at = self.shared.clock.now();
        let unread: Vec<LeaverSeat> = self
            .job
            .leavers
            .iter()
            .filter(|l| l.open && self.readings.iter().all(|r| r.serial != l.serial))
            .cloned()
            .collect();
        for seat in unread {
            self.take_reading(&seat, ItemResult::Open(why.clone()), false);
        }
    }

    /// Asks, immediately before the host is changed, whose token another process has asked to revoke meanwhile. Returns
    /// whether there are any: what is planned for them must not be done.
    pub(super) async fn revoked_meanwhile(&mut self) -> Result<bool, Stop> {
        let serials: Vec<String> = self
            .members
            .iter()
            .filter_map(|m| m.token.as_ref().map(|t| t.serial.clone()))
            .collect();
        self.shared.pause_for_tests("planned").await;
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Revoked(serials, reply)).await?;
        let revoked = answer.await.map_err(|_| Stop::Interrupted)?;
        for member in &mut self.members {
            if member
                .token
                .as_ref()
                .is_some_and(|t| revoked.contains(&t.serial))
            {
                member.token = None;
                self.gaps_of_desk.push(Gap {
                    login: member.login.to_string(),
                    id: "revoked",
                    text: format!(
                        "the token of {} was revoked while this run was under way",
                        member.admin
                    ),
                });
            }
        }
        Ok(!revoked.is_empty())
    }
}
