//! `fleetotp report` on a ledger without hosts: every figure is counted again here, from the raw events.

use serde_json::{Value, json};

use super::support::bare::Bare;

/// What the log says: kind, and the event's own text.
fn log(bare: &Bare) -> Vec<Value> {
    bare.sql("SELECT body FROM event ORDER BY seq")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn number_of(log: &[Value], kind: &str) -> u64 {
    log.iter().filter(|e| e["kind"] == kind).count() as u64
}

fn report(bare: &Bare, args: &[&str], code: i32) -> Value {
    let ran = bare.run(&[&["report"], args, &["-o", "json"]].concat());
    ran.expect_code(code).json()
}

/// A section of a report.
pub(crate) fn section<'a>(report: &'a Value, id: &str) -> &'a Value {
    let sections = report["sections"].as_array().unwrap();
    sections
        .iter()
        .find(|s| s["id"] == id)
        .unwrap_or_else(|| panic!("no {id} in {report:#}"))
}

/// A figure's value.
pub(crate) fn figure(report: &Value, in_section: &str, id: &str) -> Value {
    let figures = section(report, in_section)["figures"].as_array().unwrap();
    let found = figures.iter().find(|f| f["id"] == id);
    found.unwrap_or_else(|| panic!("no {id} in {report:#}"))["value"].clone()
}

pub(crate) fn rows<'a>(report: &'a Value, id: &str) -> &'a Vec<Value> {
    section(report, id)["rows"].as_array().unwrap()
}

fn fleet() -> Bare {
    let hosts: serde_json::Map<String, Value> = (1..=4)
        .map(|n| {
            (
                format!("web{n}"),
                json!({"ansible_host": format!("192.0.2.{n}")}),
            )
        })
        .collect();
    Bare::new(&json!({
        "all": {"hosts": hosts},
        "admins": {
            "alice": {"groups": ["sre"]}, "bob": {"groups": ["sre", "db"]}, "carol": {}, "dora": {"hosts": "web1"},
        },
        "realms": {"prod": {"hosts": "all:!web4", "policy": "strict"}},
        "policies": {"strict": {"issuer": "Example Corp", "rotate_every": "90d", "enrolment_ttl": "72h"}},
        "exemptions": {
            "carol": {"hosts": "web1", "owner": "Ops", "reason": "legacy", "approved_by": "CISO", "expires": "2099-01-01"},
            "dora": {"hosts": "web1", "owner": "Ops", "reason": "old", "expires": "2020-01-01"},
        },
    }))
}

