//! The part of a plan that prepares a host: module, directories, groups, PAM block, sshd's addition.

use std::collections::BTreeSet;

use crate::host::facts::{Facts, SshVersion};
use crate::host::request::{Line, Scope};
use crate::inventory::model::Module;
use crate::plan::change::{
    CANARY, Change, FileChange, GROUP_ENFORCED, GROUP_PENDING, HostPlan, LIB, Part, STATE_CURRENT,
    STATE_ROOT, Shown,
};
use crate::plan::finding::Finding;
use crate::plan::pam::SERVICE_FILE;
use crate::plan::sudo::sudo_part;
use crate::plan::wish::Wish;
use crate::plan::{distribution, everyone, oath_file, pam, sshd};

/// Plans it.
pub(super) fn host_part(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    let Some(config) = facts.listeners.first().map(|l| l.config.clone()) else {
        return;
    };
    for (user, effective) in &facts.effective {
        if !effective.values.is_empty() && !effective.on("usepam") {
            plan.findings.push(Finding::refusal(
                "sshd-without-pam",
                format!("sshd does not use PAM (seen for {user})"),
                // One that was built without PAM does not know the keyword (servconf.c: dump_config).
                if effective.values.contains_key("usepam") {
                    "set UsePAM yes in sshd's configuration"
                } else {
                    distribution::pam_remedy(&facts.os)
                },
            ));
            break;
        }
    }
    plan.findings.extend(distribution::other_service(facts));
    match wish.module {
        Module::GoogleAuthenticator => module(facts, plan),
        Module::Oath => plan.findings.extend(oath_file::module(facts)),
    }
    plan.findings.extend(oath_file::stale(facts, wish));
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
    let everyone = everyone::is_wanted(facts, wish);
    if everyone {
        everyone::group(facts, wish, plan);
    }
    pam_file(facts, wish, plan);
    sudo_part(facts, wish, plan);
    sshd_files(facts, wish, &config, plan);
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
    let manager = facts.package_manager.as_deref();
    match manager.and_then(distribution::install_command) {
        Some(command) => {
            let command = command.to_owned();
            plan.changes.push((Part::Host, Change::Install { command }));
            plan.findings.extend(distribution::repository(&facts.os));
        }
        None => plan.findings.push(Finding::refusal(
            "no-module",
            "pam_google_authenticator is not installed and no known package manager is there",
            "install libpam-google-authenticator by hand",
        )),
    }
}

fn pam_file(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    let Some((_, text)) = distribution::service_text(facts) else {
        plan.findings
            .push(if facts.files.contains_key(SERVICE_FILE) {
                Finding::refusal(
                    "not-text",
                    format!("{SERVICE_FILE} is not plain text"),
                    "repair it by hand",
                )
            } else {
                Finding::refusal(
                    "no-pam-service",
                    format!("{SERVICE_FILE} is missing"),
                    distribution::pam_remedy(&facts.os),
                )
            });
        return;
    };
    plan.findings.extend(distribution::copied(facts));
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
            "remove it: two prompts would lock people out; enrolments of google-authenticator and pam_oath can be taken over: fleetotp adopt",
        ));
        return;
    }
    let module = pam::module_in(text);
    if module.is_some_and(|there| there != wish.module) {
        plan.findings.push(Finding::refusal(
            "module-changes",
            "the policy names another module than the one that asks for codes on this host",
            "take fleetotp off first (`fleetotp remove`), then roll out anew: secrets are kept in another form",
        ));
        return;
    }
    if module.is_none() && wish.module == Module::Oath {
        plan.findings.push(oath_file::limits());
    }
    let mut block = pam::block(wish.module, wish.window);
    if everyone::is_wanted(facts, wish) {
        pam::EVERYONE_BLOCK.clone_into(&mut block);
    }
    broken_for_tests::pam(&mut block);
    match pam::with_block(text, &block) {
        Ok(after) => text_file(facts, SERVICE_FILE, after, plan),
        Err(error) => plan.findings.push(Finding::refusal(
            "pam-layout",
            format!("{SERVICE_FILE}: {error}"),
            "repair it by hand",
        )),
    }
}

