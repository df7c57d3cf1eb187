//! The users file of `pam_oath`: whose keys are in it, and which steps were used.
//!
//! Format (liboath's `usersfile.c`): `TYPE USER PASSWORD HEXKEY [POSITION LASTCODE TIMESTAMP]`, parts divided by blanks or
//! tabs, lines that begin with `#` are comments. `HOTP/T30` and `HOTP/T60` are codes by time, `HOTP` by a counter.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER_PERMISSIVE;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::names::Login;
use crate::token::code;
use crate::token::params::CodeParams;
use crate::token::secret::{Secret, base32};

/// liboath's buffer for a key.
const MAX_KEY: usize = 32;
/// The widest window that a policy may have: steps older than that are taken by nobody.
const MAX_DRIFT: u64 = 8;

/// An admin's line.
#[derive(Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// The key.
    pub key: Secret,
    /// Seconds of a step.
    pub period: u16,
    /// Steps that count as used and that a host could still take.
    pub used: Vec<u64>,
}

/// Reads a users file at the host's time `now`, in seconds since 1970; codes may be off by `window` steps. Says nothing of keys
/// and codes.
///
/// # Errors
/// Which line cannot be taken over, and why.
pub fn enrolments(
    lines: &[Secret],
    now: i64,
    window: u64,
) -> Result<BTreeMap<Login, Enrolment>, String> {
    let mut found = BTreeMap::new();
    for (line, number) in lines.iter().zip(1..) {
        let words: Vec<&str> = line.expose().split_ascii_whitespace().collect();
        if words.first().is_none_or(|word| word.starts_with('#')) {
            continue;
        }
        let (login, enrolment) =
            enrolment(&words, now, window).map_err(|why| format!("line {number}: {why}"))?;
        if found.contains_key(&login) {
            return Err(format!("line {number}: {login} has two keys; keep one"));
        }
        found.insert(login, enrolment);
    }
    Ok(found)
}

fn enrolment(words: &[&str], now: i64, window: u64) -> Result<(Login, Enrolment), String> {
    let (kind, user, password, hex, log) = match words {
        [kind, user, password, hex, log @ ..] => (*kind, *user, *password, *hex, log),
        _ => return Err("it has less than four parts".to_owned()),
    };
    let login = Login::new(user).map_err(|_| "its second part is no login".to_owned())?;
    let period = match kind {
        "HOTP/T30" | "HOTP/T30/6" => 30,
        "HOTP/T60" | "HOTP/T60/6" => 60,
        "HOTP/T30/7" | "HOTP/T60/7" | "HOTP/T30/8" | "HOTP/T60/8" => {
            return Err(format!(
                "{login} has codes of more than 6 digits, which pam_google_authenticator does not check"
            ));
        }
        _ if kind == "HOTP" || kind.starts_with("HOTP/E") => {
            return Err(format!("{login} has codes by a counter instead of time"));
        }
        _ => return Err("its first part is no type that pam_oath knows".to_owned()),
    };
    if password != "-" {
        return Err(format!(
            "{login} has a password before the code, which nothing would ask for any more"
        ));
    }
    let no_key = || format!("the key of {login} is not 1 to {MAX_KEY} bytes in hexadecimal");
    let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes());
    let bytes = Zeroizing::new(bytes.map_err(|_| no_key())?);
    if bytes.is_empty() || bytes.len() > MAX_KEY {
        return Err(no_key());
    }
    let key = base32(&bytes);
    let used = match log {
        [] => Vec::new(),
        [_, last, _] => used(&key, period, &Secret::from(*last), now, window),
        _ => return Err(format!("what {login} used last is damaged")),
    };
    Ok((login, Enrolment { key, period, used }))
}

