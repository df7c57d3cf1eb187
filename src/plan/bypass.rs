//! Break-glass on one host: a state file in slot `next` with one scratch code and no time-based ones, which the host
//! deletes once the code is used or its time is over.
//!
//! Its stamp has a serial of its own kind, so that nothing takes it for a generation: the deadline `once.LOGIN` never
//! promotes it, and rotation finds the slot taken.

use crate::clock::Timestamp;
use crate::host::facts::{DeadlineMechanism, Facts, Slot, StateFact};
use crate::host::request::{Line, Request, Scope};
use crate::inventory::model::{Module, Policy};
use crate::names::Login;
use crate::plan::account::{account_gap, barred, key_gap};
use crate::plan::change::{
    Change, FileChange, GROUP_ENFORCED, HostPlan, LIB, Part, Shown, state_path,
};
use crate::plan::decide::reaper;
use crate::plan::finding::Gap;
use crate::plan::pam;
use crate::plan::preconditions::preconditions;
use crate::plan::state::Stamp;
use crate::plan::wish::{Member, Wish};
use crate::token::id::BypassId;
use crate::token::secret::Secret;

/// A one-time code to bring to a host.
#[derive(Debug)]
pub struct Grant<'a> {
    /// Who it is for; needs no token.
    pub member: &'a Member,
    /// Its id.
    pub id: &'a BypassId,
    /// When it ends.
    pub due: Timestamp,
    /// The first line of the file: nobody ever knows it.
    pub key: &'a Secret,
    /// The code.
    pub code: &'a Secret,
}

/// Plans to bring it. Where it cannot be, the plan has a gap or a refusal and no change.
pub fn grant(facts: &Facts, wish: &Wish, grant: &Grant<'_>) -> HostPlan {
    let mut plan = HostPlan::default();
    preconditions(facts, wish, &mut plan);
    if plan.refused() {
        return plan;
    }
    match files(facts, wish, grant) {
        Ok(changes) => plan.changes = changes,
        Err(gap) => {
            plan.gaps.push(gap);
            return plan;
        }
    }
    plan.needs_reaper = true;
    reaper(facts, &mut plan);
    plan
}

fn files(facts: &Facts, wish: &Wish, grant: &Grant<'_>) -> Result<Vec<(Part, Change)>, Gap> {
    let login = &grant.member.login;
    let gap = |id, text: String| Gap {
        login: login.to_string(),
        id,
        text,
    };
    if let Some(gap) = account_gap(facts, wish, grant.member) {
        return Err(gap);
    }
    if grant.member.policy.module != Module::GoogleAuthenticator {
        return Err(gap(
            "module-oath",
            "pam_oath knows no one-time codes".to_owned(),
        ));
    }
    let account = facts.accounts.get(login);
    if let Some(why) = account.and_then(|a| barred(a, wish.now)) {
        return Err(gap("account-barred", format!("{login} {why}")));
    }
    if facts
        .text(pam::SERVICE_FILE)
        .is_none_or(|t| pam::module_in(t).is_none())
    {
        return Err(gap(
            "pam-not-ready",
            "the PAM block is not in place: run a playbook with the task pam_totp".to_owned(),
        ));
    }
    if !facts.members(GROUP_ENFORCED).contains(login.as_str()) {
        return Err(gap(
            "not-enforced",
            format!("no code is demanded of {login} here: there is nothing to get past"),
        ));
    }
    if let Some(gap) = key_gap(facts, login) {
        return Err(gap);
    }
    if facts.deadlines == DeadlineMechanism::None {
        return Err(gap(
            "no-deadline",
            "the host has neither systemd nor cron: a one-time code could not end by itself"
                .to_owned(),
        ));
    }
    let there = facts.states.get(&(Slot::Next, login.clone()));
    if let Some(state) = there {
        match bypass_of(state, &wish.project) {
            None => {
                return Err(gap(
                    "next-in-use",
                    format!("{login} is in a rotation here: the new code's slot is taken"),
                ));
            }
            Some((id, end)) if state.scratch_codes > 0 && end > facts.epoch => {
                return Err(gap(
                    "bypass-open",
                    format!("{login} has an unused one-time code here already ({id})"),
                ));
            }
            Some(_) => {}
        }
    }
    let stamp = Stamp {
        project: wish.project.clone(),
        serial: grant.id.to_string(),
        generation: 0,
        uid: account.map_or(0, |a| a.uid),
        expires: grant.due.as_second(),
    };
    let before = there.map(|s| s.file.sha256.clone());
    let secret = FileChange {
        path: state_path(Slot::Next, login.as_str()),
        mode: 0o600,
        before,
        scope: Scope::Live,
        lines: state_file(grant, &grant.member.policy, &stamp),
        shown: Shown::Sentence(format!("one-time code {} for {login}", grant.id)),
    };
    let name = deadline_name(login);
    let deadline = FileChange {
        before: facts.secret_deadlines.get(&name).map(|_| "any".to_owned()),
        path: format!("{LIB}/deadlines/{name}"),
        mode: 0o600,
        scope: Scope::Live,
        lines: vec![Line::Text(format!(
            "{} {} 0",
            grant.due.as_second(),
            grant.id
        ))],
        shown: Shown::Sentence(format!("ends {} by itself", grant.due)),
    };
    Ok([secret, deadline]
        .map(|file| (Part::Secrets, Change::File(file)))
        .into())
}

