//! `fleetotp init`, by its function: what it makes, what it refuses.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fleetotp::cli::globals::Output;
use fleetotp::cli::init::{InitArgs, run};
use fleetotp::clock::{SystemClock, SystemEntropy};
use fleetotp::error::Error;
use fleetotp::inventory::{Inventory, LoadOptions};
use fleetotp::ledger::{Ledger, locate};
use fleetotp::project::Project;
use fleetotp::token::id::Serial;
use fleetotp::token::secret::Secret;
use fleetotp::vault::{SealLabel, Vault};

async fn init(cwd: &Path, dir: &str, output: Output) -> Result<String, Error> {
    let args = InitArgs { dir: dir.into() };
    let mut out = Vec::new();
    run(
        &args,
        output,
        cwd,
        Arc::new(SystemClock),
        Arc::new(SystemEntropy),
        &mut out,
    )
    .await?;
    Ok(String::from_utf8(out).unwrap())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_new_project_has_all_it_needs_and_keeps_its_secrets_private() {
    let cwd = tempfile::tempdir().unwrap();
    let text = init(cwd.path(), "corp", Output::Text).await.unwrap();
    let root = cwd.path().join("corp");
    for (name, wanted) in [
        ("state", 0o700),
        ("sheets", 0o700),
        ("state/identity.txt", 0o600),
        ("state/ledger.db", 0o600),
    ] {
        assert_eq!(mode(&root.join(name)), wanted, "{name}");
    }
    assert_eq!(read(&root.join(".gitignore")), "/state/\n/sheets/\n");
    let identity = read(&root.join("state/identity.txt"));
    let secret = identity
        .lines()
        .find(|l| l.starts_with("AGE-SECRET-KEY-1"))
        .unwrap();
    assert!(!text.contains(secret));
    for words in [
        "Back up state/identity.txt",
        "state/ledger.db",
        "inventory.yml",
        "project id   F-",
    ] {
        assert!(text.contains(words), "{text}");
    }
    // What the settings name fits together: sealed to the recipient, opened with the identity.
    let project = Project::load(None, &root).unwrap();
    let path = locate(&project.settings.state, &project.root).unwrap();
    let ledger = Ledger::open(&path, Arc::new(SystemClock), Arc::new(SystemEntropy))
        .await
        .unwrap();
    let identity = project.resolve(project.settings.vault.identity.as_deref().unwrap());
    let vault = Vault::parse(&project.settings.vault.recipients, Some(identity)).unwrap();
    let serial = Serial::random(&SystemEntropy).unwrap();
    let label = SealLabel {
        project: ledger.project_id(),
        serial: &serial,
        generation: 1,
    };
    let sealed = vault.seal(&label, &Secret::from("KEY")).unwrap();
    assert_eq!(vault.open(&label, &sealed).unwrap(), Secret::from("KEY"));
}

#[tokio::test]
async fn nothing_that_exists_is_overwritten() {
    for existing in ["fleetotp.yml", "state/ledger.db", "state/identity.txt"] {
        let cwd = tempfile::tempdir().unwrap();
        let path = cwd.path().join(existing);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "mine").unwrap();
        let error = init(cwd.path(), ".", Output::Text).await.unwrap_err();
        assert_eq!(error.kind().code(), 1);
        assert!(error.report().contains(existing), "{}", error.report());
        assert_eq!(read(&path), "mine");
        assert!(
            !cwd.path().join("sheets").exists(),
            "a refusal makes nothing"
        );
    }
}

#[tokio::test]
async fn an_inventory_that_is_there_is_used_and_gitignore_extended() {
    let cwd = tempfile::tempdir().unwrap();
    std::fs::write(cwd.path().join("hosts.ini"), "web1\n").unwrap();
    std::fs::write(cwd.path().join(".gitignore"), "*.tmp\n/state/").unwrap();
    init(cwd.path(), ".", Output::Text).await.unwrap();
    assert!(!cwd.path().join("inventory.yml").exists());
    assert!(read(&cwd.path().join("fleetotp.yml")).contains("  - hosts.ini\n"));
    assert_eq!(
        read(&cwd.path().join(".gitignore")),
        "*.tmp\n/state/\n/sheets/\n"
    );
}

