//! Reads what hosts have logged since the last time, and joins it into logins.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::activity::line::{self, Line};
use crate::activity::{Factor, Joiner, LoginEvent, Outcome};
use crate::clock::Timestamp;
use crate::fleet::session::Session;
use crate::host::log::{LogPlace, Logged, RawLine, logged};
use crate::host::request::Request;
use crate::ledger::{Collected, GenerationRecord, LogCursor, NewLogin, TokenRecord};
use crate::names::{HostName, Login};
use crate::playbook::engine::Shared;
use crate::playbook::errand::{Errand, Stop};
use crate::token::params::CodeParams;

/// About how many bytes of lines a host sends at a time.
const AT_A_TIME: u32 = 1_000_000;
/// How often a host is asked in one run; the next run goes on from there.
const ROUNDS: usize = 30;
/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Collects.
#[derive(Debug, Default)]
pub struct Collect {
    /// Where to go on.
    pub cursors: BTreeMap<HostName, LogCursor>,
    /// Whose logins are kept, by host.
    pub logins: BTreeMap<HostName, BTreeSet<Login>>,
    /// How long a time step of their codes is.
    pub steps: BTreeMap<(HostName, Login), StepLengths>,
}

/// How long a time step is, in seconds: policies differ, and so may the two keys of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepLengths {
    /// Of codes of the key in slot `current`.
    pub current: u16,
    /// Of the one in `next`.
    pub next: u16,
}

impl StepLengths {
    /// Takes them from a token.
    pub fn of(token: &TokenRecord) -> Self {
        let length = |slot: &Option<GenerationRecord>| slot.as_ref().map(|g| g.params.period);
        let (current, next) = (length(&token.current), length(&token.next));
        let default = CodeParams::DEFAULT.period;
        Self {
            current: current.or(next).unwrap_or(default),
            next: next.or(current).unwrap_or(default),
        }
    }

    fn in_slot(self, slot: &str) -> i64 {
        let length = match slot {
            "next" => self.next,
            _ => self.current,
        };
        i64::from(length.max(1))
    }
}

impl Default for StepLengths {
    fn default() -> Self {
        let period = CodeParams::DEFAULT.period;
        Self {
            current: period,
            next: period,
        }
    }
}

/// What a host's log told.
#[derive(Debug)]
pub struct HostLog {
    /// For the ledger.
    pub collected: Collected,
    /// Which log it was; none where the host keeps none.
    pub log: Option<String>,
    /// There is more for the next run.
    pub more: bool,
}

/// Reading one host's log.
struct Reading {
    place: Option<LogPlace>,
    joiner: Joiner,
    last_at: Option<Timestamp>,
    /// Older lines were collected from another log of the host.
    not_before: Option<Timestamp>,
    events: Vec<LoginEvent>,
    strangers: u64,
    gap: Option<(Option<Timestamp>, Option<Timestamp>)>,
    used: Vec<(String, Vec<u64>)>,
}

impl Errand for Collect {
    type Done = HostLog;

    async fn run(
        &self,
        host: &HostName,
        session: &Session,
        shared: &Shared,
    ) -> Result<HostLog, Stop> {
        let mut reading = Reading::from(self.cursors.get(host));
        let (mut log, mut more) = (None, true);
        for _ in 0..ROUNDS {
            let request = Request::collect(reading.place.as_ref(), AT_A_TIME);
            let answer = session.exec(request, shared.limit(LIMIT)).await?;
            let part = logged(&answer)?;
            log.clone_from(&part.log);
            more = part.more;
            let again = reading.take(part, shared.clock.now());
            if shared.stopping() || !(more || again) {
                break;
            }
        }
        let keep = self.logins.get(host).cloned().unwrap_or_default();
        Ok(HostLog {
            collected: reading.finish(host.clone(), &keep, &self.steps),
            log,
            more,
        })
    }
}

impl Reading {
    fn from(cursor: Option<&LogCursor>) -> Self {
        Self {
            place: cursor.and_then(|c| serde_json::from_value(c.place.clone()).ok()),
            joiner: cursor
                .and_then(|c| serde_json::from_value(c.joining.clone()).ok())
                .unwrap_or_default(),
            last_at: cursor.and_then(|c| c.last_at),
            not_before: None,
            events: Vec::new(),
            strangers: 0,
            gap: None,
            used: Vec::new(),
        }
    }

