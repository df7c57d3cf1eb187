//! What in logins is worth somebody's attention. Pure: what the ledger holds goes in, findings come out.

mod origins;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::clock::{Span, Timestamp};
use crate::ledger::{BypassRecord, LogGap, LoginRecord, TokenHostRecord, TokenRecord};
use crate::names::{HostName, Login};
use crate::token::id::Serial;
use crate::token::params::CodeParams;
use crate::token::secret::fingerprint_of;
use crate::token::state::{TokenHostState, TokenState};

/// Lines that a finding shows at most.
const MOST_LINES: usize = 5;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Worth knowing.
    Notice,
    /// Somebody should look at it.
    Warning,
    /// Somebody should look at it now.
    Alert,
}

impl Weight {
    /// Returns the word that stands in the ledger and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Alert => "alert",
        }
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActivityFinding {
    /// Names this one: judged again, it has the same key.
    pub key: String,
    /// A stable name, such as `failure-spike`.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Weight,
    /// When, or when it was noticed.
    pub at: Timestamp,
    /// Whom it is about.
    pub admin: Option<String>,
    /// Their token.
    pub serial: Option<Serial>,
    /// Their account.
    pub login: Option<Login>,
    /// Where; several for one that is about several hosts.
    pub hosts: Vec<HostName>,
    /// What was found.
    pub text: String,
    /// Log lines.
    pub evidence: Vec<String>,
}

/// What findings are made of.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The logins to judge, oldest first.
    pub judged: Vec<LoginRecord>,
    /// Every accepted login that is stored, those to judge as well, oldest first.
    pub accepted: Vec<LoginRecord>,
    /// Tokens.
    pub tokens: Vec<TokenRecord>,
    /// Tokens on hosts.
    pub on_hosts: Vec<TokenHostRecord>,
    /// One-time codes, ended ones as well.
    pub bypasses: Vec<BypassRecord>,
    /// Recovery codes that were redeemed in the time judged.
    pub recoveries: Vec<(Serial, Timestamp)>,
    /// What was lost of logs in the time judged.
    pub gaps: Vec<LogGap>,
    /// Hosts whose logs were read.
    pub read: BTreeSet<HostName>,
    /// Hosts whose PAM module logs no codes: what sshd says of keyboard-interactive is all there is.
    pub silent: BTreeSet<HostName>,
    /// Now.
    pub now: Timestamp,
}

/// From where findings begin.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// So many refused tries of one login.
    pub spike: u32,
    /// Within this time.
    pub within: Span,
    /// A token that is demanded and was not used for so long.
    pub unused: Span,
}

/// Finds what there is, the weightiest first.
pub fn findings(known: &Known, limits: Limits) -> Vec<ActivityFinding> {
    let mut found = Vec::new();
    spikes(known, limits, &mut found);
    rate_limited(known, &mut found);
    two_hosts(known, &mut found);
    origins::new_networks(known, &mut found);
    origins::new_countries(known, &mut found);
    origins::travels(known, &mut found);
    one_time_codes(known, &mut found);
    dead(known, &mut found);
    no_code(known, &mut found);
    unused(known, limits, &mut found);
    for gap in &known.gaps {
        let time = |t: Option<Timestamp>, other: &str| {
            t.map_or_else(|| other.to_owned(), |t| t.to_string())
        };
        let text = format!(
            "{}: the log was lost between {} and {}",
            gap.host,
            time(gap.after, "its beginning"),
            time(gap.until, "now")
        );
        let mut one = known.finding("log-gap", Weight::Warning, gap.noticed_at, None, text);
        one.hosts = vec![gap.host.clone()];
        found.push(one);
    }
    for one in &mut found {
        one.key = key_of(one);
    }
    found.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.at.cmp(&b.at)));
    found
}

