//! Rotations on real hosts, told by logins: old and new code before, during and after the overlap, on hosts that are
//! reachable and on hosts that were away; and the same where a rotation is taken back half way.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::lab::{Code, InodeSnapshot, Key, Lab, Prefs, Suite, Totp, WINDOW};
use crate::support::faults::{Site, login_texts};
use crate::support::project::{Otpauth, Project, all};

/// Many logins in little time are what a test does; limits are tested where they are meant.
fn project(site: &Site) -> Project<'_> {
    let hosts: Vec<(&str, Value)> = site.hosts.iter().map(|h| (h.as_str(), json!({}))).collect();
    let project = Project::new(
        &site.lab,
        &json!({
            "all": all(&site.lab, &hosts),
            "admins": {"alice": {"name": "Alice"}, "bob": {"name": "Bob"}},
            "policies": {"default": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW, "rotate_every": "90d"}},
        }),
    );
    project.change_settings("#connect_timeout: 10s", "connect_timeout: 8s");
    project
}

/// Enrols both admins everywhere, and returns what is on their sheets.
fn enrolled(project: &Project<'_>) -> BTreeMap<String, Otpauth> {
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let sheets: BTreeMap<String, Otpauth> = ["alice", "bob"]
        .map(|admin| (admin.to_owned(), ran.sheet(admin, "default").scan()))
        .into();
    for (admin, sheet) in &sheets {
        project
            .confirm(admin, &sheet.wide_totp().fresh(), &[])
            .expect_code(0);
    }
    sheets
}

/// An authenticator a host: what was used on one is fresh on another.
struct Phone(BTreeMap<String, Totp>);

impl Phone {
    fn of(site: &Site, sheet: &Otpauth) -> Self {
        Self(
            site.hosts
                .iter()
                .map(|host| (host.clone(), sheet.wide_totp()))
                .collect(),
        )
    }

    fn code(&mut self, host: &str) -> String {
        self.0.get_mut(host).expect("a host").fresh()
    }

    /// Logs alice in with a fresh code, and returns that.
    #[track_caller]
    fn gets_in(&mut self, site: &Site, host: &str) -> String {
        let code = self.code(host);
        let key = Key::With(&site.alice);
        site.lab
            .assert_in(host, "alice", key, Code::Some(&code), Prefs::Default);
        code
    }

    #[track_caller]
    fn is_refused(&mut self, site: &Site, host: &str) {
        let code = self.code(host);
        let key = Key::With(&site.alice);
        site.lab
            .assert_refused(host, "alice", key, Code::Some(&code), Prefs::Default);
    }
}

/// What less than key and right code does, whatever generations are valid.
#[track_caller]
fn assert_no_way_around(site: &Site, host: &str, totp: &mut Totp) {
    let lab = &site.lab;
    let (key, wrong) = (Key::With(&site.alice), totp.wrong());
    lab.assert_refused(host, "alice", key, Code::Some(&wrong), Prefs::Default);
    lab.assert_refused(host, "alice", key, Code::No, Prefs::Default);
    let code = totp.fresh();
    lab.assert_refused(host, "alice", Key::No, Code::Some(&code), Prefs::Default);
}

fn snapshots(site: &Site) -> Vec<InodeSnapshot> {
    site.each().map(|host| host.inode_snapshot()).collect()
}

/// Nothing but alice's own files and fleetotp's records was touched: no PAM, no sshd, no group, nobody else's state.
#[track_caller]
fn assert_only_alices_changed(site: &Site, before: &[InodeSnapshot]) {
    for (now, before) in snapshots(site).iter().zip(before) {
        let strange: Vec<String> = now
            .changed_since(before)
            .into_iter()
            .filter(|path| {
                let ours = [
                    "/var/lib/google-authenticator/current",
                    "/var/lib/google-authenticator/next",
                    "/var/lib/google-authenticator/current/alice",
                    "/var/lib/google-authenticator/next/alice",
                    "/etc/cron.d",
                    "/etc/cron.d/fleetotp",
                ];
                !ours.contains(&path.as_str()) && !path.starts_with("/var/lib/fleetotp")
            })
            .collect();
        assert_eq!(strange, Vec::<String>::new());
    }
}

