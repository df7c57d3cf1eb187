//! Whether an account can have a token, and whether key and code would let it in.

use crate::clock::Timestamp;
use crate::host::facts::{Account, Facts};
use crate::names::Login;
use crate::plan::finding::{Gap, KEYS_UNKNOWN};
use crate::plan::wish::{Member, Wish};

/// Says why an admin cannot have a token on this host.
pub(super) fn account_gap(facts: &Facts, wish: &Wish, member: &Member) -> Option<Gap> {
    let login = member.login.to_string();
    let gap = |id, text: String| {
        Some(Gap {
            login: login.clone(),
            id,
            text,
        })
    };
    let Some(account) = facts.accounts.get(&member.login) else {
        return gap("no-account", format!("{login} has no account on this host"));
    };
    if wish.protected.contains(&member.login) {
        return gap(
            "protected",
            format!(
                "{login} is protected, or the account that fleetotp itself logs in to: a code would shut it out"
            ),
        );
    }
    if account.uid == 0 {
        return gap(
            "uid-zero",
            format!("{login} has uid 0: it is root under another name"),
        );
    }
    if let Some(other) = account.shared_with.first() {
        return gap(
            "shared-uid",
            format!("{login} shares uid {} with {other}", account.uid),
        );
    }
    let skew = (facts.epoch - wish.now.as_second()).abs();
    if skew > i64::try_from(member.policy.period.as_secs()).unwrap_or(30) {
        return gap(
            "clock",
            format!("the host's clock is {skew} s off: no code would be right"),
        );
    }
    None
}

/// Says why a login that asks for key and code would let nobody in: the account has no public key.
pub(super) fn key_gap(facts: &Facts, login: &Login) -> Option<Gap> {
    let gap = |id, text: String| {
        Some(Gap {
            login: login.to_string(),
            id,
            text,
        })
    };
    match facts.accounts.get(login).and_then(|a| a.keys.as_ref()) {
        Some(keys) if keys.in_files > 0 || keys.elsewhere.is_some() => None,
        Some(_) => gap(
            "no-public-key",
            format!("{login} has no public key: a code alone lets nobody in"),
        ),
        None => gap(
            KEYS_UNKNOWN,
            format!("the public keys of {login} were not read"),
        ),
    }
}

/// Says why an admin could not log in with key and code, whatever fleetotp does.
pub(super) fn unable(facts: &Facts, wish: &Wish, member: &Member) -> Option<Gap> {
    let is_barred = || {
        let why = barred(facts.accounts.get(&member.login)?, wish.now)?;
        Some(Gap {
            login: member.login.to_string(),
            id: "account-barred",
            text: format!("{} {why}", member.login),
        })
    };
    let no_key = || key_gap(facts, &member.login).filter(|g| g.id != KEYS_UNKNOWN);
    account_gap(facts, wish, member)
        .or_else(is_barred)
        .or_else(no_key)
}

/// Returns whether an account is over for certain. An end in the future does not count, nor does today, nor day 0, which
/// some take for "never" (shadow(5)).
pub(super) fn is_over(account: &Account, now: Timestamp) -> bool {
    let today = now.as_second().div_euclid(86_400);
    account
        .shadow
        .as_ref()
        .and_then(|s| s.expire)
        .is_some_and(|day| day > 0 && day < today)
}

/// Says why the account phase of a login would fail (shadow(5); pam_unix(8), account).
pub(super) fn barred(account: &Account, now: Timestamp) -> Option<String> {
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
