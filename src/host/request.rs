//! Requests to the program on a host. A request may hold secrets, so its bytes are wiped after use.

use std::fmt;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::log::LogPlace;
use super::program::{BEGIN, PROGRAM_TEXT};
use crate::names::Login;
use crate::token::secret::Secret;

/// The bytes of one exec: what sudo may read, the program, the request.
pub struct Payload(Zeroizing<Vec<u8>>);

impl Payload {
    /// Returns the bytes for standard input.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// Collects the lines of a request.
pub struct Request {
    name: &'static str,
    lines: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({} bytes)", self.lines.len())
    }
}

impl Request {
    fn new(name: &'static str) -> Self {
        // Large enough that it rarely grows: growing leaves a copy behind.
        Self {
            name,
            lines: Zeroizing::new(Vec::with_capacity(64 * 1024)),
        }
    }

    /// A request to read the host's facts.
    pub fn inspect(wanted: &Inspect) -> Self {
        let mut request = Self::new("inspect");
        for login in &wanted.logins {
            request.line(&["login", login.as_str()]);
        }
        for login in &wanted.leavers {
            request.line(&["leaver", login.as_str()]);
        }
        for user in &wanted.users {
            request.line(&["user", user.as_str()]);
        }
        for login in &wanted.evidence {
            request.line(&["evidence", login.as_str()]);
        }
        if wanted.keys {
            request.line(&["keys", "1"]);
        }
        if wanted.everyone {
            request.line(&["everyone", "1"]);
        }
        if let Some(judged) = &wanted.judged {
            request.line(&["known", &judged.hash, &judged.version]);
        }
        for (file, sum) in &wanted.seen {
            request.line(&["seen", file, sum]);
        }
        request
    }

    /// A request to send files as they are. The answer may hold secrets.
    pub fn show(paths: &[String]) -> Self {
        let mut request = Self::new("show");
        for path in paths {
            request.line(&["file", path]);
        }
        request
    }

    /// A request to send all files of a directory as they are. The answer may hold secrets.
    pub fn show_all(directory: &str) -> Self {
        let mut request = Self::new("show");
        request.line(&["under", directory]);
        request
    }

    /// A request to name everybody for whom there is a file; in the pattern %h is the home, %u the login.
    pub fn holders(pattern: &str) -> Self {
        let mut request = Self::new("show");
        request.line(&["each", pattern]);
        request
    }

    /// A request to send what was logged since a place, at most about so many bytes of it.
    pub fn collect(since: Option<&LogPlace>, cap: u32) -> Self {
        let mut request = Self::new("collect");
        match since {
            Some(LogPlace::Journal { cursor }) => request.line(&["journal", cursor]),
            Some(LogPlace::File { first, offset }) => {
                request.line(&["file", first, &offset.to_string()]);
            }
            None => {}
        }
        request.line(&["cap", &cap.to_string()]);
        request
    }

    /// A request to send every line of the witness file.
    pub fn witnesses() -> Self {
        let mut request = Self::new("show");
        request.line(&["witnesses", "all"]);
        request
    }

    /// A request to carry out operations; add them with [`Request::line`] and [`Request::file`].
    pub fn apply() -> Self {
        Self::new("apply")
    }

    /// Adds one operation. Fields must not be empty nor hold tabs or newlines: they are names, paths and hashes.
    pub fn line(&mut self, fields: &[&str]) {
        for (index, field) in fields.iter().enumerate() {
            debug_assert!(
                !field.is_empty() && !field.contains(['\n', '\t']),
                "field {index} of {}",
                fields.first().unwrap_or(&"")
            );
            if index > 0 {
                self.lines.push(b'\t');
            }
            self.lines
                .extend(field.bytes().filter(|b| *b != b'\n' && *b != b'\t'));
        }
        self.lines.push(b'\n');
    }

    /// Adds a file's content: path, mode, the hash it must have now (or `absent`), and whether it belongs to the
    /// transaction.
    pub fn file(&mut self, path: &str, mode: u32, before: &str, scope: Scope, content: &[Line]) {
        self.line(&["put", path, &format!("{mode:o}"), before, scope.as_str()]);
        for line in content {
            match line {
                Line::Text(text) => self.content(b'+', text.as_bytes()),
                Line::Secret(text) => self.content(b'+', text.expose().as_bytes()),
                Line::Unterminated(text) => self.content(b'~', text.as_bytes()),
                Line::Keep(from, to) => self.content(b'=', format!("{from},{to}").as_bytes()),
            }
        }
        self.lines.extend_from_slice(b".\n");
    }

    fn content(&mut self, mark: u8, text: &[u8]) {
        self.lines.push(mark);
        self.lines.extend(text.iter().filter(|b| **b != b'\n'));
        self.lines.push(b'\n');
    }

