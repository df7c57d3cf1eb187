//! Deadlines of seconds without any controller, of an overlap and of an enrolment: what the host decides by itself, also
//! when it was rebooted meanwhile.

use std::time::{Duration, Instant};

use fleetotp::host::program::REAPER_PATH;
use serde_json::json;

use crate::lab::{Code, Key, Prefs, Suite, Totp, WINDOW};
use crate::support::faults::{Site, eventually, tick};
use crate::support::project::{Project, all, assert_pending};

const HOSTS: [(&str, Suite); 5] = [
    ("used", Suite::Bookworm),
    ("unused", Suite::Bullseye),
    ("rebooted", Suite::Trixie),
    ("strict", Suite::Bookworm),
    ("strict-used", Suite::Trixie),
];
const NEXT: &str = "/var/lib/google-authenticator/next/alice";
const CURRENT: &str = "/var/lib/google-authenticator/current/alice";
const BOBS: &str = "/var/lib/google-authenticator/current/bob";
/// What the overlap lasts: time for a rotation of five hosts and four logins on a busy machine.
const OVERLAP: Duration = Duration::from_secs(30);

fn can(site: &Site, host: &str, totp: &mut Totp) -> bool {
    let code = totp.fresh();
    let key = Key::With(&site.alice);
    let result = site
        .lab
        .login(host, "alice", key, Code::Some(&code), Prefs::Default);
    assert!(
        result.accepted || result.stderr.contains("Permission denied"),
        "{host}: {}",
        result.stderr
    );
    result.accepted
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told in order: each step stands on the one before"
)]
fn deadlines_of_seconds_are_kept_with_the_controller_gone_and_hosts_rebooted() {
    let site = Site::start(&HOSTS);
    let hosts = HOSTS.map(|(name, _)| (name, json!({})));
    let inventory = |enrolment: &str| {
        json!({
            "all": all(&site.lab, &hosts),
            "admins": {"alice": {"name": "Alice"}, "bob": {"name": "Bob"}},
            "realms": {
                "keeps": {"hosts": "used,unused,rebooted", "policy": "keep"},
                "expires": {"hosts": "strict", "policy": "expire"},
                "expires-used": {"hosts": "strict-used", "policy": "expire"},
            },
            "policies": {
                "keep": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW, "overlap": "30s", "enrolment_ttl": enrolment},
                "expire": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW, "overlap": "30s", "enrolment_ttl": enrolment,
                    "on_overdue": "expire"},
            },
        })
    };
    let project = Project::new(&site.lab, &inventory("1h"));
    let realms = ["keeps", "expires", "expires-used"];
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let [mut kept, mut strict, mut strict_used] =
        realms.map(|realm| ran.sheet("alice", realm).scan().wide_totp());
    for (realm, totp) in realms
        .iter()
        .zip([&mut kept, &mut strict, &mut strict_used])
    {
        project
            .confirm("alice", &totp.fresh(), &["--realm", realm])
            .expect_code(0);
    }
    // Bob never confirms his sheet.
    project.set_inventory(&inventory("20s"));
    let ran = project
        .fleetotp(&["enroll", "bob", "--reissue", "-o", "json"])
        .expect_code(0);
    assert!(site.each().all(|host| host.exists(BOBS)));
    let bobs = |host: &str| match host {
        "strict" => ran.sheet("bob", "expires"),
        "strict-used" => ran.sheet("bob", "expires-used"),
        _ => ran.sheet("bob", "keeps"),
    };
    let bobs = HOSTS.map(|(name, _)| (name, bobs(name).scan().wide_totp()));
    let ran = project
        .fleetotp(&["rotate", "alice", "-o", "json"])
        .expect_code(0)
        .expect_text(&["old-code-expires", "is locked out"]);
    let began = Instant::now();
    let [mut new_kept, mut new_strict, mut new_strict_used] =
        realms.map(|realm| ran.sheet("alice", realm).scan().wide_totp());
    assert!(can(&site, "used", &mut new_kept));
    assert!(can(&site, "strict-used", &mut new_strict_used));
    // The code alone, without a key, is not even asked for.
    let code = new_kept.clone().fresh();
    site.lab.assert_refused(
        "unused",
        "alice",
        Key::No,
        Code::Some(&code),
        Prefs::Default,
    );
    assert!(can(&site, "strict", &mut strict), "still in the overlap");
    let used = site.host("used").sh(&format!("cat {NEXT}"));

    // No controller from here on. A boot before the end of the overlap ends nothing.
    site.host("rebooted").reboot();
    assert!(site.host("rebooted").exists(NEXT));
    assert!(
        began.elapsed() < OVERLAP,
        "the machine is too slow for this test"
    );
    std::thread::sleep((OVERLAP + Duration::from_secs(2)).saturating_sub(began.elapsed()));
    for host in ["rebooted", "strict-used"] {
        site.host(host).reboot();
    }
    eventually("cron has ended the overlap everywhere", 75, || {
        site.each().all(|host| !host.exists(NEXT))
    });

    // The sheet that nobody confirmed is worth nothing, and its admin gets in as before.
    for (name, mut totp) in bobs {
        assert!(!site.host(name).exists(BOBS), "{name}");
        assert_pending(&site.lab, name, "bob", &site.bob);
        let (key, code) = (Key::With(&site.bob), totp.fresh());
        site.lab
            .assert_refused(name, "bob", key, Code::Some(&code), Prefs::CodeOnly);
    }

    // Where the new code was used it has taken the place of the old one, with the steps that were used.
    assert_eq!(site.host("used").sh(&format!("cat {CURRENT}")), used);
    assert!(!can(&site, "used", &mut kept.clone()));
    assert!(can(&site, "used", &mut new_kept));
    assert!(!can(&site, "strict-used", &mut strict_used));
    assert!(can(&site, "strict-used", &mut new_strict_used));
    // Elsewhere the old one stays, or ends as the policy says; the demand for a code stays in any case.
    for host in ["unused", "rebooted"] {
        assert!(!can(&site, host, &mut new_kept.clone()), "{host}");
        assert!(can(&site, host, &mut kept.clone()), "{host}");
    }
    assert!(!site.host("strict").exists(CURRENT));
    for totp in [&mut strict, &mut new_strict] {
        assert!(!can(&site, "strict", totp));
    }
    let key = Key::With(&site.alice);
    site.lab
        .assert_refused("strict", "alice", key, Code::No, Prefs::Default);
    for host in &site.hosts {
        site.lab.assert_key_only(host, "root", Key::Root);
    }

    // The controller comes back and learns from the hosts.
    let synced = project.fleetotp(&["sync"]).expect_code(0).expect_text(&[
        "alice confirmed the sheet of realm keeps by a login on used",
        "alice confirmed the sheet of realm expires-used by a login on strict-used",
        "nobody confirmed the rotation of alice in realm expires in time",
    ]);
    for (realm, state) in [
        ("keeps", "active"),
        ("expires", "expired"),
        ("expires-used", "active"),
    ] {
        let row = project.status("alice", realm);
        assert_eq!(row["state"], state, "{realm}: {synced:?}\n{row:#}");
        assert_eq!(project.status("bob", realm)["state"], "expired", "{realm}");
    }
    for host in ["used", "unused", "rebooted"] {
        assert!(!can(&site, host, &mut kept), "{host}");
        assert!(can(&site, host, &mut new_kept), "{host}");
    }
    project.fleetotp(&["sync"]).expect_code(0);
    eventually("no reaper stays", 75, || {
        site.each().all(|host| !host.exists(REAPER_PATH))
    });
}

