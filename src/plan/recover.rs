//! What a ledger has lost, told from what hosts show: stamps, deadlines and memberships. Metadata only; no key is read.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::host::facts::{Facts, Slot};
use crate::ledger::{TakenGeneration, TokenRecord};
use crate::names::{AdminName, Login, RealmName};
use crate::plan::change::GROUP_ENFORCED;
use crate::plan::state::Stamp;
use crate::token::id::{Generation, Serial};
use crate::token::state::{GenerationState, Slot as TokenSlot};

/// How many digits of a key's SHA-256 the ledger keeps.
const FINGERPRINT: usize = 12;

/// A host as it was read.
#[derive(Debug)]
pub struct Witnessed<'a> {
    /// What was read.
    pub facts: &'a Facts,
    /// It has seen events that the ledger does not have.
    pub ahead: bool,
    /// Its admins, by login.
    pub seats: Vec<(AdminName, Login)>,
    /// Its realm.
    pub realm: RealmName,
}

/// What to take in of one admin in one realm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// These generations, of this token.
    Token(Serial, Vec<TakenGeneration>),
    /// Hosts demand a code and have no secret: revoked, or expired.
    Ended(Serial),
    /// Hosts contradict each other or the ledger: nothing is taken in.
    Conflict(String),
}

/// What one host shows of an admin.
struct Shown {
    serial: Serial,
    number: Generation,
    fingerprint: String,
    slot: TokenSlot,
    confirmed: bool,
    expires_at: Option<Timestamp>,
}

/// Compares hosts with the ledger. What the ledger knows as well, or better, is left out.
pub fn lost(
    project: &str,
    hosts: &[Witnessed<'_>],
    tokens: &[TokenRecord],
) -> BTreeMap<(AdminName, RealmName), Lost> {
    let mut shown: BTreeMap<(AdminName, RealmName), Vec<Shown>> = BTreeMap::new();
    let mut kept_out: BTreeSet<(AdminName, RealmName)> = BTreeSet::new();
    for host in hosts {
        for (admin, login) in &host.seats {
            let id = (admin.clone(), host.realm.clone());
            let mut any = false;
            for slot in [Slot::Current, Slot::Next] {
                if let Some(found) = shown_in(host.facts, project, slot, login) {
                    shown.entry(id.clone()).or_default().push(found);
                    any = true;
                }
            }
            let enforced = host.facts.members(GROUP_ENFORCED).contains(login.as_str());
            let there = host.facts.accounts.contains_key(login);
            if host.ahead && enforced && there && !any {
                kept_out.insert(id);
            }
        }
    }
    let mut result = BTreeMap::new();
    for id in shown.keys().chain(&kept_out).collect::<BTreeSet<_>>() {
        let token = tokens
            .iter()
            .find(|t| t.admin.as_ref() == Some(&id.0) && t.realm == id.1);
        let found = if kept_out.contains(id) {
            token
                .filter(|t| t.current.is_some() || t.next.is_some())
                .map(|t| Lost::Ended(t.serial.clone()))
        } else {
            shown.get(id).and_then(|shown| compare(shown, token))
        };
        result.extend(found.map(|lost| (id.clone(), lost)));
    }
    result
}

fn shown_in(facts: &Facts, project: &str, slot: Slot, login: &Login) -> Option<Shown> {
    let state = facts.states.get(&(slot, login.clone()))?;
    let stamp = Stamp::of(state).filter(|s| s.project == project)?;
    let deadline = format!("{}.{login}", slot.as_str());
    Some(Shown {
        // A one-time code has an id of another kind, and is no generation.
        serial: Serial::new(&stamp.serial).ok()?,
        number: Generation::try_from(stamp.generation).ok()?,
        fingerprint: state.secret_sha256.chars().take(FINGERPRINT).collect(),
        slot: match slot {
            Slot::Current => TokenSlot::Current,
            Slot::Next => TokenSlot::Next,
        },
        confirmed: !facts.secret_deadlines.contains_key(&deadline),
        expires_at: (stamp.expires > 0)
            .then(|| Timestamp::from_second(stamp.expires).ok())
            .flatten(),
    })
}

fn compare(shown: &[Shown], token: Option<&TokenRecord>) -> Option<Lost> {
    let serials: BTreeSet<&Serial> = shown.iter().map(|s| &s.serial).collect();
    let names = || {
        serials
            .iter()
            .map(|s| s.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let [serial] = serials.iter().copied().collect::<Vec<_>>()[..] else {
        return Some(Lost::Conflict(format!(
            "hosts hold several tokens: {}",
            names()
        )));
    };
    if let Some(token) = token.filter(|t| t.serial != *serial) {
        return Some(Lost::Conflict(format!(
            "hosts hold token {serial}, and the ledger has issued {}",
            token.serial
        )));
    }
    let current = newest(shown, TokenSlot::Current);
    let next = newest(shown, TokenSlot::Next)
        .filter(|n| current.as_ref().is_none_or(|c| n.number > c.number));
    let generations: Vec<TakenGeneration> = current.into_iter().chain(next).collect();
    for generation in &generations {
        let other = shown
            .iter()
            .any(|s| s.number == generation.number && s.fingerprint != generation.fingerprint);
        if other {
            return Some(Lost::Conflict(format!(
                "hosts hold different keys as generation {} of {serial}",
                generation.number
            )));
        }
    }
    let newest_shown = generations.iter().map(|g| g.number).max()?;
    if let Some(token) = token {
        let known = |g: &TakenGeneration| {
            token.generation(g.number).is_some_and(|known| {
                known.fingerprint == g.fingerprint
                    && (known.state == GenerationState::Active || !g.confirmed)
            })
        };
        // What the ledger issued since, and no host has yet, is newer.
        let newest_known = [&token.current, &token.next].into_iter().flatten();
        let ahead = newest_known.map(|g| g.number).max() > Some(newest_shown);
        if ahead || generations.iter().all(known) {
            return None;
        }
    }
    Some(Lost::Token(serial.clone(), generations))
}

/// The newest generation in a slot; confirmed where one host knows that.
fn newest(shown: &[Shown], slot: TokenSlot) -> Option<TakenGeneration> {
    let newest = shown
        .iter()
        .filter(|s| s.slot == slot)
        .max_by_key(|s| s.number)?;
    let confirmed = shown
        .iter()
        .any(|s| s.slot == slot && s.number == newest.number && s.confirmed);
    Some(TakenGeneration {
        number: newest.number,
        slot,
        fingerprint: newest.fingerprint.clone(),
        confirmed: confirmed && slot == TokenSlot::Current,
        expires_at: newest.expires_at,
        sealed: None,
    })
}
