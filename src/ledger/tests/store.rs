use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

#[tokio::test]
async fn the_file_and_its_directory_are_private() {
    let mut f = Fixture::new().await;
    f.issue("alice", "prod", IssueKind::First).await;
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o7777;
    let state = f.dir.path().join("state");
    assert_eq!(mode(&state), 0o700);
    let mut files = 0;
    for entry in std::fs::read_dir(&state).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
        files += 1;
    }
    assert_eq!(files, 3, "the database, its log and its index");
}

#[tokio::test]
async fn what_is_not_there_is_not_made_by_opening_it_and_what_is_there_not_by_creating() {
    let f = Fixture::new().await;
    let entropy = || Arc::new(SystemEntropy);
    let missing = f.dir.path().join("state/legder.db");
    let error = Ledger::open(&missing, f.clock.clone(), entropy())
        .await
        .unwrap_err();
    assert!(matches!(error, LedgerError::NotFound(_)), "{error}");
    assert!(!missing.exists());
    let error = Ledger::create(f.ledger.path(), f.clock.clone(), entropy())
        .await
        .unwrap_err();
    assert!(matches!(error, LedgerError::Exists(_)), "{error}");
    let again = Ledger::open(f.ledger.path(), f.clock.clone(), entropy())
        .await
        .unwrap();
    assert_eq!(again.project_id(), f.ledger.project_id());
}

#[tokio::test]
async fn odd_paths_are_only_paths() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b?mode=ro#%41/lédger.db");
    let clock = Arc::new(crate::clock::SystemClock);
    let ledger = Ledger::create(&path, clock, Arc::new(SystemEntropy))
        .await
        .unwrap();
    ledger.close().await;
    assert!(path.exists());
}

#[tokio::test]
async fn a_ledger_of_a_newer_program_is_refused() {
    let f = Fixture::new().await;
    f.tamper("INSERT INTO schema_version (version) VALUES (999)")
        .await;
    let path = f.ledger.path().to_owned();
    let error = Ledger::open(&path, f.clock.clone(), Arc::new(SystemEntropy))
        .await
        .unwrap_err();
    assert!(
        matches!(error, LedgerError::Newer { found: 999, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.db");
    std::fs::write(
        &path,
        "not a database, but long enough to look like one".repeat(50),
    )
    .unwrap();
    let clock = Arc::new(crate::clock::SystemClock);
    let error = Ledger::open(&path, clock, Arc::new(SystemEntropy))
        .await
        .unwrap_err();
    let report = crate::error::Error::from(error).report();
    assert!(report.contains("not a database"), "{report}");
}

#[test]
fn only_files_can_be_ledgers() {
    let root = Path::new("/project");
    for (state, path) in [
        ("state/ledger.db", "/project/state/ledger.db"),
        ("/var/lib/x.db", "/var/lib/x.db"),
        ("sqlite:x.db", "/project/x.db"),
        ("sqlite://x.db", "/project/x.db"),
        ("sqlite:///abs/x.db", "/abs/x.db"),
    ] {
        assert_eq!(locate(state, root).unwrap(), Path::new(path), "{state}");
    }
    for state in [
        "postgres://bob:hunter2@db/x",
        "sqlite::memory:",
        "",
        "sqlite:",
        "sqlite:x.db?mode=rw",
    ] {
        let error = locate(state, root).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn no_key_is_in_the_files_or_in_any_debug_output() {
    let mut f = Fixture::new().await;
    for admin in ["alice", "bob", "carol"] {
        f.issue(admin, "prod", IssueKind::First).await;
    }
    let draft = f.draft("dave", "prod", IssueKind::First).await;
    let tokens = f.ledger.tokens().await.unwrap();
    let events = f.ledger.events(0, 100).await.unwrap();
    let shown = format!("{tokens:?}{events:?}{draft:?}{:?}", f.ledger);
    let bytes = f.bytes();
    assert!(bytes.len() > 10_000);
    for key in &f.keys {
        assert!(!shown.contains(key.expose()));
        let raw = key::decode(key).unwrap();
        for needle in [key.expose().as_bytes(), &raw] {
            assert!(!bytes.windows(needle.len()).any(|w| w == needle));
        }
    }
}

#[tokio::test]
async fn a_deleted_secret_is_gone_from_the_database_file() {
    let mut f = Fixture::new().await;
    let token = f.issue("alice", "prod", IssueKind::First).await;
    let sealed = f
        .ledger
        .sealed_secret(&token.serial, 1)
        .await
        .unwrap()
        .unwrap();
    let needle = data_encoding::BASE64.encode(&sealed);
    let needle = needle.as_bytes();
    let holds = |bytes: Vec<u8>| bytes.windows(needle.len()).any(|w| w == needle);
    assert!(holds(f.bytes()), "or the test looks for the wrong thing");
    f.issue("alice", "prod", IssueKind::LostDevice).await;
    assert_eq!(
        f.ledger.sealed_secret(&token.serial, 1).await.unwrap(),
        None
    );
    f.tamper("PRAGMA wal_checkpoint(TRUNCATE)").await;
    assert!(!holds(f.bytes()));
}

#[tokio::test]
async fn opening_is_fast() {
    let f = Fixture::new().await;
    let start = std::time::Instant::now();
    for _ in 0..5 {
        Ledger::open(f.ledger.path(), f.clock.clone(), Arc::new(SystemEntropy))
            .await
            .unwrap();
    }
    let each = start.elapsed() / 5;
    assert!(each.as_millis() < 100, "{each:?}");
}
