//! What a plan does to a host, and how that is sent.

use std::collections::BTreeSet;

use crate::host::facts::{Facts, Slot};
use crate::host::request::{Line, Request, Scope};
use crate::names::Login;
use crate::plan::finding::{Finding, Gap, Severity};

/// The directory of state files.
pub const STATE_ROOT: &str = "/var/lib/google-authenticator";
/// Where the secrets in force lie.
pub const STATE_CURRENT: &str = "/var/lib/google-authenticator/current";
/// fleetotp's own directory on a host.
pub const LIB: &str = "/var/lib/fleetotp";
/// Members are asked for a code.
pub const GROUP_ENFORCED: &str = "fleetotp";
/// Members may confirm by a login.
pub const GROUP_PENDING: &str = "fleetotp-pending";
/// Members need no code; only looked at where everyone else does.
pub const GROUP_EXEMPT: &str = "fleetotp-exempt";
/// The temporary member that proves a change.
pub const CANARY: &str = "fleetotp-canary";

/// Returns the path of a login's state file.
pub fn state_path(slot: Slot, login: &str) -> String {
    format!("{STATE_ROOT}/{}/{login}", slot.as_str())
}

/// One thing a plan does to a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Run the package manager.
    Install {
        /// The shell command, shown as it is.
        command: String,
    },
    /// Make a directory, or give it the right mode.
    Directory {
        /// Where.
        path: &'static str,
        /// Permission bits.
        mode: u32,
    },
    /// Create a system group.
    Group {
        /// Its name.
        name: &'static str,
    },
    /// Set the members of one of fleetotp's groups.
    Members {
        /// The group.
        group: &'static str,
        /// Who is in it now.
        before: Vec<String>,
        /// Who is to be in it.
        after: Vec<String>,
    },
    /// Write a file.
    File(FileChange),
    /// Delete a file.
    Delete {
        /// Where.
        path: String,
        /// The hash it must have.
        before: String,
        /// Whether the host reverts it by itself.
        scope: Scope,
        /// What it is, for people.
        what: String,
    },
    /// Let a state file take another one's place, with all that it knows.
    Move {
        /// Which.
        from: String,
        /// The hash it must have.
        before: String,
        /// Its new place.
        to: String,
        /// The hash of what stands there; `None` where nothing does.
        replaces: Option<String>,
        /// What it is, for people.
        what: String,
    },
    /// Remove a file and whatever was being written to take its place.
    Purge {
        /// Where.
        path: String,
    },
    /// Let an account be over.
    ExpireAccount {
        /// The account.
        login: String,
    },
    /// Give an account the end back that it had before a revocation.
    RestoreAccount {
        /// The account.
        login: String,
        /// The sshd that is asked: program, configuration, options.
        daemon: String,
        /// What it must say of the account first.
        demanded: Vec<(&'static str, &'static str)>,
    },
    /// Move the files that an account's public keys are read from out of its reach.
    MoveKeys {
        /// The account.
        login: String,
        /// The sshd that says which files these are: program, configuration, options.
        daemon: String,
    },
    /// End an account's processes and incomplete logins.
    Terminate {
        /// The account.
        login: String,
        /// Its uid.
        uid: u32,
    },
}

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Where.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// SHA-256 it must have now; `None` where it must not exist.
    pub before: Option<String>,
    /// Whether the host reverts it by itself.
    pub scope: Scope,
    /// The content.
    pub lines: Vec<Line>,
    /// How a difference shows it.
    pub shown: Shown,
}

/// How a difference shows a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Text before and after.
    Text {
        /// What is there; empty where nothing is.
        before: String,
        /// What will be there.
        after: String,
    },
    /// Holds a secret: only this sentence.
    Sentence(String),
}

/// Which task of a playbook a change belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Module, PAM block, sshd addition, groups.
    Host,
    /// State files and memberships.
    Secrets,
    /// The demand for a code.
    Enforcement,
    /// The end of a token.
    Revocation,
}

/// What a plan does to a host, in the order it is done.
#[derive(Debug, Clone, Default)]
pub struct HostPlan {
    /// Changes with the part they belong to.
    pub changes: Vec<(Part, Change)>,
    /// What was noticed.
    pub findings: Vec<Finding>,
    /// Admins whose token cannot be in force here.
    pub gaps: Vec<Gap>,
    /// Users for whom sshd must behave after the change as before.
    pub unchanged_users: BTreeSet<String>,
    /// What `sshd -T` must say for some users after the change: user, keyword, value.
    pub wanted: Vec<(String, &'static str, &'static str)>,
    /// Keywords of `sshd -T` that may differ for unchanged users.
    pub may_differ: &'static str,
    /// Files that must still be what was read, with their hashes.
    pub expected: Vec<(String, String)>,
    /// The reaper and its mechanism must be there: a deadline will be open.
    pub needs_reaper: bool,
}

impl HostPlan {
    /// Returns whether anything is to be done.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns whether the plan is refused.
    pub fn refused(&self) -> bool {
        self.findings
            .iter()
            .any(|f| f.severity == Severity::Refusal)
    }

    /// Returns whether PAM or sshd changes, so that the host must be able to revert by itself.
    pub fn needs_transaction(&self) -> bool {
        self.changes
            .iter()
            .any(|(_, c)| c.scope() == Scope::Transaction)
    }

