//! `doctor`: every finding is made to appear, and goes away by its remedy.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::bare::Bare;

fn project(policy: &serde_json::Value) -> Bare {
    Bare::new(&json!({
        "all": {"hosts": {"web1": {}}},
        "admins": {"alice": {"name": "Alice"}},
        "policies": {"default": policy},
    }))
}

fn ids(bare: &Bare) -> Vec<String> {
    let document = bare.run(&["doctor", "-o", "json"]).expect_code(0).json();
    let list = document["findings"].as_array().unwrap().clone();
    list.iter()
        .map(|f| {
            assert!(!f["text"].as_str().unwrap().is_empty());
            assert!(!f["remedy"].as_str().unwrap().is_empty());
            f["id"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn mode(bare: &Bare, name: &str, mode: u32) {
    let path = bare.path().join(name);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_new_project_has_no_problem() {
    let bare = project(&json!({"issuer": "Example Corp"}));
    assert_eq!(ids(&bare), ["one-recipient"]);
    bare.run(&["doctor", "--strict"]).expect_code(0);
}

#[test]
fn each_problem_is_named_and_judged() {
    let bare = project(&json!({"issuer": "Example Corp"}));
    let without = |bare: &Bare, id: &str| {
        assert!(!ids(bare).contains(&id.to_owned()), "{:?}", ids(bare));
    };
    let problem = |bare: &Bare, id: &str| {
        assert!(ids(bare).contains(&id.to_owned()), "{:?}", ids(bare));
        bare.run(&["doctor", "--strict"])
            .expect_code(9)
            .expect_text(&[&format!("problem ({id}): ")]);
    };
    mode(&bare, "state/identity.txt", 0o644);
    problem(&bare, "identity-exposed");
    mode(&bare, "state/identity.txt", 0o600);
    mode(&bare, "state/ledger.db", 0o640);
    problem(&bare, "open-to-others");
    mode(&bare, "state/ledger.db", 0o600);
    mode(&bare, "sheets", 0o755);
    problem(&bare, "open-to-others");
    mode(&bare, "sheets", 0o700);
    without(&bare, "open-to-others");

    let sheet = bare.enroll("alice", &[]);
    assert!(ids(&bare).contains(&"plain-sheets".to_owned()));
    std::fs::copy(&sheet.path, bare.path().join("sheets/S-ABCDEFGH.pdf")).unwrap();
    problem(&bare, "sheets-left");
    bare.run(&["sheets", "purge"]).expect_code(0);
    without(&bare, "sheets-left");

    let other = fleetotp::vault::generate_identity(fleetotp::clock::Timestamp::UNIX_EPOCH);
    let other = other.recipient.to_string();
    bare.run(&["vault", "recipients", "add", &other])
        .expect_code(0);
    problem(&bare, "sealed-to-others");
    bare.run(&["vault", "rekey"]).expect_code(0);
    without(&bare, "sealed-to-others");
    without(&bare, "one-recipient");
    bare.run(&["vault", "recipients", "remove", &other])
        .expect_code(0);
    problem(&bare, "exposed");
    bare.run(&["vault", "recipients", "add", &other])
        .expect_code(0);
    without(&bare, "exposed");

    bare.sql("UPDATE generation SET expires_at = 1000");
    problem(&bare, "sheets-overdue");
    bare.sql("UPDATE event SET body = replace(body, 'alice', 'mallory') WHERE seq = 2");
    bare.sql("UPDATE event SET at = at + 1 WHERE seq = 2");
    problem(&bare, "event-log");
}

#[test]
fn an_identity_that_is_elsewhere_or_another_is_told() {
    let bare = project(&json!({"issuer": "Example Corp"}));
    let away = bare.path().join("elsewhere.txt");
    let identity = bare.path().join("state/identity.txt");
    std::fs::rename(&identity, &away).unwrap();
    assert!(ids(&bare).contains(&"no-identity".to_owned()));
    bare.run(&["doctor", "--strict"]).expect_code(0);
    let new = fleetotp::vault::generate_identity(fleetotp::clock::Timestamp::UNIX_EPOCH);
    std::fs::write(&identity, new.file.expose()).unwrap();
    mode(&bare, "state/identity.txt", 0o600);
    assert!(ids(&bare).contains(&"identity-not-a-recipient".to_owned()));
}

#[test]
fn weak_codes_few_codes_and_old_keys_are_told() {
    let bare = project(&json!({
        "issuer": "Example Corp", "scratch_codes": 2, "recovery_codes": 1,
        "rotate_every": "90d", "confirm_tries": 1,
    }));
    let mut totp = bare.enroll("alice", &[]).scan().totp();
    let found = ids(&bare);
    for id in ["scratch-codes", "few-recovery-codes"] {
        assert!(found.contains(&id.to_owned()), "{found:?}");
    }
    bare.run(&["doctor"])
        .expect_code(0)
        .expect_text(&["eight digits that are valid at any time"]);
    for _ in 0..2 {
        bare.fed(&totp.wrong(), &["confirm", "alice", "--no-push"])
            .expect_code(1);
    }
    assert!(ids(&bare).contains(&"malfeasance".to_owned()));
    bare.sql("DELETE FROM confirm_try");
    bare.fed(&totp.fresh(), &["confirm", "alice", "--no-push"])
        .expect_code(0);
    assert!(!ids(&bare).contains(&"rotation-due".to_owned()));
    bare.sql("UPDATE generation SET issued_at = issued_at - 91 * 86400000");
    assert!(ids(&bare).contains(&"rotation-due".to_owned()));
}
