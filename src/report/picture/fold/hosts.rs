//! Hosts, what was seen of tokens on them, and one-time codes.

use std::sync::Arc;

use super::{Now, Result, parsed, put_all};
use crate::clock::Timestamp;
use crate::report::picture::{Bypass, Host, HostId, Picture, Place, TokenId};
use crate::token::state::{BypassState, TokenHostState, TokenState};

impl Picture {
    pub(super) fn host_or_new(&mut self, name: &str, at: Timestamp) -> Result<HostId> {
        if let Some(id) = self.host_ids.get(name) {
            return Ok(*id);
        }
        let id = HostId::try_from(self.hosts.len()).map_err(|e| e.to_string())?;
        let name: Arc<str> = name.into();
        self.host_ids.insert(Arc::clone(&name), id);
        self.hosts.push(Host {
            name,
            reachable: false,
            detail: Some("it was never tried".into()),
            last_attempt_at: at,
            last_seen_at: None,
            retired_at: None,
            removed_at: None,
            weaknesses: None,
            places: Vec::new(),
        });
        Ok(id)
    }

    pub(super) fn host_mut(&mut self, id: HostId) -> Result<&mut Host> {
        usize::try_from(id)
            .ok()
            .and_then(|i| self.hosts.get_mut(i))
            .ok_or_else(|| "there is no such host".to_owned())
    }

    pub(super) fn named_host(&mut self, now: &Now<'_>) -> Result<HostId> {
        let name = now.data.host.ok_or("it names no host")?;
        self.host_or_new(name, now.at)
    }

    pub(super) fn host_observed(&mut self, now: &Now<'_>) -> Result<()> {
        let id = self.named_host(now)?;
        let data = &now.data;
        let read_at = data.at.unwrap_or(now.at);
        let seen = data
            .tokens
            .iter()
            .map(|seen| {
                let token = self.token_id(seen.serial).ok_or("it names no token")?;
                let place = Place {
                    state: parsed(Some(seen.state))?,
                    reason: self.texts.number(seen.reason.as_deref()),
                    current: seen.current,
                    next: seen.next,
                    changed_at: read_at.as_millisecond(),
                    observed_at: read_at.as_millisecond(),
                };
                Ok((token, place))
            })
            .collect::<Result<Vec<_>>>()?;
        // Before the rows: which of them are read again goes by what was there.
        self.read_again(id, data.rest, &data.same, read_at)?;
        let host = self.host_mut(id)?;
        if let Some(reachable) = data.reachable {
            host.reachable = reachable;
            host.detail = data.detail.as_deref().map(Arc::from);
        }
        if data.returned {
            host.retired_at = None;
        }
        // An event of an earlier version does not say whether the host itself was tried, and always was.
        if data.at.is_some() || data.reachable.is_some() {
            host.last_attempt_at = read_at;
            if host.reachable && host.detail.is_none() {
                host.last_seen_at = Some(read_at);
            }
        }
        if let Some(weaknesses) = &data.weaknesses {
            host.weaknesses = Some(weaknesses.clone().into());
        }
        if seen.iter().any(|(_, place)| place.current > 0) {
            host.removed_at = None;
        }
        put_all(&mut host.places, seen);
        Ok(())
    }

    /// Notes that tokens on a host were read again: all that are not being revoked, or the named ones.
    pub(super) fn read_again(
        &mut self,
        id: HostId,
        all: bool,
        some: &[&str],
        at: Timestamp,
    ) -> Result<()> {
        if !all && some.is_empty() {
            return Ok(());
        }
        let mut named: Vec<TokenId> = some.iter().filter_map(|s| self.token_id(s)).collect();
        named.sort_unstable();
        let Self { tokens, hosts, .. } = self;
        let host = usize::try_from(id)
            .ok()
            .and_then(|i| hosts.get_mut(i))
            .ok_or("there is no such host")?;
        for (token, place) in &mut host.places {
            let state = usize::try_from(*token)
                .ok()
                .and_then(|i| tokens.get(i))
                .map(|t| t.state);
            let goes = matches!(state, Some(TokenState::Revoking | TokenState::Revoked));
            if (all && !goes) || named.binary_search(token).is_ok() {
                place.observed_at = at.as_millisecond();
            }
        }
        Ok(())
    }

    pub(super) fn hosts_read(&mut self, now: &Now<'_>) -> Result<()> {
        let data = &now.data;
        let at = data.at.unwrap_or(now.at);
        for name in data.hosts.iter().chain(data.some.keys()) {
            let id = self.host_or_new(name, at)?;
            let some = data.some.get(name).map_or(&[][..], Vec::as_slice);
            let all = !data.some.contains_key(name);
            self.read_again(id, all, some, at)?;
            let host = self.host_mut(id)?;
            host.last_attempt_at = at;
            host.last_seen_at = Some(at);
        }
        for name in &data.tried {
            let id = self.host_or_new(name, at)?;
            self.host_mut(id)?.last_attempt_at = at;
        }
        Ok(())
    }

    pub(super) fn host_removed(&mut self, now: &Now<'_>) -> Result<()> {
        let id = self.named_host(now)?;
        let reason = self
            .texts
            .number(Some("fleetotp was removed from this host"));
        let host = self.host_mut(id)?;
        host.removed_at = Some(now.at);
        host.weaknesses = None;
        for (_, place) in &mut host.places {
            if place.state != TokenHostState::Revoked {
                *place = Place {
                    state: TokenHostState::Absent,
                    reason,
                    current: 0,
                    next: 0,
                    changed_at: now.at.as_millisecond(),
                    observed_at: now.at.as_millisecond(),
                };
            }
        }
        Ok(())
    }

    /// A run's text was put back: where that ends the demand for a code, secrets stay and protect nothing.
    pub(super) fn host_rolled_back(&mut self, now: &Now<'_>) -> Result<()> {
        let id = self.named_host(now)?;
        if now.data.key_only == 0 {
            return Ok(());
        }
        let reason = self.texts.number(Some("rolled back: no code is demanded"));
        for (_, place) in &mut self.host_mut(id)?.places {
            if place.state == TokenHostState::Enforced {
                place.state = TokenHostState::Gap;
                place.reason = reason;
                place.changed_at = now.at.as_millisecond();
                place.observed_at = now.at.as_millisecond();
            }
        }
        Ok(())
    }

    pub(super) fn bypass_granted(&mut self, now: &Now<'_>) -> Result<()> {
        let (token, host) = (self.id_of(now)?, self.named_host(now)?);
        let id: Arc<str> = now.data.bypass.ok_or("it names no grant")?.into();
        let key = (Arc::clone(&id), host);
        self.bypass_ids.insert(key, self.bypasses.len());
        self.bypasses.push(Bypass {
            id,
            host,
            token,
            granted_at: now.at,
            by: now.by.clone(),
            due_at: now.data.due.unwrap_or(now.at),
            reason: now.data.reason.as_deref().map(Arc::from),
            ticket: now.data.ticket.as_deref().map(Arc::from),
            state: BypassState::Open,
            ended_at: None,
        });
        Ok(())
    }

    pub(super) fn bypass_ended(&mut self, kind: &str, now: &Now<'_>) -> Result<()> {
        let host = self.named_host(now)?;
        let id = now.data.bypass.ok_or("it names no grant")?;
        let state = parsed(kind.strip_prefix("bypass."))?;
        let index = self.bypass_ids.get(&(Arc::from(id), host));
        if let Some(bypass) = index.and_then(|i| self.bypasses.get_mut(*i)) {
            bypass.state = state;
            bypass.ended_at = Some(now.at);
        }
        Ok(())
    }
}
