//! The plan for one host: from facts and wish to changes, findings and gaps.

use std::collections::BTreeSet;

use crate::host::facts::{DeadlineMechanism, Facts, Slot, SshVersion};
use crate::host::program::{REAPER_PATH, REAPER_SHA256, REAPER_TEXT};
use crate::host::request::{Line, Scope};
use crate::inventory::model::Enforce;
use crate::plan::change::{
    Change, FileChange, GROUP_ENFORCED, GROUP_PENDING, HostPlan, LIB, Part, STATE_ROOT, Shown,
    state_path,
};
use crate::plan::finding::{Finding, Gap};
use crate::plan::state::{self, Stamp};
use crate::plan::wish::{Member, TokenWish, Wish};
use crate::plan::{canary, enforce, pam, sshd};

/// The PAM service file of sshd.
pub const PAM_SSHD: &str = "/etc/pam.d/sshd";

/// The gap that asks for another inspection, one that counts public keys.
pub const KEYS_UNKNOWN: &str = "keys-unknown";
/// The gap that asks for a key from the vault.
pub const NEEDS_KEY: &str = "needs-identity";

/// The first OpenSSH with `AuthenticationMethods` (release notes of 6.2).
const OLDEST: SshVersion = SshVersion(6, 2);

/// Where the secrets in force lie.
const STATE_CURRENT: &str = "/var/lib/google-authenticator/current";

