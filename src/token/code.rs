//! Codes: checked against a key, and computed for logins of our own.

use totp_rs::{Builder, Totp};

use crate::clock::Timestamp;
use crate::token::key::{self, KeyError};
use crate::token::params::{Algorithm, CodeParams};
use crate::token::secret::Secret;

/// Steps accepted either way of the current one: RFC 6238 section 5.2 recommends at most one for the way of the code.
pub const DRIFT: u64 = 1;

/// What a code is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The code is right and newer than any used before; the caller must store `step`.
    Accepted {
        /// The time step that the code belongs to.
        step: u64,
    },
    /// The code is right but its step, or a later one, was used before.
    Replayed {
        /// The time step that the code belongs to.
        step: u64,
    },
    /// The key is right, but the app computed the code with these parameters instead of the wanted ones: its fault.
    OtherParams(CodeParams),
    /// The code is not one of this key.
    Wrong,
    /// The text is not a code: not digits, or not as many as any app shows.
    Malformed,
}

/// Checks what a person typed against a key.
///
/// Spaces are ignored, since apps show `123 456`. A code that does not fit is tried under every other hash, number of
/// digits and the usual periods, so that an app which ignored a parameter can be named; it is not accepted.
///
/// # Errors
/// When the key is not base32.
pub fn check(
    key: &Secret,
    params: CodeParams,
    typed: &str,
    now: Timestamp,
    last_step: Option<u64>,
) -> Result<Verdict, KeyError> {
    let code = Secret::new(typed.chars().filter(|c| !c.is_whitespace()).collect());
    let code = code.expose();
    if !(6..=8).contains(&code.len()) || !code.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Verdict::Malformed);
    }
    if let Some(verdict) = check_exactly(key, params, code, now, last_step)? {
        return Ok(verdict);
    }
    for algorithm in Algorithm::ALL {
        for period in [params.period, 30, 60] {
            let other = CodeParams {
                algorithm,
                digits: u8::try_from(code.len()).unwrap_or(params.digits),
                period,
            };
            if other != params && check_exactly(key, other, code, now, None)?.is_some() {
                return Ok(Verdict::OtherParams(other));
            }
        }
    }
    // As long as no wanted code is: a slip of the finger rather than a try.
    if code.len() != usize::from(params.digits) {
        return Ok(Verdict::Malformed);
    }
    Ok(Verdict::Wrong)
}

/// Checks a code under exactly these parameters; `None` where it does not fit.
fn check_exactly(
    key: &Secret,
    params: CodeParams,
    code: &str,
    now: Timestamp,
    last_step: Option<u64>,
) -> Result<Option<Verdict>, KeyError> {
    let totp = totp(key, params)?;
    let now_step = step_at(params, now);
    // All steps are computed, whichever fits, so that the time taken does not tell the drift. A step not used before
    // wins over one that was: two steps can have the same code.
    let mut accepted = None;
    let mut replayed = None;
    for step in now_step.saturating_sub(DRIFT)..=now_step.saturating_add(DRIFT) {
        let fits = totp.check(code, step.saturating_mul(totp.step())).is_some();
        match last_step {
            Some(last) if fits && step <= last => replayed = Some(Verdict::Replayed { step }),
            _ if fits && accepted.is_none() => accepted = Some(Verdict::Accepted { step }),
            _ => {}
        }
    }
    Ok(accepted.or(replayed))
}

/// Computes the code that is valid at `time`, for a login of our own.
///
/// # Errors
/// When the key is not base32.
pub fn code_at(key: &Secret, params: CodeParams, time: Timestamp) -> Result<Secret, KeyError> {
    let token = totp(key, params)?.generate(seconds(time));
    Ok(Secret::new(token.to_string()))
}

/// Returns the time step that `time` lies in.
pub fn step_at(params: CodeParams, time: Timestamp) -> u64 {
    seconds(time) / u64::from(params.period.max(1))
}

/// Seconds since 1970; a clock before that reads as 1970.
fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_second()).unwrap_or(0)
}