fn sshd_files(facts: &Facts, wish: &Wish, config: &str, plan: &mut HostPlan) {
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
    let everyone = everyone::is_wanted(facts, wish);
    let others_have_it = !everyone && others_have_keyboard_interactive(facts, ours);
    if others_have_it {
        plan.findings.push(Finding::note(
            "kbd-already-on",
            "keyboard-interactive is on for everyone already; fleetotp leaves that as it is",
            "set KbdInteractiveAuthentication no if nobody needs it",
        ));
    }
    let mut addition = if everyone {
        match everyone::addition(facts, wish, ours) {
            Ok(addition) => addition,
            Err(finding) => {
                plan.findings.push(finding);
                return;
            }
        }
    } else {
        sshd::addition(facts.version, others_have_it)
    };
    if everyone && ours.is_none_or(|t| !t.contains(&addition)) {
        everyone::expectations(facts, wish, &addition, plan);
    }
    broken_for_tests::sshd(&mut addition);
    match place {
        sshd::Place::DropIn => text_file(facts, sshd::DROP_IN, addition, plan),
        // A package's own file: its next version would bring the text back as it was.
        sshd::Place::MainFile if config.starts_with("/usr/") => {
            plan.findings.push(Finding::refusal(
                "vendor-config",
                format!("{config} is the distribution's own and includes no drop-ins: it is not to be changed"),
                "copy it to /etc/ssh/sshd_config, with `Include /etc/ssh/sshd_config.d/*.conf` on the first line",
            ));
        }
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
    // Where everyone was asked it was off before, or the host was refused.
    if ours.is_some_and(|t| sshd::methods_of_exempt(t).is_some()) {
        return false;
    }
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
pub(super) fn text_file(facts: &Facts, path: &str, after: String, plan: &mut HostPlan) {
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
    for member in facts.members(GROUP_ENFORCED) {
        // Where the account is gone sshd knows of no group.
        if facts.accounts.keys().any(|l| l.as_str() == member) {
            let wanted = sshd::wanted(facts.version, sshd::METHODS_ENFORCED);
            plan.wanted
                .extend(wanted.into_iter().map(|(k, v)| (member.clone(), k, v)));
        }
    }
    plan.unchanged_users = unmanaged(facts, wish);
    if everyone::is_wanted(facts, wish) {
        everyone::unchanged(facts, wish, plan);
    } else {
        everyone::ends(facts, wish, plan);
    }
}

/// Whom fleetotp does not manage: sshd must treat them after a change as before.
pub(super) fn unmanaged(facts: &Facts, wish: &Wish) -> BTreeSet<String> {
    let mut managed = facts.members(GROUP_ENFORCED);
    managed.extend(facts.members(GROUP_PENDING));
    managed.extend(wish.members.iter().map(|m| m.login.to_string()));
    managed.insert(CANARY.to_owned());
    let protected = wish.protected.iter().map(ToString::to_string);
    protected
        .chain(facts.unmanaged.iter().cloned())
        .filter(|user| !managed.contains(user))
        .collect()
}

/// Test hooks of debug builds: a change that locks people out, to prove that hosts revert it. Release builds have none.
pub(super) mod broken_for_tests {
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

    /// A stack of sudo's in which the code alone is enough.
    pub(in crate::plan) fn sudo_text(text: String) -> String {
        if hook().as_deref() == Some("sudo") {
            text.replace("[success=ignore default=die]", "[success=done default=die]")
        } else {
            text
        }
    }

    /// A stack that refuses members only.
    pub(super) fn pam(block: &mut String) {
        if hook().as_deref() == Some("pam") {
            "# BEGIN fleetotp\nauth [success=die default=ignore] pam_succeed_if.so quiet user ingroup fleetotp:fleetotp-pending\n# END fleetotp\n".clone_into(block);
        }
    }
}
