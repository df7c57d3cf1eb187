//! Playbooks and what is made of them, told as data: `tests/playbook/<case>.yml`.
//!
//! A case has playbooks, an inventory and flags, and says what comes of them: every play with its batches in order, its limits,
//! and its tasks with the hosts on which they are done; or the error with its place. `batches_are_those_of_ansible` has the
//! batches of every case cut by ansible-core as well.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fleetotp::clock::SystemEntropy;
use fleetotp::inventory::model::Host;
use fleetotp::inventory::{Inventory, LoadOptions};
use fleetotp::playbook::conditions::holds_on;
use fleetotp::playbook::schema::{self, Play, Task, tags};
use fleetotp::text::SourceFile;
use indexmap::IndexMap;
use regex::Regex;
use serde::Deserialize;

use super::ansible_oracle;

/// The inventory of cases that have none of their own.
const INVENTORY: &str = "
all:
  children:
    web: {hosts: {'w[1:6]': }, vars: {role: web, fleet_wave: 2}}
    db: {hosts: {d3: , d1: , d2: {retired: true}}, vars: {role: db, fleet_wave: 3}}
    canary: {hosts: {w1: {fleet_wave: 1}, d1: {fleet_wave: 1}}}
";

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What it shows.
    about: String,
    /// The playbook, `p.yml`; with `files`, nothing.
    #[serde(default)]
    playbook: String,
    /// Several playbooks, in order.
    #[serde(default)]
    files: IndexMap<String, String>,
    inventory: Option<String>,
    /// `--limit`.
    limit: Option<String>,
    /// `--tags`.
    #[serde(default)]
    tags: Vec<String>,
    /// `--skip-tags`.
    #[serde(default)]
    skip_tags: Vec<String>,
    /// `--start-at-task`.
    start_at: Option<String>,
    expect: Expected,
}

/// What comes of it: all plays, or an error.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Expected {
    plays: Vec<ExpectedPlay>,
    /// The message, with file, line and column where it has a place.
    error: Option<String>,
    /// What the error proposes.
    hints: Vec<String>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct ExpectedPlay {
    name: String,
    /// The hosts of each batch in order; of a shuffled play, in order of name.
    batches: Vec<String>,
    /// `max_fail_percentage`, `max_unreachable`, `any_errors_fatal`.
    limits: Option<(Option<f64>, Option<f64>, bool)>,
    admins: Option<String>,
    /// The tasks in order: `name`, `name: hosts` where it is not done on all, `name: ?` where facts decide.
    tasks: Vec<String>,
}

/// An error as the case tells it: without the line that it quotes.
fn wrong(message: &impl ToString, hints: &[String]) -> Expected {
    let message = message.to_string();
    Expected {
        error: message.lines().next().map(str::to_owned),
        hints: hints.to_vec(),
        ..Expected::default()
    }
}

impl Case {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    fn inventory(&self) -> &str {
        self.inventory.as_deref().unwrap_or(INVENTORY)
    }

    fn books(&self) -> Vec<SourceFile> {
        if self.files.is_empty() {
            return vec![SourceFile::new("p.yml", self.playbook.as_str())];
        }
        let files = self.files.iter();
        files
            .map(|(name, text)| SourceFile::new(name.as_str(), text.as_str()))
            .collect()
    }

    /// What `fleetotp play` makes of it, up to the first host.
    fn outcome(&self) -> Expected {
        self.plays().unwrap_or_else(|error| error)
    }

    fn plays(&self) -> Result<Expected, Expected> {
        let mut plays = Vec::new();
        for book in self.books() {
            plays.extend(schema::parse(&book).map_err(|e| wrong(&e, &e.hints))?);
        }
        tags::choose(&mut plays, &self.tags, &self.skip_tags).map_err(|e| wrong(&e, &[]))?;
        if let Some(name) = &self.start_at {
            tags::start_at(&mut plays, name).map_err(|e| wrong(&e, &[]))?;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("i.yml"), self.inventory()).unwrap();
        let sources = ["i.yml".to_owned()];
        let inventory = Inventory::load(&sources, dir.path(), &LoadOptions::default()).unwrap();
        let told = plays.iter().map(|play| self.play(play, &inventory));
        Ok(Expected {
            plays: told.collect::<Result<_, _>>()?,
            ..Expected::default()
        })
    }

    fn play(&self, play: &Play, inventory: &Inventory) -> Result<ExpectedPlay, Expected> {
        let hosts = inventory
            .select(&play.hosts, self.limit.as_deref())
            .map_err(|e| wrong(&e, &[]))?;
        let mut names: Vec<String> = hosts.iter().map(|h| h.name.to_string()).collect();
        play.order.arrange(&mut names, &SystemEntropy).unwrap();
        let batches = play.serial.batches(names);
        let shuffled = format!("{:?}", play.order) == "Shuffle";
        let batches = batches.into_iter().map(|mut hosts| {
            if shuffled {
                hosts.sort();
            }
            hosts.join(" ")
        });
        let limits = (
            play.limits.failed,
            play.limits.unreachable,
            play.limits.any_errors_fatal,
        );
        let tasks = play.tasks.iter().map(|task| told(task, play, &hosts));
        Ok(ExpectedPlay {
            name: play.name.clone(),
            batches: batches.collect(),
            limits: (limits != (None, None, false)).then_some(limits),
            admins: play.admins.clone(),
            tasks: tasks.collect::<Result<_, _>>()?,
        })
    }
}

