//! A host's connection: one OpenSSH master, one exec per request.

use std::process::Stdio as ProcessStdio;
use std::time::Duration;

use openssh::{Session as Mux, Stdio};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::process::Command;

use crate::fleet::control::ControlDir;
use crate::fleet::error::{Connecting, FleetError, explain};
use crate::fleet::limit::{read_answer, read_errors};
use crate::fleet::target::Target;
use crate::host::program::command_line;
use crate::host::request::Request;
use crate::names::printable;

/// How long the authentication may take beyond the connect timeout: PAM can be slow.
const AUTHENTICATION: Duration = Duration::from_secs(20);
/// What a request may take beyond its limit on the host, until its answer is here.
const TRANSIT: Duration = Duration::from_secs(15);
/// Tries before authentication; later failures are never tried again.
const TRIES: u32 = 4;

/// An open connection to a host.
#[derive(Debug)]
pub struct Session {
    target: Target,
    mux: Option<Mux>,
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// [`FleetError::Unreachable`] with ssh's reason.
    pub async fn open(target: Target, control: &ControlDir) -> Result<Self, FleetError> {
        if target.local {
            return Ok(Self { target, mux: None });
        }
        let mut wait = Duration::from_millis(150);
        for attempt in 1.. {
            let dir = control.connection()?;
            match master(&target, &dir).await {
                Ok(()) => {
                    return Ok(Self {
                        target,
                        mux: Some(Mux::new_native_mux(dir)),
                    });
                }
                Err((Connecting::Transient, _)) if attempt < TRIES => {
                    tokio::time::sleep(wait + jitter(&target)).await;
                    wait *= 2;
                }
                Err((_, error)) => return Err(error),
            }
        }
        Err(FleetError::Lost)
    }

    /// Returns how the host is connected to.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Returns the control socket's path, for channels of other tools of OpenSSH.
    pub fn control_socket(&self) -> Option<&std::path::Path> {
        self.mux.as_ref().map(Mux::control_socket)
    }

    /// Sends a request and returns the bytes of the answer. The program is stopped on the host after `limit`.
    ///
    /// # Errors
    /// When the connection is lost, the limit passes, sudo refuses, or the answer is too long.
    pub async fn exec(&self, request: Request, limit: Duration) -> Result<Vec<u8>, FleetError> {
        let payload = request.finish(self.target.sudo_password.as_ref());
        let line = command_line(self.target.elevation, limit);
        let running = async {
            match &self.mux {
                Some(mux) => {
                    let mut command = mux.raw_command(&line);
                    command
                        .stdin(Stdio::piped())
                        .stdout(Stdio::piped())
                        .stderr(Stdio::piped());
                    let mut child = command.spawn().await.map_err(|_| FleetError::Lost)?;
                    let pipes = (
                        child.stdin().take(),
                        child.stdout().take(),
                        child.stderr().take(),
                    );
                    let result = converse(pipes, payload.bytes()).await;
                    if result.is_ok() {
                        // The answer tells what happened; the status adds nothing.
                        drop(child.wait().await);
                    }
                    result
                }
                None => {
                    let mut child = Command::new("sh")
                        .args(["-c", &line])
                        .stdin(ProcessStdio::piped())
                        .stdout(ProcessStdio::piped())
                        .stderr(ProcessStdio::piped())
                        .kill_on_drop(true)
                        .spawn()
                        .map_err(FleetError::local("cannot start sh"))?;
                    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
                    let result = converse(pipes, payload.bytes()).await;
                    drop(child.wait().await);
                    result
                }
            }
        };
        match tokio::time::timeout(limit + TRANSIT, running).await {
            Ok(result) => result,
            Err(_) => Err(FleetError::Timeout((limit + TRANSIT).as_secs())),
        }
    }

    /// Closes the connection; its master ends at once.
    pub async fn close(self) {
        if let Some(mux) = self.mux {
            // Nothing can be done about a master that is gone already.
            drop(tokio::time::timeout(Duration::from_secs(5), mux.close()).await);
        }
    }
}

/// Writes the request, reads the answer.
async fn converse<I, O, E>(
    pipes: (Option<I>, Option<O>, Option<E>),
    payload: &[u8],
) -> Result<Vec<u8>, FleetError>
where
    I: AsyncWrite + Unpin,
    O: AsyncRead + Unpin,
    E: AsyncRead + Unpin,
{
    let (Some(mut input), Some(output), Some(errors)) = pipes else {
        return Err(FleetError::Lost);
    };
    let write = async {
        // A program that ends early closes the pipe: its answer says why.
        drop(input.write_all(payload).await);
        drop(input.shutdown().await);
        drop(input);
    };
    let ((), answer, errors) = tokio::join!(write, read_answer(output), read_errors(errors));
    let answer = answer?;
    if answer.is_empty() {
        return Err(match errors.lines().rfind(|l| !l.trim().is_empty()) {
            Some(line) => FleetError::Refused(printable(line.trim(), 200)),
            None => FleetError::Lost,
        });
    }
    Ok(answer)
}

/// Starts an OpenSSH master in the background of its own session; its parent's end says that it is authenticated.
///
/// Started here and not by the openssh crate, which takes no further options and leaks the process when cancelled.
/// `ControlPersist` ends a master thirty seconds after its last request, also when this program is killed.
async fn master(target: &Target, dir: &TempDir) -> Result<(), (Connecting, FleetError)> {
    let fail = |e| (Connecting::Final, e);
    let log = dir.path().join("log");
    let mut command = Command::new("ssh");
    command
        .arg("-M")
        .arg("-f")
        .arg("-N")
        .arg("-S")
        .arg(dir.path().join("master"))
        .arg("-E")
        .arg(&log)
        .arg("-oControlPersist=30")
        .args(target.options())
        .args(target.destination().map_err(fail)?)
        .stdin(ProcessStdio::null())
        .stdout(ProcessStdio::null())
        .stderr(ProcessStdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(FleetError::local(
            "cannot start ssh: is openssh-client installed?",
        ))
        .map_err(fail)?;
    let status =
        match tokio::time::timeout(target.connect_timeout + AUTHENTICATION, child.wait()).await {
            Ok(status) => status
                .map_err(FleetError::local("cannot wait for ssh"))
                .map_err(fail)?,
            Err(_) => {
                // The timeout passed in authentication; the process must not go on.
                drop(child.kill().await);
                return Err((
                    Connecting::Final,
                    FleetError::Unreachable("the host did not finish the login in time".to_owned()),
                ));
            }
        };
    if status.success() {
        Ok(())
    } else {
        Err(explain(&std::fs::read_to_string(&log).unwrap_or_default()))
    }
}

/// Keeps many retries from coming at the same moment; needs no randomness worth the name.
fn jitter(target: &Target) -> Duration {
    let sum: u64 = target.name.as_str().bytes().map(u64::from).sum();
    Duration::from_millis(sum % 200)
}
