//! What `status` says of a rotation.

use serde::Serialize;

use super::{HostCell, span};
use crate::clock::Timestamp;
use crate::ledger::TokenRecord;
use crate::token::state::{GenerationState, TokenState};

/// A rotation under way.
#[derive(Debug, Serialize)]
pub(super) struct RotationCell {
    /// The generation it replaces.
    old: u32,
    /// The new one.
    new: u32,
    /// A code of the new one was verified.
    confirmed: bool,
    /// When the overlap ends, unless it is confirmed.
    ends_at: Option<Timestamp>,
    /// Why it was asked for.
    reason: Option<String>,
    /// The ticket.
    ticket: Option<String>,
    /// How many hosts were last seen with the new one.
    hosts_with_new: usize,
    /// On how many of them it has the old one's place.
    hosts_done: usize,
}

impl RotationCell {
    pub(super) fn of(token: &TokenRecord, on: &[HostCell]) -> Option<Self> {
        let (old, new) = token
            .current
            .as_ref()
            .zip(token.next.as_ref())
            .filter(|_| token.state == TokenState::Rotating)?;
        let done = |cell: &&HostCell| cell.current == Some(new.number);
        Some(Self {
            old: old.number,
            new: new.number,
            confirmed: new.state == GenerationState::Active,
            ends_at: new.expires_at,
            reason: new.cause.reason().map(str::to_owned),
            ticket: new.cause.ticket().map(str::to_owned),
            hosts_with_new: on
                .iter()
                .filter(|c| c.next == Some(new.number) || done(c))
                .count(),
            hosts_done: on.iter().filter(done).count(),
        })
    }

    /// `1 -> 2, new on 3/4, 6d left (OPS-7: laptop lost)`: keep the old entry until it is done everywhere.
    pub(super) fn text(&self, all: usize, now: Timestamp) -> String {
        let cause: Vec<&str> = [&self.ticket, &self.reason]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let so_far = self.so_far(all, now);
        if cause.is_empty() {
            return so_far;
        }
        format!("{so_far} ({})", cause.join(": "))
    }

    fn so_far(&self, all: usize, now: Timestamp) -> String {
        let Self {
            old,
            new,
            hosts_with_new,
            hosts_done,
            ..
        } = self;
        if self.confirmed {
            return format!("{old} -> {new}, done on {hosts_done}/{all}");
        }
        let left = self.ends_at.map_or_else(String::new, |at| {
            let seconds = at.as_second() - now.as_second();
            if seconds > 0 {
                format!(", {} left", span(seconds))
            } else {
                ", overdue".to_owned()
            }
        });
        format!("{old} -> {new}, new on {hosts_with_new}/{all}{left}")
    }
}