#[test]
fn every_figure_is_what_the_events_say() {
    let bare = fleet();
    let sheet = bare.enroll("alice", &["--approved-by", "tester"]);
    bare.enroll(
        "bob",
        &[
            "--approved-by",
            "boss",
            "--verified-by",
            "desk",
            "--verified-how",
            "passport",
        ],
    );
    let code = sheet.scan().totp().fresh();
    bare.fed(&code, &["confirm", "alice", "--no-push"])
        .expect_code(0);
    bare.run(&[
        "revoke",
        "bob",
        "--reason",
        "left",
        "--ticket",
        "T-9",
        "--no-push",
    ])
    .expect_code(0);
    let events = log(&bare);

    let rotation = report(&bare, &["rotation"], 0);
    assert_eq!(
        figure(&rotation, "summary", "active"),
        number_of(&events, "token.confirmed")
    );
    assert_eq!(
        figure(&rotation, "summary", "revoking"),
        number_of(&events, "token.revoke_requested")
    );
    assert_eq!(
        rows(&rotation, "keys").len() as u64,
        number_of(&events, "token.issued")
    );
    let alice = rows(&rotation, "tokens")
        .iter()
        .find(|r| r["admin"] == "alice")
        .unwrap();
    assert_eq!(alice["issued_by"], "tester");
    assert_eq!(alice["approved_by"], "tester");
    assert_eq!(alice["same_person"], true);
    assert_eq!(alice["status"], "current");
    let issued = events.iter().find(|e| e["kind"] == "token.issued").unwrap();
    assert_eq!(alice["issued_at"], issued["at"]);
    let by_realm = rows(&rotation, "by_realm");
    assert_eq!(
        (&by_realm[0]["name"], &by_realm[0]["tokens"]),
        (&json!("prod"), &json!(1))
    );

    let revocation = report(&bare, &["revocation", "--strict"], 9);
    let asked = events
        .iter()
        .find(|e| e["kind"] == "token.revoke_requested")
        .unwrap();
    let hosts = asked["data"]["hosts"].as_array().unwrap().len();
    assert_eq!(hosts, 3);
    assert_eq!(figure(&revocation, "summary", "open"), hosts);
    assert_eq!(figure(&revocation, "summary", "proven"), 0);
    assert_eq!(figure(&revocation, "summary", "median_time"), Value::Null);
    let row = &rows(&revocation, "revocations")[0];
    for (key, value) in [
        ("admin", "bob"),
        ("asked_by", "tester"),
        ("reason", "left"),
        ("ticket", "T-9"),
        ("state", "open"),
    ] {
        assert_eq!(row[key], value, "{row:#}");
    }
    assert_eq!(row["asked_at"], asked["at"]);

    // alice, bob and carol on three hosts, dora on one; web4 belongs to no realm; nothing was ever read.
    let coverage = report(&bare, &["coverage", "--strict"], 9);
    assert_eq!(figure(&coverage, "summary", "population"), 10);
    assert_eq!(figure(&coverage, "summary", "unknown"), 10);
    assert_eq!(figure(&coverage, "summary", "enforced"), 0);
    assert_eq!(rows(&coverage, "accounts").len(), 10);
    assert_eq!(rows(&coverage, "unknown_hosts").len(), 4, "never left out");
    assert_eq!(
        figure(&coverage, "sheet_summary", "sheets_issued"),
        number_of(&events, "token.issued")
    );
    assert_eq!(figure(&coverage, "sheet_summary", "sheets_redeemed"), 1);
    assert_eq!(figure(&coverage, "sheet_summary", "sheets_void"), 1);
    assert_eq!(rows(&coverage, "duties").len(), 1);
    assert_eq!(rows(&coverage, "duties")[0]["what"], "issuer approved");
    let status: Vec<&Value> = rows(&coverage, "exceptions")
        .iter()
        .map(|r| &r["status"])
        .collect();
    assert_eq!(status, ["valid", "over"]);
    let source = &rows(&coverage, "sources")[0];
    assert_eq!(
        (&source["hosts"], &source["admins"]),
        (&json!(4), &json!(4))
    );
    assert!(
        rows(&coverage, "differences")
            .iter()
            .any(|r| r["what"] == "unmanaged_host" && r["name"] == "web4")
    );
    assert_eq!(
        coverage["log"]["events"].as_u64(),
        Some(log(&bare).len() as u64)
    );
}

#[test]
fn a_day_before_is_told_from_the_events_up_to_then() {
    let bare = fleet();
    bare.enroll("alice", &[]);
    let then = bare.sql("SELECT body FROM event ORDER BY seq DESC LIMIT 1");
    let then: Value = serde_json::from_str(&then).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));
    bare.run(&["revoke", "alice", "--reason", "left", "--no-push"])
        .expect_code(0);
    let at = then["at"].as_str().unwrap();
    let before = report(&bare, &["rotation", "--as-of", at], 0);
    assert_eq!(figure(&before, "summary", "pending"), 1);
    assert_eq!(figure(&before, "summary", "revoking"), 0);
    assert_eq!(before["log"]["events"], then["seq"]);
    let now = report(&bare, &["rotation"], 0);
    assert_eq!(figure(&now, "summary", "revoking"), 1);
    // Before anything happened there is nothing, and what is yet to come is not told.
    let never = report(
        &bare,
        &["revocation", "--as-of", "2020-01-01", "--strict"],
        0,
    );
    assert_eq!(figure(&never, "summary", "revocations"), 0);
    let period = report(
        &bare,
        &["revocation", "--between", "2020-01-01", "2020-02-01"],
        0,
    );
    assert_eq!(figure(&period, "summary", "revocations"), 0);
    // A time with an offset is that instant, not the day that stands in it.
    let offset = report(
        &bare,
        &["rotation", "--as-of", "2020-01-01T00:30:00+02:00"],
        0,
    );
    assert_eq!(offset["as_of"], "2019-12-31T22:30:00Z");
    for args in [
        ["--as-of", "2999-01-01"],
        ["--as-of", "soon"],
        ["--as-of", "2020-01-01T00:30:00"],
        ["--format", "jsn"],
    ] {
        bare.run(&[&["report", "rotation"][..], &args].concat())
            .expect_code(64);
    }
    bare.run(&[
        "report",
        "rotation",
        "--between",
        "2020-02-01",
        "2020-01-01",
    ])
    .expect_code(64);
    bare.run(&["report", "coverage", "--out", "c.txt"])
        .expect_code(0);
    let text = std::fs::read_to_string(bare.path().join("c.txt")).unwrap();
    assert!(text.contains("web1") && text.contains("unknown"), "{text}");
}

