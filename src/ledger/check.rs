//! The check of an event chain, wherever it comes from: the database and an export are judged by this one piece.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::clock::Timestamp;
use crate::ledger::event::VERSION;
use crate::ledger::tx::link;
use crate::ledger::{Head, canonical_json};

/// The event that says that a head was signed.
pub(super) const HEAD_SIGNED: &str = "head.signed";
/// The event that says that those before were archived.
pub(super) const ARCHIVED: &str = "events.archived";

/// Something is wrong with the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// The event's text, hash or search columns were changed, or another one was put in its place.
    #[error("event {seq} is not what was written: {what}")]
    Edited {
        /// The event's number.
        seq: i64,
        /// How that shows.
        what: &'static str,
    },
    /// The event is there, but not where it was.
    #[error("event {seq} is not in its place")]
    Reordered {
        /// The event's number.
        seq: i64,
    },
    /// There are two of that number.
    #[error("event {seq} is there twice")]
    Repeated {
        /// The event's number.
        seq: i64,
    },
    /// The first events are missing.
    #[error("events {from} to {to} are missing at the beginning")]
    RemovedAtHead {
        /// First missing number.
        from: i64,
        /// Last missing number.
        to: i64,
    },
    /// Events between others are missing.
    #[error("events {from} to {to} are missing in the middle")]
    RemovedInMiddle {
        /// First missing number.
        from: i64,
        /// Last missing number.
        to: i64,
    },
    /// The last events are missing.
    #[error("events {from} to {to} are missing at the end")]
    RemovedAtTail {
        /// First missing number.
        from: i64,
        /// Last missing number.
        to: i64,
    },
    /// The last event is not the one that was noted as the last.
    #[error("event {seq} has another hash than was noted when it was written")]
    OtherEnd {
        /// The event's number.
        seq: i64,
    },
}

/// Result of a check of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// What the first event follows.
    pub start: Head,
    /// The end of the chain as found.
    pub head: Head,
    /// What is wrong, in order; empty for a sound chain.
    pub faults: Vec<ChainFault>,
    /// The hashes at those sizes that were asked for and are there.
    pub hashes: BTreeMap<i64, String>,
    /// Heads that were signed, by size, with the key's fingerprint: so say the events.
    pub signed: BTreeMap<i64, String>,
    /// Ends up to which events were archived: so say the events.
    pub archived: Vec<Head>,
}

impl ChainReport {
    /// Returns whether nothing is wrong. Whoever can write the database can also rewrite the whole chain: only a head
    /// that was kept elsewhere shows that.
    pub const fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}

/// One event to be checked.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The text that the hash covers.
    pub body: &'a str,
    /// The hash that was written.
    pub hash: &'a str,
    /// The search columns; an export has none.
    pub columns: Option<Columns<'a>>,
}

/// Copies of fields of an event, beside it in the database.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// Its number.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: &'a str,
    /// The token.
    pub serial: Option<&'a str>,
    /// The host.
    pub host: Option<&'a str>,
}

/// A check in progress.
#[derive(Debug)]
pub struct ChainCheck {
    report: ChainReport,
    wanted: BTreeSet<i64>,
    /// Missing numbers, as first and last: filled where events turn up out of order.
    gaps: BTreeMap<i64, i64>,
}

impl ChainCheck {
    /// Begins a check of what follows `start`; the hashes at the sizes `wanted` are kept.
    pub fn new(start: Head, wanted: BTreeSet<i64>) -> Self {
        let mut hashes = BTreeMap::new();
        if wanted.contains(&start.size) {
            hashes.insert(start.size, start.hash.clone());
        }
        Self {
            report: ChainReport {
                head: start.clone(),
                start,
                faults: Vec::new(),
                hashes,
                signed: BTreeMap::new(),
                archived: Vec::new(),
            },
            wanted,
            gaps: BTreeMap::new(),
        }
    }

    /// The end of what was checked so far.
    pub const fn head(&self) -> &Head {
        &self.report.head
    }

