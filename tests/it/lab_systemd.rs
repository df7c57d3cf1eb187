//! What only a real systemd shows: a change that is open when the machine goes down is reverted at boot before sshd
//! listens, sshd comes up, and what ran the reaper is removed once it is not needed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use fleetotp::activity::line::{from_journal, is_same_entry};
use fleetotp::host::log::{LogPlace, RawLine, logged};
use fleetotp::host::program::{Elevation, REAPER_PATH, REAPER_TEXT, command_line};
use fleetotp::host::request::{Line, Request, Scope};

use crate::support::faults::{eventually, text_of};

const SYSTEMD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/systemd");

/// A machine under systemd; gone when dropped.
struct Machine {
    supervisor: Child,
    says: BufReader<ChildStdout>,
    dir: tempfile::TempDir,
}

impl Machine {
    fn boot(sshd_by: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut supervisor = Command::new(SYSTEMD)
            .arg(dir.path())
            .arg(sshd_by)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(supervisor.stdout.take().unwrap());
        let mut machine = Self {
            supervisor,
            says,
            dir,
        };
        machine.wait_for_boot();
        machine
    }

    fn wait_for_boot(&mut self) {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "systemd did not come up");
    }

    fn reboot(&mut self) {
        writeln!(self.supervisor.stdin.as_ref().unwrap(), "reboot").unwrap();
        self.wait_for_boot();
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new(SYSTEMD);
        command
            .arg(self.dir.path())
            .args(["--", "sh", "-c", script])
            .current_dir(Path::new("/"))
            .stdin(Stdio::null());
        command
    }

    fn sh(&self, script: &str) -> String {
        text_of(&self.command(script).output().unwrap())
    }

    fn ask(&self, request: Request) -> String {
        let mut child = self
            .command(&command_line(Elevation::None, Duration::from_secs(60)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(request.finish(None).bytes()).unwrap();
        drop(pipe);
        text_of(&child.wait_with_output().unwrap())
    }
}

/// A login in the journal, by number.
fn log_in(machine: &Machine, number: u32) {
    machine.sh(&format!(
        "echo 'Accepted publickey for alice from 192.0.2.1 port {number} ssh2: ED25519 SHA256:x' | systemd-cat -t sshd
        journalctl --sync"
    ));
}

/// Asks for the journal from an entry on: the cursor of the first entry that came, and of the last; the logins' numbers.
fn read_journal(machine: &Machine, since: Option<&str>) -> (String, String, Vec<u32>) {
    let place = since.map(|cursor| LogPlace::Journal {
        cursor: cursor.to_owned(),
    });
    let answer = machine.ask(Request::collect(place.as_ref(), 1_000_000));
    let read = logged(answer.as_bytes()).unwrap();
    assert_eq!(read.log.as_deref(), Some("journal"), "{answer}");
    let entries: Vec<_> = read
        .parts
        .iter()
        .flat_map(|(lines, _)| lines)
        .map(|raw| match raw {
            RawLine::Journal(entry) => from_journal(entry).unwrap(),
            RawLine::Text { .. } => panic!("{raw:?}"),
        })
        .collect();
    // As collecting does: the entry that was asked for comes once more, and is not taken again.
    let fresh = entries
        .iter()
        .filter(|(cursor, _)| since.is_none_or(|place| !is_same_entry(place, cursor)));
    let numbers = fresh
        .filter_map(|(_, line)| {
            line.as_ref()?
                .text
                .split(" port ")
                .nth(1)?
                .split(' ')
                .next()?
                .parse()
                .ok()
        })
        .collect();
    let at = |entry: Option<&(String, _)>| entry.map(|e| e.0.clone()).unwrap_or_default();
    (at(entries.first()), at(entries.last()), numbers)
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        drop(self.supervisor.wait());
    }
}

