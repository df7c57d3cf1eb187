//! Signatures by OpenSSH's `ssh-keygen -Y`: it knows agents and FIDO keys, and reviewers have it.
//!
//! Messages and signatures go through pipes and files that hold nothing secret; the key is only named.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::NamedTempFile;

use super::head::NAMESPACE;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::names::printable;

const PROGRAM: &str = "ssh-keygen";
/// The name under which a lone public key is trusted.
const NAME: &str = "fleetotp";

/// Signs with one key.
#[derive(Debug, Clone)]
pub struct Signer {
    path: PathBuf,
    fingerprint: String,
}

impl Signer {
    /// Looks at the key: a private key's file, or a public key's whose private half an agent holds.
    ///
    /// # Errors
    /// When there is no such key, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let gone = |why: String| {
            Error::failed(format!("the signing key `{}` {why}", path.display())).hinted(
                "bring it back; `audit: {signing_key: none}` in fleetotp.yml leaves heads unsigned from now on, and `audit verify` says so",
            )
        };
        std::fs::File::open(path).map_err(|e| gone("cannot be read".to_owned()).caused_by(e))?;
        let output = run(Command::new(PROGRAM).arg("-lf").arg(path), b"")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let fingerprint = text
            .split_whitespace()
            .nth(1)
            .filter(|_| output.status.success())
            .ok_or_else(|| gone(format!("cannot be used: {}", said(&output))))?;
        Ok(Self {
            path: path.to_owned(),
            fingerprint: fingerprint.to_owned(),
        })
    }

    /// Returns the key's fingerprint, as ssh-keygen writes it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Signs a head's statement; returns the armoured signature.
    ///
    /// # Errors
    /// When the key cannot be used: no agent, no touch, a wrong passphrase.
    pub fn sign(&self, text: &str) -> Result<String, Error> {
        self.sign_in(NAMESPACE, text)
    }

    /// Signs a text in a namespace: what is signed in one is good in no other.
    ///
    /// # Errors
    /// When the key cannot be used: no agent, no touch, a wrong passphrase.
    pub fn sign_in(&self, namespace: &str, text: &str) -> Result<String, Error> {
        let mut command = Command::new(PROGRAM);
        command.args(["-Y", "sign", "-q", "-n", namespace, "-f"]);
        let output = run(command.arg(&self.path), text.as_bytes())?;
        let signature = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || signature.is_empty() {
            return Err(Error::failed(format!(
                "cannot sign with `{}`: {}",
                self.path.display(),
                said(&output)
            )));
        }
        Ok(signature)
    }
}

impl Signer {
    /// Returns the key as a line of ssh-keygen's allowed signers, under the name `fleetotp`.
    ///
    /// # Errors
    /// When the public half cannot be read.
    pub fn allowed_signers(&self) -> Result<String, Error> {
        let verifier = Verifier::of_key(&self.path)?;
        std::fs::read_to_string(verifier.allowed.path())
            .map_err(|e| Error::failed("cannot read the signing key's public half").caused_by(e))
    }
}

/// What a signature is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Made over this text by a key that is trusted.
    Good,
    /// Made over this text, but by a key that is not trusted; its fingerprint.
    OtherKey(String),
    /// Not a signature over this text.
    Wrong,
}

/// Checks signatures against keys that are trusted.
#[derive(Debug)]
pub struct Verifier {
    allowed: NamedTempFile,
    /// The list names people of its own.
    names: bool,
}

