//! Recovery codes at the controller, signs of malfeasance, and the policy's limits; without any host that answers.

use serde_json::{Value, json};

use crate::support::bare::Bare;
use crate::support::project::Sheet;

/// Nothing listens at the host's address, so a push finds it unreachable at once.
fn project(policy: &Value) -> Bare {
    Bare::new(&json!({
        "all": {"hosts": {"web1": {"ansible_host": "127.0.0.1", "ansible_port": 9}}},
        "admins": {"alice": {"name": "Alice Martin"}, "bob": {"name": "Bob"}},
        "policies": {"default": policy},
    }))
}

fn with_codes(codes: u32) -> Bare {
    project(&json!({"issuer": "Example Corp", "recovery_codes": codes}))
}

/// The recovery codes on a plain sheet.
pub(crate) fn codes(sheet: &Sheet) -> Vec<String> {
    let output = std::process::Command::new("pdftotext")
        .args(["-f", "2"])
        .arg(&sheet.path)
        .arg("-")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let code = regex::Regex::new(r"\b([0-9A-Z]{4}-){3}[0-9A-Z]{4}\b").unwrap();
    code.find_iter(&text)
        .map(|m| m.as_str().to_owned())
        .collect()
}

fn recover(bare: &Bare, code: &str) -> crate::support::project::Ran {
    bare.fed(code, &["confirm", "alice", "--recovery", "-o", "json"])
}

fn confirm(bare: &Bare, admin: &str, code: &str) -> crate::support::project::Ran {
    bare.fed(code, &["confirm", admin, "--no-push"])
}

#[test]
fn a_code_is_worth_one_new_sheet_and_ends_all_others() {
    let bare = with_codes(3);
    let sheet = bare.enroll("alice", &[]);
    let old = codes(&sheet);
    assert_eq!(old.len(), 3, "{old:?}");
    confirm(&bare, "alice", &sheet.scan().totp().fresh()).expect_code(0);
    assert_eq!(
        bare.status("alice")["recovery_codes"],
        json!({"left": 3, "issued": 3})
    );

    // Typed as people type; the host is away, and the new sheet is made all the same.
    let typed = old[1].to_lowercase().replace('-', " ");
    let ran = recover(&bare, &typed).expect_code(4);
    let new_sheet = ran.sheet("alice", "default");
    let new = codes(&new_sheet);
    assert!(new.len() == 3 && new.iter().all(|c| !old.contains(c)));
    assert_eq!(bare.status("alice")["state"], "pending");
    assert_eq!(bare.status("alice")["generation"], 2);
    assert_eq!(
        bare.status("alice")["recovery_codes"],
        json!({"left": 3, "issued": 3})
    );

    // Not a second time, and the others of the old sheet not at all.
    recover(&bare, &old[1])
        .expect_code(1)
        .expect_text(&["was redeemed before"]);
    recover(&bare, &old[0])
        .expect_code(1)
        .expect_text(&["is of a sheet that was replaced"]);
    assert_eq!(bare.status("alice")["generation"], 2, "nothing was issued");
    assert_eq!(
        bare.events("signal."),
        ["signal.recovery_reused", "signal.recovery_dead"]
    );
    assert_eq!(bare.events("recovery.redeemed").len(), 1);
    // The new sheet is as any.
    confirm(&bare, "alice", &new_sheet.scan().totp().fresh()).expect_code(0);
    assert!(!new_sheet.path.exists());
}

