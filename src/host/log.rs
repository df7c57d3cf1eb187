//! The answer to `collect`: lines of a host's log since a place in it.

use serde::{Deserialize, Serialize};

use super::parse::utc_offset;
use super::reply::{ReplyError, lines_of};

/// How far a log was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogPlace {
    /// The systemd journal.
    Journal {
        /// The last entry.
        cursor: String,
    },
    /// A text log. Rotation moves a file; its first line stays.
    File {
        /// SHA-256 of its first line.
        first: String,
        /// Bytes that were read.
        offset: u64,
    },
}

/// A line as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawLine {
    /// An entry of the journal as JSON.
    Journal(String),
    /// A line of a text log.
    Text {
        /// Its offset in the part that it stands in.
        offset: u64,
        /// The line.
        text: String,
    },
}

/// What a host sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logged {
    /// Seconds that its local time is ahead of UTC.
    pub utc_offset: i64,
    /// Which log; none where it keeps none.
    pub log: Option<String>,
    /// The first line that is left, where the place asked for is gone.
    pub gap: Option<String>,
    /// Lines, in parts that each end with the place after them.
    pub parts: Vec<(Vec<RawLine>, LogPlace)>,
    /// There is more.
    pub more: bool,
    /// Used steps by slot and login, such as `current/alice`.
    pub used: Vec<(String, Vec<u64>)>,
}

/// Reads the answer.
///
/// # Errors
/// As [`lines_of`].
pub fn logged(answer: &[u8]) -> Result<Logged, ReplyError> {
    let mut logged = Logged::default();
    let mut lines: Vec<RawLine> = Vec::new();
    for bytes in lines_of(answer)? {
        let text = String::from_utf8_lossy(bytes);
        if let Some(raw) = text.strip_prefix('|') {
            lines.extend(raw_line(raw, logged.log.as_deref()));
            continue;
        }
        match text.split('\t').collect::<Vec<_>>().as_slice() {
            ["clock", _, zone] => logged.utc_offset = utc_offset(zone),
            ["log", "-"] => {}
            ["log", name] => logged.log = Some((*name).to_owned()),
            ["gap", first @ ..] => logged.gap = Some(first.join(" ")),
            ["used", file, steps] => {
                let steps = steps.split(' ').filter_map(|s| s.parse().ok()).collect();
                logged.used.push(((*file).to_owned(), steps));
            }
            ["at", first, offset] => {
                if let Ok(offset) = offset.parse() {
                    let first = (*first).to_owned();
                    let place = LogPlace::File { first, offset };
                    logged.parts.push((std::mem::take(&mut lines), place));
                }
            }
            ["more"] => logged.more = true,
            _ => {}
        }
    }
    // Entries of the journal carry their places themselves; the last one's is where it was read to.
    if !lines.is_empty() && logged.log.as_deref() == Some("journal") {
        let cursor = String::new();
        logged.parts.push((lines, LogPlace::Journal { cursor }));
    }
    Ok(logged)
}

fn raw_line(raw: &str, log: Option<&str>) -> Option<RawLine> {
    if log == Some("journal") {
        return Some(RawLine::Journal(raw.to_owned()));
    }
    let (offset, text) = raw.split_once(' ')?;
    Some(RawLine::Text {
        offset: offset.parse().ok()?,
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_their_places_are_read() {
        let answer = b"fleetotp\t1\nclock\t1795485320\t+0100\nused\tcurrent/alice\t59849690 59849691\nlog\t/var/log/auth.log\n\
            |0 a\tb\n|9 done\nat\tab\t14\n|0 c\nat\tcd\t2\nmore\ndone\n";
        let read = logged(answer).unwrap();
        assert_eq!((read.utc_offset, read.more), (3600, true));
        assert_eq!(
            read.used,
            [("current/alice".to_owned(), vec![59_849_690, 59_849_691])]
        );
        let text = |offset, text: &str| RawLine::Text {
            offset,
            text: text.to_owned(),
        };
        let file = |first: &str, offset| LogPlace::File {
            first: first.to_owned(),
            offset,
        };
        assert_eq!(
            read.parts,
            [
                (vec![text(0, "a\tb"), text(9, "done")], file("ab", 14)),
                (vec![text(0, "c")], file("cd", 2)),
            ]
        );
    }
}
