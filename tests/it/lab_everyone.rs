//! `scope: everyone`: a code of all but the exempt, and nobody who can log in loses that by the change.

use serde_json::json;

use crate::lab::{Code, Key, Prefs, Suite, WINDOW};
use crate::support::faults::{Site, assert_nothing_open, login_texts};
use crate::support::project::{ROLLOUT, all};

#[test]
fn lab_everyone_but_the_exempt_is_asked_and_nobody_loses_a_way_in() {
    let site = Site::start(&[
        ("old", Suite::Bullseye),
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
    ]);
    let (svc, carol) = (site.lab.key_pair("svc"), site.lab.key_pair("carol"));
    for host in site.each() {
        host.add_user_with_password("svc", &svc, "as-Before.4");
        host.add_user("carol", &carol);
    }
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

    // carol can log in and has no code: she is named, and nothing is changed.
    project
        .fleetotp(&["play", ROLLOUT, "--check"])
        .expect_code(2)
        .expect_text(&["would-lose-access", "have none: carol"]);
    for (host, before) in site.each().zip(&before) {
        assert_eq!(&login_texts(host), before);
        host.sh("usermod -e 1 carol");
    }
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    project.rollout(&[]).expect_code(0).expect_unchanged();
    let mut alice = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &alice.fresh(), &[]).expect_code(0);
    for (host, name) in site.each().zip(&site.hosts) {
        let lab = &site.lab;
        lab.assert_member(name, "alice", &site.alice, &mut alice.clone());
        // Who has not confirmed goes on by key.
        lab.assert_in(name, "bob", Key::With(&site.bob), Code::No, Prefs::Default);
        // The exempt have what they had, and no more.
        lab.assert_key_only(name, "svc", Key::With(&svc));
        lab.assert_in(
            name,
            "svc",
            Key::No,
            Code::Password("as-Before.4"),
            Prefs::Default,
        );
        lab.assert_key_only(name, "root", Key::Root);
        // Whoever comes later is refused by default, whatever they have.
        host.add_user_with_password("dave", &carol, "no-Use.5");
        host.sh("useradd -m -s /bin/sh eve; sed -i 's/^\\(eve:[^:]*:[^:]*\\):[^:]*/\\1:4242/' /etc/passwd; cp -r /home/dave/.ssh /home/eve/; chown -R eve /home/eve");
        for login in ["dave", "eve", "carol"] {
            let key = Key::With(&carol);
            lab.assert_refused(name, login, key, Code::No, Prefs::Default);
            lab.assert_refused(name, login, key, Code::Some("123456"), Prefs::Default);
            lab.assert_refused(
                name,
                login,
                Key::No,
                Code::Password("no-Use.5"),
                Prefs::Default,
            );
            lab.assert_refused(
                name,
                login,
                Key::No,
                Code::Password("no-Use.5"),
                Prefs::CodeOnly,
            );
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
        site.lab.assert_key_only(name, "dave", Key::With(&carol));
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
