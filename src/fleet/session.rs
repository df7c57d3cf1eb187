//! A host's connection: one OpenSSH master, one exec per request.

use std::process::Stdio as ProcessStdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use data_encoding::HEXLOWER;
use openssh::{Session as Mux, Stdio};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::fleet::control::ControlDir;
use crate::fleet::error::{Connecting, FleetError};
use crate::fleet::fanout::{Fanout, Kind, Place};
use crate::fleet::limit::{read_answer, read_errors};
use crate::fleet::master::master;
use crate::fleet::own::OwnCode;
use crate::fleet::target::Target;
use crate::host::program::{Elevation, command_line};
use crate::host::request::Request;
use crate::names::printable;

/// What a request may take beyond its limit on the host, until its answer is here.
const TRANSIT: Duration = Duration::from_secs(15);
/// Pauses between tries before authentication, in milliseconds; later failures are never tried again.
const PAUSES: [u64; 3] = [150, 300, 600];
/// The same where the host drops connections: sshd's shortest penalty is over after 15 s.
const PAUSES_OF_DROPS: [u64; 7] = [150, 300, 600, 1_200, 2_400, 4_800, 9_600];
/// Answers where sudo takes the password.
const PROBE: &str = "sudo -S -p '' -- echo y";
/// How long that may take: a wrong password costs seconds.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// An open connection to a host.
#[derive(Debug)]
pub struct Session {
    target: Target,
    mux: Option<Mux>,
    fanout: Arc<Fanout>,
    door: String,
    dropped: usize,
    /// What answers where the host asks for a code; else why nothing does.
    own: Result<OwnCode, Option<Arc<str>>>,
    /// The password for sudo was taken on this host.
    becomes_root: AtomicBool,
}

impl Session {
    /// Connects, as soon as the run's other connections let it.
    ///
    /// # Errors
    /// [`FleetError::Unreachable`] with ssh's reason; [`FleetError::NotTried`]; [`FleetError::Interrupted`].
    pub async fn open(
        mut target: Target,
        control: &ControlDir,
        fanout: &Arc<Fanout>,
    ) -> Result<Self, FleetError> {
        target.find_way(fanout.configured()).await?;
        let mut session = Self {
            door: target.door(),
            own: match fanout.own() {
                Some(codes) => codes.on(&target, fanout).map_err(Some),
                None => Err(None),
            },
            mux: None,
            fanout: fanout.clone(),
            dropped: 0,
            becomes_root: AtomicBool::new(false),
            target,
        };
        if session.target.local {
            return Ok(session);
        }
        let mut not_heard = 0;
        loop {
            session.ready(true).await?;
            let turn = fanout
                .turn(session.target.kind(), session.target.doubtful)
                .await?;
            let place = fanout.place(&session.door).await?;
            fanout.go_on()?;
            let dir = control.connection()?;
            let done = master(&session.target, &dir, session.own.as_ref().ok()).await;
            let gave = session.ended(&done);
            let (why, error) = match done {
                Ok(()) => {
                    turn.accepted();
                    session.mux = Some(Mux::new_native_mux(dir));
                    return Ok(session);
                }
                Err(failed) => failed,
            };
            let pause = match why {
                Connecting::NotHeard => {
                    not_heard += 1;
                    PAUSES.get(not_heard - 1)
                }
                Connecting::Dropped => {
                    place.dropped();
                    session.dropped += 1;
                    PAUSES_OF_DROPS.get(session.dropped - 1)
                }
                Connecting::Refused => {
                    let error = session.with_hint(error);
                    // A refused code says nothing about the key.
                    if !gave {
                        turn.refused(&session.target.name, &error.to_string());
                    }
                    return Err(error);
                }
                Connecting::Final => return Err(error),
            };
            // Others may try meanwhile.
            drop(turn);
            let Some(pause) = pause else {
                return Err(session.given_up(error));
            };
            fanout.pause(Duration::from_millis(*pause)).await?;
        }
    }

    /// Waits until the host can be given a code, should it ask for one; with `stops`, until the run is to end.
    pub(super) async fn ready(&self, stops: bool) -> Result<(), FleetError> {
        match &self.own {
            Ok(own) => own.ready(stops).await,
            Err(_) => Ok(()),
        }
    }

    /// Takes in how a login ended; returns whether a code was given.
    pub(super) fn ended<T>(&self, done: &Result<T, (Connecting, FleetError)>) -> bool {
        let Ok(own) = &self.own else { return false };
        match done {
            Ok(_) => own.ended(Ok(())),
            Err((Connecting::Refused, error)) => own.ended(Err(Some(&error.to_string()))),
            Err(_) => own.ended(Err(None)),
        }
    }

