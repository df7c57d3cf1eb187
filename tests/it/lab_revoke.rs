//! Revocation on real hosts: nothing of an admin is left, every login is refused at each stage, and nobody else notices.

use std::process::Child;

use serde_json::json;

use crate::lab::{Code, Key, Lab, Prefs};
use crate::support::faults::eventually;
use crate::support::leavers::{
    Fleet, HOSTS, assert_out, half_open, in_group, open_logins, others, policies, processes,
    revoke, session, state_files,
};
use crate::support::project::assert_pending;

#[test]
fn nothing_of_a_revoked_admin_is_left_and_nobody_else_notices() {
    let lab = Lab::start(&HOSTS);
    let names = HOSTS.map(|(name, _)| name);
    let mut fleet = Fleet::new(&lab, &names, &policies()["default"]);
    let mut open: Vec<Child> = names
        .map(|host| session(&lab, host, "alice", &fleet.alice))
        .into();
    let mut bobs: Vec<Child> = names
        .map(|host| session(&lab, host, "bob", &fleet.bob))
        .into();
    fleet.confirm_alice();
    let mut waiting = Vec::new();
    // Bob has used a code: what the module remembers of it must stay.
    let mut used = fleet.bobs.clone();
    for host in names {
        let code = used.clone().fresh();
        lab.assert_refused(host, "bob", Key::No, Code::Some(&code), Prefs::CodeOnly);
        waiting.push(half_open(&lab, host, "alice", &fleet.alice));
    }
    used.fresh();
    let before = names.map(|host| state_files(&lab, host));
    for list in &before {
        assert!(list.contains("current/alice ") && list.contains("current/bob "));
    }
    // It needs nothing that could read a secret.
    let project = &fleet.project;
    let identity = project.path().join("state/identity.txt");
    std::fs::rename(&identity, project.path().join("elsewhere")).unwrap();
    revoke(project, &["alice", "--check"])
        .expect_code(0)
        .expect_text(&["db1, web1, web2"]);
    assert_eq!(
        names.map(|host| state_files(&lab, host)),
        before,
        "--check touches nothing"
    );

    let ran = revoke(project, &["alice", "-o", "json"]).expect_code(0);
    let document = ran.json();
    let revocation = &document["revocations"][0];
    assert_eq!(
        (&revocation["state"], &revocation["ticket"]),
        (&json!("revoked"), &json!("HR-7"))
    );
    for item in revocation["hosts"].as_array().unwrap() {
        assert_eq!(item["state"], "proven", "{document:#}");
        let proof = &item["proof"];
        assert_eq!(
            (&proof["processes"], &proof["code_demanded"]),
            (&json!(0), &json!(true))
        );
        let host = item["host"].as_str().unwrap();
        let known = lab
            .host(host)
            .sh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub");
        let fingerprint = known.split_whitespace().nth(1).unwrap();
        assert!(
            proof["host_keys"]
                .as_array()
                .unwrap()
                .iter()
                .any(|k| k == fingerprint),
            "{proof:#} {known}"
        );
    }
    for (host, before) in names.iter().zip(&before) {
        assert_eq!(processes(&lab, host, "alice").trim(), "");
        assert_eq!(open_logins(&lab, host, "alice"), "");
        assert!(
            processes(&lab, host, "bob").contains("sleep 4711"),
            "bob's session lives"
        );
        let now = state_files(&lab, host);
        assert!(!now.contains("/alice"), "{now}");
        assert_eq!(
            others(&now, "alice"),
            others(before, "alice"),
            "content and inode of the others"
        );
        assert!(in_group(&lab, host, "alice", "fleetotp"));
        assert_out(&lab, host, "alice", &fleet.alice, &fleet.alices);
        assert_pending(&lab, host, "bob", &fleet.bob);
        lab.assert_key_only(host, "root", Key::Root);
    }
    for child in &mut open {
        eventually("the session has ended", 10, || {
            child.try_wait().unwrap().is_some()
        });
    }
    let status = project.status("alice", "default");
    assert_eq!(
        (&status["state"], &status["revocation"]["proven"]),
        (&json!("revoked"), &json!(3))
    );
    // Once more: done already. Nothing is quietly undone by other runs.
    revoke(project, &["alice"])
        .expect_code(0)
        .expect_text(&["was revoked in realm default before"]);
    project.rollout(&[]).expect_code(0);
    assert!(
        project.fleetotp(&["sync"]).expect_code(0).stdout.is_empty(),
        "quiet"
    );
    for host in names {
        assert_out(&lab, host, "alice", &fleet.alice, &fleet.alices);
    }

    // A login in flight wrote its file after it was deleted: gone after the next sync.
    let host = lab.host("web1");
    let secret = lab
        .host("web2")
        .sh("true; cat /var/lib/google-authenticator/current/bob");
    host.write_file(
        "/var/lib/google-authenticator/current/alice",
        "400",
        &secret,
    );
    host.write_file(
        "/var/lib/google-authenticator/current/alice~Xy12Zq",
        "400",
        &secret,
    );
    let code = used.fresh();
    lab.assert_in(
        "web1",
        "alice",
        Key::With(&fleet.alice),
        Code::Some(&code),
        Prefs::Default,
    );
    project
        .fleetotp(&["sync"])
        .expect_code(0)
        .expect_text(&["web1: alice: removed and read back"]);
    assert!(!state_files(&lab, "web1").contains("/alice"));
    assert_out(&lab, "web1", "alice", &fleet.alice, &used);

    // A new enrolment is the way back, and only the new code lets in.
    std::fs::rename(project.path().join("elsewhere"), identity).unwrap();
    let ran = project
        .fleetotp(&["enroll", "alice", "--reissue", "-o", "json"])
        .expect_code(0);
    let mut anew = ran.sheet("alice", "default").scan().wide_totp();
    assert_out(&lab, "web2", "alice", &fleet.alice, &fleet.alices);
    lab.assert_in(
        "web2",
        "alice",
        Key::With(&fleet.alice),
        Code::Some(&anew.fresh()),
        Prefs::Default,
    );
    for child in &mut bobs {
        assert!(child.try_wait().unwrap().is_none());
    }
    // Whoever sits at a prompt learns of it only by answering.
    for child in bobs.iter_mut().chain(&mut waiting) {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_pending_admin_is_revoked_to_no_login_at_all() {
    let lab = Lab::start(&HOSTS);
    let names = HOSTS.map(|(name, _)| name);
    let fleet = Fleet::new(&lab, &names, &policies()["default"]);
    let sheets = fleet.project.sheet_files();
    revoke(&fleet.project, &["bob"])
        .expect_code(0)
        .expect_text(&["3 of 3 hosts done"]);
    assert_eq!(
        fleet.project.sheet_files().len(),
        sheets.len() - 1,
        "the sheet is removed"
    );
    for host in names {
        assert!(!in_group(&lab, host, "bob", "fleetotp-pending"));
        assert_out(&lab, host, "bob", &fleet.bob, &fleet.bobs);
        assert_pending(&lab, host, "alice", &fleet.alice);
    }
}
