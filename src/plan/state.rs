//! pam_google_authenticator's state files: what they must say, without losing what they know.
//!
//! Format: first line the base32 key; option lines begin with `" ` (quote, blank); unknown option lines survive the
//! module's own rewrites, which is where fleetotp keeps its stamp. The module writes used steps and attempts into the
//! same file, so a file is edited line by line, never rewritten from memory.

use std::fmt;

use crate::host::facts::StateFact;
use crate::host::request::Line;
use crate::inventory::model::Policy;
use crate::token::secret::Secret;

/// Who a state file belongs to: the line `" FLEETOTP v=1 project=… serial=… gen=… uid=… exp=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The project's id.
    pub project: String,
    /// The token's serial.
    pub serial: String,
    /// The generation.
    pub generation: i64,
    /// The account's uid.
    pub uid: u32,
    /// When the secret ends if nobody confirms it, in seconds since 1970; 0 is never.
    pub expires: i64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            project,
            serial,
            generation,
            uid,
            expires,
        } = self;
        write!(
            f,
            "\" FLEETOTP v=1 project={project} serial={serial} gen={generation} uid={uid} exp={expires}"
        )
    }
}

impl Stamp {
    /// Reads the stamp among a state file's option lines.
    pub fn of(state: &StateFact) -> Option<Self> {
        state.options.iter().find_map(|(_, line)| Self::parse(line))
    }

    fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end_matches('\r');
        // In a users file of pam_oath it is a comment.
        let rest = line
            .strip_prefix("\" FLEETOTP v=1 ")
            .or_else(|| line.strip_prefix("# FLEETOTP v=1 "))?;
        let field = |name: &str| {
            rest.split(' ')
                .find_map(|f| f.strip_prefix(name)?.strip_prefix('='))
        };
        Some(Self {
            project: field("project")?.to_owned(),
            serial: field("serial")?.to_owned(),
            generation: field("gen")?.parse().ok()?,
            uid: field("uid")?.parse().ok()?,
            expires: field("exp")?.parse().ok()?,
        })
    }
}

/// Returns the whole text of a new state file. Scratch codes are written here and nowhere else: an edit keeps those that
/// are left and never brings one back. `used` is a step whose code is not to be taken.
pub fn new_file(
    key: &Secret,
    policy: &Policy,
    stamp: &Stamp,
    scratch: &[Secret],
    used: Option<u64>,
) -> Vec<Line> {
    let mut lines = vec![Line::Secret(key.clone())];
    lines.extend(
        settings(policy)
            .into_iter()
            .map(|(name, args)| Line::Text(option(name, &args))),
    );
    lines.push(Line::Text(reuse_line("", used)));
    lines.push(Line::Text("\" TOTP_AUTH".to_owned()));
    lines.push(Line::Text(stamp.to_string()));
    lines.extend(scratch.iter().cloned().map(Line::Secret));
    lines
}

/// The option that names used steps, with one more.
fn reuse_line(args: &str, used: Option<u64>) -> String {
    let steps: Vec<String> = args
        .split_whitespace()
        .map(str::to_owned)
        .chain(used.map(|step| step.to_string()))
        .collect();
    option("DISALLOW_REUSE", &steps.join(" "))
        .trim_end()
        .to_owned()
}

/// Returns the step of the code that was typed at the controller, where a host would still take that code: it looks as
/// many steps back as `window` says by its own clock (`check_timebased_code`). One step ahead is a host whose clock is slow.
pub fn still_valid(step: Option<u64>, policy: &Policy, host_epoch: i64) -> Option<u64> {
    let period = i64::try_from(policy.period.as_secs()).ok()?.max(1);
    let now = host_epoch.div_euclid(period);
    let window = i64::from(policy.window);
    step.filter(|step| {
        i64::try_from(*step)
            .is_ok_and(|step| (now - window..=now.saturating_add(window + 1)).contains(&step))
    })
}

fn option(name: &str, args: &str) -> String {
    format!("\" {name} {args}")
}

/// Options that a policy decides. `WINDOW_SIZE` counts both directions and the current step.
fn settings(policy: &Policy) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        (
            "RATE_LIMIT",
            format!(
                "{} {}",
                policy.rate_limit.attempts, policy.rate_limit.seconds
            ),
        ),
        (
            "WINDOW_SIZE",
            (2 * u32::from(policy.window) + 1).to_string(),
        ),
    ];
    if policy.period.as_secs() != 30 {
        settings.push(("STEP_SIZE", policy.period.as_secs().to_string()));
    }
    settings
}

