//! What a run's journal is told of a host.

use crate::clock::Timestamp;
use crate::host::facts::Facts;
use crate::host::request::Scope;
use crate::ledger::{HostEnd, HostResult, TextChange, sum_of};
use crate::names::HostName;
use crate::plan::change::{Change, HostPlan, Shown};
use crate::playbook::outcome::{HostReport, Outcome, Status};

/// Returns the configuration texts that a plan changes: those that a host reverts by itself.
pub(super) fn texts(facts: &Facts, plan: &HostPlan) -> Vec<TextChange> {
    let inside = plan.changes.iter().map(|(_, change)| change);
    inside
        .filter(|change| change.scope() == Scope::Transaction)
        .filter_map(|change| match change {
            Change::File(file) => match &file.shown {
                Shown::Text { before, after } => Some(TextChange {
                    path: file.path.clone(),
                    mode: file.mode,
                    before: file.before.is_some().then(|| before.clone()),
                    after: Some(sum_of(after)),
                }),
                Shown::Sentence(_) => None,
            },
            Change::Delete { path, .. } => Some(TextChange {
                path: path.clone(),
                mode: facts.files.get(path).map_or(0o644, |f| f.mode),
                before: facts.text(path).map(str::to_owned),
                after: None,
            }),
            _ => None,
        })
        .collect()
}

/// Returns how hosts ended in a part of a run. One of which nothing was wanted has no report: it was passed over, unless the part
/// was cut short.
pub fn ends(hosts: &[HostName], outcome: &Outcome, at: Timestamp) -> Vec<HostEnd> {
    let passed_over = |host: &HostName| HostEnd {
        host: host.clone(),
        result: HostResult::Skipped,
        reason: None,
        at,
    };
    let cut_short = outcome.interrupted || outcome.stopped.is_some();
    let ends = hosts
        .iter()
        .filter_map(|host| match outcome.hosts.get(host) {
            Some(report) => end_of(report, at),
            None => (!cut_short).then(|| passed_over(host)),
        });
    ends.collect()
}

/// Returns how a host ended; one whose turn did not come has not.
pub(super) fn end_of(report: &HostReport, at: Timestamp) -> Option<HostEnd> {
    let (result, reason) = match &report.status {
        Status::Ok if report.changes.is_empty() => (HostResult::Ok, None),
        Status::Ok => (HostResult::Changed, None),
        Status::Failed(why) => (HostResult::Failed, Some(why.clone())),
        Status::Unreachable(why) => (HostResult::Unreachable, Some(why.clone())),
        Status::Skipped(skip) if skip.is_left() => return None,
        Status::Skipped(_) => (HostResult::Skipped, None),
    };
    Some(HostEnd {
        host: report.host.clone(),
        result,
        reason,
        at,
    })
}
