//! Recovery and scratch codes on real hosts.

use serde_json::{Value, json};

use crate::lab::{Code, Key, Lab, Prefs, Suite, WINDOW};
use crate::recovery::codes;
use crate::support::project::{Project, Sheet, all};

fn inventory(lab: &Lab, hosts: &[&str], rate_limit: &str) -> Value {
    let hosts: Vec<_> = hosts.iter().map(|name| (*name, json!({}))).collect();
    json!({
        "all": all(lab, &hosts),
        "admins": {"alice": {"name": "Alice"}, "bob": {"name": "Bob"}},
        "policies": {"default": {
            "issuer": "Example Corp", "rate_limit": rate_limit, "window": WINDOW, "recovery_codes": 2, "scratch_codes": 2,
        }},
    })
}

/// The scratch codes on a plain sheet.
pub(crate) fn scratch_codes(sheet: &Sheet) -> Vec<String> {
    let output = std::process::Command::new("pdftotext")
        .args(["-f", "2"])
        .arg(&sheet.path)
        .arg("-")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace()
        .filter(|w| w.len() == 8 && w.bytes().all(|b| b.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_lost_phone_is_replaced_by_a_recovery_code_once() {
    let lab = Lab::start(&[("web1", Suite::Bookworm), ("web2", Suite::Trixie)]);
    let (alice, bob) = (lab.key_pair("alice"), lab.key_pair("bob"));
    for host in ["web1", "web2"] {
        lab.host(host).add_user("alice", &alice);
        lab.host(host).add_user("bob", &bob);
    }
    let project = Project::new(&lab, &inventory(&lab, &["web1", "web2"], "30/30s"));
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let (sheet, bobs) = (ran.sheet("alice", "default"), ran.sheet("bob", "default"));
    let recovery = codes(&sheet);
    assert_eq!(recovery.len(), 2);
    let (mut old, mut of_bob) = (sheet.scan().wide_totp(), bobs.scan().wide_totp());
    project.confirm("alice", &old.fresh(), &[]).expect_code(0);
    project.confirm("bob", &of_bob.fresh(), &[]).expect_code(0);
    let bobs_file = |host: &str| {
        lab.host(host)
            .sh("stat -c %i /var/lib/google-authenticator/current/bob; cat /var/lib/google-authenticator/current/bob")
    };
    let before = [bobs_file("web1"), bobs_file("web2")];

    // A recovery code is no code for a login.
    let key = Key::With(&alice);
    lab.assert_refused(
        "web1",
        "alice",
        key,
        Code::Some(&recovery[0]),
        Prefs::Default,
    );

    let recovered = project
        .fleetotp_fed(
            &recovery[0],
            &["confirm", "alice", "--recovery", "-o", "json"],
        )
        .expect_code(0);
    let new_sheet = recovered.sheet("alice", "default");
    let new = new_sheet.scan().wide_totp();
    let mut used = new.clone();
    for host in ["web1", "web2"] {
        // Each host remembers its own used codes.
        used = new.clone();
        assert_eq!(project.state_on("alice", "default", host), "enforced");
        let (old_code, new_code) = (old.clone().fresh(), used.fresh());
        lab.assert_refused(host, "alice", key, Code::Some(&old_code), Prefs::Default);
        lab.assert_refused(host, "alice", key, Code::No, Prefs::Default);
        lab.assert_in(host, "alice", key, Code::Some(&new_code), Prefs::Default);
    }
    // Not twice, and the other one of the lost sheet not at all.
    for (code, why) in [
        (&recovery[0], "was redeemed before"),
        (&recovery[1], "is of a sheet that was replaced"),
    ] {
        project
            .fleetotp_fed(code, &["confirm", "alice", "--recovery"])
            .expect_code(1)
            .expect_text(&[why]);
    }
    assert_eq!(project.status("alice", "default")["generation"], 2);
    project.fleetotp(&["sync"]).expect_code(0);
    assert_eq!(project.status("alice", "default")["state"], "active");
    lab.assert_member("web1", "alice", &alice, &mut used);
    // Nobody else has noticed anything.
    assert_eq!(before, [bobs_file("web1"), bobs_file("web2")]);
}

#[test]
fn scratch_codes_are_spent_once_on_each_host_and_never_come_back() {
    let lab = Lab::start(&[
        ("web1", Suite::Bookworm),
        ("web2", Suite::Trixie),
        ("web3", Suite::Bullseye),
    ]);
    let alice = lab.key_pair("alice");
    for host in ["web1", "web2", "web3"] {
        lab.host(host).add_user("alice", &alice);
    }
    let project = Project::new(&lab, &inventory(&lab, &["web1", "web2"], "30/30s"));
    let ran = project.rollout(&["-o", "json"]).expect_code(0);
    let sheet = ran.sheet("alice", "default");
    let scratch = scratch_codes(&sheet);
    assert_eq!(scratch.len(), 2, "{scratch:?}");
    let mut totp = sheet.scan().wide_totp();
    project.confirm("alice", &totp.fresh(), &[]).expect_code(0);

    let key = Key::With(&alice);
    let spend = |host: &str, code: &str| {
        lab.assert_in(host, "alice", key, Code::Some(code), Prefs::Default);
        lab.assert_refused(host, "alice", key, Code::Some(code), Prefs::Default);
    };
    spend("web1", &scratch[0]);
    // That is their weakness: the same code is good on another host.
    spend("web2", &scratch[0]);

    // Neither a run nor a new policy brings back what was spent, or takes away what is left.
    project.rollout(&[]).expect_code(0).expect_unchanged();
    project.set_inventory(&inventory(&lab, &["web1", "web2", "web3"], "40/60s"));
    project.rollout(&[]).expect_code(0);
    let state = |host: &str| {
        lab.host(host)
            .read_file("/var/lib/google-authenticator/current/alice")
    };
    for host in ["web1", "web2"] {
        let text = state(host);
        assert!(text.contains("RATE_LIMIT 40 60"), "{text}");
        assert!(!text.contains(&scratch[0]) && text.contains(&scratch[1]));
    }
    lab.assert_refused(
        "web1",
        "alice",
        key,
        Code::Some(&scratch[0]),
        Prefs::Default,
    );
    spend("web1", &scratch[1]);
    // What is left is shown as it was read last, by host, and few are a warning.
    assert_eq!(
        project.status("alice", "default")["scratch_codes"],
        json!({"left": 0, "issued": 2})
    );
    project.fleetotp(&["sync"]).expect_code(0);
    let row = project.status("alice", "default");
    let left: Vec<&Value> = row["on"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| &cell["scratch_codes"])
        .collect();
    assert_eq!(left, [&json!(0), &json!(1), &json!(0)]);
    project.fleetotp(&["status"]).expect_code(0).expect_text(&[
        "SCRATCH",
        "0/2",
        "few of 2 scratch codes left: 0 on web1, 1 on web2, 0 on web3",
    ]);
    // A host that comes later has the key, and no scratch code.
    assert!(!state("web3").contains(&scratch[1]));
    lab.assert_refused(
        "web3",
        "alice",
        key,
        Code::Some(&scratch[1]),
        Prefs::Default,
    );
    lab.assert_member("web3", "alice", &alice, &mut totp);
}
