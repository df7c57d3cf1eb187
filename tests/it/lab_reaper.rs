//! The reaper against what happens at the same time: a controller that is arming it, a login that is under way, a
//! program that was killed.

use fleetotp::host::program::{REAPER_PATH, REAPER_TEXT};
use fleetotp::host::request::{Line, Request, Scope};

use crate::lab::{Host, Lab, Suite};
use crate::support::faults::{
    ask_host, assert_nothing_open, eventually, login_texts, open_changes,
};

const TICK: &str = "/bin/sh /var/lib/fleetotp/reaper tick";

/// A request that makes the directories, puts the reaper there and arms it.
fn armed() -> Request {
    let mut request = Request::apply();
    request.line(&[
        "dirs",
        "700",
        "/var/lib/fleetotp /var/lib/fleetotp/tx /var/lib/fleetotp/deadlines /var/lib/google-authenticator \
         /var/lib/google-authenticator/current /var/lib/google-authenticator/next",
    ]);
    request.file(
        REAPER_PATH,
        0o700,
        "any",
        Scope::Live,
        &Line::from_text(&REAPER_TEXT),
    );
    request.line(&["flush"]);
    request.line(&["arm"]);
    request
}

fn is_armed(host: Host<'_>) -> bool {
    host.exists(REAPER_PATH) && host.exists("/etc/cron.d/fleetotp")
}

/// A tick that comes when the reaper is there and its deadline is not yet: without it nothing would revert the change.
#[test]
fn lab_a_tick_takes_no_reaper_away_that_is_being_armed() {
    let lab = Lab::start(&[("old", Suite::Bullseye), ("web1", Suite::Bookworm)]);
    for name in ["old", "web1"] {
        let host = lab.host(name);
        let before = login_texts(host);
        let mut request = armed();
        request.line(&["run", "meanwhile", TICK]);
        request.line(&["tx", "T-1", "4", "/usr/sbin/sshd /etc/ssh/sshd_config"]);
        request.file(
            "/etc/pam.d/sshd",
            0o644,
            "any",
            Scope::Transaction,
            &[Line::Text("auth required pam_deny.so".to_owned())],
        );
        request.line(&["run", "meanwhile", TICK]);
        request.line(&["go"]);
        let answer = ask_host(host, request, 30);
        assert!(answer.contains("opened\tT-1\t4\n"), "{answer}");
        assert!(is_armed(host));
        eventually("the host has reverted the change", 15, || {
            open_changes(host).is_empty()
        });
        assert_eq!(login_texts(host), before);
        // And then nothing of it stays.
        eventually("the reaper is gone", 15, || !is_armed(host));
        assert_nothing_open(host);
    }
}

#[test]
fn lab_a_reaper_that_went_away_is_noticed_before_anything_is_changed() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let host = lab.host("web1");
    let before = login_texts(host);
    let mut request = armed();
    request.line(&["run", "meanwhile", "rm /var/lib/fleetotp/reaper"]);
    request.line(&["tx", "T-1", "60", "/usr/sbin/sshd /etc/ssh/sshd_config"]);
    request.file(
        "/etc/pam.d/sshd",
        0o644,
        "any",
        Scope::Transaction,
        &[Line::Text("auth required pam_deny.so".to_owned())],
    );
    request.line(&["go"]);
    let answer = ask_host(host, request, 30);
    assert!(
        answer.contains("fail\tchanged\tthe reaper went away"),
        "{answer}"
    );
    assert_eq!(login_texts(host), before);
    assert_nothing_open(host);
}

