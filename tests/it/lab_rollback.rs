//! The journal of runs, and the text of one put back on its hosts, byte for byte.

use serde_json::json;

use crate::lab::{Code, Key, PASSWORD, Prefs, Suite, Totp};
use crate::support::faults::{Site, assert_nothing_open, login_texts};
use crate::support::project::all;
use crate::support::table::{Person, assert_table};

/// The widest that a policy takes: with [`crate::lab::WINDOW`] the codes run out.
const WIDE: i64 = 8;

/// Before the rollout, and after it was rolled back.
const OPEN: &str = "
login  code  code-only  key+code  key+replayed  key+wrong  key  password  nothing
alice  no:p  no         in        in            in         in   in:p      no
bob    no:p  no         in        -             -          in   in:p      no
carol  no:p  no         in        -             -          in   in:p      no
svc    no:p  no         in        -             -          in   in:p      no
root   no:p  no         in        -             -          in   no:p      no

sudo   password  nothing
alice  in:p      no:p
bob    in:p      no:p
carol  in:p      no:p
root   in        in
";

/// alice has confirmed, bob has not, carol is nobody's admin, and svc is exempt. Codes are right where nothing else is said.
const ENFORCED: &str = "
login  code  code-only  key+code  key+replayed  key+wrong  key  password  nothing
alice  no    no         in:c      no:c          no:c       no   no        no
bob    no:c  no:c       in        -             in         in   no:c      no
carol  no:p  no         in        -             in         in   in:p      no
svc    no:p  no         in        -             in         in   in:p      no
root   no:p  no         in        -             in         in   no:p      no

sudo   password  nothing  code   code+password  replayed+password  wrong+password
alice  no:c      no:c     no:cp  in:cp          no:c               no:c
bob    in:p      no:p     -      -              -                  -
carol  in:p      no:p     -      -              -                  -
root   in        in       -      -              -                  -
";

