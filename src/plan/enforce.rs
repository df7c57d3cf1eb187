//! When a host may demand an admin's code: only what was read back in the same run counts.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::host::facts::{Account, Facts, Slot};
use crate::host::request::Scope;
use crate::inventory::model::Enforce;
use crate::plan::change::{Change, GROUP_ENFORCED, GROUP_PENDING, LIB};
use crate::plan::finding::Gap;
use crate::plan::state::Stamp;
use crate::plan::wish::{Member, TokenWish, Wish};

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
        let before = facts
            .groups
            .get(GROUP_ENFORCED)
            .map(|g| g.members.clone())
            .unwrap_or_default();
        let after = before
            .iter()
            .cloned()
            .chain(result.logins.iter().cloned())
            .collect();
        result.changes.push(Change::Members {
            group: GROUP_ENFORCED,
            before,
            after,
        });
    }
    if !leaving.is_empty() {
        let before = facts
            .groups
            .get(GROUP_PENDING)
            .map(|g| g.members.clone())
            .unwrap_or_default();
        let after = before
            .iter()
            .filter(|m| !leaving.contains(*m))
            .cloned()
            .collect();
        result.changes.push(Change::Members {
            group: GROUP_PENDING,
            before,
            after,
        });
    }
    for member in &wish.members {
        let Some(token) = &member.token else { continue };
        let name = format!("current.{}", member.login);
        if token.confirmed && facts.secret_deadlines.contains_key(&name) {
            result.changes.push(Change::Delete {
                path: format!("{LIB}/deadlines/{name}"),
                before: "any".to_owned(),
                scope: Scope::Live,
                what: format!("{} is confirmed and no longer expires", token.serial),
            });
        }
    }
    result
}

/// Checks what enforcement needs; every reason is a named gap.
fn ready(facts: &Facts, wish: &Wish, member: &Member, token: &TokenWish) -> Result<(), Gap> {
    let login = member.login.to_string();
    let gap = |id, text: String| Gap {
        login: login.clone(),
        id,
        text,
    };
    if let Some(gap) = crate::plan::decide::account_gap(facts, wish, member) {
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
    if facts.module.is_none() {
        return Err(gap(
            "no-module",
            "pam_google_authenticator is not installed".to_owned(),
        ));
    }
    if !facts
        .text(crate::plan::decide::PAM_SSHD)
        .is_some_and(|t| t.contains(crate::plan::pam::SSHD_BLOCK))
    {
        return Err(gap(
            "pam-not-ready",
            "the PAM block is not in place: run the task pam_totp".to_owned(),
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
    match &account.keys {
        Some(keys) if keys.in_files > 0 || keys.elsewhere.is_some() => Ok(()),
        Some(_) => Err(gap(
            "no-public-key",
            format!("{login} has no public key: key and code together would let nobody in"),
        )),
        None => Err(gap(
            crate::plan::decide::KEYS_UNKNOWN,
            format!("the public keys of {login} were not read"),
        )),
    }
}

/// Says why the account phase of a login would fail (shadow(5); pam_unix(8), account).
fn barred(account: &Account, now: Timestamp) -> Option<String> {
    let shadow = account.shadow.as_ref()?;
    let today = now.as_second().div_euclid(86_400);
    if shadow.expire.is_some_and(|day| day <= today) {
        return Some("has an expired account".to_owned());
    }
    if shadow.last_change == Some(0) {
        return Some("must change the password at the next login".to_owned());
    }
    let due = shadow
        .last_change
        .zip(shadow.max_age)
        .filter(|(_, max)| *max >= 0 && *max < 99_999);
    if due.is_some_and(|(last, max)| last + max < today) {
        return Some("has an expired password".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::Shadow;

    #[test]
    fn shadow_dates_bar_an_account() {
        let now: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
        let with = |shadow| Account {
            shadow: Some(shadow),
            ..Account::default()
        };
        assert!(
            barred(
                &with(Shadow {
                    expire: Some(1),
                    ..Shadow::default()
                }),
                now
            )
            .is_some()
        );
        assert!(
            barred(
                &with(Shadow {
                    last_change: Some(0),
                    ..Shadow::default()
                }),
                now
            )
            .is_some()
        );
        assert!(
            barred(
                &with(Shadow {
                    last_change: Some(20_000),
                    max_age: Some(90),
                    ..Shadow::default()
                }),
                now
            )
            .is_some()
        );
        assert!(
            barred(
                &with(Shadow {
                    last_change: Some(20_000),
                    max_age: Some(99_999),
                    ..Shadow::default()
                }),
                now
            )
            .is_none()
        );
        assert!(
            barred(&Account::default(), now).is_none(),
            "a directory account has no shadow line"
        );
    }
}
