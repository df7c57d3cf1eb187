//! Evidence that a pending admin has logged in with a code: a used step of the generation *and* sshd's accepted public
//! key in the same connection. A right code without a key is refused and still marks the step.

use jiff::civil::DateTime;

use crate::clock::Timestamp;
use crate::host::facts::{Facts, Slot};
use crate::names::Login;
use crate::plan::state;

/// Seconds after the end of a step within which the login must have been accepted (sshd's LoginGraceTime).
const GRACE: i64 = 120;

/// Returns the used step of a slot's secret that a complete login proves, if there is one. `period` is the step's length
/// in seconds.
pub fn confirmed_step(
    facts: &Facts,
    slot: Slot,
    login: &Login,
    period: i64,
    now: Timestamp,
) -> Option<u64> {
    let state = facts.states.get(&(slot, login.clone()))?;
    let logins = complete_logins(facts, login, now);
    state::used_steps(state).into_iter().find(|step| {
        let start = i64::try_from(*step).unwrap_or(0) * period;
        logins
            .iter()
            .any(|at| *at >= start - period && *at <= start + 2 * period + GRACE)
    })
}

/// Returns the times of connections in which both factors were accepted.
fn complete_logins(facts: &Facts, login: &Login, now: Timestamp) -> Vec<i64> {
    // Who is enforced gives the key first, who is pending the code; one is partial and the other completes the login.
    let orders = [
        ("keyboard-interactive/pam", "publickey"),
        ("publickey", "keyboard-interactive/pam"),
    ]
    .map(|(first, last)| {
        (
            format!("Partial {first} for {login} from "),
            format!("Accepted {last} for {login} from "),
        )
    });
    let mut half: Vec<(usize, String)> = Vec::new();
    let mut times = Vec::new();
    for line in &facts.log_lines {
        let Some(message) = message_of_sshd(line) else {
            continue;
        };
        for (order, (partial, accepted)) in orders.iter().enumerate() {
            if let Some(peer) = message.strip_prefix(partial.as_str()).and_then(peer) {
                half.push((order, peer));
            } else if let Some(peer) = message.strip_prefix(accepted.as_str()).and_then(peer)
                && half.contains(&(order, peer))
            {
                times.extend(time_of(line, facts.utc_offset, now).map(Timestamp::as_second));
            }
        }
    }
    times
}

/// Returns what sshd itself said: `… sshd[311]: message`. A name that a stranger gives at the login prompt is logged as
/// well, and may look like such a message; it never stands at the beginning of one.
fn message_of_sshd(line: &str) -> Option<&str> {
    let (head, message) = line.split_once("]: ")?;
    let (program, pid) = head.rsplit(' ').next()?.split_once('[')?;
    let program = program.strip_suffix(".pam").unwrap_or(program);
    (matches!(program, "sshd" | "sshd-session" | "sshd-auth")
        && pid.bytes().all(|b| b.is_ascii_digit()))
    .then_some(message)
}

/// `192.0.2.1 port 4711 ssh2: …` names the connection.
fn peer(rest: &str) -> Option<String> {
    let mut words = rest.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some(address), Some("port"), Some(port)) => Some(format!("{address} {port}")),
        _ => None,
    }
}

