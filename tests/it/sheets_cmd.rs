//! `sheets list|delivered|purge` and what is noticed about sheets, without any host.

use serde_json::{Value, json};

use crate::support::bare::Bare;

fn project() -> Bare {
    Bare::new(&json!({
        "all": {"hosts": {"web1": {}}},
        "admins": {"alice": {"name": "Alice Martin"}, "bob": {"name": "Bob"}},
        "policies": {"default": {"issuer": "Example Corp"}},
    }))
}

fn row(bare: &Bare, id: &str) -> Value {
    let document = bare
        .run(&["sheets", "list", "-o", "json"])
        .expect_code(0)
        .json();
    let rows = document["sheets"].as_array().unwrap();
    rows.iter().find(|r| r["id"] == id).unwrap().clone()
}

#[test]
fn a_sheet_is_listed_from_its_issue_to_its_end() {
    let bare = project();
    let sheet = bare.enroll("alice", &[]);
    let issued = row(&bare, &sheet.id);
    assert_eq!(
        (
            &issued["state"],
            &issued["admin"],
            &issued["encryption"],
            &issued["file"],
            &issued["overdue"]
        ),
        (
            &json!("issued"),
            &json!("alice"),
            &json!("plain"),
            &json!("there"),
            &json!(false)
        ),
        "{issued:#}"
    );
    let deliver = |id: &str, to: &str| {
        bare.run(&["sheets", "delivered", id, "--to", to, "--how", "in person"])
    };
    deliver("S-ZZZZZZZZ", "Alice")
        .expect_code(1)
        .expect_text(&["there is no sheet", "sheets list"]);
    deliver(&sheet.id, " ").expect_code(64);
    deliver(&sheet.id, "Alice Martin").expect_code(0);
    deliver(&sheet.id, "Mallory")
        .expect_code(1)
        .expect_text(&["cannot become delivered"]);
    let delivered = row(&bare, &sheet.id);
    assert_eq!(
        (
            &delivered["state"],
            &delivered["delivered_to"],
            &delivered["delivered_how"]
        ),
        (
            &json!("delivered"),
            &json!("Alice Martin"),
            &json!("in person")
        )
    );
    assert_eq!(bare.status("alice")["sheet"]["state"], "delivered");

    // Whoever changed the file is seen, and so is a file that is gone.
    std::fs::write(&sheet.path, b"another").unwrap();
    assert_eq!(row(&bare, &sheet.id)["file"], "changed");
    std::fs::remove_file(&sheet.path).unwrap();
    assert_eq!(row(&bare, &sheet.id)["file"], "gone");

    bare.fed(
        &sheet_code(&bare.enroll("bob", &[])),
        &["confirm", "bob", "--no-push"],
    )
    .expect_code(0);
    let text = bare.run(&["sheets", "list"]).expect_code(0).stdout;
    assert!(
        text.lines()
            .any(|l| l.contains("bob") && l.contains("confirmed") && l.contains("gone")),
        "{text}"
    );
    let open = bare.run(&["sheets", "list", "--open"]).expect_code(0);
    assert!(!open.stdout.contains("bob"), "{}", open.stdout);
}

fn sheet_code(sheet: &crate::support::project::Sheet) -> String {
    sheet.scan().totp().fresh()
}

/// A run that is killed while it removes a sheet's file leaves it without its bytes and under another name.
#[test]
fn the_next_run_finishes_a_removal_that_was_cut_short() {
    let bare = project();
    let sheet = bare.enroll("bob", &[]);
    bare.fed(&sheet_code(&sheet), &["confirm", "bob", "--no-push"])
        .expect_code(0);
    assert_eq!(bare.sheet_files(), Vec::<std::path::PathBuf>::new());
    let left = bare
        .path()
        .join("sheets")
        .join(format!(".{}.pdf.tmp", sheet.id));
    std::fs::write(&left, [0u8; 4096]).unwrap();
    // One that issues nothing.
    bare.fed("123456", &["confirm", "bob", "--no-push"])
        .expect_text(&["bob has no unconfirmed sheet"]);
    assert_eq!(bare.sheet_files(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn purge_removes_what_nobody_needs_and_nothing_else() {
    let bare = project();
    let (first, bobs) = (bare.enroll("alice", &[]), bare.enroll("bob", &[]));
    let copy = std::fs::read(&first.path).unwrap();
    let second = bare.enroll("alice", &["--reissue"]);
    assert!(!first.path.exists(), "a re-issue removes the file at once");
    // As after a crash or a restored directory.
    let dir = bare.path().join("sheets");
    std::fs::write(&first.path, copy).unwrap();
    for name in [
        ".S-7K2M9QXA.pdf.tmp",
        "S-ABCDEFGH.pdf.age",
        "notes.txt",
        "S-note.pdf",
    ] {
        std::fs::write(dir.join(name), b"x").unwrap();
    }
    let planned = bare.run(&["sheets", "purge", "--check"]).expect_code(0);
    let first_name = format!("{}.pdf", first.id);
    for name in [".S-7K2M9QXA.pdf.tmp", "S-ABCDEFGH.pdf.age", &first_name] {
        assert!(
            planned.stdout.contains(&format!("would remove {name}: ")),
            "{}",
            planned.stdout
        );
        assert!(dir.join(name).exists());
    }
    let done = bare
        .run(&["sheets", "purge", "-o", "json"])
        .expect_code(0)
        .json();
    assert_eq!(done["removed"].as_array().unwrap().len(), 3, "{done:#}");
    let mut left = vec![
        second.path.clone(),
        bobs.path.clone(),
        dir.join("notes.txt"),
        dir.join("S-note.pdf"),
    ];
    left.sort();
    assert_eq!(bare.sheet_files(), left);
    assert_eq!(bare.events("sheets.purged").len(), 1);
    bare.run(&["sheets", "purge"])
        .expect_code(0)
        .expect_text(&["nothing to remove"]);
    assert_eq!(bare.events("sheets.purged").len(), 1, "nothing, no event");

    // What nobody confirmed in time goes as well.
    bare.expire();
    assert_eq!(row(&bare, &bobs.id)["overdue"], true);
    bare.run(&["sheets", "purge"]).expect_code(0);
    assert!(!bobs.path.exists() && !second.path.exists());
}

#[test]
fn who_runs_it_can_be_said_and_is_a_claim() {
    let bare = project();
    let sheet = bare.enroll("alice", &["--actor", "Carol"]);
    bare.run(&[
        "sheets",
        "delivered",
        &sheet.id,
        "--to",
        "Alice",
        "--how",
        "post",
    ])
    .expect_code(0);
    let runs =
        "SELECT r.command, p.name FROM run r JOIN person p ON p.id = r.actor ORDER BY r.started_at";
    assert_eq!(
        bare.sql(runs).lines().collect::<Vec<_>>(),
        ["enroll Carol", "sheets delivered tester"]
    );
    let issued = bare.sql("SELECT body FROM event WHERE kind = 'token.issued'");
    assert!(issued.contains("\"claimed\":true") && !issued.contains("Carol"));
    bare.run(&["sheets", "purge", "--actor", " "])
        .expect_code(64);
}

#[test]
fn the_bytes_are_overwritten_before_the_name_goes() {
    let bare = project();
    let sheet = bare.enroll("alice", &[]);
    let mut open = std::fs::File::open(&sheet.path).unwrap();
    bare.expire();
    bare.run(&["sheets", "purge"]).expect_code(0);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut open, &mut bytes).unwrap();
    assert!(bytes.len() > 1000 && bytes.iter().all(|b| *b == 0));
}
