//! Who changes the log, and what catches it: the ledger alone, a head that was kept elsewhere, a witness, a second key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use fleetotp::audit::head::Witness;
use fleetotp::audit::ssh::Verifier;
use fleetotp::audit::verdict::{Evidence, Trust, judge};
use fleetotp::ledger::ChainCheck;
use serde_json::{Value, json};

use crate::support::bare::Bare;
use crate::support::faults::ledger_of;
use crate::support::project::Ran;

/// What the forger's Python has at hand: `c` is the database, `events` all of them, `rehash` chains them anew.
const FORGER: &str = r#"
import sqlite3, hashlib, json, subprocess, sys, os
c = sqlite3.connect('state/ledger.db')
project = c.execute("SELECT value FROM meta WHERE key='project'").fetchone()[0]
sha = lambda text: hashlib.sha256(text.encode()).hexdigest()
def events():
    return c.execute('SELECT seq, body, hash FROM event ORDER BY seq').fetchall()
def note():
    rows = events()
    c.execute("UPDATE meta SET value=? WHERE key='head'", (f'{rows[-1][0]} {rows[-1][2]}',))
def rehash():
    previous = sha('fleetotp event log v1\n' + project)
    for number, (seq, body, _) in enumerate(events(), 1):
        value = json.loads(body)
        value['seq'] = number
        body = json.dumps(value, sort_keys=True, separators=(',', ':'), ensure_ascii=False)
        previous = sha(previous + body)
        c.execute('UPDATE event SET seq=?, body=?, hash=? WHERE seq=?', (number, body, previous, seq))
    note()
def edit():
    c.execute("UPDATE event SET body=replace(body, '\"exit_code\":0', '\"exit_code\":1') WHERE seq=(SELECT MIN(seq) FROM event WHERE kind='run.finished')")
    assert c.execute('SELECT changes()').fetchone()[0] == 1
