//! One play after the other, batch by batch.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

use super::super::globals::Output;
use super::super::journal::{Turn, followed};
use super::super::leavers::Leavers;
use super::super::profile::Profile;
use super::super::progress::Part;
use super::super::run::{Run, Wanted, admins_within, names};
use super::super::{show, sync, verify};
use super::chosen::hosts_of;
use super::tasks::{self, Ends};
use super::write;
use crate::error::Error;
use crate::ledger::Stage;
use crate::names::{AdminName, HostName};
use crate::playbook::conditions::Conditions;
use crate::playbook::limits::Tally;
use crate::playbook::outcome::{HostReport, Outcome, Skip, Status};
use crate::playbook::schema::{Action, Play, Task};
use crate::playbook::tasks::SyncTask;

/// Runs plays, and keeps what came of them.
#[derive(Debug)]
pub(super) struct Player<'r, 'a> {
    run: &'r mut Run<'a>,
    /// Only these hosts.
    only: Option<BTreeSet<HostName>>,
    /// Hosts that failed, were not reached or not begun: they are left out of what follows, as Ansible does.
    gone: BTreeSet<HostName>,
    /// What came of the hosts of the play before.
    pub(super) last: BTreeMap<HostName, HostReport>,
    /// What came of all plays.
    pub(super) all: Outcome,
    /// The plays as JSON.
    pub(super) documents: Vec<show::ShownPlay>,
    /// What decides on the exit code besides.
    pub(super) ends: Ends,
    /// How long what took.
    pub(super) profile: Profile,
    /// The hosts of each play, in order.
    plays: Vec<Vec<HostName>>,
    /// How many hosts all plays have, each counted in each play, and how many of them had their turn.
    hosts: (usize, usize),
}

impl<'r, 'a> Player<'r, 'a> {
    pub(super) fn new(run: &'r mut Run<'a>, only: Option<BTreeSet<HostName>>) -> Self {
        Self {
            run,
            only,
            gone: BTreeSet::new(),
            last: BTreeMap::new(),
            all: Outcome::default(),
            documents: Vec::new(),
            ends: Ends::default(),
            profile: Profile::default(),
            plays: Vec::new(),
            hosts: (0, 0),
        }
    }

    /// Chooses the hosts of all plays, and notes in the journal that they wait: whatever ends the run, those whose turn did not
    /// come are gone on with.
    ///
    /// # Errors
    /// A pattern that matches nothing, and when the ledger cannot be written.
    pub(super) async fn expect(&mut self, plays: &[&Play]) -> Result<(), Error> {
        let (setup, globals) = (self.run.setup, self.run.globals);
        for (number, play) in (1..).zip(plays) {
            let mut hosts = names(&hosts_of(play, setup, globals, self.only.as_ref())?);
            play.order
                .arrange(&mut hosts, self.run.world.entropy.as_ref())
                .map_err(|e| Error::failed("cannot shuffle hosts").caused_by(e))?;
            self.wait(number, play, &play.serial.batches(hosts.clone()))
                .await?;
            self.hosts.0 += hosts.len();
            self.plays.push(hosts);
        }
        Ok(())
    }

    async fn wait(&self, number: i64, play: &Play, batches: &[Vec<HostName>]) -> Result<(), Error> {
        for (batch, hosts) in (1..).zip(batches) {
            let stage = Stage {
                play: number,
                batch,
                more: true,
            };
            let turn = (stage, play.name.clone());
            self.run.journal_waiting(&turn, hosts).await?;
        }
        Ok(())
    }

