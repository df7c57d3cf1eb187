//! The part of a plan that brings secrets to a host: state files, their deadlines, who may confirm.

use crate::host::facts::{Facts, Slot};
use crate::inventory::model::{Enforce, Module};
use crate::plan::account::{account_gap, key_gap};
use crate::plan::change::{Change, GROUP_ENFORCED, GROUP_PENDING, HostPlan, Part, STATE_CURRENT};
use crate::plan::finding::{Finding, Gap};
use crate::plan::returned::returned;
use crate::plan::slot::{self, Holding, holds, not_ours, there};
use crate::plan::wish::{Member, TokenWish, Wish};
use crate::plan::{enforce, oath_file, rotation, sshd};

/// Plans it.
pub(super) fn secrets_part(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    let mut pending = facts.members(GROUP_PENDING);
    let enforced = facts.members(GROUP_ENFORCED);
    for member in &wish.members {
        let login = member.login.as_str();
        if let Some(gap) = account_gap(facts, wish, member) {
            plan.gaps.push(gap);
            continue;
        }
        let Some(token) = &member.token else { continue };
        if !wish.parts.host && !facts.directories.contains_key(STATE_CURRENT) {
            plan.gaps.push(Gap {
                login: login.to_owned(),
                id: "pam-not-ready",
                text: "the host is not prepared yet: run a playbook with the task pam_totp"
                    .to_owned(),
            });
            continue;
        }
        if let Err(gap) = state_files(facts, wish, member, token, plan) {
            plan.gaps.push(gap);
            continue;
        }
        returned(facts, wish, member, plan);
        if member.policy.enforce == Enforce::OnIssue && !token.confirmed {
            plan.findings.push(Finding::note(
                "enforced-unconfirmed",
                format!(
                    "policy {} demands the code of {login} before anyone has shown that the sheet was read; if nobody \
                     confirms it in time, {login} is locked out",
                    member.policy.name
                ),
                "use enforce: on_confirm",
            ));
        }
        let was_pending = pending.contains(login);
        if enforced.contains(login) {
            pending.remove(login);
        } else if !enforce::wanted(member, token, wish.now)
            && (was_pending || may_wait(facts, member, plan))
        {
            // Where the demand is wanted now it follows once the secret was read back.
            pending.insert(login.to_owned());
        }
        if plan.needs_transaction() && pending.contains(login) {
            let wanted = sshd::wanted(facts.version, sshd::METHODS_PENDING);
            plan.wanted
                .extend(wanted.into_iter().map(|(k, v)| (login.to_owned(), k, v)));
        }
    }
    plan.changes
        .extend(Change::members(facts, GROUP_PENDING, &pending).map(|c| (Part::Secrets, c)));
}

/// Brings both slots of one admin to what is wished.
fn state_files(
    facts: &Facts,
    wish: &Wish,
    member: &Member,
    token: &TokenWish,
    plan: &mut HostPlan,
) -> Result<(), Gap> {
    let state = there(facts, Slot::Current, member);
    if let Some(gap) = state.and_then(|s| not_ours(s, Slot::Current, member, token)) {
        return Err(gap);
    }
    if rotation::promoted_by_host(facts, member, token) {
        return Ok(());
    }
    if let Some(change) = rotation::promotion(facts, member, token) {
        plan.changes.push((Part::Secrets, change));
        if member.policy.module == Module::Oath {
            let what = "empty: the new code is the only one".to_owned();
            plan.changes.push(oath_file::empty_next(member, None, what));
        }
        plan.changes
            .extend(slot::use_up(facts, member, token.typed_step).map(|c| (Part::Secrets, c)));
        plan.changes.extend(
            no_longer_expires(facts, member, token)
                .into_iter()
                .map(|c| (Part::Secrets, c)),
        );
        return Ok(());
    }
    let there_already =
        state.is_some_and(|s| holds(s, token, token.generation, &token.fingerprint));
    let over = !token.confirmed && token.expires.is_some_and(|end| end <= wish.now);
    if over && !there_already {
        return Err(Gap {
            login: member.login.to_string(),
            id: "expired",
            text: format!(
                "the enrolment of {} has expired: issue a new sheet with `enroll`",
                member.login
            ),
        });
    }
    let holding = Holding {
        slot: Slot::Current,
        generation: token.generation,
        fingerprint: &token.fingerprint,
        key: token.key.as_ref(),
        key_lost: token.key_lost,
        scratch: &token.scratch,
        typed_step: token.typed_step,
        expires: token.expires.filter(|_| !token.confirmed),
    };
    slot::fill(facts, wish, member, token, &holding, plan)?;
    let next = rotation::next_slot(facts, wish, member, token, plan);
    match (token.confirmed, token.expires) {
        (true, _) => {
            // Only where the new code is there may the old one end.
            let ends = next.is_ok() && rotation::end_of_old(facts, member, token, plan)?;
            if !ends {
                plan.changes.extend(
                    Change::no_deadline(facts, Slot::Current, &member.login, confirmed(token))
                        .map(|c| (Part::Secrets, c)),
                );
            }
        }
        (false, Some(expires)) => {
            let at = (Slot::Current, token.generation);
            slot::end_at(facts, member, token, at, expires, plan)?;
        }
        (false, None) => {}
    }
    next
}

fn confirmed(token: &TokenWish) -> String {
    format!("{} is confirmed and no longer expires", token.serial)
}

/// Returns the deletions of a confirmed secret's deadlines: its own, and that of the slot it came from.
pub(super) fn no_longer_expires(facts: &Facts, member: &Member, token: &TokenWish) -> Vec<Change> {
    if token.next.is_some() {
        return Vec::new();
    }
    [Slot::Current, Slot::Next]
        .into_iter()
        .filter_map(|slot| Change::no_deadline(facts, slot, &member.login, confirmed(token)))
        .collect()
}

/// A pending admin can no longer log in by password: the PAM block takes it for a code. So nobody without a public key
/// becomes pending.
fn may_wait(facts: &Facts, member: &Member, plan: &mut HostPlan) -> bool {
    let gap = key_gap(facts, &member.login);
    let may = gap.is_none();
    plan.gaps.extend(gap);
    may
}
