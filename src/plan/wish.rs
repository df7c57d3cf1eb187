//! What a host should have, from the inventory and the ledger.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::inventory::model::{Module, Policy};
use crate::names::{AdminName, Login, RealmName};
use crate::token::secret::Secret;

/// What one host should have.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The project's id, as stamped on hosts.
    pub project: String,
    /// Accounts that must keep their way in: root, the configured ones, the connecting login.
    pub protected: BTreeSet<Login>,
    /// The PAM module that checks codes on this host: a host is in one realm, which has one policy.
    pub module: Module,
    /// Steps either way that the module takes.
    pub window: u8,
    /// The admins of this host.
    pub members: Vec<Member>,
    /// Other logins that the inventory or the ledger has for this host.
    pub known: BTreeSet<Login>,
    /// Accounts of whom no code need be demanded, by exemptions that are in force.
    pub exempt: BTreeSet<Login>,
    /// Which parts are to be brought about.
    pub parts: Parts,
    /// Whether a fresh connection can be made to confirm a change.
    pub can_confirm: bool,
    /// The controller's time when the facts were read.
    pub now: Timestamp,
    /// How long a host waits for the confirmation of a change.
    pub revert_after: Duration,
}

/// Which parts of a wish are to be brought about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// Module, PAM block, sshd addition, groups.
    pub host: bool,
    /// State files and memberships.
    pub secrets: bool,
}

/// An admin's wish on one host.
#[derive(Debug, Clone)]
pub struct Member {
    /// The admin.
    pub admin: AdminName,
    /// The account on this host.
    pub login: Login,
    /// The host's realm.
    pub realm: RealmName,
    /// The realm's policy.
    pub policy: Policy,
    /// The token, once there is one.
    pub token: Option<TokenWish>,
}

/// The generation that belongs into an admin's slot `current`, and in a rotation the one that belongs into `next`.
#[derive(Debug, Clone)]
pub struct TokenWish {
    /// The token's serial.
    pub serial: String,
    /// The generation, from 1.
    pub generation: i64,
    /// First twelve hexadecimal digits of the key's SHA-256.
    pub fingerprint: String,
    /// Scratch codes; only in the run that issued the generation.
    pub scratch: Vec<Secret>,
    /// The key; absent where it cannot be read and need not be written.
    pub key: Option<Secret>,
    /// The ledger has no key of this generation, sealed or not.
    pub key_lost: bool,
    /// A code of this generation was verified.
    pub confirmed: bool,
    /// The time step of the code by which the controller confirmed this generation: no host may take it again.
    pub typed_step: Option<u64>,
    /// When the secret ends if nobody confirms it.
    pub expires: Option<Timestamp>,
    /// Serials this admin has had in this project: their stamps may be replaced.
    pub own_serials: BTreeSet<String>,
    /// The newest generation that was ever issued, dead or alive.
    pub newest: i64,
    /// The new generation of a rotation that is not confirmed.
    pub next: Option<NextWish>,
}

/// The generation that belongs into an admin's slot `next`.
#[derive(Debug, Clone)]
pub struct NextWish {
    /// The generation.
    pub generation: i64,
    /// First twelve hexadecimal digits of the key's SHA-256.
    pub fingerprint: String,
    /// The key; absent where it cannot be read and need not be written.
    pub key: Option<Secret>,
    /// The ledger has no key of this generation, sealed or not.
    pub key_lost: bool,
    /// Scratch codes for a new state file.
    pub scratch: Vec<Secret>,
    /// When the overlap ends.
    pub expires: Timestamp,
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::clock::Span;
    use crate::inventory::model::{
        Algorithm, Enforce, Module, OnOverdue, Policy, PolicyScope, RateLimit, Service,
    };
    use crate::names::PolicyName;

    /// The built-in policy.
    pub(crate) fn policy() -> Policy {
        Policy {
            name: PolicyName::new("default").unwrap(),
            issuer: "Example Corp".to_owned(),
            enrolment_ttl: Span::from_days(3),
            rotate_every: None,
            overlap: Span::from_days(7),
            on_overdue: OnOverdue::Keep,
            enforce: Enforce::OnConfirm,
            enforce_from: None,
            services: vec![Service::Sshd],
            scope: PolicyScope::Members,
            module: Module::GoogleAuthenticator,
            window: 1,
            rate_limit: RateLimit {
                attempts: 3,
                seconds: 30,
            },
            algorithm: Algorithm::Sha1,
            digits: 6,
            period: Span::from_secs(30),
            on_revoke: Vec::new(),
            recovery_codes: 0,
            scratch_codes: 0,
            confirm_tries: 5,
        }
    }
}
