//! Hosts without a lab: a connection that is `local`, and a program named `sh`, found first in `PATH`, which answers as a real host
//! of the lab did (`tests/plan`). What comes before a change can be told by them: which host is begun when, and what is noted of it.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};

use fleetotp::host::program::REAPER_SHA256;
use serde_json::{Map, Value, json};

use super::bare::Bare;
use super::faults::eventually;
use super::project::Ran;

/// Prints the answer with the present time in it; nonsense where there is a file `broken`, and nothing as long as there is one
/// `held`.
const ANSWERS: &str = r#"#!/bin/bash
dir=${0%/*}
if [ -e "$dir/held" ]; then
    : >"$dir/reached"
    while [ -e "$dir/held" ]; do sleep 0.05; done
fi
if [ -e "$dir/broken" ]; then
    echo nonsense
    exit
fi
printf -v now '%(%s)T' -1
while IFS= read -r line; do printf '%s\n' "${line//1795500000/$now}"; done <"$dir/answer"
"#;

/// A project of such hosts. Gone when dropped.
pub(crate) struct Simulated(pub(crate) Bare);

impl Simulated {
    /// Hosts that answer, and hosts at which nobody listens; alice is the one admin.
    pub(crate) fn new(answering: &[&str], away: &[&str]) -> Self {
        let local = json!({"ansible_connection": "local", "ansible_user": "root", "confirm_host": "192.0.2.1"});
        let closed = json!({"ansible_host": "127.0.0.1", "ansible_port": 1});
        let vars = answering.iter().map(|h| (h, &local));
        let vars = vars.chain(away.iter().map(|h| (h, &closed)));
        let hosts: Map<String, Value> = vars.map(|(h, v)| ((*h).to_owned(), v.clone())).collect();
        let bare = Bare::new(&json!({
            "all": {"hosts": hosts},
            "admins": {"alice": {}},
            "policies": {"default": {"issuer": "Example Corp"}},
        }));
        let answer = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/plan/debian-12/stock.answer"
        );
        let answer = std::fs::read_to_string(answer).unwrap();
        let simulated = Self(bare);
        std::fs::create_dir(simulated.file("")).unwrap();
        std::fs::write(
            simulated.file("answer"),
            answer.replace("@REAPER@", &REAPER_SHA256),
        )
        .unwrap();
        std::fs::write(simulated.file("sh"), ANSWERS).unwrap();
        let mode = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(simulated.file("sh"), mode).unwrap();
        simulated
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join("bin").join(name)
    }

    /// Lets hosts be `broken` or `held` from now on, or not.
    pub(crate) fn set(&self, what: &str, on: bool) {
        if on {
            std::fs::write(self.file(what), "").unwrap();
        } else {
            drop(std::fs::remove_file(self.file(what)));
        }
    }

    /// Writes a playbook.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    /// The program with arguments, ready to be run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.command(args);
        let path = format!("{}:/usr/bin:/bin", self.file("").display());
        command.env("PATH", path);
        command
    }

    /// Runs the program.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).output().unwrap())
    }

    /// Begins a run that is held at its first host.
    pub(crate) fn held(&self, args: &[&str]) -> Child {
        self.set("reached", false);
        self.set("held", true);
        let run = self.command(args).spawn().unwrap();
        eventually("a host is reached", 60, || self.file("reached").exists());
        run
    }

    /// What the journal has of the newest run: `play host: phase result`, a line each.
    pub(crate) fn journal(&self) -> Vec<String> {
        let shown = self.run(&["runs", "show", "last", "-o", "json"]);
        let shown = shown.expect_code(0).json();
        let word = |v: &Value| v.as_str().unwrap_or("-").to_owned();
        let hosts = shown["on"].as_array().unwrap().iter();
        hosts
            .map(|h| {
                let (host, phase, result) = (&h["host"], &h["phase"], &h["result"]);
                format!(
                    "{} {}: {} {}",
                    h["play"],
                    word(host),
                    word(phase),
                    word(result)
                )
            })
            .collect()
    }
}