    /// Returns the changes of one part.
    pub fn of(&self, part: Part) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(move |(p, _)| *p == part)
            .map(|(_, c)| c)
    }
}

impl Change {
    /// Returns the change after which a group has exactly these members, known ones in their order; none where it has.
    pub fn members(facts: &Facts, group: &'static str, wanted: &BTreeSet<String>) -> Option<Self> {
        let before: Vec<String> = facts
            .groups
            .get(group)
            .map(|g| g.members.clone())
            .unwrap_or_default();
        let mut after: Vec<String> = before
            .iter()
            .filter(|m| wanted.contains(*m))
            .cloned()
            .collect();
        after.extend(wanted.iter().filter(|m| !before.contains(m)).cloned());
        (before != after).then_some(Self::Members {
            group,
            before,
            after,
        })
    }

    /// Returns the deletion of a secret's deadline in a slot, if the host keeps one.
    pub fn no_deadline(facts: &Facts, slot: Slot, login: &Login, why: String) -> Option<Self> {
        let name = format!("{}.{login}", slot.as_str());
        facts
            .secret_deadlines
            .contains_key(&name)
            .then(|| Self::Delete {
                path: format!("{LIB}/deadlines/{name}"),
                before: "any".to_owned(),
                scope: Scope::Live,
                what: why,
            })
    }

    /// Returns whether the change belongs to the transaction.
    pub const fn scope(&self) -> Scope {
        match self {
            Self::File(file) => file.scope,
            Self::Delete { scope, .. } => *scope,
            Self::Install { .. }
            | Self::Directory { .. }
            | Self::Group { .. }
            | Self::Members { .. }
            | Self::Move { .. }
            | Self::Purge { .. }
            | Self::ExpireAccount { .. }
            | Self::RestoreAccount { .. }
            | Self::MoveKeys { .. }
            | Self::Terminate { .. } => Scope::Live,
        }
    }

    /// Adds the change to a request.
    pub fn send(&self, request: &mut Request) {
        match self {
            Self::Install { command } => request.line(&["run", "install", command]),
            Self::Directory { path, mode } => request.line(&["dirs", &format!("{mode:o}"), path]),
            Self::Group { name } => request.line(&["group", name]),
            Self::Members {
                group,
                before,
                after,
            } => request.line(&["members", group, &list(before), &list(after)]),
            Self::File(file) => {
                request.file(
                    &file.path,
                    file.mode,
                    file.before.as_deref().unwrap_or("absent"),
                    file.scope,
                    &file.lines,
                );
            }
            Self::Delete {
                path,
                before,
                scope,
                ..
            } => request.line(&["del", path, before, scope.as_str()]),
            Self::Move {
                from,
                before,
                to,
                replaces,
                ..
            } => {
                let replaces = replaces.as_deref().unwrap_or("absent");
                request.line(&["move", from, before, to, replaces]);
            }
            Self::Purge { path } => request.line(&["purge", path]),
            Self::ExpireAccount { login } => request.line(&["expire", login]),
            Self::RestoreAccount {
                login,
                daemon,
                demanded,
            } => {
                for (key, value) in demanded {
                    request.line(&["judge", login, daemon, &format!("{key} {value}")]);
                }
                request.line(&["judge", login, daemon, "usepam yes"]);
                request.line(&["unexpire", login]);
            }
            Self::MoveKeys { login, daemon } => request.line(&["aside", login, daemon]),
            Self::Terminate { login, uid } => {
                request.line(&["terminate", login, &uid.to_string()]);
            }
        }
    }

    /// Returns the change in one line, without secrets.
    pub fn summary(&self) -> String {
        match self {
            Self::Install { command } => format!("run `{command}`"),
            Self::Directory { path, mode } => format!("directory {path} with mode {mode:o}"),
            Self::Group { name } => format!("create group {name}"),
            Self::Members {
                group,
                before,
                after,
            } => {
                let added = after
                    .iter()
                    .filter(|m| !before.contains(m))
                    .map(|m| format!("+{m}"));
                let removed = before
                    .iter()
                    .filter(|m| !after.contains(m))
                    .map(|m| format!("-{m}"));
                format!(
                    "group {group}: {}",
                    added.chain(removed).collect::<Vec<_>>().join(" ")
                )
            }
            Self::File(file) => match &file.shown {
                Shown::Text { .. } => format!("write {}", file.path),
                Shown::Sentence(what) => format!("write {}: {what}", file.path),
            },
            Self::Delete { path, what, .. } => format!("delete {path}: {what}"),
            Self::Move { from, to, what, .. } => format!("move {from} to {to}: {what}"),
            Self::Purge { path } => format!("delete {path}"),
            Self::ExpireAccount { login } => format!("expire the account of {login}"),
            Self::RestoreAccount { login, .. } => {
                format!(
                    "give the account of {login} the end back that it had before its revocation"
                )
            }
            Self::MoveKeys { login, .. } => {
                format!("move the public keys of {login} to {LIB}/revoked/{login}")
            }
            Self::Terminate { login, .. } => {
                format!("end all processes and open logins of {login}")
            }
        }
    }
}

fn list(members: &[String]) -> String {
    if members.is_empty() {
        "-".to_owned()
    } else {
        members.join(",")
    }
}
