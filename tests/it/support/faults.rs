//! What tests that break things share: a lab with two admins, what must never be left behind, and processes by a mark.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::project::{Otpauth, Project, ROLLOUT, Ran, all, assert_pending, scan};
use crate::lab::{Host, Key, KeyPair, Lab, Suite, WINDOW, run};

/// Names the processes of one test: every child inherits it.
const MARK: &str = "FLEETOTP_TEST_MARK";

/// A lab on which alice and bob have accounts.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) hosts: Vec<String>,
    pub(crate) alice: KeyPair,
    pub(crate) bob: KeyPair,
    mark: String,
    temporary: tempfile::TempDir,
}

impl Site {
    pub(crate) fn start(hosts: &[(&str, Suite)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let lab = Lab::start(hosts);
        let (alice, bob) = (lab.key_pair("alice"), lab.key_pair("bob"));
        for (name, _) in hosts {
            lab.host(name).add_user("alice", &alice);
            lab.host(name).add_user("bob", &bob);
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            lab,
            hosts: hosts.iter().map(|(name, _)| (*name).to_owned()).collect(),
            alice,
            bob,
            mark: format!("{}-{number}", std::process::id()),
            temporary: tempfile::tempdir().unwrap(),
        }
    }

    /// A project for all hosts and both admins, whose hosts revert after so many seconds.
    pub(crate) fn project(&self, revert_after: u32) -> Project<'_> {
        let hosts: Vec<_> = self
            .hosts
            .iter()
            .map(|name| (name.as_str(), json!({})))
            .collect();
        let project = Project::new(
            &self.lab,
            &json!({
                "all": all(&self.lab, &hosts),
                "admins": {"alice": {"email": "alice@example.com"}, "bob": {"email": "bob@example.com"}},
                "policies": {"default": {"issuer": "Example Corp", "window": WINDOW}},
            }),
        );
        project.change_settings(
            "#revert_after: 90s",
            &format!("revert_after: {revert_after}s"),
        );
        project
    }

    /// The program, marked, with a temporary directory of its own.
    pub(crate) fn command(&self, project: &Project<'_>, args: &[&str]) -> Command {
        let mut command = project.command(args);
        command
            .env(MARK, &self.mark)
            .env("TMPDIR", self.temporary.path());
        command
    }

    /// Starts the shipped rollout with variables of the environment.
    pub(crate) fn spawn_rollout(&self, project: &Project<'_>, variables: &[(&str, &str)]) -> Child {
        let mut command = self.command(project, &["play", ROLLOUT]);
        command
            .envs(variables.iter().copied())
            .spawn()
            .expect("the program starts")
    }

    pub(crate) fn host(&self, name: &str) -> Host<'_> {
        self.lab.host(name)
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = Host<'_>> {
        self.hosts.iter().map(|name| self.lab.host(name))
    }

    /// The variable of the environment by which the processes of this test are known, and its value.
    pub(crate) fn mark(&self) -> (&'static str, &str) {
        (MARK, &self.mark)
    }

    /// The processes of this test that are running, as their command lines.
    pub(crate) fn processes(&self) -> Vec<String> {
        let wanted = format!("{MARK}={}", self.mark);
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let at = entry.path();
            let environment = std::fs::read(at.join("environ")).unwrap_or_default();
            if environment
                .split(|b| *b == 0)
                .any(|v| v == wanted.as_bytes())
            {
                let words = std::fs::read(at.join("cmdline")).unwrap_or_default();
                found.push(String::from_utf8_lossy(&words).replace('\0', " "));
            }
        }
        found
    }

    /// The program's temporary directory.
    pub(crate) fn temporary_directory(&self) -> &Path {
        self.temporary.path()
    }

    /// What stands in the program's temporary directory: control sockets, keys of temporary members.
    pub(crate) fn temporary_files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.temporary.path()).unwrap();
        entries.map(|e| e.unwrap().path()).collect()
    }

    /// Everybody who could log in by key alone still can.
    pub(crate) fn assert_key_logins(&self) {
        for name in &self.hosts {
            self.assert_key_logins_on(name);
        }
    }

    pub(crate) fn assert_key_logins_on(&self, name: &str) {
        self.lab.assert_key_only(name, "root", Key::Root);
        assert_pending(&self.lab, name, "alice", &self.alice);
        assert_pending(&self.lab, name, "bob", &self.bob);
    }
}

/// All of PAM's and sshd's text on a host, with modes and owners.
pub(crate) fn login_texts(host: Host<'_>) -> String {
    host.sh("find /etc/pam.d /etc/ssh -printf '%p %y %m %U:%G %l\\n' | sort; find /etc/pam.d /etc/ssh -type f -exec sha256sum {} + | sort -k2")
}

/// Lets a host's reaper look now. Its own clock may have been faster: with nothing left to do the reaper is gone.
pub(crate) fn tick(host: Host<'_>) {
    host.sh("f=/var/lib/fleetotp/reaper; [ ! -e $f ] || /bin/sh $f tick || [ ! -e $f ]");
}

/// The changes that are open on a host.
pub(crate) fn open_changes(host: Host<'_>) -> Vec<String> {
    host.sh("ls /var/lib/fleetotp/tx 2>/dev/null || true")
        .lines()
        .filter(|name| ![".done", ".reverted"].iter().any(|end| name.ends_with(end)))
        .map(str::to_owned)
        .collect()
}

