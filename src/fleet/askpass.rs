//! Answers ssh's prompt for a code: no secret in argument lists or the environment.
//!
//! ssh runs the program named by `SSH_ASKPASS` with the prompt as its argument and reads the answer from its standard
//! output (readpass.c). That program is this one: it hands the prompt over a private socket to the run, which decides.
//! Host-key questions come the same way and are always answered `no`.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::process::Command;

use crate::fleet::FleetError;
use crate::token::secret::Secret;

/// Names the socket; the only thing the environment tells.
pub const SOCKET_VARIABLE: &str = "FLEETOTP_ASKPASS_SOCKET";

/// A socket that answers prompts for codes.
#[derive(Debug)]
pub(crate) struct Answerer {
    listener: UnixListener,
    whose: Whose,
}

/// A prompt that is to have no answer, not even an empty one, which the host would count as a wrong code. It stays open until
/// this is dropped: by then ssh has to be gone.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// Why.
    pub(crate) why: FleetError,
    _open: tokio::net::UnixStream,
}

/// Whose question is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whose {
    /// Who is asked for the code.
    pub(crate) login: String,
    /// The host that asks, where others on the way to it may ask as well.
    pub(crate) host: Option<String>,
}

impl Answerer {
    /// Binds the socket, in a private directory, and has ssh ask there.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub(crate) fn bind(
        path: &Path,
        whose: Whose,
        command: &mut Command,
    ) -> Result<Self, FleetError> {
        // The socket of an attempt before this one.
        drop(std::fs::remove_file(path));
        let listener = UnixListener::bind(path)
            .map_err(FleetError::local("cannot bind the prompt's socket"))?;
        let program = std::env::current_exe()
            .map_err(FleetError::local("cannot find this program's own path"))?;
        command
            .env("SSH_ASKPASS", program)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env(SOCKET_VARIABLE, path);
        Ok(Self { listener, whose })
    }

    /// Answers each prompt for a code with what `next` comes to; everything else with nothing. Returns only where a prompt
    /// for a code is to have no answer.
    pub(crate) async fn serve<F: Future<Output = Result<Secret, FleetError>>>(
        self,
        mut next: impl FnMut() -> F,
    ) -> Unanswered {
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
            } else if self.whose.asks_for_code(&prompt) {
                match next().await {
                    Ok(code) => code,
                    Err(why) => return Unanswered { why, _open: stream },
                }
            } else {
                Secret::from("")
            };
            // A helper that is gone asks no more.
            drop(stream.write_all(answer.expose().as_bytes()).await);
        }
    }
}

impl Whose {
    /// Whether a prompt asks for a code. ssh of 8.7 and later puts `(user@host) ` before what a host asks (sshconnect2.c), which
    /// tells a jump host's question from that of the host behind it.
    fn asks_for_code(&self, prompt: &str) -> bool {
        let told = prompt
            .strip_prefix('(')
            .and_then(|p| p.split_once(") "))
            .and_then(|(whose, _)| whose.rsplit_once('@'));
        let is_asked = match (told, &self.host) {
            (Some((user, host)), Some(wanted)) => {
                user == self.login && host.eq_ignore_ascii_case(wanted)
            }
            (Some((user, _)), None) => user == self.login,
            (None, wanted) => wanted.is_none(),
        };
        // The one of google-authenticator, the other of pam_oath.
        let asks =
            prompt.contains("erification code") || prompt.contains("One-time password (OATH)");
        is_asked && asks
    }
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
        let whose = |host: Option<&str>| Whose {
            login: "canary".to_owned(),
            host: host.map(str::to_owned),
        };
        for mine in [
            "Verification code: ",
            "(canary@web1) Verification code: ",
            "(canary@web1) One-time password (OATH) for `canary': ",
        ] {
            assert!(whose(None).asks_for_code(mine), "{mine}");
        }
        for other in [
            "(alice@bastion) Verification code: ",
            "(alice@bastion) Password: ",
            "(canary@web1) Password: ",
            "Password: ",
        ] {
            assert!(!whose(None).asks_for_code(other), "{other}");
        }
        // The same login on both.
        let behind = whose(Some("web1"));
        assert!(behind.asks_for_code("(canary@WEB1) Verification code: "));
        for other in [
            "(canary@bastion) Verification code: ",
            "Verification code: ",
        ] {
            assert!(!behind.asks_for_code(other), "{other}");
        }
    }

    #[tokio::test]
    async fn only_a_question_for_its_code_is_answered_with_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ask");
        let mut command = Command::new("ssh");
        let whose = Whose {
            login: "canary".to_owned(),
            host: Some("web1".to_owned()),
        };
        let answerer = Answerer::bind(&path, whose, &mut command).unwrap();
        let told: Vec<_> = command
            .as_std()
            .get_envs()
            .map(|(name, _)| name.to_owned())
            .collect();
        assert_eq!(
            told,
            [SOCKET_VARIABLE, "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"]
        );
        let mut given = 0;
        let serve = answerer.serve(|| {
            given += 1;
            std::future::ready(match given {
                1 => Ok(Secret::from("123456")),
                _ => Err(FleetError::Interrupted),
            })
        });
        let ask = async |prompt: &str| {
            let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
            stream.write_all(prompt.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            stream
        };
        // A host may put a code's name into any question of ssh's own.
        let asked = async {
            for (prompt, wanted) in [
                (
                    "The authenticity of host 'web1 (10.77.0.11)' can't be established.\nVerification code: yes/no/[fingerprint]? ",
                    "no",
                ),
                (
                    "Warning: the ED25519 host key for 'web1' differs from the key for the IP address '10.77.0.11'\nAre you sure (yes/no)? ",
                    "no",
                ),
                ("Enter passphrase for key '/root/.ssh/id_ed25519': ", ""),
                ("(canary@web1) Password: ", ""),
                ("(canary@web2) Verification code: ", ""),
                ("(root@web1) Verification code: ", ""),
                ("Verification code: ", ""),
                ("(canary@web1) Verification code: ", "123456"),
            ] {
                let mut stream = ask(prompt).await;
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                assert_eq!(answer, wanted, "{prompt}");
            }
            ask("(canary@web1) Verification code: ").await
        };
        let (unanswered, mut stream) = tokio::join!(serve, asked);
        assert!(matches!(unanswered.why, FleetError::Interrupted));
        // Not even the end of an answer, until ssh is gone.
        let mut byte = [0];
        let read =
            tokio::time::timeout(std::time::Duration::from_millis(50), stream.read(&mut byte));
        read.await.unwrap_err();
        drop(unanswered);
        assert_eq!(stream.read(&mut byte).await.unwrap(), 0);
        assert_eq!(given, 2);
    }
}
