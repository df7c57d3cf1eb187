//! Logins of the temporary member: with its key, codes, both or neither, by the way that admins take or from the host
//! itself.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::Command;

use crate::fleet::FleetError;
use crate::fleet::askpass::{Answerer, Whose};
use crate::fleet::control::ControlDir;
use crate::fleet::limit::{read_answer, read_errors};
use crate::fleet::session::Session;
use crate::names::printable;
use crate::plan::change::CANARY;
use crate::token::secret::Secret;

/// How long sshd may take to listen again.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the temporary member's forced command prints.
const GREETING: &str = "fleetotp-canary-in";

/// The temporary member's key pair, in a private directory that goes with it.
///
/// It stands in the run's own directory: what a killed run leaves is removed by the next.
#[derive(Debug)]
pub struct CanaryKey {
    dir: TempDir,
    public: String,
    /// Logins so far: each has a socket of its own.
    logins: AtomicUsize,
}

/// What a login has to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// The key, then codes.
    KeyThenCode,
    /// The key and nothing else.
    Key,
    /// A code, then the key: how a pending admin confirms.
    CodeThenKey,
    /// Codes without the key.
    Code,
}

impl Offer {
    const fn options(self) -> [&'static str; 2] {
        match self {
            Self::KeyThenCode => [
                "-oPubkeyAuthentication=yes",
                "-oPreferredAuthentications=publickey,keyboard-interactive",
            ],
            Self::Key => [
                "-oPubkeyAuthentication=yes",
                "-oPreferredAuthentications=publickey",
            ],
            Self::CodeThenKey => [
                "-oPubkeyAuthentication=yes",
                "-oPreferredAuthentications=keyboard-interactive,publickey",
            ],
            Self::Code => [
                "-oPubkeyAuthentication=no",
                "-oPreferredAuthentications=keyboard-interactive",
            ],
        }
    }
}

/// A login to be tried.
#[derive(Debug, Clone, Copy)]
pub struct Try<'a> {
    /// What it offers.
    pub offer: Offer,
    /// The codes, one for each time it is asked.
    pub codes: &'a [Secret],
    /// How it reaches the host.
    pub route: Route<'a>,
    /// How long the host may keep its own addresses out for logins that failed before.
    pub penalty: Duration,
}

/// How a login of the temporary member ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It got in with so many codes.
    In(usize),
    /// It got in and nobody had asked it for a code.
    Unasked,
    /// It was refused after so many codes.
    Refused(usize),
    /// It was refused before anybody asked it for a code.
    Barred,
    /// The host ended the connection without a word: so does sshd where an account's rules let it not in (auth-pam.c).
    Closed,
    /// Something else happened; says nothing about the stack.
    Unclear(String),
}

impl CanaryKey {
    /// Makes a key pair with ssh-keygen.
    ///
    /// # Errors
    /// When ssh-keygen cannot be run.
    pub async fn generate(control: &ControlDir) -> Result<Self, FleetError> {
        let dir = control.connection()?;
        let path = dir.path().join("key");
        let status = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", CANARY, "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .await
            .map_err(FleetError::local("cannot run ssh-keygen"))?;
        let public = std::fs::read_to_string(path.with_extension("pub"))
            .map_err(FleetError::local("ssh-keygen wrote no key"))?;
        if status.success() {
            Ok(Self {
                dir,
                public: public.trim().to_owned(),
                logins: AtomicUsize::new(0),
            })
        } else {
            Err(FleetError::Refused("ssh-keygen failed".to_owned()))
        }
    }

    /// Returns the public key's line.
    pub fn public(&self) -> &str {
        &self.public
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("key")
    }
}

/// How the temporary member reaches the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// As everybody does.
    Direct,
    /// Through the open connection to this address of the host's own: failed logins are held against no other address.
    Inside(&'a str),
}

