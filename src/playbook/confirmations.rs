//! What a host knows of codes that were used: taken in before it is said what the host should have.

use tokio::sync::oneshot;

use crate::host::facts::{Facts, Slot};
use crate::plan::evidence::confirmed_step;
use crate::plan::rotation::promoted_by_host;
use crate::plan::state::Stamp;
use crate::playbook::desk::{Seat, SeenLogin};
use crate::playbook::job::Ask;
use crate::playbook::stop::Stop;
use crate::playbook::worker::Worker;

impl Worker {
    /// Takes in the complete logins of which the host's log tells.
    pub(super) async fn take_in_confirmations(&self, facts: &Facts) -> Result<(), Stop> {
        if !self.shared.evidence || self.shared.check {
            return Ok(());
        }
        let now = self.shared.clock.now();
        for seat in self.job.seats.iter() {
            let period = i64::try_from(seat.realm.policy.period.as_secs()).unwrap_or(30);
            // Also in a rotation only one generation waits; the desk knows which.
            for slot in [Slot::Current, Slot::Next] {
                if let Some(step) = confirmed_step(facts, slot, &seat.login, period, now) {
                    self.tell_login(facts, slot, seat, Some(step)).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes in what hosts have decided by themselves at the end of an overlap: one that has put the new generation in
    /// the old one's place has seen it used. Returns whether there was any.
    pub(super) async fn take_in_promotions(&self, facts: &Facts) -> Result<bool, Stop> {
        if self.shared.check {
            return Ok(false);
        }
        let mut any = false;
        for (seat, member) in self.job.seats.iter().zip(&self.members) {
            if member
                .token
                .as_ref()
                .is_some_and(|t| promoted_by_host(facts, member, t))
            {
                self.tell_login(facts, Slot::Current, seat, None).await?;
                any = true;
            }
        }
        Ok(any)
    }

    /// Tells the desk of a login with the secret that a slot holds.
    async fn tell_login(
        &self,
        facts: &Facts,
        slot: Slot,
        seat: &Seat,
        step: Option<u64>,
    ) -> Result<(), Stop> {
        let state = facts.states.get(&(slot, seat.login.clone()));
        let Some((state, stamp)) = state
            .and_then(|s| Some((s, Stamp::of(s)?)))
            .filter(|(_, stamp)| stamp.project == self.shared.project)
        else {
            return Ok(());
        };
        let (reply, answer) = oneshot::channel();
        let seen = SeenLogin {
            admin: seat.admin.name.clone(),
            realm: seat.realm.name.clone(),
            host: self.job.name.clone(),
            serial: stamp.serial,
            generation: stamp.generation,
            secret_sha256: state.secret_sha256.clone(),
            step,
        };
        self.ask(Ask::Confirmed(seen, reply)).await?;
        answer.await.map_err(|_| Stop::Interrupted)
    }
}
