//! What one line says. A stranger chooses the name at a login prompt, and sshd logs it: so only names that can be an
//! account's are read, patterns cover the whole line, and addresses are read from its right end.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::activity::line::Line;
use crate::names::Login;
use crate::token::state::Slot;

/// sshd's own programs: since 9.8 sshd-session speaks, since 10.0 sshd-auth as well.
const SSHD: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];
/// The module's name in an identity such as `sshd(pam_google_authenticator)`, as it was and as it is since 1.10.
const MODULE: [&str; 2] = ["(pam_google_authenticator)", "(pam_google_auth)"];

/// Whether a program that logs is sshd's own. Alpine's with PAM are called `sshd.pam`, `sshd-session.pam`.
fn is_sshd(program: &str) -> bool {
    SSHD.contains(&program.strip_suffix(".pam").unwrap_or(program))
}

/// The only text of pam_strerror(3) that holds ` for ` itself.
const EXHAUSTED: &str = "Have exhausted maximum number of retries for service";

/// A connection as sshd names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The address, or a name with `UseDNS`.
    pub from: String,
    /// The port; sshd's line about PAM has none.
    pub port: Option<u16>,
}

/// What the module said of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right. No proof of a login: the state may not have been saved, or sshd may refuse.
    Accepted,
    /// Wrong.
    Invalid,
    /// Right, but used before; `Invalid` follows.
    Reused,
    /// Too many tries; nothing was asked.
    RateLimited,
    /// There is no secret; a code is asked for all the same, and `Invalid` follows.
    NoSecret,
    /// The secret's file cannot be used as it is.
    Broken,
    /// The state could not be written, so the login is refused.
    NotSaved,
    /// Nobody typed a code.
    NoAnswer,
    /// No code was asked for, so soon after the last one.
    Grace,
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The module judged a code.
    Module {
        /// PAM service.
        service: String,
        /// Whose; some messages name only the file.
        login: Option<Login>,
        /// Which file, where it is named.
        slot: Option<Slot>,
        /// What it said.
        verdict: Verdict,
    },
    /// A connection came in.
    Opened(Peer),
    /// A method succeeded, and with it the login (`last`) or not yet.
    Passed {
        /// The login is complete.
        last: bool,
        /// The method.
        method: String,
        /// Whose.
        login: Login,
        /// From where.
        peer: Peer,
        /// Fingerprint of the key.
        key: Option<String>,
    },
    /// A method failed.
    Failed {
        /// The method.
        method: String,
        /// Whose.
        login: Login,
        /// From where.
        peer: Peer,
    },
    /// PAM refused.
    PamRefused {
        /// Whose.
        login: Login,
        /// From where.
        peer: Peer,
    },
    /// The account may not log in, whatever is typed.
    NotAllowed(Login),
    /// A connection of somebody who is not logged in ended.
    Closed {
        /// Whose.
        login: Login,
        /// From where.
        peer: Peer,
    },
    /// Somebody without an account. The name is not kept: people type passwords there.
    Stranger(Peer),
}

macro_rules! regexes {
    ($($name:ident = $text:expr;)*) => {
        $(
            static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).unwrap());
        )*
    };
}

