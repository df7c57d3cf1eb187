//! The ledger between processes: killed writers, two writers, and the run lock.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use fleetotp::clock::{SystemClock, SystemEntropy};
use fleetotp::ledger::{
    Cause, IssueKind, Ledger, LedgerError, NewGeneration, SheetEncryption, Vouched,
};
use fleetotp::names::{AdminName, PolicyName, RealmName};
use fleetotp::token::key;
use fleetotp::token::params::CodeParams;
use fleetotp::token::state::SheetState;
use fleetotp::vault::{SealLabel, Vault, generate_identity};

/// Where a child finds its ledger; its vault's recipient and the prefix of its admins' names stand beside it.
const PATH: &str = "LEDGER_TEST_PATH";
const PREFIX: &str = "LEDGER_TEST_PREFIX";
/// How many tokens a child issues.
const COUNT: &str = "LEDGER_TEST_COUNT";

struct Project {
    dir: tempfile::TempDir,
    vault: Vault,
}

impl Project {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = generate_identity(fleetotp::clock::Timestamp::UNIX_EPOCH);
        let file = dir.path().join("identity");
        std::fs::write(&file, identity.file.expose()).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        std::fs::write(dir.path().join("recipient"), identity.recipient.to_string()).unwrap();
        let vault = Vault::new(vec![identity.recipient], Some(file)).unwrap();
        let project = Self { dir, vault };
        Ledger::create(
            &project.path(),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
        )
        .await
        .unwrap()
        .close()
        .await;
        project
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("state/ledger.db")
    }

    async fn open(&self) -> Ledger {
        open(&self.path()).await
    }

    /// Runs one of this file's child tests in a process of its own.
    fn child(&self, test: &str, prefix: &str, count: u32) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args([
                &format!("ledger::{test}"),
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(PATH, self.path())
            .env(PREFIX, prefix)
            .env(COUNT, count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

async fn open(path: &Path) -> Ledger {
    Ledger::open(path, Arc::new(SystemClock), Arc::new(SystemEntropy))
        .await
        .unwrap()
}

/// Issues a token; returns its key's fingerprint.
async fn issue(ledger: &Ledger, vault: &Vault, admin: &str) -> String {
    let admin = AdminName::new(admin).unwrap();
    let realm = RealmName::new("prod").unwrap();
    let names = ledger.reserve(&admin, &realm).await.unwrap();
    let key = key::generate(&SystemEntropy).unwrap();
    let label = SealLabel {
        project: ledger.project_id(),
        serial: &names.serial,
        generation: names.generation,
    };
    let new = NewGeneration {
        label: format!("{admin}@{realm}"),
        sealed: vault.seal(&label, &key).unwrap(),
        names,
        admin,
        realm,
        kind: IssueKind::First,
        policy: PolicyName::new("default").unwrap(),
        issuer: "Example Corp".to_owned(),
        params: CodeParams::DEFAULT,
        sealed_to: vault.recipients(),
        recovery: Vec::new(),
        fingerprint: key.fingerprint(),
        expires_at: None,
        encryption: SheetEncryption::Plain,
        vouched: Vouched::default(),
        cause: Cause::default(),
    };
    ledger.issue(&[new]).await.unwrap();
    key.fingerprint()
}

#[tokio::test]
#[ignore = "run as a child process by the tests below"]
async fn child_issues() {
    let path = PathBuf::from(std::env::var_os(PATH).expect("run by the tests of this file only"));
    let prefix = std::env::var(PREFIX).unwrap();
    let recipient = path.ancestors().nth(2).unwrap().join("recipient");
    let recipient = std::fs::read_to_string(recipient).unwrap();
    let vault = Vault::parse(&[recipient], None).unwrap();
    let ledger = open(&path).await;
    let count: u32 = std::env::var(COUNT).unwrap().parse().unwrap();
    for n in 0..count {
        let fingerprint = issue(&ledger, &vault, &format!("{prefix}{n}")).await;
        // From here on a host or a sheet could hold it.
        println!("issued {fingerprint}");
    }
}

#[tokio::test]
#[ignore = "run as a child process by the tests below"]
async fn child_holds_the_lock() {
    let path = PathBuf::from(std::env::var_os(PATH).expect("run by the tests of this file only"));
    let ledger = open(&path).await;
    let lock = ledger.acquire_lock("child").await.unwrap();
    println!("held");
    // Until the parent closes the pipe.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    ledger.release(lock).await.unwrap();
}

/// The lines that a child printed, without the test harness's own.
fn lines_of(child: &mut Child, prefix: &str) -> Vec<String> {
    BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| {
            line.split_once(prefix)
                .map(|(_, rest)| rest.trim().to_owned())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_killed_at_any_instant_loses_nothing_that_it_handed_out() {
    let mut handed_out = 0;
    for round in 0..10u64 {
        let project = Project::new().await;
        let mut child = project.child("child_issues", "a", 100_000);
        std::thread::sleep(Duration::from_millis(20 + round * 11));
        child.kill().unwrap();
        let issued = lines_of(&mut child, "issued ");
        child.wait().unwrap();
        assert!(issued.len() < 100_000, "it was to be killed");
        handed_out += issued.len();
        let ledger = project.open().await;
        let tokens = ledger.tokens().await.unwrap();
        for fingerprint in &issued {
            assert!(
                tokens
                    .iter()
                    .any(|t| &t.current.as_ref().unwrap().fingerprint == fingerprint),
                "{fingerprint} was handed out and lost"
            );
        }
        for token in &tokens {
            let generation = token.pending().unwrap();
            assert_eq!(
                generation.sheet.as_ref().unwrap().state,
                SheetState::Rendering
            );
            let sealed = ledger
                .sealed_secret(&token.serial, 1)
                .await
                .unwrap()
                .unwrap();
            let label = SealLabel {
                project: ledger.project_id(),
                serial: &token.serial,
                generation: 1,
            };
            let key = project.vault.open(&label, &sealed).unwrap();
            assert_eq!(key.fingerprint(), generation.fingerprint);
        }
        let events = ledger.events(0, 1000).await.unwrap();
        assert_eq!(events.len(), tokens.len().min(1000));
        assert!(ledger.verify_chain().await.unwrap().is_sound());
        // And it can go on.
        issue(&ledger, &project.vault, "next").await;
    }
    assert!(handed_out > 0, "every child was killed before it began");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_writers_wait_for_each_other() {
    let project = Project::new().await;
    let mut children = [
        project.child("child_issues", "a", 40),
        project.child("child_issues", "b", 40),
    ];
    for child in &mut children {
        assert_eq!(lines_of(child, "issued ").len(), 40);
        assert!(child.wait().unwrap().success());
    }
    let ledger = project.open().await;
    assert_eq!(ledger.tokens().await.unwrap().len(), 80);
    assert!(ledger.verify_chain().await.unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_another_process_is_respected_until_it_is_gone() {
    let project = Project::new().await;
    let ledger = project.open().await;
    let mut child = project.child("child_holds_the_lock", "", 0);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("held") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the child ended");
    }
    match ledger.acquire_lock("parent").await.unwrap_err() {
        LedgerError::Locked(holder) => {
            assert_eq!((holder.who.as_str(), holder.pid), ("child", child.id()));
        }
        other => panic!("{other}"),
    }
    child.kill().unwrap();
    // Not waited for yet: what is left of the process must not keep the lock.
    let mut taken = None;
    for _ in 0..100 {
        match ledger.acquire_lock("parent").await {
            Ok(lock) => {
                taken = Some(lock);
                break;
            }
            Err(LedgerError::Locked(_)) => std::thread::sleep(Duration::from_millis(10)),
            Err(other) => panic!("{other}"),
        }
    }
    let lock = taken.expect("the lock of a killed process is taken over");
    assert_eq!(lock.taken_over.as_ref().unwrap().pid, child.id());
    child.wait().unwrap();
    ledger.release(lock).await.unwrap();
    let events = ledger.events(0, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    assert!(
        events[0].body.contains("process gone"),
        "{}",
        events[0].body
    );
}