/// What a finding rests on, hashed. Later tries belong to a run of them that was found before, so only the last counts.
fn key_of(found: &ActivityFinding) -> String {
    let mut parts = vec![found.id.to_owned()];
    parts.extend(found.serial.as_ref().map(ToString::to_string));
    parts.extend(found.login.as_ref().map(ToString::to_string));
    match found.id {
        "never-used" => {}
        "failure-spike" | "rate-limited" => parts.extend(found.evidence.last().cloned()),
        _ if found.evidence.is_empty() => parts.extend([found.at.to_string(), found.text.clone()]),
        _ => parts.extend(found.evidence.iter().cloned()),
    }
    fingerprint_of(parts.join("\n").as_bytes())
}

impl Known {
    fn token(&self, serial: Option<&Serial>) -> Option<&TokenRecord> {
        self.tokens.iter().find(|t| Some(&t.serial) == serial)
    }

    fn finding(
        &self,
        id: &'static str,
        severity: Weight,
        at: Timestamp,
        serial: Option<&Serial>,
        text: String,
    ) -> ActivityFinding {
        ActivityFinding {
            key: String::new(),
            id,
            severity,
            at,
            admin: self
                .token(serial)
                .and_then(|t| Some(t.admin.as_ref()?.to_string())),
            serial: serial.cloned(),
            login: None,
            hosts: Vec::new(),
            text,
            evidence: Vec::new(),
        }
    }

    fn about(
        &self,
        id: &'static str,
        severity: Weight,
        logins: &[&LoginRecord],
        text: String,
    ) -> Option<ActivityFinding> {
        let last = logins.last()?;
        let hosts: BTreeSet<&HostName> = logins.iter().map(|l| &l.host).collect();
        let mut one = self.finding(id, severity, last.at, last.serial.as_ref(), text);
        one.login = Some(last.login.clone());
        one.hosts = hosts.into_iter().cloned().collect();
        // The last ones: they led to it.
        let skipped = logins.len().saturating_sub(MOST_LINES);
        one.evidence = logins
            .iter()
            .skip(skipped)
            .map(|l| format!("{} {} {}", l.at, l.host, l.line))
            .collect();
        Some(one)
    }

    /// The one-time code that let somebody in. It works once, so later logins within its time are by the usual code.
    fn bypass_for(&self, login: &LoginRecord) -> Option<&BypassRecord> {
        let fits = |b: &BypassRecord, l: &LoginRecord| {
            l.has_code()
                && l.refused_before == 0
                && b.host == l.host
                && b.login == l.login
                && b.granted_at <= l.at
                && l.at <= b.ended_at.unwrap_or(b.due_at)
        };
        self.bypasses.iter().find(|b| {
            let first = self.accepted.iter().find(|l| fits(b, l));
            first.is_some_and(|first| line_of(first) == line_of(login))
        })
    }

    /// How long a time step of the codes of a login's key is, in seconds.
    fn step_length(&self, login: &LoginRecord) -> i64 {
        let token = self.token(login.serial.as_ref());
        let generation = token.and_then(|t| {
            let own = login.generation.and_then(|number| t.generation(number));
            own.or(t.current.as_ref()).or(t.next.as_ref())
        });
        let params = generation.map_or(CodeParams::DEFAULT, |g| g.params);
        i64::from(params.period.max(1))
    }

    /// Whose login it is: an admin's, over realms and accounts, where the token is known.
    fn person<'a>(&'a self, login: &'a LoginRecord) -> &'a str {
        self.token(login.serial.as_ref())
            .map_or(login.login.as_str(), |token| token.person.as_str())
    }

    fn on_host(&self, login: &LoginRecord) -> Option<&TokenHostRecord> {
        self.on_hosts
            .iter()
            .find(|t| t.host == login.host && Some(&t.serial) == login.serial.as_ref())
    }
}

/// What tells one login from another.
fn line_of(login: &LoginRecord) -> (&HostName, &str, Timestamp) {
    (&login.host, login.line.as_str(), login.at)
}

