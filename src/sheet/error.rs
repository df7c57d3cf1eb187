//! Why a sheet could not be made.

use std::path::PathBuf;

use crate::clock::EntropyError;
use crate::error::{Error, Kind};
use crate::names::printable;
use crate::text::FileError;

/// Why a sheet could not be made, protected or stored. Never holds a key, a URI or a passphrase.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// A colour is not written as `#rrggbb`.
    #[error("`{}` is not a colour: write #rrggbb, such as #1f4e79", printable(.0, 40))]
    Colour(String),
    /// A colour could not be read by everyone on white paper.
    #[error(
        "the colour `{colour}` has a contrast of {contrast:.1}:1 with white; at least 4.5:1 is needed"
    )]
    Contrast {
        /// The colour as `#rrggbb`.
        colour: String,
        /// Its contrast with white.
        contrast: f32,
        /// A darker colour of the same hue that passes.
        darker: String,
    },
    /// The logo cannot be used.
    #[error("the logo {why}")]
    Logo {
        /// What is wrong with it: a predicate.
        why: String,
    },
    /// A font cannot be used.
    #[error("the font {why}")]
    Font {
        /// What is wrong with it: a predicate.
        why: String,
    },
    /// No font at hand has some characters.
    #[error("no font at hand covers {} in the {field} `{}`", list(.characters), printable(.text, 60))]
    MissingGlyphs {
        /// What the text is: "name", "organisation", and so on.
        field: String,
        /// The text itself, which is no secret.
        text: String,
        /// The characters, each once.
        characters: Vec<char>,
    },
    /// A script whose letters join or run from right to left.
    #[error("the {field} `{}` is written in a script that this program cannot set: {}", printable(.text, 60), list(.characters))]
    NeedsShaping {
        /// What the text is.
        field: String,
        /// The text itself, which is no secret.
        text: String,
        /// The characters, each once.
        characters: Vec<char>,
    },
    /// A file of sheet texts is wrong.
    #[error(transparent)]
    Texts(Box<FileError>),
    /// There are no texts in a language.
    #[error("there are no sheet texts in the language `{}`", printable(.wanted, 40))]
    Language {
        /// The language asked for.
        wanted: String,
        /// The languages at hand.
        at_hand: Vec<String>,
    },
    /// The URI does not fit into a code with modules of half a millimetre.
    #[error("the otpauth URI of {bytes} bytes is too long for a code that phones can read")]
    UriTooLong {
        /// Length of the URI.
        bytes: usize,
    },
    /// The texts do not fit on one page even in the smallest type.
    #[error("the texts of the sheet do not fit on one page")]
    DoesNotFit,
    /// A public key cannot be a recipient.
    #[error("the recipient {why}")]
    Recipient {
        /// What is wrong with it: a predicate.
        why: String,
    },
    /// A passphrase cannot be used.
    #[error("the passphrase {0}")]
    Passphrase(&'static str),
    /// A sheet id is not one.
    #[error("`{}` is not a sheet id: only A to Z, 0 to 9 and dashes are allowed", printable(.0, 40))]
    SheetId(String),
    /// A sheet is already there; sheets are written once.
    #[error("the sheet `{}` exists already; a sheet is written once", .0.display())]
    Exists(PathBuf),
    /// A file could not be read or written.
    #[error("cannot {what} `{}`", .path.display())]
    Io {
        /// What was tried: "write", "rename", and so on.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The random source failed.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// A library refused what it should have taken: a defect.
    #[error("cannot make the sheet: {0}")]
    Internal(String),
}

impl SheetError {
    /// Wraps what a library said, which must not hold a secret.
    pub(super) fn internal(cause: impl std::fmt::Display) -> Self {
        Self::Internal(printable(&cause.to_string(), 200))
    }

    pub(super) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

/// Lists characters as `U+4E2D 中`, at most ten.
fn list(characters: &[char]) -> String {
    let mut shown: Vec<String> = characters
        .iter()
        .take(10)
        .map(|c| {
            if c.is_control() || printable(&c.to_string(), 1).chars().count() != 1 {
                format!("U+{:04X}", u32::from(*c))
            } else {
                format!("U+{:04X} {c}", u32::from(*c))
            }
        })
        .collect();
    if characters.len() > 10 {
        shown.push(format!("and {} more", characters.len() - 10));
    }
    shown.join(", ")
}

impl From<FileError> for SheetError {
    fn from(error: FileError) -> Self {
        Self::Texts(Box::new(error))
    }
}

impl From<SheetError> for Error {
    fn from(error: SheetError) -> Self {
        let kind = match &error {
            SheetError::Texts(_) => Kind::File,
            SheetError::Colour(_)
            | SheetError::Contrast { .. }
            | SheetError::Logo { .. }
            | SheetError::Font { .. }
            | SheetError::MissingGlyphs { .. }
            | SheetError::NeedsShaping { .. }
            | SheetError::Language { .. }
            | SheetError::UriTooLong { .. }
            | SheetError::DoesNotFit
            | SheetError::Recipient { .. } => Kind::File,
            SheetError::Passphrase(_) => Kind::Usage,
            SheetError::SheetId(_) | SheetError::Internal(_) => Kind::Internal,
            SheetError::Exists(_) | SheetError::Io { .. } | SheetError::Entropy(_) => Kind::Failed,
        };
        let hint = match &error {
            SheetError::Contrast { darker, .. } => {
                Some(format!("a darker shade such as `{darker}` would do"))
            }
            SheetError::MissingGlyphs { .. } => Some(
                "set `sheets.font` in the project file to a TrueType font that covers them, or write the text in \
                 letters that the built-in font has: Latin, Greek and Cyrillic"
                    .to_owned(),
            ),
            SheetError::NeedsShaping { .. } => Some(
                "write it in Latin, Greek, Cyrillic, or East Asian letters, as in a passport's machine-readable line"
                    .to_owned(),
            ),
            SheetError::Language { at_hand, .. } => Some(format!(
                "there are: {}; others go into the directory `sheets.templates`",
                at_hand.join(", ")
            )),
            SheetError::UriTooLong { .. } => {
                Some("shorten the issuer, the realm or the login".to_owned())
            }
            SheetError::DoesNotFit => {
                Some("shorten the texts in `sheets.templates`, the names or the contact".to_owned())
            }
            SheetError::Recipient { .. } => Some(
                "a recipient is an age public key (age1…), or an ssh-ed25519 or ssh-rsa public key".to_owned(),
            ),
            _ => None,
        };
        match error {
            SheetError::Texts(file) => (*file).into(),
            SheetError::Io { what, path, source } => {
                Self::new(kind, format!("cannot {what} `{}`", path.display())).caused_by(source)
            }
            other => Self::new(kind, other.to_string()).hinted_if(hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_characters_are_named_with_what_to_do() {
        let error: Error = SheetError::MissingGlyphs {
            field: "name".to_owned(),
            text: "王小明".to_owned(),
            characters: vec!['王', '小', '明'],
        }
        .into();
        insta::assert_snapshot!(error.report(), @r"
        error: no font at hand covers U+738B 王, U+5C0F 小, U+660E 明 in the name `王小明`
        hint: set `sheets.font` in the project file to a TrueType font that covers them, or write the text in letters that the built-in font has: Latin, Greek and Cyrillic
        ");
        assert_eq!(error.kind(), Kind::File);
    }
}
