//! Many hosts with many admins at the controller, over a simulated transport: what a rollout plans on each of them, what one
//! that changes nothing finds, and that memory is bounded. `make bench` does it with ten thousand hosts.
//!
//! The transport is a connection that is `local` and a program named `sh`, found first in `PATH`, which answers every request
//! with what a real host of the lab answered (`tests/plan`), for a hundred admins instead of one. So everything of the
//! controller is measured but `ssh` itself, and nothing of the product is there for the test's sake.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use fleetotp::host::program::REAPER_SHA256;
use serde_json::{Map, Value, json};

use crate::support::bare::Bare;
use crate::support::memory::watched_for;

const ADMINS: usize = 100;
/// What a run on 300 hosts may take, in KiB.
const MOST: u64 = 95 * 1024;
/// What a run on ten thousand may take, in KiB: 100 MB.
const MOST_OF_ALL: u64 = 100_000_000 / 1024;

/// Prints the answer with the present time in it.
const ANSWERS: &str = r#"#!/bin/bash
mapfile -d '' -t before <"${0%/*}/before"
mapfile -d '' -t after <"${0%/*}/after"
printf '%shost\t-\th\t0\t%(%s)T\t+0000\n%s' "${before[0]}" -1 "${after[0]}"
"#;

/// As playbooks/rollout.yml, in batches.
const ROLLOUT: &str = "
- name: Roll out TOTP
  hosts: all
  serial: [1, 25%, 100%]
  tasks:
    - {name: Look before anything is touched, preflight: }
    - {name: Configure PAM and sshd, pam_totp: }
    - {name: Issue tokens and sheets, enroll: }
    - {name: Show every token, report: }
";

/// Whose token it is, and what the ledger knows of it.
struct Person {
    login: String,
    uid: usize,
    serial: String,
    fingerprint: String,
    expires: i64,
}

fn fleet(hosts: usize) -> Bare {
    let all: Map<String, Value> = (0..hosts)
        .map(|n| (format!("h{n:05}"), json!({})))
        .collect();
    let admins: Map<String, Value> = (0..ADMINS)
        .map(|n| (format!("a{n:03}"), json!({})))
        .collect();
    let bare = Bare::new(&json!({
        "all": {
            "hosts": all,
            "vars": {"ansible_user": "root", "ansible_connection": "local", "confirm_host": "192.0.2.1"},
        },
        "admins": admins,
        "realms": {"all": {"hosts": "all", "policy": "plain"}},
        "policies": {"plain": {"issuer": "Example Corp"}},
    }));
    std::fs::write(bare.path().join("rollout.yml"), ROLLOUT).unwrap();
    let bin = bare.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("sh"), ANSWERS).unwrap();
    std::fs::set_permissions(bin.join("sh"), PermissionsExt::from_mode(0o755)).unwrap();
    bare
}

/// Those whose tokens are pending, by name; nobody has one before the first is issued.
fn people(bare: &Bare) -> Vec<Person> {
    let rows = bare.sql(
        "SELECT p.name, g.serial, g.fingerprint, g.expires_at FROM person p
         JOIN token t ON t.admin = p.id JOIN generation g ON g.serial = t.serial
         ORDER BY p.name",
    );
    let known = rows.lines().map(|row| {
        let fields: Vec<&str> = row.split(' ').collect();
        Person {
            login: fields[0].to_owned(),
            uid: 0,
            serial: fields[1].to_owned(),
            fingerprint: fields[2].to_owned(),
            // In milliseconds there, in seconds on hosts.
            expires: fields[3].parse::<i64>().unwrap() / 1000,
        }
    });
    let mut people: Vec<Person> = known.collect();
    if people.is_empty() {
        people = (0..ADMINS)
            .map(|n| Person {
                login: format!("a{n:03}"),
                uid: 0,
                serial: String::new(),
                fingerprint: String::new(),
                expires: 0,
            })
            .collect();
    }
    assert_eq!(people.len(), ADMINS);
    for (uid, person) in (1000..).zip(&mut people) {
        person.uid = uid;
    }
    people
}

