//! Fonts: which character is where and how wide, and font programs with only the glyphs that a sheet needs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use allsorts::binary::read::ReadScope;
use allsorts::font::read_cmap_subtable;
use allsorts::font_data::FontData;
use allsorts::subset::{CmapTarget, SubsetProfile, subset};
use allsorts::tables::cmap::Cmap;
use allsorts::tables::{FontTableProvider, HeadTable, HheaTable, HmtxTable, MaxpTable};
use allsorts::tag;
use printpdf::ParsedFont;
use unicode_normalization::UnicodeNormalization as _;

use super::error::SheetError;
use super::script::needs_shaping;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Style {
    /// Ordinary text.
    Text,
    /// Headings and emphasis.
    Bold,
    /// Keys, commands and identifiers.
    Mono,
}

/// One of the font programs of a sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Slot {
    Text,
    Bold,
    Mono,
    Project,
}

impl Slot {
    /// The name in the PDF's resources; not F1 to F14, which name the built-in fonts.
    pub(super) const fn resource(self) -> &'static str {
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

/// A font program with few glyphs, ready for a PDF.
#[derive(Debug)]
pub(super) struct Subset {
    /// For printpdf.
    pub(super) parsed: ParsedFont,
    /// The same bytes as `parsed` embeds, after deflate: compressing them is most of the work of a sheet.
    pub(super) deflated: Vec<u8>,
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
        let text: String = text.nfc().collect();
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
                .filter(|c| self.slot(Style::Text, *c).is_none()),
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

    /// Returns the font that has a character in a style, or else the nearest style that has it.
    pub(super) fn slot(&self, style: Style, c: char) -> Option<Slot> {
        let order: &[Slot] = match style {
            Style::Text => &[Slot::Text, Slot::Project],
            Style::Bold => &[Slot::Bold, Slot::Text, Slot::Project],
            Style::Mono => &[Slot::Mono, Slot::Text, Slot::Project],
        };
        order.iter().copied().find(|slot| self.has(*slot, c))
    }

    /// Returns whether one font program has a character.
    pub(super) fn has(&self, slot: Slot, c: char) -> bool {
        self.face(slot).is_some_and(|f| f.glyphs.contains_key(&c))
    }

    /// Returns how far a character moves the pen, in parts of the font size.
    pub(super) fn advance(&self, style: Style, c: char) -> f32 {
        self.slot(style, c)
            .and_then(|slot| self.face(slot)?.glyphs.get(&c))
            .map_or(0.0, |glyph| glyph.advance)
    }

    /// Returns the width of a text in points at a font size in points.
    pub(super) fn width(&self, style: Style, text: &str, size: f32) -> f32 {
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

/// A font with its character map.
struct Face {
    bytes: Cow<'static, [u8]>,
    glyphs: HashMap<char, Glyph>,
}

#[derive(Debug, Clone, Copy)]
struct Glyph {
    id: u16,
    /// In parts of the font size.
    advance: f32,
}

impl std::fmt::Debug for Face {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Face({} characters)", self.glyphs.len())
    }
}

/// Why a font cannot be used: a predicate.
type Why = String;

impl Face {
    fn new(bytes: Cow<'static, [u8]>) -> Result<Self, Why> {
        check_container(&bytes)?;
        let glyphs = read_glyphs(&bytes)?;
        if glyphs.is_empty() {
            return Err("has no characters".to_owned());
        }
        Ok(Self { bytes, glyphs })
    }

