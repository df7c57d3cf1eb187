//! Joins the module's lines and sshd's into logins.
//!
//! The module knows whose code it was and what became of it; sshd knows from where, with which key, and whether it was a
//! login. They have nothing in common but the login and the time: the module speaks from a child of sshd's process. So a
//! verdict belongs to the next thing that sshd says of that login's PAM. Two at a time with the same verdict are alike;
//! with different ones each is taken by the line that fits it.
//!
//! What is not complete at the end of a collection is kept for the next one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::activity::line::Line;
use crate::activity::parse::{Peer, Said, Verdict, said};
use crate::clock::Timestamp;
use crate::names::Login;
use crate::token::state::Slot;

/// Longer than sshd waits for somebody to log in (LoginGraceTime), in seconds.
const PATIENCE: i64 = 180;
/// Connections and verdicts that are kept at a time: more is somebody who knocks without end, and the oldest go.
const MOST: usize = 500;

/// Whether somebody got in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// They did.
    Accepted,
    /// The code was wrong.
    WrongCode,
    /// The code was right and had been used.
    Replayed,
    /// Too many tries.
    RateLimited,
    /// There is no secret, or none that can be used.
    NoSecret,
    /// The code was right; the module could not save that, and refused.
    NotSaved,
    /// A key was accepted, a code was not given.
    NoCode,
    /// No key was accepted, and no other method.
    NoKey,
    /// A password was refused.
    WrongPassword,
    /// The account may not log in.
    NotAllowed,
    /// PAM refused; the module said nothing.
    PamRefused,
    /// The connection ended; sshd's log level does not tell how far it had come.
    Ended,
}

impl Outcome {
    /// Returns the word for people and for the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::WrongCode => "wrong-code",
            Self::Replayed => "replayed",
            Self::RateLimited => "rate-limited",
            Self::NoSecret => "no-secret",
            Self::NotSaved => "not-saved",
            Self::NoCode => "no-code",
            Self::NoKey => "no-key",
            Self::WrongPassword => "wrong-password",
            Self::NotAllowed => "not-allowed",
            Self::PamRefused => "pam-refused",
            Self::Ended => "ended",
        }
    }
}

/// What stood for a person.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Factor {
    /// A public key.
    Key,
    /// A code that the module accepted.
    Code,
    /// A password.
    Password,
    /// Anything else, as sshd calls it.
    Other(String),
}

impl Factor {
    /// Returns the word for people and for the ledger.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Key => "key",
            Self::Code => "code",
            Self::Password => "password",
            Self::Other(method) => method,
        }
    }
}

/// A try to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginEvent {
    /// When it was decided.
    pub at: Timestamp,
    /// The account.
    pub login: Login,
    /// `sshd`, `sudo`.
    pub service: String,
    /// What came of it.
    pub outcome: Outcome,
    /// What was accepted.
    pub factors: Vec<Factor>,
    /// From which address.
    pub from: Option<String>,
    /// From which port, where sshd's log level tells.
    pub port: Option<u16>,
    /// The key's fingerprint, where it is logged.
    pub key: Option<String>,
    /// Which file the module named, or which of two answered: a wrong code for the first is right for the second.
    pub slot: Option<Slot>,
    /// How many files refused a code before another took it.
    pub refused_before: u16,
    /// The place of the line that decided it.
    pub place: String,
    /// That line.
    pub line: String,
}

/// Joins the lines of one host, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joiner {
    /// Connections by sshd's process.
    connections: BTreeMap<u32, Connection>,
    /// What the module said and sshd has not yet answered, oldest first.
    tries: Vec<Try>,
    /// Of whom sshd has told a first method: its log level for them is the detailed one.
    detailed: BTreeSet<Login>,
    /// People without an account, since the last collection.
    #[serde(skip)]
    pub strangers: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Connection {
    since: i64,
    from: String,
    port: Option<u16>,
    login: Option<Login>,
    factors: Vec<Factor>,
    key: Option<String>,
    /// sshd tells more than at its usual level.
    verbose: bool,
    /// Something about it was told already.
    told: bool,
}

/// What the module said in one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Try {
    at: i64,
    pid: u32,
    service: String,
    login: Option<Login>,
    slot: Option<Slot>,
    accepted: bool,
    refused: u16,
    why: Option<Outcome>,
}

impl Joiner {
    /// Takes the next line and returns what it completes.
    pub fn take(&mut self, line: &Line) -> Vec<LoginEvent> {
        self.forget(line.at.as_second());
        let mut events: Vec<LoginEvent> = Vec::new();
        for said in said(line) {
            events.extend(self.hear(line, said));
        }
        for (number, event) in events.iter_mut().enumerate().skip(1) {
            event.place = format!("{}#{number}", event.place);
        }
        events
    }