/// Logs in as the temporary member. Tries again while sshd, which is re-reading its configuration, does not listen, or
/// keeps the host's own address out for a while: no code has been used then.
///
/// # Errors
/// When something on this machine fails.
pub async fn login(
    session: &Session,
    key: &CanaryKey,
    wanted: Try<'_>,
) -> Result<Outcome, FleetError> {
    let start = Instant::now();
    loop {
        // From the host's own loopback nobody else is in the way.
        let place = match wanted.route {
            Route::Direct => Some(session.place().await?),
            Route::Inside(_) => None,
        };
        let attempt = attempt(session, key, wanted).await?;
        drop(place);
        let (why, patience) = match attempt {
            Attempt::Ended(outcome) => return Ok(outcome),
            Attempt::NotHeard(why) => (why, PATIENCE),
            Attempt::Penalised(why) => (why, wanted.penalty),
        };
        if start.elapsed() > patience {
            return Ok(Outcome::Unclear(why));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How one attempt ended.
enum Attempt {
    Ended(Outcome),
    /// Nobody was there to authenticate to.
    NotHeard(String),
    /// sshd keeps the address out for a while.
    Penalised(String),
}

async fn attempt(
    session: &Session,
    key: &CanaryKey,
    wanted: Try<'_>,
) -> Result<Attempt, FleetError> {
    let target = session.target();
    let number = key.logins.fetch_add(1, Ordering::Relaxed);
    let socket = key.dir.path().join(format!("ask{number}"));
    let given = AtomicUsize::new(0);
    let mut command = Command::new("ssh");
    let whose = match wanted.route {
        Route::Direct => target.whose(CANARY),
        Route::Inside(_) => Whose {
            login: CANARY.to_owned(),
            host: None,
        },
    };
    let answerer = Answerer::bind(&socket, whose, &mut command)?;
    command.args([
        "-oControlMaster=no",
        "-oControlPath=none",
        "-oIdentitiesOnly=yes",
        "-oIdentityAgent=none",
        "-oPasswordAuthentication=no",
        "-oBatchMode=no",
    ]);
    let prompts = wanted.codes.len().max(1);
    command
        .args(wanted.offer.options())
        .arg(format!("-oNumberOfPasswordPrompts={prompts}"));
    command
        .arg(joined("-oIdentityFile=", &key.path()))
        .args(["-l", CANARY]);
    if let (Route::Inside(inside), Some(control)) = (wanted.route, session.control_socket()) {
        let port = target.port.unwrap_or(22);
        // Where the connection is gone nothing is connected to: `x` must not become a host's name.
        let mut proxy = OsString::from("-oProxyCommand=ssh -F none -oProxyCommand=false -S '");
        proxy.push(control);
        proxy.push(format!("' -oControlMaster=no -W {inside}:{port} x"));
        command.arg(proxy);
        if let Some(address) = &target.address {
            // The key is looked up under the name it is known by.
            command.arg(format!(
                "-oHostKeyAlias={}",
                host_key_alias(address, target.port)
            ));
        }
    }
    command
        .args(target.options_for_proof())
        .args(target.destination()?)
        .arg("true")
        .env_remove("SSH_AUTH_SOCK")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(FleetError::local("cannot start ssh"))?;
    let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(FleetError::Lost);
    };
    let next = || {
        let number = given.fetch_add(1, Ordering::Relaxed);
        let code = wanted.codes.get(number).cloned();
        std::future::ready(Ok(code.unwrap_or_else(|| Secret::from(""))))
    };
    let talk = async {
        tokio::select! {
            (answer, errors) = async { tokio::join!(read_answer(output), read_errors(errors)) } => (answer.unwrap_or_default(), errors),
            _ = answerer.serve(next) => (Vec::new(), String::new()),
        }
    };
    let Ok((answer, errors)) =
        tokio::time::timeout(target.connect_timeout + Duration::from_secs(20), talk).await
    else {
        drop(child.kill().await);
        let why = "the login did not end in time".to_owned();
        return Ok(Attempt::Ended(Outcome::Unclear(why)));
    };
    drop(child.wait().await);
    drop(std::fs::remove_file(&socket));
    let given = given.load(Ordering::Relaxed);
    if String::from_utf8_lossy(&answer)
        .lines()
        .any(|l| l.trim() == GREETING)
    {
        let outcome = match given {
            0 => Outcome::Unasked,
            codes => Outcome::In(codes),
        };
        return Ok(Attempt::Ended(outcome));
    }
    if errors.contains("Permission denied") {
        // Whoever was not asked was refused for something else, which says nothing about codes.
        let outcome = match given {
            0 => Outcome::Barred,
            codes => Outcome::Refused(codes),
        };
        return Ok(Attempt::Ended(outcome));
    }
    let why = printable(
        errors
            .lines()
            .rfind(|l| !l.trim().is_empty())
            .unwrap_or_default(),
        200,
    );
    if why.is_empty() {
        return Ok(Attempt::Ended(Outcome::Closed));
    }
    let says = |texts: &[&str]| texts.iter().any(|t| errors.contains(t));
    Ok(if says(&["open failed"]) {
        // Forwarding is off there, or nothing listens at that address.
        Attempt::Ended(Outcome::Unclear(why))
    } else if says(&["Not allowed at this time"]) {
        Attempt::Penalised(why)
    } else if says(&["Connection refused", "kex_exchange_identification"]) {
        if wanted.route == Route::Direct {
            Attempt::NotHeard(why)
        } else {
            // Behind a forwarded connection both look alike.
            Attempt::Penalised(why)
        }
    } else {
        Attempt::Ended(Outcome::Unclear(why))
    })
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut text = OsString::from(option);
    text.push(path);
    text
}

/// known_hosts names a host on another port `[host]:port` (sshd(8)).
fn host_key_alias(address: &str, port: Option<u16>) -> String {
    match port {
        Some(port) if port != 22 => format!("[{address}]:{port}"),
        _ => address.to_owned(),
    }
}
