//! What a rotation does to one login of a host: the new generation beside the old one, then in its place.
//!
//! No step of it edits PAM, and there is no instant without a valid code: the new file is written beside the old one, and
//! later renamed onto it with all it knows.

use crate::host::facts::{Facts, Slot};
use crate::host::request::Scope;
use crate::inventory::model::{Module, OnOverdue};
use crate::plan::bypass::bypass_of;
use crate::plan::change::{Change, HostPlan, Part, state_path};
use crate::plan::finding::{Finding, Gap};
use crate::plan::oath_file;
use crate::plan::slot::{Holding, end_at, fill, holds, not_ours, there};
use crate::plan::state::Stamp;
use crate::plan::wish::{Member, TokenWish, Wish};

/// Returns the change by which the confirmed generation moves from `next`, where the host has it, onto `current`. Also
/// where `current` has it already: a login that was under way when it was moved writes it once more into `next`, and
/// then only that file knows of its step.
pub(super) fn promotion(facts: &Facts, member: &Member, token: &TokenWish) -> Option<Change> {
    if token.next.is_some() || !token.confirmed {
        return None;
    }
    let login = member.login.as_str();
    let next = there(facts, Slot::Next, member)
        .filter(|s| holds(s, token, token.generation, &token.fingerprint))?;
    Some(Change::Move {
        from: state_path(Slot::Next, login),
        before: next.file.sha256.clone(),
        to: state_path(Slot::Current, login),
        replaces: there(facts, Slot::Current, member).map(|s| s.file.sha256.clone()),
        what: format!(
            "token {} generation {} takes the old one's place",
            token.serial, token.generation
        ),
    })
}

/// Returns whether the host has promoted the new generation by itself at the end of the overlap, which is a confirmation
/// that this run has not taken in.
pub fn promoted_by_host(facts: &Facts, member: &Member, token: &TokenWish) -> bool {
    token.next.as_ref().is_some_and(|next| {
        there(facts, Slot::Current, member)
            .is_some_and(|s| holds(s, token, next.generation, &next.fingerprint))
    })
}

/// Brings the slot `next` to what is wished: the new generation with the end of the overlap, or nothing of ours.
pub(super) fn next_slot(
    facts: &Facts,
    wish: &Wish,
    member: &Member,
    token: &TokenWish,
    plan: &mut HostPlan,
) -> Result<(), Gap> {
    let state = there(facts, Slot::Next, member);
    let wanted = token.next.as_ref().filter(|next| {
        // What its host has is for the host to end: it knows whether the new code was used there.
        next.expires > wish.now
            || state.is_some_and(|s| holds(s, token, next.generation, &next.fingerprint))
    });
    let Some(next) = wanted else {
        return nothing_of_ours(facts, member, token, plan);
    };
    if state.is_some_and(|s| bypass_of(s, &wish.project).is_some()) {
        return Err(Gap {
            login: member.login.to_string(),
            id: "next-in-use",
            text: format!(
                "{} has a one-time code here: the new code is brought once that has ended",
                member.login
            ),
        });
    }
    if let Some(gap) = state.and_then(|s| not_ours(s, Slot::Next, member, token)) {
        return Err(gap);
    }
    let holding = Holding {
        slot: Slot::Next,
        generation: next.generation,
        fingerprint: &next.fingerprint,
        key: next.key.as_ref(),
        key_lost: next.key_lost,
        scratch: &next.scratch,
        typed_step: None,
        expires: Some(next.expires),
    };
    let begun = plan.changes.len();
    let filled = fill(facts, wish, member, token, &holding, plan).and_then(|()| {
        end_at(
            facts,
            member,
            token,
            (Slot::Next, next.generation),
            next.expires,
            plan,
        )
    });
    if filled.is_err() {
        // A secret without its deadline is not brought.
        plan.changes.truncate(begun);
    }
    filled.map(|_| ())
}

/// A generation that is not wished any more, and its deadline, are deleted; what somebody else put there stays.
fn nothing_of_ours(
    facts: &Facts,
    member: &Member,
    token: &TokenWish,
    plan: &mut HostPlan,
) -> Result<(), Gap> {
    let name = format!("{}.{}", Slot::Next.as_str(), member.login);
    if facts
        .secret_deadlines
        .get(&name)
        .is_some_and(|d| token.own_serials.contains(&d.serial))
    {
        let why = format!("token {} has no generation in next", token.serial);
        plan.changes.extend(
            Change::no_deadline(facts, Slot::Next, &member.login, why).map(|c| (Part::Secrets, c)),
        );
    }
    let oath = member.policy.module == Module::Oath;
    let Some((state, stamp)) =
        there(facts, Slot::Next, member).and_then(|s| Some((s, Stamp::of(s)?)))
    else {
        let nothing = there(facts, Slot::Next, member).is_none();
        if oath && nothing && !oath_file::is_empty(facts, Slot::Next, member) {
            let what = "empty: no second code is asked for".to_owned();
            plan.changes.push(oath_file::empty_next(member, None, what));
        }
        return Ok(());
    };
    match not_ours(state, Slot::Next, member, token) {
        Some(gap) if gap.id == "newer-than-ledger" => Err(gap),
        Some(_) => Ok(()),
        None if oath => {
            let what = format!(
                "emptied: token {} generation {} is not valid any more",
                stamp.serial, stamp.generation
            );
            let before = Some(state.file.sha256.clone());
            plan.changes
                .push(oath_file::empty_next(member, before, what));
            Ok(())
        }
        None => {
            plan.changes.push((
                Part::Secrets,
                Change::Delete {
                    path: state_path(Slot::Next, member.login.as_str()),
                    before: state.file.sha256.clone(),
                    scope: Scope::Live,
                    what: format!(
                        "token {} generation {} is not valid any more",
                        stamp.serial, stamp.generation
                    ),
                },
            ));
            Ok(())
        }
    }
}

/// Lets the old code end with the overlap where the policy says so, and the host has the new one.
pub(super) fn end_of_old(
    facts: &Facts,
    member: &Member,
    token: &TokenWish,
    plan: &mut HostPlan,
) -> Result<bool, Gap> {
    let Some(next) = token
        .next
        .as_ref()
        .filter(|_| member.policy.on_overdue == OnOverdue::Expire)
    else {
        return Ok(false);
    };
    let at = (Slot::Current, token.generation);
    if end_at(facts, member, token, at, next.expires, plan)? {
        plan.findings.push(Finding::note(
            "old-code-expires",
            format!(
                "policy {} ends the old code of {login} with the overlap at {}; if nobody confirms the new one before, \
                 {login} is locked out",
                member.policy.name,
                next.expires,
                login = member.login
            ),
            "use on_overdue: keep",
        ));
    }
    Ok(true)
}