// A login has no blank, so the first blank ends it; what follows has to be the address and nothing else.
regexes! {
    REPEATED = r"^message repeated (\d{1,3}) times: \[ (.*)\]$";
    OPENED = r"^Connection from (?<from>[0-9A-Za-z.:%_-]+) port (?<port>\d{1,5})( on .*)?$";
    PASSED = r"^(?<word>Accepted|Partial) (?<method>[a-z-]+(/[a-z]+)?) for (?<login>[^ ]+) from (?<from>[0-9A-Za-z.:%_-]+) port (?<port>\d{1,5}) ssh2(: (?<key>.*))?$";
    FAILED = r"^Failed (?<method>[a-z-]+(/[a-z]+)?) for (?<login>[^ ]+) from (?<from>[0-9A-Za-z.:%_-]+) port (?<port>\d{1,5}) ssh2(: .*)?$";
    PAM_FOR = r"^(?<login>[^ ]+) from (?<from>[0-9A-Za-z.:%_-]+)$";
    NOT_ALLOWED = r"^(fatal: )?(User (?<login>[^ ]+) (from [^ ]+ )?not allowed because .*|Access denied for user (?<denied>[^ ]+) by PAM account configuration)$";
    CLOSED = r"^(Connection (closed|reset) by|Disconnected from|Disconnecting) authenticating user (?<login>[^ ]+) (?<from>[0-9A-Za-z.:%_-]+) port (?<port>\d{1,5})(: .*)?$";
    TOO_MANY = r"^(error: )?maximum authentication attempts exceeded for (?<login>[^ ]+) from (?<from>[0-9A-Za-z.:%_-]+) port (?<port>\d{1,5}) ssh2$";
    // From the right end: what comes before may look like an address too.
    STRANGER = r"^(Invalid|Illegal) user .* ?from (?<from>[0-9A-Za-z.:%_-]+)( port (?<port>\d{1,5}))?$";
    FINGERPRINT = r"(^| )(?<key>(SHA256:[A-Za-z0-9+/=]+|MD5:[0-9a-f:]+))( |$)";
    FILE = r#"\("(?<path>[^"]*)"\)"#;
}

/// Reads a line; `None` where it says nothing about a login. A line that stands for several is returned as often.
pub fn said(line: &Line) -> Vec<Said> {
    let (times, text) = match REPEATED.captures(&line.text) {
        Some(found) => (
            number(&found, 1).unwrap_or(1),
            found.get(2).map_or("", |m| m.as_str()),
        ),
        None => (1, line.text.as_str()),
    };
    let said = if is_sshd(&line.ident) {
        sshd(text.strip_suffix(" [preauth]").unwrap_or(text))
    } else {
        MODULE
            .iter()
            .find_map(|name| line.ident.strip_suffix(name))
            .and_then(|service| module(service, text))
    };
    said.map_or_else(Vec::new, |said| vec![said; usize::from(times)])
}

fn number(found: &Captures<'_>, group: usize) -> Option<u16> {
    found.get(group)?.as_str().parse().ok()
}

fn named<'a>(found: &'a Captures<'_>, group: &str) -> Option<&'a str> {
    found.name(group).map(|m| m.as_str())
}

fn login(found: &Captures<'_>) -> Option<Login> {
    Login::new(named(found, "login").or_else(|| named(found, "denied"))?).ok()
}

fn peer(found: &Captures<'_>) -> Option<Peer> {
    Some(Peer {
        from: named(found, "from")?.to_owned(),
        port: match named(found, "port") {
            Some(port) => Some(port.parse().ok()?),
            None => None,
        },
    })
}

fn sshd(text: &str) -> Option<Said> {
    if let Some(found) = STRANGER.captures(text) {
        return peer(&found).map(Said::Stranger);
    }
    if let Some(found) = PASSED.captures(text) {
        let key = named(&found, "key").and_then(fingerprint);
        return Some(Said::Passed {
            last: named(&found, "word") == Some("Accepted"),
            method: named(&found, "method")?.to_owned(),
            login: login(&found)?,
            peer: peer(&found)?,
            key,
        });
    }
    if let Some(found) = FAILED.captures(text) {
        return Some(Said::Failed {
            method: named(&found, "method")?.to_owned(),
            login: login(&found)?,
            peer: peer(&found)?,
        });
    }
    if let Some(rest) = text.strip_prefix("error: PAM: ") {
        // `illegal user NAME` stands here for a stranger, whose name may hold another ` for `: so the first one counts.
        let rest = rest.strip_prefix(EXHAUSTED).unwrap_or(rest);
        let found = PAM_FOR.captures(rest.split_once(" for ")?.1)?;
        return Some(Said::PamRefused {
            login: login(&found)?,
            peer: peer(&found)?,
        });
    }
    if let Some(found) = NOT_ALLOWED.captures(text) {
        return login(&found).map(Said::NotAllowed);
    }
    if let Some(found) = CLOSED.captures(text).or_else(|| TOO_MANY.captures(text)) {
        return Some(Said::Closed {
            login: login(&found)?,
            peer: peer(&found)?,
        });
    }
    OPENED
        .captures(text)
        .and_then(|found| peer(&found))
        .map(Said::Opened)
}

