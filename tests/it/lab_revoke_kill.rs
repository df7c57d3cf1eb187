//! A revocation is killed at random instants: after the next `sync` ledger and hosts agree, and no login is left.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::lab::{Code, Key, Lab, Prefs, Suite};
use crate::support::dice::Dice;
use crate::support::faults::{assert_nothing_open, ledger_of, text_of};
use crate::support::leavers::{
    Fleet, WHY, assert_out, others, policies, processes, session, state_files,
};

const HOSTS: [(&str, Suite); 2] = [("web1", Suite::Bookworm), ("web2", Suite::Trixie)];
const ROUNDS: u32 = 30;

#[tokio::test]
async fn lab_a_revocation_killed_at_random_instants_is_finished_by_the_next_sync() {
    let lab = Lab::start(&HOSTS);
    let names = HOSTS.map(|(name, _)| name);
    let fleet = Fleet::new(&lab, &names, &policies()["default"]);
    let project = &fleet.project;
    let mut dice = Dice::new();
    let mut whole = Duration::ZERO;
    let mut anew = fleet.alices.clone();
    for round in 0..=ROUNDS {
        if round % 2 == 0 {
            // Every other time she is confirmed, and else pending.
            let code = anew.fresh();
            project.confirm("alice", &code, &[]).expect_code(0);
        }
        let mut child = (round == 0).then(|| session(&lab, "web1", "bob", &fleet.bob));
        let before = names.map(|host| others(&state_files(&lab, host), "alice"));
        let start = Instant::now();
        let mut run = project
            .command(&[&["revoke", "alice"][..], &WHY].concat())
            .spawn()
            .unwrap();
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
        let state = project.status("alice", "default")["state"].clone();
        let synced = project.fleetotp(&["sync"]).expect_code(0);
        if state == json!("revoking") || state == json!("revoked") {
            let row = project.status("alice", "default");
            assert_eq!(
                row["state"], "revoked",
                "round {round}: {row:#}{}",
                synced.stdout
            );
            assert_eq!(
                (&row["revocation"]["proven"], &row["revocation"]["open"]),
                (&json!(2), &json!(0))
            );
            for host in names {
                assert!(!state_files(&lab, host).contains("/alice"), "round {round}");
                assert_nothing_open(lab.host(host));
            }
            // One host a round, each in its turn.
            assert_out(
                &lab,
                names[round as usize % 2],
                "alice",
                &fleet.alice,
                &anew,
            );
        } else {
            // Killed before the intent was stored: then nothing at all has happened.
            println!("round {round}: nothing was stored");
            assert_eq!(state, if round % 2 == 0 { "active" } else { "pending" });
        }
        for (host, before) in names.iter().zip(&before) {
            assert_eq!(
                &others(&state_files(&lab, host), "alice"),
                before,
                "round {round}: bob's on {host}"
            );
        }
        if let Some(child) = &mut child {
            assert!(processes(&lab, "web1", "bob").contains("sleep 4712"));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let ledger = ledger_of(&project.path()).await;
        let report = ledger.verify_chain().await.unwrap();
        assert!(report.faults.is_empty(), "{:?}", report.faults);
        ledger.close().await;
        // The next life, with a key of its own.
        let kind = if project.status("alice", "default")["state"] == "active" {
            "--lost-device"
        } else {
            "--reissue"
        };
        let issued = project
            .fleetotp(&["enroll", "alice", kind, "-o", "json"])
            .expect_code(0);
        anew = issued.sheet("alice", "default").scan().wide_totp();
    }
    let code = anew.fresh();
    lab.assert_in(
        "web1",
        "alice",
        Key::With(&fleet.alice),
        Code::Some(&code),
        Prefs::Default,
    );
}
