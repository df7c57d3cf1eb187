//! Files of sheet texts: where they are, which keys they hold, and what is wrong with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::error::SheetError;
use crate::text::{FileError, Position, SourceFile, suggest};

/// The languages that come with the program.
pub(super) const BUILTIN: &[(&str, &str)] = &[
    ("en", include_str!("../../templates/sheet/en.yml")),
    ("fr", include_str!("../../templates/sheet/fr.yml")),
];

/// What the value of a key must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    /// A list with at least and at most so many texts.
    Many(usize, usize),
}

/// Every key of a file of texts.
pub(super) const KEYS: &[(&str, Shape)] = &[
    ("title", Shape::One),
    ("subtitle", Shape::One),
    ("label_name", Shape::One),
    ("label_login", Shape::One),
    ("label_realm", Shape::One),
    ("label_account", Shape::One),
    ("account", Shape::One),
    ("label_settings", Shape::One),
    ("settings", Shape::One),
    ("label_sheet", Shape::One),
    ("label_token", Shape::One),
    ("token", Shape::One),
    ("label_issued", Shape::One),
    ("label_expires", Shape::One),
    ("qr_caption", Shape::One),
    ("key_heading", Shape::One),
    ("key_note", Shape::One),
    ("key_note_rows", Shape::One),
    ("steps_heading", Shape::One),
    ("steps", Shape::Many(1, 9)),
    ("rotation_heading", Shape::One),
    ("rotation_note", Shape::One),
    ("warning_heading", Shape::One),
    ("warning", Shape::Many(1, 6)),
    ("single_use_heading", Shape::One),
    ("single_use", Shape::One),
    ("contact_heading", Shape::One),
    ("contact", Shape::One),
    ("contact_none", Shape::One),
    ("footer", Shape::One),
    ("page", Shape::One),
    ("codes_title", Shape::One),
    ("codes_subtitle", Shape::One),
    ("recovery_heading", Shape::One),
    ("recovery", Shape::Many(1, 6)),
    ("scratch_heading", Shape::One),
    ("scratch", Shape::Many(1, 6)),
    ("date", Shape::One),
    ("weekdays", Shape::Many(7, 7)),
    ("months", Shape::Many(12, 12)),
];

/// One key's texts and where they stand.
pub(super) struct Entry {
    pub(super) texts: Vec<String>,
    pub(super) source: SourceFile,
    pub(super) position: Position,
}

/// Returns `fr-CA` for `fr_ca`, nothing for what is no language tag: the tag becomes a file name.
pub(super) fn canonical_tag(text: &str) -> Option<String> {
    let mut parts = text.split(['-', '_']);
    let primary = parts.next()?;
    if !(2..=3).contains(&primary.len()) || !primary.bytes().all(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let mut tag = primary.to_ascii_lowercase();
    for part in parts {
        if !(2..=8).contains(&part.len()) || !part.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        tag.push('-');
        tag.push_str(&match part.len() {
            2 => part.to_ascii_uppercase(),
            _ => part.to_ascii_lowercase(),
        });
    }
    Some(tag)
}

/// Returns the files of one tag, the weaker first.
pub(super) fn sources(dir: Option<&Path>, tag: &str) -> Result<Vec<SourceFile>, SheetError> {
    let mut found = Vec::new();
    if let Some((_, text)) = BUILTIN.iter().find(|(t, _)| *t == tag) {
        found.push(SourceFile::new(format!("built-in {tag}.yml"), *text));
    }
    if let Some(dir) = dir {
        let path = dir.join(format!("{tag}.yml"));
        let name = path.display().to_string();
        match std::fs::read(&path) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes)
                    .map_err(|_| FileError::whole(&name, "is not UTF-8"))?;
                found.push(SourceFile::new(name, text));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(FileError::whole(name, format!("cannot be read: {e}")).into()),
        }
    }
    Ok(found)
}

/// Lists the languages that a sheet can be made in.
pub(super) fn at_hand(dir: Option<&Path>) -> Vec<String> {
    let mut tags: BTreeSet<String> = BUILTIN.iter().map(|(t, _)| (*t).to_owned()).collect();
    let files = dir
        .and_then(|d| std::fs::read_dir(d).ok())
        .into_iter()
        .flatten()
        .flatten();
    for file in files {
        let name = file.file_name();
        let tag = name
            .to_str()
            .and_then(|n| n.strip_suffix(".yml"))
            .and_then(canonical_tag);
        tags.extend(tag);
    }
    tags.into_iter().collect()
}

/// Reads one file and lets its keys win over those merged so far.
pub(super) fn merge(
    merged: &mut BTreeMap<&'static str, Entry>,
    source: &SourceFile,
) -> Result<(), SheetError> {
    let mapping: serde_yaml::Mapping = serde_yaml::from_str(source.text()).map_err(|e| {
        let message = e.to_string();
        match e.location() {
            Some(at) => source.error(
                Position::new(at.line(), at.column().max(1)),
                format!("is no mapping of texts: {message}"),
            ),
            None => source.error_whole(format!("is no mapping of texts: {message}")),
        }
    })?;
    for (key, value) in mapping {
        let name = key
            .as_str()
            .ok_or_else(|| source.error_whole("has a key that is no text"))?;
        let position = position_of(source, name);
        let (key, shape) = KEYS.iter().find(|(k, _)| *k == name).ok_or_else(|| {
            source
                .error(
                    position,
                    format!("unknown text `{}`", crate::names::printable(name, 60)),
                )
                .hinted_if(suggest::hint(name, KEYS.iter().map(|(k, _)| *k)))
        })?;
        let texts = texts_of(&value, *shape)
            .map_err(|why| source.error(position, format!("the text `{name}` {why}")))?;
        merged.insert(
            *key,
            Entry {
                texts,
                source: source.clone(),
                position,
            },
        );
    }
    Ok(())
}

fn texts_of(value: &serde_yaml::Value, shape: Shape) -> Result<Vec<String>, String> {
    match (shape, value) {
        (Shape::One, serde_yaml::Value::String(text)) => Ok(vec![text.clone()]),
        (Shape::One, _) => Err("must be one text".to_owned()),
        (Shape::Many(least, most), serde_yaml::Value::Sequence(items)) => {
            let texts: Vec<String> = items
                .iter()
                .filter_map(|i| i.as_str().map(str::to_owned))
                .collect();
            if texts.len() != items.len() || !(least..=most).contains(&texts.len()) {
                return Err(if least == most {
                    format!("must be a list of {least} texts")
                } else {
                    format!("must be a list of {least} to {most} texts")
                });
            }
            Ok(texts)
        }
        (Shape::Many(..), _) => Err("must be a list of texts".to_owned()),
    }
}

/// Finds the line of a top-level key; the parser's values do not know theirs.
fn position_of(source: &SourceFile, key: &str) -> Position {
    let line = source
        .text()
        .lines()
        .position(|l| {
            let l = l.trim_start_matches(['"', '\'']);
            l.strip_prefix(key)
                .is_some_and(|rest| rest.trim_start_matches(['"', '\'', ' ']).starts_with(':'))
        })
        .map_or(1, |n| n + 1);
    Position {
        line,
        column: 1,
        width: key.chars().count().max(1),
    }
}
