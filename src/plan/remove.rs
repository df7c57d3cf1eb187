//! Taking fleetotp off a host: the original PAM and sshd text back, then everything else that is fleetotp's.

use std::collections::BTreeSet;

use crate::host::facts::{Facts, Slot};
use crate::host::request::{Line, Request, Scope};
use crate::plan::account::is_over;
use crate::plan::change::{
    CANARY, Change, FileChange, GROUP_ENFORCED, GROUP_EXEMPT, GROUP_PENDING, HostPlan, LIB, Part,
    STATE_ROOT, Shown, state_path,
};
use crate::plan::decide::{reaper, transaction};
use crate::plan::finding::Finding;
use crate::plan::host_part::unmanaged;
use crate::plan::preconditions::preconditions;
use crate::plan::rollback::enforced;
use crate::plan::state::Stamp;
use crate::plan::wish::Wish;
use crate::plan::{distribution, everyone, pam, sshd, sudo};

/// What to do so that nothing of fleetotp stays on a host.
#[derive(Debug, Clone, Default)]
pub struct Removal {
    /// PAM and sshd text: the host reverts it by itself unless it is confirmed.
    pub plan: HostPlan,
    /// What follows once that is confirmed, in this order.
    pub steps: Vec<Step>,
    /// Logins of whom a code is demanded now and will not be.
    pub key_only: Vec<String>,
}

impl Removal {
    /// Returns whether nothing of fleetotp is there.
    pub fn is_empty(&self) -> bool {
        self.plan.is_empty() && self.steps.is_empty()
    }
}

/// One thing that is fleetotp's and goes when nothing refers to it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A state file; the hash it must have, or `any`.
    Secret(String, String),
    /// A deadline.
    Deadline(String),
    /// A group, with its members.
    Group(&'static str, Vec<String>),
    /// Directories of state files, where nothing else lies in them.
    Directories,
    /// fleetotp's own directory, the reaper, and what runs it.
    Own,
}

impl Step {
    /// Returns the step in one line.
    pub fn summary(&self) -> String {
        match self {
            Self::Secret(path, _) => format!("delete {path}: the secret of an enrolment"),
            Self::Deadline(path) => format!("delete {path}: a deadline"),
            Self::Group(name, members) if members.is_empty() => format!("delete group {name}"),
            Self::Group(name, members) => {
                format!(
                    "delete group {name}, whose members are {}",
                    members.join(", ")
                )
            }
            Self::Directories => format!("delete {STATE_ROOT}, if nothing else lies there"),
            Self::Own => format!("delete {LIB}, the reaper and what runs it"),
        }
    }

    /// Adds the step to a request.
    pub fn send(&self, request: &mut Request) {
        match self {
            Self::Secret(path, before) => request.line(&["del", path, before, "live"]),
            Self::Deadline(path) => request.line(&["del", path, "any", "live"]),
            Self::Group(name, members) => {
                let members = members.join(",");
                let members = if members.is_empty() { "-" } else { &members };
                request.line(&["ungroup", name, members]);
            }
            Self::Directories => request.line(&[
                "rmdirs",
                &format!("{STATE_ROOT}/current {STATE_ROOT}/next {STATE_ROOT}"),
            ]),
            Self::Own => request.line(&["leave"]),
        }
    }
}

/// Decides what to take off a host. The facts must hold every login of fleetotp's groups and state files there.
pub fn removal(facts: &Facts, wish: &Wish) -> Removal {
    let mut result = Removal::default();
    let plan = &mut result.plan;
    preconditions(facts, wish, plan);
    returning(facts, wish, plan);
    if plan.refused() {
        return result;
    }
    original_texts(facts, plan);
    if plan.needs_transaction() {
        transaction(wish, plan);
        plan.may_differ = sshd::harmless_differences(facts.version);
        plan.unchanged_users = unmanaged(facts, wish);
        everyone::ends(facts, wish, plan);
        reaper(facts, plan);
    }
    if plan.refused() {
        plan.changes.clear();
        return result;
    }
    result.key_only = enforced(facts, wish);
    if !result.key_only.is_empty() {
        plan.findings.push(Finding::note(
            "becomes-key-only",
            format!(
                "no code is demanded any more of {}: a key, or whatever else this host takes, is enough",
                result.key_only.join(", ")
            ),
            "know it before: --check says it too",
        ));
    }
    result.steps = steps(facts);
    result
}

