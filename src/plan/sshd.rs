//! sshd's configuration: what fleetotp adds, and where it takes effect.
//!
//! Facts: sshd_config(5), `Include` since 8.2, `Match` inside an included file does not leak out of it; the first value
//! of a keyword wins and Match blocks come before global values. `KbdInteractiveAuthentication` works inside Match
//! from 8.7 on; before, `ChallengeResponseAuthentication` must be on globally (servconf.c, auth2-kbdint.c).

use std::collections::BTreeSet;

use crate::host::facts::SshVersion;
use crate::plan::pam::{BEGIN, END};

/// The drop-in's path: sorts before what distributions and cloud images ship.
pub const DROP_IN: &str = "/etc/ssh/sshd_config.d/00-fleetotp.conf";

/// `sshd -T` value for a member who must give a code.
pub const METHODS_ENFORCED: &str = "publickey,keyboard-interactive:pam";
/// `sshd -T` value for a member who may confirm by a login.
pub const METHODS_PENDING: &str = "publickey keyboard-interactive:pam,publickey";

const MATCH: &str = include_str!("../../templates/sshd/match.conf");
const GLOBAL_BEFORE_8_7: &str = include_str!("../../templates/sshd/before-8.7.conf");
const EVERYONE: &str = include_str!("../../templates/sshd/everyone.conf");
const PIN_OTHERS: &str = include_str!("../../templates/sshd/pin-others.conf");

/// The oldest version whose drop-ins work (`Include`).
const INCLUDE_SINCE: SshVersion = SshVersion(8, 2);
/// The first version in which keyboard-interactive can be switched on for a group alone.
const KBD_IN_MATCH_SINCE: SshVersion = SshVersion(8, 7);

/// Returns the text to add for this version. `others_have_it` says that keyboard-interactive was on for everyone before
/// fleetotp came; then nobody is pinned.
pub fn addition(version: SshVersion, others_have_it: bool) -> String {
    if version >= KBD_IN_MATCH_SINCE || others_have_it {
        MATCH.to_owned()
    } else {
        format!("{GLOBAL_BEFORE_8_7}{MATCH}{PIN_OTHERS}")
    }
}

/// Returns the text to add where everyone is asked but `users`, who are named, and the members of the group of the exempt.
pub fn addition_for_everyone(version: SshVersion, users: &[&str], methods: &str) -> String {
    let everyone = EVERYONE
        .replace("{users}", &users.join(","))
        .replace("{methods}", methods);
    if version >= KBD_IN_MATCH_SINCE {
        format!("{MATCH}{everyone}")
    } else {
        format!("{GLOBAL_BEFORE_8_7}{MATCH}{everyone}")
    }
}

/// What the exempt have by a text in which everyone is asked.
pub fn methods_of_exempt(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("Match Group fleetotp-exempt\n")?;
    let lines = rest.lines().take_while(|l| !l.starts_with("Match"));
    lines
        .filter_map(|l| l.trim().strip_prefix("AuthenticationMethods "))
        .next()
}

/// Whether a text holds the block that pins everybody else.
pub fn pins_others(text: &str) -> bool {
    PIN_OTHERS
        .split_once('\n')
        .is_some_and(|(_comment, block)| text.contains(block))
}

/// Keywords of `sshd -T` that change for everybody without changing what anybody can do.
pub fn harmless_differences(version: SshVersion) -> &'static str {
    if version >= KBD_IN_MATCH_SINCE {
        "port"
    } else {
        "challengeresponseauthentication|port"
    }
}

/// The same where the exempt have their methods written out on one side of a change only.
pub fn differences_of_the_exempt(version: SshVersion) -> &'static str {
    if version >= KBD_IN_MATCH_SINCE {
        "authenticationmethods|port"
    } else {
        "authenticationmethods|challengeresponseauthentication|port"
    }
}

/// What `sshd -T` must say for somebody with these methods: before 8.7 two switches decide together.
pub fn wanted(version: SshVersion, methods: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut wanted = vec![
        ("authenticationmethods", methods),
        ("kbdinteractiveauthentication", "yes"),
    ];
    if version < KBD_IN_MATCH_SINCE {
        wanted.push(("challengeresponseauthentication", "yes"));
    }
    wanted
}

/// Where the addition goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Into [`DROP_IN`]: the main file includes the directory before any Match.
    DropIn,
    /// Into a marked block at the top of the main file.
    MainFile,
}

