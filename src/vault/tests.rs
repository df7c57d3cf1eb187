use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::clock::{Clock as _, SystemClock, SystemEntropy};

struct Fixture {
    dir: tempfile::TempDir,
    project: ProjectId,
    serial: Serial,
    recipient: Recipient,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = generate_identity(SystemClock.now());
        write(&dir.path().join("id"), identity.file.expose(), 0o600);
        Self {
            dir,
            project: ProjectId::random(&SystemEntropy).unwrap(),
            serial: Serial::random(&SystemEntropy).unwrap(),
            recipient: identity.recipient,
        }
    }

    fn label(&self, generation: Generation) -> SealLabel<'_> {
        SealLabel {
            project: &self.project,
            serial: &self.serial,
            generation,
        }
    }

    fn vault(&self, identity: Option<&str>) -> Vault {
        let path = identity.map(|name| self.dir.path().join(name));
        Vault::new(vec![self.recipient.clone()], path).unwrap()
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_was_sealed_without_an_identity_opens_with_it() {
    let f = Fixture::new();
    let key = Secret::from("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    let sealed = f.vault(None).seal(&f.label(1), &key).unwrap();
    assert!(!contains(&sealed, key.expose().as_bytes()));
    assert_eq!(f.vault(Some("id")).open(&f.label(1), &sealed).unwrap(), key);
    let error = f.vault(None).open(&f.label(1), &sealed).unwrap_err();
    assert!(matches!(error, VaultError::NeedsIdentity { path: None }));
    let error = Error::from(
        f.vault(Some("absent"))
            .open(&f.label(1), &sealed)
            .unwrap_err(),
    );
    assert_eq!(error.kind(), Kind::Failed);
    assert!(
        error.report().contains("--identity FILE"),
        "{}",
        error.report()
    );
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

#[test]
fn a_ciphertext_moved_to_another_token_does_not_open() {
    let f = Fixture::new();
    let vault = f.vault(Some("id"));
    let sealed = vault.seal(&f.label(1), &Secret::from("KEY")).unwrap();
    let other_serial = Serial::random(&SystemEntropy).unwrap();
    let other_project = ProjectId::random(&SystemEntropy).unwrap();
    for label in [
        f.label(2),
        f.label(11),
        SealLabel {
            serial: &other_serial,
            ..f.label(1)
        },
        SealLabel {
            project: &other_project,
            ..f.label(1)
        },
    ] {
        let error = vault.open(&label, &sealed).unwrap_err();
        assert!(matches!(error, VaultError::Misplaced { .. }), "{error}");
    }
}

#[test]
fn damage_and_foreign_keys_are_told_apart() {
    let f = Fixture::new();
    let vault = f.vault(Some("id"));
    let sealed = vault.seal(&f.label(1), &Secret::from("KEY")).unwrap();
    for damaged in [
        &sealed[..sealed.len() - 1],
        &sealed[..10],
        b"",
        b"age-encryption.org/v1\n",
    ] {
        let error = vault.open(&f.label(1), damaged).unwrap_err();
        assert!(matches!(error, VaultError::Damaged(_)), "{error}");
    }
    let other = Fixture::new();
    let error = other
        .vault(Some("id"))
        .open(&f.label(1), &sealed)
        .unwrap_err();
    assert!(matches!(error, VaultError::WrongIdentity), "{error}");
}

#[test]
fn an_identity_that_others_can_read_is_refused() {
    let f = Fixture::new();
    let sealed = f
        .vault(None)
        .seal(&f.label(1), &Secret::from("KEY"))
        .unwrap();
    let text = std::fs::read_to_string(f.dir.path().join("id")).unwrap();
    for (mode, accepted) in [
        (0o600, true),
        (0o400, true),
        (0o640, false),
        (0o604, false),
        (0o644, false),
    ] {
        let name = format!("{mode:o}");
        write(&f.dir.path().join(&name), &text, mode);
        let result = f.vault(Some(&name)).open(&f.label(1), &sealed);
        match result {
            Ok(_) => assert!(accepted, "{mode:o}"),
            Err(VaultError::IdentityExposed { .. }) => assert!(!accepted, "{mode:o}"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn an_identity_file_that_is_none_names_the_line_and_not_its_text() {
    let f = Fixture::new();
    let sealed = f
        .vault(None)
        .seal(&f.label(1), &Secret::from("KEY"))
        .unwrap();
    write(&f.dir.path().join("bad"), "# comment\n\nhunter2\n", 0o600);
    let error = f
        .vault(Some("bad"))
        .open(&f.label(1), &sealed)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 3") && !error.contains("hunter2"),
        "{error}"
    );
    write(&f.dir.path().join("empty"), "# nothing\n", 0o600);
    assert!(f.vault(Some("empty")).open(&f.label(1), &sealed).is_err());
}

#[test]
fn recipients_are_named_in_errors_but_secret_keys_are_not() {
    for text in ["", "age1xyz", "ssh-ed25519 AAAA", "bob"] {
        let error = Vault::parse(&[text.to_owned()], None)
            .unwrap_err()
            .to_string();
        assert!(error.contains(text), "{error}");
    }
    let identity = generate_identity(SystemClock.now());
    let secret = identity.file.expose().lines().last().unwrap().to_owned();
    let error = Vault::parse(std::slice::from_ref(&secret), None)
        .unwrap_err()
        .to_string();
    assert!(!error.contains(&secret[20..]), "{error}");
    assert!(Vault::parse(&[identity.recipient.to_string()], None).is_ok());
    assert!(matches!(
        Vault::parse(&[], None),
        Err(VaultError::NoRecipients)
    ));
}

#[test]
fn debug_shows_no_key() {
    let f = Fixture::new();
    let vault = f.vault(Some("id"));
    let sealed = vault.seal(&f.label(1), &Secret::from("KEY")).unwrap();
    vault.open(&f.label(1), &sealed).unwrap();
    let identity = generate_identity(SystemClock.now());
    assert!(!format!("{vault:?}{identity:?}").contains("SECRET-KEY"));
}
