//! Identifiers of the things that a project issues, each a type of its own.
//!
//! They end up in file names, in host files and in the event log, so each has passed [`IdError`]'s check.

use std::fmt;

use crate::clock::{Entropy, EntropyError, readable_id};
use crate::names::printable;

/// A text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{shown}` is not a {what}, which looks like `{prefix}-7K2M9QXA`")]
pub struct IdError {
    what: &'static str,
    prefix: &'static str,
    shown: String,
}

fn is_id(text: &str, prefix: &str) -> bool {
    let Some(rest) = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('-'))
    else {
        return false;
    };
    (4..=32).contains(&rest.len())
        && rest
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal, $len:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and keeps it.
            ///
            /// # Errors
            /// When the text does not look like such an identifier.
            pub fn new(text: &str) -> Result<Self, IdError> {
                if is_id(text, $prefix) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(IdError { what: $what, prefix: $prefix, shown: printable(text, 40) })
                }
            }

            /// Makes a new random one.
            ///
            /// # Errors
            /// When the random source fails.
            pub fn random(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
                readable_id(entropy, $prefix, $len).map(Self)
            }

            /// Returns the identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }
    };
}

id_type! {
    /// A project: written into every host file, so that two projects never overwrite each other.
    ProjectId, "project id", "F", 12
}
id_type! {
    /// A token: one per admin and realm, the same over all its generations.
    Serial, "token serial", "T", 8
}
id_type! {
    /// A sheet: one per generation; printed on it and the stem of its file name.
    SheetId, "sheet id", "S", 8
}
id_type! {
    /// A person under a pseudonym: what the event log says instead of a name.
    PersonId, "person id", "P", 8
}
id_type! {
    /// A grant of one-time codes: stands in state files where a token's serial would.
    BypassId, "bypass id", "B", 8
}
id_type! {
    /// One run of the program.
    RunId, "run id", "R", 10
}

/// The count of a token's generations, from 1.
pub type Generation = u32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn random_identifiers_are_accepted_and_others_refused() {
        let serial = Serial::random(&SystemEntropy).unwrap();
        assert_eq!(Serial::new(serial.as_str()), Ok(serial));
        for text in [
            "",
            "T-",
            "S-7K2M9QXA",
            "T-../../etc",
            "T-abcd",
            "T-7K2M 9QX",
        ] {
            assert!(Serial::new(text).is_err(), "{text}");
        }
    }
}
