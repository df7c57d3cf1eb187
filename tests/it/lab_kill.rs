//! The program is killed at random instants: each time the next run converges, and every sheet that is left belongs to
//! the secret that the hosts hold.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::lab::{Code, Key, Prefs, Suite, Totp};
use crate::support::dice::Dice;
use crate::support::faults::{
    RESET, Site, assert_nothing_open, assert_sheets_fit, converge, ledger_of, text_of,
};
use crate::support::project::ROLLOUT;

async fn assert_chain_holds(project: &Path) {
    let ledger = ledger_of(project).await;
    let report = ledger.verify_chain().await.unwrap();
    assert!(report.faults.is_empty(), "{:?}", report.faults);
    ledger.close().await;
}

/// Kills a rollout `rounds` times at random instants, on hosts that know nothing of it.
async fn kill_rollouts(suites: [Suite; 2], rounds: u32) {
    let site = Site::start(&[("web1", suites[0]), ("web2", suites[1])]);
    let mut dice = Dice::new();
    let mut whole = Duration::ZERO;
    for round in 0..=rounds {
        let project = site.project(60);
        let start = Instant::now();
        let mut run = site.spawn_rollout(&project, &[]);
        if round == 0 {
            // How long it takes when nobody disturbs it.
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text_of(&output));
            whole = start.elapsed();
        } else {
            let at = dice.below(whole);
            std::thread::sleep(at);
            run.kill().unwrap();
            let output = run.wait_with_output().unwrap();
            println!(
                "round {round}: killed at {at:?} of {whole:?}: {}",
                output.status
            );
        }
        let what = format!("round {round}");
        converge(&what, || project.rollout(&[]));
        project.rollout(&[]).expect_code(0).expect_unchanged();
        for host in site.each() {
            assert_nothing_open(host);
        }
        assert_sheets_fit(&site, &project, &["alice", "bob"]);
        assert_chain_holds(&project.path()).await;
        // One host a round, each in its turn.
        let name = &site.hosts[round as usize % site.hosts.len()];
        for (login, key) in [("alice", &site.alice), ("bob", &site.bob)] {
            let key = Key::With(key);
            site.lab
                .assert_in(name, login, key, Code::No, Prefs::Default);
        }
        for host in site.each() {
            host.sh(RESET);
        }
    }
}

#[tokio::test]
async fn lab_a_rollout_killed_at_random_instants_converges_on_new_releases() {
    kill_rollouts([Suite::Bookworm, Suite::Trixie], 15).await;
}

#[tokio::test]
async fn lab_a_rollout_killed_at_random_instants_converges_on_the_oldest() {
    kill_rollouts([Suite::Bullseye, Suite::Bookworm], 15).await;
}

#[tokio::test]
async fn lab_a_confirmation_killed_at_random_instants_converges() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let project = site.project(60);
    let mut dice = Dice::new();
    project.rollout(&[]).expect_code(0);
    let mut whole = Duration::ZERO;
    for round in 0..=10 {
        // A new key each time; the hosts keep asking for a code once they have begun to.
        let issued = project
            .fleetotp(&["enroll", "alice", "--lost-device", "-o", "json"])
            .expect_code(0);
        let sheet = issued.sheet("alice", "default");
        let kept = std::fs::read(&sheet.path).unwrap();
        let scanned = sheet.scan();
        let mut totp = scanned.wide_totp();
        let start = Instant::now();
        let mut run = site
            .command(&project, &["confirm", "alice"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        {
            use std::io::Write as _;
            let mut pipe = run.stdin.take().unwrap();
            let code = totp.fresh();
            crate::lab::typed(&code);
            writeln!(pipe, "{code}").unwrap();
        }
        if round == 0 {
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text_of(&output));
            whole = start.elapsed();
        } else {
            let at = dice.below(whole);
            std::thread::sleep(at);
            run.kill().unwrap();
            run.wait().unwrap();
            println!(
                "round {round}: killed at {at:?} of {whole:?}: {}",
                project.status("alice", "default")["state"]
            );
        }
        if project.status("alice", "default")["state"] == "pending" {
            // A code that may have been looked at is not taken twice. The controller takes one step either way.
            let mut near = Totp::new(&scanned.secret);
            near.heed(&totp);
            project.confirm("alice", &near.fresh(), &[]).expect_code(0);
        }
        // A run that is killed between the ledger and the file leaves the file: whatever the instant was.
        std::fs::write(&sheet.path, &kept).unwrap();
        converge(&format!("round {round}"), || project.fleetotp(&["sync"]));
        assert!(!sheet.path.exists(), "the sheet of a confirmed token");
        for host in site.each() {
            assert_nothing_open(host);
            assert!(
                host.sh("getent group fleetotp").trim().ends_with(":alice"),
                "round {round}"
            );
        }
        assert_chain_holds(&project.path()).await;
        assert_sheets_fit(&site, &project, &["bob"]);
        for name in &site.hosts {
            assert_eq!(project.state_on("alice", "default", name), "enforced");
        }
    }
    project.rollout(&[]).expect_code(0).expect_unchanged();
    let issued = project
        .fleetotp(&["enroll", "alice", "--lost-device", "-o", "json"])
        .expect_code(0);
    let mut totp = issued.sheet("alice", "default").scan().wide_totp();
    project.confirm("alice", &totp.fresh(), &[]).expect_code(0);
    site.lab
        .assert_member("web1", "alice", &site.alice, &mut totp);
    let output = site.command(&project, &["play", ROLLOUT]).output().unwrap();
    assert!(output.status.success(), "{}", text_of(&output));
}
