//! Putting back the PAM and sshd text that a run has changed on a host: those bytes, and nothing else.
//!
//! Secrets, groups and revocations are what they are: a rollback of text revives nobody.

use std::collections::BTreeSet;

use crate::host::facts::{Facts, FileFact};
use crate::host::request::{Line, Scope};
use crate::ledger::{TextChange, sum_of};
use crate::plan::account::is_over;
use crate::plan::change::{CANARY, Change, FileChange, GROUP_ENFORCED, HostPlan, Part, Shown};
use crate::plan::decide::{reaper, transaction};
use crate::plan::finding::Finding;
use crate::plan::host_part::unmanaged;
use crate::plan::preconditions::preconditions;
use crate::plan::remove::returning;
use crate::plan::wish::Wish;
use crate::plan::{everyone, pam, sshd, sudo};

/// What a rollback does to a host.
#[derive(Debug, Clone, Default)]
pub struct Rollback {
    /// The texts; the host reverts them by itself unless they are confirmed.
    pub plan: HostPlan,
    /// Logins of whom a code is demanded now and will not be.
    pub key_only: Vec<String>,
}

/// Decides what to put back: `texts` are what the run has changed there. A text that is no more what the run has written
/// refuses all of them, and one that is already what it was before is left alone.
pub fn rollback(facts: &Facts, wish: &Wish, texts: &[TextChange], weaker: bool) -> Rollback {
    let mut result = Rollback::default();
    let plan = &mut result.plan;
    preconditions(facts, wish, plan);
    if plan.refused() {
        return result;
    }
    // sshd's first: it has its effect only when both are there.
    let is_pam = |t: &&TextChange| t.path == pam::SERVICE_FILE || sudo::is_service(&t.path);
    let (pam, sshd): (Vec<_>, Vec<_>) = texts.iter().partition(is_pam);
    for text in sshd.into_iter().chain(pam) {
        put_back(facts, text, plan);
    }
    if plan.refused() || plan.is_empty() {
        plan.changes.clear();
        return result;
    }
    if ends_demand(texts) {
        returning(facts, wish, plan);
        result.key_only = enforced(facts, wish);
    }
    transaction(wish, plan);
    plan.may_differ = sshd::harmless_differences(facts.version);
    plan.unchanged_users = unmanaged(facts, wish);
    if everyone::is_there(facts) && texts.iter().any(|t| !sudo::is_service(&t.path)) {
        everyone::ends(facts, wish, plan);
        if !weaker {
            plan.findings.push(Finding::refusal(
                "rollback-is-weaker",
                "with that text accounts without an enrolment could log in again",
                "say --allow-weaker if that is what you want",
            ));
        }
    }
    reaper(facts, plan);
    if !result.key_only.is_empty() {
        let names = result.key_only.join(", ");
        let only_sudo = texts.iter().all(|t| sudo::is_service(&t.path));
        plan.findings.push(if weaker {
            Finding::note(
                "becomes-key-only",
                if only_sudo {
                    format!("sudo demands no code any more of {names}")
                } else {
                    format!("no code is demanded any more of {names}: a key, or whatever else this host takes, is enough")
                },
                "know it before: --check says it too",
            )
        } else {
            Finding::refusal(
                "rollback-is-weaker",
                format!("with that text no code would be demanded any more of {names}"),
                "say --allow-weaker if that is what you want",
            )
        });
    }
    if plan.refused() {
        plan.changes.clear();
    }
    result
}

/// Returns what a host would be like with the texts of before.
pub fn with_texts_of_before(facts: &Facts, texts: &[TextChange]) -> Facts {
    let mut facts = facts.clone();
    for text in texts {
        let path = text.path.clone();
        match &text.before {
            Some(before) => {
                let file = FileFact {
                    mode: text.mode,
                    size: before.len() as u64,
                    sha256: sum_of(before),
                    text: Some(before.clone()),
                    ..FileFact::default()
                };
                facts.files.insert(path, file);
            }
            None => drop(facts.files.remove(&path)),
        }
    }
    facts
}

