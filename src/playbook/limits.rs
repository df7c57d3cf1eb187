//! How much may go wrong before a play goes no further.
//!
//! Ansible counts failed hosts only, so that a batch of which half was away lets the next one begin; here those that were
//! not reached have a limit of their own, and both are looked at before each next batch.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::playbook::outcome::{HostReport, Status};
use crate::text::yaml::{Kind, Node, Resolved};
use crate::text::{FileError, SourceFile};

/// How much of a batch may go wrong, in percent of its hosts.
#[derive(Debug, Clone, Copy, Default, PartialEq, JsonSchema)]
pub struct Limits {
    /// More failed hosts of a batch than this, in percent, end the play. Where absent only a batch of
    /// which nothing is left ends it.
    #[schemars(rename = "max_fail_percentage", schema_with = "for_editors")]
    pub failed: Option<f64>,
    /// More hosts of a batch that were not reached than this, in percent, end the play.
    #[schemars(rename = "max_unreachable", schema_with = "for_editors")]
    pub unreachable: Option<f64>,
    /// The first host that failed or was not reached lets no further one begin.
    pub any_errors_fatal: bool,
}

/// What came of a batch, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Its hosts.
    pub hosts: usize,
    /// Those that failed.
    pub failed: usize,
    /// Those that were not reached.
    pub unreachable: usize,
}

impl Tally {
    /// Counts a batch of so many hosts by their reports.
    pub fn of<'a>(hosts: usize, reports: impl IntoIterator<Item = &'a HostReport>) -> Self {
        let mut tally = Self {
            hosts,
            ..Self::default()
        };
        for report in reports {
            tally.count(report);
        }
        tally
    }

    /// Counts one more of its hosts.
    pub fn count(&mut self, report: &HostReport) {
        match report.status {
            Status::Failed(_) => self.failed += 1,
            Status::Unreachable(_) => self.unreachable += 1,
            Status::Ok | Status::Skipped(_) => {}
        }
    }
}

impl Limits {
    /// Returns why the play goes no further after this batch, if so.
    pub fn stop(&self, batch: Tally) -> Option<String> {
        let Tally {
            hosts,
            failed,
            unreachable,
        } = batch;
        let gone = failed + unreachable;
        if self.any_errors_fatal && gone > 0 {
            return Some(format!(
                "{gone} of {hosts} hosts failed or were not reached, and any_errors_fatal is set"
            ));
        }
        if let Some(percent) = self.failed.filter(|p| exceeds(failed, hosts, *p)) {
            return Some(format!(
                "{failed} of {hosts} hosts failed: more than max_fail_percentage: {percent}"
            ));
        }
        if let Some(percent) = self.unreachable.filter(|p| exceeds(unreachable, hosts, *p)) {
            return Some(format!(
                "{unreachable} of {hosts} hosts were not reached: more than max_unreachable: {percent}%"
            ));
        }
        (hosts > 0 && gone >= hosts)
            .then(|| format!("all {hosts} hosts of the batch failed or were not reached"))
    }
}

/// As Ansible compares: the share has to be more than the limit.
#[expect(
    clippy::cast_precision_loss,
    reason = "the arithmetic of Ansible; no fleet has 2^52 hosts"
)]
fn exceeds(count: usize, of: usize, percent: f64) -> bool {
    of > 0 && count as f64 / of as f64 > percent / 100.0
}

/// Reads a percentage such as `10` or `10%`, from 0 to 100.
///
/// # Errors
/// What is none, at its position.
pub fn percentage(source: &SourceFile, key: &str, node: &Node) -> Result<f64, FileError> {
    let number = match &node.kind {
        Kind::Scalar(scalar) if scalar.resolved != Resolved::Null => {
            let text = scalar.text.trim();
            text.strip_suffix('%').unwrap_or(text).trim().parse().ok()
        }
        Kind::Scalar(_) | Kind::Sequence(_) | Kind::Mapping(_) => None,
    };
    number
        .filter(|p: &f64| (0.0..=100.0).contains(p))
        .ok_or_else(|| {
            source.error(
                node.position,
                format!("`{key}` is a percentage from 0 to 100"),
            )
        })
}

/// The JSON Schema of what [`percentage`] reads.
fn for_editors(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [
        {"type": "number", "minimum": 0, "maximum": 100},
        {"type": "string", "pattern": r"^\s*(100(\.0*)?|[0-9]{1,2}(\.[0-9]*)?)\s*%?\s*$"},
    ]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::yaml;

    const fn tally(hosts: usize, failed: usize, unreachable: usize) -> Tally {
        Tally {
            hosts,
            failed,
            unreachable,
        }
    }

    #[test]
    fn limits_have_to_be_exceeded() {
        let limits = Limits {
            failed: Some(30.0),
            unreachable: Some(50.0),
            any_errors_fatal: false,
        };
        for (batch, stops) in [
            (tally(10, 0, 0), None),
            (tally(10, 3, 0), None),
            (
                tally(10, 4, 0),
                Some("4 of 10 hosts failed: more than max_fail_percentage: 30"),
            ),
            (tally(10, 3, 5), None),
            (
                tally(10, 3, 6),
                Some("6 of 10 hosts were not reached: more than max_unreachable: 50%"),
            ),
            (tally(1, 1, 0), Some("1 of 1 hosts failed")),
        ] {
            let why = limits.stop(batch);
            assert_eq!(why.is_some(), stops.is_some(), "{batch:?}: {why:?}");
            assert!(
                why.unwrap_or_default()
                    .starts_with(stops.unwrap_or_default())
            );
        }
        let none = Limits {
            failed: Some(0.0),
            ..Limits::default()
        };
        assert!(none.stop(tally(1000, 1, 0)).is_some());
    }

    #[test]
    fn a_batch_of_which_nothing_is_left_ends_the_play() {
        let none = Limits::default();
        assert_eq!(none.stop(tally(3, 1, 1)), None);
        assert!(
            none.stop(tally(3, 1, 2))
                .unwrap()
                .starts_with("all 3 hosts")
        );
        assert_eq!(none.stop(tally(0, 0, 0)), None);
    }

    #[test]
    fn any_error_is_fatal_where_said() {
        let fatal = Limits {
            any_errors_fatal: true,
            ..Limits::default()
        };
        assert!(fatal.stop(tally(100, 0, 1)).is_some());
        assert!(fatal.stop(tally(100, 1, 0)).is_some());
        assert_eq!(fatal.stop(tally(100, 0, 0)), None);
    }

    #[test]
    fn percentages_read() {
        let read = |text: &str| {
            let source = SourceFile::new("p.yml", text);
            percentage(&source, "max_unreachable", &yaml::parse(&source).unwrap())
        };
        assert_eq!(read("10").unwrap(), 10.0);
        assert_eq!(read("12.5%").unwrap(), 12.5);
        assert_eq!(read("'0 %'").unwrap(), 0.0);
        for wrong in ["-1", "101", "some", "~", "[1]", "NaN", "inf"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