fn state(project: &Project<'_>) -> String {
    let row = project.status("alice", "default");
    row["state"].as_str().unwrap().to_owned()
}

fn has_next(lab: &Lab, host: &str) -> bool {
    lab.host(host)
        .exists("/var/lib/google-authenticator/next/alice")
}

const THREE: [(&str, Suite); 3] = [
    ("web1", Suite::Bookworm),
    ("web2", Suite::Trixie),
    ("db1", Suite::Bullseye),
];

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told in order: each step stands on the one before"
)]
fn old_and_new_codes_before_during_and_after_an_overlap() {
    let site = Site::start(&THREE);
    let project = project(&site);
    let sheets = enrolled(&project);
    let mut old = Phone::of(&site, &sheets["alice"]);
    let texts: Vec<String> = site.each().map(login_texts).collect();

    // Before. Bob has used codes and attempts of his own, which must not be touched by any of this.
    for host in &site.hosts {
        old.gets_in(&site, host);
        let mut bob = sheets["bob"].wide_totp();
        let key = Key::With(&site.bob);
        site.lab
            .assert_in(host, "bob", key, Code::Some(&bob.fresh()), Prefs::Default);
    }
    let before = snapshots(&site);

    // Asking what would be done touches nothing.
    project
        .fleetotp(&["rotate", "alice", "--check"])
        .expect_code(0)
        .expect_text(&["alice", "active", "done"]);
    assert_eq!(state(&project), "active");
    project
        .fleetotp(&["rotate", "alcie"])
        .expect_code(1)
        .expect_text(&["alcie"]);
    project.fleetotp(&["rotate"]).expect_code(64);
    project
        .fleetotp(&["rotate", "--due"])
        .expect_code(0)
        .expect_text(&["nothing is due"]);
    project
        .fleetotp(&["rotate", "--older-than", "1d"])
        .expect_code(1)
        .expect_text(&["no token matches"]);

    // The rotation, while one host is away.
    site.host("db1").cut();
    let ran = project
        .fleetotp(&[
            "rotate",
            "alice",
            "-o",
            "json",
            "--reason",
            "new telephone",
            "--ticket",
            "OPS-7",
        ])
        .expect_code(4);
    site.host("db1").mend();
    let sheet = ran.sheet("alice", "default");
    let mut new = Phone::of(&site, &sheet.scan());
    assert_eq!(state(&project), "rotating");
    for host in ["web1", "web2"] {
        old.gets_in(&site, host);
        assert_no_way_around(&site, host, &mut old.0.get_mut(host).unwrap().clone());
    }
    // Where it did not arrive only the old one is valid.
    old.gets_in(&site, "db1");
    new.is_refused(&site, "db1");
    // Only old codes were used: nothing is confirmed by that, and the host that was away is caught up.
    project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(state(&project), "rotating");
    assert!(has_next(&site.lab, "db1"));
    old.gets_in(&site, "db1");
    project
        .fleetotp(&["rotate", "alice"])
        .expect_code(1)
        .expect_text(&["being rotated already"]);
    let quiet = project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!((quiet.stdout, quiet.stderr), (String::new(), String::new()));
    let row = project.status("alice", "default");
    assert_eq!(
        (
            &row["rotation"]["old"],
            &row["rotation"]["new"],
            &row["rotation"]["hosts_with_new"],
            &row["rotation"]["confirmed"]
        ),
        (&json!(1), &json!(2), &json!(3), &json!(false)),
        "{row:#}"
    );
    project.fleetotp(&["status"]).expect_code(0).expect_text(&[
        "rotating",
        "1 -> 2",
        "(OPS-7: new telephone)",
    ]);

    // The new code is used on one host, and another one is away when that becomes known.
    new.gets_in(&site, "web2");
    let used = new.gets_in(&site, "web1");
    old.gets_in(&site, "web1");
    site.host("db1").cut();
    project
        .fleetotp(&["sync"])
        .expect_code(4)
        .expect_text(&["alice confirmed the sheet of realm default by a login on"]);
    site.host("db1").mend();
    assert!(!sheet.path.exists());
    let key = Key::With(&site.alice);
    site.lab
        .assert_refused("web1", "alice", key, Code::Some(&used), Prefs::Default);
    for host in ["web1", "web2"] {
        assert!(!has_next(&site.lab, host), "{host}");
        old.is_refused(&site, host);
        new.gets_in(&site, host);
        assert_no_way_around(&site, host, &mut new.0.get_mut(host).unwrap().clone());
    }
    assert_eq!(state(&project), "rotating", "db1 still takes the old one");
    old.gets_in(&site, "db1");
    new.gets_in(&site, "db1");

    // After.
    project
        .fleetotp(&["sync"])
        .expect_code(0)
        .expect_text(&["the rotation of alice in realm default is complete"]);
    assert_eq!(state(&project), "active");
    for host in &site.hosts {
        old.is_refused(&site, host);
        new.gets_in(&site, host);
    }
    let quiet = project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!((quiet.stdout, quiet.stderr), (String::new(), String::new()));
    project.rollout(&[]).expect_code(0).expect_unchanged();
    assert_only_alices_changed(&site, &before);
    let now: Vec<String> = site.each().map(login_texts).collect();
    assert_eq!(texts, now, "PAM or sshd was edited");
}

