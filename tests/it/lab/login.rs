//! Real logins by the real `ssh`, and the tables of what has to be refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::Ordering;

use super::{KeyPair, Lab, QUICK_KEX, Totp};

/// The key a login is tried with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Key<'a> {
    /// This one only.
    With(&'a KeyPair),
    /// The lab's root key.
    Root,
    /// None at all.
    No,
}

/// What is answered when the host asks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Code<'a> {
    /// This, to the question for a verification code.
    Some(&'a str),
    /// This, to the question for a password.
    Password(&'a str),
    /// Nothing: ssh is told not to ask.
    No,
}

/// The order in which ssh tries methods.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Prefs {
    /// ssh's own.
    Default,
    /// The key only.
    KeyOnly,
    /// The code before the key: how a pending admin confirms by a login.
    CodeFirst,
    /// Keyboard-interactive and nothing else.
    CodeOnly,
}

impl Prefs {
    fn order(self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::KeyOnly => Some("publickey"),
            Self::CodeFirst => Some("keyboard-interactive,publickey"),
            Self::CodeOnly => Some("keyboard-interactive"),
        }
    }
}

/// What came of a login.
#[derive(Debug)]
pub(crate) struct LoginResult {
    /// Whether a command ran on the host.
    pub(crate) accepted: bool,
    /// What the host asked for, in order.
    pub(crate) questions: Vec<String>,
    /// What ssh said, at `LogLevel=VERBOSE`.
    pub(crate) stderr: String,
}

impl Lab {
    /// Tries a login. Each comes from another address: sshd 9.8 and later refuses one whose logins failed.
    pub(crate) fn login(
        &self,
        host: &str,
        login: &str,
        key: Key<'_>,
        code: Code<'_>,
        prefs: Prefs,
    ) -> LoginResult {
        let network = if self.mode() == "namespaces" {
            "10.77.1"
        } else {
            "127.0.78"
        };
        let source = self.logins.fetch_add(1, Ordering::Relaxed) % 250 + 1;
        let mut ssh = self.controller("ssh");
        ssh.args([
            "-F",
            "none",
            "-b",
            &format!("{network}.{source}"),
            "-T",
            "-p",
        ])
        .arg(self.host(host).port().to_string())
        .arg("-o")
        .arg(format!(
            "UserKnownHostsFile={}",
            self.known_hosts().display()
        ))
        .args([
            "-o",
            "GlobalKnownHostsFile=/dev/null",
            "-o",
            "StrictHostKeyChecking=yes",
        ])
        .args([
            "-o",
            "ControlPath=none",
            "-o",
            "LogLevel=VERBOSE",
            "-o",
            "ConnectTimeout=5",
            "-o",
            QUICK_KEX,
        ])
        .args([
            "-o",
            "NumberOfPasswordPrompts=1",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
        ]);
        match key {
            Key::With(pair) => ssh.arg("-i").arg(&pair.private),
            Key::Root => ssh.arg("-i").arg(self.root_key()),
            Key::No => ssh.args(["-i", "/dev/null", "-o", "PubkeyAuthentication=no"]),
        };
        if let Some(order) = prefs.order() {
            ssh.arg("-o")
                .arg(format!("PreferredAuthentications={order}"));
        }
        let (code, password) = match code {
            Code::Some(code) => (code, ""),
            Code::Password(password) => ("", password),
            Code::No => {
                ssh.args(["-o", "BatchMode=yes"]);
                ("", "")
            }
        };
        ssh.env("SSH_ASKPASS", self.askpass())
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("LAB_CODE", code)
            .env("LAB_PASSWORD", password)
            .env_remove("SSH_AUTH_SOCK")
            .arg(format!("{login}@{}", self.host(host).address()))
            .arg("echo lab-login-ok");
        let output = ssh
            .stdin(Stdio::null())
            .output()
            .expect("the lab's program starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        LoginResult {
            accepted: output.status.success() && output.stdout == b"lab-login-ok\n",
            questions: stderr
                .lines()
                .filter_map(|line| line.strip_prefix("lab-askpass: "))
                .map(str::to_owned)
                .collect(),
            stderr,
        }
    }

