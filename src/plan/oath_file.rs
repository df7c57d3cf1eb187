//! The state file of a login on a host whose codes `pam_oath` checks: a users file with one user.
//!
//! Facts (liboath's `usersfile.c`): a line is `TYPE USER PASSWORD HEXKEY`, to which the module adds what was used last; comments
//! stay as they are when it writes the file anew. Where there is no file it asks and refuses, where the file is empty it does not ask
//! (`PAM_USER_UNKNOWN`): so slot `next` has an empty one whenever no rotation is under way.

use crate::host::facts::{Facts, Slot};
use crate::host::request::{Line, Scope};
use crate::inventory::model::Module;
use crate::plan::change::{Change, FileChange, Part, Shown, state_path};
use crate::plan::finding::Finding;
use crate::plan::state::Stamp;
use crate::plan::wish::{Member, Wish};
use crate::token::key::{self, KeyError};
use crate::token::secret::Secret;

/// Returns the lines of a new file. The stamp says which key of the ledger the hexadecimal one is, as a host cannot compute that.
///
/// # Errors
/// When the key is no base32.
pub fn new_file(key: &Secret, login: &str, stamp: &Stamp) -> Result<Vec<Line>, KeyError> {
    let bytes = key::decode(key)?;
    let hex = Secret::new(data_encoding::HEXLOWER.encode(&bytes));
    let stamp = stamp.to_string();
    let stamp = format!(
        "# {} key={} hex={}",
        stamp.trim_start_matches("\" "),
        key.fingerprint(),
        hex.fingerprint()
    );
    let user = Secret::new(format!("HOTP/T30/6 {login} - {}", hex.expose()));
    Ok(vec![Line::Text(stamp), Line::Secret(user)])
}

/// Whether a slot holds the empty file that lets `pam_oath` pass over it.
pub(super) fn is_empty(facts: &Facts, slot: Slot, member: &Member) -> bool {
    facts
        .states
        .get(&(slot, member.login.clone()))
        .is_some_and(|state| state.file.size == 0)
}

/// Returns the change after which slot `next` holds an empty file, `before` being the hash of what stands there.
pub(super) fn empty_next(member: &Member, before: Option<String>, what: String) -> (Part, Change) {
    (
        Part::Secrets,
        Change::File(FileChange {
            path: state_path(Slot::Next, member.login.as_str()),
            mode: 0o600,
            before,
            scope: Scope::Live,
            lines: Vec::new(),
            shown: Shown::Sentence(what),
        }),
    )
}

/// What stands in the way of the module on a host, and what is said of it once.
pub(super) fn module(facts: &Facts) -> Vec<Finding> {
    if facts.oath_module.is_none() {
        return vec![Finding::refusal(
            "no-oath-module",
            "the policy says `module: oath`, and pam_oath is not there",
            "install it (libpam-oath, pam_oath, oath-toolkit-pam_oath), or use the default module",
        )];
    }
    if !facts.oath_per_user {
        return vec![Finding::refusal(
            "oath-too-old",
            "this pam_oath knows no ${USER} in usersfile=: one file for all would refuse logins that come at once",
            "bring oath-toolkit 2.6.7 or later",
        )];
    }
    Vec::new()
}

/// Says what the module leaves out, with the change that brings it.
pub(super) fn limits() -> Finding {
    Finding::note(
        "oath-limits",
        "pam_oath logs no code, right or wrong, limits no tries, and takes a code that was typed at `confirm` once more",
        "reports of activity know logins there from sshd's lines only; use fail2ban or sshd's penalties against guessing",
    )
}

/// Finds files that the module has left when it was cut off: with either of them it refuses every code (it opens them new).
pub(super) fn stale(facts: &Facts, wish: &Wish) -> Option<Finding> {
    let left: Vec<String> = wish
        .members
        .iter()
        .filter(|m| m.policy.module == Module::Oath)
        .flat_map(|m| [".lock", ".new"].map(|end| format!("{}{end}", m.login)))
        .filter(|name| facts.other_states.iter().any(|(_, other)| other == name))
        .collect();
    (!left.is_empty()).then(|| {
        Finding::note(
            "oath-lock",
            format!(
                "pam_oath has left {} beside a state file, unless a login was just under way",
                left.join(", ")
            ),
            "if it stays, remove it: no code is taken until then",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_key_without_showing_it() {
        let stamp = Stamp {
            project: "P".to_owned(),
            serial: "T-1".to_owned(),
            generation: 2,
            uid: 1000,
            expires: 0,
        };
        // RFC 6238's key.
        let key = Secret::from("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let lines = new_file(&key, "alice", &stamp).unwrap();
        let hex = "3132333435363738393031323334353637383930";
        assert_eq!(
            lines[1],
            Line::Secret(Secret::new(format!("HOTP/T30/6 alice - {hex}")))
        );
        let Line::Text(text) = &lines[0] else {
            panic!("{lines:?}")
        };
        // The reaper looks for this, with the blank at its end.
        assert!(text.starts_with("# FLEETOTP v=1 project=P serial=T-1 gen=2 uid=1000 exp=0 key="));
        assert!(text.ends_with(&format!(" hex={}", Secret::from(hex).fingerprint())));
        let enrolled = crate::plan::oath::enrolments(
            &[
                Secret::from(text.as_str()),
                Secret::new(format!("HOTP/T30/6 alice - {hex}")),
            ],
            0,
            1,
        );
        assert_eq!(
            enrolled.unwrap().len(),
            1,
            "adopt reads what is written here"
        );
        assert!(new_file(&Secret::from("no key!"), "alice", &stamp).is_err());
    }
}