/// Tells whether a drop-in takes effect for this main file.
pub fn place(main: &str, version: SshVersion) -> Place {
    if version < INCLUDE_SINCE {
        return Place::MainFile;
    }
    for line in main.lines() {
        let line = line.trim();
        let mut words = line.split([' ', '\t', '=']).filter(|w| !w.is_empty());
        match words.next().map(str::to_ascii_lowercase).as_deref() {
            Some("match") => return Place::MainFile,
            Some("include") if words.any(|w| is_drop_in_directory(w.trim_matches('"'))) => {
                return Place::DropIn;
            }
            _ => {}
        }
    }
    Place::MainFile
}

/// Relative paths are below /etc/ssh (sshd_config(5), Include).
fn is_drop_in_directory(pattern: &str) -> bool {
    matches!(
        pattern,
        "/etc/ssh/sshd_config.d/*.conf" | "sshd_config.d/*.conf" | "/etc/ssh/sshd_config.d/*"
    )
}

/// Returns the main file with the addition in a marked block at its top; the block ends in `Match all`, which gives
/// everything below it its global meaning back.
///
/// # Errors
/// When fleetotp's markers in it do not pair.
pub fn with_block(main: &str, addition: &str) -> Result<String, crate::plan::pam::PamError> {
    let bare = crate::plan::pam::without_block(main)?;
    let end = if addition.ends_with(PIN_OTHERS) {
        ""
    } else {
        "Match all\n"
    };
    Ok(format!("{BEGIN}\n{addition}{end}{END}\n{bare}"))
}

/// Returns a keyword of the main file that would lose its effect if a block that ends in `Match all` were put on top.
///
/// What is global becomes a part of that `Match all`, and among matching blocks the first value wins: a value that a
/// later Match block sets for some would lose against the global one (sshd_config(5), Match).
pub fn shadowed_by_block(main: &str) -> Option<String> {
    let mut global = BTreeSet::new();
    let mut inside = false;
    for line in main.lines() {
        let Some(word) = line
            .split([' ', '\t', '='])
            .find(|w| !w.is_empty())
            .filter(|w| !w.starts_with('#'))
        else {
            continue;
        };
        let keyword = word.to_ascii_lowercase();
        if keyword == "match" {
            inside = true;
        } else if !inside {
            global.insert(keyword);
        } else if global.contains(&keyword) {
            return Some(word.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_main_file_takes_drop_ins() {
        assert_eq!(
            place(
                "# c\nInclude /etc/ssh/sshd_config.d/*.conf\nPort 22\n",
                SshVersion(9, 2)
            ),
            Place::DropIn
        );
        assert_eq!(
            place(
                "include \"/etc/ssh/sshd_config.d/*.conf\"\n",
                SshVersion(9, 2)
            ),
            Place::DropIn
        );
    }

    #[test]
    fn a_drop_in_that_would_not_work_is_not_used() {
        assert_eq!(place("Port 22\n", SshVersion(9, 2)), Place::MainFile);
        assert_eq!(
            place(
                "Match User x\n  X11Forwarding no\nInclude /etc/ssh/sshd_config.d/*.conf\n",
                SshVersion(9, 2)
            ),
            Place::MainFile
        );
        assert_eq!(
            place("Include /etc/ssh/sshd_config.d/*.conf\n", SshVersion(8, 0)),
            Place::MainFile
        );
    }

    #[test]
    fn old_versions_get_the_switch_and_pin_the_others() {
        let old = addition(SshVersion(8, 4), false);
        assert!(old.contains("\nChallengeResponseAuthentication yes\n"));
        assert!(old.ends_with("Match all\n  KbdInteractiveAuthentication no\n"));
        assert!(!addition(SshVersion(9, 2), false).contains("ChallengeResponse"));
    }

    #[test]
    fn a_block_on_top_must_not_shadow_what_later_blocks_set() {
        let main = "X11Forwarding yes\n#PasswordAuthentication yes\nMatch User x\n  PasswordAuthentication no\n";
        assert_eq!(shadowed_by_block(main), None);
        let main = format!("{main}\tx11forwarding no\n");
        assert_eq!(shadowed_by_block(&main).as_deref(), Some("x11forwarding"));
    }

    #[test]
    fn the_main_files_block_gives_the_rest_its_meaning_back_and_is_idempotent() {
        let main = "Port 22\nPasswordAuthentication no\n";
        let once = with_block(main, &addition(SshVersion(9, 2), false)).unwrap();
        assert!(once.contains("Match all\n# END fleetotp\nPort 22\n"));
        assert_eq!(
            with_block(&once, &addition(SshVersion(9, 2), false)).unwrap(),
            once
        );
    }
}
