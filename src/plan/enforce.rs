//! When a host may demand an admin's code: only what was read back in the same run counts.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::host::facts::{Facts, Slot};
use crate::inventory::model::{Enforce, Module};
use crate::plan::account::{account_gap, barred, key_gap};
use crate::plan::change::{Change, GROUP_ENFORCED, GROUP_PENDING};
use crate::plan::finding::{Finding, Gap};
use crate::plan::state::Stamp;
use crate::plan::wish::{Member, TokenWish, Wish};
use crate::plan::{pam, secrets, sudo};

/// Returns whether the policy wants the code to be demanded now.
pub fn wanted(member: &Member, token: &TokenWish, now: Timestamp) -> bool {
    let confirmed = token.confirmed || member.policy.enforce == Enforce::OnIssue;
    confirmed && member.policy.enforce_from.is_none_or(|from| now >= from)
}

/// What to do so that a host demands codes, and why it cannot for some.
#[derive(Debug, Clone, Default)]
pub struct Enforcement {
    /// Logins that will be asked for a code.
    pub logins: Vec<String>,
    /// The changes that bring it about.
    pub changes: Vec<Change>,
    /// Admins whose code is wanted but cannot be demanded yet.
    pub gaps: Vec<Gap>,
}

/// Decides on enforcement from facts that were read after the secrets were written.
pub fn enforcement(facts: &Facts, wish: &Wish) -> Enforcement {
    let mut result = Enforcement::default();
    let enforced = facts.members(GROUP_ENFORCED);
    let mut leaving = BTreeSet::new();
    for member in &wish.members {
        let Some(token) = &member.token else { continue };
        let login = member.login.as_str();
        if !wanted(member, token, wish.now) {
            continue;
        }
        if facts.members(GROUP_PENDING).contains(login) {
            leaving.insert(login.to_owned());
        }
        if enforced.contains(login) {
            continue;
        }
        match ready(facts, wish, member, token) {
            Ok(()) => result.logins.push(login.to_owned()),
            Err(gap) => {
                leaving.remove(login);
                result.gaps.push(gap);
            }
        }
    }
    if !result.logins.is_empty() {
        let mut wanted = enforced;
        wanted.extend(result.logins.iter().cloned());
        result
            .changes
            .extend(Change::members(facts, GROUP_ENFORCED, &wanted));
    }
    let waiting = facts
        .members(GROUP_PENDING)
        .into_iter()
        .filter(|m| !leaving.contains(m))
        .collect();
    result
        .changes
        .extend(Change::members(facts, GROUP_PENDING, &waiting));
    for member in &wish.members {
        if let Some(token) = member.token.as_ref().filter(|t| t.confirmed) {
            result
                .changes
                .extend(secrets::no_longer_expires(facts, member, token));
        }
    }
    result
}

/// The finding that names members of the group whom nobody knows.
pub const UNKNOWN_MEMBERS: &str = "unknown-members";

/// Returns the members of the group that are neither admins of the host nor known otherwise. A code is demanded of them
/// that fleetotp has given nobody; out of the group they would get in by key alone, so that is left to people.
pub fn strangers(facts: &Facts, wish: &Wish) -> Option<Finding> {
    let is_known = |login: &String| {
        let known = wish.members.iter().map(|m| &m.login).chain(&wish.known);
        known.into_iter().any(|l| l.as_str() == login)
    };
    let mut strangers: Vec<String> = facts.members(GROUP_ENFORCED).into_iter().collect();
    strangers.retain(|login| !is_known(login));
    if strangers.is_empty() {
        return None;
    }
    Some(Finding::note(
        UNKNOWN_MEMBERS,
        format!(
            "group {GROUP_ENFORCED} has members that fleetotp does not know: {}",
            crate::names::printable(&strangers.join(", "), 200)
        ),
        "find out who put them there, and name them as admins; out of the group they would log in by key alone",
    ))
}

/// Checks what enforcement needs; every reason is a named gap.
fn ready(facts: &Facts, wish: &Wish, member: &Member, token: &TokenWish) -> Result<(), Gap> {
    let login = member.login.to_string();
    let gap = |id, text: String| Gap {
        login: login.clone(),
        id,
        text,
    };
    if let Some(gap) = account_gap(facts, wish, member) {
        return Err(gap);
    }
    let state = facts.states.get(&(Slot::Current, member.login.clone()));
    let stamp = state.and_then(Stamp::of);
    let secret_is_there = state.is_some_and(|s| s.secret_sha256.starts_with(&token.fingerprint));
    if !stamp.is_some_and(|s| {
        s.project == wish.project && s.serial == token.serial && s.generation == token.generation
    }) || !secret_is_there
    {
        return Err(gap(
            "secret-not-there",
            format!("the confirmed secret of {login} is not on the host"),
        ));
    }
    if state.is_some_and(crate::host::facts::StateFact::is_unusable) {
        return Err(gap(
            "secret-unusable",
            format!(
                "the module would not read the secret of {login}: its file must be root's with mode 600 or 400"
            ),
        ));
    }
    let (there, module) = match wish.module {
        Module::GoogleAuthenticator => (facts.module.is_some(), "pam_google_authenticator"),
        Module::Oath => (facts.oath_module.is_some(), "pam_oath"),
    };
    if !there {
        return Err(gap("no-module", format!("{module} is not installed")));
    }
    if !facts
        .text(pam::SERVICE_FILE)
        .is_some_and(|t| pam::module_in(t) == Some(wish.module))
    {
        return Err(gap(
            "pam-not-ready",
            "the PAM block is not in place: run the task pam_totp".to_owned(),
        ));
    }
    if sudo::is_lacking(facts, &wish.members) {
        return Err(gap(
            "pam-not-ready",
            "the PAM block of sudo is not in place: run the task pam_totp".to_owned(),
        ));
    }
    let Some(account) = facts.accounts.get(&member.login) else {
        return Err(gap(
            "no-account",
            format!("{login} has no account on this host"),
        ));
    };
    if let Some(why) = barred(account, wish.now) {
        return Err(gap("account-barred", format!("{login} {why}")));
    }
    key_gap(facts, &member.login).map_or(Ok(()), Err)
}
