//! sudo as a second service: the code besides what sudo asks today, of members of the group `fleetotp`.
//!
//! A host is in one realm and a realm has one policy, so services differ between hosts and never between the admins of one.

use crate::host::facts::{Facts, Placed};
use crate::inventory::model::{Policy, Service};
use crate::names::printable;
use crate::plan::change::HostPlan;
use crate::plan::finding::Finding;
use crate::plan::host_part::{broken_for_tests, text_file};
use crate::plan::pam::{self, PamError};
use crate::plan::stacks;
use crate::plan::sudoers;
use crate::plan::wish::{Member, Wish};

/// sudo's service, and the one of `sudo -i` where a distribution builds it so (Debian since 12, Red Hat).
pub const SERVICE_FILES: [&str; 2] = ["/etc/pam.d/sudo", "/etc/pam.d/sudo-i"];

/// The block, ends with a newline. Its success goes on to the lines after it; a jump over the last of its own lines counts as
/// nothing, as `ignore` does (pam.conf(5)). It stands first: after a `sufficient` line it would be asked of nobody.
pub const BLOCK: &str = include_str!("../../templates/pam.d/sudo");

/// Whether the host's policy wants the code in sudo; `None` where it has no admin, so that nobody says.
pub fn wanted(members: &[Member]) -> Option<bool> {
    let policy = &members.first()?.policy;
    Some(policy.services.contains(&Service::Sudo))
}

/// Whether a path is one of sudo's services.
pub fn is_service(path: &str) -> bool {
    SERVICE_FILES.contains(&path)
}

/// Whether sudo is to ask members for the code and one of its services does not.
pub fn is_lacking(facts: &Facts, members: &[Member]) -> bool {
    wanted(members) == Some(true)
        && services(facts).any(|(path, text)| right_text(path, text, true).as_deref() != Ok(text))
}

/// The options by which sudo is called so that each of its services asks once.
pub fn calls(facts: &Facts, policy: &Policy) -> Vec<&'static str> {
    if !policy.services.contains(&Service::Sudo) {
        return Vec::new();
    }
    services(facts)
        .map(|(path, _)| if path == SERVICE_FILES[0] { "-" } else { "-i" })
        .collect()
}

/// sudo's services that are there and are text.
fn services(facts: &Facts) -> impl Iterator<Item = (&'static str, &str)> {
    let text = |path: &'static str| facts.text(path).map(|text| (path, text));
    SERVICE_FILES.into_iter().filter_map(text)
}

/// Plans the block where the policy wants it, and its end where it does not.
pub(super) fn sudo_part(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    let Some(is_wanted) = wanted(&wish.members) else {
        return;
    };
    for path in SERVICE_FILES {
        let Some(file) = facts.files.get(path) else {
            continue;
        };
        let Some(text) = &file.text else {
            if is_wanted {
                plan.findings.push(Finding::refusal(
                    "not-text",
                    format!("{path} is not plain text"),
                    "repair it by hand",
                ));
            }
            continue;
        };
        if let Some(other) = pam::other_mfa(text).first().filter(|_| is_wanted) {
            plan.findings.push(Finding::refusal(
                "pam-other-mfa",
                format!(
                    "{path} asks for a second factor already: {}",
                    printable(other.trim(), 120)
                ),
                "remove it there, or leave sudo out of the policy's services",
            ));
            continue;
        }
        match right_text(path, text, is_wanted) {
            Ok(after) => {
                if !is_wanted && after != *text {
                    plan.findings.push(Finding::note(
                        "sudo-no-longer-asks",
                        format!("the policy has no service `sudo`: {path} will not ask for the code any more"),
                        "know it before: --check says it too",
                    ));
                }
                text_file(facts, path, broken_for_tests::sudo_text(after), plan);
            }
            Err(error) => plan.findings.push(Finding::refusal(
                "pam-layout",
                format!("{path}: {error}"),
                "repair it by hand",
            )),
        }
    }
    if is_wanted {
        passes(facts, wish, plan);
    }
}

/// A service that brings in sudo's own asks by that one's lines: twice would want two codes.
fn right_text(path: &str, text: &str, is_wanted: bool) -> Result<String, PamError> {
    let bare = pam::without_block(text)?;
    let brings_sudo = || {
        let mut lines = bare.lines().filter_map(stacks::included);
        lines.any(|file| {
            format!("/etc/pam.d/{file}") != path && is_service(&format!("/etc/pam.d/{file}"))
        })
    };
    if is_wanted && !brings_sudo() {
        pam::with_block(text, BLOCK)
    } else {
        Ok(bare)
    }
}