    /// Says what is missing where a host took the key and then asked for a code.
    fn with_hint(&self, error: FleetError) -> FleetError {
        let text = error.to_string();
        let why = match &self.own {
            Err(why) if text.contains("Permission denied (keyboard-interactive)") => why
                .as_deref()
                .unwrap_or("name the admin whose token it is: own_token in fleetotp.yml"),
            _ => return error,
        };
        FleetError::Unreachable(format!(
            "{text}; the host asks fleetotp's own account for a code, and none can be given: {why}"
        ))
    }

    /// Returns what answers where the host asks for a code.
    pub(super) const fn own(&self) -> Option<&OwnCode> {
        match &self.own {
            Ok(own) => Some(own),
            Err(_) => None,
        }
    }

    fn given_up(&self, error: FleetError) -> FleetError {
        if self.dropped <= PAUSES_OF_DROPS.len() {
            return error;
        }
        FleetError::Unreachable(format!(
            "{error}; so ended {} connections to {} before anyone was authenticated: see MaxStartups and \
             PerSourcePenalties in its sshd_config",
            self.dropped, self.door
        ))
    }

    /// Returns how many connections were dropped before this one came about, and by whom.
    pub fn dropped(&self) -> Option<(usize, &str)> {
        (self.dropped > 0).then_some((self.dropped, self.door.as_str()))
    }

    /// Waits until one more connection may knock at this host's door.
    pub(crate) async fn place(&self) -> Result<Place, FleetError> {
        self.fanout.place(&self.door).await
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
        self.try_password().await?;
        let payload = request.finish(self.target.sudo_password.as_ref());
        let line = command_line(self.target.elevation, limit);
        let (answer, errors) = self.run(&line, payload.bytes(), limit).await?;
        if answer.is_empty() {
            return Err(match last_line(&errors) {
                Some(said) => FleetError::Refused(said),
                None => FleetError::Lost,
            });
        }
        Ok(answer)
    }

    /// Has sudo judge the password once on each host, alone: with more to read behind it, sudo would take that for the
    /// second and third try. A refusal ends it for all hosts that have the same one.
    async fn try_password(&self) -> Result<(), FleetError> {
        let target = &self.target;
        let (Elevation::SudoWithPassword, Some(password), false) = (
            target.elevation,
            &target.sudo_password,
            self.becomes_root.load(Ordering::Relaxed),
        ) else {
            return Ok(());
        };
        let hash = HEXLOWER.encode(&Sha256::digest(password.expose().as_bytes()));
        let login = target.user.clone().unwrap_or_default();
        let turn = self.fanout.turn(Kind::Secret(login, hash), false).await?;
        let line = Zeroizing::new(format!("{}\n", password.expose()));
        let (answer, errors) = self.run(PROBE, line.as_bytes(), PROBE_LIMIT).await?;
        if !answer.is_empty() {
            self.becomes_root.store(true, Ordering::Relaxed);
            turn.accepted();
            return Ok(());
        }
        let why = last_line(&errors).ok_or(FleetError::Lost)?;
        // Whoever may not use sudo at all was not asked for a password's sake.
        if errors.contains("incorrect password") || errors.contains("try again") {
            turn.refused(&target.name, &why);
        }
        Err(FleetError::Refused(why))
    }

    /// Runs a command with this input; returns what it printed and what it said.
    async fn run(
        &self,
        line: &str,
        input: &[u8],
        limit: Duration,
    ) -> Result<(Vec<u8>, String), FleetError> {
        let running = async {
            match &self.mux {
                Some(mux) => {
                    let mut command = mux.raw_command(line);
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
                    let result = converse(pipes, input).await;
                    if result.is_ok() {
                        // The answer tells what happened; the status adds nothing.
                        drop(child.wait().await);
                    }
                    result
                }
                None => {
                    let mut child = Command::new("sh")
                        .args(["-c", line])
                        .stdin(ProcessStdio::piped())
                        .stdout(ProcessStdio::piped())
                        .stderr(ProcessStdio::piped())
                        .kill_on_drop(true)
                        .spawn()
                        .map_err(FleetError::local("cannot start sh"))?;
                    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
                    let result = converse(pipes, input).await;
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
) -> Result<(Vec<u8>, String), FleetError>
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
    Ok((answer?, errors))
}

fn last_line(errors: &str) -> Option<String> {
    let line = errors.lines().rfind(|l| !l.trim().is_empty())?;
    Some(printable(line.trim(), 200))
}
