//! The line of PAM by which another tool asks for a code: `google-authenticator` or `pam_oath`. Only the forms whose place
//! fleetotp's block can take are understood.

use crate::host::facts::Facts;
use crate::names::printable;
use crate::plan::finding::Finding;
use crate::plan::pam::{self, Entry};
use crate::plan::stacks::{Stacks, including, list};

/// Where google-authenticator keeps its files by default.
const DEFAULT: &str = "%h/.google_authenticator";

/// Steps either way that a users file may be searched: half an hour. Used steps are carried over that far.
const MAX_WINDOW: u64 = 60;

/// Another tool's line in PAM's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where the secrets are.
    pub place: Place,
    /// The text without the line.
    pub without: String,
}

/// Where another tool keeps its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A state file of google-authenticator for each: `%h` is the home, `%u` the login.
    Each(String),
    /// One users file of `pam_oath` for all.
    Users {
        /// Its path.
        path: String,
        /// Steps either way that a code may be off.
        window: u64,
    },
}

/// Whether a line is of a tool whose enrolments can be taken over.
pub fn is_known(line: &str) -> bool {
    line.contains("pam_google_auth") || line.contains("pam_oath")
}

/// Returns whether there is anything to decide: a line in sshd's own file, or in a stack that services share.
pub fn is_there(facts: &Facts) -> bool {
    facts.mfa_lines.iter().any(|l| is_known(l))
        || facts
            .text(pam::SERVICE_FILE)
            .is_some_and(|text| !pam::other_mfa(text).is_empty())
}

/// Finds the other tool's line, if it is sshd's own.
///
/// # Errors
/// A refusal, where it cannot be taken over.
pub fn on(facts: &Facts, stacks: &Stacks) -> Result<Option<Found>, Finding> {
    if let Some(line) = facts.mfa_lines.iter().find(|l| is_known(l)) {
        let file = line.split(':').next().unwrap_or_default();
        let name = file.rsplit('/').next().unwrap_or_default();
        return Err(Finding::refusal(
            "adopt-shared",
            format!(
                "{}: this line asks in {}; taken over for sshd alone, one code would be good once at a login and once more at the others",
                printable(line, 160),
                list(&including(stacks, name)),
            ),
            "move it out of the shared file, into /etc/pam.d/sshd and those services that are to go on asking; then run again",
        ));
    }
    let Some(text) = facts.text(pam::SERVICE_FILE) else {
        return Ok(None);
    };
    find(text).map_err(|why| {
        Finding::refusal(
            "adopt-layout",
            why,
            "bring it into a plain form first (docs/design/adopt.md), or take it over by hand",
        )
    })
}

/// Finds the other tool's line, if that is the only other second factor.
///
/// # Errors
/// Why it cannot be taken over.
pub fn find(text: &str) -> Result<Option<Found>, String> {
    let others = pam::other_mfa(text);
    let [line] = others.as_slice() else {
        return match others.len() {
            0 => Ok(None),
            n => Err(format!("{n} lines ask for a second factor")),
        };
    };
    let no_plain = || {
        format!(
            "`{}` is not a plain line of google-authenticator or pam_oath",
            printable(line, 160)
        )
    };
    let entry = pam::entry(line)
        .filter(|e| e.kind.eq_ignore_ascii_case("auth"))
        .ok_or_else(no_plain)?;
    let place = match entry.module.rsplit('/').next() {
        Some("pam_google_authenticator.so") => google(&entry)?,
        Some("pam_oath.so") => oath(&entry)?,
        _ => return Err(no_plain()),
    };
    let mut before = text.lines().take_while(|l| l.trim_end() != *line);
    if let Some(jump) = before.find(|l| pam::entry(l).is_some_and(|e| jumps(e.control))) {
        return Err(format!(
            "`{}` jumps by a number of lines, and would jump elsewhere with one line less",
            printable(jump.trim(), 160)
        ));
    }
    let without: String = text
        .split_inclusive('\n')
        .filter(|l| l.trim_end() != *line)
        .collect();
    if pam::with_block(&without, pam::SSHD_BLOCK).is_err() {
        return Err("without it nothing would be asked of anybody".to_owned());
    }
    Ok(Some(Found { place, without }))
}