    /// Runs a play on its hosts. A break ends the run: it was interrupted, or too much went wrong.
    pub(super) async fn play(
        &mut self,
        number: i64,
        play: &Play,
        out: &mut (dyn Write + Send),
    ) -> Result<ControlFlow<()>, Error> {
        let (setup, globals) = (self.run.setup, self.run.globals);
        let chosen = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let mut hosts = self.plays.get(chosen).cloned().unwrap_or_default();
        let all = hosts.len();
        hosts.retain(|h| !self.gone.contains(h));
        let admins = admins_within(setup, play.admins.as_deref(), globals.admins.as_deref())?;
        let mut batches = play.serial.batches(hosts.clone());
        if batches.is_empty() {
            // What is done once, not host by host, is done all the same.
            batches.push(Vec::new());
        }
        if hosts.len() < all {
            self.wait(number, play, &batches).await?;
        }
        let count = batches.len();
        let (mut whole, mut before, mut visited) = (Outcome::default(), Vec::new(), Vec::new());
        if admins.as_ref().is_some_and(BTreeSet::is_empty) {
            let note = format!(
                "{}: none of its admins is among those of --admins",
                play.name
            );
            whole.notes.push(note.clone());
            tracing::warn!("{note}");
        }
        let mut told = show::Told::new();
        let collects = has(play, is_collect);
        for (batch, hosts_of_batch) in (1..).zip(batches) {
            let stage = Stage {
                play: number,
                batch: i64::try_from(batch).unwrap_or(i64::MAX),
                more: collects || has(play, is_by_itself),
            };
            let stage = (stage, play.name.clone());
            let turn = (before.as_slice(), hosts_of_batch.as_slice());
            let label = if count > 1 {
                format!("batch {batch} of {count}")
            } else {
                play.name.clone()
            };
            let part = Part {
                label,
                before: self.hosts.1,
                all: self.hosts.0,
            };
            let since = Instant::now();
            let (mut outcome, cut_short) = self
                .batch(&stage, play, admins.as_ref(), turn, part)
                .await?;
            self.hosts.1 += hosts_of_batch.len();
            let part = match count {
                1 => play.name.clone(),
                _ => format!("{}: batch {batch} of {count}", play.name),
            };
            self.profile.note(part, since);
            let strict = |t: &Task| matches!(&t.action, Action::Preflight(p) if p.strict);
            self.ends.findings |= play.tasks.iter().any(strict) && outcome.has_warning();
            let tally = Tally::of(hosts_of_batch.len(), outcome.hosts.values());
            if outcome.stopped.is_none() && !outcome.interrupted {
                outcome.stopped = play.limits.stop(tally);
            }
            for report in outcome.hosts.values() {
                let gone = match &report.status {
                    Status::Failed(_) | Status::Unreachable(_) => true,
                    Status::Skipped(skip) => skip.is_left(),
                    Status::Ok => false,
                };
                if gone {
                    self.gone.insert(report.host.clone());
                }
            }
            if !cut_short {
                visited.extend_from_slice(&hosts_of_batch);
            }
            before.extend(hosts_of_batch);
            let ends = batch == count || outcome.stopped.is_some() || outcome.interrupted;
            if ends {
                // Those whose turn did not come are not begun for this either.
                let left: Vec<HostName> = before
                    .iter()
                    .filter(|h| !self.gone.contains(*h))
                    .cloned()
                    .collect();
                let turn = (&stage, &mut self.ends, &mut self.profile);
                told = tasks::after(self.run, play, &left, &mut outcome, turn, out).await;
            }
            if globals.output == Output::Text {
                let place = (count > 1).then_some((batch, count));
                show::play(play, place, &outcome, ends.then_some(&told), globals, out)?;
            }
            show::tell(&outcome);
            whole.merge(outcome);
            if ends {
                // Of a batch that was cut short other tasks are left as well.
                if collects && !whole.interrupted && !self.ends.uncollected {
                    let done = followed(&stage, false);
                    self.run.journal_ended(&done, &visited, &whole).await?;
                }
                break;
            }
        }
        let mut left = 0;
        for host in hosts.iter().skip(before.len()) {
            left += 1;
            let skip = if whole.interrupted {
                Skip::Interrupted
            } else {
                Skip::Stopped
            };
            let report = HostReport::new(host.clone(), Status::Skipped(skip));
            whole.hosts.insert(host.clone(), report);
        }
        let stopped = whole.stopped.clone();
        if let (Output::Text, Some(why)) = (globals.output, &stopped) {
            write(out, &show::stopped(why, left, globals.check))?;
        }
        if globals.output == Output::Json {
            self.documents.push(show::play_json(play, &whole, &told));
        }
        let ends = whole.interrupted || stopped.is_some();
        self.last.clone_from(&whole.hosts);
        self.all.merge(whole);
        Ok(if ends {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }

    /// Brings a batch to what the tasks want. `before` are the hosts of earlier batches. Returns also whether it was cut short:
    /// tasks of its own were left out.
    async fn batch(
        &mut self,
        turn: &Turn,
        play: &Play,
        admins: Option<&BTreeSet<AdminName>>,
        (before, hosts): (&[HostName], &[HostName]),
        part: Part,
    ) -> Result<(Outcome, bool), Error> {
        let mut outcome = Outcome::default();
        // What only rotates, collects or reports brings hosts to nothing: like the commands, it contacts no host for that.
        if play.tasks.iter().any(|t| t.action.converges()) {
            let has = |is| has(play, is);
            let revokes = has(|a| matches!(a, Action::Revoke | Action::Sync(_)));
            let syncs = has(|a| matches!(a, Action::Sync(_)));
            let no_new = has(|a| matches!(a, Action::Sync(SyncTask { no_new: true })));
            let wanted = Wanted {
                hosts: hosts.to_vec(),
                admins: admins.cloned(),
                conditions: Some(Conditions::of(play)),
                limits: play.limits,
                leavers: if revokes {
                    Leavers::All
                } else {
                    Leavers::Nobody
                },
                evidence: syncs,
                prepared_only: no_new,
                // `pam_totp` says that the text is wanted.
                keeps_rollbacks: syncs && !has(|a| matches!(a, Action::PamTotp(_))),
                part,
                stage: turn.clone(),
                batch: hosts.len(),
                ..Wanted::default()
            };
            if syncs {
                let ended = sync::settle_bypasses(self.run, hosts).await?;
                outcome = self.run.converge_and_confirm(&wanted).await?;
                outcome.notes.extend(ended);
            } else {
                outcome = self.run.converge(&wanted).await?;
            }
            self.profile.visited(play, &outcome);
        }
        let mut cut_short = false;
        for task in &play.tasks {
            if !is_by_itself(&task.action) {
                continue;
            }
            let well: Vec<HostName> = hosts
                .iter()
                .filter(|h| {
                    outcome
                        .hosts
                        .get(*h)
                        .is_none_or(|r| matches!(r.status, Status::Ok | Status::Skipped(_)))
                })
                .cloned()
                .collect();
            let chosen = tasks::begin(self.run, play, task, &well, turn).await?;
            if outcome.interrupted || outcome.stopped.is_some() {
                cut_short = true;
                continue;
            }
            let since = Instant::now();
            match &task.action {
                Action::Rotate(which) => {
                    let hosts = (before, chosen.as_slice());
                    let rotated = tasks::rotate(self.run, admins, hosts, turn, *which).await?;
                    self.ends.changes |= rotated.would;
                    self.ends.failed |= rotated.refused;
                    outcome.merge(rotated.outcome);
                }
                Action::Verify(task) if !self.run.globals.check => {
                    outcome.merge(verify::by_task(self.run, &chosen, task.every_host).await?);
                }
                _ => outcome.notes.push(format!(
                    "{}: logs in, so it is not done with --check",
                    task.name
                )),
            }
            self.run.journal_ended(turn, &chosen, &outcome).await?;
            self.profile.note(task.name.clone(), since);
        }
        if !cut_short {
            let (stage, _) = turn;
            // Of those that were worked on it is noted already, where nothing is to come.
            let rest = hosts.iter().filter(|h| {
                let report = outcome.hosts.get(*h);
                stage.more || report.is_none_or(|r| r.status != Status::Ok)
            });
            let rest: Vec<HostName> = rest.cloned().collect();
            let done = followed(turn, has(play, is_collect));
            self.run.journal_ended(&done, &rest, &outcome).await?;
        }
        Ok((outcome, cut_short))
    }
}

fn has(play: &Play, is: fn(&Action) -> bool) -> bool {
    play.tasks.iter().any(|task| is(&task.action))
}

/// Whether a task visits the hosts of a batch again, once they are as they are to be.
const fn is_by_itself(action: &Action) -> bool {
    matches!(action, Action::Rotate(_) | Action::Verify(_))
}

/// Whether a task is done once, after the last batch, and on its hosts.
const fn is_collect(action: &Action) -> bool {
    matches!(action, Action::Collect(_))
}
