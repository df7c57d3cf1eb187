//! One host of the lab, seen by its root.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::{HostFacts, KeyPair, Lab, run, succeeded};

/// A host of a running lab.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host<'lab> {
    lab: &'lab Lab,
    name: &'lab str,
    facts: &'lab HostFacts,
}

/// What identifies each file's content without reading it: inode, times, mode, owner, size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InodeSnapshot(BTreeMap<String, String>);

impl InodeSnapshot {
    /// The paths that differ between two snapshots.
    pub(crate) fn changed_since(&self, earlier: &Self) -> Vec<String> {
        let paths: BTreeSet<&String> = self.0.keys().chain(earlier.0.keys()).collect();
        paths
            .into_iter()
            .filter(|path| self.0.get(*path) != earlier.0.get(*path))
            .cloned()
            .collect()
    }
}

impl<'lab> Host<'lab> {
    pub(super) fn new(lab: &'lab Lab, name: &'lab str, facts: &'lab HostFacts) -> Self {
        Self { lab, name, facts }
    }

    /// Its address on the lab's network.
    pub(crate) fn address(self) -> &'lab str {
        &self.facts.address
    }

    /// The port its sshd listens on.
    pub(crate) fn port(self) -> u16 {
        self.facts.port
    }

    /// Its public host key: type and base 64.
    pub(crate) fn host_key(self) -> &'lab str {
        &self.facts.host_key
    }

    /// A command inside the host, as root.
    pub(crate) fn command(self, words: &[&str]) -> Command {
        let mut command = self.lab.way_in("host");
        command.args([self.name, "--"]).args(words);
        command
    }

    /// Runs a shell script that has to succeed, and returns what it printed.
    pub(crate) fn sh(self, script: &str) -> String {
        run(&mut self.command(&["sh", "-c", script]))
    }

    /// Runs a shell script that may fail.
    pub(crate) fn try_sh(self, script: &str) -> Output {
        let mut command = self.command(&["sh", "-c", script]);
        command
            .stdin(Stdio::null())
            .output()
            .expect("the lab's program starts")
    }

    /// Writes a file with the given octal mode.
    pub(crate) fn write_file(self, path: &str, mode: &str, content: impl AsRef<[u8]>) {
        let script = r#"umask 077 && cat >"$1" && chmod "$2" "$1""#;
        let mut command = self.command(&["sh", "-c", script, "sh", path, mode]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the lab's program starts");
        let mut pipe = child.stdin.take().expect("stdin is a pipe");
        pipe.write_all(content.as_ref())
            .expect("the host takes the content");
        drop(pipe);
        let output = child.wait_with_output().expect("the lab's program ends");
        succeeded(&command, &output);
    }

    /// Reads a text file.
    pub(crate) fn read_file(self, path: &str) -> String {
        run(&mut self.command(&["cat", path]))
    }

    /// Tells whether something is at the path.
    pub(crate) fn exists(self, path: &str) -> bool {
        let mut command = self.command(&["test", "-e", path]);
        command
            .stdin(Stdio::null())
            .status()
            .expect("the lab's program starts")
            .success()
    }

    /// Adds a user who can log in with the key.
    pub(crate) fn add_user(self, login: &str, key: &KeyPair) {
        self.user(login, key, &[]);
    }

    /// Adds a user who can log in with the key and become root without a password.
    pub(crate) fn add_sudo_user(self, login: &str, key: &KeyPair) {
        self.user(login, key, &["--sudo"]);
    }

    /// Adds a user who can log in with the key and with the password.
    pub(crate) fn add_user_with_password(self, login: &str, key: &KeyPair, password: &str) {
        self.user(login, key, &["--password", password]);
    }

    fn user(self, login: &str, key: &KeyPair, more: &[&str]) {
        let mut command = self.lab.command("user");
        let public = key.private.with_extension("pub");
        run(command
            .args([self.name, login])
            .arg("--pubkey")
            .arg(public)
            .args(more));
    }

    /// Ends all its processes and boots it again on the same disk; returns when its sshd listens.
    pub(crate) fn reboot(self) {
        self.tell("reboot", &[]);
    }

    /// Takes its network link down: connections hang.
    pub(crate) fn cut(self) {
        self.tell("cut", &[]);
    }

    /// Takes its network link up again.
    pub(crate) fn mend(self) {
        self.tell("mend", &[]);
    }

    /// Stops all its processes: connections are taken by the kernel, and nobody answers.
    pub(crate) fn pause(self) {
        self.tell("pause", &[]);
    }

    /// Continues its processes.
    pub(crate) fn resume(self) {
        self.tell("resume", &[]);
    }

    /// Slows its link down by so many milliseconds a packet (a full packet, where the kernel has no netem); 0 ends it.
    pub(crate) fn slow(self, milliseconds: u32) {
        let delay = if milliseconds == 0 {
            "0".to_owned()
        } else {
            format!("{milliseconds}ms")
        };
        self.tell("slow", &[&delay]);
    }

    /// Takes all free space of its disk.
    pub(crate) fn fill(self) {
        self.tell("fill", &[]);
    }

    /// Gives the disk's space back.
    pub(crate) fn drain(self) {
        self.tell("drain", &[]);
    }

    fn tell(self, what: &str, more: &[&str]) {
        run(self.lab.command(what).arg(self.name).args(more));
    }

    /// The state of every file that the program may write to: for proving that nothing was written.
    ///
    /// Of a directory only mode, owner and times count: its inode number is the overlay's, and may change by itself.
    pub(crate) fn inode_snapshot(self) -> InodeSnapshot {
        let script = r"for place in /etc /var/lib/google-authenticator /var/lib/fleetotp; do
            [ ! -e $place ] || find $place \( -type d -printf '%p\t- %T@ %C@ %m %U:%G\n' \) \
                -o -printf '%p\t%i %T@ %C@ %m %U:%G %s %l\n'
        done";
        let listing = self.sh(script);
        InodeSnapshot(
            listing
                .lines()
                .filter_map(|line| line.split_once('\t'))
                .map(|(path, state)| (path.to_owned(), state.to_owned()))
                .collect(),
        )
    }
}
