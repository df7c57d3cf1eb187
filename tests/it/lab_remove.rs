//! Taking fleetotp off hosts: byte for byte what was there before, and nobody comes back who was kept out.

use serde_json::json;

use crate::lab::{Code, Key, Prefs, Suite, WINDOW};
use crate::support::faults::{
    Site, assert_nothing_open, ended_within, eventually, login_texts, open_changes, wait_until_open,
};
use crate::support::project::Project;

/// Where nothing of fleetotp may be left. The account and group files are compared apart.
const TRACES: &str = r"
    ls -d /var/lib/fleetotp /var/lib/google-authenticator /etc/cron.d/fleetotp /etc/ssh/sshd_config.d/00-fleetotp.conf 2>/dev/null
    grep -rl fleetotp /etc/pam.d /etc/ssh /etc/passwd /etc/group /etc/gshadow 2>/dev/null
    true";

const REMOVE: &[&str] = &[
    "remove",
    "all",
    "--reason",
    "the fleet is given away",
    "--ticket",
    "OPS-7",
];

fn policies(project: &Project<'_>, site: &Site) {
    let hosts: Vec<_> = site.hosts.iter().map(|h| (h.as_str(), json!({}))).collect();
    project.set_inventory(&json!({
        "all": crate::support::project::all(&site.lab, &hosts),
        "admins": {"alice": {"email": "alice@example.com"}, "bob": {"email": "bob@example.com"}},
        "policies": {"default": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW, "services": ["sshd", "sudo"]}},
    }));
}

#[test]
fn lab_remove_restores_every_byte_and_says_who_becomes_key_only() {
    let site = Site::start(&[
        ("old", Suite::Bullseye),
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
    ]);
    let carol = site.lab.key_pair("carol");
    let groups = "cat /etc/group /etc/gshadow /etc/passwd";
    for host in site.each() {
        host.add_user("carol", &carol);
    }
    // As SUSE has it, PAM's text below /usr; and as Alpine has it, an sshd of another name.
    site.host("web1")
        .sh("mkdir -p /usr/lib/pam.d && mv /etc/pam.d/sshd /usr/lib/pam.d/sshd");
    let vendor = || site.host("web1").read_file("/usr/lib/pam.d/sshd");
    let vendors = vendor();
    site.host("web2")
        .sh(r#"cp -p /usr/sbin/sshd /usr/sbin/sshd.pam
        kill "$(cat /run/sshd.pid)"; while [ -e /run/sshd.pid ]; do sleep 0.1; done
        /usr/sbin/sshd.pam"#);
    let before: Vec<_> = site
        .each()
        .map(|h| (login_texts(h), h.sh(groups)))
        .collect();
    let project = site.project(60);
    policies(&project, &site);
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    assert_eq!(ran.stdout.matches("\"pam-vendor-copy\"").count(), 1);
    assert_eq!(vendor(), vendors);
    let mut alice = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &alice.fresh(), &[]).expect_code(0);
    for name in &site.hosts {
        // What is used on one host is not on another.
        let mut totp = alice.clone();
        site.lab
            .assert_member(name, "alice", &site.alice, &mut totp);
    }

    // A check says all of it, and does nothing.
    let shots: Vec<_> = site.each().map(|h| h.inode_snapshot()).collect();
    let check: Vec<&str> = REMOVE
        .iter()
        .copied()
        .chain(["--check", "--diff"])
        .collect();
    project.fleetotp(&check).expect_code(0).expect_text(&[
        "no code is demanded any more of alice:",
        "-# BEGIN fleetotp",
        "delete /etc/pam.d/sshd: the distribution's own text counts again",
        "delete /etc/ssh/sshd_config.d/00-fleetotp.conf",
        "delete group fleetotp, whose members are alice",
        "delete group fleetotp-pending, whose members are bob",
    ]);
    for (host, shot) in site.each().zip(&shots) {
        assert_eq!(
            host.inode_snapshot().changed_since(shot),
            Vec::<String>::new()
        );
    }

    let removed = project
        .fleetotp(&[REMOVE, &["-o", "json"]].concat())
        .expect_code(0);
    let finding = &removed.json()["hosts"][0]["findings"][0];
    assert_eq!(finding["id"], "becomes-key-only", "{finding:#}");
    for ((host, shot), (texts, accounts)) in site.each().zip(&shots).zip(&before) {
        assert_eq!(&login_texts(host), texts);
        assert_eq!(&host.sh(groups), accounts);
        assert_eq!(host.sh(TRACES), "");
        assert_nothing_open(host);
        // Whatever was not fleetotp's is the same file as before, not a copy of it.
        let allowed = [
            "/etc",
            "/etc/pam.d",
            "/etc/pam.d/sshd",
            "/etc/pam.d/sudo",
            "/etc/pam.d/sudo-i",
            "/etc/ssh/sshd_config.d",
            "/etc/cron.d",
            "/etc/group",
            "/etc/group-",
            "/etc/gshadow",
            "/etc/gshadow-",
        ];
        let changed = host.inode_snapshot().changed_since(shot);
        let strange: Vec<_> = changed
            .iter()
            .filter(|p| {
                !allowed.contains(&p.as_str())
                    && !p.contains("fleetotp")
                    && !p.starts_with("/var/lib/google-authenticator")
            })
            .collect();
        assert!(strange.is_empty(), "{strange:?}");
    }
    for name in &site.hosts {
        for (login, key) in [
            ("alice", &site.alice),
            ("bob", &site.bob),
            ("carol", &carol),
        ] {
            site.lab.assert_key_only(name, login, Key::With(key));
        }
        site.lab.assert_key_only(name, "root", Key::Root);
        assert_eq!(project.state_on("alice", "default", name), "absent");
        assert!(
            site.host(name)
                .read_file("/var/log/auth.log")
                .contains("witness of project")
        );
    }

    // Once more does nothing.
    let shots: Vec<_> = site.each().map(|h| h.inode_snapshot()).collect();
    let again = project.fleetotp(REMOVE).expect_code(0);
    assert_eq!(again.stdout, "");
    for (host, shot) in site.each().zip(&shots) {
        assert_eq!(
            host.inode_snapshot().changed_since(shot),
            Vec::<String>::new()
        );
    }
    // A rollout brings it all back, with the codes that people have.
    project.rollout(&[]).expect_code(0);
    for name in &site.hosts {
        // What is used on one host is not on another.
        let mut totp = alice.clone();
        site.lab
            .assert_member(name, "alice", &site.alice, &mut totp);
    }
}

