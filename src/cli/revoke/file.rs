//! Lists of people that other systems write: leavers, and current staff.

use std::path::Path;

use clap::ValueEnum;

use crate::error::Error;
use crate::names::printable;
use crate::text::{FileError, Position, SourceFile, suggest};

/// By what people are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MatchOn {
    /// The key under `admins:`
    Admin,
    /// The address, whatever its case
    Email,
    /// The account's name
    Login,
}

impl MatchOn {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Email => "email",
            Self::Login => "login",
        }
    }
}

/// A list of people.
#[derive(Debug)]
pub(crate) struct List {
    /// What the values are.
    pub(crate) column: MatchOn,
    /// The people.
    pub(crate) rows: Vec<Row>,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Name, address or login.
    pub(crate) value: String,
    /// Why they leave.
    pub(crate) reason: Option<String>,
    /// The ticket.
    pub(crate) ticket: Option<String>,
}

const COLUMNS: [MatchOn; 3] = [MatchOn::Admin, MatchOn::Email, MatchOn::Login];

/// Reads `leavers.csv`: a header `admin`, `email` or `login`, then perhaps `reason` and `ticket`, and nothing else.
///
/// # Errors
/// A file that cannot be read, or is not of that form.
pub(crate) fn leavers(cwd: &Path, path: &Path) -> Result<List, Error> {
    Ok(parse(&read(cwd, path)?, None, false)?)
}

/// Reads a list of all current staff. It may have other columns as well.
///
/// # Errors
/// A file that cannot be read, has no such header, or names nobody.
pub(crate) fn staff(cwd: &Path, path: &Path, on: Option<MatchOn>) -> Result<List, Error> {
    Ok(parse(&read(cwd, path)?, on, true)?)
}

fn read(cwd: &Path, path: &Path) -> Result<SourceFile, Error> {
    let shown = printable(&path.display().to_string(), 200);
    let text = std::fs::read_to_string(cwd.join(path))
        .map_err(|e| Error::failed(format!("cannot read the list `{shown}`")).caused_by(e))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned();
    Ok(SourceFile::new(shown, text))
}

fn at(line: usize, width: usize) -> Position {
    Position {
        line,
        column: 1,
        width,
    }
}

fn parse(file: &SourceFile, on: Option<MatchOn>, others: bool) -> Result<List, FileError> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(file.text().as_bytes());
    let wrong = |error: &csv::Error| {
        let line = error
            .position()
            .map_or(1, |p| usize::try_from(p.line()).unwrap_or(1));
        file.error(
            at(line, 1),
            "this line has another number of cells than the header",
        )
    };
    let header = reader.headers().map_err(|e| wrong(&e))?.clone();
    let place = |name: &str| header.iter().position(|h| h.eq_ignore_ascii_case(name));
    let column = COLUMNS
        .into_iter()
        .filter(|c| on.is_none_or(|on| on == *c))
        .find_map(|c| Some((c, place(c.as_str())?)));
    let Some((column, index)) = column else {
        let wanted = on.map_or("`admin`, `email` or `login`".to_owned(), |c| {
            format!("`{}`", c.as_str())
        });
        let width = file
            .text()
            .lines()
            .next()
            .map_or(1, |l| l.chars().count().max(1));
        return Err(file
            .error(
                at(1, width),
                format!("the list has no header with a column {wanted}"),
            )
            .hinted("the first line names the columns, such as: admin,reason,ticket"));
    };
    if !others {
        for name in &header {
            let known = [column.as_str(), "reason", "ticket"];
            if !known.iter().any(|k| name.eq_ignore_ascii_case(k)) {
                return Err(file
                    .error(
                        at(1, 1),
                        format!("unknown column `{}`", printable(name, 40)),
                    )
                    .hinted_if(suggest::hint(name, known)));
            }
        }
    }
    let (reason, ticket) = (place("reason"), place("ticket"));
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| wrong(&e))?;
        let cell = |i: Option<usize>| {
            i.and_then(|i| record.get(i))
                .filter(|c| !c.is_empty())
                .map(str::to_owned)
        };
        let Some(value) = cell(Some(index)) else {
            let line = record
                .position()
                .map_or(1, |p| usize::try_from(p.line()).unwrap_or(1));
            return Err(file.error(at(line, 1), format!("this line has no {}", column.as_str())));
        };
        rows.push(Row {
            value,
            reason: cell(reason),
            ticket: cell(ticket),
        });
    }
    if rows.is_empty() && others {
        return Err(
            file.error_whole("the list of current staff names nobody: everybody would be revoked")
        );
    }
    Ok(List { column, rows })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str, others: bool) -> Result<List, FileError> {
        parse(&SourceFile::new("l.csv", text), None, others)
    }

    #[test]
    fn a_list_of_leavers_reads() {
        let read = list("admin,reason,ticket\nalice, left ,HR-1\nbob,,\n", false).unwrap();
        assert_eq!(read.column, MatchOn::Admin);
        assert_eq!(read.rows[0].reason.as_deref(), Some("left"));
        assert_eq!(
            read.rows[1],
            Row {
                value: "bob".into(),
                reason: None,
                ticket: None
            }
        );
        assert!(
            list("email\n", false).unwrap().rows.is_empty(),
            "nobody leaves today"
        );
    }

    #[test]
    fn what_is_no_such_list_is_refused_at_its_place() {
        for (text, others, says) in [
            ("", true, "no header"),
            ("alice\nbob\n", true, "l.csv:1:1: the list has no header"),
            ("admin\n", true, "names nobody"),
            (
                "admin,name\nalice\n",
                true,
                "l.csv:2:1: this line has another number",
            ),
            ("admin,reson\nalice,x\n", false, "unknown column `reson`"),
            (
                "admin,reason\n,x\n",
                false,
                "l.csv:2:1: this line has no admin",
            ),
        ] {
            let error = list(text, others).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_list_of_staff_may_have_other_columns() {
        let read = list("Name,Email\nAlice,alice@example.com\n", true).unwrap();
        assert_eq!((read.column, read.rows.len()), (MatchOn::Email, 1));
    }
}
