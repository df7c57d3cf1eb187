//! Rotations that are killed at random instants: after the next run ledger and hosts agree, and the admin has a code.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::lab::{Code, Key, Prefs, Suite, Totp};
use crate::support::dice::Dice;
use crate::support::faults::{Site, assert_nothing_open, converge, ledger_of, text_of};
use crate::support::project::{Otpauth, Project, Sheet};

/// The generation that a host has in a slot, by its stamp.
fn stamped(site: &Site, host: &str, slot: &str) -> Option<u64> {
    let found = site.host(host).sh(&format!(
        "sed -n 's/.* FLEETOTP v=1 .* gen=\\([0-9]*\\) .*/\\1/p' /var/lib/google-authenticator/{slot}/alice 2>/dev/null || true"
    ));
    found.trim().parse().ok()
}

/// What the ledger wants is what every host has.
#[track_caller]
fn assert_agree(site: &Site, project: &Project<'_>, what: &str) {
    let row = project.status("alice", "default");
    let (current, next) = match row["state"].as_str().unwrap() {
        "active" => (row["generation"].as_u64(), None),
        "rotating" => (
            row["rotation"]["old"].as_u64(),
            row["rotation"]["new"].as_u64(),
        ),
        other => panic!("{what}: {other}"),
    };
    for host in &site.hosts {
        assert_eq!(
            stamped(site, host, "current"),
            current,
            "{what}: {host}: {row:#}"
        );
        assert_eq!(stamped(site, host, "next"), next, "{what}: {host}: {row:#}");
        let has_deadline = site
            .host(host)
            .exists("/var/lib/fleetotp/deadlines/next.alice");
        assert_eq!(has_deadline, next.is_some(), "{what}: {host}");
    }
    for host in site.each() {
        assert_nothing_open(host);
    }
}

#[track_caller]
fn assert_in(site: &Site, host: &str, totp: &mut Totp) {
    let code = totp.fresh();
    let key = Key::With(&site.alice);
    site.lab
        .assert_in(host, "alice", key, Code::Some(&code), Prefs::Default);
}

/// The one sheet in the directory, if there is one: its file is what an admin would be handed.
fn open_sheet(project: &Project<'_>) -> Option<Sheet> {
    let files = project.sheet_files();
    assert!(files.len() <= 1, "{files:?}");
    files.into_iter().next().map(|path| Sheet {
        admin: "alice".to_owned(),
        realm: "default".to_owned(),
        id: String::new(),
        path,
    })
}

#[tokio::test]
async fn lab_a_rotation_killed_at_random_instants_leaves_a_working_code() {
    let site = Site::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let project = site.project(60);
    let mut dice = Dice::new();
    let ran = project
        .rollout(&["-a", "alice", "-o", "json"])
        .expect_code(0);
    let first = ran.sheet("alice", "default").scan();
    project
        .confirm("alice", &first.wide_totp().fresh(), &[])
        .expect_code(0);
    // A copy of the authenticator for each host: what was used on one is fresh on another.
    let copies = |sheet: &Otpauth| -> BTreeMap<String, Totp> {
        let each = site.hosts.iter();
        each.map(|host| (host.clone(), sheet.wide_totp())).collect()
    };
    let mut old = copies(&first);
    let (mut whole, mut confirming) = (Duration::ZERO, Duration::ZERO);
    for round in 0..=30_u32 {
        let what = format!("round {round}");
        let host = &site.hosts[round as usize % site.hosts.len()];
        // Every other round the rotation itself is killed, else what ends it.
        let kills_begin = round > 0 && round % 2 == 1;
        let start = Instant::now();
        let mut run = site
            .command(&project, &["rotate", "alice"])
            .spawn()
            .unwrap();
        if kills_begin {
            let at = dice.below(whole);
            std::thread::sleep(at);
            run.kill().unwrap();
            run.wait().unwrap();
            println!("{what}: killed at {at:?} of {whole:?}");
        } else {
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{what}: {}", text_of(&output));
            whole = start.elapsed();
        }
        converge(&what, || project.fleetotp(&["sync", "-a", "alice"]));
        assert_agree(&site, &project, &what);
        assert_in(&site, host, old.get_mut(host).unwrap());
        if open_sheet(&project).is_none() {
            // Killed before it began, or before its sheet was there: then it is begun anew.
            project.fleetotp(&["rotate", "alice"]).expect_code(0);
            assert_agree(&site, &project, &what);
        }
        let sheet = open_sheet(&project).unwrap();
        let scanned = sheet.scan();
        // Its codes are typed at the controller, which takes one step either way whatever hosts take.
        let (mut new, mut app) = (scanned.totp(), copies(&scanned));
        let start = Instant::now();
        let mut run = site
            .command(&project, &["confirm", "alice"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        {
            use std::io::Write as _;
            let mut pipe = run.stdin.take().unwrap();
            let code = new.fresh();
            crate::lab::typed(&code);
            drop(writeln!(pipe, "{code}"));
        }
        if round > 0 && !kills_begin {
            let at = dice.below(confirming);
            std::thread::sleep(at);
            run.kill().unwrap();
            run.wait().unwrap();
            println!("{what}: killed at {at:?} of {confirming:?} in the confirmation");
        } else {
            let output = run.wait_with_output().unwrap();
            assert!(output.status.success(), "{what}: {}", text_of(&output));
            confirming = start.elapsed();
        }
        converge(&what, || project.fleetotp(&["sync", "-a", "alice"]));
        assert_agree(&site, &project, &what);
        if project.status("alice", "default")["state"] == "rotating" {
            assert_in(&site, host, old.get_mut(host).unwrap());
            project.confirm("alice", &new.fresh(), &[]).expect_code(0);
            assert_agree(&site, &project, &what);
        }
        assert_eq!(
            project.status("alice", "default")["state"],
            "active",
            "{what}"
        );
        assert!(open_sheet(&project).is_none(), "{what}");
        assert_in(&site, host, app.get_mut(host).unwrap());
        old = app;
        let ledger = ledger_of(&project.path()).await;
        let report = ledger.verify_chain().await.unwrap();
        assert!(report.faults.is_empty(), "{what}: {:?}", report.faults);
        ledger.close().await;
    }
}
