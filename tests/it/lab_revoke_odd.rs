//! Revocation where something is not as it should be: a block removed by hand, a host that left the inventory, another
//! run under way, an account that shares its uid.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::lab::{Code, Key, Lab, Prefs, Suite};
use crate::support::faults::{ended_within, eventually, text_of};
use crate::support::leavers::{
    Fleet, HOSTS, WHY, assert_out, in_group, policies, processes, revoke, session, state_files,
};
use crate::support::project::{all, assert_pending};

fn policy(on_revoke: &[&str]) -> Value {
    let mut policy = policies()["default"].clone();
    policy["on_revoke"] = json!(on_revoke);
    policy
}

/// Where PAM and sshd do not both demand a code, the account itself is closed.
#[test]
fn where_the_pam_block_was_removed_by_hand_the_account_is_closed() {
    let lab = Lab::start(&HOSTS);
    let names = HOSTS.map(|(name, _)| name);
    let mut fleet = Fleet::new(&lab, &names, &policy(&[]));
    fleet.confirm_alice();
    lab.host("web1")
        .sh("sed -i '/^# BEGIN fleetotp$/,/^# END fleetotp$/d' /etc/pam.d/sshd");
    lab.host("web2")
        .sh("rm /etc/ssh/sshd_config.d/00-fleetotp.conf; kill -HUP $(cat /run/sshd.pid)");
    // Somebody else's hand: with this, a secret that is gone would let alice in by key alone.
    lab.host("db1").sh("sed -i 's/google_authenticator.so noskewadj/google_authenticator.so nullok noskewadj/' /etc/pam.d/sshd");
    let document = revoke(&fleet.project, &["alice", "-o", "json"])
        .expect_code(0)
        .json();
    for item in document["revocations"][0]["hosts"].as_array().unwrap() {
        let proof = &item["proof"];
        assert_eq!(proof["code_demanded"], false, "{item:#}");
        assert_eq!(
            (&proof["account_expired"], &proof["key_files"]),
            (&json!(true), &json!(0))
        );
    }
    for host in names {
        assert_out(&lab, host, "alice", &fleet.alice, &fleet.alices);
        assert!(!state_files(&lab, host).contains("/alice"));
        assert!(in_group(&lab, host, "alice", "fleetotp"));
        let kept = lab.host(host).sh("cat /var/lib/fleetotp/revoked/alice/0");
        assert_eq!(kept.trim(), fleet.alice.public, "moved, not destroyed");
        lab.assert_key_only(host, "root", Key::Root);
    }
    assert!(
        lab.host("web2")
            .sh("cat /home/bob/.ssh/authorized_keys")
            .contains("ssh-ed25519")
    );
}

#[test]
fn a_policy_can_ask_for_the_accounts_end_as_well() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let fleet = Fleet::new(&lab, &["web1"], &policy(&["expire_account", "move_keys"]));
    let host = lab.host("web1");
    host.sh("chage -E 40000 alice");
    host.sh("mkdir -p /var/lib/systemd/linger /var/spool/cron/crontabs; touch /var/lib/systemd/linger/alice /var/spool/cron/crontabs/alice");
    let ran = revoke(&fleet.project, &["alice"]).expect_code(0);
    ran.expect_text(&["(revoked-linger)", "(revoked-cron)", "1 of 1 hosts done"]);
    assert_eq!(host.sh("getent shadow alice | cut -d: -f8").trim(), "1");
    assert!(!host.exists("/home/alice/.ssh/authorized_keys"));
    assert_out(&lab, "web1", "alice", &fleet.alice, &fleet.alices);
    assert_pending(&lab, "web1", "bob", &fleet.bob);

    // Enrolled anew: the account ends when it did before, and the keys of then stay away.
    let again = fleet
        .project
        .fleetotp(&["enroll", "alice", "--reissue", "-o", "json"])
        .expect_code(0)
        .expect_text(&["revoked-keys-aside", "/var/lib/fleetotp/revoked/alice/0"]);
    assert_eq!(host.sh("getent shadow alice | cut -d: -f8").trim(), "40000");
    assert!(!host.exists("/home/alice/.ssh/authorized_keys"));
    let mut totp = again.sheet("alice", "default").scan().totp();
    let key = Key::With(&fleet.alice);
    let code = totp.fresh();
    lab.assert_refused("web1", "alice", key, Code::Some(&code), Prefs::Default);
    host.sh("install -o alice /var/lib/fleetotp/revoked/alice/0 /home/alice/.ssh/authorized_keys; rm -r /var/lib/fleetotp/revoked/alice");
    lab.assert_refused("web1", "alice", key, Code::No, Prefs::Default);
    lab.assert_member("web1", "alice", &fleet.alice, &mut totp);
    // An end that somebody else has set is theirs, and is told.
    host.sh("chage -E 1 alice");
    let synced = fleet
        .project
        .fleetotp(&["sync"])
        .expect_code(0)
        .expect_text(&["account-barred", "has an expired account"]);
    assert!(!synced.stdout.contains("keys-aside"), "{}", synced.stdout);
    assert_eq!(host.sh("getent shadow alice | cut -d: -f8").trim(), "1");
}

