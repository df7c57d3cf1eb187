//! Puts back the PAM and sshd text that a run has changed, host by host.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::session::Session;
use crate::ledger::TextChange;
use crate::names::{HostName, Login};
use crate::plan::change::Part;
use crate::plan::rollback::{Rollback, rollback};
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Errand, Seen, Stop};
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
        restore::confirmed(host, (&seen, &planned.plan), session, shared).await?;
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
        let texts = self.texts.get(host).map(Vec::as_slice).unwrap_or_default();
        rollback(&seen.facts, &wish, texts, self.allow_weaker)
    }
}
