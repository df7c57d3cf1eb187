//! One of the two state files that a login can have on a host: what it should hold, and how it gets there.

use crate::clock::Timestamp;
use crate::host::facts::{DeadlineMechanism, Facts, Slot, StateFact};
use crate::host::request::{Line, Scope};
use crate::inventory::model::Module;
use crate::plan::change::{Change, FileChange, HostPlan, LIB, Part, Shown, state_path};
use crate::plan::finding::{Gap, KEY_LOST, NEEDS_KEY};
use crate::plan::oath_file;
use crate::plan::state::{self, Stamp};
use crate::plan::wish::{Member, TokenWish, Wish};
use crate::token::secret::Secret;

/// A generation of a token, and the slot it belongs into.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holding<'a> {
    /// Where.
    pub slot: Slot,
    /// The generation.
    pub generation: i64,
    /// First digits of the key's SHA-256.
    pub fingerprint: &'a str,
    /// The key, where it can be read.
    pub key: Option<&'a Secret>,
    /// There is no key to read.
    pub key_lost: bool,
    /// Scratch codes for a new file.
    pub scratch: &'a [Secret],
    /// The step of the code that was typed at the controller.
    pub typed_step: Option<u64>,
    /// When it ends unless confirmed, for its stamp.
    pub expires: Option<Timestamp>,
}

/// What stands in a slot of a login.
pub(super) fn there<'a>(facts: &'a Facts, slot: Slot, member: &Member) -> Option<&'a StateFact> {
    let state = facts.states.get(&(slot, member.login.clone()))?;
    // An empty one tells pam_oath not to ask.
    (member.policy.module != Module::Oath || state.file.size > 0).then_some(state)
}

/// Returns whether a state file holds a generation of this token.
pub(super) fn holds(
    state: &StateFact,
    token: &TokenWish,
    generation: i64,
    fingerprint: &str,
) -> bool {
    state.secret_sha256.starts_with(fingerprint)
        && Stamp::of(state).is_some_and(|s| s.serial == token.serial && s.generation == generation)
}

/// Says why what stands in a slot must not be touched: it is nobody's, somebody else's, or newer than the ledger.
pub(super) fn not_ours(
    state: &StateFact,
    slot: Slot,
    member: &Member,
    token: &TokenWish,
) -> Option<Gap> {
    let login = member.login.to_string();
    let path = state_path(slot, &login);
    let gap = |id, text| Some(Gap { login, id, text });
    match Stamp::of(state) {
        None => gap(
            "foreign-secret",
            format!("{path} was not written by fleetotp: it is left alone"),
        ),
        Some(s) if !token.own_serials.contains(&s.serial) => gap(
            "unknown-token",
            format!(
                "{path} holds token {}, which the ledger does not know",
                s.serial
            ),
        ),
        Some(s) if s.serial == token.serial && s.generation > token.newest => gap(
            "newer-than-ledger",
            format!(
                "{path} holds generation {} and the ledger only knows {}",
                s.generation, token.newest
            ),
        ),
        Some(_) => None,
    }
}

