//! Doing one thing on each of many hosts, for commands that bring no playbook about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::journal::Turn;
use super::run::{Run, Wanted};
use crate::error::Error;
use crate::fleet::target::Target;
use crate::ledger::{HostObservation, HostOutcome, RemovedHost};
use crate::names::{HostName, Login};
use crate::playbook::errand::{Errand, on_each};
use crate::playbook::outcome::{HostReport, Outcome, Status};
use crate::playbook::restore::Restored;

/// What came of an errand by host.
pub type Results<T> = BTreeMap<HostName, Result<T, Status>>;

impl Run<'_> {
    /// Runs an errand that puts text back, and keeps its hosts in the journal.
    ///
    /// # Errors
    /// As [`Self::errand`].
    pub async fn restore<E: Errand<Done = Restored>>(
        &self,
        errand: E,
        hosts: &[HostName],
    ) -> Result<(Outcome, Vec<RemovedHost>), Error> {
        let turn = Turn::default();
        self.journal_waiting(&turn, hosts).await?;
        let (outcome, back) = self.restored(self.errand(errand, hosts).await?);
        self.journal_ended(&turn, hosts, &outcome).await?;
        Ok((outcome, back))
    }

    /// Splits results into how each host ended and what came of it where it was done.
    pub fn outcome_of<T>(&self, results: Results<T>) -> (Outcome, BTreeMap<HostName, T>) {
        let (mut outcome, mut done) = (Outcome::default(), BTreeMap::new());
        outcome.interrupted = self.stopping();
        for (host, result) in results {
            let status = match result {
                Ok(result) => {
                    done.insert(host.clone(), result);
                    Status::Ok
                }
                Err(status) => status,
            };
            outcome
                .hosts
                .insert(host.clone(), HostReport::new(host, status));
        }
        (outcome, done)
    }

    /// Splits results of putting text back into how each host ended and those where it was done, with how many logins
    /// need no code there any more.
    fn restored(&self, results: Results<Restored>) -> (Outcome, Vec<RemovedHost>) {
        let (mut outcome, done) = self.outcome_of(results);
        let mut back = Vec::new();
        for (host, done) in done {
            let mut report = HostReport::new(host.clone(), done.status());
            report.findings = done.findings.clone().into();
            if report.status == Status::Ok {
                back.push(RemovedHost {
                    host: host.clone(),
                    key_only: done.key_only.len(),
                });
                report.changes = done.changes.into();
            }
            outcome.hosts.insert(host, report);
        }
        (outcome, back)
    }

    /// Runs an errand on hosts of the inventory, whether or not a realm covers them, and stores who was reached.
    ///
    /// # Errors
    /// When the ledger cannot be written, or an inventory variable that is needed cannot be used.
    pub async fn errand<E: Errand>(
        &self,
        errand: E,
        hosts: &[HostName],
    ) -> Result<Results<E::Done>, Error> {
        let defaults = self.setup.defaults(self.globals, &self.world.cwd);
        let mut results = Results::new();
        let mut targets = Vec::with_capacity(hosts.len());
        for name in hosts {
            let Some(host) = self.setup.inventory.host(name.as_str()) else {
                continue;
            };
            self.setup.inventory.connection(host)?;
            match Target::new(host, &defaults) {
                Ok(target) => targets.push((name.clone(), target)),
                Err(error) => {
                    results.insert(name.clone(), Err(Status::Failed(error.to_string())));
                }
            }
        }
        let shared = self.shared(&Wanted::default()).await?;
        let forks = usize::from(self.globals.forks);
        let done = on_each(Arc::new(errand), targets, forks, shared).await;
        results.extend(done);
        for name in hosts {
            // Whoever ended abnormally has said nothing.
            results.entry(name.clone()).or_insert_with(|| {
                Err(Status::Failed("the work on it ended abnormally".to_owned()))
            });
        }
        if !self.globals.check {
            self.store(&results).await?;
        }
        Ok(results)
    }

    async fn store<T>(&self, results: &Results<T>) -> Result<(), Error> {
        let at = self.world.clock.now();
        let observed: Vec<HostObservation> = results
            .iter()
            .filter_map(|(host, result)| {
                let outcome = match result {
                    Ok(_) | Err(Status::Ok) => HostOutcome::Read,
                    Err(Status::Failed(why)) => HostOutcome::Failed(why.clone()),
                    Err(Status::Unreachable(why)) => HostOutcome::Unreachable(why.clone()),
                    Err(Status::Skipped(_)) => return None,
                };
                Some(HostObservation::new(host.clone(), at, outcome))
            })
            .collect();
        self.setup.ledger.observe_hosts(&observed).await?;
        Ok(())
    }

    /// Returns the logins that inventory and ledger know on each host.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn logins_on(
        &self,
        hosts: &[HostName],
    ) -> Result<BTreeMap<HostName, BTreeSet<Login>>, Error> {
        let mut logins: BTreeMap<HostName, BTreeSet<Login>> = hosts
            .iter()
            .map(|host| {
                let admins = self.setup.inventory.admins_on(host);
                (host.clone(), admins.map(|a| a.login.clone()).collect())
            })
            .collect();
        for row in self.setup.ledger.token_hosts().await? {
            if let Some(known) = logins.get_mut(&row.host) {
                known.insert(row.login);
            }
        }
        Ok(logins)
    }
}
