//! The events that a picture is made of, as the log has them.
//!
//! What an event of an earlier version lacks is left out of the picture or taken from what went before; keys were only
//! ever added.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Weakness;
use crate::clock::Timestamp;

/// Newest form of events that this program knows.
pub(super) const VERSION: u64 = 1;

/// What every event has.
#[derive(Deserialize)]
pub(super) struct Head<'a> {
    pub(super) v: u64,
    pub(super) at: Timestamp,
    pub(super) kind: &'a str,
}

/// An event of a kind that a picture is made of.
#[derive(Deserialize)]
pub(super) struct Whole<'a> {
    #[serde(default)]
    pub(super) actor: Option<&'a str>,
    #[serde(borrow)]
    pub(super) data: Data<'a>,
}

/// What such events say. Identifiers have no characters that JSON escapes, other texts may.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Data<'a> {
    #[serde(borrow)]
    pub(super) serial: Option<&'a str>,
    pub(super) generation: Option<u32>,
    pub(super) admin: Option<&'a str>,
    pub(super) realm: Option<String>,
    pub(super) purpose: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) fingerprint: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) slot: Option<String>,
    pub(super) state: Option<String>,
    pub(super) sheet: Option<&'a str>,
    pub(super) encryption: Option<String>,
    pub(super) replaces: Vec<u32>,
    pub(super) verified_by: Option<&'a str>,
    pub(super) verified_how: Option<String>,
    pub(super) approved_by: Option<&'a str>,
    pub(super) how: Option<String>,
    pub(super) to: Option<&'a str>,
    pub(super) supersedes: Option<u32>,
    pub(super) generations: Vec<Taken>,
    pub(super) reason: Option<String>,
    pub(super) ticket: Option<String>,
    pub(super) why: Option<String>,
    pub(super) again: bool,
    pub(super) host: Option<&'a str>,
    /// Hosts that a revocation added; hosts that were read and showed nothing new.
    pub(super) hosts: Vec<&'a str>,
    pub(super) attested: Vec<&'a str>,
    /// When a host was read.
    pub(super) at: Option<Timestamp>,
    pub(super) reachable: Option<bool>,
    pub(super) detail: Option<String>,
    /// A retired host is back.
    pub(super) returned: bool,
    pub(super) tokens: Vec<Seen<'a>>,
    /// Every other token on the host was read again, unchanged.
    pub(super) rest: bool,
    /// These were.
    pub(super) same: Vec<&'a str>,
    /// Hosts on which only some tokens were read again.
    pub(super) some: BTreeMap<&'a str, Vec<&'a str>>,
    /// Hosts that were tried again and are as far away as before.
    pub(super) tried: Vec<&'a str>,
    pub(super) weaknesses: Option<Vec<Weakness>>,
    /// Of how many logins a host demands no code any more.
    pub(super) key_only: u64,
    pub(super) bypass: Option<&'a str>,
    pub(super) due: Option<Timestamp>,
}

/// A token on a host that has changed.
#[derive(Deserialize)]
pub(super) struct Seen<'a> {
    pub(super) serial: &'a str,
    pub(super) state: &'a str,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) current: u32,
    #[serde(default)]
    pub(super) next: u32,
}

/// A generation that was taken in from hosts.
#[derive(Deserialize)]
pub(super) struct Taken {
    pub(super) generation: u32,
    pub(super) slot: String,
    pub(super) confirmed: bool,
    pub(super) fingerprint: String,
    #[serde(default)]
    pub(super) expires_at: Option<Timestamp>,
}
