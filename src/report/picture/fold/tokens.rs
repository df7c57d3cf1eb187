//! Tokens, their generations and sheets.

use std::sync::Arc;

use super::{Now, Result, parsed};
use crate::clock::Timestamp;
use crate::report::picture::events::Taken;
use crate::report::picture::{Deed, Generation, Picture, Sheet, Token, TokenId};
use crate::token::state::{GenerationState, SheetState, Slot, TokenState};

const EXPIRED: (GenerationState, SheetState) = (GenerationState::Expired, SheetState::Expired);

impl Picture {
    pub(super) fn id_of(&self, now: &Now<'_>) -> Result<TokenId> {
        let serial = now.data.serial.ok_or("it names no token")?;
        self.token_id(serial)
            .ok_or_else(|| format!("it names a token that was never issued: {serial}"))
    }

    pub(super) fn token_mut(&mut self, id: TokenId) -> Result<&mut Token> {
        usize::try_from(id)
            .ok()
            .and_then(|i| self.tokens.get_mut(i))
            .ok_or_else(|| "there is no such token".to_owned())
    }

    /// The token that the event names, made where it is new.
    pub(super) fn token_or_new(&mut self, now: &Now<'_>) -> Result<TokenId> {
        let serial = now.data.serial.ok_or("it names no token")?;
        if let Some(id) = self.token_id(serial) {
            return Ok(id);
        }
        let id = TokenId::try_from(self.tokens.len()).map_err(|e| e.to_string())?;
        let serial: Arc<str> = serial.into();
        self.serials.insert(Arc::clone(&serial), id);
        self.tokens.push(Token {
            serial,
            person: now.data.admin.ok_or("it names no admin")?.into(),
            realm: now.data.realm.as_deref().ok_or("it names no realm")?.into(),
            policy: now.data.policy.as_deref().map(Arc::from),
            state: TokenState::Pending,
            changed_at: now.at,
            generations: Vec::new(),
            revocation: None,
        });
        Ok(id)
    }

    pub(super) fn set_state(&mut self, now: &Now<'_>, state: TokenState) -> Result<()> {
        let id = self.id_of(now)?;
        let token = self.token_mut(id)?;
        token.state = state;
        token.changed_at = now.at;
        Ok(())
    }

    pub(super) fn issued(&mut self, now: &Now<'_>) -> Result<()> {
        let data = &now.data;
        let id = self.token_or_new(now)?;
        let replaced = self.token_mut(id)?.revocation.take();
        if let Some(revocation) = replaced.and_then(|r| self.revocations.get_mut(r)) {
            revocation.replaced_at = Some(now.at);
        }
        let token = self.token_mut(id)?;
        for number in &data.replaces {
            let end = (GenerationState::Superseded, SheetState::Void);
            end_generation(token, *number, end, now.at);
        }
        token.state = parsed(data.state.as_deref())?;
        token.changed_at = now.at;
        token.policy = data.policy.as_deref().map(Arc::from);
        token.generations.push(Generation {
            number: data.generation.ok_or("it names no generation")?,
            slot: parsed(data.slot.as_deref())?,
            state: GenerationState::Pending,
            purpose: data.purpose.as_deref().unwrap_or_default().into(),
            fingerprint: data.fingerprint.as_deref().unwrap_or_default().into(),
            issued_at: now.at,
            issued: now.deed(),
            expires_at: data.expires_at,
            confirmed_at: None,
            confirmed: Deed::default(),
            confirmed_how: None,
            ended_at: None,
            sheet: data.sheet.map(|sheet| Sheet {
                id: sheet.into(),
                state: SheetState::Rendering,
                encryption: data.encryption.as_deref().unwrap_or_default().into(),
                delivered_at: None,
                delivered_to: None,
                ended_at: None,
            }),
        });
        Ok(())
    }

    pub(super) fn confirmed(&mut self, now: &Now<'_>) -> Result<()> {
        let id = self.id_of(now)?;
        let token = self.token_mut(id)?;
        token.state = parsed(now.data.state.as_deref())?;
        token.changed_at = now.at;
        let generation = generation_of(token, now)?;
        generation.state = GenerationState::Active;
        generation.confirmed_at = Some(now.at);
        generation.confirmed = now.deed();
        generation.confirmed_how = now.data.how.as_deref().map(Arc::from);
        end_sheet(generation, SheetState::Confirmed, now.at);
        Ok(())
    }

    pub(super) fn expired(&mut self, now: &Now<'_>) -> Result<()> {
        let id = self.id_of(now)?;
        let token = self.token_mut(id)?;
        let number = generation_of(token, now)?.number;
        end_generation(token, number, EXPIRED, now.at);
        if token.state.may_become(TokenState::Expired) {
            token.state = TokenState::Expired;
            token.changed_at = now.at;
        }
        Ok(())
    }