    fn subset(&self, characters: &BTreeSet<char>, name: &str) -> Result<Subset, Why> {
        // The glyph for "missing" must come first; no glyph may be given twice.
        let mut ids = BTreeSet::from([0u16]);
        for c in characters {
            let glyph = self
                .glyphs
                .get(c)
                .ok_or_else(|| format!("lacks U+{:04X}", u32::from(*c)))?;
            ids.insert(glyph.id);
        }
        let file = ReadScope::new(&self.bytes)
            .read::<FontData<'_>>()
            .map_err(damaged)?;
        let provider = file.table_provider(0).map_err(damaged)?;
        // No names, no glyph names, no OS/2: readers of PDF use none of them, and they are a third of a small subset.
        let tables = vec![
            tag::CMAP,
            tag::HEAD,
            tag::HHEA,
            tag::HMTX,
            tag::MAXP,
            tag::CVT,
            tag::FPGM,
            tag::PREP,
        ];
        let ids: Vec<u16> = ids.into_iter().collect();
        let bytes = subset(
            &provider,
            &ids,
            &SubsetProfile::Custom(tables),
            CmapTarget::Unicode,
        )
        .map_err(|e| format!("cannot be subset: {e}"))?;
        let mut warnings = Vec::new();
        let mut parsed = ParsedFont::from_bytes(&bytes, 0, &mut warnings)
            .ok_or_else(|| "gave a subset that cannot be read".to_owned())?;
        if let Some(warning) = warnings.first() {
            return Err(format!("gave a subset with a fault: {}", warning.message));
        }
        // The subset's own map keeps one character per glyph, but a font may draw two characters alike.
        let renumbered: BTreeMap<u16, u16> = ids.iter().copied().zip(0u16..).collect();
        for c in characters {
            let id = self.glyphs.get(c).and_then(|g| renumbered.get(&g.id));
            if let Some(id) = id {
                parsed.codepoint_to_glyph.insert(u32::from(*c), *id);
            }
        }
        parsed.font_name = Some(name.to_owned());
        let mut stream =
            lopdf::Stream::new(lopdf::Dictionary::new(), parsed.original_bytes.clone());
        stream
            .compress()
            .map_err(|e| format!("cannot be compressed: {e}"))?;
        Ok(Subset {
            parsed,
            deflated: stream.content,
        })
    }
}

fn damaged(error: impl std::fmt::Display) -> Why {
    format!("is damaged: {error}")
}

/// Takes single TrueType fonts only: nothing else was tried with the subsetter and real readers.
fn check_container(bytes: &[u8]) -> Result<(), Why> {
    match bytes.get(..4) {
        Some([0, 1, 0, 0] | b"true") => Ok(()),
        Some(b"OTTO") => {
            Err("holds PostScript outlines; a TrueType font (.ttf) is needed".to_owned())
        }
        Some(b"ttcf") => {
            Err("is a collection of fonts; take one font out of it into a .ttf file".to_owned())
        }
        _ => Err("is not a TrueType font".to_owned()),
    }
}

fn read_glyphs(bytes: &[u8]) -> Result<HashMap<char, Glyph>, Why> {
    let file = ReadScope::new(bytes)
        .read::<FontData<'_>>()
        .map_err(damaged)?;
    let provider = file.table_provider(0).map_err(damaged)?;
    if provider.has_table(tag::FVAR) {
        return Err("is a variable font; a font with one fixed weight is needed".to_owned());
    }
    if !provider.has_table(tag::GLYF) {
        return Err("has no TrueType outlines".to_owned());
    }
    check_licence(&provider)?;
    let table = |t| provider.read_table_data(t).map_err(damaged);
    let (head, maxp, hhea, hmtx, cmap) = (
        table(tag::HEAD)?,
        table(tag::MAXP)?,
        table(tag::HHEA)?,
        table(tag::HMTX)?,
        table(tag::CMAP)?,
    );
    let head = ReadScope::new(&head).read::<HeadTable>().map_err(damaged)?;
    let maxp = ReadScope::new(&maxp).read::<MaxpTable>().map_err(damaged)?;
    let hhea = ReadScope::new(&hhea).read::<HheaTable>().map_err(damaged)?;
    let hmtx = ReadScope::new(&hmtx)
        .read_dep::<HmtxTable<'_>>((
            usize::from(maxp.num_glyphs),
            usize::from(hhea.num_h_metrics),
        ))
        .map_err(damaged)?;
    let cmap = ReadScope::new(&cmap).read::<Cmap<'_>>().map_err(damaged)?;
    let (_, map) = read_cmap_subtable(&cmap)
        .map_err(damaged)?
        .ok_or_else(|| "has no Unicode character map".to_owned())?;
    let units = f32::from(head.units_per_em.max(1));
    let mut glyphs = HashMap::new();
    map.mappings_fn(|code, id| {
        // Glyph 0 is the box for missing characters, also where the map names it explicitly.
        if let (Some(c), true) = (char::from_u32(code), id != 0 && id < maxp.num_glyphs) {
            let advance = hmtx.horizontal_advance(id).map_or(0.0, f32::from) / units;
            glyphs.insert(c, Glyph { id, advance });
        }
    })
    .map_err(damaged)?;
    glyphs.retain(|c, _| !c.is_control());
    Ok(glyphs)
}

/// Respects "restricted licence embedding" (OpenType, OS/2 table, `fsType`): such a font must not go into a PDF.
fn check_licence(provider: &impl FontTableProvider) -> Result<(), Why> {
    let os2 = provider.table_data(tag::OS_2).map_err(damaged)?;
    let fs_type = os2
        .as_deref()
        .and_then(|t| t.get(8..10))
        .map(|b| b.iter().fold(0u16, |n, b| n << 8 | u16::from(*b)));
    if fs_type.is_some_and(|t| t & 0x000f == 0x0002) {
        return Err("may not be embedded, by its own licence bits".to_owned());
    }
    Ok(())
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
