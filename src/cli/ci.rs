//! What a CI job reads: a JUnit file, and annotations of GitHub and GitLab.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::globals::Globals;
use super::setup::World;
use crate::error::Error;
use crate::names::HostName;
use crate::plan::finding::Severity;
use crate::playbook::outcome::{HostReport, Outcome, Status};
use crate::project;

/// Arguments of commands that CI runs.
#[derive(Debug, Clone, Default, Args)]
pub struct CiArgs {
    /// Also write a JUnit file: a suite for each play, a case for each host
    #[arg(
        long,
        env = "FLEETOTP_JUNIT",
        value_name = "FILE",
        help_heading = "Continuous integration"
    )]
    junit: Option<PathBuf>,

    /// Say what is wrong with hosts also as annotations: `github` on standard error, as it is by default in its jobs;
    /// `gitlab=FILE` as a code quality report; `none`
    #[arg(
        long,
        env = "FLEETOTP_ANNOTATIONS",
        value_name = "WHERE",
        help_heading = "Continuous integration"
    )]
    annotations: Option<Annotations>,
}

/// Where annotations go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Annotations {
    None,
    Github,
    Gitlab(PathBuf),
}

impl FromStr for Annotations {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some(("gitlab", file)) if !file.is_empty() => Ok(Self::Gitlab(file.into())),
            None if text == "github" => Ok(Self::Github),
            None if text == "none" => Ok(Self::None),
            _ => Err("it is `github`, `gitlab=FILE` or `none`"),
        }
    }
}

/// What was done on hosts under one name.
#[derive(Debug, Clone)]
pub struct Suite {
    /// The play's name, or the command's.
    pub name: String,
    /// The file of which that is: the playbook, or the project file.
    pub file: String,
    /// What came of it.
    pub hosts: BTreeMap<HostName, HostReport>,
}

impl CiArgs {
    /// Whether anything of it is wanted: then suites are to be kept.
    pub fn is_wanted(&self, world: &World) -> bool {
        self.junit.is_some() || self.annotations(world) != Annotations::None
    }

    fn annotations(&self, world: &World) -> Annotations {
        let usual = if world.in_github {
            Annotations::Github
        } else {
            Annotations::None
        };
        self.annotations.clone().unwrap_or(usual)
    }

    /// The same for a command that is no playbook.
    ///
    /// # Errors
    /// As [`Self::tell`].
    pub fn tell_of(
        &self,
        world: &World,
        command: &str,
        globals: &Globals,
        outcome: &Outcome,
    ) -> Result<(), Error> {
        if !self.is_wanted(world) {
            return Ok(());
        }
        let suite = Suite {
            name: command.to_owned(),
            file: globals.config.as_ref().map_or_else(
                || project::FILE_NAME.to_owned(),
                |p| p.display().to_string(),
            ),
            hosts: outcome.hosts.clone(),
        };
        self.tell(world, command, &[suite])
    }

    /// Writes the files and the annotations.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn tell(&self, world: &World, command: &str, suites: &[Suite]) -> Result<(), Error> {
        if let Some(path) = &self.junit {
            let text = junit(command, suites)
                .map_err(|e| Error::failed("cannot make the JUnit file").caused_by(e))?;
            save(&world.cwd.join(path), &text)?;
        }
        match self.annotations(world) {
            Annotations::None => {}
            Annotations::Github => eprint!("{}", github(suites)),
            Annotations::Gitlab(path) => {
                let text = format!("{:#}\n", gitlab(suites));
                save(&world.cwd.join(path), &text)?;
            }
        }
        Ok(())
    }
}

fn save(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text)
        .map_err(|e| Error::failed(format!("cannot write `{}`", path.display())).caused_by(e))
}

fn junit(command: &str, suites: &[Suite]) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new(command);
    for suite in suites {
        let mut cases = TestSuite::new(suite.name.as_str());
        for (host, done) in &suite.hosts {
            let status = match &done.status {
                Status::Ok => TestCaseStatus::success(),
                Status::Failed(why) => told(NonSuccessKind::Failure, "failed", why),
                Status::Unreachable(why) => told(NonSuccessKind::Error, "unreachable", why),
                Status::Skipped(_) => TestCaseStatus::skipped(),
            };
            let mut case = TestCase::new(host.as_str(), status);
            case.set_classname(suite.name.as_str());
            let said = said(done);
            if !said.is_empty() {
                case.set_system_out(said);
            }
            cases.add_test_case(case);
        }
        report.add_test_suite(cases);
    }
    report.to_string()
}

fn told(kind: NonSuccessKind, word: &str, why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(word).set_message(why);
    status
}

/// What else there is to say of a host, a line each.
fn said(done: &HostReport) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for change in &done.changes {
        _ = writeln!(text, "changed: {}", change.summary);
    }
    for finding in &done.findings {
        _ = writeln!(text, "{}", finding.sentence());
    }
    for gap in &done.gaps {
        _ = writeln!(text, "gap ({}): {}: {}", gap.id, gap.login, gap.text);
    }
    text
}

/// Something that is wrong with a host.
struct Fault<'s> {
    suite: &'s Suite,
    host: &'s HostName,
    grave: bool,
    id: &'s str,
    text: String,
}