/// What the block does not reach: sudo that asks nothing, or that asks for somebody else.
fn passes(facts: &Facts, wish: &Wish, plan: &mut HostPlan) {
    if !facts.files.contains_key(SERVICE_FILES[0]) {
        plan.findings.push(Finding::note(
            "no-sudo",
            format!(
                "{} is missing: sudo is not installed there, or asks by another service's lines",
                SERVICE_FILES[0]
            ),
            "install sudo, or leave it out of the policy's services",
        ));
    }
    if facts.selinux {
        plan.findings.push(Finding::note(
            "sudo-confined",
            "SELinux is on: sudo of a confined user (staff_u) may not write which code was used, and then refuses every code",
            "leave admins unconfined, or let sudodomain manage var_auth_t",
        ));
    }
    let hides = |line: &&Placed| {
        let set = sudoers::settings_of_all(&line.text);
        set.iter()
            .any(|s| matches!(*s, "passprompt_override" | "requiretty"))
    };
    if let Some(line) = facts.sudo_lines.iter().find(hides) {
        plan.findings.push(Finding::refusal(
            "sudo-cannot-prove",
            format!(
                "{}:{}: with passprompt_override or requiretty nobody can tell from outside what sudo asks",
                printable(&line.file, 120),
                line.line
            ),
            "take that setting out, or leave sudo out of the policy's services",
        ));
    }
    // The tool's own account becomes root without being asked, and has to.
    let is_tools = |account: &String| wish.protected.iter().any(|p| p.as_str() == account);
    let ways: Vec<String> = facts
        .sudo_lines
        .iter()
        .filter_map(|line| Some((line, sudoers::way(line)?)))
        .filter(|(_, way)| !way.account.as_ref().is_some_and(is_tools))
        .map(|(line, way)| {
            format!(
                "{}:{} ({}: {})",
                printable(&line.file, 120),
                line.line,
                way.kind,
                way.whom
            )
        })
        .collect();
    if !ways.is_empty() {
        plan.findings.push(Finding::note(
            "sudo-unasked",
            format!(
                "by these lines sudo asks for no code, or for another account's: {}",
                printable(&ways.join(", "), 600)
            ),
            "take them out, or see that they concern no admin",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::FileFact;
    use crate::plan::wish::tests::policy;

    fn member(services: &[Service]) -> Member {
        let mut policy = policy();
        policy.services = services.to_vec();
        Member {
            admin: "alice".parse().unwrap(),
            login: "alice".parse().unwrap(),
            realm: "default".parse().unwrap(),
            policy,
            token: None,
        }
    }

    fn with(texts: [&str; 2]) -> Facts {
        let mut facts = Facts::default();
        for (path, text) in SERVICE_FILES.into_iter().zip(texts) {
            let file = FileFact {
                text: Some(text.to_owned()),
                ..FileFact::default()
            };
            facts.files.insert(path.to_owned(), file);
        }
        facts
    }

    #[test]
    fn what_lacks_the_block_is_lacking_only_where_the_policy_wants_it() {
        let both = [member(&[Service::Sshd, Service::Sudo])];
        let whole = format!("{BLOCK}auth required pam_unix.so\n");
        let plain = "auth required pam_unix.so\n";
        assert!(!is_lacking(&with([&whole, &whole]), &both));
        assert!(!is_lacking(&with([&whole, "auth include sudo\n"]), &both));
        for texts in [
            [whole.as_str(), plain],
            [plain, "auth include sudo\n"],
            [&whole.replace("default=die", "default=ignore"), &whole],
        ] {
            assert!(is_lacking(&with(texts), &both), "{texts:?}");
            assert!(!is_lacking(&with(texts), &[member(&[Service::Sshd])]));
            assert!(!is_lacking(&with(texts), &[]));
        }
        assert_eq!(calls(&with([&whole, &whole]), &both[0].policy), ["-", "-i"]);
        assert!(calls(&with([&whole, &whole]), &policy()).is_empty());
        assert!(!is_lacking(&Facts::default(), &both), "no sudo there");
    }

    /// The code never gives root by itself, and nothing it cannot check lets anybody by.
    #[test]
    fn the_block_only_ever_adds() {
        let lines: Vec<&str> = BLOCK.lines().filter(|l| l.starts_with("auth")).collect();
        assert!(lines[0].contains("default=2") && lines[0].ends_with(" ingroup fleetotp"));
        assert!(lines[2].contains("[success=ignore default=die]") && !lines[2].contains("nullok"));
        assert!(!BLOCK.contains("done") && !BLOCK.contains("sufficient") && lines.len() == 3);
    }
}
