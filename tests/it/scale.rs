//! Ten thousand tokens at the controller: what `status`, `rotate --due --check` and `revoke --not-in` say, and that their
//! memory is bounded. Times are printed, not judged: `make bench` shows them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use fleetotp::clock::{Clock as _, FixedClock, Span, SystemClock, SystemEntropy, Timestamp};
use fleetotp::ledger::{
    Cause, HostObservation, HostOutcome, IssueKind, Ledger, NewGeneration, Reserved,
    SheetEncryption, Vouched,
};
use fleetotp::names::{AdminName, HostName, PolicyName, RealmName};
use fleetotp::token::id::{Serial, SheetId};
use fleetotp::token::params::CodeParams;
use serde_json::{Value, json};

use crate::support::bare::Bare;
use crate::support::memory::watched;

const ADMINS: usize = 5_000;
const REALMS: [&str; 2] = ["east", "west"];
const HOSTS: usize = 5;
/// What a run may take, in KiB.
const MOST: u64 = 192 * 1024;

fn hosts(realm: &str) -> impl Iterator<Item = String> {
    (1..=HOSTS).map(move |n| format!("{realm}{n}"))
}

pub(crate) fn days_ago(days: u64) -> Timestamp {
    SystemClock.now() - jiff::SignedDuration::try_from(Span::from_days(days).duration()).unwrap()
}

/// The first issue of admin `a<n>` in a realm.
pub(crate) fn first_issue(n: usize, serial: Serial, realm: &str) -> NewGeneration {
    NewGeneration {
        names: Reserved {
            serial,
            generation: 1,
            sheet: SheetId::random(&SystemEntropy).unwrap(),
        },
        admin: AdminName::new(&format!("a{n}")).unwrap(),
        realm: RealmName::new(realm).unwrap(),
        kind: IssueKind::First,
        cause: Cause::default(),
        policy: PolicyName::new("quarterly").unwrap(),
        issuer: "Example Corp".to_owned(),
        label: format!("a{n}@{realm}"),
        params: CodeParams::DEFAULT,
        // As long as a sealed key; nothing here opens it.
        sealed: vec![n.to_le_bytes()[0]; 260],
        sealed_to: vec!["age1nobody".to_owned()],
        recovery: Vec::new(),
        fingerprint: format!("{n:016x}"),
        expires_at: None,
        encryption: SheetEncryption::Plain,
        vouched: Vouched::default(),
    }
}

/// Issues everybody's token in a realm, so many days ago.
async fn issue(bare: &Bare, realm: &str, days: u64) {
    let clock = Arc::new(FixedClock(days_ago(days)));
    let path = bare.path().join("state/ledger.db");
    let ledger = Ledger::open(&path, clock, Arc::new(SystemEntropy))
        .await
        .unwrap();
    let new: Vec<NewGeneration> = (0..ADMINS)
        .map(|n| first_issue(n, Serial::random(&SystemEntropy).unwrap(), realm))
        .collect();
    assert_eq!(ledger.issue(&new).await.unwrap().len(), ADMINS);
    let read: Vec<HostObservation> = hosts(realm)
        .map(|name| {
            let host = HostName::new(&name).unwrap();
            HostObservation::new(host, SystemClock.now(), HostOutcome::Read)
        })
        .collect();
    ledger.observe_hosts(&read).await.unwrap();
    ledger.close().await;
}

