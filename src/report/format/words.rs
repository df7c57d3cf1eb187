//! One value in words, for programs and for people: every format takes them from here.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::clock::Timestamp;
use crate::names::{printable, without_controls};
use crate::report::model::{Cell, Report, Section, Table, Tone};

/// What is written where nobody could read a value: never nothing, which would look like a good one.
pub(super) const UNKNOWN: &str = "unknown";

/// The heading of what a report does not claim.
pub(super) const LIMITS: &str = "What this report does not claim";
/// What stands for the rows of a table without any.
pub(super) const NO_ROWS: &str = "(none)";

/// What stands behind the first rows of a table that has more than a format holds; `None` where it has not.
pub(super) fn cut(
    report: &Report,
    section: &Section,
    table: &Table,
    most: usize,
) -> Option<String> {
    let all = table.rows.count();
    let left = all.checked_sub(most).filter(|left| *left > 0)?;
    let file = super::csv::file_name(report.name, section.id);
    Some(format!(
        "These are the first {most} of {all} rows; {left} more are not shown. All of them are in the report as JSON, and in the file {file} of a pack."
    ))
}

/// A value for programs: instants in RFC 3339, spans in seconds, flags as `true` and `false`, none as nothing.
///
/// Control characters other than tabs and ends of lines are escaped, so that a name cannot steer a terminal.
pub fn plain(cell: &Cell) -> Cow<'_, str> {
    match cell {
        Cell::Empty => "".into(),
        Cell::Unknown => UNKNOWN.into(),
        Cell::Text(words) => without_controls(words),
        Cell::Status(word, _) => (*word).into(),
        Cell::Count(count) => count.to_string().into(),
        Cell::Time(at) => at.to_string().into(),
        Cell::Seconds(seconds) => seconds.to_string().into(),
        Cell::Flag(true) => "true".into(),
        Cell::Flag(false) => "false".into(),
    }
}

/// A value for people, on one line: instants in UTC to the second, spans in days to seconds, none as a dash.
///
/// Control characters and those that turn the direction of writing are escaped, so that what is seen is what is there.
pub fn human(cell: &Cell) -> String {
    match cell {
        Cell::Empty => "–".to_owned(),
        Cell::Unknown => sign(Tone::Unknown, UNKNOWN),
        Cell::Text(words) if words.is_empty() => "–".to_owned(),
        Cell::Text(words) => printable(words, usize::MAX),
        Cell::Status(word, tone) => sign(*tone, word),
        Cell::Count(count) => count.to_string(),
        Cell::Time(at) => instant(*at),
        Cell::Seconds(seconds) => span(*seconds),
        Cell::Flag(true) => "yes".to_owned(),
        Cell::Flag(false) => "no".to_owned(),
    }
}

/// An instant for people.
pub(super) fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// The judgement of a value.
pub(super) const fn tone(cell: &Cell) -> Tone {
    match cell {
        Cell::Unknown => Tone::Unknown,
        Cell::Status(_, tone) => *tone,
        _ => Tone::Plain,
    }
}

/// The sign of a judgement; all of them are in the built-in fonts of the PDF.
pub(super) const fn symbol(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "✓",
        Tone::Warn => "!",
        Tone::Bad => "×",
        Tone::Unknown => "?",
        Tone::Plain => "",
    }
}

/// A word with the sign of its judgement.
pub(super) fn sign(tone: Tone, word: &str) -> String {
    match symbol(tone) {
        "" => word.to_owned(),
        symbol => format!("{symbol} {word}"),
    }
}

/// A span for people, exact to the second: `3d 4h`.
fn span(seconds: i64) -> String {
    let mut left = seconds.unsigned_abs();
    let mut out = String::new();
    for (size, unit) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
        let count = left / size;
        left %= size;
        if count > 0 {
            let gap = if out.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            write!(out, "{gap}{count}{unit}").unwrap_or_default();
        }
    }
    match (out.is_empty(), seconds < 0) {
        (true, _) => "0s".to_owned(),
        (false, true) => format!("-{out}"),
        (false, false) => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_exact() {
        for (seconds, words) in [
            (0, "0s"),
            (59, "59s"),
            (86_400, "1d"),
            (90_061, "1d 1h 1m 1s"),
            (-3_605, "-1h 5s"),
            (i64::MIN, "-106751991167300d 15h 30m 8s"),
        ] {
            assert_eq!(human(&Cell::Seconds(seconds)), words);
        }
    }

    #[test]
    fn nothing_and_unknown_are_told_apart() {
        assert_eq!(plain(&Cell::Empty), "");
        assert_eq!(plain(&Cell::Unknown), "unknown");
        assert_eq!(human(&Cell::Empty), "–");
        assert_eq!(human(&Cell::Unknown), "? unknown");
    }

    #[test]
    fn names_steer_nothing() {
        let hostile = Cell::text("a\u{1b}[2J\u{202e}b\n");
        assert_eq!(human(&hostile), "a\\u{1b}[2J\\u{202e}b\\u{a}");
        assert_eq!(plain(&hostile), "a\\u{1b}[2J\u{202e}b\n");
    }
}
