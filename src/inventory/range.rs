//! `web[01:50]`: one key for many hosts.

/// How many hosts one key may stand for.
const MAX_HOSTS: usize = 100_000;
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// A range is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RangeError {
    /// Brackets that do not hold a range.
    #[error("`[{0}]` is not a range: write [begin:end] or [begin:end:step]")]
    Malformed(String),
    /// An opening bracket without a closing one after it.
    #[error("a bracket is not closed")]
    Unclosed,
    /// The end is missing.
    #[error("the range has no end")]
    NoEnd,
    /// The end lies before the beginning.
    #[error("the range `[{0}]` is reversed: it stands for no host")]
    Reversed(String),
    /// `[01:100]`.
    #[error(
        "begin and end of `[{0}]` must have the same number of digits, because the begin has leading zeros"
    )]
    UnequalWidth(String),
    /// A step of zero.
    #[error("the step of `[{0}]` is not a number from 1")]
    Step(String),
    /// More hosts than any fleet.
    #[error("the range stands for more than 100000 hosts")]
    TooMany,
}

/// Expands every range of a host key; a key without any stands for itself.
///
/// # Errors
/// What is not a range, reversed ranges, and more than 100 000 hosts.
pub(crate) fn expand(pattern: &str) -> Result<Vec<String>, RangeError> {
    let mut done = vec![String::new()];
    let mut rest = pattern;
    while let Some((head, after)) = rest.split_once('[') {
        let (range, tail) = after.split_once(']').ok_or(RangeError::Unclosed)?;
        let items = expand_one(range, MAX_HOSTS / done.len())?;
        done = done
            .iter()
            .flat_map(|before| {
                items
                    .iter()
                    .map(move |item| format!("{before}{head}{item}"))
            })
            .collect();
        rest = tail;
    }
    for host in &mut done {
        host.push_str(rest);
    }
    Ok(done)
}

fn expand_one(range: &str, max: usize) -> Result<Vec<String>, RangeError> {
    let shown = || crate::names::printable(range, 40);
    let malformed = || RangeError::Malformed(shown());
    let parts: Vec<&str> = range.split(':').collect();
    let (begin, end, step) = match parts.as_slice() {
        [begin, end] => (*begin, *end, 1),
        [begin, end, step] => {
            let step = number(step).filter(|s| *s > 0);
            (*begin, *end, step.ok_or_else(|| RangeError::Step(shown()))?)
        }
        _ => return Err(malformed()),
    };
    let begin = if begin.is_empty() { "0" } else { begin };
    if end.is_empty() {
        return Err(RangeError::NoEnd);
    }
    if let (Some(first), Some(last)) = (letter(begin), letter(end)) {
        return LETTERS
            .get(first..=last)
            .filter(|l| !l.is_empty())
            .map(|letters| letters.chars().step_by(step).map(String::from).collect())
            .ok_or_else(|| RangeError::Reversed(shown()));
    }
    let width = if begin.starts_with('0') && begin.len() > 1 {
        begin.len()
    } else {
        0
    };
    if width != 0 && width != end.len() {
        return Err(RangeError::UnequalWidth(shown()));
    }
    let first = number(begin).ok_or_else(malformed)?;
    let last = number(end).ok_or_else(malformed)?;
    if first > last {
        return Err(RangeError::Reversed(shown()));
    }
    if (last - first) / step >= max {
        return Err(RangeError::TooMany);
    }
    Ok((first..=last)
        .step_by(step)
        .map(|n| format!("{n:0width$}"))
        .collect())
}

fn letter(text: &str) -> Option<usize> {
    (text.len() == 1).then(|| LETTERS.find(text))?
}

fn number(text: &str) -> Option<usize> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_expand() {
        for (pattern, expected) in [
            ("web1", "web1"),
            ("web[1:3]", "web1 web2 web3"),
            ("web[08:11]x", "web08x web09x web10x web11x"),
            ("[a:c]1", "a1 b1 c1"),
            ("[y:B]", "y z A B"),
            ("n[0:10:5]", "n0 n5 n10"),
            ("n[a:e:2]", "na nc ne"),
            ("n[:2]", "n0 n1 n2"),
            ("[1:2]-[a:b]", "1-a 1-b 2-a 2-b"),
        ] {
            assert_eq!(expand(pattern).unwrap().join(" "), expected);
        }
    }

    #[test]
    fn what_stands_for_nothing_or_too_much_is_refused() {
        for pattern in [
            "w[3:1]",
            "w[b:a]",
            "w[1:]",
            "w[1]",
            "w[01:100]",
            "w[1:2:0]",
            "w[1:j]",
            "w[ab:cd]",
            "w[1:3",
            "w[1:2:3:4]",
            "w[0:99999999999]",
            "w[0:999][0:999]",
            "w[1:99999999999999999999999]",
            "w[-1:3]",
            "w[]",
        ] {
            assert!(expand(pattern).is_err(), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-c0-3:\\[\\]éZ-]{0,16}") {
            drop(expand(&text));
        }
    }
}
