//! Why somebody asked for something, as far as it was said.

use crate::ledger::event::Draft;
use crate::names::printable;

/// Texts are cut to this many characters.
const MAX_TEXT: usize = 200;

/// A reason and a ticket, in a form that can be printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    pub(super) reason: Option<String>,
    pub(super) ticket: Option<String>,
}

impl Cause {
    /// Takes in what somebody typed.
    pub fn new(reason: Option<&str>, ticket: Option<&str>) -> Self {
        Self {
            reason: reason.map(|r| printable(r, MAX_TEXT)),
            ticket: ticket.map(|t| printable(t, MAX_TEXT)),
        }
    }

    /// Returns the reason.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Returns the ticket.
    pub fn ticket(&self) -> Option<&str> {
        self.ticket.as_deref()
    }

    /// Writes it into an event.
    pub(super) fn add_to(&self, draft: Draft) -> Draft {
        draft
            .with("reason", self.reason())
            .with("ticket", self.ticket())
    }
}
