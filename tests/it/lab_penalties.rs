//! sshd's penalties for failed logins (PerSourcePenalties, on by default since OpenSSH 9.8): a proof provokes failed logins,
//! and none of them may be held against the controller.

use std::process::{Output, Stdio};

use crate::lab::{Lab, Suite};
use crate::support::faults::{Site, assert_nothing_open, text_of};
use crate::support::project::ROLLOUT;

const HOST: &str = "web1";

/// A lab of one host. Where the controller has the host's own address, penalties could not tell the two apart.
fn start() -> Site {
    let site = Site::start(&[(HOST, Suite::Trixie)]);
    assert_eq!(site.lab.mode(), "namespaces", "not shown in this mode");
    site
}

/// One login from the controller's own address, as fleetotp's connections come.
fn login(lab: &Lab, key: &std::path::Path) -> Output {
    let mut ssh = lab.controller("ssh");
    ssh.args(["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i"])
        .arg(key)
        .arg(format!("root@{}", lab.host(HOST).address()))
        .arg("true")
        .stdin(Stdio::null());
    ssh.output().expect("ssh starts")
}

fn penalise(site: &Site, settings: &str) {
    let host = site.host(HOST);
    host.write_file("/etc/ssh/sshd_config.d/10-penalties.conf", "644", settings);
    // What was held against anybody is forgotten with it.
    host.sh("kill -HUP \"$(cat /run/sshd.pid)\" && sleep 0.3");
}

/// What a host's log has of the controller, but for what every good login leaves. That is more than fail2ban looks for
/// (filter.d/sshd.conf: `Failed`, `Invalid user`, `authentication failure`, … `from <HOST>`).
fn held_against_the_controller(log: &str) -> Vec<&str> {
    let good = [
        "Accepted ",
        "Partial ",
        "Postponed ",
        "Connection from ",
        "Starting session: ",
        "Close session: ",
        "Received disconnect from 10.77.0.1 port ",
        "Disconnected from user ",
        "Connection closed by 10.77.0.1 port ",
    ];
    let of_controller = log.lines().filter(|line| line.contains("10.77.0.1 "));
    of_controller
        .filter(|line| {
            let said = line.split_once("]: ").map_or(*line, |(_, said)| said);
            let ended = said.contains("[preauth]") && !said.starts_with("Postponed ");
            ended || !good.iter().any(|start| said.starts_with(start))
        })
        .collect()
}

#[test]
fn lab_no_failed_login_of_a_proof_is_held_against_the_controller() {
    let site = start();
    let (lab, host) = (&site.lab, site.host(HOST));
    let assert_in = || {
        let output = login(lab, lab.root_key());
        assert!(output.status.success(), "{}", text_of(&output));
    };
    // A single failed login keeps its address out, for longer than a proof waits.
    let strict = "PerSourcePenalties authfail:30s noauth:30s min:1s\n";
    penalise(&site, strict);
    let project = site.project(60);
    project.rollout(&[]).expect_code(0);
    assert_in();
    // The host's own addresses are out now: it is said so, and nothing is tried from the controller instead.
    project.fleetotp(&["verify", "--strict"]).expect_code(9).expect_text(&[
        "web1: NOT VERIFIED: the proof by login could not be made: sshd keeps the host's own addresses out",
        "PerSourcePenaltyExemptList",
    ]);
    assert_in();
    penalise(
        &site,
        &format!("{strict}PerSourcePenaltyExemptList 127.0.0.1,::1\n"),
    );
    for _ in 0..2 {
        project.fleetotp(&["verify", "--strict"]).expect_code(0);
        assert_in();
    }
    let log = host.read_file("/var/log/auth.log");
    assert!(
        log.matches("Failed keyboard-interactive/pam for fleetotp-canary from")
            .count()
            > 2,
        "{log}"
    );
    assert_eq!(held_against_the_controller(&log), Vec::<&str>::new());
    assert_nothing_open(host);
}

/// Who is kept out already when a run begins comes again until sshd's shortest penalty is over.
#[test]
fn lab_a_controller_that_is_kept_out_comes_again() {
    let site = start();
    let project = site.project(60);
    let stranger = site.lab.key_pair("stranger");
    let said = || text_of(&login(&site.lab, &stranger.private));
    // As many as it takes; of one that sshd does not let begin, ssh sees the end in either of two ways.
    let last = std::iter::repeat_with(said)
        .find(|said| !said.contains("Permission denied"))
        .unwrap_or_default();
    let ends = ["Connection closed by", "Connection reset by"];
    assert!(ends.iter().any(|end| last.contains(end)), "{last}");
    let log = site.host(HOST).read_file("/var/log/auth.log");
    assert!(held_against_the_controller(&log).len() > 1, "{log}");
    let check = ["play", ROLLOUT, "--check", "-o", "json"];
    let ran = project.fleetotp(&check).expect_code(0);
    assert!(
        ran.stdout.contains("dropped-before-login"),
        "{}",
        ran.stdout
    );
}
