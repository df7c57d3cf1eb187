//! The plan for one host: from facts and wish to changes, findings and gaps.

use crate::host::facts::{DeadlineMechanism, Facts};
use crate::host::program::{REAPER_PATH, REAPER_SHA256, REAPER_TEXT};
use crate::host::request::{Line, Scope};
use crate::plan::change::{Change, FileChange, HostPlan, Part, Shown};
use crate::plan::enforce::strangers;
use crate::plan::everyone;
use crate::plan::finding::Finding;
use crate::plan::host_part::host_part;
use crate::plan::preconditions::preconditions;
use crate::plan::secrets::secrets_part;
use crate::plan::ways::only_codes;
use crate::plan::wish::Wish;
use crate::plan::{canary, distribution};

/// Decides what to do on a host.
pub fn host_plan(facts: &Facts, wish: &Wish) -> HostPlan {
    let mut plan = HostPlan {
        may_differ: "port",
        ..HostPlan::default()
    };
    preconditions(facts, wish, &mut plan);
    if plan.refused() {
        return plan;
    }
    plan.findings.extend(strangers(facts, wish));
    if wish.parts.host {
        host_part(facts, wish, &mut plan);
    }
    if wish.parts.secrets {
        secrets_part(facts, wish, &mut plan);
    }
    if plan.needs_transaction() {
        if everyone::is_wanted(facts, wish) && !everyone::is_there(facts) {
            everyone::nobody_loses(facts, wish, &mut plan);
        }
        transaction(wish, &mut plan);
        plan.findings.extend(only_codes(facts, wish));
        plan.findings.extend(canary::allowed_groups(facts).err());
    }
    if plan.needs_reaper {
        reaper(facts, &mut plan);
    }
    if plan.refused() {
        plan.changes.clear();
    }
    plan
}

/// What a change of PAM or sshd needs: a host that takes it back by itself, and a connection that confirms it.
pub(super) fn transaction(wish: &Wish, plan: &mut HostPlan) {
    plan.needs_reaper = true;
    if !wish.can_confirm {
        plan.findings.push(Finding::refusal(
            "no-fresh-connection",
            "PAM or sshd would change, and no fresh connection can be made to confirm it",
            "set confirm_host for a host with ansible_connection: local",
        ));
    }
}

/// Adds the reaper where it is missing or another version.
pub(super) fn reaper(facts: &Facts, plan: &mut HostPlan) {
    if facts.deadlines == DeadlineMechanism::None {
        plan.findings.push(Finding::refusal(
            "no-deadline",
            "the host has neither systemd nor cron: it could not revert a change by itself",
            distribution::deadline_remedy(&facts.os),
        ));
        return;
    }
    if plan.changes.is_empty() && facts.secret_deadlines.is_empty() {
        return;
    }
    put_reaper(facts, plan);
}

/// Adds the reaper where it is missing, another version, or nothing runs it any more.
pub fn put_reaper(facts: &Facts, plan: &mut HostPlan) {
    if facts.reaper_armed && facts.reaper.as_deref() == Some(REAPER_SHA256.as_str()) {
        return;
    }
    // First of all files: it must be there before anything it has to undo.
    let at = plan
        .changes
        .iter()
        .position(|(_, c)| matches!(c, Change::File(_) | Change::Delete { .. }))
        .unwrap_or(plan.changes.len());
    let part = plan.changes.get(at).map_or(Part::Secrets, |(p, _)| *p);
    plan.changes.insert(
        at,
        (
            part,
            Change::File(FileChange {
                path: REAPER_PATH.to_owned(),
                mode: 0o700,
                before: facts.reaper.clone(),
                scope: Scope::Live,
                lines: Line::from_text(&REAPER_TEXT),
                shown: Shown::Sentence(format!(
                    "the program that reverts and expires without a controller, run by {}",
                    if facts.deadlines == DeadlineMechanism::Systemd {
                        "systemd (fleetotp-reaper.timer, fleetotp-boot.service)"
                    } else {
                        "cron (/etc/cron.d/fleetotp)"
                    }
                )),
            }),
        ),
    );
}