#[tokio::test]
async fn json_is_one_document() {
    let cwd = tempfile::tempdir().unwrap();
    let text = init(cwd.path(), ".", Output::Json).await.unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(value["project"].as_str().unwrap().starts_with("F-"));
    assert!(value["recipient"].as_str().unwrap().starts_with("age1"));
    assert_eq!(value["inventory_made"], true);
}

#[tokio::test]
async fn ansible_reads_the_starter_inventory() {
    let cwd = tempfile::tempdir().unwrap();
    init(cwd.path(), ".", Output::Text).await.unwrap();
    let ansible = std::env::var_os("FLEETOTP_TEST_ANSIBLE").expect(
        "FLEETOTP_TEST_ANSIBLE is not set: it names the bin directory of a virtual environment with ansible-core",
    );
    let output = Command::new(Path::new(&ansible).join("ansible-inventory"))
        .args(["--list", "-i", "inventory.yml"])
        .current_dir(cwd.path())
        .env("HOME", cwd.path())
        .env("LC_ALL", "C.UTF-8")
        .env("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "true")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        value["all"]["children"]
            .as_array()
            .unwrap()
            .contains(&"prod".into()),
        "{value}"
    );
}

/// The file with every `#` removed that stands right before a setting or an example.
fn uncommented(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("# "))
        .map(|line| {
            let commented = line.trim_start().starts_with('#');
            format!("{}\n", line.replacen('#', "", usize::from(commented)))
        })
        .collect()
}

/// The starter is right as it is, and with all its examples.
#[tokio::test]
async fn fleetotp_reads_the_starter_inventory() {
    let cwd = tempfile::tempdir().unwrap();
    init(cwd.path(), ".", Output::Text).await.unwrap();
    let load = || {
        Inventory::load(
            &["inventory.yml".to_owned()],
            cwd.path(),
            &LoadOptions::default(),
        )
    };
    load().unwrap_or_else(|e| panic!("{}", e.report()));
    let path = cwd.path().join("inventory.yml");
    let all = uncommented(&read(&path).replace("hosts: {}", "hosts:"));
    std::fs::write(&path, &all).unwrap();
    let inventory = load().unwrap_or_else(|e| panic!("{}\n{all}", e.report()));
    assert_eq!(inventory.hosts().len(), 4);
    assert_eq!(inventory.assignments().count(), 4);
}

/// Every setting stands in the file, as itself or behind a `#`, and the file is right with all of them.
#[test]
fn the_settings_file_shows_every_setting() {
    let template = include_str!("../../templates/project/fleetotp.yml");
    let all = uncommented(template)
        .replace("{inventory}", "inventory.yml")
        .replace("{recipient}", "age1xyz");
    let settings: fleetotp::project::Settings =
        serde_yaml::from_str(&all).unwrap_or_else(|e| panic!("{e}\n{all}"));
    // No `..`: a setting that is added to the program must be added to the file.
    let fleetotp::project::Settings {
        inventory,
        state,
        vault,
        sheets,
        reports,
        audit,
        activity,
        protected,
        own_token,
        host_key,
        connect_timeout,
        revert_after,
    } = settings;
    let default = fleetotp::project::Settings::default();
    assert_eq!(inventory, default.inventory);
    assert_eq!(state, default.state);
    assert_eq!(vault.recipients, ["age1xyz"]);
    assert!(vault.identity.is_some());
    assert_eq!(sheets.dir, default.sheets.dir);
    assert_eq!(sheets.plaintext, default.sheets.plaintext);
    assert_eq!(sheets.language, default.sheets.language);
    for text in [&sheets.organisation, &sheets.contact, &sheets.accent] {
        assert!(text.is_some());
    }
    for path in [&sheets.logo, &sheets.templates, &sheets.font] {
        assert!(path.is_some());
    }
    assert_eq!(reports.dir, default.reports.dir);
    assert!(audit.signing_key.is_some());
    assert!(!activity.geo.is_empty());
    assert!(activity.webhook.is_some_and(|w| w.header_file.is_some()));
    assert_eq!(protected.len(), 1);
    assert!(own_token.is_some());
    assert_eq!(host_key, default.host_key);
    assert_eq!(connect_timeout, default.connect_timeout);
    assert_eq!(revert_after, default.revert_after);
}
