//! Confirming on real hosts: by code, by login, what is refused, and what comes after a confirmation.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::lab::{Code, Key, KeyPair, Lab, Prefs, Suite, Totp, WINDOW};
use crate::support::project::{Project, all, assert_pending};

const PASSWORD: &str = "correct horse";

/// Many logins in little time are what a test does; limits are tested where they are meant.
fn policies() -> Value {
    json!({"default": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW}})
}

fn all_policies() -> Value {
    json!({
        "default": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW},
        "now": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW, "enforce": "on_issue"},
        "later": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW, "enforce_from": "2099-01-01T00:00:00Z"},
    })
}

/// A code of the sheet's key as an app computes it that does not honour the algorithm.
fn sha256_code(secret: &str) -> String {
    let mut child = Command::new("oathtool")
        .args(["--totp=sha256", "--base32", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{secret}").unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn members(lab: &Lab, host: &str, group: &str) -> Vec<String> {
    let line = lab.host(host).sh(&format!("getent group {group}"));
    let list = line.trim().rsplit(':').next().unwrap_or_default();
    list.split(',')
        .filter(|m| !m.is_empty())
        .map(str::to_owned)
        .collect()
}

fn state_file(lab: &Lab, host: &str, login: &str) -> String {
    lab.host(host)
        .read_file(&format!("/var/lib/google-authenticator/current/{login}"))
}

fn code_first(lab: &Lab, host: &str, login: &str, key: Key<'_>, code: &str) -> bool {
    lab.login(host, login, key, Code::Some(code), Prefs::CodeFirst)
        .accepted
}

/// One admin confirms on each release, since each writes its own kind of log.
#[test]
fn a_login_with_the_code_confirms_and_less_does_not() {
    let places = [("alice", "web1"), ("bob", "web2"), ("carol", "db1")];
    let lab = Lab::start(&[
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
        ("db1", Suite::Bullseye),
    ]);
    let keys: Vec<KeyPair> = places.map(|(login, _)| lab.key_pair(login)).into();
    for (_, host) in places {
        for ((login, _), key) in places.iter().zip(&keys) {
            lab.host(host).add_user(login, key);
        }
    }
    let hosts = places.map(|(_, host)| (host, json!({})));
    let project = Project::new(
        &lab,
        &json!({
            "all": all(&lab, &hosts),
            "admins": {"alice": {"name": "Alice"}, "bob": {"name": "Bob"}, "carol": {"name": "Carol"}},
            "policies": policies(),
        }),
    );
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let mut totp: Vec<Totp> = places
        .map(|(login, _)| ran.sheet(login, "default").scan().wide_totp())
        .into();

    for (((login, host), key), totp) in places.iter().zip(&keys).zip(&mut totp) {
        // A code alone is refused, and the host marks it as used all the same.
        let code = totp.fresh();
        lab.assert_refused(host, login, Key::No, Code::Some(&code), Prefs::CodeOnly);
        assert!(state_file(&lab, host, login).contains("DISALLOW_REUSE 5"));
        // A wrong code, then the key: a pending admin gets in by the key alone.
        assert!(code_first(&lab, host, login, Key::With(key), &totp.wrong()));
        // Nor does a plain login.
        assert_pending(&lab, host, login, key);
    }
    project.fleetotp(&["sync"]).expect_code(0);
    for (login, host) in places {
        assert_eq!(project.status(login, "default")["state"], "pending");
        assert_eq!(project.state_on(login, "default", host), "staged");
        assert_eq!(members(&lab, host, "fleetotp"), Vec::<String>::new());
    }

    for (((login, host), key), totp) in places.iter().zip(&keys).zip(&mut totp) {
        assert!(
            code_first(&lab, host, login, Key::With(key), &totp.fresh()),
            "{login}@{host}: {}",
            lab.host(host).read_file("/var/log/auth.log")
        );
        assert!(ran.sheet(login, "default").path.exists());
    }
    // Only looking changes nothing, and says nothing that is not so.
    project.fleetotp(&["sync", "--check"]).expect_code(0);
    assert_eq!(project.status("alice", "default")["state"], "pending");

    let synced = project.fleetotp(&["sync"]).expect_code(0);
    for (((login, host), key), totp) in places.iter().zip(&keys).zip(&mut totp) {
        let note = format!("{login} confirmed the sheet of realm default by a login on {host}");
        assert!(synced.stderr.contains(&note), "{}", synced.stderr);
        assert!(!ran.sheet(login, "default").path.exists());
        for (_, other) in places {
            assert_eq!(project.state_on(login, "default", other), "enforced");
        }
        lab.assert_member(host, login, key, totp);
    }
    assert_eq!(project.sheet_files(), Vec::<std::path::PathBuf>::new());
    let quiet = project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!((quiet.stdout, quiet.stderr), (String::new(), String::new()));
    project.rollout(&[]).expect_code(0).expect_unchanged();
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told in order: each step stands on the one before"
)]
fn codes_are_checked_sheets_replaced_and_devices_lost() {
    let lab = Lab::start(&[("web1", Suite::Trixie), ("db1", Suite::Bookworm)]);
    let (alice, bob, nora) = (
        lab.key_pair("alice"),
        lab.key_pair("bob"),
        lab.key_pair("nora"),
    );
    for host in ["web1", "db1"] {
        lab.host(host).add_user("alice", &alice);
        lab.host(host).add_user("bob", &bob);
    }
    // Nora has no key on web1: she logs in by her password there.
    lab.host("web1")
        .add_user_with_password("nora", &nora, PASSWORD);
    lab.host("web1").sh("rm /home/nora/.ssh/authorized_keys");
    let nora_as_before = || {
        let password = Code::Password(PASSWORD);
        lab.assert_in("web1", "nora", Key::No, password, Prefs::Default);
        lab.assert_refused(
            "web1",
            "nora",
            Key::No,
            Code::Some("000000"),
            Prefs::CodeOnly,
        );
    };
    let project = Project::new(
        &lab,
        &json!({
            "all": all(&lab, &[("web1", json!({})), ("db1", json!({}))]),
            "admins": {
                "alice": {"name": "Alice"},
                "bob": {"name": "Bob", "hosts": "web1"},
                "nora": {"name": "Nora", "hosts": "web1"},
            },
            "realms": {"web": {"hosts": "web1"}, "data": {"hosts": "db1"}},
            "policies": policies(),
        }),
    );
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let gaps = &ran.json()["plays"][0]["hosts"][1]["gaps"];
    assert_eq!(
        (&gaps[0]["login"], &gaps[0]["id"]),
        (&json!("nora"), &json!("no-public-key")),
        "{gaps:#}"
    );
    assert_eq!(project.state_on("nora", "web", "web1"), "gap");
    nora_as_before();

    // Two sheets wait: which one is meant has to be said.
    project
        .confirm("alice", "000000", &[])
        .expect_code(64)
        .expect_text(&["several unconfirmed sheets", "--realm: data, web"]);
    project
        .confirm("alcie", "000000", &[])
        .expect_code(1)
        .expect_text(&["no admin `alcie`", "did you mean `alice`?"]);

    let first = ran.sheet("alice", "web");
    let mut web = first.scan().wide_totp();
    let confirm = |code: &str| project.confirm("alice", code, &["--realm", "web"]);
    confirm("12345")
        .expect_code(1)
        .expect_text(&["this is no code"]);
    confirm(&sha256_code(&first.scan().secret))
        .expect_code(1)
        .expect_text(&["the key is right", "SHA256", "another app"]);
    confirm(&web.wrong())
        .expect_code(1)
        .expect_text(&["the code is wrong"]);
    assert_eq!(project.status("alice", "web")["state"], "pending");
    let code = web.fresh();
    confirm(&code).expect_code(0);
    // It was for this once: the host does not take it any more, and a run without need writes nothing.
    let (key, live) = (Key::With(&alice), state_file(&lab, "web1", "alice"));
    assert!(live.contains("\" DISALLOW_REUSE 5"), "no step is used");
    project.rollout(&[]).expect_code(0).expect_unchanged();
    assert_eq!(state_file(&lab, "web1", "alice"), live);
    lab.assert_refused("web1", "alice", key, Code::Some(&code), Prefs::Default);
    confirm(&code)
        .expect_code(1)
        .expect_text(&["no unconfirmed sheet", "active"]);
    lab.assert_member("web1", "alice", &alice, &mut web.clone());
    assert_pending(&lab, "db1", "alice", &alice);

    // Five wrong codes, and not even the right one is taken for a while.
    let sheet = ran.sheet("bob", "web");
    let mut old = sheet.scan().wide_totp();
    for _ in 0..4 {
        let refused = project.confirm("bob", &old.wrong(), &[]).expect_code(1);
        assert!(!refused.stderr.contains("too many"), "{}", refused.stderr);
    }
    project
        .confirm("bob", &old.wrong(), &[])
        .expect_code(1)
        .expect_text(&["the code is wrong", "too many wrong codes"]);
    project
        .confirm("bob", &old.fresh(), &[])
        .expect_code(1)
        .expect_text(&["too many wrong codes"]);
    assert_eq!(project.status("bob", "web")["state"], "pending");
    assert_pending(&lab, "web1", "bob", &bob);

    // A new sheet replaces the one that nobody confirmed.
    let again = project
        .fleetotp(&["enroll", "bob", "--reissue", "-o", "json"])
        .expect_code(0);
    assert!(!sheet.path.exists(), "the old sheet is void and removed");
    let new_sheet = again.sheet("bob", "web");
    assert_ne!(new_sheet.id, sheet.id);
    let mut new = new_sheet.scan().wide_totp();
    assert_pending(&lab, "web1", "bob", &bob);
    project
        .confirm("bob", &old.fresh(), &[])
        .expect_code(1)
        .expect_text(&["the code is wrong"]);
    project.confirm("bob", &new.fresh(), &[]).expect_code(0);
    lab.assert_refused(
        "web1",
        "bob",
        Key::With(&bob),
        Code::Some(&old.fresh()),
        Prefs::Default,
    );
    lab.assert_member("web1", "bob", &bob, &mut new);

    // Whoever confirmed has nothing to be re-issued; that is said.
    let nothing = project
        .fleetotp(&["enroll", "bob", "--reissue", "-o", "json"])
        .expect_code(0);
    assert_eq!(nothing.json()["sheets"], json!([]));
    assert!(
        nothing
            .stderr
            .contains("bob has no unconfirmed sheet in realm web"),
        "{}",
        nothing.stderr
    );

    // A lost device: the old code is void at once, and the host goes on asking for one: the new one.
    let lost = project
        .fleetotp(&[
            "enroll",
            "alice",
            "--lost-device",
            "-l",
            "web1",
            "-o",
            "json",
        ])
        .expect_code(0);
    assert_eq!(lost.sheets().len(), 1, "only where it was asked for");
    let sheet = lost.sheet("alice", "web");
    let mut fresh = sheet.scan().wide_totp();
    assert_eq!(members(&lab, "web1", "fleetotp"), ["alice", "bob"]);
    assert_eq!(project.state_on("alice", "web", "web1"), "enforced");
    assert_eq!(project.status("alice", "web")["state"], "pending");
    let key = Key::With(&alice);
    let old_code = web.fresh();
    lab.assert_refused("web1", "alice", key, Code::Some(&old_code), Prefs::Default);
    lab.assert_refused("web1", "alice", key, Code::No, Prefs::Default);
    let new_code = fresh.fresh();
    lab.assert_in("web1", "alice", key, Code::Some(&new_code), Prefs::Default);
    // That login was with key and code: it confirms.
    project
        .fleetotp(&["sync"])
        .expect_code(0)
        .expect_text(&["alice confirmed the sheet of realm web by a login on web1"]);
    assert_eq!(project.status("alice", "web")["state"], "active");
    assert!(!sheet.path.exists());
    lab.assert_member("web1", "alice", &alice, &mut fresh);
    assert_pending(&lab, "db1", "alice", &alice);

    // Nora's code may be right: without a key she would be locked out, so the host leaves her as she is.
    let mut code = ran.sheet("nora", "web").scan().wide_totp();
    project
        .confirm("nora", &code.fresh(), &[])
        .expect_code(0)
        .expect_text(&["gap (no-public-key)"]);
    nora_as_before();
    assert_eq!(project.state_on("nora", "web", "web1"), "gap");
    project.rollout(&[]).expect_code(0).expect_unchanged();
    // Her key comes later; then she is asked as everybody.
    lab.host("web1").write_file(
        "/home/nora/.ssh/authorized_keys",
        "0644",
        nora.public.clone() + "\n",
    );
    project.fleetotp(&["sync"]).expect_code(0);
    lab.assert_member("web1", "nora", &nora, &mut code);
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told in order: each step stands on the one before"
)]
fn hosts_and_policies_that_come_later() {
    let lab = Lab::start(&[
        ("web1", Suite::Bookworm),
        ("web2", Suite::Bullseye),
        ("app1", Suite::Trixie),
        ("app2", Suite::Bookworm),
    ]);
    let (alice, dave) = (lab.key_pair("alice"), lab.key_pair("dave"));
    for host in ["web1", "web2", "app1", "app2"] {
        lab.host(host).add_user("alice", &alice);
        lab.host(host).add_user("dave", &dave);
    }
    let inventory = |hosts: &[&str], admins: Value, policies: Value| {
        let hosts: Vec<_> = hosts.iter().map(|name| (*name, json!({}))).collect();
        json!({"all": all(&lab, &hosts), "admins": admins, "policies": policies,
            "realms": {"web": {"hosts": "web*"}, "now": {"hosts": "app1", "policy": "now"},
                "later": {"hosts": "app2", "policy": "later"}}})
    };
    let only_alice = json!({"alice": {"name": "Alice"}});
    let everybody = json!({"alice": {"name": "Alice"}, "dave": {"name": "Dave", "hosts": "web*"}});
    let before = inventory(
        &["web1", "app1", "app2"],
        only_alice.clone(),
        all_policies(),
    );
    let project = Project::new(&lab, &before);

    // A policy may want the code before anybody has confirmed it: the plan says so out loud.
    let planned = project
        .rollout(&["--check"])
        .expect_code(0)
        .expect_text(&["group fleetotp: +alice"]);
    assert!(planned.stdout.contains("before"), "{}", planned.stdout);
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let totp = |realm| ran.sheet("alice", realm).scan().wide_totp();
    lab.assert_member("app1", "alice", &alice, &mut totp("now"));
    assert_eq!(project.state_on("alice", "now", "app1"), "enforced");
    assert_eq!(project.status("alice", "now")["state"], "pending");
    // Her logins are complete: they confirm, or the sheet's end would lock her out.
    project
        .fleetotp(&["sync", "-l", "app1"])
        .expect_code(0)
        .expect_text(&["alice confirmed the sheet of realm now by a login on app1"]);
    assert_eq!(project.status("alice", "now")["state"], "active");
    // Or not before a date.
    let mut later = totp("later");
    project
        .confirm("alice", &later.fresh(), &["--realm", "later"])
        .expect_code(0);
    assert_pending(&lab, "app2", "alice", &alice);
    assert_eq!(project.state_on("alice", "later", "app2"), "staged");
    assert_eq!(project.status("alice", "later")["state"], "active");

    let mut web = totp("web");
    project
        .confirm("alice", &web.fresh(), &["--realm", "web"])
        .expect_code(0);
    let mut on_web1 = web.clone();
    lab.assert_member("web1", "alice", &alice, &mut on_web1);

    // A host is added, and the vault's identity is elsewhere: what needs no key is done, the rest is a named gap.
    let hosts = ["web1", "web2", "app1", "app2"];
    project.set_inventory(&inventory(&hosts, everybody.clone(), all_policies()));
    let identity = project.path().join("state/identity.txt");
    let away = project.scratch().join("identity.txt");
    std::fs::rename(&identity, &away).unwrap();
    let ran = project.rollout(&["-o", "json"]).expect_code(9);
    let document = ran.json();
    let web2 = document["plays"][0]["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|h| h["host"] == "web2")
        .unwrap();
    assert_eq!(
        (
            web2["gaps"][0]["login"].as_str(),
            web2["gaps"][0]["id"].as_str()
        ),
        (Some("alice"), Some("needs-identity")),
        "{web2:#}"
    );
    lab.assert_key_only("web2", "alice", Key::With(&alice));
    assert_eq!(project.state_on("alice", "web", "web1"), "enforced");
    // Issuing needs no identity: dave's key is on both hosts, and his sheet is written.
    let mut daves = ran.sheet("dave", "web").scan().wide_totp();
    for host in ["web1", "web2"] {
        assert_pending(&lab, host, "dave", &dave);
        assert!(code_first(
            &lab,
            host,
            "dave",
            Key::With(&dave),
            &daves.clone().fresh()
        ));
    }
    project
        .confirm("dave", &daves.fresh(), &[])
        .expect_code(1)
        .expect_text(&["identity"]);
    // It is still open in the next run, and not forgotten.
    project.rollout(&[]).expect_code(9).expect_unchanged();
    let elsewhere = away.to_str().unwrap();
    project
        .rollout(&["--identity", elsewhere])
        .expect_code(0)
        .expect_text(&["web2"]);
    assert_eq!(project.state_on("alice", "web", "web2"), "enforced");
    lab.assert_member("web2", "alice", &alice, &mut web.clone());
    project.rollout(&[]).expect_code(0).expect_unchanged();
    std::fs::rename(&away, &identity).unwrap();

    // A state file is live data: used steps, stamps of attempts and what others wrote survive a change of policy.
    let place = "/var/lib/google-authenticator/current/alice";
    lab.host("web1")
        .sh(&format!("printf '\" X_OTHER keep\\n12345678\\n' >>{place}"));
    let was = state_file(&lab, "web1", "alice");
    let option = |text: &str, name: &str| -> Vec<String> {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("\" {name} ")));
        line.unwrap_or_else(|| panic!("no {name}: {text}"))
            .split(' ')
            .map(str::to_owned)
            .collect()
    };
    let mut slower = all_policies();
    slower["default"]["rate_limit"] = json!("40/60s");
    project.set_inventory(&inventory(&hosts, everybody, slower));
    project
        .rollout(&["--check", "-l", "web1"])
        .expect_code(0)
        .expect_text(&["options of policy default, key unchanged"]);
    project.rollout(&["-l", "web1"]).expect_code(0);
    let is = state_file(&lab, "web1", "alice");
    assert_eq!(option(&is, "RATE_LIMIT")[..2], ["40", "60"]);
    assert_eq!(
        option(&is, "RATE_LIMIT")[2..],
        option(&was, "RATE_LIMIT")[2..]
    );
    assert!(!option(&was, "RATE_LIMIT")[2..].is_empty());
    assert!(!option(&was, "DISALLOW_REUSE").is_empty());
    let lines = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|l| !l.contains("RATE_LIMIT"))
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(lines(&is), lines(&was), "nothing else changed");
    assert!(is.contains("\" X_OTHER keep\n12345678\n"));
    let mode = lab.host("web1").sh(&format!("stat -c '%a %U:%G' {place}"));
    assert_eq!(mode.trim(), "600 root:root");
    lab.assert_member("web1", "alice", &alice, &mut on_web1);
    assert!(state_file(&lab, "web1", "alice").contains("\" X_OTHER keep\n12345678\n"));
    project
        .rollout(&["-l", "web1"])
        .expect_code(0)
        .expect_unchanged();
}
