//! Logs as hosts write them, and the logins that are read out of them: `tests/activity/NAME.log` and `NAME.yml`.
//!
//! The logs named `openssh-*` are real ones of the lab. `FLEETOTP_UPDATE_DATA=1` writes what is read, for review.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fleetotp::activity::line::{self, Line};
use fleetotp::activity::{Joiner, LoginEvent};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/activity");

fn lines(path: &Path) -> Vec<Line> {
    let now = "2026-11-25T00:00:00Z".parse().unwrap();
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .enumerate()
        .filter(|(_, raw)| !raw.starts_with('#'))
        .map(|(number, raw)| {
            line::from_text(raw, format!("line {}", number + 1), 0, now)
                .unwrap_or_else(|| panic!("{}: no line: {raw}", path.display()))
        })
        .collect()
}

fn shown(event: &LoginEvent) -> String {
    let factors: Vec<&str> = event
        .factors
        .iter()
        .map(fleetotp::activity::Factor::as_str)
        .collect();
    let mut text = format!(
        "{}: {} {} {} [{}]",
        event.place,
        event.service,
        event.login,
        event.outcome.as_str(),
        factors.join("+")
    );
    if let Some(from) = &event.from {
        _ = write!(text, " from {from}");
    }
    if let Some(port) = event.port {
        _ = write!(text, " port {port}");
    }
    if let Some(key) = &event.key {
        _ = write!(text, " {key}");
    }
    if let Some(slot) = event.slot {
        _ = write!(text, " in {}", slot.as_str());
    }
    if event.refused_before > 0 {
        _ = write!(text, " after {} refused", event.refused_before);
    }
    text
}

fn document(joiner: &Joiner, events: &[LoginEvent]) -> String {
    let mut text = format!("strangers: {}\nlogins:\n", joiner.strangers);
    for event in events {
        _ = writeln!(text, "- '{}'", shown(event));
    }
    text
}

fn logs() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(DATA)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    all.sort();
    assert!(all.len() >= 5, "{all:?}");
    all
}

#[test]
fn logs_are_read_as_their_files_say() {
    for path in logs() {
        let (mut joiner, mut events) = (Joiner::default(), Vec::new());
        for line in lines(&path) {
            events.extend(joiner.take(&line));
        }
        let found = document(&joiner, &events);
        let expected = path.with_extension("yml");
        if std::env::var_os("FLEETOTP_UPDATE_DATA").is_some() {
            fs::write(&expected, &found).unwrap();
        }
        assert_eq!(
            found,
            fs::read_to_string(&expected).unwrap(),
            "{}",
            path.display()
        );
    }
}

/// Wherever a collection ends, the next one goes on as if there had been none.
#[test]
fn a_log_that_is_collected_in_two_parts_tells_the_same() {
    for path in logs() {
        let lines = lines(&path);
        let mut whole = Joiner::default();
        let all: Vec<LoginEvent> = lines.iter().flat_map(|l| whole.take(l)).collect();
        for cut in 0..lines.len() {
            let (before, after) = lines.split_at(cut);
            let mut first = Joiner::default();
            let mut events: Vec<LoginEvent> = before.iter().flat_map(|l| first.take(l)).collect();
            let kept = serde_json::to_string(&first).unwrap();
            let mut second: Joiner = serde_json::from_str(&kept).unwrap();
            events.extend(after.iter().flat_map(|l| second.take(l)));
            assert_eq!(events, all, "{} cut at {cut}", path.display());
            assert_eq!(first.strangers + second.strangers, whole.strangers);
        }
    }
}

#[test]
fn no_bytes_make_it_fail() {
    use proptest::prelude::*;
    proptest!(ProptestConfig::with_cases(300), |(name in "\\PC{0,60}", tail in "[ -~]{0,60}")| {
        let now = "2026-11-25T00:00:00Z".parse().unwrap();
        for raw in [
            format!("2026-11-24T10:00:00Z h sshd[1]: Invalid user {name} from 10.0.0.1 port 2"),
            format!("2026-11-24T10:00:00Z h sshd[1]: error: PAM: Authentication failure for illegal user {name} from 10.0.0.1"),
            format!("2026-11-24T10:00:00Z h sshd[1]: Failed password for invalid user {name} from 10.0.0.1 port 2 ssh2"),
            format!("2026-11-24T10:00:00Z h sshd[1]: Connection closed by invalid user {name} 10.0.0.1 port 2 [preauth]"),
            format!("2026-11-24T10:00:00Z h {tail}"),
            tail.clone(),
        ] {
            let mut joiner = Joiner::default();
            if let Some(line) = line::from_text(&raw, String::new(), 0, now) {
                let events = joiner.take(&line);
                prop_assert!(events.is_empty(), "a stranger became a login: {raw}: {events:?}");
            }
        }
    });
}