/// The fingerprint of the key that was used. A certificate names its own key first and its CA's last; what stands between
/// them is free text of whoever signed it.
fn fingerprint(text: &str) -> Option<String> {
    let found = FINGERPRINT.captures(text)?;
    named(&found, "key").map(str::to_owned)
}

/// Messages that end with the login, and what they mean.
const OF_LOGIN: [(&str, &str, Verdict); 5] = [
    ("Accepted google_authenticator for ", "", Verdict::Accepted),
    ("Invalid verification code for ", "", Verdict::Invalid),
    (
        "No secret configured for user ",
        ", asking for code anyway.",
        Verdict::NoSecret,
    ),
    ("within grace period: \"", "\"", Verdict::Grace),
    ("user(\"", "\") not found", Verdict::Broken),
];

/// Beginnings of messages that name the file, or nothing.
const OF_FILE: [(&str, Verdict); 20] = [
    (
        "Trying to reuse a previously used time-based code",
        Verdict::Reused,
    ),
    ("Too many concurrent login attempts", Verdict::RateLimited),
    ("Failed to read ", Verdict::NoSecret),
    ("Failed to update secret file", Verdict::NotSaved),
    ("Failed to create tempfile", Verdict::NotSaved),
    ("Secret file ", Verdict::Broken),
    ("Invalid file size for ", Verdict::Broken),
    ("Invalid file contents in ", Verdict::Broken),
    ("Could not read ", Verdict::Broken),
    ("Invalid STEP_SIZE option in ", Verdict::Broken),
    ("Invalid WINDOW_SIZE option in ", Verdict::Broken),
    ("Invalid RATE_LIMIT option", Verdict::Broken),
    ("Invalid list of timestamps in RATE_LIMIT", Verdict::Broken),
    ("Malformed LAST", Verdict::Broken),
    ("Failed to look up user ", Verdict::Broken),
    ("Failed to change ", Verdict::Broken),
    ("Cannot look up user id ", Verdict::Broken),
    ("Unrecognized option ", Verdict::Broken),
    ("Dummy password supplied by PAM", Verdict::NoAnswer),
    (
        "Did not receive verification code from user",
        Verdict::NoAnswer,
    ),
];

fn module(service: &str, text: &str) -> Option<Said> {
    let of = |login, slot, verdict| Said::Module {
        service: service.to_owned(),
        login,
        slot,
        verdict,
    };
    for (before, after, verdict) in OF_LOGIN {
        if let Some(name) = text
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
        {
            // A name that is no account's is a stranger's, who has no code.
            return Login::new(name).ok().map(|l| of(Some(l), None, verdict));
        }
    }
    let (_, verdict) = OF_FILE
        .into_iter()
        .find(|(beginning, _)| text.starts_with(beginning))?;
    let path = match FILE.captures(text) {
        Some(found) => found.name("path").map(|m| m.as_str()),
        None => text.split('"').nth(1),
    };
    let (login, slot) = path.map_or((None, None), owner_of);
    Some(of(login, slot, verdict))
}

/// Whose a state file of this program's layout is: `…/current/LOGIN`.
fn owner_of(path: &str) -> (Option<Login>, Option<Slot>) {
    let mut parts = path.rsplit('/');
    let (name, dir) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let slot = [Slot::Current, Slot::Next]
        .into_iter()
        .find(|slot| slot.as_str() == dir);
    match slot {
        // A temporary file has `~` and six characters more.
        Some(slot) => (
            Login::new(name.split('~').next().unwrap_or("")).ok(),
            Some(slot),
        ),
        None => (None, None),
    }
}
