//! What goes wrong on the way: broken changes, lost controllers, hosts that are away, signals. Nobody is locked out,
//! the exit code tells, and the next run completes.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fleetotp::host::request::{Inspect, Line, Request, Scope};
use serde_json::json;

use crate::lab::Suite;
use crate::support::faults::{
    Site, ask_host, assert_nothing_open, ended_within, eventually, login_texts, open_changes,
    signal, text_of, wait_until_open, watchers,
};
use crate::support::project::{ROLLOUT, all};

const ALL_RELEASES: [(&str, Suite); 3] = [
    ("db1", Suite::Bullseye),
    ("web1", Suite::Bookworm),
    ("web2", Suite::Trixie),
];

#[test]
fn lab_a_change_that_refuses_people_is_taken_back_on_every_release() {
    let site = Site::start(&ALL_RELEASES);
    let project = site.project(30);
    let before: Vec<String> = site.each().map(login_texts).collect();
    // One that refuses everybody, and one that refuses members only.
    for (hook, why) in [
        (
            "sshd",
            "an account that is no member was refused with its key",
        ),
        (
            "pam",
            "a member with key and right code was refused; it has been reverted",
        ),
    ] {
        let told = ["db1", "web1", "web2"].map(|host| format!("[{host}]: FAILED! => {why}"));
        project
            .fleetotp_with(("FLEETOTP_TEST_BREAK", hook), &["play", ROLLOUT])
            .expect_code(2)
            .expect_text(&told.each_ref().map(String::as_str));
        for (host, before) in site.each().zip(&before) {
            assert_eq!(&login_texts(host), before, "after a broken {hook}");
            assert_nothing_open(host);
        }
        site.assert_key_logins();
    }
    // A stack in which the code alone would make root.
    let hosts: Vec<_> = site.hosts.iter().map(|h| (h.as_str(), json!({}))).collect();
    project.set_inventory(&json!({
        "all": all(&site.lab, &hosts),
        "admins": {"alice": {}, "bob": {}},
        "policies": {"default": {"issuer": "Example Corp", "services": ["sshd", "sudo"]}},
    }));
    project
        .fleetotp_with(("FLEETOTP_TEST_BREAK", "sudo"), &["play", ROLLOUT])
        .expect_code(2)
        .expect_text(&[
            "[db1]: FAILED! => sudo let a member pass by a code alone; it has been reverted",
            "[web1]: FAILED! => sudo let a member pass by a code alone; it has been reverted",
            "[web2]: FAILED! => sudo let a member pass by a code alone; it has been reverted",
        ]);
    for (host, before) in site.each().zip(&before) {
        assert_eq!(&login_texts(host), before, "after a broken sudo");
        assert_nothing_open(host);
    }
    project.rollout(&[]).expect_code(0);
    project.rollout(&[]).expect_code(0).expect_unchanged();
    site.assert_key_logins();
}

#[test]
fn lab_hosts_revert_by_themselves_when_the_controller_is_killed() {
    let site = Site::start(&ALL_RELEASES);
    let project = site.project(12);
    let before: Vec<String> = site.each().map(login_texts).collect();
    // The window runs on monotonic time: a clock that was set years back must not hold it open.
    let liar = site.host("web2");
    liar.sh("mv /usr/bin/date /usr/bin/date.real");
    liar.write_file(
        "/usr/bin/date",
        "0755",
        "#!/bin/sh\ncase \"$*\" in '+%s') echo 86400 ;; *) exec date.real \"$@\" ;; esac\n",
    );
    // This one still tells the right time to whoever looks before the change.
    liar.sh("mv /usr/bin/date /usr/bin/date.liar && ln -s date.real /usr/bin/date");
    let mut run = site.spawn_rollout(&project, &[("FLEETOTP_TEST_PAUSE", "opened:100")]);
    let hosts: Vec<_> = site.each().collect();
    wait_until_open(&hosts);
    run.kill().unwrap();
    run.wait().unwrap();
    liar.sh("ln -sf date.liar /usr/bin/date");
    // A reboot inside the window reverts at boot, before the window is over.
    let rebooted = site.host("web1");
    assert!(
        !before.contains(&login_texts(rebooted)),
        "the change is in place"
    );
    rebooted.reboot();
    // The texts come back at once; the change counts as open a little longer, until sshd was looked after.
    eventually("the reboot has reverted the change", 5, || {
        before.contains(&login_texts(rebooted))
    });
    eventually("the window has reverted the other changes", 30, || {
        hosts.iter().all(|host| open_changes(*host).is_empty())
    });
    for (host, before) in site.each().zip(&before) {
        assert_nothing_open(host);
        assert_eq!(&login_texts(host), before);
        let log = host.read_file("/var/log/auth.log");
        assert!(
            log.contains("was not confirmed and has been reverted"),
            "{log}"
        );
    }
    site.assert_key_logins();
    liar.sh("ln -sf date.real /usr/bin/date");
    eventually("masters end by themselves", 45, || {
        site.processes().is_empty()
    });
    project.rollout(&[]).expect_code(0);
    site.assert_key_logins();
}

