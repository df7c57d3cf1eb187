//! The desk where tokens are issued: part of the dispatcher, so there is only one.
//!
//! Workers ask what a host's admins should have. A token is issued at the first host that needs it: stored encrypted in
//! the ledger, its sheet written, and only then handed out.

mod rotation;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::clock::{Clock, Entropy};
use crate::error::Error;
use crate::inventory::model::{Admin, Realm};
use crate::ledger::{
    Cause, Confirmation, ConfirmedHow, GenerationRecord, IssueKind, Ledger, LedgerError,
    NewGeneration, TokenRecord, Vouched,
};
use crate::names::{AdminName, HostName, Login, RealmName};
use crate::plan::wish::{NextWish, TokenWish};
use crate::playbook::codes::SheetCodes;
use crate::playbook::outcome::IssuedSheet;
use crate::playbook::sheets::{SheetMaker, destroy, sweep_ended};
use crate::playbook::unseal::unseal;
use crate::sheet::SheetContent;
use crate::token::id::{Generation, Serial};
use crate::token::params::CodeParams;
use crate::token::secret::Secret;
use crate::token::state::{GenerationState, SheetState, TokenState};
use crate::token::{key, lint, uri};
use crate::vault::{SealLabel, Vault, VaultError};

/// What a run may do with tokens.
#[derive(Debug, Clone, Default)]
pub struct Permissions {
    /// Issue tokens that are missing.
    pub issue: bool,
    /// Begin rotations, as they are asked for one by one.
    pub rotate: bool,
    /// Only say what would be issued.
    pub check: bool,
    /// No host will get what is issued.
    pub no_push: bool,
    /// Replace unconfirmed generations (`--reissue`) or all (`--lost-device`) of the chosen admins, once each.
    pub replace: Option<IssueKind>,
    /// Who vouched for the admins of this run.
    pub vouched: Vouched,
    /// Why rotations are begun or taken back.
    pub cause: Cause,
}

/// An admin's place in a realm, as a worker asks for it.
#[derive(Debug, Clone)]
pub struct Seat {
    /// The admin.
    pub admin: Arc<Admin>,
    /// The realm.
    pub realm: Arc<Realm>,
    /// The account on the host that asks.
    pub login: Login,
}

/// A complete login that a host has seen, and which secret the host had.
#[derive(Debug, Clone)]
pub struct SeenLogin {
    /// The admin.
    pub admin: AdminName,
    /// The host's realm.
    pub realm: RealmName,
    /// The host.
    pub host: HostName,
    /// The token's serial in the state file's stamp.
    pub serial: String,
    /// The generation in the stamp.
    pub generation: i64,
    /// SHA-256 of the secret, or its first digits.
    pub secret_sha256: String,
    /// The time step that was used, where the host's log tells of the login.
    pub step: Option<u64>,
}

/// Issues and hands out tokens.
#[derive(Debug)]
pub struct Desk {
    ledger: Ledger,
    vault: Arc<Vault>,
    maker: Option<SheetMaker>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    permissions: Permissions,
    tokens: BTreeMap<(AdminName, RealmName), TokenRecord>,
    keys: HashMap<(Serial, Generation), Secret>,
    /// Scratch codes of what this run has issued.
    scratch: HashMap<(Serial, Generation), Vec<Secret>>,
    replaced: BTreeSet<(AdminName, RealmName)>,
    refused: BTreeMap<(AdminName, RealmName), String>,
    begun: BTreeSet<(AdminName, RealmName)>,
    revocations: (i64, i64),
    /// Sheets written in this run.
    pub sheets: Vec<IssuedSheet>,
    /// Things worth saying.
    pub notes: Vec<String>,
    /// Tokens that a host's log has confirmed in this run.
    pub confirmed: BTreeSet<Serial>,
}

/// What the vault says of a generation's key.
#[derive(Debug, Clone)]
pub enum KeyFound {
    /// The key.
    Key(Secret),
    /// It is there, and cannot be read without the identity.
    NeedsIdentity,
    /// It is not there: the ledger was recovered from hosts, or the generation has ended meanwhile.
    Lost,
}