fn put_back(facts: &Facts, text: &TextChange, plan: &mut HostPlan) {
    let path = &text.path;
    if let Some(target) = facts.links.get(path) {
        plan.findings.push(Finding::refusal(
            "config-is-a-link",
            format!("{path} is a symbolic link to {target}"),
            "another tool owns it: change it there, or leave this host out",
        ));
        return;
    }
    let now = facts.files.get(path);
    let is = now.map(|f| f.sha256.as_str());
    let was = text.before.as_deref().map(sum_of);
    if is == was.as_deref() {
        return;
    }
    if is != text.after.as_deref() {
        plan.findings.push(Finding::refusal(
            "changed-since-run",
            format!("{path} is not what that run has written: somebody has changed it since"),
            "look at it; to take fleetotp's own text out of it whatever else is there: fleetotp remove",
        ));
        return;
    }
    let change = match (&text.before, now) {
        (Some(before), file) => Change::File(FileChange {
            path: path.clone(),
            mode: text.mode,
            before: file.map(|f| f.sha256.clone()),
            scope: Scope::Transaction,
            lines: Line::from_text(before),
            shown: Shown::Text {
                before: file.and_then(|f| f.text.clone()).unwrap_or_default(),
                after: before.clone(),
            },
        }),
        (None, Some(file)) => Change::Delete {
            path: path.clone(),
            before: file.sha256.clone(),
            scope: Scope::Transaction,
            what: "it was not there before that run".to_owned(),
        },
        // Nothing there, and nothing there before.
        (None, None) => return,
    };
    plan.changes.push((Part::Host, change));
}

/// Whether the texts of before ask nobody for a code: PAM without the block, or sshd without fleetotp's addition.
fn ends_demand(texts: &[TextChange]) -> bool {
    texts.iter().any(|text| {
        let had = text.before.as_deref().unwrap_or_default();
        if text.path == sshd::DROP_IN {
            text.before.is_none()
        } else {
            !had.contains(pam::BEGIN)
        }
    })
}