    /// The helper that answers for a person. It never answers a question about a host key.
    fn askpass(&self) -> PathBuf {
        let path = self.dir().join("askpass");
        if !path.exists() {
            let script = r#"#!/bin/sh
echo "lab-askpass: $1" >&2
case $1 in
    *"erification code"* | *"One-time password"*) echo "$LAB_CODE" ;;
    *assword*) echo "$LAB_PASSWORD" ;;
    *) echo no ;;
esac
"#;
            // Written beside and renamed: two threads may come here at once.
            let own = self
                .dir()
                .join(format!("askpass.{:?}", std::thread::current().id()));
            std::fs::write(&own, script).expect("the lab's directory can be written");
            std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o700))
                .expect("it is ours");
            std::fs::rename(&own, &path).expect("it is ours");
        }
        path
    }

    /// Asserts that a login works.
    pub(crate) fn assert_in(
        &self,
        host: &str,
        login: &str,
        key: Key<'_>,
        code: Code<'_>,
        prefs: Prefs,
    ) {
        let result = self.login(host, login, key, code, prefs);
        assert!(
            result.accepted,
            "{login}@{host} with {key:?}, {code:?}, {prefs:?} should get in:\n{}{}",
            result.stderr,
            self.auth_log(host)
        );
    }

    /// Asserts that sshd refuses a login: no answer, or a closed connection, is not a refusal.
    pub(crate) fn assert_refused(
        &self,
        host: &str,
        login: &str,
        key: Key<'_>,
        code: Code<'_>,
        prefs: Prefs,
    ) {
        let result = self.login(host, login, key, code, prefs);
        assert!(
            !result.accepted && result.stderr.contains("Permission denied"),
            "{login}@{host} with {key:?}, {code:?}, {prefs:?} should be refused:\n{}{}",
            result.stderr,
            self.auth_log(host)
        );
    }

    fn auth_log(&self, host: &str) -> String {
        self.host(host)
            .sh("tail -n 20 /var/log/auth.log 2>/dev/null || true")
    }

    /// Asserts what holds for an admin on whom a host enforces: key and right code get in, everything less is refused.
    ///
    /// Three codes are tried: with a rate limit of three in 30 seconds, nothing more is accepted in the next 30.
    pub(crate) fn assert_member(&self, host: &str, login: &str, key: &KeyPair, totp: &mut Totp) {
        let key = Key::With(key);
        let code = totp.fresh();
        self.assert_in(host, login, key, Code::Some(&code), Prefs::Default);
        self.assert_refused(host, login, key, Code::Some(&code), Prefs::Default);
        self.assert_refused(host, login, key, Code::Some(&totp.wrong()), Prefs::Default);
        self.assert_refused(host, login, key, Code::No, Prefs::Default);
        let fresh = totp.fresh();
        self.assert_refused(host, login, Key::No, Code::Some(&fresh), Prefs::Default);
        self.assert_refused(host, login, Key::No, Code::No, Prefs::Default);
    }

    /// Asserts what holds for somebody who logs in by key alone: no question is asked, and no other way is open.
    pub(crate) fn assert_key_only(&self, host: &str, login: &str, key: Key<'_>) {
        let result = self.login(host, login, key, Code::Some("000000"), Prefs::Default);
        assert!(
            result.accepted,
            "{login}@{host} should get in by key:\n{}",
            result.stderr
        );
        assert_eq!(
            result.questions,
            Vec::<String>::new(),
            "{login}@{host} was asked"
        );
        let result = self.login(host, login, Key::No, Code::Some("000000"), Prefs::CodeOnly);
        assert!(
            !result.accepted && result.questions.is_empty(),
            "{login}@{host}: {}",
            result.stderr
        );
        self.assert_refused(host, login, Key::No, Code::No, Prefs::Default);
    }
}
