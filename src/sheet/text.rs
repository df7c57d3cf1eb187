//! The words on a sheet: per language, in files that a project can replace in whole or in part.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::error::SheetError;
use super::text_file::{Entry, KEYS, at_hand, canonical_tag, merge, sources};
use crate::text::{FileError, SourceFile, suggest};

/// Placeholders that a text may use; each is always defined when a sheet is made.
pub(super) const PLACEHOLDERS: &[&str] = &[
    "name",
    "login",
    "realm",
    "organisation",
    "issuer",
    "account",
    "contact",
    "sheet",
    "serial",
    "generation",
    "rotation",
    "issued",
    "expires",
    "issued_rfc3339",
    "expires_rfc3339",
    "digits",
    "period",
    "algorithm",
    "key_length",
    "page",
    "pages",
    "codes",
];

/// Placeholders of the key `date`.
const DATE_PLACEHOLDERS: &[&str] = &["weekday", "day", "month", "year", "time"];

/// Instructions one text may take; a text that loops is refused, not waited for.
const FUEL: u64 = 20_000;

/// The texts of one language, complete and checked.
#[derive(Debug)]
pub struct Texts {
    language: String,
    templates: Environment<'static>,
    /// How many texts each key holds.
    counts: BTreeMap<&'static str, usize>,
    /// Every character outside placeholders, so that fonts can be prepared once for all sheets of a language.
    characters: BTreeSet<char>,
}

impl Texts {
    /// Loads the texts for `language`, or for `default` where the admin has none.
    ///
    /// `fr-CA` falls back to `fr`. Texts in `dir/fr.yml` win over the built-in ones key by key; a language without
    /// built-in texts needs every key.
    ///
    /// # Errors
    /// [`SheetError::Language`] when there are no texts for it, [`SheetError::Texts`] with file and key when a file is
    /// wrong.
    pub fn load(
        dir: Option<&Path>,
        language: Option<&str>,
        default: &str,
    ) -> Result<Self, SheetError> {
        let wanted = language.unwrap_or(default);
        let unknown = || SheetError::Language {
            wanted: wanted.to_owned(),
            at_hand: at_hand(dir),
        };
        let tag = canonical_tag(wanted).ok_or_else(unknown)?;
        if let Some(dir) = dir.filter(|d| !d.is_dir()) {
            return Err(FileError::whole(
                dir.display().to_string(),
                "is not a directory of sheet texts",
            )
            .into());
        }
        let primary = tag.split('-').next().unwrap_or(&tag).to_owned();
        let mut tags = vec![primary];
        if !tags.contains(&tag) {
            tags.push(tag.clone());
        }
        let mut merged = BTreeMap::new();
        let mut last = None;
        for tag in &tags {
            for source in sources(dir, tag)? {
                merge(&mut merged, &source)?;
                last = Some(source);
            }
        }
        let last = last.ok_or_else(unknown)?;
        Self::build(&tag, &merged, &last)
    }

    /// Returns the language tag, such as `fr-CA`.
    pub fn language(&self) -> &str {
        &self.language
    }

    fn build(
        language: &str,
        merged: &BTreeMap<&'static str, Entry>,
        last: &SourceFile,
    ) -> Result<Self, SheetError> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        templates.set_fuel(Some(FUEL));
        templates.set_recursion_limit(16);
        templates.set_auto_escape_callback(|_| AutoEscape::None);
        let mut counts = BTreeMap::new();
        let mut characters = BTreeSet::new();
        for (key, _) in KEYS {
            let entry = merged
                .get(key)
                .ok_or_else(|| last.error_whole(format!("the text `{key}` is missing")))?;
            for (number, text) in entry.texts.iter().enumerate() {
                let wrong = |why: String| {
                    entry
                        .source
                        .error(entry.position, format!("the text `{key}` {why}"))
                };
                templates
                    .add_template_owned(template_name(key, number), text.clone())
                    .map_err(|e| wrong(format!("is no template: {}", describe(&e))))?;
                characters.extend(text.chars().filter(|c| !c.is_control()));
            }
            counts.insert(*key, entry.texts.len());
        }
        let texts = Self {
            language: language.to_owned(),
            templates,
            counts,
            characters,
        };
        texts.try_out(merged)?;
        Ok(texts)
    }

    /// Fills every text in once with samples, so that a mistake shows before any sheet is made.
    fn try_out(&self, merged: &BTreeMap<&'static str, Entry>) -> Result<(), SheetError> {
        for (key, _) in KEYS {
            let known = if *key == "date" {
                DATE_PLACEHOLDERS
            } else {
                PLACEHOLDERS
            };
            let Some(entry) = merged.get(key) else {
                continue;
            };
            for number in 0..entry.texts.len() {
                let wrong = |why: String| {
                    entry
                        .source
                        .error(entry.position, format!("the text `{key}` {why}"))
                };
                let template = self.template(key, number)?;
                let mut unknown: Vec<String> = template
                    .undeclared_variables(false)
                    .into_iter()
                    .filter(|name| !known.contains(&name.as_str()))
                    .collect();
                unknown.sort();
                if let Some(name) = unknown.first() {
                    return Err(wrong(format!("uses the unknown placeholder `{name}`"))
                        .hinted_if(suggest::hint(name, known.iter().copied()))
                        .hinted(format!("there are: {}", known.join(", ")))
                        .into());
                }
                for sample in [Value::from(false), Value::from(true)] {
                    let values =
                        Value::from_pairs(known.iter().map(|name| (*name, sample.clone())));
                    template
                        .render(values)
                        .map_err(|e| wrong(format!("cannot be filled in: {}", describe(&e))))?;
                }
            }
        }
        Ok(())
    }

    /// Returns every character of the texts.
    pub(super) const fn characters(&self) -> &BTreeSet<char> {
        &self.characters
    }

    /// Returns the text of a key with its placeholders filled in.
    pub(super) fn one(&self, key: &'static str, values: &Value) -> Result<String, SheetError> {
        self.template(key, 0)?
            .render(values)
            .map_err(|e| SheetError::internal(describe(&e)))
    }

    /// Returns the texts of a list with their placeholders filled in.
    pub(super) fn many(
        &self,
        key: &'static str,
        values: &Value,
    ) -> Result<Vec<String>, SheetError> {
        let count = self.counts.get(key).copied().unwrap_or_default();
        (0..count)
            .map(|n| {
                self.template(key, n)?
                    .render(values)
                    .map_err(|e| SheetError::internal(describe(&e)))
            })
            .collect()
    }

    fn template(
        &self,
        key: &'static str,
        number: usize,
    ) -> Result<minijinja::Template<'_, '_>, SheetError> {
        self.templates
            .get_template(&template_name(key, number))
            .map_err(|e| SheetError::internal(describe(&e)))
    }
}

