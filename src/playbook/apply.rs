//! From a plan to a request: in the order that is safe at each step.

use std::collections::BTreeMap;

use crate::audit::head::Witness;
use crate::host::facts::Facts;
use crate::host::program::REAPER_PATH;
use crate::host::request::{Line, Request, Scope};
use crate::inventory::model::{Module, Policy};
use crate::names::Login;
use crate::plan::canary::allowed_groups;
use crate::plan::change::{CANARY, Change, GROUP_ENFORCED, GROUP_PENDING, HostPlan, state_path};
use crate::plan::decide::put_reaper;
use crate::plan::enforce::Enforcement;
use crate::plan::finding::Finding;
use crate::plan::state::{Stamp, new_file};
use crate::plan::{oath_file, sshd};
use crate::playbook::logins::Proof;
use crate::playbook::witness::leave;
use crate::token::secret::Secret;

/// The temporary member of a change that is proved by logins.
#[derive(Debug)]
pub struct Canary<'a> {
    /// Public key line.
    pub public_key: &'a str,
    /// Key of its codes.
    pub key: &'a Secret,
    /// The policy whose window and step it uses.
    pub policy: &'a Policy,
    /// Groups that sshd's AllowGroups lets in; the host picks one that an admin is in.
    pub groups: Vec<String>,
    /// The admins' accounts.
    pub logins: Vec<Login>,
    /// The host's own addresses that it logs in from.
    pub from: Vec<String>,
}

impl<'a> Canary<'a> {
    /// The temporary member of a proof on a host, among whose admins are these.
    ///
    /// # Errors
    /// A refusal where its logins would prove nothing.
    pub fn of(proof: &'a Proof, facts: &Facts, logins: Vec<Login>) -> Result<Self, Finding> {
        Ok(Self {
            public_key: proof.pair.public(),
            key: &proof.key,
            policy: &proof.policy,
            groups: allowed_groups(facts)?,
            logins,
            from: proof
                .inside
                .iter()
                .map(|address| address.trim_matches(['[', ']']).to_owned())
                .collect(),
        })
    }
}

/// Builds the request that lets the temporary member log in on a host on which nothing else changes; it ends as a change
/// does, confirmed or reverted.
pub fn verification_request(
    facts: &Facts,
    transaction: &str,
    window: u64,
    project: &str,
    canary: &Canary<'_>,
) -> Request {
    let mut request = Request::apply();
    let daemon = facts.daemon();
    let mut plan = HostPlan::default();
    put_reaper(facts, &mut plan);
    for (_, change) in &plan.changes {
        change.send(&mut request);
    }
    request.line(&["flush"]);
    request.line(&["tx", transaction, &window.to_string(), &daemon]);
    add_canary(&mut request, project, canary);
    request.line(&["go"]);
    request
}

/// Builds the request for a plan. Everything outside the transaction comes first: packages, groups and secrets must be
/// there before PAM asks for them.
pub fn request(
    facts: &Facts,
    plan: &HostPlan,
    transaction: &str,
    window: u64,
    witness: &Witness,
    canary: Option<&Canary<'_>>,
) -> Request {
    let mut request = Request::apply();
    for (path, hash) in &plan.expected {
        request.line(&["expect", path, hash]);
    }
    let daemon = facts.daemon();
    let (inside, outside): (Vec<_>, Vec<_>) = plan
        .changes
        .iter()
        .map(|(_, c)| c)
        .partition(|c| c.scope() == Scope::Transaction);
    let (directories, others): (Vec<_>, Vec<_>) = outside
        .into_iter()
        .partition(|c| matches!(c, Change::Directory { .. }));
    make_directories(&mut request, &directories);
    // What ends a secret by itself runs before the secret is there, and whoever may be asked for a code comes last.
    let rank = |change: &&Change| match change {
        Change::File(file) if file.path == REAPER_PATH => 0,
        Change::Members { .. } => 2,
        Change::RestoreAccount { .. } => 3,
        _ => 1,
    };
    let mut others = others;
    others.sort_by_key(rank);
    let mut at = 0;
    for change in others {
        if rank(&change) != at {
            next_stage(&mut request, plan, &mut at, rank(&change));
        }
        change.send(&mut request);
    }
    next_stage(&mut request, plan, &mut at, 2);
    if inside.is_empty() {
        // No sshd is reloaded; what the new memberships do is judged at once.
        for login in newly_pending(plan) {
            for (key, value) in sshd::wanted(facts.version, sshd::METHODS_PENDING) {
                request.line(&["judge", &login, &daemon, &format!("{key} {value}")]);
            }
        }
    } else {
        request.line(&["tx", transaction, &window.to_string(), &daemon]);
        if let Some(canary) = canary {
            add_canary(&mut request, &witness.project, canary);
            for (key, value) in sshd::wanted(facts.version, sshd::METHODS_ENFORCED) {
                request.line(&["want", CANARY, key, value]);
            }
        }
        for user in &plan.unchanged_users {
            request.line(&["same", user, plan.may_differ]);
        }
        for (user, key, value) in &plan.wanted {
            request.line(&["want", user, key, value]);
        }
        for change in inside {
            change.send(&mut request);
        }
        request.line(&["go"]);
    }
    leave(&mut request, witness);
    request.line(&["hash", &daemon]);
    request
}

