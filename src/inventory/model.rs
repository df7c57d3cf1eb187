//! What an inventory says, after all sources were read and merged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::{Span, Timestamp};
use crate::names::{AdminName, HostName, Login, PolicyName, RealmName};
use crate::token::secret::Secret;

pub use crate::token::params::Algorithm;

/// A host with its merged variables and how to reach it.
#[derive(Debug, Clone)]
pub struct Host {
    /// The name in the inventory.
    pub name: HostName,
    /// Groups the host is in, directly or through children, without `all` and `ungrouped`.
    pub groups: BTreeSet<String>,
    /// Variables after Ansible's precedence.
    pub vars: IndexMap<String, Value>,
    /// How to reach it.
    pub connection: Connection,
}

/// How to reach a host; from `ansible_*` variables, which win over command-line flags as in Ansible.
#[derive(Debug, Clone, Default)]
pub struct Connection {
    /// `ansible_connection: local`: run on this machine, without SSH.
    pub local: bool,
    /// `ansible_host`; the inventory name where absent.
    pub address: Option<String>,
    /// `ansible_port`.
    pub port: Option<u16>,
    /// `ansible_user`.
    pub user: Option<String>,
    /// `ansible_ssh_private_key_file`, with `~` expanded.
    pub private_key_file: Option<PathBuf>,
    /// `ansible_ssh_common_args` and `ansible_ssh_extra_args`, split as a shell would.
    pub ssh_args: Vec<String>,
    /// `ansible_ssh_timeout`.
    pub connect_timeout: Option<Duration>,
    /// `ansible_host_key_checking`.
    pub host_key_checking: Option<bool>,
    /// `ansible_become` (method sudo; any other method is refused when the host is used).
    pub use_sudo: Option<bool>,
    /// `ansible_become_user`, when it is not root: refused when the host is used.
    pub become_user: Option<String>,
    /// `ansible_become_password`; sent to sudo on standard input only.
    pub become_password: Option<Secret>,
    /// `confirm_host`: for local connections, the address a fresh SSH connection is made to.
    pub confirm_host: Option<String>,
}

/// A person with an account on hosts.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The key under `admins:`.
    pub name: AdminName,
    /// The name printed on the sheet; any script. The key where absent.
    pub display_name: String,
    /// Contact address, for reports.
    pub email: Option<String>,
    /// Groups, for `--admins` patterns.
    pub groups: BTreeSet<String>,
    /// Host pattern on which the admin has an account; default `all`.
    pub hosts: String,
    /// The account's name; the admin's name where absent.
    pub login: Login,
    /// Earlier admin names and logins: makes a rename a planned move.
    pub formerly: Vec<String>,
    /// Language of the sheet, such as `fr`.
    pub language: Option<String>,
    /// Whom the sheet is encrypted to: an age X25519, ssh-ed25519 or ssh-rsa public key.
    pub recipient: Option<String>,
}

/// A set of hosts on which an admin uses one token.
#[derive(Debug, Clone)]
pub struct Realm {
    /// The key under `realms:`; `default` where none is declared.
    pub name: RealmName,
    /// The hosts, computed before `--limit`.
    pub hosts: BTreeSet<HostName>,
    /// The policy that holds there.
    pub policy: Policy,
}

/// Who needs a code, since when, with which parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// The key under `policies:`; `default` for the built-in one.
    pub name: PolicyName,
    /// The organisation, as authenticator apps show it.
    pub issuer: String,
    /// How long an unconfirmed first issue or re-issue stays usable.
    pub enrolment_ttl: Span,
    /// When a token is due for rotation; never where absent.
    pub rotate_every: Option<Span>,
    /// How long old and new are both valid in a rotation.
    pub overlap: Span,
    /// What becomes of the old code when nobody confirms the new one in time.
    pub on_overdue: OnOverdue,
    /// When hosts begin to demand the code.
    pub enforce: Enforce,
    /// Holds enforcement back until this time.
    pub enforce_from: Option<Timestamp>,
    /// PAM services that demand the code.
    pub services: Vec<Service>,
    /// Of whom.
    pub scope: PolicyScope,
    /// The PAM module that checks it on the hosts.
    pub module: Module,
    /// Steps accepted either way of the current one, 0 to 8.
    pub window: u8,
    /// Attempts allowed per time on each host.
    pub rate_limit: RateLimit,
    /// Hash of the code.
    pub algorithm: Algorithm,
    /// Digits of the code, 6 or 8.
    pub digits: u8,
    /// Length of a step.
    pub period: Span,
    /// Recovery codes on a sheet, 0 to 20: each is worth one new sheet.
    pub recovery_codes: u8,
    /// The module's own codes on a sheet and on hosts, 0 to 10: each is worth one login on each host.
    pub scratch_codes: u8,
    /// Wrong codes within ten minutes after which `confirm` takes no more for fifteen, 1 to 100.
    pub confirm_tries: u16,
    /// What a revocation does to the account besides.
    pub on_revoke: Vec<OnRevoke>,
}

/// What a revocation does to an account besides removing its secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnRevoke {
    /// The account is expired.
    ExpireAccount,
    /// The files of its public keys are moved out of sshd's reach.
    MoveKeys,
}

/// When hosts begin to demand a token's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforce {
    /// After a code of the generation was verified.
    OnConfirm,
    /// At once, before anyone has shown that the sheet was read.
    OnIssue,
}

/// What becomes of the old code of a rotation that nobody confirms in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOverdue {
    /// It stays valid, and the rotation is reported as overdue.
    Keep,
    /// It ends with the overlap, which may lock its admin out.
    Expire,
}

/// Whom hosts ask for a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyScope {
    /// The admins of the inventory.
    Members,
    /// Everybody but the members of `fleetotp-exempt`.
    Everyone,
}

/// A PAM module that checks codes.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Module {
    /// `pam_google_authenticator`.
    #[default]
    GoogleAuthenticator,
    /// `pam_oath` with a file for each user, for fleets that have it.
    Oath,
}

/// A PAM service that can demand the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Logins over SSH.
    Sshd,
    /// Becoming another user by sudo: the code besides what sudo asks.
    Sudo,
}

/// `rate_limit: 3/30s`: at most three attempts in thirty seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Attempts, 1 to 100 (pam_google_authenticator's own limit).
    pub attempts: u8,
    /// Seconds, 1 to 3600.
    pub seconds: u16,
}

impl Serialize for RateLimit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!(
            "{}/{}",
            self.attempts,
            Span::from_secs(u64::from(self.seconds))
        ))
    }
}

/// Someone who need not give a code, with owner and end.
#[derive(Debug, Clone)]
pub struct Exemption {
    /// The account.
    pub login: Login,
    /// Host pattern.
    pub hosts: String,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Who allowed it.
    pub approved_by: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
}

/// Who has which account on which host, in which realm; computed before `--limit`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Assignment {
    /// The admin.
    pub admin: AdminName,
    /// The realm of the host.
    pub realm: RealmName,
    /// The host.
    pub host: HostName,
    /// The admin's account there.
    pub login: Login,
}

/// The `admins`, `realms`, `policies` and `exemptions` of an inventory.
#[derive(Debug, Clone, Default)]
pub struct Enrolment {
    /// Admins by name.
    pub admins: BTreeMap<AdminName, Admin>,
    /// Realms by name; exactly one, `default`, where none is declared.
    pub realms: BTreeMap<RealmName, Realm>,
    /// Declared policies and the built-in `default`.
    pub policies: BTreeMap<PolicyName, Policy>,
    /// Exempt accounts.
    pub exemptions: Vec<Exemption>,
}
