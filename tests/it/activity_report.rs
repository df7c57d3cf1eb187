//! `fleetotp report activity`: the figures are counted again from what was put into the ledger.

use serde_json::{Value, json};

use super::report_cmd::{figure, rows, section};
use super::support::bare::Bare;

/// Milliseconds of a time on the day of all these logins.
fn at(time: &str) -> i64 {
    let at: fleetotp::clock::Timestamp = format!("2025-11-24T{time}Z").parse().unwrap();
    at.as_millisecond()
}

/// Puts a login into the ledger; `place` is one of `FR` and nothing.
fn login(
    bare: &Bare,
    host: &str,
    time: &str,
    login: &str,
    outcome: &str,
    address: &str,
    country: &str,
) {
    let (factors, city) = match outcome {
        "accepted" => ("key+code", "'Paris'"),
        _ => ("key", "NULL"),
    };
    let country = if country.is_empty() {
        "NULL".to_owned()
    } else {
        format!("'{country}'")
    };
    let (at, stored) = (at(time), at("12:00:00"));
    bare.sql(&format!(
        "INSERT INTO login_event (host, place, at, login, service, outcome, factors, address, serial, refused_before, line,
         stored_at, country, city) VALUES ('{host}', 'f:{time}', {at}, '{login}', 'sshd', '{outcome}', '{factors}',
         '{address}', (SELECT serial FROM token JOIN person ON person.id = token.admin WHERE name = '{login}'), 0,
         'line', {stored}, {country}, {city})"
    ));
}

fn finding(bare: &Bare, key: &str, id: &str, severity: &str, login: &str, noticed: &str) {
    let (at, noticed) = (at("02:10:00"), at(noticed));
    bare.sql(&format!(
        "INSERT INTO activity_finding (key, id, severity, at, noticed_at, serial, login, hosts, text, evidence) VALUES
         ('{key}', '{id}', '{severity}', {at}, {noticed}, (SELECT serial FROM token JOIN person ON person.id = token.admin
         WHERE name = '{login}'), '{login}', '[\"web1\"]', '=1+1 <script>alert(1)</script>', '[\"a <b>\",\"c\"]')"
    ));
}

fn ledger() -> Bare {
    let bare = Bare::new(&json!({
        "all": {"hosts": {"web1": {}, "web2": {}, "web3": {}}},
        "admins": {"alice": {}, "bob": {}},
    }));
    bare.enroll("alice", &[]);
    // The day is before the token's: reports of then know the account only.
    login(
        &bare,
        "web1",
        "02:10:00",
        "alice",
        "accepted",
        "192.0.2.1",
        "FR",
    );
    login(
        &bare,
        "web2",
        "02:59:59",
        "alice",
        "accepted",
        "192.0.2.1",
        "FR",
    );
    login(
        &bare,
        "web1",
        "03:00:00",
        "alice",
        "wrong-code",
        "198.51.100.7",
        "",
    );
    login(
        &bare,
        "web1",
        "23:10:00",
        "bob",
        "replayed",
        "198.51.100.7",
        "US",
    );
    login(
        &bare,
        "web1",
        "23:11:00",
        "bob",
        "ended",
        "198.51.100.7",
        "",
    );
    finding(&bare, "k1", "new-network", "notice", "bob", "12:00:00");
    finding(&bare, "k2", "failure-spike", "warning", "alice", "12:00:00");
    finding(&bare, "k3", "no-second-factor", "alert", "bob", "12:00:00");
    bare
}

fn report(bare: &Bare, args: &[&str], code: i32) -> Value {
    let ran = bare.run(&[&["report", "activity"], args, &["-o", "json"]].concat());
    ran.expect_code(code).json()
}

fn figures(report: &Value) -> Vec<i64> {
    [
        "logins",
        "with_code",
        "refused",
        "admins",
        "hosts",
        "sources",
        "countries",
        "alerts",
        "warnings",
        "notices",
    ]
    .iter()
    .map(|id| figure(report, "summary", id).as_i64().unwrap())
    .collect()
}

