//! What must hold before anything is planned on a host.

use std::collections::BTreeSet;

use crate::host::facts::{Facts, SshVersion};
use crate::plan::change::{GROUP_ENFORCED, HostPlan};
use crate::plan::finding::Finding;
use crate::plan::state::Stamp;
use crate::plan::sudo;
use crate::plan::wish::Wish;

/// The first OpenSSH with `AuthenticationMethods` (release notes of 6.2).
const OLDEST: SshVersion = SshVersion(6, 2);

/// A change this size or smaller never fits on a full disk.
const NEEDED_KIB: u64 = 1024;

/// A rollout makes half as many files.
const NEEDED_INODES: u64 = 64;

/// Refuses hosts on which nothing may be planned.
pub(super) fn preconditions(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    let mut refuse =
        |id, text: String, remedy| plan.findings.push(Finding::refusal(id, text, remedy));
    if facts.uid != 0 {
        refuse(
            "not-root",
            format!("the program ran as uid {}, not as root", facts.uid),
            "connect as root, or set ansible_become: true",
        );
    }
    if facts.sudo_logs_input {
        refuse(
            "sudo-logs-input",
            "sudo logs what is sent to it: secrets would end up in its log".to_owned(),
            "exempt the connecting account: Defaults:LOGIN !log_input, !log_stdin",
        );
    }
    if facts.listeners.is_empty() {
        refuse(
            "no-sshd",
            "no sshd was found".to_owned(),
            "install openssh-server",
        );
    }
    let configs: BTreeSet<String> = facts
        .listeners
        .iter()
        .map(|l| format!("{} {}", l.config, l.options).trim_end().to_owned())
        .collect();
    if configs.len() > 1 {
        refuse(
            "several-sshd",
            format!(
                "several sshd run with different configurations: {}",
                configs.into_iter().collect::<Vec<_>>().join(", ")
            ),
            "let them share one configuration, or leave this host out",
        );
    }
    if !facts.listeners.is_empty() && facts.version < OLDEST {
        refuse(
            "unknown-sshd",
            format!(
                "sshd does not say that it is OpenSSH {OLDEST} or later, but `{}`",
                crate::names::printable(&facts.version_text, 60)
            ),
            "fleetotp knows no other sshd: leave this host out",
        );
    }
    if wish.parts.host && !facts.judged_before && facts.effective.is_empty() {
        refuse(
            "sshd-not-judged",
            "the host did not say what its sshd does for anybody".to_owned(),
            "run `sshd -T -C user=root` there: it must answer",
        );
    }
    for (path, uid) in &facts.foreign_directories {
        refuse(
            "directory-owner",
            format!("{path} belongs to uid {uid}: whoever that is could read and replace secrets"),
            "give it to root, or remove it",
        );
    }
    let strangers = facts.members(GROUP_ENFORCED);
    if facts.witness.is_none() && !strangers.is_empty() {
        refuse(
            "group-exists",
            format!(
                "group {GROUP_ENFORCED} has members, and fleetotp was never here: {}; they would be locked out",
                strangers.into_iter().collect::<Vec<_>>().join(", ")
            ),
            "remove its members, or rename it if it is somebody else's",
        );
    }
    let asks_in_sudo = sudo::wanted(&wish.members) == Some(true);
    let links = facts.links.iter();
    for (path, target) in links.filter(|(path, _)| asks_in_sudo || !sudo::is_service(path)) {
        refuse(
            "config-is-a-link",
            format!("{path} is a symbolic link to {target}"),
            "another tool owns it: change it there, or leave this host out",
        );
    }
    for id in &facts.open_changes {
        refuse(
            "change-open",
            format!("change {id} is still open on the host"),
            "wait until the host has reverted or confirmed it, then run again",
        );
    }
    for (mount, kib) in &facts.free_kib {
        if *kib < NEEDED_KIB {
            refuse(
                "disk-full",
                format!(
                    "{mount} has only {kib} KiB left: the module could not write its state and would refuse every login"
                ),
                "free some space",
            );
        }
    }
    for (mount, files) in &facts.free_inodes {
        if *files < NEEDED_INODES {
            refuse(
                "disk-full",
                format!(
                    "{mount} has room for only {files} more files: the module could not write its state and would refuse every login"
                ),
                "remove some files",
            );
        }
    }
    if let Some(foreign) = foreign_project(facts, &wish.project) {
        refuse(
            "foreign-project",
            format!("the host belongs to another fleetotp project, {foreign}"),
            "use that project's ledger, or take the host over: fleetotp adopt HOST --reason TEXT",
        );
    }
    if facts.effective.values().any(|e| e.error.is_some()) {
        let text = facts
            .effective
            .values()
            .find_map(|e| e.error.clone())
            .unwrap_or_default();
        refuse(
            "sshd-test-fails",
            format!(
                "sshd cannot say what it does: {}",
                crate::names::printable(text.trim(), 200)
            ),
            "repair sshd's configuration first: sshd -t",
        );
    }
}

/// Returns the id of another project whose mark is on the host.
pub(super) fn foreign_project(facts: &Facts, project: &str) -> Option<String> {
    let witness = facts
        .witness
        .as_deref()
        .and_then(|w| w.split('\t').next())
        .filter(|p| !p.is_empty())
        .map(str::to_owned);
    let stamps = facts
        .states
        .values()
        .filter_map(Stamp::of)
        .map(|s| s.project);
    witness.into_iter().chain(stamps).find(|p| p != project)
}
