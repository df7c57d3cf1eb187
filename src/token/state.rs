//! The states of tokens, generations, sheets, and of a token on a host; and which may follow which.

/// A stored text names no state: the ledger is damaged or newer than this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no state of a {what}")]
pub struct StateError {
    pub(crate) what: &'static str,
    pub(crate) text: String,
}

macro_rules! state_type {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// All of them, in the order of a life.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the word that stands in the ledger, in events and in output.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// Reads the word that [`Self::as_str`] gives.
            ///
            /// # Errors
            /// When it is none of them.
            pub fn parse(text: &str) -> Result<Self, $crate::token::state::StateError> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($crate::token::state::StateError { what: $what, text: crate::names::printable(text, 40) }),
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::token::state::StateError;

            fn from_str(text: &str) -> Result<Self, $crate::token::state::StateError> {
                Self::parse(text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use state_type;

state_type! {
    /// The state of a token.
    TokenState, "token" {
        /// Issued, not confirmed.
        Pending = "pending",
        /// Confirmed.
        Active = "active",
        /// The next generation is issued; both are valid.
        Rotating = "rotating",
        /// To be removed from every host; some are not proven yet.
        Revoking = "revoking",
        /// Every host is proven or attested.
        Revoked = "revoked",
        /// Not confirmed in time, or overdue where the policy says so.
        Expired = "expired",
    }
}

impl TokenState {
    /// Returns whether this state may be followed by `next`. A state may follow itself, as in a re-issue.
    pub const fn may_become(self, next: Self) -> bool {
        use TokenState::{Active, Expired, Pending, Revoked, Revoking, Rotating};
        match (self, next) {
            // A new enrolment is the only way out of the end states; a lost device starts again from anywhere. A revoked
            // one is found open again where a host no longer shows it.
            (_, Pending | Revoking)
            | (Pending, Active | Expired)
            | (Active | Rotating, Active | Rotating | Expired)
            | (Revoking | Revoked, Revoked)
            | (Expired, Expired) => true,
            _ => false,
        }
    }
}

state_type! {
    /// The state of one generation of a token.
    GenerationState, "generation" {
        /// Issued, not confirmed.
        Pending = "pending",
        /// Confirmed.
        Active = "active",
        /// Replaced by a newer generation.
        Superseded = "superseded",
        /// Not confirmed in time.
        Expired = "expired",
        /// Revoked with its token.
        Revoked = "revoked",
        /// A rotation that was taken back before anybody used it.
        Withdrawn = "withdrawn",
    }
}

impl GenerationState {
    /// Returns whether codes of such a generation are accepted.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Active)
    }

    /// Returns whether this state may be followed by `next`: nothing dead comes back.
    pub const fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Pending, Self::Pending) => false,
            (Self::Pending, _) => true,
            (Self::Active, Self::Superseded | Self::Expired | Self::Revoked) => true,
            _ => false,
        }
    }
}

state_type! {
    /// The state of a sheet.
    SheetState, "sheet" {
        /// Being made; the file may or may not be there.
        Rendering = "rendering",
        /// The file is there, under its final name.
        Issued = "issued",
        /// Handed over.
        Delivered = "delivered",
        /// Its generation is confirmed; the file is removed.
        Confirmed = "confirmed",
        /// Its generation was not confirmed in time.
        Expired = "expired",
        /// Replaced, or never finished.
        Void = "void",
    }
}

impl SheetState {
    /// Returns whether the sheet can still be used.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Rendering | Self::Issued | Self::Delivered)
    }

    /// Returns whether this state may be followed by `next`.
    pub const fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Rendering, Self::Issued | Self::Void | Self::Expired)
            | (Self::Issued, Self::Delivered)
            // A login with the code confirms, whatever the controller knew about the file.
            | (Self::Rendering | Self::Issued | Self::Delivered, Self::Confirmed)
            | (Self::Issued | Self::Delivered, Self::Expired | Self::Void) => true,
            _ => false,
        }
    }
}

state_type! {
    /// The state of a token on a host, as last read from the host.
    TokenHostState, "token on a host" {
        /// Nothing of it is there.
        Absent = "absent",
        /// The secret is there; the host does not demand it.
        Staged = "staged",
        /// The host demands it.
        Enforced = "enforced",
        /// Removed, read back, and the login is refused.
        Revoked = "revoked",
        /// The account is declared exempt.
        Exempt = "exempt",
        /// The admin has no account there.
        NoAccount = "no_account",
        /// Something is missing; the reason names it.
        Gap = "gap",
    }
}

state_type! {
    /// The state of a one-time code on a host.
    BypassState, "one-time code" {
        /// It may still be used, or no host has shown its end yet.
        Open = "open",
        /// It was used.
        Used = "used",
        /// Its time ran out unused.
        Expired = "expired",
        /// It was taken back.
        Revoked = "revoked",
        /// The host never got it.
        Failed = "failed",
        /// It is gone from the host, which does not say how.
        Gone = "gone",
    }
}

state_type! {
    /// Which of an admin's two state files on a host.
    Slot, "slot" {
        /// First issues and replacements.
        Current = "current",
        /// Rotations, until promoted.
        Next = "next",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for state in TokenHostState::ALL {
            assert_eq!(TokenHostState::parse(state.as_str()), Ok(*state));
        }
        assert_eq!(
            TokenHostState::parse("Enforced").unwrap_err().to_string(),
            "`Enforced` is no state of a token on a host"
        );
    }

    #[test]
    fn nothing_dead_comes_back_without_a_new_generation() {
        for from in GenerationState::ALL.iter().filter(|s| !s.is_live()) {
            for to in GenerationState::ALL {
                assert!(!from.may_become(*to), "{from} {to}");
            }
        }
        for from in SheetState::ALL.iter().filter(|s| !s.is_open()) {
            for to in SheetState::ALL {
                assert!(!from.may_become(*to), "{from} {to}");
            }
        }
    }

    #[test]
    fn a_revoked_token_lives_again_only_by_a_new_enrolment() {
        for from in [TokenState::Revoking, TokenState::Revoked] {
            let after: Vec<_> = TokenState::ALL
                .iter()
                .filter(|to| from.may_become(**to))
                .collect();
            assert!(!after.contains(&&TokenState::Active), "{from}");
            assert!(after.contains(&&TokenState::Pending), "{from}");
        }
        assert!(!TokenState::Revoked.may_become(TokenState::Expired));
    }
}
