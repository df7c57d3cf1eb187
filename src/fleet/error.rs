//! What can go wrong between here and a host.

use std::process::ExitStatus;

use crate::host::reply::ReplyError;
use crate::names::printable;

/// A connection or a request failed.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No usable connection: the host counts as unreachable.
    #[error("{0}")]
    Unreachable(String),
    /// Not connected to: another host refused the same login, and says so.
    #[error("{0}")]
    NotTried(String),
    /// The run is to end, and nothing had been begun.
    #[error("interrupted")]
    Interrupted,
    /// The inventory asks for something that cannot be done.
    #[error("{0}")]
    Settings(String),
    /// The connection was lost while a request was running.
    #[error("the connection was lost")]
    Lost,
    /// No answer came. A host that works says so itself when it has stopped a request that took too long.
    #[error("the host gave no answer for {0} s")]
    Timeout(u64),
    /// The host sent more than any answer can be.
    #[error("the host sent more than {0} bytes; the rest was not read")]
    TooMuch(usize),
    /// sudo or the remote shell refused.
    #[error("{0}")]
    Refused(String),
    /// The program's answer is an error or no answer.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// Something on this machine failed.
    #[error("{what}")]
    Local {
        /// What failed.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl FleetError {
    /// Returns whether the host counts as unreachable rather than failed.
    pub const fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_) | Self::NotTried(_) | Self::Lost | Self::Timeout(_)
        )
    }

    /// Returns what happened with its cause, in one line.
    pub fn in_full(&self) -> String {
        std::error::Error::source(self)
            .map_or_else(|| self.to_string(), |cause| format!("{self}: {cause}"))
    }

    pub(crate) fn local(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Local { what, source }
    }
}

/// How ssh's own words are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connecting {
    /// Nobody listened: may be tried again.
    NotHeard,
    /// Dropped before anyone was authenticated, by a limit of sshd's or on the way: may be tried again, later.
    Dropped,
    /// The login was refused.
    Refused,
    /// Will not get better by trying.
    Final,
}

/// Turns what ssh said into an error, and tells whether trying again can help. What a jump host's ssh said may stand in
/// between. Its end is told where it said nothing.
pub(crate) fn explain(log: &str, ended: Option<ExitStatus>) -> (Connecting, FleetError) {
    // `**` is what ssh since 10.1 thinks of the key exchange.
    let lines = || {
        let lines = log.lines().map(str::trim);
        lines.filter(|l| !l.is_empty() && !l.starts_with("**"))
    };
    // A jump host's ssh tells the reason, the other one only that it ended.
    let telling = |texts: &[&str]| lines().find(|l| texts.iter().any(|t| l.contains(t)));
    let said = |line: &str| printable(line, 200);
    let (kind, why) = if telling(&["IDENTIFICATION HAS CHANGED"]).is_some() {
        let why = "the host's key is not the one in known_hosts: someone may be in between, or the host was set up anew";
        (Connecting::Final, why.to_owned())
    } else if telling(&["Host key verification failed"]).is_some() {
        let why = "the host's key is not in known_hosts; add it after comparing fingerprints, or use --host-key accept-new";
        (Connecting::Final, why.to_owned())
    } else if let Some(line) = telling(&["Permission denied", "Too many authentication failures"]) {
        let why = format!("the login was refused: {}", said(line));
        (Connecting::Refused, why)
    } else if let Some(line) = telling(&["open failed: ", "Connection refused"]) {
        (Connecting::NotHeard, said(line))
    } else if let Some(line) = telling(&[
        "Not allowed at this time",
        "MaxStartups",
        "kex_exchange_identification",
        "Connection reset",
        "Connection closed by",
    ]) {
        (Connecting::Dropped, said(line))
    } else if let Some(last) = lines().next_back() {
        (Connecting::Final, said(last))
    } else {
        // That a connection was closed is below the level that ssh is told to speak at (packet.c: logdie).
        let how = ended.map_or_else(String::new, |status| format!(" ({status})"));
        let why = format!("the connection ended, and ssh gave no reason{how}");
        (Connecting::Dropped, why)
    };
    (kind, FleetError::Unreachable(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_is_told_apart() {
        for (log, wanted) in [
            (
                "root@h: Permission denied (publickey).",
                Connecting::Refused,
            ),
            // A jump host refused; the outer ssh only sees that its connection ended.
            (
                "ops@bastion: Permission denied (publickey).\nConnection closed by UNKNOWN port 65535",
                Connecting::Refused,
            ),
            (
                "kex_exchange_identification: read: Connection reset by peer",
                Connecting::Dropped,
            ),
            (
                "kex_exchange_identification: Connection closed by remote host\nConnection closed by UNKNOWN port 65535",
                Connecting::Dropped,
            ),
            (
                "channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed\nConnection closed by UNKNOWN port 65535",
                Connecting::NotHeard,
            ),
            (
                "ssh: connect to host h port 22: Connection refused",
                Connecting::NotHeard,
            ),
            (
                "ssh: Could not resolve hostname h: Name or service not known",
                Connecting::Final,
            ),
            ("Host key verification failed.", Connecting::Final),
            ("", Connecting::Dropped),
            (
                "** WARNING: connection is not using a post-quantum key exchange algorithm.\nroot@h: Permission denied (publickey).",
                Connecting::Refused,
            ),
        ] {
            assert_eq!(explain(log, None).0, wanted, "{log}");
        }
        let (_, error) = explain(
            "Host key verification failed.\nConnection closed by x",
            None,
        );
        assert!(error.to_string().contains("known_hosts"));
    }
}
