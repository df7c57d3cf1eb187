//! The end of an admin's token on a host: what to do, and whether what was read back proves it. Pure.
//!
//! The login is first put among those of whom a code is demanded, and stays there: taking it out would open the login by
//! key alone. Then its secrets go, so that no code is right any more. Where PAM and sshd do not both demand a code, the
//! account is expired and its keys are moved aside instead.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::host::facts::{Account, Effective, Facts, LeaverFact, Slot};
use crate::names::Login;
use crate::plan::account::is_over;
use crate::plan::change::{Change, GROUP_ENFORCED, GROUP_PENDING, LIB, state_path};
use crate::plan::finding::Finding;
use crate::plan::preconditions::foreign_project;
use crate::plan::{pam, sshd};

/// Somebody whose token is to be gone from a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaver {
    /// The account.
    pub login: Login,
    /// Expire the account in any case.
    pub expire_account: bool,
    /// Move the keys aside in any case.
    pub move_keys: bool,
}

/// What must be known besides the facts.
#[derive(Debug, Clone)]
pub struct Farewell<'a> {
    /// The project's id, as stamped on hosts.
    pub project: &'a str,
    /// Accounts that must keep their way in.
    pub protected: &'a BTreeSet<Login>,
    /// Those who go.
    pub leavers: &'a [Leaver],
    /// When the facts were read.
    pub now: Timestamp,
}

/// Whether a host shows that a token is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does: what was seen.
    Proven(Value),
    /// It does not, and why.
    Open(String),
}

/// Returns the memberships that are to be changed before anything else, alone: the rest is decided only once sshd was
/// asked what it does with them.
pub fn memberships_due(facts: &Facts, farewell: &Farewell<'_>) -> Vec<Change> {
    let with_account: BTreeSet<String> = farewell
        .leavers
        .iter()
        .filter(|l| may_act(facts, farewell, l) && facts.accounts.contains_key(&l.login))
        .map(|l| l.login.to_string())
        .collect();
    memberships(facts, &with_account)
}

/// Returns what ends one login for good, once its memberships are right; nothing where all is done or nothing can be.
///
/// Done and read again, this comes to an end.
pub fn ends_due(facts: &Facts, farewell: &Farewell<'_>, leaver: &Leaver) -> Vec<Change> {
    if may_act(facts, farewell, leaver) {
        ends(facts, farewell, leaver)
    } else {
        Vec::new()
    }
}

fn may_act(facts: &Facts, farewell: &Farewell<'_>, leaver: &Leaver) -> bool {
    host_refusal(facts, farewell.project).is_none() && refusal(facts, farewell, leaver).is_none()
}

fn memberships(facts: &Facts, logins: &BTreeSet<String>) -> Vec<Change> {
    let mut changes = Vec::new();
    if logins.is_empty() {
        return changes;
    }
    if !facts.groups.contains_key(GROUP_ENFORCED) {
        changes.push(Change::Group {
            name: GROUP_ENFORCED,
        });
    }
    let mut enforced = facts.members(GROUP_ENFORCED);
    enforced.extend(logins.iter().cloned());
    changes.extend(Change::members(facts, GROUP_ENFORCED, &enforced));
    let mut pending = facts.members(GROUP_PENDING);
    pending.retain(|m| !logins.contains(m));
    changes.extend(Change::members(facts, GROUP_PENDING, &pending));
    changes
}