fn by_person<'a>(
    logins: impl Iterator<Item = &'a LoginRecord>,
) -> BTreeMap<(Option<&'a Serial>, &'a Login), Vec<&'a LoginRecord>> {
    let mut all: BTreeMap<_, Vec<&LoginRecord>> = BTreeMap::new();
    for login in logins {
        all.entry((login.serial.as_ref(), &login.login))
            .or_default()
            .push(login);
    }
    all
}

fn spikes(known: &Known, limits: Limits, found: &mut Vec<ActivityFinding>) {
    let within = i64::try_from(limits.within.as_secs()).unwrap_or(i64::MAX);
    let least = usize::try_from(limits.spike.max(1)).unwrap_or(usize::MAX);
    for ((_, login), all) in by_person(known.judged.iter().filter(|l| l.is_refused())) {
        // The longest run in which any `least` in a row lie within the time.
        let close = |w: &[&LoginRecord]| match w {
            [first, .., last] => last.at.as_second() - first.at.as_second() <= within,
            _ => true,
        };
        let Some(start) = all.windows(least).position(close) else {
            continue;
        };
        let tail = all.get(start..).unwrap_or_default();
        let text = format!(
            "{} refused tries of {login}, {least} of them within {}",
            tail.len(),
            limits.within
        );
        found.extend(known.about("failure-spike", Weight::Warning, tail, text));
    }
}

fn rate_limited(known: &Known, found: &mut Vec<ActivityFinding>) {
    let limited = known.judged.iter().filter(|l| l.outcome == "rate-limited");
    for ((_, login), all) in by_person(limited) {
        let text = format!("{login} was refused {} times for too many tries", all.len());
        found.extend(known.about("rate-limited", Weight::Warning, &all, text));
    }
}

/// One code on two hosts: from the same address with the same key it is one person at two windows.
fn two_hosts(known: &Known, found: &mut Vec<ActivityFinding>) {
    let judged: BTreeSet<_> = known.judged.iter().map(line_of).collect();
    for ((serial, login), all) in by_person(known.accepted.iter().filter(|l| l.has_code())) {
        if serial.is_none() {
            continue;
        }
        for (index, second) in all.iter().enumerate() {
            // Either of them may have come later.
            let is_new = judged.contains(&line_of(second));
            let length = known.step_length(second);
            let first = all.iter().take(index).rev().take(20).find(|first| {
                first.host != second.host
                    && (is_new || judged.contains(&line_of(first)))
                    && same_code(first, second, length)
                    && (first.address != second.address || differ(&first.key, &second.key))
            });
            let Some(first) = first else { continue };
            let exact = first.step.is_some() && second.step.is_some();
            let text = format!(
                "{login} was let in on {} and {} with {} from {} and {}",
                first.host,
                second.host,
                if exact {
                    "one code"
                } else {
                    "codes of one time step"
                },
                first.address.as_deref().unwrap_or("?"),
                second.address.as_deref().unwrap_or("?"),
            );
            let weight = if exact {
                Weight::Alert
            } else {
                Weight::Warning
            };
            found.extend(known.about("code-on-two-hosts", weight, &[first, second], text));
        }
    }
}

fn same_code(a: &LoginRecord, b: &LoginRecord, length: i64) -> bool {
    let generations = (a.generation, b.generation);
    if matches!(generations, (Some(a), Some(b)) if a != b) {
        return false;
    }
    match (a.step, b.step) {
        (Some(a), Some(b)) => a == b,
        _ => a.at.as_second().div_euclid(length) == b.at.as_second().div_euclid(length),
    }
}

fn differ(a: &Option<String>, b: &Option<String>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a != b)
}