/// What a seat gets.
#[derive(Debug, Clone)]
pub enum Place {
    /// This generation belongs into the slot `current`.
    Token(Box<TokenWish>),
    /// No token, and why.
    Gap(&'static str, String),
    /// No token, and none is to be issued by this run.
    Nothing,
}

impl Desk {
    /// Opens the desk. `maker` is needed where tokens may be issued.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn open(
        ledger: Ledger,
        vault: Arc<Vault>,
        maker: Option<SheetMaker>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        permissions: Permissions,
    ) -> Result<Self, Error> {
        if let Some(maker) = maker.as_ref().filter(|_| !permissions.check) {
            maker
                .settle(&ledger, &ledger.sheets_in(SheetState::Rendering).await?)
                .await?;
        }
        let notes = if permissions.check {
            Vec::new()
        } else {
            sweep_ended(&ledger.sheets().await?)
        };
        let mut desk = Self {
            ledger,
            vault,
            maker,
            clock,
            entropy,
            permissions,
            tokens: BTreeMap::new(),
            keys: HashMap::new(),
            scratch: HashMap::new(),
            replaced: BTreeSet::new(),
            refused: BTreeMap::new(),
            begun: BTreeSet::new(),
            revocations: (0, 0),
            sheets: Vec::new(),
            notes,
            confirmed: BTreeSet::new(),
        };
        desk.reload().await?;
        Ok(desk)
    }

