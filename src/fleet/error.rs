//! What can go wrong between here and a host.

use crate::host::reply::ReplyError;
use crate::names::printable;

/// A connection or a request failed.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// No usable connection: the host counts as unreachable.
    #[error("{0}")]
    Unreachable(String),
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
        matches!(self, Self::Unreachable(_) | Self::Lost | Self::Timeout(_))
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
    /// Before anyone was authenticated: may be tried again.
    Transient,
    /// Will not get better by trying.
    Final,
}

/// Turns what ssh said into an error, and tells whether trying again can help.
pub(crate) fn explain(log: &str) -> (Connecting, FleetError) {
    let last = log
        .lines()
        .map(str::trim)
        .rfind(|l| !l.is_empty())
        .unwrap_or("ssh gave no reason");
    let said = printable(last, 200);
    let has = |text: &str| log.contains(text);
    let (kind, why) = if has("Host key verification failed")
        || has("REMOTE HOST IDENTIFICATION HAS CHANGED")
    {
        let why = if has("IDENTIFICATION HAS CHANGED") {
            "the host's key is not the one in known_hosts: someone may be in between, or the host was set up anew"
        } else {
            "the host's key is not in known_hosts; add it after comparing fingerprints, or use --host-key accept-new"
        };
        (Connecting::Final, why.to_owned())
    } else if has("Permission denied") || has("Too many authentication failures") {
        (Connecting::Final, format!("the login was refused: {said}"))
    } else if has("Not allowed at this time") {
        (
            Connecting::Final,
            format!("the host refuses this address for a while (PerSourcePenalties): {said}"),
        )
    } else if has("kex_exchange_identification")
        || has("Connection reset")
        || has("Connection closed by")
        || has("MaxStartups")
        || has("Connection refused")
    {
        (Connecting::Transient, said)
    } else {
        (Connecting::Final, said)
    };
    (kind, FleetError::Unreachable(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_final_and_resets_are_not() {
        assert_eq!(
            explain("root@h: Permission denied (publickey).").0,
            Connecting::Final
        );
        assert_eq!(
            explain("kex_exchange_identification: read: Connection reset by peer").0,
            Connecting::Transient
        );
        assert!(
            explain("Host key verification failed.")
                .1
                .to_string()
                .contains("known_hosts")
        );
    }
}