#[test]
fn lab_remove_that_is_killed_before_it_is_confirmed_leaves_the_host_enforcing() {
    let site = Site::start(&[("web1", Suite::Bookworm)]);
    let host = site.host("web1");
    let project = site.project(8);
    policies(&project, &site);
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let mut alice = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &alice.fresh(), &[]).expect_code(0);
    let before = login_texts(host);
    let mut child = site
        .command(&project, REMOVE)
        .env("FLEETOTP_TEST_PAUSE", "opened:60")
        .spawn()
        .unwrap();
    wait_until_open(&[host]);
    assert_ne!(login_texts(host), before);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the host has put fleetotp's text back", 30, || {
        open_changes(host).is_empty() && login_texts(host) == before
    });
    site.lab
        .assert_member("web1", "alice", &site.alice, &mut alice);

    // Killed after the confirmation: no code is demanded any more, and the next run takes the rest.
    let mut child = site
        .command(&project, REMOVE)
        .env("FLEETOTP_TEST_PAUSE", "restored:60")
        .spawn()
        .unwrap();
    eventually("the original text is there", 40, || {
        !host.exists("/etc/ssh/sshd_config.d/00-fleetotp.conf") && open_changes(host).is_empty()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    site.lab
        .assert_key_only("web1", "alice", Key::With(&site.alice));
    assert!(host.exists("/var/lib/google-authenticator/current/alice"));
    let child = site.command(&project, REMOVE).spawn().unwrap();
    assert!(ended_within(child, 120).status.success());
    assert_eq!(host.sh(TRACES), "");
}

/// Somebody whose secret is gone cannot log in; without fleetotp a key would be enough.
#[test]
fn lab_remove_lets_nobody_in_who_was_kept_out() {
    let site = Site::start(&[("web1", Suite::Trixie)]);
    let host = site.host("web1");
    let project = site.project(60);
    policies(&project, &site);
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let mut alice = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &alice.fresh(), &[]).expect_code(0);
    // A revocation leaves a member without a secret.
    project
        .fleetotp(&["revoke", "alice", "--reason", "left", "--ticket", "HR-1"])
        .expect_code(0);
    let refused = || {
        let code = Code::Some("000000");
        site.lab.assert_refused(
            "web1",
            "alice",
            Key::With(&site.alice),
            code,
            Prefs::Default,
        );
    };
    refused();
    let before = login_texts(host);
    project.fleetotp(REMOVE).expect_code(2).expect_text(&[
        "(revoked-would-return)",
        "alice cannot log in now",
        "usermod -e 1 LOGIN",
    ]);
    assert_eq!(login_texts(host), before);
    refused();
    host.sh("usermod -e 1 alice");
    project.fleetotp(REMOVE).expect_code(0);
    assert_eq!(host.sh(TRACES), "");
    let key = Key::With(&site.alice);
    let expired = site
        .lab
        .login("web1", "alice", key, Code::No, Prefs::Default);
    assert!(
        !expired.accepted && expired.stderr.contains("account has expired"),
        "{}",
        expired.stderr
    );
    site.lab
        .assert_key_only("web1", "bob", Key::With(&site.bob));
    // The reason is not optional.
    project.fleetotp(&["remove", "all"]).expect_code(64);
}