#[test]
fn lab_the_next_run_takes_back_what_a_killed_one_left_open() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let project = site.project(600);
    let mut run = site.spawn_rollout(&project, &[("FLEETOTP_TEST_PAUSE", "opened:100")]);
    let hosts: Vec<_> = site.each().collect();
    wait_until_open(&hosts);
    run.kill().unwrap();
    run.wait().unwrap();
    assert!(
        site.temporary_files().len() == 1,
        "{:?}",
        site.temporary_files()
    );
    let left = open_changes(hosts[0]);
    let next = site.command(&project, &["play", ROLLOUT]).output().unwrap();
    assert!(next.status.success(), "{}", text_of(&next));
    assert!(
        text_of(&next).contains("took over the lock of a run that is gone: tester (process "),
        "{}",
        text_of(&next)
    );
    for host in &hosts {
        assert_nothing_open(*host);
        assert!(host.exists(&format!("/var/lib/fleetotp/tx/{}.reverted", left[0])));
    }
    assert_eq!(site.temporary_files(), Vec::<std::path::PathBuf>::new());
    project.rollout(&[]).expect_code(0).expect_unchanged();
    site.assert_key_logins();
}

#[test]
fn lab_a_late_confirmation_is_refused_and_reverts_that_race_do_no_harm() {
    let site = Site::start(&[("web1", Suite::Bookworm)]);
    let project = site.project(600);
    let host = site.host("web1");
    let before = login_texts(host);
    for round in 0..3 {
        let mut run = site.spawn_rollout(&project, &[("FLEETOTP_TEST_PAUSE", "opened:100")]);
        wait_until_open(&[host]);
        run.kill().unwrap();
        run.wait().unwrap();
        let id = open_changes(host).remove(0);
        // The window ends now; the watcher, five ticks of cron and a controller all come at once.
        host.sh(&format!(
            "echo '0 1' >/var/lib/fleetotp/tx/{id}/window; for i in 1 2 3 4 5; do /var/lib/fleetotp/reaper tick & done; wait"
        ));
        let mut request = Request::apply();
        request.line(&["rollback", &id]);
        let answer = ask_host(host, request, 30);
        assert!(answer.contains("reverted\t"), "round {round}: {answer}");
        eventually("the change is closed", 20, || open_changes(host).is_empty());
        assert_nothing_open(host);
        assert_eq!(login_texts(host), before, "round {round}");
        let mut request = Request::apply();
        request.line(&["confirm", &id]);
        let answer = ask_host(host, request, 30);
        assert!(
            answer.contains("fail\tlate\t") && answer.contains("the host has reverted it"),
            "{answer}"
        );
        assert_eq!(login_texts(host), before);
    }
    site.assert_key_logins();
}

#[test]
fn lab_a_host_that_is_lost_during_its_change_is_unreachable_and_reverts() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let project = site.project(12);
    let before = login_texts(site.host("web2"));
    let run = site.spawn_rollout(&project, &[("FLEETOTP_TEST_PAUSE", "opened:4")]);
    let lost = site.host("web2");
    wait_until_open(&[lost]);
    lost.cut();
    let output = ended_within(run, 60);
    assert_eq!(output.status.code(), Some(4), "{}", text_of(&output));
    let text = text_of(&output);
    assert!(
        text.contains("[web2]: UNREACHABLE! => lost before the change was confirmed")
            && text.contains("the host reverts the change by itself within 12 s")
            && text.contains("changed: [web1]"),
        "{text}"
    );
    eventually("the host has reverted the change", 40, || {
        open_changes(lost).is_empty()
    });
    assert_eq!(login_texts(lost), before);
    assert_nothing_open(lost);
    lost.mend();
    site.assert_key_logins();
    eventually("no ssh is left", 45, || site.processes().is_empty());
    project.rollout(&[]).expect_code(0);
    project.rollout(&[]).expect_code(0).expect_unchanged();
}

