//! `--profile`: where a run's time went.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::names::HostName;
use crate::playbook::outcome::Outcome;
use crate::playbook::times::Phase;

/// How long the parts of a run took: batches, and tasks that are done by themselves.
#[derive(Debug, Default)]
pub(super) struct Profile {
    parts: Vec<(String, Duration)>,
}

/// What all hosts together spent in a phase.
#[derive(Debug, Default)]
struct Spent<'o> {
    sum: Duration,
    longest: Option<(Duration, &'o HostName)>,
}

impl Profile {
    /// Notes how long a part took.
    pub(super) fn note(&mut self, part: String, since: Instant) {
        self.parts.push((part, since.elapsed()));
    }

    /// The same for people.
    pub(super) fn text(&self, outcome: &Outcome) -> String {
        let mut text = String::from("\nTIME\n");
        // Writing to a string cannot fail.
        for (part, time) in &self.parts {
            _ = writeln!(text, "{:>8.2} s  {part}", time.as_secs_f64());
        }
        let (phases, all) = phases(outcome);
        if !phases.is_empty() {
            _ = writeln!(text, "\nPHASE     ALL HOSTS   SHARE   LONGEST");
        }
        for (phase, spent) in phases {
            let longest = spent.longest.map_or_else(String::new, |(time, host)| {
                format!("{:.2} s ({host})", time.as_secs_f64())
            });
            _ = writeln!(
                text,
                "{:<8} {:>9.2} s  {:>4.0} %   {longest}",
                phase.as_str(),
                spent.sum.as_secs_f64(),
                share(spent.sum, all)
            );
        }
        text
    }

    /// The same as JSON: seconds.
    pub(super) fn json(&self, outcome: &Outcome) -> Value {
        let (phases, all) = phases(outcome);
        let parts = self.parts.iter();
        let parts = parts.map(|(part, time)| json!({"part": part, "seconds": time.as_secs_f64()}));
        let phases = phases.into_iter().map(|(phase, spent)| {
            json!({
                "phase": phase.as_str(),
                "seconds": spent.sum.as_secs_f64(),
                "share": share(spent.sum, all) / 100.0,
                "longest": spent.longest.map(|(time, host)| json!({"host": host, "seconds": time.as_secs_f64()})),
            })
        });
        json!({"parts": parts.collect::<Vec<_>>(), "phases": phases.collect::<Vec<_>>()})
    }
}

fn share(part: Duration, all: Duration) -> f64 {
    if all.is_zero() {
        return 0.0;
    }
    part.as_secs_f64() / all.as_secs_f64() * 100.0
}

fn phases(outcome: &Outcome) -> (BTreeMap<Phase, Spent<'_>>, Duration) {
    let mut phases: BTreeMap<Phase, Spent<'_>> = BTreeMap::new();
    let mut all = Duration::ZERO;
    for (host, report) in &outcome.hosts {
        for (phase, time) in report.times.iter() {
            let spent = phases.entry(phase).or_default();
            spent.sum += time;
            all += time;
            spent.longest = spent.longest.max(Some((time, host)));
        }
    }
    (phases, all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::outcome::{HostReport, Status};

    #[test]
    fn shares_are_of_what_all_hosts_spent() {
        let mut outcome = Outcome::default();
        for name in ["a", "b"] {
            let host: HostName = name.parse().unwrap();
            let mut report = HostReport::new(host.clone(), Status::Ok);
            let ago = |s| Instant::now().checked_sub(Duration::from_secs(s)).unwrap();
            report.times.add(Phase::Connect, ago(1));
            report
                .times
                .add(Phase::Prove, ago(if name == "a" { 5 } else { 1 }));
            outcome.hosts.insert(host, report);
        }
        let mut profile = Profile::default();
        profile.note("play x".to_owned(), Instant::now());
        let text = profile.text(&outcome);
        assert!(
            text.contains("connect       2.00 s    25 %   1.00 s"),
            "{text}"
        );
        assert!(
            text.contains("prove         6.00 s    75 %   5.00 s (a)"),
            "{text}"
        );
        let json = profile.json(&outcome);
        assert_eq!(json["phases"][1]["longest"]["host"], "a");
        assert_eq!(json["parts"][0]["part"], "play x");
    }
}