/// Returns how to edit a file of the right generation so that it says what the policy wants; `None` if it does already.
///
/// Keeps used steps, time stamps of attempts, scratch codes and lines it does not know. Drops what a wrong clock or a
/// hand may have left: a learnt time skew and a grace period's memory. `used` is a step whose code is not to be taken.
pub fn edit(state: &StateFact, policy: &Policy, used: Option<u64>) -> Option<Vec<Line>> {
    let used = used.filter(|step| !used_steps(state).contains(step));
    let mut wanted = settings(policy);
    wanted.push(("DISALLOW_REUSE", String::new()));
    wanted.push(("TOTP_AUTH", String::new()));
    let mut missing: Vec<(&str, String)> = wanted.clone();
    let mut replaced = Vec::new();
    let mut dropped = Vec::new();
    for (number, line) in &state.options {
        let Some((name, args)) = split_option(line) else {
            continue;
        };
        if let Some((_, value)) = wanted.iter().find(|(n, _)| *n == name) {
            if missing.iter().any(|(n, _)| *n == name) {
                missing.retain(|(n, _)| *n != name);
                if name == "DISALLOW_REUSE" && used.is_some() {
                    replaced.push((*number, reuse_line(args, used)));
                } else if !says(args, value) {
                    replaced.push((*number, with_value(name, args, value)));
                }
            } else {
                dropped.push(*number);
            }
        } else if matches!(
            name,
            "TIME_SKEW" | "RESETTING_TIME_SKEW" | "HOTP_COUNTER" | "STEP_SIZE"
        ) || is_last(name)
        {
            dropped.push(*number);
        }
    }
    if missing.is_empty() && replaced.is_empty() && dropped.is_empty() {
        return None;
    }
    let mut lines = vec![Line::Keep(1, 1)];
    lines.extend(missing.iter().map(|(name, value)| match *name {
        "DISALLOW_REUSE" => Line::Text(reuse_line("", used)),
        _ => Line::Text(option(name, value).trim_end().to_owned()),
    }));
    for number in 2..=state.lines {
        if dropped.contains(&number) {
            continue;
        }
        match replaced.iter().find(|(n, _)| *n == number) {
            Some((_, text)) => lines.push(Line::Text(text.clone())),
            None => match lines.last_mut() {
                Some(Line::Keep(from, to)) if *to + 1 == number && *from > 1 => *to = number,
                _ => lines.push(Line::Keep(number, number)),
            },
        }
    }
    Some(lines)
}

/// `" NAME args` exactly as the module reads it: quote, one blank, name, then blank or end.
fn split_option(line: &str) -> Option<(&str, &str)> {
    let rest = line.trim_end_matches('\r').strip_prefix("\" ")?;
    Some(rest.split_once([' ', '\t']).unwrap_or((rest, "")))
}

