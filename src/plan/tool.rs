//! Taking over enrolments of the `google-authenticator` program: the same module, so the same state files, elsewhere and
//! under another line of PAM. That line goes and fleetotp's block comes in one change.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::host::facts::{Facts, Slot};
use crate::host::request::Line;
use crate::names::Login;
use crate::plan::account::{barred, key_gap};
use crate::plan::change::{Change, GROUP_ENFORCED, HostPlan, Part, Shown, state_path};
use crate::plan::finding::Finding;
use crate::plan::{pam, sshd};
use crate::token::key;
use crate::token::secret::Secret;

/// The module's own default.
const DEFAULT: &str = "%h/.google_authenticator";

/// What another tool has on a host, and what becomes of it.
#[derive(Debug, Default)]
pub struct Takeover {
    /// PAM's text with the other line.
    pub text: String,
    /// State files to bring, by login; the stamp comes after their first line.
    pub files: BTreeMap<Login, Vec<Line>>,
    /// The files that were read, with their hashes.
    pub read: Vec<(String, String)>,
}

impl Takeover {
    /// Makes the facts say what holds once the other line is gone.
    pub fn disregard(&self, facts: &mut Facts) {
        if let Some(file) = facts.files.get_mut(pam::SERVICE_FILE)
            && file.text.as_deref() == Some(self.text.as_str())
            && let Ok(Some(found)) = find(&self.text)
        {
            file.text = Some(found.without);
        }
    }

    /// Puts what was read into a plan, in place of new files. Whoever was asked for a code before is asked from the same
    /// change on: all of them, or the host is refused.
    pub fn bring(&self, facts: &Facts, plan: &mut HostPlan) {
        if !plan.needs_transaction() || plan.refused() {
            return;
        }
        if let Some(gap) = plan
            .gaps
            .iter()
            .find(|g| self.files.keys().any(|l| l.as_str() == g.login))
        {
            let text = format!("{}: {}", gap.id, gap.text);
            plan.findings.push(Finding::refusal(
                "adopt-unready",
                text,
                "repair it first: without the other tool's line nothing would ask for a code",
            ));
            return;
        }
        let mut members = facts.members(GROUP_ENFORCED);
        members.extend(self.files.keys().map(|l| l.as_str().to_owned()));
        plan.changes.extend(
            Change::members(facts, GROUP_ENFORCED, &members).map(|c| (Part::Enforcement, c)),
        );
        for login in self.files.keys() {
            let wanted = sshd::wanted(facts.version, sshd::METHODS_ENFORCED);
            plan.wanted
                .extend(wanted.into_iter().map(|(k, v)| (login.to_string(), k, v)));
        }
        for (_, change) in &mut plan.changes {
            let Change::File(file) = change else { continue };
            if file.path == pam::SERVICE_FILE
                && let Shown::Text { before, .. } = &mut file.shown
            {
                before.clone_from(&self.text);
            }
            for (login, lines) in &self.files {
                if file.path != state_path(Slot::Current, login.as_str()) || file.before.is_some() {
                    continue;
                }
                let stamp = file
                    .lines
                    .iter()
                    .find(|l| matches!(l, Line::Text(t) if t.starts_with("\" FLEETOTP ")))
                    .cloned();
                let mut taken = lines.clone();
                if let (Some(stamp), false) = (stamp, taken.is_empty()) {
                    taken.insert(1, stamp);
                    file.lines = taken;
                    plan.expected.clone_from(&self.read);
                }
            }
        }
    }
}

/// Says why key and code together would not let a login in. The facts must hold its keys.
pub fn unready(facts: &Facts, login: &Login, now: Timestamp) -> Option<String> {
    let account = facts.accounts.get(login);
    if let Some(why) = account.and_then(|a| barred(a, now)) {
        return Some(format!("{login} {why}"));
    }
    key_gap(facts, login).map(|gap| gap.text)
}

/// Another tool's line in PAM's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where the state files are: `%h` is the home, `%u` the login.
    pub pattern: String,
    /// The text without the line.
    pub without: String,
}