fn one_time_codes(known: &Known, found: &mut Vec<ActivityFinding>) {
    for login in known.judged.iter().filter(|l| l.is_accepted()) {
        if let Some(bypass) = known.bypass_for(login) {
            let text = format!(
                "{} logged in on {} with one-time code {} ({}, {})",
                login.login,
                login.host,
                bypass.id,
                bypass.ticket.as_deref().unwrap_or("no ticket"),
                bypass.reason
            );
            found.extend(known.about("break-glass-used", Weight::Warning, &[login], text));
        }
    }
    for (serial, at) in &known.recoveries {
        let text = format!("a recovery code of token {serial} was redeemed");
        found.push(known.finding(
            "recovery-code-used",
            Weight::Warning,
            *at,
            Some(serial),
            text,
        ));
    }
}

/// Somebody got in with what should let nobody in any more.
fn dead(known: &Known, found: &mut Vec<ActivityFinding>) {
    for login in known.judged.iter().filter(|l| l.is_accepted()) {
        let Some(token) = known.token(login.serial.as_ref()) else {
            continue;
        };
        let ended = matches!(
            token.state,
            TokenState::Revoked | TokenState::Revoking | TokenState::Expired
        );
        if ended && login.at >= token.changed_at {
            let text = format!(
                "{} logged in on {} after token {} had become {}",
                login.login,
                login.host,
                token.serial,
                token.state.as_str()
            );
            found.extend(known.about("login-after-end", Weight::Alert, &[login], text));
        } else if let Some(generation) = login.generation
            && login.has_code()
            && token.generation(generation).is_none()
            && login.at >= token.changed_at
        {
            let text = format!(
                "{} logged in on {} with a code of generation {generation}, which is dead",
                login.login, login.host
            );
            found.extend(known.about("dead-generation", Weight::Alert, &[login], text));
        }
    }
}

/// The factor of a login that PAM was asked about, where nothing says what it asked.
const ASKED: &str = "keyboard-interactive/pam";

/// The host demands a code, and somebody got in without one.
fn no_code(known: &Known, found: &mut Vec<ActivityFinding>) {
    let without = known
        .judged
        .iter()
        .filter(|l| l.is_accepted() && l.service == "sshd" && !l.has_code())
        .filter(|l| !(known.silent.contains(&l.host) && l.factors.iter().any(|f| f == ASKED)));
    for login in without {
        let demanded = known
            .on_host(login)
            .is_some_and(|t| t.state == TokenHostState::Enforced && t.changed_at <= login.at);
        if demanded {
            let text = format!(
                "{} logged in on {} without a code ({}), although the host demands one",
                login.login,
                login.host,
                login.factors.join("+")
            );
            found.extend(known.about("no-second-factor", Weight::Alert, &[login], text));
        }
    }
}

/// A token that is demanded somewhere and was used nowhere: nobody needs that access, or nobody has the device.
fn unused(known: &Known, limits: Limits, found: &mut Vec<ActivityFinding>) {
    let used: BTreeSet<&Serial> = known
        .accepted
        .iter()
        .filter(|l| l.has_code())
        .filter_map(|l| l.serial.as_ref())
        .collect();
    for token in known
        .tokens
        .iter()
        .filter(|t| t.state == TokenState::Active)
    {
        let mine: Vec<&TokenHostRecord> = known
            .on_hosts
            .iter()
            .filter(|t| t.serial == token.serial && t.state == TokenHostState::Enforced)
            .collect();
        let oldest = mine.iter().map(|t| t.changed_at).min();
        // Where a host's log is not read, a login there would not be known.
        let all_read = mine
            .iter()
            .all(|t| known.read.contains(&t.host) && !known.silent.contains(&t.host));
        let long_ago = oldest.is_some_and(|at| limits.unused.after(at) <= known.now);
        if !long_ago || !all_read || used.contains(&token.serial) {
            continue;
        }
        let text = format!(
            "token {} is demanded on {} hosts for more than {} and no login used it",
            token.serial,
            mine.len(),
            limits.unused
        );
        let mut one = known.finding(
            "never-used",
            Weight::Notice,
            known.now,
            Some(&token.serial),
            text,
        );
        one.login = mine.first().map(|t| t.login.clone());
        one.hosts = mine.iter().map(|t| t.host.clone()).collect();
        found.push(one);
    }
}