/// Nothing of a change is left on a host but its record: no temporary member, lock, staged file or watcher.
pub(crate) fn assert_nothing_open(host: Host<'_>) {
    assert_eq!(open_changes(host), Vec::<String>::new());
    let left = host.sh(r"
        grep -s fleetotp-canary /etc/passwd /etc/shadow /etc/group /etc/gshadow
        ls -d /var/lib/fleetotp-canary /var/lib/google-authenticator/*/fleetotp-canary* 2>/dev/null
        find /etc /var/lib -name '.fleetotp*'
        true");
    assert_eq!(left, "", "left behind");
    // A reaper that looks just now holds it for a moment.
    eventually("the lock is released", 5, || {
        !host.exists("/var/lib/fleetotp/lock")
    });
    // The watcher notices within a second.
    eventually("the watcher is gone", 10, || watchers(host).is_empty());
}

/// The processes on a host that watch an open change.
pub(crate) fn watchers(host: Host<'_>) -> String {
    host.sh(
        "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o '[r]eaper watch' || true",
    )
}

/// Waits until every host has an open change, made completely.
pub(crate) fn wait_until_open(hosts: &[Host<'_>]) {
    eventually("the change is open on every host", 60, || {
        hosts
            .iter()
            .all(|host| !open_changes(*host).is_empty() && !host.exists("/var/lib/fleetotp/lock"))
    });
}

/// Waits until a condition holds, or fails.
#[track_caller]
pub(crate) fn eventually(what: &str, seconds: u64, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(seconds),
            "after {seconds} s still not: {what}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Runs a command until it succeeds, at most twice.
pub(crate) fn converge(what: &str, mut run: impl FnMut() -> Ran) {
    let first = run();
    if first.code != 0 {
        let second = run();
        assert_eq!(
            second.code, 0,
            "{what}: did not converge\nfirst: {first:?}\nsecond: {second:?}"
        );
        println!("{what}: took two runs: {}", first.stdout);
    }
}

/// Sends a signal by name to a process.
pub(crate) fn signal(child: &Child, name: &str) {
    run(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]));
}

/// Waits for a child with a limit; kills it and fails when that passes.
#[track_caller]
pub(crate) fn ended_within(mut child: Child, seconds: u64) -> Output {
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(seconds) {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!(
                "still running after {seconds} s:\n{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    child.wait_with_output().unwrap()
}

/// What a program printed and said.
pub(crate) fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// The program that is sent to hosts, fed by hand with a request; returns its answer.
pub(crate) fn ask_host(
    host: Host<'_>,
    request: fleetotp::host::request::Request,
    limit: u64,
) -> String {
    use std::io::Write as _;
    let line = fleetotp::host::program::command_line(
        fleetotp::host::program::Elevation::None,
        Duration::from_secs(limit),
    );
    let mut command = host.command(&["sh", "-c", &line]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the lab's program starts");
    let mut pipe = child.stdin.take().unwrap();
    // A program that refuses early does not read to the end.
    drop(pipe.write_all(request.finish(None).bytes()));
    drop(pipe);
    text_of(&child.wait_with_output().unwrap())
}

/// Opens the ledger of a project, as the library does.
pub(crate) async fn ledger_of(project: &Path) -> fleetotp::ledger::Ledger {
    fleetotp::ledger::Ledger::open(
        &project.join("state/ledger.db"),
        std::sync::Arc::new(fleetotp::clock::SystemClock),
        std::sync::Arc::new(fleetotp::clock::SystemEntropy),
    )
    .await
    .unwrap()
}

/// Takes everything off a host that a rollout put there, whatever state it is in. What the tests assert was asserted
/// before; this only makes the next round cheap.
pub(crate) const RESET: &str = r#"
    for p in $(grep -lsz "[r]eaper" /proc/[0-9]*/cmdline | cut -d/ -f3); do kill -9 $p 2>/dev/null; done
    sed -i '/^# BEGIN fleetotp$/,/^# END fleetotp$/d' /etc/pam.d/sshd
    rm -rf /etc/ssh/sshd_config.d/00-fleetotp.conf /var/lib/fleetotp /var/lib/google-authenticator /etc/cron.d/fleetotp
    userdel fleetotp-canary 2>/dev/null
    for g in fleetotp fleetotp-pending fleetotp-exempt; do groupdel $g 2>/dev/null; done
    kill -HUP "$(cat /run/sshd.pid)"
    ! grep -rq fleetotp /etc/passwd /etc/group /etc/pam.d/sshd
"#;

fn login_of(sheet: &Otpauth) -> String {
    // otpauth://totp/Example%20Corp:alice?...
    let label = sheet.uri.split('?').next().unwrap();
    let account = label.rsplit([':', '/']).next().unwrap();
    let account = account.strip_prefix("%3A").unwrap_or(account);
    account.split(['@', '%']).next().unwrap().to_owned()
}

fn sha256(text: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()))
}

/// Every file in the directory of sheets is a whole sheet, and its key is the one that every host holds.
#[track_caller]
pub(crate) fn assert_sheets_fit(site: &Site, project: &Project<'_>, logins: &[&str]) {
    let mut seen = Vec::new();
    for path in project.sheet_files() {
        assert_eq!(
            path.extension().and_then(|e| e.to_str()),
            Some("pdf"),
            "a stray file"
        );
        let sheet = scan(&path);
        let login = login_of(&sheet);
        for host in site.each() {
            let held = host.sh(&format!(
                "head -n 1 /var/lib/google-authenticator/current/{login} | tr -d '\\n' | sha256sum"
            ));
            assert_eq!(
                held.split_whitespace().next(),
                Some(sha256(&sheet.secret).as_str()),
                "{} of {login}",
                path.display()
            );
        }
        seen.push(login);
    }
    seen.sort();
    assert_eq!(seen, logins);
}
