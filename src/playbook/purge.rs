//! Which files in the directory of sheets nobody needs any more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ledger::SheetRecord;
use crate::token::id::SheetId;

/// A file that can go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Left {
    /// Its name.
    pub name: String,
    /// Why it can go.
    pub why: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Finds the files of sheets that ended, whose time is over, that the ledger does not know, and unfinished ones; and the
/// files of ended sheets elsewhere, where the directory was changed since. Files that are not named like a sheet are
/// somebody else's.
///
/// Only for the holder of the ledger's lock, or to look: a sheet in the making has an unfinished file.
///
/// # Errors
/// When the directory cannot be read. One that is not there holds nothing.
pub fn left_over(dir: &Path, sheets: &[SheetRecord], now: Timestamp) -> Result<Vec<Left>, Error> {
    let known: BTreeMap<&str, &SheetRecord> = sheets.iter().map(|s| (s.id.as_str(), s)).collect();
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
    .map_err(|e| Error::failed(format!("cannot read `{}`", dir.display())).caused_by(e))?;
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        let why = match sheet_of(&name) {
            Some((_, true)) => Some("an interrupted run left it unfinished".to_owned()),
            Some((id, false)) => match known.get(id.as_str()) {
                None => Some("the ledger knows no such sheet".to_owned()),
                Some(sheet) => over(sheet, now),
            },
            None => None,
        };
        if let Some(why) = why {
            found.push(Left {
                path: entry.path(),
                name,
                why,
            });
        }
    }
    for sheet in sheets {
        let (Some(path), Some(hash), Some(why)) = (&sheet.path, &sheet.sha256, over(sheet, now))
        else {
            continue;
        };
        let path = PathBuf::from(path);
        let inside = path.parent().is_some_and(|parent| {
            matches!((parent.canonicalize(), dir.canonicalize()), (Ok(a), Ok(b)) if a == b)
        });
        // Elsewhere only what is provably this sheet.
        if !inside && crate::sheet::store::verify(&path, hash) {
            found.push(Left {
                name: path.display().to_string(),
                path,
                why,
            });
        }
    }
    found.sort();
    Ok(found)
}

/// Says why a sheet's file is of no use any more.
fn over(sheet: &SheetRecord, now: Timestamp) -> Option<String> {
    if !sheet.state.is_open() {
        return Some(format!("its sheet is {}", sheet.state));
    }
    sheet
        .expires_at
        .filter(|at| *at <= now)
        .map(|at| format!("its sheet's time was over at {at}"))
}

/// Reads a file's name as that of a sheet; `true` for unfinished ones.
fn sheet_of(name: &str) -> Option<(SheetId, bool)> {
    if let Some(id) = name
        .strip_prefix('.')
        .and_then(|n| n.strip_suffix(".pdf.tmp"))
    {
        return Some((SheetId::new(id).ok()?, true));
    }
    let id = name
        .strip_suffix(".pdf.age")
        .or_else(|| name.strip_suffix(".pdf"))?;
    Some((SheetId::new(id).ok()?, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_sheets_are_ours() {
        for (name, ours) in [
            ("S-7K2M9QXA.pdf", Some(false)),
            ("S-7K2M9QXA.pdf.age", Some(false)),
            (".S-7K2M9QXA.pdf.tmp", Some(true)),
            ("S-7K2M9QXA.pdf.bak", None),
            ("S-.pdf", None),
            ("notes.pdf", None),
            ("T-7K2M9QXA.pdf", None),
            ("s-7k2m9qxa.pdf", None),
        ] {
            assert_eq!(sheet_of(name).map(|(_, t)| t), ours, "{name}");
        }
    }
}