fn faults(suites: &[Suite]) -> Vec<Fault<'_>> {
    let mut all = Vec::new();
    for suite in suites {
        for (host, done) in &suite.hosts {
            let mut add = |grave, id, text: &str| {
                let text = text.to_owned();
                all.push(Fault {
                    suite,
                    host,
                    grave,
                    id,
                    text,
                });
            };
            match &done.status {
                Status::Failed(why) => add(true, "failed", why),
                Status::Unreachable(why) => add(true, "unreachable", why),
                Status::Ok | Status::Skipped(_) => {}
            }
            for finding in &done.findings {
                // What the status says is said.
                if finding.severity != Severity::Refusal {
                    add(false, finding.id, &finding.sentence());
                }
            }
            for gap in &done.gaps {
                add(false, gap.id, &format!("{}: {}", gap.login, gap.text));
            }
        }
    }
    all
}

/// Workflow commands, as GitHub's runner reads them in a job's output.
fn github(suites: &[Suite]) -> String {
    let mut text = String::new();
    for fault in faults(suites) {
        let word = if fault.grave { "error" } else { "warning" };
        // Writing to a string cannot fail.
        _ = writeln!(
            text,
            "::{word} title={}::{}",
            property(&format!("fleetotp: {} ({})", fault.host, fault.id)),
            data(&fault.text)
        );
    }
    text
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// A code quality report, which GitLab shows in a merge request.
fn gitlab(suites: &[Suite]) -> Value {
    let issues = faults(suites).into_iter().map(|fault| {
        let file = &fault.suite.file;
        let known = format!("{file}\n{}\n{}\n{}", fault.host, fault.id, fault.text);
        json!({
            "description": format!("{}: {}", fault.host, fault.text),
            "check_name": fault.id,
            "fingerprint": data_encoding::HEXLOWER.encode(&Sha256::digest(known)),
            "severity": if fault.grave { "critical" } else { "minor" },
            "location": {"path": file, "lines": {"begin": 1}},
        })
    });
    issues.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::finding::{Finding, Gap};
    use crate::playbook::outcome::Skip;

    fn suites() -> Vec<Suite> {
        let mut hosts = BTreeMap::new();
        let mut add = |name: &str, status| {
            let host: HostName = name.parse().unwrap();
            hosts.insert(host.clone(), HostReport::new(host.clone(), status));
            host
        };
        add("bad", Status::Failed("50 % lost:\n<now>".into()));
        add("away", Status::Unreachable("timed out".into()));
        add("later", Status::Skipped(Skip::Interrupted));
        let web = add("web1", Status::Ok);
        let report = hosts.get_mut(&web).unwrap();
        report
            .findings
            .push(Finding::note("clock", "2 s off", "run chrony"));
        report.gaps.push(Gap {
            login: "alice".into(),
            id: "no-account",
            text: "no account".into(),
        });
        vec![Suite {
            name: "Roll out, \"now\"".into(),
            file: "rollout.yml".into(),
            hosts,
        }]
    }

    #[test]
    fn a_junit_file_has_a_case_for_each_host() {
        let text = junit("fleetotp play", &suites()).unwrap();
        for says in [
            r#"<testsuites name="fleetotp play" tests="4" skipped="1" failures="1" errors="1">"#,
            r#"<testsuite name="Roll out, &quot;now&quot;""#,
            "<failure message=\"50 % lost:\n&lt;now&gt;\" type=\"failed\"/>",
            r#"<error message="timed out" type="unreachable"/>"#,
            "<skipped/>",
            "2 s off (clock); run chrony",
            "gap (no-account): alice: no account",
        ] {
            assert!(text.contains(says), "no {says} in {text}");
        }
    }

    #[test]
    fn annotations_cannot_be_broken_out_of() {
        let text = github(&suites());
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("::error title=fleetotp%3A bad (failed)::50 %25 lost:%0A<now>\n"));
        assert!(text.contains("::warning title=fleetotp%3A web1 (clock)::2 s off"));
    }

    #[test]
    fn gitlabs_report_names_each_thing_once_and_for_ever() {
        let issues = gitlab(&suites());
        let issues = issues.as_array().unwrap();
        assert_eq!(issues.len(), 4);
        let prints: std::collections::BTreeSet<_> =
            issues.iter().map(|i| i["fingerprint"].as_str()).collect();
        assert_eq!(prints.len(), 4);
        assert_eq!(gitlab(&suites()), json!(issues));
        assert!(
            issues
                .iter()
                .all(|i| i["location"]["path"] == "rollout.yml")
        );
    }

    #[test]
    fn where_annotations_go_is_a_word_or_a_file() {
        assert_eq!("github".parse(), Ok(Annotations::Github));
        assert_eq!("none".parse(), Ok(Annotations::None));
        assert_eq!(
            "gitlab=q.json".parse(),
            Ok(Annotations::Gitlab("q.json".into()))
        );
        for wrong in ["gitlab", "gitlab=", "github=x", ""] {
            assert!(wrong.parse::<Annotations>().is_err(), "{wrong}");
        }
    }
}
