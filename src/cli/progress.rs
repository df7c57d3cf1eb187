//! What one sees while hosts are being worked on: on standard error, one bar for the run, or plain lines.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressStyle};

use super::globals::Globals;
use crate::playbook::engine::Progress;
use crate::playbook::outcome::{HostReport, Status};

/// Progress of a run.
#[derive(Debug)]
pub struct Bar {
    bar: Option<ProgressBar>,
    lines: bool,
}

impl Bar {
    /// A bar on a terminal; lines with `-v` elsewhere.
    pub fn new(hosts: usize, globals: &Globals) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && hosts > 1 && globals.verbose == 0).then(|| {
            let style =
                ProgressStyle::with_template("{bar:30} {pos}/{len} hosts  {elapsed}  {msg}");
            ProgressBar::new(hosts as u64)
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self {
            bar,
            lines: globals.verbose > 0,
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bar {
    fn done(&self, report: &HostReport, done: usize, all: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(report.host.to_string());
        } else if self.lines {
            let what = match &report.status {
                Status::Ok => format!("done, {} changes", report.changes.len()),
                Status::Failed(why) => format!("failed: {why}"),
                Status::Unreachable(why) => format!("unreachable: {why}"),
                Status::Skipped => "not begun".to_owned(),
            };
            eprintln!("[{done}/{all}] {}: {what}", report.host);
        }
    }
}