#[test]
fn a_confirmation_by_code_ends_the_old_one_on_every_host_at_once() {
    let site = Site::start(&THREE[..2]);
    let project = project(&site);
    let sheets = enrolled(&project);
    let mut old = Phone::of(&site, &sheets["alice"]);
    let ran = project
        .fleetotp(&["rotate", "--realm", "default", "-a", "alice", "-o", "json"])
        .expect_code(0);
    let sheet = ran.sheet("alice", "default").scan();
    let mut new = Phone::of(&site, &sheet);
    let mut app = sheet.wide_totp();

    // A new sheet replaces only the new generation.
    let again = project
        .fleetotp(&["enroll", "alice", "--reissue", "-o", "json"])
        .expect_code(0);
    let again = again.sheet("alice", "default").scan();
    assert_ne!(again.secret, sheet.secret);
    assert_eq!(state(&project), "rotating");
    project.confirm("alice", &app.fresh(), &[]).expect_code(1);
    for host in &site.hosts {
        new.is_refused(&site, host);
        old.gets_in(&site, host);
    }
    let mut new = Phone::of(&site, &again);
    let typed = again.wide_totp().fresh();
    project
        .confirm("alice", &typed, &[])
        .expect_code(0)
        .expect_text(&["the rotation of alice in realm default is complete"]);
    assert_eq!(state(&project), "active");
    for host in &site.hosts {
        // The code that was typed was for that once.
        let key = Key::With(&site.alice);
        site.lab
            .assert_refused(host, "alice", key, Code::Some(&typed), Prefs::Default);
        old.is_refused(&site, host);
        new.gets_in(&site, host);
    }

    // A lost device ends both generations of a rotation at once, and the code is still demanded. It is a playbook that
    // rotates here: nobody by age, then whom the play names, and nobody twice.
    let due = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/rotate.yml");
    let ran = project.fleetotp(&["play", due, "-o", "json"]);
    assert!(ran.expect_code(0).sheets().is_empty());
    std::fs::write(
        project.path().join("named.yml"),
        "- {hosts: all, tasks: [{report: }]}\n- hosts: all\n  admins: alice\n  tasks:\n    - rotate:\n",
    )
    .unwrap();
    let check = ["play", "named.yml", "--check", "--detailed-exitcode"];
    project
        .fleetotp(&check)
        .expect_code(8)
        .expect_text(&["alice in realm default: would be rotated"]);
    assert_eq!(state(&project), "active");
    let ran = project
        .fleetotp(&["play", "named.yml", "-o", "json"])
        .expect_code(0);
    // The journal has them in the play that rotated.
    let shown = project.fleetotp(&["runs", "show", "last", "-o", "json"]);
    let shown = shown.expect_code(0).json();
    for host in shown["on"].as_array().unwrap() {
        let result = if host["play"] == 1 {
            "skipped"
        } else {
            "changed"
        };
        assert_eq!(
            (&host["phase"], &host["result"]),
            (&"done".into(), &result.into()),
            "{shown:#}"
        );
    }
    let again = project
        .fleetotp(&["play", "named.yml", "-o", "json"])
        .expect_code(0)
        .expect_text(&["it is being rotated already"]);
    assert!(again.sheets().is_empty());
    let mut newest = Phone::of(&site, &ran.sheet("alice", "default").scan());
    for host in &site.hosts {
        newest.gets_in(&site, host);
    }
    let ran = project
        .fleetotp(&["enroll", "alice", "--lost-device", "-o", "json"])
        .expect_code(0);
    let mut only = Phone::of(&site, &ran.sheet("alice", "default").scan());
    for host in &site.hosts {
        assert!(!has_next(&site.lab, host));
        new.is_refused(&site, host);
        newest.is_refused(&site, host);
        only.gets_in(&site, host);
    }
    project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(state(&project), "active");
}

