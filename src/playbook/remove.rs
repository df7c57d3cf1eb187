//! Takes fleetotp off a host: the change of PAM and sshd is confirmed over a fresh connection before anything else goes.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::session::Session;
use crate::host::request::Request;
use crate::names::{HostName, Login};
use crate::plan::change::Part;
use crate::plan::remove::{Removal, removal};
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Errand, Seen, Stop};
use crate::playbook::outcome::{ShownChange, Skip, Status};
use crate::playbook::restore::{self, Restored};
use crate::playbook::witness::leave;
use crate::playbook::worker;

/// The errand: which logins each host has according to inventory and ledger.
#[derive(Debug, Default)]
pub struct Remove {
    /// Logins by host.
    pub logins: BTreeMap<HostName, BTreeSet<Login>>,
}

impl Errand for Remove {
    type Done = Restored;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<Restored, Stop> {
        let logins = self.logins.get(host).cloned().unwrap_or_default();
        let seen = restore::look(session, shared, &logins).await?;
        let planned = plan(&seen, session, shared);
        let done = Restored {
            changes: shown(&planned),
            findings: planned.plan.findings.clone(),
            key_only: planned.key_only.clone(),
        };
        if planned.plan.refused() || shared.check || planned.is_empty() {
            return Ok(done);
        }
        if shared.stopping() {
            return Err(Stop::Ended(Status::Skipped(Skip::Interrupted)));
        }
        if planned.plan.needs_transaction() {
            restore::confirmed(host, (&seen, &planned.plan), session, shared, None).await?;
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
    let wish = errand::wish(seen, session, shared);
    removal(&seen.facts, &wish)
}

fn shown(planned: &Removal) -> Vec<ShownChange> {
    let texts = planned
        .plan
        .changes
        .iter()
        .map(|(part, change)| worker::shown(*part, change));
    let steps = planned.steps.iter().map(|step| ShownChange {
        part: Some(Part::Secrets),
        diff: format!("{}\n", step.summary()),
        summary: step.summary(),
    });
    texts.chain(steps).collect()
}
