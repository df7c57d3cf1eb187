//! The state at a time, told by the events up to then and by nothing else.
//!
//! There is one way to it, for now as for any day before: [`Picture::apply`] takes in one event after the other. Tokens
//! and hosts are numbered, and what was seen of a token on a host is one small record, so that a million of them fit.

mod events;
mod fold;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::names::Login;
use crate::token::state::{
    BypassState, GenerationState, SheetState, Slot, TokenHostState, TokenState,
};

pub use fold::PictureError;

/// Number of a token in a picture.
pub type TokenId = u32;
/// Number of a host in a picture.
pub type HostId = u32;

/// Tokens, sheets, hosts and what was last seen on them.
#[derive(Debug, Default)]
pub struct Picture {
    /// By number.
    pub tokens: Vec<Token>,
    /// By number.
    pub hosts: Vec<Host>,
    /// Every revocation, oldest first.
    pub revocations: Vec<Revocation>,
    /// Every one-time code by grant and host, oldest first.
    pub bypasses: Vec<Bypass>,
    /// The number of the last event taken in, and its hash.
    pub log: (i64, String),
    /// Events of kinds that this program does not know, and how many of each.
    pub strange: BTreeMap<String, u64>,
    pub(super) texts: Texts,
    serials: HashMap<Arc<str>, TokenId>,
    host_ids: HashMap<Arc<str>, HostId>,
    bypass_ids: HashMap<(Arc<str>, HostId), usize>,
}

/// Names behind pseudonyms, and accounts. They stand outside the log, so that they can be erased.
#[derive(Debug, Default)]
pub struct People {
    /// Names by pseudonym; those that were erased are not here.
    pub names: HashMap<Arc<str>, Arc<str>>,
    /// The accounts that a token was ever seen with, by serial.
    pub logins: HashMap<Arc<str>, Vec<Login>>,
}

impl People {
    /// The name behind a pseudonym, or the pseudonym of one that was erased.
    pub fn name<'a>(&'a self, id: &'a Arc<str>) -> &'a Arc<str> {
        self.names.get(id).unwrap_or(id)
    }
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its serial.
    pub serial: Arc<str>,
    /// The admin's pseudonym.
    pub person: Arc<str>,
    /// Where it is used.
    pub realm: Arc<str>,
    /// The policy of its newest generation, where the log says it.
    pub policy: Option<Arc<str>>,
    /// Its state.
    pub state: TokenState,
    /// When the state or a generation last became different.
    pub changed_at: Timestamp,
    /// All generations, oldest first.
    pub generations: Vec<Generation>,
    /// Its latest revocation.
    pub revocation: Option<usize>,
}

impl Token {
    /// The live generation in a slot.
    pub fn live(&self, slot: Slot) -> Option<&Generation> {
        self.generations
            .iter()
            .find(|g| g.slot == slot && g.state.is_live())
    }

    /// Nobody confirmed its rotation before the end of the overlap.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        match self.live(Slot::Next) {
            Some(next) => {
                next.state == GenerationState::Pending && next.expires_at.is_some_and(|e| e <= now)
            }
            None => {
                self.state == TokenState::Active
                    && self.generations.last().is_some_and(|g| {
                        g.slot == Slot::Next && g.state == GenerationState::Expired
                    })
            }
        }
    }
}

/// Who did something, and who vouched for it; pseudonyms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deed {
    /// Who ran the program.
    pub by: Option<Arc<str>>,
    /// Who approved it.
    pub approved_by: Option<Arc<str>>,
    /// Who checked the admin's identity.
    pub verified_by: Option<Arc<str>>,
    /// How.
    pub verified_how: Option<Arc<str>>,
}

/// A generation of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// Its number, from 1.
    pub number: u32,
    /// Where on hosts.
    pub slot: Slot,
    /// Its state.
    pub state: GenerationState,
    /// Why it was issued.
    pub purpose: Arc<str>,
    /// Fingerprint of its key.
    pub fingerprint: Arc<str>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// By whom.
    pub issued: Deed,
    /// When it ends unless confirmed.
    pub expires_at: Option<Timestamp>,
    /// When a code of it was verified.
    pub confirmed_at: Option<Timestamp>,
    /// By whom.
    pub confirmed: Deed,
    /// `code` or `login`.
    pub confirmed_how: Option<Arc<str>>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its sheet; one that was taken in from hosts has none.
    pub sheet: Option<Sheet>,
}

/// A sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// Its id.
    pub id: Arc<str>,
    /// Its state.
    pub state: SheetState,
    /// How its file is protected.
    pub encryption: Arc<str>,
    /// When it was handed over.
    pub delivered_at: Option<Timestamp>,
    /// To whom; a pseudonym.
    pub delivered_to: Option<Arc<str>>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: Arc<str>,
    /// Whether the last attempt reached it.
    pub reachable: bool,
    /// Why not, or what failed.
    pub detail: Option<Arc<str>>,
    /// The last attempt.
    pub last_attempt_at: Timestamp,
    /// When it was last read.
    pub last_seen_at: Option<Timestamp>,
    /// It is not expected back.
    pub retired_at: Option<Timestamp>,
    /// fleetotp was taken off it.
    pub removed_at: Option<Timestamp>,
    /// Ways past the code that were last seen on it; `None` where nobody looked.
    pub weaknesses: Option<Arc<[Weakness]>>,
    /// What was last seen of tokens on it, by number of the token.
    pub places: Vec<(TokenId, Place)>,
}

