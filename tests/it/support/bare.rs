//! A project directory without any host: for what only the controller does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::project::{Ran, Sheet};

/// A project made by `fleetotp init`. Gone when dropped.
pub(crate) struct Bare(tempfile::TempDir);

impl Bare {
    /// Makes one with an inventory; JSON is YAML. Hosts are names only: nothing contacts them.
    pub(crate) fn new(inventory: &Value) -> Self {
        let bare = Self(tempfile::tempdir().unwrap());
        bare.run(&["init"]).expect_code(0);
        bare.set_inventory(inventory);
        bare
    }

    /// Replaces the inventory.
    pub(crate) fn set_inventory(&self, inventory: &Value) {
        std::fs::write(self.path().join("inventory.yml"), format!("{inventory:#}")).unwrap();
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The files in the directory of sheets, hidden ones as well.
    pub(crate) fn sheet_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path().join("sheets")).unwrap();
        let mut files: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        files.sort();
        files
    }

    /// The program with arguments, ready to be run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        // `make bench` measures the release build.
        let release = std::env::var_os("FLEETOTP_BENCH_BINARY");
        let mut command = Command::new(release.unwrap_or(env!("CARGO_BIN_EXE_fleetotp").into()));
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("USER", "tester")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    /// Runs the program with a line on its standard input.
    pub(crate) fn fed(&self, line: &str, args: &[&str]) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        // A program that refuses early does not read; that is no failure of the test.
        drop(writeln!(child.stdin.take().unwrap(), "{line}"));
        Ran::of(&child.wait_with_output().unwrap())
    }

    /// Issues what is missing and returns an admin's sheet of that run.
    pub(crate) fn enroll(&self, admin: &str, args: &[&str]) -> Sheet {
        self.run(&[&["enroll", "--no-push", "-o", "json", admin], args].concat())
            .expect_code(0)
            .sheets()
            .into_iter()
            .find(|s| s.admin == admin)
            .unwrap()
    }

    /// Runs SQL on the ledger, as a referee would: with Python's own SQLite.
    pub(crate) fn sql(&self, sql: &str) -> String {
        let program = "import sqlite3,sys\nc=sqlite3.connect('state/ledger.db')\nfor r in c.execute(sys.argv[1]): print(*r)\nc.commit()";
        let output = Command::new("python3")
            .args(["-c", program, sql])
            .current_dir(self.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The kinds of all events that begin so, in order.
    pub(crate) fn events(&self, prefix: &str) -> Vec<String> {
        self.sql(&format!(
            "SELECT kind FROM event WHERE kind LIKE '{prefix}%' ORDER BY seq"
        ))
        .lines()
        .map(str::to_owned)
        .collect()
    }

    /// Lets every pending generation's time be over.
    pub(crate) fn expire(&self) {
        self.sql("UPDATE generation SET expires_at = 1000 WHERE state = 'pending'");
        self.sql(
            "UPDATE sheet SET expires_at = 1000 WHERE state IN ('rendering', 'issued', 'delivered')",
        );
    }

    /// A token's row in `status -o json`.
    pub(crate) fn status(&self, admin: &str) -> Value {
        let document = self.run(&["status", "-o", "json"]).expect_code(0).json();
        let rows = document["tokens"].as_array().unwrap();
        rows.iter().find(|r| r["admin"] == admin).unwrap().clone()
    }
}
