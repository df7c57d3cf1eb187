//! The error at the edge of the program: what failed, why, what to do, and the exit code.
//!
//! Modules below `cli/` return error types of their own operation; each has a `From` here or beside it that picks the
//! [`Kind`]. One function prints ([`Error::report`]), one table gives the exit code ([`Kind::code`]).

use std::error::Error as StdError;
use std::fmt::Write as _;

use crate::exit;
use crate::text::FileError;

/// What an error means for the caller's script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing matched, I/O failed, or the state is not as needed.
    Failed,
    /// The command line is wrong.
    Usage,
    /// A file that the user wrote is wrong.
    File,
    /// Another run holds the lock.
    Locked,
    /// A signal ended the run.
    Interrupted,
    /// A defect in fleetotp.
    Internal,
    /// The work is done, yet something stays open.
    Findings,
}

impl Kind {
    /// Returns the documented exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Failed => exit::ERROR,
            Self::Usage => exit::USAGE,
            Self::File => exit::FILE,
            Self::Locked => exit::LOCKED,
            Self::Interrupted => exit::INTERRUPTED,
            Self::Internal => exit::INTERNAL,
            Self::Findings => exit::FINDINGS,
        }
    }
}

/// An error as the user sees it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    hints: Vec<String>,
}

impl Error {
    /// Makes an error from what failed: a fragment in lower case, such as "no host matches `web*`".
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
            hints: Vec::new(),
        }
    }

    /// Shorthand for [`Kind::Failed`].
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// Shorthand for [`Kind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a hint if there is one.
    #[must_use]
    pub fn hinted_if(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hinted(hint),
            None => self,
        }
    }

    /// Returns what the error means for the caller.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the text for the user: `error:`, the cause chain, the hints. Ends with a newline.
    pub fn report(&self) -> String {
        let mut text = format!("error: {}\n", self.message);
        let mut cause = self
            .source
            .as_deref()
            .map(|s| s as &(dyn StdError + 'static));
        let mut full = false;
        while let Some(error) = cause {
            // Writing to a string cannot fail.
            _ = writeln!(text, "  caused by: {error}");
            full |= is_full(error);
            cause = error.source();
        }
        if full {
            _ = writeln!(text, "hint: {DISK_FULL}");
        }
        for hint in &self.hints {
            _ = writeln!(text, "hint: {hint}");
        }
        // Paths and arguments are shown as they were given: nothing in them may steer the terminal.
        crate::names::printable_lines(&text)
    }
}

/// What to do where this machine's disk is full.
const DISK_FULL: &str = "a disk of this machine is full: free some space there and run again; what the ledger has stored is kept";

/// Tells whether a file system had no room, as the system (ENOSPC, EDQUOT) or SQLite (`SQLITE_FULL`; 4874 is
/// `SQLITE_IOERR_SHMSIZE`: the file beside the database could not grow) says.
fn is_full(error: &(dyn StdError + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| matches!(e.kind(), StorageFull | QuotaExceeded))
        || ["database or disk is full", "(code: 4874) disk I/O error"]
            .iter()
            .any(|said| error.to_string().ends_with(said))
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|s| s as &(dyn StdError + 'static))
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        let hints = error.hints.clone();
        Self {
            kind: Kind::File,
            message: error.to_string(),
            source: None,
            hints,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_error_its_causes_and_what_to_do() {
        let error = Error::failed("cannot read the ledger `state/ledger.db`")
            .caused_by(std::io::Error::other("disk on fire"))
            .hinted("restore it from a backup");
        insta::assert_snapshot!(error.report(), @r"
        error: cannot read the ledger `state/ledger.db`
          caused by: disk on fire
        hint: restore it from a backup
        ");
        assert_eq!(error.kind().code(), 1);
        let full =
            Error::failed("cannot write `a`").caused_by(std::io::Error::from_raw_os_error(28));
        assert!(full.report().contains(DISK_FULL), "{}", full.report());
    }
}