#[test]
fn lab_rollback_restores_the_text_of_a_run_and_nothing_else() {
    let site = Site::start(&[
        ("old", Suite::Bullseye),
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
    ]);
    let (carol, svc) = (site.lab.key_pair("carol"), site.lab.key_pair("svc"));
    for host in site.each() {
        host.add_user("carol", &carol);
        host.add_user_with_password("svc", &svc, PASSWORD);
        host.allow_sudo(&["alice", "bob", "carol"]);
    }
    let mut people = [
        Person::new("alice", Key::With(&site.alice)),
        Person::new("bob", Key::With(&site.bob)),
        Person::new("carol", Key::With(&carol)),
        Person::new("svc", Key::With(&svc)),
        Person::new("root", Key::Root),
    ];
    let before: Vec<_> = site.each().map(login_texts).collect();
    assert_table(&site, "before the rollout", &mut people, OPEN);
    let project = site.project(60);
    let hosts: Vec<_> = site.hosts.iter().map(|h| (h.as_str(), json!({}))).collect();
    project.set_inventory(&json!({
        "all": all(&site.lab, &hosts),
        "admins": {"alice": {"email": "alice@example.com"}, "bob": {"email": "bob@example.com"}},
        "exemptions": {"svc": {"hosts": "all", "owner": "ops", "reason": "backups", "expires": "2099-01-01"}},
        "policies": {"default": {"issuer": "Example Corp", "rate_limit": "60/30s", "window": WIDE, "services": ["sshd", "sudo"]}},
    }));
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let newest = project.newest_run();
    let run = newest["id"].as_str().expect("an id").to_owned();
    assert_eq!(newest["hosts"], json!({"changed": 3}));
    assert_eq!(newest["exit_code"], 0);
    let totp_of = |admin| Totp::with_window(&ran.sheet(admin, "default").scan().secret, WIDE);
    let mut alice = totp_of("alice");
    project.confirm("alice", &alice.fresh(), &[]).expect_code(0);
    people[0].totp = Some(alice.clone());
    people[1].totp = Some(totp_of("bob"));
    assert_table(&site, "after the rollout", &mut people, ENFORCED);
    alice.heed(people[0].totp.as_ref().expect("it was given"));
    // What sudo has asked for is used up for logins as well.
    let code = alice.fresh();
    for (host, name) in site.each().zip(&site.hosts) {
        assert!(!host.sudo("alice", "", &[&code]));
        let key = Key::With(&site.alice);
        site.lab
            .assert_refused(name, "alice", key, Code::Some(&code), Prefs::Default);
    }
    let report = project.fleetotp(&["report", "coverage", "-o", "json"]);
    let report = report.expect_code(0).json();
    let rows = crate::report_cmd::rows(&report, "accounts");
    let asked = rows.iter().map(|r| (&r["admin"], &r["services"]));
    assert_eq!(
        asked
            .filter(|(a, s)| **a == "alice" && **s == "sshd, sudo")
            .count(),
        3,
        "{rows:#?}"
    );
    // A lost block is a gap, and repaired.
    let web1 = site.host("web1");
    let block = web1.read_file("/etc/pam.d/sudo-i");
    web1.sh("sed -i '/BEGIN fleetotp/,/END fleetotp/d' /etc/pam.d/sudo-i");
    assert!(web1.sudo("alice", "-i", &[PASSWORD]));
    project
        .fleetotp(&["sync", "--check"])
        .expect_code(0)
        .expect_text(&["write /etc/pam.d/sudo-i"]);
    project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(web1.read_file("/etc/pam.d/sudo-i"), block);

    // The journal has the hashes of what was there and of what is there now, as the hosts themselves count them.
    let shown = project
        .fleetotp(&["runs", "show", &run, "-o", "json"])
        .json();
    for (index, host) in site.each().enumerate() {
        let on = &shown["on"][index];
        assert_eq!(
            (on["phase"].as_str(), on["result"].as_str()),
            (Some("done"), Some("changed"))
        );
        let texts = on["texts"].as_array().expect("a list");
        // Debian 11 has no service of its own for `sudo -i`.
        assert_eq!(texts.len(), if index == 0 { 3 } else { 4 }, "{texts:?}");
        for text in texts {
            let path = text["path"].as_str().expect("a path");
            let sum = host.sh(&format!("sha256sum {path}"));
            assert!(
                sum.starts_with(text["after_sha256"].as_str().expect("a hash")),
                "{sum}"
            );
        }
    }
    project
        .fleetotp(&["runs", "show", "last"])
        .expect_code(0)
        .expect_text(&["sync", "web1: changed"]);

    // Nobody's second factor ends unasked, and a text that somebody has changed since is left alone.
    let reason = ["--reason", "sshd misbehaves", "--ticket", "OPS-8"];
    project
        .fleetotp(&[&["rollback", run.as_str()], reason.as_slice()].concat())
        .expect_code(2)
        .expect_text(&["rollback-is-weaker", "alice"]);
    let rolled_out: Vec<_> = site.each().map(login_texts).collect();
    let web1 = site.host("web1");
    web1.sh("cp -p /etc/pam.d/sshd /root/kept; echo '# mine' >>/etc/pam.d/sshd");
    let weaker = [
        &["rollback", run.as_str(), "--allow-weaker"],
        reason.as_slice(),
    ]
    .concat();
    let shots: Vec<_> = site.each().map(|h| h.inode_snapshot()).collect();
    project
        .fleetotp(&[weaker.as_slice(), &["--check", "--diff"]].concat())
        .expect_code(2)
        .expect_text(&[
            "changed-since-run",
            "-# BEGIN fleetotp",
            "no code is demanded any more of alice",
        ]);
    for (host, shot) in site.each().zip(&shots) {
        assert_eq!(
            host.inode_snapshot().changed_since(shot),
            Vec::<String>::new()
        );
    }
    project
        .fleetotp(&weaker)
        .expect_code(2)
        .expect_text(&["/etc/pam.d/sshd is not what that run has written"]);
    assert_eq!(login_texts(site.host("old")), before[0]);
    assert_eq!(login_texts(site.host("web2")), before[2]);
    project
        .fleetotp(&["runs", "show", "last"])
        .expect_code(0)
        .expect_text(&["rollback", "old: changed", "web1: failed", "web2: changed"]);
    let mut used = alice.clone();
    let code = used.fresh();
    let key = Key::With(&site.alice);
    site.lab
        .assert_in("web1", "alice", key, Code::Some(&code), Prefs::Default);
    assert!(
        !web1.sudo("alice", "", &[&code, PASSWORD]),
        "the login used it"
    );
    site.lab
        .assert_refused("web1", "alice", key, Code::No, Prefs::Default);
    web1.sh("cp -p /root/kept /etc/pam.d/sshd");
    assert_eq!(login_texts(web1), rolled_out[1]);
    project.fleetotp(&weaker).expect_code(0);
    assert_table(&site, "after the rollback", &mut people, OPEN);
    for ((host, texts), name) in site.each().zip(&before).zip(&site.hosts) {
        assert_eq!(&login_texts(host), texts);
        assert_nothing_open(host);
        // Secrets and groups are what they were: a rollback is of text.
        assert!(host.exists("/var/lib/google-authenticator/current/alice"));
        assert!(host.sh("getent group fleetotp").contains("alice"));
        assert_eq!(project.state_on("alice", "default", name), "gap");
    }

    // Once more does nothing; a sync leaves it; what is asked to bring it brings it again.
    assert_eq!(project.fleetotp(&weaker).expect_code(0).stdout, "");
    project
        .fleetotp(&["sync", "-v"])
        .expect_code(0)
        .expect_text(&["rolled-back"]);
    assert_eq!(login_texts(web1), before[1]);
    assert_eq!(project.state_on("alice", "default", "web1"), "gap");
    project.rollout(&[]).expect_code(0);
    for ((host, texts), name) in site.each().zip(&rolled_out).zip(&site.hosts) {
        assert_eq!(&login_texts(host), texts);
        assert_eq!(project.state_on("alice", "default", name), "enforced");
        // What was used on one host is not on another.
        let mut there = used.clone();
        site.lab
            .assert_member(name, "alice", &site.alice, &mut there);
    }

    // Somebody revoked meanwhile does not come back with the text.
    project
        .fleetotp(&["revoke", "alice", "--reason", "left"])
        .expect_code(0);
    let newest = project.fleetotp(&["runs", "list", "-o", "json"]).json();
    let runs = newest["runs"].as_array().expect("a list");
    let second = runs
        .iter()
        .find(|r| r["command"].as_str().is_some_and(|c| c.starts_with("play")))
        .and_then(|r| r["id"].as_str())
        .expect("the second rollout");
    let again = [&["rollback", second, "--allow-weaker"], reason.as_slice()].concat();
    project
        .fleetotp(&again)
        .expect_code(2)
        .expect_text(&["revoked-would-return"]);
    site.lab.assert_refused(
        "web1",
        "alice",
        Key::With(&site.alice),
        Code::No,
        Prefs::Default,
    );
    // A leaver's sudo fails closed, whatever code is typed.
    let code = alice.fresh();
    for host in site.each() {
        for option in ["", "-i"] {
            assert!(!host.sudo("alice", option, &[&code, PASSWORD]));
            assert!(!host.sudo("alice", option, &[PASSWORD]));
        }
        host.assert_sudo_as_before(&["bob", "carol"]);
    }
    project.fleetotp(&["audit", "verify"]).expect_code(0);
}

