//! What hosts have to say, kept once: of ten thousand hosts with a hundred admins each, what would change and what was found
//! is the same words almost everywhere.

use std::collections::BTreeMap;

use crate::alike::Met;
use crate::plan::finding::{Finding, Gap};
use crate::playbook::outcome::{HostReport, ShownChange};

/// What reports of hosts have said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    changes: Met<Vec<ShownChange>>,
    findings: Met<Vec<Finding>>,
    gaps: Met<Vec<Gap>>,
    logins: Met<BTreeMap<String, Vec<String>>>,
}

impl Said {
    /// Keeps once what other hosts have said in the same words.
    pub(super) fn share(&mut self, report: &mut HostReport) {
        self.changes.share(&mut report.changes);
        self.findings.share(&mut report.findings);
        self.gaps.share(&mut report.gaps);
        if let Some(overview) = &mut report.overview {
            self.logins.share(&mut overview.logins);
        }
    }
}