/// What a control in brackets does on each result.
fn actions(control: &str) -> Option<Vec<(&str, &str)>> {
    let inner = control.strip_prefix('[')?.strip_suffix(']')?;
    inner
        .split_whitespace()
        .map(|p| p.split_once('='))
        .collect()
}

fn jumps(control: &str) -> bool {
    actions(control).is_some_and(|all| all.iter().any(|(_, a)| a.parse::<u32>().is_ok()))
}

fn no_counterpart(word: &str) -> String {
    format!("the option `{}` has no counterpart", printable(word, 80))
}

fn google(entry: &Entry<'_>) -> Result<Place, String> {
    if !matches!(entry.control, "required" | "requisite") {
        return Err(format!(
            "`{}` lets more decide than the code",
            entry.control
        ));
    }
    if !entry.args.contains(&"nullok") {
        return Err(
            "without `nullok` the line refuses everybody who has no enrolment; in its place, nothing would"
                .to_owned(),
        );
    }
    let mut pattern = DEFAULT.to_owned();
    for word in &entry.args {
        if let Some(path) = word.strip_prefix("secret=") {
            pattern = path.replace("${HOME}", "%h").replace("${USER}", "%u");
            if let Some(rest) = pattern.strip_prefix('~') {
                pattern = format!("%h{rest}");
            }
            if pattern.contains('$') || !pattern.starts_with(['/', '%']) {
                return Err(format!("`{word}` names no place that is known here"));
            }
        } else if !matches!(
            *word,
            "nullok" | "noskewadj" | "debug" | "echo_verification_code" | "echo-verification-code"
        ) && !word.starts_with("user=")
        {
            return Err(no_counterpart(word));
        }
    }
    Ok(Place::Each(pattern))
}

