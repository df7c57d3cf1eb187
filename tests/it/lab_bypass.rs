//! Break-glass: a code that works once, on its host, for its time; and the admin's own code beside it.

use serde_json::{Value, json};

use crate::lab::{Code, Key, Lab, Prefs, Suite, Totp, WINDOW};
use crate::support::faults::{Site, eventually, tick};
use crate::support::project::{Project, Ran, all};

/// Two admins on all hosts, confirmed and enforced. Codes are used per host, so each host has an authenticator.
fn enforced<'a>(site: &'a Site, more: &[(&str, Value)]) -> (Project<'a>, Totp) {
    let project = site.project(60);
    let hosts: Vec<_> = site
        .hosts
        .iter()
        .map(|h| {
            let own = more.iter().find(|(name, _)| name == h);
            (
                h.as_str(),
                own.map_or_else(|| json!({}), |(_, v)| v.clone()),
            )
        })
        .collect();
    project.set_inventory(&json!({
        "all": all(&site.lab, &hosts),
        "admins": {"alice": {"email": "alice@example.com"}, "bob": {"email": "bob@example.com"}},
        "policies": {"default": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW}},
    }));
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let mut alice = ran.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &alice.fresh(), &[]).expect_code(0);
    (project, alice)
}

fn grant(project: &Project<'_>, hosts: &str, lasting: &str) -> Ran {
    project.fleetotp(&[
        "bypass",
        "grant",
        "alice",
        "--hosts",
        hosts,
        "--for",
        lasting,
        "--reason",
        "phone in the sea",
        "--ticket",
        "OPS-9",
        "-o",
        "json",
    ])
}

fn code_for(ran: &Ran, host: &str) -> String {
    let document = ran.json();
    let codes = document["codes"].as_array().expect("a list of codes");
    let mine = codes.iter().find(|c| c["host"] == host);
    mine.unwrap_or_else(|| panic!("none for {host}: {document:#}"))["code"]
        .as_str()
        .expect("a code")
        .to_owned()
}

fn try_code(lab: &Lab, site: &Site, host: &str, code: &str) -> bool {
    let key = Key::With(&site.alice);
    lab.login(host, "alice", key, Code::Some(code), Prefs::Default)
        .accepted
}

const NEXT: &str = "/var/lib/google-authenticator/next/alice";

