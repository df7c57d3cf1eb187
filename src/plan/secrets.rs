//! The part of a plan that brings secrets to a host: state files, their deadlines, who may confirm.

use crate::clock::Timestamp;
use crate::host::facts::{DeadlineMechanism, Facts, SecretDeadline, Slot};
use crate::host::request::{Line, Scope};
use crate::inventory::model::Enforce;
use crate::plan::account::{account_gap, key_gap};
use crate::plan::change::{
    Change, FileChange, GROUP_ENFORCED, GROUP_PENDING, HostPlan, LIB, Part, STATE_CURRENT, Shown,
    state_path,
};
use crate::plan::finding::{Finding, Gap, NEEDS_KEY};
use crate::plan::state::{self, Stamp};
use crate::plan::wish::{Member, TokenWish, Wish};
use crate::plan::{enforce, sshd};

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
        if let Err(gap) = state_file(facts, wish, member, token, plan) {
            plan.gaps.push(gap);
            continue;
        }
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

/// Brings the slot `current` of one admin to the wanted generation.
fn state_file(
    facts: &Facts,
    wish: &Wish,
    member: &Member,
    token: &TokenWish,
    plan: &mut HostPlan,
) -> Result<(), Gap> {
    let login = member.login.to_string();
    let path = state_path(Slot::Current, &login);
    let gap = |id, text: String| Gap {
        login: login.clone(),
        id,
        text,
    };
    let there = facts.states.get(&(Slot::Current, member.login.clone()));
    let stamp = there.and_then(Stamp::of);
    if let Some(state) = there {
        match &stamp {
            None => {
                return Err(gap(
                    "foreign-secret",
                    format!("{path} was not written by fleetotp: it is left alone"),
                ));
            }
            Some(s) if !token.own_serials.contains(&s.serial) => {
                return Err(gap(
                    "unknown-token",
                    format!(
                        "{path} holds token {}, which the ledger does not know",
                        s.serial
                    ),
                ));
            }
            Some(s) if s.serial == token.serial && s.generation > token.generation => {
                return Err(gap(
                    "newer-than-ledger",
                    format!(
                        "{path} holds generation {} and the ledger only knows {}",
                        s.generation, token.generation
                    ),
                ));
            }
            Some(s)
                if s.serial == token.serial
                    && s.generation == token.generation
                    && state.secret_sha256.starts_with(&token.fingerprint) =>
            {
                let unusable = state.is_unusable();
                if let Some(lines) = state::edit(state, &member.policy)
                    .or_else(|| unusable.then(|| vec![Line::Keep(1, state.lines)]))
                {
                    plan.changes.push((
                        Part::Secrets,
                        Change::File(FileChange {
                            path,
                            mode: 0o600,
                            before: Some(state.file.sha256.clone()),
                            scope: Scope::Live,
                            lines,
                            shown: Shown::Sentence(format!(
                                "options of policy {}, key unchanged",
                                member.policy.name
                            )),
                        }),
                    ));
                }
                return deadline(facts, member, token, plan);
            }
            Some(_) => {}
        }
    }
    if !token.confirmed && token.expires.is_some_and(|end| end <= wish.now) {
        return Err(gap(
            "expired",
            format!("the enrolment of {login} has expired: issue a new sheet with `enroll`"),
        ));
    }
    let Some(key) = &token.key else {
        return Err(gap(
            NEEDS_KEY,
            format!(
                "the key of {} cannot be read without the vault's identity",
                token.serial
            ),
        ));
    };
    let uid = facts.accounts.get(&member.login).map_or(0, |a| a.uid);
    let expires = if token.confirmed {
        0
    } else {
        token.expires.map_or(0, Timestamp::as_second)
    };
    let stamp = Stamp {
        project: wish.project.clone(),
        serial: token.serial.clone(),
        generation: token.generation,
        uid,
        expires,
    };
    plan.changes.push((
        Part::Secrets,
        Change::File(FileChange {
            path,
            mode: 0o600,
            before: there.map(|s| s.file.sha256.clone()),
            scope: Scope::Live,
            lines: state::new_file(key, &member.policy, &stamp, &token.scratch),
            shown: Shown::Sentence(format!(
                "token {} generation {}, key {}",
                token.serial, token.generation, token.fingerprint
            )),
        }),
    ));
    deadline(facts, member, token, plan)
}

/// Sees to it that an unconfirmed secret ends on the host by itself, and a confirmed one does not.
fn deadline(
    facts: &Facts,
    member: &Member,
    token: &TokenWish,
    plan: &mut HostPlan,
) -> Result<(), Gap> {
    let name = format!("current.{}", member.login);
    let path = format!("{LIB}/deadlines/{name}");
    let there = facts.secret_deadlines.get(&name);
    let line = |due: i64| format!("{due} {} {}", token.serial, token.generation);
    let text_of = |d: &SecretDeadline| format!("{} {} {}", d.due, d.serial, d.generation);
    if token.confirmed {
        plan.changes
            .extend(no_longer_expires(facts, member, token).map(|c| (Part::Secrets, c)));
        return Ok(());
    }
    let Some(expires) = token.expires else {
        return Ok(());
    };
    if facts.deadlines == DeadlineMechanism::None {
        return Err(Gap { login: member.login.to_string(), id: "no-deadline", text: "the host has neither systemd nor cron: an unconfirmed secret could not expire by itself".to_owned() });
    }
    plan.needs_reaper = true;
    let wanted = line(expires.as_second());
    if there.map(text_of).as_deref() != Some(&wanted) {
        plan.changes.push((
            Part::Secrets,
            Change::File(FileChange {
                path,
                mode: 0o600,
                before: there.map(|_| "any".to_owned()),
                scope: Scope::Live,
                lines: vec![Line::Text(wanted)],
                shown: Shown::Sentence(format!("expires {expires} unless confirmed")),
            }),
        ));
    }
    Ok(())
}

/// Returns the deletion of a confirmed secret's deadline, if there is one.
pub(super) fn no_longer_expires(
    facts: &Facts,
    member: &Member,
    token: &TokenWish,
) -> Option<Change> {
    Change::no_deadline(
        facts,
        Slot::Current,
        &member.login,
        format!("{} is confirmed and no longer expires", token.serial),
    )
}

/// A pending admin can no longer log in by password: the PAM block takes it for a code. So nobody without a public key
/// becomes pending.
fn may_wait(facts: &Facts, member: &Member, plan: &mut HostPlan) -> bool {
    let gap = key_gap(facts, &member.login);
    let may = gap.is_none();
    plan.gaps.extend(gap);
    may
}
