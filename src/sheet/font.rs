//! Fonts: which character is where and how wide, and font programs with only the glyphs that a sheet needs.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use unicode_normalization::UnicodeNormalization as _;

use super::error::SheetError;
use super::face::{Face, Subset};
use super::script::needs_shaping;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Style {
    /// Ordinary text.
    Text,
    /// Headings and emphasis.
    Bold,
    /// Keys, commands and identifiers.
    Mono,
}

/// One of the font programs of a sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Slot {
    Text,
    Bold,
    Mono,
    Project,
}

impl Slot {
    /// The name in the PDF's resources; not F1 to F14, which name the built-in fonts.
    pub(crate) const fn resource(self) -> &'static str {
        match self {
            Self::Text => "SheetText",
            Self::Bold => "SheetBold",
            Self::Mono => "SheetMono",
            Self::Project => "SheetProject",
        }
    }

    /// The font's own name with the tag of a subset: six capitals and a plus sign (ISO 32000-1, 9.6.4).
    const fn base_font(self) -> &'static str {
        match self {
            Self::Text => "FLTOTA+DejaVuSansCondensed",
            Self::Bold => "FLTOTB+DejaVuSansCondensed-Bold",
            Self::Mono => "FLTOTC+DejaVuSansMono",
            Self::Project => "FLTOTD+ProjectFont",
        }
    }
}

/// The fonts at hand, parsed once: three built in, and the project's own for what they do not cover.
#[derive(Debug)]
pub struct Fonts {
    text: Face,
    bold: Face,
    mono: Face,
    project: Option<Face>,
    /// Subsets by slot and characters: most sheets of a run need the same.
    subsets: Mutex<HashMap<(Slot, String), Arc<Subset>>>,
}

const TEXT: &[u8] = include_bytes!("../../templates/fonts/DejaVuSansCondensed.ttf");
const BOLD: &[u8] = include_bytes!("../../templates/fonts/DejaVuSansCondensed-Bold.ttf");
const MONO: &[u8] = include_bytes!("../../templates/fonts/DejaVuSansMono.ttf");

/// How many subsets are kept; a run with more different names simply makes some again.
const MAX_SUBSETS: usize = 64;

impl Fonts {
    /// The built-in fonts: Latin, Greek and Cyrillic letters with all their diacritics.
    ///
    /// # Errors
    /// [`SheetError::Internal`] when the program was built with broken fonts.
    pub fn builtin() -> Result<Self, SheetError> {
        let face = |bytes| Face::new(Cow::Borrowed(bytes)).map_err(SheetError::internal);
        Ok(Self {
            text: face(TEXT)?,
            bold: face(BOLD)?,
            mono: face(MONO)?,
            project: None,
            subsets: Mutex::default(),
        })
    }

    /// Adds the project's own font, for characters that the built-in ones do not cover.
    ///
    /// # Errors
    /// [`SheetError::Font`] when it is no single TrueType font or forbids embedding.
    pub fn with_project_font(mut self, name: &str, bytes: Vec<u8>) -> Result<Self, SheetError> {
        let face = Face::new(Cow::Owned(bytes)).map_err(|why| SheetError::Font {
            why: format!("`{name}` {why}"),
        })?;
        self.project = Some(face);
        Ok(self)
    }

    /// The built-in fonts, and the one in the file `project` if there is one.
    ///
    /// # Errors
    /// As [`Self::with_project_font`], and [`SheetError::Font`] when the file cannot be read.
    pub fn load(project: Option<&Path>) -> Result<Self, SheetError> {
        let fonts = Self::builtin()?;
        let Some(path) = project else {
            return Ok(fonts);
        };
        let bytes = std::fs::read(path).map_err(|e| SheetError::Font {
            why: format!("`{}` cannot be read: {e}", path.display()),
        })?;
        fonts.with_project_font(&path.display().to_string(), bytes)
    }

    /// Brings a text into the form in which it is set (NFC) and checks that every character can be.
    ///
    /// # Errors
    /// [`SheetError::MissingGlyphs`] or [`SheetError::NeedsShaping`]; `field` names the text in them.
    pub fn check(&self, field: &str, text: &str) -> Result<String, SheetError> {
        let text: String = text.trim().nfc().collect();
        let characters: Vec<char> = unique(text.chars().filter(|c| needs_shaping(*c)));
        if !characters.is_empty() {
            return Err(SheetError::NeedsShaping {
                field: field.to_owned(),
                text,
                characters,
            });
        }
        let characters = unique(
            text.chars()
                .filter(|c| self.place(Style::Text, *c).is_none()),
        );
        if !characters.is_empty() {
            return Err(SheetError::MissingGlyphs {
                field: field.to_owned(),
                text,
                characters,
            });
        }
        Ok(text)
    }

