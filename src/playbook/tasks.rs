//! What tasks take: the words of the commands of their names.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::clock::Span;

/// From how many refused tries of one login on there is a finding.
pub const SPIKE: u32 = 5;
/// Within which time those tries are.
pub const WITHIN: Span = Span::from_secs(600);
/// After which time without a login a demanded token is a finding.
pub const UNUSED: Span = Span::from_days(30);

/// The task `preflight`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PreflightTask {
    /// Exit 9 where there is any warning.
    pub strict: bool,
}

/// The task `pam_totp`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PamTotpTask {
    /// Have each host prove its change by the login table, not only the first of each class.
    pub every_host: bool,
}

/// The task `verify`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VerifyTask {
    /// On each host, not once for each class of them.
    pub every_host: bool,
}

/// The task `sync`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SyncTask {
    /// Leave hosts alone that were never prepared, and issue nothing to admins who have no token yet.
    pub no_new: bool,
}

/// The task `collect`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CollectTask {
    /// Exit 9 where there is any finding.
    pub strict: bool,
    /// Judge everything that was collected within this time, not only what is new.
    pub since: Option<Span>,
    /// From how many refused tries of one login on there is a finding.
    pub spike: u32,
    /// Within which time those tries are.
    pub within: Span,
    /// After which time without a login a demanded token is a finding.
    pub unused: Span,
}

impl Default for CollectTask {
    fn default() -> Self {
        Self {
            strict: false,
            since: None,
            spike: SPIKE,
            within: WITHIN,
            unused: UNUSED,
        }
    }
}

/// The task `report`. Without any parameter it shows every token, as `status` does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReportTask {
    /// These reports; their numbers are printed unless `out` is given.
    pub kinds: Vec<ReportKind>,
    /// A directory for their files.
    pub out: Option<PathBuf>,
    /// A directory for an evidence pack of all of them; there must be nothing of that name.
    pub pack: Option<PathBuf>,
    /// Formats of the files; those of a pack where absent.
    pub formats: Vec<String>,
    /// The state at a time.
    pub as_of: Option<String>,
    /// What happened from one time up to another.
    #[schemars(length(equal = 2))]
    pub between: Option<Vec<String>>,
    /// The same, for a period of the calendar.
    pub period: Option<String>,
    /// Archives that the log goes on from.
    pub archive: Vec<PathBuf>,
    /// Exit 9 where something is overdue, open, unknown or not enforced.
    pub strict: bool,
}

impl ReportTask {
    /// Whether it asks for anything that is computed from the event log.
    pub fn is_computed(&self) -> bool {
        !self.kinds.is_empty() || self.pack.is_some()
    }

    /// What in it does not go together.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.pack.is_some() && (!self.kinds.is_empty() || self.out.is_some()) {
            return Err("`pack` holds all reports: it goes with neither `kinds` nor `out`");
        }
        if !self.is_computed() && *self != Self::default() {
            return Err("`report` does not say what to compute: give it `kinds` or `pack`");
        }
        if !self.formats.is_empty() && self.out.is_none() && self.pack.is_none() {
            return Err("`formats` are those of files: give it `out` or `pack`");
        }
        let times = [
            self.as_of.is_some(),
            self.between.is_some(),
            self.period.is_some(),
        ];
        if times.into_iter().filter(|t| *t).count() > 1 {
            return Err("`as_of`, `between` and `period` exclude each other");
        }
        if self.between.as_ref().is_some_and(|b| b.len() != 2) {
            return Err("`between` is a list of two times");
        }
        Ok(())
    }
}

/// A report that a task can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportKind {
    /// Every token and its age.
    Rotation,
    /// Every revocation.
    Revocation,
    /// Every account.
    Coverage,
    /// Who logged in.
    Activity,
}
