//! What tests of revocations share: two admins on hosts, sessions of theirs, and what must be left of nobody who left.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::lab::{Code, Key, KeyPair, Lab, Prefs, QUICK_KEX, Suite, Totp, WINDOW};
use crate::support::faults::eventually;
use crate::support::project::{Project, Ran, all};

pub(crate) const WHY: [&str; 4] = ["--reason", "left the company", "--ticket", "HR-7"];

pub(crate) fn policies() -> Value {
    json!({"default": {"issuer": "Example Corp", "rate_limit": "30/30s", "window": WINDOW}})
}

/// `revoke ADMIN…` with a reason and more arguments.
pub(crate) fn revoke(project: &Project<'_>, args: &[&str]) -> Ran {
    project.fleetotp(&[&["revoke"], args, &WHY].concat())
}

/// Neither key nor code nor both let this login in.
#[track_caller]
pub(crate) fn assert_out(lab: &Lab, host: &str, login: &str, key: &KeyPair, totp: &Totp) {
    let code = totp.clone().fresh();
    let with = Key::With(key);
    // Side by side: PAM lets each that types a code wait for seconds.
    std::thread::scope(|scope| {
        for (key, code, prefs) in [
            (with, Code::Some(&code), Prefs::Default),
            (with, Code::Some(&code), Prefs::CodeFirst),
            (with, Code::No, Prefs::Default),
            (with, Code::No, Prefs::KeyOnly),
            (Key::No, Code::Some(&code), Prefs::CodeOnly),
        ] {
            scope.spawn(move || lab.assert_refused(host, login, key, code, prefs));
        }
    });
}

pub(crate) fn ssh(lab: &Lab, host: &str, login: &str, key: &KeyPair) -> Command {
    let mut ssh = lab.controller("ssh");
    ssh.args(["-F", "none", "-T", "-p", &lab.host(host).port().to_string()])
        .args([
            "-o",
            &format!("UserKnownHostsFile={}", lab.known_hosts().display()),
        ])
        .args([
            "-o",
            "GlobalKnownHostsFile=/dev/null",
            "-o",
            "ControlPath=none",
        ])
        .args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"])
        .args(["-o", QUICK_KEX])
        .arg("-i")
        .arg(&key.private)
        .arg(format!("{login}@{}", lab.host(host).address()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    ssh
}

/// A session that stays open, with a process that would survive it.
pub(crate) fn session(lab: &Lab, host: &str, login: &str, key: &KeyPair) -> Child {
    let child = ssh(lab, host, login, key)
        .arg("setsid sleep 4711 >/dev/null 2>&1 & sleep 4712")
        .spawn()
        .unwrap();
    eventually("the session runs", 20, || {
        let seen = processes(lab, host, login);
        seen.contains("sleep 4711") && seen.contains("sleep 4712")
    });
    child
}

/// A login that has given its key and sits at the question for the code.
pub(crate) fn half_open(lab: &Lab, host: &str, login: &str, key: &KeyPair) -> Child {
    let helper = lab.dir().join("slow-askpass");
    std::fs::write(&helper, "#!/bin/sh\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o700)).unwrap();
    let child = ssh(lab, host, login, key)
        .arg("true")
        .env("SSH_ASKPASS", helper)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .spawn()
        .unwrap();
    eventually("the login is half open", 20, || {
        !open_logins(lab, host, login).is_empty()
    });
    child
}

pub(crate) fn processes(lab: &Lab, host: &str, login: &str) -> String {
    let script = format!(
        "u=$(id -u {login}); for s in $(grep -lsE \"^Uid:.*[[:blank:]]$u[[:blank:]]\" /proc/[0-9]*/status); do tr '\\0' ' ' <${{s%status}}cmdline; echo; done"
    );
    lab.host(host).sh(&script)
}

pub(crate) fn open_logins(lab: &Lab, host: &str, login: &str) -> String {
    lab.host(host).sh(&format!(
        "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -E '^sshd[a-z-]*: {login} \\[' || true"
    ))
}

pub(crate) fn state_files(lab: &Lab, host: &str) -> String {
    lab.host(host)
        .sh("cd /var/lib/google-authenticator; find . -type f -printf './%P %i %T@ %C@\\n' | sort; find . -type f -exec sha256sum {} + | sed 's/$/ /' | sort -k2")
}

pub(crate) fn others(listing: &str, login: &str) -> Vec<String> {
    let own = format!("/{login} ");
    let lines = listing.lines().filter(|l| !l.contains(&own));
    lines.map(str::to_owned).collect()
}

pub(crate) fn in_group(lab: &Lab, host: &str, login: &str, group: &str) -> bool {
    let line = lab.host(host).sh(&format!("getent group {group}"));
    line.trim()
        .rsplit(':')
        .next()
        .unwrap()
        .split(',')
        .any(|m| m == login)
}

/// Two admins, one confirmed and one not, on a host of each release.
pub(crate) struct Fleet<'lab> {
    pub(crate) project: Project<'lab>,
    pub(crate) alice: KeyPair,
    pub(crate) bob: KeyPair,
    pub(crate) alices: Totp,
    pub(crate) bobs: Totp,
}

pub(crate) const HOSTS: [(&str, Suite); 3] = [
    ("web1", Suite::Bookworm),
    ("web2", Suite::Trixie),
    ("db1", Suite::Bullseye),
];

impl<'lab> Fleet<'lab> {
    pub(crate) fn new(lab: &'lab Lab, hosts: &[&str], policy: &Value) -> Self {
        let (alice, bob) = (lab.key_pair("alice"), lab.key_pair("bob"));
        for host in hosts {
            lab.host(host).add_user("alice", &alice);
            lab.host(host).add_user("bob", &bob);
        }
        let listed: Vec<_> = hosts.iter().map(|name| (*name, json!({}))).collect();
        let project = Project::new(
            lab,
            &json!({
                "all": all(lab, &listed),
                "admins": {"alice": {"email": "alice@example.com"}, "bob": {"email": "bob@example.com"}},
                "policies": {"default": policy},
            }),
        );
        project.change_settings("#connect_timeout: 10s", "connect_timeout: 6s");
        let ran = project.rollout(&["-o", "json"]).expect_code(0);
        let totp = |admin| ran.sheet(admin, "default").scan().wide_totp();
        let (alices, bobs) = (totp("alice"), totp("bob"));
        Self {
            project,
            alice,
            bob,
            alices,
            bobs,
        }
    }

    pub(crate) fn confirm_alice(&mut self) {
        let code = self.alices.fresh();
        self.project.confirm("alice", &code, &[]).expect_code(0);
    }
}
