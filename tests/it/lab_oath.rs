//! Hosts whose codes `pam_oath` checks, with a file for each user.

use serde_json::{Value, json};

use crate::lab::{Code, Key, Prefs, Suite, WINDOW};
use crate::support::faults::{Site, assert_nothing_open, tick};
use crate::support::project::{Ran, all, assert_pending};

const HOST: &str = "web1";

fn inventory(site: &Site, module: &str) -> Value {
    json!({
        "all": all(&site.lab, &[(HOST, json!({}))]),
        "admins": {"alice": {}, "bob": {}},
        "policies": {"default": {"issuer": "Example Corp", "window": WINDOW, "module": module}},
    })
}

fn says(ran: &Ran, id: &str) -> bool {
    ran.stdout.contains(id) || ran.stderr.contains(id)
}

#[test]
fn lab_oath_enrols_enforces_rotates_and_revokes() {
    let site = Site::start(&[(HOST, Suite::BookwormWithOath)]);
    let host = site.host(HOST);
    let project = site.project(60);
    project.set_inventory(&inventory(&site, "oath"));
    let refused = |code: Code<'_>| {
        site.lab
            .assert_refused(HOST, "alice", Key::With(&site.alice), code, Prefs::Default);
    };
    let gets_in = |code: &str| {
        site.lab.assert_in(
            HOST,
            "alice",
            Key::With(&site.alice),
            Code::Some(code),
            Prefs::Default,
        );
    };

    // A rollout is proved by a login with a code of pam_oath, and the second one has nothing to do.
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    assert!(says(&ran, "oath-limits"), "{}", ran.stdout);
    assert_nothing_open(host);
    let mut old = ran.sheet("alice", "default").scan().wide_totp();
    project.rollout(&[]).expect_code(0).expect_unchanged();
    assert_pending(&site.lab, HOST, "bob", &site.bob);

    // Confirmed and demanded: a right code, once; no wrong one, and none at all.
    project.confirm("alice", &old.fresh(), &[]).expect_code(0);
    assert_eq!(project.state_on("alice", "default", HOST), "enforced");
    let code = old.fresh();
    gets_in(&code);
    refused(Code::Some(&code));
    refused(Code::Some(&old.wrong()));
    refused(Code::No);
    site.lab.assert_refused(
        HOST,
        "alice",
        Key::No,
        Code::Some(&old.fresh()),
        Prefs::Default,
    );
    // The module has rewritten the file: nothing is undone by that.
    let quiet = project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!((quiet.stdout, quiet.stderr), (String::new(), String::new()));
    // It logs nothing, and that is no alert.
    let collected = project.fleetotp(&["collect"]).expect_code(0);
    assert!(
        !says(&collected, "no-second-factor"),
        "{}",
        collected.stdout
    );

    // Old and new beside each other, then the new one alone.
    let ran = project
        .fleetotp(&["rotate", "alice", "-o", "json"])
        .expect_code(0);
    let mut new = ran.sheet("alice", "default").scan().wide_totp();
    // First: the controller looks less far ahead than this host.
    let typed = new.fresh();
    gets_in(&new.fresh());
    gets_in(&old.fresh());
    project.confirm("alice", &typed, &[]).expect_code(0);
    gets_in(&new.fresh());
    refused(Code::Some(&old.fresh()));

    // With no controller the host promotes a code that was used there, and nobody is asked twice afterwards.
    let ran = project
        .fleetotp(&["rotate", "alice", "-o", "json"])
        .expect_code(0);
    let mut last = ran.sheet("alice", "default").scan().wide_totp();
    gets_in(&last.fresh());
    host.sh("sed -i 's/^[0-9]*/1/' /var/lib/fleetotp/deadlines/next.alice");
    tick(host);
    host.sh("cd /var/lib/google-authenticator && [ -f next/alice ] && [ ! -s next/alice ] && grep -q gen=3 current/alice");
    let alone = site.lab.login(
        HOST,
        "alice",
        Key::With(&site.alice),
        Code::Some(&last.fresh()),
        Prefs::Default,
    );
    assert!(
        alone.accepted && alone.questions.len() == 1,
        "{:?}",
        alone.questions
    );
    project.fleetotp(&["sync"]).expect_code(0);

    // What another policy says of the module is no change that is made in passing, and no one-time code is promised.
    project.set_inventory(&inventory(&site, "google-authenticator"));
    let ran = project.rollout(&[]).expect_code(2);
    assert!(says(&ran, "module-changes"), "{}", ran.stderr);
    project.set_inventory(&inventory(&site, "oath"));
    let args = ["bypass", "grant", "alice", "--hosts", HOST, "--for", "30m"];
    let ran = project.fleetotp(&[&args[..], &["--reason", "x", "--ticket", "OPS-1"]].concat());
    assert!(says(&ran, "module-oath"), "{}", ran.stderr);

    // Revoked: proven, and no code is right.
    project
        .fleetotp(&["revoke", "alice", "--reason", "left"])
        .expect_code(0);
    assert_eq!(project.status("alice", "default")["state"], "revoked");
    refused(Code::Some(&last.fresh()));
    host.sh("! ls /var/lib/google-authenticator/*/alice* 2>/dev/null");
    // Taken off: nothing of it is left, bob's empty file neither.
    host.sh("usermod -e 1 alice");
    project
        .fleetotp(&["remove", HOST, "--reason", "done"])
        .expect_code(0);
    host.sh("! ls -d /var/lib/google-authenticator /var/lib/fleetotp 2>/dev/null && ! grep -q fleetotp /etc/pam.d/sshd");
    site.lab.assert_key_only(HOST, "bob", Key::With(&site.bob));
}
