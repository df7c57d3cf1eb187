//! Collecting on real hosts: each login once, over rotation and reboot, and as what it was.

use serde_json::{Value, json};

use crate::lab::{Code, Host, Key, Prefs, Suite, run};
use crate::report_cmd::{figure, rows};
use crate::support::faults::{Site, eventually};
use crate::support::mmdb;
use crate::support::project::{Project, all};
use crate::support::reviewer::check_packs;

const HOSTS: [(&str, Suite); 3] = [
    ("old", Suite::Bullseye),
    ("web1", Suite::Bookworm),
    ("web2", Suite::Trixie),
];

/// What logrotate does by Debian's rules.
fn rotate(host: Host<'_>) {
    host.sh(&format!(
        "cd /var/log; [ ! -e auth.log.2 ] || mv auth.log.2 auth.log.3; [ ! -e auth.log.1 ] || mv auth.log.1 auth.log.2
        [ ! -e auth.log.1.gz ] || mv auth.log.1.gz auth.log.2.gz; mv auth.log auth.log.1; {REOPEN}"
    ));
}

fn collect(project: &Project<'_>, more: &[&str]) -> Value {
    project
        .fleetotp(&[&["collect", "-o", "json"], more].concat())
        .expect_code(0)
        .json()
}

/// Logins and new ones of a host, accepted ones, and those of nobody's.
fn counts(document: &Value, host: &str) -> [i64; 4] {
    let rows = document["hosts"].as_array().unwrap();
    let row = rows.iter().find(|r| r["host"] == host).unwrap();
    ["logins", "new", "accepted", "strangers"].map(|key| row[key].as_i64().unwrap())
}

fn query(project: &Project<'_>, sql: &str) -> String {
    let ledger = project.path().join("state/ledger.db");
    let text = run(std::process::Command::new("sqlite3").arg(ledger).arg(sql));
    text.trim_end().to_owned()
}

/// Outcomes of alice's logins as the ledger holds them.
fn outcomes(project: &Project<'_>, host: &str) -> Vec<String> {
    let sql = format!(
        "SELECT outcome || ' ' || factors || ' ' || COALESCE(generation, '-') || ' ' || (address LIKE '10.77.1.%')
         || ' ' || (port IS NOT NULL) || ' ' || (key IS NOT NULL) || ' ' || (serial IS NOT NULL)
         FROM login_event WHERE host = '{host}' AND login = 'alice' ORDER BY at, stored_at, rowid"
    );
    query(project, &sql).lines().map(str::to_owned).collect()
}