#[test]
fn lab_a_rollback_after_which_codes_are_still_demanded_is_proved_by_logins() {
    let site = Site::start(&[("web", Suite::Bookworm)]);
    let host = site.host("web");
    let project = site.project(60);
    let services = |services: &[&str]| {
        project.set_inventory(&json!({
            "all": all(&site.lab, &[("web", json!({}))]),
            "admins": {"alice": {"email": "alice@example.com"}},
            "policies": {"default": {"issuer": "Example Corp", "services": services}},
        }));
        project.rollout(&[]).expect_code(0);
        login_texts(host)
    };
    let first = services(&["sshd"]);
    let second = services(&["sshd", "sudo"]);
    assert_ne!(first, second);
    let newest = project.newest_run();
    let run = newest["id"].as_str().expect("an id");
    let back = [
        "rollback",
        run,
        "--allow-weaker",
        "--reason",
        "sudo misbehaves",
    ];

    // Only logins show that members no longer get in; the tool's own fresh connection does not.
    let poison = "account required pam_succeed_if.so quiet user notingroup fleetotp";
    host.sh(&format!("echo '{poison}' >>/etc/pam.d/common-account"));
    project
        .fleetotp(&back)
        .expect_code(2)
        .expect_text(&["a member with key and right code was refused"]);
    assert_nothing_open(host);
    host.sh("sed -i '/notingroup fleetotp/d' /etc/pam.d/common-account");
    assert_eq!(login_texts(host), second);
    project.fleetotp(&back).expect_code(0);
    assert_eq!(login_texts(host), first);
    assert_nothing_open(host);
    assert_eq!(services(&["sshd"]), first);
    project.fleetotp(&["verify", "--strict"]).expect_code(0);
}
