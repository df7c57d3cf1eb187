//! Rotations at the desk: begun, taken back, ended.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::ledger::{IssueKind, RotationEnd};
use crate::names::{AdminName, RealmName};
use crate::playbook::desk::{Desk, Seat};
use crate::playbook::rotate::Id;
use crate::playbook::sheets::destroy;
use crate::token::state::{GenerationState, SheetState, TokenState};

impl Desk {
    /// Returns whether an issue of this kind goes into the slot `next`.
    pub(super) fn goes_to_next(&self, id: &Id, kind: IssueKind) -> bool {
        match kind {
            IssueKind::Rotation => true,
            IssueKind::Reissue => self.tokens.get(id).is_some_and(|t| {
                t.next
                    .as_ref()
                    .is_some_and(|g| g.state == GenerationState::Pending)
            }),
            IssueKind::First | IssueKind::LostDevice => false,
        }
    }

    /// Begins the rotation of an admin's token: a new generation in the ledger, its sheet written, no host told yet. One
    /// whose sheet an earlier run could not finish is begun anew. Returns why it was not begun.
    ///
    /// # Errors
    /// When the ledger, the vault or a sheet cannot be written: the run must not go on.
    pub async fn rotate(&mut self, seat: &Seat) -> Result<Option<String>, Error> {
        let id = (seat.admin.name.clone(), seat.realm.name.clone());
        let kind = match self.tokens.get(&id) {
            Some(token) if token.state == TokenState::Active => IssueKind::Rotation,
            Some(token) if token.has_lost_sheet() => IssueKind::Reissue,
            _ => return Ok(Some("it cannot be rotated now".to_owned())),
        };
        if self.issue(seat, kind).await? {
            self.begun.insert(id);
            return Ok(None);
        }
        Ok(Some(self.refused.remove(&id).unwrap_or_default()))
    }

    /// Returns the rotations that this run has begun and not taken back.
    pub fn begun(&self) -> &BTreeSet<Id> {
        &self.begun
    }

    /// Takes a rotation back, unless its new code was used. Returns whether it was taken back.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn take_back(
        &mut self,
        admin: &AdminName,
        realm: &RealmName,
        why: &str,
    ) -> Result<bool, Error> {
        let Some(token) = self.token(admin, realm) else {
            return Ok(false);
        };
        if token.state != TokenState::Rotating || token.pending().is_none() {
            return Ok(false);
        }
        let serial = token.serial.clone();
        let end = self
            .ledger
            .take_back_rotation(&serial, why, &self.permissions.cause)
            .await?;
        let id = (admin.clone(), realm.clone());
        self.begun.remove(&id);
        let generation = end.ended;
        // Nobody needs a sheet that is worth nothing.
        self.sheets
            .retain(|s| s.admin != admin.as_str() || s.realm != realm.as_str());
        self.take_in(end);
        self.notes.push(format!(
            "the rotation of {admin} in realm {realm} was taken back (generation {generation}): {why}"
        ));
        Ok(true)
    }

    /// Ends the rotations that are over by what hosts were last seen to have.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn finish_rotations(&mut self) -> Result<(), Error> {
        for end in self.ledger.finish_rotations().await? {
            self.notes.push(format!(
                "the rotation of {} in realm {} is complete: every host has generation {} and no other",
                who(&end),
                end.token.realm,
                end.token.current.as_ref().map_or(0, |g| g.number)
            ));
            self.take_in(end);
        }
        Ok(())
    }

    /// Ends the rotations that nobody confirmed in time. Tokens of the realms `expire` expire with it.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn end_overdue_rotations(
        &mut self,
        expire: &BTreeSet<RealmName>,
    ) -> Result<(), Error> {
        for end in self.ledger.end_overdue_rotations(expire).await? {
            let rest = if end.token.state == TokenState::Expired {
                "and the old code has ended with it"
            } else {
                "and the old code stays valid; it is overdue"
            };
            self.notes.push(format!(
                "nobody confirmed the rotation of {} in realm {} in time: generation {} expired, {rest}",
                who(&end),
                end.token.realm,
                end.ended
            ));
            self.take_in(end);
        }
        Ok(())
    }

    fn take_in(&mut self, end: RotationEnd) {
        self.notes.extend(end.sheet.as_ref().and_then(destroy));
        self.keys.remove(&(end.token.serial.clone(), end.ended));
        if let Some(admin) = end.token.admin.clone() {
            self.tokens
                .insert((admin, end.token.realm.clone()), end.token);
        }
    }
}

fn who(end: &RotationEnd) -> String {
    end.token
        .admin
        .as_ref()
        .map_or_else(|| end.token.serial.to_string(), ToString::to_string)
}

impl crate::ledger::TokenRecord {
    /// Returns whether an earlier run could not finish the sheet that waits for its confirmation: nobody has it, and it
    /// cannot be rendered again.
    pub(crate) fn has_lost_sheet(&self) -> bool {
        self.pending()
            .and_then(|g| g.sheet.as_ref())
            .is_some_and(|s| s.state == SheetState::Rendering)
    }
}