/// The key with its parameters; drift is handled by the caller, since `totp_rs` stops at the first step that fits.
fn totp(key: &Secret, params: CodeParams) -> Result<Totp, KeyError> {
    let bytes = key::decode(key)?;
    // Old enrolments have 80-bit keys, which the checking constructor refuses. What the other one would panic on later
    // (no period, ten digits) is kept out here.
    Ok(Builder::new()
        .with_algorithm(match params.algorithm {
            Algorithm::Sha1 => totp_rs::Algorithm::SHA1,
            Algorithm::Sha256 => totp_rs::Algorithm::SHA256,
            Algorithm::Sha512 => totp_rs::Algorithm::SHA512,
        })
        .with_digits(params.digits.clamp(6, 8))
        .with_step_duration(u64::from(params.period.max(1)))
        .with_skew(0)
        .with_secret(bytes.as_slice().to_vec())
        .build_noncompliant())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::secret::base32;

    const T: fn(i64) -> Timestamp = |s| Timestamp::from_second(s).unwrap();

    fn params(algorithm: Algorithm, digits: u8, period: u16) -> CodeParams {
        CodeParams {
            algorithm,
            digits,
            period,
        }
    }

    fn key() -> Secret {
        base32(b"12345678901234567890")
    }

    /// RFC 6238, appendix B; the seeds have the length of the hash's output, as its erratum 2866 says.
    #[test]
    fn codes_match_the_vectors_of_rfc_6238() {
        let seeds = [
            (Algorithm::Sha1, base32(b"12345678901234567890")),
            (
                Algorithm::Sha256,
                base32(b"12345678901234567890123456789012"),
            ),
            (
                Algorithm::Sha512,
                base32(b"1234567890123456789012345678901234567890123456789012345678901234"),
            ),
        ];
        for (time, codes) in [
            (59, ["94287082", "46119246", "90693936"]),
            (1_111_111_109, ["07081804", "68084774", "25091201"]),
            (1_111_111_111, ["14050471", "67062674", "99943326"]),
            (1_234_567_890, ["89005924", "91819424", "93441116"]),
            (2_000_000_000, ["69279037", "90698825", "38618901"]),
            (20_000_000_000, ["65353130", "77737706", "47863826"]),
        ] {
            for ((algorithm, seed), code) in seeds.iter().zip(codes) {
                let p = params(*algorithm, 8, 30);
                assert_eq!(code_at(seed, p, T(time)).unwrap().expose(), code);
                let step = u64::try_from(time).unwrap() / 30;
                assert_eq!(
                    check(seed, p, code, T(time), None),
                    Ok(Verdict::Accepted { step })
                );
            }
        }
    }

    #[test]
    fn one_step_of_drift_either_way_and_no_more() {
        let code = code_at(&key(), CodeParams::DEFAULT, T(1_000_000_010)).unwrap();
        let step = 1_000_000_010 / 30;
        for (offset, accepted) in [
            (-60, false),
            (-30, true),
            (0, true),
            (30, true),
            (60, false),
        ] {
            let verdict = check(
                &key(),
                CodeParams::DEFAULT,
                code.expose(),
                T(1_000_000_010 + offset),
                None,
            );
            let wanted = if accepted {
                Verdict::Accepted { step }
            } else {
                Verdict::Wrong
            };
            assert_eq!(verdict, Ok(wanted), "{offset}");
        }
    }

    #[test]
    fn a_used_step_and_those_before_it_are_replays() {
        let now = T(1_000_000_010);
        let step = 1_000_000_010 / 30;
        let p = CodeParams::DEFAULT;
        let code = code_at(&key(), p, now).unwrap();
        let before = code_at(&key(), p, T(1_000_000_010 - 30)).unwrap();
        let after = code_at(&key(), p, T(1_000_000_010 + 30)).unwrap();
        let verdict = |c: &Secret| check(&key(), p, c.expose(), now, Some(step)).unwrap();
        assert_eq!(verdict(&code), Verdict::Replayed { step });
        assert_eq!(verdict(&before), Verdict::Replayed { step: step - 1 });
        assert_eq!(verdict(&after), Verdict::Accepted { step: step + 1 });
    }

    #[test]
    fn an_app_that_ignored_a_parameter_is_named() {
        let now = T(1_700_000_000);
        for (wanted, shown) in [
            (
                params(Algorithm::Sha256, 6, 30),
                params(Algorithm::Sha1, 6, 30),
            ),
            (
                params(Algorithm::Sha1, 8, 30),
                params(Algorithm::Sha1, 6, 30),
            ),
            (
                params(Algorithm::Sha1, 6, 60),
                params(Algorithm::Sha1, 6, 30),
            ),
            (
                params(Algorithm::Sha1, 6, 30),
                params(Algorithm::Sha512, 6, 30),
            ),
            (
                params(Algorithm::Sha1, 6, 30),
                params(Algorithm::Sha1, 8, 30),
            ),
        ] {
            let code = code_at(&key(), shown, now).unwrap();
            assert_eq!(
                check(&key(), wanted, code.expose(), now, None),
                Ok(Verdict::OtherParams(shown)),
                "{wanted} {shown}"
            );
        }
    }

    #[test]
    fn what_is_no_code_is_not_tried() {
        let now = T(1_700_000_000);
        for typed in [
            "",
            "12345",
            "123456789",
            "12345a",
            "１２３４５６",
            "+12345",
            "-12345",
            "12345\u{0}",
            "1234567",
        ] {
            assert_eq!(
                check(&key(), CodeParams::DEFAULT, typed, now, None),
                Ok(Verdict::Malformed),
                "{typed:?}"
            );
        }
        let code = code_at(&key(), CodeParams::DEFAULT, now).unwrap();
        let (left, right) = code.expose().split_at(3);
        assert!(matches!(
            check(
                &key(),
                CodeParams::DEFAULT,
                &format!(" {left} {right}\n"),
                now,
                None
            ),
            Ok(Verdict::Accepted { .. })
        ));
    }

    #[test]
    fn hostile_parameters_do_not_panic() {
        for (digits, period) in [(0, 0), (255, 1), (10, 30), (6, u16::MAX)] {
            let p = params(Algorithm::Sha1, digits, period);
            code_at(&key(), p, T(-5)).unwrap();
            check(&key(), p, "123456", T(0), Some(u64::MAX)).unwrap();
        }
    }
}