    /// Takes an answer; returns whether the same has to be asked again.
    fn take(&mut self, part: Logged, now: Timestamp) -> bool {
        self.used = part.used;
        let by_journal = part.log.as_deref() == Some("journal");
        match &self.place {
            Some(LogPlace::File { .. }) if by_journal => self.not_before = self.last_at,
            Some(LogPlace::Journal { .. }) if part.log.is_some() && !by_journal => {
                self.not_before = self.last_at;
                self.place = None;
            }
            _ => {}
        }
        if let Some(first) = &part.gap {
            let until = line::from_text(first, String::new(), part.utc_offset, now);
            self.lost(until.map(|l| l.at));
        }
        if by_journal {
            let lines = part.parts.into_iter().flat_map(|(lines, _)| lines);
            return self.take_journal(lines);
        }
        for (lines, place) in part.parts {
            let LogPlace::File { first, .. } = &place else {
                continue;
            };
            let named = first.get(..16).unwrap_or(first).to_owned();
            for raw in lines {
                let RawLine::Text { offset, text } = raw else {
                    continue;
                };
                let at = format!("f:{named}:{offset}");
                if let Some(line) = line::from_text(&text, at, part.utc_offset, now) {
                    self.hear(&line);
                }
            }
            self.place = Some(place);
        }
        false
    }

    /// The journal is asked from the last entry on, which comes first once more: where it does not, it is gone.
    fn take_journal(&mut self, lines: impl Iterator<Item = RawLine>) -> bool {
        let mut awaited = match self.place.take() {
            Some(LogPlace::Journal { cursor }) => Some(cursor),
            _ => None,
        };
        let mut last = None;
        for raw in lines {
            let RawLine::Journal(entry) = raw else {
                continue;
            };
            let Some((cursor, line)) = line::from_journal(&entry) else {
                continue;
            };
            let anchor = awaited.take();
            let is_anchor = anchor
                .as_ref()
                .is_some_and(|a| line::is_same_entry(a, &cursor));
            if anchor.is_some() && !is_anchor {
                self.lost(line.as_ref().map(|l| l.at));
            }
            if let Some(line) = line.filter(|_| !is_anchor) {
                self.hear(&line);
            }
            last = Some(cursor);
        }
        self.place = last.map(|cursor| LogPlace::Journal { cursor });
        // Not even the last entry came: the journal is another one, so from its beginning.
        let again = awaited.is_some();
        if again {
            self.lost(None);
        }
        again
    }

    fn lost(&mut self, until: Option<Timestamp>) {
        self.gap = Some((self.last_at, until));
        self.strangers += std::mem::take(&mut self.joiner).strangers;
    }

    fn hear(&mut self, line: &Line) {
        if self.not_before.is_some_and(|at| line.at <= at) {
            return;
        }
        self.last_at = self.last_at.max(Some(line.at));
        self.events.extend(self.joiner.take(line));
    }

