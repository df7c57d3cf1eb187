//! The OpenSSH process that holds a host's connection.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::fleet::askpass::{Answerer, Unanswered};
use crate::fleet::error::{Connecting, FleetError, explain};
use crate::fleet::own::OwnCode;
use crate::fleet::target::Target;

/// How long the authentication may take beyond the connect timeout: PAM can be slow.
const AUTHENTICATION: Duration = Duration::from_secs(20);

/// Starts an OpenSSH master in the background of its own session; its parent's end says that it is authenticated.
///
/// Started here and not by the openssh crate, which takes no further options and leaks the process when cancelled.
/// `ControlPersist` ends a master thirty seconds after its last request, also when this program is killed.
pub(super) async fn master(
    target: &Target,
    dir: &TempDir,
    own: Option<&OwnCode>,
) -> Result<(), (Connecting, FleetError)> {
    let fail = |e| (Connecting::Final, e);
    let log = dir.path().join("log");
    // What a jump host's ssh says goes to standard error, whatever `-E` says.
    let way = dir.path().join("way");
    let way_said = std::fs::File::create(&way)
        .map_err(FleetError::local("cannot make a connection's log"))
        .map_err(fail)?;
    let mut command = Command::new("ssh");
    let answering = match own {
        Some(own) => {
            let answerer = Answerer::bind(&dir.path().join("ask"), own.whose(), &mut command);
            Some(answerer.map_err(fail)?.serve(|| own.give()))
        }
        None => None,
    };
    command
        .arg("-M")
        .arg("-f")
        .arg("-N")
        .arg("-S")
        .arg(dir.path().join("master"))
        .arg("-E")
        .arg(&log)
        .arg("-oControlPersist=30")
        .args(target.options(own.is_some()))
        .args(target.destination().map_err(fail)?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(way_said)
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(FleetError::local(
            "cannot start ssh: is openssh-client installed?",
        ))
        .map_err(fail)?;
    let patience = own.map_or(Duration::ZERO, OwnCode::patience);
    let limit = target.connect_timeout + AUTHENTICATION + patience;
    let ended = tokio::select! {
        ended = tokio::time::timeout(limit, child.wait()) => ended,
        unanswered = answered(answering) => {
            drop(child.kill().await);
            return Err(fail(unanswered.why));
        }
    };
    let status = match ended {
        Ok(status) => status
            .map_err(FleetError::local("cannot wait for ssh"))
            .map_err(fail)?,
        Err(_) => {
            // The timeout passed in authentication; the process must not go on.
            drop(child.kill().await);
            return Err(fail(FleetError::Unreachable(
                "the host did not finish the login in time".to_owned(),
            )));
        }
    };
    if status.success() {
        Ok(())
    } else {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        Err(explain(
            &format!("{}\n{}", text(way), text(log)),
            Some(status),
        ))
    }
}

/// Answers for as long as somebody may ask; without an answerer nobody does.
pub(super) async fn answered(answering: Option<impl Future<Output = Unanswered>>) -> Unanswered {
    match answering {
        Some(answering) => answering.await,
        None => std::future::pending().await,
    }
}