/// pam_google_authenticator writes a file anew after each login: one that was under way at the deadline brings the
/// secret back.
#[test]
fn lab_a_secret_that_a_login_brings_back_at_its_deadline_is_deleted_again() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let host = lab.host("web1");
    let state = [
        "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
        "\" TOTP_AUTH",
        "\" FLEETOTP v=1 project=P serial=T-1 gen=2 uid=1 exp=5",
    ]
    .map(|l| Line::Text(l.to_owned()));
    let file = "/var/lib/google-authenticator/current/a.b-c";
    let deadline = "/var/lib/fleetotp/deadlines/current.a.b-c";
    let mut request = armed();
    request.file(file, 0o600, "absent", Scope::Live, &state);
    request.file(
        deadline,
        0o600,
        "absent",
        Scope::Live,
        &[Line::Text("5 T-1 2".to_owned())],
    );
    // The next generation of somebody else, and a deadline of the one before.
    let next = state.clone().map(|l| match l {
        Line::Text(t) => Line::Text(t.replace("gen=2", "gen=12")),
        other => other,
    });
    request.file(
        &file.replace("a.b-c", "bob"),
        0o600,
        "absent",
        Scope::Live,
        &next,
    );
    request.file(
        &deadline.replace("a.b-c", "bob"),
        0o600,
        "absent",
        Scope::Live,
        &[Line::Text("5 T-1 2".to_owned())],
    );
    assert!(ask_host(host, request, 30).ends_with("done\n"));
    host.sh(&format!("cp -p {file} /root/kept; {TICK}"));
    assert!(!host.exists(file), "its time was over");
    assert!(host.exists(deadline), "it may come back");
    assert!(is_armed(host));
    host.sh(&format!(
        "cp -p /root/kept {file}; cp -p /root/kept {file}~Ab3dE6; {TICK}"
    ));
    assert!(!host.exists(file) && !host.exists(&format!("{file}~Ab3dE6")));
    host.sh(TICK);
    assert!(!host.exists(deadline));
    assert!(
        host.exists(&file.replace("a.b-c", "bob")),
        "another generation is not this deadline's"
    );
    assert!(!is_armed(host));
}

#[test]
fn lab_what_a_killed_program_was_preparing_is_removed_by_a_tick() {
    let lab = Lab::start(&[("web1", Suite::Bookworm)]);
    let host = lab.host("web1");
    let mut request = armed();
    request.file(
        "/var/lib/fleetotp/deadlines/current.bob",
        0o600,
        "absent",
        Scope::Live,
        &[Line::Text("99999999999 T-1 2".to_owned())],
    );
    assert!(ask_host(host, request, 30).ends_with("done\n"));
    host.sh("groupadd -r fleetotp; mkdir -p /var/lib/fleetotp/tx/T-1.new /var/lib/fleetotp/lock /etc/pam.d/.fleetotp.7.tx
        echo fleetotp-canary >/var/lib/fleetotp/tx/T-1.new/canary; echo 4194304 77 >/var/lib/fleetotp/lock/pid
        useradd -r -M -N -g fleetotp -d /var/lib/fleetotp-canary fleetotp-canary");
    host.sh(TICK);
    assert_nothing_open(host);
    assert!(is_armed(host), "a deadline is open");
    // Whoever is alive is not disturbed.
    host.sh("mkdir -p /var/lib/fleetotp/tx/T-2.new /var/lib/fleetotp/lock
        read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ start _ </proc/1/stat; echo 1 $start >/var/lib/fleetotp/lock/pid");
    host.sh(TICK);
    assert!(host.exists("/var/lib/fleetotp/tx/T-2.new") && host.exists("/var/lib/fleetotp/lock"));
}

/// sshd serves connections with its earlier configuration until it has got round to the signal. A login in that time says
/// nothing about the change.
#[test]
fn lab_a_change_is_open_only_once_a_busy_sshd_has_read_it() {
    let lab = Lab::start(&[("old", Suite::Bullseye), ("web1", Suite::Trixie)]);
    for name in ["old", "web1"] {
        let host = lab.host(name);
        let listener = "pgrep -o -f '^sshd: .*\\[listener\\]'";
        let mut request = armed();
        request.line(&["tx", "T-1", "60", "/usr/sbin/sshd /etc/ssh/sshd_config"]);
        request.file(
            "/etc/ssh/sshd_config.d/00-test.conf",
            0o644,
            "any",
            Scope::Transaction,
            &[Line::Text("MaxAuthTries 2".to_owned())],
        );
        request.line(&["go"]);
        host.sh(&format!("kill -STOP $({listener})"));
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| ask_host(host, request, 30));
            eventually("the change is being made", 10, || {
                host.exists("/etc/ssh/sshd_config.d/00-test.conf")
            });
            std::thread::sleep(std::time::Duration::from_secs(1));
            assert!(!asked.is_finished(), "{name}: answered too early");
            host.sh(&format!("kill -CONT $({listener})"));
            let answer = asked.join().unwrap();
            assert!(answer.contains("opened\tT-1\t60\n"), "{answer}");
        });
    }
}