/// Without `TOTP_AUTH` the key gives no codes (`pam_google_authenticator.c`); attempts are limited as with every code.
fn state_file(grant: &Grant<'_>, policy: &Policy, stamp: &Stamp) -> Vec<Line> {
    let limit = policy.rate_limit;
    vec![
        Line::Secret(grant.key.clone()),
        Line::Text(format!(
            "\" RATE_LIMIT {} {}",
            limit.attempts, limit.seconds
        )),
        Line::Text(stamp.to_string()),
        Line::Secret(grant.code.clone()),
    ]
}

/// The name of the deadline that ends the one-time code of a login.
pub fn deadline_name(login: &Login) -> String {
    format!("once.{login}")
}

/// Returns the id and the end of a one-time code's state file of this project.
pub fn bypass_of(state: &StateFact, project: &str) -> Option<(BypassId, i64)> {
    let stamp = Stamp::of(state).filter(|s| s.project == project)?;
    Some((BypassId::new(&stamp.serial).ok()?, stamp.expires))
}

/// What became of a one-time code on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It can still be used.
    Open,
    /// It was used.
    Used,
    /// Its time is over, unused.
    Expired,
    /// It is gone, and the host does not say how.
    Gone,
}

/// Tells what became of a one-time code.
pub fn fate(facts: &Facts, project: &str, login: &Login, id: &BypassId) -> Fate {
    let there = facts
        .states
        .get(&(Slot::Next, login.clone()))
        .and_then(|state| Some((state, bypass_of(state, project)?)));
    match there {
        Some((state, (found, _))) if found == *id && state.scratch_codes == 0 => Fate::Used,
        Some((_, (found, end))) if found == *id && end <= facts.epoch => Fate::Expired,
        Some((_, (found, _))) if found == *id => Fate::Open,
        _ => match facts.ended.get(&record_name(id, login)).map(String::as_str) {
            Some("used") => Fate::Used,
            Some("expired") => Fate::Expired,
            _ => Fate::Gone,
        },
    }
}

fn record_name(id: &BypassId, login: &Login) -> String {
    format!("{id}.{login}")
}

/// Adds to a request what takes everything of a one-time code off a host. Returns whether there is anything.
pub fn end(
    request: &mut Request,
    facts: &Facts,
    project: &str,
    login: &Login,
    id: &BypassId,
) -> bool {
    let mut any = false;
    let mut delete = |path: &str, before: &str| {
        request.line(&["del", path, before, Scope::Live.as_str()]);
        any = true;
    };
    let state = facts.states.get(&(Slot::Next, login.clone()));
    if let Some(state) =
        state.filter(|s| bypass_of(s, project).is_some_and(|(found, _)| found == *id))
    {
        delete(&state_path(Slot::Next, login.as_str()), &state.file.sha256);
    }
    let name = deadline_name(login);
    if facts
        .secret_deadlines
        .get(&name)
        .is_some_and(|d| d.serial == id.as_str())
    {
        delete(&format!("{LIB}/deadlines/{name}"), "any");
    }
    let record = record_name(id, login);
    if facts.ended.contains_key(&record) {
        delete(&format!("{LIB}/ended/{record}"), "any");
    }
    any
}
