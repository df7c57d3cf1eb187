//! Reads hosts for what a ledger has lost, and leaves a new witness where it was taken in.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::session::Session;
use crate::host::facts::Facts;
use crate::host::request::Request;
use crate::names::{HostName, Login};
use crate::playbook::behind::lost_witness;
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Errand, Stop};
use crate::playbook::witness::leave;

/// Reads hosts.
#[derive(Debug, Default)]
pub struct Read {
    /// Logins by host.
    pub logins: BTreeMap<HostName, BTreeSet<Login>>,
}

/// A host as it was read.
#[derive(Debug)]
pub struct HostRead {
    /// What was read.
    pub facts: Facts,
    /// The witness of events that the ledger does not have.
    pub lost: Option<String>,
}

impl Errand for Read {
    type Done = HostRead;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<HostRead, Stop> {
        let logins = self.logins.get(host).cloned().unwrap_or_default();
        let facts = errand::read(session, shared, &logins, false).await?.facts;
        let lost = lost_witness(&facts, shared)
            .await
            .map_err(|e| Stop::failed(e.to_string()))?
            .map(str::to_owned);
        Ok(HostRead { facts, lost })
    }
}

/// Leaves this ledger's witness on hosts that had one of events it has lost.
#[derive(Debug)]
pub struct Witness;

impl Errand for Witness {
    type Done = ();

    async fn run(&self, _: &HostName, session: &Session, shared: &Shared) -> Result<(), Stop> {
        let mut request = Request::apply();
        leave(&mut request, shared.witness().await?);
        errand::send(session, shared, request).await?;
        Ok(())
    }
}
