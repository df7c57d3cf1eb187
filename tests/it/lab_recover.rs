//! An old ledger restored from a backup: nothing is overwritten, everyone logs in as before, and there is a way out.

use std::path::Path;

use serde_json::{Value, json};

use crate::lab::{Code, Key, Prefs, Suite, WINDOW, run};
use crate::support::faults::Site;
use crate::support::project::{Project, all, assert_pending};

pub(crate) fn inventory(site: &Site, admins: &[&str]) -> Value {
    let hosts: Vec<_> = site.hosts.iter().map(|h| (h.as_str(), json!({}))).collect();
    let admins: serde_json::Map<String, Value> = admins
        .iter()
        .map(|a| {
            (
                (*a).to_owned(),
                json!({"email": format!("{a}@example.com")}),
            )
        })
        .collect();
    json!({
        "all": all(&site.lab, &hosts),
        "admins": admins,
        "policies": {"default": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW}},
    })
}

fn copy(from: &Path, to: &Path) {
    drop(std::fs::remove_dir_all(to));
    run(std::process::Command::new("cp").arg("-a").arg(from).arg(to));
}

/// What hosts hold of secrets and memberships, and the text of login.
fn held(site: &Site) -> Vec<String> {
    site.each()
        .map(|host| {
            host.sh("cd /var/lib/google-authenticator && ls -i */* && sha256sum */* /etc/pam.d/sshd; grep fleetotp /etc/group")
        })
        .collect()
}

#[test]
fn lab_an_old_ledger_overwrites_nothing_and_recovers_from_hosts() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let carol = site.lab.key_pair("carol");
    for host in site.each() {
        host.add_user("carol", &carol);
    }
    let project: Project<'_> = site.project(60);
    project.set_inventory(&inventory(&site, &["alice", "bob"]));
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let mut lost = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &lost.fresh(), &[]).expect_code(0);
    let mut bob = ran.sheet("bob", "default").scan().wide_totp();
    let (state, backup) = (
        project.path().join("state"),
        project.scratch().join("backup"),
    );
    copy(&state, &backup);

    // After the backup: a new key, a confirmation, a new admin, and somebody whose secret is taken away.
    let ran = project
        .fleetotp(&["enroll", "alice", "--lost-device", "-o", "json"])
        .expect_code(0);
    let mut alice = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &alice.fresh(), &[]).expect_code(0);
    project.confirm("bob", &bob.fresh(), &[]).expect_code(0);
    project.set_inventory(&inventory(&site, &["alice", "bob", "carol"]));
    project.fleetotp(&["enroll", "carol"]).expect_code(0);
    for host in site.each() {
        host.sh("rm /var/lib/google-authenticator/current/bob");
    }
    copy(&backup, &state);
    let before = held(&site);

    // However often it is tried: as many events as were lost make it no newer.
    for args in [
        &["sync"][..],
        &["sync"],
        &["sync", "--check"],
        &["enroll", "alice"],
        &["sync"],
        &["sync"],
        &["sync"],
        &["sync"],
    ] {
        project
            .fleetotp(args)
            .expect_code(2)
            .expect_text(&["(ledger-behind)", "fleetotp ledger recover"]);
    }
    project.rollout(&[]).expect_code(2);
    project
        .fleetotp(&["remove", "all", "--reason", "x"])
        .expect_code(2)
        .expect_text(&["(ledger-behind)"]);
    assert_eq!(held(&site), before);
    let log_in = |alice: &mut crate::lab::Totp| {
        // One code is good on each host.
        let code = alice.fresh();
        for name in &site.hosts {
            site.lab.assert_in(
                name,
                "alice",
                Key::With(&site.alice),
                Code::Some(&code),
                Prefs::Default,
            );
            site.lab.assert_refused(
                name,
                "bob",
                Key::With(&site.bob),
                Code::Some("000000"),
                Prefs::Default,
            );
            assert_pending(&site.lab, name, "carol", &carol);
        }
    };
    log_in(&mut alice);

    let before = held(&site);
    let recover = ["ledger", "recover", "--reason", "disk failed"];
    project
        .fleetotp(&[&recover[..], &["--check"]].concat())
        .expect_code(0)
        .expect_text(&["generation 2 taken in"]);
    project.fleetotp(&["sync"]).expect_code(2);
    project.fleetotp(&recover).expect_code(0).expect_text(&[
        "alice in realm default: token T-",
        "generation 2 taken in; its key is on hosts only",
        "bob in realm default: token T-",
        "has ended: hosts demand a code and have no secret",
        "carol in realm default: token T-",
    ]);
    project.fleetotp(&recover).expect_code(0).expect_text(&[""]);
    let synced = project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(held(&site), before, "{}{}", synced.stdout, synced.stderr);
    let row = project.status("alice", "default");
    assert_eq!(
        (&row["state"], &row["generation"]),
        (&json!("active"), &json!(2))
    );
    assert_eq!(project.status("bob", "default")["state"], "expired");
    assert_eq!(project.status("carol", "default")["state"], "pending");
    for name in &site.hosts {
        assert_eq!(project.state_on("alice", "default", name), "enforced");
    }
    log_in(&mut alice);

    // A host that needs the key gets none, and is not told that an identity would help.
    let place = "/var/lib/google-authenticator/current/alice";
    site.host("web2").sh(&format!("rm {place}"));
    let synced = project.fleetotp(&["sync"]).expect_code(9).expect_text(&[
        "(secret-lost)",
        "has no key",
        "`rotate alice`",
    ]);
    assert!(!synced.stderr.contains("identity"), "{}", synced.stderr);
    assert!(!site.host("web2").exists(place));

    // The way on: a key that the vault has.
    let ran = project
        .fleetotp(&["enroll", "alice", "--lost-device", "-o", "json"])
        .expect_code(0);
    let mut alice = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &alice.fresh(), &[]).expect_code(0);
    for name in &site.hosts {
        let mut own = alice.clone();
        site.lab.assert_member(name, "alice", &site.alice, &mut own);
    }
    assert_eq!(project.status("alice", "default")["generation"], 3);
}