/// The policy keeps the old code when nobody used the new one, and that is said until the next rotation.
#[test]
fn a_rotation_that_nobody_confirms_is_overdue_and_the_old_code_stays() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let hosts = ["web1", "web2"].map(|name| (name, json!({})));
    let inventory = |overlap: &str| {
        json!({
            "all": all(&site.lab, &hosts),
            "admins": {"alice": {"name": "Alice"}},
            "policies": {"default": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW, "overlap": overlap}},
        })
    };
    let project = Project::new(&site.lab, &inventory("8s"));
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let mut old = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &old.fresh(), &[]).expect_code(0);
    let ran = project
        .fleetotp(&["rotate", "alice", "-o", "json"])
        .expect_code(0);
    let ended = Instant::now() + Duration::from_secs(9);
    let sheet = ran.sheet("alice", "default");
    let mut new = sheet.scan().wide_totp();
    std::thread::sleep(ended.saturating_duration_since(Instant::now()));
    // One host ends it by itself; the other was away and did not: it is not known whether the code was used there.
    tick(site.host("web1"));
    site.host("web2").cut();
    project.fleetotp(&["sync"]).expect_code(4);
    let row = project.status("alice", "default");
    assert_eq!(
        (&row["state"], &row["overdue"]),
        (&json!("rotating"), &json!(true))
    );
    site.host("web2").mend();
    tick(site.host("web2"));
    project
        .fleetotp(&["sync"])
        .expect_code(0)
        .expect_text(&["the old code stays valid; it is overdue"]);
    let row = project.status("alice", "default");
    assert_eq!(
        (&row["state"], &row["overdue"]),
        (&json!("active"), &json!(true))
    );
    project
        .fleetotp(&["status"])
        .expect_code(0)
        .expect_text(&["rotation overdue"]);
    project
        .fleetotp(&["rotate", "alice", "--check"])
        .expect_code(0)
        .expect_text(&["active, overdue"]);
    assert!(!sheet.path.exists());
    project
        .confirm("alice", &new.fresh(), &[])
        .expect_code(1)
        .expect_text(&["no unconfirmed sheet"]);
    for host in ["web1", "web2"] {
        assert!(!can(&site, host, &mut new.clone()), "{host}");
        assert!(can(&site, host, &mut old.clone()), "{host}");
    }
    // On a busy machine a rotation itself may take some seconds.
    project.set_inventory(&inventory("1h"));
    project.fleetotp(&["rotate", "alice"]).expect_code(0);
    let row = project.status("alice", "default");
    assert_eq!(
        (&row["state"], &row["overdue"], &row["rotation"]["new"]),
        (&json!("rotating"), &json!(false), &json!(3))
    );
}