/// Finds the line of `google-authenticator`, if that is the only other second factor.
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
    let mut words = line.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let control = words.next().unwrap_or_default();
    let module = words.next().unwrap_or_default();
    if !kind.eq_ignore_ascii_case("auth") || !module.ends_with("pam_google_authenticator.so") {
        return Err(format!(
            "`{line}` is not a plain line of google-authenticator"
        ));
    }
    if !matches!(control, "required" | "requisite") {
        return Err(format!("`{control}` lets more decide than the code"));
    }
    if !line.split_whitespace().any(|word| word == "nullok") {
        return Err(format!(
            "`{line}` refuses everybody without an enrolment; in its place, nothing would"
        ));
    }
    let mut pattern = DEFAULT.to_owned();
    for word in words.take_while(|w| !w.starts_with('#')) {
        if let Some(path) = word.strip_prefix("secret=") {
            pattern = path.replace("${HOME}", "%h").replace("${USER}", "%u");
            if let Some(rest) = pattern.strip_prefix('~') {
                pattern = format!("%h{rest}");
            }
            if pattern.contains('$') || !pattern.starts_with(['/', '%']) {
                return Err(format!("`{word}` names no place that is known here"));
            }
        } else if !matches!(
            word,
            "nullok" | "noskewadj" | "debug" | "echo_verification_code" | "echo-verification-code"
        ) && !word.starts_with("user=")
        {
            return Err(format!("the option `{word}` has no counterpart"));
        }
    }
    let without: String = text
        .split_inclusive('\n')
        .filter(|l| l.trim_end() != *line)
        .collect();
    if pam::with_block(&without, pam::SSHD_BLOCK).is_err() {
        return Err("without it nothing would be asked of anybody".to_owned());
    }
    Ok(Some(Found { pattern, without }))
}

/// Reads a state file: its key, and the lines to keep. Says nothing of the text.
///
/// # Errors
/// Why it cannot be taken over.
pub fn state_lines(text: &[Secret]) -> Result<(Secret, Vec<Line>), &'static str> {
    let (first, rest) = text.split_first().ok_or("it is empty")?;
    let bytes = key::decode(first).map_err(|_| "its first line is no key")?;
    let key = crate::token::secret::base32(&bytes);
    let mut lines = vec![Line::Secret(key.clone())];
    let mut totp = false;
    for line in rest {
        let content = line.expose().trim_end_matches('\r');
        if let Some(option) = content.strip_prefix("\" ") {
            let (name, value) = option.split_once([' ', '\t']).unwrap_or((option, ""));
            match name {
                "TOTP_AUTH" => totp = true,
                "HOTP_COUNTER" => return Err("it counts codes instead of time"),
                "STEP_SIZE" if value.trim() != "30" => return Err("its step is not 30 seconds"),
                // A clock that was wrong once: codes are right without it, or the clock is a gap of its own.
                "TIME_SKEW" | "RESETTING_TIME_SKEW" | "FLEETOTP" => continue,
                _ => {}
            }
            lines.push(Line::Text(content.to_owned()));
        } else if content.len() == 8 && content.bytes().all(|b| b.is_ascii_digit()) {
            lines.push(Line::Secret(Secret::new(content.to_owned())));
        } else if !content.is_empty() {
            return Err("it holds lines that are neither options nor scratch codes");
        }
    }
    if totp {
        Ok((key, lines))
    } else {
        Err("it is not for codes by time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(usual.pattern, "%h/.google_authenticator");
        assert_eq!(
            usual.without,
            "# sshd\n@include common-auth\naccount required x.so\n"
        );
        let central = found(
            "auth requisite pam_google_authenticator.so nullok user=root secret=/var/lib/ga/${USER}",
        );
        assert_eq!(central.unwrap().unwrap().pattern, "/var/lib/ga/%u");
        let home = found("auth required pam_google_authenticator.so nullok secret=~/.ssh/ga");
        assert_eq!(home.unwrap().unwrap().pattern, "%h/.ssh/ga");
        assert_eq!(found("# nothing"), Ok(None));
        for line in [
            "auth sufficient pam_google_authenticator.so nullok",
            "auth required pam_google_authenticator.so nullok forward_pass",
            "auth required pam_google_authenticator.so",
            "auth required pam_oath.so usersfile=/etc/users.oath",
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
    fn a_state_file_keeps_all_but_a_skew() {
        let text = [
            "jbsw y3dp ehpk 3pxp",
            "\" RATE_LIMIT 3 30 1795485319",
            "\" WINDOW_SIZE 17",
            "\" TIME_SKEW 2",
            "\" DISALLOW_REUSE 59849510",
            "\" TOTP_AUTH",
            "12345678",
        ]
        .map(Secret::from);
        let (key, lines) = state_lines(&text).unwrap();
        assert_eq!(key.expose(), "JBSWY3DPEHPK3PXP");
        assert_eq!(lines.len(), 6);
        assert_eq!(
            lines[3],
            Line::Text("\" DISALLOW_REUSE 59849510".to_owned())
        );
        assert_eq!(lines[5], Line::Secret(Secret::from("12345678")));
        for bad in [
            &["JBSWY3DP"][..],
            &["JBSWY3DP", "\" HOTP_COUNTER 1", "\" TOTP_AUTH"],
            &["JBSWY3DP", "\" TOTP_AUTH", "\" STEP_SIZE 60"],
            &["root:x:0:0", "\" TOTP_AUTH"],
            &["JBSWY3DP", "\" TOTP_AUTH", "daemon"],
        ] {
            let bad: Vec<Secret> = bad.iter().map(|l| Secret::from(*l)).collect();
            assert!(state_lines(&bad).is_err());
        }
    }
}