#[test]
fn lab_bypass_code_works_once_on_its_host_and_the_own_code_goes_on_working() {
    let site = Site::start(&[
        ("old", Suite::Bullseye),
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
    ]);
    let (project, alice) = enforced(&site, &[]);
    let lab = &site.lab;
    // It needs no identity.
    let identity = project.path().join("state/identity.txt");
    assert!(
        identity.exists(),
        "{:?}",
        std::fs::read_dir(project.path())
            .unwrap()
            .collect::<Vec<_>>()
    );
    std::fs::rename(&identity, project.scratch().join("away")).unwrap();

    let bob = site.host("old").inode_snapshot();
    grant(&project, "bob", "10m").expect_code(1);
    project
        .fleetotp(&[
            "bypass", "grant", "bob", "--hosts", "old", "--reason", "r", "--ticket", "t",
        ])
        .expect_code(2)
        .expect_text(&["(not-enforced)"]);
    assert_eq!(
        site.host("old").inode_snapshot().changed_since(&bob),
        Vec::<String>::new()
    );

    let granted = grant(&project, "old,web1", "10m").expect_code(0);
    let codes = [code_for(&granted, "old"), code_for(&granted, "web1")];
    assert_ne!(codes[0], codes[1]);
    let id = granted.json()["id"].as_str().unwrap().to_owned();
    for text in [
        project.fleetotp(&["bypass", "list"]).stdout,
        project.fleetotp(&["status"]).stdout,
        project.fleetotp(&["sync"]).expect_code(0).stderr,
    ] {
        assert!(
            text.contains(&format!("{id} alice on old: open until"))
                && text.contains("OPS-9, phone in the sea"),
            "{text}"
        );
        assert!(!text.contains(&codes[0]) && !text.contains(&codes[1]));
    }
    // Nor is the code in the ledger, in whatever form.
    let ledger = std::fs::read(project.path().join("state/ledger.db")).unwrap();
    let found = |code: &str| ledger.windows(8).any(|w| w == code.as_bytes());
    assert!(!found(&codes[0]) && !found(&codes[1]));
    // A second one where one is open is refused; neither rollout nor sync takes the first for a generation.
    grant(&project, "web1", "10m")
        .expect_code(2)
        .expect_text(&["(bypass-open)"]);
    project.rollout(&[]).expect_code(0).expect_unchanged();

    for (host, code) in [("old", &codes[0]), ("web1", &codes[1])] {
        let mut own = alice.clone();
        assert!(
            try_code(lab, &site, host, &own.fresh()),
            "the own code on {host}"
        );
        let key = Key::With(&site.alice);
        lab.assert_refused(host, "alice", Key::No, Code::Some(code), Prefs::Default);
        assert!(
            try_code(lab, &site, host, code),
            "{host}: {}",
            site.host(host).read_file("/var/log/auth.log")
        );
        lab.assert_refused(host, "alice", key, Code::Some(code), Prefs::Default);
        lab.assert_refused("web2", "alice", key, Code::Some(code), Prefs::Default);
        assert!(
            try_code(lab, &site, host, &own.fresh()),
            "the own code on {host}"
        );
    }
    assert!(!site.host("web2").exists(NEXT));

    project
        .fleetotp(&["sync"])
        .expect_code(0)
        .expect_text(&[&format!("the one-time code {id} of alice on old: used")]);
    for host in [site.host("old"), site.host("web1")] {
        assert!(!host.exists(NEXT) && !host.exists("/var/lib/fleetotp/deadlines/once.alice"));
    }
    let quiet = project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!((quiet.stdout, quiet.stderr), (String::new(), String::new()));
    project
        .fleetotp(&["bypass", "list", "--all"])
        .expect_code(0)
        .expect_text(&["on web1: used, seen"]);
    // The hosts' logs tell it as well, once for each host, and of no other login.
    let document = project
        .fleetotp(&["collect", "-o", "json"])
        .expect_code(0)
        .json();
    let found = document["findings"].as_array().expect("a list").iter();
    let used: Vec<&Value> = found.filter(|f| f["id"] == "break-glass-used").collect();
    let mut hosts: Vec<&str> = used.iter().filter_map(|f| f["hosts"][0].as_str()).collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["old", "web1"], "{document:#}");
    for one in used {
        let text = one["text"].as_str().expect("a text");
        assert!(
            text.contains(&id) && text.contains("(OPS-9, phone in the sea)"),
            "{text}"
        );
    }
}

