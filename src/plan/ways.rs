//! Ways into a host: what sshd asks of whom, and whether somebody gets in besides those of whom codes are asked.

use crate::host::facts::{Effective, Facts};
use crate::names::Login;
use crate::plan::finding::Finding;
use crate::plan::wish::Wish;

/// What sshd asks of a user.
pub(super) fn methods(user: &str, effective: &Effective) -> String {
    if effective.error.is_some() {
        return "sshd does not say".to_owned();
    }
    if user == "root" && effective.get("permitrootlogin") == "no" {
        return "no login".to_owned();
    }
    match effective.get("authenticationmethods") {
        "" | "any" => {}
        listed => return listed.replace(' ', " or "),
    }
    let no_password = user == "root" && effective.get("permitrootlogin") != "yes";
    let ways = [
        ("pubkeyauthentication", "publickey", false),
        ("passwordauthentication", "password", true),
        ("kbdinteractiveauthentication", "keyboard-interactive", true),
        (
            "challengeresponseauthentication",
            "keyboard-interactive",
            true,
        ),
        ("gssapiauthentication", "gssapi", false),
        ("hostbasedauthentication", "hostbased", false),
    ];
    let mut on: Vec<&str> = ways
        .iter()
        .filter(|(key, _, typed)| effective.on(key) && !(*typed && no_password))
        .map(|(_, name, _)| *name)
        .collect();
    on.dedup();
    if on.is_empty() {
        "no login".to_owned()
    } else {
        on.join(" or ")
    }
}

/// Refuses where nobody gets in besides enrolled admins and the account that fleetotp itself uses, and that one is asked for
/// more than a key as they are: a broken module or a wrong clock would then shut out everybody.
pub(super) fn only_codes(facts: &Facts, wish: &Wish) -> Option<Finding> {
    let own = facts.connecting_login.as_deref()?;
    let asked = methods(own, facts.effective.get(own)?);
    let needs_code = asked
        .split(" or ")
        .all(|way| way.contains("keyboard-interactive"));
    (needs_code && !has_another_way(facts, wish)).then(|| {
        Finding::refusal(
            "only-codes",
            format!("nobody gets in but enrolled admins and {own}, the account that fleetotp uses, of whom PAM asks for something as well"),
            "name an account with a key kept offline under `protected`, of which sshd asks no code",
        )
    })
}

/// Whether anybody gets in who is neither an enrolled admin nor the account of the run.
pub(super) fn has_another_way(facts: &Facts, wish: &Wish) -> bool {
    let own = facts.connecting_login.as_deref();
    let is_member = |login: &str| wish.members.iter().any(|m| m.login.as_str() == login);
    let lets_in = |login: &str| {
        facts
            .effective
            .get(login)
            .map(|effective| methods(login, effective) != "no login")
    };
    let others = |login: &&str| Some(*login) != own && !is_member(login);
    // Of accounts that nobody asked about it is only known that they are there.
    let mut unmanaged = facts.unmanaged.iter().map(String::as_str).filter(others);
    let mut protected = wish.protected.iter().map(Login::as_str).filter(others);
    protected.any(|l| lets_in(l).unwrap_or(false)) || unmanaged.any(|l| lets_in(l).unwrap_or(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_as_sshd_would_ask() {
        let effective = |text: &str| {
            let mut effective = Effective::default();
            for line in text.split(';') {
                let (key, value) = line.split_once(' ').unwrap();
                effective.values.insert(key.to_owned(), value.to_owned());
            }
            effective
        };
        let stock = "pubkeyauthentication yes;passwordauthentication yes;kbdinteractiveauthentication no;\
                     permitrootlogin prohibit-password";
        for (user, text, wanted) in [
            ("alice", stock, "publickey or password"),
            ("root", stock, "publickey"),
            (
                "root",
                "permitrootlogin no;pubkeyauthentication yes",
                "no login",
            ),
            (
                "alice",
                "authenticationmethods publickey,keyboard-interactive:pam;pubkeyauthentication yes",
                "publickey,keyboard-interactive:pam",
            ),
            ("alice", "pubkeyauthentication no", "no login"),
        ] {
            assert_eq!(methods(user, &effective(text)), wanted);
        }
    }
}
