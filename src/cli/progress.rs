//! What one sees while hosts are being worked on: on standard error, one bar for the run, or plain lines.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::globals::Globals;
use crate::names::HostName;
use crate::playbook::engine::Progress;
use crate::playbook::outcome::{HostReport, Status};

/// How many hosts are named as being worked on.
const NAMED: usize = 3;
/// Where there is no terminal a long play says so often how far it is.
const EVERY: Duration = Duration::from_secs(15);

/// Which part of a run some hosts are.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// Such as `batch 2 of 3`; empty where nothing is said without a terminal.
    pub label: String,
    /// Hosts of the run that were done before.
    pub before: usize,
    /// Hosts of the whole run, where that is known.
    pub all: usize,
}

/// Progress of a run.
#[derive(Debug)]
pub struct Bar {
    bar: Option<ProgressBar>,
    verbose: bool,
    part: Part,
    /// When the run began.
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    active: BTreeSet<HostName>,
    failed: usize,
    told: Instant,
}

impl Bar {
    /// A bar on a terminal; elsewhere a line now and then, or with `-v` one for each host.
    pub fn new(hosts: usize, part: &Part, started: Instant, globals: &Globals) -> Self {
        let mut part = part.clone();
        part.all = part.all.max(part.before + hosts);
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && part.all > 1 && globals.verbose == 0).then(|| {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} hosts  {msg}");
            ProgressBar::new(part.all as u64)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
                .with_position(part.before as u64)
        });
        Self {
            bar,
            verbose: globals.verbose > 0,
            part,
            started,
            state: Mutex::new(State {
                active: BTreeSet::new(),
                failed: 0,
                told: Instant::now(),
            }),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if let Some(bar) = &self.bar {
            let done = usize::try_from(bar.position()).unwrap_or(usize::MAX);
            let message = message(&self.part, &state, done, self.started.elapsed());
            bar.set_message(message);
        }
    }
}

/// Such as `batch 2 of 3  1m05s, 40s left  2 failed  web1, web2 and 18 more`.
fn message(part: &Part, state: &State, done: usize, elapsed: Duration) -> String {
    let mut words = Vec::new();
    if !part.label.is_empty() {
        words.push(part.label.clone());
    }
    let left = left(elapsed, done, part.all)
        .map_or_else(String::new, |left| format!(", {} left", short(left)));
    words.push(format!("{}{left}", short(elapsed)));
    if state.failed > 0 {
        words.push(format!("{} failed or away", state.failed));
    }
    let mut names: Vec<&str> = state.active.iter().map(HostName::as_str).collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let names = names.join(", ");
    match more {
        0 if names.is_empty() => {}
        0 => words.push(names),
        more => words.push(format!("{names} and {more} more")),
    }
    words.join("  ")
}

/// What is left at the pace so far, where there is one.
fn left(elapsed: Duration, done: usize, all: usize) -> Option<Duration> {
    let done = u32::try_from(done).ok().filter(|n| *n > 0)?;
    let left = u32::try_from(all).ok()?.checked_sub(done)?;
    (left > 0).then(|| elapsed / done * left)
}

/// Such as `40s` or `1m05s`.
fn short(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds:02}s"),
    }
}

impl Progress for Bar {
    fn begun(&self, host: &HostName) {
        self.change(|state| {
            state.active.insert(host.clone());
        });
    }

    fn done(&self, report: &HostReport, done: usize, all: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        let bad = matches!(report.status, Status::Failed(_) | Status::Unreachable(_));
        self.change(|state| {
            state.active.remove(&report.host);
            state.failed += usize::from(bad);
        });
        if self.bar.is_some() {
            return;
        }
        if self.verbose {
            let what = match &report.status {
                Status::Ok => format!("done, {} changes", report.changes.len()),
                Status::Failed(why) => format!("failed: {why}"),
                Status::Unreachable(why) => format!("unreachable: {why}"),
                Status::Skipped(_) => "not begun".to_owned(),
            };
            eprintln!("[{done}/{all}] {}: {what}", report.host);
        } else if !self.part.label.is_empty() {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.told.elapsed() >= EVERY {
                state.told = Instant::now();
                let done = self.part.before + done;
                let message = message(&self.part, &state, done, self.started.elapsed());
                eprintln!("{done}/{} hosts  {message}", self.part.all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_the_run_is_and_what_is_left() {
        let part = Part {
            label: "batch 2 of 3".into(),
            before: 10,
            all: 40,
        };
        let mut state = State {
            active: ["web1", "web2", "web3", "web4"]
                .map(|h| h.parse().unwrap())
                .into(),
            failed: 0,
            told: Instant::now(),
        };
        assert_eq!(
            message(&part, &state, 30, Duration::from_secs(90)),
            "batch 2 of 3  1m30s, 30s left  web1, web2, web3 and 1 more"
        );
        state.active.clear();
        state.failed = 2;
        assert_eq!(
            message(&Part::default(), &state, 0, Duration::from_secs(5)),
            "5s  2 failed or away"
        );
        assert_eq!(left(Duration::from_secs(5), 2, 2), None);
        assert_eq!(left(Duration::from_secs(5), 3, 2), None);
    }
}
