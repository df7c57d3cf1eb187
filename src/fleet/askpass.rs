//! Answers ssh's prompt for a code: no secret in argument lists or the environment.
//!
//! ssh runs the program named by `SSH_ASKPASS` with the prompt as its argument and reads the answer from its standard
//! output (readpass.c). That program is this one: it hands the prompt over a private socket to the run, which decides.
//! Host-key questions come the same way and are always answered `no`.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use crate::fleet::FleetError;
use crate::token::secret::Secret;

/// Names the socket; the only thing the environment tells.
pub const SOCKET_VARIABLE: &str = "FLEETOTP_ASKPASS_SOCKET";

/// A socket that answers prompts for codes.
#[derive(Debug)]
pub struct Answerer {
    listener: UnixListener,
    login: String,
}

impl Answerer {
    /// Binds the socket, in a private directory. `login` is who is asked for the code.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub fn bind(path: &Path, login: &str) -> Result<Self, FleetError> {
        let listener = UnixListener::bind(path)
            .map_err(FleetError::local("cannot bind the prompt's socket"))?;
        Ok(Self {
            listener,
            login: login.to_owned(),
        })
    }

    /// Answers each prompt for a code with the next of `codes` and counts them in `given`; everything else with nothing.
    /// Never returns by itself.
    pub async fn serve(self, codes: &[Secret], given: &AtomicUsize) {
        loop {
            let Ok((mut stream, _)) = self.listener.accept().await else {
                continue;
            };
            let mut prompt = Vec::new();
            if (&mut stream)
                .take(4096)
                .read_to_end(&mut prompt)
                .await
                .is_err()
            {
                continue;
            }
            let prompt = String::from_utf8_lossy(&prompt);
            let answer = if prompt.contains("authenticity of host")
                || prompt.contains("differs from the key")
            {
                Secret::from("no")
            } else if asks_for_code(&prompt, &self.login) {
                let number = given.fetch_add(1, Ordering::Relaxed);
                codes
                    .get(number)
                    .cloned()
                    .unwrap_or_else(|| Secret::from(""))
            } else {
                Secret::from("")
            };
            // A helper that is gone asks no more.
            drop(stream.write_all(answer.expose().as_bytes()).await);
        }
    }
}

/// Whether a prompt asks `login` for a code. ssh of 8.7 and later puts `(user@host) ` before what a host asks
/// (sshconnect2.c), which tells a jump host's question from that of the host behind it.
fn asks_for_code(prompt: &str, login: &str) -> bool {
    let somebody_elses = prompt
        .strip_prefix('(')
        .and_then(|p| p.split_once(") "))
        .and_then(|(whose, _)| whose.split_once('@'))
        .is_some_and(|(user, _)| user != login);
    // The one of google-authenticator, the other of pam_oath.
    let asks = prompt.contains("erification code") || prompt.contains("One-time password (OATH)");
    asks && !somebody_elses
}

/// The helper's side: called by `main` when ssh started this program for a prompt. Returns the exit code.
pub fn helper(socket: &OsString, prompt: &str) -> u8 {
    let work = || -> std::io::Result<()> {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(prompt.as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = zeroize::Zeroizing::new(Vec::with_capacity(64));
        stream.take(64).read_to_end(&mut answer)?;
        answer.push(b'\n');
        std::io::stdout().write_all(&answer)
    };
    u8::from(work().is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_hosts_question_gets_no_code() {
        for mine in [
            "Verification code: ",
            "(canary@web1) Verification code: ",
            "(canary@web1) One-time password (OATH) for `canary': ",
        ] {
            assert!(asks_for_code(mine, "canary"), "{mine}");
        }
        for other in [
            "(alice@bastion) Verification code: ",
            "(alice@bastion) Password: ",
            "Password: ",
        ] {
            assert!(!asks_for_code(other, "canary"), "{other}");
        }
    }
}
