//! Logins of the temporary member: key and right code must get in, a wrong code must not.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
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
}

/// How a login of the temporary member ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked for a code and got in.
    In,
    /// It got in and nobody had asked it for a code.
    Unasked,
    /// It was asked for a code and refused.
    Refused,
    /// It was refused before anybody asked it for a code.
    Barred,
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
pub enum Route {
    /// As everybody does.
    Direct,
    /// Through the open connection to the host's own loopback: failed logins are not held against this address
    /// (PerSourcePenalties).
    Loopback,
}

/// Logs in as the temporary member with its key and `code`. Tries again while sshd, which is re-reading its
/// configuration, does not listen: no code has been used then.
///
/// # Errors
/// When something on this machine fails.
pub async fn login(
    session: &Session,
    key: &CanaryKey,
    code: &Secret,
    route: Route,
) -> Result<Outcome, FleetError> {
    let start = Instant::now();
    loop {
        // From the host's own loopback nobody else is in the way.
        let place = match route {
            Route::Direct => Some(session.place().await?),
            Route::Loopback => None,
        };
        let attempt = attempt(session, key, code.clone(), route).await?;
        drop(place);
        match attempt {
            Attempt::Ended(outcome) => return Ok(outcome),
            Attempt::NotHeard(why) if start.elapsed() > PATIENCE => {
                return Ok(Outcome::Unclear(why));
            }
            Attempt::NotHeard(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// How one attempt ended.
enum Attempt {
    Ended(Outcome),
    /// Nobody was there to authenticate to.
    NotHeard(String),
}

async fn attempt(
    session: &Session,
    key: &CanaryKey,
    code: Secret,
    route: Route,
) -> Result<Attempt, FleetError> {
    let target = session.target();
    let socket = key.dir.path().join("ask");
    let given = AtomicBool::new(false);
    let mut command = Command::new("ssh");
    let whose = match route {
        Route::Direct => target.whose(CANARY),
        Route::Loopback => Whose {
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
        "-oNumberOfPasswordPrompts=1",
    ]);
    command.args([
        "-oPreferredAuthentications=publickey,keyboard-interactive",
        "-oPasswordAuthentication=no",
        "-oBatchMode=no",
    ]);
    command
        .arg(joined("-oIdentityFile=", &key.path()))
        .args(["-l", CANARY]);
    if let (Route::Loopback, Some(control)) = (route, session.control_socket()) {
        let port = target.port.unwrap_or(22);
        // Where the connection is gone nothing is connected to: `x` must not become a host's name.
        let mut proxy = OsString::from("-oProxyCommand=ssh -F none -oProxyCommand=false -S '");
        proxy.push(control);
        proxy.push(format!("' -oControlMaster=no -W 127.0.0.1:{port} x"));
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
    let give = async {
        given.store(true, Ordering::Relaxed);
        Some(code)
    };
    let talk = async {
        tokio::select! {
            (answer, errors) = async { tokio::join!(read_answer(output), read_errors(errors)) } => (answer.unwrap_or_default(), errors),
            () = answerer.serve(give) => (Vec::new(), String::new()),
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
    let asked = given.load(Ordering::Relaxed);
    if String::from_utf8_lossy(&answer)
        .lines()
        .any(|l| l.trim() == GREETING)
    {
        let outcome = if asked { Outcome::In } else { Outcome::Unasked };
        return Ok(Attempt::Ended(outcome));
    }
    if errors.contains("Permission denied") {
        // Whoever was not asked was refused for something else, which says nothing about codes.
        let outcome = if asked {
            Outcome::Refused
        } else {
            Outcome::Barred
        };
        return Ok(Attempt::Ended(outcome));
    }
    let why = printable(
        errors
            .lines()
            .rfind(|l| !l.trim().is_empty())
            .unwrap_or("ssh gave no reason"),
        200,
    );
    let not_heard = ["Connection refused", "kex_exchange_identification"];
    Ok(if not_heard.iter().any(|t| errors.contains(t)) {
        Attempt::NotHeard(why)
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