    pub(super) fn rotation_ended(&mut self, kind: &str, now: &Now<'_>) -> Result<()> {
        let id = self.id_of(now)?;
        let token = self.token_mut(id)?;
        let number = generation_of(token, now)?.number;
        token.changed_at = now.at;
        token.state = TokenState::Active;
        match kind {
            "rotation.finished" => {
                if let Some(old) = now.data.supersedes {
                    let end = (GenerationState::Superseded, SheetState::Void);
                    end_generation(token, old, end, now.at);
                }
                generation_of(token, now)?.slot = Slot::Current;
            }
            "rotation.taken_back" => {
                let end = (GenerationState::Withdrawn, SheetState::Void);
                end_generation(token, number, end, now.at);
            }
            _ => {
                end_generation(token, number, EXPIRED, now.at);
                token.state = parsed(now.data.state.as_deref())?;
                if token.state == TokenState::Expired
                    && let Some(old) = token.live(Slot::Current).map(|g| g.number)
                {
                    end_generation(token, old, EXPIRED, now.at);
                }
            }
        }
        Ok(())
    }

    pub(super) fn taken_in(&mut self, kind: &str, now: &Now<'_>) -> Result<()> {
        let id = self.token_or_new(now)?;
        let token = self.token_mut(id)?;
        let taken = &now.data.generations;
        let dead = if taken.is_empty() {
            GenerationState::Expired
        } else {
            GenerationState::Superseded
        };
        let gone: Vec<u32> = token
            .generations
            .iter()
            .filter(|g| g.state.is_live())
            .filter(|g| {
                !taken
                    .iter()
                    .any(|t| t.generation == g.number && *t.fingerprint == *g.fingerprint)
            })
            .map(|g| g.number)
            .collect();
        for number in gone {
            end_generation(token, number, (dead, SheetState::Void), now.at);
        }
        for generation in taken {
            take_in(token, generation, kind.trim_start_matches("token."), now)?;
        }
        token.generations.sort_by_key(|g| g.number);
        token.state = parsed(now.data.state.as_deref())?;
        token.changed_at = now.at;
        Ok(())
    }

    pub(super) fn sheet_changed(&mut self, kind: &str, now: &Now<'_>) -> Result<()> {
        let id = self.id_of(now)?;
        let token = self.token_mut(id)?;
        let generation = generation_of(token, now)?;
        let Some(sheet) = &mut generation.sheet else {
            return Err("it names a sheet that was never issued".to_owned());
        };
        match kind {
            "sheet.issued" => sheet.state = SheetState::Issued,
            "sheet.delivered" => {
                sheet.state = SheetState::Delivered;
                sheet.delivered_at = Some(now.at);
                sheet.delivered_to = now.data.to.map(Arc::from);
            }
            _ => {
                sheet.state = SheetState::Void;
                sheet.ended_at = Some(now.at);
            }
        }
        Ok(())
    }
}

fn generation_of<'a>(token: &'a mut Token, now: &Now<'_>) -> Result<&'a mut Generation> {
    let number = now.data.generation;
    token
        .generations
        .iter_mut()
        .find(|g| Some(g.number) == number)
        .ok_or_else(|| "it names a generation that was never issued".to_owned())
}

pub(super) fn end_generation(
    token: &mut Token,
    number: u32,
    (state, sheet): (GenerationState, SheetState),
    at: Timestamp,
) {
    if let Some(generation) = token.generations.iter_mut().find(|g| g.number == number) {
        generation.state = state;
        generation.ended_at = Some(at);
        end_sheet(generation, sheet, at);
    }
}

fn end_sheet(generation: &mut Generation, state: SheetState, at: Timestamp) {
    if let Some(sheet) = generation.sheet.as_mut().filter(|s| s.state.is_open()) {
        sheet.state = state;
        sheet.ended_at = Some(at);
    }
}

fn take_in(token: &mut Token, taken: &Taken, how: &str, now: &Now<'_>) -> Result<()> {
    let state = if taken.confirmed {
        GenerationState::Active
    } else {
        GenerationState::Pending
    };
    let number = taken.generation;
    if !token.generations.iter().any(|g| g.number == number) {
        token.generations.push(Generation {
            number,
            slot: parsed(Some(&taken.slot))?,
            state,
            purpose: how.into(),
            fingerprint: taken.fingerprint.as_str().into(),
            issued_at: now.at,
            issued: now.deed(),
            expires_at: taken.expires_at,
            confirmed_at: None,
            confirmed: Deed::default(),
            confirmed_how: None,
            ended_at: None,
            sheet: None,
        });
    }
    let known = token.generations.iter_mut().find(|g| g.number == number);
    if let Some(generation) = known {
        generation.slot = parsed(Some(&taken.slot))?;
        generation.state = state;
        generation.fingerprint = taken.fingerprint.as_str().into();
        generation.ended_at = None;
        if taken.confirmed {
            if generation.confirmed_at.is_none() {
                generation.confirmed_at = Some(now.at);
                generation.confirmed = now.deed();
                generation.confirmed_how = Some(how.into());
            }
            end_sheet(generation, SheetState::Confirmed, now.at);
        }
    }
    Ok(())
}