/// Lets every host answer as the lab's host did: what it said of alice it says of each of these, and nothing of others.
fn let_answer(bare: &Bare, kind: &str, people: &[Person]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/plan/debian-12")
        .join(format!("{kind}.answer"));
    let real = std::fs::read_to_string(path).unwrap();
    let project = bare.sql("SELECT value FROM meta WHERE key = 'project'");
    let first = &people[0].login;
    let all: Vec<&str> = people.iter().map(|p| p.login.as_str()).collect();
    let (mut before, mut after, mut is_after) = (String::new(), String::new(), false);
    for line in real.lines() {
        let (tag, rest) = line.split_once('\t').unwrap_or((line, ""));
        let text = if is_after { &mut after } else { &mut before };
        let is_of = |name: &str| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|w| w == name)
        };
        match tag {
            "host" => is_after = true,
            "unmanaged" | "alike" | "witness" | "option" | "lines" => {}
            "group" if rest.starts_with("fleetotp-pending\t") => {
                let gid = rest.split('\t').nth(1).unwrap();
                writeln!(text, "group\tfleetotp-pending\t{gid}\t{}", all.join(",")).unwrap();
            }
            "effective" if rest == "alice" => writeln!(text, "effective\t{first}").unwrap(),
            _ if is_of("bob") => {}
            _ if is_of("alice") => {
                for p in people {
                    let line = line
                        .replace("\t1000\t1000", &format!("\t{0}\t{0}", p.uid))
                        .replace("alice", &p.login)
                        .replace("T-ALICE", &p.serial)
                        .replace("1795763060", &p.expires.to_string());
                    if tag == "keys" && p.login != *first {
                        writeln!(text, "alike\t{}\t{first}", p.login).unwrap();
                    }
                    if tag != "state" {
                        writeln!(text, "{line}").unwrap();
                        continue;
                    }
                    // The whole hash is not in the ledger, and only its beginning is compared.
                    let state = format!("state\tcurrent\t{}\t{:0<64}", p.login, p.fingerprint);
                    writeln!(text, "{state}").unwrap();
                    let stamp = format!(
                        "FLEETOTP v=1 project={} serial={} gen=1 uid={} exp={}",
                        project.trim(),
                        p.serial,
                        p.uid,
                        p.expires
                    );
                    for (at, option) in (2..).zip([
                        "RATE_LIMIT 3 30",
                        "WINDOW_SIZE 3",
                        "DISALLOW_REUSE",
                        "TOTP_AUTH",
                        &stamp,
                    ]) {
                        writeln!(text, "option\t{at}\t\" {option}").unwrap();
                    }
                    text.push_str("lines\t6\t0\n");
                }
            }
            _ => writeln!(text, "{}", line.replace("@REAPER@", &REAPER_SHA256)).unwrap(),
        }
    }
    std::fs::write(bare.path().join("bin/before"), before).unwrap();
    std::fs::write(bare.path().join("bin/after"), after).unwrap();
}

/// Runs the program with the simulated hosts: what it printed. Its memory is bounded.
fn run(bare: &Bare, args: &[&str], most: u64) -> String {
    let mut command = bare.command(args);
    let bin = bare.path().join("bin");
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let start = Instant::now();
    let (code, [out, err], peak) = watched_for(command, std::time::Duration::from_secs(1800));
    println!(
        "{:<44} {:>6} ms {:>5} MiB",
        args.join(" "),
        start.elapsed().as_millis(),
        peak / 1024
    );
    let tail: String = out.chars().take(3000).collect();
    assert_eq!(code, 0, "{err}\n{tail}");
    assert!(peak < most, "{args:?}: {peak} KiB");
    out
}

/// What was said of each host, which must be the same of all: returned once. Times within it differ.
fn said_of_all(out: &str, hosts: usize) -> Value {
    let document: Value = serde_json::from_str(out).unwrap();
    let rows = document["plays"][0]["hosts"].as_array().unwrap();
    assert_eq!(rows.len(), hosts);
    assert_eq!(document["stats"].as_object().unwrap().len(), hosts);
    let said = |row: &Value| {
        let changes = row["changes"].as_array().unwrap().iter();
        let changes: Vec<&str> = changes
            .map(|c| {
                let summary = c["summary"].as_str().unwrap();
                summary.split(": expires").next().unwrap()
            })
            .collect();
        json!({"status": row["status"], "changes": changes, "gaps": row["gaps"], "findings": row["findings"]})
    };
    let first = said(&rows[0]);
    for row in rows {
        assert_eq!(said(row), first, "{}", row["host"]);
    }
    first
}

/// Plans a first rollout, then lets hosts be as after it, twice: the second time the ledger knows them.
fn rolled_out_in_bounded_memory(hosts: usize, most: u64) {
    let start = Instant::now();
    let bare = fleet(hosts);
    let_answer(&bare, "stock", &people(&bare));
    println!("{hosts} hosts made in {} ms", start.elapsed().as_millis());

    let play = ["play", "rollout.yml", "-f", "4"];
    let json = [&play[..], &["-o", "json"]].concat();
    let out = run(&bare, &[&play[..], &["--check"]].concat(), most);
    assert_eq!(out.matches("ok=1    changed=2").count(), hosts);
    if hosts <= 1000 {
        let out = run(&bare, &[&json[..], &["--check"]].concat(), most);
        let planned = said_of_all(&out, hosts)["changes"]
            .as_array()
            .unwrap()
            .len();
        assert!(planned > 2 * ADMINS, "{planned}");
    }

    bare.run(&["enroll", "--no-push"]).expect_code(0);
    let_answer(&bare, "done", &people(&bare));
    for _ in 0..2 {
        let out = run(&bare, &json, most);
        let said = said_of_all(&out, hosts);
        assert_eq!(
            (&said["status"], &said["changes"], &said["gaps"]),
            (&json!("ok"), &json!([]), &json!([])),
            "{said:#}"
        );
        let known = bare.sql("SELECT count(*) FROM token_host");
        assert_eq!(known.trim(), (hosts * ADMINS).to_string());
    }
}

#[test]
fn hundreds_of_hosts_are_rolled_out_in_bounded_memory() {
    rolled_out_in_bounded_memory(300, MOST);
}

#[test]
#[ignore = "takes many minutes: tests/bench/scale.sh"]
fn ten_thousand_hosts_are_rolled_out_in_bounded_memory() {
    rolled_out_in_bounded_memory(10_000, MOST_OF_ALL);
}
