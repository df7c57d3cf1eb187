//! What a run's journal is told of parts of the run that are more than one pass over hosts.

use super::run::Run;
use crate::error::Error;
use crate::ledger::Stage;
use crate::names::HostName;
use crate::playbook::journal::ends;
use crate::playbook::outcome::Outcome;

/// Which part of a run it is, and the play's name, where there is one.
pub type Turn = (Stage, String);

/// Returns the same part of a run, after which tasks are still to come for its hosts, or none.
pub fn followed(turn: &Turn, more: bool) -> Turn {
    let (stage, play) = turn;
    (Stage { more, ..*stage }, play.clone())
}

impl Run<'_> {
    /// Notes that hosts wait for a part of the run: until its end is noted they are left undone.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn journal_waiting(
        &self,
        (stage, play): &Turn,
        hosts: &[HostName],
    ) -> Result<(), Error> {
        if !self.globals.check {
            self.setup.ledger.journal_batch(*stage, play, hosts).await?;
        }
        Ok(())
    }

    /// Notes how hosts ended in a part of the run. Those whose turn did not come go on waiting.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn journal_ended(
        &self,
        (stage, _): &Turn,
        hosts: &[HostName],
        outcome: &Outcome,
    ) -> Result<(), Error> {
        if !self.globals.check {
            let ends = ends(hosts, outcome, self.world.clock.now());
            self.setup.ledger.journal_done(*stage, &ends).await?;
        }
        Ok(())
    }
}
