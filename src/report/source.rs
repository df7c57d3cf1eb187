//! Reading the log into a picture, a batch at a time.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ledger::{Event, Head, Ledger, LedgerError};
use crate::report::activity::Collections;
use crate::report::picture::{People, Picture, PictureError};
use crate::report::view::Accepted;

/// Events read at a time: one of a first rollout to a hundred admins has ten thousand characters.
const BATCH: u32 = 200;

/// The log cannot be read into a picture.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What stands in the log.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The beginning of the log is not in the ledger any more.
    #[error("events 1 to {0} were archived, and a report is told from all of them")]
    Archived(i64),
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Ledger(e) => e.into(),
            archived @ SourceError::Archived(_) => Self::failed(archived.to_string())
                .hinted("name every file that `audit archive` has made: --archive FILE"),
            SourceError::Picture(e) => {
                Self::failed("the state cannot be told from the event log").caused_by(e)
            }
        }
    }
}

/// Takes in what the log has from where the picture stands up to a time: what was archived of it, as far as it was given,
/// and what the ledger has.
///
/// # Errors
/// When the ledger fails, an event cannot be read, or events are missing between the two.
pub async fn advance(
    picture: &mut Picture,
    ledger: &Ledger,
    archived: &[Event],
    until: Timestamp,
) -> Result<(), SourceError> {
    let start = ledger.chain_start().await?;
    let given = archived.last().map_or(0, |e| e.seq);
    if picture.log.0.max(given) < start.size {
        return Err(SourceError::Archived(start.size));
    }
    let before = archived.iter().rev().find(|e| e.at <= until);
    let last = ledger
        .last_event_by(until)
        .await?
        .max(before.map_or(0, |e| e.seq));
    let from = picture.log.0;
    for event in archived.iter().filter(|e| e.seq > from && e.seq <= last) {
        picture.apply(event)?;
    }
    while picture.log.0 < last {
        let events = ledger.events(picture.log.0, BATCH).await?;
        if events.is_empty() {
            break;
        }
        for event in events.iter().take_while(|e| e.seq <= last) {
            picture.apply(event)?;
        }
    }
    if picture.log.1.is_empty() {
        picture.log.1 = Head::genesis(ledger.project_id().as_str()).hash;
    }
    Ok(())
}

/// Reads the logins and findings that collections stored up to a time.
///
/// # Errors
/// When the ledger fails.
pub async fn collections(ledger: &Ledger, until: Timestamp) -> Result<Collections, LedgerError> {
    Ok(Collections {
        logins: ledger.logins_stored_by(until).await?,
        findings: ledger.findings_by(until).await?,
    })
}

/// Reads who is behind the pseudonyms, as the ledger has it now: names are no part of the log.
///
/// # Errors
/// When the ledger fails.
pub async fn people(ledger: &Ledger) -> Result<People, LedgerError> {
    let mut people = People::default();
    for (id, name) in ledger.people().await? {
        people.names.insert(id.into(), name.into());
    }
    for (serial, login) in ledger.logins().await? {
        let serial: Arc<str> = serial.as_str().into();
        people.logins.entry(serial).or_default().push(login);
    }
    Ok(people)
}

/// Reads when codes were accepted last, up to a time, from the logins that were collected: they are no part of the log.
///
/// # Errors
/// When the ledger fails.
pub async fn accepted(ledger: &Ledger, until: Timestamp) -> Result<Accepted, LedgerError> {
    let (last, read) = ledger.last_accepted(until).await?;
    let mut accepted = Accepted::default();
    for host in read {
        accepted.entry(host.as_str().into()).or_default();
    }
    for (serial, host, at) in last {
        let by_token = accepted.entry(host.as_str().into()).or_default();
        by_token.insert(serial.as_str().into(), at);
    }
    Ok(accepted)
}
