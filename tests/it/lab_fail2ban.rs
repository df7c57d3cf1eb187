//! fail2ban at its strictest: one failed login and an address is out. Proofs provoke failed logins, none of them from the
//! controller's address.

use crate::lab::{Host, Suite};
use crate::support::faults::{Site, assert_nothing_open, eventually};

const HOST: &str = "web1";
/// Where the controller comes from.
const CONTROLLER: &str = "10.77.0.1";
/// An address of nobody (RFC 5737), whose ban tells that all before it was read.
const MARK: &str = "203.0.113.9";

/// Who is kept out, by fail2ban's own word.
fn banned(host: Host<'_>) -> String {
    host.sh("fail2ban-client get sshd banip").trim().to_owned()
}

/// Starts it as its package configures it, but for the log's place (there is no journal), one try, and all that its filter
/// knows. What bans is its own action that works without a packet filter.
fn start(host: Host<'_>) {
    host.write_file(
        "/etc/fail2ban/jail.local",
        "644",
        "[DEFAULT]\nbanaction = route\n[sshd]\nmode = aggressive\nbackend = polling\nlogpath = /var/log/auth.log\n\
         maxretry = 1\nfindtime = 1h\nbantime = 1h\n",
    );
    host.sh("fail2ban-client start >/dev/null 2>&1");
    eventually("fail2ban runs", 20, || {
        host.sh("fail2ban-client status sshd 2>&1 || true")
            .contains("/var/log/auth.log")
    });
}

#[test]
fn lab_fail2ban_finds_nothing_against_the_controller() {
    let site = Site::start(&[(HOST, Suite::BookwormWithFail2ban)]);
    assert_eq!(site.lab.mode(), "namespaces", "not shown in this mode");
    let host = site.host(HOST);
    start(host);
    let project = site.project(60);
    let sheet = project
        .rollout(&["-o", "json"])
        .expect_code(0)
        .sheet("alice", "default");
    project
        .confirm("alice", &sheet.scan().totp().fresh(), &[])
        .expect_code(0);
    for _ in 0..2 {
        project.fleetotp(&["verify", "--strict"]).expect_code(0);
    }
    project.fleetotp(&["sync"]).expect_code(0);
    host.sh(&format!(
        "logger -p authpriv.info -t 'sshd[99999]' 'Failed password for root from {MARK} port 2222 ssh2'"
    ));
    eventually("all of the log is read", 60, || banned(host).contains(MARK));
    assert_eq!(banned(host), MARK);
    // It has seen the proofs' failed logins. Of the host's own addresses it knows those that the host's files name, which
    // is not `::1` here.
    let log = host.read_file("/var/log/fail2ban.log");
    let ignored = log.matches("Ignore 127.0.0.1 by ignoreself");
    assert!(ignored.count() > 2, "{log}");
    assert!(!log.contains(&format!("Found {CONTROLLER}")), "{log}");

    // 127.0.0.1 leads nowhere: the proof is made by another of the host's own addresses, and still not from here.
    host.sh("ip addr del 127.0.0.1/8 dev lo && ip route add unreachable 127.0.0.1");
    let verified = project
        .fleetotp(&["verify", "--strict", "-o", "json"])
        .expect_code(0);
    host.sh("ip route del unreachable 127.0.0.1 && ip addr add 127.0.0.1/8 dev lo");
    assert!(
        !verified.stdout.contains("not tried"),
        "{}",
        verified.stdout
    );
    let log = host.read_file("/var/log/auth.log");
    let failed_from = |address: &str| {
        log.contains(&format!(
            "Failed keyboard-interactive/pam for fleetotp-canary from {address} "
        ))
    };
    assert!(failed_from("::1") && !failed_from(CONTROLLER), "{log}");

    // One failed login of anybody else there, and nobody gets in.
    let stranger = site.lab.key_pair("stranger");
    let mut ssh = site.lab.controller("ssh");
    ssh.args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"])
        .arg(&stranger.private)
        .arg(format!("root@{}", host.address()))
        .arg("true");
    assert!(!ssh.output().expect("ssh starts").status.success());
    eventually("the controller is out", 60, || {
        banned(host).contains(CONTROLLER)
    });
    project.fleetotp(&["sync"]).expect_code(4);
    host.sh(&format!("fail2ban-client set sshd unbanip {CONTROLLER}"));
    project.fleetotp(&["sync"]).expect_code(0);
    assert_nothing_open(host);
}
