//! Puts back the PAM and sshd text that a run has changed, host by host.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::session::Session;
use crate::host::facts::Facts;
use crate::inventory::model::{Module, Policy, PolicyScope, Service};
use crate::ledger::TextChange;
use crate::names::{HostName, Login};
use crate::plan::change::Part;
use crate::plan::rollback::{Rollback, rollback, with_texts_of_before};
use crate::plan::{everyone, pam, sudo};
use crate::playbook::apply::Canary;
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Errand, Seen, Stop};
use crate::playbook::logins::Proof;
use crate::playbook::observe::has_texts;
use crate::playbook::outcome::{Skip, Status};
use crate::playbook::restore::{self, Restored};
use crate::playbook::worker::shown;

/// The errand: what the run has changed on each host.
#[derive(Debug, Default)]
pub struct RollBack {
    /// Texts by host.
    pub texts: BTreeMap<HostName, Vec<TextChange>>,
    /// Logins by host, from inventory and ledger.
    pub logins: BTreeMap<HostName, BTreeSet<Login>>,
    /// How the codes of the hosts' members are computed.
    pub policies: BTreeMap<HostName, Policy>,
    /// The demand for a code may end.
    pub allow_weaker: bool,
}

impl Errand for RollBack {
    type Done = Restored;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<Restored, Stop> {
        let logins = self.logins.get(host).cloned().unwrap_or_default();
        let seen = restore::look(session, shared, &logins).await?;
        let planned = self.plan(host, &seen, session, shared);
        let changes = planned.plan.changes.iter();
        let done = Restored {
            changes: changes.map(|(part, change)| shown(*part, change)).collect(),
            findings: planned.plan.findings.clone(),
            key_only: planned.key_only.clone(),
        };
        if planned.plan.refused() || shared.check || planned.plan.is_empty() {
            return Ok(done);
        }
        if shared.stopping() {
            return Err(Stop::Ended(Status::Skipped(Skip::Interrupted)));
        }
        let facts = with_texts_of_before(&seen.facts, self.texts_of(host));
        let proof = self.proof(host, &facts, shared).await?;
        let canary = proof
            .as_ref()
            .map(|p| Canary::of(p, &facts, logins.iter().cloned().collect()));
        let canary = canary
            .transpose()
            .map_err(|finding| Stop::refused(&finding))?;
        let proof = proof.as_ref().zip(canary.as_ref());
        restore::confirmed(host, (&seen, &planned.plan), session, shared, proof).await?;
        let after = errand::read_all(session, shared, &logins, false).await?;
        let left = self.plan(host, &after, session, shared);
        if left.plan.refused() || left.plan.of(Part::Host).next().is_some() {
            return Err(Stop::failed(
                "read back, the text is not what it was; run again",
            ));
        }
        Ok(done)
    }
}

impl RollBack {
    fn plan(&self, host: &HostName, seen: &Seen, session: &Session, shared: &Shared) -> Rollback {
        let wish = errand::wish(seen, session, shared);
        rollback(&seen.facts, &wish, self.texts_of(host), self.allow_weaker)
    }

    fn texts_of(&self, host: &HostName) -> &[TextChange] {
        self.texts.get(host).map(Vec::as_slice).unwrap_or_default()
    }

    /// Makes a proof by logins where the texts of before, which `facts` have, demand a code: each host proves its own, since
    /// what hosts had before differs. Where nobody was asked for one there is nothing that a member could show.
    async fn proof(
        &self,
        host: &HostName,
        facts: &Facts,
        shared: &Shared,
    ) -> Result<Option<Proof>, Stop> {
        if !has_texts(facts) {
            return Ok(None);
        }
        let Some(policy) = self.policies.get(host) else {
            return Err(Stop::failed("nothing tells how codes are computed there"));
        };
        let policy = policy_of_text(facts, policy);
        Proof::make(shared, &policy, facts)
            .await
            .map(Some)
            .map_err(Stop::failed)
    }
}

/// A policy as the texts of a host have it: what the project says now may be newer.
fn policy_of_text(facts: &Facts, policy: &Policy) -> Policy {
    let has = |path: &str, what: &str| facts.text(path).is_some_and(|t| t.contains(what));
    let asks_sudo = |path: &&str| has(path, pam::BEGIN);
    let (module, window) = if has(pam::SERVICE_FILE, "pam_oath.so") {
        // Its window stands in that text; with none, only the code of now is taken for granted.
        (Module::Oath, 0)
    } else {
        (Module::GoogleAuthenticator, policy.window)
    };
    Policy {
        module,
        window,
        scope: if everyone::is_there(facts) {
            PolicyScope::Everyone
        } else {
            PolicyScope::Members
        },
        services: if sudo::SERVICE_FILES.iter().any(asks_sudo) {
            vec![Service::Sshd, Service::Sudo]
        } else {
            vec![Service::Sshd]
        },
        ..policy.clone()
    }
}
