//! What a plain scalar means in YAML 1.1, by the implicit types at <https://yaml.org/type/> as PyYAML applies them.

use std::sync::LazyLock;

use regex::Regex;

/// What YAML 1.1 makes of a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Resolved {
    /// Nothing: empty, `~` or `null`.
    Null,
    /// `yes`, `no`, `on`, `off`, `true`, `false`.
    Bool(bool),
    /// A whole number in decimal, octal, hexadecimal, binary or base 60.
    Int(i128),
    /// A number with a point, or infinity or not-a-number.
    Float(f64),
    /// A date or a time; Ansible prints it in ISO form.
    Timestamp,
    /// Anything else, and everything quoted.
    Text,
}

/// A number that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Resolves a plain scalar.
pub(super) fn resolve(text: &str) -> Result<Resolved, TooLarge> {
    let Some(first) = text.chars().next() else {
        return Ok(Resolved::Null);
    };
    match first {
        '~' | 'n' | 'N' if matches!(text, "~" | "null" | "Null" | "NULL") => Ok(Resolved::Null),
        'y' | 'Y' | 'n' | 'N' | 't' | 'T' | 'f' | 'F' | 'o' | 'O' => {
            Ok(boolean(text).map_or(Resolved::Text, Resolved::Bool))
        }
        '-' | '+' | '.' | '0'..='9' => number(text),
        _ => Ok(Resolved::Text),
    }
}

/// Resolves a plain scalar of a JSON document, whose numbers are JSON's (`1e5` is a number there, not in YAML 1.1).
pub(super) fn resolve_json(text: &str) -> Result<Resolved, TooLarge> {
    if text.contains(['e', 'E'])
        && let Ok(number) = serde_json::from_str::<f64>(text)
    {
        return Ok(Resolved::Float(number));
    }
    resolve(text)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text).ok()
}

static FLOAT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*)$",
    )
});
static INT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"^[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+)$",
    )
});
static TIMESTAMP: LazyLock<Option<Regex>> = LazyLock::new(|| {
    pattern(
        r"^[0-9]{4}-(?:[0-9]{2}-[0-9]{2}|[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)$",
    )
});

fn matches(regex: &LazyLock<Option<Regex>>, text: &str) -> bool {
    regex.as_ref().is_some_and(|r| r.is_match(text))
}

fn number(text: &str) -> Result<Resolved, TooLarge> {
    if matches(&FLOAT, text) {
        return Ok(Resolved::Float(float(text)));
    }
    if matches(&INT, text) {
        return int(text).map(Resolved::Int).ok_or(TooLarge);
    }
    let special = match text.trim_start_matches(['+', '-']) {
        ".inf" | ".Inf" | ".INF" if text.len() <= 5 => Some(if text.starts_with('-') {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        }),
        ".nan" | ".NaN" | ".NAN" if text.len() == 4 => Some(f64::NAN),
        _ => None,
    };
    Ok(match special {
        Some(number) => Resolved::Float(number),
        None if matches(&TIMESTAMP, text) => Resolved::Timestamp,
        None => Resolved::Text,
    })
}

/// Splits the sign off and drops underscores.
fn sign_and_digits(text: &str) -> (bool, String) {
    let digits = text
        .trim_start_matches(['+', '-'])
        .chars()
        .filter(|c| *c != '_')
        .collect();
    (text.starts_with('-'), digits)
}

pub(super) fn float(text: &str) -> f64 {
    let (negative, digits) = sign_and_digits(text);
    let value = digits
        .split(':')
        .map(|part| part.parse::<f64>().unwrap_or(0.0))
        .fold(0.0, |sum, part| sum * 60.0 + part);
    if negative { -value } else { value }
}

pub(super) fn int(text: &str) -> Option<i128> {
    let (negative, digits) = sign_and_digits(text);
    let value = if let Some(binary) = digits.strip_prefix("0b") {
        i128::from_str_radix(binary, 2).ok()
    } else if let Some(hexadecimal) = digits.strip_prefix("0x") {
        i128::from_str_radix(hexadecimal, 16).ok()
    } else if digits.starts_with('0') {
        i128::from_str_radix(&digits, 8).ok()
    } else {
        digits.split(':').try_fold(0i128, |sum, part| {
            sum.checked_mul(60)?.checked_add(part.parse().ok()?)
        })
    }?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_yaml_1_1_says() {
        use Resolved::{Bool, Float, Int, Null, Text, Timestamp};
        for (text, expected) in [
            ("", Null),
            ("~", Null),
            ("null", Null),
            ("nUll", Text),
            ("yes", Bool(true)),
            ("Off", Bool(false)),
            ("y", Text),
            ("n", Text),
            ("oN", Text),
            ("0", Int(0)),
            ("-0", Int(0)),
            ("0755", Int(493)),
            ("089", Text),
            ("0o17", Text),
            ("0x1F", Int(31)),
            ("-0x1F", Int(-31)),
            ("0b101", Int(5)),
            ("1_000", Int(1000)),
            ("+12", Int(12)),
            ("1:30", Int(90)),
            ("22:22:22", Int(80542)),
            ("1:60", Text),
            ("1.50", Float(1.5)),
            ("1.", Float(1.0)),
            (".5", Float(0.5)),
            ("-.5", Text),
            ("1e5", Text),
            ("1.0e+5", Float(100_000.0)),
            ("1.0e5", Text),
            (".inf", Float(f64::INFINITY)),
            ("-.INF", Float(f64::NEG_INFINITY)),
            ("--.inf", Text),
            ("190:20:30.15", Float(685_230.15)),
            ("2024-01-01", Timestamp),
            ("2024-1-1", Text),
            ("2001-12-14t21:59:43.10-05:00", Timestamp),
            ("10.0.0.1", Text),
            ("-", Text),
            (".", Text),
        ] {
            assert_eq!(resolve(text), Ok(expected), "{text:?}");
        }
        assert!(matches!(resolve(".NaN"), Ok(Float(f)) if f.is_nan()));
        assert_eq!(resolve(&"9".repeat(60)), Err(TooLarge));
        assert_eq!(resolve_json("1e5"), Ok(Float(100_000.0)));
    }
}
