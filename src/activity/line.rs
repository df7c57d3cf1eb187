//! One line of a host's log: when, which program, what it said.

use serde_json::Value;

use crate::clock::Timestamp;
use crate::plan::evidence::time_of;

/// The longest text that is looked at; sshd's own lines are far shorter.
const LONGEST: usize = 2000;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was written.
    pub at: Timestamp,
    /// The program: `sshd-session`, `sshd(pam_google_authenticator)`.
    pub ident: String,
    /// Its process.
    pub pid: u32,
    /// What it said.
    pub text: String,
    /// Where it stands on its host: the same line has the same place at every reading.
    pub place: String,
}

/// Reads a line of a text log: RFC 3339, or `Nov  4 03:25:01` in the host's local time without a year.
pub fn from_text(raw: &str, place: String, utc_offset: i64, now: Timestamp) -> Option<Line> {
    let at = time_of(raw, utc_offset, now)?;
    let rest = if raw.starts_with(|c: char| c.is_ascii_digit()) {
        raw.split_once(' ')?.1
    } else {
        // "Mmm dd hh:mm:ss ".
        raw.get(16..)?
    };
    let (_host, rest) = rest.split_once(' ')?;
    // What comes after the first ": " may be chosen by a stranger; what comes before is syslog's.
    let (tag, text) = rest.split_once(": ")?;
    let (ident, pid) = tag.strip_suffix(']')?.rsplit_once('[')?;
    Some(Line {
        at,
        ident: ident.to_owned(),
        pid: pid.parse().ok()?,
        text: text.chars().take(LONGEST).collect(),
        place,
    })
}

/// Reads an entry of the journal (`journalctl -o json`), and its cursor.
///
/// An entry of an account that is no system's own is nobody's word but that account's: `logger -t sshd` makes one. It is
/// returned without a line.
pub fn from_journal(raw: &str) -> Option<(String, Option<Line>)> {
    let entry: Value = serde_json::from_str(raw).ok()?;
    let text = |key: &str| entry.get(key).and_then(text_of);
    let cursor = text("__CURSOR")?;
    let line = || {
        let uid: u32 = text("_UID")?.parse().ok()?;
        if uid >= 1000 {
            return None;
        }
        let pid = text("SYSLOG_PID").or_else(|| text("_PID"))?;
        let microseconds: i64 = text("__REALTIME_TIMESTAMP")?.parse().ok()?;
        Some(Line {
            at: Timestamp::from_microsecond(microseconds).ok()?,
            ident: text("SYSLOG_IDENTIFIER")?,
            pid: pid.trim().parse().ok()?,
            text: text("MESSAGE")?.chars().take(LONGEST).collect(),
            place: format!("j:{}", short(&cursor)),
        })
    };
    let line = line();
    Some((cursor, line))
}

/// The part of a cursor that names the entry: boot, time since then, and a hash of what it holds. Its number and the file's
/// name change when journald writes an entry of early boot from memory to the disk.
fn short(cursor: &str) -> String {
    let parts: Vec<&str> = cursor
        .split(';')
        .filter(|p| ["b=", "m=", "x="].iter().any(|name| p.starts_with(name)))
        .collect();
    parts.join(";")
}

/// Returns whether two cursors are of one entry.
pub fn is_same_entry(one: &str, other: &str) -> bool {
    one == other || (!short(one).is_empty() && short(one) == short(other))
}

/// A field's text. One that is not UTF-8 is a list of bytes.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(bytes) => {
            let bytes: Option<Vec<u8>> = bytes
                .iter()
                .map(|b| b.as_u64().and_then(|b| u8::try_from(b).ok()))
                .collect();
            Some(String::from_utf8_lossy(&bytes?).into_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> Option<Line> {
        from_text(
            raw,
            "p".to_owned(),
            3600,
            "2026-01-02T10:00:00Z".parse().unwrap(),
        )
    }

    #[test]
    fn both_kinds_of_stamps_are_read() {
        let line = text("Jan  2 10:30:01 web1 sshd(pam_google_authenticator)[564]: Accepted google_authenticator for alice").unwrap();
        assert_eq!(
            (line.at.to_string().as_str(), line.ident.as_str(), line.pid),
            (
                "2026-01-02T09:30:01Z",
                "sshd(pam_google_authenticator)",
                564
            )
        );
        let line = text("2026-01-02T10:30:01.5+01:00 web1 sshd-session[7]: a: b").unwrap();
        assert_eq!(line.at.to_string(), "2026-01-02T09:30:01.5Z");
        assert_eq!(
            (line.ident.as_str(), line.text.as_str()),
            ("sshd-session", "a: b")
        );
    }

    #[test]
    fn a_date_to_come_is_last_years() {
        let line = text("Dec 31 23:59:59 web1 sshd[1]: x").unwrap();
        assert_eq!(line.at.to_string(), "2025-12-31T22:59:59Z");
    }

    #[test]
    fn what_is_no_line_is_none() {
        for raw in [
            "",
            "Jan  2",
            "Jan  2 10:30:01 web1 sshd",
            "Jan  2 10:30:01 web1 last message repeated",
            "x y z: t",
            "2026-01-02T10:30:01Z web1 sshd[x]: t",
            "2026-01-02T10:30:01Z web1 sshd: t",
        ] {
            assert_eq!(text(raw), None, "{raw}");
        }
    }

    #[test]
    fn the_journal_tells_who_wrote() {
        let entry = |uid: &str| {
            format!(
                r#"{{"__CURSOR":"s=ab;i=1f;b=2;m=3;t=4;x=5","__REALTIME_TIMESTAMP":"1795485320123456","_UID":"{uid}","_PID":"9",
                "SYSLOG_IDENTIFIER":"sshd","SYSLOG_PID":"7","MESSAGE":[97,255]}}"#
            )
        };
        let (cursor, line) = from_journal(&entry("0")).unwrap();
        let line = line.unwrap();
        assert_eq!(cursor, "s=ab;i=1f;b=2;m=3;t=4;x=5");
        assert_eq!(
            (line.place.as_str(), line.pid, line.text.as_str()),
            ("j:b=2;m=3;x=5", 7, "a\u{fffd}")
        );
        assert_eq!(line.at.as_microsecond(), 1_795_485_320_123_456);
        assert_eq!(
            from_journal(&entry("1000")).unwrap().1,
            None,
            "logger -t sshd"
        );
        assert_eq!(from_journal("{}"), None);
    }
}
