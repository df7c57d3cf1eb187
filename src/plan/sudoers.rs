//! What sudo asks nobody's password for, by sudoers(5).

use crate::host::facts::Placed;

/// A line by which sudo asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SudoWay {
    /// `nopasswd`, `no_authenticate`, `sudo_exempt_group`, or `sudo_include`: a file that was not looked at.
    pub kind: &'static str,
    /// Whom it concerns, in words. An account is not named: this goes into the event log, which is kept.
    pub whom: String,
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
        });
    }
    // A `#` begins a comment, unless a number follows, which is a uid.
    let end = text.match_indices('#').find(|(at, _)| {
        let next = text.get(at + 1..).and_then(|t| t.bytes().next());
        !next.is_some_and(|b| b.is_ascii_digit())
    });
    let text = end.map_or(text, |(at, _)| text.get(..at).unwrap_or(text));
    if let Some(rest) = first.strip_prefix("Defaults") {
        let settings = text.get(first.len()..)?;
        let mut settings = settings.split([',', ' ', '\t']).map(str::trim);
        let group = settings
            .clone()
            .find_map(|s| s.strip_prefix("exempt_group="));
        if let Some(group) = group {
            return Some(SudoWay {
                kind: "sudo_exempt_group",
                whom: format!("members of {}", group.trim_matches('"')),
            });
        }
        return settings.any(|s| s == "!authenticate").then(|| SudoWay {
            kind: "no_authenticate",
            whom: match rest.split_at_checked(1) {
                None => "everybody".to_owned(),
                Some((":", who)) => whom(who),
                Some(_) => "some commands or targets".to_owned(),
            },
        });
    }
    // USERS HOSTS = …: the last word before the sign is the hosts.
    let users = text.split('=').next().unwrap_or(text).trim_end();
    let users = users.rsplit_once(char::is_whitespace);
    text.contains("NOPASSWD:").then(|| SudoWay {
        kind: "nopasswd",
        whom: whom(users.map_or(first, |(users, _)| users)),
    })
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
