//! A file that a user wrote, positions in it, and errors that point at them.

use std::fmt;
use std::sync::Arc;

use crate::names::printable;

/// The name and text of a file that a user wrote.
#[derive(Debug, Clone)]
pub struct SourceFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    text: String,
    may_hold_secrets: bool,
}

impl SourceFile {
    /// A file whose lines may be shown in errors.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                name: name.into(),
                text: text.into(),
                may_hold_secrets: false,
            }),
        }
    }

    /// A file that can hold secrets: errors name the position but show none of its text.
    pub fn secret(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                name: name.into(),
                text: text.into(),
                may_hold_secrets: true,
            }),
        }
    }

    /// Returns the name as shown in errors, usually the path.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// Returns whether errors must show none of the text.
    pub fn may_hold_secrets(&self) -> bool {
        self.inner.may_hold_secrets
    }

    /// Makes an error that points at `position`.
    pub fn error(&self, position: Position, message: impl Into<String>) -> FileError {
        let line = (!self.may_hold_secrets())
            .then(|| {
                self.text()
                    .lines()
                    .nth(position.line.saturating_sub(1))
                    .map(str::to_owned)
            })
            .flatten();
        FileError {
            file: self.name().to_owned(),
            position: Some(position),
            line,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// Makes an error about the file as a whole.
    pub fn error_whole(&self, message: impl Into<String>) -> FileError {
        FileError::whole(self.name(), message)
    }
}

/// A place in a file; both numbers count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// How many characters the caret underlines, at least 1.
    pub width: usize,
}

impl Position {
    /// A position whose caret is one character wide.
    pub const fn new(line: usize, column: usize) -> Self {
        Self {
            line,
            column,
            width: 1,
        }
    }
}

/// A file that a user wrote is wrong: exit code 65.
///
/// Displays as `file:line:column: message`, then the line with a caret below, then the hints.
#[derive(Debug, Clone)]
pub struct FileError {
    /// The file as the user named it.
    pub file: String,
    /// Where in the file, if the error has a place.
    pub position: Option<Position>,
    /// The line shown; `None` in files that can hold secrets.
    pub line: Option<String>,
    /// What is wrong: a fragment in lower case.
    pub message: String,
    /// What to do about it.
    pub hints: Vec<String>,
}

impl FileError {
    /// Makes an error about a file as a whole.
    pub fn whole(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            position: None,
            line: None,
            message: message.into(),
            hints: Vec::new(),
        }
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
}

impl std::error::Error for FileError {}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable(&self.file, 400))?;
        if let Some(p) = self.position {
            write!(f, ":{}:{}", p.line, p.column)?;
        }
        write!(f, ": {}", self.message)?;
        if let (Some(p), Some(line)) = (self.position, &self.line) {
            let (shown, column) = excerpt(line, p.column);
            let number = p.line.to_string();
            let pad = " ".repeat(number.len());
            let room = shown.chars().count().saturating_sub(column - 1).max(1);
            let carets = "^".repeat(p.width.clamp(1, room));
            write!(
                f,
                "\n {pad} |\n {number} | {shown}\n {pad} | {}{carets}",
                " ".repeat(column - 1)
            )?;
        }
        Ok(())
    }
}

/// Cuts a long line around the caret; returns the text shown and the caret's column in it, from 1.
fn excerpt(line: &str, column: usize) -> (String, usize) {
    const MAX: usize = 100;
    let chars: Vec<char> = line
        .chars()
        .map(|c| if c == '\t' { ' ' } else { c })
        .collect();
    let column = column.clamp(1, chars.len() + 1);
    let start = if column > MAX { column - MAX / 2 } else { 0 };
    let shown: String = chars
        .iter()
        .skip(start)
        .take(MAX)
        .map(|c| {
            if c.is_control() || printable(&c.to_string(), 1).chars().count() != 1 {
                '\u{fffd}'
            } else {
                *c
            }
        })
        .collect();
    (shown, column - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_the_line_with_a_caret() {
        let file = SourceFile::new("inv.yml", "all:\n  hostss: {}\n");
        let error = file
            .error(
                Position {
                    line: 2,
                    column: 3,
                    width: 6,
                },
                "unknown key `hostss`",
            )
            .hinted("did you mean `hosts`?");
        insta::assert_snapshot!(error, @r"
        inv.yml:2:3: unknown key `hostss`
           |
         2 |   hostss: {}
           |   ^^^^^^
        ");
    }

    #[test]
    fn a_file_that_may_hold_secrets_shows_none_of_its_text() {
        let file = SourceFile::secret("vars.yml", "token: hunter2\n");
        assert_eq!(
            file.error(Position::new(1, 8), "not a mapping").to_string(),
            "vars.yml:1:8: not a mapping"
        );
    }

    #[test]
    fn a_hostile_line_cannot_reach_the_terminal() {
        let file = SourceFile::new("x", format!("{}\u{1b}[2Jabc", "y".repeat(300)));
        assert!(
            !file
                .error(Position::new(1, 301), "bad")
                .to_string()
                .contains('\u{1b}')
        );
    }
}