fn is_last(name: &str) -> bool {
    name.strip_prefix("LAST")
        .is_some_and(|n| n.len() == 1 && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether the arguments begin with the wanted values; what follows is the module's own memory.
fn says(args: &str, value: &str) -> bool {
    let mut have = args.split_whitespace();
    value
        .split_whitespace()
        .all(|want| have.next() == Some(want))
}

/// Replaces the leading values and keeps the module's memory behind them.
fn with_value(name: &str, args: &str, value: &str) -> String {
    let memory: Vec<&str> = args
        .split_whitespace()
        .skip(value.split_whitespace().count())
        .collect();
    format!("{} {}", option(name, value), memory.join(" "))
        .trim_end()
        .to_owned()
}

/// Returns the steps that were used with this file's key (`DISALLOW_REUSE`).
pub fn used_steps(state: &StateFact) -> Vec<u64> {
    state
        .options
        .iter()
        .filter_map(|(_, line)| split_option(line))
        .filter(|(name, _)| *name == "DISALLOW_REUSE")
        .flat_map(|(_, args)| args.split_whitespace().filter_map(|s| s.parse().ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::wish::tests::policy;

    fn stamp() -> Stamp {
        Stamp {
            project: "P-1".into(),
            serial: "T-1".into(),
            generation: 2,
            uid: 1001,
            expires: 99,
        }
    }

    fn fact(lines: &[&str]) -> StateFact {
        StateFact {
            options: lines
                .iter()
                .enumerate()
                .filter(|(_, l)| l.starts_with('"'))
                .map(|(i, l)| (i as u32 + 2, (*l).to_owned()))
                .collect(),
            lines: lines.len() as u32 + 1,
            ..StateFact::default()
        }
    }

    #[test]
    fn a_stamp_reads_back() {
        let text = stamp().to_string();
        assert_eq!(Stamp::of(&fact(&["\" TOTP_AUTH", &text])), Some(stamp()));
        assert_eq!(Stamp::of(&fact(&["\" TOTP_AUTH"])), None);
    }

    #[test]
    fn a_new_file_has_every_option_with_its_blank_after_the_quote() {
        let lines = new_file(
            &Secret::from("KEY"),
            &policy(),
            &stamp(),
            &[Secret::from("12345678")],
            None,
        );
        let text: Vec<String> = lines
            .iter()
            .map(|l| match l {
                Line::Text(t) => t.clone(),
                Line::Secret(_) => "KEY".into(),
                _ => panic!(),
            })
            .collect();
        assert_eq!(
            text[..5],
            [
                "KEY",
                "\" RATE_LIMIT 3 30",
                "\" WINDOW_SIZE 3",
                "\" DISALLOW_REUSE",
                "\" TOTP_AUTH"
            ]
        );
        // The stamp, and scratch codes last, as the module writes them; secrets are never shown.
        assert!(text[5].starts_with("\" FLEETOTP v=1 "));
        assert_eq!(lines[6..], [Line::Secret(Secret::from("12345678"))]);
    }

    #[test]
    fn the_modules_memory_is_no_difference() {
        let state = fact(&[
            "\" RATE_LIMIT 3 30 1795485319",
            "\" WINDOW_SIZE 3",
            "\" DISALLOW_REUSE 59849510",
            "\" TOTP_AUTH",
            "12345678",
            "\" X_OTHER keep",
        ]);
        assert_eq!(edit(&state, &policy(), None), None);
        assert_eq!(used_steps(&state), [59_849_510]);
    }

    #[test]
    fn an_edit_keeps_memory_scratch_codes_and_unknown_lines() {
        let state = fact(&[
            "\" RATE_LIMIT 9 99 1795485319",
            "\" TIME_SKEW 4",
            "\" DISALLOW_REUSE 59849510",
            "\" TOTP_AUTH",
            "12345678",
            "\" X_OTHER keep",
        ]);
        assert_eq!(
            edit(&state, &policy(), None).unwrap(),
            [
                Line::Keep(1, 1),
                Line::Text("\" WINDOW_SIZE 3".into()),
                Line::Text("\" RATE_LIMIT 3 30 1795485319".into()),
                Line::Keep(4, 7),
            ]
        );
    }

    #[test]
    fn a_code_typed_elsewhere_is_used_and_no_other_use_is_forgotten() {
        let state = fact(&[
            "\" RATE_LIMIT 3 30",
            "\" WINDOW_SIZE 3",
            "\" DISALLOW_REUSE 59849510 59849511",
            "\" TOTP_AUTH",
        ]);
        assert_eq!(edit(&state, &policy(), Some(59_849_511)), None);
        assert_eq!(
            edit(&state, &policy(), Some(59_849_509)).unwrap(),
            [
                Line::Keep(1, 1),
                Line::Keep(2, 3),
                Line::Text("\" DISALLOW_REUSE 59849510 59849511 59849509".into()),
                Line::Keep(5, 5),
            ]
        );
    }

    #[test]
    fn a_code_matters_as_long_as_a_host_would_take_it() {
        let valid = |step, now: i64| still_valid(Some(step), &policy(), now * 30 + 7).is_some();
        let found: Vec<i64> = (90..110).filter(|now| valid(100, *now)).collect();
        assert_eq!(found, [98, 99, 100, 101]);
        assert_eq!(still_valid(None, &policy(), 3000), None);
    }

    /// `"RATE_LIMIT` without the blank is ignored by the module, so it counts as missing.
    #[test]
    fn an_option_the_module_would_ignore_is_missing() {
        let state = fact(&[
            "\"RATE_LIMIT 3 30",
            "\" WINDOW_SIZE 3",
            "\" DISALLOW_REUSE",
            "\" TOTP_AUTH",
        ]);
        assert!(
            edit(&state, &policy(), None)
                .unwrap()
                .contains(&Line::Text("\" RATE_LIMIT 3 30".into()))
        );
    }
}
