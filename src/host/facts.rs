//! What `inspect` read on a host.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::Login;

/// Everything a plan needs to know about a host.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// The kernel's host name.
    pub node: String,
    /// The uid the program ran as; 0 is needed for any change.
    pub uid: u32,
    /// The account that the connection was made with, before sudo.
    pub connecting_login: Option<String>,
    /// The host's clock in seconds since 1970.
    pub epoch: i64,
    /// The host's offset from UTC in seconds, for log lines in local time.
    pub utc_offset: i64,
    /// `ID`, `VERSION_ID` and `ID_LIKE` of os-release(5).
    pub os: Os,
    /// What can run the reaper.
    pub deadlines: DeadlineMechanism,
    /// The package manager's command.
    pub package_manager: Option<String>,
    /// Path of pam_google_authenticator.so.
    pub module: Option<String>,
    /// SHA-256 of it.
    pub module_sha256: Option<String>,
    /// Path of pam_oath.so.
    pub oath_module: Option<String>,
    /// It knows `${USER}` in `usersfile=`.
    pub oath_per_user: bool,
    /// Whether SELinux is there.
    pub selinux: bool,
    /// Whether SELinux denies what it would, instead of only logging it.
    pub selinux_enforcing: bool,
    /// The label of the directory of state files, where there is SELinux.
    pub state_label: Option<String>,
    /// Who writes PAM's shared stacks: `authselect (PROFILE)`, `pam-auth-update`, `pam-config`.
    pub pam_owner: Option<String>,
    /// The file for which PAM lets nobody but root in (pam_nologin(8)).
    pub nologin: Option<String>,
    /// sudo logs what is typed: a secret on standard input would end up in a log.
    pub sudo_logs_input: bool,
    /// Free KiB by mount point, for `/etc` and `/var/lib`.
    pub free_kib: BTreeMap<String, u64>,
    /// So many more files there is room for, by mount point, for the same; nothing where the file system has no limit.
    pub free_inodes: BTreeMap<String, u64>,
    /// Running sshd listeners, or the installed sshd with pid 0.
    pub listeners: Vec<Listener>,
    /// OpenSSH's version as the host said it, such as `9.2p1`.
    pub version_text: String,
    /// OpenSSH's version.
    pub version: SshVersion,
    /// Hash over sshd's program and configuration, PAM's text and the groups.
    pub config_hash: Option<String>,
    /// What sshd does was judged in an earlier run and nothing changed since: `effective` is empty.
    pub judged_before: bool,
    /// Configuration files by path.
    pub files: BTreeMap<String, FileFact>,
    /// Checksums by path of what else decides who gets in: SHA-256 of what PAM's text includes, access.conf(5), time.conf(5) and
    /// modules; what cksum(1) says of sshd.
    pub beside: BTreeMap<String, String>,
    /// Configuration files that are symbolic links, and where they lead.
    pub links: BTreeMap<String, String>,
    /// Lines of shared PAM stacks that name a second-factor module.
    pub mfa_lines: Vec<String>,
    /// Lines of sudoers(5) that ask for nothing, or bring in other files; continued lines are one.
    pub sudo_lines: Vec<Placed>,
    /// Services besides sshd that are there and let somebody in, by the path of their PAM text.
    pub services: BTreeSet<String>,
    /// Their lines about authentication, and those of shared stacks that name our module.
    pub service_lines: Vec<Placed>,
    /// `sshd -T -C user=…` by user; keys in lower case.
    pub effective: BTreeMap<String, Effective>,
    /// Accounts asked about that exist.
    pub accounts: BTreeMap<Login, Account>,
    /// fleetotp's groups.
    pub groups: BTreeMap<String, Group>,
    /// State files of the logins asked about.
    pub states: BTreeMap<(Slot, Login), StateFact>,
    /// Files that the module was writing to take the place of a state file.
    pub temporaries: Vec<String>,
    /// What is left of those who go.
    pub leavers: BTreeMap<Login, LeaverFact>,
    /// What revocations did to accounts asked about.
    pub set_aside: BTreeMap<Login, SetAside>,
    /// Fingerprints of the host's keys, as the host says them; only where somebody goes.
    pub host_keys: Vec<String>,
    /// State files of other logins.
    pub other_states: Vec<(Slot, String)>,
    /// Directories of the state files that are there, with their mode.
    pub directories: BTreeMap<String, u32>,
    /// Those of them that somebody else than root owns, with the owner's uid.
    pub foreign_directories: BTreeMap<String, u32>,
    /// Names of changes that are not confirmed yet.
    pub open_changes: Vec<String>,
    /// Open deadlines of secrets by `slot.login`.
    pub secret_deadlines: BTreeMap<String, SecretDeadline>,
    /// How one-time secrets ended, by `serial.login`, as the reaper has noted: `used` or `expired`.
    pub ended: BTreeMap<String, String>,
    /// The last line of the witness file.
    pub witness: Option<String>,
    /// SHA-256 of the reaper that is there.
    pub reaper: Option<String>,
    /// Something runs the reaper: a timer or cron.
    pub reaper_armed: bool,
    /// Where accounts come from (nsswitch.conf(5), `passwd`), if asked for.
    pub nss: Option<String>,
    /// Accounts whose name is no login's.
    pub unnamed_accounts: u32,
    /// Logins that are not asked about and have a login shell, at most sixteen; or all, if asked for.
    pub unmanaged: Vec<String>,
    /// Log lines about logins, for evidence of a confirm.
    pub log_lines: Vec<String>,
}