    fn finish(
        mut self,
        host: HostName,
        keep: &BTreeSet<Login>,
        lengths: &BTreeMap<(HostName, Login), StepLengths>,
    ) -> Collected {
        self.strangers += self.joiner.strangers;
        let (mine, others): (Vec<LoginEvent>, Vec<LoginEvent>) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|e| keep.contains(&e.login));
        let length_of = |e: &LoginEvent| {
            let known = lengths.get(&(host.clone(), e.login.clone()));
            known.copied().unwrap_or_default()
        };
        let steps: Vec<Option<u64>> = mine
            .iter()
            .map(|e| self.step_of(e, length_of(e), &mine))
            .collect();
        let logins = mine.into_iter().zip(steps).map(|(e, step)| stored(e, step));
        let cursor = self.place.as_ref().and_then(|place| {
            Some(LogCursor {
                place: serde_json::to_value(place).ok()?,
                joining: serde_json::to_value(&self.joiner).ok()?,
                last_at: self.last_at,
            })
        });
        Collected {
            logins: logins.collect(),
            host,
            cursor,
            gap: self.gap,
            strangers: self.strangers,
            others: u64::try_from(others.len()).unwrap_or(u64::MAX),
        }
    }

    /// The time step of an accepted code: the host keeps the used ones for a while. Only where one alone can be meant.
    fn step_of(&self, event: &LoginEvent, lengths: StepLengths, all: &[LoginEvent]) -> Option<u64> {
        if !event.factors.contains(&Factor::Code) {
            return None;
        }
        let files = self.used.iter().filter_map(|(file, steps)| {
            let (slot, login) = file.rsplit_once('/')?;
            (login == event.login.as_str()).then(|| (lengths.in_slot(slot), steps))
        });
        let at = event.at.as_second();
        let near = |step: u64, length: i64| {
            i64::try_from(step).is_ok_and(|step| (step - at.div_euclid(length)).abs() <= 1)
        };
        let mut meant = files.flat_map(|(length, steps)| {
            let near = steps.iter().filter(move |s| near(**s, length));
            near.map(move |step| (*step, length))
        });
        let (step, length) = meant.next()?;
        if meant.next().is_some() {
            return None;
        }
        // The whole of what was read is looked through last: the host names a step for few of many logins.
        let coded = |e: &&LoginEvent| {
            e.outcome == Outcome::Accepted
                && e.login == event.login
                && e.factors.contains(&Factor::Code)
                && (e.at.as_second().div_euclid(length) - at.div_euclid(length)).abs() <= 2
        };
        (all.iter().filter(coded).count() == 1).then_some(step)
    }
}