    /// Checks the next event.
    pub fn push(&mut self, item: &Item<'_>) {
        let next = self.report.head.size + 1;
        let Some((seq, body)) = serde_json::from_str::<Value>(item.body)
            .ok()
            .and_then(|body| Some((body.get("seq")?.as_i64()?, body)))
        else {
            self.edited(next, "its text is not an event");
            self.step(next, item.hash);
            return;
        };
        if seq < next {
            let fault = if self.fill(seq) {
                ChainFault::Reordered { seq }
            } else {
                ChainFault::Repeated { seq }
            };
            self.report.faults.push(fault);
            return;
        }
        if seq > next {
            self.gaps.insert(next, seq - 1);
        }
        // After a gap the hash cannot fit, and the gap is reported.
        let linked = seq > next || link(&self.report.head.hash, item.body) == item.hash;
        let what = if linked {
            fault_of(&body, item, seq == next)
        } else {
            Some("its hash does not follow from its text and the event before")
        };
        if let Some(what) = what {
            self.edited(seq, what);
        }
        self.note(&body);
        self.step(seq, item.hash);
    }

    /// Ends the check. `noted` is the end that was written down when the last event was appended.
    #[must_use]
    pub fn finish(mut self, noted: Option<&Head>) -> ChainReport {
        let start = self.report.start.size;
        for (from, to) in std::mem::take(&mut self.gaps) {
            self.report.faults.push(if from == start + 1 {
                ChainFault::RemovedAtHead { from, to }
            } else {
                ChainFault::RemovedInMiddle { from, to }
            });
        }
        let head = &self.report.head;
        match noted {
            Some(noted) if noted.size > head.size => {
                self.report.faults.push(ChainFault::RemovedAtTail {
                    from: head.size + 1,
                    to: noted.size,
                });
            }
            Some(noted) if noted != head => {
                self.report
                    .faults
                    .push(ChainFault::OtherEnd { seq: head.size });
            }
            _ => {}
        }
        self.report
    }

    fn edited(&mut self, seq: i64, what: &'static str) {
        self.report.faults.push(ChainFault::Edited { seq, what });
    }

    fn step(&mut self, seq: i64, hash: &str) {
        self.report.head = Head {
            size: seq,
            hash: hash.to_owned(),
        };
        if self.wanted.contains(&seq) {
            self.report.hashes.insert(seq, hash.to_owned());
        }
    }

    /// Takes a number out of the gaps; `false` where it was not missing.
    fn fill(&mut self, seq: i64) -> bool {
        let Some((&from, &to)) = self.gaps.range(..=seq).next_back().filter(|g| *g.1 >= seq) else {
            return false;
        };
        self.gaps.remove(&from);
        if from < seq {
            self.gaps.insert(from, seq - 1);
        }
        if seq < to {
            self.gaps.insert(seq + 1, to);
        }
        true
    }

    /// Keeps what events say about heads.
    fn note(&mut self, body: &Value) {
        let kind = body.get("kind").and_then(Value::as_str);
        let data = |key: &str| body.get("data").and_then(|data| data.get(key));
        let text = |key: &str| data(key).and_then(Value::as_str).map(str::to_owned);
        let Some(size) = data("size").and_then(Value::as_i64) else {
            return;
        };
        if kind == Some(HEAD_SIGNED) {
            self.report
                .signed
                .insert(size, text("key").unwrap_or_default());
        } else if kind == Some(ARCHIVED)
            && let Some(hash) = text("hash")
        {
            self.report.archived.push(Head { size, hash });
        }
    }
}

/// Checks the text itself, and compares the search columns with it.
fn fault_of(body: &Value, item: &Item<'_>, in_place: bool) -> Option<&'static str> {
    if canonical_json(body) != item.body {
        return Some("its text is not canonical");
    }
    if body.get("v").and_then(Value::as_u64) != Some(u64::from(VERSION)) {
        return Some("its version is not one that this program knows");
    }
    let columns = item.columns?;
    let data = |key: &str| body.get("data")?.get(key)?.as_str();
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    if in_place && body.get("seq").and_then(Value::as_i64) != Some(columns.seq) {
        Some("its number was changed")
    } else if text("at").and_then(|t| t.parse::<Timestamp>().ok()) != Some(columns.at) {
        Some("its time was changed")
    } else if text("kind") != Some(columns.kind)
        || data("serial") != columns.serial
        || data("host") != columns.host
    {
        Some("its search columns were changed")
    } else {
        None
    }
}