#[test]
fn a_rotation_is_taken_back_everywhere_when_a_host_fails() {
    let site = Site::start(&THREE);
    let project = project(&site);
    let sheets = enrolled(&project);
    let mut old = Phone::of(&site, &sheets["alice"]);
    let before = snapshots(&site);

    // One takes it, one is away, one fails.
    site.host("db1").cut();
    site.host("web2").fill();
    let ran = project
        .fleetotp(&["rotate", "alice", "-o", "json"])
        .expect_code(6)
        .expect_text(&[
            "the rotation of alice in realm default was taken back",
            "web2 failed",
        ]);
    site.host("web2").drain();
    site.host("db1").mend();
    assert!(ran.sheets().is_empty(), "{:?}", ran.sheets());
    assert!(project.sheet_files().is_empty());
    assert_eq!(state(&project), "active");
    for host in &site.hosts {
        assert!(!has_next(&site.lab, host), "{host}");
        old.gets_in(&site, host);
    }
    project.fleetotp(&["sync"]).expect_code(0);
    assert_only_alices_changed(&site, &before);

    // Taken back on purpose, while a host that has it is away.
    let ran = project
        .fleetotp(&["rotate", "alice", "-o", "json"])
        .expect_code(0);
    let mut new = Phone::of(&site, &ran.sheet("alice", "default").scan());
    site.host("db1").cut();
    project
        .fleetotp(&["rotate", "alice", "--abort"])
        .expect_code(4)
        .expect_text(&["was taken back"]);
    site.host("db1").mend();
    assert_eq!(state(&project), "active");
    for host in ["web1", "web2"] {
        new.is_refused(&site, host);
        old.gets_in(&site, host);
    }
    // There nobody has told the host yet. Its login confirms nothing.
    old.gets_in(&site, "db1");
    new.gets_in(&site, "db1");
    project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(state(&project), "active");
    new.is_refused(&site, "db1");
    old.gets_in(&site, "db1");

    // What was used is not taken back, and what an admin has now goes on.
    let ran = project
        .fleetotp(&["rotate", "alice", "-o", "json"])
        .expect_code(0);
    let mut new = Phone::of(&site, &ran.sheet("alice", "default").scan());
    new.gets_in(&site, "web1");
    project
        .fleetotp(&["rotate", "alice", "--abort"])
        .expect_code(1)
        .expect_text(&["is not taken back: its new code was used"]);
    assert_eq!(state(&project), "active");
    for host in &site.hosts {
        old.is_refused(&site, host);
        new.gets_in(&site, host);
    }
}