/// What ends one login for good, the account being in the group already.
fn ends(facts: &Facts, farewell: &Farewell<'_>, leaver: &Leaver) -> Vec<Change> {
    let login = leaver.login.to_string();
    let mut changes = Vec::new();
    let account = facts.accounts.get(&leaver.login);
    if let Some(account) = account {
        let barred = !demands_code(facts, &leaver.login);
        // An account of a directory has no date here that could be set.
        let local = account.shadow.is_some();
        if barred && !local {
            return changes;
        }
        if (barred || leaver.expire_account) && local && !is_over(account, farewell.now) {
            changes.push(Change::ExpireAccount {
                login: login.clone(),
            });
        }
        if (barred || leaver.move_keys) && account.keys.as_ref().is_some_and(|k| k.in_files > 0) {
            changes.push(Change::MoveKeys {
                login: login.clone(),
                daemon: facts.daemon(),
            });
        }
    }
    let files: Vec<String> = [Slot::Current, Slot::Next]
        .into_iter()
        .filter(|slot| has_files(facts, *slot, &leaver.login))
        .map(|slot| state_path(slot, &login))
        .collect();
    let fact = facts
        .leavers
        .get(&leaver.login)
        .cloned()
        .unwrap_or_default();
    let busy = !files.is_empty() || fact.processes > 0 || fact.open_logins > 0;
    changes.extend(files.into_iter().map(|path| Change::Purge { path }));
    changes.extend(
        [Slot::Current, Slot::Next]
            .map(|slot| format!("{}.{login}", slot.as_str()))
            .into_iter()
            .filter(|name| facts.secret_deadlines.contains_key(name))
            .map(|name| Change::Purge {
                path: format!("{LIB}/deadlines/{name}"),
            }),
    );
    if let Some(account) = account.filter(|a| busy && a.uid != 0 && a.shared_with.is_empty()) {
        changes.push(Change::Terminate {
            login,
            uid: account.uid,
        });
    }
    changes
}

/// Judges from facts that were read after the last change.
pub fn verdict(facts: &Facts, farewell: &Farewell<'_>, leaver: &Leaver) -> Verdict {
    if let Some(why) =
        host_refusal(facts, farewell.project).or_else(|| refusal(facts, farewell, leaver))
    {
        return Verdict::Open(why);
    }
    let login = &leaver.login;
    let account = facts.accounts.get(login);
    let fact = facts.leavers.get(login).cloned().unwrap_or_default();
    let open = left_behind(facts, farewell, leaver, account, &fact);
    if !open.is_empty() {
        return Verdict::Open(open.join("; "));
    }
    Verdict::Proven(json!({
        "how": "read_back",
        "at": farewell.now.to_string(),
        "host_keys": facts.host_keys,
        "machine_id": facts.machine_id,
        "account": account.is_some(),
        "state_files": 0,
        "code_demanded": account.is_some() && demands_code(facts, login),
        "account_expired": account.is_some_and(|a| is_over(a, farewell.now)),
        "key_files": account.and_then(|a| a.keys.as_ref()).map(|k| k.in_files),
        "processes": fact.processes,
        "open_logins": fact.open_logins,
        "config_hash": facts.config_hash,
    }))
}

fn left_behind(
    facts: &Facts,
    farewell: &Farewell<'_>,
    leaver: &Leaver,
    account: Option<&Account>,
    fact: &LeaverFact,
) -> Vec<String> {
    let login = &leaver.login;
    let mut open = Vec::new();
    for slot in [Slot::Current, Slot::Next] {
        if has_files(facts, slot, login) {
            open.push(format!(
                "{} is still there",
                state_path(slot, login.as_str())
            ));
        }
    }
    let Some(account) = account else { return open };
    let expired = is_over(account, farewell.now);
    let keys = account.keys.as_ref().map(|k| k.in_files);
    let account_closed = expired && keys == Some(0);
    if !demands_code(facts, login) && !account_closed {
        let what = if account.shadow.is_none() {
            "the account is a directory's and cannot be expired here"
        } else if !expired {
            "the account is not expired"
        } else {
            "a public key is still read for it, from a file that others share"
        };
        open.push(format!(
            "PAM and sshd do not both demand a code of {login}, and {what}"
        ));
    }
    if leaver.expire_account && !expired {
        open.push(format!("the account of {login} is not expired"));
    }
    if leaver.move_keys && keys != Some(0) {
        open.push(format!("public keys of {login} are still read"));
    }
    let shared = account
        .shared_with
        .first()
        .map(|other| format!(": not ended, since {other} has the same uid"))
        .unwrap_or_default();
    if fact.processes > 0 {
        open.push(format!(
            "{} processes of {login} run{shared}",
            fact.processes
        ));
    }
    if fact.open_logins > 0 {
        open.push(format!(
            "{} logins of {login} are open{shared}",
            fact.open_logins
        ));
    }
    if !facts.leavers.contains_key(login) {
        open.push("the host did not say what is left".to_owned());
    }
    open
}