/// Brings a slot to a generation: nothing where it has it and says what the policy wants.
pub(super) fn fill(
    facts: &Facts,
    wish: &Wish,
    member: &Member,
    token: &TokenWish,
    wanted: &Holding<'_>,
    plan: &mut HostPlan,
) -> Result<(), Gap> {
    let login = member.login.as_str();
    let state = there(facts, wanted.slot, member);
    let stands = facts.states.get(&(wanted.slot, member.login.clone()));
    let used = state::still_valid(wanted.typed_step, &member.policy, facts.epoch);
    let mut write = |lines, shown| {
        plan.changes.push((
            Part::Secrets,
            Change::File(FileChange {
                path: state_path(wanted.slot, login),
                mode: 0o600,
                before: stands.map(|s| s.file.sha256.clone()),
                scope: Scope::Live,
                lines,
                shown: Shown::Sentence(shown),
            }),
        ));
    };
    if let Some(state) = state.filter(|s| holds(s, token, wanted.generation, wanted.fingerprint)) {
        let unusable = state.is_unusable();
        let edited_lines = match member.policy.module {
            Module::GoogleAuthenticator => state::edit(state, &member.policy, used),
            // What a policy says of codes stands in PAM's text.
            Module::Oath => None,
        };
        if let Some(lines) =
            edited_lines.or_else(|| unusable.then(|| vec![Line::Keep(1, state.lines)]))
        {
            write(lines, edited(state, member, used));
        }
        return Ok(());
    }
    let Some(key) = wanted.key else {
        if wanted.key_lost {
            let (admin, serial) = (&member.admin, &token.serial);
            let again = if token.confirmed {
                format!(
                    "`rotate {admin}`, or `enroll {admin} --lost-device` where the old code may end at once"
                )
            } else {
                format!("`enroll {admin} --reissue`")
            };
            return Err(Gap {
                login: login.to_owned(),
                id: KEY_LOST,
                text: format!(
                    "the ledger has no key of {serial} generation {} any more, only hosts that had it do: issue a new one by {again}",
                    wanted.generation
                ),
            });
        }
        return Err(Gap {
            login: login.to_owned(),
            id: NEEDS_KEY,
            text: format!(
                "the key of {} cannot be read without the vault's identity",
                token.serial
            ),
        });
    };
    let stamp = Stamp {
        project: wish.project.clone(),
        serial: token.serial.clone(),
        generation: wanted.generation,
        uid: facts.accounts.get(&member.login).map_or(0, |a| a.uid),
        expires: wanted.expires.map_or(0, Timestamp::as_second),
    };
    let lines = match member.policy.module {
        Module::GoogleAuthenticator => {
            state::new_file(key, &member.policy, &stamp, wanted.scratch, used)
        }
        Module::Oath => oath_file::new_file(key, login, &stamp).map_err(|why| Gap {
            login: login.to_owned(),
            id: "needs-identity",
            text: format!("the key of {} cannot be used: {why}", token.serial),
        })?,
    };
    write(
        lines,
        format!(
            "token {} generation {}, key {}",
            token.serial, wanted.generation, wanted.fingerprint
        ),
    );
    Ok(())
}

/// What an edit of a state file is about, for people.
fn edited(state: &StateFact, member: &Member, used: Option<u64>) -> String {
    if state::edit(state, &member.policy, None).is_none() && used.is_some() {
        return "the code typed at the controller is used, key unchanged".to_owned();
    }
    format!("options of policy {}, key unchanged", member.policy.name)
}

/// Lets what is moved into the slot `current` know of the code that was typed at the controller, in its new place.
pub(super) fn use_up(facts: &Facts, member: &Member, step: Option<u64>) -> Option<Change> {
    let used = state::still_valid(step, &member.policy, facts.epoch);
    let state = there(facts, Slot::Next, member)?;
    let lines = used
        .filter(|_| member.policy.module == Module::GoogleAuthenticator)
        .and_then(|_| state::edit(state, &member.policy, used))?;
    Some(Change::File(FileChange {
        path: state_path(Slot::Current, member.login.as_str()),
        mode: 0o600,
        before: Some(state.file.sha256.clone()),
        scope: Scope::Live,
        lines,
        shown: Shown::Sentence(edited(state, member, used)),
    }))
}

/// Sees to it that what a slot holds ends on the host by itself at that time, whatever becomes of the controller.
pub(super) fn end_at(
    facts: &Facts,
    member: &Member,
    token: &TokenWish,
    (slot, generation): (Slot, i64),
    due: Timestamp,
    plan: &mut HostPlan,
) -> Result<bool, Gap> {
    if facts.deadlines == DeadlineMechanism::None {
        return Err(Gap {
            login: member.login.to_string(),
            id: "no-deadline",
            text: "the host has neither systemd nor cron: an unconfirmed secret could not expire by itself".to_owned(),
        });
    }
    plan.needs_reaper = true;
    let name = format!("{}.{}", slot.as_str(), member.login);
    let before = facts.secret_deadlines.get(&name);
    let wanted = format!("{} {} {generation}", due.as_second(), token.serial);
    if before.is_some_and(|d| format!("{} {} {}", d.due, d.serial, d.generation) == wanted) {
        return Ok(false);
    }
    plan.changes.push((
        Part::Secrets,
        Change::File(FileChange {
            path: format!("{LIB}/deadlines/{name}"),
            mode: 0o600,
            before: before.map(|_| "any".to_owned()),
            scope: Scope::Live,
            lines: vec![Line::Text(wanted)],
            shown: Shown::Sentence(format!("expires {due} unless confirmed")),
        }),
    ));
    Ok(true)
}
