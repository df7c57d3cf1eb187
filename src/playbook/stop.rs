//! Why the work on a host ended early.

use crate::error::Error;
use crate::fleet::FleetError;
use crate::host::reply::ReplyError;
use crate::plan::elevation;
use crate::playbook::outcome::Status;

/// Why the work on a host ended early.
#[derive(Debug)]
pub(super) enum Stop {
    Unreachable(String),
    /// Not even connected to, and so not looked at.
    NotTried(Status),
    Failed(String),
    Interrupted,
}

/// Returns what to say of an error on the way to a host; what sudo refused, with what to do about it.
pub(super) fn told(error: &FleetError) -> String {
    let refused = match error {
        FleetError::Refused(said) => elevation::refused(said),
        _ => None,
    };
    refused.map_or_else(|| error.in_full(), |finding| finding.sentence())
}

impl From<FleetError> for Stop {
    fn from(error: FleetError) -> Self {
        let text = told(&error);
        if let FleetError::Interrupted = error {
            Self::Interrupted
        } else if let FleetError::NotTried(why) = error {
            Self::NotTried(Status::Unreachable(why))
        } else if error.is_unreachable() {
            Self::Unreachable(text)
        } else {
            Self::Failed(text)
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<ReplyError> for Stop {
    fn from(error: ReplyError) -> Self {
        FleetError::from(error).into()
    }
}

/// Why an apply did not succeed.
pub(super) enum Fault {
    /// The host is not as it was read: read again and plan again.
    Changed(String),
    /// The change was not proved and is taken back.
    Proof(String),
    /// Anything else.
    Stop(Stop),
}

impl From<Stop> for Fault {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}