fn stored(event: LoginEvent, step: Option<u64>) -> NewLogin {
    NewLogin {
        place: event.place,
        at: event.at,
        login: event.login,
        service: event.service,
        outcome: event.outcome.as_str().to_owned(),
        factors: event
            .factors
            .iter()
            .map(|f| f.as_str().to_owned())
            .collect(),
        address: event.from,
        port: event.port,
        origin: None,
        key: event.key,
        slot: event.slot,
        refused_before: event.refused_before,
        step,
        line: event.line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u32, text: &str) -> RawLine {
        RawLine::Journal(format!(
            r#"{{"__CURSOR":"s=a;i={number};b=2;m={number};t=4;x=1","__REALTIME_TIMESTAMP":"17954853201234{number:02}","_UID":"0","_PID":"7","SYSLOG_IDENTIFIER":"sshd","MESSAGE":"{text}"}}"#
        ))
    }

    fn answer(entries: Vec<RawLine>) -> Logged {
        let place = LogPlace::Journal {
            cursor: String::new(),
        };
        Logged {
            log: Some("journal".to_owned()),
            parts: vec![(entries, place)],
            ..Logged::default()
        }
    }

    const LOGIN: &str =
        "Accepted publickey for alice from 10.0.0.1 port 4000 ssh2: ED25519 SHA256:x";

    fn alice() -> BTreeSet<Login> {
        BTreeSet::from([Login::new("alice").unwrap()])
    }

    fn host() -> HostName {
        HostName::new("web1").unwrap()
    }

    #[test]
    fn the_journals_last_entry_comes_once_more_and_is_not_taken_again() {
        let now = Timestamp::default();
        let mut first = Reading::from(None);
        assert!(!first.take(answer(vec![entry(1, LOGIN)]), now));
        let collected = first.finish(host(), &alice(), &BTreeMap::new());
        assert_eq!((collected.logins.len(), &collected.gap), (1, &None));
        let mut second = Reading::from(collected.cursor.as_ref());
        assert!(!second.take(answer(vec![entry(1, LOGIN), entry(2, LOGIN)]), now));
        let collected = second.finish(host(), &alice(), &BTreeMap::new());
        assert_eq!((collected.logins.len(), &collected.gap), (1, &None));
        assert_eq!(collected.logins[0].place, "j:b=2;m=2;x=1");
    }

    /// A used step names a login's only where its length is that of the key's codes.
    #[test]
    fn the_step_of_a_code_is_as_long_as_its_policy_says() {
        let start = 1_795_485_300_i64;
        let event = |seconds: i64| LoginEvent {
            at: Timestamp::from_second(start + seconds).unwrap(),
            login: Login::new("alice").unwrap(),
            service: "sshd".to_owned(),
            outcome: Outcome::Accepted,
            factors: vec![Factor::Key, Factor::Code],
            from: None,
            port: None,
            key: None,
            slot: None,
            refused_before: 0,
            place: String::new(),
            line: String::new(),
        };
        let mut reading = Reading::from(None);
        let at = u64::try_from(start).unwrap();
        reading.used = vec![
            ("current/alice".to_owned(), vec![at / 15]),
            ("next/alice".to_owned(), vec![at / 300 + 50]),
        ];
        let step = |reading: &Reading, current, next, all: &[LoginEvent]| {
            reading.step_of(&all[0], StepLengths { current, next }, all)
        };
        assert_eq!(step(&reading, 15, 300, &[event(0)]), Some(at / 15));
        assert_eq!(step(&reading, 30, 300, &[event(0)]), None);
        // A second login near enough to have been the one of that step: two of 15 seconds, and none further off.
        assert_eq!(step(&reading, 15, 300, &[event(0), event(20)]), None);
        let far = [event(0), event(60)];
        assert_eq!(step(&reading, 15, 300, &far), Some(at / 15));
        reading.used[1].1 = vec![at / 300];
        assert_eq!(step(&reading, 30, 300, &far[..1]), Some(at / 300));
        // Both files could be meant.
        assert_eq!(step(&reading, 15, 300, &far), None);
    }

    /// What was logged before the disk was there is written to it later, under another number.
    #[test]
    fn an_entry_that_journald_has_moved_is_still_the_same() {
        let now = Timestamp::default();
        let mut first = Reading::from(None);
        first.take(answer(vec![entry(1, LOGIN)]), now);
        let cursor = first.finish(host(), &alice(), &BTreeMap::new()).cursor;
        let moved = |number| match entry(number, LOGIN) {
            RawLine::Journal(text) => RawLine::Journal(text.replace("s=a;i=", "s=b;i=9")),
            text @ RawLine::Text { .. } => text,
        };
        let mut second = Reading::from(cursor.as_ref());
        assert!(!second.take(answer(vec![moved(1), moved(2)]), now));
        let collected = second.finish(host(), &alice(), &BTreeMap::new());
        assert_eq!((collected.logins.len(), collected.gap), (1, None));
    }

    #[test]
    fn an_entry_that_is_gone_is_a_gap() {
        let now = Timestamp::default();
        let mut first = Reading::from(None);
        first.take(answer(vec![entry(1, LOGIN)]), now);
        let cursor = first
            .finish(host(), &BTreeSet::new(), &BTreeMap::new())
            .cursor;
        let mut later = Reading::from(cursor.as_ref());
        assert!(!later.take(answer(vec![entry(5, LOGIN)]), now));
        let collected = later.finish(host(), &alice(), &BTreeMap::new());
        assert_eq!(collected.logins.len(), 1);
        let (after, until) = collected.gap.unwrap();
        assert!(after.is_some() && until > after);
        // Nothing at all: asked once more, from the beginning.
        let mut other = Reading::from(cursor.as_ref());
        assert!(other.take(answer(Vec::new()), now));
        assert!(!other.take(answer(Vec::new()), now));
        let collected = other.finish(host(), &alice(), &BTreeMap::new());
        assert!(collected.gap.is_some() && collected.cursor.is_none());
    }

    #[test]
    fn who_goes_over_from_text_to_the_journal_is_not_told_twice() {
        let now = "2026-11-24T13:00:00Z".parse().unwrap();
        let mut reading = Reading::from(None);
        reading.take(
            Logged {
                log: Some("/var/log/auth.log".to_owned()),
                parts: vec![(
                    vec![RawLine::Text {
                        offset: 0,
                        text: format!("2026-11-24T02:00:00Z h sshd[7]: {LOGIN}"),
                    }],
                    LogPlace::File {
                        first: "ab".to_owned(),
                        offset: 90,
                    },
                )],
                ..Logged::default()
            },
            now,
        );
        let collected = reading.finish(host(), &alice(), &BTreeMap::new());
        assert_eq!(collected.logins.len(), 1);
        let mut later = Reading::from(collected.cursor.as_ref());
        // 2026-11-24T01:55:20Z.
        later.take(answer(vec![entry(1, LOGIN)]), now);
        let collected = later.finish(host(), &alice(), &BTreeMap::new());
        assert_eq!((collected.logins.len(), collected.gap), (0, None));
    }
}