/// Members who cannot log in now, and could by their key alone once nothing demands a code: revoked ones, and those
/// whose enrolment expired. Only an expired account keeps them out then.
pub(super) fn returning(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    let back: Vec<String> = facts
        .members(GROUP_ENFORCED)
        .into_iter()
        .filter(|member| member != CANARY)
        .filter(|member| {
            facts.accounts.iter().any(|(login, account)| {
                login.as_str() == member
                    && !is_over(account, wish.now)
                    && ![Slot::Current, Slot::Next]
                        .into_iter()
                        .any(|slot| facts.states.contains_key(&(slot, login.clone())))
            })
        })
        .collect();
    if !back.is_empty() {
        plan.findings.push(Finding::refusal(
            "revoked-would-return",
            format!(
                "{} cannot log in now, since the host demands a code and has no secret for it; without fleetotp a key would be enough",
                back.join(", ")
            ),
            "expire the account first (usermod -e 1 LOGIN), or enrol the admin again",
        ));
    }
}

/// The marked blocks out, the drop-in away; every other byte stays. sshd's comes first: it has its effect only when both
/// are there.
fn original_texts(facts: &Facts, plan: &mut HostPlan) {
    if let Some(file) = facts.files.get(sshd::DROP_IN) {
        plan.changes.push((
            Part::Host,
            Change::Delete {
                path: sshd::DROP_IN.to_owned(),
                before: file.sha256.clone(),
                scope: Scope::Transaction,
                what: "sshd asks nobody for a code any more".to_owned(),
            },
        ));
    }
    let configs: BTreeSet<&str> = facts.listeners.iter().map(|l| l.config.as_str()).collect();
    let services = sudo::SERVICE_FILES.into_iter().chain([pam::SERVICE_FILE]);
    for path in configs.into_iter().chain(services) {
        let Some(file) = facts.files.get(path) else {
            continue;
        };
        let Some(before) = &file.text else {
            // fleetotp writes nothing but text.
            if sudo::is_service(path) {
                continue;
            }
            plan.findings.push(Finding::refusal(
                "not-text",
                format!("{path} is not plain text"),
                "repair it by hand",
            ));
            continue;
        };
        match pam::without_block(before) {
            Ok(after) if after == *before => {}
            // It was a copy of what the distribution keeps, which counts again once the copy is gone.
            Ok(after)
                if path == pam::SERVICE_FILE
                    && distribution::vendor_text(facts).is_some_and(|(_, text)| text == after) =>
            {
                plan.changes.push((
                    Part::Host,
                    Change::Delete {
                        path: path.to_owned(),
                        before: file.sha256.clone(),
                        scope: Scope::Transaction,
                        what: "the distribution's own text counts again".to_owned(),
                    },
                ));
            }
            Ok(after) => plan.changes.push((
                Part::Host,
                Change::File(FileChange {
                    path: path.to_owned(),
                    mode: file.mode,
                    before: Some(file.sha256.clone()),
                    scope: Scope::Transaction,
                    lines: Line::from_text(&after),
                    shown: Shown::Text {
                        before: before.clone(),
                        after,
                    },
                }),
            )),
            Err(error) => plan.findings.push(Finding::refusal(
                if path == pam::SERVICE_FILE || sudo::is_service(path) {
                    "pam-layout"
                } else {
                    "sshd-layout"
                },
                format!("{path}: {error}"),
                "repair it by hand",
            )),
        }
    }
}

fn steps(facts: &Facts) -> Vec<Step> {
    let mut steps = Vec::new();
    let ours: Vec<_> = facts
        .states
        .iter()
        // An empty one is what tells pam_oath not to ask.
        .filter(|(_, state)| Stamp::of(state).is_some() || state.file.size == 0)
        .collect();
    for ((slot, login), state) in &ours {
        steps.push(Step::Secret(
            state_path(*slot, login.as_str()),
            state.file.sha256.clone(),
        ));
    }
    for (slot, name) in &facts.other_states {
        // What a login that was cut off has left beside a state file: it holds the same secret.
        let whose = name.split_once('~').map(|(login, _)| login);
        if whose.is_some_and(|w| ours.iter().any(|((_, login), _)| login.as_str() == w)) {
            steps.push(Step::Secret(state_path(*slot, name), "any".to_owned()));
        }
    }
    steps.extend(
        facts
            .secret_deadlines
            .keys()
            .map(|name| Step::Deadline(format!("{LIB}/deadlines/{name}"))),
    );
    for name in [GROUP_ENFORCED, GROUP_PENDING, GROUP_EXEMPT] {
        if let Some(group) = facts.groups.get(name) {
            steps.push(Step::Group(name, group.members.clone()));
        }
    }
    let slots = [Slot::Current, Slot::Next].map(|slot| format!("{STATE_ROOT}/{}", slot.as_str()));
    let foreign = facts.states.len() > ours.len();
    if slots.iter().any(|s| facts.directories.contains_key(s)) && !(foreign && steps.is_empty()) {
        steps.push(Step::Directories);
    }
    if facts.directories.contains_key(LIB) {
        steps.push(Step::Own);
    }
    steps
}