/// pam_oath(8). Whoever has no line in the file is `user_unknown`, which is the only result that may be passed over.
fn oath(entry: &Entry<'_>) -> Result<Place, String> {
    let control = entry.control;
    if matches!(control, "required" | "requisite") {
        return Err(format!(
            "`{control}` refuses everybody who has no line in the users file; in its place, nothing would (to let them pass: `[user_unknown=ignore success=ok default=die]`)"
        ));
    }
    let all = actions(control).unwrap_or_default();
    let says = |wanted: &[(&str, &str)]| wanted.iter().any(|w| all.contains(w));
    let decides = all.iter().all(|(result, action)| match *result {
        "success" | "new_authtok_reqd" => matches!(*action, "ok" | "done"),
        "user_unknown" | "ignore" => *action == "ignore",
        _ => matches!(*action, "die" | "bad"),
    });
    if !decides
        || !says(&[("success", "ok"), ("success", "done")])
        || !says(&[("user_unknown", "ignore")])
        || !says(&[("default", "die"), ("default", "bad")])
    {
        return Err(format!(
            "`{}` lets more decide than the code",
            printable(control, 120)
        ));
    }
    let mut path = None;
    // The module's own default.
    let mut window = 5;
    for word in &entry.args {
        match word.split_once('=') {
            Some(("usersfile", file)) => path = Some(file),
            Some(("window", steps)) => {
                window = steps
                    .parse()
                    .ok()
                    .filter(|w| *w <= MAX_WINDOW)
                    .ok_or_else(|| {
                        format!("`{word}` takes codes of more than {MAX_WINDOW} steps ago")
                    })?;
            }
            Some(("digits", "6")) => {}
            Some(("digits", _)) => {
                return Err(format!(
                    "`{word}`: pam_google_authenticator checks codes of 6 digits only"
                ));
            }
            None if *word == "debug" => {}
            None if *word == "alwaysok" => {
                return Err("`alwaysok` lets everybody in, whatever the code".to_owned());
            }
            _ => return Err(no_counterpart(word)),
        }
    }
    let path = path.ok_or("the line has no `usersfile=`: the module crashes without")?;
    if path.contains("${") {
        return Err(format!(
            "`usersfile={path}` refuses everybody who has no file; in its place, nothing would"
        ));
    }
    if !path.starts_with('/') {
        return Err(format!(
            "`usersfile={path}` names no place that is known here"
        ));
    }
    Ok(Place::Users {
        path: path.to_owned(),
        window,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(pattern: &str) -> Place {
        Place::Each(pattern.to_owned())
    }

    fn found(line: &str) -> Result<Option<Found>, String> {
        find(&format!(
            "# sshd\n@include common-auth\n{line}\naccount required x.so\n"
        ))
    }

    #[test]
    fn the_usual_lines_are_understood_and_others_are_not() {
        let usual = found("auth required pam_google_authenticator.so nullok")
            .unwrap()
            .unwrap();
        assert_eq!(usual.place, each("%h/.google_authenticator"));
        assert_eq!(
            usual.without,
            "# sshd\n@include common-auth\naccount required x.so\n"
        );
        let central = found(
            "auth requisite pam_google_authenticator.so nullok user=root secret=/var/lib/ga/${USER}",
        );
        assert_eq!(central.unwrap().unwrap().place, each("/var/lib/ga/%u"));
        let home = found("auth required pam_google_authenticator.so nullok secret=~/.ssh/ga");
        assert_eq!(home.unwrap().unwrap().place, each("%h/.ssh/ga"));
        assert_eq!(found("# nothing"), Ok(None));
        for line in [
            "auth sufficient pam_google_authenticator.so nullok",
            "auth required pam_google_authenticator.so nullok forward_pass",
            "auth required pam_google_authenticator.so",
            "auth required pam_google_authenticator.so nullok secret=$NOWHERE",
        ] {
            assert!(found(line).is_err(), "{line}");
        }
        assert!(
            find("auth required pam_google_authenticator.so nullok\n").is_err(),
            "nothing would be left"
        );
    }

    #[test]
    fn pam_oath_is_understood_where_only_the_code_decides() {
        let line = |rest: &str| {
            found(&format!(
                "auth [user_unknown=ignore success=ok default=die] {rest}"
            ))
        };
        let plain = line("pam_oath.so usersfile=/etc/users.oath window=30 digits=6");
        let place = plain.unwrap().unwrap().place;
        let users = |window| Place::Users {
            path: "/etc/users.oath".to_owned(),
            window,
        };
        assert_eq!(place, users(30));
        let done = found(
            "auth [success=done new_authtok_reqd=ok ignore=ignore user_unknown=ignore auth_err=die default=bad] /lib/security/pam_oath.so usersfile=/etc/users.oath",
        );
        assert_eq!(done.unwrap().unwrap().place, users(5));
        for (rest, why) in [
            ("pam_oath.so", "crashes"),
            ("pam_oath.so usersfile=/u alwaysok", "lets everybody in"),
            ("pam_oath.so usersfile=/u digits=8", "6 digits only"),
            ("pam_oath.so usersfile=/u window=61", "60 steps"),
            ("pam_oath.so usersfile=/u use_first_pass", "no counterpart"),
            ("pam_oath.so usersfile=/u/${USER}.oath", "who has no file"),
            ("pam_oath.so usersfile=users", "no place"),
        ] {
            let said = line(rest).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
        for control in [
            "required",
            "sufficient",
            "[success=1 default=ignore]",
            "[success=ok default=ignore user_unknown=ignore]",
            "[success=ok default=die]",
            "[success=ok user_unknown=ignore auth_err=ignore default=die]",
        ] {
            let line = format!("auth {control} pam_oath.so usersfile=/etc/users.oath");
            assert!(found(&line).is_err(), "{control}");
        }
    }

    #[test]
    fn a_jump_before_the_line_would_lead_elsewhere() {
        let text = "auth [success=1 default=ignore] pam_access.so\nauth required pam_google_authenticator.so nullok\n@include common-auth\n";
        assert!(find(text).unwrap_err().contains("jumps"));
    }
}