impl Facts {
    /// Returns the text of a configuration file, if it is there and is text.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).and_then(|f| f.text.as_deref())
    }

    /// Returns program, configuration and options, as operations name an sshd; none of them holds a blank.
    pub fn daemon(&self) -> String {
        self.listeners.first().map_or_else(
            || "/usr/sbin/sshd /etc/ssh/sshd_config".to_owned(),
            |l| {
                format!("{} {} {}", l.program, l.config, l.options)
                    .trim_end()
                    .to_owned()
            },
        )
    }

    /// Returns the members of a group, empty where there is none.
    pub fn members(&self, group: &str) -> BTreeSet<String> {
        self.groups
            .get(group)
            .map(|g| g.members.iter().cloned().collect())
            .unwrap_or_default()
    }
}

/// A line of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// The file.
    pub file: String,
    /// The number of the line, from 1.
    pub line: u32,
    /// Its text.
    pub text: String,
}

/// os-release(5).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Os {
    /// `ID`.
    pub id: String,
    /// `VERSION_ID`.
    pub version: String,
    /// `ID_LIKE`.
    pub like: String,
}

/// What can run the reaper on a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeadlineMechanism {
    /// A systemd timer, and a service ordered before sshd at boot.
    Systemd,
    /// cron: `@reboot`, and four times every minute.
    Cron,
    /// Nothing: changes that need a deadline are refused.
    #[default]
    None,
}

/// A running sshd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Process id, 0 where none runs.
    pub pid: u32,
    /// The program.
    pub program: String,
    /// Its `-f` argument or the default.
    pub config: String,
    /// Its `-o` arguments, as `-oKEY=VALUE` with blanks between.
    pub options: String,
}

/// OpenSSH's version, such as 9.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SshVersion(pub u16, pub u16);

impl std::fmt::Display for SshVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A file on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileFact {
    /// Content; `None` where it is not UTF-8 or was not sent.
    pub text: Option<String>,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
}

/// What sshd does for one user, from `sshd -T -C`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effective {
    /// Values by keyword; a keyword that appears several times has its values joined by a blank.
    pub values: BTreeMap<String, String>,
    /// What sshd said instead of a configuration.
    pub error: Option<String>,
}

impl Effective {
    /// Returns the value of a keyword, empty where absent.
    pub fn get(&self, key: &str) -> &str {
        self.values.get(key).map_or("", String::as_str)
    }

    /// Returns whether a yes/no keyword is on.
    pub fn on(&self, key: &str) -> bool {
        self.get(key) == "yes"
    }
}

/// A POSIX account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// Dates of shadow(5), where the account is local.
    pub shadow: Option<Shadow>,
    /// Other logins with the same uid.
    pub shared_with: Vec<String>,
    /// Usable public keys, if asked for.
    pub keys: Option<Keys>,
}

/// Dates of shadow(5) in days since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shadow {
    /// Date of the last password change; 0 forces a change at the next login.
    pub last_change: Option<i64>,
    /// Maximum password age in days.
    pub max_age: Option<i64>,
    /// Days after the maximum age until the account is disabled.
    pub inactive: Option<i64>,
    /// Account expiry.
    pub expire: Option<i64>,
    /// A password is set, or none is needed.
    pub has_password: bool,
}

/// What is left on a host of somebody of whom nothing is to be left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaverFact {
    /// Processes of the uid.
    pub processes: u32,
    /// sshd's own processes of the login: logins that are not complete.
    pub open_logins: u32,
    /// Ways that no login needs: kind (`linger`, `cron`, `at`) and file.
    pub ways: Vec<(String, String)>,
}

/// What a revocation did to an account, besides its secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetAside {
    /// The account was expired, and what its end was before is noted on the host.
    pub expired: bool,
    /// Files of keys: the name that each has now, and the path that it had.
    pub keys: Vec<(String, String)>,
}

/// Public keys an account can log in with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// Keys in the authorized keys files.
    pub in_files: u32,
    /// `authorizedkeyscommand` or `trustedusercakeys`, where set: keys may come from there.
    pub elsewhere: Option<String>,
}

/// A group of fleetotp's on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// Group id.
    pub gid: u32,
    /// Members in the order of the file.
    pub members: Vec<String>,
}

/// Which of the two secrets an admin can have on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The secret that is in force.
    Current,
    /// The secret that a rotation brings.
    Next,
}

impl Slot {
    /// Returns the directory name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Next => "next",
        }
    }
}

/// A state file of pam_google_authenticator, without its secret and scratch codes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateFact {
    /// SHA-256 of the secret line, in hexadecimal.
    pub secret_sha256: String,
    /// Option lines with their line number, from 1.
    pub options: Vec<(u32, String)>,
    /// Number of lines.
    pub lines: u32,
    /// Scratch codes left.
    pub scratch_codes: u32,
    /// The file itself.
    pub file: FileFact,
}

impl StateFact {
    /// Whether the module would refuse it: it wants its file to be root's and nobody else's to read
    /// (pam_google_authenticator.c: `open_secret_file`).
    pub const fn is_unusable(&self) -> bool {
        self.file.uid != 0 || self.file.mode & 0o077 != 0
    }
}

/// When a secret on a host ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretDeadline {
    /// Seconds since 1970.
    pub due: i64,
    /// The token's serial.
    pub serial: String,
    /// The generation.
    pub generation: i64,
}