    /// Returns the font that has a character in a style, or else the nearest style that has it, and how far the
    /// character moves the pen, in parts of the font size.
    pub(crate) fn place(&self, style: Style, c: char) -> Option<(Slot, f32)> {
        let order: &[Slot] = match style {
            Style::Text => &[Slot::Text, Slot::Project],
            Style::Bold => &[Slot::Bold, Slot::Text, Slot::Project],
            Style::Mono => &[Slot::Mono, Slot::Text, Slot::Project],
        };
        order
            .iter()
            .find_map(|slot| Some((*slot, self.face(*slot)?.advance(c)?)))
    }

    /// Returns whether one font program has a character.
    pub(crate) fn has(&self, slot: Slot, c: char) -> bool {
        self.face(slot).is_some_and(|f| f.advance(c).is_some())
    }

    /// Returns how far a character moves the pen, in parts of the font size.
    pub(crate) fn advance(&self, style: Style, c: char) -> f32 {
        self.place(style, c).map_or(0.0, |(_, advance)| advance)
    }

    /// Returns the width of a text in points at a font size in points.
    pub(crate) fn width(&self, style: Style, text: &str, size: f32) -> f32 {
        text.chars().map(|c| self.advance(style, c)).sum::<f32>() * size
    }

    /// Makes the font program with exactly these characters, or takes it from the cache.
    pub(super) fn subset(
        &self,
        slot: Slot,
        characters: &BTreeSet<char>,
    ) -> Result<Arc<Subset>, SheetError> {
        let key = (slot, characters.iter().collect::<String>());
        // A poisoned lock only means that another thread panicked; the cache itself is whole.
        let cached = {
            let subsets = self.subsets.lock().unwrap_or_else(PoisonError::into_inner);
            subsets.get(&key).map(Arc::clone)
        };
        if let Some(subset) = cached {
            return Ok(subset);
        }
        let face = self
            .face(slot)
            .ok_or_else(|| SheetError::internal("a font that is not there was used"))?;
        let made = Arc::new(
            face.subset(characters, slot.base_font())
                .map_err(SheetError::internal)?,
        );
        let mut subsets = self.subsets.lock().unwrap_or_else(PoisonError::into_inner);
        if subsets.len() >= MAX_SUBSETS {
            subsets.clear();
        }
        subsets.insert(key, Arc::clone(&made));
        Ok(made)
    }

    const fn face(&self, slot: Slot) -> Option<&Face> {
        match slot {
            Slot::Text => Some(&self.text),
            Slot::Bold => Some(&self.bold),
            Slot::Mono => Some(&self.mono),
            Slot::Project => self.project.as_ref(),
        }
    }
}

fn unique(characters: impl Iterator<Item = char>) -> Vec<char> {
    let mut seen = BTreeSet::new();
    characters.filter(|c| seen.insert(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_fonts_cover_latin_greek_and_cyrillic() {
        let fonts = Fonts::builtin().unwrap();
        for name in [
            "Łukasz Żółć",
            "Đặng Hữu Đức",
            "Ẫẵợự",
            "Γιώργος Παπαδόπουλος",
            "ᾍδης",
            "Съешь Їжак Ђорђе Ѓорѓи",
            "İğüş Ș ț",
            "“quotes” ‘single’ «guillemets» – — … € №",
        ] {
            fonts.check("name", name).unwrap();
        }
    }

    #[test]
    fn decomposed_names_are_composed() {
        let fonts = Fonts::builtin().unwrap();
        assert_eq!(fonts.check("name", "Z\u{307}o\u{301}l").unwrap(), "Żól");
    }

    #[test]
    fn missing_characters_are_named_once_and_in_order() {
        let fonts = Fonts::builtin().unwrap();
        let Err(SheetError::MissingGlyphs { characters, .. }) = fonts.check("name", "李小李 a\tb")
        else {
            panic!("accepted");
        };
        assert_eq!(characters, ['李', '小', '\t']);
        assert!(matches!(
            fonts.check("name", "שלום"),
            Err(SheetError::NeedsShaping { .. })
        ));
    }

    #[test]
    fn a_font_that_cannot_be_used_is_refused() {
        for bytes in [
            &b"OTTO1234"[..],
            b"ttcf",
            b"",
            b"%PDF-1.7",
            &TEXT[..2000],
            &[0, 1, 0, 0, 255, 255, 0, 0],
        ] {
            let fonts = Fonts::builtin().unwrap();
            let error = fonts
                .with_project_font("f.ttf", bytes.to_vec())
                .unwrap_err();
            assert!(matches!(error, SheetError::Font { .. }), "{error}");
        }
    }

    #[test]
    fn a_subset_is_made_once() {
        let fonts = Fonts::builtin().unwrap();
        let characters: BTreeSet<char> = "abc".chars().collect();
        let first = fonts.subset(Slot::Text, &characters).unwrap();
        let again = fonts.subset(Slot::Text, &characters).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
    }
}
