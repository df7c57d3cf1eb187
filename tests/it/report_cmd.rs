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

#[test]
fn a_play_tells_what_it_did_where_reports_cannot_be_told() {
    let bare = fleet();
    bare.enroll("alice", &[]);
    let archive = ["--before", "2999-01-01", "--out", "old.jsonl"];
    bare.run(&[&["audit", "archive"], &archive[..]].concat())
        .expect_code(0);
    bare.run(&["report", "rotation"])
        .expect_code(1)
        .expect_text(&["were archived", "`report pack` before `audit archive`"]);
    let playbook = concat!(env!("CARGO_MANIFEST_DIR"), "/playbooks/rotate.yml");
    bare.run(&["play", playbook])
        .expect_code(0)
        .expect_text(&["PLAY RECAP", "no numbers of the reports: events 1 to"]);
    assert_eq!(bare.events("run.finished").len(), 2);
}