    fn hear(&mut self, line: &Line, said: Said) -> Option<LoginEvent> {
        match said {
            Said::Module {
                service,
                login,
                slot,
                verdict,
            } => self.module(line, service, (login, slot), verdict),
            Said::Stranger(_) => {
                self.strangers += 1;
                None
            }
            Said::Opened(peer) => {
                self.connection(line, &peer).verbose = true;
                None
            }
            Said::Passed {
                last,
                method,
                login,
                peer,
                key,
            } => self.passed(line, last, &method, login, (&peer, key)),
            Said::Failed {
                method,
                login,
                peer,
            } => {
                let connection = self.connection(line, &peer);
                connection.login = Some(login.clone());
                if method != "password" {
                    // sshd tells of a refused code in another line, and of keys that are merely offered.
                    connection.verbose |= method == "publickey";
                    return None;
                }
                connection.told = true;
                let connection = connection.clone();
                Some(event(line, login, Outcome::WrongPassword, &connection))
            }
            Said::PamRefused { login, peer } => {
                let mine = self.claim(&login, false);
                let connection = self.connection(line, &peer);
                connection.login = Some(login.clone());
                connection.told = true;
                let connection = connection.clone();
                Some(refused(line, login, &connection, mine))
            }
            Said::NotAllowed(login) => {
                let connection = self.connections.get_mut(&line.pid);
                let connection = match connection {
                    Some(connection) => {
                        connection.told = true;
                        connection.clone()
                    }
                    None => Connection::new(line, ""),
                };
                Some(event(line, login, Outcome::NotAllowed, &connection))
            }
            Said::Closed { login, peer } => {
                let connection = self.connection(line, &peer).clone();
                self.connections.remove(&line.pid);
                if let Some(mine) = self.claim(&login, false) {
                    return Some(refused(line, login, &connection, Some(mine)));
                }
                if connection.told {
                    return None;
                }
                let verbose = connection.verbose || self.detailed.contains(&login);
                let outcome = match (connection.factors.is_empty(), verbose) {
                    (false, _) => Outcome::NoCode,
                    (true, true) => Outcome::NoKey,
                    (true, false) => Outcome::Ended,
                };
                Some(event(line, login, outcome, &connection))
            }
        }
    }

    fn module(
        &mut self,
        line: &Line,
        service: String,
        (login, slot): (Option<Login>, Option<Slot>),
        verdict: Verdict,
    ) -> Option<LoginEvent> {
        let found = self
            .tries
            .iter()
            // A right code that cannot be saved is refused after all.
            .position(|t| {
                t.pid == line.pid
                    && t.service == service
                    && (!t.accepted || verdict == Verdict::NotSaved)
            });
        let mut mine = match found {
            Some(index) => self.tries.remove(index),
            None => Try {
                at: line.at.as_second(),
                pid: line.pid,
                service,
                login: None,
                slot: None,
                accepted: false,
                refused: 0,
                why: None,
            },
        };
        mine.login = login.or(mine.login);
        mine.slot = slot.or(mine.slot);
        let why = match verdict {
            Verdict::Accepted => {
                mine.accepted = true;
                // Whatever another file said before.
                mine.slot = slot;
                None
            }
            Verdict::Invalid => {
                mine.refused = mine.refused.saturating_add(1);
                // What was said before tells why.
                mine.why.is_none().then_some(Outcome::WrongCode)
            }
            Verdict::Reused => Some(Outcome::Replayed),
            Verdict::RateLimited => {
                // No `Invalid` follows.
                mine.refused = mine.refused.saturating_add(1);
                Some(Outcome::RateLimited)
            }
            Verdict::NoSecret | Verdict::Broken => Some(Outcome::NoSecret),
            Verdict::NotSaved => {
                mine.accepted = false;
                Some(Outcome::NotSaved)
            }
            Verdict::NoAnswer => Some(Outcome::NoCode),
            // No code was asked for: there is nothing to join.
            Verdict::Grace => return None,
        };
        mine.why = why.or(mine.why);
        if mine.service == "sshd" {
            self.tries.push(mine);
            return None;
        }
        // Nobody else tells of it: each verdict stands for itself.
        let outcome = if mine.accepted {
            Outcome::Accepted
        } else if matches!(verdict, Verdict::Invalid | Verdict::RateLimited) {
            mine.why?
        } else {
            self.tries.push(mine);
            return None;
        };
        let mut told = event(
            line,
            mine.login.clone()?,
            outcome,
            &Connection::new(line, ""),
        );
        told.service.clone_from(&mine.service);
        told.from = None;
        told.slot = mine.slot;
        if mine.accepted {
            told.factors = vec![Factor::Code];
            told.refused_before = mine.refused;
        }
        Some(told)
    }

