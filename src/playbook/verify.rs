//! Verifying hosts on which nothing is to be changed: the login table by a temporary member, once for each class of hosts
//! or on every one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::fleet::session::Session;
use crate::inventory::model::Policy;
use crate::names::{HostName, Login};
use crate::playbook::apply::{Canary, verification_request};
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Errand, Seen, Stop};
use crate::playbook::logins::{Proof, Table, Verification};
use crate::playbook::observe::{class_of, has_texts};
use crate::playbook::outcome::{Skip, Status};
use crate::playbook::prove;
use crate::playbook::restore;

/// The errand: for each host the policy of its realm, and the logins of its admins.
#[derive(Debug, Default)]
pub struct Verify {
    /// What is known of the hosts.
    pub hosts: BTreeMap<HostName, (Policy, Vec<Login>)>,
    /// Not once for each class of hosts, but on each.
    pub every_host: bool,
    /// The first host of each class on which the table held.
    pub classes: Classes,
}

/// A cell for each class of hosts.
type Classes = Mutex<HashMap<String, Arc<OnceCell<Option<HostName>>>>>;

impl Errand for Verify {
    type Done = Verification;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<Verification, Stop> {
        let Some((policy, logins)) = self.hosts.get(host) else {
            return Err(Stop::failed(
                "no realm covers this host, so nobody is asked for a code",
            ));
        };
        let seen = restore::look(session, shared, &logins.iter().cloned().collect()).await?;
        if !has_texts(&seen.facts) {
            return Ok(Verification::failed(
                "no code is demanded here: fleetotp's PAM or sshd text is not there",
            ));
        }
        let work = || {
            shared.active.changing(host);
            self.table(session, shared, &seen, policy, logins)
        };
        if self.every_host {
            return work().await;
        }
        let cell = self.cell(class_of(&seen.facts));
        let mut mine = None;
        let first = cell
            .get_or_try_init(|| async {
                let done = work().await?;
                let held = done.held.then(|| host.clone());
                mine = Some(done);
                Ok::<_, Stop>(held)
            })
            .await?;
        match (mine, first) {
            (Some(done), _) => Ok(done),
            (None, Some(first)) => Ok(Verification::like(first.clone())),
            // Where one of a class does not hold, each is looked at.
            (None, None) => work().await,
        }
    }
}

impl Verify {
    fn cell(&self, class: String) -> Arc<OnceCell<Option<HostName>>> {
        let mut classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        classes.entry(class).or_default().clone()
    }

    async fn table(
        &self,
        session: &Session,
        shared: &Shared,
        seen: &Seen,
        policy: &Policy,
        logins: &[Login],
    ) -> Result<Verification, Stop> {
        if shared.stopping() {
            return Err(Stop::Ended(Status::Skipped(Skip::Interrupted)));
        }
        let facts = &seen.facts;
        let proof = Proof::make(shared, policy, facts).await;
        let proof = proof.map_err(Stop::failed)?;
        let canary = Canary::of(&proof, facts, logins.to_vec());
        let canary = canary.map_err(|finding| Stop::refused(&finding))?;
        let (id, window) = (shared.transaction(), shared.revert_after);
        let request = verification_request(facts, &id, window.as_secs(), &shared.project, &canary);
        errand::send(session, shared, request).await?;
        shared.pause_for_tests("verifying").await;
        let mut table = Table::default();
        let confirmed = prove::confirm(session, &id, Some(&proof), shared, &mut table).await;
        if confirmed.is_err() {
            // The host removes the temporary member by itself where it cannot be asked to.
            drop(tokio::time::timeout(window, prove::take_back(session, &id)).await);
        }
        let fault = confirmed.err().map(|error| error.to_string());
        Ok(Verification::of(table, fault))
    }
}