/// Members whose account can log in.
pub(super) fn enforced(facts: &Facts, wish: &Wish) -> Vec<String> {
    let members: BTreeSet<String> = facts.members(GROUP_ENFORCED);
    members
        .into_iter()
        .filter(|member| member != CANARY)
        .filter(|member| {
            let mut accounts = facts.accounts.iter();
            accounts.any(|(login, a)| login.as_str() == member && !is_over(a, wish.now))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::{
        Account, DeadlineMechanism, Group, Listener, Slot, SshVersion, StateFact,
    };
    use crate::names::Login;

    const PLAIN: &str = "auth required pam_unix.so\n";
    const BLOCK: &str = "# BEGIN fleetotp\nauth required pam_google_authenticator.so\n# END fleetotp\nauth required pam_unix.so\n";

    fn text(path: &str, before: Option<&str>, after: Option<&str>) -> TextChange {
        TextChange {
            path: path.to_owned(),
            mode: 0o644,
            before: before.map(str::to_owned),
            after: after.map(sum_of),
        }
    }

    fn rolled_out() -> [TextChange; 2] {
        [
            text(pam::SERVICE_FILE, Some(PLAIN), Some(BLOCK)),
            text(sshd::DROP_IN, None, Some("Match Group fleetotp\n")),
        ]
    }

    /// A host as such a run has left it, with one member.
    fn host() -> Facts {
        let mut facts = Facts {
            version: SshVersion(9, 2),
            deadlines: DeadlineMechanism::Cron,
            witness: Some("F-1\t".to_owned()),
            listeners: vec![Listener {
                pid: 1,
                program: "/usr/sbin/sshd".to_owned(),
                config: "/etc/ssh/sshd_config".to_owned(),
                options: String::new(),
            }],
            judged_before: true,
            ..Facts::default()
        };
        for (path, content) in [
            (pam::SERVICE_FILE, BLOCK),
            (sshd::DROP_IN, "Match Group fleetotp\n"),
        ] {
            let file = FileFact {
                text: Some(content.to_owned()),
                sha256: sum_of(content),
                mode: 0o644,
                ..FileFact::default()
            };
            facts.files.insert(path.to_owned(), file);
        }
        let alice = Login::new("alice").unwrap();
        let group = Group {
            gid: 990,
            members: vec!["alice".to_owned()],
        };
        facts.groups.insert(GROUP_ENFORCED.to_owned(), group);
        facts.accounts.insert(alice.clone(), Account::default());
        facts
            .states
            .insert((Slot::Current, alice), StateFact::default());
        facts
    }

    fn wish() -> Wish {
        Wish {
            module: crate::inventory::model::Module::default(),
            window: 1,
            project: "F-1".to_owned(),
            protected: BTreeSet::new(),
            members: Vec::new(),
            known: BTreeSet::new(),
            exempt: BTreeSet::new(),
            parts: crate::plan::wish::Parts::default(),
            can_confirm: true,
            now: crate::clock::Timestamp::default(),
            revert_after: std::time::Duration::from_secs(60),
        }
    }

    fn findings(rollback: &Rollback) -> Vec<&str> {
        rollback.plan.findings.iter().map(|f| f.id).collect()
    }

    #[test]
    fn what_was_there_comes_back_and_what_was_not_goes() {
        let done = rollback(&host(), &wish(), &rolled_out(), true);
        let summaries: Vec<String> = done.plan.of(Part::Host).map(Change::summary).collect();
        assert!(
            summaries[1].starts_with("delete /etc/ssh/sshd_config.d/00-fleetotp.conf"),
            "{summaries:?}"
        );
        assert_eq!(summaries[2], "write /etc/pam.d/sshd");
        assert_eq!(done.key_only, ["alice"]);
        assert_eq!(findings(&done), ["becomes-key-only"]);
    }

    #[test]
    fn the_end_of_a_demand_has_to_be_wanted() {
        let done = rollback(&host(), &wish(), &rolled_out(), false);
        assert_eq!(findings(&done), ["rollback-is-weaker"]);
        assert!(done.plan.is_empty());
    }

    #[test]
    fn a_revoked_login_does_not_come_back_with_the_text() {
        let mut facts = host();
        facts.states.clear();
        let done = rollback(&facts, &wish(), &rolled_out(), true);
        assert!(
            findings(&done).contains(&"revoked-would-return"),
            "{:?}",
            findings(&done)
        );
        assert!(done.plan.is_empty());
    }

    #[test]
    fn what_somebody_has_changed_since_is_left_alone_with_all_the_rest() {
        let mut facts = host();
        let file = facts.files.get_mut(pam::SERVICE_FILE).unwrap();
        file.sha256 = sum_of("something else");
        let done = rollback(&facts, &wish(), &rolled_out(), true);
        assert_eq!(findings(&done), ["changed-since-run"]);
        assert!(done.plan.is_empty());
    }

    #[test]
    fn done_twice_it_does_nothing_the_second_time() {
        let mut facts = host();
        facts.files.remove(sshd::DROP_IN);
        let file = facts.files.get_mut(pam::SERVICE_FILE).unwrap();
        file.sha256 = sum_of(PLAIN);
        let done = rollback(&facts, &wish(), &rolled_out(), false);
        assert!(done.plan.is_empty() && done.plan.findings.is_empty());
    }

    #[test]
    fn text_that_still_demands_is_not_weaker() {
        let newer = format!("{BLOCK}# newer\n");
        let texts = [text(pam::SERVICE_FILE, Some(BLOCK), Some(&newer))];
        let mut facts = host();
        facts.files.get_mut(pam::SERVICE_FILE).unwrap().sha256 = sum_of(&newer);
        let done = rollback(&facts, &wish(), &texts, false);
        assert!(!done.plan.is_empty());
        assert_eq!(done.key_only, [""; 0]);
    }
}