/// A playbook of one play for every host.
fn book(bare: &Bare, name: &str, tasks: &str) -> String {
    let text = format!("- name: Evidence\n  hosts: all\n  tasks:\n{tasks}");
    std::fs::write(bare.path().join(name), text).unwrap();
    name.to_owned()
}

#[test]
fn a_play_tells_what_it_did_where_reports_cannot_be_told() {
    let bare = fleet();
    bare.enroll("alice", &[]);
    let archive = ["--before", "2999-01-01", "--out", "old.jsonl"];
    let live = report(&bare, &["rotation"], 0);
    bare.run(&[&["audit", "archive"], &archive[..]].concat())
        .expect_code(0);
    bare.run(&["report", "rotation"])
        .expect_code(1)
        .expect_text(&["were archived", "--archive FILE"]);
    // A play that only shows every token does not read the log.
    let playbook = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/rotate.yml");
    let ran = bare.run(&["play", playbook]).expect_code(0);
    ran.expect_text(&["PLAY RECAP", "alice"]);
    let numbers = book(
        &bare,
        "numbers.yml",
        "    - report: {kinds: [rotation, coverage]}\n    - name: Again\n      report:\n",
    );
    let ran = bare.run(&["play", &numbers]).expect_code(1);
    ran.expect_text(&["PLAY RECAP", "failed: ", "were archived", "alice"]);
    assert_eq!(bare.events("run.finished").len(), 3);

    // With the archive the log begins at its beginning again, and is told as it was.
    let with = report(&bare, &["rotation", "--archive", "old.jsonl"], 0);
    assert_eq!(with["sections"], {
        let at = live["as_of"].as_str().unwrap();
        let then = report(
            &bare,
            &["rotation", "--archive", "old.jsonl", "--as-of", at],
            0,
        );
        assert_eq!(
            (&then["log"], &then["as_of"]),
            (&live["log"], &live["as_of"])
        );
        assert_eq!(then["sections"], live["sections"]);
        with["sections"].clone()
    });
    assert_eq!(figure(&with, "summary", "pending"), 1);
    let whole = std::fs::read_to_string(bare.path().join("old.jsonl")).unwrap();
    for (name, text) in [
        (
            "cut",
            whole.lines().take(3).collect::<Vec<_>>().join("\n") + "\n",
        ),
        ("edited", whole.replacen("token.issued", "token.adopted", 1)),
    ] {
        std::fs::write(bare.path().join(name), text).unwrap();
        let args = ["report", "rotation", "--archive", name];
        bare.run(&args)
            .expect_code(1)
            .expect_text(&["are not the beginning of this event log"]);
    }
    // So is a pack, and its log is one chain from the first event on.
    bare.run(&[
        "report",
        "pack",
        "--out",
        "pack",
        "--formats",
        "json",
        "--archive",
        "old.jsonl",
    ])
    .expect_code(0);
    let verify = std::process::Command::new("sh")
        .arg(bare.path().join("pack/verify.sh"))
        .output()
        .unwrap();
    assert!(verify.status.success(), "{verify:?}");
    let log = std::fs::read_to_string(bare.path().join("pack/log/events.jsonl")).unwrap();
    assert!(log.lines().nth(1).unwrap().contains("\"seq\":1,"), "{log}");
}

