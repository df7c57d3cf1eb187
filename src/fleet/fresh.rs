//! A fresh connection, not the multiplexed one: the proof that people can still log in.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zeroize::Zeroizing;

use crate::fleet::askpass::Answerer;
use crate::fleet::error::{Connecting, FleetError, explain};
use crate::fleet::limit::{read_answer, read_errors};
use crate::fleet::master::answered;
use crate::fleet::own::OwnCode;
use crate::fleet::session::Session;
use crate::fleet::target::Target;
use crate::host::program::{BEGIN, PROGRAM_TEXT, command_line};
use crate::host::request::Request;

/// A connection that was just authenticated anew and whose program waits for its request.
#[derive(Debug)]
pub struct Fresh {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Fresh {
    /// Logs in as the tool itself and starts the program. Tries again while sshd is re-reading its configuration, or drops
    /// connections because there are too many. An open change waits for this, so that nothing but time ends it.
    ///
    /// # Errors
    /// [`FleetError::Unreachable`] when no login succeeds within `patience`.
    pub async fn open(session: &Session, patience: Duration) -> Result<Self, FleetError> {
        let work = async {
            loop {
                session.ready(false).await?;
                let place = session.place().await?;
                let done = Self::attempt(session).await;
                session.ended(&done);
                match done {
                    Ok(fresh) => return Ok(fresh),
                    Err((Connecting::Dropped, _)) => place.dropped(),
                    Err((Connecting::NotHeard, _)) => drop(place),
                    Err((Connecting::Refused | Connecting::Final, error)) => return Err(error),
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let patience = patience + session.own().map_or(Duration::ZERO, OwnCode::patience);
        tokio::time::timeout(patience, work)
            .await
            .unwrap_or_else(|_| {
                Err(FleetError::Unreachable(
                    "no fresh connection in time".to_owned(),
                ))
            })
    }

    async fn attempt(session: &Session) -> Result<Self, (Connecting, FleetError)> {
        let fail = |e| (Connecting::Final, e);
        let target = session.target();
        let mut command = Command::new("ssh");
        let answering = match (session.own(), session.control_socket()) {
            (Some(own), Some(control)) => {
                let socket = control.with_file_name("fresh");
                let answerer = Answerer::bind(&socket, own.whose(), &mut command);
                Some(answerer.map_err(fail)?.serve(|| own.give()))
            }
            _ => None,
        };
        let asks = answering.is_some();
        command
            .args(["-oControlMaster=no", "-oControlPath=none"])
            .args(target.options_to_confirm(asks))
            .args(target.destination().map_err(fail)?)
            .arg(command_line(target.elevation, Duration::from_secs(60)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        tokio::select! {
            done = Self::begin(target, command) => done,
            // ssh is gone with its future.
            unanswered = answered(answering) => Err(fail(unanswered.why)),
        }
    }

    /// Starts ssh and the program behind it.
    async fn begin(
        target: &Target,
        mut command: Command,
    ) -> Result<Self, (Connecting, FleetError)> {
        let fail = |e| (Connecting::Final, e);
        let mut child = command
            .spawn()
            .map_err(FleetError::local("cannot start ssh"))
            .map_err(fail)?;
        let (Some(mut input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err((Connecting::Final, FleetError::Lost));
        };
        let mut opening = Zeroizing::new(Vec::with_capacity(PROGRAM_TEXT.len() + 256));
        if let Some(password) = &target.sudo_password {
            opening.extend_from_slice(password.expose().as_bytes());
            opening.push(b'\n');
        }
        opening.extend_from_slice(format!("{BEGIN}\n{}", *PROGRAM_TEXT).as_bytes());
        let mut output = BufReader::new(output);
        // The first line comes only after a complete login and a started program.
        if input.write_all(&opening).await.is_ok() {
            let mut line = String::new();
            for _ in 0..200 {
                line.clear();
                // A line that does not end must not fill this machine's memory.
                match (&mut output).take(4096).read_line(&mut line).await {
                    Ok(n) if n > 0 && n < 4096 => {}
                    _ => break,
                }
                if line == "fleetotp\t1\n" {
                    return Ok(Self {
                        child,
                        input,
                        output,
                    });
                }
            }
        }
        drop(input);
        let said = read_errors(errors).await;
        // Its end as it was, where it had come by itself.
        let ended = child.try_wait().ok().flatten();
        drop(child.kill().await);
        Err(explain(&said, ended))
    }

    /// Sends the request and returns the whole answer.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn finish(mut self, request: Request) -> Result<Vec<u8>, FleetError> {
        self.input
            .write_all(request.lines().bytes())
            .await
            .map_err(|_| FleetError::Lost)?;
        drop(self.input);
        let rest = tokio::time::timeout(Duration::from_secs(60), read_answer(self.output))
            .await
            .map_err(|_| FleetError::Timeout(60))??;
        drop(self.child.wait().await);
        Ok([b"fleetotp\t1\n".as_slice(), &rest].concat())
    }
}