    fn passed(
        &mut self,
        line: &Line,
        last: bool,
        method: &str,
        login: Login,
        (peer, key): (&Peer, Option<String>),
    ) -> Option<LoginEvent> {
        let mut code = None;
        let factor = match method {
            "publickey" => Factor::Key,
            "password" => Factor::Password,
            "keyboard-interactive/pam" => {
                code = self.claim(&login, true);
                if code.is_some() {
                    Factor::Code
                } else {
                    Factor::Other(method.to_owned())
                }
            }
            other => Factor::Other(other.to_owned()),
        };
        let connection = self.connection(line, peer);
        connection.login = Some(login.clone());
        connection.factors.push(factor);
        connection.key = key.or(connection.key.take());
        // Only in its detailed log does sshd tell of a first method.
        connection.verbose |= !last;
        if !last {
            if self.detailed.len() < MOST {
                self.detailed.insert(login);
            }
            if let Some(code) = code {
                // Whoever gives the code first completes the login with the key: the verdict waits.
                let waiting = Try {
                    at: line.at.as_second(),
                    pid: line.pid,
                    ..code
                };
                self.tries.push(waiting);
            }
            return None;
        }
        let connection = self.connections.remove(&line.pid)?;
        let before = self
            .tries
            .iter()
            .position(|t| t.pid == line.pid && t.accepted && t.login.as_ref() == Some(&login));
        let code = code.or_else(|| before.map(|index| self.tries.remove(index)));
        let mut done = event(line, login, Outcome::Accepted, &connection);
        if let Some(code) = code {
            done.slot = code.slot;
            done.refused_before = code.refused;
        }
        Some(done)
    }

    /// Takes the oldest verdict of that kind on that login.
    fn claim(&mut self, login: &Login, accepted: bool) -> Option<Try> {
        let fits = |t: &Try| {
            t.service == "sshd" && t.accepted == accepted && t.login.as_ref() == Some(login)
        };
        let index = self.tries.iter().position(fits)?;
        Some(self.tries.remove(index))
    }

    /// The connection of a line; another peer means that the process's number was used again.
    fn connection(&mut self, line: &Line, peer: &Peer) -> &mut Connection {
        let known = self.connections.get(&line.pid);
        if known.is_some_and(|c| {
            c.from != peer.from || (c.port.is_some() && peer.port.is_some() && c.port != peer.port)
        }) {
            self.connections.remove(&line.pid);
        }
        let connection = self
            .connections
            .entry(line.pid)
            .or_insert_with(|| Connection::new(line, &peer.from));
        connection.port = peer.port.or(connection.port);
        connection
    }

    /// Drops what nothing can complete any more.
    fn forget(&mut self, now: i64) {
        self.tries.retain(|t| now - t.at <= PATIENCE);
        self.connections.retain(|_, c| now - c.since <= PATIENCE);
        if self.tries.len() > MOST {
            self.tries.drain(..self.tries.len() - MOST);
        }
        while self.connections.len() > MOST {
            let oldest = self.connections.iter().min_by_key(|(_, c)| c.since);
            let Some(pid) = oldest.map(|(pid, _)| *pid) else {
                break;
            };
            self.connections.remove(&pid);
        }
    }
}

impl Connection {
    fn new(line: &Line, from: &str) -> Self {
        Self {
            since: line.at.as_second(),
            from: from.to_owned(),
            port: None,
            login: None,
            factors: Vec::new(),
            key: None,
            verbose: false,
            told: false,
        }
    }
}

fn event(line: &Line, login: Login, outcome: Outcome, connection: &Connection) -> LoginEvent {
    LoginEvent {
        at: line.at,
        login,
        service: "sshd".to_owned(),
        outcome,
        factors: connection.factors.clone(),
        from: (!connection.from.is_empty()).then(|| connection.from.clone()),
        port: connection.port,
        key: connection.key.clone(),
        slot: None,
        refused_before: 0,
        place: line.place.clone(),
        line: format!("{}[{}]: {}", line.ident, line.pid, line.text),
    }
}

/// A refusal by PAM, for the module's reason.
fn refused(line: &Line, login: Login, connection: &Connection, mine: Option<Try>) -> LoginEvent {
    let outcome = mine
        .as_ref()
        .map_or(Outcome::PamRefused, |t| t.why.unwrap_or(Outcome::WrongCode));
    let mut told = event(line, login, outcome, connection);
    told.slot = mine.and_then(|t| t.slot);
    told
}
