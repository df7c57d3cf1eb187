//! Takes fleetotp off a host: the change of PAM and sshd is confirmed over a fresh connection before anything else goes.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::session::Session;
use crate::host::request::Request;
use crate::names::{HostName, Login};
use crate::plan::change::Part;
use crate::plan::diff::difference;
use crate::plan::finding::{Finding, Severity};
use crate::plan::remove::{Removal, removal};
use crate::plan::wish::{Parts, Wish};
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Errand, Seen, Stop};
use crate::playbook::outcome::{ShownChange, Status};
use crate::playbook::prove;
use crate::playbook::restore;
use crate::playbook::witness::leave;

/// The errand: which logins each host has according to inventory and ledger.
#[derive(Debug, Default)]
pub struct Remove {
    /// Logins by host.
    pub logins: BTreeMap<HostName, BTreeSet<Login>>,
}

/// What came of it on a host.
#[derive(Debug, Default)]
pub struct Removed {
    /// What was changed, or would be.
    pub changes: Vec<ShownChange>,
    /// What was noticed; a refusal means that nothing was changed.
    pub findings: Vec<Finding>,
    /// Logins of whom no code is demanded any more.
    pub key_only: Vec<String>,
}

impl Removed {
    /// Returns how the host ended.
    pub fn status(&self) -> Status {
        let refusal = self
            .findings
            .iter()
            .find(|f| f.severity == Severity::Refusal);
        refusal.map_or(Status::Ok, |f| {
            Status::Failed(format!("{} ({})", f.text, f.id))
        })
    }
}

impl Errand for Remove {
    type Done = Removed;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<Removed, Stop> {
        let logins = self.logins.get(host).cloned().unwrap_or_default();
        let mut seen = errand::read_all(session, shared, &logins, false).await?;
        errand::not_behind(&seen.facts, shared).await?;
        if let Some(id) = shared.abandoned(&seen.facts) {
            prove::take_back(session, &id).await?;
            seen = errand::read_all(session, shared, &logins, false).await?;
        }
        let planned = plan(&seen, session, shared);
        let done = Removed {
            changes: shown(&planned),
            findings: planned.plan.findings.clone(),
            key_only: planned.key_only.clone(),
        };
        if planned.plan.refused() || shared.check || planned.is_empty() {
            return Ok(done);
        }
        if shared.stopping() {
            return Err(Stop::Ended(Status::Skipped));
        }
        if planned.plan.needs_transaction() {
            restore::confirmed(&seen, &planned.plan, session, shared).await?;
            shared.pause_for_tests("restored").await;
        }
        let mut last = Request::apply();
        // Goes to the host's own log: the file that holds it goes too.
        leave(&mut last, shared.witness().await?);
        for step in &planned.steps {
            step.send(&mut last);
        }
        errand::send(session, shared, last).await?;
        let after = errand::read_all(session, shared, &logins, false).await?;
        let left = plan(&after, session, shared);
        if !left.is_empty() {
            let left: Vec<String> = shown(&left).into_iter().map(|c| c.summary).collect();
            return Err(Stop::failed(format!(
                "something is left: {}; run again",
                left.join("; ")
            )));
        }
        Ok(done)
    }
}

fn plan(seen: &Seen, session: &Session, shared: &Shared) -> Removal {
    let wish = Wish {
        project: shared.project.clone(),
        protected: shared.protected_on(session.target(), &seen.facts),
        members: Vec::new(),
        known: BTreeSet::new(),
        parts: Parts::default(),
        can_confirm: session.target().can_confirm(),
        now: seen.at,
        revert_after: shared.revert_after,
    };
    removal(&seen.facts, &wish)
}

fn shown(planned: &Removal) -> Vec<ShownChange> {
    let texts = planned
        .plan
        .changes
        .iter()
        .map(|(part, change)| ShownChange {
            part: Some(*part),
            summary: change.summary(),
            diff: difference(change),
        });
    let steps = planned.steps.iter().map(|step| ShownChange {
        part: Some(Part::Secrets),
        diff: format!("{}\n", step.summary()),
        summary: step.summary(),
    });
    texts.chain(steps).collect()
}