#[test]
fn every_figure_of_activity_is_what_was_collected() {
    let bare = ledger();
    let all = report(&bare, &[], 0);
    assert_eq!(figures(&all), [2, 2, 2, 2, 2, 2, 2, 1, 1, 1]);
    let hours = |id: &str| -> Vec<(usize, i64)> {
        let bars = section(&all, id)["histogram"]["bars"].as_array().unwrap();
        assert_eq!(bars.len(), 24);
        let counts = bars.iter().map(|b| b["count"].as_i64().unwrap());
        counts.enumerate().filter(|(_, count)| *count > 0).collect()
    };
    assert_eq!(hours("logins_by_hour"), [(2, 2)]);
    assert_eq!(hours("refused_by_hour"), [(3, 1), (23, 1)]);
    let short = |id: &str, keys: &[&str]| -> Vec<Value> {
        let row = |row: &Value| keys.iter().map(|k| row[k].clone()).collect::<Value>();
        rows(&all, id).iter().map(row).collect()
    };
    assert_eq!(
        short(
            "admins",
            &[
                "admin",
                "login",
                "logins",
                "refused",
                "hosts",
                "sources",
                "countries"
            ]
        ),
        [
            json!(["alice", "alice", 2, 1, 2, 2, "FR"]),
            json!(["bob", "bob", 0, 1, 1, 1, "US"])
        ]
    );
    // A host without a login is there too.
    assert_eq!(
        short("hosts", &["host", "logins", "refused", "last_login_at"]),
        [
            json!(["web1", 1, 2, "2025-11-24T02:10:00Z"]),
            json!(["web2", 1, 0, "2025-11-24T02:59:59Z"]),
            json!(["web3", 0, 0, null])
        ]
    );
    assert_eq!(
        short(
            "sources",
            &["address", "country", "city", "logins", "refused", "admins"]
        ),
        [
            json!(["192.0.2.1", "FR", "Paris", 2, 0, 1]),
            json!(["198.51.100.7", "US", null, 0, 2, 2])
        ]
    );
    assert_eq!(
        short(
            "findings",
            &["severity", "id", "admin", "hosts", "evidence"]
        ),
        [
            json!(["alert", "no-second-factor", "bob", "web1", "a <b> | c"]),
            json!(["warning", "failure-spike", "alice", "web1", "a <b> | c"]),
            json!(["notice", "new-network", "bob", "web1", "a <b> | c"])
        ]
    );
    assert_eq!(rows(&all, "logins").len(), 5);

    assert_eq!(
        figures(&report(&bare, &["-a", "alice"], 0)),
        [2, 2, 1, 1, 2, 2, 1, 0, 1, 0]
    );
    assert_eq!(
        figures(&report(&bare, &["-l", "web2"], 0)),
        [1, 1, 0, 1, 1, 1, 1, 0, 0, 0]
    );
    let night = ["--between", "2025-11-24T03:00:00Z", "2025-11-24T23:11:00Z"];
    assert_eq!(
        figures(&report(&bare, &night, 0)),
        [0, 0, 2, 2, 1, 1, 1, 0, 0, 0]
    );
    // Alerts and warnings count, a notice does not.
    report(&bare, &["--strict"], 9);
    bare.sql("DELETE FROM activity_finding WHERE key != 'k1'");
    report(&bare, &["--strict"], 0);
}

#[test]
fn activity_of_a_day_is_what_was_known_then_in_every_format() {
    let bare = ledger();
    let of_day = |format: &str| {
        let as_of = [
            "report",
            "activity",
            "--as-of",
            "2025-11-24",
            "--format",
            format,
        ];
        bare.run(&as_of).expect_code(0).stdout
    };
    let formats = ["text", "csv", "json", "html", "markdown"];
    let before = formats.map(of_day);
    // Collected later, about that day: not known then.
    bare.sql(&format!(
        "UPDATE login_event SET stored_at = {} WHERE login = 'bob'",
        at("12:00:00") + 90_000_000
    ));
    finding(&bare, "k4", "log-gap", "warning", "alice", "23:59:59");
    assert_ne!(formats.map(of_day), before);
    bare.sql("DELETE FROM activity_finding WHERE key = 'k4'");
    let without = of_day("json");
    let without: Value = serde_json::from_str(&without).unwrap();
    assert_eq!(figure(&without, "summary", "refused"), 1);
    bare.sql(&format!(
        "UPDATE login_event SET stored_at = {}",
        at("12:00:00")
    ));
    assert_eq!(formats.map(of_day), before);
    let morning = report(&bare, &["--as-of", "2025-11-24T11:59:59Z"], 0);
    assert_eq!(figures(&morning), [0; 10]);

    // What a log says is text: no element, no formula.
    let [text, csv, _, html, markdown] = &before;
    assert!(csv.contains("\"'=1+1 <script>alert(1)</script>\""), "{csv}");
    assert!(
        !html.contains("<script") && html.contains("&lt;script&gt;alert(1)"),
        "{html}"
    );
    assert!(text.contains("=1+1"), "{text}");
    // In a code span nothing is markup.
    let spans = markdown.matches("`=1+1 <script>alert(1)</script>`").count();
    assert_eq!(
        (spans, markdown.matches("<script").count()),
        (3, 3),
        "{markdown}"
    );
    assert!(html.contains("default-src 'none'") && html.contains("<svg viewBox"));
}
