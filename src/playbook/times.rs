//! Where a run's time goes: by phases of the work on hosts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

/// A phase of the work on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Waiting for a turn at a door or an account, and logging in.
    Connect,
    /// Reading the host.
    Read,
    /// Being told what its admins should have; sheets are drawn then.
    Issue,
    /// Waiting for another host of its kind to prove the same change.
    Wait,
    /// Changing it, judged by its own sshd.
    Change,
    /// Proving the change by the login table, and confirming it.
    Prove,
    /// Confirming it over a fresh connection.
    Confirm,
}

impl Phase {
    /// Returns the word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Read => "read",
            Self::Issue => "issue",
            Self::Wait => "wait",
            Self::Change => "change",
            Self::Prove => "prove",
            Self::Confirm => "confirm",
        }
    }
}

/// How long each phase took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times(BTreeMap<Phase, Duration>);

impl Times {
    /// Adds what has passed since then.
    pub fn add(&mut self, phase: Phase, since: Instant) {
        *self.0.entry(phase).or_default() += since.elapsed();
    }

    /// Takes in what a further pass took.
    pub fn merge(&mut self, other: &Self) {
        for (phase, time) in &other.0 {
            *self.0.entry(*phase).or_default() += *time;
        }
    }

    /// The phases that there were.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, Duration)> {
        self.0.iter().map(|(phase, time)| (*phase, *time))
    }
}