/// Reads the time of a log line: `1795485320.123 …` (journal), RFC 3339, or `Nov 24 03:25:01` in the host's local time.
pub fn time_of(line: &str, utc_offset: i64, now: Timestamp) -> Option<Timestamp> {
    let first = line.split(' ').next()?;
    if let Some((seconds, _)) = first.split_once('.')
        && let Ok(seconds) = seconds.parse()
    {
        return Timestamp::from_second(seconds).ok();
    }
    if let Ok(time) = first.parse::<Timestamp>() {
        return Some(time);
    }
    let mut words = line.split_whitespace();
    let (month, day, clock) = (words.next()?, words.next()?, words.next()?);
    let year = jiff::tz::Offset::UTC.to_datetime(now).year();
    // Such lines have no year: a date in the future is last year's.
    [year, year - 1].into_iter().find_map(|year| {
        let text = format!("{year} {month} {day} {clock}");
        let civil = DateTime::strptime("%Y %b %d %H:%M:%S", &text).ok()?;
        let at = jiff::tz::Offset::UTC.to_timestamp(civil).ok()?.as_second() - utc_offset;
        (at <= now.as_second() + 86_400)
            .then(|| Timestamp::from_second(at).ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::facts::StateFact;

    fn facts(log: &[&str], step: &str) -> Facts {
        let mut facts = Facts {
            log_lines: log.iter().map(|l| (*l).to_owned()).collect(),
            ..Facts::default()
        };
        let state = StateFact {
            options: vec![(2, format!("\" DISALLOW_REUSE {step}"))],
            ..StateFact::default()
        };
        facts
            .states
            .insert((Slot::Current, Login::new("alice").unwrap()), state);
        facts
    }

    const NOW: &str = "2026-11-24T04:00:00Z";
    // 2026-11-24T03:25:01Z is in step 59849690 of thirty seconds.
    const STEP: &str = "59849690";

    fn check(log: &[&str], step: &str) -> Option<u64> {
        confirmed_step(
            &facts(log, step),
            Slot::Current,
            &Login::new("alice").unwrap(),
            30,
            NOW.parse().unwrap(),
        )
    }

    #[test]
    fn code_and_key_in_one_connection_prove_a_login() {
        let log = [
            "Nov 24 03:25:01 web1 sshd[7]: Partial keyboard-interactive/pam for alice from 10.77.0.1 port 40000 ssh2",
            "Nov 24 03:25:01 web1 sshd[7]: Accepted publickey for alice from 10.77.0.1 port 40000 ssh2: ED25519 SHA256:x",
        ];
        assert_eq!(check(&log, STEP), STEP.parse().ok());
        let iso = log.map(|l| l.replace("Nov 24 03:25:01", "2026-11-24T04:25:01.5+01:00"));
        assert_eq!(check(&[&iso[0], &iso[1]], STEP), STEP.parse().ok());
    }

    #[test]
    fn key_and_code_prove_a_login_as_well() {
        let log = [
            "2026-11-24T03:25:01.1+00:00 t sshd-session[7]: Partial publickey for alice from 10.77.0.1 port 40000 ssh2: ED25519 SHA256:x",
            "2026-11-24T03:25:01.9+00:00 t sshd-session[7]: Accepted keyboard-interactive/pam for alice from 10.77.0.1 port 40000 ssh2",
        ];
        assert_eq!(check(&log, STEP), STEP.parse().ok());
        assert_eq!(check(&log[1..], STEP), None, "the key was not seen");
    }

    #[test]
    fn a_name_given_at_the_prompt_is_no_message() {
        let code = "Nov 24 03:25:01 web1 sshd[7]: Partial keyboard-interactive/pam for alice from 10.77.0.1 port 40000 ssh2";
        let forged = "Accepted publickey for alice from 10.77.0.1 port 40000";
        for line in [
            format!(
                "Nov 24 03:25:02 web1 sshd[9]: Invalid user {forged} from 10.77.0.1 port 40002"
            ),
            format!(
                "Nov 24 03:25:02 web1 sshd[9]: Invalid user x sshd[7]: {forged} from 10.77.0.1 port 40002"
            ),
            format!("Nov 24 03:25:02 web1 other[9]: {forged} ssh2"),
        ] {
            assert_eq!(check(&[code, &line], STEP), None, "{line}");
        }
    }

    #[test]
    fn a_code_without_a_key_or_from_another_connection_proves_nothing() {
        let code = "Nov 24 03:25:01 web1 sshd[7]: Partial keyboard-interactive/pam for alice from 10.77.0.1 port 40000 ssh2";
        let other = "Nov 24 03:25:02 web1 sshd[9]: Accepted publickey for alice from 10.77.0.1 port 40002 ssh2: ED25519 SHA256:x";
        assert_eq!(check(&[code], STEP), None);
        assert_eq!(check(&[code, other], STEP), None);
    }

    #[test]
    fn a_login_of_an_earlier_generation_proves_nothing() {
        let log = [
            "Nov 20 03:25:01 web1 sshd[7]: Partial keyboard-interactive/pam for alice from 10.77.0.1 port 40000 ssh2",
            "Nov 20 03:25:01 web1 sshd[7]: Accepted publickey for alice from 10.77.0.1 port 40000 ssh2: ED25519 SHA256:x",
        ];
        assert_eq!(check(&log, STEP), None);
    }
}