fn template_name(key: &str, number: usize) -> String {
    format!("{key}.{number}")
}

/// Says what a template error is, without the values that its debug form would show.
fn describe(error: &minijinja::Error) -> String {
    error.detail().map_or_else(
        || error.kind().to_string(),
        |detail| format!("{}: {detail}", error.kind()),
    )
}

#[cfg(test)]
mod tests {
    use super::super::text_file::BUILTIN;
    use super::*;

    fn dir_with(name: &str, text: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), text).unwrap();
        dir
    }

    fn load(dir: Option<&Path>, language: &str) -> Result<Texts, SheetError> {
        Texts::load(dir, Some(language), "en")
    }

    #[test]
    fn every_built_in_language_is_complete() {
        for (tag, _) in BUILTIN {
            load(None, tag).unwrap();
        }
    }

    #[test]
    fn a_region_falls_back_to_its_language_and_none_to_the_default() {
        assert_eq!(load(None, "fr-CA").unwrap().language(), "fr-CA");
        assert_eq!(
            load(None, "fr_ca")
                .unwrap()
                .one("title", &Value::UNDEFINED)
                .unwrap(),
            load(None, "fr")
                .unwrap()
                .one("title", &Value::UNDEFINED)
                .unwrap()
        );
        assert_eq!(Texts::load(None, None, "fr").unwrap().language(), "fr");
    }

    #[test]
    fn an_unknown_language_names_those_at_hand() {
        let dir = dir_with("de-AT.yml", "");
        for language in ["xx", "../../etc/passwd", "", "english"] {
            let Err(SheetError::Language { at_hand, .. }) = load(Some(dir.path()), language) else {
                panic!("{language} was accepted");
            };
            assert_eq!(at_hand, ["de-AT", "en", "fr"]);
        }
    }

    #[test]
    fn a_project_file_wins_key_by_key() {
        let dir = dir_with("en.yml", "title: \"Sheet of {{ name }}\"\n");
        let texts = load(Some(dir.path()), "en").unwrap();
        let values = Value::from_pairs([("name", "Ada")]);
        assert_eq!(texts.one("title", &values).unwrap(), "Sheet of Ada");
        assert_eq!(texts.one("label_name", &values).unwrap(), "Name");
    }

    #[test]
    fn mistakes_name_file_and_key() {
        for (text, expected) in [
            ("titel: x\n", "en.yml:1:1: unknown text `titel`"),
            (
                "\ntitle: [x]\n",
                "en.yml:2:1: the text `title` must be one text",
            ),
            (
                "months: [x]\n",
                "en.yml:1:1: the text `months` must be a list of 12 texts",
            ),
            (
                "title: '{{ nmae }}'\n",
                "en.yml:1:1: the text `title` uses the unknown placeholder `nmae`",
            ),
            ("title: '{{ key }}'\n", "uses the unknown placeholder `key`"),
            (
                "title: '{% if rotation %}{{ nope }}{% endif %}'\n",
                "uses the unknown placeholder `nope`",
            ),
            ("title: '{{ name'\n", "the text `title` is no template"),
            (
                "title: '{% set s = \"xxxxxxxxxx\" %}{% for a in s %}{% for b in s %}{% for c in s %}{% for d in s %}{% for e in s %}{{ a }}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}'\n",
                "the text `title` cannot be filled in",
            ),
            ("- x\n", "is no mapping of texts"),
            ("title: x\ntitle: y\n", "is no mapping of texts"),
        ] {
            let dir = dir_with("en.yml", text);
            let error = load(Some(dir.path()), "en")
                .map(|_| ())
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{text:?} gave {error}");
        }
    }

    #[test]
    fn a_language_of_the_projects_own_needs_every_key() {
        let dir = dir_with("de.yml", "title: Blatt\n");
        let error = load(Some(dir.path()), "de")
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(
            error.ends_with("de.yml: the text `subtitle` is missing"),
            "{error}"
        );
    }
}
