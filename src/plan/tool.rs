//! Taking over enrolments of `google-authenticator` (the same module, so the same state files, elsewhere) and of `pam_oath`, both
//! under another line of PAM. That line goes and fleetotp's block comes in one change.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::host::facts::{Facts, Slot};
use crate::host::request::Line;
use crate::names::Login;
use crate::plan::account::{barred, key_gap};
use crate::plan::change::{Change, GROUP_ENFORCED, HostPlan, Part, Shown, state_path};
use crate::plan::finding::Finding;
use crate::plan::{pam, sshd, tool_line};
use crate::token::key;
use crate::token::secret::Secret;

/// What another tool has on a host, and what becomes of it.
#[derive(Debug, Default)]
pub struct Takeover {
    /// PAM's text with the other line.
    pub text: String,
    /// What to bring, by login.
    pub files: BTreeMap<Login, Brought>,
    /// The files that were read, with their hashes.
    pub read: Vec<(String, String)>,
}

/// What becomes of an enrolment.
#[derive(Debug)]
pub enum Brought {
    /// This state file; the stamp comes after its first line.
    File(Vec<Line>),
    /// A new one, with these steps used.
    Used(Vec<u64>),
}

/// An enrolment's key, and the seconds of its steps.
#[derive(Debug, Clone)]
pub struct Held {
    /// The key.
    pub key: Secret,
    /// Seconds of a step.
    pub period: u16,
}

impl Takeover {
    /// Makes the facts say what holds once the other line is gone.
    pub fn disregard(&self, facts: &mut Facts) {
        if let Some(file) = facts.files.get_mut(pam::SERVICE_FILE)
            && file.text.as_deref() == Some(self.text.as_str())
            && let Ok(Some(found)) = tool_line::find(&self.text)
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
            for (login, brought) in &self.files {
                if file.path != state_path(Slot::Current, login.as_str()) || file.before.is_some() {
                    continue;
                }
                brought.put_into(&mut file.lines);
                plan.expected.clone_from(&self.read);
            }
        }
    }
}

impl Brought {
    /// Makes of a new state file what this one is to be.
    fn put_into(&self, new: &mut Vec<Line>) {
        let option = |line: &Line, name: &str| matches!(line, Line::Text(t) if t.split(' ').nth(1) == Some(name));
        match self {
            Self::File(lines) => {
                let stamp = new.iter().find(|l| option(l, "FLEETOTP")).cloned();
                let mut taken = lines.clone();
                if let (Some(stamp), false) = (stamp, taken.is_empty()) {
                    taken.insert(1, stamp);
                    *new = taken;
                }
            }
            Self::Used(steps) => {
                for line in new.iter_mut().filter(|l| option(l, "DISALLOW_REUSE")) {
                    if let Line::Text(text) = line {
                        text.extend(steps.iter().map(|s| format!(" {s}")));
                    }
                }
            }
        }
    }
}

/// Says why key and code together would not let a login in. The facts must hold its keys.
pub fn unready(facts: &Facts, login: &Login, now: Timestamp) -> Option<String> {
    let Some(account) = facts.accounts.get(login) else {
        return Some(format!("{login} has no account there"));
    };
    if let Some(why) = barred(account, now) {
        return Some(format!("{login} {why}"));
    }
    key_gap(facts, login).map(|gap| gap.text)
}

/// Reads a state file: its key, and the lines to keep. Says nothing of the text.
///
/// # Errors
/// Why it cannot be taken over.
pub fn state_lines(text: &[Secret]) -> Result<(Held, Vec<Line>), &'static str> {
    let (first, rest) = text.split_first().ok_or("it is empty")?;
    let bytes = key::decode(first).map_err(|_| "its first line is no key")?;
    let key = crate::token::secret::base32(&bytes);
    let mut lines = vec![Line::Secret(key.clone())];
    let mut totp = false;
    let mut period = 30;
    for line in rest {
        let content = line.expose().trim_end_matches('\r');
        if let Some(option) = content.strip_prefix("\" ") {
            let (name, value) = option.split_once([' ', '\t']).unwrap_or((option, ""));
            match name {
                "TOTP_AUTH" => totp = true,
                "HOTP_COUNTER" => return Err("it counts codes instead of time"),
                "STEP_SIZE" => {
                    period = value.trim().parse().map_err(|_| "its step is no number")?;
                }
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
        Ok((Held { key, period }, lines))
    } else {
        Err("it is not for codes by time")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (held, lines) = state_lines(&text).unwrap();
        assert_eq!(held.key.expose(), "JBSWY3DPEHPK3PXP");
        assert_eq!(held.period, 30);
        assert_eq!(lines.len(), 6);
        assert_eq!(
            lines[3],
            Line::Text("\" DISALLOW_REUSE 59849510".to_owned())
        );
        assert_eq!(lines[5], Line::Secret(Secret::from("12345678")));
        for bad in [
            &["JBSWY3DP"][..],
            &["JBSWY3DP", "\" HOTP_COUNTER 1", "\" TOTP_AUTH"],
            &["JBSWY3DP", "\" TOTP_AUTH", "\" STEP_SIZE x"],
            &["root:x:0:0", "\" TOTP_AUTH"],
            &["JBSWY3DP", "\" TOTP_AUTH", "daemon"],
        ] {
            let bad: Vec<Secret> = bad.iter().map(|l| Secret::from(*l)).collect();
            assert!(state_lines(&bad).is_err());
        }
    }
}
