//! What the dispatcher and a worker tell each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::fleet::target::Target;
use crate::host::facts::Facts;
use crate::host::request::Line;
use crate::inventory::model::Realm;
use crate::ledger::{HostObservation, HostRecord, ItemReading, TextChange, TokenHostObservation};
use crate::names::{AdminName, HostName, Login, RealmName};
use crate::plan::change::{Change, HostPlan, STATE_ROOT};
use crate::plan::revoke::Leaver;
use crate::plan::tool::Takeover;
use crate::playbook::conditions::HostConditions;
use crate::playbook::desk::{KeyFound, Place, Seat, SeenLogin};
use crate::playbook::engine::Turn;
use crate::playbook::outcome::HostReport;
use crate::token::id::{Generation, Serial};

/// What one worker does.
#[derive(Debug, Clone)]
pub struct Job {
    /// The host.
    pub name: HostName,
    /// How it is connected to.
    pub target: Target,
    /// The admins who have an account there.
    pub seats: Arc<[Seat]>,
    /// The logins of its other admins, whom this run is not about.
    pub others: Arc<[Login]>,
    /// Accounts that are exempt there, by exemptions that are in force.
    pub exempt: BTreeSet<Login>,
    /// The host's realm.
    pub realm: Arc<Realm>,
    /// What earlier runs know about the host: looked up when its turn comes, as of all hosts it would be much.
    pub memory: Memory,
    /// What the tasks want of it.
    pub conditions: HostConditions,
    /// Those of whom nothing is to be left there.
    pub leavers: Vec<LeaverSeat>,
    /// Nothing else is wanted there.
    pub only_leavers: bool,
    /// Another tool's enrolments that this run takes over.
    pub takes_over: Option<Arc<Takeover>>,
}

/// Somebody of whom nothing is to be left on a host.
#[derive(Debug, Clone)]
pub struct LeaverSeat {
    /// The token.
    pub serial: Serial,
    /// The admin; `None` once the person was erased.
    pub admin: Option<AdminName>,
    /// The account, and what its policy asks for besides.
    pub leaver: Leaver,
    /// It is still to be proven.
    pub open: bool,
    /// Since when it is open, or was.
    pub since: Timestamp,
}

/// What earlier runs know about a host, so that nothing is looked at twice. Kept in the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The last try to reach it failed.
    #[serde(skip)]
    pub away: bool,
    /// A run's text was put back there, and none has been brought again since.
    #[serde(skip)]
    pub rolled_back: bool,
    /// The configuration that was judged last.
    #[serde(skip)]
    pub judged_hash: Option<String>,
    /// OpenSSH's version then.
    #[serde(default)]
    pub version: String,
    /// State files (`current/alice`) with their hash and the fingerprint of the secret they held then.
    #[serde(default)]
    pub states: BTreeMap<String, (String, String)>,
    /// Scratch codes that were left in them then.
    #[serde(default)]
    pub scratch_codes: BTreeMap<String, u32>,
}

impl Memory {
    /// Reads it from the ledger's host row.
    pub fn of(record: &HostRecord) -> Self {
        let facts = record.facts.clone().unwrap_or_default();
        let memory: Self = serde_json::from_value(facts).unwrap_or_default();
        Self {
            away: !record.reachable,
            judged_hash: record.config_hash.clone(),
            rolled_back: record.rolled_back_at.is_some(),
            ..memory
        }
    }

    /// Takes in what was just read of the host.
    pub(super) fn learn(&mut self, facts: &Facts) {
        *self = Self {
            away: self.away,
            rolled_back: self.rolled_back,
            judged_hash: self.judged_hash.take(),
            ..Self::from_facts(facts)
        };
    }

    /// Takes in which secrets a plan has written: a file that is read back with the hash of what was sent holds what was
    /// sent.
    pub(super) fn wrote(&mut self, plan: &HostPlan) {
        for (_, change) in &plan.changes {
            let Change::File(file) = change else { continue };
            let name = file.path.strip_prefix(STATE_ROOT);
            let Some(name) = name.and_then(|n| n.strip_prefix('/')) else {
                continue;
            };
            if let (Some(Line::Secret(key)), Some(sum)) =
                (file.lines.first(), Line::sum_of(&file.lines))
            {
                self.states
                    .insert(name.to_owned(), (sum, key.fingerprint()));
            }
        }
    }

    /// What the next run need not look at again.
    pub(super) fn from_facts(facts: &Facts) -> Self {
        let (mut states, mut scratch_codes) = (BTreeMap::new(), BTreeMap::new());
        for ((slot, login), state) in &facts.states {
            let name = format!("{}/{login}", slot.as_str());
            let fingerprint = state.secret_sha256.chars().take(12).collect();
            scratch_codes.insert(name.clone(), state.scratch_codes);
            states.insert(name, (state.file.sha256.clone(), fingerprint));
        }
        Self {
            away: false,
            rolled_back: false,
            judged_hash: None,
            version: facts.version_text.clone(),
            states,
            scratch_codes,
        }
    }
}

/// What workers ask of the dispatcher.
#[derive(Debug)]
pub enum Ask {
    /// A host is being worked on.
    Begun(HostName),
    /// What should these seats have?
    Places(Arc<[Seat]>, oneshot::Sender<Vec<Place>>),
    /// The key of a generation of an admin's token in a realm.
    Key(AdminName, RealmName, Generation, oneshot::Sender<KeyFound>),
    /// Which of these tokens are to be revoked, as of now: asked immediately before a host is changed.
    Revoked(Vec<String>, oneshot::Sender<Vec<String>>),
    /// A host has seen a complete login with the generation that it has.
    Confirmed(SeenLogin, oneshot::Sender<()>),
    /// The configuration texts that are about to change on the host: noted before it hears of it.
    Changing(HostName, Vec<TextChange>, oneshot::Sender<()>),
    /// May this host of an equivalence class go on, and must it prove the change?
    Class(String, oneshot::Sender<ClassTurn>),
    /// How the proof of a class's change ended on the host whose turn it was.
    Proved(String, HostName, ProofEnd),
    /// The host is done.
    Done(Box<Finished>),
}

/// A host's turn within its equivalence class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassTurn {
    /// First of its class: prove by logins.
    Prove,
    /// The change was proved on another host of the class.
    Follow,
    /// The proof failed on that host: leave this one alone.
    Leave(HostName, String),
}

/// How the proof of a class's change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofEnd {
    /// Logins were as expected.
    Proved,
    /// Logins were not as expected: the class is left alone.
    Failed(String),
    /// It did not come to a proof: the next host of the class takes its turn.
    Undecided,
}

/// What a worker hands back.
#[derive(Debug)]
pub struct Finished {
    /// For people.
    pub report: HostReport,
    /// For the ledger; a host that was not begun was not looked at.
    pub host: Option<HostObservation>,
    /// For the ledger.
    pub tokens: Vec<TokenHostObservation>,
    /// For the ledger.
    pub readings: Vec<ItemReading>,
    /// The right to work, until it is counted how the host ended: that may let nobody else begin.
    pub turn: Option<Turn>,
}