    /// Ends the request and returns its lines alone, for a program that waits for them.
    pub fn lines(mut self) -> Payload {
        self.line(&["end"]);
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.lines.len() + 32));
        self.append_to(&mut bytes);
        Payload(bytes)
    }

    /// The first line says how many bytes follow: the program does nothing before it has them all.
    fn append_to(&self, bytes: &mut Vec<u8>) {
        let header = format!("{}\t{}\n", self.name, self.lines.len());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&self.lines);
    }

    /// Ends the request and puts the program before it. `password` is for sudo.
    pub fn finish(mut self, password: Option<&Secret>) -> Payload {
        self.line(&["end"]);
        let mut bytes = Zeroizing::new(Vec::with_capacity(
            self.lines.len() + PROGRAM_TEXT.len() + 256,
        ));
        if let Some(password) = password {
            bytes.extend_from_slice(password.expose().as_bytes());
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(BEGIN.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(PROGRAM_TEXT.as_bytes());
        self.append_to(&mut bytes);
        Payload(bytes)
    }
}

/// What an inspection is to report.
#[derive(Debug, Clone, Default)]
pub struct Inspect {
    /// Accounts to report on with their state files.
    pub logins: Vec<Login>,
    /// Those of them of whom nothing is to be left: what sshd does for them, their keys and processes.
    pub leavers: Vec<Login>,
    /// Further users for whom to judge what sshd does.
    pub users: Vec<Login>,
    /// Logins whose log lines are wanted.
    pub evidence: Vec<Login>,
    /// Count public keys.
    pub keys: bool,
    /// Name every other account, and where accounts come from.
    pub everyone: bool,
    /// Skip judging where the configuration is still this one.
    pub judged: Option<Judged>,
    /// State files (`current/alice`) with the hash they had when their secret was last looked at.
    pub seen: Vec<(String, String)>,
}

/// A configuration that an earlier run has judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Hash over sshd's program and configuration, PAM's text and the groups.
    pub hash: String,
    /// OpenSSH's version then, as the host said it.
    pub version: String,
}

/// A line of a file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// This text.
    Text(String),
    /// This text, which must not be shown.
    Secret(Secret),
    /// This text without a newline: only as the last line.
    Unterminated(String),
    /// Lines of the file that is there, both numbers from 1 and inclusive.
    Keep(u32, u32),
}

impl Line {
    /// Returns the SHA-256, in lower-case hexadecimal, of the file that these lines make; none where some of them are
    /// those of the file that is there.
    pub fn sum_of(lines: &[Self]) -> Option<String> {
        let mut digest = Sha256::new();
        for line in lines {
            let (text, end) = match line {
                Self::Text(text) => (text.as_str(), "\n"),
                Self::Secret(text) => (text.expose(), "\n"),
                Self::Unterminated(text) => (text.as_str(), ""),
                Self::Keep(..) => return None,
            };
            digest.update(text);
            digest.update(end);
        }
        Some(HEXLOWER.encode(&digest.finalize()))
    }

    /// Splits a text into lines, minding whether it ends with a newline.
    pub fn from_text(text: &str) -> Vec<Self> {
        let mut lines: Vec<Self> = text.lines().map(|l| Self::Text(l.to_owned())).collect();
        // `lines()` also strips a carriage return, which must stay.
        if text.contains('\r') {
            lines = text
                .strip_suffix('\n')
                .unwrap_or(text)
                .split('\n')
                .map(|l| Self::Text(l.to_owned()))
                .collect();
        }
        if !text.ends_with('\n')
            && let Some(Self::Text(last)) = lines.pop()
        {
            lines.push(Self::Unterminated(last));
        }
        lines
    }
}

/// Whether a file belongs to the transaction that the host reverts by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Written at once: state files, deadlines. Never backed up, never restored.
    Live,
    /// PAM and sshd text.
    Transaction,
}

impl Scope {
    /// Returns the word of the protocol.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Transaction => "tx",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_split_so_that_it_comes_back_byte_for_byte() {
        let text = |s: &str| Line::Text(s.to_owned());
        assert_eq!(Line::from_text("a\nb\n"), [text("a"), text("b")]);
        assert_eq!(
            Line::from_text("a\nb"),
            [text("a"), Line::Unterminated("b".to_owned())]
        );
        assert_eq!(Line::from_text("a\r\nb\n"), [text("a\r"), text("b")]);
        assert_eq!(Line::from_text(""), []);
    }

    #[test]
    fn nothing_shows_a_request() {
        let mut request = Request::apply();
        request.file(
            "/x",
            0o600,
            "absent",
            Scope::Live,
            &[Line::Secret(Secret::from("hunter2"))],
        );
        assert!(!format!("{request:?}").contains("hunter2"));
        let payload = request.finish(None);
        assert!(!format!("{payload:?}").contains("hunter2"));
        assert!(String::from_utf8_lossy(payload.bytes()).contains("+hunter2\n"));
    }
}
