//! `scope: everyone`: a code of all but the members of `fleetotp-exempt`. Nobody who can log in loses that by the change.

use std::collections::BTreeSet;

use crate::host::facts::{Account, Effective, Facts};
use crate::inventory::model::PolicyScope;
use crate::names::{Login, printable};
use crate::plan::account::barred;
use crate::plan::change::{Change, GROUP_ENFORCED, GROUP_EXEMPT, GROUP_PENDING, HostPlan, Part};
use crate::plan::finding::Finding;
use crate::plan::wish::Wish;
use crate::plan::{pam, sshd};

/// The finding that asks for another inspection, one of every account.
pub const ACCOUNTS_UNREAD: &str = "accounts-unread";

/// Names are listed up to this many characters.
const NAMES: usize = 600;

/// What the exempt can have: written out, since `any` beside another value ends every connection of a member on 9.2.
const METHODS: [&str; 3] = ["publickey password", "publickey", "password"];

/// Whether the host's policy asks everyone; where it has no admin, what is there stays.
pub fn is_wanted(facts: &Facts, wish: &Wish) -> bool {
    match wish.members.first() {
        Some(member) => member.policy.scope == PolicyScope::Everyone,
        None => is_there(facts),
    }
}

/// Whether the host's text asks everyone now.
pub fn is_there(facts: &Facts) -> bool {
    facts
        .text(pam::SERVICE_FILE)
        .is_some_and(|t| t.contains(pam::EVERYONE_BLOCK))
}

/// Whom no code is to be asked of: accounts that keep their way in, and exemptions that are in force. An admin is asked.
pub fn exempt(wish: &Wish) -> BTreeSet<String> {
    let members: BTreeSet<&Login> = wish.members.iter().map(|m| &m.login).collect();
    let declared = wish.exempt.iter().filter(|l| !members.contains(l));
    let all = wish.protected.iter().chain(declared);
    all.map(ToString::to_string).collect()
}

/// The group and its members, before any text refers to it.
pub(super) fn group(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    let there = |login: &String| facts.accounts.keys().any(|l| l.as_str() == login);
    let wanted: BTreeSet<String> = exempt(wish).into_iter().filter(there).collect();
    if !facts.groups.contains_key(GROUP_EXEMPT) {
        plan.changes
            .push((Part::Host, Change::Group { name: GROUP_EXEMPT }));
    }
    let ending: Vec<String> = facts
        .members(GROUP_EXEMPT)
        .difference(&wanted)
        .cloned()
        .collect();
    if !ending.is_empty() {
        plan.findings.push(Finding::note(
            "exemption-ends",
            format!(
                "no exemption is in force any more: a code is demanded of {}",
                printable(&ending.join(", "), NAMES)
            ),
            "declare it anew under exemptions, or enrol them",
        ));
    }
    plan.changes
        .extend(Change::members(facts, GROUP_EXEMPT, &wanted).map(|c| (Part::Host, c)));
}

/// sshd's addition; `ours` is the text that holds it now.
///
/// # Errors
/// A refusal where what the exempt have cannot be written down.
pub(super) fn addition(facts: &Facts, wish: &Wish, ours: Option<&str>) -> Result<String, Finding> {
    let methods = match ours.and_then(sshd::methods_of_exempt) {
        Some(there) => METHODS.into_iter().find(|m| *m == there),
        None => None,
    };
    let methods = match methods {
        Some(methods) => methods,
        None => had(facts, wish)?,
    };
    let users: Vec<&str> = wish.protected.iter().map(Login::as_str).collect();
    Ok(sshd::addition_for_everyone(facts.version, &users, methods))
}

/// What the exempt can log in with today.
fn had(facts: &Facts, wish: &Wish) -> Result<&'static str, Finding> {
    let refuse = |text: String| {
        Finding::refusal(
            "exempt-methods",
            text,
            "leave this host with scope: members, or let all exempt accounts log in by key and password alone",
        )
    };
    let mut found: Option<&'static str> = None;
    for login in exempt(wish) {
        let Some(effective) = facts.effective.get(&login) else {
            continue;
        };
        let methods = methods_of(effective)
            .ok_or_else(|| refuse(format!("{login} may log in by more than key and password")))?;
        if found.is_some_and(|f| f != methods) {
            return Err(refuse(format!(
                "exempt accounts log in by different methods: {login} by {methods}"
            )));
        }
        found = Some(methods);
    }
    found.ok_or_else(|| refuse("the host did not say how its exempt accounts log in".to_owned()))
}

fn methods_of(effective: &Effective) -> Option<&'static str> {
    let others = [
        "kbdinteractiveauthentication",
        "hostbasedauthentication",
        "gssapiauthentication",
        "kerberosauthentication",
    ];
    if others.iter().any(|key| effective.on(key)) {
        return None;
    }
    let said = effective.get("authenticationmethods");
    if said != "any" && !said.is_empty() {
        return METHODS.into_iter().find(|m| *m == said);
    }
    match (
        effective.on("pubkeyauthentication"),
        effective.on("passwordauthentication"),
    ) {
        (true, true) => Some("publickey password"),
        (true, false) => Some("publickey"),
        (false, true) => Some("password"),
        (false, false) => None,
    }
}

