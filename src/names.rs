//! Names that cross a trust boundary, each a type of its own.
//!
//! Names come from files that users write and end up in paths, arguments and configuration of remote hosts. A value of
//! one of these types has been checked once, where it entered the program, so nothing further down quotes or filters.

use std::fmt;

use serde::Serialize;

/// Says why a text is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{shown}` {why}")]
pub struct NameError {
    what: &'static str,
    shown: String,
    why: &'static str,
}

impl NameError {
    fn new(what: &'static str, text: &str, why: &'static str) -> Self {
        Self {
            what,
            shown: printable(text, 60),
            why,
        }
    }
}

/// Makes a text safe to print: control characters are escaped and the length is limited.
pub fn printable(text: &str, max_chars: usize) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == max_chars {
            out.push('…');
            break;
        }
        if c.is_control() || is_format_character(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Makes lines of text safe to print, whatever their length: as [`printable`], but line ends and tabs stay.
pub fn printable_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && !matches!(c, '\n' | '\t')) || is_format_character(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Makes a text of several lines safe to print: control characters but tabs and the ends of lines are escaped.
pub fn without_controls(text: &str) -> std::borrow::Cow<'_, str> {
    let unsafe_one = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(unsafe_one) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if unsafe_one(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// Bidirectional overrides and zero-width characters can make a terminal show something else than what is there.
fn is_format_character(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and keeps it.
            ///
            /// # Errors
            /// A [`NameError`] that says which rule is broken.
            pub fn new(text: &str) -> Result<Self, NameError> {
                match $check(text) {
                    Ok(()) => Ok(Self(text.to_owned())),
                    Err(why) => Err(NameError::new($what, text, why)),
                }
            }

            /// Returns the name as text.
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

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type! {
    /// A host as the inventory names it (not necessarily its address).
    HostName, "host name", check_host
}
name_type! {
    /// An admin: the key under `admins:`; stable over a person's time with the organisation.
    AdminName, "admin name", check_plain
}
name_type! {
    /// The name of a POSIX account on a host.
    Login, "login", check_login
}
name_type! {
    /// A set of hosts on which an admin uses one token.
    RealmName, "realm name", check_plain
}
name_type! {
    /// The key of a policy under `policies:`.
    PolicyName, "policy name", check_plain
}

/// What editors check names by; the `check_` functions below say the same and why.
macro_rules! name_schema {
    ($name:ident, $pattern:literal) => {
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "pattern": $pattern})
            }
        }
    };
}

name_schema!(AdminName, "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$");
name_schema!(RealmName, "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$");
name_schema!(PolicyName, "^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$");
name_schema!(Login, "^[A-Za-z_][A-Za-z0-9._-]{0,31}$");

fn check_host(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > 255 {
        return Err("is longer than 255 bytes");
    }
    if text.starts_with('-') {
        return Err("starts with `-`, which ssh would take for an option");
    }
    if text
        .chars()
        .any(|c| c.is_control() || c.is_whitespace() || is_format_character(c))
    {
        return Err("contains white space or control characters");
    }
    if text.chars().any(|c| "/\\;|&$`'\"<>(){}!#*?".contains(c)) {
        return Err("contains a character that no host name has");
    }
    Ok(())
}

fn check_plain(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > 64 {
        return Err("is longer than 64 characters");
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err("does not start with a letter or digit");
    }
    if !text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._@+-".contains(c))
    {
        return Err("may only hold letters, digits and `._@+-`");
    }
    Ok(())
}

/// The portable rule of useradd(8), widened by capital letters and dots, which directories use.
fn check_login(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > 32 {
        return Err("is longer than 32 characters");
    }
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Err("does not start with a letter or `_`");
    }
    if !text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    {
        return Err("may only hold letters, digits and `._-`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for text in [
            "a;rm -rf /",
            "../../etc/x",
            "$(id)",
            "a\nb",
            "",
            "-oProxyCommand=x",
            &"a".repeat(300),
            "a\u{202e}b",
        ] {
            assert!(AdminName::new(text).is_err(), "{text:?}");
            assert!(Login::new(text).is_err(), "{text:?}");
            assert!(HostName::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ordinary_names_are_kept() {
        assert_eq!(
            AdminName::new("alice.martin@ex").unwrap().as_str(),
            "alice.martin@ex"
        );
        assert_eq!(Login::new("svc_deploy-2").unwrap().as_str(), "svc_deploy-2");
        assert_eq!(
            HostName::new("2001:db8::1").unwrap().as_str(),
            "2001:db8::1"
        );
    }

    #[test]
    fn printable_escapes_what_a_terminal_would_obey() {
        assert_eq!(printable("a\u{1b}[2J", 20), "a\\u{1b}[2J");
        assert_eq!(printable("abcdef", 3), "abc…");
    }
}