#[test]
fn the_ledger_has_no_code_in_any_form_but_its_hash() {
    let bare = with_codes(2);
    let sheet = bare.enroll("alice", &[]);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(bare.path().join("state")).unwrap() {
        files.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let text = String::from_utf8_lossy(&files);
    for code in codes(&sheet) {
        assert!(!text.contains(&code) && !text.contains(&code.replace('-', "")));
    }
    let hashes = bare.sql("SELECT hash FROM recovery_code");
    assert_eq!(hashes.lines().count(), 2);
    assert!(hashes.lines().all(|h| h.starts_with("$argon2id$v=19$")));
}

#[test]
fn guessing_is_counted_and_said_and_a_slip_is_not() {
    let bare = project(&json!({"issuer": "Example Corp", "recovery_codes": 3, "confirm_tries": 2}));
    let right = codes(&bare.enroll("alice", &[])).remove(0);
    for _ in 0..3 {
        recover(&bare, "7K2M-9QXA")
            .expect_code(1)
            .expect_text(&["this is no recovery code"]);
    }
    for _ in 0..2 {
        recover(&bare, "0000-0000-0000-0000")
            .expect_code(1)
            .expect_text(&["no recovery code of alice"]);
    }
    recover(&bare, &right)
        .expect_code(1)
        .expect_text(&["too many wrong codes"]);
    assert_eq!(bare.events("signal."), ["signal.over_limit"]);
    let said = bare.run(&["status"]).expect_code(0);
    assert!(
        said.stderr
            .contains("alice in realm default: 1 sign of malfeasance")
            && said.stdout.contains("RECOVERY"),
        "{}{}",
        said.stdout,
        said.stderr
    );
    // A code of the sheet is another matter.
    bare.enroll("bob", &[]);
    assert_eq!(bare.status("bob")["signals"], Value::Null);
    bare.sql("UPDATE confirm_try SET at = at - 3600000");
    recover(&bare, &right).expect_code(4);
}

#[test]
fn who_has_none_is_told_and_nothing_is_used_up_for_nothing() {
    let bare = with_codes(1);
    let sheet = bare.enroll("alice", &[]);
    let code = codes(&sheet).remove(0);
    recover(&bare, &code).expect_code(4);
    let low = bare.run(&["status"]).expect_code(0);
    assert!(
        low.stderr
            .contains("alice in realm default has 1 of 1 recovery codes left"),
        "{}",
        low.stderr
    );

    let none = with_codes(0);
    none.enroll("alice", &[]);
    recover(&none, "0000-0000-0000-0000")
        .expect_code(1)
        .expect_text(&["alice has no recovery codes", "--lost-device"]);
    assert_eq!(none.status("alice")["recovery_codes"], Value::Null);

    // Left the inventory: the code stays unused.
    let bare = with_codes(2);
    let code = codes(&bare.enroll("alice", &[])).remove(0);
    bare.set_inventory(&json!({
        "all": {"hosts": {"web1": {}}}, "admins": {"bob": {"name": "Bob"}},
    }));
    recover(&bare, &code)
        .expect_code(1)
        .expect_text(&["no longer in the inventory"]);
    assert_eq!(bare.events("recovery."), Vec::<String>::new());

    // A sheet that expired unconfirmed may be in anybody's hands.
    let bare = with_codes(2);
    let code = codes(&bare.enroll("alice", &[])).remove(0);
    bare.sql("UPDATE token SET state = 'expired'");
    recover(&bare, &code)
        .expect_code(1)
        .expect_text(&["has no recovery codes"]);
}

#[test]
fn a_second_confirm_of_one_sheet_is_told_from_a_wrong_code() {
    let bare = with_codes(0);
    let sheet = bare.enroll("alice", &[]);
    let mut totp = sheet.scan().totp();
    confirm(&bare, "alice", &totp.fresh()).expect_code(0);
    confirm(&bare, "alice", &totp.wrong())
        .expect_code(1)
        .expect_text(&["no unconfirmed sheet"]);
    assert_eq!(bare.events("signal."), Vec::<String>::new());
    confirm(&bare, "alice", &totp.fresh())
        .expect_code(1)
        .expect_text(&[
            "a code of the sheet that is confirmed already",
            "--lost-device",
        ]);
    assert_eq!(bare.events("signal."), ["signal.second_confirm"]);
    // Not without an end: the answer tells whether a code is right.
    for _ in 0..3 {
        confirm(&bare, "alice", &totp.wrong()).expect_code(1);
    }
    confirm(&bare, "alice", &totp.fresh())
        .expect_code(1)
        .expect_text(&["too many wrong codes"]);
    assert_eq!(
        bare.events("signal."),
        ["signal.second_confirm", "signal.over_limit"]
    );
    assert_eq!(bare.status("alice")["signals"]["count"], 2);
    // Where nobody types anything, there is nothing to tell.
    bare.run(&["confirm", "alice", "--no-push"])
        .expect_code(1)
        .expect_text(&["no unconfirmed sheet"]);
}

#[test]
fn in_a_rotation_a_code_of_the_old_entry_is_told_from_a_wrong_one() {
    let bare = with_codes(2);
    let sheet = bare.enroll("alice", &[]);
    let old_codes = codes(&sheet);
    let mut old = sheet.scan().totp();
    confirm(&bare, "alice", &old.fresh()).expect_code(0);
    let rotated = bare
        .run(&["rotate", "alice", "--no-push", "-o", "json"])
        .expect_code(0);
    let new_sheet = rotated.sheet("alice", "default");
    let mut new = new_sheet.scan().totp();
    confirm(&bare, "alice", &old.fresh())
        .expect_code(1)
        .expect_text(&["a code of the old entry"]);
    confirm(&bare, "alice", &new.wrong()).expect_code(1);
    assert_eq!(bare.events("signal."), ["signal.old_generation"]);
    // Codes of both sheets hold, as both entries do.
    assert_eq!(
        bare.status("alice")["recovery_codes"],
        json!({"left": 4, "issued": 4})
    );
    confirm(&bare, "alice", &new.fresh()).expect_code(0);
    recover(&bare, &old_codes[0]).expect_code(4);
    recover(&bare, &old_codes[1])
        .expect_code(1)
        .expect_text(&["is of a sheet that was replaced"]);
}

#[test]
fn the_confirm_of_an_expired_sheet_is_a_sign() {
    let bare = with_codes(0);
    let mut totp = bare.enroll("alice", &[]).scan().totp();
    bare.expire();
    confirm(&bare, "alice", &totp.wrong())
        .expect_code(1)
        .expect_text(&["the code is wrong"]);
    assert_eq!(bare.events("signal."), Vec::<String>::new());
    confirm(&bare, "alice", &totp.fresh())
        .expect_code(1)
        .expect_text(&["expired at", "--reissue"]);
    assert_eq!(bare.status("alice")["state"], "pending");
    assert_eq!(bare.events("signal."), ["signal.expired_sheet"]);
    // Once the key is gone nobody can tell whose code it is; that somebody tries is told.
    bare.sql("UPDATE generation SET state = 'expired', sealed = NULL");
    bare.sql("UPDATE token SET state = 'expired'");
    confirm(&bare, "alice", &totp.fresh())
        .expect_code(1)
        .expect_text(&["a sheet that expired"]);
    assert_eq!(bare.events("signal.").len(), 2);
}

#[test]
fn the_policy_says_how_many_tries() {
    let bare = project(&json!({"issuer": "Example Corp", "confirm_tries": 2}));
    let mut totp = bare.enroll("alice", &[]).scan().totp();
    confirm(&bare, "alice", &totp.wrong()).expect_code(1);
    confirm(&bare, "alice", &totp.wrong())
        .expect_code(1)
        .expect_text(&["the code is wrong", "too many wrong codes"]);
    confirm(&bare, "alice", &totp.fresh())
        .expect_code(1)
        .expect_text(&["too many wrong codes"]);
    assert_eq!(bare.events("signal."), ["signal.over_limit"]);
    assert_eq!(bare.status("alice")["state"], "pending");
}

#[test]
fn scratch_codes_stand_on_no_sheet_that_no_host_gets() {
    let bare = project(&json!({"issuer": "Example Corp", "scratch_codes": 3}));
    let sheet = bare.enroll("alice", &[]);
    let pages = std::process::Command::new("qpdf")
        .arg("--show-npages")
        .arg(&sheet.path)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(pages.stdout).unwrap().trim(), "1");
}