/// What sshd must say afterwards: of the exempt as before but for the name of their methods, of everybody else that a code
/// is asked.
pub(super) fn expectations(facts: &Facts, wish: &Wish, addition: &str, plan: &mut HostPlan) {
    let exempt = exempt(wish);
    if let Some(methods) =
        sshd::methods_of_exempt(addition).and_then(|said| METHODS.into_iter().find(|m| *m == said))
    {
        // Of a name without an account sshd knows no group.
        let is_there = |login: &&String| {
            let all = facts.accounts.keys().chain(&wish.protected);
            all.into_iter().any(|l| l.as_str() == login.as_str())
        };
        for login in exempt.iter().filter(is_there) {
            plan.wanted
                .push((login.clone(), "authenticationmethods", methods));
            plan.wanted
                .push((login.clone(), "kbdinteractiveauthentication", "no"));
        }
    }
    let pending: BTreeSet<String> = facts
        .members(GROUP_PENDING)
        .into_iter()
        .chain(wish.members.iter().map(|m| m.login.to_string()))
        .collect();
    for login in facts.accounts.keys() {
        let login = login.to_string();
        if !exempt.contains(&login) && !pending.contains(&login) {
            let wanted = sshd::wanted(facts.version, sshd::METHODS_ENFORCED);
            plan.wanted
                .extend(wanted.into_iter().map(|(k, v)| (login.clone(), k, v)));
        }
    }
}

/// Whoever is treated alike before and after, where everyone is asked on one side of the change.
pub(super) fn unchanged(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    let mut same = exempt(wish);
    if is_there(facts) {
        // Who becomes exempt by this run is not treated as before.
        let were = facts.members(GROUP_EXEMPT);
        same.retain(|l| were.contains(l));
    }
    plan.unchanged_users = same;
    plan.may_differ = sshd::differences_of_the_exempt(facts.version);
}

/// What the end of it means: whoever was refused for want of an enrolment gets in again by what the host takes.
pub(super) fn ends(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    if !is_there(facts) {
        return;
    }
    unchanged(facts, wish, plan);
    plan.findings.push(Finding::note(
        "everyone-no-more",
        "a code is not demanded of everyone any more: accounts without an enrolment can log in again",
        "know it before: --check says it too",
    ));
}

/// Refuses a change by which somebody who can log in could not any more. The plan holds the memberships that come with it.
pub(super) fn nobody_loses(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    let names = facts.nss.as_deref().unwrap_or("files").split_whitespace();
    let elsewhere: Vec<&str> = names
        .filter(|w| !matches!(*w, "files" | "systemd" | "compat"))
        .collect();
    if !elsewhere.is_empty() {
        plan.findings.push(Finding::refusal(
            "accounts-elsewhere",
            format!(
                "accounts also come from {}: nobody can list who would lose their way in",
                printable(&elsewhere.join(", "), 80)
            ),
            "leave this host with scope: members",
        ));
    }
    let exempt = exempt(wish);
    let unread = facts.unmanaged.iter().any(|l| !exempt.contains(l)) || facts.unnamed_accounts > 0;
    if unread {
        plan.findings.push(Finding::refusal(
            ACCOUNTS_UNREAD,
            "some accounts could not be looked at",
            "look for names in /etc/passwd that are no plain words",
        ));
        return;
    }
    let after = |group: &str| {
        let set = plan.changes.iter().find_map(|(_, c)| match c {
            Change::Members {
                group: g, after, ..
            } if *g == group => Some(after.iter().cloned().collect()),
            _ => None,
        });
        set.unwrap_or_else(|| facts.members(group))
    };
    let asked: BTreeSet<String> = after(GROUP_ENFORCED)
        .union(&after(GROUP_PENDING))
        .cloned()
        .collect();
    let losing: Vec<&str> = facts
        .accounts
        .iter()
        .filter(|(login, _)| !exempt.contains(login.as_str()) && !asked.contains(login.as_str()))
        .filter(|(login, account)| can_log_in(account, facts.effective.get(login.as_str()), wish))
        .map(|(login, _)| login.as_str())
        .collect();
    if !losing.is_empty() {
        let text = format!(
            "a code would be demanded of everyone, and these can log in today and have none: {}",
            printable(&losing.join(", "), NAMES)
        );
        plan.findings.push(Finding::refusal(
            "would-lose-access",
            text,
            "enrol them, declare an exemption, or end the account (usermod -e 1 LOGIN)",
        ));
    }
}

/// Whatever the shell: sftp needs none.
fn can_log_in(account: &Account, effective: Option<&Effective>, wish: &Wish) -> bool {
    if barred(account, wish.now).is_some() {
        return false;
    }
    let on = |key| effective.is_none_or(|e| e.on(key));
    let keys = account.keys.as_ref();
    let has_key = keys.is_none_or(|k| k.in_files > 0 || k.elsewhere.is_some());
    // Where the account is not in shadow(5) its password is somewhere else.
    let has_password = account.shadow.as_ref().is_none_or(|s| s.has_password);
    (has_key && on("pubkeyauthentication")) || (has_password && on("passwordauthentication"))
}
