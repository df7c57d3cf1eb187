//! `fleetotp revoke` without a host: the guards against mistakes, lists that are wrong, exit codes; and the examples that
//! call it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::Parser as _;
use fleetotp::cli::app::Cli;
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A project with forty admins and hosts that are never contacted.
struct Project(tempfile::TempDir);

impl Project {
    fn new() -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        assert!(project.run(&["init"]).status.success());
        let admins: String = (0..40)
            .map(|n| format!("  a{n}: {{login: u{n}, email: a{n}@example.com}}\n"))
            .collect();
        project.write(
            "inventory.yml",
            &format!("all:\n  hosts:\n    web1: {{ansible_host: 192.0.2.1, ansible_user: u3}}\nadmins:\n{admins}"),
        );
        assert_eq!(project.run(&["enroll", "--no-push"]).status.code(), Some(0));
        project
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_fleetotp"))
            .args(args)
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.0.path())
            .output()
            .unwrap()
    }

    /// Revokes without contacting hosts, and asserts the exit code and what is said.
    #[track_caller]
    fn revoke(&self, args: &[&str], code: i32, says: &[&str]) -> String {
        let output = self.run(&[&["revoke", "--no-push", "--reason", "left"], args].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        for words in says {
            assert!(text.contains(words), "{args:?}: no {words:?} in {text}");
        }
        text
    }

    fn states(&self) -> Vec<(String, String)> {
        let output = self.run(&["status", "-o", "json"]);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let rows = document["tokens"].as_array().unwrap();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        rows.iter()
            .map(|r| (text(r, "admin"), text(r, "state")))
            .collect()
    }

    fn revoked(&self) -> Vec<String> {
        let states = self.states().into_iter();
        states
            .filter(|(_, s)| s == "revoking")
            .map(|(a, _)| a)
            .collect()
    }
}

fn staff(names: impl Iterator<Item = usize>) -> String {
    let lines: String = names.map(|n| format!("A{n}@Example.com,x\n")).collect();
    format!("email,department\n{lines}")
}

#[test]
fn a_truncated_list_of_staff_locks_nobody_out() {
    let project = Project::new();
    project.write("staff.csv", &staff(0..20));
    let refused = [
        "20 of 40 admins would be revoked, and at most 4 may be at once: a20, a21",
        "--max-revoke",
    ];
    project.revoke(&["--not-in", "staff.csv"], 1, &refused);
    for (text, says) in [
        ("", "no header"),
        (
            "a1@example.com\na2@example.com\n",
            "staff.csv:1:1: the list has no header",
        ),
        ("email\n", "names nobody"),
        ("email,x\na1@example.com\n", "staff.csv:2:1:"),
    ] {
        project.write("staff.csv", text);
        project.revoke(&["--not-in", "staff.csv"], 65, &[says]);
    }
    project.write("staff.csv", &staff(0..40));
    project.revoke(
        &["--not-in", "staff.csv", "--match-on", "login"],
        65,
        &["a column `login`"],
    );
    project.revoke(
        &["--not-in", "gone.csv"],
        1,
        &["cannot read the list `gone.csv`"],
    );
    assert_eq!(project.revoked(), Vec::<String>::new());
    // As it should be: four have left, of whom one is the account that the program itself logs in with.
    project.write(
        "staff.csv",
        &staff((0..40).filter(|n| ![3, 8, 9].contains(n))),
    );
    project.revoke(
        &["--not-in", "staff.csv", "--strict"],
        9,
        &["a3 is not revoked: fleetotp itself logs in as u3"],
    );
    assert_eq!(project.revoked(), ["a8", "a9"]);
    // Once more: they are gone already, and do not count.
    project.revoke(&["--not-in", "staff.csv"], 0, &[]);
    project.write("staff.csv", &staff(10..40));
    project.revoke(&["--not-in", "staff.csv", "--max-revoke", "10"], 0, &[]);
    assert_eq!(project.revoked().len(), 9);
}

