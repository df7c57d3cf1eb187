//! Puts back the PAM and sshd text that a run has changed, host by host.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::session::Session;
use crate::ledger::TextChange;
use crate::names::{HostName, Login};
use crate::plan::change::Part;
use crate::plan::finding::{Finding, Severity};
use crate::plan::rollback::{Rollback, rollback};
use crate::plan::wish::{Parts, Wish};
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Errand, Seen, Stop};
use crate::playbook::outcome::{ShownChange, Status};
use crate::playbook::worker::shown;
use crate::playbook::{prove, restore};

/// The errand: what the run has changed on each host.
#[derive(Debug, Default)]
pub struct RollBack {
    /// Texts by host.
    pub texts: BTreeMap<HostName, Vec<TextChange>>,
    /// Logins by host, from inventory and ledger.
    pub logins: BTreeMap<HostName, BTreeSet<Login>>,
    /// The demand for a code may end.
    pub allow_weaker: bool,
}

/// What came of it on a host.
#[derive(Debug, Default)]
pub struct RolledBack {
    /// What was changed, or would be.
    pub changes: Vec<ShownChange>,
    /// What was noticed; a refusal means that nothing was changed.
    pub findings: Vec<Finding>,
    /// Logins of whom no code is demanded any more.
    pub key_only: Vec<String>,
}

impl RolledBack {
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

impl Errand for RollBack {
    type Done = RolledBack;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<RolledBack, Stop> {
        let logins = self.logins.get(host).cloned().unwrap_or_default();
        let mut seen = errand::read_all(session, shared, &logins, false).await?;
        errand::not_behind(&seen.facts, shared).await?;
        if let Some(id) = shared.abandoned(&seen.facts) {
            prove::take_back(session, &id).await?;
            seen = errand::read_all(session, shared, &logins, false).await?;
        }
        let planned = self.plan(host, &seen, session, shared);
        let changes = planned.plan.changes.iter();
        let done = RolledBack {
            changes: changes.map(|(part, change)| shown(*part, change)).collect(),
            findings: planned.plan.findings.clone(),
            key_only: planned.key_only.clone(),
        };
        if planned.plan.refused() || shared.check || planned.plan.is_empty() {
            return Ok(done);
        }
        if shared.stopping() {
            return Err(Stop::Ended(Status::Skipped));
        }
        restore::confirmed(&seen, &planned.plan, session, shared).await?;
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
        let texts = self.texts.get(host).map(Vec::as_slice).unwrap_or_default();
        rollback(&seen.facts, &wish, texts, self.allow_weaker)
    }
}