/// All tokens confirmed, and enforced on every host of their realm; those of `east` are due.
async fn fleet() -> Bare {
    let admins: serde_json::Map<String, Value> = (0..ADMINS)
        .map(|n| {
            let admin = json!({"login": format!("u{n}"), "email": format!("a{n}@example.com")});
            (format!("a{n}"), admin)
        })
        .collect();
    let all: serde_json::Map<String, Value> = REALMS
        .iter()
        .flat_map(|realm| hosts(realm))
        .map(|name| (name, json!({"ansible_host": "192.0.2.1"})))
        .collect();
    let bare = Bare::new(&json!({
        "all": {"hosts": all, "vars": {"ansible_user": "root"}},
        "admins": admins,
        "realms": {
            "east": {"hosts": "east*", "policy": "quarterly"},
            "west": {"hosts": "west*", "policy": "quarterly"},
        },
        "policies": {"quarterly": {"issuer": "Example Corp", "rotate_every": "90d"}},
    }));
    issue(&bare, "east", 100).await;
    issue(&bare, "west", 10).await;
    for sql in [
        "UPDATE token SET state = 'active'",
        "UPDATE generation SET state = 'active', confirmed_at = issued_at, confirmed_how = 'code'",
        "UPDATE sheet SET state = 'confirmed', ended_at = issued_at",
        "INSERT INTO token_host (serial, host, login, state, current_generation, changed_at, observed_at)
         SELECT t.serial, h.name, replace(p.name, 'a', 'u'), 'enforced', 1, h.last_seen_at, h.last_seen_at
         FROM token t JOIN person p ON p.id = t.admin JOIN host h ON h.name LIKE t.realm || '%'",
    ] {
        bare.sql(sql);
    }
    bare
}

/// Runs the program: its exit code, standard output and error. Its memory is bounded.
fn run(bare: &Bare, args: &[&str]) -> (i32, [String; 2]) {
    let start = Instant::now();
    let (code, texts, peak) = watched(bare.command(args));
    println!(
        "{:<44} {:>6} ms {:>5} MiB",
        args.join(" "),
        start.elapsed().as_millis(),
        peak / 1024
    );
    assert!(peak < MOST, "{args:?}: {peak} KiB");
    (code, texts)
}

fn staff(count: usize) -> String {
    (0..count).fold("email\n".to_owned(), |mut text, n| {
        writeln!(text, "a{n}@example.com").unwrap();
        text
    })
}

fn tokens(bare: &Bare, args: &[&str]) -> Vec<Value> {
    let (code, [out, err]) = run(bare, &[args, &["-o", "json"]].concat());
    assert_eq!(code, 0, "{err}");
    let mut document: Value = serde_json::from_str(&out).unwrap();
    let Value::Array(rows) = document["tokens"].take() else {
        panic!("no list of tokens");
    };
    rows
}

#[tokio::test]
async fn ten_thousand_tokens_are_read_chosen_and_revoked_in_bounded_memory() {
    let start = Instant::now();
    let bare = fleet().await;
    println!("seeded in {} ms", start.elapsed().as_millis());

    let rows = tokens(&bare, &["status"]);
    assert_eq!(rows.len(), ADMINS * REALMS.len());
    for row in &rows {
        assert_eq!(row["state"], "active", "{row:#}");
        assert_eq!(
            row["hosts"],
            json!({"all": HOSTS, "enforced": HOSTS, "reachable": HOSTS, "unknown": 0}),
            "{row:#}"
        );
    }

    let rows = tokens(&bare, &["rotate", "--due", "--check"]);
    assert_eq!(rows.len(), ADMINS);
    for row in &rows {
        assert_eq!(
            (&row["realm"], &row["due"], &row["left_because"]),
            (&json!("east"), &json!(true), &Value::Null),
            "{row:#}"
        );
    }

    // A list that was cut off revokes nobody; one as it should be, whom it no longer names.
    let revoke = ["revoke", "--no-push", "--reason", "left", "--not-in"];
    std::fs::write(bare.path().join("cut.csv"), staff(ADMINS - 501)).unwrap();
    let (code, [_, err]) = run(&bare, &[&revoke[..], &["cut.csv"]].concat());
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains(
            "501 of 5000 admins would be revoked, and at most 500 may be at once: a4499, a4500, "
        ),
        "{err}"
    );
    assert_eq!(
        bare.sql("SELECT state, count(*) FROM token GROUP BY state"),
        "active 10000\n"
    );
    std::fs::write(bare.path().join("staff.csv"), staff(ADMINS - 500)).unwrap();
    let (code, [_, err]) = run(&bare, &[&revoke[..], &["staff.csv"]].concat());
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        bare.sql("SELECT state, count(*) FROM token GROUP BY state"),
        "active 9000\nrevoking 1000\n"
    );
}