/// A task, and where it is done.
fn told(task: &Task, play: &Play, hosts: &[&Host]) -> Result<String, Expected> {
    if task.when.needs_facts() {
        return Ok(format!("{}: ?", task.name));
    }
    let mut done = Vec::new();
    for host in hosts {
        if holds_on(&task.when, &play.vars, host).map_err(|e| wrong(&e, &e.hints))? {
            done.push(host.name.as_str());
        }
    }
    Ok(match done.len() == hosts.len() {
        true => task.name.clone(),
        false => format!("{}: {}", task.name, done.join(" ")),
    })
}

fn cases() -> Vec<(PathBuf, Case)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/playbook");
    let found = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let paths: BTreeSet<PathBuf> = found.collect();
    let cases = paths.into_iter().map(|path| {
        let case = Case::read(&path);
        (path, case)
    });
    cases.collect()
}

/// How two things differ, line by line.
fn different<T: Debug + PartialEq>(
    ours: &T,
    wanted: &T,
    path: &Path,
    about: &str,
) -> Option<String> {
    let shown = |value: &T| format!("{value:#?}\n");
    let (ours_text, wanted_text) = (shown(ours), shown(wanted));
    let difference = similar::TextDiff::from_lines(&wanted_text, &ours_text);
    let mut difference = difference.unified_diff();
    let difference = difference.header("expected", "found");
    (ours != wanted).then(|| format!("{}: {about}\n{difference}", path.display()))
}

#[test]
fn playbooks_are_what_the_cases_say() {
    let cases = cases();
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    let wrong = cases
        .iter()
        .filter_map(|(path, case)| different(&case.outcome(), &case.expect, path, &case.about));
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the command itself lists: plays under the file that they stand in, also where a run begins in the second file.
#[test]
fn plays_are_listed_under_their_files() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/playbook");
    let fleetotp = |dir: &Path, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetotp"));
        let output = command.args(arguments).current_dir(dir).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let project = tempfile::tempdir().unwrap();
    fleetotp(project.path(), &["init", "."]);
    let line = Regex::new(r"(?m)^playbook: (\S+)$|^  play #\d+ \(.*\): (\S+)").unwrap();
    for (name, wanted) in [
        ("several-files", "a.yml First Second b.yml Third"),
        ("several-files-start-at", "a.yml b.yml Third"),
    ] {
        let case = Case::read(&dir.join(name).with_extension("yml"));
        for (file, text) in &case.files {
            fs::write(project.path().join(file), text).unwrap();
        }
        fs::write(project.path().join("inventory.yml"), case.inventory()).unwrap();
        let mut arguments = vec!["play", "--list-tasks", "a.yml", "b.yml"];
        if let Some(task) = &case.start_at {
            arguments.extend(["--start-at-task", task.as_str()]);
        }
        let listed = fleetotp(project.path(), &arguments);
        let found: Vec<&str> = line
            .captures_iter(&listed)
            .map(|c| c.get(1).or_else(|| c.get(2)).unwrap().as_str())
            .collect();
        assert_eq!(found.join(" "), wanted, "{listed}");
    }
}

/// Together with the cases of plans.
#[test]
fn there_are_at_least_120_cases_of_playbooks_and_plans() {
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plan");
    let distributions = fs::read_dir(plans).unwrap().map(|e| e.unwrap().path());
    let plans: usize = distributions
        .filter(|d| d.is_dir())
        .map(|d| {
            let files = fs::read_dir(d).unwrap().map(|e| e.unwrap().path());
            files
                .filter(|f| f.extension().is_some_and(|e| e == "yml"))
                .count()
        })
        .sum();
    assert!(plans + cases().len() >= 120, "{plans} plans");
}

#[test]
fn batches_are_those_of_ansible() {
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    for (path, case) in cases() {
        let ours = case.outcome();
        // Ansible knows neither our words nor what we refuse; where a run begins is no question of batches.
        if ours.error.is_some() || case.start_at.is_some() {
            continue;
        }
        let plays = case
            .books()
            .iter()
            .flat_map(ansible_oracle::plays_of)
            .collect::<Vec<_>>();
        assert_eq!(plays.len(), ours.plays.len());
        for (play, ours) in plays.into_iter().zip(ours.plays) {
            if play["order"] == "shuffle" {
                continue;
            }
            requests.push(serde_json::json!([case.inventory(), case.limit, play]));
            expected.push((path.clone(), ours.name.clone(), ours.batches));
        }
    }
    assert!(expected.len() > 15, "only {} plays", expected.len());
    let theirs = ansible_oracle::batches(&serde_json::json!(requests));
    for ((path, name, ours), theirs) in expected.iter().zip(theirs) {
        let theirs: Vec<String> = theirs.iter().map(|hosts| hosts.join(" ")).collect();
        assert_eq!(different(ours, &theirs, path, name), None);
    }
}
