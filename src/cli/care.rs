//! What `status` says about a token beside its state: codes that are left, secrets that were open to others, signs of
//! malfeasance.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ledger::{Ledger, RecoveryCount, Signals};
use crate::token::id::Serial;

/// So few recovery codes are a reason for a new sheet.
pub(super) const FEW: u32 = 2;

/// One token's.
#[derive(Debug, Default, Serialize)]
pub(super) struct Care {
    /// Recovery codes; null where its sheets have none.
    pub(super) recovery_codes: Option<RecoveryCount>,
    /// Former recipients of the vault that could open a live secret of it.
    pub(super) exposed_to: Vec<String>,
    /// Signs of malfeasance; null where there are none.
    pub(super) signals: Option<Signals>,
}

impl Care {
    /// Says what ought to be done. Signs from before the newest generation was issued, at `issued`, are history.
    pub(super) fn warnings(
        &self,
        admin: &str,
        realm: &str,
        issued: Option<Timestamp>,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(count) = self.recovery_codes.filter(|c| c.left <= FEW) {
            lines.push(format!(
                "{admin} in realm {realm} has {} of {} recovery codes left; a new sheet has new ones",
                count.left, count.issued
            ));
        }
        if !self.exposed_to.is_empty() {
            lines.push(format!(
                "the key of {admin} in realm {realm} could be read by {} who no longer may: it is to be replaced",
                if self.exposed_to.len() == 1 { "a recipient" } else { "recipients" }
            ));
        }
        let fresh = |s: &&Signals| issued.is_none_or(|at| s.last_at >= at);
        if let Some(signals) = self.signals.as_ref().filter(fresh) {
            lines.push(format!(
                "{admin} in realm {realm}: {} of malfeasance, the last one ({}) at {}",
                if signals.count == 1 {
                    "1 sign".to_owned()
                } else {
                    format!("{} signs", signals.count)
                },
                signals.last,
                signals.last_at
            ));
        }
        lines
    }
}

/// All tokens'.
#[derive(Debug)]
pub(super) struct Cares {
    recovery: BTreeMap<Serial, RecoveryCount>,
    exposed: BTreeMap<Serial, Vec<String>>,
    signals: BTreeMap<Serial, Signals>,
}

impl Cares {
    /// Reads them at once.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub(super) async fn read(ledger: &Ledger) -> Result<Self, Error> {
        let mut exposed: BTreeMap<Serial, Vec<String>> = BTreeMap::new();
        for one in ledger.exposed().await? {
            let to = exposed.entry(one.serial).or_default();
            if !to.contains(&one.recipient) {
                to.push(one.recipient);
            }
        }
        Ok(Self {
            recovery: ledger.recovery_counts().await?,
            exposed,
            signals: ledger.signals().await?,
        })
    }

    /// Takes one token's out.
    pub(super) fn take(&mut self, serial: &Serial) -> Care {
        Care {
            recovery_codes: self.recovery.remove(serial),
            exposed_to: self.exposed.remove(serial).unwrap_or_default(),
            signals: self.signals.remove(serial),
        }
    }
}