/// The step of the last code and those before it, as far as a host could still take them: pam_oath takes none that is not
/// newer than the last one. The step is found by the code alone, among those whose code pam_oath would take now; the time stamp is in
/// local time, and the position is relative to it.
fn used(key: &Secret, period: u16, last: &Secret, now: i64, window: u64) -> Vec<u64> {
    let params = CodeParams {
        period,
        ..CodeParams::DEFAULT
    };
    let period = i64::from(period);
    let at = u64::try_from(now.div_euclid(period)).unwrap_or(0);
    let oldest = at.saturating_sub(MAX_DRIFT);
    let is_last = |step: &u64| {
        i64::try_from(*step)
            .ok()
            .and_then(|s| Timestamp::from_second(s.saturating_mul(period)).ok())
            .and_then(|time| code::code_at(key, params, time).ok())
            .is_some_and(|code| code == *last)
    };
    match (oldest..=at.saturating_add(window)).rev().find(is_last) {
        Some(newest) => (oldest..=newest).collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238's key for SHA1, and its code for the time 59 (appendix B): 94287082.
    const KEY: &str = "3132333435363738393031323334353637383930";

    fn read(line: &str) -> Result<BTreeMap<Login, Enrolment>, String> {
        let lines = ["# users", "", line].map(Secret::from);
        enrolments(&lines, 59, 5)
    }

    #[test]
    fn keys_and_used_steps_are_read() {
        let alice = Login::new("alice").unwrap();
        let fresh = read(&format!("HOTP/T30/6\talice\t-\t{KEY}")).unwrap();
        let fresh = fresh.get(&alice).unwrap();
        assert_eq!(fresh.key.expose(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!((fresh.period, fresh.used.len()), (30, 0));
        let log = "0\t287082\t1970-01-01T00:00:59L";
        let used = read(&format!("HOTP/T30 alice - {KEY}\t{log}")).unwrap();
        assert_eq!(used.get(&alice).unwrap().used, [0, 1]);
        // The step is the same for somebody whose time zone is another, and long ago is long ago.
        let lines = [Secret::new(format!("HOTP/T30 alice - {KEY} {log}"))];
        let later = |now| enrolments(&lines, now, 5).unwrap().remove(&alice).unwrap();
        assert_eq!(later(59 + 8 * 30).used, [1]);
        assert_eq!(later(59 + 9 * 30).used, [0u64; 0]);
        let slow = read(&format!("HOTP/T60 alice - {KEY}")).unwrap();
        assert_eq!(slow.get(&alice).unwrap().period, 60);
    }

    #[test]
    fn what_does_not_fit_is_named_without_its_secret() {
        let long = "ab".repeat(33);
        for (line, why) in [
            (format!("HOTP alice - {KEY}"), "by a counter"),
            (format!("HOTP/E/8 alice - {KEY}"), "by a counter"),
            (format!("HOTP/T30/8 alice - {KEY}"), "more than 6 digits"),
            (format!("TOTP alice - {KEY}"), "no type"),
            (format!("HOTP/T30 alice hunter2 {KEY}"), "a password before"),
            (format!("HOTP/T30 alice + {KEY}"), "a password before"),
            (format!("HOTP/T30 a:b - {KEY}"), "no login"),
            ("HOTP/T30 alice -".to_owned(), "less than four"),
            (format!("HOTP/T30 alice - {KEY}0"), "in hexadecimal"),
            (format!("HOTP/T30 alice - {long}"), "in hexadecimal"),
            (format!("HOTP/T30 alice - {KEY} 0 287082"), "is damaged"),
        ] {
            let said = read(&line).unwrap_err();
            assert!(said.starts_with("line 3: ") && said.contains(why), "{said}");
            for secret in [KEY, "hunter2", "287082", "abab"] {
                assert!(!said.contains(secret), "{said}");
            }
        }
        let twice = [0; 2].map(|_| Secret::new(format!("HOTP/T30 alice - {KEY}")));
        assert!(enrolments(&twice, 59, 5).unwrap_err().contains("two keys"));
    }
}
