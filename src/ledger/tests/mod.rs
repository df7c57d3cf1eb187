//! Tests of the ledger's operations, on real files.

mod chain;
mod codes;
mod hosts;
mod life;
mod lock;
mod revoke;
mod rotation;
mod store;
mod walk;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::clock::{Clock, Span, SystemEntropy, Timestamp};
use crate::names::{AdminName, PolicyName, RealmName};
use crate::token::params::CodeParams;
use crate::token::secret::Secret;
use crate::token::{key, uri};
use crate::vault::{SealLabel, Vault, generate_identity};

/// A clock that the test moves.
#[derive(Debug)]
pub(super) struct TestClock(AtomicI64);

impl TestClock {
    pub(super) fn advance(&self, span: Span) {
        let ms = i64::try_from(span.as_secs()).unwrap() * 1000;
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.0.load(Ordering::SeqCst)).unwrap()
    }
}

/// A ledger in a directory of its own, with a vault.
pub(super) struct Fixture {
    pub(super) dir: tempfile::TempDir,
    pub(super) clock: Arc<TestClock>,
    pub(super) ledger: Ledger,
    pub(super) vault: Vault,
    /// Every key that was issued.
    pub(super) keys: Vec<Secret>,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(1_795_485_319_123)));
        let path = dir.path().join("state/ledger.db");
        let ledger = Ledger::create(&path, clock.clone(), Arc::new(SystemEntropy))
            .await
            .unwrap();
        let identity = generate_identity(clock.now());
        let identity_file = dir.path().join("identity.txt");
        std::fs::write(&identity_file, identity.file.expose()).unwrap();
        std::fs::set_permissions(
            &identity_file,
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        Self {
            dir,
            clock,
            ledger,
            vault: Vault::new(vec![identity.recipient], Some(identity_file)).unwrap(),
            keys: Vec::new(),
        }
    }

    /// A generation ready to be stored, with a key of its own.
    pub(super) async fn draft(
        &mut self,
        admin: &str,
        realm: &str,
        kind: IssueKind,
    ) -> NewGeneration {
        let admin = AdminName::new(admin).unwrap();
        let realm = RealmName::new(realm).unwrap();
        let names = self.ledger.reserve(&admin, &realm).await.unwrap();
        let key = key::generate(&SystemEntropy).unwrap();
        let label = SealLabel {
            project: self.ledger.project_id(),
            serial: &names.serial,
            generation: names.generation,
        };
        let sealed = self.vault.seal(&label, &key).unwrap();
        let new = NewGeneration {
            label: uri::account_label(&admin.as_str().parse().unwrap(), &realm),
            admin,
            realm,
            kind,
            policy: PolicyName::new("default").unwrap(),
            issuer: "Example Corp".to_owned(),
            params: CodeParams::DEFAULT,
            sealed,
            sealed_to: self.vault.recipients(),
            recovery: Vec::new(),
            fingerprint: key.fingerprint(),
            expires_at: Some(Span::from_secs(72 * 3600).after(self.clock.now())),
            encryption: SheetEncryption::Plain,
            vouched: Vouched::default(),
            cause: Cause::default(),
            names,
        };
        self.keys.push(key);
        new
    }

    pub(super) async fn issue(&mut self, admin: &str, realm: &str, kind: IssueKind) -> TokenRecord {
        let new = self.draft(admin, realm, kind).await;
        self.ledger.issue(&[new]).await.unwrap().remove(0).token
    }

    pub(super) async fn confirm(&self, token: &TokenRecord) -> Result<Confirmed, LedgerError> {
        let generation = token.pending().unwrap().number;
        let attempt = self
            .ledger
            .begin_try(&token.serial, generation, TryLimit::DEFAULT)
            .await?;
        self.ledger
            .confirm(&Confirmation {
                serial: token.serial.clone(),
                generation,
                how: ConfirmedHow::Code { step: 100, attempt },
                vouched: Vouched::default(),
            })
            .await
    }

    /// Changes the database behind the ledger's back.
    pub(super) async fn tamper(&self, sql: &'static str) {
        sqlx::raw_sql(sql)
            .execute(&self.ledger.inner.pool)
            .await
            .unwrap();
    }

    /// All bytes of the ledger's files.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in std::fs::read_dir(self.dir.path().join("state")).unwrap() {
            bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        bytes
    }
}
