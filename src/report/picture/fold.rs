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
        match step_of(head.kind) {
            Some(step) => {
                let whole: Whole<'_> =
                    serde_json::from_str(&event.body).map_err(|e| unreadable(e.to_string()))?;
                let now = Now {
                    at: head.at,
                    by: whole.actor.map(Arc::from),
                    data: whole.data,
                };
                step(self, head.kind, &now).map_err(unreadable)?;
            }
            None if ELSEWHERE.contains(&head.kind) => {}
            None => {
                let kind = crate::names::printable(head.kind, 60);
                *self.strange.entry(kind).or_default() += 1;
            }
        }
        Ok(())
    }
}

/// Events that are known and change nothing in the picture.
const ELSEWHERE: &[&str] = &[
    "activity.collected",
    "activity.told",
    "class.proven",
    "confirm.refused",
    "events.archived",
    "events.exported",
    "head.signed",
    "host.verified",
    "ledger.recovered",
    "lock.taken_over",
    "recovery.redeemed",
    "recovery.refused",
    "run.finished",
    "run.started",
    "sheet.rendered",
    "sheets.purged",
    "signal.expired_sheet",
    "signal.old_generation",
    "signal.over_limit",
    "signal.recovery_dead",
    "signal.recovery_reused",
    "signal.second_confirm",
    "vault.opened",
    "vault.recipient_added",
    "vault.recipient_removed",
    "vault.refused",
    "vault.rekeyed",
];

type Step = fn(&mut Picture, &str, &Now<'_>) -> Result<()>;

/// What an event of a kind does to the picture; `None` where it does nothing, or the kind is not known.
fn step_of(kind: &str) -> Option<Step> {
    Some(match kind {
        "token.issued" => |p, _, now| p.issued(now),
        "token.confirmed" => |p, _, now| p.confirmed(now),
        "token.expired" => |p, _, now| p.expired(now),
        "rotation.finished" | "rotation.taken_back" | "rotation.overdue" => Picture::rotation_ended,
        "token.recovered" | "token.adopted" => Picture::taken_in,
        "token.revoke_requested" => |p, _, now| p.revocation_asked(now),
        "token.revoked" => |p, _, now| p.set_state(now, TokenState::Revoked),
        "token.revoke_reopened" => |p, _, now| p.set_state(now, TokenState::Revoking),
        "revocation.proven" | "revocation.repaired" | "revocation.open" => Picture::item_read,
        "sheet.issued" | "sheet.void" | "sheet.delivered" => Picture::sheet_changed,
        "host.observed" => |p, _, now| p.host_observed(now),
        "hosts.read" => |p, _, now| p.hosts_read(now),
        "host.removed" => |p, _, now| p.host_removed(now),
        "host.rolled_back" => |p, _, now| p.host_rolled_back(now),
        "host.retired" => |p, _, now| p.host_retired(now),
        "bypass.granted" => |p, _, now| p.bypass_granted(now),
        "bypass.used" | "bypass.expired" | "bypass.revoked" | "bypass.failed" | "bypass.gone" => {
            Picture::bypass_ended
        }
        _ => return None,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: i64, body: &str) -> Event {
        Event {
            seq,
            at: Timestamp::default(),
            kind: String::new(),
            body: format!(r#"{{"at":"2026-11-01T00:00:00Z",{body},"seq":{seq},"v":1}}"#),
            hash: String::new(),
        }
    }

    /// A newer program's event must not be taken for one that is known: `bypass.extended` once ended a one-time code.
    #[test]
    fn kinds_that_are_not_known_are_counted_and_change_nothing() {
        let mut picture = Picture::default();
        for (seq, body) in [
            (
                1,
                r#""kind":"bypass.extended","data":{"bypass":"B","host":"web1"}"#,
            ),
            (2, r#""kind":"token.moved","data":{"serial":7}"#),
            (3, r#""kind":"token.moved","data":null"#),
            (4, r#""kind":"run.started","data":{}"#),
        ] {
            picture.apply(&event(seq, body)).unwrap();
        }
        let strange: Vec<_> = picture
            .strange
            .iter()
            .map(|(k, n)| (k.as_str(), *n))
            .collect();
        assert_eq!(strange, [("bypass.extended", 1), ("token.moved", 2)]);
        assert!(picture.hosts.is_empty() && picture.log.0 == 4);
    }

    /// Whoever adds an event says here whether reports are told from it.
    #[test]
    fn every_kind_that_the_ledger_writes_is_known() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ledger");
        let mut kinds = 0;
        for file in std::fs::read_dir(dir).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|e| e != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for word in text.split('"').skip(1).step_by(2) {
                let group = word
                    .split_once('.')
                    .filter(|(_, kind)| !kind.is_empty())
                    .map(|(group, _)| group);
                let groups = [
                    "activity",
                    "bypass",
                    "class",
                    "confirm",
                    "events",
                    "head",
                    "host",
                    "hosts",
                    "ledger",
                    "lock",
                    "recovery",
                    "revocation",
                    "rotation",
                    "run",
                    "sheet",
                    "sheets",
                    "signal",
                    "token",
                    "vault",
                ];
                let plain = word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_');
                if plain && group.is_some_and(|g| groups.contains(&g)) {
                    kinds += 1;
                    assert!(
                        step_of(word).is_some() || ELSEWHERE.contains(&word),
                        "{word} in {path:?}"
                    );
                }
            }
        }
        assert!(kinds > 40, "{kinds}");
    }
}