fn ids(document: &Value) -> Vec<String> {
    let findings = document["findings"].as_array().unwrap().iter();
    let mut ids: Vec<String> = findings
        .map(|f| f["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    ids
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story, told in order: each collection goes on from the one before"
)]
fn lab_each_login_is_collected_once_over_rotation_and_reboot() {
    let site = Site::start(&HOSTS);
    let (project, lab) = (site.project(60), &site.lab);
    let hosts = HOSTS.map(|(name, _)| (name, json!({})));
    project.set_inventory(&json!({
        "all": all(lab, &hosts),
        "admins": {"alice": {"email": "alice@example.com"}, "bob": {"email": "bob@example.com"}},
        // A window of the usual size; three tries in thirty seconds.
        "policies": {"default": {"issuer": "Example Corp", "rate_limit": "3/30s"}},
    }));
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let mut totp = ran.sheet("alice", "default").scan().totp();
    project.confirm("alice", &totp.fresh(), &[]).expect_code(0);
    // What came before is no login of anybody's: the tool's own and the temporary member's are not kept.
    let document = collect(&project, &[]);
    for (host, _) in HOSTS {
        assert_eq!(counts(&document, host), [0, 0, 0, 0], "{document:#}");
    }

    let key = Key::With(&site.alice);
    let on_each = |work: &(dyn Fn(&str) + Sync)| {
        std::thread::scope(|scope| {
            for (host, _) in HOSTS {
                scope.spawn(move || work(host));
            }
        });
    };
    on_each(&|host| {
        let mut totp = totp.clone();
        let code = totp.fresh();
        lab.assert_in(host, "alice", key, Code::Some(&code), Prefs::Default);
        lab.assert_refused(host, "alice", key, Code::Some(&code), Prefs::Default);
        let wrong = totp.wrong();
        lab.assert_refused(host, "alice", key, Code::Some(&wrong), Prefs::Default);
        // The fourth within half a minute.
        lab.assert_refused(host, "alice", key, Code::Some(&wrong), Prefs::Default);
        lab.assert_refused(host, "alice", Key::No, Code::Some(&code), Prefs::Default);
        // bob is not confirmed: by key alone; and somebody who has no account.
        lab.assert_in(host, "bob", Key::With(&site.bob), Code::No, Prefs::KeyOnly);
        let name = "alice from 1.2.3.4 port 5 ssh2";
        lab.login(host, name, key, Code::No, Prefs::KeyOnly);
    });
    let wanted = [
        "accepted key+code 1 1 1 1 1",
        "replayed key 1 1 1 1 1",
        "wrong-code key - 1 1 1 1",
        "rate-limited key 1 1 1 1 1",
        "no-key  - 1 1 0 1",
    ];
    // A connection's last line may come a moment after its client has gone.
    let mut document = Value::Null;
    eventually("every connection has ended in the logs", 10, || {
        HOSTS.iter().all(|(host, _)| {
            lab.host(host)
                .sh("grep -c 'Connection closed by invalid user' /var/log/auth.log || true")
                .trim()
                == "1"
        })
    });
    let check = project
        .fleetotp(&["collect", "-C", "-o", "json"])
        .expect_code(0)
        .json();
    for (host, _) in HOSTS {
        // Half of what is between two collections came before the log was rotated.
        if host == "web1" {
            rotate(lab.host(host));
        }
        if host == "web2" {
            rotate(lab.host(host));
            lab.host(host).sh("gzip /var/log/auth.log.1");
        }
        let row = check["hosts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|r| r["host"] == host)
            .unwrap()
            .clone();
        assert_eq!((&row["logins"], &row["new"]), (&json!(6), &Value::Null));
    }
    document["first"] = collect(&project, &[]);
    for (host, _) in HOSTS {
        assert_eq!(
            counts(&document["first"], host),
            [6, 6, 2, 1],
            "{document:#}"
        );
        assert_eq!(outcomes(&project, host), wanted, "{host}");
    }
    let found = ids(&document["first"]);
    for id in ["code-on-two-hosts", "rate-limited", "failure-spike"] {
        assert!(found.contains(&id.to_owned()), "{id}: {document:#}");
    }
    for id in [
        "log-gap",
        "no-second-factor",
        "dead-generation",
        "login-after-end",
    ] {
        assert!(!found.contains(&id.to_owned()), "{id}: {document:#}");
    }
    assert_eq!(
        query(
            &project,
            "SELECT COUNT(*) FROM token_host WHERE last_accepted_at IS NOT NULL"
        ),
        "3"
    );
    // One event a host and collection, not one a login.
    let events = "SELECT COUNT(*) FROM event WHERE kind = 'activity.collected'";
    assert_eq!(query(&project, events), "3");
    // Again: nothing. With the old findings asked for, they are there, and CI fails.
    let again = collect(&project, &[]);
    for (host, _) in HOSTS {
        assert_eq!(counts(&again, host), [0, 0, 0, 0]);
    }
    assert_eq!(ids(&again), Vec::<String>::new());
    assert_eq!(query(&project, events), "3");
    project.fleetotp(&["collect", "--strict"]).expect_code(0);
    project
        .fleetotp(&["collect", "--strict", "--since", "1h"])
        .expect_code(9)
        .expect_text(&["warning (rate-limited): alice was refused 3 times for too many tries"]);

    audited(&project);

    // Rotated and rebooted in between, with a login before, between and after.
    let bob =
        |host: &str| lab.assert_in(host, "bob", Key::With(&site.bob), Code::No, Prefs::KeyOnly);
    on_each(&|host| {
        bob(host);
        rotate(lab.host(host));
        bob(host);
        rotate(lab.host(host));
        run(lab.command("reboot").arg(host));
        bob(host);
    });
    // Where the addresses so far are is Paris; all that come later are in New York.
    let known = query(&project, "SELECT DISTINCT address FROM login_event");
    let networks: Vec<(String, Value)> = (1..=250)
        .map(|n| format!("10.77.1.{n}"))
        .map(|address| match known.lines().any(|k| k == address) {
            true => (address, mmdb::city("FR", "Paris", 48.8567, 2.3508)),
            false => (address, mmdb::city("US", "New York", 40.7128, -74.006)),
        })
        .map(|(address, city)| (format!("{address}/32"), city))
        .collect();
    let networks: Vec<(&str, Value)> = networks
        .iter()
        .map(|(n, c)| (n.as_str(), c.clone()))
        .collect();
    std::fs::write(project.path().join("city.mmdb"), mmdb::write(&networks)).unwrap();
    let after = collect(&project, &["--geo", "city.mmdb"]);
    let travelled = ids(&after);
    for id in ["new-country", "impossible-travel"] {
        assert!(travelled.contains(&id.to_owned()), "{id}: {after:#}");
    }
    let countries = "SELECT COALESCE(country, '-'), COUNT(*) FROM login_event GROUP BY country";
    assert_eq!(query(&project, countries), "-|18\nUS|9");
    // The report counts the same, and says where from.
    let report = project
        .fleetotp(&["report", "activity", "-o", "json"])
        .expect_code(0)
        .json();
    for (id, value) in [
        ("logins", 15),
        ("with_code", 3),
        ("refused", 12),
        ("hosts", 3),
        ("countries", 1),
    ] {
        assert_eq!(figure(&report, "summary", id), value, "{id}");
    }
    let by_admin: Vec<_> = rows(&report, "admins")
        .iter()
        .map(|r| json!([r["admin"], r["logins"], r["refused"], r["countries"]]))
        .collect();
    assert_eq!(
        by_admin,
        [json!(["alice", 3, 12, null]), json!(["bob", 12, 0, "US"])]
    );
    project
        .fleetotp(&[
            "report",
            "activity",
            "--strict",
            "--format",
            "html",
            "--out",
            "activity.html",
        ])
        .expect_code(9);
    for (host, _) in HOSTS {
        assert_eq!(counts(&after, host), [3, 3, 3, 0], "{after:#}");
    }
    assert!(!ids(&after).contains(&"log-gap".to_owned()), "{after:#}");

    // A log that somebody removed is a gap, and told as one; what is there is not stored twice.
    lab.host("web1")
        .sh(&format!("cd /var/log; rm auth.log*; {REOPEN}"));
    bob("web1");
    let gap = collect(&project, &[]);
    assert_eq!(counts(&gap, "web1"), [1, 1, 1, 0], "{gap:#}");
    assert_eq!(counts(&gap, "old"), [0, 0, 0, 0], "{gap:#}");
    assert!(ids(&gap).contains(&"log-gap".to_owned()), "{gap:#}");

    // Revoked, and not yet everywhere: where it was not, the code still lets in, and that is told.
    project
        .fleetotp(&["revoke", "alice", "--limit", "old", "--reason", "left"])
        .expect_code(9);
    let code = totp.fresh();
    lab.assert_in("web2", "alice", key, Code::Some(&code), Prefs::Default);
    let late = collect(&project, &[]);
    assert_eq!(counts(&late, "web2"), [1, 1, 1, 0], "{late:#}");
    assert!(
        ids(&late).contains(&"login-after-end".to_owned()),
        "{late:#}"
    );

    // What all of it comes to is checked on machines that never had the program.
    check_packs(lab, &project, &HOSTS.map(|(name, _)| name));
}

/// The playbook collects as the command does, and makes the pack of the month before; coverage has the last code.
fn audited(project: &Project<'_>) {
    let audit = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/audit.yml");
    let ran = project.fleetotp(&["play", audit]).expect_code(0);
    ran.expect_text(&[
        "TASK [Read hosts' logs on]",
        "web1: 0 logins, 0 refused",
        "pack evidence/",
    ]);
    let packs: Vec<_> = std::fs::read_dir(project.path().join("evidence"))
        .unwrap()
        .collect();
    assert_eq!(packs.len(), 1, "{packs:?}");
    let script = packs[0].as_ref().unwrap().path().join("verify.sh");
    let verified = run(std::process::Command::new("sh").arg(script));
    assert!(
        verified.contains("Everything that could be checked here is right."),
        "{verified}"
    );
    let strict = "- hosts: all\n  tasks:\n    - collect: {strict: true, since: 1h}\n";
    std::fs::write(project.path().join("strict.yml"), strict).unwrap();
    project.fleetotp(&["play", "strict.yml"]).expect_code(9);

    let coverage = project
        .fleetotp(&["report", "coverage", "-o", "json"])
        .expect_code(0)
        .json();
    for (host, _) in HOSTS {
        let row = |admin: &str| {
            let rows = crate::report_cmd::rows(&coverage, "accounts").iter();
            rows.clone()
                .find(|r| r["host"] == host && r["admin"] == admin)
                .unwrap()["last_code_at"]
                .clone()
        };
        let last: i64 = query(project, &format!(
            "SELECT MAX(at) FROM login_event WHERE host = '{host}' AND login = 'alice' AND factors = 'key+code' AND outcome = 'accepted'"
        )).parse().unwrap();
        let told: fleetotp::clock::Timestamp = row("alice").as_str().unwrap().parse().unwrap();
        assert_eq!(told.as_millisecond(), last, "{host}");
        assert_eq!(
            row("bob"),
            Value::Null,
            "{host}: the log was read, and has no code of his"
        );
    }
}

/// Tells rsyslog, and waits until it writes to the new log.
const REOPEN: &str = "kill -HUP $(cat /run/rsyslogd.pid)
    n=0; while [ ! -e auth.log ] && [ $n -lt 100 ]; do logger -p auth.info rotated; sleep 0.02; n=$((n + 1)); done";