#[test]
fn lab_hosts_that_are_away_paused_or_full_are_told_apart() {
    let site = Site::start(&[
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
        ("web3", Suite::Bookworm),
        ("db1", Suite::Bullseye),
    ]);
    let project = site.project(30);
    let (cut, paused, full) = (site.host("web2"), site.host("web3"), site.host("db1"));
    cut.cut();
    let start = Instant::now();
    let run = project
        .rollout(&["--limit", "web1,web2"])
        .expect_code(4)
        .expect_text(&["[web2]: UNREACHABLE! => ", "changed: [web1]"]);
    assert!(start.elapsed() < Duration::from_secs(30), "{run:?}");
    let status = project.fleetotp(&["status"]).expect_code(0);
    assert!(status.stdout.contains("UNKNOWN"), "{status:?}");
    paused.pause();
    full.fill();
    let start = Instant::now();
    let run = project.rollout(&[]).expect_code(6).expect_text(&[
        "[web2]: UNREACHABLE! => ",
        "[web3]: UNREACHABLE! => ",
        "[db1]: FAILED! => ",
        "(disk-full)",
        "ok: [web1]",
    ]);
    assert!(start.elapsed() < Duration::from_secs(60), "{run:?}");
    full.drain();
    paused.resume();
    cut.mend();
    project.rollout(&[]).expect_code(0);
    project.rollout(&[]).expect_code(0).expect_unchanged();
    site.assert_key_logins();
}

#[test]
fn lab_a_host_that_stops_answering_is_given_up_and_what_takes_too_long_is_stopped_there() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let project = site.project(8);
    let slow = site.host("web1");
    // Something that the program runs there and that never ends.
    slow.sh("mv /usr/bin/getent /usr/bin/getent.real");
    slow.write_file("/usr/bin/getent", "0755", "#!/bin/sh\nexec sleep 987654\n");
    let start = Instant::now();
    project
        .fleetotp_with(("FLEETOTP_TEST_LIMIT", "3"), &["play", ROLLOUT])
        .expect_code(2)
        .expect_text(&[
            "[web1]: FAILED! => it took longer than it may and was stopped",
            "changed: [web2]",
        ]);
    assert!(start.elapsed() < Duration::from_secs(30));
    eventually("nothing of it runs on the host", 10, || {
        slow.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o -e '[9]87654' -e '[c]onnection=' || true").is_empty()
    });
    slow.sh("mv -f /usr/bin/getent.real /usr/bin/getent");
    // A host that stops while its change is open.
    let run = site.spawn_rollout(
        &project,
        &[
            ("FLEETOTP_TEST_PAUSE", "opened:3"),
            ("FLEETOTP_TEST_LIMIT", "5"),
        ],
    );
    wait_until_open(&[slow]);
    slow.pause();
    let paused = Instant::now();
    let output = ended_within(run, 90);
    assert_eq!(output.status.code(), Some(4), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("[web1]: UNREACHABLE! => lost before the change was confirmed"),
        "{}",
        text_of(&output)
    );
    // Longer than the window in which the change was to be confirmed.
    std::thread::sleep(Duration::from_secs(10).saturating_sub(paused.elapsed()));
    slow.resume();
    eventually("the host has reverted the change", 20, || {
        open_changes(slow).is_empty()
    });
    assert_nothing_open(slow);
    site.assert_key_logins();
    project.rollout(&[]).expect_code(0);
}

