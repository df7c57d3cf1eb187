//! Reads what a host of another project holds, its keys too, and gives its state files new stamps.

use std::collections::{BTreeMap, BTreeSet};

use zeroize::Zeroizing;

use crate::fleet::session::Session;
use crate::host::facts::Slot;
use crate::host::reply::{ReplyError, lines_of};
use crate::host::request::Request;
use crate::names::{HostName, Login};
use crate::plan::adopt::{self, Foreign};
use crate::plan::change::state_path;
use crate::plan::diff::difference;
use crate::plan::state::Stamp;
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Errand, Stop};
use crate::playbook::outcome::{ShownChange, Status};
use crate::token::secret::Secret;

/// Reads hosts that are to be taken over.
#[derive(Debug, Default)]
pub struct Look {
    /// The inventory's logins by host.
    pub logins: BTreeMap<HostName, BTreeSet<Login>>,
    /// Serials of the ledger's tokens.
    pub known: BTreeSet<String>,
}

/// What a host of another project holds.
#[derive(Debug, Default)]
pub struct Found {
    /// State files that are to change hands, with their keys.
    pub foreign: Vec<(Foreign, Secret)>,
    /// The last witness is another project's.
    pub marked: Option<String>,
    /// Logins that are enrolled here and not in the inventory: theirs are left alone.
    pub others: Vec<String>,
}

impl Errand for Look {
    type Done = Found;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<Found, Stop> {
        let logins = self.logins.get(host).cloned().unwrap_or_default();
        let facts = errand::read(session, shared, &logins, false).await?.facts;
        errand::not_behind(&facts, shared).await?;
        let found = adopt::foreign(&facts, &shared.project, &self.known, &logins)
            .map_err(|f| Stop::failed(format!("{} ({})", f.text, f.id)))?;
        let paths: Vec<String> = found
            .iter()
            .map(|foreign| state_path(Slot::Current, foreign.login.as_str()))
            .collect();
        let mut keys = Vec::new();
        if !found.is_empty() {
            let answer = session
                .exec(Request::show(&paths), shared.limit(errand::INSPECT))
                .await?;
            keys = first_lines(&Zeroizing::new(answer))?;
        }
        if keys.len() != found.len() {
            return Err(Stop::failed("a state file could not be read; run again"));
        }
        let witness = facts.witness.as_deref().and_then(|w| w.split('\t').next());
        let others: BTreeSet<&String> = facts.other_states.iter().map(|(_, login)| login).collect();
        Ok(Found {
            foreign: found.into_iter().zip(keys).collect(),
            marked: witness.filter(|p| *p != shared.project).map(str::to_owned),
            others: others.into_iter().cloned().collect(),
        })
    }
}

/// The first line of each file that was shown.
fn first_lines(answer: &Zeroizing<Vec<u8>>) -> Result<Vec<Secret>, ReplyError> {
    let mut keys = Vec::new();
    let mut begun = false;
    for line in lines_of(answer)? {
        match line.split_first() {
            Some((b'|', text)) if begun => {
                keys.push(Secret::new(String::from_utf8_lossy(text).trim().to_owned()));
                begun = false;
            }
            Some((b'|', _)) => {}
            _ => begun = line.starts_with(b"shown\t"),
        }
    }
    Ok(keys)
}

/// Gives state files new stamps, and the host this project's witness.
#[derive(Debug, Default)]
pub struct TakeOver {
    /// Stamps by login and host.
    pub stamps: BTreeMap<HostName, BTreeMap<Login, Stamp>>,
}

impl Errand for TakeOver {
    type Done = Vec<ShownChange>;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<Self::Done, Stop> {
        let stamps = self.stamps.get(host).cloned().unwrap_or_default();
        let logins = stamps.keys().cloned().collect();
        let mut tries = 3;
        loop {
            let facts = errand::read(session, shared, &logins, false).await?.facts;
            let changes = adopt::changes(&facts, &stamps);
            let shown = changes
                .iter()
                .map(|change| ShownChange {
                    part: None,
                    summary: change.summary(),
                    diff: difference(change),
                })
                .collect();
            if shared.check {
                return Ok(shown);
            }
            if shared.stopping() {
                return Err(Stop::Ended(Status::Skipped));
            }
            let mut request = Request::apply();
            adopt::send(&mut request, &changes);
            let (size, hash) = (shared.head.size.to_string(), &shared.head.hash);
            request.line(&["witness", &shared.project, &size, hash]);
            match errand::send(session, shared, request).await {
                // A login was faster and has marked its step: what it wrote stays.
                Err(Stop::Changed(_)) if tries > 1 => tries -= 1,
                Err(stop) => return Err(stop),
                Ok(_) => return Ok(shown),
            }
        }
    }
}