/// A change this size or smaller never fits on a full disk.
const NEEDED_KIB: u64 = 1024;

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
    if wish.parts.host {
        host_part(facts, wish, &mut plan);
    }
    if wish.parts.secrets {
        secrets_part(facts, wish, &mut plan);
    }
    if plan.needs_transaction() {
        plan.needs_reaper = true;
        if !wish.can_confirm {
            plan.findings.push(Finding::refusal(
                "no-fresh-connection",
                "PAM or sshd would change, and no fresh connection can be made to confirm it",
                "set confirm_host for a host with ansible_connection: local",
            ));
        }
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

fn preconditions(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
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
    for (path, target) in &facts.links {
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
    if let Some(foreign) = foreign_project(facts, &wish.project) {
        refuse(
            "foreign-project",
            format!("the host belongs to another fleetotp project, {foreign}"),
            "use that project's ledger; taking a host over is not built yet",
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
fn foreign_project(facts: &Facts, project: &str) -> Option<String> {
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

fn host_part(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    let Some(config) = facts.listeners.first().map(|l| l.config.clone()) else {
        return;
    };
    for (user, effective) in &facts.effective {
        if !effective.values.is_empty() && !effective.on("usepam") {
            plan.findings.push(Finding::refusal(
                "sshd-without-pam",
                format!("sshd does not use PAM (seen for {user})"),
                "set UsePAM yes in sshd's configuration",
            ));
            break;
        }
    }
    module(facts, plan);
    for path in [
        LIB,
        "/var/lib/fleetotp/tx",
        "/var/lib/fleetotp/deadlines",
        STATE_ROOT,
        STATE_CURRENT,
        "/var/lib/google-authenticator/next",
    ] {
        if facts.directories.get(path) != Some(&0o700) {
            plan.changes
                .push((Part::Host, Change::Directory { path, mode: 0o700 }));
        }
    }
    for name in [GROUP_ENFORCED, GROUP_PENDING] {
        if !facts.groups.contains_key(name) {
            plan.changes.push((Part::Host, Change::Group { name }));
        }
    }
    pam_file(facts, plan);
    sshd_files(facts, &config, plan);
    if plan.needs_transaction() {
        expectations(facts, wish, plan);
    } else {
        effectiveness(facts, plan);
    }
}

/// Where the text is as it should be, it must also have its effect.
fn effectiveness(facts: &Facts, plan: &mut HostPlan) {
    for (group, methods) in [
        (GROUP_ENFORCED, sshd::METHODS_ENFORCED),
        (GROUP_PENDING, sshd::METHODS_PENDING),
    ] {
        for member in facts.members(group) {
            let Some(effective) = facts.effective.get(&member) else {
                continue;
            };
            for (key, value) in sshd::wanted(facts.version, methods) {
                if effective.get(key) != value {
                    plan.findings.push(Finding::refusal(
                        "sshd-without-effect",
                        format!(
                            "for {member} sshd says `{key} {}` instead of `{key} {value}`",
                            effective.get(key)
                        ),
                        "another part of sshd's configuration wins: see sshd -T -C user=LOGIN",
                    ));
                }
            }
        }
    }
}

fn module(facts: &Facts, plan: &mut HostPlan) {
    if facts.module.is_some() {
        return;
    }
    match facts.package_manager.as_deref().and_then(install_command) {
        Some(command) => plan.changes.push((
            Part::Host,
            Change::Install {
                command: command.to_owned(),
            },
        )),
        None => plan.findings.push(Finding::refusal(
            "no-module",
            "pam_google_authenticator is not installed and no known package manager is there",
            "install libpam-google-authenticator by hand",
        )),
    }
}

/// Package names by distribution (the distributions' own package pages; EPEL must be enabled on RHEL).
fn install_command(manager: &str) -> Option<&'static str> {
    Some(match manager {
        "apt-get" => {
            "export DEBIAN_FRONTEND=noninteractive; apt-get -q -y --no-install-recommends install libpam-google-authenticator || { apt-get -q update && apt-get -q -y --no-install-recommends install libpam-google-authenticator; }"
        }
        "dnf" => "dnf -q -y install google-authenticator",
        "zypper" => "zypper -n -q install google-authenticator-libpam",
        "apk" => "apk add -q google-authenticator openssh-server-pam",
        "pacman" => "pacman -S --noconfirm --needed libpam-google-authenticator",
        _ => return None,
    })
}

fn pam_file(facts: &Facts, plan: &mut HostPlan) {
    let Some(file) = facts.files.get(PAM_SSHD) else {
        plan.findings.push(Finding::refusal(
            "no-pam-service",
            format!("{PAM_SSHD} is missing"),
            "install the distribution's openssh-server with PAM support",
        ));
        return;
    };
    let Some(text) = &file.text else {
        plan.findings.push(Finding::refusal(
            "not-text",
            format!("{PAM_SSHD} is not plain text"),
            "repair it by hand",
        ));
        return;
    };
    let others = pam::other_mfa(text)
        .into_iter()
        .map(str::to_owned)
        .chain(
            facts
                .mfa_lines
                .iter()
                .filter(|l| pam::is_second_factor(l))
                .cloned(),
        )
        .collect::<Vec<_>>();
    if let Some(line) = facts.mfa_lines.iter().find(|l| !pam::is_second_factor(l)) {
        plan.findings.push(Finding::note(
            "pam-directory",
            format!(
                "another module may ask for a factor of its own: {}; members are asked for fleetotp's code instead",
                crate::names::printable(line.trim(), 120)
            ),
            "leave admins out whose directory already asks them for a second factor",
        ));
    }
    if let Some(line) = others.first() {
        plan.findings.push(Finding::refusal(
            "pam-other-mfa",
            format!(
                "a second factor is configured already: {}",
                crate::names::printable(line.trim(), 120)
            ),
            "remove it: two prompts would lock people out (taking it over is not built yet)",
        ));
        return;
    }
    match pam::with_block(text, broken_for_tests::pam_block()) {
        Ok(after) => text_file(facts, PAM_SSHD, after, plan),
        Err(error) => plan.findings.push(Finding::refusal(
            "pam-layout",
            format!("{PAM_SSHD}: {error}"),
            "repair it by hand",
        )),
    }
}

fn sshd_files(facts: &Facts, config: &str, plan: &mut HostPlan) {
    let Some(main) = facts.text(config) else {
        plan.findings.push(Finding::refusal(
            "not-text",
            format!("{config} is missing or not plain text"),
            "repair it by hand",
        ));
        return;
    };
    let place = sshd::place(main, facts.version);
    let ours = match place {
        sshd::Place::DropIn => facts.text(sshd::DROP_IN),
        sshd::Place::MainFile => main.contains(pam::BEGIN).then_some(main),
    };
    let others_have_it = others_have_keyboard_interactive(facts, ours);
    if others_have_it {
        plan.findings.push(Finding::note(
            "kbd-already-on",
            "keyboard-interactive is on for everyone already; fleetotp leaves that as it is",
            "set KbdInteractiveAuthentication no if nobody needs it",
        ));
    }
    let mut addition = sshd::addition(facts.version, others_have_it);
    broken_for_tests::sshd(&mut addition);
    match place {
        sshd::Place::DropIn => text_file(facts, sshd::DROP_IN, addition, plan),
        sshd::Place::MainFile => {
            if facts.files.contains_key(sshd::DROP_IN) {
                plan.findings.push(Finding::refusal(
                    "drop-in-without-effect",
                    format!(
                        "{} is there but {config} does not include it",
                        sshd::DROP_IN
                    ),
                    "remove it, or include the directory before any Match",
                ));
                return;
            }
            match sshd::with_block(main, &addition) {
                Ok(after) if after != main && sshd::shadowed_by_block(main).is_some() => {
                    let keyword = sshd::shadowed_by_block(main).unwrap_or_default();
                    plan.findings.push(Finding::refusal(
                        "match-shadowed",
                        format!(
                            "{config} includes no drop-ins, and a block on its top would take the effect from its `{keyword}` below Match"
                        ),
                        "put `Include /etc/ssh/sshd_config.d/*.conf` on the first line of it",
                    ));
                }
                Ok(after) => text_file(facts, config, after, plan),
                Err(error) => plan.findings.push(Finding::refusal(
                    "sshd-layout",
                    format!("{config}: {error}"),
                    "repair it by hand",
                )),
            }
        }
    }
}

/// Whether keyboard-interactive was on for everyone before fleetotp came. `ours` is the text that holds our addition.
fn others_have_keyboard_interactive(facts: &Facts, ours: Option<&str>) -> bool {
    if facts.version < SshVersion(8, 7) {
        // Our own switch is global in these versions: then the pinning block tells.
        if let Some(text) = ours {
            return !sshd::pins_others(text);
        }
        return facts
            .effective
            .values()
            .any(|e| e.on("challengeresponseauthentication"));
    }
    let members = facts
        .members(GROUP_ENFORCED)
        .into_iter()
        .chain(facts.members(GROUP_PENDING))
        .collect::<BTreeSet<_>>();
    facts
        .effective
        .iter()
        .any(|(user, e)| !members.contains(user) && e.on("kbdinteractiveauthentication"))
}

/// Adds a change to a configuration file if its text differs.
fn text_file(facts: &Facts, path: &str, after: String, plan: &mut HostPlan) {
    let file = facts.files.get(path);
    let before = file.and_then(|f| f.text.clone()).unwrap_or_default();
    if file.is_some() && before == after {
        return;
    }
    plan.changes.push((
        Part::Host,
        Change::File(FileChange {
            path: path.to_owned(),
            mode: file.map_or(0o644, |f| f.mode),
            before: file.map(|f| f.sha256.clone()),
            scope: Scope::Transaction,
            lines: Line::from_text(&after),
            shown: Shown::Text { before, after },
        }),
    ));
}

/// Who must be treated after the change as before.
fn expectations(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    plan.may_differ = broken_for_tests::may_differ(sshd::harmless_differences(facts.version));
    let members: BTreeSet<&str> = wish.members.iter().map(|m| m.login.as_str()).collect();
    for member in facts.members(GROUP_ENFORCED) {
        // Where the account is gone sshd knows of no group.
        if facts.accounts.keys().any(|l| l.as_str() == member) {
            let wanted = sshd::wanted(facts.version, sshd::METHODS_ENFORCED);
            plan.wanted
                .extend(wanted.into_iter().map(|(k, v)| (member.clone(), k, v)));
        }
    }
    let managed = facts
        .members(GROUP_ENFORCED)
        .into_iter()
        .chain(facts.members(GROUP_PENDING))
        .collect::<BTreeSet<_>>();
    plan.unchanged_users = wish
        .protected
        .iter()
        .map(|l| l.as_str().to_owned())
        .chain(facts.unmanaged.iter().cloned())
        .filter(|u| {
            !members.contains(u.as_str())
                && !managed.contains(u)
                && u != crate::plan::change::CANARY
        })
        .collect();
}

fn secrets_part(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    let mut pending = facts.members(GROUP_PENDING);
    let enforced = facts.members(GROUP_ENFORCED);
    let before: Vec<String> = facts
        .groups
        .get(GROUP_PENDING)
        .map(|g| g.members.clone())
        .unwrap_or_default();
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
    let mut after: Vec<String> = before
        .iter()
        .filter(|m| pending.contains(*m))
        .cloned()
        .collect();
    after.extend(pending.into_iter().filter(|m| !before.contains(m)));
    if before != after {
        plan.changes.push((
            Part::Secrets,
            Change::Members {
                group: GROUP_PENDING,
                before,
                after,
            },
        ));
    }
}

/// A pending admin can no longer log in by password: the PAM block takes it for a code. So nobody without a public key
/// becomes pending.
fn may_wait(facts: &Facts, member: &Member, plan: &mut HostPlan) -> bool {
    let login = member.login.to_string();
    let gap = match facts
        .accounts
        .get(&member.login)
        .and_then(|a| a.keys.as_ref())
    {
        Some(keys) if keys.in_files > 0 || keys.elsewhere.is_some() => return true,
        Some(_) => Gap {
            text: format!("{login} has no public key: a code alone lets nobody in"),
            id: "no-public-key",
            login,
        },
        None => Gap {
            text: format!("the public keys of {login} were not read"),
            id: KEYS_UNKNOWN,
            login,
        },
    };
    plan.gaps.push(gap);
    false
}

/// Says why an admin cannot have a token on this host.
pub(crate) fn account_gap(facts: &Facts, wish: &Wish, member: &Member) -> Option<Gap> {
    let login = member.login.to_string();
    let gap = |id, text: String| {
        Some(Gap {
            login: login.clone(),
            id,
            text,
        })
    };
    let Some(account) = facts.accounts.get(&member.login) else {
        return gap("no-account", format!("{login} has no account on this host"));
    };
    if wish.protected.contains(&member.login) {
        return gap(
            "protected",
            format!(
                "{login} is protected, or the account that fleetotp itself logs in to: a code would shut it out"
            ),
        );
    }
    if account.uid == 0 {
        return gap(
            "uid-zero",
            format!("{login} has uid 0: it is root under another name"),
        );
    }
    if let Some(other) = account.shared_with.first() {
        return gap(
            "shared-uid",
            format!("{login} shares uid {} with {other}", account.uid),
        );
    }
    let skew = (facts.epoch - wish.now.as_second()).abs();
    if skew > i64::try_from(member.policy.period.as_secs()).unwrap_or(30) {
        return gap(
            "clock",
            format!("the host's clock is {skew} s off: no code would be right"),
        );
    }
    None
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
        token.expires.map_or(0, crate::clock::Timestamp::as_second)
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
            lines: state::new_file(key, &member.policy, &stamp),
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
    let text_of =
        |d: &crate::host::facts::SecretDeadline| format!("{} {} {}", d.due, d.serial, d.generation);
    if token.confirmed {
        if there.is_some() {
            plan.changes.push((
                Part::Secrets,
                Change::Delete {
                    path,
                    before: "any".to_owned(),
                    scope: Scope::Live,
                    what: format!("{} is confirmed and no longer expires", token.serial),
                },
            ));
        }
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

/// Adds the reaper where it is missing or another version.
fn reaper(facts: &Facts, plan: &mut HostPlan) {
    if facts.deadlines == DeadlineMechanism::None {
        plan.findings.push(Finding::refusal(
            "no-deadline",
            "the host has neither systemd nor cron: it could not revert a change by itself",
            "install cron, or leave this host out",
        ));
        return;
    }
    // Where nothing runs it any more it is brought anew, with what runs it.
    let right = facts.reaper_armed && facts.reaper.as_deref() == Some(REAPER_SHA256.as_str());
    if right || (plan.changes.is_empty() && facts.secret_deadlines.is_empty()) {
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

/// Test hooks of debug builds: a change that locks people out, to prove that hosts revert it. Release builds have none.
mod broken_for_tests {
    #[cfg(debug_assertions)]
    fn hook() -> Option<String> {
        std::env::var("FLEETOTP_TEST_BREAK").ok()
    }

    #[cfg(not(debug_assertions))]
    fn hook() -> Option<String> {
        None
    }

    /// A configuration that sshd accepts and that refuses everyone.
    pub(super) fn sshd(addition: &mut String) {
        if hook().as_deref() == Some("sshd") {
            addition.insert_str(0, "DenyUsers *\n");
        }
    }

    /// Blinds the check that would find [`sshd`] before any login is tried: the proof by logins has to.
    pub(super) fn may_differ(keywords: &'static str) -> &'static str {
        if hook().as_deref() == Some("sshd") {
            "challengeresponseauthentication|port|denyusers"
        } else {
            keywords
        }
    }

    /// A stack that refuses members only.
    pub(super) fn pam_block() -> &'static str {
        if hook().as_deref() == Some("pam") {
            "# BEGIN fleetotp\nauth [success=die default=ignore] pam_succeed_if.so quiet user ingroup fleetotp:fleetotp-pending\n# END fleetotp\n"
        } else {
            crate::plan::pam::SSHD_BLOCK
        }
    }
}
