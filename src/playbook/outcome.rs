//! What came of a play on each host, and the exit code that follows.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::exit;
use crate::names::HostName;
use crate::plan::change::Part;
use crate::plan::finding::{Finding, Gap};

/// How a host ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", content = "why", rename_all = "snake_case")]
pub enum Status {
    /// Done, or nothing to do.
    Ok,
    /// Reached, but something failed; what was begun has been reverted.
    Failed(String),
    /// Not reached, or lost on the way.
    Unreachable(String),
    /// The run was interrupted before this host was begun.
    Skipped,
}

/// A change as the user sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownChange {
    /// Which part it belongs to.
    #[serde(skip)]
    pub part: Option<Part>,
    /// One line.
    pub summary: String,
    /// The difference, without secrets.
    pub diff: String,
}

/// What came of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostReport {
    /// The host.
    pub host: HostName,
    /// How it ended.
    #[serde(flatten)]
    pub status: Status,
    /// What was changed, or would be.
    pub changes: Vec<ShownChange>,
    /// What was noticed.
    pub findings: Vec<Finding>,
    /// Admins whose token is not in force here, and why.
    pub gaps: Vec<Gap>,
    /// Logins of whom this host now demands a code, having not before.
    pub enforced: Vec<String>,
    /// Tokens of which nothing is to be left here, as read back.
    pub revoked: Vec<RevokedHere>,
}

/// A token of which nothing is to be left on a host, as read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RevokedHere {
    /// The admin, or the token where the person was erased.
    pub admin: String,
    /// The token.
    pub serial: String,
    /// The account.
    pub login: String,
    /// `proven` or `open`.
    pub state: &'static str,
    /// When the revocation was requested.
    pub since: String,
    /// When the host was read.
    pub at: String,
    /// What the proof rests on.
    pub proof: Option<serde_json::Value>,
    /// Why it is open.
    pub why: Option<String>,
    /// This run proved it, or found something and removed it.
    pub new: bool,
}

impl HostReport {
    /// A report without particulars.
    pub const fn new(host: HostName, status: Status) -> Self {
        Self {
            host,
            status,
            changes: Vec::new(),
            findings: Vec::new(),
            gaps: Vec::new(),
            enforced: Vec::new(),
            revoked: Vec::new(),
        }
    }

    /// Returns whether anything of a part was changed.
    pub fn changed(&self, part: Part) -> bool {
        self.changes.iter().any(|c| c.part == Some(part))
    }
}

/// What came of a whole play.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Reports by host.
    pub hosts: BTreeMap<HostName, HostReport>,
    /// Sheets written in this run.
    pub sheets: Vec<IssuedSheet>,
    /// Things worth saying about the controller's side.
    pub notes: Vec<String>,
    /// A signal ended the run early.
    pub interrupted: bool,
    /// Something needs the vault's identity and stays open.
    pub needs_identity: bool,
}

/// A sheet written in this run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IssuedSheet {
    /// Its id.
    pub id: String,
    /// The admin.
    pub admin: String,
    /// The realm.
    pub realm: String,
    /// Where the file is.
    pub path: String,
    /// When the secret ends unless confirmed.
    pub expires: Option<String>,
    /// Plain PDFs are said to be plain.
    pub plain: bool,
    /// A passphrase made for this sheet; shown once.
    #[serde(skip)]
    pub passphrase: Option<crate::token::secret::Secret>,
}

impl Outcome {
    /// Returns whether a host failed.
    pub fn failed(&self) -> bool {
        self.hosts
            .values()
            .any(|r| matches!(r.status, Status::Failed(_)))
    }

    /// Returns whether a host was not reached.
    pub fn unreachable(&self) -> bool {
        self.hosts
            .values()
            .any(|r| matches!(r.status, Status::Unreachable(_)))
    }

    /// Returns whether anything was changed, or would be.
    pub fn changed(&self) -> bool {
        self.hosts.values().any(|r| !r.changes.is_empty())
    }

    /// Returns the exit code: 99, then 2, 4 or 6, then 9, then 0.
    pub fn code(&self) -> u8 {
        match (self.interrupted, self.failed(), self.unreachable()) {
            (true, _, _) => exit::INTERRUPTED,
            (false, true, true) => exit::HOSTS_FAILED_AND_UNREACHABLE,
            (false, true, false) => exit::HOSTS_FAILED,
            (false, false, true) => exit::HOSTS_UNREACHABLE,
            (false, false, false) if self.needs_identity => exit::FINDINGS,
            (false, false, false) => exit::DONE,
        }
    }

    /// Takes in what came of a further pass over some hosts.
    pub fn merge(&mut self, other: Self) {
        for (host, report) in other.hosts {
            match self.hosts.get_mut(&host) {
                Some(mine) => {
                    mine.status = report.status;
                    mine.changes.extend(report.changes);
                    mine.enforced.extend(report.enforced);
                    mine.gaps = report.gaps;
                    mine.findings = report.findings;
                    mine.revoked
                        .retain(|m| report.revoked.iter().all(|r| r.serial != m.serial));
                    mine.revoked.extend(report.revoked);
                }
                None => {
                    self.hosts.insert(host, report);
                }
            }
        }
        self.sheets.extend(other.sheets);
        self.notes.extend(other.notes);
        self.interrupted |= other.interrupted;
        self.needs_identity |= other.needs_identity;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(statuses: &[Status]) -> Outcome {
        let mut outcome = Outcome::default();
        for (index, status) in statuses.iter().enumerate() {
            let host = HostName::new(&format!("h{index}")).unwrap();
            outcome
                .hosts
                .insert(host.clone(), HostReport::new(host, status.clone()));
        }
        outcome
    }

    #[test]
    fn exit_codes_follow_the_contract() {
        let (failed, away) = (Status::Failed("x".into()), Status::Unreachable("y".into()));
        assert_eq!(outcome(&[Status::Ok]).code(), 0);
        assert_eq!(outcome(&[Status::Ok, failed.clone()]).code(), 2);
        assert_eq!(outcome(&[Status::Ok, away.clone()]).code(), 4);
        assert_eq!(outcome(&[away, failed]).code(), 6);
        assert_eq!(
            Outcome {
                needs_identity: true,
                ..outcome(&[Status::Ok])
            }
            .code(),
            9
        );
        assert_eq!(
            Outcome {
                interrupted: true,
                ..outcome(&[])
            }
            .code(),
            99
        );
    }
}
