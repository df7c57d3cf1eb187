//! Revocations, and hosts that do not come back.

use std::sync::Arc;

use super::tokens::end_generation;
use super::{Now, Result, put};
use crate::report::picture::{Item, ItemState, Picture, Place, Revocation, TokenId};
use crate::token::state::{GenerationState, SheetState, TokenHostState, TokenState};

impl Picture {
    pub(super) fn revocation_asked(&mut self, now: &Now<'_>) -> Result<()> {
        let data = &now.data;
        let id = self.token_or_new(now)?;
        let token = self.token_mut(id)?;
        let live: Vec<u32> = token
            .generations
            .iter()
            .filter(|g| g.state.is_live())
            .map(|g| g.number)
            .collect();
        for number in live {
            let end = (GenerationState::Revoked, SheetState::Void);
            end_generation(token, number, end, now.at);
        }
        if !data.again {
            token.state = TokenState::Revoking;
            token.changed_at = now.at;
        }
        let open = Item {
            state: ItemState::Open,
            opened_at: now.at,
            closed_at: None,
            why: None,
        };
        let index = match token.revocation {
            Some(index) if data.again => index,
            _ => self.new_revocation(id, now, &open)?,
        };
        let never = self.texts.number(Some("it was never read"));
        for name in &data.hosts {
            let host = self.host_or_new(name, now.at)?;
            let places = &mut self.host_mut(host)?.places;
            if places.binary_search_by_key(&id, |p| p.0).is_err() {
                let place = Place {
                    state: TokenHostState::Gap,
                    reason: never,
                    current: 0,
                    next: 0,
                    changed_at: now.at.as_millisecond(),
                    observed_at: now.at.as_millisecond(),
                };
                put(places, id, place);
            }
            if let Some(revocation) = self.revocations.get_mut(index) {
                put(&mut revocation.items, host, open.clone());
            }
        }
        Ok(())
    }

    /// Every host on which the token was ever seen becomes an item; a retired one stays as it was.
    pub(super) fn new_revocation(
        &mut self,
        token: TokenId,
        now: &Now<'_>,
        open: &Item,
    ) -> Result<usize> {
        let before = self
            .revocations
            .iter()
            .rev()
            .find(|r| r.token == token)
            .map(|r| r.items.clone())
            .unwrap_or_default();
        let mut items = Vec::new();
        for (id, host) in (0..).zip(&self.hosts) {
            if host.place(token).is_none() {
                continue;
            }
            if host.retired_at.is_none() {
                items.push((id, open.clone()));
            } else if let Ok(at) = before.binary_search_by_key(&id, |i| i.0) {
                items.extend(before.get(at).cloned());
            }
        }
        // There may be a million in all.
        items.shrink_to_fit();
        let index = self.revocations.len();
        self.revocations.push(Revocation {
            token,
            asked_at: now.at,
            by: now.by.clone(),
            reason: now.data.reason.as_deref().map(Arc::from),
            ticket: now.data.ticket.as_deref().map(Arc::from),
            replaced_at: None,
            items,
        });
        self.token_mut(token)?.revocation = Some(index);
        Ok(index)
    }

    pub(super) fn item_read(&mut self, kind: &str, now: &Now<'_>) -> Result<()> {
        let token = self.id_of(now)?;
        let id = self.named_host(now)?;
        let proven = kind != "revocation.open";
        let reason = self.texts.number(now.data.why.as_deref());
        let why = self.texts.shared(now.data.why.as_deref());
        let index = self.token_mut(token)?.revocation;
        let mut closed = false;
        if let Some(revocation) = index.and_then(|i| self.revocations.get_mut(i)) {
            let before = revocation
                .items
                .binary_search_by_key(&id, |i| i.0)
                .ok()
                .and_then(|at| revocation.items.get(at))
                .map(|i| &i.1);
            closed = before.is_some_and(|i| i.closed_at.is_some());
            let opened = before.filter(|_| proven || !closed).map(|i| i.opened_at);
            // Shown again, it stays closed since then, unless something had come back.
            let closed_before = before.and_then(|i| i.closed_at);
            let closed_at = closed_before.filter(|_| kind == "revocation.proven");
            let item = Item {
                state: if proven {
                    ItemState::Proven
                } else {
                    ItemState::Open
                },
                opened_at: opened.unwrap_or(now.at),
                closed_at: proven.then(|| closed_at.unwrap_or(now.at)),
                why,
            };
            put(&mut revocation.items, id, item);
        }
        let host = self.host_mut(id)?;
        let at = now.at.as_millisecond();
        let before = host.place(token).copied();
        let changed_at = before.filter(|_| proven && closed).map(|p| p.changed_at);
        let mut place = before.unwrap_or(Place {
            state: TokenHostState::Gap,
            reason,
            current: 0,
            next: 0,
            changed_at: at,
            observed_at: at,
        });
        place.reason = reason;
        // A host that could not be read has what it was last seen to have, as of then.
        if !proven && !closed && !host.is_known() && before.is_some() {
            put(&mut host.places, token, place);
            return Ok(());
        }
        place.observed_at = at;
        place.changed_at = changed_at.unwrap_or(at);
        place.state = TokenHostState::Gap;
        if proven {
            place.state = TokenHostState::Revoked;
            place.current = 0;
            place.next = 0;
        }
        put(&mut host.places, token, place);
        Ok(())
    }

    pub(super) fn host_retired(&mut self, now: &Now<'_>) -> Result<()> {
        let id = self.named_host(now)?;
        let host = self.host_mut(id)?;
        host.retired_at = host.retired_at.or(Some(now.at));
        for serial in &now.data.attested {
            let Some(token) = self.token_id(serial) else {
                continue;
            };
            let index = self.token_mut(token)?.revocation;
            if let Some(revocation) = index.and_then(|i| self.revocations.get_mut(i)) {
                let item = Item {
                    state: ItemState::Attested,
                    opened_at: revocation.asked_at,
                    closed_at: Some(now.at),
                    why: now.data.reason.as_deref().map(Arc::from),
                };
                put(&mut revocation.items, id, item);
            }
            let places = &mut self.host_mut(id)?.places;
            if let Some((_, place)) = places.iter_mut().find(|p| p.0 == token) {
                place.reason = 0;
            }
        }
        Ok(())
    }
}
