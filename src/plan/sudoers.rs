//! What sudo asks nobody's password for, by sudoers(5).

use crate::host::facts::Placed;

/// A line by which sudo asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SudoWay {
    /// `nopasswd`, `no_authenticate`, `sudo_exempt_group`; `sudo_other_password` and `sudo_other_service`: it asks, and by
    /// another account or service; or `sudo_include`: a file that was not looked at.
    pub kind: &'static str,
    /// Whom it concerns, in words. An account is not named: this goes into the event log, which is kept.
    pub whom: String,
    /// The account, where it is one.
    pub account: Option<String>,
}

/// Settings of a `Defaults` line that is for everybody.
pub fn settings_of_all(text: &str) -> Vec<&str> {
    let Some(rest) = text.trim().strip_prefix("Defaults") else {
        return Vec::new();
    };
    if rest.starts_with([' ', '\t']) {
        settings(rest)
    } else {
        Vec::new()
    }
}

/// The settings of a line, with their values.
fn settings(rest: &str) -> Vec<&str> {
    let settings = rest.split([',', ' ', '\t']).map(str::trim);
    settings.filter(|s| !s.is_empty()).collect()
}

/// Reads a line. Comments, and what switches asking on, are none.
pub fn way(line: &Placed) -> Option<SudoWay> {
    let text = line.text.trim();
    let mut words = text.split_whitespace();
    let first = words.next()?;
    if let Some(include) = first.strip_prefix(['#', '@'])
        && matches!(include, "include" | "includedir")
    {
        let target = words.next()?.trim_matches('"').trim_end_matches('/');
        return (target != "/etc/sudoers.d").then(|| SudoWay {
            kind: "sudo_include",
            whom: format!("{target} was not looked at"),
            account: None,
        });
    }
    // A `#` begins a comment, unless a number follows, which is a uid.
    let end = text.match_indices('#').find(|(at, _)| {
        let next = text.get(at + 1..).and_then(|t| t.bytes().next());
        !next.is_some_and(|b| b.is_ascii_digit())
    });
    let text = end.map_or(text, |(at, _)| text.get(..at).unwrap_or(text));
    if let Some(rest) = first.strip_prefix("Defaults") {
        return way_of_defaults(rest, &settings(text.get(first.len()..)?));
    }
    // USERS HOSTS = …: the last word before the sign is the hosts.
    let users = text.split('=').next().unwrap_or(text).trim_end();
    let users = users.rsplit_once(char::is_whitespace);
    let users = users.map_or(first, |(users, _)| users);
    text.contains("NOPASSWD:")
        .then(|| for_users("nopasswd", users))
}

/// Reads the settings of a `Defaults` line; `scope` is what follows that word.
fn way_of_defaults(scope: &str, settings: &[&str]) -> Option<SudoWay> {
    let all_or_some = |kind| match scope.split_at_checked(1) {
        Some((":", users)) => for_users(kind, users),
        None => SudoWay {
            kind,
            whom: "everybody".to_owned(),
            account: None,
        },
        Some(_) => SudoWay {
            kind,
            whom: "some commands or targets".to_owned(),
            account: None,
        },
    };
    let value = |name: &str| {
        let mut values = settings.iter().filter_map(|s| s.strip_prefix(name));
        values.find_map(|v| v.strip_prefix('='))
    };
    if let Some(group) = value("exempt_group") {
        return Some(SudoWay {
            kind: "sudo_exempt_group",
            whom: format!("members of {}", group.trim_matches('"')),
            account: None,
        });
    }
    if settings.contains(&"!authenticate") {
        return Some(all_or_some("no_authenticate"));
    }
    if ["targetpw", "rootpw", "runaspw"]
        .iter()
        .any(|s| settings.contains(s))
    {
        return Some(all_or_some("sudo_other_password"));
    }
    let is_other =
        |name, usual: [&str; 2]| value(name).is_some_and(|v| !usual.contains(&v.trim_matches('"')));
    (is_other("pam_service", ["sudo", "sudo"]) || is_other("pam_login_service", ["sudo", "sudo-i"]))
        .then(|| all_or_some("sudo_other_service"))
}

fn for_users(kind: &'static str, users: &str) -> SudoWay {
    let whom = whom(users);
    let account = (whom == "one account").then(|| users.trim().to_owned());
    SudoWay {
        kind,
        whom,
        account,
    }
}

fn whom(users: &str) -> String {
    let mut users = users.split(',').map(str::trim).filter(|u| !u.is_empty());
    let (Some(user), None) = (users.next(), users.next()) else {
        return "several accounts".to_owned();
    };
    let alias = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    match user {
        "ALL" => "everybody".to_owned(),
        _ if user.starts_with(['%', '+']) => format!("members of {user}"),
        _ if user.starts_with(|c: char| c.is_ascii_uppercase()) && user.chars().all(alias) => {
            format!("the alias {user}")
        }
        _ => "one account".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_ask_for_nothing_are_told_without_naming_anybody() {
        for (text, wanted) in [
            ("alice ALL=(ALL:ALL) NOPASSWD: ALL", "nopasswd one account"),
            (
                "%ops ALL=(ALL) NOPASSWD:SETENV: /bin/ls, PASSWD: /bin/cat",
                "nopasswd members of %ops",
            ),
            ("ALL ALL = NOPASSWD: /sbin/reboot", "nopasswd everybody"),
            ("OPS web1 = NOPASSWD: ALL # why", "nopasswd the alias OPS"),
            ("alice, bob ALL=NOPASSWD: ALL", "nopasswd several accounts"),
            ("#1000 ALL=NOPASSWD: ALL", "nopasswd one account"),
            ("# alice ALL=NOPASSWD: ALL", ""),
            ("alice ALL=(ALL) ALL # NOPASSWD: ALL", ""),
            ("alice ALL=(ALL) PASSWD: ALL", ""),
            ("Defaults !authenticate", "no_authenticate everybody"),
            (
                "Defaults:alice env_reset, !authenticate",
                "no_authenticate one account",
            ),
            (
                "Defaults:%ops !authenticate",
                "no_authenticate members of %ops",
            ),
            (
                "Defaults!/bin/ls !authenticate",
                "no_authenticate some commands or targets",
            ),
            ("Defaults authenticate", ""),
            (
                "Defaults exempt_group=wheel",
                "sudo_exempt_group members of wheel",
            ),
            ("Defaults targetpw", "sudo_other_password everybody"),
            (
                "Defaults:%ops env_reset,rootpw",
                "sudo_other_password members of %ops",
            ),
            ("Defaults !targetpw", ""),
            ("Defaults pam_service=mine", "sudo_other_service everybody"),
            ("Defaults pam_login_service=\"sudo-i\"", ""),
            ("Defaults passprompt_override", ""),
            ("@includedir /etc/sudoers.d", ""),
            ("#includedir /etc/sudoers.d/", ""),
            (
                "@include /srv/sudo/extra",
                "sudo_include /srv/sudo/extra was not looked at",
            ),
        ] {
            let line = Placed {
                text: text.to_owned(),
                ..Placed::default()
            };
            let found = way(&line).map(|w| format!("{} {}", w.kind, w.whom));
            assert_eq!(found.unwrap_or_default(), wanted, "{text}");
        }
    }
}
