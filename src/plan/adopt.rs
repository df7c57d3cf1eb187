//! Taking a host over whose state files carry stamps of another project, or of tokens that the ledger does not know. The
//! files stay what they are, with their used steps, limits and scratch codes: only the stamp changes hands.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::facts::{Facts, Slot, StateFact};
use crate::host::request::{Line, Request, Scope};
use crate::names::{AdminName, Login, RealmName};
use crate::plan::change::{Change, FileChange, LIB, Shown, state_path};
use crate::plan::finding::Finding;
use crate::plan::state::Stamp;

/// A state file that is to change hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Whose it is.
    pub login: Login,
    /// Its stamp.
    pub stamp: Stamp,
    /// Fingerprint of its key.
    pub fingerprint: String,
    /// It does not expire any more.
    pub confirmed: bool,
}

/// Finds the state files of these logins that are another project's, or of tokens that the ledger does not know.
///
/// # Errors
/// A refusal, where a file cannot change hands now.
pub fn foreign(
    facts: &Facts,
    project: &str,
    known: &BTreeSet<String>,
    logins: &BTreeSet<Login>,
) -> Result<Vec<Foreign>, Finding> {
    let mine = |stamp: &Stamp| stamp.project == project && known.contains(&stamp.serial);
    let mut found = Vec::new();
    for login in logins {
        let next = facts.states.get(&(Slot::Next, login.clone()));
        if next.is_some_and(|state| Stamp::of(state).is_none_or(|s| s.project != project)) {
            return Err(Finding::refusal(
                "adopt-rotating",
                format!(
                    "{login} is in a rotation of the other project, or has a one-time code of it"
                ),
                "let that project end it first",
            ));
        }
        let Some(state) = facts.states.get(&(Slot::Current, login.clone())) else {
            continue;
        };
        let Some(stamp) = Stamp::of(state).filter(|s| !mine(s)) else {
            continue;
        };
        if state.options.iter().any(|(_, line)| line.starts_with('#')) {
            return Err(other_module());
        }
        found.push(Foreign {
            login: login.clone(),
            stamp,
            fingerprint: state.secret_sha256.chars().take(12).collect(),
            confirmed: !facts
                .secret_deadlines
                .contains_key(&format!("current.{login}")),
        });
    }
    Ok(found)
}

/// State files that are taken over are google-authenticator's.
pub fn other_module() -> Finding {
    Finding::refusal(
        "adopt-module",
        "secrets are kept in pam_oath's form, or are to be: taking over is built for google-authenticator alone",
        "enrol anew; or take over under a policy with the default module",
    )
}

/// A file that holds nothing that could be taken over. Says nothing of its text.
pub fn no_key(what: String) -> Finding {
    Finding::refusal(
        "adopt-no-key",
        what,
        "remove it if nobody uses it, or enrol that admin anew; then run again",
    )
}

/// An admin who could log in with neither code.
pub fn unconfirmed(admin: &AdminName) -> Finding {
    Finding::refusal(
        "adopt-unconfirmed",
        format!(
            "{admin} has a sheet of this project that is not confirmed, and another code is in use here"
        ),
        "confirm that sheet first; then this project's code takes the other one's place",
    )
}

/// The module takes the length of a step from the file, apps from the sheet: a rotation would change it under both.
pub fn other_steps(login: &Login, has: u16, wanted: u64) -> Finding {
    Finding::refusal(
        "adopt-other-steps",
        format!("codes of {login} are for {has} seconds, and the policy says {wanted}"),
        "give the realm a policy with that `period`, or enrol that admin anew",
    )
}

/// A realm has one key for all its hosts.
pub fn other_key(admin: &AdminName, realm: &RealmName) -> Finding {
    Finding::refusal(
        "adopt-other-key",
        format!("{admin} has another key in realm {realm} already"),
        "put the host into a realm of its own, or remove that enrolment and let the rollout bring the other key",
    )
}

/// Returns the changes that give state files new stamps, and their deadlines with them.
pub fn changes(facts: &Facts, stamps: &BTreeMap<Login, Stamp>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (login, stamp) in stamps {
        let Some(state) = facts.states.get(&(Slot::Current, login.clone())) else {
            continue;
        };
        changes.push(Change::File(FileChange {
            path: state_path(Slot::Current, login.as_str()),
            mode: 0o600,
            before: Some(state.file.sha256.clone()),
            scope: Scope::Live,
            lines: restamped(state, stamp),
            shown: Shown::Sentence(format!(
                "now token {} generation {} of this project; key, used steps and codes unchanged",
                stamp.serial, stamp.generation
            )),
        }));
        let name = format!("current.{login}");
        if let Some(deadline) = facts.secret_deadlines.get(&name) {
            changes.push(Change::File(FileChange {
                path: format!("{LIB}/deadlines/{name}"),
                mode: 0o600,
                before: Some("any".to_owned()),
                scope: Scope::Live,
                lines: vec![Line::Text(format!(
                    "{} {} {}",
                    deadline.due, stamp.serial, stamp.generation
                ))],
                shown: Shown::Sentence("the same deadline, for the new stamp".to_owned()),
            }));
        }
    }
    changes
}

/// The file with another stamp in the place of its own.
fn restamped(state: &StateFact, stamp: &Stamp) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut from = 1;
    for (number, text) in &state.options {
        if !text.starts_with("\" FLEETOTP ") {
            continue;
        }
        if from < *number {
            lines.push(Line::Keep(from, number - 1));
        }
        if from == 1 || lines.iter().all(|l| matches!(l, Line::Keep(..))) {
            lines.push(Line::Text(stamp.to_string()));
        }
        from = number + 1;
    }
    if from <= state.lines {
        lines.push(Line::Keep(from, state.lines));
    }
    lines
}

/// Adds the changes to a request.
pub fn send(request: &mut Request, changes: &[Change]) {
    for change in changes {
        change.send(request);
    }
    request.line(&["flush"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stamp_changes() {
        let stamp = |project: &str| Stamp {
            project: project.to_owned(),
            serial: "T-1234".to_owned(),
            generation: 1,
            uid: 7,
            expires: 0,
        };
        let state = StateFact {
            options: vec![
                (2, "\" RATE_LIMIT 3 30".to_owned()),
                (3, stamp("F-OLD").to_string()),
                (4, "\" TOTP_AUTH".to_owned()),
            ],
            lines: 5,
            ..StateFact::default()
        };
        let new = stamp("F-NEW");
        assert_eq!(
            restamped(&state, &new),
            [
                Line::Keep(1, 2),
                Line::Text(new.to_string()),
                Line::Keep(4, 5)
            ]
        );
    }
}
