//! Brings one-time codes to hosts, and sees what became of them.

use std::collections::BTreeMap;

use crate::clock::{Entropy, EntropyError, Timestamp};
use crate::fleet::session::Session;
use crate::host::request::Request;
use crate::names::{HostName, Login};
use crate::plan::bypass::{self, Fate, Grant};
use crate::plan::change::HostPlan;
use crate::plan::finding::Severity;
use crate::plan::wish::{Member, Wish};
use crate::playbook::apply::request;
use crate::playbook::engine::Shared;
use crate::playbook::errand::{self, Errand, Seen, Stop};
use crate::playbook::outcome::{Skip, Status};
use crate::token::id::BypassId;
use crate::token::key;
use crate::token::secret::Secret;

/// Brings a one-time code of its own to each host, or only sees whether it could.
#[derive(Debug)]
pub struct Give {
    /// The admin as each host knows them.
    pub members: BTreeMap<HostName, Member>,
    /// The grant's id.
    pub id: BypassId,
    /// When the codes end.
    pub due: Timestamp,
    /// Bring them.
    pub push: bool,
}

impl Errand for Give {
    type Done = Option<Secret>;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<Option<Secret>, Stop> {
        let member = self
            .members
            .get(host)
            .ok_or_else(|| Stop::failed("nobody was named for it"))?;
        let logins = [member.login.clone()].into();
        let seen = errand::read(session, shared, &logins, true).await?;
        errand::not_behind(&seen.facts, shared).await?;
        let random = |e: EntropyError| Stop::failed(e.to_string());
        let key = key::generate(shared.entropy.as_ref()).map_err(random)?;
        let code = scratch_code(shared.entropy.as_ref()).map_err(random)?;
        let plan = self.plan(&seen, session, shared, member, &key, &code);
        let refusal = plan
            .findings
            .iter()
            .find(|f| f.severity == Severity::Refusal)
            .map(|f| format!("{} ({})", f.text, f.id))
            .or_else(|| plan.gaps.first().map(|g| format!("{} ({})", g.text, g.id)));
        if let Some(why) = refusal {
            return Err(Stop::failed(why));
        }
        if !self.push {
            return Ok(None);
        }
        if shared.stopping() {
            return Err(Stop::Ended(Status::Skipped(Skip::Interrupted)));
        }
        let request = request(&seen.facts, &plan, "none", 0, shared.witness().await?, None);
        errand::send(session, shared, request).await?;
        Ok(Some(code))
    }
}

impl Give {
    fn plan(
        &self,
        seen: &Seen,
        session: &Session,
        shared: &Shared,
        member: &Member,
        key: &Secret,
        code: &Secret,
    ) -> HostPlan {
        let wish = Wish {
            can_confirm: true,
            ..errand::wish(seen, session, shared)
        };
        let grant = Grant {
            member,
            id: &self.id,
            due: self.due,
            key,
            code,
        };
        bypass::grant(&seen.facts, &wish, &grant)
    }
}

/// Eight digits without a leading zero: what the module takes for a scratch code. Each is as likely as any other.
fn scratch_code(entropy: &dyn Entropy) -> Result<Secret, EntropyError> {
    const CODES: u32 = 90_000_000;
    let limit = u32::MAX - u32::MAX % CODES;
    loop {
        let mut bytes = [0u8; 4];
        entropy.fill(&mut bytes)?;
        let number = u32::from_le_bytes(bytes);
        if number < limit {
            return Ok(Secret::new((number % CODES + 10_000_000).to_string()));
        }
    }
}

/// Looks what became of one-time codes and takes away what is over, or all of them.
#[derive(Debug, Default)]
pub struct Settle {
    /// The codes that are open, by host.
    pub open: BTreeMap<HostName, Vec<(BypassId, Login)>>,
    /// Take back also what could still be used.
    pub revoke: bool,
}

impl Errand for Settle {
    type Done = Vec<(BypassId, Fate)>;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<Self::Done, Stop> {
        let open = self.open.get(host).cloned().unwrap_or_default();
        let logins = open.iter().map(|(_, login)| login.clone()).collect();
        let facts = errand::read(session, shared, &logins, false).await?.facts;
        let fates: Self::Done = open
            .iter()
            .map(|(id, login)| (id.clone(), bypass::fate(&facts, &shared.project, login, id)))
            .collect();
        if shared.check {
            return Ok(fates);
        }
        let mut request = Request::apply();
        let mut any = false;
        for ((id, login), (_, fate)) in open.iter().zip(&fates) {
            if self.revoke || *fate != Fate::Open {
                any |= bypass::end(&mut request, &facts, &shared.project, login, id);
            }
        }
        if any {
            request.line(&["disarm"]);
            errand::send(session, shared, request).await?;
        }
        if self.revoke {
            let facts = errand::read(session, shared, &logins, false).await?.facts;
            let left = open
                .iter()
                .find(|(id, login)| bypass::fate(&facts, &shared.project, login, id) != Fate::Gone);
            if let Some((id, _)) = left {
                return Err(Stop::failed(format!("{id} is still there; run again")));
            }
        }
        Ok(fates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn scratch_codes_are_what_the_module_takes() {
        for _ in 0..1000 {
            let code = scratch_code(&SystemEntropy).unwrap();
            let text = code.expose();
            assert!(text.len() == 8 && !text.starts_with('0'), "{text}");
        }
    }
}
