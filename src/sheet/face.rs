//! One font file: its characters, their widths, and subsets of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use allsorts::binary::read::ReadScope;
use allsorts::font::read_cmap_subtable;
use allsorts::font_data::FontData;
use allsorts::subset::{CmapTarget, SubsetProfile, subset};
use allsorts::tables::cmap::Cmap;
use allsorts::tables::{FontTableProvider, HeadTable, HheaTable, HmtxTable, MaxpTable};
use allsorts::tag;
use printpdf::ParsedFont;

/// A font program with few glyphs, ready for a PDF.
#[derive(Debug)]
pub(super) struct Subset {
    /// For printpdf.
    pub(super) parsed: ParsedFont,
    /// The same bytes as `parsed` embeds, after deflate: compressing them is most of the work of a sheet.
    pub(super) deflated: Vec<u8>,
}

/// A font with its character map.
pub(super) struct Face {
    bytes: Cow<'static, [u8]>,
    glyphs: GlyphMap,
}

/// Glyphs by character. Every character of every text is looked up, so common ones are in a plain table.
#[derive(Default)]
struct GlyphMap {
    /// By code point, below [`Self::TABLE`]: Latin, Greek, Cyrillic, punctuation.
    table: Vec<Option<Glyph>>,
    others: HashMap<char, Glyph>,
}

impl GlyphMap {
    const TABLE: usize = 0x2800;

    fn get(&self, c: char) -> Option<Glyph> {
        let code = u32::from(c) as usize;
        if code < Self::TABLE {
            self.table.get(code).copied().flatten()
        } else {
            self.others.get(&c).copied()
        }
    }

    fn insert(&mut self, c: char, glyph: Glyph) {
        let code = u32::from(c) as usize;
        if code < Self::TABLE {
            if self.table.len() <= code {
                self.table.resize(code + 1, None);
            }
            if let Some(place) = self.table.get_mut(code) {
                *place = Some(glyph);
            }
        } else {
            self.others.insert(c, glyph);
        }
    }

    fn len(&self) -> usize {
        self.table.iter().flatten().count() + self.others.len()
    }
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
pub(super) type Why = String;

impl Face {
    /// Returns how far a character moves the pen, in parts of the font size; nothing where the font lacks it.
    pub(super) fn advance(&self, c: char) -> Option<f32> {
        self.glyphs.get(c).map(|glyph| glyph.advance)
    }

    pub(super) fn new(bytes: Cow<'static, [u8]>) -> Result<Self, Why> {
        check_container(&bytes)?;
        let glyphs = read_glyphs(&bytes)?;
        if glyphs.len() == 0 {
            return Err("has no characters".to_owned());
        }
        Ok(Self { bytes, glyphs })
    }

    pub(super) fn subset(&self, characters: &BTreeSet<char>, name: &str) -> Result<Subset, Why> {
        // The glyph for "missing" must come first; no glyph may be given twice.
        let mut ids = BTreeSet::from([0u16]);
        for c in characters {
            let glyph = self
                .glyphs
                .get(*c)
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
            let id = self.glyphs.get(*c).and_then(|g| renumbered.get(&g.id));
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

fn read_glyphs(bytes: &[u8]) -> Result<GlyphMap, Why> {
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
    let mut glyphs = GlyphMap::default();
    map.mappings_fn(|code, id| {
        // Glyph 0 is the box for missing characters, also where the map names it explicitly.
        let known = id != 0 && id < maxp.num_glyphs;
        if let Some(c) = char::from_u32(code).filter(|c| known && !c.is_control()) {
            let advance = hmtx.horizontal_advance(id).map_or(0.0, f32::from) / units;
            glyphs.insert(c, Glyph { id, advance });
        }
    })
    .map_err(damaged)?;
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