#[test]
fn lab_signals_end_a_run_with_nothing_half_open() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let project = site.project(60);
    for (host, name) in [("web1", "INT"), ("web2", "TERM")] {
        let mut command = site.command(&project, &["play", ROLLOUT, "--limit", host]);
        let run = command
            .env("FLEETOTP_TEST_PAUSE", "opened:2")
            .spawn()
            .unwrap();
        wait_until_open(&[site.host(host)]);
        signal(&run, name);
        let output = ended_within(run, 30);
        assert_eq!(
            output.status.code(),
            Some(99),
            "{name}: {}",
            text_of(&output)
        );
        // What was begun is finished, and said.
        let finished = format!("changed: [{host}]");
        assert!(text_of(&output).contains(&finished), "{}", text_of(&output));
        site.each().for_each(assert_nothing_open);
        eventually("no process is left", 5, || site.processes().is_empty());
        assert_eq!(site.temporary_files(), Vec::<std::path::PathBuf>::new());
    }
    site.assert_key_logins();
    project.rollout(&[]).expect_code(0);
    // A prompt can be left.
    let mut command = site.command(&project, &["confirm", "alice"]);
    let mut run = command.stdin(Stdio::piped()).spawn().unwrap();
    let prompt = run.stdin.take();
    std::thread::sleep(Duration::from_millis(600));
    signal(&run, "INT");
    let output = ended_within(run, 10);
    assert_eq!(output.status.code(), Some(99), "{}", text_of(&output));
    drop(prompt);
    // Whoever insists is not kept waiting, not even by a host that does not answer.
    site.host("web1").pause();
    let run = site.command(&project, &["sync"]).spawn().unwrap();
    eventually("ssh is waiting", 20, || {
        site.processes().iter().any(|p| p.starts_with("ssh "))
    });
    signal(&run, "INT");
    std::thread::sleep(Duration::from_millis(300));
    let start = Instant::now();
    signal(&run, "INT");
    let output = ended_within(run, 10);
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(output.status.code(), Some(99), "{}", text_of(&output));
    assert!(text_of(&output).contains("once more ends at once"));
    site.host("web1").resume();
    // The lock is nobody's now.
    project.rollout(&[]).expect_code(0).expect_unchanged();
}

