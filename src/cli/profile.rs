//! `--profile`: where a run's time went.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::names::HostName;
use crate::playbook::outcome::Outcome;
use crate::playbook::schema::{Action, Play, Task};
use crate::playbook::times::Phase;

/// How long the parts of a run took: batches, and tasks that are done by themselves; and what hosts spent on the others.
#[derive(Debug, Default)]
pub(super) struct Profile {
    parts: Vec<(String, Duration)>,
    tasks: Vec<SpentOn>,
}

/// What all hosts together spent on a task that is done with others in one visit.
#[derive(Debug)]
struct SpentOn {
    play: String,
    task: String,
    time: Duration,
}

/// Returns the place of the task for which a phase is counted, among tasks that are done in one visit. A phase may serve several:
/// it counts for the first.
fn serves(phase: Phase, tasks: &[&Task]) -> usize {
    let first = |is: &dyn Fn(&Action) -> bool| tasks.iter().position(|t| is(&t.action));
    let issues = || first(&|a| matches!(a, Action::Enroll | Action::Sync(_)));
    let found = match phase {
        Phase::Connect | Phase::Read => None,
        Phase::Issue => issues(),
        Phase::Wait | Phase::Change | Phase::Prove | Phase::Confirm => {
            first(&|a| matches!(a, Action::PamTotp(_) | Action::Sync(_)))
                .or_else(issues)
                .or_else(|| first(&|a| matches!(a, Action::Revoke)))
        }
    };
    found.unwrap_or(0)
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

    /// Notes what the visits of hosts took in which a batch's tasks were done.
    pub(super) fn visited(&mut self, play: &Play, outcome: &Outcome) {
        let tasks: Vec<&Task> = play.tasks.iter().filter(|t| t.action.converges()).collect();
        let mut spent = vec![Duration::ZERO; tasks.len()];
        for report in outcome.hosts.values() {
            for (phase, time) in report.times.iter() {
                if let Some(sum) = spent.get_mut(serves(phase, &tasks)) {
                    *sum += time;
                }
            }
        }
        for (task, time) in tasks.iter().zip(spent) {
            let known = self.tasks.iter_mut();
            let mut known = known.filter(|s| s.play == play.name && s.task == task.name);
            match known.next() {
                Some(known) => known.time += time,
                None => self.tasks.push(SpentOn {
                    play: play.name.clone(),
                    task: task.name.clone(),
                    time,
                }),
            }
        }
    }

    /// The same for people.
    pub(super) fn text(&self, outcome: &Outcome) -> String {
        let mut text = String::from("\nTIME\n");
        // Writing to a string cannot fail.
        for (part, time) in &self.parts {
            _ = writeln!(text, "{:>8.2} s  {part}", time.as_secs_f64());
        }
        if !self.tasks.is_empty() {
            text.push_str("\n ALL HOSTS  TASK\n");
        }
        for SpentOn { play, task, time } in &self.tasks {
            _ = writeln!(text, "{:>8.2} s  {play}: {task}", time.as_secs_f64());
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
        let tasks = self.tasks.iter();
        let tasks =
            tasks.map(|s| json!({"play": s.play, "task": s.task, "seconds": s.time.as_secs_f64()}));
        json!({"parts": parts.collect::<Vec<_>>(), "tasks": tasks.collect::<Vec<_>>(), "phases": phases.collect::<Vec<_>>()})
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
    use crate::playbook::schema::parse;
    use crate::text::SourceFile;

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
        let book = "
- name: x
  hosts: all
  tasks: [{preflight: , name: look}, {enroll: , name: keys}, {pam_totp: , name: host}, {revoke: }, {report: }]
";
        let book = SourceFile::new("p.yml", book);
        let play = parse(&book).unwrap().remove(0);
        // Batches of one play, and tasks on which nothing was spent.
        profile.visited(&play, &outcome);
        profile.visited(&play, &outcome);
        let text = profile.text(&outcome);
        let tasks: Vec<&str> = text.lines().filter(|l| l.contains("s  x: ")).collect();
        assert_eq!(
            tasks,
            [
                "    4.00 s  x: look",
                "    0.00 s  x: keys",
                "   12.00 s  x: host",
                "    0.00 s  x: revoke"
            ]
        );
        let json = profile.json(&outcome);
        assert_eq!(json["tasks"][2]["task"], "host");
        assert_eq!(json["phases"][1]["longest"]["host"], "a");
        assert_eq!(json["parts"][0]["part"], "play x");
    }
}
