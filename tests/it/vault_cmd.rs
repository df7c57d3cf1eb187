//! `vault recipients|rekey|exposed`: who can open what, before and after.

use std::os::unix::fs::PermissionsExt as _;

use fleetotp::clock::Timestamp;
use fleetotp::vault::generate_identity;
use serde_json::{Value, json};

use crate::support::bare::Bare;
use crate::support::project::Ran;

fn project() -> Bare {
    Bare::new(&json!({
        "all": {"hosts": {"web1": {}}},
        "admins": {"alice": {"name": "Alice"}, "bob": {"name": "Bob"}},
        "policies": {"default": {"issuer": "Example Corp"}},
    }))
}

/// A colleague: an identity file in the project's directory, and its public key.
fn colleague(bare: &Bare) -> String {
    let new = generate_identity(Timestamp::UNIX_EPOCH);
    let file = bare.path().join("colleague.txt");
    std::fs::write(&file, new.file.expose()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    new.recipient.to_string()
}

fn settings(bare: &Bare) -> String {
    std::fs::read_to_string(bare.path().join("fleetotp.yml")).unwrap()
}

fn exposed(bare: &Bare) -> Vec<String> {
    let document = bare
        .run(&["vault", "exposed", "-o", "json"])
        .expect_code(0)
        .json();
    let list = document["exposed"].as_array().unwrap().clone();
    list.iter()
        .map(|e| e["admin"].as_str().unwrap().to_owned())
        .collect()
}

/// Confirms with the colleague's identity instead of the project's.
fn confirm_as_colleague(bare: &Bare, admin: &str, code: &str) -> Ran {
    bare.fed(
        code,
        &["confirm", admin, "--no-push", "--identity", "colleague.txt"],
    )
}

#[test]
fn a_colleague_comes_and_goes() {
    let bare = project();
    let mut alice = bare.enroll("alice", &[]).scan().totp();
    let hers = colleague(&bare);
    let before = settings(&bare);
    confirm_as_colleague(&bare, "alice", &alice.fresh())
        .expect_code(1)
        .expect_text(&["the identity does not open this secret"]);

    // She comes: one line more, and everything else of the file as it was.
    bare.run(&["vault", "recipients", "add", &hers, "--check"])
        .expect_code(0);
    assert_eq!(settings(&bare), before);
    bare.run(&["vault", "recipients", "add", &hers])
        .expect_code(0)
        .expect_text(&["vault rekey"]);
    let added: Vec<_> = settings(&bare).lines().map(str::to_owned).collect();
    let new_line = format!("    - {hers}");
    assert_eq!(added.iter().filter(|l| **l == new_line).count(), 1);
    let rest: Vec<_> = added.iter().filter(|l| **l != new_line).cloned().collect();
    assert_eq!(rest.join("\n") + "\n", before);
    bare.run(&["vault", "recipients", "add", &hers])
        .expect_code(0)
        .expect_text(&["already"]);
    let list = bare
        .run(&["vault", "recipients", "list", "-o", "json"])
        .expect_code(0)
        .json();
    assert_eq!(
        (
            &list["recipients"][0]["opens"],
            &list["recipients"][1]["opens"]
        ),
        (&json!(1), &json!(0)),
        "{list:#}"
    );
    bare.run(&["vault", "rekey", "--check"])
        .expect_code(0)
        .expect_text(&["would seal 1 of 1"]);
    bare.run(&["vault", "rekey"])
        .expect_code(0)
        .expect_text(&["sealed 1 of 1"]);
    bare.run(&["vault", "rekey"])
        .expect_code(0)
        .expect_text(&["sealed 0 of 1"]);
    confirm_as_colleague(&bare, "alice", &alice.fresh()).expect_code(0);
    assert_eq!(exposed(&bare), Vec::<String>::new());

    // She goes: what she could open is to be replaced, what comes later is not.
    bare.enroll("bob", &[]);
    bare.run(&["vault", "recipients", "remove", &hers])
        .expect_code(0)
        .expect_text(&["the keys of 2 tokens", "vault rekey"]);
    assert_eq!(settings(&bare), before);
    assert_eq!(exposed(&bare), ["alice", "bob"]);
    bare.run(&["vault", "exposed", "--strict"]).expect_code(9);
    assert_eq!(bare.status("alice")["exposed_to"], json!([hers]));
    let said = bare.run(&["status"]).expect_code(0).stderr;
    assert!(
        said.contains("the key of alice in realm default could be read"),
        "{said}"
    );
    bare.run(&["vault", "rekey"]).expect_code(0);
    assert_eq!(exposed(&bare), ["alice", "bob"], "she has earlier ledgers");
    let mut bob = bare.enroll("bob", &["--reissue"]).scan().totp();
    assert_eq!(exposed(&bare), ["alice"]);
    confirm_as_colleague(&bare, "bob", &bob.fresh())
        .expect_code(1)
        .expect_text(&["the identity does not open this secret"]);
    bare.fed(&bob.fresh(), &["confirm", "bob", "--no-push"])
        .expect_code(0);
    assert_eq!(
        bare.events("vault."),
        [
            "vault.refused",
            "vault.recipient_added",
            "vault.opened",
            "vault.rekeyed",
            // Confirming alice; by rekeying; confirming bob.
            "vault.opened",
            "vault.recipient_removed",
            "vault.opened",
            "vault.rekeyed",
            "vault.refused",
            "vault.opened"
        ]
    );
    let refused =
        bare.sql("SELECT body FROM event WHERE kind = 'vault.refused' ORDER BY seq LIMIT 1");
    let refused: Value = serde_json::from_str(&refused).unwrap();
    let data = &refused["data"];
    assert_eq!(
        (&data["generation"], &data["why"]),
        (&json!(1), &json!("wrong identity"))
    );
    assert!(data["serial"].is_string(), "{refused:#}");
}

#[test]
fn what_was_exposed_is_rotated_and_nothing_else() {
    let bare = project();
    let hers = colleague(&bare);
    bare.run(&["vault", "recipients", "add", &hers])
        .expect_code(0);
    let mut alice = bare.enroll("alice", &[]).scan().totp();
    bare.fed(&alice.fresh(), &["confirm", "alice", "--no-push"])
        .expect_code(0);
    bare.run(&["vault", "recipients", "remove", &hers])
        .expect_code(0)
        .expect_text(&["rotate --exposed"]);
    let mut bob = bare.enroll("bob", &[]).scan().totp();
    bare.fed(&bob.fresh(), &["confirm", "bob", "--no-push"])
        .expect_code(0);
    let rotate = ["rotate", "--exposed", "--no-push", "-o", "json"];
    let rotated = bare.run(&rotate).expect_code(0).sheets();
    let names: Vec<_> = rotated.iter().map(|s| s.admin.as_str()).collect();
    assert_eq!(names, ["alice"]);
    // The old key is valid until the rotation ends, so it stays exposed until then; it is not rotated twice.
    assert_eq!(exposed(&bare), ["alice"]);
    bare.run(&rotate).expect_code(0);
    assert_eq!(bare.status("alice")["rotation"]["new"], 2);
}

#[test]
fn rekeying_needs_the_identity_and_changes_nothing_without() {
    let bare = project();
    bare.enroll("alice", &[]);
    let hers = colleague(&bare);
    bare.run(&["vault", "recipients", "add", &hers])
        .expect_code(0);
    let sealed = bare.sql("SELECT sealed FROM generation");
    bare.run(&["vault", "rekey", "--identity", "nowhere.txt"])
        .expect_code(1)
        .expect_text(&["needs the age identity"]);
    assert_eq!(bare.sql("SELECT sealed FROM generation"), sealed);
}

#[test]
fn what_would_lose_secrets_or_change_too_much_is_refused() {
    let bare = project();
    let mine = bare
        .run(&["vault", "recipients", "list", "-o", "json"])
        .json()["recipients"][0]["recipient"]
        .as_str()
        .unwrap()
        .to_owned();
    bare.run(&["vault", "recipients", "remove", &mine])
        .expect_code(1)
        .expect_text(&["the only recipient"]);
    let hers = colleague(&bare);
    bare.run(&["vault", "recipients", "remove", &hers])
        .expect_code(1)
        .expect_text(&["no recipient of this project"]);
    let secret = std::fs::read_to_string(bare.path().join("colleague.txt")).unwrap();
    let secret = secret.lines().last().unwrap();
    let ran = bare
        .run(&["vault", "recipients", "add", secret])
        .expect_code(64);
    assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
    // A list over several lines in brackets is for its owner to change.
    let file = bare.path().join("fleetotp.yml");
    let text = settings(&bare).replace(
        &format!("  recipients:\n    - {mine}\n"),
        &format!("  recipients: [\n    {mine},\n    ]\n"),
    );
    std::fs::write(&file, &text).unwrap();
    bare.run(&["vault", "recipients", "add", &hers])
        .expect_code(1)
        .expect_text(&["nothing was changed", &format!("add `- {hers}`")]);
    assert_eq!(settings(&bare), text);
    assert_eq!(bare.events("vault."), Vec::<String>::new());
}

#[test]
fn a_recipient_that_was_taken_out_by_hand_is_noticed() {
    let bare = project();
    let hers = colleague(&bare);
    bare.run(&["vault", "recipients", "add", &hers])
        .expect_code(0);
    bare.enroll("alice", &[]);
    let file = bare.path().join("fleetotp.yml");
    let text = settings(&bare).replace(&format!("    - {hers}\n"), "");
    std::fs::write(&file, text).unwrap();
    bare.run(&["vault", "recipients", "list"])
        .expect_code(0)
        .expect_text(&["no ", "1/1", "vault rekey"]);
    bare.run(&["vault", "rekey"]).expect_code(0);
    assert_eq!(exposed(&bare), ["alice"]);
}