#[test]
fn lab_bypass_ends_by_itself_or_by_revoke_and_not_otherwise() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let (project, alice) = enforced(&site, &[]);
    let lab = &site.lab;
    let key = Key::With(&site.alice);

    // The controller never comes back, and the host is rebooted: the code's time is over all the same.
    let granted = grant(&project, "web1", "6s").expect_code(0);
    let code = code_for(&granted, "web1");
    assert!(site.host("web1").exists(NEXT));
    site.host("web1").reboot();
    eventually("the host has ended it", 90, || {
        !site.host("web1").exists(NEXT)
    });
    lab.assert_refused("web1", "alice", key, Code::Some(&code), Prefs::Default);
    assert!(try_code(lab, &site, "web1", &alice.clone().fresh()));
    eventually("nothing stays there for it", 90, || {
        !site
            .host("web1")
            .exists("/var/lib/fleetotp/deadlines/once.alice")
    });

    // Used while the controller is away: the host takes the file away by itself, and remembers.
    let granted = grant(&project, "web2", "10m").expect_code(0);
    let code = code_for(&granted, "web2");
    assert!(try_code(lab, &site, "web2", &code));
    tick(site.host("web2"));
    assert!(!site.host("web2").exists(NEXT));
    project
        .fleetotp(&["sync"])
        .expect_code(0)
        .expect_text(&["of alice on web1: expired", "of alice on web2: used"]);
    assert_eq!(site.host("web2").sh("ls /var/lib/fleetotp/ended"), "");

    // Taken back: gone at once; what cannot be reached stays open.
    let granted = grant(&project, "all", "10m").expect_code(0);
    let codes = ["web1", "web2"].map(|h| code_for(&granted, h));
    site.host("web2").cut();
    project
        .fleetotp(&["bypass", "revoke", "alice", "--reason", "found"])
        .expect_code(4);
    lab.assert_refused("web1", "alice", key, Code::Some(&codes[0]), Prefs::Default);
    project
        .fleetotp(&["bypass", "list"])
        .expect_code(0)
        .expect_text(&["alice on web2: open until"]);
    site.host("web2").mend();
    project
        .fleetotp(&["bypass", "revoke", "alice"])
        .expect_code(0);
    lab.assert_refused("web2", "alice", key, Code::Some(&codes[1]), Prefs::Default);
    assert_eq!(
        project.fleetotp(&["bypass", "list"]).expect_code(0).stdout,
        ""
    );
    project
        .fleetotp(&["bypass", "revoke", "alice"])
        .expect_code(1);

    // A slot that a rotation has is left alone, and so is a host that could not end the code by itself.
    let host = site.host("web1");
    host.sh(&format!(
        "cp -p /var/lib/google-authenticator/current/alice {NEXT}"
    ));
    grant(&project, "web1", "5m")
        .expect_code(2)
        .expect_text(&["(next-in-use)"]);
    host.sh(&format!("rm {NEXT}; pkill -x cron; true"));
    grant(&project, "web1", "5m")
        .expect_code(2)
        .expect_text(&["(no-deadline)"]);
    assert!(!host.exists(NEXT));
    grant(&project, "web1", "2d").expect_code(64);
}

#[test]
fn lab_bypass_stands_beside_a_rotation_and_ends_with_a_revocation() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let (project, mut old) = enforced(&site, &[]);
    let lab = &site.lab;
    let code = code_for(&grant(&project, "web1", "10m").expect_code(0), "web1");
    // The rotation waits on the host whose slot is taken, and nothing there takes the other for it.
    let rotated = project.fleetotp(&["rotate", "alice", "-o", "json"]);
    let mut new = rotated.sheet("alice", "default").scan().wide_totp();
    assert!(
        rotated.stdout.contains("has a one-time code here"),
        "{}",
        rotated.stdout
    );
    assert!(site.host("web1").read_file(NEXT).contains(" serial=B-"));
    assert!(site.host("web2").read_file(NEXT).contains(" serial=T-"));
    grant(&project, "web2", "10m")
        .expect_code(2)
        .expect_text(&["(next-in-use)"]);
    let fresh = old.fresh();
    for name in &site.hosts {
        assert!(try_code(lab, &site, name, &fresh), "the old code on {name}");
    }
    assert!(!try_code(lab, &site, "web1", &new.fresh()));
    assert!(try_code(lab, &site, "web1", &code));
    // Its end makes room.
    project.fleetotp(&["sync"]).expect_code(0);
    assert!(site.host("web1").read_file(NEXT).contains(" serial=T-"));
    assert!(try_code(lab, &site, "web1", &new.fresh()));
    project.fleetotp(&["sync"]).expect_code(0);
    assert!(!site.host("web1").exists(NEXT) && !site.host("web2").exists(NEXT));

    // Whoever is revoked has no way in by an open code either, and gets none.
    let code = code_for(&grant(&project, "all", "10m").expect_code(0), "web2");
    project
        .fleetotp(&["revoke", "alice", "--reason", "left", "--ticket", "HR-1"])
        .expect_code(0);
    let key = Key::With(&site.alice);
    lab.assert_refused("web2", "alice", key, Code::Some(&code), Prefs::Default);
    grant(&project, "web2", "10m")
        .expect_code(1)
        .expect_text(&["whoever is revoked gets no code"]);
    project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(
        project.fleetotp(&["bypass", "list"]).expect_code(0).stdout,
        ""
    );
}