    /// Reads all tokens again where another process has asked for a revocation meanwhile.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn notice_revocations(&mut self) -> Result<(), Error> {
        let mark = self.ledger.revocation_mark().await?;
        if mark != self.revocations {
            self.revocations = mark;
            self.reload().await?;
        }
        Ok(())
    }

    /// Returns which of these tokens are to be revoked, as of now.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn revoked_of(&mut self, mut serials: Vec<String>) -> Result<Vec<String>, Error> {
        self.notice_revocations().await?;
        serials.retain(|serial| {
            self.tokens.values().any(|t| {
                t.serial.as_str() == serial
                    && matches!(t.state, TokenState::Revoking | TokenState::Revoked)
            })
        });
        Ok(serials)
    }

    /// Reads all tokens again.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn reload(&mut self) -> Result<(), Error> {
        self.tokens = self.ledger.tokens_by_admin().await?;
        Ok(())
    }

    /// Keeps a key for this run that was sealed a moment ago.
    pub fn know(&mut self, serial: Serial, generation: Generation, key: Secret) {
        self.keys.insert((serial, generation), key);
    }

    /// Returns the ledger.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the token of an admin in a realm.
    pub fn token(&self, admin: &AdminName, realm: &RealmName) -> Option<&TokenRecord> {
        self.tokens.get(&(admin.clone(), realm.clone()))
    }

    /// Returns all tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &TokenRecord> {
        self.tokens.values()
    }

    /// Returns the admins of tokens.
    pub fn names_of(&self, serials: &BTreeSet<Serial>) -> BTreeSet<AdminName> {
        self.tokens
            .values()
            .filter(|t| serials.contains(&t.serial))
            .filter_map(|t| t.admin.clone())
            .collect()
    }

    /// Says what a seat should have, issuing what is missing and allowed.
    ///
    /// # Errors
    /// When the ledger, the vault or a sheet cannot be written: the run must not go on.
    pub async fn place(&mut self, seat: &Seat) -> Result<Place, Error> {
        let id = (seat.admin.name.clone(), seat.realm.name.clone());
        if let Some(why) = self.refused.get(&id) {
            return Ok(Place::Gap("sheet", why.clone()));
        }
        if self.nothing_to_reissue(&id) {
            self.notes.push(format!(
                "{} has no unconfirmed sheet in realm {}: nothing was re-issued (--lost-device replaces a confirmed one)",
                id.0, id.1
            ));
            self.replaced.insert(id.clone());
        }
        if let Some(kind) = self.due(&id) {
            if self.permissions.check {
                return Ok(Place::Token(Box::new(self.imagined(seat))));
            }
            if !self.issue(seat, kind).await? {
                return Ok(Place::Gap(
                    "sheet",
                    self.refused.get(&id).cloned().unwrap_or_default(),
                ));
            }
        }
        let Some(token) = self.tokens.get(&id) else {
            return Ok(Place::Nothing);
        };
        Ok(match (token.state, self.wish(&id.0, token)) {
            (TokenState::Revoking | TokenState::Revoked, _) => Place::Gap(
                "revoked",
                format!(
                    "the token of {0} is {1}; issue a new one with `enroll {0} --reissue`",
                    id.0, token.state
                ),
            ),
            (TokenState::Expired, _) => Place::Gap(
                "expired",
                format!(
                    "the enrolment of {0} expired unconfirmed; issue a new sheet with `enroll {0} --reissue`",
                    id.0
                ),
            ),
            (_, Some(wish)) => Place::Token(Box::new(wish)),
            (_, None) => Place::Gap(
                "no-generation",
                format!("the token of {} has no live generation", id.0),
            ),
        })
    }

    fn nothing_to_reissue(&self, id: &(AdminName, RealmName)) -> bool {
        self.permissions.replace == Some(IssueKind::Reissue)
            && !self.replaced.contains(id)
            && self.tokens.get(id).is_some_and(|t| {
                t.pending().is_none()
                    && matches!(t.state, TokenState::Active | TokenState::Rotating)
            })
    }

    /// Tells whether, and how, a generation is to be issued for an admin in a realm now.
    fn due(&self, id: &(AdminName, RealmName)) -> Option<IssueKind> {
        if !self.permissions.issue || self.replaced.contains(id) {
            return None;
        }
        let Some(token) = self.tokens.get(id) else {
            return Some(IssueKind::First);
        };
        match (self.permissions.replace, token.state) {
            (Some(_), TokenState::Revoked | TokenState::Revoking | TokenState::Expired) => {
                Some(IssueKind::First)
            }
            (Some(IssueKind::Reissue), _) if token.pending().is_none() => None,
            (Some(kind), _) => Some(kind),
            // A sheet that an earlier run could not finish: nobody has it, and it cannot be rendered again.
            (None, _) => token.has_lost_sheet().then_some(IssueKind::Reissue),
        }
    }

    /// A token that would be issued, for `--check`.
    fn imagined(&self, seat: &Seat) -> TokenWish {
        let own_serials = self.serials_of(&seat.admin.name);
        TokenWish {
            serial: "(new)".to_owned(),
            generation: 1,
            fingerprint: "(new)".to_owned(),
            scratch: Vec::new(),
            key: Some(Secret::from("")),
            key_lost: false,
            confirmed: false,
            typed_step: None,
            expires: Some(seat.realm.policy.enrolment_ttl.after(self.this_second())),
            own_serials,
            newest: 1,
            next: None,
        }
    }

    /// Whole seconds: that is what hosts and people go by.
    fn this_second(&self) -> crate::clock::Timestamp {
        let now = self.clock.now();
        crate::clock::Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    fn serials_of(&self, admin: &AdminName) -> BTreeSet<String> {
        self.tokens
            .iter()
            .filter(|((a, _), _)| a == admin)
            .map(|(_, t)| t.serial.to_string())
            .collect()
    }

    /// What hosts should have of a token: the generation in force, and in a rotation that nobody confirmed the next one.
    fn wish(&self, admin: &AdminName, token: &TokenRecord) -> Option<TokenWish> {
        let (in_force, next) = match (&token.current, &token.next) {
            // Confirmed: it takes the old one's place everywhere.
            (_, Some(next)) if next.state == GenerationState::Active => (next, None),
            (Some(current), next) => (current, next.as_ref()),
            (None, _) => return None,
        };
        let key = |generation: &GenerationRecord| {
            self.keys
                .get(&(token.serial.clone(), generation.number))
                .cloned()
        };
        let scratch = |generation: &GenerationRecord| {
            self.scratch
                .get(&(token.serial.clone(), generation.number))
                .cloned()
                .unwrap_or_default()
        };
        Some(TokenWish {
            serial: token.serial.to_string(),
            generation: i64::from(in_force.number),
            fingerprint: in_force.fingerprint.clone(),
            key: key(in_force),
            key_lost: false,
            scratch: scratch(in_force),
            confirmed: in_force.state == GenerationState::Active,
            // What a host has seen itself is in its own file.
            typed_step: in_force
                .last_step
                .filter(|_| in_force.confirmed_how.as_deref() == Some("code")),
            expires: in_force.expires_at,
            own_serials: self.serials_of(admin),
            newest: i64::from(token.generations),
            next: next.and_then(|next| {
                Some(NextWish {
                    generation: i64::from(next.number),
                    fingerprint: next.fingerprint.clone(),
                    key: key(next),
                    key_lost: false,
                    scratch: scratch(next),
                    expires: next.expires_at?,
                })
            }),
        })
    }

    /// Issues a generation. Returns false where the admin's sheet cannot be made: that is this admin's gap, not the
    /// run's end.
    async fn issue(&mut self, seat: &Seat, kind: IssueKind) -> Result<bool, Error> {
        let id = (seat.admin.name.clone(), seat.realm.name.clone());
        let policy = &seat.realm.policy;
        let params = CodeParams::new(policy.algorithm, policy.digits, policy.period);
        lint::supported_by_module(params).map_err(|e| {
            Error::new(
                crate::error::Kind::File,
                format!("policy {}: {e}", policy.name),
            )
        })?;
        let now = self.this_second();
        let rotation = self.goes_to_next(&id, kind);
        let Some(maker) = self.maker.as_mut() else {
            return Err(Error::new(
                crate::error::Kind::Internal,
                "tokens cannot be issued without a sheet maker",
            ));
        };
        let expires = if rotation {
            policy.overlap.after(now)
        } else {
            policy.enrolment_ttl.after(now)
        };
        let names = self.ledger.reserve(&id.0, &id.1).await?;
        let key = key::generate(self.entropy.as_ref()).map_err(|e| Error::failed(e.to_string()))?;
        let label = uri::account_label(&seat.admin.login, &id.1);
        let uri = uri::build(&key, &policy.issuer, &label, params).map_err(|e| {
            Error::new(
                crate::error::Kind::File,
                format!("policy {}: {e}", policy.name),
            )
        })?;
        let codes = SheetCodes::make(policy, !self.permissions.no_push, self.entropy.as_ref())?;
        let content = SheetContent {
            sheet_id: names.sheet.to_string(),
            name: seat.admin.display_name.clone(),
            login: seat.login.to_string(),
            realm: id.1.to_string(),
            issuer: policy.issuer.clone(),
            account: label.clone(),
            key: key.clone(),
            uri,
            serial: names.serial.to_string(),
            generation: names.generation,
            algorithm: policy.algorithm,
            digits: policy.digits,
            period: policy.period.as_secs(),
            issued: now,
            expires,
            rotation,
            recovery: codes.recovery,
            scratch: codes.scratch.clone(),
        };
        let drawn = match maker.draw(&seat.admin, &content, self.entropy.as_ref()) {
            Ok(drawn) => drawn,
            Err(error) => {
                self.refused.insert(id, error.to_string());
                return Ok(false);
            }
        };
        let label_of_seal = SealLabel {
            project: self.ledger.project_id(),
            serial: &names.serial,
            generation: names.generation,
        };
        let sealed = self.vault.seal(&label_of_seal, &key)?;
        let new = NewGeneration {
            names: names.clone(),
            admin: id.0.clone(),
            realm: id.1.clone(),
            kind,
            policy: policy.name.clone(),
            issuer: policy.issuer.clone(),
            label,
            params,
            sealed,
            sealed_to: self.vault.recipients(),
            recovery: codes.hashes,
            fingerprint: key.fingerprint(),
            expires_at: Some(expires),
            encryption: drawn.encryption,
            vouched: self.permissions.vouched.clone(),
            cause: self.permissions.cause.clone(),
        };
        for issued in self.ledger.issue(std::slice::from_ref(&new)).await? {
            self.notes.extend(issued.voided.iter().filter_map(destroy));
            self.tokens.insert(id.clone(), issued.token);
        }
        let path = maker.publish(&self.ledger, &names.sheet, &drawn).await?;
        if let Some(token) = self.ledger.token(&id.0, &id.1).await? {
            self.tokens.insert(id.clone(), token);
        }
        let made = (names.serial, names.generation);
        self.scratch.insert(made.clone(), codes.scratch);
        self.keys.insert(made, key);
        self.replaced.insert(id.clone());
        self.sheets.push(IssuedSheet {
            id: names.sheet.to_string(),
            admin: id.0.to_string(),
            realm: id.1.to_string(),
            path: path.display().to_string(),
            expires: Some(expires.to_string()),
            plain: drawn.encryption == crate::ledger::SheetEncryption::Plain,
            passphrase: drawn.passphrase,
        });
        Ok(true)
    }

    /// Reads the key of a generation from the vault.
    ///
    /// # Errors
    /// When the ciphertext is damaged or another token's.
    pub async fn key(
        &mut self,
        admin: &AdminName,
        realm: &RealmName,
        number: Generation,
    ) -> Result<KeyFound, Error> {
        let Some(serial) = self
            .token(admin, realm)
            .filter(|t| t.generation(number).is_some())
            .map(|t| t.serial.clone())
        else {
            return Ok(KeyFound::Lost);
        };
        if let Some(key) = self.keys.get(&(serial.clone(), number)) {
            return Ok(KeyFound::Key(key.clone()));
        }
        let Some(sealed) = self.ledger.sealed_secret(&serial, number).await? else {
            return Ok(KeyFound::Lost);
        };
        let label = SealLabel {
            project: self.ledger.project_id(),
            serial: &serial,
            generation: number,
        };
        let check = self.permissions.check;
        match unseal(&self.vault, &self.ledger, &label, &sealed, check).await {
            Ok(key) => {
                self.keys.insert((serial, number), key.clone());
                Ok(KeyFound::Key(key))
            }
            Err(VaultError::NeedsIdentity { .. }) => Ok(KeyFound::NeedsIdentity),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes in that a host has seen a complete login. It confirms the generation that the host had then, if that is
    /// the one that waits; a login with an earlier sheet says nothing about the next.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn confirmed_by_login(&mut self, seen: &SeenLogin) -> Result<(), Error> {
        let SeenLogin {
            admin, realm, host, ..
        } = seen;
        let Some(token) = self.token(admin, realm) else {
            return Ok(());
        };
        let Some(pending) = token.pending().filter(|g| {
            token.serial.to_string() == seen.serial
                && i64::from(g.number) == seen.generation
                && seen.secret_sha256.starts_with(&g.fingerprint)
        }) else {
            return Ok(());
        };
        let confirmation = Confirmation {
            serial: token.serial.clone(),
            generation: pending.number,
            how: ConfirmedHow::Login {
                host: host.clone(),
                step: seen.step,
            },
            vouched: Vouched::default(),
        };
        let confirmed = match self.ledger.confirm(&confirmation).await {
            Ok(confirmed) => confirmed,
            // Revoked by another process since this one read the ledger.
            Err(LedgerError::UnknownGeneration(..) | LedgerError::Generation { .. }) => {
                return self.reload().await;
            }
            Err(error) => return Err(error.into()),
        };
        self.notes.push(format!(
            "{admin} confirmed the sheet of realm {realm} by a login on {host}"
        ));
        self.notes
            .extend(confirmed.sheet.as_ref().and_then(destroy));
        self.confirmed.insert(confirmed.token.serial.clone());
        self.tokens
            .insert((admin.clone(), realm.clone()), confirmed.token);
        Ok(())
    }
}