def sign_all(key):
    for size, in c.execute('SELECT size FROM signed_head').fetchall():
        row = c.execute('SELECT hash FROM event WHERE seq=?', (size,)).fetchone()
        at = '2026-01-01T00:00:00Z'
        text = f'fleetotp head v1\nproject {project}\nsize {size}\nhash {row[0]}\nat {at}\n'
        done = subprocess.run(['ssh-keygen', '-Y', 'sign', '-q', '-n', 'fleetotp-head', '-f', key], input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        c.execute('UPDATE signed_head SET hash=?, at=1767225600000, signature=? WHERE size=?', (row[0], done.stdout.decode(), size))
last = events()[-1][0]
"#;

fn keygen(path: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
        .arg(path)
        .status()
        .unwrap();
    assert!(made.success());
}

fn python(bare: &Bare, script: &str) {
    let output = Command::new("python3")
        .args(["-c", &format!("{FORGER}{script}\nc.commit()")])
        .current_dir(bare.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}

fn copy(bare: &Bare, from: &str, to: &str) {
    let copied = Command::new("sh")
        .args(["-c", &format!("rm -rf {to} && cp -a {from} {to}")])
        .current_dir(bare.path())
        .status()
        .unwrap();
    assert!(copied.success());
}

/// A project with a signing key, a forger's key beside it, two exports, and copies of its state: `old` after the first
/// export, `now` after the second. Returns it with the head that the second export names.
fn signed() -> (Bare, String) {
    let bare = Bare::new(&json!({
        "all": {"hosts": {"web1": {}}},
        "admins": {"alice": {}, "bob": {}},
    }));
    let settings = bare.path().join("fleetotp.yml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let changed = text.replace("#signing_key: state/audit_key", "signing_key: audit_key");
    assert_ne!(text, changed);
    std::fs::write(&settings, changed).unwrap();
    keygen(&bare.path().join("audit_key"));
    keygen(&bare.path().join("forger"));
    copy(&bare, "audit_key.pub", "kept.pub");
    bare.enroll("alice", &[]);
    bare.run(&["audit", "export", "--out", "one.jsonl"])
        .expect_code(0);
    copy(&bare, "state", "old");
    bare.enroll("bob", &[]);
    let said = bare
        .run(&["audit", "export", "--out", "two.jsonl"])
        .expect_code(0);
    let head = said
        .stderr
        .trim()
        .rsplit_once("head ")
        .unwrap()
        .1
        .to_owned();
    copy(&bare, "state", "now");
    (bare, head)
}

fn ids(document: &Value) -> BTreeSet<String> {
    let faults = document["faults"].as_array().unwrap().iter();
    faults
        .map(|f| f["id"].as_str().unwrap().to_owned())
        .collect()
}

/// What `audit verify` finds, and whether its exit code says the same.
fn found(ran: &Ran) -> BTreeSet<String> {
    let found = ids(&ran.json());
    let code = if found.is_empty() { 0 } else { 9 };
    assert_eq!(ran.code, code, "{}{}", ran.stdout, ran.stderr);
    found
}

/// What a host's witness of the head shows, judged as `--witnesses` does.
async fn by_witness(bare: &Bare, line: &str) -> BTreeSet<String> {
    let ledger = ledger_of(bare.path()).await;
    let witness = Witness::parse(line).unwrap();
    let evidence = Evidence {
        witnesses: BTreeMap::from([("web1".to_owned(), vec![witness])]),
        ..Evidence::default()
    };
    let start = ledger.chain_start().await.unwrap();
    let mut sizes = evidence.sizes();
    sizes.insert(start.size);
    let mut check = ChainCheck::new(start, sizes);
    let noted = ledger.check_events(&mut check).await.unwrap();
    let chain = check.finish(noted.as_ref());
    let keys = Verifier::open(&bare.path().join("kept.pub")).unwrap();
    let project = ledger.project_id().to_string();
    let verdict = judge(&project, &chain, &evidence, &Trust::Keys(keys)).unwrap();
    verdict.faults.iter().map(|f| f.id().to_owned()).collect()
}

fn set(words: &str) -> BTreeSet<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

/// Manipulations of the ledger: what the forger does; what the ledger itself, with the project's key, shows; what a head
/// shows that was kept elsewhere, or a host's witness of it; what an own copy of the public key shows.
const LEDGER: &[(&str, &str, &str, &str, &str)] = &[
    ("nothing", "", "", "", ""),
    ("edits an event", "edit()", "edited", "edited", "edited"),
    (
        "changes its time in the text",
        "c.execute(\"UPDATE event SET body=replace(body, '\\\"at\\\":\\\"20', '\\\"at\\\":\\\"19') WHERE seq=3\")",
        "edited",
        "edited",
        "edited",
    ),
    (
        "changes its time for searches",
        "c.execute('UPDATE event SET at=at-86400000 WHERE seq=3')",
        "edited",
        "edited",
        "edited",
    ),
    (
        "deletes the first",
        "c.execute('DELETE FROM event WHERE seq=1')",
        "removed-at-head",
        "removed-at-head",
        "removed-at-head",
    ),
    (
        "deletes the first, with a seal",
        "c.execute('INSERT INTO seal SELECT seq, hash, at FROM event WHERE seq=2'); c.execute('DELETE FROM event WHERE seq<=2')",
        "removed-at-head",
        "removed-at-head",
        "removed-at-head",
    ),
    (
        "deletes one in the middle",
        "c.execute('DELETE FROM event WHERE seq=3')",
        "removed-in-the-middle",
        "removed-in-the-middle",
        "removed-in-the-middle",
    ),
    (
        "deletes the last",
        "c.execute('DELETE FROM event WHERE seq=?', (last,))",
        "removed-at-tail",
        "removed-at-tail",
        "removed-at-tail",
    ),
    (
        "cuts the end off, and the notes of it",
        "s = c.execute('SELECT MIN(size) FROM signed_head').fetchone()[0]; c.execute('DELETE FROM event WHERE seq>?', (s + 1,)); c.execute('DELETE FROM signed_head WHERE size>?', (s,)); note()",
        "",
        "removed-at-tail",
        "",
    ),
    (
        "puts two in each other's place",
        "c.execute('UPDATE event SET seq=999 WHERE seq=2'); c.execute('UPDATE event SET seq=2 WHERE seq=3'); c.execute('UPDATE event SET seq=3 WHERE seq=999')",
        "re-ordered",
        "re-ordered",
        "re-ordered",
    ),
    (
        "edits one and chains all anew",
        "edit(); rehash()",
        "rewritten",
        "rewritten",
        "rewritten",
    ),
    (
        "the same, and removes all signatures",
        "edit(); c.execute('DELETE FROM signed_head'); c.execute(\"DELETE FROM event WHERE kind='head.signed'\"); rehash()",
        "",
        "rewritten",
        "signature-missing",
    ),
    (
        "the same, and signs with another key",
        "edit(); rehash(); sign_all('forger')",
        "signature-wrong",
        "rewritten signature-wrong",
        "signature-wrong",
    ),
    (
        "the same, and gives the project that key",
        "edit(); rehash(); sign_all('forger'); os.replace('forger', 'audit_key'); os.replace('forger.pub', 'audit_key.pub')",
        "",
        "rewritten",
        "signature-wrong",
    ),
    (
        "removes a signature",
        "c.execute('DELETE FROM signed_head')",
        "signature-missing",
        "signature-missing",
        "signature-missing",
    ),
    (
        "brings an old ledger back",
        "c.close(); subprocess.check_call('rm -rf state && cp -a old state', shell=True); c = sqlite3.connect('state/ledger.db')",
        "",
        "removed-at-tail",
        "",
    ),
    (
        "removes the key",
        "os.remove('audit_key'); os.remove('audit_key.pub')",
        "key-gone",
        "key-gone",
        "",
    ),
];

#[tokio::test]
async fn every_manipulation_of_the_ledger_up_to_the_newest_witness_is_named() {
    let (bare, head) = signed();
    let (size, hash) = head.split_once(':').unwrap();
    let project = bare.sql("SELECT value FROM meta WHERE key = 'project'");
    let line = format!("{}\t{size}\t{hash}", project.trim());
    let sound = bare
        .run(&["audit", "verify", "--head", &head])
        .expect_code(0);
    assert!(
        sound
            .stdout
            .contains(&format!("completeness: proven up to event {size} (")),
        "{}",
        sound.stdout
    );
    copy(&bare, "audit_key", "safe_key");
    for (what, script, alone, kept, own_key) in LEDGER {
        copy(&bare, "now", "state");
        copy(&bare, "safe_key", "audit_key");
        copy(&bare, "kept.pub", "audit_key.pub");
        keygen_again(&bare);
        python(&bare, script);
        let verify =
            |args: &[&str]| found(&bare.run(&[&["audit", "verify", "-o", "json"], args].concat()));
        let (with_head, with_key) = (["--head", &head], ["--signer", "kept.pub"]);
        let results = std::thread::scope(|scope| {
            [&[][..], &with_head, &with_key]
                .map(|args| scope.spawn(move || verify(args)))
                .map(|thread| thread.join().unwrap())
        });
        let expected = [alone, kept, own_key].map(|words| set(words));
        assert_eq!(
            results, expected,
            "{what}: alone, with a kept head, with an own key"
        );
        // A witness shows what a kept head shows; signatures beside the ledger it says nothing about.
        let witnessed = by_witness(&bare, &line).await;
        let about_signatures = ["signature-wrong", "signature-missing", "key-gone"];
        let expected: BTreeSet<String> = set(kept)
            .into_iter()
            .filter(|id| !about_signatures.contains(&id.as_str()))
            .collect();
        let witnessed: BTreeSet<String> = witnessed
            .into_iter()
            .filter(|id| !about_signatures.contains(&id.as_str()))
            .collect();
        assert_eq!(witnessed, expected, "{what}, with a witness");
    }
}

/// The forger's key, where the last manipulation has moved it.
fn keygen_again(bare: &Bare) {
    let key = bare.path().join("forger");
    if !key.exists() {
        keygen(&key);
    }
}

/// Manipulations of an export: what is made of its lines; what the file shows with the signer's key; what a kept head adds.
type Forge = fn(&mut Vec<String>);
const EXPORT: &[(&str, Forge, &str, &str)] = &[
    ("nothing", |_| {}, "", ""),
    (
        "edits an event",
        |l| replace(l, 2, "\"kind\":\"", "\"kind\":\"x"),
        "edited",
        "edited",
    ),
    (
        "changes a time",
        |l| replace(l, 2, "\"at\":\"20", "\"at\":\"19"),
        "edited",
        "edited",
    ),
    (
        "deletes the first",
        |l| drop(l.remove(1)),
        "removed-at-head",
        "removed-at-head",
    ),
    (
        "deletes the first, and says so",
        |l| {
            let hash = l.remove(1).rsplit_once("\"hash\":\"").unwrap().1[..64].to_owned();
            let mut first: Value = serde_json::from_str(&l[0]).unwrap();
            first["export"]["from"] = json!(2);
            first["export"]["previous"] = json!(hash);
            l[0] = first.to_string();
        },
        "removed-at-head",
        "removed-at-head",
    ),
    (
        "deletes one in the middle",
        |l| drop(l.remove(3)),
        "removed-in-the-middle",
        "removed-in-the-middle",
    ),
    (
        "deletes the last",
        |l| drop(l.remove(last_event(l))),
        "removed-at-tail",
        "removed-at-tail",
    ),
    (
        "cuts the end off with its heads, and says so",
        |l| {
            let size = last_event(l) - 1;
            l.remove(size + 1);
            let first = first_head(l);
            l.truncate(first + 1);
            replace(
                l,
                0,
                &format!("\"to\":{}", size + 1),
                &format!("\"to\":{size}"),
            );
        },
        "",
        "removed-at-tail",
    ),
    (
        "puts two in each other's place",
        |l| l.swap(2, 3),
        "re-ordered",
        "re-ordered",
    ),
    (
        "repeats one",
        |l| l.insert(3, l[2].clone()),
        "repeated",
        "repeated",
    ),
    (
        "puts a line in between",
        |l| l.insert(3, "{}".to_owned()),
        "edited",
        "edited",
    ),
    (
        "removes a signature",
        |l| drop(l.remove(first_head(l))),
        "signature-missing",
        "signature-missing",
    ),
    (
        "damages a signature",
        |l| {
            let at = first_head(l);
            replace(l, at, "\"at\":\"20", "\"at\":\"19");
        },
        "signature-wrong",
        "signature-wrong",
    ),
];

fn replace(lines: &mut [String], at: usize, from: &str, to: &str) {
    let changed = lines[at].replacen(from, to, 1);
    assert_ne!(lines[at], changed, "{from}");
    lines[at] = changed;
}

fn first_head(lines: &[String]) -> usize {
    lines
        .iter()
        .position(|l| l.starts_with("{\"head\""))
        .unwrap()
}

fn last_event(lines: &[String]) -> usize {
    lines
        .iter()
        .rposition(|l| l.starts_with("{\"event\""))
        .unwrap()
}

#[test]
fn every_manipulation_of_an_export_is_named_without_the_project() {
    let (bare, head) = signed();
    let text = std::fs::read_to_string(bare.path().join("two.jsonl")).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // A directory without any project: the file, the public key, and the head on paper.
    let elsewhere = bare.path().join("auditor");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::copy(bare.path().join("kept.pub"), elsewhere.join("key.pub")).unwrap();
    let verify = |args: &[&str]| {
        let base = ["audit", "verify", "--export", "e.jsonl", "-o", "json"];
        let output = Command::new(env!("CARGO_BIN_EXE_fleetotp"))
            .args(base)
            .args(args)
            .current_dir(&elsewhere)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap();
        found(&Ran::of(&output))
    };
    for (what, forge, alone, kept) in EXPORT {
        let mut forged = lines.clone();
        forge(&mut forged);
        std::fs::write(elsewhere.join("e.jsonl"), forged.join("\n") + "\n").unwrap();
        let signer = ["--signer", "key.pub"];
        assert_eq!(verify(&signer), set(alone), "{what}, with the key");
        let with_head = [&signer[..], &["--head", &head]].concat();
        assert_eq!(verify(&with_head), set(kept), "{what}, with a kept head");
    }
    std::fs::write(elsewhere.join("e.jsonl"), &text).unwrap();
    assert_eq!(verify(&[]), set("key-gone"), "no key is no pass");
}

/// `sha256sum` and `ssh-keygen` are all that an auditor needs: the recipe of the guide, in a shell.
#[test]
fn an_export_is_checked_by_stock_tools() {
    let (bare, _) = signed();
    let guide = include_str!("../../docs/guide.md");
    let recipe = guide
        .split("<!-- verify-by-hand -->\n```sh\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("the guide has the recipe");
    let output = Command::new("dash")
        .args(["-euc", recipe])
        .env("EXPORT", "two.jsonl")
        .env("KEY", "kept.pub")
        .current_dir(bare.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{output:?}");
    let events = std::fs::read_to_string(bare.path().join("two.jsonl")).unwrap();
    let count = events
        .lines()
        .filter(|l| l.starts_with("{\"event\""))
        .count();
    assert!(
        said.contains(&format!("{count} events are chained")),
        "{said}"
    );
    assert_eq!(
        said.matches("Good \"fleetotp-head\" signature").count(),
        2,
        "{said}"
    );
}

#[test]
fn archived_events_and_the_rest_verify_as_one_log() {
    let (bare, head) = signed();
    let log = bare
        .run(&["audit", "log", "--kind", "token", "--admin", "alice"])
        .expect_code(0);
    assert!(
        log.stdout.contains("token.issued by tester admin=alice"),
        "{}",
        log.stdout
    );
    assert_eq!(log.stdout.lines().count(), 1, "{}", log.stdout);
    // What leaves the ledger has to be somewhere.
    bare.run(&["audit", "archive", "--before", "2999-01-01", "--out", "-"])
        .expect_code(64)
        .expect_text(&["standard output keeps none"]);
    let archive = [
        "audit",
        "archive",
        "--before",
        "2999-01-01",
        "--out",
        "old.jsonl",
    ];
    bare.run(&[&archive[..], &["--check"]].concat())
        .expect_code(0);
    let before = bare.sql("SELECT COUNT(*) FROM event");
    bare.run(&archive).expect_code(0);
    let left: i64 = bare
        .sql("SELECT COUNT(*) FROM event")
        .trim()
        .parse()
        .unwrap();
    assert!(left <= 3, "{left} of {before}");
    let rest = bare
        .run(&["audit", "verify", "-o", "json"])
        .expect_code(0)
        .json();
    assert!(rest["from"].as_i64().unwrap() > 1);
    let joined = bare
        .run(&[
            "audit",
            "verify",
            "--archive",
            "old.jsonl",
            "--head",
            &head,
            "-o",
            "json",
        ])
        .expect_code(0)
        .json();
    assert_eq!((&joined["from"], &joined["to"]), (&json!(1), &rest["to"]));
    bare.run(&[
        "audit",
        "verify",
        "--export",
        "old.jsonl",
        "--signer",
        "kept.pub",
    ])
    .expect_code(0);
    // A part that begins later is vouched for by the signed head it begins with; two parts are one log.
    let from = rest["from"].to_string();
    bare.run(&["audit", "export", "--from", &from, "--out", "new.jsonl"])
        .expect_code(0);
    for parts in [
        &["--export", "new.jsonl"][..],
        &["--export", "old.jsonl", "--export", "new.jsonl"],
    ] {
        bare.run(&[&["audit", "verify", "--signer", "kept.pub"], parts].concat())
            .expect_code(0);
    }
    // What goes on is chained to the seal.
    bare.run(&["enroll", "--no-push", "bob", "--reissue"])
        .expect_code(0);
    bare.run(&["audit", "verify"]).expect_code(0);
    bare.run(&["doctor"]);
    python(&bare, "c.execute('UPDATE seal SET hash=?', ('0' * 64,))");
    assert!(!found(&bare.run(&["audit", "verify", "-o", "json"])).is_empty());
}

#[test]
fn a_key_that_vanished_stops_what_would_leave_heads_unsigned() {
    let (bare, _) = signed();
    std::fs::remove_file(bare.path().join("audit_key")).unwrap();
    bare.run(&["audit", "export", "--out", "x.jsonl"])
        .expect_code(1)
        .expect_text(&["the signing key", "cannot be read"]);
    bare.run(&["sync"])
        .expect_code(1)
        .expect_text(&["the signing key"]);
    // That somebody leaves is recorded all the same; the run is over and holds no lock.
    bare.run(&["revoke", "alice", "--reason", "left"])
        .expect_code(1)
        .expect_text(&["the signing key"]);
    assert_eq!(bare.events("token.revoke_requested").len(), 1);
    assert_eq!(bare.sql("SELECT COUNT(*) FROM run_lock").trim(), "0");
    assert_eq!(
        bare.sql("SELECT COUNT(*) FROM run WHERE ended_at IS NULL")
            .trim(),
        "0"
    );
    let settings = bare.path().join("fleetotp.yml");
    let text = std::fs::read_to_string(&settings).unwrap();
    std::fs::write(
        &settings,
        text.replace("  signing_key: audit_key\n", "  #signing_key: x\n"),
    )
    .unwrap();
    bare.run(&["sync"])
        .expect_code(1)
        .expect_text(&["names no signing key"]);
    std::fs::write(
        &settings,
        text.replace("signing_key: audit_key", "signing_key: none"),
    )
    .unwrap();
    bare.run(&["audit", "export", "--out", "x.jsonl"])
        .expect_code(0);
    assert_eq!(
        found(&bare.run(&["audit", "verify", "-o", "json"])),
        set("key-gone")
    );
}