/// Puts what was staged into place before something of a higher rank; arms the reaper once it is there.
fn next_stage(request: &mut Request, plan: &HostPlan, at: &mut u8, rank: u8) {
    request.line(&["flush"]);
    if *at == 0 && rank > 0 && plan.needs_reaper {
        request.line(&["arm"]);
    }
    *at = rank;
}

/// Makes all directories of one mode in one operation, before anything is put into them.
fn make_directories(request: &mut Request, directories: &[&Change]) {
    let mut by_mode: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for change in directories {
        if let Change::Directory { path, mode } = change {
            by_mode.entry(*mode).or_default().push(path);
        }
    }
    for (mode, paths) in by_mode {
        request.line(&["dirs", &format!("{mode:o}"), &paths.join(" ")]);
    }
}

fn newly_pending(plan: &HostPlan) -> Vec<String> {
    plan.changes
        .iter()
        .filter_map(|(_, c)| match c {
            Change::Members {
                group,
                before,
                after,
            } if *group == GROUP_PENDING => {
                Some(after.iter().filter(|m| !before.contains(m)).cloned())
            }
            _ => None,
        })
        .flatten()
        .collect()
}

fn add_canary(request: &mut Request, project: &str, canary: &Canary<'_>) {
    let lines = canary_file(canary.key, canary.policy, project);
    if canary.policy.module == Module::Oath {
        let next = state_path(crate::host::facts::Slot::Next, CANARY);
        request.file(&next, 0o600, "any", Scope::Live, &[]);
    }
    request.file(
        &state_path(crate::host::facts::Slot::Current, CANARY),
        0o600,
        "any",
        Scope::Live,
        &lines,
    );
    let groups = if canary.groups.is_empty() {
        "-".to_owned()
    } else {
        canary.groups.join(",")
    };
    let logins: Vec<&str> = canary.logins.iter().map(Login::as_str).collect();
    let from = canary.from.join(",");
    request.line(&[
        "canary",
        canary.public_key,
        &groups,
        &logins.join(","),
        &from,
    ]);
}

/// The temporary member's state file.
pub(super) fn canary_file(key: &Secret, policy: &Policy, project: &str) -> Vec<Line> {
    let stamp = Stamp {
        project: project.to_owned(),
        serial: "canary".to_owned(),
        generation: 0,
        uid: 0,
        expires: 0,
    };
    match policy.module {
        Module::GoogleAuthenticator => {
            let mut lines = new_file(key, policy, &stamp, &[], None);
            // Its own logins come in quick succession.
            if let Some(Line::Text(limit)) = lines.get_mut(1) {
                "\" RATE_LIMIT 10 30".clone_into(limit);
            }
            lines
        }
        // A key that was just made is one; without lines it would be refused, and the change with it.
        Module::Oath => oath_file::new_file(key, CANARY, &stamp).unwrap_or_default(),
    }
}

/// Builds the request that makes a host demand codes; judged at once, undone if sshd does not follow.
pub fn enforcement_request(facts: &Facts, enforcement: &Enforcement, witness: &Witness) -> Request {
    let mut request = Request::apply();
    let daemon = facts.daemon();
    for change in enforcement
        .changes
        .iter()
        .filter(|c| matches!(c, Change::Members { group, .. } if *group == GROUP_ENFORCED))
    {
        change.send(&mut request);
    }
    for login in &enforcement.logins {
        for (key, value) in sshd::wanted(facts.version, sshd::METHODS_ENFORCED) {
            request.line(&["judge", login, &daemon, &format!("{key} {value}")]);
        }
    }
    for change in enforcement
        .changes
        .iter()
        .filter(|c| !matches!(c, Change::Members { group, .. } if *group == GROUP_ENFORCED))
    {
        change.send(&mut request);
    }
    request.line(&["disarm"]);
    leave(&mut request, witness);
    request.line(&["hash", &daemon]);
    request
}

/// Builds the request for changes that end a token on a host, in their order.
pub fn revocation_request(facts: &Facts, changes: &[Change], witness: &Witness) -> Request {
    let mut request = Request::apply();
    for change in changes {
        change.send(&mut request);
    }
    request.line(&["disarm"]);
    leave(&mut request, witness);
    request.line(&["hash", &facts.daemon()]);
    request
}