impl Verifier {
    /// Takes the keys from a file: OpenSSH's allowed_signers, or a public key.
    ///
    /// # Errors
    /// When the file cannot be read or holds no key.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::failed(format!("cannot read the signer's key `{}`", path.display())).caused_by(e)
        })?;
        Self::parse(&text).ok_or_else(|| {
            Error::failed(format!("`{}` holds no public key", path.display()))
                .hinted("give a `.pub` file, or an allowed_signers file of OpenSSH")
        })?
    }

    fn parse(text: &str) -> Option<Result<Self, Error>> {
        let line = text
            .lines()
            .map(str::trim)
            .find(|l| !l.is_empty() && !l.starts_with('#'))?;
        let is_kind = |word: &str| {
            ["ssh-", "ecdsa-", "sk-"]
                .iter()
                .any(|k| word.starts_with(k))
                && !word.contains('@')
                || word.starts_with("sk-") && word.ends_with("@openssh.com")
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let lone = words.first().is_some_and(|w| is_kind(w));
        if !words.iter().any(|w| is_kind(w)) {
            return None;
        }
        let list = if lone {
            format!("{NAME} {line}\n")
        } else {
            text.to_owned()
        };
        Some(file_of(&list).map(|allowed| Self {
            allowed,
            names: !lone,
        }))
    }

    /// Takes the public half of the key that a project signs with.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_key(path: &Path) -> Result<Self, Error> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".pub");
        let beside = PathBuf::from(beside);
        if path.extension().is_some_and(|e| e == "pub") {
            return Self::open(path);
        }
        if beside.exists() {
            return Self::open(&beside);
        }
        let output = run(Command::new(PROGRAM).arg("-yf").arg(path), b"")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match Self::parse(&text) {
            Some(verifier) if output.status.success() => verifier,
            _ => Err(Error::failed(format!(
                "the signing key `{}` is gone: {}",
                path.display(),
                said(&output)
            ))
            .hinted("give its public half by --signer")),
        }
    }

    /// Judges a signature over a text. A list's dates of validity are held against `at`, when it says that it was made.
    ///
    /// # Errors
    /// When ssh-keygen cannot be started.
    pub fn judge(&self, text: &str, signature: &str, at: Timestamp) -> Result<Judged, Error> {
        let file = file_of(signature)?;
        let time = format!("-Overify-time={}", at.strftime("%Y%m%d%H%M%SZ"));
        let mut name = NAME.to_owned();
        if self.names {
            let mut command = Command::new(PROGRAM);
            command.args(["-Y", "find-principals", &time, "-f"]);
            let output = run(
                command.arg(self.allowed.path()).arg("-s").arg(file.path()),
                b"",
            )?;
            name = String::from_utf8_lossy(&output.stdout)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned();
        }
        let mut command = Command::new(PROGRAM);
        command.args(["-Y", "verify", &time, "-n", NAMESPACE, "-I", &name, "-f"]);
        command.arg(self.allowed.path()).arg("-s").arg(file.path());
        if !name.is_empty() && run(&mut command, text.as_bytes())?.status.success() {
            return Ok(Judged::Good);
        }
        let mut command = Command::new(PROGRAM);
        command.args(["-Y", "check-novalidate", "-n", NAMESPACE, "-s"]);
        let output = run(command.arg(file.path()), text.as_bytes())?;
        if !output.status.success() {
            return Ok(Judged::Wrong);
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let key = said.split_whitespace().find(|w| w.starts_with("SHA256:"));
        Ok(Judged::OtherKey(key.unwrap_or("unknown").to_owned()))
    }
}

fn file_of(text: &str) -> Result<NamedTempFile, Error> {
    let write = || -> std::io::Result<NamedTempFile> {
        let mut file = NamedTempFile::new()?;
        file.write_all(text.as_bytes())?;
        Ok(file)
    };
    write().map_err(|e| Error::failed("cannot write a temporary file").caused_by(e))
}

/// Runs a command with this on its standard input.
fn run(command: &mut Command, input: &[u8]) -> Result<Output, Error> {
    let mut start = || -> std::io::Result<Output> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // Whoever fails early does not read; its status tells.
            drop(stdin.write_all(input));
        }
        child.wait_with_output()
    };
    start().map_err(|e| {
        Error::failed(format!("cannot run {PROGRAM}"))
            .caused_by(e)
            .hinted("install the OpenSSH client, 8.2 or newer")
    })
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text.lines().rfind(|l| !l.trim().is_empty());
    printable(last.unwrap_or("ssh-keygen failed"), 200)
}
