//! What came of a play on each host, and the exit code that follows.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::alike::Alike;
use crate::exit;
use crate::names::HostName;
use crate::plan::change::Part;
use crate::plan::finding::{Finding, Gap, Severity};
use crate::plan::preflight::Overview;
use crate::playbook::logins::Verification;
use crate::playbook::times::Times;

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
    /// Not worked on.
    Skipped(Skip),
}

/// Why a host was not worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// The run was interrupted before.
    Interrupted,
    /// So much had gone wrong that no further host was begun.
    Stopped,
    /// No condition of the play holds on it.
    Condition,
}

impl Skip {
    /// Returns whether it is left for another run: its turn has not come.
    pub const fn is_left(self) -> bool {
        matches!(self, Self::Interrupted | Self::Stopped)
    }
}

impl Status {
    /// The worse of two passes over a host: the later one where they are alike.
    fn worse(before: Self, later: Self) -> Self {
        if before.rank() > later.rank() {
            before
        } else {
            later
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Skipped(_) => 1,
            Self::Unreachable(_) => 2,
            Self::Failed(_) => 3,
        }
    }
}

/// A change as the user sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
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
    pub changes: Alike<Vec<ShownChange>>,
    /// What was noticed.
    pub findings: Alike<Vec<Finding>>,
    /// What was seen at a glance, where the task `preflight` asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overview: Option<Overview>,
    /// Admins whose token is not in force here, and why.
    pub gaps: Alike<Vec<Gap>>,
    /// Logins of whom this host now demands a code, having not before.
    pub enforced: Vec<String>,
    /// Tokens of which nothing is to be left here, as read back.
    pub revoked: Vec<RevokedHere>,
    /// The login table, where it was tried here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// How long it took.
    #[serde(skip)]
    pub times: Times,
    /// Tasks that were not done here because of their condition, by their place in the play.
    #[serde(skip)]
    pub left_out: BTreeSet<usize>,
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
    pub fn new(host: HostName, status: Status) -> Self {
        Self {
            host,
            status,
            changes: Alike::default(),
            findings: Alike::default(),
            overview: None,
            gaps: Alike::default(),
            enforced: Vec::new(),
            revoked: Vec::new(),
            verification: None,
            times: Times::default(),
            left_out: BTreeSet::new(),
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
    /// So much went wrong that no further host was begun, and why.
    pub stopped: Option<String>,
    /// Something needs the vault's identity and stays open.
    pub needs_identity: bool,
    /// Something needs a secret that the ledger has no more, and stays open.
    pub secret_lost: bool,
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

fn extend_new<T: PartialEq + Clone>(mine: &mut Alike<Vec<T>>, more: &[T]) {
    for item in more {
        if !mine.contains(item) {
            mine.push(item.clone());
        }
    }
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

    /// Returns whether a gap of this kind is left anywhere.
    pub fn has_gap(&self, id: &str) -> bool {
        self.hosts
            .values()
            .any(|r| r.gaps.iter().any(|g| g.id == id))
    }

    /// Returns whether a host was found on which something may go wrong.
    pub fn has_warning(&self) -> bool {
        self.hosts
            .values()
            .any(|r| r.findings.iter().any(|f| f.severity == Severity::Warning))
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
            (false, false, false) if self.needs_identity || self.secret_lost => exit::FINDINGS,
            (false, false, false) => exit::DONE,
        }
    }

    /// Takes in what came of a pass that did the same on some hosts once more: its word counts.
    pub fn merge_retry(&mut self, other: Self) {
        self.take_in(other, |_, later| later);
    }

    /// Takes in what came of a further pass over some hosts. It may have wanted less than the one before, so a host that was
    /// away or failed in either of them is not fine.
    pub fn merge(&mut self, other: Self) {
        self.take_in(other, Status::worse);
    }

    fn take_in(&mut self, other: Self, status: fn(Status, Status) -> Status) {
        for (host, report) in other.hosts {
            match self.hosts.get_mut(&host) {
                Some(mine) => {
                    // What was read last counts, where something was.
                    if report.status == Status::Ok {
                        mine.gaps = report.gaps;
                        mine.findings = report.findings;
                    } else {
                        extend_new(&mut mine.gaps, &report.gaps);
                        extend_new(&mut mine.findings, &report.findings);
                    }
                    let before = std::mem::replace(&mut mine.status, Status::Ok);
                    // A play that wanted nothing of the host says nothing of it.
                    mine.status = match (mine.left_out.is_empty(), report.left_out.is_empty()) {
                        (_, false) if report.status == Status::Skipped(Skip::Condition) => before,
                        (false, _) if before == Status::Skipped(Skip::Condition) => report.status,
                        _ => status(before, report.status),
                    };
                    mine.overview = report.overview.or(mine.overview.take());
                    mine.left_out = report.left_out;
                    mine.times.merge(&report.times);
                    mine.verification = report.verification.or(mine.verification.take());
                    // What nothing is added to stays shared.
                    if mine.changes.is_empty() {
                        mine.changes = report.changes;
                    } else if !report.changes.is_empty() {
                        mine.changes.extend(report.changes.iter().cloned());
                    }
                    mine.enforced.extend(report.enforced);
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
        self.stopped = self.stopped.take().or(other.stopped);
        self.needs_identity |= other.needs_identity;
        self.secret_lost |= other.secret_lost;
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
    fn a_later_pass_does_not_hide_that_a_host_was_away() {
        let (failed, away) = (Status::Failed("x".into()), Status::Unreachable("y".into()));
        let all = [
            Status::Ok,
            Status::Skipped(Skip::Stopped),
            away.clone(),
            failed.clone(),
        ];
        for (rank, before) in all.iter().enumerate() {
            for (later_rank, later) in all.iter().enumerate() {
                let mut merged = outcome(std::slice::from_ref(before));
                merged.merge(outcome(std::slice::from_ref(later)));
                let status = merged.hosts.into_values().next().unwrap().status;
                assert_eq!(status, all[rank.max(later_rank)]);
            }
        }
        let mut merged = outcome(&[away.clone(), Status::Ok]);
        merged.merge(outcome(&[Status::Ok, Status::Ok]));
        assert_eq!(merged.code(), 4);
        // The same once more, and now it was done.
        let mut again = outcome(&[away, failed]);
        again.merge_retry(outcome(&[Status::Ok, Status::Ok]));
        assert_eq!(again.code(), 0);
    }

    #[test]
    fn what_a_pass_read_is_replaced_only_by_a_reading() {
        let gap = |id| Gap {
            login: "alice".into(),
            id,
            text: String::new(),
        };
        let with = |status, id| {
            let mut outcome = outcome(&[status]);
            for report in outcome.hosts.values_mut() {
                report.gaps.push(gap(id));
            }
            outcome
        };
        let mut merged = with(Status::Ok, "no-account");
        merged.merge(outcome(&[Status::Unreachable("y".into())]));
        assert_eq!(merged.hosts.values().next().unwrap().gaps.len(), 1);
        merged.merge(with(Status::Ok, "clock"));
        let report = merged.hosts.into_values().next().unwrap();
        assert_eq!(*report.gaps, [gap("clock")]);
        assert_eq!(report.status, Status::Unreachable("y".into()));
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