fn a_reboot_reverts_and_sshd_comes_up(sshd_by: &str) {
    let mut machine = Machine::boot(sshd_by);
    let unit = format!("ssh.{sshd_by}");
    let active =
        |machine: &Machine| machine.sh(&format!("systemctl is-active {unit}")) == "active\n";
    eventually("sshd is up", 20, || active(&machine));
    // Logs that this machine's own disk has are not this one's.
    machine.sh(
        "rm -rf /var/log/journal /var/log/auth.log* /var/log/secure* /var/log/messages*
        mkdir -p /var/log/journal; systemctl restart systemd-journald; journalctl --flush",
    );
    log_in(&machine, 1);
    log_in(&machine, 2);
    let (_, place, logins) = read_journal(&machine, None);
    assert_eq!(logins, [1, 2]);
    let before = machine.sh("sha256sum /etc/pam.d/sshd; ls /etc/systemd/system");
    let mut request = Request::apply();
    // A socket's sshd makes it when somebody comes.
    request.line(&["run", "prepare", "mkdir -p /run/sshd"]);
    request.line(&[
        "dirs",
        "700",
        "/var/lib/fleetotp /var/lib/fleetotp/tx /var/lib/fleetotp/deadlines",
    ]);
    request.file(
        REAPER_PATH,
        0o700,
        "absent",
        Scope::Live,
        &Line::from_text(&REAPER_TEXT),
    );
    request.line(&["flush"]);
    request.line(&["arm"]);
    request.line(&["tx", "T-1", "600", "/usr/sbin/sshd /etc/ssh/sshd_config"]);
    request.file(
        "/etc/pam.d/sshd",
        0o644,
        "any",
        Scope::Transaction,
        &[Line::Text("auth required pam_deny.so".to_owned())],
    );
    request.line(&["go"]);
    let answer = machine.ask(request);
    assert!(
        answer.contains("opened\tT-1\t600\n") && answer.ends_with("done\n"),
        "{answer}"
    );
    assert_eq!(
        machine.sh("systemctl is-active fleetotp-reaper.timer"),
        "active\n"
    );
    // Longer than the timer's first tick: an open change is left alone until its time is over.
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(machine.sh("ls /var/lib/fleetotp/tx"), "T-1\n");
    // A journal that is rotated, and one that the machine's end finds open: neither loses a login or brings one twice.
    log_in(&machine, 3);
    machine.sh("journalctl --rotate");
    log_in(&machine, 4);
    machine.reboot();
    log_in(&machine, 5);
    let (first, last, logins) = read_journal(&machine, Some(&place));
    assert!(is_same_entry(&first, &place), "{first} {place}");
    assert_eq!(logins, [3, 4, 5]);
    // What was logged early in a boot is moved to the disk then, and gets another number.
    machine.sh("journalctl --flush");
    let (first, _, logins) = read_journal(&machine, Some(&last));
    assert!(is_same_entry(&first, &last), "{first} {last}");
    assert_eq!(logins.len(), 0);
    // Entries that are gone show: another entry is the first.
    machine.sh("rm -rf /var/log/journal/*; systemctl restart systemd-journald; journalctl --flush");
    log_in(&machine, 6);
    let (first, _, logins) = read_journal(&machine, Some(&last));
    assert!(
        !is_same_entry(&first, &last) && logins == [6],
        "{first} {logins:?}"
    );
    eventually("sshd is up again", 20, || active(&machine));
    assert_eq!(machine.sh("ls /var/lib/fleetotp/tx"), "T-1.reverted\n");
    eventually("nothing is left of the reaper", 60, || {
        machine.sh("sha256sum /etc/pam.d/sshd; ls /etc/systemd/system") == before
            && machine.sh("ls /var/lib/fleetotp") == "deadlines\ntx\n"
    });
    let log = machine.sh("journalctl -b --no-pager; systemctl --failed --no-pager --plain");
    assert!(
        !log.contains("ordering cycle") && !log.contains("fleetotp-boot.service loaded failed"),
        "{log}"
    );
}

#[test]
fn lab_systemd_reverts_at_boot_before_sshd_and_sshd_comes_up() {
    a_reboot_reverts_and_sshd_comes_up("service");
}

#[test]
fn lab_systemd_reverts_at_boot_before_sshds_socket_and_it_comes_up() {
    a_reboot_reverts_and_sshd_comes_up("socket");
}