#[test]
fn a_play_writes_the_reports_and_packs_that_it_is_asked_for() {
    let bare = fleet();
    bare.enroll("alice", &[]);
    let tasks = "    - name: Tokens\n      report:\n    - name: Files\n      report: {kinds: [rotation, coverage], out: \"r/{period}\", formats: [csv, html]}\n    - name: Month\n      report: {pack: \"p/{period}\", period: last_month, formats: [json]}\n    - name: Judge\n      report: {kinds: [coverage], strict: true}\n";
    let name = book(&bare, "audit.yml", tasks);
    bare.run(&["play", &name, "--check"])
        .expect_code(9)
        .expect_text(&["would write reports to r/", "would write a pack to p/"]);
    assert!(!bare.path().join("r").exists() && !bare.path().join("p").exists());
    let ran = bare.run(&["play", &name]).expect_code(9);
    // Every task's result stands under its own banner, with an empty line between.
    let banners = ran
        .stdout
        .lines()
        .enumerate()
        .filter(|(_, l)| l.starts_with("TASK ["));
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(banners.clone().count(), 4, "{}", ran.stdout);
    for (at, _) in banners {
        assert_eq!(lines[at - 1], "", "{}", ran.stdout);
        assert_ne!(lines[at + 1], "", "{}", ran.stdout);
    }
    let now = bare.sql("SELECT body FROM event ORDER BY seq DESC LIMIT 1");
    let now: Value = serde_json::from_str(&now).unwrap();
    let now = now["at"].as_str().unwrap();
    let dir = bare.path().join("r").join(&now[..10]);
    for file in [
        "rotation.html",
        "coverage.html",
        "rotation-keys.csv",
        "coverage-accounts.csv",
    ] {
        assert!(dir.join(file).exists(), "{file}: {}", ran.stdout);
    }
    // Nothing happened in the last month: its log is empty, and no event claims a range that runs backwards.
    let packs: Vec<_> = std::fs::read_dir(bare.path().join("p")).unwrap().collect();
    assert_eq!(packs.len(), 1);
    let pack = packs[0].as_ref().unwrap().path();
    let name_of_pack = pack.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(name_of_pack.len() == 7 && !now.starts_with(&name_of_pack));
    let verify = std::process::Command::new("sh")
        .arg(pack.join("verify.sh"))
        .output()
        .unwrap();
    assert!(verify.status.success(), "{verify:?}");
    let exported = bare.sql("SELECT body FROM event WHERE kind = 'events.exported'");
    let exported: Value = serde_json::from_str(&exported).unwrap();
    assert_eq!(exported["data"], json!({"events": 0, "after": 0}));
    // A pack is never mixed with another: the second run fails in that task and does the others.
    let again = bare.run(&["play", &name, "-o", "json"]).expect_code(1);
    let document = again.json();
    let results = document["plays"][0]["results"].as_array().unwrap();
    let done: Vec<&str> = results
        .iter()
        .map(|r| r["task"].as_str().unwrap())
        .collect();
    assert_eq!(done, ["Files", "Judge"]);
    assert!(
        again.stderr.contains("something is there already"),
        "{}",
        again.stderr
    );
}

#[test]
fn a_report_is_narrowed_by_flags_alone_and_says_so() {
    let bare = fleet();
    bare.enroll("alice", &[]);
    let run = |args: &[&str]| {
        let mut command = bare.command(args);
        command
            .env("FLEETOTP_LIMIT", "web1")
            .env("FLEETOTP_ADMINS", "dora");
        crate::support::project::Ran::of(&command.output().unwrap())
    };
    let whole = run(&["report", "coverage", "-o", "json"]).expect_code(0);
    assert!(whole.stderr.contains("--limit alone"), "{}", whole.stderr);
    let whole = whole.json();
    assert_eq!(figure(&whole, "summary", "population"), 10);
    assert_eq!(whole["narrowed"], Value::Null);
    let narrow = run(&[
        "report", "coverage", "-o", "json", "--limit", "web1", "--admins", "dora",
    ]);
    let narrow = narrow.expect_code(0).json();
    assert_eq!(figure(&narrow, "summary", "population"), 1);
    assert_eq!(narrow["narrowed"], "hosts limited to web1; admins dora");
    run(&["report", "pack", "--out", "all", "--formats", "json"]).expect_code(0);
    assert!(!bare.path().join("all/NARROWED.txt").exists());
    run(&[
        "report",
        "pack",
        "--out",
        "some",
        "--formats",
        "json",
        "--limit",
        "web1",
    ])
    .expect_code(0);
    let manifest = std::fs::read_to_string(bare.path().join("some/MANIFEST.sha256")).unwrap();
    assert!(manifest.contains("  NARROWED.txt\n"), "{manifest}");
    let verify = std::process::Command::new("sh")
        .arg(bare.path().join("some/verify.sh"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verify.stdout).into_owned();
    assert!(
        verify.status.success() && said.contains("narrowed to hosts limited to web1"),
        "{said}"
    );
    // A check writes nothing.
    run(&["report", "rotation", "--out", "r.txt", "--check"])
        .expect_code(0)
        .expect_text(&["would write the report to r.txt"]);
    assert!(!bare.path().join("r.txt").exists());
}
