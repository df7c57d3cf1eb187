//! The lab as a test fixture: real hosts that are gone when the fixture is dropped, and also when the test is killed.
//!
//! The work is done by `tests/lab/lab`; `docs/design/lab.md` tells how. Everything here panics with a clear text when it
//! fails, so that tests read as what they prove.

mod codes;
mod host;
mod login;
mod sudo;
mod travel;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::AtomicU8;

pub(crate) use codes::{Totp, WINDOW, oathtool, typed};
pub(crate) use host::{Host, InodeSnapshot};
pub(crate) use login::{Code, Key, Prefs};
pub(crate) use sudo::PASSWORD;

/// The lab's program.
pub(crate) const LAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/lab");

/// What the lab's program itself starts for a command on a host or on the controller's side.
const ENTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/enter");

/// The key exchange that every ssh of the tests asks for. What OpenSSH prefers since 9.0 (sntrup761) takes the client ten
/// times as long, at each of some thousand logins.
pub(crate) const QUICK_KEX: &str = "KexAlgorithms=curve25519-sha256";

/// A Debian release, named as its archive names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Debian 11: OpenSSH 8.4.
    Bullseye,
    /// Debian 12: OpenSSH 9.2.
    Bookworm,
    /// Debian 13: OpenSSH 10.0.
    Trixie,
    /// Debian 12 on which the PAM module is not installed; its package can be installed without a network.
    BookwormWithoutModule,
    /// Debian 12 with pam_oath besides.
    BookwormWithOath,
    /// Debian 12 with fail2ban, which is not started.
    BookwormWithFail2ban,
}

impl Suite {
    fn spec(self) -> &'static str {
        match self {
            Self::Bullseye => "bullseye",
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::BookwormWithoutModule => "bookworm+no-module",
            Self::BookwormWithOath => "bookworm+oath",
            Self::BookwormWithFail2ban => "bookworm+fail2ban",
        }
    }
}

/// What the lab tells about one host.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct HostFacts {
    /// Its address on the lab's network.
    pub(crate) address: String,
    /// The port its sshd listens on.
    pub(crate) port: u16,
    /// Its host key: type and base 64.
    pub(crate) host_key: String,
}

#[derive(Debug, serde::Deserialize)]
struct Facts {
    mode: String,
    root_key: PathBuf,
    known_hosts: PathBuf,
    hosts: BTreeMap<String, HostFacts>,
}

/// A running lab. Drop ends it and waits until nothing of it is left.
#[derive(Debug)]
pub(crate) struct Lab {
    supervisor: Child,
    dir: PathBuf,
    facts: Facts,
    logins: AtomicU8,
}

/// A key pair made by `ssh-keygen`.
#[derive(Debug, Clone)]
pub(crate) struct KeyPair {
    /// The file with the private key.
    pub(crate) private: PathBuf,
    /// The public key's one line.
    pub(crate) public: String,
}

impl Lab {
    /// Brings up the hosts and returns when every sshd listens.
    pub(crate) fn start(hosts: &[(&str, Suite)]) -> Self {
        Self::start_with(hosts, &[])
    }

    /// Like [`Lab::start`], with environment variables for the lab's program.
    pub(crate) fn start_with(hosts: &[(&str, Suite)], environment: &[(&str, &str)]) -> Self {
        let specs: Vec<String> = hosts
            .iter()
            .map(|(name, suite)| format!("{name}={}", suite.spec()))
            .collect();
        let mut supervisor = Command::new(LAB)
            .args(["up", "--hosts", &specs.join(",")])
            .env_remove("FLEETOTP_LAB_DIR")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the lab's program starts");
        let mut ready = String::new();
        BufReader::new(supervisor.stdout.as_mut().expect("stdout is a pipe"))
            .read_line(&mut ready)
            .expect("the lab's first line can be read");
        let Some(dir) = ready.split(' ').find_map(|word| word.strip_prefix("dir=")) else {
            let mut errors = String::new();
            let pipe = supervisor.stderr.as_mut().expect("stderr is a pipe");
            pipe.read_to_string(&mut errors)
                .expect("the lab's errors can be read");
            panic!("the lab did not come up: {errors}");
        };
        let dir = PathBuf::from(dir);
        let mut config = std::fs::OpenOptions::new()
            .append(true)
            .open(dir.join("system_ssh_config"))
            .expect("the lab wrote it");
        // Its end is what holds for all hosts.
        writeln!(config, "    {QUICK_KEX}").expect("the lab's directory can be written");
        let text = std::fs::read(dir.join("lab.json")).expect("the lab describes itself");
        let facts = serde_json::from_slice(&text).expect("lab.json is what is expected");
        Self {
            supervisor,
            dir,
            facts,
            logins: AtomicU8::new(0),
        }
    }

    /// The lab's directory; it is removed with the lab.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// `namespaces` or `loopback`.
    pub(crate) fn mode(&self) -> &str {
        &self.facts.mode
    }

    /// The private key that is root on every host.
    pub(crate) fn root_key(&self) -> &Path {
        &self.facts.root_key
    }

    /// The file with the host keys of all hosts, by name and by address.
    pub(crate) fn known_hosts(&self) -> &Path {
        &self.facts.known_hosts
    }

    /// The process id of the lab's supervisor.
    pub(crate) fn supervisor_pid(&self) -> u32 {
        self.supervisor.id()
    }

    /// One host.
    pub(crate) fn host(&self, name: &str) -> Host<'_> {
        let found = self.facts.hosts.get_key_value(name);
        let (name, facts) = found.unwrap_or_else(|| panic!("the lab has no host {name}"));
        Host::new(self, name, facts)
    }

    /// A command on the controller's side of the lab's network, where the hosts' names resolve and ssh knows their keys.
    ///
    /// A signal to the child reaches the program itself.
    pub(crate) fn controller(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.way_in("exec");
        command.arg("--").arg(program);
        command
    }

    /// The way in by `exec` or `host`: past the lab's program, where all that it does is to start [`ENTER`].
    fn way_in(&self, by: &str) -> Command {
        if self.mode() != "namespaces" {
            return self.command(by);
        }
        let mut command = Command::new(ENTER);
        command.arg(&self.dir).arg(by);
        command
    }

    /// The lab's own command `name` on this lab.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(LAB);
        command.arg("--dir").arg(&self.dir).arg(name);
        command
    }

    /// Makes a key pair below the lab's directory.
    pub(crate) fn key_pair(&self, name: &str) -> KeyPair {
        let keys = self.dir.join("keys");
        std::fs::create_dir_all(&keys).expect("the lab's directory can be written");
        let private = keys.join(name);
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
            .arg(&private);
        run(&mut keygen);
        let public =
            std::fs::read_to_string(private.with_extension("pub")).expect("ssh-keygen wrote it");
        KeyPair {
            private,
            public: public.trim_end().to_owned(),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The end of the lifeline ends the lab; the supervisor returns when nothing is left of it.
        drop(self.supervisor.stdin.take());
        let status = self.supervisor.wait();
        if !std::thread::panicking() {
            assert!(
                status.expect("the supervisor can be waited for").success(),
                "the lab's end failed"
            );
        }
    }
}

/// Runs a command that has to succeed, and returns what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    succeeded(
        command,
        &output.unwrap_or_else(|e| panic!("{command:?} does not start: {e}")),
    )
}

fn succeeded(command: &Command, output: &Output) -> String {
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).expect("the output is text")
}
