//! From one event to the next state.

mod hosts;
mod revocations;
mod tokens;

use std::sync::Arc;

use super::events::{Data, Head, VERSION, Whole};
use super::{Deed, Picture};
use crate::clock::Timestamp;
use crate::ledger::Event;
use crate::token::state::TokenState;

/// The log holds something that no state can be told from.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// An event cannot be read.
    #[error("event {0} cannot be read: {1}")]
    Unreadable(i64, String),
    /// A newer program wrote it.
    #[error("event {0} has form {1}, and this program knows up to {VERSION}")]
    Newer(i64, u64),
}

/// The event at hand.
struct Now<'a> {
    at: Timestamp,
    by: Option<Arc<str>>,
    data: Data<'a>,
}

impl Now<'_> {
    fn deed(&self) -> Deed {
        Deed {
            by: self.by.clone(),
            approved_by: self.data.approved_by.map(Arc::from),
            verified_by: self.data.verified_by.map(Arc::from),
            verified_how: self.data.verified_how.as_deref().map(Arc::from),
        }
    }
}

type Result<T> = std::result::Result<T, String>;

impl Picture {
    /// Takes in the next event.
    ///
    /// # Errors
    /// When it cannot be read, or a newer program wrote it.
    pub fn apply(&mut self, event: &Event) -> std::result::Result<(), PictureError> {
        let unreadable = |e: String| PictureError::Unreadable(event.seq, e);
        let head: Head<'_> =
            serde_json::from_str(&event.body).map_err(|e| unreadable(e.to_string()))?;
        if head.v > VERSION {
            return Err(PictureError::Newer(event.seq, head.v));
        }
        self.log = (event.seq, event.hash.clone());
        if is_of_the_picture(head.kind) {
            let whole: Whole<'_> =
                serde_json::from_str(&event.body).map_err(|e| unreadable(e.to_string()))?;
            let now = Now {
                at: head.at,
                by: whole.actor.map(Arc::from),
                data: whole.data,
            };
            self.step(head.kind, &now).map_err(unreadable)?;
        }
        Ok(())
    }

    fn step(&mut self, kind: &str, now: &Now<'_>) -> Result<()> {
        match kind {
            "token.issued" => self.issued(now),
            "token.confirmed" => self.confirmed(now),
            "token.expired" => self.expired(now),
            "rotation.finished" | "rotation.taken_back" | "rotation.overdue" => {
                self.rotation_ended(kind, now)
            }
            "token.recovered" | "token.adopted" => self.taken_in(kind, now),
            "token.revoke_requested" => self.revocation_asked(now),
            "token.revoked" => self.set_state(now, TokenState::Revoked),
            "token.revoke_reopened" => self.set_state(now, TokenState::Revoking),
            "revocation.proven" | "revocation.repaired" | "revocation.open" => {
                self.item_read(kind, now)
            }
            "sheet.issued" | "sheet.void" | "sheet.delivered" => self.sheet_changed(kind, now),
            "host.observed" => self.host_observed(now),
            "hosts.read" => self.hosts_read(now),
            "host.removed" => self.host_removed(now),
            "host.retired" => self.host_retired(now),
            "bypass.granted" => self.bypass_granted(now),
            _ => self.bypass_ended(kind, now),
        }
    }
}

fn is_of_the_picture(kind: &str) -> bool {
    matches!(
        kind.split('.').next(),
        Some("token" | "rotation" | "revocation" | "host" | "bypass")
    ) || matches!(
        kind,
        "hosts.read" | "sheet.issued" | "sheet.void" | "sheet.delivered"
    )
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: Option<&str>) -> Result<T> {
    text.ok_or_else(|| "a state is missing".to_owned())?
        .parse()
        .map_err(|e: T::Err| e.to_string())
}

/// Replaces or adds entries of a sorted list; of two with one key the later one counts.
fn put_all<T>(list: &mut Vec<(u32, T)>, entries: Vec<(u32, T)>) {
    let known = list.len();
    for (key, value) in entries {
        let sorted = list.get_mut(..known).unwrap_or_default();
        match sorted.binary_search_by_key(&key, |entry| entry.0) {
            Ok(at) => {
                if let Some(entry) = sorted.get_mut(at) {
                    entry.1 = value;
                }
            }
            Err(_) => list.push((key, value)),
        }
    }
    if list.len() > known {
        // Once, not an insertion for each: a new host may bring thousands.
        list.sort_by_key(|entry| entry.0);
        list.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
    }
}

/// Replaces or adds the entry of a sorted list.
fn put<T>(list: &mut Vec<(u32, T)>, key: u32, value: T) {
    match list.binary_search_by_key(&key, |entry| entry.0) {
        Ok(at) => {
            if let Some(entry) = list.get_mut(at) {
                entry.1 = value;
            }
        }
        Err(at) => list.insert(at, (key, value)),
    }
}
