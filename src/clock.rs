//! Time and randomness as parameters: the only file that asks the machine for either.

use std::fmt;
use std::time::Duration;

pub use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where the program gets the time from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still, for tests.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}

/// Returns a time in whole milliseconds, as the ledger stores it.
pub fn whole_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// Where the program gets random bytes from.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills `buffer` with random bytes.
    ///
    /// # Errors
    /// When the source cannot deliver; a caller must then not go on.
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError>;
}

/// The random source failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the system's random source failed: {0}")]
pub struct EntropyError(pub String);

/// The operating system's random source, getrandom(2).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(buffer).map_err(|e| EntropyError(e.to_string()))
    }
}

/// The alphabet of identifiers that people read aloud: Crockford's base 32, without I, L, O and U.
const READABLE: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Makes a random identifier such as `S-7K2M9QXA`: `prefix`, a dash and `len` readable characters of 5 bits each.
///
/// # Errors
/// When the random source fails.
pub fn readable_id(
    entropy: &dyn Entropy,
    prefix: &str,
    len: usize,
) -> Result<String, EntropyError> {
    let mut bytes = vec![0u8; len];
    entropy.fill(&mut bytes)?;
    let mut id = format!("{prefix}-");
    id.extend(
        bytes
            .iter()
            .filter_map(|b| READABLE.get(usize::from(b & 31)))
            .map(|b| char::from(*b)),
    );
    Ok(id)
}

/// Reads a time as users write it: RFC 3339, or a day such as `2026-01-31`, which is its first instant in UTC.
pub fn read_time(text: &str) -> Option<Timestamp> {
    match text.parse::<jiff::civil::Date>() {
        // A time with an offset holds a day too.
        Ok(_) if is_day(text) => format!("{text}T00:00:00Z").parse().ok(),
        _ => text.parse().ok(),
    }
}

/// Whether a text that [`read_time`] can read is a day.
pub const fn is_day(text: &str) -> bool {
    text.len() == 10
}

/// The last whole `last_month`, `last_quarter` or `last_year` of UTC before a time: its first instant, the first one after
/// it, and its name, such as `2026-10`, `2026-q3` or `2025`. `None` for any other word.
pub fn last_period(word: &str, now: Timestamp) -> Option<(Timestamp, Timestamp, String)> {
    let today = jiff::tz::TimeZone::UTC.to_datetime(now).date();
    let (months, form) = match word {
        "last_month" => (1, "%Y-%m"),
        "last_quarter" => (3, "%Y-q"),
        "last_year" => (12, "%Y"),
        _ => return None,
    };
    let into = (today.month() - 1) % months;
    let back = |date: jiff::civil::Date, months: i8| {
        date.checked_sub(jiff::Span::new().try_months(months).ok()?)
            .ok()
    };
    let end = back(today.first_of_month(), into)?;
    let first = back(end, months)?;
    let instant = |date: jiff::civil::Date| {
        jiff::tz::TimeZone::UTC
            .to_timestamp(date.at(0, 0, 0, 0))
            .ok()
    };
    let mut name = first.strftime(form).to_string();
    if months == 3 {
        name.push_str(&((first.month() + 2) / 3).to_string());
    }
    Some((instant(first)?, instant(end)?, name))
}

/// A length of time as users write it: an integer and one of `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

/// A text is not a [`Span`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write an integer followed by s, m, h or d, such as 72h")]
pub struct SpanError(String);

impl Span {
    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A span of whole days of 24 hours.
    pub const fn from_days(days: u64) -> Self {
        Self(Duration::from_secs(days * 86_400))
    }

    /// Returns the span in seconds.
    pub const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }

    /// Returns the span as the standard library's type.
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Returns the time that lies this span after `start`, or the last representable time.
    pub fn after(self, start: Timestamp) -> Timestamp {
        start.checked_add(self.0).unwrap_or(Timestamp::MAX)
    }
}

impl std::str::FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let error = || SpanError(crate::names::printable(text, 40));
        let unit = text.chars().last().ok_or_else(error)?;
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return Err(error()),
        };
        let digits = text.strip_suffix(unit).unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let number: u64 = digits.parse().map_err(|_| error())?;
        // A hundred years: more is a slip of the finger, and sums of such spans cannot overflow.
        number
            .checked_mul(factor)
            .filter(|s| *s <= 36_525 * 86_400)
            .map(Self::from_secs)
            .ok_or_else(error)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.as_secs();
        for (size, unit) in [(86_400, 'd'), (3_600, 'h'), (60, 'm')] {
            if seconds > 0 && seconds.is_multiple_of(size) {
                return write!(f, "{}{unit}", seconds / size);
            }
        }
        write!(f, "{seconds}s")
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9]+[smhd]$"})
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_parse_and_print() {
        for (text, seconds) in [
            ("72h", 259_200),
            ("90d", 7_776_000),
            ("30s", 30),
            ("1m", 60),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.as_secs(), seconds);
        }
        assert_eq!("72h".parse::<Span>().unwrap().to_string(), "3d");
        for text in [
            "",
            "h",
            "3",
            "-3h",
            "3w",
            "1.5h",
            "99999999999999999999d",
            "+3h",
            "３h",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_day_is_its_first_instant_and_a_time_is_itself() {
        for (text, day, instant) in [
            ("2026-01-31", true, "2026-01-31T00:00:00Z"),
            ("2026-01-31T12:00:00Z", false, "2026-01-31T12:00:00Z"),
            ("2026-01-31T12:00:00+02:00", false, "2026-01-31T10:00:00Z"),
        ] {
            assert_eq!(read_time(text).unwrap().to_string(), instant);
            assert_eq!(is_day(text), day, "{text}");
        }
        for text in ["", "soon", "2026-02-30", "2026-01-31T12:00:00", "20260131"] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }

    #[test]
    fn the_last_period_is_a_whole_one() {
        for (word, now, wanted) in [
            (
                "last_month",
                "2026-11-24T18:00:00Z",
                "2026-10-01 2026-11-01 2026-10",
            ),
            (
                "last_month",
                "2026-01-01T00:00:00Z",
                "2025-12-01 2026-01-01 2025-12",
            ),
            (
                "last_quarter",
                "2026-11-24T18:00:00Z",
                "2026-07-01 2026-10-01 2026-q3",
            ),
            (
                "last_quarter",
                "2026-02-28T18:00:00Z",
                "2025-10-01 2026-01-01 2025-q4",
            ),
            (
                "last_year",
                "2026-12-31T23:59:59Z",
                "2025-01-01 2026-01-01 2025",
            ),
        ] {
            let (from, to, name) = last_period(word, now.parse().unwrap()).unwrap();
            let day = |at: Timestamp| at.to_string().replace("T00:00:00Z", "");
            assert_eq!(format!("{} {} {name}", day(from), day(to)), wanted);
        }
        assert_eq!(last_period("last_week", Timestamp::default()), None);
    }

    #[test]
    fn identifiers_are_readable() {
        let id = readable_id(&SystemEntropy, "S", 8).unwrap();
        assert_eq!(id.len(), 10);
        assert!(!id.contains(['I', 'L', 'O', 'U']));
    }
}