/// A host that no inventory names any more is reached as it was before, and one that is gone is attested.
#[test]
fn a_host_that_left_the_inventory_is_revoked_from_the_ledger() {
    let lab = Lab::start(&[
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
        ("old1", Suite::Bullseye),
    ]);
    let mut fleet = Fleet::new(&lab, &["web1", "web2", "old1"], &policy(&[]));
    fleet.confirm_alice();
    let project = &fleet.project;
    project.set_inventory(&json!({
        "all": all(&lab, &[("web1", json!({}))]),
        "admins": {"alice": {}, "bob": {}},
        "policies": {"default": policy(&[])},
    }));
    lab.host("old1").cut();
    revoke(project, &["alice"])
        .expect_code(4)
        .expect_text(&["2 of 3 hosts done, 1 open", "old1: open since"]);
    for host in ["web1", "web2"] {
        assert_out(&lab, host, "alice", &fleet.alice, &fleet.alices);
    }
    project
        .fleetotp(&["hosts", "list"])
        .expect_code(0)
        .expect_text(&["old1", "web2"]);
    project
        .fleetotp(&["hosts", "retire", "old2", "--reason", "scrapped"])
        .expect_code(1)
        .expect_text(&["did you mean `old1`?"]);
    project
        .fleetotp(&[
            "hosts", "retire", "old1", "--reason", "scrapped", "--ticket", "OPS-1",
        ])
        .expect_code(0)
        .expect_text(&["1 open revocations attested"]);
    let row = project.status("alice", "default");
    assert_eq!(row["state"], "revoked");
    assert_eq!(
        (&row["revocation"]["proven"], &row["revocation"]["attested"]),
        (&json!(2), &json!(1))
    );
    project.fleetotp(&["sync"]).expect_code(0);
}

/// The other run has read web1 and is about to push a secret when the admin is revoked.
#[test]
fn a_run_under_way_pushes_nothing_of_an_admin_who_is_revoked_meanwhile() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let fleet = Fleet::new(&lab, &["web1"], &policy(&[]));
    let project = &fleet.project;
    project
        .fleetotp(&["enroll", "bob", "--lost-device", "-o", "json"])
        .expect_code(0);
    lab.host("web1")
        .sh("rm /var/lib/google-authenticator/current/*");
    let other = project
        .command(&["sync"])
        .env("FLEETOTP_TEST_PAUSE", "planned:8")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the other run is connected", 20, || {
        !lab.host("web1")
            .sh("pgrep -f 'sshd.*: root@notty' || true")
            .is_empty()
    });
    // Nothing outside tells that it has read the host; that takes a small part of this.
    std::thread::sleep(std::time::Duration::from_secs(2));
    // Without waiting: recorded, and said so.
    revoke(project, &["alice"])
        .expect_code(75)
        .expect_text(&["the revocation is recorded"]);
    assert_eq!(project.status("alice", "default")["state"], "revoking");
    // Waiting: done once the other run has ended.
    revoke(project, &["alice", "--wait", "60s"])
        .expect_code(0)
        .expect_text(&["1 of 1 hosts done"]);
    let output = ended_within(other, 30);
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("was revoked while this run was under way"),
        "{}",
        text_of(&output)
    );
    let files = state_files(&lab, "web1");
    assert!(
        files.contains("current/bob ") && !files.contains("alice"),
        "{files}"
    );
    assert_out(&lab, "web1", "alice", &fleet.alice, &fleet.alices);
}