#[test]
fn a_pattern_is_guarded_and_a_name_is_meant() {
    let project = Project::new();
    project.revoke(&["-a", "a1*"], 1, &["11 of 40 admins would be revoked"]);
    project.revoke(
        &["a1", "a2", "a4", "a5", "a6"],
        0,
        &["a6 in realm default: 0 of 1 hosts done, 1 open"],
    );
    project.revoke(&["a1"], 0, &[]);
    project.revoke(
        &["a77"],
        1,
        &["knows an admin `a77`", "did you mean", "--allow-unknown"],
    );
    project.revoke(&["a77", "--allow-unknown"], 0, &["knows `a77`"]);
    project.revoke(&[], 64, &["nobody is named"]);
    project.revoke(&["a1", "--from", "x.csv"], 64, &["in one way only"]);
    assert_eq!(project.revoked(), ["a1", "a2", "a4", "a5", "a6"]);
    let output = project.run(&["revoke", "a7", "--no-push"]);
    assert_eq!(output.status.code(), Some(64), "a reason is needed");
}

#[test]
fn a_list_of_leavers_names_whom_it_names() {
    let project = Project::new();
    project.write(
        "leavers.csv",
        "login,reason,ticket\nu5,retired,HR-5\nu99,,\n",
    );
    project.revoke(
        &["--from", "leavers.csv", "--check"],
        0,
        &["would revoke a5 in realm default: web1"],
    );
    assert_eq!(project.revoked(), Vec::<String>::new());
    project.revoke(&["--from", "leavers.csv"], 0, &["knows `u99`"]);
    project.revoke(&["--from", "leavers.csv", "--strict"], 9, &["knows `u99`"]);
    assert_eq!(project.revoked(), ["a5"]);
    let output = project.run(&["status", "-o", "json", "-a", "a5"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("\"HR-5\"") && text.contains("\"retired\""),
        "{text}"
    );
    project.write("leavers.csv", "admin,reson\na1,x\n");
    project.revoke(
        &["--from", "leavers.csv"],
        65,
        &["unknown column `reson`", "did you mean `reason`?"],
    );
}

#[test]
fn sync_revokes_who_left_the_inventory_only_when_told_and_not_half_the_company() {
    let project = Project::new();
    let keep = |count: usize| {
        let admins: String = (0..count)
            .map(|n| format!("  a{n}: {{login: u{n}}}\n"))
            .collect();
        project.write("inventory.yml", &format!("all:\n  hosts:\n    web1: {{ansible_connection: local, ansible_become: false, ansible_user: u3}}\nadmins:\n{admins}"));
    };
    keep(20);
    let sync = |args: &[&str]| project.run(&[&["sync", "--check"], args].concat());
    let text = |o: &Output| {
        String::from_utf8_lossy(&o.stdout).into_owned() + &String::from_utf8_lossy(&o.stderr)
    };
    let refused = sync(&["--prune", "--reason", "left"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("20 of 40 admins would be revoked"));
    assert_eq!(
        sync(&["--prune"]).status.code(),
        Some(64),
        "a reason is needed"
    );
    keep(38);
    let told = text(&sync(&["--prune", "--reason", "left"]));
    assert!(
        told.contains("a38 left the inventory: would be revoked"),
        "{told}"
    );
    assert!(!text(&sync(&[])).contains("left the inventory"));
    assert_eq!(project.revoked(), Vec::<String>::new(), "--check");
}

/// Every line of an example that calls the program is one that it understands.
#[test]
fn the_examples_call_what_there_is() {
    let mut calls = 0;
    for name in [
        "offboard.github.yml",
        "offboard.gitlab-ci.yml",
        "offboard.cron",
    ] {
        let path = PathBuf::from(ROOT).join("examples").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        if Path::new(name).extension().is_some_and(|e| e == "yml") {
            let document: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
            assert!(document.is_mapping(), "{name}");
        }
        for line in text.lines().filter(|l| !l.trim_start().starts_with('#')) {
            let Some(at) = line.find("fleetotp --config") else {
                continue;
            };
            let command = line[at..].trim_end_matches(" >/dev/null");
            let words = split(command);
            Cli::try_parse_from(&words).unwrap_or_else(|e| panic!("{name}: {words:?}: {e}"));
            calls += 1;
        }
    }
    assert_eq!(calls, 7);
    let list = std::fs::read_to_string(PathBuf::from(ROOT).join("examples/leavers.csv")).unwrap();
    assert!(list.starts_with("admin,reason,ticket\n"));
}

/// Words as a shell splits them, with double quotes.
fn split(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    parts
        .flat_map(|(n, part)| {
            let words: Vec<String> = if n % 2 == 1 {
                vec![part.to_owned()]
            } else {
                part.split_whitespace().map(str::to_owned).collect()
            };
            words
        })
        .collect()
}