#[test]
fn lab_two_controllers_do_not_meet_and_failed_runs_leave_no_process() {
    let site = Site::start(&[("web1", Suite::Bookworm)]);
    let project = site.project(60);
    let copy = project.scratch().join("copy");
    let mut cp = Command::new("cp");
    let copied = cp.arg("-a").args([&project.path(), &copy]).status();
    assert!(copied.expect("cp runs").success());
    let first = site.spawn_rollout(&project, &[("FLEETOTP_TEST_PAUSE", "opened:6")]);
    let pid = first.id();
    wait_until_open(&[site.host("web1")]);
    // A copy of the project has a lock of its own. The host tells it that it is behind, and without that by the change
    // which is open; it takes nothing back that is not its own.
    let by_the_copy = |why: &str| {
        let mut second = project.command(&["play", ROLLOUT]);
        let output = second.current_dir(&copy).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
        assert!(text_of(&output).contains(why), "{}", text_of(&output));
    };
    by_the_copy("(ledger-behind)");
    site.host("web1").sh("rm /var/lib/fleetotp/witness");
    by_the_copy("(change-open)");
    for command in [
        &["play", ROLLOUT][..],
        &["sync"],
        &["enroll", "alice", "--reissue"],
    ] {
        project
            .fleetotp(command)
            .expect_code(75)
            .expect_text(&[&format!("tester (process {pid} on ")]);
    }
    // Reading needs no lock.
    project.fleetotp(&["status"]).expect_code(0);
    // Nor does the host itself begin a second change, whoever asks.
    let mut second = fleetotp::host::request::Request::apply();
    second.line(&["tx", "SECOND", "30", "/usr/sbin/sshd /etc/ssh/sshd_config"]);
    second.line(&["go"]);
    let answer = ask_host(site.host("web1"), second, 20);
    assert!(
        answer.contains("fail\tbusy") && answer.contains("is still open on this host"),
        "{answer}"
    );
    let output = ended_within(first, 30);
    assert!(output.status.success(), "{}", text_of(&output));
    // An error that ends the whole run in the middle: the directory of sheets cannot be written.
    let sheets = project.path().join("sheets");
    for entry in std::fs::read_dir(&sheets).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    std::fs::remove_dir(&sheets).unwrap();
    std::fs::write(&sheets, "in the way").unwrap();
    let output = site
        .command(&project, &["enroll", "alice", "--reissue"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text_of(&output));
    eventually("no process is left", 5, || site.processes().is_empty());
    assert_eq!(site.temporary_files(), Vec::<std::path::PathBuf>::new());
    std::fs::remove_file(&sheets).unwrap();
    project.rollout(&[]).expect_code(0);
    site.assert_key_logins();
    // A verification that dies leaves its temporary member for a while; the next one takes it away first.
    let host = site.host("web1");
    let mut verify = site
        .command(&project, &["verify"])
        .env("FLEETOTP_TEST_PAUSE", "verifying:100")
        .spawn()
        .unwrap();
    wait_until_open(&[host]);
    verify.kill().unwrap();
    verify.wait().unwrap();
    assert!(host.read_file("/etc/passwd").contains("fleetotp-canary"));
    project.fleetotp(&["verify", "--strict"]).expect_code(0);
    assert!(!host.read_file("/etc/passwd").contains("fleetotp-canary"));
    assert_nothing_open(host);
}

#[test]
fn lab_a_host_that_dies_in_the_middle_of_a_change_comes_back_clean() {
    let site = Site::start(&[("web1", Suite::Bookworm)]);
    let project = site.project(600);
    let host = site.host("web1");
    let before = login_texts(host);
    let mut died = 0;
    for round in 0..6_u32 {
        let run = site.spawn_rollout(&project, &[("FLEETOTP_TEST_PAUSE", "opened:1")]);
        eventually("the host is being changed", 30, || {
            host.exists("/var/lib/fleetotp/lock") || host.exists("/etc/cron.d/fleetotp")
        });
        std::thread::sleep(Duration::from_millis(u64::from(round) * 25));
        host.reboot();
        let output = ended_within(run, 60);
        if !output.status.success() {
            died += 1;
        }
        eventually("boot has cleaned up", 10, || open_changes(host).is_empty());
        site.assert_key_logins();
        if !host
            .sh("grep -c fleetotp /etc/pam.d/sshd || true")
            .starts_with('0')
        {
            // It died after the confirmation.
            continue;
        }
        assert_eq!(login_texts(host), before, "round {round}");
    }
    assert!(died > 0, "no reboot came in time");
    // A lock that names a process of before the reboot is nobody's, whoever has that number now.
    host.sh("mkdir -p /var/lib/fleetotp/lock && echo '1 5' >/var/lib/fleetotp/lock/pid; echo >/var/lib/google-authenticator/current/.fleetotp.99.1");
    project.rollout(&[]).expect_code(0);
    project
        .fleetotp(&["enroll", "alice", "--reissue"])
        .expect_code(0);
    assert_nothing_open(host);
    project.rollout(&[]).expect_code(0).expect_unchanged();
    site.assert_key_logins();
}

#[test]
fn lab_a_request_that_is_cut_off_changes_nothing() {
    let site = Site::start(&[("web1", Suite::Bookworm)]);
    let host = site.host("web1");
    // A whole request answers; this proves that the next part fails for the right reason.
    let answer = ask_host(host, Request::inspect(&Inspect::default()), 30);
    assert!(answer.ends_with("done\n"), "{answer}");
    let before = login_texts(host);
    let mut request = Request::apply();
    request.line(&["dir", "/var/lib/fleetotp/tx", "700"]);
    request.line(&["tx", "t-1", "60", "/usr/sbin/sshd /etc/ssh/sshd_config"]);
    request.file(
        "/etc/pam.d/sshd",
        0o644,
        "any",
        Scope::Transaction,
        &[Line::Text("auth required pam_deny.so".to_owned())],
    );
    request.line(&["go"]);
    let payload = request.finish(None);
    let line = fleetotp::host::program::command_line(
        fleetotp::host::program::Elevation::None,
        Duration::from_secs(30),
    );
    let whole = payload.bytes().len();
    let program = fleetotp::host::program::PROGRAM_TEXT.len();
    // Everything from the first line of the request to the one that carries it out.
    let go = whole - "go\nend\n".len();
    for cut in (program + 12..go).step_by(17) {
        let mut command = host.command(&["sh", "-c", &line]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(&payload.bytes()[..cut]).unwrap();
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        assert!(
            !text_of(&output).contains("\ndone\n"),
            "cut at {cut}: {}",
            text_of(&output)
        );
        assert_eq!(login_texts(host), before, "cut at {cut}");
        assert_nothing_open(host);
    }
    assert_eq!(watchers(host), "");
    site.assert_key_logins();
}