/// What cannot be closed from here: worth knowing, and somebody else's to do.
pub fn remains(facts: &Facts, leaver: &Leaver) -> Vec<Finding> {
    let login = &leaver.login;
    let mut found = Vec::new();
    let ways = facts.leavers.get(login).map(|f| f.ways.clone());
    for (kind, file) in ways.unwrap_or_default() {
        let file = crate::names::printable(&file, 120);
        found.push(match kind.as_str() {
            "linger" => Finding::note(
                "revoked-linger",
                format!("{file} lets services of {login} run without a login"),
                "loginctl disable-linger LOGIN",
            ),
            "at" => Finding::note(
                "revoked-cron",
                format!("{file} is a job of {login} that runs without a login"),
                "look at it and remove it: atrm",
            ),
            _ => Finding::note(
                "revoked-cron",
                format!("{file} runs commands of {login} without a login"),
                "look at it and remove it: crontab -r -u LOGIN",
            ),
        });
    }
    let elsewhere = facts
        .accounts
        .get(login)
        .and_then(|a| a.keys.as_ref()?.elsewhere.clone());
    if let Some(keyword) = elsewhere {
        found.push(Finding::note(
            "revoked-keys-elsewhere",
            format!("{keyword} is set: keys or certificates of {login} may come from elsewhere"),
            "revoke them where they are issued",
        ));
    }
    found
}

/// Why nothing can be done or proven on this host.
pub fn host_refusal(facts: &Facts, project: &str) -> Option<String> {
    if facts.uid != 0 {
        return Some(format!("the program ran as uid {}, not as root", facts.uid));
    }
    foreign_project(facts, project)
        .map(|other| format!("the host belongs to another fleetotp project, {other}"))
}

/// Why nothing is done for this login.
fn refusal(facts: &Facts, farewell: &Farewell<'_>, leaver: &Leaver) -> Option<String> {
    let login = &leaver.login;
    if farewell.protected.contains(login) {
        return Some(format!(
            "{login} is protected, or the account that fleetotp itself logs in to"
        ));
    }
    facts
        .accounts
        .get(login)
        .filter(|a| a.uid == 0)
        .map(|_| format!("{login} has uid 0: it is root under another name"))
}

/// Whether PAM and sshd both demand a code of a login, for whom there is then no right one.
fn demands_code(facts: &Facts, login: &Login) -> bool {
    let block = facts
        .text(pam::SERVICE_FILE)
        .is_some_and(|text| pam::module_in(text).is_some());
    let one_sshd = facts
        .listeners
        .iter()
        .map(|l| (&l.config, &l.options))
        .collect::<BTreeSet<_>>()
        .len()
        == 1;
    let wanted = |e: &Effective| {
        e.error.is_none()
            && e.on("usepam")
            && sshd::wanted(facts.version, sshd::METHODS_ENFORCED)
                .iter()
                .all(|(key, value)| e.get(key) == *value)
    };
    block
        && one_sshd
        && facts.members(GROUP_ENFORCED).contains(login.as_str())
        && facts.effective.get(login.as_str()).is_some_and(wanted)
}

fn has_files(facts: &Facts, slot: Slot, login: &Login) -> bool {
    let path = state_path(slot, login.as_str());
    facts.states.contains_key(&(slot, login.clone()))
        || facts.temporaries.iter().any(|t| {
            t.strip_prefix(&path)
                .is_some_and(|rest| rest.starts_with('~') || rest == ".new")
        })
}
