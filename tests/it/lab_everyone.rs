//! `scope: everyone`: a code of all but the exempt, and nobody who can log in loses that by the change.

use serde_json::json;

use crate::lab::{Code, Key, PASSWORD, Prefs, Suite, WINDOW};
use crate::support::faults::{Site, assert_nothing_open, login_texts};
use crate::support::project::{ROLLOUT, all};
use crate::support::table::{Person, assert_table};

/// Before the rollout, and after it was rolled back.
const OPEN: &str = "
login  code  code-only  key+code  key+replayed  key+wrong  key  password  nothing
alice  no:p  no         in        in            in         in   no:p      no
bob    no:p  no         in        -             -          in   no:p      no
carol  no:p  no         in        -             -          in   in:p      no
eve    no:p  no         in        -             -          in   in:p      no
svc    no:p  no         in        -             -          in   in:p      no
root   no:p  no         in        -             -          in   no:p      no
";

/// alice has confirmed, bob has not, svc is exempt; carol and eve, whose group has no name, are nobody's admins.
const ENFORCED: &str = "
login  code  code-only  key+code  key+replayed  key+wrong  key  password  nothing
alice  no    no         in:c      no:c          no:c       no   no        no
bob    no:c  no:c       in        -             in         in   no:c      no
carol  no    no         no:c      -             -          no   no        no
eve    no    no         no:c      -             -          no   no        no
svc    no:p  no         in        -             in         in   in:p      no
root   no:p  no         in        -             in         in   no:p      no
";

#[test]
fn lab_everyone_but_the_exempt_is_asked_and_nobody_loses_a_way_in() {
    let site = Site::start(&[
        ("old", Suite::Bullseye),
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
    ]);
    let (svc, carol) = (site.lab.key_pair("svc"), site.lab.key_pair("carol"));
    for host in site.each() {
        host.add_user_with_password("svc", &svc, PASSWORD);
        host.add_user_with_password("carol", &carol, PASSWORD);
        host.add_user_with_password("eve", &carol, PASSWORD);
        host.sh("sed -i 's/^\\(eve:[^:]*:[^:]*\\):[^:]*/\\1:4242/' /etc/passwd");
    }
    let mut people = [
        Person::new("alice", Key::With(&site.alice)),
        Person::new("bob", Key::With(&site.bob)),
        Person::new("carol", Key::With(&carol)),
        Person::new("eve", Key::With(&carol)),
        Person::new("svc", Key::With(&svc)),
        Person::new("root", Key::Root),
    ];
    assert_table(&site, "before the rollout", &mut people, OPEN);
    let before: Vec<_> = site.each().map(login_texts).collect();
    let project = site.project(60);
    let hosts: Vec<_> = site.hosts.iter().map(|h| (h.as_str(), json!({}))).collect();
    let inventory = |scope: &str, expires: &str| {
        json!({
            "all": all(&site.lab, &hosts),
            "admins": {"alice": {}, "bob": {}},
            "exemptions": {"svc": {"hosts": "all", "owner": "ops", "reason": "backups", "expires": expires}},
            "policies": {"default": {"issuer": "Example Corp", "rate_limit": "60/30s", "window": WINDOW, "scope": scope}},
        })
    };
    project.set_inventory(&inventory("everyone", "2099-01-01"));

    // They can log in and have no code: they are named, and nothing is changed.
    project
        .fleetotp(&["play", ROLLOUT, "--check"])
        .expect_code(2)
        .expect_text(&["would-lose-access", "have none: carol, eve"]);
    for (host, before) in site.each().zip(&before) {
        assert_eq!(&login_texts(host), before);
    }
    let ended = |until: &str| {
        for host in site.each() {
            host.sh(&format!(
                "usermod -e '{until}' carol; usermod -e '{until}' eve"
            ));
        }
    };
    ended("1");
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    project.rollout(&[]).expect_code(0).expect_unchanged();
    let mut alice = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &alice.fresh(), &[]).expect_code(0);
    people[0].totp = Some(alice);
    people[1].totp = Some(ran.sheet("bob", "default").scan().wide_totp());
    // Accounts that come to be, or come back, later are refused by default, whatever they have.
    ended("");
    assert_table(&site, "after the rollout", &mut people, ENFORCED);

    // What a rollback leaves is what was there, for them as well.
    let runs = project.fleetotp(&["runs", "list", "-o", "json"]).json();
    let runs = runs["runs"].as_array().expect("a list");
    let is_rollout = |run: &&serde_json::Value| {
        run["hosts"] == json!({"changed": 3})
            && run["command"]
                .as_str()
                .is_some_and(|c| c.starts_with("play"))
    };
    let run = runs.iter().find(is_rollout).expect("the rollout");
    let run = run["id"].as_str().expect("an id");
    project
        .fleetotp(&["rollback", run, "--allow-weaker", "--reason", "too early"])
        .expect_code(0)
        .expect_text(&["everyone-no-more"]);
    assert_table(&site, "after the rollback", &mut people, OPEN);
    for (host, before) in site.each().zip(&before) {
        assert_eq!(&login_texts(host), before);
        assert_nothing_open(host);
    }
    ended("1");
    project.rollout(&[]).expect_code(0);
    ended("");
    for (host, name) in site.each().zip(&site.hosts) {
        for login in ["carol", "eve"] {
            let key = Key::With(&carol);
            site.lab
                .assert_refused(name, login, key, Code::No, Prefs::Default);
        }
        assert_nothing_open(host);
    }

    project
        .fleetotp(&["verify", "--strict", "-v"])
        .expect_code(0)
        .expect_text(&["ok    other   key alone            expected refused: refused"]);

    // An exemption that is over ends, and that is said.
    project.set_inventory(&inventory("everyone", "2026-01-01"));
    project
        .rollout(&[])
        .expect_code(0)
        .expect_text(&["exemption-ends", "svc"]);
    site.lab
        .assert_refused("old", "svc", Key::With(&svc), Code::No, Prefs::Default);
    project.set_inventory(&inventory("members", "2099-01-01"));
    project
        .rollout(&[])
        .expect_code(0)
        .expect_text(&["everyone-no-more"]);
    for name in &site.hosts {
        site.lab.assert_key_only(name, "svc", Key::With(&svc));
        site.lab.assert_key_only(name, "eve", Key::With(&carol));
        site.lab.assert_refused(
            name,
            "alice",
            Key::With(&site.alice),
            Code::No,
            Prefs::Default,
        );
    }
    project
        .fleetotp(&["remove", "all", "--reason", "it was a trial"])
        .expect_code(0);
    for (host, before) in site.each().zip(&before) {
        assert_eq!(&login_texts(host), before);
    }
}
