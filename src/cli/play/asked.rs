//! What a run of playbooks is asked for: kept with its record, so that `--retry-failed` does what the run was to do, and no more.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::globals::Globals;
use super::super::setup::World;
use super::{COMMAND, PlayArgs};
use crate::error::Error;
use crate::ledger::RunRecord;
use crate::names::printable;

/// Playbooks, and what narrows what is done with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// Absolute, in order.
    pub(super) playbooks: Vec<PathBuf>,
    /// `--tags`.
    pub(super) tags: Vec<String>,
    /// `--skip-tags`.
    pub(super) skip_tags: Vec<String>,
    /// `--start-at-task`.
    pub(super) start_at_task: Option<String>,
    /// `--step`: what was left out was said by answers, so it is asked again.
    pub(super) step: bool,
    limit: Option<String>,
    /// The limit came from the environment: reports are not narrowed by that.
    limit_from_environment: bool,
    admins: Option<String>,
    /// The same of the admins.
    admins_from_environment: bool,
}

impl Asked {
    /// What the command line asks for.
    pub(super) fn by(args: &PlayArgs, globals: &Globals, world: &World) -> Self {
        Self {
            playbooks: args.playbooks.iter().map(|p| world.cwd.join(p)).collect(),
            tags: args.tags.clone(),
            skip_tags: args.skip_tags.clone(),
            start_at_task: args.start_at_task.clone(),
            step: args.step,
            limit: globals.limit.clone(),
            limit_from_environment: globals.limit_from_environment,
            admins: globals.admins.clone(),
            admins_from_environment: globals.admins_from_environment,
        }
    }

    /// The same for a retry: what narrowed the earlier run narrows it too. Where that run was not narrowed, it may be now; the
    /// hosts are those that the run has left, whatever the limit.
    ///
    /// # Errors
    /// Where it is to be narrowed in another way, and where nobody knows how the run was.
    pub(super) fn again(self, run: &RunRecord) -> Result<Self, Error> {
        let Some(text) = &run.request else {
            return self.of_its_own(run);
        };
        let before: Self = serde_json::from_str(text).map_err(|e| {
            Error::failed(format!("cannot read what run {} was asked for", run.id)).caused_by(e)
        })?;
        let list = |words: &[String]| (!words.is_empty()).then(|| words.join(","));
        for (flag, was, is) in [
            ("--tags", list(&before.tags), list(&self.tags)),
            (
                "--skip-tags",
                list(&before.skip_tags),
                list(&self.skip_tags),
            ),
            (
                "--start-at-task",
                before.start_at_task.clone(),
                self.start_at_task.clone(),
            ),
            ("--admins", before.admins.clone(), self.admins.clone()),
        ] {
            if let (Some(was), Some(is)) = (was, is)
                && was != is
            {
                return Err(Error::usage(format!(
                    "run {} had {flag} {}, and its retry is given {flag} {}",
                    run.id,
                    printable(&was, 60),
                    printable(&is, 60)
                ))
                .hinted(format!(
                    "leave {flag} and its variable away: a retry does what the run was to do; for anything else name hosts by --limit, not by --retry-failed"
                )));
            }
        }
        let or = |mine: Vec<String>, its: Vec<String>| if mine.is_empty() { its } else { mine };
        Ok(Self {
            playbooks: if self.playbooks.is_empty() {
                before.playbooks
            } else {
                self.playbooks
            },
            tags: or(self.tags, before.tags),
            skip_tags: or(self.skip_tags, before.skip_tags),
            start_at_task: self.start_at_task.or(before.start_at_task),
            step: self.step || before.step,
            limit_from_environment: match &self.limit {
                Some(_) => self.limit_from_environment,
                None => before.limit_from_environment,
            },
            limit: self.limit.or(before.limit),
            admins_from_environment: match &self.admins {
                Some(_) => self.admins_from_environment,
                None => before.admins_from_environment,
            },
            admins: self.admins.or(before.admins),
        })
    }

    /// Of a run that has kept nothing only the hosts are taken.
    fn of_its_own(self, run: &RunRecord) -> Result<Self, Error> {
        if !self.playbooks.is_empty() {
            return Ok(self);
        }
        if run.command.starts_with(COMMAND) {
            return Err(Error::failed(format!(
                "the record of run {} does not say how the run was narrowed: an earlier version wrote it",
                run.id
            ))
            .hinted("name its playbooks, and the tags, tasks and admins that it was given"));
        }
        Err(Error::failed(format!(
            "run {} was no playbook, but `{}`",
            run.id, run.command
        ))
        .hinted("name the playbook that is to be run on the hosts that it left undone"))
    }

    /// Returns the flags of every command with what narrows this run.
    pub(super) fn narrow(&self, globals: &Globals) -> Globals {
        Globals {
            limit: self.limit.clone(),
            limit_from_environment: self.limit_from_environment,
            admins: self.admins.clone(),
            admins_from_environment: self.admins_from_environment,
            ..globals.clone()
        }
    }

    /// Returns it as the run's record keeps it.
    ///
    /// # Errors
    /// A path that is not UTF-8.
    pub(super) fn text(&self) -> Result<String, Error> {
        serde_json::to_string(self)
            .map_err(|e| Error::failed("cannot keep what the run is asked for").caused_by(e))
    }
}

/// A playbook's path as it is shown: relative where it is below the working directory.
pub(super) fn shown<'p>(path: &'p Path, world: &World) -> Cow<'p, str> {
    path.strip_prefix(&world.cwd)
        .unwrap_or(path)
        .to_string_lossy()
}
