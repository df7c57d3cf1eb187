//! From what was last read on a host to the ledger's rows.

use std::fmt::Write as _;

use crate::clock::Timestamp;
use crate::host::facts::{Facts, Slot};
use crate::host::request::Scope;
use crate::ledger::TokenHostObservation;
use crate::names::HostName;
use crate::plan::change::{GROUP_ENFORCED, GROUP_EXEMPT, HostPlan};
use crate::plan::diff::difference;
use crate::plan::finding::Gap;
use crate::plan::state::Stamp;
use crate::plan::wish::Member;
use crate::plan::{pam, sshd, sudo};
use crate::token::state::TokenHostState;

/// Why a member of the group is a gap.
const NO_DEMAND: &str = "no code is demanded: fleetotp's PAM or sshd text is not there";
/// Why one is whose login demands a code.
const NO_DEMAND_IN_SUDO: &str = "sudo demands no code: fleetotp's text is not in its PAM service";

/// Turns what was last read into the ledger's rows.
pub(super) fn observations(
    host: &HostName,
    members: &[Member],
    gaps: &[Gap],
    facts: &Facts,
    at: Timestamp,
) -> Vec<TokenHostObservation> {
    let (enforced, exempt) = (facts.members(GROUP_ENFORCED), facts.members(GROUP_EXEMPT));
    let missing = if !has_texts(facts) {
        Some(NO_DEMAND)
    } else if sudo::is_lacking(facts, members) {
        Some(NO_DEMAND_IN_SUDO)
    } else {
        None
    };
    let mut rows = Vec::new();
    for member in members {
        let Some(token) = &member.token else { continue };
        let Ok(serial) = token.serial.parse() else {
            continue;
        };
        let login = member.login.as_str();
        let generation = |slot| {
            let stamp = facts
                .states
                .get(&(slot, member.login.clone()))
                .and_then(Stamp::of)
                .filter(|stamp| stamp.serial == token.serial)?;
            u32::try_from(stamp.generation).ok()
        };
        let gap = gaps.iter().find(|g| g.login == login);
        let state = if !facts.accounts.contains_key(&member.login) {
            TokenHostState::NoAccount
        } else if enforced.contains(login) && missing.is_none() {
            TokenHostState::Enforced
        } else if enforced.contains(login) {
            TokenHostState::Gap
        } else if exempt.contains(login) {
            TokenHostState::Exempt
        } else if gap.is_some() {
            TokenHostState::Gap
        } else if generation(Slot::Current).is_some() {
            TokenHostState::Staged
        } else {
            TokenHostState::Absent
        };
        rows.push(TokenHostObservation {
            serial,
            host: host.clone(),
            login: member.login.clone(),
            state,
            reason: match gap {
                Some(gap) => Some(gap.text.clone()),
                None if state == TokenHostState::Gap => missing.map(str::to_owned),
                None => None,
            },
            current: generation(Slot::Current),
            next: generation(Slot::Next),
            at,
        });
    }
    rows
}

/// Whether PAM and sshd have fleetotp's text, without which membership demands nothing. What was judged before has it.
pub(super) fn has_texts(facts: &Facts) -> bool {
    let ours = |path: &str| facts.text(path).is_some_and(|t| t.contains(pam::BEGIN));
    let in_sshd =
        facts.files.contains_key(sshd::DROP_IN) || facts.listeners.iter().any(|l| ours(&l.config));
    facts.judged_before || (ours(pam::SERVICE_FILE) && in_sshd)
}

/// Hosts with the same sshd, options, configuration, module, PAM text and all that it includes take a change alike.
pub(super) fn class_of(facts: &Facts) -> String {
    let mut text = format!("{} {:?}\n", facts.version_text, facts.os);
    for listener in &facts.listeners {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{} {}", listener.config, listener.options);
    }
    let selinux = (facts.selinux, facts.selinux_enforcing);
    _ = writeln!(text, "{:?} {selinux:?}", facts.module_sha256);
    let files = facts.files.iter().map(|(path, file)| (path, &file.sha256));
    for (path, sha256) in files.chain(&facts.beside) {
        // Writing to a string cannot fail.
        _ = writeln!(text, "{path} {sha256}");
    }
    crate::token::secret::fingerprint_of(text.as_bytes())
}

/// Hosts that take one change alike: of one class, and brought the same text. Where realms differ in services, scope or module
/// hosts that are alike are brought another, of which a proof on one says nothing for the other.
pub(super) fn class_of_change(facts: &Facts, plan: &HostPlan) -> String {
    let mut text = class_of(facts);
    let changes = plan.changes.iter().map(|(_, change)| change);
    for change in changes.filter(|c| c.scope() == Scope::Transaction) {
        text.push_str(&difference(change));
    }
    crate::token::secret::fingerprint_of(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::change::{Change, FileChange, Part, Shown};

    fn brings(path: &str, after: &str, scope: Scope) -> HostPlan {
        let file = FileChange {
            path: path.to_owned(),
            mode: 0o644,
            before: None,
            scope,
            lines: Vec::new(),
            shown: Shown::Text {
                before: String::new(),
                after: after.to_owned(),
            },
        };
        HostPlan {
            changes: vec![(Part::Host, Change::File(file))],
            ..HostPlan::default()
        }
    }

    #[test]
    fn hosts_that_are_alike_and_are_brought_other_text_prove_it_by_themselves() {
        let facts = Facts::default();
        let class = |plan: &HostPlan| class_of_change(&facts, plan);
        let sshd = brings(pam::SERVICE_FILE, "block\n", Scope::Transaction);
        assert_eq!(class(&sshd), class(&sshd));
        let mut sudo_too = brings("/etc/pam.d/sudo", "block\n", Scope::Transaction);
        sudo_too.changes.extend(sshd.changes.clone());
        let everyone = brings(pam::SERVICE_FILE, "block of everyone\n", Scope::Transaction);
        assert_ne!(class(&sshd), class(&sudo_too));
        assert_ne!(class(&sshd), class(&everyone));
        // Each host has secrets of its own; they are no part of what is proved.
        let mut with_secret = brings("/var/lib/x", "alice's\n", Scope::Live);
        with_secret.changes.extend(sshd.changes.clone());
        assert_eq!(class(&sshd), class(&with_secret));
    }

    #[test]
    fn hosts_whose_pam_includes_other_text_are_not_alike() {
        let answer = |account: &str, group: &str| {
            let text = format!(
                "fleetotp\t1\n{:064x}  /etc/group\n{:064x}  /etc/pam.d/common-account\ndone\n",
                group.len(),
                account.len()
            );
            class_of(&crate::host::parse::facts(text.as_bytes()).unwrap())
        };
        assert_eq!(answer("stock", "alice"), answer("stock", "alice, bob"));
        assert_ne!(answer("stock", "alice"), answer("poisoned", "alice"));
    }
}