impl Host {
    /// Whether what is known of it is what it has now, as far as anybody could tell at the last attempt.
    pub const fn is_known(&self) -> bool {
        self.reachable && self.detail.is_none() && self.last_seen_at.is_some()
    }

    /// What was last seen of a token.
    pub fn place(&self, token: TokenId) -> Option<&Place> {
        let at = self.places.binary_search_by_key(&token, |p| p.0).ok()?;
        self.places.get(at).map(|p| &p.1)
    }
}

/// A way past the code that a host has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Weakness {
    /// What kind, such as `nullok`.
    pub kind: String,
    /// Whom it concerns, where it is not everybody: an account is not named in the log, only the number of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub accounts: u32,
    /// What was seen.
    pub detail: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What was last seen of a token on a host. Forty bytes: there may be a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What was seen.
    pub state: TokenHostState,
    /// Why it is a gap; a number of a text.
    pub(super) reason: u32,
    /// Generation seen in slot `current`, or 0.
    pub current: u32,
    /// Generation seen in slot `next`, or 0.
    pub next: u32,
    /// When this last became different, in milliseconds since 1970.
    pub(super) changed_at: i64,
    /// When it was last read, in milliseconds since 1970.
    pub(super) observed_at: i64,
}

impl Place {
    /// When this last became different.
    pub fn changed_at(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.changed_at).ok()
    }

    /// When it was last read.
    pub fn observed_at(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.observed_at).ok()
    }
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The token.
    pub token: TokenId,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// By whom; a pseudonym.
    pub by: Option<Arc<str>>,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// The ticket.
    pub ticket: Option<Arc<str>>,
    /// When the admin was enrolled anew.
    pub replaced_at: Option<Timestamp>,
    /// Hosts from which it is to be gone, by number.
    pub items: Vec<(HostId, Item)>,
}

/// A host of a revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// How far it is.
    pub state: ItemState,
    /// Since when it is open, or was: it may have been found open again.
    pub opened_at: Timestamp,
    /// When the host was read back and showed it, or somebody attested it.
    pub closed_at: Option<Timestamp>,
    /// Why it is open, as last seen; or the reason of the attestation.
    pub why: Option<Arc<str>>,
}

/// How far a host of a revocation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemState {
    /// Still to be proven.
    Open,
    /// The host was read back and shows it.
    Proven,
    /// Somebody said that the host does not come back. No proof.
    Attested,
}

impl Revocation {
    /// How many hosts are how.
    pub fn count(&self, state: ItemState) -> usize {
        self.items.iter().filter(|i| i.1.state == state).count()
    }

    /// When the last host was closed; `None` while one is open.
    pub fn done_at(&self) -> Option<Timestamp> {
        let mut last = self.asked_at;
        for (_, item) in &self.items {
            last = last.max(item.closed_at?);
        }
        Some(last)
    }
}

/// A one-time code on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bypass {
    /// The grant.
    pub id: Arc<str>,
    /// The host.
    pub host: HostId,
    /// The token.
    pub token: TokenId,
    /// When it was granted.
    pub granted_at: Timestamp,
    /// By whom; a pseudonym.
    pub by: Option<Arc<str>>,
    /// When it ends.
    pub due_at: Timestamp,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// The ticket.
    pub ticket: Option<Arc<str>>,
    /// What became of it.
    pub state: BypassState,
    /// When its end was seen.
    pub ended_at: Option<Timestamp>,
}

/// Texts that stand in many records, each kept once.
#[derive(Debug)]
pub(super) struct Texts {
    numbers: HashMap<Arc<str>, u32>,
    all: Vec<Arc<str>>,
}

impl Default for Texts {
    fn default() -> Self {
        // Number 0 is no text.
        Self {
            numbers: HashMap::new(),
            all: vec![Arc::from("")],
        }
    }
}

impl Texts {
    fn number(&mut self, text: Option<&str>) -> u32 {
        let Some(text) = text.filter(|t| !t.is_empty()) else {
            return 0;
        };
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.all.len()).unwrap_or(0);
        let text: Arc<str> = text.into();
        self.all.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }

    /// A text that may stand in many records, in memory once.
    fn shared(&mut self, text: Option<&str>) -> Option<Arc<str>> {
        let index = usize::try_from(self.number(text)).ok()?;
        self.all.get(index).filter(|t| !t.is_empty()).cloned()
    }
}

impl Picture {
    /// Why a token on a host is as it is; empty where there is nothing to say.
    pub fn reason(&self, place: &Place) -> Arc<str> {
        let index = usize::try_from(place.reason).unwrap_or(0);
        self.texts.all.get(index).cloned().unwrap_or_default()
    }

    /// A token.
    pub fn token(&self, id: TokenId) -> Option<&Token> {
        self.tokens.get(usize::try_from(id).ok()?)
    }

    /// A host.
    pub fn host(&self, id: HostId) -> Option<&Host> {
        self.hosts.get(usize::try_from(id).ok()?)
    }

    /// A host by name.
    pub fn host_named(&self, name: &str) -> Option<&Host> {
        self.host(*self.host_ids.get(name)?)
    }

    /// A token's number.
    pub fn token_id(&self, serial: &str) -> Option<TokenId> {
        self.serials.get(serial).copied()
    }
}