#[test]
fn what_cannot_be_proven_stays_open_with_its_reason() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let fleet = Fleet::new(&lab, &["web1"], &policy(&[]));
    let mut child = session(&lab, "web1", "alice", &fleet.alice);
    lab.host("web1")
        .sh("grep ^alice: /etc/passwd | sed 's/^alice/twin/' >>/etc/passwd");
    revoke(&fleet.project, &["alice"])
        .expect_code(2)
        .expect_text(&[
            "0 of 1 hosts done, 1 open",
            "not ended, since twin has the same uid",
        ]);
    assert!(
        processes(&lab, "web1", "alice").contains("sleep 4711"),
        "twin's processes are not ended"
    );
    assert!(
        !state_files(&lab, "web1").contains("alice"),
        "and yet no code is right any more"
    );
    lab.host("web1").sh("sed -i /^twin:/d /etc/passwd");
    let ran = fleet.project.fleetotp(&["sync"]).expect_code(0);
    ran.expect_text(&["web1: alice: removed and read back"]);
    eventually("the session has ended", 10, || {
        child.try_wait().unwrap().is_some()
    });
}

#[test]
fn a_limit_leaves_open_what_it_leaves_out_and_counts_as_a_flag_only() {
    let lab = Lab::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let fleet = Fleet::new(&lab, &["web1", "web2"], &policy(&[]));
    let project = &fleet.project;
    revoke(project, &["alice", "--limit", "web1"])
        .expect_code(9)
        .expect_text(&["1 of 2 hosts done, 1 open"]);
    let args = [&["revoke", "bob"][..], &WHY].concat();
    let ran = project
        .fleetotp_with(("FLEETOTP_LIMIT", "web1"), &args)
        .expect_code(0);
    ran.expect_text(&["2 of 2 hosts done", "FLEETOTP_LIMIT does not count here"]);
    // The shipped playbook finishes it as well.
    let playbook = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/offboard.yml");
    let ran = project.fleetotp(&["play", playbook]).expect_code(0);
    ran.expect_text(&[
        "changed: [web2]",
        "alice: read back: nothing is left",
        "failed=0",
    ]);
    assert_eq!(project.status("alice", "default")["state"], "revoked");
}

#[test]
fn who_left_the_inventory_is_revoked_by_sync_when_it_is_told() {
    let lab = Lab::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let mut fleet = Fleet::new(&lab, &["web1", "web2"], &policy(&[]));
    fleet.confirm_alice();
    let project = &fleet.project;
    let hosts = [("web1", json!({})), ("web2", json!({}))];
    project.set_inventory(&json!({
        "all": all(&lab, &hosts),
        "admins": {"alice": {}},
        "policies": {"default": policy(&[])},
    }));
    project.fleetotp(&["sync"]).expect_code(0);
    assert_pending(&lab, "web1", "bob", &fleet.bob);
    project
        .fleetotp(&["sync", "--prune", "--reason", "left"])
        .expect_code(0)
        .expect_text(&[
            "bob left the inventory: revoked",
            "web1: bob: removed and read back",
            "web2: bob: removed",
        ]);
    for host in ["web1", "web2"] {
        assert_out(&lab, host, "bob", &fleet.bob, &fleet.bobs);
    }
    // The last one who can log in with a code stays.
    project.set_inventory(&json!({
        "all": all(&lab, &hosts),
        "admins": {"carol": {}},
        "policies": {"default": policy(&[])},
    }));
    project
        .fleetotp(&["sync", "--no-new", "--prune", "--reason", "left"])
        .expect_text(&["alice left the inventory and is not revoked: no other admin of web1"]);
    assert_eq!(project.status("alice", "default")["state"], "active");
}
